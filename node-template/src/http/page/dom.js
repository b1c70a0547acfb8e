// Helpers for all parts of the page. Foreign text reaches the document by textContent only.

import { layOut } from "./json.js";
import { setToken } from "./request.js";

export const by = (id) => document.getElementById(id);

/** Marks of the reading direction (UAX #9): they reorder the text around them. */
const DIRECTION = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
/** Returns a text with such marks as escapes, such as \u202E, which are seen and reorder nothing. */
export const visible = (text) => String(text).replace(DIRECTION, (mark) => `\\u${mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);

/** Attributes that people read or hear. */
const READ = new Set(["title", "aria-label"]);

/** Returns an element with attributes and children; strings become text nodes. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : READ.has(key) ? visible(value) : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : visible(child))));
  return element;
}

/** Returns a text of others that stands beside words of the page. One that runs from right to left
 * takes none of them along, and an escape in it stays whole. */
export const foreign = (text) => make("bdi", { dir: "ltr" }, text);

/** Returns JSON in one line, or what is there of it, each name and value isolated from the marks
 * between them. */
export function jsonLine(text) {
  const parts = layOut(text).filter(({ kind }) => kind !== "space");
  return parts.map(({ kind, text: part }) => (kind === "mark" ? part.trim() : make("span", {}, part)));
}

/** Sets a text only if it changed, which leaves screen readers and selections alone. */
export function setText(element, text) {
  const wanted = visible(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Puts these elements into a parent, in their order, in place of those that are not among them. An
 * element that only stays is not touched: a move would take its focus and its selection. */
export function arrange(parent, wanted) {
  const { activeElement } = document;
  const stay = new Set(wanted);
  for (const node of [...parent.childNodes]) if (!stay.has(node)) node.remove();
  let next = parent.firstChild;
  for (const node of wanted) {
    // An element that went down is moved itself, not all that it passed.
    if (next !== node && next?.nextSibling === node) parent.append(next);
    else if (next !== node) parent.insertBefore(node, next);
    next = node.nextSibling;
  }
  if (document.activeElement !== activeElement && parent.contains(activeElement)) activeElement.focus({ preventScroll: true });
}

const keyOf = (node) => `${node.nodeName} ${node.dataset?.key ?? ""}`;

/** Gives a parent these children, and keeps those that it has: what differs in them is changed. A
 * child is known by its `data-key`; without one the next of the same kind is taken for it. */
export function update(parent, wanted) {
  const known = Map.groupBy(parent.childNodes, keyOf);
  arrange(parent, wanted.map((node) => {
    const old = known.get(keyOf(node))?.shift();
    return old ? become(old, node) : node;
  }));
}

/** Makes a node equal to another one. */
function become(old, node) {
  if (old.isEqualNode(node)) return old;
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = node.data;
    return old;
  }
  for (const { name } of [...old.attributes]) if (!node.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  update(old, [...node.childNodes]);
  return old;
}

/** Returns whether the reader holds a mouse button down on an element, or a finger: rows that came
 * or went now would move what is about to be clicked or selected. */
export const isPressed = (element) => element.matches(":active");

const grouped = new Intl.NumberFormat("en");
export const number = (value) => grouped.format(value);

/** Formats a number for a narrow column: 12,345 and 1.2 M. */
export function short(value) {
  if (value < 1e5) return number(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} k` : `${(value / 1e6).toFixed(1)} M`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  return count < 1024 * 1024 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

export function milliseconds(seconds) {
  const value = seconds * 1000;
  return value < 1 ? `${value.toFixed(2)} ms` : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

export const count = (value, one, more = `${one}s`) => `${number(value)} ${value === 1 ? one : more}`;

/** How far the node's clock is ahead of the browser's, in milliseconds. */
let ahead = 0;
/** Sets the present time by the node's clock. */
export function setNow(time) {
  ahead = time - Date.now();
}

/** Returns the present time by the node's clock, which all times are by that the node names; the
 * browser's may be wrong. In milliseconds since 1970. */
export const now = () => Date.now() + ahead;

// Of `hour12: false` older browsers make 24:15.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const time = (at) => clock.format(at);

const SCHEME = /\bwss?:\/\//g;
/** An address by node id, with its relays. In a text the short id may follow it. */
const BY_ID = /\biroh:([0-9a-f]{8})[0-9a-f]{56}(?:@[\w.:,[\]-]*[\w\]])?(?: \(\1\))?/g;

/** Returns a text with its addresses as people read them: without the scheme, and of an address by
 * node id the beginning of the id. */
export const shortAddresses = (text) => text.replace(SCHEME, "").replace(BY_ID, "$1");

/** Returns whether a text has an address by node id, of which the page shows only the beginning. */
export const hasNodeId = (text) => text.search(BY_ID) >= 0;

/** Returns an address, or a text with some, in its short form; a title has all of it. */
export const addressed = (text) => make("span", { title: hasNodeId(text) ? text : null }, shortAddresses(text));

/** Returns a node's address in its short form, or the beginning of its id. */
export function nameOf(node) {
  if (node.address) return shortAddresses(node.address);
  return node.id.startsWith("plain:") ? node.id.slice(6) : node.id.slice(0, 8);
}

/** Keeps the token for reloads of this tab. */
export function keepToken(value) {
  setToken(value);
  try {
    sessionStorage.setItem("token", value);
  } catch {
    // A browser that blocks storage asks again after a reload.
  }
}

try {
  setToken(sessionStorage.getItem("token"));
} catch {
  // As above.
}
