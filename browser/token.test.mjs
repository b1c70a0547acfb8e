// What the page says of a token that the node refuses, or that none can be.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { PICTURES, axe, live, visit } from "./pages.mjs";

const TOKEN = "correct-horse-battery";
const said = (page) => page.textContent("#token-result");
const says = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector("#token-dialog[open] #token-result")?.textContent), pattern.source);

async function enter(page, token) {
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
}

for (const [what, script] of [["with a shared worker", null], ["without shared workers", () => { delete globalThis.SharedWorker; }]]) {
  test(`a wrong token is called wrong, in one line that says what to do, ${what}`, async (t) => {
    const answers = { token: TOKEN };
    const { url, endStreams } = await serve(t, generated(2), answers);
    const page = await visit(t, { url }, { viewport: { width: 360, height: 640 }, colorScheme: "dark" });
    if (script) {
      await page.addInitScript(script);
      await page.reload();
    }
    await page.waitForSelector("#token-dialog[open]");
    assert.equal(await said(page), "", "nothing is wrong yet");
    for (const [token, pattern] of [
      ["a-wrong-one-as-it-happens", /^The node refused this token: .*HTTP_TOKEN/],
      ["pässwort-für-den-knoten", /^No token has the character U\+00E4: .*HTTP_TOKEN/],
      ["correct—horse—battery", /^No token has the character U\+2014: .*HTTP_TOKEN/],
      ["корректный", /^No token has the character U\+043A: .*HTTP_TOKEN/],
      ["battery-🐎", /^No token has the character U\+1F40E: .*HTTP_TOKEN/],
      ["correct horse", /^No token has the character U\+0020: .*HTTP_TOKEN/],
      ["  ", /^The token is missing: .*HTTP_TOKEN/],
      ["another-wrong-one", /^The node refused this token: .*HTTP_TOKEN/],
    ]) {
      await enter(page, token);
      await says(page, pattern);
      assert.equal(await page.getAttribute("#live", "data-state"), "waiting", `${token}: the node is there`);
      assert.ok(await page.isHidden("#notice"));
    }
    await axe(page, "a wrong token");
    await page.screenshot({ path: `${PICTURES}token-wrong.png` });
    await enter(page, ` ${TOKEN} `);
    await live(page);
    assert.ok(await page.isHidden("#token-dialog"));

    // The node is started again, with another token.
    answers.token = "another-horse-battery";
    endStreams();
    await says(page, /^The node refused this token/);
    await enter(page, answers.token);
    await live(page);
  });

  test(`a token that no header can have is asked for again, and the node is not called offline, ${what}`, async (t) => {
    const { url } = await serve(t, generated(2), { token: TOKEN });
    const page = await visit(t, { url });
    await page.addInitScript(script ?? (() => {}));
    await page.addInitScript(() => sessionStorage.setItem("token", "ключ-от-узла-в-сети"));
    await page.reload();
    await says(page, /^No token has the character U\+043A/);
    assert.equal(await page.getAttribute("#live", "data-state"), "waiting");
    await enter(page, TOKEN);
    await live(page);
  });
}
