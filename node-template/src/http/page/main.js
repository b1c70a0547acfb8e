// Connects the stream of live updates to the parts of the page.

import { by, count, duration, foreign, make, number, setNow, setText, short, shortAddresses, update } from "./dom.js";
import * as counters from "./counters.js";
import * as feed from "./feed.js";
import "./forms.js";
import { Graph } from "./graph.js";
import "./invite.js";
import * as images from "./images.js";
import { endLink } from "./link.js";
import { listen } from "./live.js";
import * as pool from "./pool.js";
import { tokenFault } from "./request.js";
import * as tables from "./tables.js";
import * as timeline from "./timeline.js";
import * as topics from "./topics.js";
import { endReplay, useGraph } from "./way.js";

const graph = new Graph(by("stage"), by("graph"), by("hint"), by("spoken"));
useGraph(graph);
let rate = { at: 0, accepted: 0 };
/** The run of the node that the page shows. */
let session = null;

function showStatus(status) {
  setNow(status.time);
  setText(by("title"), shortAddresses(status.address));
  const backs = status.dialBacks;
  // Who is reached by its id needs no such address.
  const hidden = backs && backs.failed > 0 && backs.reached === 0 && !status.byId ? [" · others cannot dial this address: ", foreign(backs.error)] : [];
  update(by("subtitle"), [...make("p", {}, `node ${status.node.slice(0, 8)} · network `, foreign(status.network), ...hidden).childNodes]);
  by("subtitle").title = status.byId ?? status.node;
  document.title = `${shortAddresses(status.address)} · meshpool`;
  setText(by("agent"), status.agent);
  setText(by("figure-peers"), number(status.connected.length));
  setText(by("figure-pool"), short(status.pool.count));
  setText(by("figure-up"), duration(status.uptime));
  const now = performance.now();
  const accepted = status.counters.transactions_accepted;
  // Needs two values at different times.
  if (rate.at > 0 && now > rate.at && accepted >= rate.accepted) setText(by("figure-rate"), short(Math.round((accepted - rate.accepted) * 1000 / (now - rate.at))));
  rate = { at: now, accepted };
  counters.show(status.counters);
  topics.show(status.topics);
  tables.nodes();
  notice("disk", status.writable ? null : "transactions.json cannot be written: nothing is stored until it can. The node's log says why.");
  notice("full", status.poolFull ? "The pool is full: new transactions are refused and not passed on. Set a higher POOL_TRANSACTIONS or POOL_BYTES, and start the node again." : null);
  const missing = (status.counters.pool_rows_lost ?? 0) - (status.counters.pool_rows_returned ?? 0);
  notice("lost", missing > 0 ? `Another program wrote over a file of this node; missing from it: ${count(missing, "row")}. The node's log says more.` : null);
}

function showNetwork(network) {
  graph.show(network);
  tables.nodes(network);
  setText(by("figure-nodes"), number(network.nodes.length));
  setText(by("network-summary"), `${count(network.nodes.length, "node")}, ${count(network.links.length, "link")}`);
  by("stage-empty").hidden = network.nodes.length > 1;
}

let links = "";

function showPeers(peers) {
  tables.peers(peers);
  const now = peers.map((peer) => `${peer.link} ${peer.address} ${peer.state}`).join();
  if (now !== links) timeline.refresh();
  links = now;
  graph.measure(peers);
}

/** By cause, the most important first. */
const notices = { stream: null, stalled: null, disk: null, full: null, lost: null };

function notice(cause, text) {
  notices[cause] = text;
  const shown = Object.values(notices).find((one) => one !== null);
  by("notice").hidden = shown === undefined;
  setText(by("notice"), shown ?? "");
}

let asked = null;

const enteredToken = () => by("token").value.trim();

function showTokenFault(why) {
  setText(by("token-result"), why ?? "");
  by("token").setAttribute("aria-invalid", String(why !== null));
  by("token").select();
}

/** Shows the dialog, once for all that wait for the token, and returns the token. `why`: what is
 * wrong with the one before, or `null`. */
function askToken(why) {
  const dialog = by("token-dialog");
  asked ??= new Promise((done) => {
    dialog.addEventListener("close", () => {
      asked = null;
      done(enteredToken());
    }, { once: true });
    dialog.showModal();
  });
  showTokenFault(why);
  return asked;
}

by("token-form").addEventListener("submit", (event) => {
  const fault = tokenFault(enteredToken());
  if (fault === null) return;
  event.preventDefault();
  showTokenFault(fault);
});

function showState(state, why) {
  // Another tab may have sent the token.
  if (state === "live" && by("token-dialog").open) by("token-dialog").close();
  by("live").dataset.state = state;
  setText(by("live-text"), state === "live" ? "live" : "offline");
  by("stage").toggleAttribute("data-gone", state === "gone");
  notice("stream", state === "gone" ? `${why}. Reconnecting; the page shows the last known state.` : null);
}

function showStalled(number) {
  notice("stalled", number === 0 ? null : "The node has not answered for 12 s. It may be busy, or other programs of this browser hold all connections to it: close other pages of this host.");
}

listen({
  hello({ status, network, peers, lines }) {
    if (session !== null && session !== status.session) endLink();
    session = status.session;
    rate = { at: 0, accepted: 0 };
    showStatus(status);
    showNetwork(network);
    showPeers(peers);
    feed.begin(lines);
    pool.begin();
    images.begin();
    timeline.refresh(true);
  },
  status: showStatus,
  network: showNetwork,
  peers: showPeers,
  activity(activity) {
    feed.add(activity.lines);
    graph.travel(activity.samples);
    if (activity.transactions + activity.missed > 0) {
      pool.refresh();
      timeline.refresh();
    }
  },
}, { state: showState, stalled: showStalled, token: askToken });
