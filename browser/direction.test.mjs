// Text of others that runs from right to left, or has marks of the reading direction, reorders
// nothing around it: marks are shown as escapes, and each such text is isolated.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { live, shows, visit } from "./pages.mjs";

const MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069";
/** A text of others: Hebrew, a number, and each mark. */
const odd = (name) => `\u05d0\u05d1 ${name} 7 ${MARKS}!`;
const escaped = (text) => text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
const id = (digit) => digit.repeat(64);

/** Notes what is drawn. */
function spy() {
  const { prototype } = CanvasRenderingContext2D;
  const { fillText } = prototype;
  globalThis.drawn = new Set();
  prototype.fillText = function (text, ...rest) {
    globalThis.drawn.add(text);
    return fillText.call(this, text, ...rest);
  };
}

/** Returns what is wrong with the texts that are shown, and those that are alone in their element. */
function judge(page) {
  return page.evaluate(() => {
    const marks = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
    const faults = [];
    const whole = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const { data, parentElement } = walker.currentNode;
      const where = parentElement.outerHTML.slice(0, 120);
      if (marks.test(data)) faults.push(`a mark in ${where}`);
      if (!/\u05d0/.test(data) || parentElement.tagName === "OPTION") continue;
      if (!/isolate|plaintext/.test(getComputedStyle(parentElement).unicodeBidi)) faults.push(`not isolated: ${where}`);
      whole.push(data);
    }
    for (const element of document.querySelectorAll("*")) {
      for (const name of ["title", "aria-label", "aria-valuetext", "data-meaning"]) if (marks.test(element.getAttribute(name) ?? "")) faults.push(`a mark in ${name} of ${element.outerHTML.slice(0, 120)}`);
    }
    for (const text of [...globalThis.drawn, document.title]) if (marks.test(text)) faults.push(`a mark is drawn: ${text}`);
    return { faults, whole };
  });
}

test("text of others is isolated, and its marks are seen, wherever it is shown", async (t) => {
  const hello = generated(4);
  const [, one, two] = hello.network.nodes;
  one.agent = odd("agent");
  two.address = odd("address");
  Object.assign(hello.status, {
    network: odd("network"),
    agent: odd("own agent"),
    dialBacks: { reached: 0, failed: 1, error: odd("not dialled") },
    topics: [{ name: odd("topic"), items: 1, bytes: 10, members: 1, reconciled: 1, oldest: null, newest: null, refused: 0, ignored: 0, deferred: 0, writable: false }],
  });
  hello.peers.push({ ...hello.peers[0], id: null, link: null, address: "ws://localhost:5000", state: "failed", reason: odd("reason") });
  hello.lines = [{ number: 0, time: 1_700_000_000_000, kind: "broadcast", level: "info", text: `lost a peer: ${odd("cause")}`, message: odd("broadcast") }];
  const transactions = [
    { fromAddress: odd("from"), toAddress: odd("to"), amount: odd("amount") },
    { fromAddress: null, toAddress: odd("rewarded"), amount: 5 },
    { message: odd("message") },
    { [odd("name")]: [odd("value"), 5] },
  ].map((transaction, position) => ({ id: id(String(position)), position, signature: "none", transaction }));
  const { link, address, id: peer } = hello.peers[0];
  const facts = { id: link, kind: "client", address: null, peer: null, remote: odd("remote"), dialled: false, dialledAddress: address, since: Date.now(), roundTripSeconds: null, path: odd("path"), proved: true, queuedBytes: 0, others: [9], why: odd("why") };
  const frame = { number: 1, time: 1_700_000_000_000, direction: "received", opcode: "text", bytes: 20, cut: false, addresses: [{ address: odd("named"), text: odd("outcome") }], more: 0 };
  const frames = [
    { ...frame, type: "TRANSACTION", text: JSON.stringify({ type: "TRANSACTION", data: { [odd("member")]: odd("content") } }), note: null },
    { ...frame, number: 2, type: null, text: odd("no message"), note: odd("note") },
  ];
  const event = { number: 0, kind: "lost", time: 1_700_000_000_000, text: odd("event"), address: null, addresses: [{ address: odd("learned"), text: odd("became") }], more: 0, transactions: [], link: null, learnedFrom: null };
  const decided = { peer, address: null, outcome: "failed", text: odd("decision"), link, open: true };
  const { url } = await serve(t, hello, {
    "/api/transactions": { transactions, total: 4, next: null, searched: 0 },
    [`/api/transactions/${id("3")}/way`]: { ids: [{ name: "id", value: odd("own id"), text: odd("of id") }], note: odd("noted"), way: { arrived: { time: 1_700_000_000_000, text: odd("arrived"), link: null, origin: null, peer }, stored: null, links: [decided], more: 0, clients: 0 }, position: 0 },
    "/api/images": { images: [{ name: odd("image"), size: 1, here: true, kept: false, nodes: 0 }] },
    "/api/timeline": { entries: [event], more: 0 },
    "/api/links": { links: [facts] },
    [`/api/links/${link}/frames`]: { link, frames, last: 2, missed: 3, since: null, ended: odd("ended") },
  });
  const page = await visit(t, { url });
  await page.addInitScript(spy);
  await page.reload();
  await live(page);
  await shows(page, 4);
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 4 && document.querySelectorAll("#images li").length === 1 && document.querySelectorAll("#timeline li").length > 1);
  await page.waitForFunction(() => document.getElementById("graph").dataset.rests === "true");
  await page.focus("#graph");
  for (let step = 0; step < 3; step += 1) await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.getElementById("spoken").textContent.includes("address"));

  const seen = await judge(page);
  await page.click("#rows li:nth-child(4) button");
  await page.waitForFunction(() => document.querySelectorAll("#one-way li").length === 3);
  const whole = await judge(page);
  assert.deepEqual(JSON.parse(await page.textContent("#one-body")), transactions[3].transaction, "it is the same JSON");
  await page.keyboard.press("Escape");
  await page.click(`#peers button[data-link="${link}"]`);
  await page.waitForSelector('#frames li[data-number="2"]');
  for (const number of [1, 2]) await page.click(`#frames li[data-number="${number}"] summary`);
  await page.waitForFunction(() => document.getElementById("link-why").textContent !== "" && document.querySelectorAll("#frames pre").length === 2);
  const opened = await judge(page);

  assert.deepEqual([...seen.faults, ...whole.faults, ...opened.faults], []);
  // Beside each of these the page's own words stand, so it has an element of its own.
  const alone = (found, names, quote = (text) => text) => names.forEach((name) => assert.ok(found.whole.includes(quote(escaped(odd(name)))), `${name} is alone`));
  const inQuotes = (text) => `"${text}"`;
  alone(seen, ["network", "not dialled", "agent", "own agent", "topic", "reason", "broadcast", "from", "to", "amount", "rewarded", "message", "image", "learned", "became"]);
  alone(whole, ["own id", "of id", "noted", "arrived"]);
  for (const found of [seen, whole]) alone(found, ["name", "value"], inQuotes);
  alone(opened, ["remote", "path", "why", "named", "outcome", "no message", "note", "ended"]);
  alone(opened, ["member", "content"], inQuotes);
});
