//! A native node: the real core in a model of its runtime.
//!
//! The runtime does what the core's interface promises and no more. It carries out outputs on the
//! simulated network, keeps the pool file, replays it on links, and reports inputs. Every output is
//! checked. [`World`](crate::world::World) drives it, one event at a time.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::access::Certified;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::event::Event as CoreEvent;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId, Session, UpgradeIdentity};
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{AckStatus, Handshake, ImageInfo, Message, RememberedAddress, RememberedExercise};
use meshpool_proto::{Config, Direction, Input, Lane, Node as Core, Output, RequestId, Retention, TopicInput};
use rand::RngExt;

use super::disk::Disk;
use super::liar::Liar;
use super::lie::Lie;
use super::replays::{Replay, Replays};
use super::simulated_key::SimulatedKey;
use super::topics::Topics;
use crate::checks::rules::{Broken, Invariant, Monitor, Owner, Violation, check_addresses, check_degree, check_output};
use crate::net::endpoint::{LOOK, hint};
use crate::net::event::Event;
use crate::net::frame_cache::Parsed;
use crate::net::network::{LinkEvent, Network, Queue, SendError};
use crate::net::wire::{Item, Purpose};

/// Requests from this number on are about items of topics.
const IN_TOPIC: u64 = 1 << 63;
/// After a failed write the runtime retries this much later.
const RETRY_STORE: Duration = Duration::from_secs(1);

/// A native node and its folder.
#[derive(Debug)]
pub struct Node {
    actor: usize,
    id: NodeId,
    session: Session,
    known: Vec<PeerAddress>,
    peer_cache: Vec<RememberedAddress>,
    remembered_exercise: Vec<RememberedExercise>,
    /// The cap on its links, from its next start on.
    pub max_peers: Option<u32>,
    /// Its genesis node, from its next start on.
    pub genesis: Option<PeerAddress>,
    /// The images in its folder.
    pub images: Vec<ImageInfo>,
    /// Its runtime authenticates the peer of each link, as in a closed network.
    pub authenticates: bool,
    /// It proves its id on links, as nodes of this release do, from its next start on.
    pub proves: bool,
    /// The id of another node, which it names as its own, from its next start on.
    pub impersonates: Option<NodeId>,
    core: Option<Core>,
    /// Links to peers that are relays, and whose addresses are not verified.
    relay_links: BTreeSet<LinkId>,
    /// The numbers of the texts that it accepted: their duplicates are counted and not parsed.
    accepted: HashSet<u32>,
    disk: Disk,
    topics: Topics,
    replays: Replays,
    requests: BTreeMap<RequestId, TransactionId>,
    /// The link whose frame its core handles now.
    heard: Option<LinkId>,
    /// Inputs that the outputs of the last input led to.
    follow_ups: VecDeque<Input>,
    timer: Option<Duration>,
    monitor: Monitor,
    /// Counts over all runs.
    pub counts: Counts,
    /// Transactions that it acknowledged to clients and to the application.
    pub acknowledged: Vec<TransactionId>,
    /// It signs announcements and broadcasts, and believes none without a signature, from its next
    /// start on.
    pub signs_all: bool,
    liar: Liar,
    /// Broadcasts that its application was told.
    pub broadcasts: Vec<String>,
    /// For a test of the checks: a fault of its runtime.
    pub sabotage: Option<Sabotage>,
}

/// A fault on purpose that the checks must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// TRANSACTION frames to the node are lost.
    LoseTransactions,
    /// It stores each transaction twice.
    StoreTwice,
    /// It never reports that a link is closed.
    ForgetClosed,
    /// It reports that a transaction is on disk before it is.
    PretendStored,
}

/// What a node counts for the tables.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// TRANSACTION frames that arrived.
    pub received: u64,
    /// Links to peers that were not linked before.
    pub linked: u64,
    /// Transactions that were written to disk.
    pub stored: u64,
    /// Transactions that its application submitted.
    pub submitted: u64,
}

impl Node {
    /// A folder in which no node runs yet.
    pub fn new(actor: usize, id: NodeId, known: Vec<PeerAddress>) -> Self {
        let session = Session::from_random([0; 16]);
        Self {
            actor,
            id,
            session,
            known,
            peer_cache: Vec::new(),
            remembered_exercise: Vec::new(),
            max_peers: None,
            genesis: None,
            images: Vec::new(),
            authenticates: false,
            proves: true,
            impersonates: None,
            core: None,
            relay_links: BTreeSet::new(),
            accepted: HashSet::new(),
            disk: Disk::default(),
            topics: Topics::default(),
            replays: Replays::new(actor, session),
            requests: BTreeMap::new(),
            heard: None,
            follow_ups: VecDeque::new(),
            timer: None,
            monitor: Monitor::default(),
            counts: Counts::default(),
            acknowledged: Vec::new(),
            signs_all: false,
            liar: Liar::default(),
            broadcasts: Vec::new(),
            sabotage: None,
        }
    }

    /// Starts a process in the folder: a new session with the pool that is on disk.
    pub fn start(&mut self, net: &mut Network) -> Result<(), Broken> {
        self.session = Session::from_random(net.rng.random());
        let id = self.impersonates.unwrap_or(self.id);
        let identity = UpgradeIdentity { node: id, session: self.session };
        net.start(self.actor, Some(identity));
        net.hosts[self.actor].proves = self.proves;
        net.note(self.actor, "start", 0, "");
        let seed = net.rng.random();
        net.hash(|hash, now| hash.started(now, self.actor, identity, seed));
        let config = Config {
            node: id,
            session: self.session,
            agent: "simulator".to_owned(),
            network: "simulation".to_owned(),
            address: net.address_of(self.actor),
            known_peers: self.known.clone(),
            wan: net.hosts[self.actor].endpoint.is_some(),
            relays: net.hosts[self.actor].relay.is_some_and(|relay| !relay.is_quiet),
            remembered_peers: self.peer_cache.clone(),
            remembered_exercise: self.remembered_exercise.clone(),
            max_peers: self.max_peers,
            genesis: self.genesis.clone(),
            since: 0,
            limits: net.limits.clone(),
            signer: Arc::new(SimulatedKey { node: self.id, signs_all: self.signs_all }),
            seed,
        };
        let stored = self.disk.stored().iter();
        let pool: Vec<_> = stored.map(|transaction| (transaction.id(), transaction.time())).collect();
        self.monitor = Monitor::new(pool.iter().map(|(id, _)| *id));
        self.replays = Replays::new(self.actor, self.session);
        self.accepted.clear();
        self.relay_links.clear();
        self.liar.start(net, self.actor, id, self.session);
        if net.hosts[self.actor].endpoint.is_some() {
            let connecting = Duration::from_millis(net.rng.random_range(20..300));
            net.clock.after(connecting, Event::Look(net.process(self.actor)));
        }
        let mut core = Core::new(net.clock.instant(), config, pool);
        self.topics.start(net, &mut core);
        let result = self.carry_out_all(net, &mut core);
        self.set_timer(net, &core);
        self.core = Some(core);
        result
    }

    /// Kills the process; what was not on disk is lost.
    pub fn stop(&mut self, net: &mut Network, power_lost: bool) {
        net.note(self.actor, "stop", u64::from(power_lost), "");
        net.hash(|hash, now| hash.stopped(now, self.actor));
        net.stop(self.actor, power_lost);
        self.core = None;
        self.disk.abort();
        self.replays = Replays::new(self.actor, self.session);
        self.requests.clear();
        self.follow_ups.clear();
        self.timer = None;
    }

    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// Adds an address to its known-peers file, for its next start.
    pub fn add_known_peer(&mut self, address: PeerAddress) {
        self.known.push(address);
    }

    /// Puts transactions into its pool file, for its next start.
    pub fn fill_file(&mut self, transactions: &[Transaction]) {
        transactions.iter().for_each(|transaction| self.disk.append(transaction.clone()));
    }

    /// Has it tell these lies, from its next start on.
    pub fn set_lies(&mut self, lies: impl IntoIterator<Item = Lie>) {
        self.liar.set_lies(lies);
    }

    /// Has it tell these lies from now on.
    pub fn misbehave(&mut self, net: &mut Network, lies: &[Lie]) {
        self.set_lies(lies.iter().copied());
        self.liar.begin(net, self.actor);
    }

    /// The lies that it tells.
    pub fn lies(&self) -> impl Iterator<Item = Lie> {
        self.liar.lies().iter().copied()
    }

    /// Makes the disk reject writes, or accept them again.
    pub fn set_disk_fails(&mut self, fails: bool) {
        self.disk.fails = fails;
    }

    /// The core of the process, if it runs.
    pub fn core(&self) -> Option<&Core> {
        self.core.as_ref()
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The native peers to which it is linked.
    pub fn linked(&self) -> Vec<NodeId> {
        self.core.as_ref().map(Core::linked_nodes).unwrap_or_default()
    }

    /// How many peers it is linked to, exercise peers included.
    pub fn linked_peers(&self) -> usize {
        self.core.as_ref().map_or(0, Core::linked_peers)
    }

    /// The counters of the core in this run.
    pub fn counters(&self) -> meshpool_proto::counters::Counters {
        self.core.as_ref().map(|core| *core.counters()).unwrap_or_default()
    }

    /// The ids in the pool file, in its order.
    pub fn pool(&self) -> impl ExactSizeIterator<Item = TransactionId> {
        self.disk.stored().iter().map(Transaction::id)
    }

    /// How many transactions are on disk, and a sum over their ids; `None` if it does not run or
    /// some wait to be written. Equal pools have equal digests, different pools almost never.
    pub fn digest(&self) -> Option<(usize, u64)> {
        (self.is_up() && self.disk.waiting() == 0).then(|| self.disk.digest())
    }

    /// How many transactions wait to be written.
    pub fn unstored(&self) -> usize {
        self.disk.waiting()
    }

    /// The application submits a transaction.
    pub fn submit(&mut self, net: &mut Network, request: u64, transaction: Transaction) -> Result<(), Broken> {
        self.counts.submitted += 1;
        self.handle(net, Input::Submit { request: RequestId(request), transaction })
    }

    /// Gives it a topic besides the default one, from its next start on.
    pub fn add_topic(&mut self, name: TopicName, retention: Retention) {
        self.topics.add(name, retention);
    }

    /// What it keeps of a topic.
    pub fn items(&self, topic: &str) -> impl Iterator<Item = TransactionId> {
        self.topics.items(topic)
    }

    /// The application publishes an item in a topic; nothing happens if the node does not have it.
    pub fn publish(&mut self, net: &mut Network, request: u64, topic: &str, item: Transaction) -> Result<(), Broken> {
        let Some(topic) = self.topics.number(topic) else { return Ok(()) };
        let input = TopicInput::Submit { request: RequestId(request | IN_TOPIC), transaction: item };
        self.handle(net, Input::Topic { topic, input })
    }

    /// Another program writes a transaction into the pool file.
    pub fn add_to_file(&mut self, net: &mut Network, transaction: Transaction) -> Result<(), Broken> {
        self.monitor.on_store(transaction.id()).map_err(|violation| self.broken(net, violation))?;
        self.disk.append(transaction.clone());
        self.handle(net, Input::PoolAdded { transactions: vec![transaction] })
    }

    /// Another program removes transactions from the pool file; their positions stay in use.
    pub fn remove_from_file(&mut self, net: &mut Network, ids: Vec<TransactionId>) -> Result<(), Broken> {
        self.monitor.on_removed(&ids);
        self.handle(net, Input::PoolRemoved { ids })
    }

    /// Handles an event of the network.
    pub fn on_link_event(&mut self, net: &mut Network, event: LinkEvent) -> Result<(), Broken> {
        let input = match event {
            LinkEvent::Opened(link, dialled) => {
                let is_dialled = dialled.is_some();
                let direction = match dialled {
                    Some((address, identity)) => {
                        self.monitor.on_dialled(&address);
                        Direction::Dialled { address, identity }
                    }
                    None => Direction::Accepted,
                };
                let peer = net.other(self.actor, link).and_then(|other| net.hosts[other].identity);
                if let Some(UpgradeIdentity { node, .. }) = peer.filter(|_| self.authenticates) {
                    let certified = Certified { node, fingerprint: node.0 };
                    self.handle(net, Input::PeerCertified { link, certified })?;
                }
                if let Some(node) = net.authenticated(self.actor, link) {
                    self.handle(net, Input::NodeAuthenticated { link, node })?;
                }
                if let Some(challenge) = net.challenge(self.actor, link, is_dialled).filter(|_| self.proves) {
                    self.handle(net, Input::LinkChallenged { link, challenge })?;
                }
                Input::LinkOpened { link, remote: net.remote(self.actor, link), direction }
            }
            LinkEvent::Text(link, frame) => {
                net.hash(|hash, now| hash.frame(now, self.actor, link, &frame));
                let parsed = net.frames.parse(&frame);
                self.counts.received += u64::from(parsed.transaction().is_some());
                self.record(net, link, &frame, &parsed);
                if self.liar.incoming(net, self.actor, link, &parsed, self.disk.stored()) {
                    return Ok(());
                }
                match parsed {
                    Parsed::Forwarded(number, frame) if self.accepted.contains(&number) => {
                        Input::Duplicates { link, copies: vec![(frame.origin, 1)] }
                    }
                    Parsed::Forwarded(_, frame) => Input::Received { link, message: Ok(Message::Transaction(frame)) },
                    Parsed::Other(message) => {
                        if matches!(&message, Ok(Message::Handshake(Handshake { node: Some(node), .. })) if node.relays)
                        {
                            self.relay_links.insert(link);
                        }
                        Input::Received { link, message }
                    }
                }
            }
            LinkEvent::Pong(link) => Input::Pong { link },
            LinkEvent::Marked(link, number) => Input::Marked { link, number },
            LinkEvent::Drained(link) => {
                self.replay(net, link);
                let Some(input) = self.follow_ups.pop_front() else { return Ok(()) };
                input
            }
            LinkEvent::Closed(..) if self.sabotage == Some(Sabotage::ForgetClosed) => return Ok(()),
            LinkEvent::Closed(link, cause) => {
                self.replays.stop(link);
                Input::LinkClosed { link, cause: cause.into() }
            }
            LinkEvent::DialFailed(address, error) => {
                self.monitor.on_dialled(&address);
                Input::DialFailed { address, error: error.into() }
            }
            LinkEvent::Probed(link, address, identity, proves) => {
                self.monitor.on_probed();
                Input::Probed { link, address, identity, proves }
            }
        };
        self.handle(net, input)
    }

    /// Records an incoming frame, if deliveries are measured.
    fn record(&self, net: &mut Network, link: LinkId, frame: &Frame, parsed: &Parsed) {
        let Some(sender) = net.other(self.actor, link) else { return };
        let now = net.clock.now();
        if let Some(stats) = &mut net.stats {
            match parsed.transaction() {
                Some(copy) => stats.on_copy(now, copy, sender, self.actor),
                None => stats.on_control(frame),
            }
        }
    }

    /// Handles a timer event, unless the timer was set to another time since.
    pub fn on_timer(&mut self, net: &mut Network) -> Result<(), Broken> {
        let now = net.clock.now();
        if self.timer != Some(now) {
            return Ok(());
        }
        self.timer = None;
        self.handle(net, Input::Timeout)?;
        let next = self.core.as_ref().and_then(Core::poll_timeout).map(|next| net.clock.since_start(next));
        let links = || self.core.as_ref().map_or(0, Core::linked_peers);
        self.monitor.on_timeout(now, next, links).map_err(|violation| self.broken(net, violation))
    }

    /// Its endpoint looks at its home relay and its links.
    pub fn on_look(&mut self, net: &mut Network) -> Result<(), Broken> {
        net.clock.after(LOOK, Event::Look(net.process(self.actor)));
        if let Some(address) = net.look(self.actor, self.id) {
            self.handle(net, Input::WanChanged { address })?;
        }
        let paths = net.paths(self.actor);
        // As if somebody asked for the status now and then.
        if !paths.is_empty() && net.clock.now().as_secs().is_multiple_of(5) {
            self.handle(net, Input::LinkPaths { paths })?;
        }
        Ok(())
    }

    /// Takes up the relays among the peers whose addresses have been verified.
    fn learn_relays(&mut self, net: &mut Network, core: &Core) {
        self.relay_links.retain(|link| {
            let is_open = net.end(self.actor, *link).is_some_and(|end| end.is_readable());
            let Some(address) = core.verified_address(*link).filter(|_| is_open) else { return is_open };
            // A relay is at the address of its node and nowhere else.
            if let Some(relay) = net.target(address).filter(|relay| address.as_relay() == Some(hint(*relay))) {
                net.hosts[self.actor].endpoint.iter_mut().for_each(|endpoint| endpoint.learn(relay));
            }
            false
        });
    }

    /// A liar sends something of its own accord.
    pub fn on_lie(&mut self, net: &mut Network) -> Result<(), Broken> {
        self.liar.on_tick(net, self.actor, self.disk.stored());
        Ok(())
    }

    /// Handles the end of a disk write.
    pub fn on_disk_written(&mut self, net: &mut Network) -> Result<(), Broken> {
        if self.disk.fails {
            self.disk.failure_reported = true;
            net.clock.after(RETRY_STORE, Event::DiskWritten(net.process(self.actor)));
            return self.handle(net, Input::StoreFailed { error: "no space left; make room".into() });
        }
        let ids = self.disk.finish_write();
        self.counts.stored += ids.len() as u64;
        self.write(net);
        for link in self.replays.links() {
            self.replay(net, link);
        }
        if std::mem::take(&mut self.disk.failure_reported) {
            self.handle(net, Input::StoreRecovered)?;
        }
        self.handle(net, Input::Stored { ids })
    }

    /// Gives an input to the core and carries out its outputs, then the inputs that these led to.
    pub fn handle(&mut self, net: &mut Network, input: Input) -> Result<(), Broken> {
        let Some(mut core) = self.core.take() else { return Ok(()) };
        let mut result = self.handle_one(net, &mut core, input);
        while let Some(input) = self.follow_ups.pop_front()
            && result.is_ok()
        {
            result = self.handle_one(net, &mut core, input);
        }
        if !self.relay_links.is_empty() {
            self.learn_relays(net, &core);
        }
        self.set_timer(net, &core);
        self.core = Some(core);
        result
    }

    fn handle_one(&mut self, net: &mut Network, core: &mut Core, input: Input) -> Result<(), Broken> {
        // Inputs about a link that is closed by now are dropped, as a runtime does.
        if let Input::QueueFull { link } | Input::Replayed { link, .. } = &input
            && !net.end(self.actor, *link).is_some_and(|end| end.is_readable())
        {
            return Ok(());
        }
        net.note(self.actor, "input", 0, format_args!("{input:?}"));
        net.hash(|hash, now| hash.input(now, self.actor, &input));
        self.monitor.on_input(net.clock.now()).map_err(|violation| self.broken(net, violation))?;
        self.heard = match &input {
            Input::Received { link, .. } | Input::Duplicates { link, .. } => Some(*link),
            _ => None,
        };
        core.handle(net.clock.instant(), input);
        self.carry_out_all(net, core)
    }

    /// Checks its cap and the addresses that its core reports.
    pub fn check(&self, net: &Network) -> Result<(), Broken> {
        let Some(core) = &self.core else { return Ok(()) };
        let is_linked = |actor| {
            let mut links = net.links(self.actor);
            links.any(|end| net.wires[end].is_readable() && net.wires[end.other()].actor == actor)
        };
        let owner = |address: &PeerAddress| match net.target(address) {
            Some(actor) if actor == self.actor => Owner::Itself,
            Some(actor) if is_linked(actor) => Owner::Linked,
            _ => Owner::NotLinked,
        };
        let result = check_degree(core, self.max_peers);
        let result = result.and_then(|()| check_addresses(core, &net.address_of(self.actor), owner));
        result.map_err(|violation| self.broken(net, violation))
    }

    fn broken(&self, net: &Network, (invariant, detail): Violation) -> Broken {
        Broken { at: net.clock.now(), node: Some(self.actor), invariant, detail }
    }

    fn set_timer(&mut self, net: &mut Network, core: &Core) {
        let due = core.poll_timeout().map(|due| net.clock.since_start(due));
        net.hash(|hash, now| hash.deadline(now, self.actor, due));
        let due = due.map(|due| due.max(net.clock.now()));
        if due != self.timer {
            self.timer = due;
            if let Some(due) = due {
                net.clock.at(due, Event::Timer(net.process(self.actor)));
            }
        }
    }

    fn carry_out_all(&mut self, net: &mut Network, core: &mut Core) -> Result<(), Broken> {
        while let Some(output) = core.poll_output() {
            net.note(self.actor, "output", 0, format_args!("{output:?}"));
            net.hash(|hash, now| hash.output(now, self.actor, &output));
            let checked = check_output(core, &output, net.hosts[self.actor].endpoint.is_some());
            checked.and_then(|()| self.carry_out(net, output)).map_err(|violation| self.broken(net, violation))?;
        }
        Ok(())
    }

    fn carry_out(&mut self, net: &mut Network, output: Output) -> Result<(), Violation> {
        let actor = self.actor;
        match output {
            Output::Dial { address, .. } => {
                self.monitor.on_dial(&address, net.limits.dials_in_flight)?;
                net.dial(actor, address, Purpose::Link);
            }
            Output::Probe { link, address, .. } => {
                self.monitor.on_probe(net.limits.dials_in_flight)?;
                net.dial(actor, address, Purpose::Probe(link));
            }
            // No simulated node sends requests.
            Output::CallBack { address, .. } => self.monitor.on_call_back(&address)?,
            Output::Send { links, frame, lane } => {
                let Some(frame) = self.liar.outgoing(net, frame) else { return Ok(()) };
                for link in links {
                    self.send(net, link, Item::Text(frame.clone()), lane)?;
                }
                self.check_ack(net, frame.as_str())?;
            }
            Output::Ping { link } => self.send(net, link, Item::Ping, Lane::Control)?,
            Output::Mark { link, number } => self.send(net, link, Item::Mark(number), Lane::Payload)?,
            Output::Close { link, code, reason } => {
                self.replays.stop(link);
                net.close(actor, link, format!("{code} {reason}")).map_err(|_| no_link("Close", link))?;
            }
            Output::Store { transaction } => {
                self.accepted.extend(net.frames.number(transaction.frame()));
                self.store(net, &transaction)?;
                match self.sabotage {
                    Some(Sabotage::StoreTwice) => self.store(net, &transaction)?,
                    Some(Sabotage::PretendStored) => {
                        self.follow_ups.push_back(Input::Stored { ids: vec![transaction.id()] });
                    }
                    _ => {}
                }
            }
            Output::Replay { .. } | Output::ReplayPositions { .. } if self.liar.holds_back() => {}
            Output::Replay { link, from, until, synced } => {
                let end = net.end(actor, link).filter(|end| end.is_readable());
                end.ok_or_else(|| no_link("Replay", link))?;
                self.replays.start(link, Replay { next: from, until, synced });
                self.replay(net, link);
            }
            Output::ReplayPositions { link, positions } => {
                self.replays.want_positions(link, positions);
                self.replay(net, link);
            }
            Output::Topic { topic, output } => {
                self.follow_ups.extend(self.topics.carry_out(net, (actor, self.session), topic, output));
            }
            // The file that is checked is that of the default topic.
            Output::Submitted { request: RequestId(IN_TOPIC..), .. }
            | Output::SubmissionStored { request: RequestId(IN_TOPIC..) } => {}
            Output::Submitted { request, outcome } => {
                if let Ok(submission) = outcome {
                    self.requests.insert(request, submission.id);
                }
            }
            Output::SubmissionStored { request } => {
                let id = self.requests.remove(&request);
                self.acknowledge(id, || format!("{request:?} is reported as stored"))?;
            }
            // No actor asks for traces.
            Output::Trace(_) => {}
            Output::FindLocalImages { search, name } => {
                let matches = |image: &&ImageInfo| name.as_ref().is_none_or(|name| image.name == *name);
                let images = self.images.iter().filter(matches).cloned().collect();
                self.follow_ups.push_back(Input::LocalImages { search, images });
            }
            Output::SavePeerCache { addresses, exercise } => {
                (self.peer_cache, self.remembered_exercise) = (addresses, exercise);
            }
            Output::Notify(event) => {
                self.counts.linked += u64::from(matches!(event, CoreEvent::PeerUp { .. }));
                if let CoreEvent::Broadcast { broadcast, .. } = &event {
                    self.broadcasts.push(broadcast.message.to_string());
                }
                if let CoreEvent::Banned { peer, cause, .. } = &event {
                    let by_address = || peer.address.as_ref().and_then(|address| net.target(address));
                    // Before its HANDSHAKE a peer has neither.
                    let by_link = || self.heard.and_then(|link| net.other(actor, link));
                    let banned = peer.node.and_then(|node| net.actor_of(node)).or_else(by_address).or_else(by_link);
                    // The core of a liar gets answers to what its lies asked for.
                    let lies = net.liars.contains(&actor) || net.liars.len() >= net.listening;
                    if !lies && banned.is_none_or(|actor| !net.liars.contains(&actor)) {
                        return Err((Invariant::NoHonestPeerIsBanned, format!("{peer} is banned: {cause}")));
                    }
                }
            }
            // A frame that was sent is in flight already, and no simulated link is so fast that a
            // pause in reading would matter.
            Output::DropQueued { .. }
            | Output::PauseReading { .. }
            | Output::BroadcastSent { .. }
            | Output::AdvertiseSlots { .. }
            | Output::ImageOffer { .. }
            | Output::ImageSearchOver { .. } => {}
        }
        Ok(())
    }

    fn send(&mut self, net: &mut Network, link: LinkId, item: Item, lane: Lane) -> Result<(), Violation> {
        let queue = if lane == Lane::Control { Queue::Control } else { Queue::Payload };
        match net.send(self.actor, link, item, queue) {
            Ok(()) => Ok(()),
            Err(SendError::NoLink) => Err(no_link("Send or Ping", link)),
            Err(SendError::QueueFull) => {
                self.follow_ups.push_back(Input::QueueFull { link });
                Ok(())
            }
        }
    }

    fn store(&mut self, net: &mut Network, transaction: &Transaction) -> Result<(), Violation> {
        self.monitor.on_store(transaction.id())?;
        self.disk.enqueue(transaction.clone());
        self.write(net);
        Ok(())
    }

    /// Starts a disk write, if something waits and no write is in progress.
    fn write(&mut self, net: &mut Network) {
        if self.disk.start_write() {
            let time = Duration::from_micros(net.rng.random_range(500..20_000));
            net.clock.after(time, Event::DiskWritten(net.process(self.actor)));
        }
    }

    fn replay(&mut self, net: &mut Network, link: LinkId) {
        self.replays.send_positions(net, link, self.disk.stored());
        self.follow_ups.extend(self.replays.send(net, link, self.disk.stored()));
    }

    /// Checks that a transaction is on disk when an ACK says so.
    fn check_ack(&mut self, net: &mut Network, text: &str) -> Result<(), Violation> {
        if text.starts_with(r#"{"type":"ACK""#)
            && let Ok(Message::Ack(ack)) = Message::parse(&mut net.frames.parser, text)
            && ack.status != AckStatus::Rejected
        {
            self.acknowledge(ack.id.parse().ok(), || format!("{text} is sent too early"))?;
        }
        Ok(())
    }

    /// Records an acknowledged transaction, which must be on disk.
    fn acknowledge(&mut self, id: Option<TransactionId>, what: impl FnOnce() -> String) -> Result<(), Violation> {
        let id = id.filter(|id| self.disk.contains(id));
        self.acknowledged.push(id.ok_or_else(|| (Invariant::AcknowledgedAfterDisk, what()))?);
        Ok(())
    }
}

fn no_link(output: &str, link: LinkId) -> Violation {
    (Invariant::NoOutputForClosedLink, format!("{output} names {link:?}, whose end was reported"))
}
