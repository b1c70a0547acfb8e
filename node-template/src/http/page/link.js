// The view of one link: who dialled, and what travels on it, live. The node records all frames of a
// link only while somebody asks for them, so this asks every second while it is open and seen.

import { addressButton } from "./copy.js";
import { addressed, by, bytes, count, duration, foreign, hasNodeId, isPressed, jsonLine, make, milliseconds, now, number, setText, shortAddresses, time, update } from "./dom.js";
import { KINDS, explain } from "./fields.js";
import { layOut } from "./json.js";
import { ask } from "./request.js";

const EVERY = 1_000;
/** The facts of the link change slowly. */
const FACTS_EVERY = 5_000;
/** The node keeps 64; more are kept here, for those who scroll. */
const KEPT = 300;
/** Characters of a text in one line. */
const GIST = 220;

const dialog = by("link");
const begin = by("frames-begin");
const list = by("frames");
const filter = by("frames-type");
const hint = by("explain");
const HINT = hint.textContent;

/** The link that is shown: its id, the number of its last frame, and what stops it. */
let shown = null;

const WAYS = {
  "other": "direct: one WebSocket between the two, which carries both directions",
  "exercise outbound": "direct: a WebSocket on which this node speaks and the other end reads",
  "direct": "over iroh: one WebSocket in a QUIC connection, straight between the two, through NATs if there are any",
  "relayed": "over iroh: one WebSocket in a QUIC connection; the relay passes its packets on, and cannot read them",
  "exercise inbound": "direct: a WebSocket on which the other end speaks and this node reads",
};

const clock = (at) => `${time(at)}.${String(Math.floor(at % 1000)).padStart(3, "0")}`;

/** Opens the view of a link, by its id in `/api/links`. */
export function openLink(id) {
  shown?.stop.abort();
  shown = { id, last: 0, types: new Map(), stop: new AbortController(), paused: false, missed: 0, asked: 0 };
  setText(by("link-heading"), `Link ${id}`);
  by("link-facts").replaceChildren();
  by("link-why").hidden = true;
  begin.replaceChildren();
  list.replaceChildren();
  filter.replaceChildren(make("option", { value: "" }, "all types"));
  by("frames-none").hidden = false;
  setPaused(false);
  setText(hint, HINT);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  follow(shown);
}

/** Ends the view of a link: the node was started again, and its numbers begin at 1. */
export function endLink() {
  if (shown === null || shown.ended) return;
  shown.ended = true;
  shown.stop.abort();
  say(shown, ["This link has ended: the node was started again."]);
}

dialog.addEventListener("close", () => {
  // The event comes later than the closing: the dialog may be open again, for another link.
  if (dialog.open) return;
  shown?.stop.abort();
  // The row that opened it may have gone, and another one may have come.
  if (shown && document.activeElement === document.body) document.querySelector(`#peers button[data-link="${shown.id}"]`)?.focus();
  shown = null;
});

async function follow(link) {
  const { signal } = link.stop;
  while (!signal.aborted) {
    if (!link.paused && !document.hidden) await look(link, signal);
    if (link.ended) return;
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

async function look(link, signal) {
  try {
    if (performance.now() - link.asked >= FACTS_EVERY || link.asked === 0) {
      link.asked = performance.now();
      const { links } = await (await ask("api/links", { signal })).json();
      const facts = links.find((one) => one.id === link.id);
      if (facts && !signal.aborted) showFacts(facts);
    }
    const answer = await (await ask(`api/links/${link.id}/frames?after=${link.last}`, { signal })).json();
    if (!signal.aborted && answer.last < link.last) return endLink();
    // What came meanwhile is asked for again.
    if (signal.aborted || link.paused || isPressed(dialog)) return;
    add(link, answer);
    link.ended = answer.ended !== null;
    say(link, link.ended ? ["This link has ended: ", foreign(answer.ended)] : null);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 404) {
      link.ended = true;
      say(link, [link.last > 0 ? "This link has ended." : "This link is not open: it has ended, and its frames are no longer kept. Choose another one."]);
    } else {
      say(link, [error.status ? error.message : "The node does not answer."]);
    }
  }
}

/** Says how the link fares; `parts`: what is wrong, `null`: nothing is. */
function say(link, parts) {
  const missed = link.missed > 0 ? ` ${count(link.missed, "frame")} came too fast to be kept.` : "";
  update(by("frames-state"), [...make("p", {}, ...(parts ?? [link.paused ? "Paused." : "Live."]), missed).childNodes]);
  by("frames-state").dataset.state = parts === null ? (link.paused ? "paused" : "live") : "gone";
}

function showFacts(link) {
  const who = link.address ? shortAddresses(link.address) : link.peer ? link.peer.slice(0, 8) : link.remote;
  const what = { native: "a node", exercise: "a node of the exercise", client: "a client, or a node that has no slot yet" }[link.kind];
  setText(by("link-heading"), `Link ${link.id}: ${who}`);
  const byId = link.address !== null && hasNodeId(link.address);
  const from = link.path === null ? [", from ", foreign(link.remote)] : [];
  const facts = [
    ["Other end", foreign(who), `, ${what}${link.kind === "native" && !byId ? `, id ${link.peer.slice(0, 8)}` : ""}`],
    ["Who dialled", ...(link.dialled ? ["This node dialled ", foreign(shortAddresses(link.dialledAddress))] : [foreign(who), " dialled this node", ...from])],
    ["Open since", `${time(link.since)}, for ${duration((now() - link.since) / 1000)}`],
    ["Round trip", link.roundTripSeconds === null ? "not measured yet" : milliseconds(link.roundTripSeconds)],
    ["Way", WAYS[wayOf(link)]],
    ["Identity", identity(link)],
  ];
  if (link.path !== null) facts.splice(4, 0, ["Path", link.path]);
  if (byId) facts.splice(1, 0, ["Address", make("span", { class: "mono" }, link.address), " ", addressButton(link.address)]);
  if (link.reconciled === false) facts.push(["Pools", "differed at the last comparison; if that stays, the other end's pool may be full, or it refuses something"]);
  if (link.queuedBytes > 0) facts.push(["Waiting", `${bytes(link.queuedBytes)} wait to be sent`]);
  update(by("link-facts"), facts.map(([name, ...value]) => make("div", { "data-key": name }, make("dt", {}, name), make("dd", {}, ...value))));
  const why = by("link-why");
  why.hidden = link.others.length === 0;
  if (why.hidden || why.dataset.link === String(link.id)) return;
  why.dataset.link = String(link.id);
  const others = link.others.map((other) => {
    const button = make("button", { type: "button", class: "inline" }, `link ${other}`);
    button.addEventListener("click", () => openLink(other));
    return button;
  });
  why.replaceChildren(make("strong", {}, `${count(link.others.length + 1, "socket")} to this peer. `), foreign(link.why ?? ""), " The other: ", ...others);
}

function wayOf({ kind, dialled, path }) {
  if (path !== null) return path.startsWith("direct") ? "direct" : "relayed";
  return kind === "exercise" ? `exercise ${dialled ? "outbound" : "inbound"}` : "other";
}

function identity({ kind, proved, path }) {
  if (kind !== "native") return "none: only native nodes prove an id";
  if (!proved) return "claimed, not proved";
  return path === null ? "proved by a signature in the HANDSHAKE" : "proved by the keys of the connection (TLS)";
}

function add(link, { frames, last, missed }) {
  link.missed += link.last > 0 ? missed : 0;
  for (const frame of frames) {
    if (frame.number <= link.last) continue;
    countType(link, frame);
    const isFirst = frame.type === "HANDSHAKE" && ![...begin.children].some((item) => item.dataset.direction === frame.direction);
    const item = row(frame, isFirst);
    item.hidden = filter.value !== "" && filter.value !== kindOf(frame);
    if (isFirst) begin.append(item);
    else list.prepend(item);
  }
  link.last = last;
  while (list.childElementCount > KEPT) list.lastElementChild.remove();
  by("frames-none").hidden = list.querySelector("li:not([hidden])") !== null;
}

const kindOf = (frame) => frame.type ?? (frame.opcode === "text" ? "no message" : frame.opcode);

function countType(link, frame) {
  const kind = kindOf(frame);
  const seen = (link.types.get(kind) ?? 0) + 1;
  link.types.set(kind, seen);
  let option = [...filter.options].find((one) => one.value === kind);
  if (!option) {
    option = make("option", { value: kind });
    const next = [...filter.options].find((one) => one.value > kind);
    filter.insertBefore(option, next ?? null);
  }
  setText(option, `${kind} (${number(seen)})`);
}

function row(frame, isOpen) {
  // The type stands beside it.
  const gist = frame.note ?? frame.text.replace(/^\{"type":"[A-Z]+",/, "").slice(0, GIST);
  const parts = frame.note !== null || frame.type === null ? [gist] : jsonLine(gist);
  const details = make("details", { open: isOpen },
    make("summary", {},
      make("span", { class: "way" }, frame.direction),
      make("b", {}, kindOf(frame)),
      make("span", { class: "size" }, bytes(frame.bytes)),
      make("time", { datetime: new Date(frame.time).toISOString() }, clock(frame.time)),
      gist === "" ? null : make("span", { class: frame.note === null ? "gist mono" : "gist" }, ...parts)));
  const fill = () => {
    if (details.open && details.childElementCount === 1) details.append(...content(frame));
  };
  details.addEventListener("toggle", fill);
  fill();
  return make("li", { "data-direction": frame.direction, "data-type": kindOf(frame), "data-number": frame.number }, details);
}

/** Returns what an opened row shows. */
function content(frame) {
  const parts = [];
  const meaning = KINDS[frame.type];
  if (meaning) parts.push(make("p", { class: "quiet" }, meaning));
  if (frame.note) parts.push(make("p", { class: "note" }, frame.note));
  if (frame.addresses?.length > 0) parts.push(outcomes(frame));
  if (frame.text === "") return parts;
  if (frame.opcode !== "text" || frame.type === null) return [...parts, make("pre", { tabindex: 0 }, frame.text)];
  const body = make("pre", { class: "json", tabindex: 0, "aria-label": `${frame.type} as JSON` }, ...laidOut(frame));
  if (frame.cut) parts.push(make("p", { class: "quiet" }, `The first ${bytes(new TextEncoder().encode(frame.text).length)} of ${bytes(frame.bytes)}.`));
  // Of a HANDSHAKE the addresses are what counts.
  return frame.type === "HANDSHAKE" ? [...parts, make("details", {}, make("summary", {}, "the whole message, each name explained"), body)] : [...parts, body];
}

function outcomes({ direction, addresses, more }) {
  const said = direction === "sent" ? "What this node named" : "What this node did with each address";
  const items = addresses.map(({ address, text }) => make("li", {}, make("b", {}, addressed(address)), " ", foreign(text)));
  if (more > 0) items.push(make("li", { class: "quiet" }, `and ${count(more, "more address", "more addresses")}`));
  return make("div", { class: "outcomes" }, make("p", {}, said), make("ul", {}, ...items));
}

/** Returns the JSON with a button for each name that has an explanation. */
function laidOut(frame) {
  const parts = layOut(frame.text);
  const inner = parts.find((part) => part.kind === "value" && part.path === "message.type")?.text.slice(1, -1);
  const meaning = (path) => {
    if (frame.type === "TOPIC" && path.startsWith("message.")) return explain(inner, path.slice("message.".length));
    return explain(frame.type, path);
  };
  return parts.map(({ kind, text, path }) => {
    if (kind !== "key") return kind === "value" ? make("span", { class: "value" }, text) : text;
    const known = meaning(path);
    if (known === null) return make("span", { class: "key" }, text);
    return make("button", { type: "button", class: "key", "data-meaning": known, "aria-describedby": "explain" }, text);
  });
}

/** Shows the meaning of the name under the pointer, or with the focus. */
function point(event) {
  const key = event.target.closest?.("button.key");
  if (key) hint.replaceChildren(make("b", {}, key.textContent.replaceAll('"', "")), `: ${key.dataset.meaning}`);
}
for (const kind of ["pointerover", "focusin", "click"]) dialog.addEventListener(kind, point);

filter.addEventListener("change", () => {
  for (const item of [...begin.children, ...list.children]) item.hidden = filter.value !== "" && item.dataset.type !== filter.value;
  by("frames-none").hidden = list.querySelector("li:not([hidden])") !== null;
});

function setPaused(paused) {
  if (shown === null) return;
  shown.paused = paused;
  by("frames-pause").setAttribute("aria-pressed", String(paused));
  if (!shown.ended) say(shown, null);
}
by("frames-pause").addEventListener("click", () => setPaused(!shown?.paused));
