// An invite to this node's network, as text and as a QR code.

import { copies } from "./copy.js";
import { by, setText } from "./dom.js";
import { ask } from "./request.js";

const SVG = "http://www.w3.org/2000/svg";
/** What a QR code consists of: elements, and their attributes. */
const PARTS = {
  svg: ["viewBox", "width", "height", "shape-rendering"],
  rect: ["x", "y", "width", "height", "fill"],
  path: ["d", "fill"],
};

const dialog = by("invite");
const answer = by("invite-answer");
const state = by("invite-state");
/** Ends the request that waits. */
let asking = null;

function say(kind, text) {
  state.dataset.state = kind;
  setText(state, text);
}

/** Returns the picture that the node drew, made again of the parts that a QR code has: whatever else
 * the text may hold is left out. */
function picture(text) {
  const again = (element) => {
    const names = PARTS[element.localName];
    if (element.namespaceURI !== SVG || names === undefined) return null;
    const made = document.createElementNS(SVG, element.localName);
    for (const name of names) if (element.hasAttribute(name)) made.setAttribute(name, element.getAttribute(name));
    made.append(...[...element.children].map(again).filter((child) => child !== null));
    return made;
  };
  const root = again(new DOMParser().parseFromString(text, "image/svg+xml").documentElement);
  root?.setAttribute("role", "img");
  root?.setAttribute("aria-label", "QR code of the invite");
  return root;
}

async function open() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  answer.hidden = true;
  by("invite-qr").replaceChildren();
  if (!dialog.open) dialog.showModal();
  say("waiting", "Looking for a relay, for 10 seconds at most …");
  try {
    const { invite, qr } = await (await ask("api/invite", { body: "{}", signal: mine.signal, patient: true })).json();
    const code = qr === null ? null : picture(qr);
    if (mine.signal.aborted) return;
    by("invite-text").value = invite;
    if (code) by("invite-qr").replaceChildren(code);
    answer.hidden = false;
    say("good", "Send this line to a friend:");
  } catch (error) {
    if (mine.signal.aborted) return;
    say("bad", error.status ? error.message : "The node does not answer");
  }
}

by("invite-open").addEventListener("click", open);
// The event comes later than the closing: the dialog may be open again, for another request.
dialog.addEventListener("close", () => {
  if (!dialog.open) asking?.abort();
});
copies(by("invite-copy"), by("invite-text"));
