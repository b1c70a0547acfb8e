// Helpers for all parts of the page. Foreign text reaches the document by textContent only.

import { setToken } from "./request.js";

export const by = (id) => document.getElementById(id);

/** Returns an element with attributes and children; strings become text nodes. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets a text only if it changed, which leaves screen readers and selections alone. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

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
