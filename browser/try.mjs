import { chromium } from "playwright-core";
import { mesh } from "./nodes.mjs";
const nodes = await mesh(Number(process.argv[2] ?? 3));
console.log(nodes.map((n) => n.url));
const people = ["ann", "bob", "eve", "dan", "kim"];
for (let i = 0; i < 14; i++) await nodes[i % nodes.length].api("/api/transactions?stamp=true", { fromAddress: people[i % 5], toAddress: people[(i + 2) % 5], amount: 5 + i * 3 });
await nodes[1].api("/api/broadcasts", { message: "Hello from the second node" });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
for (const scheme of ["light", "dark"]) for (const [w, h, n] of [[1440, 1000, "desktop"], [390, 844, "phone"]]) {
  const page = await browser.newPage({ viewport: { width: w, height: h }, colorScheme: scheme, deviceScaleFactor: n === "phone" ? 2 : 1 });
  page.on("console", (m) => console.log(n, scheme, m.type(), m.text()));
  page.on("pageerror", (e) => console.log(n, scheme, "ERROR", e.message));
  await page.goto(nodes[0].url);
  await page.waitForSelector('#live[data-state="live"]');
  await page.waitForFunction(() => document.querySelectorAll("#rows li").length > 5);
  await page.waitForTimeout(1500);
  const sent = nodes[1].api("/api/transactions?stamp=true", { fromAddress: "kim", toAddress: "ann", amount: Math.random() * 100 | 0 });
  await sent;
  await page.waitForTimeout(420);
  await page.screenshot({ path: `../target/pages/${n}-${scheme}.png`, fullPage: true });
  await page.close();
}
await browser.close();
for (const node of nodes) await node.end();
