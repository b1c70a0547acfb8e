// Puts the page together: what the stream says goes to the parts that show it.

import { by, count, duration, keepToken, number, short, tell } from "./dom.js";
import * as feed from "./feed.js";
import "./forms.js";
import { Graph } from "./graph.js";
import * as images from "./images.js";
import { listen } from "./live.js";
import * as pool from "./pool.js";
import * as tables from "./tables.js";

const graph = new Graph(by("stage"), by("graph"), by("hint"), by("spoken"));
let rate = { at: 0, accepted: 0 };

function showStatus(status) {
  tell(by("title"), status.address.replace(/^wss?:\/\//, ""));
  tell(by("subtitle"), `node ${status.node.slice(0, 8)} · network ${status.network}`);
  document.title = `${status.address.replace(/^wss?:\/\//, "")} · p2p-node`;
  tell(by("agent"), status.agent);
  tell(by("figure-peers"), number(status.connected.length));
  tell(by("figure-pool"), short(status.pool.count));
  tell(by("figure-up"), duration(status.uptime));
  const now = performance.now();
  const accepted = status.counters.transactions_accepted;
  // Two in the same moment make no rate.
  if (rate.at > 0 && now > rate.at && accepted >= rate.accepted) tell(by("figure-rate"), short(Math.round((accepted - rate.accepted) * 1000 / (now - rate.at))));
  rate = { at: now, accepted };
  tables.counters(status.counters);
  notice(status.writable ? null : "transactions.json takes no writes: nothing is stored until it does. The node's log says why.");
}

function showNetwork(shown) {
  graph.show(shown);
  tables.nodes(shown);
  tell(by("figure-nodes"), number(shown.nodes.length));
  tell(by("network-summary"), `${count(shown.nodes.length, "node")}, ${count(shown.links.length, "link")}`);
  by("stage-empty").hidden = shown.nodes.length > 1;
}

function showPeers(peers) {
  tables.peers(peers);
  graph.measure(peers);
}

function notice(text) {
  by("notice").hidden = text === null;
  tell(by("notice"), text ?? "");
}

async function askToken() {
  const dialog = by("token-dialog");
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  keepToken(by("token").value);
}

async function showState(state, why) {
  if (state === "token") return askToken();
  by("live").dataset.state = state;
  tell(by("live-text"), state === "live" ? "live" : "gone");
  by("stage").toggleAttribute("data-gone", state === "gone");
  if (state === "gone") notice(`${why}. Trying again; what is shown is how it was.`);
}

listen({
  hello({ status, network, peers, lines }) {
    rate = { at: 0, accepted: 0 };
    notice(null);
    showStatus(status);
    showNetwork(network);
    showPeers(peers);
    feed.begin(lines);
    pool.begin();
    images.begin();
  },
  status: showStatus,
  network: showNetwork,
  peers: showPeers,
  activity(activity) {
    feed.add(activity.lines);
    graph.travel(activity.samples);
    if (activity.transactions + activity.missed > 0) pool.refresh();
  },
}, showState);
