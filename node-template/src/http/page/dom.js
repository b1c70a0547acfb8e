// Helpers for all parts of the page. Foreign text reaches the document by textContent only.

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

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
export const time = (at) => clock.format(at);

/** Returns a node's address without its scheme, or the beginning of its id. */
export function nameOf(node) {
  if (node.address) return node.address.replace(/^wss?:\/\//, "");
  return node.id.startsWith("plain:") ? node.id.slice(6) : node.id.slice(0, 8);
}

let token = sessionStorage.getItem("token");
export function keepToken(value) {
  token = value;
  sessionStorage.setItem("token", value);
}

export const hasToken = () => token !== null;

/** Sends a request to the node. An error carries the node's message. */
export async function ask(path, { body, signal } = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Without a message the status has to do.
  }
  throw Object.assign(new Error(detail), { status: response.status });
}
