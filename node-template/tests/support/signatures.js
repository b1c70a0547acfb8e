// Verifies and makes signatures as docs/protocol.md tells, with nothing but Node.js. Standard input has one signed transaction per line; standard output gets
// one answer per line: whether the signature is good, and the same content signed with a key of this program, in JavaScript's order of keys.
'use strict';

const { createPrivateKey, createPublicKey, sign, verify } = require('node:crypto');
const { readFileSync } = require('node:fs');

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${members.join(',')}}`;
}

const message = (rest) => Buffer.from(`p2p-node TRANSACTION\n${canonical(rest)}`);
const der = (prefix, bytes) => Buffer.concat([Buffer.from(prefix, 'hex'), bytes]);

const secret = createPrivateKey({ key: der('302e020100300506032b657004220420', Buffer.alloc(32, 7)), format: 'der', type: 'pkcs8' });
const own = createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');

function judge(text) {
  const { signature, ...rest } = JSON.parse(text);
  const key = createPublicKey({ key: der('302a300506032b6570032100', Buffer.from(rest.publicKey, 'hex')), format: 'der', type: 'spki' });
  const mine = { ...rest, publicKey: own };
  return {
    verified: verify(null, message(rest), key, Buffer.from(signature, 'hex')),
    signed: JSON.stringify({ signature: sign(null, message(mine), secret).toString('hex'), ...mine }),
  };
}

const lines = readFileSync(0, 'utf8').split('\n').filter((line) => line !== '');
process.stdout.write(lines.map((line) => `${JSON.stringify(judge(line))}\n`).join(''));
