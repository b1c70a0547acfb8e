//! All messages: one frame is read by its type.

use crate::json::{Parser, Value};
use crate::limits;
use crate::transaction::{Origin, TransactionId};
use crate::wire::announce::AnnounceFrame;
use crate::wire::broadcast::BroadcastFrame;
use crate::wire::codec::{Malformed, read, read_list};
use crate::wire::dial_back::DialBack;
use crate::wire::exercise::ExerciseUpdate;
use crate::wire::handshake::Handshake;
use crate::wire::image::{Find, Found};
use crate::wire::network::NetworkFrame;
use crate::wire::overlay::{Beacon, Declined, Join, Sample};
use crate::wire::status::StatusFrame;
use crate::wire::sync::{OtherSet, SyncFrame};
use crate::wire::topic::TopicFrame;
use crate::wire::transaction::{Ack, TransactionFrame};

/// A frame that was read.
#[derive(Debug)]
pub enum Message {
    /// The first frame on every dialled link.
    Handshake(Handshake),
    /// A transaction.
    Transaction(TransactionFrame),
    /// The answer to a client's transaction.
    Ack(Ack),
    /// A question for the state of a node, or its answer.
    Status(StatusFrame),
    /// A step in comparing two pools.
    Sync(SyncFrame),
    /// A step in comparing another set.
    SyncOther(OtherSet, SyncFrame),
    /// The transactions or broadcasts that a native peer lacks.
    Want(Vec<TransactionId>),
    /// A native peer wants no more transactions of these origins on this link.
    Prune(Vec<Origin>),
    /// A native peer wants the transactions of these origins again.
    Graft(Vec<Origin>),
    /// A request for a slot or for addresses.
    Join(Join),
    /// The addresses asked for.
    Peers(Sample),
    /// There is no free slot.
    Declined(Declined),
    /// The id of a partition.
    Beacon(Beacon),
    /// The result of verifying the receiver's address.
    DialBack(DialBack),
    /// A text to all nodes.
    Broadcast(BroadcastFrame),
    /// A node is in the network, or leaves it.
    Announce(AnnounceFrame),
    /// A question for the list of nodes, or its answer.
    Network(NetworkFrame),
    /// The search for an image.
    Find(Find),
    /// The answer to a search.
    Found(Found),
    /// What a native peer knows of exercise peers.
    Exercise(Vec<ExerciseUpdate>),
    /// A message of a topic other than the default one.
    Topic(Box<TopicFrame>),
    /// An unknown type; it is ignored.
    Unknown(String),
}

impl Message {
    /// Reads a frame. `parser` is reused from frame to frame, which saves allocations.
    ///
    /// # Errors
    /// [`Malformed`] if the text is no message. A TRANSACTION whose data is no transaction is one,
    /// see [`TransactionFrame`].
    pub fn parse(parser: &mut Parser, text: &str) -> Result<Self, Malformed> {
        Self::parse_from(parser, text, None)
    }

    /// Reads a frame. `unnamed` is the origin of a transaction that names none, if it is known: the
    /// frame in which the transaction travels on is then written once, not twice.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_from(parser: &mut Parser, text: &str, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
        let message = parser.parse(text).map_err(Malformed::from).and_then(|frame| Self::read(frame, unnamed));
        parser.trim();
        message
    }

    pub(super) fn read(frame: Value<'_>, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
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
            "DIALBACK" => DialBack::read(frame).map(Self::DialBack),
            "BROADCAST" => BroadcastFrame::read(frame).map(Self::Broadcast),
            "ANNOUNCE" => AnnounceFrame::read(frame).map(Self::Announce),
            "NETWORK" => NetworkFrame::read(frame).map(Self::Network),
            "FIND" => Find::read(frame).map(Self::Find),
            "FOUND" => Found::read(frame).map(Self::Found),
            "EXERCISE" => ExerciseUpdate::read_all(frame).map(Self::Exercise),
            "TOPIC" => TopicFrame::read(frame, unnamed).map(|frame| Self::Topic(Box::new(frame))),
            _ => Ok(Self::unknown(&kind)),
        }
    }

    /// Returns a message of an unknown type.
    pub(super) fn unknown(kind: &str) -> Self {
        Self::Unknown(kind.chars().take(limits::SHOWN_CHARACTERS).collect())
    }

    /// Returns the type as it is on the wire.
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
            Self::DialBack(_) => "DIALBACK",
            Self::Broadcast(_) => "BROADCAST",
            Self::Announce(_) => "ANNOUNCE",
            Self::Network(_) => "NETWORK",
            Self::Find(_) => "FIND",
            Self::Found(_) => "FOUND",
            Self::Exercise(_) => "EXERCISE",
            Self::Topic(_) => "TOPIC",
            Self::Unknown(kind) => kind,
        }
    }
}
