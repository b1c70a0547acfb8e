//! A connection for requests, after both ends have proved their ids. Either end may ask.
//!
//! One task owns it; another sends ([`outbox`]), and each handler has one. Of both kinds a bounded
//! number runs. Numbers of requests only rise, so a stranger fills no table with them, and an
//! answer to what was not asked ends the connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use meshpool_proto::IpPrefix;
use meshpool_proto::wire::{ChunkOf, FailedCause, RequestFrame};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::events::text::strip_control_max;
use crate::requests::handler::Request;
use crate::requests::order::{AT_ONCE, Order, Peer, Unanswered};
use crate::requests::outbox::{self, Body, Outgoing, Stop, TURNS};
use crate::requests::shared::{BREACH, DONE, GOING_AWAY, PANICKED, Shared};
use crate::transport::websocket::socket::Socket;
use crate::util::counts::add;
use crate::util::group_counts::Place;

/// The longest time that a handler may take, whatever the other end asks for.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a request may take to come, besides its bytes.
const OVERHEAD: Duration = Duration::from_secs(30);
/// The slowest sender, in bytes per second. Others would hold a place for hours.
const SLOWEST: u64 = 16 * 1024;
/// The most pings of a connection: its own end sends none, and the answers wait in memory.
const PINGS: u32 = 1_024;
/// How many frames are read and dropped after a close frame.
const DRAINED: usize = 64;
/// The longest text of another node that an error shows, in characters.
const REASON: usize = 1_024;

/// A request of this node.
struct Asked {
    reply: oneshot::Sender<Result<Bytes, Unanswered>>,
    /// What has come of the answer, and its length.
    answer: Option<(Vec<u8>, usize)>,
    stop: Stop,
    /// When it was cancelled.
    cancelled: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

/// A request of the other end.
enum Served {
    /// It is coming.
    Receiving { content: Vec<u8>, bytes: usize, until: Instant, timeout: Duration, place: Place },
    /// Its handler runs.
    Handling(AbortHandle),
    /// Its answer goes out.
    Answering(Stop),
}

/// How a handler ended.
struct Handled {
    id: u64,
    answer: Result<Bytes, (FailedCause, String)>,
    place: Place,
}

/// How a connection ends.
enum End {
    /// With a close frame of ours.
    Ours(u16, String),
    /// The other end closed it because it was idle.
    Idle,
    /// For another reason of the other end, or of the network.
    Theirs(String),
}

/// See the module.
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    outbox: mpsc::Sender<Outgoing>,
    asked: BTreeMap<u64, Asked>,
    served: BTreeMap<u64, Served>,
    handlers: JoinSet<Handled>,
    last_asked: u64,
    last_served: u64,
    pings: u32,
    /// When something last came or was asked.
    active: Instant,
    /// When it is read again: the other end sends more than its rate.
    read_from: Instant,
}

impl Connection {
    /// Runs the connection to its end. It may be dropped at any await.
    pub(super) async fn run(
        shared: Arc<Shared>,
        socket: Socket,
        peer: Peer,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        let (sink, mut stream) = socket.split();
        let (outbox, queue) = mpsc::channel(TURNS);
        let mut sending = JoinSet::new();
        let (deadline, counting) = (shared.limits.write_deadline, Arc::clone(&shared));
        sending.spawn(outbox::send(sink, queue, deadline, move |bytes| {
            add(&counting.counts.sent_bytes, bytes as u64);
        }));
        let now = Instant::now();
        let mut connection = Self {
            shared,
            peer,
            outbox,
            asked: BTreeMap::new(),
            served: BTreeMap::new(),
            handlers: JoinSet::new(),
            last_asked: 0,
            last_served: 0,
            pings: 0,
            active: now,
            read_from: now,
        };
        let end = connection.serve(&mut stream, &mut orders, &mut sending).await;
        connection.finish(end, stream, orders, sending).await;
    }

    /// Serves both directions until the connection ends. All that the `select!` awaits is
    /// cancel-safe: a stream, a channel, joins, a timer.
    async fn serve(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin),
        orders: &mut mpsc::UnboundedReceiver<Order>,
        sending: &mut JoinSet<Result<(), String>>,
    ) -> End {
        loop {
            let now = Instant::now();
            let due = self.due();
            let step = tokio::select! {
                read = stream.next(), if self.read_from <= now => self.on_read(read).await,
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order).await,
                    None => Err(End::Ours(GOING_AWAY, "this node is shutting down".to_owned())),
                },
                Some(handled) = self.handlers.join_next() => match handled {
                    Ok(handled) => self.on_handled(handled).await,
                    Err(error) => self.on_handler_lost(error).await,
                },
                Some(sent) = sending.join_next() => {
                    let why = sent.unwrap_or_else(|error| Err(error.to_string()));
                    Err(End::Theirs(why.err().unwrap_or_else(|| "it ended".to_owned())))
                }
                () = self.shared.queries.ended() => {
                    Err(End::Ours(GOING_AWAY, "this node is shutting down".to_owned()))
                }
                () = sleep_until(due) => self.on_due(Instant::now()).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Answers all that is open, and closes.
    async fn finish(
        self,
        end: End,
        mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut sending: JoinSet<Result<(), String>>,
    ) {
        let Self { shared, peer, outbox, asked, handlers, .. } = self;
        drop(handlers);
        tracing::debug!("a connection for requests with {} ended: {}", peer.node.short(), end.text());
        for (_, asked) in asked {
            let why = match &end {
                End::Idle => Unanswered::NotServed,
                End::Ours(GOING_AWAY, _) => Unanswered::Ended,
                end => Unanswered::Lost(end.text().to_owned()),
            };
            asked.reply.send(Err(why)).unwrap_or_default();
        }
        // What was ordered meanwhile was never sent. Nothing waits here: no more is taken.
        orders.close();
        while let Some(order) = orders.recv().await {
            if let Order::Ask { reply, .. } = order {
                let why = if let End::Ours(GOING_AWAY, _) = &end { Unanswered::Ended } else { Unanswered::NotServed };
                reply.send(Err(why)).unwrap_or_default();
            }
        }
        if let End::Ours(code, reason) = end {
            if code == BREACH {
                add(&shared.counts.breaches, 1);
            }
            outbox.send(Outgoing::Close { code, reason }).await.unwrap_or_default();
            drop(outbox);
            let closing = async {
                sending.join_next().await;
                // Closing with unread bytes would reset what the other end still reads.
                let mut drained = 0;
                while drained < DRAINED
                    && let Some(Ok(_)) = stream.next().await
                {
                    drained += 1;
                }
            };
            timeout(shared.limits.write_deadline, closing).await.unwrap_or_default();
        }
    }

    /// Returns when something is due.
    fn due(&self) -> Instant {
        let limits = &self.shared.limits;
        let idle = self.active + limits.request_idle * if self.peer.dialled { 1 } else { 2 };
        let cancelled = self.asked.values().filter_map(|asked| Some(asked.cancelled? + limits.write_deadline));
        let receiving = self.served.values().filter_map(|served| match served {
            Served::Receiving { until, .. } => Some(*until),
            _ => None,
        });
        let reading = (self.read_from > Instant::now()).then_some(self.read_from);
        let idle = self.is_idle().then_some(idle);
        let next = cancelled.chain(receiving).chain(reading).chain(idle).min();
        // With requests under way and nothing due: their own ends wake it.
        next.unwrap_or_else(|| Instant::now() + LONGEST)
    }

    fn is_idle(&self) -> bool {
        self.asked.is_empty()
            && self.served.values().all(|served| matches!(served, Served::Answering(stop) if stop.is_last()))
    }

    async fn on_due(&mut self, now: Instant) -> Result<(), End> {
        let limits = &self.shared.limits;
        let waits = |asked: &Asked| asked.cancelled.is_some_and(|at| at + limits.write_deadline <= now);
        if self.asked.values().any(waits) {
            return Err(End::Ours(DONE, "you end no request that was cancelled".to_owned()));
        }
        let late = |served: &Served| matches!(served, Served::Receiving { until, .. } if *until <= now);
        let late: Vec<u64> = self.served.iter().filter(|(_, served)| late(served)).map(|(id, _)| *id).collect();
        for id in late {
            self.served.remove(&id);
            add(&self.shared.counts.cancelled, 1);
            self.fail(id, FailedCause::TimedOut, "it came too slowly").await?;
        }
        let idle = self.shared.limits.request_idle * if self.peer.dialled { 1 } else { 2 };
        if self.is_idle() && self.active + idle <= now {
            return Err(End::Ours(DONE, IDLE.to_owned()));
        }
        Ok(())
    }

    async fn on_order(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Ask { payload, timeout, reply, permit } => {
                if reply.is_closed() {
                    return Ok(());
                }
                self.active = Instant::now();
                self.last_asked += 1;
                let (id, stop) = (self.last_asked, Stop::default());
                // Not all languages read larger numbers, and no handler runs for longer.
                let timeout = u64::try_from(timeout.min(LONGEST).as_millis()).unwrap_or(u64::MAX);
                let head = RequestFrame::Request { id, bytes: payload.len(), timeout };
                let asked = Asked { reply, answer: None, stop: stop.clone(), cancelled: None, _permit: permit };
                self.asked.insert(id, asked);
                let body = Body {
                    head: Some(head),
                    of: ChunkOf::Request,
                    id,
                    content: payload,
                    stop,
                    if_stopped: None,
                    _place: None,
                };
                self.put(Outgoing::Body(body)).await
            }
            Order::Cancelled => {
                let now = Instant::now();
                let mut gone = Vec::new();
                for (id, asked) in &mut self.asked {
                    if asked.cancelled.is_none() && asked.reply.is_closed() {
                        asked.cancelled = Some(now);
                        asked.stop.set();
                        gone.push(*id);
                    }
                }
                for id in gone {
                    self.put(Outgoing::Frame(RequestFrame::Cancel { id })).await?;
                }
                Ok(())
            }
            Order::CloseIfIdle if self.is_idle() => Err(End::Ours(DONE, IDLE.to_owned())),
            Order::CloseIfIdle => Ok(()),
            Order::Replaced => Err(End::Ours(DONE, "a newer connection replaces this one".to_owned())),
        }
    }

    async fn on_read(&mut self, read: Option<Result<Message, tungstenite::Error>>) -> Result<(), End> {
        self.active = Instant::now();
        let breach = |why: String| End::Ours(BREACH, why);
        match read {
            Some(Ok(Message::Text(text))) => {
                self.charge(0);
                let frame = RequestFrame::read(&text).map_err(breach)?;
                self.on_frame(frame).await
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.charge(bytes.len());
                let (of, id, content) = ChunkOf::read(&bytes).map_err(breach)?;
                add(&self.shared.counts.received_bytes, content.len() as u64);
                match of {
                    ChunkOf::Request => self.on_request_chunk(id, content),
                    ChunkOf::Response => self.on_response_chunk(id, content),
                }
            }
            Some(Ok(Message::Ping(_))) if self.pings < PINGS => {
                self.pings += 1;
                self.charge(0);
                Ok(())
            }
            Some(Ok(Message::Pong(_))) => {
                self.charge(0);
                Ok(())
            }
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == DONE && frame.reason.as_str() == IDLE => {
                Err(End::Idle)
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                Err(End::Theirs(format!("it said {:?}", strip_control_max(frame.reason.as_str(), REASON))))
            }
            Some(Ok(Message::Close(None))) | None => Err(End::Theirs("it closed the connection".to_owned())),
            Some(Ok(_)) => Err(breach("more pings than a connection for requests needs".to_owned())),
            Some(Err(error)) => Err(End::Theirs(error.to_string())),
        }
    }

    /// Counts a frame against the rate of the other end. Above it reading pauses.
    fn charge(&mut self, bytes: usize) {
        if let Some(group) = IpPrefix::address_group(self.peer.remote) {
            self.read_from = self.shared.charge(group, bytes);
        }
    }

    async fn on_frame(&mut self, frame: RequestFrame) -> Result<(), End> {
        match frame {
            RequestFrame::Hello(_) => Err(End::Ours(BREACH, "a second HELLO".to_owned())),
            RequestFrame::Request { id, bytes, timeout } => self.on_request(id, bytes, timeout).await,
            RequestFrame::Response { id, bytes } => {
                let asked = self.asked.get_mut(&id).filter(|asked| asked.answer.is_none());
                let Some(asked) = asked else { return Err(unasked("RESPONSE")) };
                asked.answer = Some((Vec::new(), bytes));
                self.finish_answer(id);
                Ok(())
            }
            RequestFrame::Failed { id, cause, reason } => {
                let Some(asked) = self.asked.remove(&id) else { return Err(unasked("FAILED")) };
                asked.stop.set();
                let reason = strip_control_max(&reason, REASON);
                asked.reply.send(Err(Unanswered::Failed(cause, reason))).unwrap_or_default();
                Ok(())
            }
            RequestFrame::Cancel { id } => self.on_cancel(id).await,
        }
    }

    async fn on_request(&mut self, id: u64, bytes: usize, timeout: u64) -> Result<(), End> {
        if id <= self.last_served {
            return Err(End::Ours(BREACH, "the numbers of requests have to rise".to_owned()));
        }
        self.last_served = id;
        self.served.retain(|_, served| !matches!(served, Served::Answering(stop) if stop.is_last()));
        let shared = Arc::clone(&self.shared);
        if shared.handler().is_none() {
            add(&shared.counts.refused, 1);
            return self.fail(id, FailedCause::NotServed, "").await;
        }
        let group = IpPrefix::address_group(self.peer.remote);
        let place = (self.served.len() < AT_ONCE).then(|| shared.places.take(group));
        let Some(place) = place.flatten() else {
            add(&shared.counts.refused, 1);
            return self.fail(id, FailedCause::Busy, "").await;
        };
        let timeout = Duration::from_millis(timeout).min(LONGEST);
        let within = timeout.min(OVERHEAD + Duration::from_secs(bytes as u64 / SLOWEST));
        let until = Instant::now() + within;
        self.served.insert(id, Served::Receiving { content: Vec::new(), bytes, until, timeout, place });
        self.begin_if_whole(id);
        Ok(())
    }

    fn on_request_chunk(&mut self, id: u64, chunk: &[u8]) -> Result<(), End> {
        match self.served.get_mut(&id) {
            Some(Served::Receiving { content, bytes, .. }) if content.len() + chunk.len() <= *bytes => {
                content.extend_from_slice(chunk);
                self.begin_if_whole(id);
                Ok(())
            }
            // It was refused or cancelled, and its sender does not know that yet.
            None if id <= self.last_served => Ok(()),
            _ => Err(End::Ours(BREACH, "a chunk that belongs to no request".to_owned())),
        }
    }

    /// Calls the handler once a request is whole.
    fn begin_if_whole(&mut self, id: u64) {
        match self.served.remove(&id) {
            Some(Served::Receiving { content, bytes, timeout, place, .. }) if content.len() == bytes => {
                let (shared, peer) = (Arc::clone(&self.shared), self.peer);
                let handle = self.handlers.spawn(async move {
                    let request = Request { from: peer.node, payload: content.into() };
                    Handled { id, answer: shared.handle(peer, request, timeout).await, place }
                });
                self.served.insert(id, Served::Handling(handle));
            }
            Some(other) => {
                self.served.insert(id, other);
            }
            None => {}
        }
    }

    /// Handles the end of a handler that gave no answer. One that panics is caught in its task,
    /// unless it does so while it is dropped; others were cancelled.
    async fn on_handler_lost(&mut self, error: JoinError) -> Result<(), End> {
        let is_it = |served: &Served| matches!(served, Served::Handling(handle) if handle.id() == error.id());
        let lost = self.served.iter().find(|(_, served)| is_it(served)).map(|(id, _)| *id);
        self.shared.panics.note("the handler of requests", error);
        let Some(id) = lost else { return Ok(()) };
        self.active = Instant::now();
        self.served.remove(&id);
        add(&self.shared.counts.failed, 1);
        self.fail(id, FailedCause::Handler, PANICKED).await
    }

    async fn on_handled(&mut self, Handled { id, answer, place }: Handled) -> Result<(), End> {
        // A handler that ends while it is cancelled has been answered.
        if !matches!(self.served.remove(&id), Some(Served::Handling(_))) {
            return Ok(());
        }
        self.active = Instant::now();
        let counts = &self.shared.counts;
        let content = match answer {
            Ok(content) => content,
            Err((cause, why)) => {
                let count = match cause {
                    FailedCause::Handler => &counts.failed,
                    FailedCause::TimedOut => &counts.cancelled,
                    _ => &counts.refused,
                };
                add(count, 1);
                return self.fail(id, cause, &why).await;
            }
        };
        add(&counts.served, 1);
        let stop = Stop::default();
        self.served.insert(id, Served::Answering(stop.clone()));
        let cancelled = RequestFrame::Failed { id, cause: FailedCause::Cancelled, reason: String::new() };
        let body = Body {
            head: Some(RequestFrame::Response { id, bytes: content.len() }),
            of: ChunkOf::Response,
            id,
            content,
            stop,
            if_stopped: Some(cancelled),
            _place: Some(place),
        };
        self.put(Outgoing::Body(body)).await
    }

    async fn on_cancel(&mut self, id: u64) -> Result<(), End> {
        match self.served.get(&id) {
            Some(Served::Answering(stop)) => {
                stop.set();
                return Ok(());
            }
            Some(Served::Handling(handle)) => handle.abort(),
            Some(Served::Receiving { .. }) => {}
            // Its answer has crossed.
            None => return Ok(()),
        }
        self.served.remove(&id);
        add(&self.shared.counts.cancelled, 1);
        self.fail(id, FailedCause::Cancelled, "").await
    }

    fn on_response_chunk(&mut self, id: u64, chunk: &[u8]) -> Result<(), End> {
        let answer = self.asked.get_mut(&id).and_then(|asked| asked.answer.as_mut());
        let Some((content, bytes)) = answer else { return Err(unasked("a chunk")) };
        if content.len() + chunk.len() > *bytes {
            return Err(End::Ours(BREACH, "an answer is longer than its RESPONSE says".to_owned()));
        }
        content.extend_from_slice(chunk);
        self.finish_answer(id);
        Ok(())
    }

    /// Replies to the application once an answer is whole.
    fn finish_answer(&mut self, id: u64) {
        let is_whole = |asked: &Asked| asked.answer.as_ref().is_some_and(|(content, bytes)| content.len() == *bytes);
        if self.asked.get(&id).is_some_and(is_whole)
            && let Some(Asked { reply, answer: Some((content, _)), stop, .. }) = self.asked.remove(&id)
        {
            // The answer may come before the whole request was sent.
            stop.set();
            reply.send(Ok(content.into())).unwrap_or_default();
        }
    }

    async fn fail(&self, id: u64, cause: FailedCause, reason: &str) -> Result<(), End> {
        self.put(Outgoing::Frame(RequestFrame::Failed { id, cause, reason: reason.to_owned() })).await
    }

    /// Waits for a turn in the outbox, which has a deadline: its task ends if nothing moves.
    async fn put(&self, outgoing: Outgoing) -> Result<(), End> {
        let sent = self.outbox.send(outgoing).await;
        sent.map_err(|_| End::Theirs("it does not read what is sent".to_owned()))
    }
}

/// The reason of a close for want of requests. Its receiver may ask again on a new connection what
/// it had asked on this one.
const IDLE: &str = "idle";

fn unasked(what: &str) -> End {
    End::Ours(BREACH, format!("{what} for a request that was not sent"))
}

impl End {
    fn text(&self) -> &str {
        match self {
            Self::Ours(_, why) | Self::Theirs(why) => why,
            Self::Idle => IDLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::Config;
    use meshpool_proto::id::{NodeId, Session};
    use meshpool_proto::limits::Limits;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::core_queries::Queries;
    use crate::folder::node_key::NodeKey;
    use crate::requests::shared::Serving;
    use crate::transport::websocket::dialer::Dialer;
    use crate::transport::websocket::socket::accept;
    use crate::util::panics::Panics;

    fn shared(queries: Queries) -> Arc<Shared> {
        let key = NodeKey::from_bytes(&[7; 32]);
        let config = Config {
            node: key.node_id(),
            session: Session::from_random([1; 16]),
            agent: String::new(),
            network: String::new(),
            address: "ws://localhost:1".parse().expect("an address"),
            known_peers: Vec::new(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            max_peers: None,
            genesis: None,
            since: 0,
            limits: Limits::default(),
            signer: Arc::new(key),
            seed: 0,
        };
        let dialer = Dialer::new(&config.limits, None, None);
        Arc::new(Shared::new(&config, dialer, queries, Panics::default(), Arc::downgrade(&Arc::<Serving>::default())))
    }

    /// Returns why a request is not answered that was ordered behind what ends the connection.
    async fn ordered_behind(end: Order, queries: Queries) -> Unanswered {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
        let client = tokio_tungstenite::client_async("ws://localhost/", client.expect("connected"));
        let (client, socket) = tokio::join!(client, accept(accepted.expect("accepted").0));
        let (orders, receiver) = mpsc::unbounded_channel();
        orders.send(end).expect("it listens");
        let (reply, answer) = oneshot::channel();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
        let (payload, timeout) = (Bytes::new(), LONGEST);
        orders.send(Order::Ask { payload, timeout, reply, permit }).expect("it listens");
        let peer = Peer { node: NodeId([2; 32]), remote: at.ip(), certified: None, dialled: true };
        let running = tokio::spawn(Connection::run(shared(queries), socket, peer, receiver));
        let why = answer.await.expect("it is answered").expect_err("it is not served");
        drop(client);
        running.await.expect("it ends");
        why
    }

    #[tokio::test]
    async fn a_request_that_was_not_sent_when_its_connection_ended_may_be_sent_over_another() {
        for end in [Order::CloseIfIdle, Order::Replaced] {
            let (queries, _core) = Queries::channel();
            let why = ordered_behind(end, queries).await;
            assert!(matches!(why, Unanswered::NotServed), "{why:?}");
        }
        let (queries, core) = Queries::channel();
        drop(core);
        let why = ordered_behind(Order::Cancelled, queries).await;
        assert!(matches!(why, Unanswered::Ended), "{why:?}");
    }
}
