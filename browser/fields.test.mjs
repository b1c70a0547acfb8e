// What the page says of messages, against docs/protocol.md: each kind and each member has its
// explanation, and no other has one. And how the page lays JSON out.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { FIELDS, KINDS, explain } from "../node-template/src/http/page/fields.js";
import { layOut } from "../node-template/src/http/page/json.js";

/** The members of messages that section 7 does not name one by one: those of a transaction are its
 * author's, and those of a proof stand in section 5.5. */
const ELSEWHERE = /^(TRANSACTION data\.|HANDSHAKE node\.proof\.)/;

/** Returns the kinds of messages, and the members of each, as the specification has them. */
async function specified() {
  const text = await readFile(new URL("../docs/protocol.md", import.meta.url), "utf8");
  const kinds = text.matchAll(/^### 7\.\d+ ([A-Z]+)$([\s\S]*?)(?=^##)/gm);
  return new Map([...kinds].map(([, kind, section]) => [kind, members(section)]));
}

function members(section) {
  const found = [];
  // A table with the members of an answer has their names in its `data`.
  let within = null;
  for (const line of section.split("\n")) {
    const heading = /^\| member( of (the (answer's `data`|question)))? \|/.exec(line);
    if (heading) within = heading[3] === "answer's `data`" ? "data." : "";
    else if (!line.startsWith("|")) within = null;
    else if (within !== null && line.startsWith("| `")) {
      const [first, ...rest] = [...line.split("|")[1].matchAll(/`([^`]+)`/g)].map(([, name]) => name);
      const list = /^(.*\[\])\./.exec(first);
      found.push(within + first, ...rest.map((name) => within + (list ? `${list[1]}.${name}` : name)));
    }
  }
  return found;
}

test("each kind of message and each member of it is explained, and nothing else", async () => {
  const kinds = await specified();
  assert.ok(kinds.size >= 20, [...kinds.keys()].join());
  assert.deepEqual(Object.keys(KINDS).sort(), [...kinds.keys()].sort());
  assert.deepEqual(Object.keys(FIELDS).sort(), [...kinds.keys()].sort());
  for (const [kind, members] of kinds) {
    // GRAFT has the form of PRUNE.
    const wanted = kind === "GRAFT" ? kinds.get("PRUNE") : members;
    assert.ok(wanted.length > 0, kind);
    const explained = Object.keys(FIELDS[kind]).filter((path) => !ELSEWHERE.test(`${kind} ${path}`));
    assert.deepEqual(explained.sort(), [...wanted].sort(), kind);
  }
});

test("the members of a proof are those of section 5.5", async () => {
  const text = await readFile(new URL("../docs/protocol.md", import.meta.url), "utf8");
  const table = /^\| member of `proof` [\s\S]*?\n\n/m.exec(text)[0];
  const wanted = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => `node.proof.${name}`);
  assert.deepEqual(Object.keys(FIELDS.HANDSHAKE).filter((path) => path.startsWith("node.proof.")).sort(), wanted.sort());
});

test("what nobody explained has no explanation, but the members of a transaction have one", () => {
  assert.match(explain("HANDSHAKE", "type"), /Introduces/);
  assert.match(explain("LATER", "type"), /ignored/);
  assert.equal(explain("HANDSHAKE", "node.later"), null);
  assert.equal(explain("LATER", "data"), null);
  assert.match(explain("TRANSACTION", "data.anything"), /author/);
});

const shown = (text) => layOut(text).map((part) => part.text).join("");
const named = (text, kind) => layOut(text).filter((part) => part.kind === kind).map((part) => `${part.path}=${part.text}`);

test("JSON is laid out as it travelled: each digit, each name, each order", () => {
  const text = '{"b":12345678901234567890,"a":[1e400,{"x":"a\\"b{"},{}],"b":[],"é":"\\u0041"}';
  assert.equal(shown(text).replace(/\s/g, ""), text);
  assert.equal(shown(text), `{\n  "b": 12345678901234567890,\n  "a": [\n    1e400,\n    {\n      "x": "a\\"b{"\n    },\n    {}\n  ],\n  "b": [],\n  "é": "\\u0041"\n}`);
  assert.deepEqual(named(text, "key"), ['b="b"', 'a="a"', 'a[].x="x"', 'b="b"', 'é="é"']);
  assert.deepEqual(named(text, "value"), ["b=12345678901234567890", "a[]=1e400", 'a[].x="a\\"b{"', 'é="\\u0041"']);
});

test("a text that is cut off, or no JSON, is laid out as far as it goes", () => {
  const whole = '{"type":"HANDSHAKE","data":["ws://localhost:4001","x\\\\"],"node":{"id":"ab","n":-1.5e3,"t":true}}';
  for (let end = 0; end <= whole.length; end += 1) assert.equal(shown(whole.slice(0, end)).replace(/\s/g, ""), whole.slice(0, end));
  for (const text of ["", "no JSON", "]]}}", '{"a"', "{,:}", "\u0000<b>", '"', "[".repeat(5_000)]) assert.equal(shown(text).replace(/\s/g, ""), text.replace(/\s/g, ""));
});
