//! A few real cores in one thread, linked to each other and to strangers.
//!
//! A script decides what happens to a node; each input is followed by everything that it leads to.
//! After each input the node is checked, and a broken rule panics with its name. Time moves only in
//! [`Net::pass`].

mod disk;
mod node;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use meshpool_proto::access::Certified;
use meshpool_proto::id::{LinkId, NodeId, Nonce, UpgradeIdentity};
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::Message;
use meshpool_proto::{Config, Direction, Input, Output};

use crate::names;
use node::{Effect, Link, Node};

/// The maximum outputs of one input; a WANT of the maximum size comes nearest.
const OUTPUTS: usize = 4_096;

/// When every run begins: late enough for a core to subtract from it.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Instant::now() + Duration::from_secs(1_000_000))
}

/// All nodes and the wires between them.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Every frame that a node sent, if frames are recorded.
    pub(crate) recorded: Option<Vec<String>>,
    /// The other end of each link between two nodes.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    last_link: u64,
    inputs: VecDeque<(usize, Input)>,
    parser: Parser,
    /// The hash over all outputs, where runs are compared.
    trace: Option<DefaultHasher>,
}

impl Net {
    /// A network without nodes; with `traced`, [`Self::trace`] is a hash over all outputs.
    pub(crate) fn new(traced: bool) -> Self {
        Self {
            now: start(),
            nodes: Vec::new(),
            recorded: None,
            wires: BTreeMap::new(),
            last_link: 0,
            inputs: VecDeque::new(),
            parser: Parser::new(),
            trace: traced.then(DefaultHasher::new),
        }
    }

    /// Starts one more node, with these transactions in its pool.
    pub(crate) fn add(&mut self, config: Config, pool: Vec<Transaction>) {
        self.nodes.push(Node::new(self.now, config, pool));
        self.carry_out_all(self.nodes.len() - 1);
        self.settle();
    }

    /// The time since the start.
    pub(crate) fn age(&self) -> Duration {
        self.now - start()
    }

    /// The hash over all outputs so far.
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
            self.handle(node, Input::Timeout);
            let (age, next) = (self.age(), self.nodes[node].core.poll_timeout());
            self.nodes[node].on_timeout(age, next.map(|next| next.saturating_duration_since(start())));
        }
        self.now = until;
    }

    /// Gives an input to a node, and handles everything that it leads to.
    pub(crate) fn handle(&mut self, node: usize, input: Input) {
        self.inputs.push_back((node, input));
        self.settle();
    }

    /// Has a node ask another one for a connection for requests.
    pub(crate) fn call_back(&mut self, node: usize, peer: NodeId, nonce: Nonce) {
        self.nodes[node].core.call_back(peer, nonce);
        self.carry_out_all(node);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((node, input)) = self.inputs.pop_front() {
            let age = self.age();
            if self.nodes[node].handle(self.now, age, input) {
                self.carry_out_all(node);
                self.nodes[node].check();
            }
        }
    }

    fn carry_out_all(&mut self, node: usize) {
        let mut outputs = 0;
        while let Some(output) = self.nodes[node].core.poll_output() {
            outputs += 1;
            assert!(outputs <= OUTPUTS, "one input leads to more than {OUTPUTS} outputs");
            if let Some(trace) = &mut self.trace {
                format!("{node} {output:?}").hash(trace);
            }
            if let Output::Send { frame, .. } = &output {
                self.check_frame(node, frame.as_str());
            }
            let effects = self.nodes[node].carry_out(output);
            self.apply(node, effects);
        }
    }

    /// Checks that a frame is a message, and that an ACK is true.
    fn check_frame(&mut self, node: usize, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        if let Message::Ack(ack) = message.unwrap_or_else(|error| panic!("{text} is sent: {error}")) {
            self.nodes[node].check_ack(&ack);
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(text.to_owned());
        }
    }

    fn apply(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Dial(address) => match (0..self.nodes.len()).find(|other| names::address(*other) == address) {
                    Some(other) => self.link(node, other),
                    None => self.nodes[node].dials.push(address),
                },
                Effect::Frame(link, frame) => {
                    if let Some((other, link)) = self.wires.get(&(node, link)).copied() {
                        let message = Message::parse(&mut self.parser, frame.as_str());
                        self.inputs.push_back((other, Input::Received { link, message }));
                    }
                }
                Effect::Ping(link) if self.wires.contains_key(&(node, link)) => {
                    self.inputs.push_back((node, Input::Pong { link }));
                }
                Effect::Close(link) if self.wires.contains_key(&(node, link)) => self.end(node, link),
                Effect::Ping(_) | Effect::Close(_) => {}
                Effect::Next(input) => self.inputs.push_front((node, input)),
                Effect::Later(input) => self.inputs.push_back((node, input)),
            }
        }
    }

    /// Links two nodes, or a node with itself.
    fn link(&mut self, from: usize, to: usize) {
        let address = names::address(to);
        self.nodes[from].monitor.on_dialled(&address);
        let (there, here) = (self.next_link(from), self.next_link(to));
        self.wires.insert((from, there), (to, here));
        self.wires.insert((to, here), (from, there));
        let Config { node, session, .. } = self.nodes[to].config;
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let dialled = Direction::Dialled { address, identity: Some(UpgradeIdentity { node, session }) };
        self.inputs.push_back((from, Input::LinkOpened { link: there, remote, direction: dialled }));
        self.inputs.push_back((to, Input::LinkOpened { link: here, remote, direction: Direction::Accepted }));
    }

    fn end(&mut self, node: usize, link: LinkId) {
        let mut ends = vec![(node, link)];
        if let Some(other) = self.wires.remove(&(node, link)) {
            self.wires.remove(&other);
            ends.push(other);
        }
        for (node, link) in ends {
            if let Some(open) = self.nodes[node].links.get_mut(&link).filter(|open| !open.has_ended) {
                open.has_ended = true;
                self.inputs.push_back((node, Input::LinkClosed { link, cause: "it ended".into() }));
            }
        }
    }

    fn next_link(&mut self, node: usize) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.nodes[node].links.insert(link, Link::default());
        link
    }

    /// A stranger connects.
    pub(crate) fn accept(&mut self, node: usize, remote: IpAddr) -> LinkId {
        let link = self.next_link(node);
        self.handle(node, Input::LinkOpened { link, remote, direction: Direction::Accepted });
        link
    }

    /// The peer of the next link is authenticated.
    pub(crate) fn certify(&mut self, node: usize, certified: Certified) {
        let link = LinkId(self.last_link + 1);
        self.handle(node, Input::PeerCertified { link, certified });
    }

    /// A stranger answers a dial.
    pub(crate) fn answer_dial(&mut self, node: usize, dial: usize, identity: Option<UpgradeIdentity>, remote: IpAddr) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].monitor.on_dialled(&address);
        let link = self.next_link(node);
        self.handle(node, Input::LinkOpened { link, remote, direction: Direction::Dialled { address, identity } });
    }

    /// A dial fails.
    pub(crate) fn fail_dial(&mut self, node: usize, dial: usize) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].monitor.on_dialled(&address);
        self.handle(node, Input::DialFailed { address, error: "refused".into() });
    }

    /// A probe ends, with the identity of who answered.
    pub(crate) fn answer_probe(&mut self, node: usize, probe: usize, identity: Option<UpgradeIdentity>) {
        let (link, address) = self.nodes[node].probes.remove(probe);
        self.nodes[node].monitor.on_probed();
        self.handle(node, Input::Probed { link, address, identity, proves: false });
    }

    /// The disk writes up to so many transactions.
    pub(crate) fn write(&mut self, node: usize, most: usize) {
        let ids = self.nodes[node].disk.write(most);
        if !ids.is_empty() {
            self.handle(node, Input::Stored { ids });
        }
        let effects = self.nodes[node].replay_all();
        self.apply(node, effects);
        self.settle();
    }

    /// A frame arrives from a stranger.
    pub(crate) fn receive(&mut self, node: usize, link: LinkId, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        self.handle(node, Input::Received { link, message });
    }

    /// The queue of a link becomes full, or has room again.
    pub(crate) fn toggle_full(&mut self, node: usize, link: LinkId) {
        if let Some(open) = self.nodes[node].links.get_mut(&link) {
            open.is_full = !open.is_full;
        }
        let effects = self.nodes[node].replay(link);
        self.apply(node, effects);
        self.settle();
    }

    /// A link ends, whether the node closed it or not.
    pub(crate) fn cut(&mut self, node: usize, link: LinkId) {
        self.end(node, link);
        self.settle();
    }

    /// All links that the nodes closed end.
    pub(crate) fn finish_closing(&mut self) {
        for node in 0..self.nodes.len() {
            let closing = self.nodes[node].links.iter().filter(|(_, link)| link.is_closing);
            for link in closing.map(|(link, _)| *link).collect::<Vec<_>>() {
                self.cut(node, link);
            }
        }
    }

    /// Checks the STATUS of a node.
    pub(crate) fn check_status(&self, node: usize) {
        self.nodes[node].check_status(self.now);
    }
}
