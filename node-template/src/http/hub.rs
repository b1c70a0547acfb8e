//! The fan-out of live updates: one task reads the node's events, sums them up every 200 ms, and
//! writes each frame once for all listeners.
//!
//! After each read the task rests, so that the driver rarely has to wake it, yet no event is held
//! for long. It counts and reports events that it missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::events::Sampling;
use crate::events::stream::{Events, RecvError, TryRecvError};
use crate::events::text::strip_control;
use crate::http::activity::{Activity, Line};
use crate::http::delays::Delays;
use crate::http::limits::{LAG, LINES, REASONS, SAMPLES, TICK};
use crate::http::sse_frame::frame;
use crate::http::view::{Network, View};
use crate::http::watches::Watches;
use crate::node::handle::{Handle, NodeError};
use crate::protocol::event::Event;
use crate::protocol::wire::Status;
use crate::util::time_of_day::time_of_day;

/// The pause between two views is this many times what the last one took, so that views cost at
/// most 2 % of the driver's time.
const PAUSE_FACTOR: u32 = 50;
/// The shortest such pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The same, where a peer has come or gone since the last view.
const PAUSE_AFTER_CHANGE: Duration = Duration::from_millis(100);
/// How long events are left in the ring after some were read. Meanwhile they hold their
/// transactions.
const REST: Duration = Duration::from_millis(20);

/// A view with the time when it was made, and how long that took.
type TimedView = (Instant, Duration, Arc<View>);

#[derive(Debug)]
pub(crate) struct Hub {
    node: Handle,
    /// Holds the events that happen before [`Self::run`], which takes it.
    first: Mutex<Option<(Events, Sampling)>>,
    /// `None` once the hub has ended.
    frames: Mutex<Option<broadcast::Sender<Bytes>>>,
    lines: Mutex<VecDeque<Line>>,
    /// Why addresses could not be dialled.
    reasons: Mutex<BTreeMap<String, String>>,
    view: tokio::sync::Mutex<Option<TimedView>>,
    /// Whether a peer has come or gone since the view was made.
    has_changed: AtomicBool,
    /// Its leases are ended in time.
    watches: Arc<Watches>,
    pub(crate) delays: Delays,
    #[cfg(test)]
    panics: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one call, so the values are whole after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(node: Handle, watches: Arc<Watches>) -> Self {
        let (frames, _) = broadcast::channel(LAG);
        node.ways.request(SAMPLES);
        Self {
            first: Mutex::new(Some(node.samples(SAMPLES))),
            node,
            frames: Mutex::new(Some(frames)),
            lines: Mutex::default(),
            reasons: Mutex::default(),
            view: tokio::sync::Mutex::default(),
            has_changed: AtomicBool::new(false),
            watches,
            delays: Delays::default(),
            #[cfg(test)]
            panics: false.into(),
        }
    }

    /// Makes the next turn of [`Self::run`] panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Ends every stream.
    pub(crate) fn end(&self) {
        lock(&self.frames).take();
    }

    /// Returns all frames from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Bytes> {
        match &*lock(&self.frames) {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Returns a stream's first frame: the current state, and the last lines.
    pub(crate) async fn hello(&self) -> Result<Bytes, NodeError> {
        let (view, status) = (self.view().await?, self.node.status().await?);
        let lines: Vec<_> = lock(&self.lines).iter().cloned().collect();
        let hello = serde_json::json!({
            "status": TimedStatus::new(&status),
            "network": view.network,
            "peers": view.peers,
            "lines": lines,
        });
        Ok(frame("hello", &hello))
    }

    /// Returns the node's view of the network, at most one pause old.
    pub(crate) async fn view(&self) -> Result<Arc<View>, NodeError> {
        let mut last = self.view.lock().await;
        let pause = if self.has_changed.load(Ordering::Relaxed) { PAUSE_AFTER_CHANGE } else { PAUSE };
        if let Some((made, took, view)) = &*last
            && made.elapsed() < pause.max(*took * PAUSE_FACTOR)
        {
            return Ok(Arc::clone(view));
        }
        self.has_changed.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        let (status, members, links) = (self.node.status().await?, self.node.nodes().await?, self.node.links().await?);
        let took = begun.elapsed();
        let reasons = lock(&self.reasons).clone();
        let view = Arc::new(View::new(status, &members, &links, &reasons));
        *last = Some((Instant::now(), took, Arc::clone(&view)));
        Ok(view)
    }

    /// Runs until the node has ended.
    pub(crate) async fn run(&self) {
        let first = lock(&self.first).take();
        let (mut events, sampling) = first.unwrap_or_else(|| self.node.samples(SAMPLES));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A restart after a panic goes on counting.
        let mut number = lock(&self.lines).back().map_or(0, |line| line.number + 1);
        let (mut sent, mut activity) = (SentView::default(), Activity::default());
        loop {
            #[cfg(test)]
            assert!(!self.panics.swap(false, Ordering::Relaxed), "as a test wants it");
            let tick = tokio::select! {
                () = self.node.gone() => return,
                _ = ticks.tick() => true,
                event = events.recv() => match event {
                    Ok(event) => { self.record(&event, &mut activity, &mut number); false }
                    Err(RecvError::Lagged(missed)) => { activity.missed += missed; false }
                    Err(RecvError::Closed) => return,
                }
            };
            self.record_waiting(&mut events, &mut activity, &mut number);
            if !tick {
                tokio::time::sleep(REST).await;
                continue;
            }
            self.watches.expire(Instant::now());
            activity.transactions += sampling.next(SAMPLES);
            self.node.ways.request(SAMPLES);
            let activity = std::mem::take(&mut activity);
            self.keep_lines(&activity.lines);
            if !self.has_listeners() {
                sent = SentView::default();
                continue;
            }
            if !activity.is_empty() {
                self.send(frame("activity", &activity));
            }
            if sent.when.is_none_or(|when| when.elapsed() >= PAUSE)
                && let Ok(view) = self.view().await
            {
                self.send_view(&view, &mut sent);
            }
        }
    }

    fn has_listeners(&self) -> bool {
        lock(&self.frames).as_ref().is_some_and(|frames| frames.receiver_count() > 0)
    }

    fn send(&self, frame: Bytes) {
        if let Some(frames) = &*lock(&self.frames) {
            // Fails only if the last listener has just gone.
            frames.send(frame).unwrap_or_default();
        }
    }

    fn send_view(&self, view: &View, sent: &mut SentView) {
        self.send(frame("status", &TimedStatus::new(&view.status)));
        self.send(frame("peers", &view.peers));
        if sent.network.as_ref() != Some(&view.network) {
            self.send(frame("network", &view.network));
            sent.network = Some(view.network.clone());
        }
        sent.when = Some(Instant::now());
    }

    fn record_waiting(&self, events: &mut Events, activity: &mut Activity, number: &mut u64) {
        loop {
            match events.try_recv() {
                Ok(event) => self.record(&event, activity, number),
                Err(TryRecvError::Lagged(missed)) => activity.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Keeps a tick's lines for later listeners.
    fn keep_lines(&self, new: &[Line]) {
        let mut lines = lock(&self.lines);
        lines.extend(new.iter().cloned());
        let over = lines.len().saturating_sub(LINES);
        lines.drain(..over);
    }

    fn record(&self, event: &Event, activity: &mut Activity, number: &mut u64) {
        match event {
            Event::DialFailed { address, error, retry_in } => {
                self.keep_reason(address.to_string(), &error.to_string(), retry_in.is_some())
            }
            Event::PeerUp { peer, .. } => {
                self.has_changed.store(true, Ordering::Relaxed);
                if let Some(address) = &peer.address {
                    lock(&self.reasons).remove(&address.to_string());
                }
            }
            Event::PeerDown { .. } => self.has_changed.store(true, Ordering::Relaxed),
            _ => {}
        }
        activity.record(event, (&self.delays, &self.node.ways), number);
    }

    fn keep_reason(&self, address: String, error: &str, is_retried: bool) {
        let mut reasons = lock(&self.reasons);
        if !is_retried {
            reasons.remove(&address);
        } else if reasons.len() < REASONS || reasons.contains_key(&address) {
            reasons.insert(address, strip_control(error));
        }
    }
}

/// A status with the present time. A listener's own clock may be wrong, and the times that it gets
/// are those of this node.
#[derive(Serialize)]
struct TimedStatus<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// Milliseconds since 1970.
    time: u64,
}

impl<'a> TimedStatus<'a> {
    fn new(status: &'a Status) -> Self {
        Self { status, time: (time_of_day() * 1_000.0) as u64 }
    }
}

/// What listeners got last.
#[derive(Default)]
struct SentView {
    when: Option<Instant>,
    network: Option<Network>,
}
