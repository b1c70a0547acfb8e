//! A few real cores in one thread, linked to each other and to strangers, and a shell that does what the core's interface promises and no more.
//!
//! After each fact every order is checked, and the core's own words about its links and addresses are compared with the truth. What can break a rule panics with
//! the rule's name, so that a fuzzer finds it. Time moves only in [`Net::pass`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use p2p_node::protocol::access::Certified;
use p2p_node::protocol::address::PeerAddress;
use p2p_node::protocol::identity::{Greeting, LinkId};
use p2p_node::protocol::json::Parser;
use p2p_node::protocol::limits::{self, Limits};
use p2p_node::protocol::message::{AckStatus, Delivery, Message, SearchId};
use p2p_node::protocol::signature::Unsigned;
use p2p_node::protocol::transaction::{Transaction, TransactionId};
use p2p_node::protocol::{Config, Direction, Input, Lane, Output, Protocol, RequestId};

use crate::check::{Fault, Watch, check_addresses, check_degree};
use crate::names;
use crate::network::Network;

/// How many orders one fact may lead to. It is the message that asks for most that comes nearest.
const ORDERS: usize = 4_096;

/// When every run begins: late enough that a core may look back.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Instant::now() + Duration::from_secs(1_000_000))
}

/// What a broken rule looks like to a fuzzer.
#[track_caller]
fn keep(result: Result<(), Fault>) {
    if let Err((rule, what)) = result {
        panic!("{rule:?} broken: {what}");
    }
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
    pub(crate) core: Protocol,
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

/// `transactions.json`.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Written when they come, or when the script says.
    pub(crate) prompt: bool,
    pub(crate) waiting: VecDeque<Transaction>,
    pub(crate) present: HashMap<TransactionId, Transaction>,
    /// Positions, kept by those that were lost.
    order: Vec<TransactionId>,
    places: HashMap<TransactionId, usize>,
}

#[derive(Debug)]
struct Feed {
    from: u64,
    until: Option<u64>,
    synced: bool,
}

impl Disk {
    pub(crate) fn put(&mut self, transaction: Transaction) {
        let id = transaction.id();
        self.places.entry(id).or_insert_with(|| {
            self.order.push(id);
            self.order.len() - 1
        });
        self.present.insert(id, transaction);
    }

    /// Whether it is there, or on its way.
    pub(crate) fn has(&self, id: &TransactionId) -> bool {
        self.present.contains_key(id) || self.waiting.iter().any(|waiting| waiting.id() == *id)
    }

    fn at(&self, position: usize) -> Option<&Transaction> {
        self.present.get(self.order.get(position)?)
    }
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
            core: Protocol::new(self.now, config.clone(), held),
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

    /// A stranger connects.
    pub(crate) fn accept(&mut self, node: usize, remote: IpAddr) -> LinkId {
        let link = self.next_link(node);
        self.tell(node, Input::LinkOpened { link, remote, direction: Direction::Accepted });
        link
    }

    /// It is proved who opens the next link.
    pub(crate) fn certify(&mut self, node: usize, certified: Certified) {
        let link = LinkId(self.last_link + 1);
        self.tell(node, Input::Certified { link, certified });
    }

    /// A stranger answers a dial.
    pub(crate) fn answer_dial(&mut self, node: usize, dial: usize, greeting: Option<Greeting>, remote: IpAddr) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].watch.on_dialled(&address);
        let link = self.next_link(node);
        self.tell(node, Input::LinkOpened { link, remote, direction: Direction::Dialled { address, greeting } });
    }

    /// A dial comes to nothing.
    pub(crate) fn fail_dial(&mut self, node: usize, dial: usize) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].watch.on_dialled(&address);
        self.tell(node, Input::DialFailed { address, error: "refused".into() });
    }

    /// Somebody or nobody answers a probe.
    pub(crate) fn answer_probe(&mut self, node: usize, probe: usize, greeting: Option<Greeting>) {
        let (link, address) = self.nodes[node].probes.remove(probe);
        self.nodes[node].watch.on_probed();
        self.tell(node, Input::Probed { link, address, greeting });
    }

    /// Some of what waits for the disk is on it.
    pub(crate) fn write(&mut self, node: usize, most: usize) {
        let disk = &mut self.nodes[node].disk;
        let count = most.min(disk.waiting.len());
        let written: Vec<Transaction> = disk.waiting.drain(..count).collect();
        let ids: Vec<_> = written.iter().map(Transaction::id).collect();
        written.into_iter().for_each(|transaction| disk.put(transaction));
        if !ids.is_empty() {
            self.tell(node, Input::Stored { ids });
        }
        for link in self.nodes[node].feeds.keys().copied().collect::<Vec<_>>() {
            self.feed(node, link);
        }
        self.settle();
    }

    /// A frame comes in from a stranger.
    pub(crate) fn receive(&mut self, node: usize, link: LinkId, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        self.tell(node, Input::Received { link, message });
    }

    /// A queue is full, or has room again.
    pub(crate) fn toggle(&mut self, node: usize, link: LinkId) {
        if let Some(open) = self.nodes[node].links.get_mut(&link) {
            open.stuck = !open.stuck;
        }
        self.feed(node, link);
        self.settle();
    }

    /// A link ends without the node's doing, or because the node ordered it.
    pub(crate) fn cut(&mut self, node: usize, link: LinkId) {
        self.end(node, link);
        self.settle();
    }

    /// All links end that were ordered to.
    pub(crate) fn finish_closing(&mut self) {
        for node in 0..self.nodes.len() {
            let closing = self.nodes[node].links.iter().filter(|(_, link)| link.closing);
            for link in closing.map(|(link, _)| *link).collect::<Vec<_>>() {
                self.cut(node, link);
            }
        }
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
                | Input::Fed { link, .. }
                | Input::LinkFull { link }
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
                Input::Found { transactions } => {
                    transactions.iter().for_each(|transaction| disk.put(transaction.clone()));
                }
                Input::LinkClosed { link, .. } => {
                    links.remove(link);
                    feeds.remove(link);
                }
                Input::Lost { ids } => disk.present.retain(|id, _| !ids.contains(id)),
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

    fn carry_out(&mut self, node: usize, output: Output) {
        let this = &mut self.nodes[node];
        let most = this.config.limits.dials_in_flight;
        match output {
            Output::Dial { address, .. } => {
                keep(this.watch.on_dial(&address, most));
                match (0..self.nodes.len()).find(|other| Network::address(*other) == address) {
                    Some(other) => self.link(node, other),
                    None => self.nodes[node].dials.push(address),
                }
            }
            Output::Probe { link, address, .. } => {
                keep(this.watch.on_probe(most));
                this.probes.push((link, address));
            }
            Output::Send { links, frame, lane } => {
                assert!(frame.len() <= limits::MESSAGE_BYTES, "too long a message: {frame:?}");
                self.check_frame(node, frame.as_str());
                for link in links {
                    self.send(node, link, frame.as_str(), Some(lane));
                }
            }
            Output::Ping { link } => {
                assert!(this.links.contains_key(&link), "a ping on {link:?}, whose end was reported");
                if self.wires.contains_key(&(node, link)) {
                    self.facts.push_back((node, Input::Pong { link }));
                }
            }
            Output::Close { link, reason, .. } => {
                assert!(reason.len() <= limits::CLOSE_REASON_BYTES, "{reason:?}");
                let open = this.links.get_mut(&link).unwrap_or_else(|| panic!("{link:?} is closed already"));
                assert!(!std::mem::replace(&mut open.closing, true), "{link:?} is closed twice");
                this.feeds.remove(&link);
                if self.wires.contains_key(&(node, link)) {
                    self.end(node, link);
                }
            }
            Output::Store { transaction } => {
                let id = transaction.id();
                assert!(this.offered.contains(&id), "nobody brought {id}");
                assert!(!this.disk.has(&id), "{id} is stored twice");
                this.disk.waiting.push_back(transaction);
                if this.disk.prompt {
                    let waiting: Vec<Transaction> = this.disk.waiting.drain(..).collect();
                    waiting.into_iter().for_each(|transaction| this.disk.put(transaction));
                    self.facts.push_back((node, Input::Stored { ids: vec![id] }));
                }
            }
            Output::Feed { link, from, until, synced } => {
                assert!(this.links.contains_key(&link), "{link:?} is to be fed, and its end was reported");
                this.feeds.insert(link, Feed { from, until, synced });
                self.feed(node, link);
            }
            Output::Fetch { link, positions } => {
                assert!(positions.is_sorted() && this.links.contains_key(&link));
                let found = positions.iter().filter_map(|position| this.disk.at(*position as usize));
                let session = this.config.session;
                let frames: Vec<_> = found.map(|found| Delivery::sync_frame(found.body(), session)).collect();
                frames.iter().for_each(|frame| self.send(node, link, frame.as_str(), None));
            }
            Output::Kept { request } => {
                let id = this.requests.remove(&request).expect("what is kept was submitted");
                assert!(this.disk.places.contains_key(&id), "{id} is called kept before it is on disk");
            }
            Output::LookUp { search, .. } => this.look_ups.push(search),
            Output::Remember { addresses } => assert!(addresses.len() <= limits::REMEMBERED_PEERS),
            Output::Submitted { .. }
            | Output::Told { .. }
            | Output::Offer { .. }
            | Output::SearchOver { .. }
            | Output::Unqueue { .. }
            | Output::Advertise { .. }
            | Output::Pause { .. }
            | Output::Notify(_) => {}
        }
    }

    /// What a node sends is a message, and true where we can tell.
    fn check_frame(&mut self, node: usize, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        if let Message::Ack(ack) = message.unwrap_or_else(|error| panic!("{text} is sent: {error}"))
            && let Ok(id) = ack.id.parse::<TransactionId>()
        {
            let Node { disk, offered, .. } = &self.nodes[node];
            // A duplicate may be one of a broadcast, which is on no disk.
            let due = ack.status == AckStatus::Stored || ack.status == AckStatus::Duplicate && offered.contains(&id);
            assert!(!due || disk.places.contains_key(&id), "{text} is sent before {id} is on disk");
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(text.to_owned());
        }
    }

    fn send(&mut self, node: usize, link: LinkId, text: &str, lane: Option<Lane>) {
        let open = self.nodes[node].links.get(&link);
        let open = open.unwrap_or_else(|| panic!("{link:?} is sent to, and its end was reported: {text}"));
        if open.stuck && lane == Some(Lane::Payload) {
            self.facts.push_front((node, Input::LinkFull { link }));
        } else if let Some((other, there)) = self.wires.get(&(node, link)) {
            let message = Message::parse(&mut self.parser, text);
            self.facts.push_back((*other, Input::Received { link: *there, message }));
        }
    }

    /// Sends a link from the pool what was ordered, if its queue has room.
    fn feed(&mut self, node: usize, link: LinkId) {
        let Node { links, feeds, disk, config, .. } = &mut self.nodes[node];
        if links.get(&link).is_none_or(|link| link.stuck || link.closing || link.ended) {
            return;
        }
        let Some(Feed { from, until, synced }) = feeds.remove(&link) else { return };
        let end = until.unwrap_or(u64::MAX).min(disk.order.len() as u64);
        let rows = (from..end).filter_map(|position| disk.at(position as usize)).map(Transaction::body);
        let session = config.session;
        let frame =
            |body| if synced { Delivery::sync_frame(body, session) } else { Delivery::client_frame(body, false) };
        let frames: Vec<_> = rows.map(frame).collect();
        frames.iter().for_each(|frame| self.send(node, link, frame.as_str(), None));
        self.facts.push_back((node, Input::Fed { link, position: end.max(from) }));
    }

    /// One of our nodes dialled another, or itself.
    fn link(&mut self, from: usize, to: usize) {
        let address = Network::address(to);
        self.nodes[from].watch.on_dialled(&address);
        let (there, here) = (self.next_link(from), self.next_link(to));
        self.wires.insert((from, there), (to, here));
        self.wires.insert((to, here), (from, there));
        let Config { node, session, .. } = self.nodes[to].config;
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let dialled = Direction::Dialled { address, greeting: Some(Greeting { node, session }) };
        self.facts.push_back((from, Input::LinkOpened { link: there, remote, direction: dialled }));
        self.facts.push_back((to, Input::LinkOpened { link: here, remote, direction: Direction::Accepted }));
    }

    fn end(&mut self, node: usize, link: LinkId) {
        let mut ends = vec![(node, link)];
        if let Some(other) = self.wires.remove(&(node, link)) {
            self.wires.remove(&other);
            ends.push(other);
        }
        for (node, link) in ends {
            if let Some(open) = self.nodes[node].links.get_mut(&link).filter(|open| !open.ended) {
                open.ended = true;
                self.facts.push_back((node, Input::LinkClosed { link, cause: "it ended".into() }));
            }
        }
    }

    fn next_link(&mut self, node: usize) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.nodes[node].links.insert(link, Link::default());
        link
    }

    /// What a core says of itself between two facts.
    fn check(&self, node: usize) {
        let Node { core, links, config, .. } = &self.nodes[node];
        // Whose address is whose only strangers know: that some link is open is what can be asked.
        let leads_to = |address: &PeerAddress| Some(if *address == Network::address(node) { node } else { usize::MAX });
        keep(check_addresses(core, node, leads_to, |_| !links.is_empty()));
        keep(check_degree(core, config.max_peers));
        assert!(core.linked_peers() <= links.len(), "{} peers on {} links", core.linked_peers(), links.len());
    }

    /// What a node says to whoever asks.
    pub(crate) fn check_status(&self, node: usize) {
        let Node { core, config, disk, .. } = &self.nodes[node];
        let asked: Vec<TransactionId> = disk.present.keys().copied().collect();
        let status = core.status(self.now, &asked);
        let most = config.limits.peer_table + config.known_peers.len() + config.remembered_peers.len() + 1;
        assert!(status.known <= most, "{} addresses are known", status.known);
        assert!(status.peers.len() <= limits::STATUS_PEERS);
        assert_eq!(status.held, asked.len(), "what is on disk is held");
        let attempting: BTreeSet<_> = status.attempting.iter().collect();
        assert!(status.connected.iter().all(|address| !attempting.contains(address)));
    }
}
