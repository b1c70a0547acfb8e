//! BROADCAST: a short text to all nodes in the network.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::frame::Frame;
use crate::id::{InvalidId, Session, parse_hex32};
use crate::json::{Kind, Value};
use crate::limits;
use crate::signature::{Purpose, Seal, Signer, canonical_of};
use crate::transaction::Origin;
use crate::wire::codec::{Data, Malformed, age_of, read, to_frame, wrong};

/// The member `title` of every broadcast.
pub const TITLE: &str = "#BROADCAST";

/// The id of a broadcast: 32 bytes, written as 64 hexadecimal digits. Its sender chooses each once.
/// It is for people: another sender can choose the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId(pub [u8; 32]);

impl fmt::Display for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastId({})", HEXLOWER.encode_display(&self.0[..4]))
    }
}

impl FromStr for BroadcastId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self).ok_or(InvalidId { expected: "a broadcast's id: 64 hexadecimal digits" })
    }
}

/// The identity of a broadcast: the SHA-256 of its origin and of the data that the origin signed.
/// So nobody else can make a broadcast with the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastDigest(pub [u8; 32]);

/// A text to all nodes. A clone costs a reference count.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// Its id.
    pub id: BroadcastId,
    /// The text as its sender wrote it, control characters included: 1 to
    /// [`limits::BROADCAST_BYTES`] bytes.
    pub message: Arc<str>,
    /// When it was sent, by the sender's clock, in seconds since 1970. It is for people alone.
    pub time: f64,
    /// The signature of its origin; `None` if it is not signed.
    pub seal: Option<Arc<Seal>>,
}

/// Why a text cannot be broadcast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBroadcast {
    /// It is empty.
    #[error("an empty text is not broadcast")]
    Empty,
    /// It has this many bytes, more than [`limits::BROADCAST_BYTES`].
    #[error("the text has {0} bytes; at most {max} are broadcast", max = limits::BROADCAST_BYTES)]
    TooLong(usize),
}

impl Broadcast {
    /// Checks whether a text may be broadcast.
    ///
    /// # Errors
    /// [`InvalidBroadcast`] if it is empty or too long.
    pub fn check(message: &str) -> Result<(), InvalidBroadcast> {
        match message.len() {
            0 => Err(InvalidBroadcast::Empty),
            1..=limits::BROADCAST_BYTES => Ok(()),
            length => Err(InvalidBroadcast::TooLong(length)),
        }
    }

    /// Signs it with the key of this node.
    pub(crate) fn seal(&mut self, signer: &dyn Signer) {
        self.seal = Seal::make(signer, Purpose::Broadcast, &self.on_wire());
    }

    /// Returns its identity: `p2p-node BROADCAST`, the origin, and the canonical data, each with a
    /// line feed but the last.
    pub fn digest(&self, origin: &Origin) -> BroadcastDigest {
        let unsigned;
        let canonical = match &self.seal {
            Some(seal) => &seal.canonical,
            None => {
                unsigned = canonical_of(&self.on_wire()).unwrap_or_default();
                &unsigned
            }
        };
        let mut hash = Sha256::new();
        hash.update(Purpose::Broadcast.prefix());
        hash.update(origin.to_string());
        hash.update("\n");
        hash.update(canonical);
        BroadcastDigest(hash.finalize().into())
    }

    fn on_wire(&self) -> OnWire {
        OnWire {
            id: self.id.to_string(),
            title: TITLE.to_owned(),
            message: self.message.as_ref().to_owned(),
            time: self.time,
        }
    }
}

/// A BROADCAST frame.
#[derive(Debug, Clone, PartialEq)]
pub struct BroadcastFrame {
    /// The broadcast.
    pub broadcast: Broadcast,
    /// The sibling `from`: the node that sent it first. Only native peers are believed.
    pub origin: Option<Origin>,
    /// The sibling `ack`: a client asks for an ACK, which says on how many links it went out.
    pub ack: bool,
    /// The siblings `session` and `age`: how old it is, in an answer to SYNC. Such a frame is not
    /// passed on.
    pub synced: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
struct OnWire {
    id: String,
    #[serde(default)]
    title: String,
    message: String,
    time: f64,
}

#[derive(Serialize)]
struct FrameOnWire<'a> {
    r#type: &'static str,
    data: Data<'a, OnWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<f64>,
}

impl BroadcastFrame {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data: OnWire = read(frame, "BROADCAST")?;
        Broadcast::check(&data.message).map_err(|error| wrong("BROADCAST", error))?;
        let broadcast = Broadcast {
            id: data.id.parse().map_err(|error| wrong("BROADCAST", error))?,
            message: data.message.into(),
            time: data.time,
            seal: Seal::read(frame).map_err(|error| wrong("BROADCAST", error))?,
        };
        Ok(Self {
            broadcast,
            origin: frame.get("from").and_then(Value::as_str).and_then(|text| text.parse().ok()),
            ack: frame.get("ack").is_some_and(|ack| ack.kind() == Kind::True),
            synced: frame.get("session").map(|_| age_of(frame)),
        })
    }

    /// Returns the frame. `session` is the sender's; only frames with an age have it.
    pub fn to_frame(&self, session: Session) -> Frame {
        let broadcast = &self.broadcast;
        to_frame(&FrameOnWire {
            r#type: "BROADCAST",
            data: match &broadcast.seal {
                Some(seal) => Data::Sealed(seal.raw()),
                None => Data::Open(broadcast.on_wire()),
            },
            signature: broadcast.seal.as_ref().map(|seal| seal.signature.to_string()),
            from: self.origin.as_ref().map(ToString::to_string),
            ack: self.ack,
            session: self.synced.map(|_| session.to_string()),
            age: self.synced.map(|age| age.as_secs_f64()),
        })
    }

    /// Returns a client's frame, which asks for an ACK.
    pub fn client_frame(broadcast: Broadcast) -> Frame {
        // A frame without an age has no session.
        Self { broadcast, origin: None, ack: true, synced: None }.to_frame(Session::from_random([0; 16]))
    }
}
