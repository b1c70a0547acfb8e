// Nodes as processes in temporary folders, on free ports. Each ends with its test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = process.env.P2P_NODE ?? new URL("../target/debug/meshpool", import.meta.url).pathname;
const PATIENCE = 60_000;

/** Polls until the answer is true; the error names what was expected. */
export async function eventually(what, ask) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${what}: not within ${PATIENCE / 1000} s; last answer: ${last}`);
}

export class Node {
  static async start(known = [], settings = "") {
    const node = new Node();
    node.folder = await mkdtemp(join(tmpdir(), "p2p-node-"));
    await writeFile(join(node.folder, "known-peers.json"), JSON.stringify(known.map((peer) => peer.address)));
    await writeFile(join(node.folder, ".env"), settings);
    node.port = 0;
    await node.run();
    return node;
  }

  /** Starts a relay for others. Its settings name its port, which its first start finds. */
  static async relay() {
    const node = await Node.start();
    await node.kill();
    await writeFile(join(node.folder, ".env"), `ADDRESS=ws://127.0.0.1:${node.port}\nRELAY=on\n`);
    await node.run();
    return node;
  }

  /** Starts the program; a restart uses the same ports. */
  async run() {
    const flags = ["--folder", this.folder, "--port", String(this.port)];
    if (this.url) flags.push("--http-port", String(new URL(this.url).port));
    this.process = spawn(PROGRAM, flags, { env: { PATH: process.env.PATH }, stdio: ["ignore", "ignore", "pipe"] });
    this.log = [];
    createInterface({ input: this.process.stderr }).on("line", (line) => this.log.push(line));
    const found = (pattern) => this.log.map((line) => pattern.exec(line)).find(Boolean)?.[1];
    await eventually("a node's start", () => {
      if (this.process.exitCode !== null) throw new Error(this.log.join("\n"));
      return found(/the page is at (\S+)/);
    });
    this.url = found(/the page is at (\S+)/);
    this.address = found(/listening on (\S+)/);
    this.port = Number(this.address.split(":").at(-1));
  }

  async api(path, body) {
    const request = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    const response = await fetch(this.url + path, request);
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Writes a file into the folder images. */
  async put(name, content) {
    await mkdir(join(this.folder, "images"), { recursive: true });
    await writeFile(join(this.folder, "images", name), content);
  }

  async pool() {
    return JSON.parse(await readFile(join(this.folder, "transactions.json"), "utf8"));
  }

  async kill() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await ended;
  }

  async end() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts a full mesh. Each node knows those before it. */
export async function mesh(count) {
  const nodes = [];
  for (let number = 0; number < count; number += 1) nodes.push(await Node.start(nodes));
  await eventually("a full mesh", async () => {
    const seen = await Promise.all(nodes.map((node) => node.api("/api/network")));
    return seen.every((network) => network.nodes.length === count && network.links.length === (count * (count - 1)) / 2);
  });
  return nodes;
}
