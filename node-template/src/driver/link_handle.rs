//! The driver's side of one link. Payload is staged for the time of a round, so that a link's task
//! is woken once for all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshpool_proto::event::NamedAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::Origin;
use meshpool_proto::{Lane, LinkRow};
use tokio::task::AbortHandle;

use crate::driver::open_link::OpenLink;
use crate::driver::rtt::Rtt;
use crate::transport::accept_slots::AcceptSlot;
use crate::transport::frame_record::FrameRecord;
use crate::transport::iroh::connection::IrohConnection;
use crate::transport::link_path::LinkPath;
use crate::transport::send_queue::{CloseReason, Item, SendQueue};

/// How many positions one link may have waiting to be sent.
const WANTED: usize = 20_000;

/// What became of a payload frame.
pub(crate) enum Staged {
    /// It is the first that was staged in this round.
    First,
    Another,
    /// It does not fit into the queue and was dropped.
    Full,
}

/// The driver's side of one link.
pub(crate) struct LinkHandle {
    queue: Arc<SendQueue>,
    frames: Arc<FrameRecord>,
    staged: Vec<Item>,
    staged_bytes: usize,
    replay: Option<AbortHandle>,
    /// Positions that the other end asked for and that are not being sent yet.
    wanted: Vec<u64>,
    /// Whether a task sends positions.
    sending_positions: bool,
    rtt: Rtt,
    /// The program of a native peer, by its own account.
    agent: Option<Box<str>>,
    /// Whether its peer has said that it is a relay.
    is_relay: bool,
    /// Of an accepted link; freed with it.
    _slot: Option<AcceptSlot>,
    /// The connection below a link over iroh.
    iroh: Option<IrohConnection>,
}

impl LinkHandle {
    pub(crate) fn new(
        queue: Arc<SendQueue>,
        frames: Arc<FrameRecord>,
        slot: Option<AcceptSlot>,
        iroh: Option<IrohConnection>,
    ) -> Self {
        Self {
            queue,
            frames,
            staged: Vec::new(),
            staged_bytes: 0,
            replay: None,
            wanted: Vec::new(),
            sending_positions: false,
            rtt: Rtt::default(),
            agent: None,
            is_relay: false,
            _slot: slot,
            iroh,
        }
    }

    pub(crate) fn queue(&self) -> Arc<SendQueue> {
        Arc::clone(&self.queue)
    }

    /// Notes what the core did with the addresses of a HANDSHAKE, for people.
    pub(crate) fn on_judged(&self, named: &[NamedAddress], more: usize) {
        self.frames.judged(named, more);
    }

    #[cfg(feature = "web")]
    pub(crate) fn frames(&self) -> Arc<FrameRecord> {
        Arc::clone(&self.frames)
    }

    /// Notes the program at the other end, as its HANDSHAKE names it.
    pub(crate) fn set_agent(&mut self, agent: &str) {
        self.agent = (!agent.is_empty()).then(|| agent.into());
    }

    /// Notes that the peer says that it is a relay; returns whether it had not said so before.
    pub(crate) fn note_relay(&mut self) -> bool {
        !std::mem::replace(&mut self.is_relay, true)
    }

    /// Stages a payload frame, if it fits into the queue.
    pub(crate) fn stage(&mut self, frame: &Frame) -> Staged {
        if !self.queue.fits(Lane::Payload, self.staged_bytes, frame.len()) {
            return Staged::Full;
        }
        let first = self.staged.is_empty();
        self.staged_bytes += frame.len();
        self.staged.push(Item::Text(frame.clone()));
        if first { Staged::First } else { Staged::Another }
    }

    /// Stages a mark behind the staged frames; returns whether it is the first.
    pub(crate) fn stage_mark(&mut self, number: u64) -> bool {
        self.staged.push(Item::Mark(number));
        self.staged.len() == 1
    }

    /// Queues the staged frames.
    pub(crate) fn flush(&mut self) {
        if !self.staged.is_empty() {
            let bytes = std::mem::take(&mut self.staged_bytes);
            self.queue.push(Lane::Payload, self.staged.drain(..), bytes);
        }
    }

    /// Queues a control frame. If it does not fit the link is closed: the other end asked for it
    /// and does not read.
    pub(crate) fn send_control(&self, frame: &Frame) {
        if self.queue.fits(Lane::Control, 0, frame.len()) {
            self.queue.push(Lane::Control, [Item::Text(frame.clone())], frame.len());
        } else {
            let reason = "you do not read what you asked for".into();
            self.queue.close(CloseReason { code: 1008, reason });
        }
    }

    /// Drops what is queued of these origins; of a topic, or of the default one.
    pub(crate) fn drop_origins(&mut self, topic: Option<&TopicName>, origins: &[Origin]) {
        self.flush();
        self.queue.drop_origins(topic, origins);
    }

    /// Closes the link once everything queued is sent.
    pub(crate) fn close(&mut self, code: u16, reason: String) {
        self.flush();
        self.wanted = Vec::new();
        self.queue.close(CloseReason { code, reason });
    }

    /// Stops the reading of the link for a while.
    pub(crate) fn pause_reading(&self, time: Duration) {
        self.queue.pause_reading(time);
    }

    /// Sends a WebSocket ping.
    pub(crate) fn ping(&mut self, now: Instant) {
        self.rtt.on_ping(now);
        self.queue.push(Lane::Control, [Item::Ping], 0);
    }

    pub(crate) fn on_pong(&mut self, now: Instant) {
        self.rtt.on_pong(now);
    }

    /// Replaces the replay task.
    pub(crate) fn set_replay(&mut self, task: AbortHandle) {
        if let Some(previous) = self.replay.replace(task) {
            previous.abort();
        }
    }

    pub(crate) fn on_replayed(&mut self) {
        self.replay = None;
    }

    /// Adds positions to be sent. Those beyond the bound are dropped: a later round of anti-entropy
    /// finds them missing again.
    pub(crate) fn want_positions(&mut self, positions: Vec<u64>) {
        let room = WANTED.saturating_sub(self.wanted.len());
        self.wanted.extend(positions.into_iter().take(room));
    }

    /// Returns the positions that the next task is to send; `None` if there are none, or a task
    /// runs.
    pub(crate) fn next_positions(&mut self) -> Option<Vec<u64>> {
        if self.sending_positions || self.wanted.is_empty() {
            return None;
        }
        self.sending_positions = true;
        Some(std::mem::take(&mut self.wanted))
    }

    pub(crate) fn on_positions_sent(&mut self) {
        self.sending_positions = false;
    }

    /// The link as people see it.
    pub(crate) fn describe(&self, row: LinkRow, now: Instant) -> OpenLink {
        let path = self.path();
        OpenLink {
            link: row.link,
            peer: row.peer,
            kind: row.kind,
            proved: row.proved,
            dialled: row.dialled,
            dialled_address: row.dialled_address,
            remote: row.remote,
            open_for: now.saturating_duration_since(row.opened),
            // The path of a link over iroh may have changed since the last ping.
            round_trip: path.as_ref().map(|(_, round_trip)| *round_trip).or_else(|| self.rtt.last()),
            agent: self.agent.as_deref().map(str::to_owned),
            queued_bytes: self.queue.queued_bytes(Lane::Payload),
            reconciled: row.reconciled,
            path: path.map(|(path, _)| path),
        }
    }

    /// The path of a link over iroh, and its round-trip time.
    pub(crate) fn path(&self) -> Option<(LinkPath, Duration)> {
        self.iroh.as_ref().and_then(IrohConnection::path)
    }

    /// Whether a ping should be sent to measure the round-trip time again.
    pub(crate) fn is_rtt_stale(&self, now: Instant) -> bool {
        self.rtt.is_stale(now)
    }

    /// Ends what the driver does for this link, which is gone. The link's task has discarded the
    /// queue already, unless it panicked; then tasks that wait for room would wait forever.
    pub(crate) fn end(self) {
        if let Some(replay) = self.replay {
            replay.abort();
        }
        self.queue.discard();
    }
}
