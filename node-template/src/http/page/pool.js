// The pool in pages, newest first, with search. A click shows a whole transaction.

import { copies } from "./copy.js";
import { by, count, foreign, isPressed, jsonLine, make, now, number, setText, time, update } from "./dom.js";
import { layOut } from "./json.js";
import { ask } from "./request.js";
import { showWay } from "./way.js";

const PAGE = 30;
const rows = by("rows");
const more = by("more");
const summary = by("pool-summary");
let next = null;
let searched = 0;
let asking = null;
let wanted = false;
/** Those that have a row, by id; of them `seen` are those of the newest page. */
const listed = new Map();
let seen = new Set();

const needle = () => by("search").value.trim();

/** Summarises any transaction in a line. */
function describe(transaction) {
  if (transaction === null) return ["a large transaction"];
  const { fromAddress, toAddress, amount, message } = transaction;
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  // The exercise's blockchain pays rewards from nobody.
  if (amount !== undefined && fromAddress === null && toAddress !== undefined) {
    return [make("b", {}, shown(amount)), " reward to ", foreign(shown(toAddress))];
  }
  if (amount !== undefined && (fromAddress !== undefined || toAddress !== undefined)) {
    const ends = [["from", fromAddress], ["to", toAddress]].filter(([, name]) => name !== null && name !== undefined);
    return [make("b", {}, shown(amount)), ...ends.flatMap(([which, name]) => [` ${which} `, foreign(shown(name))])];
  }
  if (typeof message === "string") return [message];
  return jsonLine(JSON.stringify(transaction));
}

const SIGNATURES = { verified: "verified", none: "unsigned", forged: "forged" };

/** Describes the state of a signature. */
function signature(state, transaction) {
  if (state === "verified") return transaction ? `Verified: signed by ${transaction.publicKey}` : "Verified: signed by its publicKey";
  if (state === "forged") return "Forged: the signature does not match the publicKey and the content";
  return "Unsigned: the author is not proven";
}

function when(transaction) {
  const stamp = transaction?.timeStamp;
  if (typeof stamp !== "number" || !(stamp > 0 && stamp < 2 ** 53)) return null;
  const at = new Date(stamp >= 1e11 ? stamp : stamp * 1000);
  if (Number.isNaN(at.getTime())) return null;
  const today = at.toDateString() === new Date(now()).toDateString();
  return make("time", { class: "when", datetime: at.toISOString() }, today ? time(at) : at.toLocaleDateString());
}

function row(one, fresh) {
  const button = make("button", { type: "button", class: fresh ? "fresh" : "", title: one.id },
    make("span", { class: "id" }, one.id.slice(0, 8)),
    make("span", { class: "what" }, ...describe(one.transaction)),
    make("span", { class: "signature", "data-state": one.signature, title: signature(one.signature, one.transaction) }, SIGNATURES[one.signature] ?? ""),
    when(one.transaction) ?? make("span", { class: "when" }, `no. ${number(one.position + 1)}`));
  listed.set(one.id, one);
  return make("li", { "data-key": one.id }, button);
}

const failed = (error) => setText(summary, error.status ? error.message : "The node does not answer");

async function page(before) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (needle() !== "") query.set("search", needle());
  if (before !== null) query.set("before", String(before));
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  try {
    const answer = await (await ask(`api/transactions?${query}`, { signal: mine.signal })).json();
    if (mine.signal.aborted) return;
    fill(answer, before === null);
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  } finally {
    if (asking === mine) asking = null;
  }
}

function fill(answer, first) {
  if (first && needle() === "" && isPressed(rows)) return refresh();
  const known = first ? seen : new Set();
  if (first) listed.clear();
  const items = answer.transactions.map((one) => row(one, first && known.size > 0 && needle() === "" && !known.has(one.id)));
  if (first) {
    update(rows, items);
    searched = 0;
    seen = new Set(answer.transactions.map((one) => one.id));
  } else {
    rows.append(...items);
  }
  searched += answer.searched;
  next = answer.next;
  more.hidden = next === null;
  setText(more, needle() === "" ? "Show older" : "Search further");
  if (needle() !== "") setText(summary, `${count(rows.childElementCount, "hit")} in the ${number(searched)} newest of ${count(answer.total, "transaction")}`);
  else setText(summary, answer.total === 0 ? "None yet. Add the first above." : `${count(answer.total, "transaction")}, newest first`);
}

/** Shows new transactions once a second, unless the reader has more pages open or searches. */
export function refresh() {
  if (wanted) return;
  wanted = true;
  setTimeout(() => {
    wanted = false;
    if (needle() !== "" || rows.childElementCount > PAGE) return;
    // A request for older ones must not be aborted, nor a click.
    if (asking || isPressed(rows)) refresh();
    else page(null);
  }, 900);
}

export const begin = () => page(null);

/** A longer transaction is shown as one text: elements for each name would take the browser long. In
 * characters of its JSON. */
const LONG = 50_000;

/** Returns a transaction as JSON, each name and value isolated from what stands beside it. */
function written(whole) {
  const text = JSON.stringify(whole);
  if (text.length > LONG) return [make("span", {}, JSON.stringify(whole, null, 2))];
  return layOut(text).map(({ kind, text: part }) => (kind === "key" || kind === "value" ? make("span", {}, part) : part));
}

async function show(one) {
  let whole = one.transaction;
  if (whole === null) whole = (await (await ask(`api/transactions/${one.id}`)).json()).transaction;
  setText(by("one-id"), one.id);
  setText(by("one-signature"), signature(one.signature, whole));
  by("one-signature").dataset.state = one.signature;
  by("one-body").replaceChildren(...written(whole));
  if (!by("one").open) by("one").showModal();
  by("one").scrollTop = 0;
  await showWay(one.id, () => show(one).catch(failed));
}

/** Opens the view of a transaction by its id. */
export async function openTransaction(id) {
  try {
    await show(await (await ask(`api/transactions/${id}`)).json());
  } catch (error) {
    failed(error);
  }
}

copies(by("one-copy"), by("one-body"));
rows.addEventListener("click", ({ target }) => {
  const row = target.closest("li");
  if (row) show(listed.get(row.dataset.key)).catch(failed);
});
more.addEventListener("click", () => page(next));
by("search-form").addEventListener("submit", (event) => event.preventDefault());
let typing;
by("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => page(null), 200);
});
