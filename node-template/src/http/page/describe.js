// What the nodes and links of the diagram are, in words: for the hint, and for screen readers.

import { count, duration, hasNodeId, milliseconds, nameOf, now, visible } from "./dom.js";

/** With more nodes the part of their addresses that all have in common is left out. */
const LONG_NAMES = 12;

/** Returns the names of nodes as the diagram shows them. */
export function shortNames(nodes) {
  const names = nodes.map((node) => visible(nameOf(node)));
  const hosts = new Set(names.map((name) => name.slice(0, Math.max(0, name.lastIndexOf(":")))));
  const isCommon = nodes.length > LONG_NAMES && hosts.size === 1 && !hosts.has("");
  return isCommon ? names.map((name) => name.slice(name.lastIndexOf(":") + 1)) : names;
}

const isExercise = (node) => node.kind === "plain";

/** Returns what is known of a node. `peers`: the links of this node to it. */
export function nodeFacts(node, peers) {
  const facts = [];
  if (node.kind === "me") facts.push("this node");
  if (isExercise(node)) facts.push("exercise peer");
  if (!isExercise(node)) facts.push(`id ${node.id.slice(0, 16)}…`);
  if (node.links !== null) facts.push(`${count(node.links, "link")}${node.maxPeers ? ` of at most ${node.maxPeers}` : ""}`);
  if (node.since) facts.push(`uptime ${duration(now() / 1000 - node.since)}`);
  if (peers.length > 0) facts.push(ownLink(peers));
  // The name of the node is its beginning.
  if (node.address && hasNodeId(node.address)) facts.push(`address ${node.address}`);
  return facts;
}

/** Describes a link. `own`: this node's links to `two`, if `one` is this node. */
export function linkFacts(one, two, own) {
  if (own.length > 0) return [`Link to ${nameOf(two)}`, ownLink(own), ...carries(own)];
  return [`Link between ${nameOf(one)} and ${nameOf(two)}`, "as announced by these nodes", "direction unknown here"];
}

function ownLink(peers) {
  const trip = peers.map((peer) => peer.roundTripSeconds).find((seconds) => seconds !== null && seconds !== undefined);
  const path = pathOf(peers);
  const tail = `${path === null ? "" : `, ${path.whole}`}${trip === undefined ? "" : `, ${milliseconds(trip)} round trip`}`;
  if (peers.length > 1) return `${dials(peers)}${tail}`;
  return `${peers[0].dialled ? "this node dialled it" : "it dialled this node"}${tail}`;
}

/** Says who dialled, of several sockets to one peer, and why there are several. */
export function dials(peers) {
  const both = new Set(peers.map((peer) => peer.dialled)).size > 1;
  const who = both ? "it dialled this node and this node dialled it" : `${peers.length} sockets`;
  if (peers[0].id?.startsWith("plain:")) return `${who}: a node of the exercise keeps both, as it sends on one and reads on the other`;
  return `${who}: one of them is closed soon`;
}

/** Returns the path of a link over iroh, whole and without the address of a direct one; `null`: the
 * link is a TCP connection. */
export function pathOf(peers) {
  const whole = peers.map((peer) => peer.path).find((path) => path !== null && path !== undefined);
  return whole === undefined ? null : { whole, short: whole.replace(/^direct to .*/, "direct") };
}

function carries(peers) {
  if (pathOf(peers) !== null) return ["one WebSocket over iroh carries both directions"];
  return [peers.length > 1 ? "each socket carries one direction" : "one WebSocket carries both directions"];
}
