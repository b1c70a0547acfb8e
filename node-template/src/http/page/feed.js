// What happens, in words, newest first.

import { by, make, time } from "./dom.js";

const KEPT = 200;
const list = by("lines");
let last = -1;

by("feed-transactions").addEventListener("change", (event) => list.classList.toggle("without", !event.target.checked));

/** Begins anew with what a node remembers. */
export function begin(lines) {
  list.replaceChildren();
  last = -1;
  add(lines);
}

/** The log's words, without what goes without saying here. */
const shown = (text) => text.replace(/\bwss?:\/\//g, "").replace(/, writing it to transactions\.json$/, "");

export function add(lines) {
  const fresh = lines.filter((line) => line.number > last);
  if (fresh.length === 0) return;
  last = fresh.at(-1).number;
  const rows = fresh.slice(-KEPT).reverse().map((line) =>
    make("li", { "data-kind": line.kind, "data-level": line.level },
      make("time", { datetime: new Date(line.time).toISOString() }, time(line.time)),
      make("span", { class: "tick", "aria-hidden": "true" }),
      make("span", { class: "text" }, line.message === undefined ? null : make("span", { class: "said" }, line.message), shown(line.text))));
  list.prepend(...rows);
  while (list.childElementCount > KEPT) list.lastElementChild.remove();
}
