// The topics besides the default pool: shown only where there are some.

import { by, bytes, count, duration, foreign, isPressed, make, now, number, setText, update } from "./dom.js";

function since(seconds) {
  if (seconds === undefined || seconds === null) return "";
  const age = Math.floor(now() / 1000) - seconds;
  return age < 0 ? `in ${duration(-age)}` : `${duration(age)} ago`;
}

/** Returns what did not become an item, and why. */
function left({ refused, ignored, deferred }) {
  const parts = [[refused, "refused"], [ignored, "ignored"], [deferred, "deferred"]].filter(([value]) => value > 0);
  return parts.map(([value, what]) => `${number(value)} ${what}`).join(", ");
}

export function show(topics = []) {
  by("topics-card").hidden = topics.length === 0;
  if (topics.length === 0) return;
  setText(by("topics-summary"), count(topics.length, "topic"));
  const body = by("topics");
  if (isPressed(body)) return;
  const rows = topics.map((topic) => make("tr", { "data-key": topic.name },
    make("td", { class: "topic" }, foreign(topic.name), topic.writable ? null : make("small", {}, "takes no items: it is full, or its file cannot be written")),
    make("td", { class: "number", "data-label": "Items" }, number(topic.items), make("small", {}, bytes(topic.bytes))),
    make("td", { class: "number", "data-label": "Members" }, number(topic.members), make("small", {}, `${number(topic.reconciled)} with the same items`)),
    make("td", { class: "short", "data-label": "Oldest" }, since(topic.oldest)),
    make("td", { class: "short", "data-label": "Newest" }, since(topic.newest)),
    make("td", { "data-label": "Not taken" }, left(topic))));
  update(body, rows);
}
