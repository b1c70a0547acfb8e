//! What everybody who looks on is told: one task reads the node's events, sums them up and writes each frame once for all.
//!
//! It tells every 200 ms. It is woken by an event, takes all that there are and rests a while, so that telling costs the driver little, and what was told is not
//! held for long. What it can not keep up with is counted and said to be so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::Level;

use crate::events::stream::{Events, Sampling};
use crate::events::text::{self, plain};
use crate::http::limits::{LAG, LINES, REASONS, SAMPLES, TICK};
use crate::http::metrics::Delays;
use crate::http::stream::frame;
use crate::http::view::View;
use crate::node::handle::{Handle, NodeError};
use crate::protocol::event::{Event, PeerName};
use crate::protocol::transaction::Transaction;

/// The longest text of a broadcast that is told in a line, in characters.
const SHOWN: usize = 2_000;
/// Asking the node for the whole picture takes at most this part of the driver's time: the next pause is so many times what the answer took.
const PAUSE_FACTOR: u32 = 50;
/// How long it leaves events where they are after it took some: meanwhile they hold the transactions that they tell of.
const REST: Duration = Duration::from_millis(20);
/// The shortest such pause.
const PAUSE: Duration = Duration::from_secs(1);

/// A line of what happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Counts lines since the node's start.
    number: u64,
    /// Milliseconds since 1970.
    time: u64,
    kind: &'static str,
    level: &'static str,
    text: String,
    /// What a broadcast says.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Something that went through the network, so that it can be seen travelling.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    kind: &'static str,
    id: String,
    /// As a node is named in the picture; `None` if unknown, or it came by comparison.
    origin: Option<String>,
    /// The neighbour that it came from; `None` if it began here.
    via: Option<String>,
    links: usize,
}

/// What happened in one tick.
#[derive(Debug, Default, Serialize)]
struct Activity {
    transactions: u64,
    broadcasts: u64,
    /// Events that came faster than they are read here.
    missed: u64,
    samples: Vec<Sample>,
    lines: Vec<Line>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    node: Handle,
    /// What happened before it runs; then it holds them itself.
    first: Mutex<Option<(Events, Sampling)>>,
    /// `None` once it has ended.
    frames: Mutex<Option<broadcast::Sender<Bytes>>>,
    lines: Mutex<VecDeque<Line>>,
    reasons: Mutex<BTreeMap<String, String>>,
    view: tokio::sync::Mutex<Option<(Instant, Duration, std::sync::Arc<View>)>>,
    pub(crate) delays: Delays,
    /// Whether the next turn is to end in a panic.
    #[cfg(test)]
    trip: std::sync::atomic::AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in them is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(node: Handle) -> Self {
        let (frames, _) = broadcast::channel(LAG);
        Self {
            first: Mutex::new(Some(node.samples(SAMPLES))),
            node,
            frames: Mutex::new(Some(frames)),
            lines: Mutex::default(),
            reasons: Mutex::default(),
            view: tokio::sync::Mutex::default(),
            delays: Delays::default(),
            #[cfg(test)]
            trip: false.into(),
        }
    }

    /// Has the next turn end in a panic.
    #[cfg(test)]
    pub(crate) fn trip(&self) {
        self.trip.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Ends every stream.
    pub(crate) fn end(&self) {
        lock(&self.frames).take();
    }

    /// All frames from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Bytes> {
        let frames = lock(&self.frames);
        match &*frames {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// How things stand and what happened lately, as the first frame of a stream.
    pub(crate) async fn identity(&self) -> Result<Bytes, NodeError> {
        let (view, status) = (self.view().await?, self.node.status().await?);
        let lines: Vec<_> = lock(&self.lines).iter().cloned().collect();
        let hello =
            serde_json::json!({ "status": status, "network": view.network, "peers": view.peers, "lines": lines });
        Ok(frame("hello", &hello))
    }

    /// The whole picture, at most a second old, or as old as asking more often would cost too much.
    pub(crate) async fn view(&self) -> Result<std::sync::Arc<View>, NodeError> {
        let mut kept = self.view.lock().await;
        if let Some((asked, took, view)) = &*kept
            && asked.elapsed() < PAUSE.max(*took * PAUSE_FACTOR)
        {
            return Ok(std::sync::Arc::clone(view));
        }
        let asked = Instant::now();
        let (status, members, links) = (self.node.status().await?, self.node.nodes().await?, self.node.links().await?);
        let took = asked.elapsed();
        let reasons = lock(&self.reasons).clone();
        let view = std::sync::Arc::new(View::new(status, &members, &links, &reasons));
        *kept = Some((Instant::now(), took, std::sync::Arc::clone(&view)));
        Ok(view)
    }

    /// Runs until the node has ended.
    pub(crate) async fn run(&self) {
        let first = lock(&self.first).take();
        let (mut events, sampling) = first.unwrap_or_else(|| self.node.samples(SAMPLES));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // After a fault lines are counted on from where they were.
        let mut number = lock(&self.lines).back().map_or(0, |line| line.number + 1);
        let (mut told, mut activity) = (BroadcastReceipt::default(), Activity::default());
        loop {
            #[cfg(test)]
            assert!(!self.trip.swap(false, std::sync::atomic::Ordering::Relaxed), "as a test wants it");
            let tick = tokio::select! {
                () = self.node.gone() => return,
                _ = ticks.tick() => true,
                event = events.recv() => match event {
                    Ok(event) => { self.note(&event, &mut activity, &mut number); false }
                    Err(RecvError::Lagged(missed)) => { activity.missed += missed; false }
                    Err(RecvError::Closed) => return,
                }
            };
            self.gather(&mut events, &mut activity, &mut number);
            if tick {
                activity.transactions += sampling.next(SAMPLES);
            } else {
                tokio::time::sleep(REST).await;
                continue;
            }
            let activity = self.keep(std::mem::take(&mut activity));
            if !self.is_watched() {
                told = BroadcastReceipt::default();
                continue;
            }
            if activity.transactions + activity.broadcasts + activity.missed > 0 || !activity.lines.is_empty() {
                self.tell(frame("activity", &activity));
            }
            if told.when.is_none_or(|when| when.elapsed() >= PAUSE)
                && let Ok(view) = self.view().await
            {
                self.tell_view(&view, &mut told);
            }
        }
    }

    fn is_watched(&self) -> bool {
        lock(&self.frames).as_ref().is_some_and(|frames| frames.receiver_count() > 0)
    }

    fn tell(&self, frame: Bytes) {
        if let Some(frames) = &*lock(&self.frames) {
            // Fails only if the last listener has just gone.
            frames.send(frame).unwrap_or_default();
        }
    }

    fn tell_view(&self, view: &View, told: &mut BroadcastReceipt) {
        self.tell(frame("status", &view.status));
        self.tell(frame("peers", &view.peers));
        if told.network.as_ref() != Some(&view.network) {
            self.tell(frame("network", &view.network));
            told.network = Some(view.network.clone());
        }
        told.when = Some(Instant::now());
    }

    fn gather(&self, events: &mut Events, activity: &mut Activity, number: &mut u64) {
        loop {
            match events.try_recv() {
                Ok(event) => self.note(&event, activity, number),
                Err(TryRecvError::Lagged(missed)) => activity.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Keeps the lines of a tick for those who look on later.
    fn keep(&self, activity: Activity) -> Activity {
        let mut lines = lock(&self.lines);
        lines.extend(activity.lines.iter().cloned());
        let over = lines.len().saturating_sub(LINES);
        lines.drain(..over);
        activity
    }

    fn note(&self, event: &Event, activity: &mut Activity, number: &mut u64) {
        let mut message = None;
        match event {
            Event::Transaction { transaction, origin, peer, links } => {
                activity.transactions += 1;
                if activity.samples.len() >= SAMPLES {
                    return;
                }
                self.delays.transaction(transaction_delay(transaction, origin.is_some() && peer.is_some()));
                activity.samples.push(Sample {
                    kind: "transaction",
                    id: transaction.id().to_string(),
                    origin: origin.as_ref().map(ToString::to_string),
                    via: peer.as_ref().and_then(id_of),
                    links: *links,
                });
            }
            Event::Broadcast { broadcast, sender, peer, links } => {
                activity.broadcasts += 1;
                if peer.is_some() {
                    self.delays.broadcast(now().as_secs_f64() - broadcast.time);
                }
                if activity.samples.len() >= 2 * SAMPLES {
                    return;
                }
                message = Some(text::clean(&broadcast.message, SHOWN));
                activity.samples.push(Sample {
                    kind: "broadcast",
                    id: broadcast.id.to_string(),
                    origin: id_of(sender),
                    via: peer.as_ref().and_then(id_of),
                    links: *links,
                });
            }
            Event::DialFailed { address, error, retry_in } => {
                self.remember(address.to_string(), error, retry_in.is_some())
            }
            Event::PeerUp { peer, .. } => {
                if let Some(address) = &peer.address {
                    lock(&self.reasons).remove(&address.to_string());
                }
            }
            _ => {}
        }
        let (level, text) = text::words(event);
        if activity.lines.len() >= LINES
            || level > Level::INFO && message.is_none() && !matches!(event, Event::TransactionRefused { .. })
        {
            return;
        }
        *number += 1;
        let time = now().as_millis() as u64;
        activity.lines.push(Line { number: *number, time, kind: kind(event), level: name(level), text, message });
    }

    fn remember(&self, address: String, error: &str, again: bool) {
        let mut reasons = lock(&self.reasons);
        if !again {
            reasons.remove(&address);
        } else if reasons.len() < REASONS || reasons.contains_key(&address) {
            reasons.insert(address, plain(error));
        }
    }
}

/// What listeners were told last.
#[derive(Default)]
struct BroadcastReceipt {
    when: Option<Instant>,
    network: Option<crate::http::view::Network>,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How a peer is named in the picture.
fn id_of(peer: &PeerName) -> Option<String> {
    match (&peer.node, &peer.address) {
        (Some(node), _) => Some(node.to_string()),
        (None, Some(address)) => Some(format!("plain:{address}")),
        (None, None) => None,
    }
}

/// How long a transaction took here, in seconds, if it says in milliseconds when it was made, and came by itself rather than by a comparison.
fn transaction_delay(transaction: &Transaction, pushed: bool) -> f64 {
    #[derive(serde::Deserialize)]
    struct Stamped {
        #[serde(rename = "timeStamp")]
        time: f64,
    }
    match serde_json::from_str::<Stamped>(transaction.body()) {
        Ok(Stamped { time }) if pushed => now().as_secs_f64() - time / 1_000.0,
        _ => f64::NAN,
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::PeerUp { .. } => "linked",
        Event::PeerDown { .. } => "lost",
        Event::NodeJoined { .. } => "joined",
        Event::NodeLeft { .. } => "left",
        Event::Transaction { .. } => "transaction",
        Event::Broadcast { .. } => "broadcast",
        Event::Dialling { .. }
        | Event::DialFailed { .. }
        | Event::SelfDialled { .. }
        | Event::AddressesLearned { .. }
        | Event::LanPeerFound { .. } => "dial",
        Event::Stored { .. } | Event::StoreFailed { .. } | Event::StoreRecovered => "disk",
        Event::TransactionRefused { .. }
        | Event::Banned { .. }
        | Event::PeerRefused { .. }
        | Event::AccessDenied { .. }
        | Event::PeerFault { .. } => "refused",
        _ => "other",
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}
