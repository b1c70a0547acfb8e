// A minimal native peer, written from docs/protocol.md alone. Numbers in brackets are sections of
// that document. It joins a full mesh, takes and gives transactions, and keeps them in memory. It
// proves its id, signs nothing else, relays nothing, has no cap, and serves no exercise peers, clients
// or images.
//
//   node minimal-peer.mjs [--port 5001] [--peer ws://localhost:4001]...
//
// Without --port it accepts no connections [12.1]. With it, it does so on loopback [12.3]; port 0
// is any free one. Each line of standard input is a transaction to give; its end ends the peer.
// Standard output has one JSON object a line, whose member `event` is:
//
//   up            the peer runs: id, session, address
//   linked        a link is established: node, address
//   unlinked      it ended: node, code
//   transaction   a new one came: identity, data
//   given         one of standard input went out: identity, links
//   refused       a line of standard input is no transaction: reason

import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { randomBytes, randomUUID, sign, verify } from 'node:crypto';
import { lookup } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import WebSocket, { WebSocketServer } from 'ws';

const { values: flags } = parseArgs({
  options: { port: { type: 'string' }, peer: { type: 'string', multiple: true, default: [] } },
});

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const id = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex'); // [3.3]
const session = randomUUID();
const network = 'p2p-node';
const identityForm = /^[0-9a-f]{64}\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const nonceForm = /^[0-9a-f]{64}$/;
let ownAddress; // undefined: accepts no connections

const pool = new Map(); // identity → { data, since }
const links = new Set(); // the established ones, the oldest first
let closing = false;

const tell = (event, facts) => console.log(JSON.stringify({ event, ...facts }));

// --- Identity of a transaction [3.5, 3.6] ---------------------------------------------------

// Throws if there is no canonical form. Levels of nesting count the frame's own object [3.1].
function canonical(value, level = 2) {
  if (value !== null && typeof value === 'object') {
    if (level > 64) throw new Error('it nests too deep');
    if (Array.isArray(value)) return `[${value.map((item) => canonical(item, level + 1))}]`;
    const names = Object.keys(value).sort(); // by UTF-16 code units
    return `{${names.map((name) => `${canonical(name)}:${canonical(value[name], level + 1)}`)}}`;
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error('too large a number');
  if (typeof value === 'string' && !value.isWellFormed()) throw new Error('half a surrogate pair');
  return JSON.stringify(value);
}

function identityOf(transaction) {
  const isObject = transaction !== null && typeof transaction === 'object';
  if (!isObject || Array.isArray(transaction)) throw new Error('it is no JSON object');
  const bytes = Buffer.from(canonical(transaction));
  if (bytes.length > 262_144) throw new Error('it is too long');
  return createHash('sha256').update(bytes).digest('hex');
}

// --- Addresses [3.4] ------------------------------------------------------------------------

function subnets(list) {
  const found = new BlockList();
  for (const subnet of list.split(' ')) {
    const [ip, prefix] = subnet.split('/');
    found.addSubnet(ip, Number(prefix), `ipv${isIP(ip)}`);
  }
  return found;
}
const loopback = subnets('127.0.0.0/8 0.0.0.0/8 ::/127');
const local = subnets(
  '10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16 fc00::/7 fe80::/10',
);

// 0 loopback, 1 private, 2 public.
function scopeOf(host) {
  if (!isIP(host)) return /^(.+\.)?localhost$/.test(host) ? 0 : 2;
  if (loopback.check(host, `ipv${isIP(host)}`)) return 0;
  return local.check(host, `ipv${isIP(host)}`) ? 1 : 2;
}

const scopeOfAddress = (address) => scopeOf(new URL(address).hostname.replace(/^\[|\]$/g, ''));

// The normal form of an address; undefined if it is none.
function normal(address) {
  if (!/^ws:\/\/[^/?#@]+:\d+\/?$/.test(address) || !URL.canParse(address)) return undefined;
  const { hostname, port } = new URL(address);
  return `ws://${hostname}:${port || 80}`;
}

// --- Dialling [2.1, 5.6] --------------------------------------------------------------------

// What is known of addresses: address → {
//   kept: not forgotten, scope: of who told it, identity: what answered there last,
//   socket: of the dial or link, timer: of the next dial, failures: in a row }
const book = new Map();

function learn(addresses, scope, kept = false) {
  for (const address of addresses.slice(0, 1000).map(normal)) {
    if (!address || address === ownAddress || book.has(address)) continue;
    if (scopeOfAddress(address) < scope) continue;
    book.set(address, { kept, scope, failures: 0 });
    dial(address);
  }
}

function dial(address) {
  const entry = book.get(address);
  if (closing || !entry || entry.socket || linkTo(entry.identity, true)) return;
  const begun = Date.now();
  let link;
  let again = true;
  const socket = connect(address, entry.scope, 5000, (identity, ip, theirs) => {
    entry.identity = identity;
    const native = identityForm.test(identity);
    const proves = nonceForm.test(theirs);
    const second = linkTo(identity, true) ?? (proves ? undefined : linkTo(identity, false));
    if (!native || second || identity.startsWith(id)) {
      // An exercise peer, a second link, or this peer itself. When a second link's elder ends, its
      // address is dialled again.
      again = !native && entry.kept;
      if (!native && !entry.kept) book.delete(address);
      return socket.close(1000);
    }
    const nonces = { nonce: nonce(), theirs: proves ? theirs : undefined };
    link = newLink(socket, scopeOf(ip), { address, identity, dialled: { address, ip }, ...nonces });
    link.send(handshake(link));
    // All that were asked are full: one is to swap a slot [7.12].
    const insist = ownAddress && links.size === 0 && refusals >= 3;
    if (insist) link.send({ type: 'JOIN', data: { insist } });
    setTimeout(() => link.established || socket.close(1008), 5000).unref(); // [5.1]
  });
  entry.socket = socket;
  socket.on('close', (code) => {
    entry.socket = undefined;
    entry.kept ||= link?.established;
    entry.failures = Date.now() - begun >= 60_000 ? 1 : entry.failures + 1;
    if (!entry.kept && entry.failures >= 8) book.delete(address);
    if (!again) return;
    const span = Math.min(500 * 2 ** (entry.failures - 1), 60_000);
    const wait = code === 1008 ? 60_000 : span * (0.1 + 0.9 * Math.random());
    dialLater(address, link?.retryAfter ?? wait);
  });
}

function dialLater(address, wait) {
  const entry = book.get(address);
  if (!entry || entry.timer) return;
  entry.timer = setTimeout(() => {
    entry.timer = undefined;
    dial(address);
  }, wait);
}

// Opens a connection. Passes on the identity in the answer to the upgrade, and the nonce.
function connect(address, scope, patience, opened) {
  const socket = new WebSocket(address, {
    perMessageDeflate: false,
    maxPayload: 1 << 20,
    handshakeTimeout: patience,
    // A name must not lead to where its teller may not tell.
    lookup: (host, wish, done) =>
      lookup(host, { ...wish, all: true }, (error, all = []) => {
        const found = all.filter((one) => scopeOf(one.address) >= scope);
        if (found.length === 0) done(error ?? new Error('out of scope'));
        else if (wish.all) done(null, found);
        else done(null, found[0].address, found[0].family);
      }),
  });
  let answer;
  socket.on('upgrade', (response) => (answer = response));
  socket.on('open', () => {
    const { 'p2p-node': identity, 'p2p-node-nonce': theirs } = answer.headers;
    opened(identity, answer.socket.remoteAddress, theirs);
  });
  socket.on('error', () => {}); // `close` follows
  return socket;
}

// --- Accepting [2.1, 5.2, 12.3] -------------------------------------------------------------

function listen(port) {
  const server = new WebSocketServer({
    port,
    host: 'localhost',
    perMessageDeflate: false,
    maxPayload: 1 << 20,
    verifyClient: ({ origin }, done) => done(!origin, 403),
    handleProtocols: () => false,
  });
  server.on('headers', (headers, request) => {
    request.nonce = nonce();
    headers.push(`p2p-node: ${id}/${session}`, `p2p-node-nonce: ${request.nonce}`);
  });
  server.on('connection', (socket, { nonce, socket: { remoteAddress, localAddress, localPort } }) => {
    const here = `${plainIp(localAddress)} ${localPort}`;
    newLink(socket, scopeOf(remoteAddress), { nonce, here });
  });
  server.on('listening', () => {
    ownAddress = `ws://localhost:${server.address().port}`;
    start();
  });
}

// Whether the peer with this identity answers at an address that it claims. One that proves its id
// there has to do so on its link too.
function verified(address, { identity, proved, scope }) {
  if (!address || scopeOfAddress(address) < scope) return false;
  return new Promise((resolve) => {
    const socket = connect(address, scope, 1000, (answer, ip, theirs) => {
      resolve(answer === identity && (proved || !nonceForm.test(theirs)));
      socket.close(1000);
    });
    socket.on('close', () => resolve(false));
  });
}

// --- Proof of identity [4, 5.5] ---------------------------------------------------------------

const nonce = () => randomBytes(32).toString('hex');
const plainIp = (ip) => ip.replace(/^::ffff:/, '');

// What is signed about a link, by the end with this role.
function statement(link, role, { address, ip, direct }) {
  const own = { id, session, nonce: link.nonce };
  const [node, run] = link.identity.split('/');
  const other = { id: node, session: run, nonce: link.theirs };
  const [dialler, acceptor] = link.dialled ? [own, other] : [other, own];
  const content = { role, network, dialler, acceptor, address, ip, ...(direct === undefined || { direct }) };
  return Buffer.from(`p2p-node HANDSHAKE\n${canonical(content)}`);
}

// The proof for the first HANDSHAKE on a link, if the other end can read one.
function proof(link) {
  if (link.dialled && link.theirs) {
    const signature = sign(null, statement(link, 'dialler', link.dialled), privateKey).toString('hex');
    return { nonce: link.nonce, ...link.dialled, signature };
  }
  if (!link.shown) return undefined;
  const signature = sign(null, statement(link, 'acceptor', link.shown), privateKey).toString('hex');
  return { direct: link.shown.direct, signature };
}

// Whether the other end's proof is right, or it need not give one. Notes whether the link is proved.
function accepts(link, given) {
  link.proved = false;
  if (!link.dialled && !given) return true; // of the previous release, or without a key
  if (link.dialled && !link.theirs) return true;
  if (!/^[0-9a-f]{128}$/.test(given?.signature)) return false;
  const shown = link.dialled ? { ...link.dialled, direct: given.direct } : shownBy(link, given);
  if (!shown || typeof shown.direct !== 'boolean') return false;
  const [node] = link.identity.split('/');
  const der = Buffer.from(`302a300506032b6570032100${node}`, 'hex');
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  const [role, said] = link.dialled ? ['acceptor', shown] : ['dialler', { ...shown, direct: undefined }];
  if (!verify(null, statement(link, role, said), key, Buffer.from(given.signature, 'hex'))) return false;
  link.proved = shown.direct;
  return true;
}

// What a dialler has shown, and whether that leads here and nowhere else.
function shownBy(link, { nonce: theirs, address, ip }) {
  if (!nonceForm.test(theirs) || normal(address) !== address || !isIP(ip)) return undefined;
  link.theirs = theirs;
  const port = new URL(address).port || 80;
  const announced = address === ownAddress && scopeOfAddress(address) > 0;
  link.shown = { address, ip, direct: announced || `${plainIp(ip)} ${port}` === link.here };
  return link.shown;
}

// --- Links [5] ------------------------------------------------------------------------------

// The link to the node that proved to be this one, or a link whose peer only claims it.
const linkTo = (identity, proved) =>
  [...links].find((link) => link.identity === identity && link.proved === proved);

function newLink(socket, scope, facts) {
  const link = { ...facts, scope, established: false, pruned: new Set() };
  link.send = (message) => socket.send(JSON.stringify(message));
  link.close = (code) => socket.close(code);
  link.join = new Promise((resolve) => (link.joined = resolve));
  // Liveness [2.3]. `ws` answers the pings that come in.
  let alive = true;
  const pings = setInterval(() => {
    if (!alive) return socket.terminate();
    alive = false;
    socket.ping();
  }, 22_500);
  socket.on('pong', () => (alive = true));
  socket.on('message', (text) => {
    alive = true;
    onText(link, text);
  });
  socket.on('error', () => {}); // `close` follows
  socket.on('close', (code) => {
    clearInterval(pings);
    if (links.delete(link)) onEnd(link, code);
  });
  return link;
}

function establish(link) {
  link.established = true;
  refusals = 0;
  // A claim gives way to a proof. Of two links in use the side with the smaller id closes the newer
  // [5.4].
  for (const other of links) {
    if (other.node === link.node && link.proved && !other.proved) other.close(1001);
    if (other.node === link.node && other.proved && !link.proved) return link.close(1008);
  }
  if (linkTo(link.identity, link.proved) && id < link.node) return link.close(1000);
  links.add(link);
  tell('linked', { node: link.node, address: link.address });
  if (id < link.node) link.send(sync(summary())); // [7.4]
}

function onEnd(link, code) {
  tell('unlinked', { node: link.node, code });
  if (closing) return links.size > 0 || process.exit(0);
  // What came over that link is asked of the others [7.7].
  for (const [origin, parent] of parents) if (parent === link) parents.delete(origin);
  for (const other of links) {
    other.pruned.clear();
    other.send({ type: 'GRAFT', data: [] });
  }
  for (const [address, { identity }] of book) {
    if (identity === link.identity) dialLater(address, 100 + 400 * Math.random());
  }
}

// --- Messages [7] ---------------------------------------------------------------------------

async function onText(link, text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return link.close(1007);
  }
  try {
    await onMessage(link, message);
  } catch {
    // The content has not the form of its type. A node counts that [6]; this peer ignores it.
  }
}

async function onMessage(link, message) {
  if (message.type === 'HANDSHAKE') await onHandshake(link, message);
  else if (message.type === 'JOIN') onJoin(link, message);
  else if (message.type === 'DECLINED') onDeclined(link, message);
  else if (!link.established) return; // a client or an exercise peer
  else if (message.type === 'TRANSACTION') onTransaction(link, message);
  else if (message.type === 'SYNC') onSync(link, message);
  else if (message.type === 'WANT') sendHeld(link, message.data.slice(0, 1000));
}

// [7.1]
function handshake(link) {
  const mayTell = (address) => address && scopeOfAddress(address) >= link.scope;
  const addresses = [ownAddress, link.address, ...[...links].map((other) => other.address)];
  const address = mayTell(ownAddress) ? ownAddress : undefined; // not in the JSON then
  const node = { id, session, agent: 'mini/1', protocol: 1, network, address, maxPeers: null };
  if (!link.greeted) node.proof = proof(link); // not in the JSON if there is none
  link.greeted = true;
  return { type: 'HANDSHAKE', data: [...new Set(addresses.filter(mayTell))], node };
}

async function onHandshake(link, { data, node }) {
  if (!node) return; // an exercise peer [11]
  const identity = `${node.id}/${node.session}`;
  if (!identityForm.test(identity)) return;
  if (identity === `${id}/${session}`) return link.close(1000);
  if (node.network !== network) return link.close(1013);
  if (node.id === id) return link.close(1008);
  if (link.identity && link.identity !== identity) return link.close(1008);
  const first = !link.node;
  const accepted = !link.dialled;
  link.node = node.id;
  link.identity = identity;
  if (first && !accepts(link, node.proof)) return link.close(1008);
  if (first && accepted) {
    // With a cap, JOIN follows. It may want addresses and no link.
    if (node.maxPeers != null && (await Promise.race([link.join, sleep(1000)]))) return;
    const address = normal(node.address);
    if (await verified(address, link)) {
      link.address = address;
      if (!book.has(address)) book.set(address, { scope: link.scope, failures: 0 });
      book.get(address).identity = identity;
    }
    link.send(handshake(link));
  }
  if (first) establish(link);
  learn(data, link.scope);
}

// [7.12, 7.13]
function onJoin(link, { data }) {
  link.joined(data.want);
  if (data.want) link.send({ type: 'PEERS', data: [] });
}

let refusals = 0; // in a row

// [7.14]
function onDeclined(link, { data, retryAfter = 0 }) {
  refusals += 1;
  link.retryAfter = Math.min(Math.max(retryAfter, 5), 600) * (1000 + 500 * Math.random());
  link.close(1000);
  learn(data.slice(0, 16), link.scope);
}

const parents = new Map(); // origin → the link that brought its first transaction [7.6]

// [7.2]
function onTransaction(link, { data, from, session: answers }) {
  const identity = identityOf(data);
  const origin = from ?? link.node;
  const direct = [...links].find(({ node, proved }) => proved && node === origin);
  const parent = direct ?? parents.get(origin);
  if (!pool.has(identity)) {
    pool.set(identity, { data, since: answers ? 0 : Date.now() });
    tell('transaction', { identity, data });
    if (!answers && !parent) parents.set(origin, link);
  } else if (from && !answers && from !== id && parent && parent !== link) {
    if (!link.pruned.has(from)) link.send({ type: 'PRUNE', data: [from] });
    link.pruned.add(from);
  }
}

function give(line) {
  try {
    const data = JSON.parse(line);
    const identity = identityOf(data);
    if (!pool.has(identity)) pool.set(identity, { data, since: Date.now() });
    for (const link of links) link.send({ type: 'TRANSACTION', data });
    tell('given', { identity, links: links.size });
  } catch (error) {
    tell('refused', { reason: error.message });
  }
}

// The answer to WANT and to SYNC `everything`.
function sendHeld(link, identities) {
  for (const identity of identities) {
    const held = pool.get(identity);
    if (held) link.send({ type: 'TRANSACTION', data: held.data, session });
  }
}

// --- Comparing pools [7.4, 12.2] ------------------------------------------------------------

const sync = (data) => ({ type: 'SYNC', data, set: 'transactions' });

// What is younger than 2 s is still on its way and is not offered.
const offer = () => [...pool.keys()].filter((each) => Date.now() - pool.get(each).since >= 2000);

function summary() {
  const identities = offer();
  const sum = identities.reduce((total, identity) => total + BigInt(`0x${identity}`), 0n);
  return { count: identities.length, sum: BigInt.asUintN(256, sum).toString(16).padStart(64, '0') };
}

// Now and then with a random neighbour: what a neighbour took less than 2 s before a link began is
// neither sent on that link nor offered at its beginning.
function compare() {
  const link = [...links][Math.floor(Math.random() * links.size)];
  link?.send(sync(summary()));
}

let question = { at: 0, number: 0 }; // the last one

function ask(link, text) {
  question = { link, at: Date.now(), number: question.number + 1 };
  link.send(sync({ number: question.number, ask: Buffer.from(text, 'hex').toString('base64') }));
}

function onSync(link, { data, set }) {
  if (set === 'broadcasts' || set === 'nodes') return;
  if (data.everything) {
    sendHeld(link, pool.keys());
  } else if (data.sum) {
    const own = summary();
    if (data.sum === own.sum && data.count === own.count) return;
    if (!data.reply) link.send(sync({ ...own, reply: true }));
    if (Date.now() - question.at >= 2000) ask(link, '6100000200'); // "I have nothing; list yours"
  } else if (data.ask) {
    // Whatever was asked, all that is held, if it fits into one message.
    const list = offer();
    const text = list.length <= 24_000 ? `61000002${varint(list.length)}${list.join('')}` : '61';
    link.send(sync({ number: data.number, answer: Buffer.from(text, 'hex').toString('base64') }));
  } else if (data.answer && question.link === link && question.number === data.number) {
    onAnswer(link, Buffer.from(data.answer, 'base64'));
  }
}

function onAnswer(link, message) {
  const lacking = [];
  let bound;
  let rest; // from where on a long list goes on
  for (const range of ranges(message)) {
    lacking.push(...range.identities.filter((identity) => !pool.has(identity)));
    if (range.mode === 1) rest ??= bound;
    bound = range.bound;
  }
  for (let at = 0; at < lacking.length; at += 1000) {
    link.send({ type: 'WANT', data: lacking.slice(at, at + 1000) });
  }
  if (rest) setTimeout(ask, 200, link, `61${rest}0000000200`); // "list yours from there on"
}

// --- Negentropy [13] ------------------------------------------------------------------------

function* ranges(message) {
  let at = 1;
  let time = 0;
  const bytes = (count) => {
    if (at + count > message.length) throw new Error('it ends too early');
    return message.toString('hex', at, (at += count));
  };
  const number = () => {
    for (let value = 0; ; ) {
      const byte = parseInt(bytes(1), 16);
      value = value * 128 + (byte & 0x7f);
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    time += number() - 1;
    const prefix = bytes(number());
    const mode = number();
    const identities = [];
    if (mode === 1) bytes(16);
    if (mode === 2) for (let left = number(); left > 0; left--) identities.push(bytes(32));
    yield { mode, identities, bound: varint(time + 1) + varint(prefix.length / 2) + prefix };
  }
}

// In hexadecimal digits.
function varint(value) {
  const bytes = [value % 128];
  while ((value = Math.floor(value / 128)) > 0) bytes.unshift(128 + (value % 128));
  return Buffer.from(bytes).toString('hex');
}

// --- The program ----------------------------------------------------------------------------

function start() {
  tell('up', { id, session, address: ownAddress });
  learn(flags.peer, 0, true);
  setInterval(compare, 3000);
  const input = createInterface({ input: process.stdin });
  input.on('line', give);
  input.on('close', () => {
    closing = true;
    for (const link of links) link.close(1001);
    setTimeout(() => process.exit(0), links.size > 0 ? 2000 : 0); // or when the last link ends
  });
}

if (flags.port === undefined) start();
else listen(Number(flags.port));
