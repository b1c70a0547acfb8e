//! A full peer: the real core, in a model of its shell.
//!
//! The shell model does what the core's interface promises and no more: it carries out orders on the simulated network, keeps the pool as a list
//! (what was on disk survives a restart, the rest does not), feeds links from it, and reports facts. After every fact it checks what the core
//! ordered. Driven by [`World`](crate::world::World), one fact at a time.

mod hostile;
mod orders;
mod storage;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::access::Certified;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId, Session, UpgradeIdentity};
use meshpool_proto::signature::Unsigned;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{ImageInfo, Message};
use meshpool_proto::{Config, Direction, Input, Node as Core, RequestId};
use rand::RngExt;

use crate::check::{Broken, Fault, Watch, check_addresses, check_degree};
use crate::network::{Network, Report};
use crate::run::Sabotage;
use crate::texts::Text;
use crate::world::Event;
pub use hostile::Conduct;

/// A full peer and its folder.
#[derive(Debug)]
pub struct Node {
    actor: usize,
    id: NodeId,
    session: Session,
    known: Vec<PeerAddress>,
    remembered: Vec<PeerAddress>,
    /// The cap on its links: read at its next start.
    pub max_peers: Option<u32>,
    /// Its genesis node: read at its next start.
    pub genesis: Option<PeerAddress>,
    /// The images in its folder.
    pub images: Vec<ImageInfo>,
    /// Whether its shell proves who is at the other end of each link, as in a closed network.
    pub certifies: bool,
    core: Option<Core>,
    /// The texts that were accepted, by their numbers: their copies are told without being read, as a shell does.
    accepted: HashSet<u32>,
    disk: Disk,
    feeds: BTreeMap<LinkId, Feed>,
    requests: BTreeMap<RequestId, TransactionId>,
    /// Facts that the orders of the last fact led to.
    follow_ups: VecDeque<Input>,
    timer: Option<Duration>,
    watch: Watch,
    /// What was counted over all runs.
    pub counts: Counts,
    /// What clients and the application were told is kept.
    pub acknowledged: Vec<TransactionId>,
    /// How it treats the others.
    pub conduct: Conduct,
    /// For a test of the checks: what its shell does wrong on purpose.
    pub sabotage: Option<Sabotage>,
}

/// What a node counts for the table.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// TRANSACTION frames that came in.
    pub received: u64,
    /// Links to nodes that were not linked before.
    pub linked: u64,
    /// Transactions that were stored.
    pub stored: u64,
    /// Transactions that its application submitted.
    pub submitted: u64,
}

#[derive(Debug, Default)]
struct Disk {
    stored: Vec<Transaction>,
    /// Of the first bytes of the identities in `stored`.
    sum: u64,
    waiting: VecDeque<Transaction>,
    /// How many of `waiting` the write under way holds.
    writing: usize,
    failing: bool,
    /// Whether the core was told that it fails, and not yet that it recovered.
    told: bool,
}

#[derive(Debug)]
struct Feed {
    next: u64,
    until: Option<u64>,
    synced: bool,
}

impl Node {
    /// A folder in which no node runs yet.
    pub fn new(actor: usize, id: NodeId, known: Vec<PeerAddress>) -> Self {
        Self {
            actor,
            id,
            session: Session::from_random([0; 16]),
            known,
            remembered: Vec::new(),
            max_peers: None,
            genesis: None,
            images: Vec::new(),
            certifies: false,
            core: None,
            accepted: HashSet::new(),
            disk: Disk::default(),
            feeds: BTreeMap::new(),
            requests: BTreeMap::new(),
            follow_ups: VecDeque::new(),
            timer: None,
            watch: Watch::default(),
            counts: Counts::default(),
            acknowledged: Vec::new(),
            conduct: Conduct::Honest,
            sabotage: None,
        }
    }

    /// Starts a process in the folder: a new session with the pool that is on disk.
    pub fn start(&mut self, net: &mut Network) -> Result<(), Broken> {
        self.session = Session::from_random(net.rng.random());
        net.start(self.actor, Some(UpgradeIdentity { node: self.id, session: self.session }));
        net.trace.note(net.clock.now(), self.actor, "start", 0, "");
        let seed = net.rng.random();
        let config = Config {
            node: self.id,
            session: self.session,
            agent: "simulator".to_owned(),
            network: "simulation".to_owned(),
            address: Network::address(self.actor),
            known_peers: self.known.clone(),
            remembered_peers: self.remembered.clone(),
            max_peers: self.max_peers,
            genesis: self.genesis.clone(),
            since: 0,
            limits: net.limits.clone(),
            signer: Arc::new(Unsigned),
            seed,
        };
        let identity = UpgradeIdentity { node: self.id, session: self.session };
        net.hash(|hash, now| hash.started(now, self.actor, identity, seed));
        let pool: Vec<_> = self.disk.stored.iter().map(|transaction| (transaction.id(), transaction.time())).collect();
        self.watch = Watch::new(pool.iter().map(|(id, _)| *id));
        self.accepted.clear();
        let mut core = Core::new(net.clock.instant(), config, pool);
        let result = self.carry_out_all(net, &mut core);
        self.set_timer(net, &core);
        self.core = Some(core);
        result
    }

    /// The process ends without a word; what was not on disk is lost.
    pub fn stop(&mut self, net: &mut Network, power_lost: bool) {
        net.trace.note(net.clock.now(), self.actor, "stop", u64::from(power_lost), "");
        net.hash(|hash, now| hash.stopped(now, self.actor));
        net.stop(self.actor, power_lost);
        self.core = None;
        self.disk.waiting.clear();
        self.disk.writing = 0;
        self.feeds.clear();
        self.requests.clear();
        self.follow_ups.clear();
        self.timer = None;
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// Writes an address into its known-peers file: read at its next start.
    pub fn know(&mut self, address: PeerAddress) {
        self.known.push(address);
    }

    /// Makes the disk refuse writes, or take them again.
    pub fn set_disk_failing(&mut self, failing: bool) {
        self.disk.failing = failing;
    }

    /// The addresses that the core calls attempting and connected.
    pub fn addresses(&self) -> (Vec<PeerAddress>, Vec<PeerAddress>) {
        self.core.as_ref().map(Core::addresses).unwrap_or_default()
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The full peers that the core calls linked; none if no process runs.
    pub fn linked(&self) -> Vec<NodeId> {
        self.core.as_ref().map(Core::linked_nodes).unwrap_or_default()
    }

    /// How many nodes it is linked to, those of the exercise counted.
    pub fn places(&self) -> usize {
        self.core.as_ref().map_or(0, Core::linked_peers)
    }

    /// To how many full peers the link is one that it dialled.
    pub fn dialled(&self) -> usize {
        self.core.as_ref().map_or(0, Core::dialled_nodes)
    }

    /// What the core says of its disk: how many bytes wait for it, and whether it takes writes.
    pub fn disk_as_told(&self) -> (usize, bool) {
        self.core.as_ref().map_or((0, false), |core| (core.unstored_bytes(), core.is_writable()))
    }

    /// What the core counted in this run.
    pub fn counters(&self) -> meshpool_proto::counters::Counters {
        self.core.as_ref().map(|core| *core.counters()).unwrap_or_default()
    }

    /// The identities in the pool's file, in its order.
    pub fn pool(&self) -> impl ExactSizeIterator<Item = TransactionId> {
        self.disk.stored.iter().map(Transaction::id)
    }

    /// How many transactions are on disk, and a sum of their identities; `None` while it does not run, or some wait for the disk. Equal pools have
    /// equal digests, and others all but certainly not.
    pub fn digest(&self) -> Option<(usize, u64)> {
        (self.is_up() && self.disk.waiting.is_empty()).then_some((self.disk.stored.len(), self.disk.sum))
    }

    /// How many transactions wait for the disk.
    pub fn unstored(&self) -> usize {
        self.disk.waiting.len()
    }

    /// The application submits a transaction.
    pub fn submit(&mut self, net: &mut Network, request: u64, transaction: Transaction) -> Result<(), Broken> {
        self.counts.submitted += 1;
        self.fact(net, Input::Submit { request: RequestId(request), transaction })
    }

    /// Another program writes a transaction into the pool's file.
    pub fn find(&mut self, net: &mut Network, transaction: Transaction) -> Result<(), Broken> {
        self.watch.on_store(transaction.id()).map_err(|fault| self.broken(net, fault))?;
        self.disk.keep(transaction.clone());
        self.fact(net, Input::PoolAdded { transactions: vec![transaction] })
    }

    /// Transactions are removed from the pool's file. Their places stay taken.
    pub fn lose(&mut self, net: &mut Network, ids: Vec<TransactionId>) -> Result<(), Broken> {
        self.watch.on_lost(&ids);
        self.fact(net, Input::PoolRemoved { ids })
    }

    /// The network has something to tell.
    pub fn report(&mut self, net: &mut Network, report: Report) -> Result<(), Broken> {
        let input = match report {
            Report::Opened(link, dialled) => {
                let direction = match dialled {
                    Some((address, identity)) => {
                        self.watch.on_dialled(&address);
                        Direction::Dialled { address, identity }
                    }
                    None => Direction::Accepted,
                };
                let other = net.other(self.actor, link).and_then(|other| net.hosts[other].identity);
                if let Some(UpgradeIdentity { node, .. }) = other.filter(|_| self.certifies) {
                    let certified = Certified { node, fingerprint: node.0 };
                    self.fact(net, Input::PeerCertified { link, certified })?;
                }
                Input::LinkOpened { link, remote: net.remote(self.actor, link), direction }
            }
            Report::Text(link, frame) => {
                net.hash(|hash, now| hash.frame(now, self.actor, link, &frame));
                let text = net.texts.read(&frame);
                self.counts.received += u64::from(text.transaction().is_some());
                self.record(net, link, &frame, &text);
                if self.deceive(net, link, &text) {
                    return Ok(());
                }
                match text {
                    Text::Pushed { number, delivery } if self.accepted.contains(&number) => {
                        Input::Duplicates { link, copies: vec![(delivery.origin, 1)] }
                    }
                    Text::Pushed { delivery, .. } => {
                        Input::Received { link, message: Ok(Message::Transaction(delivery)) }
                    }
                    Text::Other(message) => Input::Received { link, message },
                }
            }
            Report::Pong(link) => Input::Pong { link },
            Report::Closed(..) if self.sabotage == Some(Sabotage::ForgetClosed) => return Ok(()),
            Report::Closed(link, cause) => {
                self.feeds.remove(&link);
                Input::LinkClosed { link, cause }
            }
            Report::DialFailed(address, error) => {
                self.watch.on_dialled(&address);
                Input::DialFailed { address, error }
            }
            Report::Probed(link, address, identity) => {
                self.watch.on_probed();
                Input::Probed { link, address, identity }
            }
        };
        self.fact(net, input)
    }

    /// Tells the ledger what came in, if one is kept.
    fn record(&self, net: &mut Network, link: LinkId, frame: &Frame, text: &Text) {
        let Some(sender) = net.other(self.actor, link) else { return };
        let now = net.clock.now();
        if let Some(ledger) = &mut net.ledger {
            match text.transaction() {
                Some(copy) => ledger.copy(now, copy, sender, self.actor),
                None => ledger.control(frame),
            }
        }
    }

    /// The deadline for which a timer was set has come, unless another took its place.
    pub fn on_timer(&mut self, net: &mut Network) -> Result<(), Broken> {
        let now = net.clock.now();
        if self.timer != Some(now) {
            return Ok(());
        }
        self.timer = None;
        self.fact(net, Input::Timeout)?;
        let next = self.core.as_ref().and_then(Core::poll_timeout).map(|next| net.clock.since_start(next));
        let links = || self.core.as_ref().map_or(0, Core::linked_peers);
        self.watch.on_timeout_with(now, next, links).map_err(|fault| self.broken(net, fault))
    }

    /// Hands a fact to the core and carries out what it orders; then the facts that these orders led to, before anything else happens.
    pub fn fact(&mut self, net: &mut Network, input: Input) -> Result<(), Broken> {
        let Some(mut core) = self.core.take() else {
            return Ok(());
        };
        let mut result = self.one_fact(net, &mut core, input);
        while let Some(input) = self.follow_ups.pop_front()
            && result.is_ok()
        {
            result = self.one_fact(net, &mut core, input);
        }
        self.set_timer(net, &core);
        self.core = Some(core);
        result
    }

    fn one_fact(&mut self, net: &mut Network, core: &mut Core, input: Input) -> Result<(), Broken> {
        // Facts about a link that is closed by now are dropped, as a shell does.
        if let Input::QueueFull { link } | Input::Replayed { link, .. } = &input
            && !net.end(self.actor, *link).is_some_and(|end| end.listens())
        {
            return Ok(());
        }
        note(net, self.actor, &input);
        net.hash(|hash, now| hash.input(now, self.actor, &input));
        self.watch.on_fact(net.clock.now()).map_err(|fault| self.broken(net, fault))?;
        core.handle(net.clock.instant(), input);
        self.carry_out_all(net, core)
    }

    /// Checks what the core says of its addresses.
    pub fn check(&self, net: &Network) -> Result<(), Broken> {
        let Some(core) = &self.core else { return Ok(()) };
        let linked = |actor| {
            net.links(self.actor).any(|(wire, side)| wire.ends[side].listens() && wire.ends[1 - side].actor == actor)
        };
        check_degree(core, self.max_peers).map_err(|fault| self.broken(net, fault))?;
        check_addresses(core, self.actor, |address| net.target(address), linked)
            .map_err(|fault| self.broken(net, fault))
    }

    fn broken(&self, net: &Network, (invariant, detail): Fault) -> Broken {
        Broken { at: net.clock.now(), node: Some(self.actor), invariant, detail }
    }

    fn set_timer(&mut self, net: &mut Network, core: &Core) {
        let due = core.poll_timeout().map(|due| net.clock.since_start(due));
        net.hash(|hash, now| hash.deadline(now, self.actor, due));
        let due = due.map(|due| due.max(net.clock.now()));
        if due != self.timer {
            self.timer = due;
            if let Some(due) = due {
                net.clock.at(due, Event::Timer { actor: self.actor, run: net.hosts[self.actor].run });
            }
        }
    }
}

fn note(net: &mut Network, actor: usize, input: &Input) {
    if net.trace.silent {
        return;
    }
    let (what, number, text) = match input {
        Input::LinkOpened { link, direction, .. } => ("opened", link.0, format!("{direction:?}")),
        Input::Received { link, message } => {
            ("receives", link.0, message.as_ref().map_or_else(ToString::to_string, |m| m.kind().to_owned()))
        }
        Input::Pong { link } => ("pong", link.0, String::new()),
        Input::ReadsPaused { link } => ("unread", link.map_or(0, |link| link.0), String::new()),
        Input::ProtocolError { link, what } => ("breaks", link.0, what.clone()),
        Input::TaskPanicked => ("panics", 0, String::new()),
        Input::RuntimeCounters { counts } => ("counted", counts.len() as u64, String::new()),
        Input::ConnectionRefused { remote, reason } => ("refuses", 0, format!("{remote}: {reason}")),
        Input::LinkClosed { link, cause } => ("closed", link.0, cause.clone()),
        Input::QueueFull { link } => ("full", link.0, String::new()),
        Input::DialFailed { address, error } => ("dial failed", 0, format!("{address}: {error}")),
        Input::Probed { link, address, identity } => ("probed", link.0, format!("{address} {identity:?}")),
        Input::Stored { ids } => ("stored", ids.len() as u64, format!("{ids:?}")),
        Input::Duplicates { link, copies } => ("repeated", link.0, format!("{copies:?}")),
        Input::StoreRecovered => ("stores again", 0, String::new()),
        Input::StoreFailed { .. } => ("not stored", 0, String::new()),
        Input::PoolAdded { transactions } => ("found", transactions.len() as u64, String::new()),
        Input::Replayed { link, position } => ("fed", link.0, position.to_string()),
        Input::PoolRemoved { ids } => ("lost", ids.len() as u64, String::new()),
        Input::Submit { transaction, .. } => ("submit", 0, transaction.body().to_owned()),
        Input::Broadcast { message, .. } => ("broadcasts", 0, message.clone()),
        Input::ImageSearch { search, .. } => ("searches", 0, search.to_string()),
        Input::ImageSearchDone { search } => ("searches no more", 0, search.to_string()),
        Input::LocalImages { search, .. } => ("looked for images", 0, search.to_string()),
        Input::BytesWritten { bytes } => ("wrote", *bytes, String::new()),
        Input::Timeout => ("timeout", 0, String::new()),
        Input::PeerCertified { link, certified } => ("certified", link.0, certified.node.to_string()),
        Input::AccessChanged { access } => ("access", 0, format!("{access:?}")),
        Input::ConnectionRejected { remote, reason } => ("turned away", 0, format!("{remote} {reason}")),
        Input::Shutdown => ("shutdown", 0, String::new()),
        Input::DiscoveryStarted => ("discovering", 0, String::new()),
        Input::RecordDiscovered { record, .. } => ("discovered", 0, format!("{record:?}")),
        Input::RecordExpired { session } => ("undiscovered", 0, session.to_string()),
    };
    net.trace.note(net.clock.now(), actor, what, number, &text);
}
