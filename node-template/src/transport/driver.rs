//! The loop: one task owns the core, turns what happens into facts, and carries out the core's orders.
//!
//! It never waits for a peer. It takes all that has come in, lets the core decide, and then hands on everything at once: to each link what it is to send, to the
//! pool what it is to store. When too much waits for the disk it stops taking in messages, and only those.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::dialer::{self, Dialled};
use super::feeder::{feed, fetch};
use super::filter::{Filter, Fingerprint};
use super::histogram::Histogram;
use super::link::{Common, LinkTask};
use super::links::OpenLink;
use super::listener::Place;
use super::pressure::Pressure;
use super::queue::{Farewell, Item, Queue};
use super::rate::Rate;
use super::secure::Live;
use super::trip::Trip;
use super::{Arrival, Read};
use crate::discovery::Discovering;
use crate::events::Teller;
use crate::hook::Validator;
use crate::images::{Answer, Images};
use crate::pool::{Pool, Report};
use crate::protocol::access::{Access, Certified};
use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::event::Event;
use crate::protocol::identity::{Greeting, LinkId, Session};
use crate::protocol::limits::Limits;
use crate::protocol::message::{ImageInfo, ImageName, Member, SearchId, Status};
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::{Direction, Input, Lane, Output, Protocol, RequestId, Submission, Told};
use crate::remembered::Remembered;
use crate::report::Sparing;

/// How many transactions one link may have waiting to be fetched from the pool.
const WANTED: usize = 20_000;
/// How many events wait for a hand-over at most: far fewer than a listener may lag behind.
const EVENTS: usize = 256;
/// How many arrivals are taken at once.
const ARRIVALS: usize = 64;

/// What the application asks of the node.
pub(crate) enum Command {
    Submit {
        transaction: Transaction,
        taken: oneshot::Sender<Result<Submission, String>>,
        kept: oneshot::Sender<()>,
    },
    Status {
        holds: Vec<TransactionId>,
        answer: oneshot::Sender<Status>,
    },
    Links {
        answer: oneshot::Sender<Vec<OpenLink>>,
    },
    Broadcast {
        message: String,
        time: f64,
        told: oneshot::Sender<Told>,
    },
    Nodes {
        answer: oneshot::Sender<Vec<Member>>,
    },
    /// Other rules of who is let in; answered once the links that they keep out are being closed.
    Access {
        access: Access,
        done: oneshot::Sender<()>,
    },
    /// A certificate's end is near.
    #[cfg(feature = "tls")]
    Warn {
        text: String,
    },
    Search {
        id: SearchId,
        name: Option<ImageName>,
        answers: mpsc::Sender<Answer>,
    },
    SearchDone {
        id: SearchId,
    },
    /// Whether somebody may have images of us.
    MayFetch {
        remote: std::net::IpAddr,
        certified: Option<Certified>,
        answer: oneshot::Sender<bool>,
    },
    /// An errand is to end in a panic.
    #[cfg(test)]
    PanicInErrand {
        address: PeerAddress,
    },
    /// The pool's thread is to.
    #[cfg(test)]
    PanicInPool,
}

/// The pool's thread has ended by itself.
#[derive(Debug)]
pub(crate) struct PoolEnded;

/// What is said of what a fault of our own ended.
const FAULT: &str = "a fault of this program";

/// Something that takes its time, and its end.
enum Errand {
    Dialled { address: PeerAddress, result: Result<Box<Dialled>, String> },
    Probed { link: LinkId, address: PeerAddress, greeting: Option<Greeting> },
    Fetched { link: LinkId },
    Fed { link: LinkId, position: Option<u64> },
    LookedUp { search: SearchId, images: Vec<ImageInfo> },
}

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) protocol: Protocol,
    pub(crate) limits: Limits,
    /// What is shown to others and asked of them, in a closed network.
    pub(crate) secure: Option<Arc<Live>>,
    pub(crate) session: Session,
    pub(crate) pool: Pool,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) inbox: mpsc::Sender<Arrival>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) validator: Validator,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) remembered: Remembered,
    pub(crate) events: Teller,
    pub(crate) syncs: Arc<Histogram>,
    pub(crate) images: Arc<Images>,
    pub(crate) discovering: Discovering,
}

/// The task that owns the core.
pub(crate) struct Driver {
    pub(super) parts: Parts,
    pub(super) links: BTreeMap<LinkId, Outgoing>,
    last_link: u64,
    tasks: JoinSet<()>,
    /// Which link a task carries, so that a panic in it ends that link and nothing else.
    carried: HashMap<tokio::task::Id, LinkId>,
    errands: JoinSet<Errand>,
    /// How each errand is taken to have ended if a fault of this program ends it.
    lost: HashMap<tokio::task::Id, Errand>,
    requests: BTreeMap<RequestId, Request>,
    /// Who waits to be told what became of a broadcast.
    broadcasts: BTreeMap<RequestId, oneshot::Sender<Told>>,
    /// Who searches an image.
    searches: BTreeMap<SearchId, mpsc::Sender<Answer>>,
    last_request: u64,
    /// Links to which something was staged since the last hand-over.
    touched: Vec<LinkId>,
    to_store: Vec<Transaction>,
    /// The frames that went out since the last hand-over: their copies need not be read.
    sent: Vec<Fingerprint>,
    /// What the application is told at the next hand-over: to wake whoever listens for each single event would cost more than the event.
    events: Vec<Event>,
    /// Facts that followed from carrying out orders.
    follow_ups: VecDeque<Input>,
    log: Sparing,
    /// Bytes written on links to peers of which the core was not told yet.
    peers_sent: Arc<AtomicU64>,
}

/// The driver's side of a link.
pub(super) struct Outgoing {
    pub(super) queue: Arc<Queue>,
    staged: Vec<Item>,
    staged_bytes: usize,
    feeding: Option<tokio::task::AbortHandle>,
    /// Positions that the other end wants …
    wanted: Vec<u64>,
    /// … and whether some are being fetched.
    fetching: bool,
    /// For people.
    pub(super) trip: Trip,
    /// Held for as long as the link lives.
    _place: Option<Place>,
}

struct Request {
    taken: Option<oneshot::Sender<Result<Submission, String>>>,
    kept: oneshot::Sender<()>,
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
            to_store: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            follow_ups: VecDeque::new(),
            log: Sparing::default(),
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
            let deadline = deadline.into_iter().chain(told).min();
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
        ended.map(|()| pool)
    }

    /// Before a deadline counts, what came in before it is heard: a peer is not silent because we are slow.
    fn catch_up(&mut self, reading: bool, arrivals: &mut Vec<Arrival>) {
        if !reading {
            return self.handle(Input::Unread { link: None });
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
        let discovering = std::mem::take(&mut self.parts.discovering);
        // Reports and late messages are still taken, so that no task waits for room in our inbox.
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

    /// Tells the core how much was written. Nothing follows from that, so it can wait until something else happens.
    fn tell_written(&mut self) {
        let bytes = self.peers_sent.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.handle(Input::Written { bytes });
        }
    }

    fn on_arrivals(&mut self, arrivals: &mut Vec<Arrival>) {
        self.tell_written();
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Read { link, read: Read { messages, copies, pong, held_up } } => {
                    for message in messages {
                        if let Ok(message) = &message {
                            tracing::debug!("{} came in on link {link}", crate::report::plain(message.kind()));
                        }
                        self.handle(Input::Received { link, message });
                    }
                    if !copies.is_empty() {
                        self.handle(Input::Repeated { link, copies });
                    }
                    if pong {
                        self.on_pong(link);
                        self.handle(Input::Pong { link });
                    }
                    if held_up {
                        self.handle(Input::Unread { link: Some(link) });
                    }
                }
                Arrival::Accepted { socket, remote, place, certified } => {
                    self.open(*socket, remote, Direction::Accepted, Some(place), certified)
                }
                Arrival::TurnedAway { remote, reason } => self.handle(Input::TurnedAway { remote, reason }),
                Arrival::Closed { link, cause, broke } => {
                    if broke && self.links.contains_key(&link) {
                        self.handle(Input::Broke { link, what: cause.clone() });
                    }
                    self.close(link, cause);
                }
                Arrival::Panicked => self.handle(Input::Panicked),
                Arrival::Refused { remote, reason } => self.handle(Input::Refused { remote, reason: reason.into() }),
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Stored { ids, synced_in } => {
                self.parts.syncs.observe(synced_in);
                self.handle(Input::Stored { ids });
            }
            Report::Failed { error } => self.handle(Input::StoreFailed { error }),
            Report::Found { transactions } => self.handle(Input::Found { transactions }),
            Report::Lost { ids } => {
                self.parts.filter.clear();
                self.handle(Input::Lost { ids });
            }
            Report::Recovered => self.handle(Input::StoreRecovered),
            Report::Warning { text } => self.tell(Event::Warning { text }),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Submit { transaction, taken, kept } => {
                self.last_request += 1;
                let request = RequestId(self.last_request);
                self.requests.insert(request, Request { taken: Some(taken), kept });
                self.handle(Input::Submit { request, transaction });
            }
            Command::Status { holds, answer } => {
                self.tell_written();
                // Whoever asked may have gone.
                let mut status = self.parts.protocol.status(Instant::now(), &holds);
                status.counters.extend(self.parts.images.counts().map(|(name, count)| (name.to_owned(), count)));
                answer.send(status).unwrap_or_default();
            }
            Command::Links { answer } => answer.send(self.open_links()).unwrap_or_default(),
            Command::Broadcast { message, time, told } => {
                self.last_request += 1;
                let request = RequestId(self.last_request);
                self.broadcasts.insert(request, told);
                self.handle(Input::Broadcast { request, message, time });
            }
            Command::Access { access, done } => {
                self.handle(Input::AccessChanged { access });
                // Whoever asked may have gone.
                done.send(()).unwrap_or_default();
            }
            #[cfg(feature = "tls")]
            Command::Warn { text } => self.tell(Event::Warning { text }),
            #[cfg(test)]
            Command::PanicInErrand { address } => {
                self.begin(Errand::Dialled { address, result: Err(FAULT.into()) }, async {
                    panic!("as a test wants it")
                });
            }
            #[cfg(test)]
            Command::PanicInPool => self.parts.pool.panic(),
            Command::Nodes { answer } => {
                answer.send(self.parts.protocol.nodes(Instant::now())).unwrap_or_default();
            }
            Command::Search { id, name, answers } => {
                self.searches.insert(id, answers);
                self.handle(Input::Search { search: id, name });
            }
            Command::SearchDone { id } => {
                self.searches.remove(&id);
                self.handle(Input::SearchDone { search: id });
            }
            Command::MayFetch { remote, certified, answer } => {
                answer.send(self.parts.protocol.may_fetch(remote, certified)).unwrap_or_default();
            }
        }
    }

    fn on_errand(&mut self, done: Result<(tokio::task::Id, Errand), tokio::task::JoinError>) {
        match done {
            Ok((id, errand)) => {
                self.lost.remove(&id);
                self.on_errand_done(errand);
            }
            Err(error) => {
                let lost = self.lost.remove(&error.id());
                if error.is_cancelled() {
                    return;
                }
                tracing::error!("a dial or a feeder ended in a fault of this program: {error}");
                self.handle(Input::Panicked);
                match lost {
                    // What it would have been fed never comes: on a new link it is compared.
                    Some(Errand::Fed { link, .. }) => self.fail(link),
                    Some(errand) => self.on_errand_done(errand),
                    None => {}
                }
            }
        }
    }

    /// Closes a link because of a fault of our own.
    fn fail(&mut self, link: LinkId) {
        if let Some(outgoing) = self.links.get(&link) {
            outgoing.queue.close(Farewell { code: 1011, reason: FAULT.into() });
        }
    }

    /// Begins an errand; `lost`: how it has ended if a fault of this program ends it.
    fn begin(
        &mut self,
        lost: Errand,
        errand: impl Future<Output = Errand> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let handle = self.errands.spawn(errand);
        self.lost.insert(handle.id(), lost);
        handle
    }

    fn on_errand_done(&mut self, errand: Errand) {
        match errand {
            Errand::Dialled { address, result: Ok(dialled) } => {
                let Dialled { socket, remote, greeting, certified } = *dialled;
                self.open(socket, remote, Direction::Dialled { address, greeting }, None, certified);
            }
            Errand::Dialled { address, result: Err(error) } => self.handle(Input::DialFailed { address, error }),
            Errand::Probed { link, address, greeting } => self.handle(Input::Probed { link, address, greeting }),
            Errand::Fed { link, position: Some(position) } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.feeding = None;
                    self.handle(Input::Fed { link, position });
                }
            }
            Errand::Fed { position: None, .. } => {}
            Errand::LookedUp { search, images } => self.handle(Input::LookedUp { search, images }),
            Errand::Fetched { link } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.fetching = false;
                    self.fetch(link);
                }
            }
        }
    }

    fn on_task_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        match ended {
            Ok((id, ())) => {
                self.carried.remove(&id);
            }
            Err(error) => {
                tracing::error!("a link's task ended in a fault of this program: {error}");
                self.handle(Input::Panicked);
                if let Some(link) = self.carried.remove(&error.id()) {
                    self.close(link, FAULT.into());
                }
            }
        }
    }

    /// Takes an open WebSocket in: names it, gives it a queue and a task, tells the core.
    fn open(
        &mut self,
        socket: super::Socket,
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
            filter: Arc::clone(&self.parts.filter),
            pressure: Arc::clone(&self.parts.pressure),
            validator: self.parts.validator.clone(),
            write_deadline: limits.write_deadline,
            sent: Arc::clone(&self.peers_sent),
        };
        let mut task = LinkTask::new(link, socket, Arc::clone(&queue), rate, common);
        if matches!(direction, Direction::Dialled { .. }) {
            task = task.of_peer();
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
            self.handle(Input::Certified { link, certified });
        }
        self.handle(Input::LinkOpened { link, remote, direction });
    }

    fn close(&mut self, link: LinkId, cause: String) {
        let Some(outgoing) = self.links.remove(&link) else { return };
        tracing::debug!("link {link} ended: {}", crate::report::plain(&cause));
        if let Some(feeding) = outgoing.feeding {
            feeding.abort();
        }
        self.handle(Input::LinkClosed { link, cause });
    }

    /// Tells the core a fact, and carries out all that follows from it.
    fn handle(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.parts.protocol.handle(Instant::now(), input);
            while let Some(output) = self.parts.protocol.poll_output() {
                self.carry_out(output);
            }
            next = self.follow_ups.pop_front();
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { links, frame, lane } => self.stage(&links, frame, lane),
            Output::Store { transaction } => {
                self.sent.push(self.parts.filter.fingerprint(transaction.frame().as_str()));
                self.to_store.push(transaction);
            }
            Output::Notify(event) => self.tell(event),
            Output::Told { request, told } => {
                if let Some(asker) = self.broadcasts.remove(&request) {
                    // Whoever asked may have gone.
                    asker.send(told).unwrap_or_default();
                }
            }
            Output::Dial { address, reach } => {
                let (limits, secure) = (self.parts.limits.clone(), self.parts.secure.clone());
                let lost = Errand::Dialled { address: address.clone(), result: Err(FAULT.into()) };
                self.begin(lost, async move {
                    let result = dialer::dial(&address, reach, &limits, secure.as_deref()).await;
                    Errand::Dialled { result: result.map(Box::new), address }
                });
            }
            Output::Probe { link, address, reach } => {
                let (limits, secure) = (self.parts.limits.clone(), self.parts.secure.clone());
                let lost = Errand::Probed { link, address: address.clone(), greeting: None };
                self.begin(lost, async move {
                    let greeting = dialer::probe(&address, reach, &limits, secure.as_deref()).await;
                    Errand::Probed { link, greeting, address }
                });
            }
            Output::Unqueue { link, origins } => {
                self.hand_over_to(link);
                if let Some(outgoing) = self.links.get(&link) {
                    outgoing.queue.drop_origins(&origins);
                }
            }
            Output::Ping { link } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.ping();
                }
            }
            Output::Close { link, code, reason } => {
                self.hand_over_to(link);
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.wanted = Vec::new();
                    outgoing.queue.close(Farewell { code, reason });
                }
            }
            Output::Pause { link, time } => {
                if let Some(outgoing) = self.links.get(&link) {
                    outgoing.queue.pause(time);
                }
            }
            Output::Feed { link, from, until, synced } => self.feed(link, from, until, synced),
            Output::Fetch { link, positions } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    // Who wants more than this at once finds the rest missing again.
                    let room = WANTED.saturating_sub(outgoing.wanted.len());
                    outgoing.wanted.extend(positions.into_iter().take(room));
                    self.fetch(link);
                }
            }
            Output::LookUp { search, name } => {
                let images = Arc::clone(&self.parts.images);
                let lost = Errand::LookedUp { search, images: Vec::new() };
                self.begin(
                    lost,
                    async move { Errand::LookedUp { search, images: images.look_up(name.as_ref()).await } },
                );
            }
            Output::Offer { found, reach } => {
                if let Some(asker) = self.searches.get(&found.id) {
                    // There is room for as many as the core lets through; and whoever asked may have gone.
                    asker.try_send(Answer::Offer(found, reach)).unwrap_or_default();
                }
            }
            Output::SearchOver { search, end } => {
                if let Some(asker) = self.searches.remove(&search) {
                    asker.try_send(Answer::Over(end)).unwrap_or_default();
                }
            }
            Output::Advertise { free } => self.parts.discovering.advertise(free),
            Output::Remember { addresses } => self.parts.remembered.keep(addresses),
            Output::Submitted { request, outcome } => self.on_submitted(request, outcome),
            Output::Kept { request } => {
                if let Some(request) = self.requests.remove(&request) {
                    // Whoever submitted may not care for the disk.
                    request.kept.send(()).unwrap_or_default();
                }
            }
        }
    }

    fn on_submitted(&mut self, request: RequestId, outcome: Result<Submission, String>) {
        let refused = outcome.is_err();
        if let Some(taken) = self.requests.get_mut(&request).and_then(|waiting| waiting.taken.take())
            && taken.send(outcome).is_err()
        {
            tracing::trace!("nobody waits for the outcome of a submission");
        }
        if refused {
            self.requests.remove(&request);
        }
    }

    fn feed(&mut self, link: LinkId, from: u64, until: Option<u64>, synced: bool) {
        let Some(outgoing) = self.links.get_mut(&link) else {
            return;
        };
        let (pool, queue) = (self.parts.pool.clone(), Arc::clone(&outgoing.queue));
        let session = synced.then_some(self.parts.session);
        let lost = Errand::Fed { link, position: None };
        let errand = async move { Errand::Fed { link, position: feed(pool, queue, from, until, session).await } };
        let handle = self.begin(lost, errand);
        let outgoing = self.links.get_mut(&link);
        if let Some(previous) = outgoing.and_then(|outgoing| outgoing.feeding.replace(handle)) {
            previous.abort();
        }
    }

    /// Has what a link wants fetched from the pool, one errand at a time.
    fn fetch(&mut self, link: LinkId) {
        let Some(outgoing) = self.links.get_mut(&link) else { return };
        if outgoing.fetching || outgoing.wanted.is_empty() {
            return;
        }
        outgoing.fetching = true;
        let positions = std::mem::take(&mut outgoing.wanted);
        let (pool, queue, session) = (self.parts.pool.clone(), Arc::clone(&outgoing.queue), self.parts.session);
        self.begin(Errand::Fetched { link }, async move {
            fetch(pool, queue, positions, session).await;
            Errand::Fetched { link }
        });
    }

    /// Stages a frame for links: it is handed to their tasks when the driver has done its round. What does not fit is not staged.
    fn stage(&mut self, links: &[LinkId], frame: crate::protocol::frame::Frame, lane: Lane) {
        let Item::Text(text) = super::text(frame) else { return };
        for link in links {
            let Some(outgoing) = self.links.get_mut(link) else {
                continue;
            };
            match lane {
                Lane::Payload if outgoing.queue.fits(lane, outgoing.staged_bytes, text.len()) => {
                    if outgoing.staged.is_empty() {
                        self.touched.push(*link);
                    }
                    outgoing.staged_bytes += text.len();
                    outgoing.staged.push(Item::Text(text.clone()));
                }
                Lane::Payload => self.follow_ups.push_back(Input::LinkFull { link: *link }),
                Lane::Control if outgoing.queue.fits(lane, 0, text.len()) => {
                    outgoing.queue.push(lane, [Item::Text(text.clone())], text.len());
                }
                Lane::Control => {
                    outgoing.queue.close(Farewell { code: 1008, reason: "you do not read what you asked for".into() })
                }
            }
        }
    }

    /// Hands everything staged to the links' tasks and to the pool, and the events to the application.
    fn hand_over(&mut self) {
        for link in std::mem::take(&mut self.touched) {
            self.hand_over_to(link);
        }
        if !self.to_store.is_empty() {
            self.parts.filter.learn(self.sent.drain(..));
            self.parts.pool.store(std::mem::take(&mut self.to_store));
        }
        self.hand_over_events();
    }

    fn hand_over_events(&mut self) {
        for event in self.events.drain(..) {
            self.parts.events.tell(event);
        }
    }

    fn hand_over_to(&mut self, link: LinkId) {
        if let Some(outgoing) = self.links.get_mut(&link)
            && !outgoing.staged.is_empty()
        {
            let bytes = std::mem::take(&mut outgoing.staged_bytes);
            outgoing.queue.push(Lane::Payload, outgoing.staged.drain(..), bytes);
        }
    }

    /// Tells the log and the application.
    fn tell(&mut self, event: Event) {
        self.log.report(Instant::now(), &event);
        if self.parts.events.has_listeners() {
            self.events.push(event);
            if self.events.len() >= EVENTS {
                self.hand_over_events();
            }
        }
    }
}

/// How long all links together have to take our goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(3);
