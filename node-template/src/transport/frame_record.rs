//! The record of one link's frames, for people: the HANDSHAKEs always, and while somebody watches
//! the last frames of both directions, as they travelled.
//!
//! The link's task writes it. While nobody watches that costs a relaxed load per batch, and a look
//! at the beginning of each control frame. Texts are cut: a record has at most [`FRAMES`] frames of
//! [`TEXT`] bytes, besides the HANDSHAKEs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshpool_proto::address::PeerAddress;
use meshpool_proto::event::NamedAddress;
use meshpool_proto::limits::REPORTED_ADDRESSES;
use meshpool_proto::wire::{Handshake, Malformed, Message};

use crate::util::time_of_day::time_of_day;

/// How many frames are kept while somebody watches.
pub(crate) const FRAMES: usize = 64;
/// How many bytes of a text are kept. A HANDSHAKE of a network of ten nodes has some 900.
pub(crate) const TEXT: usize = 2 * 1024;
/// How many HANDSHAKEs are kept besides the first of each direction: those that came last.
const LATER: usize = 2;
/// How many bytes of such a HANDSHAKE are kept: they mostly pass on one address.
const LATER_TEXT: usize = 1024;
/// How many bytes of a type, and of what is noted of a frame, are kept.
const NOTE: usize = 256;
/// For how long a received HANDSHAKE is not shown, in seconds, if nothing was reported of its
/// addresses: the core has not seen it yet, or makes no use of it.
const JUDGED_WITHIN: f64 = 0.5;
/// How our own frames begin.
const TYPE: &str = r#"{"type":""#;

/// Which way a frame travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Sent,
    Received,
}

/// What a frame is to WebSocket (RFC 6455, section 5.2). Fragments are shown as one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text,
    Ping,
    Pong,
    Close,
}

/// One frame, as it travelled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordedFrame {
    /// Counts the recorded frames of the link, from 1.
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) way: Way,
    pub(crate) opcode: Opcode,
    /// The type of the message; empty if it is none.
    pub(crate) kind: String,
    /// The length of the payload in bytes.
    pub(crate) bytes: usize,
    /// The payload, or its beginning, as it came; of a ping or pong in hexadecimal digits.
    pub(crate) text: String,
    /// What the receiver did with it that the text does not show.
    pub(crate) note: Option<String>,
    /// Of a received HANDSHAKE: what this node did with its first addresses, and how many more
    /// there are.
    pub(crate) named: Option<(Vec<NamedAddress>, usize)>,
}

/// A HANDSHAKE, with what it named.
#[derive(Debug)]
struct Kept {
    frame: RecordedFrame,
    is_first: bool,
    /// The first addresses that a received one named, until it is reported what was done with
    /// them.
    addresses: Box<[PeerAddress]>,
}

#[derive(Debug, Default)]
struct Recorded {
    last: u64,
    handshakes: Vec<Kept>,
    /// `None` while nobody watches.
    ring: Option<VecDeque<RecordedFrame>>,
    /// Since when the ring has been filled, in seconds since 1970.
    since: f64,
    /// Why the link ended.
    ended: Option<String>,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extract {
    /// In the order in which they travelled.
    pub(crate) frames: Vec<RecordedFrame>,
    /// The number of the last recorded frame.
    pub(crate) last: u64,
    /// How many frames after the asked one are no longer kept.
    pub(crate) missed: u64,
    /// Since when all frames have been recorded, in seconds since 1970; `None`: they are not.
    pub(crate) since: Option<f64>,
    /// Why the link ended; `None`: it is open.
    pub(crate) ended: Option<String>,
}

/// See the module. The link's task writes it, its handle and viewers share it.
#[derive(Debug, Default)]
pub(crate) struct FrameRecord {
    is_on: AtomicBool,
    recorded: Mutex<Recorded>,
}

impl FrameRecord {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // Only the allocator can panic while the lock is held, and each change is whole by then.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether somebody watches. Asked once per batch.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Begins to record all frames, if that has not begun.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page watches"))]
    pub(crate) fn start(&self) {
        let mut recorded = self.lock();
        if recorded.ring.is_none() {
            recorded.ring = Some(VecDeque::new());
            recorded.since = time_of_day();
        }
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Records HANDSHAKEs only, and forgets the other frames.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page watches"))]
    pub(crate) fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.lock().ring = None;
    }

    /// Records a text that the duplicate filter knew.
    pub(crate) fn received_copy(&self, text: &str) {
        let note = "a copy of a transaction that was received before: dropped unread".to_owned();
        self.lock().push_text(Way::Received, kind_of(text), text, Some(note));
    }

    /// Records a received message. Called for each HANDSHAKE, and while somebody watches.
    pub(crate) fn received(&self, message: &Result<Message, Malformed>, text: &str) {
        match message {
            Ok(Message::Handshake(handshake)) => self.received_handshake(handshake, text),
            Ok(message) => self.lock().push_text(Way::Received, message.kind(), text, None),
            Err(error) => self.lock().push_text(Way::Received, "", text, Some(format!("refused: {error}"))),
        }
    }

    fn received_handshake(&self, handshake: &Handshake, text: &str) {
        let addresses = handshake.addresses.iter().take(REPORTED_ADDRESSES).cloned().collect();
        self.lock().keep(Way::Received, text, addresses);
    }

    /// Records a text that goes out. Called for each of the control lane that [`is_handshake`], and
    /// while somebody watches.
    pub(crate) fn sent(&self, text: &str) {
        match is_handshake(text) {
            true => self.lock().keep(Way::Sent, text, Box::default()),
            false => self.lock().push_text(Way::Sent, kind_of(text), text, None),
        }
    }

    /// Records a ping or a pong, while somebody watches.
    pub(crate) fn ping(&self, way: Way, opcode: Opcode, payload: &[u8], note: &str) {
        let text = data_encoding::HEXLOWER.encode(payload);
        self.lock().push(way, opcode, "", payload.len(), text, Some(note.to_owned()));
    }

    /// Records a close frame, while somebody watches.
    pub(crate) fn close(&self, way: Way, code: u16, reason: &str) {
        let note = format!("code {code}");
        self.lock().push(way, Opcode::Close, "", size_of::<u16>() + reason.len(), reason.to_owned(), Some(note));
    }

    /// Notes what the core did with the addresses of a HANDSHAKE: the first that named these.
    pub(crate) fn judged(&self, named: &[NamedAddress], more: usize) {
        let mut recorded = self.lock();
        let addresses = || named.iter().map(|named| &named.address);
        let kept = recorded.handshakes.iter_mut().find(|kept| {
            kept.frame.way == Way::Received && kept.frame.named.is_none() && kept.addresses.iter().eq(addresses())
        });
        if let Some(kept) = kept {
            kept.frame.named = Some((named.to_vec(), more));
            kept.addresses = Box::default();
        }
    }

    /// Notes that the link ended.
    pub(crate) fn end(&self, cause: &str) {
        self.lock().ended = Some(cause.to_owned());
    }

    /// Returns the frames after one with this number: the kept HANDSHAKEs, and while somebody
    /// watches the last of all.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page reads it"))]
    pub(crate) fn after(&self, number: u64) -> Extract {
        let recorded = self.lock();
        let last = recorded.shown(time_of_day());
        let is_new = |frame: &&RecordedFrame| frame.number > number && frame.number <= last;
        let kept = recorded.handshakes.iter().map(|kept| &kept.frame).filter(is_new);
        let mut frames: BTreeMap<u64, RecordedFrame> = kept.map(|frame| (frame.number, frame.clone())).collect();
        for frame in recorded.ring.iter().flatten().filter(is_new) {
            // The ring has more of its text.
            let named = frames.remove(&frame.number).and_then(|kept| kept.named);
            frames.insert(frame.number, RecordedFrame { named, ..frame.clone() });
        }
        let frames: Vec<RecordedFrame> = frames.into_values().collect();
        Extract {
            missed: last.saturating_sub(number) - frames.len() as u64,
            frames,
            last,
            since: recorded.ring.is_some().then_some(recorded.since),
            ended: recorded.ended.clone(),
        }
    }
}

impl Recorded {
    /// Returns the number of the last frame that is shown now: none behind a HANDSHAKE that is not
    /// judged yet.
    fn shown(&self, now: f64) -> u64 {
        let mut waiting = self.handshakes.iter().filter(|kept| {
            let Kept { frame, addresses, .. } = kept;
            frame.named.is_none() && !addresses.is_empty() && (0.0..JUDGED_WITHIN).contains(&(now - frame.time))
        });
        waiting.next().map_or(self.last, |kept| kept.frame.number - 1)
    }

    fn frame(
        &mut self,
        (way, opcode): (Way, Opcode),
        kind: &str,
        bytes: usize,
        text: String,
        note: Option<String>,
    ) -> RecordedFrame {
        self.last += 1;
        let (number, time) = (self.last, time_of_day());
        // Both may hold a stranger's text.
        let kind = beginning(kind, NOTE).to_owned();
        let note = note.map(|note| beginning(&note, NOTE).to_owned());
        RecordedFrame { number, time, way, opcode, kind, bytes, text, note, named: None }
    }

    /// Adds a frame to the ring, if somebody watches: the last viewer may have gone since the batch
    /// began.
    fn push(&mut self, way: Way, opcode: Opcode, kind: &str, bytes: usize, text: String, note: Option<String>) {
        if self.ring.is_some() {
            let frame = self.frame((way, opcode), kind, bytes, text, note);
            self.push_frame(frame);
        }
    }

    fn push_text(&mut self, way: Way, kind: &str, text: &str, note: Option<String>) {
        self.push(way, Opcode::Text, kind, text.len(), beginning(text, TEXT).to_owned(), note);
    }

    fn push_frame(&mut self, frame: RecordedFrame) {
        let Some(ring) = &mut self.ring else { return };
        if ring.len() >= FRAMES {
            ring.pop_front();
        }
        ring.push_back(frame);
    }

    /// Keeps a HANDSHAKE.
    fn keep(&mut self, way: Way, text: &str, addresses: Box<[PeerAddress]>) {
        let mut frame =
            self.frame((way, Opcode::Text), "HANDSHAKE", text.len(), beginning(text, TEXT).to_owned(), None);
        self.push_frame(frame.clone());
        let is_first = !self.handshakes.iter().any(|kept| kept.is_first && kept.frame.way == way);
        if !is_first {
            frame.text = beginning(text, LATER_TEXT).to_owned();
            let later = self.handshakes.iter().filter(|kept| !kept.is_first).count();
            if later >= LATER
                && let Some(oldest) = self.handshakes.iter().position(|kept| !kept.is_first)
            {
                self.handshakes.remove(oldest);
            }
        }
        // Most links keep two for as long as they are open.
        self.handshakes.reserve_exact(1);
        self.handshakes.push(Kept { frame, is_first, addresses });
    }
}

/// Returns whether one of our own texts is a HANDSHAKE.
pub(crate) fn is_handshake(text: &str) -> bool {
    text.starts_with(r#"{"type":"HANDSHAKE""#)
}

/// Returns the type of a text that begins with it, as all of ours do.
fn kind_of(text: &str) -> &str {
    text.strip_prefix(TYPE).and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

/// Returns the first bytes of a text, without half a character at the end.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
