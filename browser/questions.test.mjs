// Five questions of a learner, each answered on the page in two clicks at most.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Node, eventually } from "./nodes.mjs";
import { exerciseNode, live, rowWith, shows, skipExercise, visit } from "./pages.mjs";

const plain = (node) => node.address.replace("ws://", "");

/** Counts the clicks of each question. */
function clicker(page) {
  let clicks = 0;
  return {
    click: (selector) => {
      clicks += 1;
      return page.click(selector);
    },
    done: (question) => {
      assert.ok(clicks <= 2, `${question}: ${clicks} clicks`);
      clicks = 0;
    },
  };
}

test("five questions are answered in two clicks at most", { skip: skipExercise }, async (t) => {
  // Each knows the first one alone, and learns of the others.
  const nodes = [await Node.start()];
  t.after(() => Promise.all(nodes.map((node) => node.end())));
  const linked = () => eventually("the links of all", async () => {
    const seen = await Promise.all(nodes.map((node) => node.api("/api/status")));
    return seen.every((status) => status.connected.length - (status.exercise ?? []).length === nodes.length - 1);
  });
  nodes.push(await Node.start(nodes.slice(0, 1)));
  await linked();
  await nodes[0].api("/api/transactions", { message: "missed by the third" });
  nodes.push(await Node.start(nodes.slice(0, 1)));
  await linked();
  const peer = await exerciseNode(t, [nodes[0]]);
  const [first, second, third] = nodes;
  const page = await visit(t, third);
  const { click, done } = clicker(page);
  await live(page);
  // The node of the exercise is linked to all.
  await shows(page, 4);

  // Who dialled whom?
  const row = (node) => `#peers tr:has-text("${plain(node)}")`;
  assert.match(await page.textContent(`${row(first)} .links`), /^outbound/);
  await click(`${row(first)} button[data-link]`);
  await page.waitForFunction((said) => document.getElementById("link-facts").textContent.includes(said), `This node dialled ${plain(first)}`);
  done("who dialled whom");
  await page.keyboard.press("Escape");

  // How was the second node learned?
  await page.waitForFunction(([dialled, named]) => [...document.querySelectorAll('#timeline li[data-kind="dial"]')]
    .some((item) => item.textContent.includes(dialled) && item.textContent.includes(`learned from the HANDSHAKE of ${named}`)), [plain(second), plain(first)]);
  done("how was it learned");

  // What did the third node miss, and how did it get it?
  await click('#timeline li[data-kind="synced"] .told button');
  await page.waitForFunction((said) => document.getElementById("one-way").textContent.includes(said), "as a comparison of pools (SYNC, WANT) found that this node lacked it");
  assert.match(await page.textContent("#one-body"), /missed by the third/);
  done("what did it miss");
  await page.keyboard.press("Escape");

  // Why did the second node not send it to the third?
  let number = 0;
  const message = await eventually("a transaction that was not wanted", async () => {
    number += 1;
    const added = await first.api("/api/transactions", { message: `number ${number}` });
    const { way } = await third.api(`/api/transactions/${added.id}/way`);
    const id = (await second.api("/api/status")).node;
    return way?.links.some((link) => link.peer === id && link.outcome === "pruned") && `number ${number}`;
  });
  await rowWith(page, message);
  await click(`#rows button:has-text("${message}")`);
  await page.waitForFunction((said) => [...document.querySelectorAll('#one-way li[data-kind="not"]')].some((item) => item.textContent.includes(said) && item.textContent.includes("asked by PRUNE")), plain(second));
  done("why was it not sent");
  await page.keyboard.press("Escape");

  // Why are there two sockets to the JavaScript node?
  await page.waitForFunction((address) => [...document.querySelectorAll("#peers tr")].some((one) => one.textContent.includes(address) && one.querySelectorAll("button").length === 2), plain(peer));
  assert.equal(await page.locator(row(peer)).count(), 1, "one peer, one row");
  assert.match(await page.textContent(`${row(peer)} + tr.reason`), /it dialled this node and this node dialled it: a node of the exercise keeps both/);
  await click(`${row(peer)} button:has-text("inbound")`);
  await page.waitForFunction(() => document.getElementById("link-why").textContent.includes("sends on the link that it dialled, and reads on the link that it accepted"));
  done("why two sockets");
});
