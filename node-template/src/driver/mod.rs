//! The loop: one task owns the core, turns what happens into facts, and carries out the core's orders.
//!
//! It never waits for a peer. It takes all that has come in, lets the core decide, and then hands on everything at once: to each link what it is to send, to the
//! pool what it is to store. When too much waits for the disk it stops taking in messages, and only those.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::discovery::Discovering;
use crate::driver::rtt::Trip;
use crate::events::log::EventLog;
use crate::events::sender::EventSender;
use crate::folder::peer_cache::PeerCache;
use crate::images::{Answer, Images};
use crate::pool::{Pool, Report};
use crate::protocol::access::{Access, Certified};
use crate::protocol::address::Scope;
use crate::protocol::event::Event;
use crate::protocol::id::{LinkId, NodeId, Session};
use crate::protocol::limits::Limits;
use crate::protocol::transaction::{Origin, TransactionId};
use crate::protocol::wire::{Malformed, Message, SearchId, TransactionFrame};
use crate::protocol::{BroadcastReceipt, Direction, Input, Node as Core, RequestId};
use crate::signing::validator::Validator;
use crate::transport::backpressure::Pressure;
use crate::transport::link::duplicate_filter::{Copies, Filter, Fingerprint};
use crate::transport::link::rate_limit::Rate;
use crate::transport::link::send_queue::{Item, Queue};
use crate::transport::link::{Common, LinkTask};
use crate::transport::listener::Place;
use crate::transport::tls::Live;
use crate::transport::{Arrival, Read};
use crate::util::panics::Faults;

pub(crate) mod link_rows;
mod on_command;
mod outputs;
mod replay;
mod rtt;
mod tasks;
mod write_batch;

pub(crate) use on_command::Command;
use on_command::Request;
use tasks::Errand;
use write_batch::Storing;

/// How many transactions one link may have waiting to be fetched from the pool.
const WANTED: usize = 20_000;
/// How many arrivals are taken at once.
const ARRIVALS: usize = 64;

/// The pool's thread has ended by itself.
#[derive(Debug)]
pub(crate) struct PoolEnded;

/// What is said of what a fault of our own ended.
const FAULT: &str = "a fault of this program";

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) protocol: Core,
    pub(crate) limits: Limits,
    /// What is shown to others and asked of them, in a closed network.
    pub(crate) secure: Option<Arc<Live>>,
    pub(crate) node: NodeId,
    pub(crate) session: Session,
    pub(crate) pool: Pool,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) inbox: mpsc::Sender<Arrival>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) validator: Validator,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) remembered: PeerCache,
    pub(crate) events: EventSender,
    pub(crate) syncs: Arc<Histogram>,
    pub(crate) images: Arc<Images>,
    pub(crate) faults: Faults,
    pub(crate) discovering: Discovering,
}

/// The task that owns the core.
pub(crate) struct Driver {
    pub(crate) parts: Parts,
    pub(crate) links: BTreeMap<LinkId, Outgoing>,
    last_link: u64,
    tasks: JoinSet<()>,
    /// Which link a task carries, so that a panic in it ends that link and nothing else.
    carried: HashMap<tokio::task::Id, LinkId>,
    errands: JoinSet<Errand>,
    /// How each errand is taken to have ended if a fault of this program ends it.
    lost: HashMap<tokio::task::Id, Errand>,
    requests: BTreeMap<RequestId, Request>,
    /// Who waits to be told what became of a broadcast.
    broadcasts: BTreeMap<RequestId, oneshot::Sender<BroadcastReceipt>>,
    /// Who searches an image.
    searches: BTreeMap<SearchId, mpsc::Sender<Answer>>,
    last_request: u64,
    /// Links to which something was staged since the last hand-over.
    touched: Vec<LinkId>,
    storing: Storing,
    /// How many reports of transactions that the pool found in its file the core has heard.
    found: u64,
    /// How many transactions were accepted since the last hand-over.
    accepted: u64,
    copies: Copies,
    /// The frames that went out since the last hand-over: their copies need not be read.
    sent: Vec<Fingerprint>,
    /// Facts that followed from carrying out orders.
    follow_ups: VecDeque<Input>,
    log: EventLog,
    /// Whether the core tells of each transaction.
    telling: bool,
    /// When what is being handled came in.
    now: Instant,
    /// Bytes written on links to peers of which the core was not told yet.
    peers_sent: Arc<AtomicU64>,
}

/// The driver's side of a link.
pub(crate) struct Outgoing {
    pub(crate) queue: Arc<Queue>,
    staged: Vec<Item>,
    staged_bytes: usize,
    feeding: Option<tokio::task::AbortHandle>,
    /// Positions that the other end wants …
    wanted: Vec<u64>,
    /// … and whether some are being fetched.
    fetching: bool,
    /// For people.
    pub(crate) trip: Trip,
    /// Held for as long as the link lives.
    _place: Option<Place>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            links: BTreeMap::new(),
            last_link: 0,
            tasks: JoinSet::new(),
            carried: HashMap::new(),
            errands: JoinSet::new(),
            lost: HashMap::new(),
            requests: BTreeMap::new(),
            broadcasts: BTreeMap::new(),
            searches: BTreeMap::new(),
            last_request: 0,
            touched: Vec::new(),
            storing: Storing::default(),
            found: 0,
            accepted: 0,
            copies: Copies::default(),
            sent: Vec::new(),
            follow_ups: VecDeque::new(),
            log: EventLog::default(),
            telling: true,
            now: Instant::now(),
            peers_sent: Arc::default(),
        }
    }

    /// Sets who is let in, before anybody is.
    pub(crate) fn admit(&mut self, access: Access) {
        self.handle(Input::AccessChanged { access });
    }

    /// Drives the node until `stop` is ready; then says goodbye to everybody and returns the pool, which still has to be closed. Everything that is awaited in
    /// the `select!` is cancel-safe: channels, a timer, joins.
    ///
    /// # Errors
    /// [`PoolEnded`] if the pool's thread has ended by itself: without it nothing can be stored, and going on would lose what is acknowledged to nobody.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Pool, PoolEnded> {
        let mut stop = std::pin::pin!(stop);
        let mut arrivals = Vec::with_capacity(ARRIVALS);
        let ended = loop {
            let deadline = self.parts.protocol.poll_timeout();
            let told = self.log.deadline();
            let deadline = deadline.into_iter().chain(told).chain(self.storing.deadline()).min();
            let timeout = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let reading = self.parts.protocol.unstored_bytes() < self.parts.limits.unstored_bytes
                || !self.parts.protocol.is_writable();
            tokio::select! {
                () = &mut stop => break Ok(()),
                _ = self.parts.arrivals.recv_many(&mut arrivals, ARRIVALS), if reading => self.on_arrivals(&mut arrivals),
                report = self.parts.reports.recv() => match report {
                    Some(report) => self.on_report(report),
                    None => break Err(PoolEnded),
                },
                Some(command) = self.parts.commands.recv() => self.on_command(command),
                Some(done) = self.errands.join_next_with_id() => self.on_errand(done),
                fact = self.parts.discovering.next() => self.handle(fact),
                Some(ended) = self.tasks.join_next_with_id() => self.on_task_ended(ended),
                () = timeout => {
                    self.log.tick(Instant::now());
                    self.catch_up(reading, &mut arrivals);
                    self.handle(Input::Timeout);
                }
            }
            self.hand_over();
        };
        let pool = self.end().await;
        if ended.is_err() {
            // Its thread may still be at letting go of the folder, which whoever hears of the end may open again.
            pool.close().await;
        }
        ended.map(|()| pool)
    }

    /// Before a deadline counts, what came in before it is heard: a peer is not silent because we are slow.
    fn catch_up(&mut self, reading: bool, arrivals: &mut Vec<Arrival>) {
        if !reading {
            return self.handle(Input::ReadsPaused { link: None });
        }
        for _ in 0..self.parts.arrivals.len() {
            arrivals.extend(self.parts.arrivals.try_recv());
            self.on_arrivals(arrivals);
        }
    }

    /// Stops dialling and reading, says goodbye on every link and gives each its time to hear it.
    async fn end(mut self) -> Pool {
        // Not awaited: nothing of what they do is needed any more.
        self.errands.abort_all();
        self.handle(Input::Shutdown);
        self.hand_over();
        self.store_lingering();
        let discovering = std::mem::take(&mut self.parts.discovering);
        // Late messages are still taken, so that no task waits for room in our inbox. The pool's reports are dropped: what it stores from here on is told to nobody.
        let Self { mut parts, mut tasks, .. } = self;
        let drained = async {
            loop {
                tokio::select! {
                    ended = tasks.join_next() => if ended.is_none() { break },
                    Some(_) = parts.arrivals.recv() => {}
                }
            }
        };
        let drained = tokio::time::timeout(parts.limits.write_deadline.min(GOODBYE), drained);
        let (drained, ()) = tokio::join!(drained, discovering.close());
        if drained.is_err() {
            tracing::debug!("some peers did not take our goodbye in time");
        }
        parts.remembered.close().await;
        parts.pool
    }

    /// Hands the pool what lingers.
    fn store_lingering(&mut self) {
        if let Some(batch) = self.storing.take(true, Instant::now) {
            self.parts.pool.store_new(batch, self.found);
        }
    }

    /// Tells the core how much was written. Nothing follows from that, so it can wait until something else happens.
    fn tell_written(&mut self) {
        let bytes = self.peers_sent.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.handle(Input::BytesWritten { bytes });
        }
    }

    /// Tells the core all that is counted outside it, before somebody is told.
    fn tell_counts(&mut self) {
        self.tell_written();
        for _ in 0..self.parts.faults.take() {
            self.handle(Input::TaskPanicked);
        }
        self.handle(Input::RuntimeCounters { counts: self.parts.images.counts().collect() });
    }

    /// Sees who listens, before anything is handled that they would be told of.
    fn see_listeners(&mut self) {
        self.telling = self.parts.events.wants_transactions() || EventLog::wants_transactions();
        self.parts.protocol.tell_transactions(self.telling);
    }

    fn on_arrivals(&mut self, arrivals: &mut Vec<Arrival>) {
        self.see_listeners();
        self.tell_written();
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Read { link, read: Read { messages, copies, pong, held_up } } => {
                    // Once for all of them: asking the clock costs as much as a look into a table.
                    self.now = Instant::now();
                    // Only so that what is asked for next lies in the cache.
                    std::hint::black_box(self.parts.protocol.count_held(messages.iter().filter_map(identity)));
                    for message in messages {
                        if let Ok(message) = &message {
                            tracing::debug!(
                                "{} came in on link {link}",
                                crate::events::text::strip_control(message.kind())
                            );
                            if matches!(message, Message::Status(_)) {
                                self.tell_counts();
                            }
                        }
                        self.handle_now(Input::Received { link, message });
                    }
                    if !copies.is_empty() {
                        self.handle(Input::Duplicates { link, copies });
                    }
                    if pong {
                        self.on_pong(link);
                        self.handle(Input::Pong { link });
                    }
                    if held_up {
                        self.handle(Input::ReadsPaused { link: Some(link) });
                    }
                }
                Arrival::Accepted { socket, remote, place, certified } => {
                    self.open(*socket, remote, Direction::Accepted, Some(place), certified)
                }
                Arrival::TurnedAway { remote, reason } => self.handle(Input::ConnectionRejected { remote, reason }),
                Arrival::Closed { link, cause, broke } => {
                    if broke && self.links.contains_key(&link) {
                        self.handle(Input::ProtocolError { link, what: cause.clone() });
                    }
                    self.close(link, cause);
                }
                Arrival::Panicked => self.handle(Input::TaskPanicked),
                Arrival::Refused { remote, reason } => {
                    self.handle(Input::ConnectionRefused { remote, reason: reason.into() })
                }
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Stored { ids, synced_in } => {
                self.parts.syncs.observe(synced_in.as_secs_f64());
                self.handle(Input::Stored { ids });
            }
            Report::Failed { error } => self.handle(Input::StoreFailed { error }),
            Report::Found { transactions } => {
                // What lingers was new by what had been heard before: it may be among what was found.
                self.store_lingering();
                self.found += 1;
                self.handle(Input::PoolAdded { transactions });
            }
            Report::Lost { ids } => {
                self.parts.filter.clear();
                self.handle(Input::PoolRemoved { ids });
            }
            Report::Recovered => self.handle(Input::StoreRecovered),
            Report::Warning { text } => self.tell(Event::Warning { text }),
        }
    }

    fn on_task_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        match ended {
            Ok((id, ())) => {
                self.carried.remove(&id);
            }
            Err(error) => {
                tracing::error!("a link's task ended in a fault of this program: {error}");
                self.handle(Input::TaskPanicked);
                if let Some(link) = self.carried.remove(&error.id()) {
                    self.close(link, FAULT.into());
                }
            }
        }
    }

    /// Takes an open WebSocket in: names it, gives it a queue and a task, tells the core.
    fn open(
        &mut self,
        socket: crate::transport::Socket,
        remote: std::net::IpAddr,
        direction: Direction,
        place: Option<Place>,
        certified: Option<Certified>,
    ) {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let limits = &self.parts.limits;
        let queue =
            Arc::new(Queue::new(limits.queue_bytes, limits.control_bytes, Arc::clone(&self.parts.pressure), link));
        let rate = (Scope::of(remote) != Scope::Loopback)
            .then(|| Rate::new(limits.transaction_rate, limits.transaction_burst, tokio::time::Instant::now()));
        let common = Common {
            inbox: self.parts.inbox.clone(),
            own: Origin::Node(self.parts.node),
            filter: Arc::clone(&self.parts.filter),
            pressure: Arc::clone(&self.parts.pressure),
            validator: self.parts.validator.clone(),
            write_deadline: limits.write_deadline,
            sent: Arc::clone(&self.peers_sent),
        };
        let mut task = LinkTask::new(link, socket, Arc::clone(&queue), rate, common);
        if matches!(direction, Direction::Dialled { .. }) {
            task = task.dialled();
        }
        let handle = self.tasks.spawn(task.run());
        self.carried.insert(handle.id(), link);
        self.links.insert(
            link,
            Outgoing {
                queue,
                staged: Vec::new(),
                staged_bytes: 0,
                feeding: None,
                wanted: Vec::new(),
                fetching: false,
                trip: Trip::default(),
                _place: place,
            },
        );
        if let Some(certified) = certified {
            self.handle(Input::PeerCertified { link, certified });
        }
        self.handle(Input::LinkOpened { link, remote, direction });
    }

    fn close(&mut self, link: LinkId, cause: String) {
        let Some(outgoing) = self.links.remove(&link) else { return };
        tracing::debug!("link {link} ended: {}", crate::events::text::strip_control(&cause));
        if let Some(feeding) = outgoing.feeding {
            feeding.abort();
        }
        // A task that ended in a panic has not done it: else whoever fetches for this link would wait for room in vain.
        outgoing.queue.bury();
        self.handle(Input::LinkClosed { link, cause });
    }

    /// Tells the core a fact, and carries out all that follows from it.
    fn handle(&mut self, input: Input) {
        self.now = Instant::now();
        self.handle_now(input);
    }

    /// As [`Self::handle`], for a fact that came in together with the last.
    fn handle_now(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.parts.protocol.handle(self.now, input);
            while let Some(output) = self.parts.protocol.poll_output() {
                self.carry_out(output);
            }
            next = self.follow_ups.pop_front();
        }
    }
}

/// The identity of the transaction in a message.
fn identity(message: &Result<Message, Malformed>) -> Option<TransactionId> {
    match message {
        Ok(Message::Transaction(TransactionFrame { transaction: Ok(transaction), .. })) => Some(transaction.id()),
        _ => None,
    }
}

/// How long all links together have to take our goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(3);
