// What axe-core finds on the page in each of its states: nothing.

import assert from "node:assert/strict";
import { test } from "node:test";

import { axe, live, network, rowWith, shows, start, visit } from "./pages.mjs";


test("axe finds nothing on the page, its dialogs and its forms", async (t) => {
  const nodes = await network(2);
  await nodes[0].api("/api/transactions?stamp=true", { fromAddress: "ann", amount: 5 });
  await nodes[0].api("/api/transactions", { message: "unsigned" });
  await nodes[0].api("/api/broadcasts", { message: "hello" });
  await nodes[0].put("note.txt", "no picture");
  for (const [width, colorScheme] of [[1440, "light"], [1440, "dark"], [390, "light"], [390, "dark"]]) {
    const page = await visit(t, nodes[0], { viewport: { width, height: 900 }, colorScheme });
    const name = `${width} ${colorScheme}`;
    await live(page);
    await shows(page, 2);
    await rowWith(page, "unsigned");
    await axe(page, name);
    await page.click("#rows button");
    await page.waitForSelector("#one[open]");
    await axe(page, `${name}, a transaction`);
    await page.keyboard.press("Escape");
    await page.click("summary");
    await page.fill("#raw", "{");
    await page.click("text=Add transaction");
    await page.waitForSelector('#transaction-result[data-state="bad"]');
    await axe(page, `${name}, an error`);
    await page.click("#tab-broadcast");
    await axe(page, `${name}, a broadcast`);
  }
});

test("axe finds nothing where a token is asked for, and where the node is gone", async (t) => {
  const node = await start("HTTP_TOKEN=correct-horse-battery\n");
  const page = await visit(t, node);
  await page.waitForSelector("#token-dialog[open]");
  await axe(page, "the token");
  await page.fill("#token", "correct-horse-battery");
  await page.keyboard.press("Enter");
  await live(page);
  await node.kill();
  await page.waitForSelector('#live[data-state="gone"]');
  await axe(page, "gone");
});

test("the first link of the page skips the diagram, to what follows it", async (t) => {
  const nodes = await network(2);
  for (const viewport of [{ width: 1440, height: 600 }, { width: 360, height: 640 }]) {
    const page = await visit(t, nodes[0], { viewport });
    await live(page);
    await page.keyboard.press("Tab");
    const link = await page.$(":focus");
    assert.equal(await link.textContent(), "Skip the network diagram");
    await page.waitForFunction(() => document.querySelector(".skip").getBoundingClientRect().top >= 0);
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "send-heading");
    // The head of the page does not lie on it.
    const isSeen = () => {
      const { left, top, bottom } = document.activeElement.getBoundingClientRect();
      return bottom < innerHeight && document.elementFromPoint(left + 2, (top + bottom) / 2) === document.activeElement;
    };
    assert.ok(await page.evaluate(isSeen), `${viewport.width}`);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-transaction");
  }
});
