// A node of the exercise in JavaScript, written in the manner in which people solve it: it listens on sockets that it accepts, speaks on sockets that
// it dials, checks little and catches less. It is here to be lived with, so its faults are the point: do not mend them. What kills a node of the
// exercise in the wild kills this one.
//
// Runs in a node's folder: .env with PORT (or --port; 0 takes any free one), known-peers.json, transactions.json.
//
//   --host HOST                what others dial to reach it (localhost)
//   --own first|last           where its own address stands in a HANDSHAKE (first)
//   --type-blind               takes the data of every frame for a list of addresses
//   --no-error-handler         an error on a socket that it dialled kills it
//   --reserialise              sends {type, data} on, serialised again, instead of the text that came
//   --binary                   sends on the buffer that came, which `ws` sends as a binary frame
//   --dedupe hash|none|set     knows a transaction again by its hash in the file (hash), not at all, or by its text in memory
//   --dies-of-dead-addresses   a HANDSHAKE that names an address where nobody listens kills it
//   --forgets                  a dial that fails makes it forget the last peer of its list
//   --reads-dialled            also reads what arrives on sockets that it dialled
//   --relays-once              sends on only the first transaction that it ever gets
//   --frames                   puts out every frame that it is sent
//   --until-stdin-ends         ends when its standard input does, so that it never outlives the test that started it
//
// Standard output, one fact per line, for tests to wait on:
//   listening 4001 · connected ws://… · lost ws://… · failed ws://… · told ws://… ws://… · transaction <hash> · died <why> · frame <text>

import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs, parseEnv } from 'node:util';
import WebSocket, { WebSocketServer } from 'ws';

const { values: flags } = parseArgs({
  options: {
    port: { type: 'string' },
    host: { type: 'string', default: 'localhost' },
    own: { type: 'string', default: 'first' },
    'type-blind': { type: 'boolean' },
    'no-error-handler': { type: 'boolean' },
    reserialise: { type: 'boolean' },
    binary: { type: 'boolean' },
    dedupe: { type: 'string', default: 'hash' },
    'dies-of-dead-addresses': { type: 'boolean' },
    forgets: { type: 'boolean' },
    'reads-dialled': { type: 'boolean' },
    'relays-once': { type: 'boolean' },
    frames: { type: 'boolean' },
    'until-stdin-ends': { type: 'boolean' },
  },
});
for (const [flag, choices] of [['own', ['first', 'last']], ['dedupe', ['hash', 'none', 'set']]]) {
  if (!choices.includes(flags[flag])) {
    console.error(`--${flag} ${flags[flag]}: choose one of ${choices.join(', ')}`);
    process.exit(2);
  }
}

// Pipes are written synchronously here, so the line is out before the process is.
process.on('uncaughtException', (error) => {
  // A refused dial of a name with two addresses is an error without a message.
  console.log(`died ${(error.message || error.code).replaceAll('\n', ' ')}`);
  process.exit(1);
});
if (flags['until-stdin-ends']) {
  process.stdin.on('end', () => process.exit(0)).resume();
}

const knownPeers = JSON.parse(readFileSync('known-peers.json', 'utf8'));
const getTransactions = () => JSON.parse(readFileSync('transactions.json', 'utf8'));
const writeTransactions = (transactions) => writeFileSync('transactions.json', JSON.stringify(transactions, null, 2));

const connectedAddresses = [];
const attemptingToConnectToAddress = [];
const openedSockets = [];
const seen = new Set();
let relayed = false;
let myAddress;

const remove = (list, item) => {
  const index = list.indexOf(item);
  if (index !== -1) list.splice(index, 1);
};

const server = new WebSocketServer({ port: Number(flags.port ?? parseEnv(readFileSync('.env', 'utf8')).PORT) });
server.on('listening', () => {
  const { port } = server.address();
  myAddress = `ws://${flags.host}:${port}`;
  console.log(`listening ${port}`);
  knownPeers.forEach((address) => dial(address, 'known'));
});
// An accepted socket has no error handler: a frame that breaks the protocol kills the node, as it kills those in the wild.
server.on('connection', (socket) => {
  show(socket);
  socket.on('message', onMessage);
});

function show(socket) {
  if (flags.frames) socket.on('message', (raw) => console.log(`frame ${raw.toString().replaceAll('\n', ' ')}`));
}

function dial(address, source) {
  if (address === myAddress) return;
  if (connectedAddresses.includes(address) || attemptingToConnectToAddress.includes(address)) return;
  attemptingToConnectToAddress.push(address);
  const socket = new WebSocket(address);
  socket.on('open', () => {
    remove(attemptingToConnectToAddress, address);
    connectedAddresses.push(address);
    openedSockets.push(socket);
    const data = flags.own === 'first' ? [myAddress, ...connectedAddresses] : [...connectedAddresses, myAddress];
    socket.send(JSON.stringify({ type: 'HANDSHAKE', data }));
    console.log(`connected ${address}`);
  });
  socket.on('close', () => {
    if (openedSockets.includes(socket)) {
      remove(connectedAddresses, address);
      remove(openedSockets, socket);
      console.log(`lost ${address}`);
    }
  });
  show(socket);
  if (flags['reads-dialled']) socket.on('message', onMessage);
  if (!flags['no-error-handler']) socket.on('error', () => onDialError(address, source));
}

function onDialError(address, source) {
  if (!attemptingToConnectToAddress.includes(address)) return;
  remove(attemptingToConnectToAddress, address);
  console.log(`failed ${address}`);
  if (flags['dies-of-dead-addresses'] && source === 'told') throw new Error(`of the dead address ${address}`);
  // The well-known slip: indexOf gives -1 for an address that was never connected, and splice(-1, 1) takes the last one.
  if (flags.forgets) connectedAddresses.splice(connectedAddresses.indexOf(address), 1);
}

function onMessage(raw) {
  const message = JSON.parse(raw);
  if (flags['type-blind'] || message.type === 'HANDSHAKE') {
    const addresses = message.data;
    addresses.forEach((address) => dial(address, 'told'));
    console.log(`told ${addresses.join(' ')}`);
  } else if (message.type === 'TRANSACTION') {
    onTransaction(message, raw);
  }
}

function onTransaction(message, raw) {
  const transactions = getTransactions();
  if (isKnown(message.data, transactions)) return;
  transactions.push(message.data);
  writeTransactions(transactions);
  console.log(`transaction ${message.data.hash}`);
  if (flags['relays-once'] && relayed) return;
  relayed = true;
  const { type, data } = message;
  const frame = flags.reserialise ? JSON.stringify({ type, data }) : flags.binary ? raw : raw.toString();
  openedSockets.forEach((socket) => socket.send(frame));
}

function isKnown(transaction, transactions) {
  if (flags.dedupe === 'hash') return transactions.some(({ hash }) => hash === transaction.hash);
  if (flags.dedupe === 'none') return false;
  const text = JSON.stringify(transaction);
  const known = seen.has(text);
  seen.add(text);
  return known;
}
