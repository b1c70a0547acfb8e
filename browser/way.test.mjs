// The way of a transaction on the page: who brought it, to whom it was sent, to whom not and why, its
// three ids, and the replay in the diagram.

import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually } from "./nodes.mjs";
import { PICTURES, axe, live, network, rowWith, shows, start, visit } from "./pages.mjs";

const plain = (node) => node.address.replace("ws://", "");

/** Opens a transaction whose row has this text. */
async function openTransaction(page, text) {
  await rowWith(page, text);
  await page.click(`#rows button:has-text("${text}")`);
  await page.waitForSelector("#one[open]");
  await page.waitForSelector('#one-way li[data-kind="came"]');
}

const steps = (page) => page.$$eval("#one-way > li", (items) => items.map((item) => [item.dataset.kind, item.dataset.outcome ?? "", item.querySelector(".told").textContent]));

/** Adds transactions at one node until another prunes a third, as the tree of the first has grown. */
async function prunedAt(origin, node, other) {
  let number = 0;
  const id = (await other.api("/api/status")).node;
  return eventually("a transaction that was not wanted", async () => {
    number += 1;
    const message = `number ${number} of ${plain(origin)}`;
    const added = await origin.api("/api/transactions", { message });
    const { way } = await node.api(`/api/transactions/${added.id}/way`);
    return way?.links.some((link) => link.peer === id && link.outcome === "pruned") && message;
  });
}

test("a click on a transaction shows to whom it was sent, its three ids, and when it was on disk", async (t) => {
  const nodes = await network(3);
  const page = await visit(t, nodes[1]);
  await live(page);
  await nodes[1].api("/api/transactions?stamp=true", { fromAddress: "ann", toAddress: "bob", amount: 5 });
  await openTransaction(page, "5 from ann to bob");
  const all = await steps(page);
  assert.deepEqual(all.map(([kind]) => kind), ["came", "stored", "sent", "sent"]);
  assert.match(all[0][2], /^It entered the network at this node/);
  assert.match(all[1][2], /^It was on disk [\d.]+ ms later/);
  for (const other of [nodes[0], nodes[2]]) assert.ok(all.some(([kind, , text]) => kind === "sent" && text.startsWith(plain(other))), JSON.stringify(all));
  const ids = await page.$$eval("#one-ids div", (rows) => rows.map((row) => [...row.children].map((part) => part.textContent)));
  assert.deepEqual(ids.map(([name]) => name), ["identity", "id", "hash"]);
  const body = JSON.parse(await page.textContent("#one-body"));
  assert.deepEqual(ids.map(([, value]) => value), [await page.textContent("#one-id"), body.id, body.hash]);
  assert.match(ids[0][2], /RFC 8785/);
  assert.match(ids[2][2], /it is right/);
  // One more click leads to the frames of a link that it went out on.
  await page.click('#one-way li[data-kind="sent"] button');
  await page.waitForSelector("#link[open] #frames-begin li");
});

test("why a node did not send it to another one is said, and the replay shows each step", async (t) => {
  const [first, second, third] = await network(3);
  const message = await prunedAt(first, second, third);
  const page = await visit(t, second);
  await live(page);
  await shows(page, 3);
  await openTransaction(page, message);
  const all = await steps(page);
  assert.match(all[0][2], new RegExp(`^${plain(first)} sent it on link \\d+\\. It entered the network there\\.`));
  const not = all.find(([, outcome]) => outcome === "pruned");
  assert.match(not[2], new RegExp(`^${plain(third)}: that node asked by PRUNE`));
  await page.click("#one-replay");
  await page.waitForSelector("#one:not([open])", { state: "attached" });
  assert.ok(await page.isVisible("#way-bar"));
  await page.waitForFunction(() => /^Step 1 of 2: .* sent it on link/.test(document.getElementById("way-text").textContent));
  await page.waitForFunction(() => /^Step 2 of 2: .*PRUNE/.test(document.getElementById("way-text").textContent));
  await page.waitForFunction(() => document.getElementById("way-play").textContent === "Replay slowly");
  await page.locator(".network").screenshot({ path: `${PICTURES}way-replay.png` });
  assert.ok(await page.isDisabled("#way-next"));
  await page.click("#way-back");
  assert.match(await page.textContent("#way-text"), /^Step 1 of 2/);
  await page.click("#way-again");
  await page.waitForSelector("#one[open]");
  assert.ok(await page.isHidden("#way-bar"));
  assert.equal(await page.getAttribute("#graph", "data-way"), null);
});

test("where nothing was recorded the page says why, and one that is added now has a way", async (t) => {
  const node = await start();
  await node.api("/api/transactions", { message: "before the restart" });
  await node.kill();
  await node.run();
  const page = await visit(t, node);
  await live(page);
  await rowWith(page, "before the restart");
  await page.click('#rows button:has-text("before the restart")');
  await page.waitForFunction(() => /already when this node started.*Add a transaction now/.test(document.getElementById("one-note").textContent));
  assert.ok(await page.isHidden("#one-replay"));
  await page.keyboard.press("Escape");
  await node.api("/api/transactions", { message: "now" });
  await openTransaction(page, "now");
  const all = await steps(page);
  assert.deepEqual(all.map(([kind]) => kind), ["came", "stored", "rest"]);
  assert.match(all[2][2], /No other node was linked/);
});

test("by keyboard, and with reduced motion: the steps follow without a pulse", async (t) => {
  const [first, second, third] = await network(3);
  const message = await prunedAt(first, second, third);
  const page = await visit(t, second, { reducedMotion: "reduce" });
  await live(page);
  await rowWith(page, message);
  await page.focus(`#rows button:has-text("${message}")`);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#one-replay:not([hidden])");
  await page.focus("#one-replay");
  await page.keyboard.press("Enter");
  // It says each step, and waits for the reader.
  await page.waitForFunction(() => document.activeElement.id === "way-next" && /^Step 1 of 2/.test(document.getElementById("way-text").textContent));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /^Step 2 of 2/.test(document.getElementById("way-text").textContent));
  await page.focus("#way-close");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "graph");
});

test("with a token a way is shown to those who have it, and to nobody else", async (t) => {
  const token = "correct-horse-battery";
  const node = await start(`HTTP_TOKEN=${token}\n`);
  const path = `/api/transactions/${"0".repeat(64)}/way`;
  assert.equal((await fetch(node.url + path)).status, 401);
  assert.equal((await fetch(node.url + path, { headers: { authorization: `Bearer ${token}` } })).status, 404);
  assert.ok(t.name);
});

test("nothing is cut off, and axe finds nothing, at three widths, light and dark", async (t) => {
  const [first, second, third] = await network(3);
  const message = await prunedAt(first, second, third);
  await second.api("/api/transactions?stamp=true", { fromAddress: "ann", toAddress: "bob", amount: 5 });
  for (const width of [320, 390, 1280]) {
    for (const colorScheme of ["light", "dark"]) {
      const name = `${width}-${colorScheme}`;
      const page = await visit(t, second, { viewport: { width, height: width < 400 ? 780 : 900 }, colorScheme });
      await live(page);
      await openTransaction(page, "5 from ann to bob");
      await page.screenshot({ path: `${PICTURES}way-ids-${name}.png` });
      await axe(page, `${name}, a transaction`);
      await page.locator("#one-ids").scrollIntoViewIfNeeded();
      await page.screenshot({ path: `${PICTURES}way-ids-end-${name}.png` });
      await page.keyboard.press("Escape");
      await openTransaction(page, message);
      const cut = await page.evaluate(() => {
        const wide = (element) => element.scrollWidth - element.clientWidth;
        const inside = [...document.querySelectorAll("#one *")].filter((element) => element.clientWidth > 0 && wide(element) > 1 && getComputedStyle(element).overflowX !== "visible");
        return { page: wide(document.documentElement), dialog: wide(document.getElementById("one")), inside: inside.map((element) => element.outerHTML.slice(0, 120)) };
      });
      assert.deepEqual(cut, { page: 0, dialog: 0, inside: [] }, name);
      await page.screenshot({ path: `${PICTURES}way-${name}.png` });
      await page.click("#one-replay");
      await page.waitForFunction(() => /^Step 2 of 2/.test(document.getElementById("way-text").textContent));
      await axe(page, `${name}, the replay`);
      await page.locator(".network").screenshot({ path: `${PICTURES}way-replay-${name}.png` });
      await page.click("#way-close");
    }
  }
});
