// The page in a real browser, over real nodes. It must show the true state of every node without a
// reload, and foreign text must stay text. Screenshots at desktop and phone width, light and dark, go
// to target/pages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually } from "./nodes.mjs";
import { PICTURES, live, network, rowWith, shows, start, visit } from "./pages.mjs";

const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';

/** An image of 2 by 2 pixels. */
const PIXELS = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEklEQVR4nGP438DA0PAfhIEsACnyBf0zNIA6AAAAAElFTkSuQmCC", "base64");

test("all nodes are shown, and one that is killed disappears", async (t) => {
  const nodes = await network(3);
  const page = await visit(t, nodes[0]);
  await live(page);
  await shows(page, 3);
  assert.equal(await page.locator("#nodes tr").count(), 3);
  await page.waitForFunction(() => document.querySelectorAll('#peers .state[data-state="connected"]').length === 2);
  await nodes[2].kill();
  await shows(page, 2);
  await page.waitForFunction(() => document.querySelectorAll("#nodes tr").length === 2);
});

test("what is added in one page reaches every file and the other node's page", async (t) => {
  const nodes = await network(3);
  const [first, second] = [await visit(t, nodes[0]), await visit(t, nodes[1])];
  await Promise.all([live(first), live(second)]);
  await first.fill("#from", "ann");
  await first.fill("#to", HOSTILE);
  await first.fill("#amount", "42.5");
  await first.click("text=Add transaction");
  await first.waitForSelector('#transaction-result[data-state="good"]');
  await rowWith(second, "42.5");
  await eventually("the transaction in every file", async () => {
    const pools = await Promise.all(nodes.map((node) => node.pool()));
    return pools.every((pool) => pool.some((one) => one.amount === 42.5 && one.toAddress === HOSTILE));
  });
  await second.click("#rows button");
  await second.waitForSelector("#one[open]");
  assert.equal(JSON.parse(await second.textContent("#one-body")).toAddress, HOSTILE, "one whole on click");
  await second.keyboard.press("Escape");

  await first.click("#tab-broadcast");
  await first.fill("#message", `Hello ${HOSTILE}`);
  await first.keyboard.press("Control+Enter");
  await first.waitForSelector('#broadcast-result[data-state="good"]');
  await second.waitForFunction((text) => [...document.querySelectorAll("#lines .message")].some((message) => message.textContent === text), `Hello ${HOSTILE}`);
  for (const page of [first, second]) {
    assert.equal(await page.locator("main img, main script").count(), 0, "text became markup");
    assert.doesNotMatch(await page.title(), /owned/);
  }

  await second.fill("#search", "ann");
  await second.waitForFunction(() => /hit/.test(document.getElementById("pool-summary").textContent));
  assert.equal(await second.locator("#rows li").count(), 1);
  await second.fill("#search", "nobody has this name");
  await second.waitForFunction(() => document.querySelectorAll("#rows li").length === 0);
});

test("each transaction shows whether it is signed, and by whom", async (t) => {
  const nodes = await network(2);
  const [first, second] = [await visit(t, nodes[0]), await visit(t, nodes[1])];
  await Promise.all([live(first), live(second)]);
  await first.click("summary");
  for (const raw of ['{"message":"by the owner"}', '{"message":"by a forger","publicKey":"' + "a".repeat(64) + '","signature":"' + "b".repeat(128) + '"}']) {
    await first.fill("#raw", raw);
    await first.click("text=Add transaction");
    await rowWith(second, JSON.parse(raw).message);
  }
  await first.evaluate(() => fetch("/api/transactions", { method: "POST", headers: { "content-type": "application/json" }, body: '{"message":"by nobody"}' }));
  await rowWith(second, "by nobody");
  const rows = await second.$$eval("#rows button", (all) => all.map((row) => [row.querySelector(".what").textContent, row.querySelector(".signature").textContent]));
  assert.deepEqual(Object.fromEntries(rows), { "by the owner": "verified", "by a forger": "forged", "by nobody": "unsigned" });
  await second.click('#rows button:has-text("by the owner")');
  await second.waitForSelector("#one[open]");
  const whole = JSON.parse(await second.textContent("#one-body"));
  assert.equal(await second.textContent("#one-signature"), `Verified: signed by ${whole.publicKey}`);
});

test("an invalid transaction is refused with the reason", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  assert.ok(await page.isVisible("#stage-empty"), "alone, and the page says so");
  await page.fill("#from", "ann");
  await page.fill("#amount", "much");
  await page.click("text=Add transaction");
  await page.waitForSelector('#transaction-result[data-state="bad"]');
  await page.click("summary");
  await page.fill("#raw", '{"n":12345678901234567891}');
  await page.click("text=Add transaction");
  await page.waitForFunction(() => document.getElementById("transaction-result").textContent.includes("12345678901234567891"));
});

test("the page shows that its node is gone, and recovers when it is back", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  await node.kill();
  await page.waitForSelector('#live[data-state="gone"]');
  assert.ok(await page.isVisible("#notice"));
  await node.run();
  await live(page);
  await node.api("/api/transactions", { message: "after the restart" });
  await rowWith(page, "after the restart");
  assert.ok(await page.isHidden("#notice"));
});

test("a token is asked for once", async (t) => {
  const node = await start("HTTP_TOKEN=correct-horse-battery\n");
  const page = await visit(t, node);
  await page.waitForSelector("#token-dialog[open]");
  await page.fill("#token", "correct-horse-battery");
  await page.keyboard.press("Enter");
  await live(page);
  await page.reload();
  await live(page);
});

test("an image in one folder is seen on every page, and its name stays text", async (t) => {
  const nodes = await network(3);
  const hostile = "<img src=x onerror=\"document.title='owned'\">.png";
  await nodes[0].put("cat.png", PIXELS);
  await nodes[0].put(hostile, PIXELS);
  await nodes[0].put("broken.jpg", "not an image");
  for (const node of [nodes[0], nodes[2]]) {
    const page = await visit(t, node);
    await live(page);
    await page.waitForFunction(() => document.querySelectorAll("#images li").length === 3);
    await page.locator("#images").scrollIntoViewIfNeeded();
    await page.waitForFunction(() => [...document.querySelectorAll("#images img")].filter((image) => image.naturalWidth === 2).length === 2);
    await page.waitForFunction(() => document.querySelector("#images .instead")?.textContent === "not available");
    const names = await page.locator("#images .name").allTextContents();
    assert.deepEqual(names.sort(), [hostile, "broken.jpg", "cat.png"].sort());
    assert.doesNotMatch(await page.title(), /owned/);
    await page.screenshot({ path: `${PICTURES}images.png`, fullPage: true });
  }
});

test("with a token images are drawn", async (t) => {
  const node = await start("HTTP_TOKEN=correct-horse-battery\n");
  await node.put("cat.png", PIXELS);
  await node.put("dog.svg", '<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"/>');
  const page = await visit(t, node);
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.waitForSelector("#token-dialog[open]");
  await page.fill("#token", "correct-horse-battery");
  await page.keyboard.press("Enter");
  await live(page);
  await page.waitForSelector("#images canvas");
  await page.locator("#images").scrollIntoViewIfNeeded();
  await page.waitForFunction(() => {
    const canvas = document.querySelector("#images canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value > 0);
  });
  assert.equal(await page.textContent('#images li:has-text("dog.svg") .instead'), "no preview");
  assert.ok(asked.includes("/images/cat.png") && !asked.includes("/images/dog.svg"), asked.join());
});

test("a transaction is copied, or selected where the browser does not copy", async (t) => {
  const [node] = await network(1);
  await node.api("/api/transactions", { message: "to be copied" });
  const cases = [
    [{ permissions: ["clipboard-read", "clipboard-write"] }, "Copied"],
    // A page over http from another host has no clipboard.
    [{ script: () => Object.defineProperty(Navigator.prototype, "clipboard", { get: () => undefined }) }, "Selected: press Ctrl+C"],
    [{ script: () => { Clipboard.prototype.writeText = async () => { throw new DOMException("no", "NotAllowedError"); }; } }, "Selected: press Ctrl+C"],
  ];
  for (const [{ script, ...options }, said] of cases) {
    const page = await visit(t, node, options);
    if (script) {
      await page.addInitScript(script);
      await page.reload();
    }
    await rowWith(page, "to be copied");
    await page.click("#rows button");
    await page.click("#one-copy");
    await page.waitForFunction((wanted) => document.getElementById("one-copy").textContent === wanted, said);
    const whole = await page.textContent("#one-body");
    const got = await page.evaluate((copied) => (copied ? navigator.clipboard.readText() : getSelection().toString()), said === "Copied");
    assert.equal(got, whole, said);
  }
});

test("a quarter past midnight is 00:15 in every browser", async (t) => {
  const [node] = await network(1);
  await node.api("/api/transactions", { message: "at night", timeStamp: new Date().setHours(0, 15, 0, 0) });
  const page = await visit(t, node, { locale: "en-US" });
  await page.addInitScript(() => {
    // As browsers did that took `hour12: false` for a day from 1 to 24.
    const { DateTimeFormat } = Intl;
    Intl.DateTimeFormat = function (locales, options) {
      return new DateTimeFormat(locales, options?.hour12 === false ? { ...options, hour12: undefined, hourCycle: "h24" } : options);
    };
  });
  await page.reload();
  await rowWith(page, "at night");
  assert.equal(await page.textContent("#rows .when"), "00:15:00");
});

test("by keyboard only", async (t) => {
  const nodes = await network(2);
  const page = await visit(t, nodes[0]);
  await live(page);
  await shows(page, 2);
  await page.focus("#graph");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  const name = nodes[1].address.replace("ws://", "");
  await page.waitForFunction((wanted) => document.getElementById("spoken").textContent.startsWith(wanted), name);
  assert.ok(await page.isVisible("#hint"));
  await page.keyboard.press("Escape");
  assert.ok(await page.isHidden("#hint"));
  await page.focus("#tab-transaction");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.getAttribute("#tab-broadcast", "aria-selected"), "true");
  // Every control has a name for screen readers.
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, textarea, canvas")].filter((element) =>
    !(element.textContent.trim() || element.getAttribute("aria-label") || element.labels?.length)).map((element) => element.outerHTML));
  assert.deepEqual(nameless, []);
});

test("many transactions leave the page usable", async (t) => {
  const nodes = await network(2);
  const page = await visit(t, nodes[1]);
  await live(page);
  for (let round = 0; round < 40; round += 1) {
    await Promise.all([...Array(10).keys()].map((number) => nodes[0].api("/api/transactions", { message: `number ${round * 10 + number}` })));
  }
  await page.waitForFunction(() => document.getElementById("figure-pool").textContent === "400");
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 30);
  await page.click("#more");
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 60);
});

test("counters are folded, those that are not zero come first, each with a sentence", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  await page.waitForFunction(() => /^\d+ counters? not zero, of \d+$/.test(document.getElementById("counters-summary").textContent));
  assert.ok(await page.isHidden("#counters"));
  await page.click("#counters-summary");
  await page.waitForFunction(() => {
    const sentences = [...document.querySelectorAll("#counters .sentence")];
    return sentences.length > 0 && sentences.every((one) => /\.$/.test(one.textContent));
  });
  const values = () => page.$$eval("#counters div", (rows) => rows.map((row) => Number(row.children[1].textContent.replaceAll(",", ""))));
  const before = await values();
  assert.ok(before.length > 50 && before.indexOf(0) === before.filter((value) => value > 0).length, String(before));
  await node.api("/api/transactions", { fromAddress: null, toAddress: "ann", amount: 5 });
  await page.waitForFunction(() => {
    const rows = [...document.querySelectorAll("#counters div")];
    const accepted = rows.findIndex((row) => row.firstChild.textContent === "transactions accepted");
    return rows[accepted].children[1].textContent === "1" && accepted < rows.findIndex((row) => row.classList.contains("zero"));
  });
  await rowWith(page, "5 reward to ann");
});

test("screenshots", async (t) => {
  const nodes = await network(5);
  const people = ["ann", "bob", "eve", "dan", "kim"];
  for (let number = 0; number < 16; number += 1) {
    await nodes[number % 5].api("/api/transactions?stamp=true", { fromAddress: people[number % 5], toAddress: people[(number + 2) % 5], amount: 5 + number * 3 });
  }
  await nodes[1].api("/api/broadcasts", { message: "Good morning from the second node" });
  for (const [width, height, name] of [[1280, 900, "desktop"], [390, 844, "phone"], [320, 640, "small"]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await visit(t, nodes[0], { viewport: { width, height }, colorScheme });
      await live(page);
      await shows(page, 5);
      await page.waitForFunction(() => document.querySelectorAll("#rows li").length >= 16 && [...document.querySelectorAll("#peers .number")].some((cell) => cell.textContent.includes("ms")));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${name}: the page is wider than the screen`);
      // One more, so that the screenshot shows a transaction on its way.
      await nodes[3].api("/api/transactions?stamp=true", { fromAddress: "kim", toAddress: "ann", amount: 7 });
      await page.waitForTimeout(650);
      await page.screenshot({ path: `${PICTURES}${name}-${colorScheme}.png` });
      await page.screenshot({ path: `${PICTURES}${name}-${colorScheme}-whole.png`, fullPage: true });
    }
  }
});
