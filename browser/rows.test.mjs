// What a reader holds stays while figures change every second: a selection, the focus, a click that
// has begun. Rows that are still there are the same elements, and stand in the new order.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { live, shows, visit } from "./pages.mjs";

/** How long the page waits for more transactions before it asks for them, in milliseconds. */
const GATHER = 900;

const address = (number) => `localhost:${4001 + number}`;
const one = (number) => ({ id: number.toString(16).padStart(64, "0"), position: number, signature: "none", transaction: { message: `number ${number}` } });
const pool = (...numbers) => ({ transactions: numbers.map(one), total: numbers.length, next: null, searched: 0 });
const image = (name, nodes) => ({ name, size: 100, here: false, kept: false, nodes });
const topic = (name, items) => ({ name, items, bytes: 10 * items, members: 2, reconciled: 2, oldest: null, newest: null, refused: 0, ignored: 0, deferred: 0, writable: true });
const line = (number) => ({ number, time: 1_700_000_000_000 + number, kind: "other", level: "info", text: `line ${number}` });
const link = (hello, at) => ({ id: hello.peers[at].link, kind: "native", address: hello.peers[at].address, peer: hello.peers[at].id, remote: "127.0.0.1", dialled: true, dialledAddress: hello.peers[at].address, since: Date.now() - 61_000, roundTripSeconds: 0.001, path: null, proved: true, queuedBytes: 0, others: [], why: null });

/** Opens a page of six nodes. `answers` may be changed later. */
async function open(t) {
  const hello = generated(6);
  hello.status.topics = [topic("alpha", 1), topic("beta", 2)];
  hello.status.counters = { alpha: 1, beta: 0, gamma: 3 };
  hello.lines = [line(0), line(1)];
  const answers = { "/api/transactions": pool(3, 2, 1), "/api/images": { images: [image("a.txt", 1), image("b.txt", 1)] }, "/api/links": { links: hello.peers.map((_, at) => link(hello, at)) } };
  for (const { link: id } of hello.peers) answers[`/api/links/${id}/frames`] = { link: id, frames: [], last: 0, missed: 0, since: null, ended: null };
  const server = await serve(t, hello, answers);
  const page = await visit(t, server);
  await live(page);
  await shows(page, 6);
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 3 && document.querySelectorAll("#images li").length === 2);
  return { hello, answers, page, send: server.send };
}

/** Returns peers whose figures have changed. */
const later = (peers, seconds) => peers.map((peer) => ({ ...peer, roundTripSeconds: seconds, openForSeconds: 120 }));
const tripsAre = (page, text) => page.waitForFunction((wanted) => [...document.querySelectorAll("#peers tr > :nth-child(4)")].filter((cell) => cell.textContent === wanted).length >= 4, text);
const firstCells = (page) => page.$$eval("#peers tr > :first-child", (cells) => cells.map((cell) => cell.firstChild.textContent));

test("a selection and the focus outlive changed figures, new rows and another order", async (t) => {
  const { hello, page, send } = await open(t);
  const button = await page.$(`#peers button[data-link="${hello.peers[2].link}"]`);
  await button.focus();
  await page.evaluate(() => {
    const cell = document.querySelectorAll("#peers tr")[1].firstChild;
    getSelection().selectAllChildren(cell);
  });
  const held = () => button.evaluate((element) => ({ isThere: element.isConnected, focused: document.activeElement === element, selected: getSelection().toString() }));
  const expected = await held();
  assert.equal(expected.focused, true);
  assert.match(expected.selected, new RegExp(address(2)));

  send("peers", later(hello.peers, 0.5));
  await tripsAre(page, "500 ms");
  assert.deepEqual(await held(), expected, "figures");

  // The first goes to the end, and one that is new comes before it.
  const [first, ...rest] = later(hello.peers, 0.25);
  const failed = { ...first, id: null, link: null, address: "ws://localhost:5000", state: "failed", reason: "refused" };
  send("peers", [...rest, failed, first]);
  await tripsAre(page, "250 ms");
  assert.deepEqual(await held(), expected, "order");
  assert.deepEqual(await firstCells(page), [...[2, 3, 4, 5].map(address), "localhost:5000", address(1)]);

  send("peers", later(hello.peers.slice(2), 0.125));
  await page.waitForFunction(() => document.querySelectorAll("#peers tr").length === 3);
  assert.equal(await button.evaluate((element) => document.activeElement === element), true, "fewer rows");
  assert.deepEqual(await firstCells(page), [3, 4, 5].map(address));
});

test("rows that stay are the same elements, wherever the page has rows", async (t) => {
  const { hello, answers, page, send } = await open(t);
  await page.click("#counters-summary");
  await page.waitForSelector("#counters div");
  const rows = ["#peers tr", "#nodes tr", "#topics tr", "#counters div", "#images li", "#rows li", "#lines li", "#graph [role=option]"];
  const mark = (all) => page.evaluate((selectors) => selectors.map((selector) => {
    const found = [...document.querySelectorAll(selector)];
    for (const element of found) element.isOld = true;
    return found.length;
  }), all);
  const marked = (all) => page.evaluate((selectors) => selectors.map((selector) => [...document.querySelectorAll(selector)].filter((element) => element.isOld).length), all);
  const before = await mark(rows);
  assert.deepEqual(before, [5, 6, 2, 3, 2, 3, 2, 6]);

  // A node that is unknown comes first among the peers, and last among the nodes.
  const more = generated(7);
  const status = { ...hello.status, uptime: 95, topics: [topic("aleph", 1), topic("alpha", 5), topic("beta", 2)], counters: { alpha: 2, beta: 1, gamma: 3 } };
  answers["/api/transactions"] = pool(4, 3, 2, 1);
  answers["/api/images"] = { images: [image("0.txt", 1), image("a.txt", 2), image("b.txt", 1)] };
  const peers = later([more.peers.at(-1), ...hello.peers], 0.5);
  send("hello", { status, network: more.network, peers, lines: [line(0), line(1), line(2)] });
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 4 && document.querySelectorAll("#images li").length === 3);
  await tripsAre(page, "500 ms");
  assert.deepEqual(await marked(rows), before);
  const texts = (selector) => page.$$eval(selector, (all) => all.map((element) => element.textContent));
  assert.deepEqual((await texts("#topics tr td:first-child")), ["aleph", "alpha", "beta"]);
  assert.deepEqual((await texts("#topics tr td:nth-child(2)")), ["110 B", "550 B", "220 B"]);
  assert.deepEqual((await texts("#counters dt")), ["alpha", "beta", "gamma"]);
  assert.deepEqual((await texts("#lines .text")), ["line 2", "line 1", "line 0"]);
  assert.deepEqual((await texts("#rows .what")), [4, 3, 2, 1].map((number) => `number ${number}`));
  assert.deepEqual((await texts("#images small")), ["100 B · 1 node", "100 B · 2 nodes", "100 B · 1 node"]);

  await page.click(`#peers button[data-link="${hello.peers[0].link}"]`);
  await page.waitForSelector("#link-facts div");
  const facts = await mark(["#link-facts div", "#link-facts dd"]);
  const waiting = answers["/api/links"].links.map((all) => ({ ...all, since: all.since - 600_000, queuedBytes: 2048 }));
  answers["/api/links"] = { links: waiting };
  await page.waitForFunction(() => document.getElementById("link-facts").textContent.includes("2.0 KiB wait"));
  assert.deepEqual(await marked(["#link-facts div", "#link-facts dd"]), facts);
});

test("a click that has begun counts, though rows come before the one that it began on", async (t) => {
  const { hello, answers, page, send } = await open(t);
  /** Presses the button, has something change, and lets go once the page has heard of it. */
  async function press(selector, change) {
    const button = await page.$(selector);
    await button.scrollIntoViewIfNeeded();
    const { x, y, width, height } = await button.boundingBox();
    await page.mouse.move(x + width / 2, y + height / 2);
    await page.mouse.down();
    await change();
    await page.mouse.up();
  }
  /** Sends an event with a line, and waits for that: events before it were handled too. */
  async function tell(number, transactions = 0) {
    send("activity", { transactions, broadcasts: 0, missed: 0, samples: [], lines: [line(number)] });
    await page.waitForSelector(`#lines .text:text-is("line ${number}")`);
  }
  const others = later(generated(9).peers.slice(5), 0.5);
  const wanted = hello.peers[1];
  await press(`#peers button[data-link="${wanted.link}"]`, async () => {
    send("peers", [...others, ...later(hello.peers, 0.5)]);
    await tell(2);
  });
  await page.waitForSelector("#link[open]");
  assert.match(await page.textContent("#link-heading"), new RegExp(`^Link ${wanted.link}\\b`));
  await page.keyboard.press("Escape");
  send("peers", [...others, ...later(hello.peers, 0.5)]);
  await page.waitForFunction(() => document.querySelectorAll("#peers tr").length === 8);

  await press('#rows button:has-text("number 2")', async () => {
    answers["/api/transactions"] = pool(5, 4, 3, 2, 1);
    await tell(3, 2);
    // The page's timer began before this one, and so did the request that it would make.
    await page.evaluate(async (gather) => {
      await new Promise((done) => setTimeout(done, gather));
      await (await fetch("api/transactions")).json();
    }, GATHER);
  });
  await page.waitForSelector("#one[open]");
  assert.match(await page.textContent("#one-body"), /number 2/);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 5);

  const path = `/api/links/${wanted.link}/frames`;
  const frame = (number) => ({ number, time: 1_700_000_000_000, direction: "received", opcode: "text", type: "STATUS", bytes: 20, text: `{"type":"STATUS","n":${number}}`, cut: false, note: null, addresses: [], more: 0 });
  answers[path] = { ...answers[path], frames: [frame(1)], last: 1 };
  await page.click(`#peers button[data-link="${wanted.link}"]`);
  await page.waitForSelector('#frames li[data-number="1"]');
  await press('#frames li[data-number="1"] summary', async () => {
    answers[path] = { ...answers[path], frames: [frame(3), frame(2)], last: 3 };
    // Each request but the first follows what the one before it brought.
    for (let asked = 0; asked < 3; asked += 1) await page.waitForResponse((response) => response.url().includes(path));
  });
  await page.waitForSelector('#frames li[data-number="1"] details[open]');
  await page.waitForSelector('#frames li[data-number="3"]');
});

test("5,000 transactions, page after page, are added without a change of those that are there", async (t) => {
  const { answers, page } = await open(t);
  const PAGE = 500;
  answers["/api/transactions"] = { ...pool(...[...Array(PAGE).keys()].map((at) => 9_999 - at)), total: 5_000, next: 1 };
  await page.fill("#search", "number");
  await page.waitForFunction((count) => document.querySelectorAll("#rows li").length === count, PAGE);
  await page.focus("#rows button");
  await page.evaluate(() => { document.querySelector("#rows li").isOld = true; });
  for (let shown = PAGE; shown < 5_000; shown += PAGE) {
    answers["/api/transactions"] = { ...pool(...[...Array(PAGE).keys()].map((at) => 9_999 - shown - at)), total: 5_000, next: 1 };
    await page.$eval("#more", (button) => button.click());
    await page.waitForFunction((count) => document.querySelectorAll("#rows li").length === count, shown + PAGE);
  }
  assert.equal(await page.evaluate(() => document.querySelector("#rows li").isOld && document.activeElement.closest("li") === document.querySelector("#rows li")), true);
});
