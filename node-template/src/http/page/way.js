// The way of a transaction through this node: its ids, who brought it, to whom it was sent, to whom
// not and why, and when it was on disk. The diagram replays it, step by step.

import { addressed, by, count, make, milliseconds, setText, shortAddresses, time } from "./dom.js";
import { openLink } from "./link.js";
import { ask } from "./request.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");
/** How long a step is shown while they follow each other, in milliseconds. */
const STEP = 1_900;

const bar = by("way-bar");
const play = by("way-play");
const back = by("way-back");
const next = by("way-next");

let graph = null;
/** The steps that are replayed, and how many of them are shown. */
let steps = [];
let at = 0;
let playing = null;
/** The transaction whose way is shown, and what shows it again. */
let shown = null;

/** What is sent later in another way. */
const LATER = new Set(["queue full", "withheld", "behind"]);
const TAGS = { sent: "sent to", later: "later to", not: "not to" };

const who = ({ peer, address }) => (address ? shortAddresses(address) : peer ? peer.replace(/^plain:(wss?:\/\/)?/, "").slice(0, 8) : "a client");
const clock = (at) => `${time(at)}.${String(Math.floor(at % 1000)).padStart(3, "0")}`;

/** Sets the diagram in which ways are replayed. */
export function useGraph(diagram) {
  graph = diagram;
}

/** Asks for the way of a transaction and shows it in the dialog. `again` opens the dialog. */
export async function showWay(id, again) {
  shown = { id, again };
  by("one-ids").replaceChildren();
  by("one-way").replaceChildren();
  setText(by("one-note"), "…");
  by("one-replay").hidden = true;
  try {
    const answer = await (await ask(`api/transactions/${id}/way`)).json();
    if (shown.id === id) fill(answer);
  } catch (error) {
    if (shown.id === id) setText(by("one-note"), error.status ? error.message : "The node does not answer.");
  }
}

function fill({ ids, note, way, position }) {
  by("one-ids").replaceChildren(...ids.map(({ name, value, text }) => make("div", {},
    make("dt", {}, name),
    make("dd", { class: "mono" }, value ?? "none"),
    make("dd", { class: "quiet" }, text))));
  setText(by("one-note"), note ?? "");
  by("one-note").hidden = note === null;
  if (way === null) return;
  const items = [arrived(way.arrived), stored(way, position)];
  const sent = way.links.filter((link) => link.outcome === "sent");
  items.push(...[...sent, ...way.links.filter((link) => link.outcome !== "sent")].map(decided));
  if (way.more > 0) items.push(step("rest", "", null, `and ${count(way.more, "more link")}`));
  if (way.links.length === 0) items.push(step("rest", "not sent", null, "No other node was linked then. Each node that links gets it by a comparison of pools."));
  if (way.clients > 0) items.push(step("rest", "", null, `${count(way.clients, "client")}: clients get no transactions.`));
  by("one-way").replaceChildren(...items);
  steps = stepsOf(way);
  by("one-replay").hidden = false;
}

function step(kind, mark, after, ...told) {
  return make("li", { "data-kind": kind }, make("span", { class: "tag" }, mark), make("div", { class: "told" }, ...told), after);
}

function arrived({ time: when, text, link }) {
  return step("came", "came", link === null ? null : button(link), addressed(text), make("small", {}, clock(when)));
}

function stored({ arrived: { time: when }, stored: on }, position) {
  if (on !== null) return step("stored", "on disk", null, `It was on disk ${milliseconds(Math.max(0, on - when) / 1000)} later.`);
  if (position !== null) return step("stored", "on disk", null, "It is on disk.");
  return step("waits", "waits", null, "It is not on disk yet.");
}

function decided(link) {
  const kind = link.outcome === "sent" ? "sent" : LATER.has(link.outcome) ? "later" : "not";
  return make("li", { "data-kind": kind, "data-outcome": link.outcome, "data-peer": link.peer },
    make("span", { class: "tag" }, TAGS[kind]),
    make("div", { class: "told" }, make("b", {}, who(link)), [reason(link), link.open ? "" : "the connection has ended since"].filter(Boolean).map((text) => `: ${text}`).join("")),
    link.open ? button(link.link) : null);
}

/** Returns why it was not sent. The rest of the sentence stands before it. */
function reason({ outcome, text }) {
  return outcome === "sent" ? "" : text.replace(/^It was not sent[a-z ]*: /, "");
}

function button(link) {
  const one = make("button", { type: "button", class: "inline", "aria-label": `Show link ${link}` }, `link ${link}`);
  one.addEventListener("click", () => openLink(link));
  return one;
}

/** Returns the steps of the replay: a line of the diagram, and what happened on it. */
function stepsOf({ arrived: from, links }) {
  const all = [];
  if (from.origin !== null && from.peer !== null && from.origin !== from.peer) all.push({ kind: "entered", from: from.origin, to: from.origin, text: "It entered the network here. Which way it took from here is known to the nodes between." });
  all.push({ kind: "came", from: from.peer, to: null, text: from.text });
  for (const link of links.filter((one) => one.outcome === "sent")) all.push({ kind: "sent", from: null, to: link.peer, text: `Sent to ${who(link)} on link ${link.link}.` });
  for (const link of links.filter((one) => one.outcome !== "sent" && one.outcome !== "brought")) all.push({ kind: "not", from: null, to: link.peer, text: `${link.text.replace(/^It was not sent/, `Not sent to ${who(link)}`)}` });
  return all;
}

function show(count) {
  at = Math.max(0, Math.min(steps.length, count));
  graph?.showWay(steps.slice(0, at));
  setText(by("way-text"), at === 0 ? "Before it came." : `Step ${at} of ${steps.length}: ${shortAddresses(steps[at - 1].text)}`);
  back.disabled = at <= 1;
  next.disabled = at >= steps.length;
}

function stop() {
  clearTimeout(playing);
  playing = null;
  setText(play, "Replay slowly");
}

function tick() {
  show(at + 1);
  if (at >= steps.length) return stop();
  playing = setTimeout(tick, STEP);
}

function begin() {
  setText(play, "Pause");
  if (at >= steps.length) at = 0;
  tick();
}

/** Leaves the replay; the diagram shows the present again. */
export function endReplay() {
  stop();
  bar.hidden = true;
  graph?.showWay(null);
}

by("one-replay").addEventListener("click", () => {
  by("one").close();
  stop();
  at = 0;
  bar.hidden = false;
  by("stage").scrollIntoView({ block: "center" });
  // Who wants no motion goes from step to step.
  if (still.matches) {
    show(1);
    (next.disabled ? play : next).focus({ preventScroll: true });
    return;
  }
  play.focus({ preventScroll: true });
  begin();
});
play.addEventListener("click", () => (playing === null ? begin() : stop()));
back.addEventListener("click", () => { stop(); show(at - 1); });
next.addEventListener("click", () => { stop(); show(at + 1); });
by("way-again").addEventListener("click", () => { endReplay(); shown?.again(); });
by("way-close").addEventListener("click", () => { endReplay(); by("graph").focus({ preventScroll: true }); });
