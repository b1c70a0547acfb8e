// The diagram of networks of several sizes: its nodes and links by keyboard and for screen readers,
// its legend, and nodes of the exercise, each counted once.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { axe, live, shows, visit } from "./pages.mjs";

async function show(t, hello, options) {
  const { url, send } = await serve(t, hello);
  const page = await visit(t, { url }, options);
  await live(page);
  await shows(page, hello.network.nodes.length);
  return { page, send };
}

const active = (page) => page.evaluate(() => {
  const canvas = document.getElementById("graph");
  const item = document.getElementById(canvas.getAttribute("aria-activedescendant"));
  return { text: item?.textContent, selected: item?.getAttribute("aria-selected"), owned: item?.parentElement === canvas };
});

test("nodes and links are reached by keyboard and described", async (t) => {
  const { page } = await show(t, generated(5, { exercise: 1 }));
  await page.focus("#graph");
  await page.keyboard.press("Home");
  assert.match((await active(page)).text, /^localhost:4001, this node, id 0{15}/);
  await page.keyboard.press("ArrowRight");
  const second = await active(page);
  assert.match(second.text, /^localhost:4002, id .*, it dialled this node, 0\.41 ms round trip/);
  assert.deepEqual([second.selected, second.owned], ["true", true]);
  assert.match(await page.textContent("#spoken"), /^localhost:4002: id /);
  await page.keyboard.press("ArrowDown");
  assert.match((await active(page)).text, /^Link to localhost:4002, it dialled this node.*, one WebSocket carries both directions$/);
  assert.match(await page.textContent("#hint"), /Link to localhost:4002/);
  await page.keyboard.press("ArrowDown");
  assert.match((await active(page)).text, /^Link between localhost:4002 and localhost:4003, as announced by these nodes, direction unknown here$/);
  await page.keyboard.press("Enter");
  assert.match(await page.textContent("#spoken"), /only its own links can be opened/);
  await page.keyboard.press("End");
  assert.match((await active(page)).text, /^localhost:4005, exercise peer, it dialled this node and this node dialled it: a node of the exercise keeps both/);
  // Enter leads to the frames of the link.
  await page.keyboard.press("Enter");
  await page.waitForSelector("#link[open]");
  await page.keyboard.press("Escape");
  await page.focus("#graph");
  await page.keyboard.press("Escape");
  assert.ok(await page.isHidden("#hint"));
});

test("a node of the exercise with two sockets is one node, one link and one row, with the reason", async (t) => {
  const { page } = await show(t, generated(4, { exercise: 2 }));
  assert.equal(await page.textContent("#network-summary"), "4 nodes, 3 links");
  assert.equal(await page.textContent("#figure-peers"), "3");
  assert.equal(await page.locator("#peers tr:has(button)").count(), 3);
  assert.match(await page.textContent('#peers tr:has-text("localhost:4004")'), /both ways/);
  const reason = await page.textContent('#peers tr:has-text("localhost:4004") + tr.reason');
  assert.match(reason, /^both ways: it dialled this node and this node dialled it: a node of the exercise keeps both/);
  assert.equal(await page.locator('#peers tr:has-text("localhost:4004") button').count(), 2);
  assert.equal(await page.locator('#nodes tr:has-text("localhost:4004")').count(), 1);
});

test("the legend explains each mark", async (t) => {
  const { page } = await show(t, generated(3));
  const legend = await page.$$eval(".legend li", (items) => items.map((item) => item.textContent));
  for (const part of ["this node", "exercise peer", "carries both directions", "from the node that dialled", "link of others, as they announce it", "transaction", "broadcast"]) {
    assert.ok(legend.some((text) => text.includes(part)), part);
  }
  assert.equal(await page.getAttribute(".legend", "aria-hidden"), null);
});

test("topics have a card, shown only where there are some", async (t) => {
  const hello = generated(3);
  const { page, send } = await show(t, hello);
  assert.ok(await page.isHidden("#topics-card"));
  const now = Math.floor(hello.status.time / 1000);
  const topic = { name: "blocks<b>", items: 1200, bytes: 40_960, end: 1300, members: 2, reconciled: 1, writable: true, refused: 3, ignored: 0, deferred: 2, oldest: now - 7_200, newest: now - 30 };
  const full = { name: "chat", items: 0, bytes: 0, end: 0, members: 0, reconciled: 0, writable: false, refused: 0, ignored: 0, deferred: 0 };
  send("status", { ...hello.status, topics: [topic, full] });
  await page.waitForSelector("#topics-card:not([hidden])");
  const rows = await page.$$eval("#topics tr", (all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(rows[0].slice(0, 4), ["blocks<b>", "1,20040.0 KiB", "21 with the same items", "2 h 0 min ago"]);
  assert.match(rows[0][4], /^3\d s ago$/);
  assert.equal(rows[0][5], "3 refused, 2 deferred");
  assert.deepEqual(rows[1].slice(1), ["00 B", "00 with the same items", "", "", ""]);
  assert.match(rows[1][0], /^chattakes no items/);
  send("status", hello.status);
  await page.waitForSelector("#topics-card[hidden]", { state: "attached" });
});

test("columns that do not fit are left out", async (t) => {
  const hello = generated(4);
  const { url } = await serve(t, hello);
  for (const [width, queued, uptime] of [[1440, true, true], [1280, false, true], [401, false, true], [400, false, false]]) {
    const page = await visit(t, { url }, { viewport: { width, height: 900 } });
    await live(page);
    const seen = (name) => page.locator(`th:text-is("${name}")`).isVisible();
    assert.deepEqual([await seen("Queued"), await seen("Uptime")], [queued, uptime], String(width));
    const cut = await page.$$eval(".peers .scroll, .nodes .scroll", (all) => all.map((one) => one.scrollWidth - one.clientWidth));
    assert.deepEqual(cut, [0, 0], `${width}: a table is wider than its card`);
  }
});

test("axe finds nothing in the diagram of 30 and of 300 nodes, with a link chosen", async (t) => {
  for (const [count, options] of [[30, { exercise: 2 }], [300, { degree: 3 }]]) {
    const { page } = await show(t, generated(count, options), { viewport: { width: 1280, height: 900 } });
    await page.focus("#graph");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    await axe(page, String(count));
  }
});
