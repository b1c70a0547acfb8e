//! The driver: one task owns the core. It turns what happens into inputs, and carries out the
//! outputs.
//!
//! It never waits for a peer or the disk. It takes all that has come in, lets the core decide, and
//! then hands everything over at once: frames to the links, transactions to the pool, events to the
//! application. While too much waits for the disk it takes no messages in.
//!
//! | component | owns |
//! |---|---|
//! | [`LinkTable`] | the links: staging, replay, round-trip times |
//! | [`TaskSet`] | the links' tasks, and background tasks |
//! | [`PendingRequests`] | requests that wait for an answer of the core |
//! | [`WriteBatch`] | transactions that wait to be written |
//! | [`Topics`] | files, memory and replay of topics besides the default one |
//! | [`Notifier`] | the log and the application's events |

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use meshpool_proto::access::Certified;
use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::causes::{LinkEnd, StoreError};
use meshpool_proto::event::Event;
use meshpool_proto::id::{LinkId, NodeId, Session};
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{Handshake, Malformed, Message, PeerState, TransactionFrame};
use meshpool_proto::{Challenge, Direction, Input, Lane, Location, Node as Core, Output, SourceGroup, TopicInput};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};

use crate::core_queries::CoreQuery;
use crate::discovery::DiscoveryHandle;
use crate::events::first::FirstEvents;
use crate::events::log::TransactionLines;
use crate::events::sender::EventSender;
use crate::events::text::strip_control;
use crate::events::ways::Ways;
use crate::folder::peer_cache::{PeerCache, Remembered};
use crate::images::Images;
use crate::pool::{Pool, Report};
use crate::relay::RelayService;
use crate::requests::Requests;
use crate::transport::accept_slots::AcceptSlot;
use crate::transport::arrival::{Arrival, ReadBatch};
use crate::transport::dial_permit::NamedBy;
use crate::transport::duplicate_filter::DuplicateTracker;
use crate::transport::iroh::connection::IrohConnection;
use crate::transport::iroh::endpoint::Wan;
use crate::transport::subprotocol::Connection;
use crate::transport::tls::Live;
use crate::transport::websocket::dialer::{Dialer, Dialled, NotDialled, NotProbed};
use crate::transport::websocket::link::LinkContext;
use crate::transport::websocket::socket::Socket;
use crate::util::panics::Panics;
use crate::util::time_of_day::time_of_day;

mod alone;
pub(crate) mod commands;
mod link_handle;
mod link_table;
mod notifier;
pub(crate) mod open_link;
mod pending_requests;
pub(crate) mod replay;
mod rtt;
mod tasks;
pub(crate) mod topics;
mod write_batch;

use alone::Alone;
use commands::Command;
#[cfg(test)]
use commands::Failure;
use link_handle::LinkHandle;
use link_table::LinkTable;
use notifier::Notifier;
use pending_requests::PendingRequests;
use replay::{Rows, replay, send_positions};
use tasks::{Ended, Outcome, PANICKED, TaskSet};
use topics::{TopicReports, Topics};
use write_batch::WriteBatch;

/// How many arrivals are taken at once.
const ARRIVALS: usize = 64;
/// How long all links together have to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// The close code after a panic (RFC 6455, section 7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// Why not everything is on the disk at the driver's end.
#[derive(Debug, Clone)]
pub(crate) enum Unstored {
    /// The thread of the pool or of a topic's file panicked.
    PoolEnded,
    /// The pool's file could not be used.
    GaveUp { lost: u64, error: StoreError },
}

impl Unstored {
    /// Adds what one more pool could not store. The error is that of the first that lost anything.
    fn gave_up(before: Result<(), Self>, lost: u64, error: StoreError) -> Result<(), Self> {
        Err(match before {
            Err(Self::GaveUp { lost: 0, .. }) | Ok(()) => Self::GaveUp { lost, error },
            Err(Self::GaveUp { lost: before, error }) => Self::GaveUp { lost: before + lost, error },
            Err(Self::PoolEnded) => Self::PoolEnded,
        })
    }
}

/// Where inputs come from.
pub(crate) struct Inputs {
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) queries: mpsc::Receiver<CoreQuery>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) topic_reports: TopicReports,
    pub(crate) discovery: DiscoveryHandle,
}

/// What outputs are carried out with.
pub(crate) struct Services {
    pub(crate) session: Session,
    pub(crate) limits: Limits,
    pub(crate) dialer: Dialer,
    pub(crate) pool: Pool,
    pub(crate) peer_cache: PeerCache,
    pub(crate) images: Arc<Images>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) sync_times: Arc<Histogram>,
    pub(crate) panics: Panics,
    /// Those besides the default one.
    pub(crate) topics: Topics,
    /// In a closed network.
    pub(crate) credentials: Option<Arc<Live>>,
    /// The relay that this node serves.
    pub(crate) relay: Option<RelayService>,
    /// Links over iroh, unless they are off.
    pub(crate) wan: Option<Wan>,
}

/// The task that owns the core.
pub(crate) struct Driver {
    core: Core,
    inputs: Inputs,
    services: Services,
    links: LinkTable,
    tasks: TaskSet,
    requests: PendingRequests,
    /// Queries for the places of nodes whose addresses are being verified. Each is of a request of
    /// this node, which are bounded.
    locating: Vec<(NodeId, oneshot::Sender<Location>)>,
    /// Links to peers that are relays, until their addresses are verified.
    relays: BTreeSet<LinkId>,
    writes: WriteBatch,
    notifier: Notifier,
    ways: Ways,
    /// The links whose queue had no room for the payload that was sent last.
    full: Vec<LinkId>,
    duplicates: DuplicateTracker,
    /// Inputs that followed from carrying out outputs.
    follow_ups: VecDeque<Input>,
    /// When the current input came.
    now: Instant,
}

impl Driver {
    /// Handles the inputs of `first` before anything else happens.
    pub(crate) fn new(
        core: Core,
        inputs: Inputs,
        services: Services,
        context: LinkContext,
        (events, first_events, ways): (EventSender, FirstEvents, Ways),
        lines: TransactionLines,
        first: impl IntoIterator<Item = Input>,
    ) -> Self {
        let alone = Alone::new(Instant::now(), core.status(Instant::now(), &[]).known > 0);
        let mut driver = Self {
            core,
            inputs,
            duplicates: DuplicateTracker::new(Arc::clone(&context.filter)),
            links: LinkTable::new(context, services.limits.clone()),
            services,
            tasks: TaskSet::default(),
            requests: PendingRequests::default(),
            locating: Vec::new(),
            relays: BTreeSet::new(),
            writes: WriteBatch::default(),
            notifier: Notifier::new((events, first_events), lines, alone),
            ways,
            full: Vec::new(),
            follow_ups: VecDeque::new(),
            now: Instant::now(),
        };
        // Declaring topics may have led to outputs.
        driver.carry_out_all();
        first.into_iter().for_each(|input| driver.handle(input));
        driver
    }

    /// Drives the node until `stop` is ready, then closes all links and the pool. All that the
    /// `select!` awaits is cancel-safe: channels, a timer, joins.
    ///
    /// # Errors
    /// [`Unstored`] if not everything is on the disk. If the pool's thread has ended by itself, the
    /// node ends, as nothing can be stored any more.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Unstored> {
        let mut stop = std::pin::pin!(stop);
        let mut arrivals = Vec::with_capacity(ARRIVALS);
        let ended = loop {
            let deadlines = [
                self.core.poll_timeout(),
                self.notifier.deadline(),
                self.writes.deadline(),
                self.services.topics.deadline(),
            ];
            let deadline = deadlines.into_iter().flatten().min();
            let timeout = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let reading = self.core.unstored_bytes() < self.services.limits.unstored_bytes || !self.core.is_writable();
            tokio::select! {
                () = &mut stop => break Ok(()),
                _ = self.inputs.arrivals.recv_many(&mut arrivals, ARRIVALS), if reading => self.on_arrivals(&mut arrivals),
                report = self.inputs.reports.recv() => match report {
                    Some(report) => self.on_report(report),
                    None => break Err(Unstored::PoolEnded),
                },
                report = self.inputs.topic_reports.next() => match report {
                    (topic, Some(report)) => self.on_topic_report(topic, report),
                    (_, None) => break Err(Unstored::PoolEnded),
                },
                Some(command) = self.inputs.commands.recv() => self.on_command(command),
                Some(query) = self.inputs.queries.recv() => self.on_query(query),
                input = self.inputs.discovery.next() => self.handle(input),
                ended = self.tasks.next() => self.on_task_ended(ended),
                () = timeout => {
                    self.notifier.tick(Instant::now());
                    if self.services.topics.is_time_due(Instant::now()) {
                        self.handle(Input::TimeOfDay { seconds: time_of_day() as u64 });
                    }
                    self.catch_up(reading, &mut arrivals);
                    self.handle(Input::Timeout);
                }
            }
            if let Err(unstored) = self.take_reports() {
                break Err(unstored);
            }
            self.end_round();
        };
        let stored = self.shut_down().await;
        ended.and(stored)
    }

    /// Handles what the pools have reported by now, in each round: where arrivals never end,
    /// `select!` picks little else, and clients wait for their acknowledgements. No more than that,
    /// as a pool that reads a large file again reports without a pause.
    fn take_reports(&mut self) -> Result<(), Unstored> {
        for _ in 0..self.inputs.reports.len() {
            if let Ok(report) = self.inputs.reports.try_recv() {
                self.on_report(report);
            }
        }
        for _ in 0..self.services.topics.files() {
            match self.inputs.topic_reports.next().now_or_never() {
                Some((topic, Some(report))) => self.on_topic_report(topic, report),
                Some((_, None)) => return Err(Unstored::PoolEnded),
                None => break,
            }
        }
        Ok(())
    }

    /// Handles what came in before a deadline first: a peer is not silent because this node is
    /// slow.
    fn catch_up(&mut self, reading: bool, arrivals: &mut Vec<Arrival>) {
        if !reading {
            return self.handle(Input::ReadsPaused { link: None });
        }
        for _ in 0..self.inputs.arrivals.len() {
            arrivals.extend(self.inputs.arrivals.try_recv());
            self.on_arrivals(arrivals);
        }
    }

    /// Hands over what was gathered in this round.
    fn end_round(&mut self) {
        for (node, reply) in std::mem::take(&mut self.locating) {
            self.locate(node, reply);
        }
        if !self.relays.is_empty() {
            self.learn_relays();
        }
        self.links.flush();
        self.notifier.end_round();
        self.duplicates.end_round(self.core.counters().transactions_duplicate);
        // Last: the pool's thread may take the CPU core from tasks that send.
        let urgent = self.core.is_disk_awaited();
        self.writes.write_due(&self.services.pool, urgent);
        self.services.topics.write_due(urgent);
    }

    /// Stops dialling and reading, closes every link, which has a bounded time, and closes the
    /// pool, which takes as long as the disk does.
    async fn shut_down(mut self) -> Result<(), Unstored> {
        self.tasks.abort_background();
        self.inputs.commands.close();
        while self.inputs.commands.try_recv().is_ok() {}
        self.handle(Input::Shutdown);
        self.end_round();
        self.writes.write(&self.services.pool);
        self.services.pool.begin_close();
        self.services.topics.begin_close();
        let (mut tasks, discovery) = (std::mem::take(&mut self.tasks), std::mem::take(&mut self.inputs.discovery));
        let within = self.services.limits.write_deadline.min(CLOSE_WITHIN);
        let closing = async {
            let (drained, ()) = tokio::join!(tokio::time::timeout(within, tasks.links_ended()), discovery.close());
            if drained.is_err() {
                tracing::debug!("some peers did not finish the close in time");
            }
        };
        let mut closing = std::pin::pin!(closing);
        let (mut links_open, mut pool_open, mut stored) = (true, true, Ok(()));
        // The reports of a thread that panicked before have ended.
        while links_open || pool_open || self.inputs.topic_reports.are_open() {
            tokio::select! {
                () = &mut closing, if links_open => links_open = false,
                // So no link's task waits for room.
                Some(_) = self.inputs.arrivals.recv() => {}
                report = self.inputs.reports.recv(), if pool_open => match report {
                    Some(Report::GaveUp { lost, error }) => {
                        self.notifier.notify(Instant::now(), Event::StoreFailed { error: error.clone() });
                        stored = Unstored::gave_up(stored, lost, error);
                    }
                    Some(report) => self.on_report(report),
                    None => pool_open = false,
                },
                report = self.inputs.topic_reports.next(), if self.inputs.topic_reports.are_open() => match report {
                    (_, Some(Report::GaveUp { lost, error })) => {
                        self.notifier.notify(Instant::now(), Event::StoreFailed { error: error.clone() });
                        stored = Unstored::gave_up(stored, lost, error);
                    }
                    (topic, Some(report)) => self.on_topic_report(topic, report),
                    (_, None) => {}
                },
            }
        }
        if !std::iter::once(&self.services.pool).chain(self.services.topics.pools()).all(Pool::has_closed) {
            stored = Err(Unstored::PoolEnded);
        }
        self.end_round();
        self.notifier.finish();
        let Services { peer_cache, pool, topics, .. } = self.services;
        peer_cache.close().await;
        // The thread may still be releasing the folder, which may be opened again at once.
        topics.close().await;
        pool.close().await;
        stored
    }

    /// Passes an input to the core, and carries out all that follows from it.
    fn handle(&mut self, input: Input) {
        self.now = Instant::now();
        self.handle_now(input);
    }

    /// As [`Self::handle`], for an input that came together with the last one.
    fn handle_now(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.core.handle(self.now, input);
            self.carry_out_all();
            next = self.follow_ups.pop_front();
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output);
        }
    }

    /// Checks who wants single transactions, before inputs that may bring some.
    fn update_demand(&mut self) {
        let wanted = self.notifier.update_demand();
        self.core.tell_transactions(wanted);
        self.core.trace_transactions(self.ways.wanted());
    }

    /// Passes the number of written bytes to the core. It has no effect there but on counters.
    fn report_written(&mut self) {
        let bytes = self.links.take_written();
        if bytes > 0 {
            self.handle(Input::BytesWritten { bytes });
        }
    }

    /// Passes all that is counted outside of the core to it, before a status is asked for.
    fn report_counts(&mut self) {
        self.report_written();
        for _ in 0..self.services.panics.take() {
            self.handle(Input::TaskPanicked);
        }
        let Services { images, requests, relay, pool, topics, .. } = &self.services;
        let relay = relay.iter().flat_map(RelayService::counts);
        let pools = Pool::counts(std::iter::once(pool).chain(topics.pools()));
        let counts = images.counts().chain(requests.counts()).chain(relay).chain(pools).collect();
        let paths = self.links.paths();
        if !paths.is_empty() {
            self.handle(Input::LinkPaths { paths });
        }
        self.handle(Input::RuntimeCounters { counts });
    }

    fn on_arrivals(&mut self, arrivals: &mut Vec<Arrival>) {
        self.update_demand();
        self.report_written();
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Read { link, batch } => self.on_read(link, batch),
                Arrival::Accepted { connection, slot } => {
                    let Connection { socket, remote, iroh, certified, challenge, .. } = *connection;
                    let direction = match slot.beyond {
                        None => Direction::Accepted,
                        Some(bound) => Direction::AcceptedBeyond { reason: bound.reason() },
                    };
                    self.open(socket, (remote, iroh), direction, Some(slot), certified, challenge);
                }
                Arrival::Rejected { remote, reason } => self.handle(Input::ConnectionRejected { remote, reason }),
                Arrival::Refused { remote, reason } => {
                    self.handle(Input::ConnectionRefused { remote, reason });
                }
                Arrival::Closed { link, cause } => {
                    if matches!(cause, LinkEnd::ProtocolError(_)) && self.links.contains(link) {
                        self.handle(Input::ProtocolError { link, what: cause.to_string() });
                    }
                    self.close(link, cause);
                }
                Arrival::Judging { link, judges } => self.handle(Input::Judging { link, judges }),
                Arrival::Validated { topic, transaction } => {
                    // Nobody waits for the answers.
                    let request = self.requests.submit(oneshot::channel().0, oneshot::channel().0);
                    self.handle(match topic {
                        None => Input::Submit { request, transaction },
                        Some(topic) => Input::Topic { topic, input: TopicInput::Submit { request, transaction } },
                    });
                }
                Arrival::WanAddress(address) => self.handle(Input::WanChanged { address }),
                Arrival::Panicked => self.handle(Input::TaskPanicked),
            }
        }
    }

    fn on_read(&mut self, link: LinkId, batch: ReadBatch) {
        let ReadBatch { messages, duplicates, pong, mark, throttled } = batch;
        // Once for all messages: reading the clock costs as much as a look-up.
        self.now = Instant::now();
        // Only to load into the CPU cache what is looked up next.
        std::hint::black_box(self.core.count_held(messages.iter().filter_map(transaction_id)));
        for message in messages {
            if let Ok(message) = &message {
                tracing::debug!("{} came in on link {link}", strip_control(message.kind()));
                match message {
                    Message::Status(_) => self.report_counts(),
                    Message::Handshake(Handshake { node: Some(node), .. }) => {
                        if let Some(handle) = self.links.get(link) {
                            handle.set_agent(&node.agent);
                        }
                        if node.relays && self.links.get(link).is_some_and(LinkHandle::note_relay) {
                            self.relays.insert(link);
                        }
                    }
                    _ => {}
                }
            }
            self.handle_now(Input::Received { link, message });
        }
        if !duplicates.is_empty() {
            self.handle(Input::Duplicates { link, copies: duplicates });
        }
        if pong {
            if let Some(handle) = self.links.get(link) {
                handle.on_pong(Instant::now());
            }
            self.handle(Input::Pong { link });
        }
        if let Some(number) = mark {
            self.handle(Input::Marked { link, number });
        }
        if throttled {
            self.handle(Input::ReadsPaused { link: Some(link) });
        }
    }

    /// Takes up the relays among the peers whose addresses have been verified: a claim alone would
    /// make every node connect to a victim. Such an address is public, or the user named it. Each
    /// is asked where it is linked, once in the time of that link; over iroh that may be the
    /// address of another relay.
    fn learn_relays(&mut self) {
        let Some(wan) = &self.services.wan else { return self.relays.clear() };
        let mut verified = Vec::new();
        self.relays.retain(|link| match self.core.verified_address(*link) {
            Some(address) => {
                verified.push((*link, address.clone()));
                false
            }
            None => self.links.contains(*link),
        });
        let rows = if verified.is_empty() { Vec::new() } else { self.core.open_links() };
        for (link, address) in verified {
            let Some(row) = rows.iter().find(|row| row.link == link && !row.over_iroh) else { continue };
            let reach = if self.core.is_known_peer(&address) { Scope::Loopback } else { Scope::Public };
            let source = if reach == Scope::Loopback { SourceGroup::User } else { SourceGroup::of(row.remote) };
            let may_be_asked = reach.may_tell(address.scope()) && reach.may_tell(Scope::of(row.remote));
            if let Some(hint) = address.as_relay().filter(|_| may_be_asked) {
                let (wan, permits) = (wan.clone(), Arc::clone(self.services.dialer.permits()));
                let at = SocketAddr::new(row.remote, hint.port());
                self.tasks.spawn(Outcome::RelayLearned, async move {
                    wan.learn_relay((hint, at), &[source], &permits).await;
                    Outcome::RelayLearned
                });
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Stored { ids, synced_in, file_bytes } => {
                self.services.sync_times.observe(synced_in.as_secs_f64());
                self.ways.on_stored(&ids);
                self.handle(Input::Stored { ids });
                self.handle_now(Input::PoolSize { bytes: file_bytes });
            }
            Report::Failed { error } | Report::GaveUp { error, .. } => self.handle(Input::StoreFailed { error }),
            Report::Found { transactions } => {
                self.writes.on_found(&self.services.pool);
                let ids: Vec<TransactionId> = transactions.iter().map(Transaction::id).collect();
                self.handle(Input::PoolAdded { transactions });
                // They are on disk already.
                self.ways.on_stored(&ids);
            }
            Report::Lost { ids } => {
                self.duplicates.clear();
                self.handle(Input::PoolRemoved { ids });
            }
            Report::Recovered => self.handle(Input::StoreRecovered),
            Report::Warning { text } => self.notifier.notify(self.now, Event::Warning { text }),
        }
    }

    fn on_topic_report(&mut self, topic: usize, report: Report) {
        let input = match report {
            Report::Stored { ids, .. } => TopicInput::Stored { ids },
            Report::Failed { error } | Report::GaveUp { error, .. } => TopicInput::StoreFailed { error },
            Report::Found { transactions } => {
                self.services.topics.on_found(topic);
                TopicInput::Added { transactions }
            }
            Report::Lost { ids } => TopicInput::Removed { ids },
            Report::Recovered => TopicInput::StoreRecovered,
            Report::Warning { text } => return self.notifier.notify(self.now, Event::Warning { text }),
        };
        self.handle(Input::Topic { topic, input });
    }

    fn on_command(&mut self, command: Command) {
        self.update_demand();
        match command {
            Command::Submit { transaction, accepted, stored } => {
                let request = self.requests.submit(accepted, stored);
                self.handle(Input::Submit { request, transaction });
            }
            Command::Publish { topic, transaction, accepted, stored } => {
                let request = self.requests.submit(accepted, stored);
                self.handle(Input::Topic { topic, input: TopicInput::Submit { request, transaction } });
            }
            Command::TopicStatus { topic, reply } => {
                reply.send(self.core.topic_status(topic)).unwrap_or_default();
            }
            Command::Broadcast { message, time, reply } => {
                let request = self.requests.broadcast(reply);
                self.handle(Input::Broadcast { request, message, time });
            }
            Command::Status { holds, reply } => {
                self.report_counts();
                let now = Instant::now();
                let mut status = self.core.status(now, &holds);
                status.alone_seconds = self.notifier.alone_seconds(now);
                #[cfg(feature = "tls")]
                {
                    status.certificate_begins =
                        self.services.credentials.as_ref().map(|credentials| credentials.begins());
                }
                status.certificate_expires =
                    self.services.credentials.as_ref().map(|credentials| credentials.expires());
                reply.send(status).unwrap_or_default();
            }
            Command::Links { reply } => {
                let links = self.links.describe(self.core.open_links(), Instant::now());
                reply.send(links).unwrap_or_default();
            }
            #[cfg(feature = "web")]
            Command::Frames { link, reply } => {
                reply.send(self.links.get(link).map(|handle| handle.frames())).unwrap_or_default();
            }
            Command::Nodes { reply } => reply.send(self.core.nodes(Instant::now())).unwrap_or_default(),
            Command::SetAccess { access, reply } => {
                self.handle(Input::AccessChanged { access });
                reply.send(()).unwrap_or_default();
            }
            Command::LiftBans { who, reply } => {
                let before = self.banned();
                self.handle(Input::BansLifted { who });
                reply.send(before.saturating_sub(self.banned())).unwrap_or_default();
            }
            Command::SetKnownPeers { addresses, reply } => {
                self.start_wan_for(&addresses);
                self.handle(Input::KnownPeersChanged { addresses });
                reply.send(()).unwrap_or_default();
            }
            #[cfg(feature = "tls")]
            Command::Warn { text } => self.notifier.notify(self.now, Event::Warning { text }),
            #[cfg(test)]
            Command::Fail(failure) => self.fail(failure),
        }
    }

    /// Starts the endpoint if the user named an `iroh:` address, with the relays of those.
    fn start_wan_for(&mut self, known: &[PeerAddress]) {
        let Some(wan) = self.services.wan.clone() else { return };
        let relays = wan.name_relays(known);
        if known.iter().all(|address| address.node().is_none()) {
            return;
        }
        wan.start();
        self.tasks.spawn(Outcome::RelayLearned, async move {
            wan.add_named(relays).await;
            Outcome::RelayLearned
        });
        self.handle(Input::WanStarted);
    }

    /// Returns how many bans of this run are in the peer table.
    fn banned(&self) -> usize {
        let status = self.core.status(Instant::now(), &[]);
        status.peers.iter().filter(|peer| peer.state == PeerState::Banned).count()
    }

    fn on_query(&mut self, query: CoreQuery) {
        match query {
            CoreQuery::Locate { node, reply } => self.locate(node, reply),
            CoreQuery::CallBack { node, nonce, reply } => {
                reply.send(self.core.call_back(node, nonce)).unwrap_or_default();
                self.carry_out_all();
            }
            CoreQuery::MayRequest { remote, certified, node, reply } => {
                let may = self.core.may_request(Instant::now(), remote, certified, node);
                reply.send(may.map(|()| self.core.address().clone())).unwrap_or_default();
            }
            CoreQuery::MayFetch { remote, certified, reply } => {
                reply.send(self.core.may_fetch(remote, certified)).unwrap_or_default();
            }
            CoreQuery::Search { id, name, answers } => {
                self.requests.search(id, answers);
                self.handle(Input::ImageSearch { search: id, name });
            }
            CoreQuery::EndSearch { id } => {
                self.requests.end_search(id);
                self.handle(Input::ImageSearchDone { search: id });
            }
            #[cfg(feature = "wan")]
            CoreQuery::MayConnect { remote, reply } => {
                reply.send(self.core.may_connect(Instant::now(), remote)).unwrap_or_default();
            }
        }
    }

    /// Answers where a node is. While its address is being verified, the query waits: that ends
    /// with an input.
    fn locate(&mut self, node: NodeId, reply: oneshot::Sender<Location>) {
        match self.core.locate(node) {
            Location::Linking if !reply.is_closed() => self.locating.push((node, reply)),
            location => reply.send(location).unwrap_or_default(),
        }
    }

    fn on_task_ended(&mut self, ended: Ended) {
        match ended {
            Ended::Done(outcome) => self.on_outcome(outcome),
            Ended::Panicked(outcome) => {
                self.handle(Input::TaskPanicked);
                match outcome {
                    // The rest of the replay will not come; on a new link anti-entropy finds it.
                    Outcome::Replayed { link, .. } => {
                        if let Some(handle) = self.links.get(link) {
                            handle.close(INTERNAL_ERROR, PANICKED.into());
                        }
                    }
                    Outcome::TopicReplayed { link, .. } => {
                        if let Some(handle) = self.links.get(link) {
                            handle.close(INTERNAL_ERROR, PANICKED.into());
                        }
                    }
                    outcome => self.on_outcome(outcome),
                }
            }
            Ended::LinkPanicked(link) => {
                self.handle(Input::TaskPanicked);
                self.close(link, PANICKED.into());
            }
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Dialled { address, result: Ok(dialled) } => {
                let Dialled { socket, remote, iroh, identity, certified, challenge } = *dialled;
                self.open(socket, (remote, iroh), Direction::Dialled { address, identity }, None, certified, challenge);
            }
            Outcome::Dialled { address, result: Err(NotDialled::Failed(error)) } => {
                self.handle(Input::DialFailed { address, error });
            }
            Outcome::Dialled { address, result: Err(NotDialled::PutOff(until)) }
            | Outcome::Probed { address, result: Err(NotProbed::PutOff(until)), .. } => {
                self.handle(Input::DialPutOff { address, until });
            }
            Outcome::Probed { link, address, result: Err(NotProbed::NotTried) } => {
                self.handle(Input::NotProbed { link, address });
            }
            Outcome::Probed { link, address, result: Ok((identity, proves)) } => {
                self.handle(Input::Probed { link, address, identity, proves });
            }
            Outcome::Replayed { link, position: Some(position) } => {
                if let Some(handle) = self.links.get(link) {
                    handle.on_replayed();
                    self.handle(Input::Replayed { link, position });
                }
            }
            Outcome::Replayed { position: None, .. } => {}
            Outcome::TopicReplayed { topic, link, position: Some(position) } => {
                self.services.topics.on_replayed(topic, link);
                if self.links.contains(link) {
                    self.handle(Input::Topic { topic, input: TopicInput::Replayed { link, position } });
                }
            }
            Outcome::TopicReplayed { position: None, .. } => {}
            Outcome::TopicPositionsSent { topic, link } => {
                let queue = self.links.get(link).map(|handle| handle.queue());
                self.services.topics.on_positions_sent(&mut self.tasks, self.services.session, queue, topic, link);
            }
            Outcome::RelayLearned => {}
            Outcome::LookedUp { search, images } => self.handle(Input::LocalImages { search, images }),
            Outcome::PositionsSent { link } => {
                if let Some(handle) = self.links.get(link) {
                    handle.on_positions_sent();
                    self.send_positions(link);
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { links, frame, lane: Lane::Control } => self.links.send_control(&links, &frame),
            Output::Send { links, frame, lane: Lane::Payload } => {
                let Self { links: table, follow_ups, full, .. } = self;
                full.clear();
                table.stage(&links, &frame, |link| {
                    follow_ups.push_back(Input::QueueFull { link });
                    full.push(link);
                });
            }
            Output::Trace(trace) => self.ways.record(*trace, &self.full),
            Output::DropQueued { topic, link, origins } => {
                self.with_link(link, |handle| handle.drop_origins(topic.as_ref(), &origins));
            }
            Output::Ping { link } => self.with_link(link, |handle| handle.ping(Instant::now())),
            Output::Mark { link, number } => self.links.mark(link, number),
            Output::PauseReading { link, time } => self.with_link(link, |handle| handle.pause_reading(time)),
            Output::Close { link, code, reason } => self.with_link(link, |handle| handle.close(code, reason)),
            Output::Replay { link, from, until, synced } => self.replay(link, from, until, synced),
            Output::ReplayPositions { link, positions } => {
                self.with_link(link, |handle| handle.want_positions(positions));
                self.send_positions(link);
            }
            Output::Store { transaction } => {
                self.notifier.on_accepted(self.now);
                self.duplicates.on_accepted(transaction.frame().as_str());
                self.writes.push(transaction);
            }
            Output::Notify(event) => {
                if let Event::HandshakeReceived { link, addresses, more, .. } = &event {
                    self.with_link(*link, |handle| handle.on_judged(addresses, *more));
                }
                self.notifier.notify(self.now, event);
            }
            Output::Topic { topic, output } => {
                let Self { tasks, links, services, .. } = self;
                let queue = |link| links.get(link).map(|handle| handle.queue());
                let session = services.session;
                if let Some(input) = services.topics.carry_out(tasks, session, queue, topic, output) {
                    self.follow_ups.push_back(Input::Topic { topic, input });
                }
            }
            Output::Dial { address, reach, sources } => {
                let (dialer, by) = (self.services.dialer.clone(), NamedBy { reach, sources });
                let result = Err(NotDialled::Failed(PANICKED.into()));
                let if_panicked = Outcome::Dialled { address: address.clone(), result };
                self.tasks.spawn(if_panicked, async move {
                    let result = dialer.dial(&address, &by).await;
                    Outcome::Dialled { result: result.map(Box::new), address }
                });
            }
            Output::Probe { link, address, reach, sources } => {
                let (dialer, by) = (self.services.dialer.clone(), NamedBy { reach, sources });
                let if_panicked = Outcome::Probed { link, address: address.clone(), result: Err(NotProbed::NotTried) };
                self.tasks.spawn(if_panicked, async move {
                    Outcome::Probed { link, result: dialer.probe(&address, &by).await, address }
                });
            }
            Output::CallBack { node, address, reach, source, nonce } => {
                self.services.requests.call_back(node, address, NamedBy { reach, sources: vec![source] }, nonce);
            }
            Output::FindLocalImages { search, name } => {
                let images = Arc::clone(&self.services.images);
                let if_panicked = Outcome::LookedUp { search, images: Vec::new() };
                self.tasks.spawn(if_panicked, async move {
                    Outcome::LookedUp { search, images: images.local().look_up(name.as_ref()).await }
                });
            }
            Output::ImageOffer { found, reach, source } => {
                self.requests.on_offer(found, NamedBy { reach, sources: vec![source] });
            }
            Output::ImageSearchOver { search, end } => self.requests.on_search_over(search, end),
            Output::Submitted { request, outcome } => self.requests.on_submitted(request, outcome),
            Output::SubmissionStored { request } => self.requests.on_stored(request),
            Output::BroadcastSent { request, told } => self.requests.on_broadcast(request, told),
            Output::AdvertiseSlots { free } => self.inputs.discovery.advertise(free),
            Output::SavePeerCache { addresses, exercise } => {
                self.services.peer_cache.save(Remembered { addresses, exercise });
            }
        }
    }

    /// Applies an output to a link, unless it is gone.
    fn with_link(&mut self, link: LinkId, apply: impl FnOnce(&mut LinkHandle)) {
        if let Some(handle) = self.links.get(link) {
            apply(handle);
        }
    }

    /// Opens a link over an upgraded connection.
    fn open(
        &mut self,
        socket: Socket,
        (remote, iroh): (IpAddr, Option<IrohConnection>),
        direction: Direction,
        slot: Option<AcceptSlot>,
        certified: Option<Certified>,
        challenge: Challenge,
    ) {
        let dialled = matches!(direction, Direction::Dialled { .. });
        let authenticated = iroh.as_ref().map(IrohConnection::node);
        let (link, task) = self.links.open(socket, (remote, iroh), dialled, slot);
        self.tasks.spawn_link(link, Box::new(task).run());
        if let Some(certified) = certified {
            self.handle(Input::PeerCertified { link, certified });
        }
        if let Some(node) = authenticated {
            self.handle(Input::NodeAuthenticated { link, node });
        }
        self.handle(Input::LinkChallenged { link, challenge });
        self.handle(Input::LinkOpened { link, remote, direction });
    }

    /// Removes a link that has ended.
    fn close(&mut self, link: LinkId, cause: LinkEnd) {
        if self.links.remove(link) {
            self.services.topics.on_link_closed(link);
            tracing::debug!("link {link} ended: {}", strip_control(&cause.to_string()));
            self.handle(Input::LinkClosed { link, cause });
        }
    }

    fn replay(&mut self, link: LinkId, from: u64, until: Option<u64>, synced: bool) {
        let Some(handle) = self.links.get(link) else { return };
        let session = synced.then_some(self.services.session);
        let rows = Rows::File(self.services.pool.clone());
        let replay = replay(rows, None, handle.queue(), from, until, session);
        let if_panicked = Outcome::Replayed { link, position: None };
        let task = self.tasks.spawn(if_panicked, async move { Outcome::Replayed { link, position: replay.await } });
        handle.set_replay(task);
    }

    /// Sends a link the positions that it asked for, in one task at a time.
    fn send_positions(&mut self, link: LinkId) {
        let Some(handle) = self.links.get(link) else { return };
        let Some(positions) = handle.next_positions() else { return };
        let Services { pool, session, .. } = &self.services;
        let sending = send_positions(Rows::File(pool.clone()), None, handle.queue(), positions, *session);
        self.tasks.spawn(Outcome::PositionsSent { link }, async move {
            sending.await;
            Outcome::PositionsSent { link }
        });
    }

    /// Returns the pool (0), or the file of a topic (from 1 on).
    #[cfg(test)]
    fn pool(&self, file: usize) -> &Pool {
        let Services { pool, topics, .. } = &self.services;
        std::iter::once(pool).chain(topics.pools()).nth(file).expect("there is one")
    }

    #[cfg(test)]
    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::PanicInTask { address } => {
                let if_panicked = Outcome::Dialled { address, result: Err(NotDialled::Failed(PANICKED.into())) };
                self.tasks.spawn(if_panicked, async { panic!("for the test") });
            }
            Failure::PanicInPool { file } => self.pool(file).panic(),
            Failure::HangInPool { file, released } => self.pool(file).hang(released),
            Failure::PanicInDriver => panic!("for the test"),
        }
    }
}

/// The id of the transaction in a message.
fn transaction_id(message: &Result<Message, Malformed>) -> Option<TransactionId> {
    match message {
        Ok(Message::Transaction(TransactionFrame { transaction: Ok(transaction), .. })) => Some(transaction.id()),
        _ => None,
    }
}
