// The browser, and visits of pages, for all test files.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";

import { chromium } from "playwright-core";

import { Node, mesh } from "./nodes.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** The last two are for the proxies of the tests, which have names of this domain and certificates
 * of their own. */
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP *.example.org 127.0.0.1", "--ignore-certificate-errors"];
const EXERCISE = new URL("../interop/", import.meta.url).pathname;
/** Where the page's files are taken from instead of the program, so that a change needs no build. */
const PAGE_FILES = process.env.PAGE_FILES;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const PICTURES = new URL("../target/pages/", import.meta.url).pathname;

let browser;
const open = [];

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
});

after(async () => {
  await browser?.close();
  await Promise.all(open.map((node) => node.end()));
});

/** Starts a full mesh that ends with the test file. */
export async function network(count) {
  const nodes = await mesh(count);
  open.push(...nodes);
  return nodes;
}

/** Starts a node that ends with the test file. */
export async function start(settings = "") {
  const node = await Node.start([], settings);
  open.push(node);
  return node;
}

/** Opens a node's page. Errors, and requests to other hosts, fail the test. */
export async function visit(t, node, options = {}) {
  const { url = node.url, ...rest } = options;
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...rest });
  if (PAGE_FILES) await context.route(/\/(\w+\.(js|css|html|svg))?$/, (route) => route.fulfill({ path: join(PAGE_FILES, new URL(route.request().url()).pathname.split("/").at(-1) || "index.html") }));
  const faults = [];
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return anotherTab(context, url, faults);
}

/** Opens one more page in the browser context of a visit. */
export async function anotherTab(context, url, faults = []) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => faults.push(`the page failed: ${error.stack}`));
  page.on("console", (message) => {
    // The browser itself logs failed requests, such as those to a node that is gone.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(`the page logged an error: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host) faults.push(`a request to another host: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

/** Fails unless axe-core finds nothing on a page. */
export async function axe(page, what) {
  // Colours fade in and out; axe judges those that it sees.
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))));
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ["violations"] })).violations
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 200)).join(" ")}`));
  assert.deepEqual(found, [], what);
}

export const live = (page) => page.waitForSelector('#live[data-state="live"]');
export const shows = (page, count) => page.waitForFunction((wanted) => document.getElementById("graph").dataset.nodes === String(wanted), count);
export const rowWith = (page, text) => page.waitForFunction((wanted) => [...document.querySelectorAll("#rows .what")].some((row) => row.textContent.includes(wanted)), text);

/** Starts a node of the exercise in JavaScript that knows these. */
export async function exerciseNode(t, known) {
  const folder = await mkdtemp(join(tmpdir(), "exercise-"));
  await writeFile(join(folder, "known-peers.json"), JSON.stringify(known.map((node) => node.address)));
  await writeFile(join(folder, "transactions.json"), "[]");
  const flags = [join(EXERCISE, "node.mjs"), "--port", "0", "--until-stdin-ends"];
  const program = spawn(process.execPath, flags, { cwd: folder, env: { PATH: process.env.PATH }, stdio: ["pipe", "pipe", "ignore"] });
  t.after(async () => {
    program.stdin.end();
    await new Promise((done) => (program.exitCode === null ? program.on("exit", done) : done()));
    await rm(folder, { recursive: true, force: true });
  });
  for await (const line of createInterface({ input: program.stdout })) {
    const port = /^listening (\d+)$/.exec(line)?.[1];
    if (port) {
      program.stdout.resume();
      return { address: `ws://localhost:${port}` };
    }
  }
  throw new Error("the node of the exercise has ended");
}

/** Why tests with a node of the exercise are skipped; `false`: they are not. */
export const skipExercise = existsSync(join(EXERCISE, "node_modules/ws")) ? false : "npm ci --prefix interop was not run";
if (skipExercise && process.env.CI) throw new Error(skipExercise);
