//! The messages on the wire: text frames, one JSON object each, `{"type": …, "data": …, …siblings}`.
//!
//! [`Message::parse`] turns a frame into a [`Message`], and does the dear work (reading, identity) on the caller's core; the functions beside it
//! write frames. Unknown types and unknown siblings are ignored, never an error, so that versions can differ. `docs/protocol.md` shows a sample of
//! each message and the recipe for a new one.

mod announce;
mod broadcast;
pub(crate) mod close;
mod handshake;
mod image;
pub mod mdns_record;
mod network;
mod overlay;
mod plumtree;
mod status;
mod sync;
mod transaction;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::frame::Frame;
use crate::json::{JsonError, Kind, Parser, Value};
use crate::limits;
use crate::transaction::{Origin, TransactionId};
pub use announce::{AnnounceFrame, Announcement};
pub use broadcast::{Broadcast, BroadcastFrame, BroadcastId, InvalidBroadcast, TITLE};
pub use handshake::{Handshake, NodeInfo};
pub use image::{Find, Found, ImageInfo, ImageName, InvalidImageName, SearchId};
pub use network::{Member, Members, NetworkFrame};
pub use overlay::{Beacon, Declined, Join, Sample, Want};
pub use plumtree::{graft_frame, prune_frame};
pub use status::{PeerRow, PeerState, Status, StatusFrame, Summary};
pub use sync::{OtherSet, Step, SyncFrame, want_frame};
pub use transaction::{Ack, AckStatus, TransactionFrame};

/// The version of this protocol. Of two versions both sides speak the lower.
pub const PROTOCOL: u32 = 1;

/// One frame, understood.
#[derive(Debug)]
pub enum Message {
    /// The first frame on every dialled link.
    Handshake(Handshake),
    /// A transaction, flooded and stored.
    Transaction(TransactionFrame),
    /// The answer to a client's transaction.
    Ack(Ack),
    /// A question for the node's status, or its answer.
    Status(StatusFrame),
    /// A step in finding out what two full peers' pools lack.
    Sync(SyncFrame),
    /// The same for another set than transactions.
    SyncOther(OtherSet, SyncFrame),
    /// What a full peer lacks and wants sent.
    Want(Vec<TransactionId>),
    /// A full peer wants nothing more of these origins on this link.
    Prune(Vec<Origin>),
    /// A full peer wants these origins again.
    Graft(Vec<Origin>),
    /// A request for a place, or for addresses.
    Join(Join),
    /// Addresses, as asked for.
    Peers(Sample),
    /// No place here.
    Declined(Declined),
    /// The pulse of a part of the network.
    Beacon(Beacon),
    /// A text to everybody, kept for ten minutes.
    Broadcast(BroadcastFrame),
    /// A node says that it is there, or that it leaves.
    Announce(AnnounceFrame),
    /// A question for the list of nodes, or its answer.
    Network(NetworkFrame),
    /// A question for an image.
    Find(Find),
    /// Its answer.
    Found(Found),
    /// A type that this version does not know; ignored.
    Unknown(String),
}

/// Why a frame is no message. The peer's fault: counted, and said in the debug log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, too deep, or with text that JSON forbids.
    #[error("not readable as JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not an object with a `type`.
    #[error("not an object with a \"type\" text")]
    Shape,
    /// A known type whose data is not what it must be.
    #[error("{kind}: {reason}")]
    Data {
        /// The message's type.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Message {
    /// Reads one frame. `parser` is reused from frame to frame, so that reading allocates nothing that is thrown away.
    ///
    /// # Errors
    /// [`Malformed`] if the text is no message; a TRANSACTION whose data is no transaction is a message all the same, see [`TransactionFrame`].
    pub fn parse(parser: &mut Parser, text: &str) -> Result<Self, Malformed> {
        Self::parse_from(parser, text, None)
    }

    /// As [`Self::parse`]. `unnamed`: the origin of a transaction that names none, if that is known already: its frame is then written with it at once, not a second time
    /// by whoever sends it on.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_from(parser: &mut Parser, text: &str, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
        let message = parser.parse(text).map_err(Malformed::from).and_then(|frame| Self::read(frame, unnamed));
        parser.trim();
        message
    }

    fn read(frame: Value<'_>, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
        let kind = frame.get("type").and_then(Value::as_str).ok_or(Malformed::Shape)?;
        match &*kind {
            "TRANSACTION" => TransactionFrame::read(frame, unnamed).map(Self::Transaction),
            "HANDSHAKE" => Handshake::read(frame).map(Self::Handshake),
            "ACK" => read(frame, "ACK").map(Self::Ack),
            "SYNC" => SyncFrame::read(frame).map(|sync| match OtherSet::of(frame) {
                Some(set) => Self::SyncOther(set, sync),
                None => Self::Sync(sync),
            }),
            "WANT" => read_list(frame, "WANT", limits::WANT_IDS).map(Self::Want),
            "PRUNE" => read_list(frame, "PRUNE", limits::ORIGINS).map(Self::Prune),
            "GRAFT" => read_list(frame, "GRAFT", limits::ORIGINS).map(Self::Graft),
            "STATUS" => StatusFrame::read(frame).map(Self::Status),
            "JOIN" => Join::read(frame).map(Self::Join),
            "PEERS" => Sample::read(frame).map(Self::Peers),
            "DECLINED" => Declined::read(frame).map(Self::Declined),
            "BEACON" => Beacon::read(frame).map(Self::Beacon),
            "BROADCAST" => BroadcastFrame::read(frame).map(Self::Broadcast),
            "ANNOUNCE" => AnnounceFrame::read(frame).map(Self::Announce),
            "NETWORK" => NetworkFrame::read(frame).map(Self::Network),
            "FIND" => Find::read(frame).map(Self::Find),
            "FOUND" => Found::read(frame).map(Self::Found),
            _ => Ok(Self::Unknown(kind.chars().take(limits::SHOWN_CHARACTERS).collect())),
        }
    }

    /// The message's type as it stands on the wire, for logs.
    pub fn kind(&self) -> &str {
        match self {
            Self::Handshake(_) => "HANDSHAKE",
            Self::Transaction(_) => "TRANSACTION",
            Self::Ack(_) => "ACK",
            Self::Status(_) => "STATUS",
            Self::Sync(_) | Self::SyncOther(..) => "SYNC",
            Self::Want(_) => "WANT",
            Self::Prune(_) => "PRUNE",
            Self::Graft(_) => "GRAFT",
            Self::Join(_) => "JOIN",
            Self::Peers(_) => "PEERS",
            Self::Declined(_) => "DECLINED",
            Self::Beacon(_) => "BEACON",
            Self::Broadcast(_) => "BROADCAST",
            Self::Announce(_) => "ANNOUNCE",
            Self::Network(_) => "NETWORK",
            Self::Find(_) => "FIND",
            Self::Found(_) => "FOUND",
            Self::Unknown(kind) => kind,
        }
    }
}

fn wrong(kind: &'static str, reason: impl ToString) -> Malformed {
    Malformed::Data { kind, reason: reason.to_string() }
}

/// Reads `data` by its serde description.
fn read<'a, T: Deserialize<'a>>(frame: Value<'a>, kind: &'static str) -> Result<T, Malformed> {
    let data = frame.get("data").ok_or_else(|| wrong(kind, "no data"))?;
    serde_json::from_str(data.raw()).map_err(|error| wrong(kind, error))
}

#[derive(Serialize)]
struct Typed<'a, T> {
    r#type: &'static str,
    data: &'a T,
}

/// The data of a frame: as it was signed, or as its members say.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a, T> {
    Sealed(&'a RawValue),
    Open(T),
}

fn to_frame(message: &impl Serialize) -> Frame {
    Frame::from(
        serde_json::to_string(message)
            .expect("our messages have text keys and finite numbers, which is all that serialising asks"),
    )
}

/// Reads `data` as a list of names, at most `most`; a name that is none makes the whole malformed.
fn read_list<T: std::str::FromStr<Err: std::fmt::Display>>(
    frame: Value<'_>,
    kind: &'static str,
    most: usize,
) -> Result<Vec<T>, Malformed> {
    let data = frame
        .get("data")
        .filter(|data| data.kind() == Kind::Array)
        .ok_or_else(|| wrong(kind, "data is not an array"))?;
    let names = data.elements().take(most).map(|name| {
        let text = name.as_str().ok_or_else(|| wrong(kind, "an entry is not a text"))?;
        text.parse().map_err(|error| wrong(kind, error))
    });
    names.collect()
}

fn list_frame(kind: &'static str, names: &[impl ToString]) -> Frame {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    to_frame(&Typed { r#type: kind, data: &names })
}
