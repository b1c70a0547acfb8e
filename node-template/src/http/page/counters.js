// The counters, folded: those that are not zero first, each with a sentence.

import { arrange, by, count, make, number, setText } from "./dom.js";
import { ask } from "./request.js";

const details = by("counters-details");
const list = by("counters");
/** A row by the name of its counter. */
const rows = new Map();
let values = {};

const shown = (name) => name.replaceAll("_", " ");

function row(name) {
  const value = make("dd", {});
  const sentence = make("dd", { class: "sentence" });
  const whole = make("div", {}, make("dt", {}, shown(name)), value, sentence);
  return { whole, value, sentence };
}

export function show(next) {
  values = next;
  const names = Object.keys(values);
  const used = names.filter((name) => values[name] !== 0);
  setText(by("counters-summary"), `${count(used.length, "counter")} not zero, of ${names.length}`);
  if (details.open) draw(used, names.filter((name) => values[name] === 0));
}

function draw(used, unused) {
  for (const name of [...used, ...unused]) {
    if (!rows.has(name)) rows.set(name, row(name));
    const { whole, value } = rows.get(name);
    whole.classList.toggle("zero", values[name] === 0);
    setText(value, number(values[name]));
  }
  arrange(list, [...used, ...unused].map((name) => rows.get(name).whole));
}

/** Takes the sentences from the help texts of the metrics, once. */
async function explain() {
  const text = await (await ask("metrics")).text();
  for (const [, name, help] of text.matchAll(/^# HELP meshpool_(\w+?)(?:_total)? (.+)$/gm)) {
    if (rows.has(name)) setText(rows.get(name).sentence, help);
  }
}

let explained = false;
details.addEventListener("toggle", () => {
  if (!details.open) return;
  show(values);
  if (explained) return;
  explained = true;
  explain().catch(() => { explained = false; });
});
