// A link on the page: who dialled, what travels on it, what became of each address; and how the node
// joined, step by step. The questions that a learner has are answered in two clicks at most.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { Node, eventually } from "./nodes.mjs";
import { PICTURES, axe, exerciseNode, live, network, skipExercise, start, visit } from "./pages.mjs";

const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';
const plain = (node) => node.address.replace("ws://", "");

/** Opens the view of the link to a node by a click in the table of peers. */
async function openLink(page, node) {
  await page.click(`#peers tr:has-text("${plain(node)}") button[data-link]`);
  await page.waitForSelector("#link[open]");
  await page.waitForSelector("#frames-begin > li:nth-child(2)");
  await page.waitForFunction(() => document.getElementById("link-facts").childElementCount > 0);
}

const facts = (page) => page.$$eval("#link-facts div", (rows) => Object.fromEntries(rows.map((row) => [row.children[0].textContent, row.children[1].textContent])));
const frame = (page, type, direction) => page.waitForSelector(`#frames li[data-type="${type}"][data-direction="${direction}"]`);

test("a click on a peer shows who dialled, both HANDSHAKEs, and what became of each address", async (t) => {
  const [first, second, third] = await network(3);
  const page = await visit(t, second);
  await live(page);
  await openLink(page, first);
  const { "Who dialled": dialled, "Other end": end, "Identity": identity } = await facts(page);
  assert.equal(dialled, `This node dialled ${plain(first)}`);
  assert.match(end, new RegExp(`^${plain(first)}, a node, id [0-9a-f]{8}$`));
  assert.match(identity, /proved/);
  const kinds = await page.$$eval("#frames-begin > li", (items) => items.slice(0, 2).map((item) => [item.dataset.direction, item.dataset.type]));
  assert.deepEqual(kinds, [["sent", "HANDSHAKE"], ["received", "HANDSHAKE"]]);
  const [sent, received] = await page.$$eval("#frames-begin .outcomes", (lists) => lists.map((list) => [...list.querySelectorAll("li")].map((item) => item.textContent)));
  assert.ok(sent.some((line) => line.startsWith(plain(second)) && line.includes("own address")), sent.join());
  assert.ok(sent.some((line) => line.startsWith(plain(first)) && line.includes("dialled for this link")), sent.join());
  assert.deepEqual(received, [`${plain(first)} is linked already`], "it knew nobody else");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#link:not([open])", { state: "attached" });
  // The other end of a link that was dialled from there.
  await openLink(page, third);
  assert.equal((await facts(page))["Who dialled"], `${plain(third)} dialled this node, from 127.0.0.1`);
  const named = await page.$$eval('#frames-begin > li[data-direction="received"] .outcomes li', (items) => items.map((item) => item.textContent));
  assert.ok(named.includes(`${plain(second)} is this node itself`), named.join());
});

test("frames appear as they travel, stay text, are filtered by type, and wait while paused", async (t) => {
  const [first, second] = await network(2);
  const page = await visit(t, second);
  await live(page);
  await openLink(page, first);
  assert.ok(await page.isVisible("#frames-none"));
  await first.api("/api/transactions", { message: HOSTILE, amount: 12345678901234 });
  await second.api("/api/broadcasts", { message: "hello" });
  await Promise.all([frame(page, "TRANSACTION", "received"), frame(page, "BROADCAST", "sent")]);
  assert.ok(await page.isHidden("#frames-none"));
  await page.click('#frames li[data-type="TRANSACTION"] summary');
  const json = await page.textContent('#frames li[data-type="TRANSACTION"] pre');
  assert.equal(JSON.parse(json).data.message, HOSTILE);
  assert.equal(await page.locator("#link img, #link script").count(), 0, "text became markup");
  assert.doesNotMatch(await page.title(), /owned/);
  // A name says what it means, to the pointer and to the keyboard.
  await page.hover('#frames li[data-type="TRANSACTION"] button.key:has-text("from")');
  await page.waitForFunction(() => /^from: The node where it entered/.test(document.getElementById("explain").textContent));
  await page.click("#frames-begin > li:first-child details details summary");
  await page.focus('#frames-begin button.key:has-text("session")');
  assert.match(await page.textContent("#explain"), /^session: A random number of this run/);

  await page.selectOption("#frames-type", "BROADCAST");
  const visible = await page.$$eval("#link li[data-type]", (items) => [...new Set(items.filter((item) => !item.hidden).map((item) => item.dataset.type))]);
  assert.deepEqual(visible, ["BROADCAST"]);
  await page.selectOption("#frames-type", "");

  await page.click("#frames-pause");
  assert.equal(await page.textContent("#frames-state"), "Paused.");
  const before = await page.locator("#frames li").count();
  await first.api("/api/transactions", { message: "while paused" });
  // It has arrived, and the page says so elsewhere.
  await page.waitForFunction(() => [...document.querySelectorAll("#rows .what")].some((row) => row.textContent.includes("while paused")));
  assert.equal(await page.locator("#frames li").count(), before);
  await page.click("#frames-pause");
  await page.waitForFunction(() => [...document.querySelectorAll("#frames .gist")].some((gist) => gist.textContent.includes("while paused")));

  await first.kill();
  await page.waitForFunction(() => /^This link has ended/.test(document.getElementById("frames-state").textContent));
  assert.ok(await page.locator("#frames li").count() > before, "what travelled is still there");
});

test("by keyboard only: from the table to a frame and back", async (t) => {
  const [first, second] = await network(2);
  const page = await visit(t, second);
  await live(page);
  await page.focus("#peers button[data-link]");
  // Rows are made again when a figure changes, and the focus stays.
  await page.waitForFunction(() => [...document.querySelectorAll("#peers .number")].some((cell) => cell.textContent.includes("ms")));
  assert.equal(await page.evaluate(() => document.activeElement.dataset.link !== undefined), true);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#link[open]");
  await page.waitForSelector("#frames-begin > li:nth-child(2)");
  await page.focus("#frames-begin > li:first-child summary");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#frames-begin > li:first-child > details:not([open])");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#link:not([open])", { state: "attached" });
  assert.equal(await page.evaluate(() => document.activeElement.dataset.link !== undefined), true, "the focus is back");
  assert.ok(first.address);
});

test("with a token frames are shown to those who have it, and to nobody else", async (t) => {
  const first = await start();
  const token = "correct-horse-battery";
  const node = await start(`HTTP_TOKEN=${token}\nPEERS=${first.address}\n`);
  const page = await visit(t, node);
  await page.waitForSelector("#token-dialog[open]");
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await live(page);
  await openLink(page, first);
  for (const path of ["/api/links", "/api/links/1/frames", "/api/timeline"]) assert.equal((await fetch(node.url + path)).status, 401, path);
});

/** Starts nodes that know the first one alone, so that they learn of the others. */
async function learners(t, count) {
  const nodes = [await Node.start()];
  t.after(() => Promise.all(nodes.map((node) => node.end())));
  while (nodes.length < count) {
    const latest = await Node.start(nodes.slice(0, 1));
    nodes.push(latest);
    await eventually("the links of all", async () => {
      const seen = await Promise.all(nodes.map((node) => node.api("/api/status")));
      return seen.every((status) => status.connected.length === nodes.length - 1);
    });
  }
  return nodes;
}

test("how was the second node learned, and what did the third miss: the timeline says it without a click", async (t) => {
  const nodes = await learners(t, 2);
  for (let amount = 1; amount <= 3; amount += 1) await nodes[0].api("/api/transactions", { amount });
  const third = await Node.start(nodes.slice(0, 1));
  t.after(() => third.end());
  await eventually("the pool of the third", async () => (await third.pool()).length === 3);
  const page = await visit(t, third);
  await live(page);
  await page.waitForSelector('#timeline li[data-kind="synced"]');
  const steps = await page.$$eval("#timeline > li", (items) => items.map((item) => ({ kind: item.dataset.kind, text: item.querySelector(".told").textContent })));
  assert.deepEqual(steps.slice(0, 5).map((step) => step.kind), ["dial", "upgrade", "handshake sent", "handshake received", "linked"]);
  const handshake = steps.find((step) => step.kind === "handshake received");
  assert.match(handshake.text, new RegExp(`${plain(nodes[1])} is dialled`));
  const dial = steps.find((step) => step.kind === "dial" && step.text.includes(plain(nodes[1])));
  assert.match(dial.text, new RegExp(`learned from the HANDSHAKE of ${plain(nodes[0])}`));
  assert.match(steps[0].text, /named by a person/);
  const synced = steps.filter((step) => step.kind === "synced");
  assert.match(synced[0].text, /3 transactions that this node lacked came from localhost:\d+ \([0-9a-f]{8}\), by comparing pools/);
  assert.match(synced[0].text, /the first: [0-9a-f]{8}/);
  // One click to the frames that did it.
  await page.click('#timeline li[data-kind="synced"] > button');
  await page.waitForSelector("#link[open] #frames-begin li");
});

test("the timeline is replayed slowly, step by step, and pauses", async (t) => {
  const [node] = await learners(t, 2);
  const page = await visit(t, node);
  await live(page);
  await page.waitForSelector('#timeline li[data-kind="linked"]');
  const all = await page.locator("#timeline > li").count();
  const shown = () => page.locator("#timeline > li").count();
  await page.click("#timeline-back");
  assert.equal(await shown(), all - 1);
  await page.focus("#timeline-at");
  await page.keyboard.press("Home");
  assert.equal(await shown(), 0);
  assert.ok(await page.isDisabled("#timeline-back"));
  await page.click("#timeline-next");
  assert.equal(await shown(), 1);
  await page.click("#timeline-play");
  await page.waitForFunction(() => document.querySelectorAll("#timeline > li").length >= 2);
  await page.click("#timeline-play");
  assert.equal(await page.textContent("#timeline-play"), "Replay slowly");
  const paused = await shown();
  assert.ok(paused < all, `${paused} of ${all}`);
  await page.click("#timeline-play");
  await page.waitForFunction((count) => document.querySelectorAll("#timeline > li").length === count, all);
  await page.waitForFunction(() => document.getElementById("timeline-play").textContent === "Replay slowly");
});

test("why are there two sockets to the JavaScript node: one click", { skip: skipExercise }, async (t) => {
  const [node] = await network(1);
  const peer = await exerciseNode(t, [node]);
  const page = await visit(t, node);
  await live(page);
  const row = `#peers tr:has-text("${plain(peer)}")`;
  await page.waitForFunction(() => document.querySelectorAll("#peers button[data-link]").length === 2);
  assert.equal(await page.locator(row).count(), 1, "one peer, one row");
  assert.match(await page.textContent(row), /both ways/);
  await page.click(`${row} button:has-text("inbound")`);
  await page.waitForSelector("#link-why:not([hidden])");
  assert.match(await page.textContent("#link-why"), /2 sockets to this peer\..*sends on the link that it dialled, and reads on the link that it accepted/);
  await page.waitForSelector('#frames-begin li[data-direction="received"][data-type="HANDSHAKE"]');
  const received = await page.textContent("#frames-begin .outcomes");
  assert.match(received, new RegExp(`${plain(peer)} is (dialled|linked already)`));
  // The second click leads to the other socket, on which this node speaks.
  await page.click("#link-why button");
  await page.waitForSelector('#frames-begin li[data-direction="sent"][data-type="HANDSHAKE"]');
  assert.match((await facts(page))["Who dialled"], /^This node dialled/);
});

test("nothing is cut off, and axe finds nothing, at three widths, light and dark", async (t) => {
  const nodes = await learners(t, 3);
  await nodes[0].api("/api/transactions?stamp=true", { fromAddress: "ann", toAddress: "bob", amount: 5 });
  const node = nodes[2];
  for (const width of [320, 390, 1280]) {
    for (const colorScheme of ["light", "dark"]) {
      const name = `${width}-${colorScheme}`;
      const page = await visit(t, node, { viewport: { width, height: width < 400 ? 780 : 900 }, colorScheme });
      await live(page);
      await page.waitForSelector('#timeline li[data-kind="linked"]');
      await page.locator(".timeline").scrollIntoViewIfNeeded();
      await page.locator(".timeline").screenshot({ path: `${PICTURES}timeline-${name}.png` });
      await page.locator(".peers").screenshot({ path: `${PICTURES}peers-${name}.png` });
      await axe(page, `${name}, the page`);
      await openLink(page, nodes[0]);
      await nodes[1].api("/api/transactions?stamp=true", { fromAddress: "bob", toAddress: "eve", amount: 7 });
      await nodes[0].api("/api/broadcasts", { message: `Good morning ${name}` });
      await frame(page, "BROADCAST", "received");
      await page.screenshot({ path: `${PICTURES}link-${name}.png` });
      await page.click('#frames li[data-type="BROADCAST"] summary');
      await page.hover('#frames li[data-type="BROADCAST"] button.key:has-text("signature")');
      await page.locator("#frames").scrollIntoViewIfNeeded();
      await page.screenshot({ path: `${PICTURES}frames-${name}.png` });
      const cut = await page.evaluate(() => {
        const wide = (element) => element.scrollWidth - element.clientWidth;
        // One line of a frame is a beginning by design.
        const inside = [...document.querySelectorAll("#link *, .timeline *, .peers *")].filter((element) => !element.closest(".gist, .spoken, .scroll"));
        const over = inside.filter((element) => element.clientWidth > 0 && wide(element) > 1 && getComputedStyle(element).overflowX !== "visible");
        return { page: wide(document.documentElement), dialog: wide(document.getElementById("link")), over: over.map((element) => element.outerHTML.slice(0, 120)) };
      });
      assert.deepEqual(cut, { page: 0, dialog: 0, over: [] }, name);
      await axe(page, `${name}, a link`);
      await page.keyboard.press("Escape");
    }
  }
});

const written = (number) => ({ number, type: "PING", direction: "sent", opcode: "text", text: '{"type":"PING"}', note: null, bytes: 15, time: Date.now(), addresses: [], more: 0, cut: false });
const numbers = (page) => page.$$eval("#frames > li", (items) => items.map((item) => Number(item.dataset.number)));
const says = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.getElementById("frames-state").textContent), pattern.source);

test("the view of a link ends with the run of its node, whose numbers begin again", async (t) => {
  const hello = generated(2);
  const answers = { "/api/links": { links: [] } };
  const answer = (...all) => { answers["/api/links/2/frames"] = { link: 2, frames: all.map(written), last: all.at(-1), missed: 0, since: null, ended: null }; };
  const { url, send } = await serve(t, hello, answers);
  const page = await visit(t, { url });
  await live(page);
  const open = async (...all) => {
    answer(...all);
    await page.click("#peers button[data-link]");
    await page.waitForSelector(`#frames > li[data-number="${all.at(-1)}"]`);
  };
  await open(499, 500);
  // A stream of the same run.
  send("hello", hello);
  answer(500, 501);
  await page.waitForSelector('#frames > li[data-number="501"]');
  assert.deepEqual(await numbers(page), [501, 500, 499], "each once");
  await says(page, /^Live/);
  answer(1, 2);
  await says(page, /ended: the node was started again/);
  assert.deepEqual(await numbers(page), [501, 500, 499], "those of another link are not among them");
  await page.keyboard.press("Escape");

  await open(1, 2);
  send("hello", { ...hello, status: { ...hello.status, session: "another" } });
  await says(page, /ended: the node was started again/);
});
