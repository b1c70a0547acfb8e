// How this node found its place in the network, step by step: all at once, or replayed slowly.

import { addressed, by, count, foreign, make, setText, shortAddresses, time, visible } from "./dom.js";
import { openLink } from "./link.js";
import { openTransaction } from "./pool.js";
import { ask } from "./request.js";

/** The shortest and the longest time that a step stays alone, in milliseconds. Most steps follow
 * each other within a millisecond. */
const STEP = [900, 2_500];
/** How much longer than it took the replay takes. */
const SLOWER = 20;
/** The list is asked for so long after something happened: more may happen with it. */
const EVERY = 1_000;

/** The node keeps so many. */
const KEPT = 200;

const list = by("timeline");
const play = by("timeline-play");
const back = by("timeline-back");
const next = by("timeline-next");
const range = by("timeline-at");

const MARKS = {
  "dial": "dials",
  "failed": "failed",
  "self": "itself",
  "upgrade": "upgrade",
  "handshake sent": "HANDSHAKE →",
  "handshake received": "HANDSHAKE ←",
  "learned": "learned",
  "linked": "linked",
  "lost": "lost",
  "synced": "got",
  "replaying": "sends",
  "membership": "slots",
};

let entries = [];
/** How many entries are shown. */
let at = 0;
let playing = null;
/** The next time that the entries are asked for. */
let waiting = null;
let isFull = false;

function step(entry) {
  const since = (entry.time - entries[0].time) / 1000;
  const said = [make("span", { class: "what" }, addressed(entry.text))];
  if (entry.kind === "dial") said.push(make("small", {}, learned(entry)));
  if (entry.addresses.length > 0) {
    const items = entry.addresses.map(({ address, text }) => make("li", {}, make("b", {}, addressed(address)), ...(text === null ? [] : [" ", foreign(text)])));
    if (entry.more > 0) items.push(make("li", {}, `and ${count(entry.more, "more address", "more addresses")}`));
    said.push(make("ul", {}, ...items));
  }
  if (entry.transactions.length > 0) said.push(make("small", {}, "the first: ", ...entry.transactions.map(transaction)));
  let frames = null;
  if (entry.link !== null) {
    frames = make("button", { type: "button", class: "inline", "aria-label": `Frames of link ${entry.link}` }, `link ${entry.link}`);
    frames.addEventListener("click", () => openLink(entry.link));
  }
  return make("li", { "data-kind": entry.kind, "data-number": entry.number },
    make("time", { datetime: new Date(entry.time).toISOString(), title: time(entry.time) }, `${since < 100 ? since.toFixed(3) : Math.round(since)} s`),
    make("span", { class: "tag" }, MARKS[entry.kind] ?? entry.kind),
    make("div", { class: "told" }, ...said),
    frames);
}

/** Returns the button that shows a transaction and its way. */
function transaction(id) {
  const button = make("button", { type: "button", class: "inline", "aria-label": `Transaction ${id.slice(0, 8)} and its way` }, id.slice(0, 8));
  button.addEventListener("click", () => openTransaction(id));
  return button;
}

/** Returns how the address of a dial was learned. */
function learned({ learnedFrom }) {
  const from = entries.find((entry) => entry.number === learnedFrom);
  if (!from) return "from known-peers.json, named by a person, or remembered from an earlier run";
  return `learned from the HANDSHAKE of ${from.address ? shortAddresses(from.address) : "a peer"}, ${((from.time - entries[0].time) / 1000).toFixed(3)} s`;
}

function show(steps) {
  at = Math.max(0, Math.min(entries.length, steps));
  while (list.childElementCount > at) list.lastElementChild.remove();
  while (list.childElementCount < at) list.append(step(entries[list.childElementCount]));
  for (const item of list.children) item.toggleAttribute("data-now", at < entries.length && item === list.lastElementChild);
  range.max = String(entries.length);
  range.value = String(at);
  range.setAttribute("aria-valuetext", at === 0 ? "before the first step" : visible(`step ${at} of ${entries.length}: ${shortAddresses(entries[at - 1].text)}`));
  back.disabled = at === 0;
  next.disabled = at >= entries.length;
  const summary = entries.length === 0 ? "Nothing has happened yet" : at < entries.length ? `step ${at} of ${entries.length}` : count(entries.length, "step");
  setText(by("timeline-summary"), summary);
  if (at < entries.length) list.scrollTop = list.scrollHeight;
}

function stop() {
  clearTimeout(playing);
  playing = null;
  setText(play, "Replay slowly");
}

function tick() {
  show(at + 1);
  if (at >= entries.length) return stop();
  const gap = (entries[at].time - entries[at - 1].time) * SLOWER;
  playing = setTimeout(tick, Math.min(STEP[1], Math.max(STEP[0], gap)));
}

play.addEventListener("click", () => {
  if (playing !== null) return stop();
  if (entries.length === 0) return;
  if (at >= entries.length) show(0);
  setText(play, "Pause");
  tick();
});
back.addEventListener("click", () => { stop(); show(at - 1); });
next.addEventListener("click", () => { stop(); show(at + 1); });
range.addEventListener("input", () => { stop(); show(Number(range.value)); });

/** Asks for the entries soon, as something may have happened. `again`: the node may be another run. */
export function refresh(again = false) {
  if (again) isFull = false;
  if (isFull || waiting !== null) return;
  waiting = setTimeout(look, again ? 0 : EVERY);
}

async function look() {
  try {
    const answer = await (await ask("api/timeline")).json();
    take(answer);
  } catch (error) {
    setText(by("timeline-summary"), error.status ? error.message : "The node does not answer");
  } finally {
    waiting = null;
  }
}

function take({ entries: fresh, more }) {
  const isSame = entries.length > 0 && fresh[0]?.time === entries[0].time;
  const isAll = at >= entries.length;
  if (!isSame) {
    stop();
    list.replaceChildren();
  }
  const grown = !isSame || fresh.length !== entries.length;
  entries = fresh;
  if (grown) show(isAll || !isSame ? entries.length : at);
  isFull = entries.length >= KEPT;
  by("timeline-more").hidden = more === 0;
  setText(by("timeline-more"), `${count(more, "event")} left out: what came later, and repeated dials of an address that does not answer.`);
}
