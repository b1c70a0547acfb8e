// The events as text, newest first.

import { by, hasNodeId, make, shortAddresses, time, update } from "./dom.js";

const LINES = 200;
const list = by("lines");
let last = -1;

by("feed-transactions").addEventListener("change", (event) => list.classList.toggle("without", !event.target.checked));

/** Replaces the list with the lines that the node kept. */
export function begin(lines) {
  update(list, lines.slice(-LINES).reverse().map(row));
  last = lines.at(-1)?.number ?? -1;
}

/** Shortens a line of the log for the page. */
const shown = (text) => shortAddresses(text).replace(/, writing it to transactions\.json$/, "");

function row(line) {
  return make("li", { "data-key": `${line.number} ${line.time}`, "data-kind": line.kind, "data-level": line.level },
    make("time", { datetime: new Date(line.time).toISOString() }, time(line.time)),
    make("span", { class: "tick", "aria-hidden": "true" }),
    make("span", { class: "text", title: hasNodeId(line.text) ? line.text : null }, line.message === undefined ? null : make("span", { class: "message" }, line.message), shown(line.text)));
}

export function add(lines) {
  const fresh = lines.filter((line) => line.number > last);
  if (fresh.length === 0) return;
  last = fresh.at(-1).number;
  list.prepend(...fresh.slice(-LINES).reverse().map(row));
  while (list.childElementCount > LINES) list.lastElementChild.remove();
}
