//! A few real cores in one thread, linked to each other and to strangers, and a shell that does what the core's interface promises and no more.
//!
//! `facts.rs` has what a script makes happen, `orders.rs` the shell, `checks.rs` what must hold: after each fact every order is checked, and the core's own words
//! about its links and addresses are compared with the truth. What breaks a rule panics with the rule's name, so that a fuzzer finds it. Time moves only in
//! [`Net::pass`].

mod checks;
mod disk;
mod facts;
mod orders;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::LinkId;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::wire::{Message, SearchId};
use meshpool_proto::signature::Unsigned;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::{Config, Input, Node as Core, RequestId};

use crate::check::Watch;
use crate::names;
use crate::network::Network;
use checks::keep;
use disk::Disk;

/// How many orders one fact may lead to. It is the message that asks for most that comes nearest.
const ORDERS: usize = 4_096;

/// When every run begins: late enough that a core may look back.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Instant::now() + Duration::from_secs(1_000_000))
}

/// All nodes and what is between them.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Every frame that a node sent, if somebody wants to know.
    pub(crate) recorded: Option<Vec<String>>,
    /// Which link of which node is the other end of which.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    last_link: u64,
    facts: VecDeque<(usize, Input)>,
    parser: Parser,
    /// Of all orders, where runs are compared.
    trace: Option<DefaultHasher>,
}

/// A core, its shell and its folder.
pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// Dials that nobody answered yet.
    pub(crate) dials: Vec<PeerAddress>,
    /// Probes likewise.
    pub(crate) probes: Vec<(LinkId, PeerAddress)>,
    /// Searches that the folder was not looked through for yet.
    pub(crate) look_ups: Vec<SearchId>,
    pub(crate) disk: Disk,
    config: Config,
    watch: Watch,
    /// What was ever brought or submitted.
    offered: HashSet<TransactionId>,
    requests: HashMap<RequestId, TransactionId>,
    feeds: BTreeMap<LinkId, Feed>,
}

/// An open link, as its node's shell sees it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Whether its queue takes no payload.
    pub(crate) stuck: bool,
    /// Whether the core ordered to close it, and its end was not reported yet.
    pub(crate) closing: bool,
    /// Whether it is gone, and its end is about to be reported.
    ended: bool,
}

#[derive(Debug)]
struct Feed {
    from: u64,
    until: Option<u64>,
    synced: bool,
}

/// What a node is told at its start, with nothing but its name filled in.
pub(crate) fn config(node: usize) -> Config {
    Config {
        node: names::id(node),
        session: names::session(node),
        agent: "test".into(),
        network: names::NETWORK.into(),
        address: Network::address(node),
        known_peers: Vec::new(),
        remembered_peers: Vec::new(),
        max_peers: None,
        genesis: None,
        since: 1_700_000_000,
        limits: Limits::default(),
        signer: Arc::new(Unsigned),
        seed: node as u64,
    }
}

impl Net {
    /// Nodes that were just started. Where `traced`, [`Self::trace`] tells of all their orders.
    pub(crate) fn new(traced: bool) -> Self {
        Self {
            now: start(),
            nodes: Vec::new(),
            recorded: None,
            wires: BTreeMap::new(),
            last_link: 0,
            facts: VecDeque::new(),
            parser: Parser::new(),
            trace: traced.then(DefaultHasher::new),
        }
    }

    /// Starts one more node, with these transactions in its pool.
    pub(crate) fn add(&mut self, config: Config, pool: Vec<Transaction>) {
        let held: Vec<_> = pool.iter().map(|transaction| (transaction.id(), transaction.time())).collect();
        let mut disk = Disk::default();
        pool.into_iter().for_each(|transaction| disk.put(transaction));
        self.nodes.push(Node {
            core: Core::new(self.now, config.clone(), held),
            links: BTreeMap::new(),
            dials: Vec::new(),
            probes: Vec::new(),
            look_ups: Vec::new(),
            disk,
            config,
            watch: Watch::default(),
            offered: HashSet::new(),
            requests: HashMap::new(),
            feeds: BTreeMap::new(),
        });
        let node = self.nodes.len() - 1;
        self.take_orders(node);
        self.settle();
    }

    /// How much time has passed.
    pub(crate) fn age(&self) -> Duration {
        self.now - start()
    }

    /// A hash of every order given so far.
    pub(crate) fn trace(&self) -> Option<u64> {
        self.trace.as_ref().map(Hasher::finish)
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.finish_closing();
            let due = self.nodes.iter().enumerate();
            let due = due.filter_map(|(node, Node { core, .. })| Some((core.poll_timeout()?, node)));
            let Some((due, node)) = due.min().filter(|(due, _)| *due <= until) else { break };
            self.now = self.now.max(due);
            self.tell(node, Input::Timeout);
            let (now, next) = (self.age(), self.nodes[node].core.poll_timeout());
            keep(self.nodes[node].watch.on_timeout(now, next.map(|next| next.saturating_duration_since(start()))));
        }
        self.now = until;
    }

    /// Tells one node a fact, and lets all that follows happen.
    pub(crate) fn tell(&mut self, node: usize, input: Input) {
        self.facts.push_back((node, input));
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((node, input)) = self.facts.pop_front() {
            let now = self.age();
            let Node { watch, offered, disk, requests, links, feeds, .. } = &mut self.nodes[node];
            keep(watch.on_fact(now));
            match &input {
                // Whatever is still under way to a link whose end was reported, the shell drops.
                Input::Received { link, .. }
                | Input::Replayed { link, .. }
                | Input::QueueFull { link }
                | Input::Pong { link }
                    if !links.contains_key(link) =>
                {
                    continue;
                }
                Input::Received { message: Ok(Message::Transaction(delivery)), .. } => {
                    offered.extend(delivery.transaction.as_ref().ok().map(Transaction::id));
                }
                Input::Submit { request, transaction } => {
                    offered.insert(transaction.id());
                    requests.insert(*request, transaction.id());
                }
                Input::PoolAdded { transactions } => {
                    transactions.iter().for_each(|transaction| disk.put(transaction.clone()));
                }
                Input::LinkClosed { link, .. } => {
                    links.remove(link);
                    feeds.remove(link);
                }
                Input::PoolRemoved { ids } => disk.present.retain(|id, _| !ids.contains(id)),
                _ => {}
            }
            self.nodes[node].core.handle(self.now, input);
            self.take_orders(node);
            self.check(node);
        }
    }

    fn take_orders(&mut self, node: usize) {
        let mut orders = 0;
        while let Some(output) = self.nodes[node].core.poll_output() {
            orders += 1;
            assert!(orders <= ORDERS, "one fact leads to more than {ORDERS} orders");
            if let Some(trace) = &mut self.trace {
                format!("{node} {output:?}").hash(trace);
            }
            self.carry_out(node, output);
        }
    }
}
