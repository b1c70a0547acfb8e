// A rival of our node: a mesh of JavaScript nodes in the usual manner of the exercise, one process
// each.
//
//   node bench/js/rival.mjs --mode memory|file --ports 4001,4002,4003 [--expect COUNT]
//   node bench/js/rival.mjs --mode memory|file [--expect COUNT] [--delays]
//
// With --ports it makes a temporary folder for each port, runs a node in each, and prefixes their
// lines with the port. Without, it is one node in the current folder, which has .env and
// known-peers.json like a folder of our node. With --delays it records the delay of each transaction
// since it was sent: its first 16 digits are that time in nanoseconds of the machine's clock. At
// SIGTERM it writes the delays into the file `delays`.
//
//   memory   identifies transactions by a Set of hashes and never writes
//   file     reads and rewrites transactions.json for each transaction, as the exercise's helper does
//
// Standard output: `listening PORT`, `mesh LINKS` when every known peer is linked, `done COUNT` when
// it holds COUNT transactions, and for each line `usage` on standard input
// `usage {"user":µs,"system":µs,"rss":bytes,"count":transactions}`. It answers a STATUS frame with
// its links and its count in the format of our node. It ends when its standard input does.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, parseEnv } from 'node:util';

const { WebSocket, WebSocketServer } = createRequire(new URL('../../interop/package.json', import.meta.url))('ws');

const { values: flags } = parseArgs({
  options: {
    mode: { type: 'string' },
    ports: { type: 'string' },
    expect: { type: 'string', default: '0' },
    delays: { type: 'boolean', default: false },
  },
});
if (!['memory', 'file'].includes(flags.mode)) {
  console.error('--mode memory or --mode file: it decides whether transactions are written to disk');
  process.exit(2);
}

if (flags.ports) runMesh(flags.ports.split(','));
else runNode();

function runMesh(ports) {
  const home = mkdtempSync(join(tmpdir(), 'rival-'));
  const script = fileURLToPath(import.meta.url);
  const known = JSON.stringify(ports.map((port) => `ws://localhost:${port}`));
  const nodes = ports.map((port) => {
    const cwd = join(home, port);
    mkdirSync(cwd);
    writeFileSync(join(cwd, '.env'), `PORT=${port}\n`);
    writeFileSync(join(cwd, 'known-peers.json'), known);
    writeFileSync(join(cwd, 'transactions.json'), '[]');
    const node = spawn(process.execPath, [script, '--mode', flags.mode, '--expect', flags.expect], {
      cwd,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: node.stdout }).on('line', (line) => console.log(`${port} ${line}`));
    return node;
  });
  const ended = nodes.map((node) => new Promise((resolve) => node.on('exit', resolve)));
  Promise.all(ended).then((codes) => {
    rmSync(home, { recursive: true });
    process.exit(codes.every((code) => code === 0) ? 0 : 1);
  });
  process.stdin.on('data', (text) => nodes.forEach((node) => node.stdin.write(text)));
  process.stdin.on('end', () => nodes.forEach((node) => node.stdin.end()));
}

function runNode() {
  const { PORT } = parseEnv(readFileSync('.env', 'utf8'));
  const own = `ws://localhost:${PORT}`;
  const known = JSON.parse(readFileSync('known-peers.json', 'utf8')).filter((address) => address !== own);
  const pool = flags.mode === 'memory' ? memoryPool() : filePool();
  const expected = Number(flags.expect);
  const attempting = new Set();
  const links = new Map();
  const delays = [];

  const server = new WebSocketServer({ port: Number(PORT) });
  server.on('listening', () => {
    console.log(`listening ${PORT}`);
    known.forEach(dial);
  });
  server.on('connection', (socket) => socket.on('message', (raw) => receive(socket, raw)));

  function dial(address) {
    if (address === own || links.has(address) || attempting.has(address)) return;
    attempting.add(address);
    const socket = new WebSocket(address);
    socket.on('open', () => {
      attempting.delete(address);
      links.set(address, socket);
      socket.send(JSON.stringify({ type: 'HANDSHAKE', data: [own, ...links.keys()] }));
      if (known.every((peer) => links.has(peer))) console.log(`mesh ${links.size}`);
    });
    socket.on('close', () => links.delete(address));
    socket.on('error', () => attempting.delete(address));
  }

  function receive(socket, raw) {
    const text = raw.toString();
    const { type, data } = JSON.parse(text);
    if (type === 'HANDSHAKE') {
      data.forEach(dial);
    } else if (type === 'TRANSACTION' && pool.add(data)) {
      // On Linux this is CLOCK_MONOTONIC, which all processes share.
      if (flags.delays) delays.push(process.hrtime.bigint() - BigInt(`0x${data.fromAddress.slice(0, 16)}`));
      for (const link of links.values()) link.send(text);
      if (pool.count() === expected) console.log(`done ${expected}`);
    } else if (type === 'STATUS') {
      const status = { address: own, connected: [...links.keys()], attempting: [...attempting], pool: { count: pool.count() } };
      socket.send(JSON.stringify({ type, data: status }));
    }
  }

  if (flags.delays) {
    process.on('SIGTERM', () => {
      writeFileSync('delays', delays.map((delay) => `${delay}\n`).join(''));
      process.exit(0);
    });
  }

  const commands = createInterface({ input: process.stdin });
  commands.on('line', (line) => {
    if (line !== 'usage') return;
    const rss = process.memoryUsage.rss();
    console.log(`usage ${JSON.stringify({ ...process.cpuUsage(), rss, count: pool.count() })}`);
  });
  commands.on('close', () => process.exit(0));
}

function memoryPool() {
  const hashes = new Set();
  return {
    add({ hash }) {
      if (hashes.has(hash)) return false;
      hashes.add(hash);
      return true;
    },
    count: () => hashes.size,
  };
}

function filePool() {
  const read = () => JSON.parse(readFileSync('transactions.json', 'utf8'));
  let held = read().length;
  return {
    add(transaction) {
      const transactions = read();
      if (transactions.some(({ hash }) => hash === transaction.hash)) return false;
      transactions.push(transaction);
      writeFileSync('transactions.json', JSON.stringify(transactions, null, 2));
      held = transactions.length;
      return true;
    },
    count: () => held,
  };
}
