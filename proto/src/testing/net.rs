//! A few cores in one thread, linked as a test says, with a clock that a test moves: for tests of
//! what spreads over several links.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha512};

use crate::address::PeerAddress;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Nonce, Session, UpgradeIdentity};
use crate::json::Parser;
use crate::limits::Limits;
use crate::signature::{Purpose, Seal, Signature, Signer, Unsigned};
use crate::topic_name::TopicName;
use crate::transaction::{Transaction, TransactionId};
use crate::wire::{Found, ImageInfo, Message, RememberedExercise, SearchId, TITLE, TopicFrame, TransactionFrame};
use crate::{
    BroadcastReceipt, Challenge, Config, Direction, HeldItem, Input, Lane, Node, Output, RequestId, Retention,
    SearchEnd, TopicInput, TopicOutput, TopicSettings,
};

/// The time of day at which all nodes start, in seconds since 1970.
pub(crate) const TIME_OF_DAY: u64 = 1_800_000_000;

/// Nodes that are linked only as [`Self::link`] says; each dial of their own fails.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) cores: Vec<Node>,
    /// What each node told its application.
    pub(crate) events: Vec<Vec<Event>>,
    pub(crate) told: Vec<BroadcastReceipt>,
    /// How many frames of each type were sent, and every frame to a client.
    pub(crate) sent: BTreeMap<String, usize>,
    pub(crate) to_clients: Vec<String>,
    /// How often a link was not to be read for a while.
    pub(crate) pauses: usize,
    /// What each node has in its folder.
    pub(crate) images: BTreeMap<usize, Vec<ImageInfo>>,
    /// What came of searches, and at which node.
    pub(crate) offers: Vec<(usize, Found)>,
    pub(crate) searches_over: Vec<(usize, SearchId, SearchEnd)>,
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    last_link: u64,
    runs: u8,
    /// Each replay that was ordered: the node, the link and the first position.
    pub(crate) replays: Vec<(usize, LinkId, u64)>,
    /// Whose queued copies were dropped: the node, the topic and the link.
    pub(crate) dropped: Vec<(usize, Option<TopicName>, LinkId)>,
    /// The nodes whose hosts cannot probe any address.
    pub(crate) without_routes: Vec<usize>,
    /// What each node last remembered of exercise peers.
    pub(crate) remembered: BTreeMap<usize, Vec<RememberedExercise>>,
    pub(crate) limits: Limits,
    signed: bool,
    /// How many signatures of messages were judged, by all.
    pub(crate) judged: Arc<AtomicUsize>,
    /// The topics that a node has, from its next start on, in this order.
    topics: BTreeMap<usize, Vec<(TopicName, Retention)>>,
    /// What is stored of each topic of each node, by position.
    rows: BTreeMap<(usize, TopicName), Vec<Option<Transaction>>>,
    inputs: VecDeque<(usize, Input)>,
    parser: Parser,
}

impl Net {
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, Limits::default())
    }

    pub(crate) fn with(nodes: usize, limits: Limits) -> Self {
        let mut net = Self {
            now: Instant::now() + Duration::from_secs(100_000),
            cores: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            sent: BTreeMap::new(),
            to_clients: Vec::new(),
            pauses: 0,
            images: BTreeMap::new(),
            offers: Vec::new(),
            searches_over: Vec::new(),
            wires: BTreeMap::new(),
            last_link: 0,
            runs: 0,
            replays: Vec::new(),
            dropped: Vec::new(),
            without_routes: Vec::new(),
            remembered: BTreeMap::new(),
            limits,
            signed: false,
            judged: Arc::default(),
            topics: BTreeMap::new(),
            rows: BTreeMap::new(),
            inputs: VecDeque::new(),
            parser: Parser::new(),
        };
        for node in 0..nodes {
            let core = net.core(node);
            net.cores.push(core);
            net.events.push(Vec::new());
        }
        net
    }

    /// The same, whose nodes sign.
    pub(crate) fn signed(nodes: usize) -> Self {
        let mut net = Self { signed: true, ..Self::new(0) };
        for node in 0..nodes {
            let core = net.core(node);
            net.cores.push(core);
            net.events.push(Vec::new());
        }
        net
    }

    /// What signs for a node, and judges with it.
    pub(crate) fn pretend(&self, node: usize) -> Pretend {
        Pretend { node: id(node), judged: Arc::clone(&self.judged) }
    }

    fn core(&mut self, node: usize) -> Node {
        self.runs += 1;
        let config = Config {
            node: id(node),
            session: Session::from_random([self.runs; 16]),
            agent: "test".into(),
            network: "test".into(),
            address: address(node),
            known_peers: Vec::new(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: self.remembered.get(&node).cloned().unwrap_or_default(),
            genesis: None,
            max_peers: Some(64),
            since: u64::from(self.runs),
            limits: self.limits.clone(),
            signer: if self.signed { Arc::new(self.pretend(node)) } else { Arc::new(Unsigned) },
            seed: node as u64,
        };
        let mut core = Node::new(self.now, config, Vec::new());
        for (name, retention) in self.topics.get(&node).into_iter().flatten() {
            let rows = self.rows.get(&(node, name.clone())).into_iter().flatten();
            let held = rows.map(|row| row.as_ref().expect("a restart finds what was kept in order"));
            let held = held.map(|item| HeldItem { id: item.id(), time: item.time(), bytes: item.body_bytes() as u32 });
            let settings = TopicSettings {
                name: name.clone(),
                retention: retention.clone(),
                time_of_day: TIME_OF_DAY,
                place: format!("topics/{name}.json"),
            };
            core.declare_topic(settings, held.collect());
        }
        core
    }

    /// Gives a node a topic, and starts it again.
    pub(crate) fn declare(&mut self, node: usize, topic: &str, retention: Retention) {
        let name = topic.parse().expect("a name");
        self.topics.entry(node).or_default().push((name, retention));
        self.restart(node);
    }

    /// Gives a topic of a node another retention, and starts the node again.
    pub(crate) fn retain(&mut self, node: usize, topic: &str, retention: Retention) {
        let number = self.number(node, topic);
        self.topics.get_mut(&node).expect("it has topics")[number].1 = retention;
        self.restart(node);
    }

    /// The application of a node publishes an item.
    pub(crate) fn publish(&mut self, node: usize, topic: &str, body: &str) -> TransactionId {
        let transaction = Transaction::parse(&mut self.parser, body).expect("an item");
        let id = transaction.id();
        let topic = self.number(node, topic);
        self.tell(node, Input::Topic { topic, input: TopicInput::Submit { request: RequestId(0), transaction } });
        id
    }

    /// The id of an item.
    pub(crate) fn id_of(&mut self, body: &str) -> TransactionId {
        Transaction::parse(&mut self.parser, body).expect("an item").id()
    }

    fn number(&self, node: usize, topic: &str) -> usize {
        self.topics[&node].iter().position(|(name, _)| name.as_str() == topic).expect("it is declared")
    }

    /// What a node keeps of a topic, in the order of ids.
    pub(crate) fn items(&self, node: usize, topic: &str) -> Vec<TransactionId> {
        let rows = self.rows.get(&(node, topic.parse().expect("a name"))).into_iter().flatten();
        let mut ids: Vec<_> = rows.flatten().map(Transaction::id).collect();
        ids.sort_unstable();
        ids
    }

    fn carry_out_of_topic(&mut self, node: usize, topic: usize, output: TopicOutput) {
        let name = self.topics[&node][topic].0.clone();
        let rows = self.rows.entry((node, name.clone())).or_default();
        let session = self.cores[node].cx.config.session;
        let frame = |item: &Transaction, synced: bool| {
            let frame = TransactionFrame::sync_frame(item.body(), session);
            TopicFrame::wrap(&name, if synced { &frame } else { item.frame() })
        };
        match output {
            TopicOutput::Store { transaction } => {
                let ids = vec![transaction.id()];
                rows.push(Some(transaction));
                self.inputs.push_back((node, Input::Topic { topic, input: TopicInput::Stored { ids } }));
            }
            TopicOutput::Replay { link, from, until, synced } => {
                let until = until.map_or(rows.len(), |until| until as usize);
                let frames: Vec<_> =
                    rows[from as usize..until].iter().flatten().map(|item| frame(item, synced)).collect();
                for frame in frames {
                    self.carry_out(node, Output::Send { links: vec![link], frame, lane: Lane::Payload });
                }
                let input = TopicInput::Replayed { link, position: until as u64 };
                self.inputs.push_back((node, Input::Topic { topic, input }));
            }
            TopicOutput::ReplayPositions { link, positions } => {
                let items = positions.iter().filter_map(|position| rows[*position as usize].as_ref());
                let frames: Vec<_> = items.map(|item| frame(item, true)).collect();
                for frame in frames {
                    self.carry_out(node, Output::Send { links: vec![link], frame, lane: Lane::Payload });
                }
            }
            TopicOutput::Forget { ids } => {
                for row in rows.iter_mut().filter(|row| row.as_ref().is_some_and(|row| ids.contains(&row.id()))) {
                    *row = None;
                }
            }
        }
    }

    /// Links two nodes; gives the links' names at each.
    pub(crate) fn link(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        let names = self.begin_link(from, to);
        self.settle();
        names
    }

    /// The same, and nothing of it happens before the next fact.
    pub(crate) fn begin_link(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        let (there, here) = (self.next_link(), self.next_link());
        self.wires.insert((from, there), (to, here));
        self.wires.insert((to, here), (from, there));
        let identity = Some(self.identity(to));
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let dialled = Direction::Dialled { address: address(to), identity };
        let [own, other] = [there, here].map(|link| {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&link.0.to_be_bytes());
            Nonce(nonce)
        });
        let challenge = Challenge::Dialled { nonce: own, answered: Some(other), ip: remote };
        self.inputs.push_back((from, Input::LinkChallenged { link: there, challenge }));
        let challenge = Challenge::Accepted { nonce: other, local: SocketAddr::new(remote, address(to).port()) };
        self.inputs.push_back((to, Input::LinkChallenged { link: here, challenge }));
        self.inputs.push_back((from, Input::LinkOpened { link: there, remote, direction: dialled }));
        self.inputs.push_back((to, Input::LinkOpened { link: here, remote, direction: Direction::Accepted }));
        (there, here)
    }

    /// Links two nodes over iroh; gives the links' names at each. The path is on this host.
    pub(crate) fn link_over_iroh(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        let names = self.begin_link_over_iroh(from, to);
        self.settle();
        names
    }

    /// The same, and nothing of it happens before the next fact.
    pub(crate) fn begin_link_over_iroh(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        let (there, here) = (self.next_link(), self.next_link());
        self.wires.insert((from, there), (to, here));
        self.wires.insert((to, here), (from, there));
        for (node, link, other) in [(from, there, to), (to, here, from)] {
            self.cores[node].cx.config.wan = true;
            self.inputs.push_back((node, Input::NodeAuthenticated { link, node: id(other) }));
        }
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let dialled = Direction::Dialled { address: by_id(to), identity: Some(self.identity(to)) };
        self.inputs.push_back((from, Input::LinkOpened { link: there, remote, direction: dialled }));
        self.inputs.push_back((to, Input::LinkOpened { link: here, remote, direction: Direction::Accepted }));
        (there, here)
    }

    /// One more node.
    pub(crate) fn add(&mut self) {
        let core = self.core(self.cores.len());
        self.cores.push(core);
        self.events.push(Vec::new());
    }

    /// The name that the link between two nodes has at the first.
    pub(crate) fn link_between(&self, one: usize, other: usize) -> LinkId {
        let wire = self.wires.iter().find(|((at, _), (to, _))| (*at, *to) == (one, other));
        wire.expect("they are linked").0.1
    }

    /// Each node to each other.
    pub(crate) fn mesh(nodes: usize) -> Self {
        let mut net = Self::new(nodes);
        for one in 0..nodes {
            for other in one + 1..nodes {
                net.link(one, other);
            }
        }
        net
    }

    /// Each node to the next.
    pub(crate) fn line(nodes: usize) -> Self {
        let mut net = Self::new(nodes);
        for one in 1..nodes {
            net.link(one - 1, one);
        }
        net
    }

    /// A client of a node, on its own host.
    pub(crate) fn client(&mut self, node: usize) -> LinkId {
        self.client_from(node, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A client of a node, on another host.
    pub(crate) fn client_from(&mut self, node: usize, remote: IpAddr) -> LinkId {
        let link = self.next_link();
        self.tell(node, Input::LinkOpened { link, remote, direction: Direction::Accepted });
        link
    }

    /// A node dials the exercise peer at the address of `peer`.
    pub(crate) fn exercise(&mut self, node: usize, peer: usize) -> LinkId {
        let link = self.next_link();
        let direction = Direction::Dialled { address: address(peer), identity: None };
        self.tell(node, Input::LinkOpened { link, remote: IpAddr::V4(Ipv4Addr::LOCALHOST), direction });
        link
    }

    /// The end of a link of a node whose other end is no core.
    pub(crate) fn end(&mut self, node: usize, link: LinkId) {
        self.tell(node, Input::LinkClosed { link, cause: "connection reset".into() });
    }

    fn next_link(&mut self) -> LinkId {
        self.last_link += 1;
        LinkId(self.last_link)
    }

    fn identity(&self, node: usize) -> UpgradeIdentity {
        let config = &self.cores[node].cx.config;
        UpgradeIdentity { node: config.node, session: config.session }
    }

    /// Tells one node a fact, and lets all that follows happen.
    pub(crate) fn tell(&mut self, node: usize, input: Input) {
        self.inputs.push_back((node, input));
        self.settle();
    }

    /// A node receives a frame that a test wrote.
    pub(crate) fn receive(&mut self, node: usize, link: LinkId, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        self.tell(node, Input::Received { link, message });
    }

    pub(crate) fn broadcast(&mut self, node: usize, text: &str) -> BroadcastReceipt {
        self.tell(node, Input::Broadcast { request: RequestId(0), message: text.into(), time: 1_700_000_000.5 });
        self.told.pop().expect("a broadcast is told of at once")
    }

    /// Cuts a link.
    pub(crate) fn cut(&mut self, node: usize, link: LinkId) {
        if let Some((other, there)) = self.wires.remove(&(node, link)) {
            self.wires.remove(&(other, there));
            self.inputs.push_back((node, Input::LinkClosed { link, cause: "cut".into() }));
            self.inputs.push_back((other, Input::LinkClosed { link: there, cause: "cut".into() }));
            self.settle();
        }
    }

    /// A node loses all its links without a word.
    pub(crate) fn isolate(&mut self, node: usize) {
        let links: Vec<LinkId> = self.wires.keys().filter(|(at, _)| *at == node).map(|(_, link)| *link).collect();
        for link in links {
            self.cut(node, link);
        }
    }

    /// The process of a node ends without a word, and another begins in its folder, linked to
    /// nobody.
    pub(crate) fn restart(&mut self, node: usize) {
        self.isolate(node);
        self.start_again(node);
    }

    /// The same, and the other ends of its links do not hear of it.
    pub(crate) fn crash(&mut self, node: usize) {
        self.wires.retain(|(at, _), (to, _)| *at != node && *to != node);
        self.start_again(node);
    }

    fn start_again(&mut self, node: usize) {
        for (_, rows) in self.rows.iter_mut().filter(|((of, _), _)| *of == node) {
            rows.retain(Option::is_some);
        }
        self.cores[node] = self.core(node);
        while let Some(output) = self.cores[node].poll_output() {
            self.carry_out(node, output);
        }
        self.settle();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.cores.iter().enumerate().filter_map(|(node, core)| Some((core.poll_timeout()?, node)));
            let Some((due, node)) = due.min().filter(|(due, _)| *due <= until) else { break };
            self.now = self.now.max(due);
            self.tell(node, Input::Timeout);
        }
        self.now = until;
    }

    fn settle(&mut self) {
        while let Some((node, input)) = self.inputs.pop_front() {
            self.cores[node].handle(self.now, input);
            while let Some(output) = self.cores[node].poll_output() {
                self.carry_out(node, output);
            }
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { links, frame, .. } => {
                for link in links {
                    let message = Message::parse(&mut self.parser, frame.as_str());
                    let kind = message.as_ref().expect("what a node sends is a message").kind().to_owned();
                    *self.sent.entry(kind).or_default() += 1;
                    match self.wires.get(&(node, link)) {
                        Some((other, there)) => {
                            self.inputs.push_back((*other, Input::Received { link: *there, message }))
                        }
                        None => self.to_clients.push(frame.as_str().to_owned()),
                    }
                }
            }
            Output::Dial { address, .. } => {
                self.inputs.push_back((node, Input::DialFailed { address, error: "not in this test".into() }))
            }
            Output::Probe { link, address, .. } if self.without_routes.contains(&node) => {
                self.inputs.push_back((node, Input::NotProbed { link, address }));
            }
            Output::Probe { link, address, .. } => {
                let identity = (0..self.cores.len()).find(|other| self::address(*other) == address);
                let identity = identity.map(|other| self.identity(other));
                self.inputs.push_back((node, Input::Probed { link, address, identity, proves: true }));
            }
            Output::Ping { link } => {
                if self.wires.contains_key(&(node, link)) {
                    self.inputs.push_back((node, Input::Pong { link }));
                }
            }
            Output::Close { link, .. } => match self.wires.remove(&(node, link)) {
                Some((other, there)) => {
                    self.wires.remove(&(other, there));
                    self.inputs.push_back((node, Input::LinkClosed { link, cause: "closed".into() }));
                    self.inputs.push_back((other, Input::LinkClosed { link: there, cause: "closed".into() }));
                }
                None => self.inputs.push_back((node, Input::LinkClosed { link, cause: "closed".into() })),
            },
            Output::Mark { link, number } => {
                if self.wires.contains_key(&(node, link)) {
                    self.inputs.push_back((node, Input::Marked { link, number }));
                }
            }
            Output::BroadcastSent { told, .. } => self.told.push(told),
            Output::Notify(event) => self.events[node].push(event),
            Output::Store { transaction } => {
                self.inputs.push_back((node, Input::Stored { ids: vec![transaction.id()] }))
            }
            Output::FindLocalImages { search, name } => {
                let has = |image: &&ImageInfo| name.as_ref().is_none_or(|name| image.name == *name);
                let images = self.images.get(&node).into_iter().flatten().filter(has).cloned().collect();
                self.inputs.push_back((node, Input::LocalImages { search, images }));
            }
            Output::ImageOffer { found, .. } => self.offers.push((node, found)),
            Output::ImageSearchOver { search, end } => self.searches_over.push((node, search, end)),
            Output::Replay { link, from, .. } => self.replays.push((node, link, from)),
            Output::SavePeerCache { exercise, .. } => _ = self.remembered.insert(node, exercise),
            Output::ReplayPositions { .. }
            | Output::Trace(_)
            | Output::CallBack { .. }
            | Output::Submitted { .. }
            | Output::SubmissionStored { .. }
            | Output::AdvertiseSlots { .. } => {}
            Output::DropQueued { topic, link, .. } => self.dropped.push((node, topic, link)),
            Output::PauseReading { .. } => self.pauses += 1,
            Output::Topic { topic, output } => self.carry_out_of_topic(node, topic, output),
        }
    }

    /// The texts that a node was told, in order.
    pub(crate) fn texts(&self, node: usize) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Broadcast { broadcast, .. } => Some(broadcast.message.to_string()),
            _ => None,
        };
        self.events[node].iter().filter_map(text).collect()
    }
}

/// A node's id.
pub(crate) fn id(node: usize) -> NodeId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&(node as u64).to_be_bytes());
    NodeId(id)
}

/// A node's address.
pub(crate) fn address(node: usize) -> PeerAddress {
    PeerAddress::new("localhost", 4_001 + u16::try_from(node).expect("few nodes")).expect("an address")
}

/// A node's id as its address.
pub(crate) fn by_id(node: usize) -> PeerAddress {
    PeerAddress::of_node(id(node), [])
}

/// A BROADCAST as a client or a peer writes it; `siblings` follow the data.
pub(crate) fn broadcast_frame(id: u8, message: &str, siblings: &str) -> String {
    let (id, message) = (format!("{id:02x}").repeat(32), serde_json::Value::from(message));
    format!(
        r#"{{"type":"BROADCAST","data":{{"id":"{id}","title":"{TITLE}","message":{message},"time":1.5}}{siblings}}}"#
    )
}

/// Signs with hashes. Anybody who knows a node's id could do so; the forgers of the tests do not.
#[derive(Debug)]
pub(crate) struct Pretend {
    node: NodeId,
    judged: Arc<AtomicUsize>,
}

impl Pretend {
    fn signature(node: NodeId, purpose: Purpose, canonical: &str) -> Signature {
        let mut hash = Sha512::new();
        hash.update(node.0);
        hash.update(purpose.message(canonical));
        Signature(hash.finalize().into())
    }
}

impl Signer for Pretend {
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature> {
        Some(Self::signature(self.node, purpose, canonical))
    }

    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool {
        self.judged.fetch_add(usize::from(purpose != Purpose::Handshake), Ordering::Relaxed);
        seal.is_some_and(|seal| seal.signature == Self::signature(node, purpose, &seal.canonical))
    }
}
