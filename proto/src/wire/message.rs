//! All messages: one frame is read by its type.

use crate::frame::Frame;
use crate::json::{Parser, Value};
use crate::limits;
use crate::topic_name::TopicName;
use crate::transaction::{Origin, TransactionId};
use crate::wire::announce::AnnounceFrame;
use crate::wire::broadcast::BroadcastFrame;
use crate::wire::call_back::CallBack;
use crate::wire::codec::{Malformed, read, read_list, wrong};
use crate::wire::dial_back::DialBack;
use crate::wire::exercise::ExerciseUpdate;
use crate::wire::handshake::Handshake;
use crate::wire::image::{Find, Found};
use crate::wire::network::NetworkFrame;
use crate::wire::overlay::{Beacon, Declined, Join, Sample};
use crate::wire::status::StatusFrame;
use crate::wire::sync::{OtherSet, SyncFrame};
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
    /// A native peer wants a connection for requests.
    CallBack(CallBack),
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
            "DIALBACK" => DialBack::read(frame).map(Self::DialBack),
            "CALLBACK" => CallBack::read(frame).map(Self::CallBack),
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
    fn unknown(kind: &str) -> Self {
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
            Self::CallBack(_) => "CALLBACK",
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

/// A TOPIC frame: an envelope for a message of a topic other than the default one.
#[derive(Debug)]
pub struct TopicFrame {
    /// The topic.
    pub topic: TopicName,
    /// What is said about it: TRANSACTION, SYNC, WANT, PRUNE or GRAFT. Any other message is
    /// [`Message::Unknown`].
    pub message: Message,
}

/// The texts of an envelope before its topic and before its message.
const TOPIC: &str = r#"{"type":"TOPIC","topic":""#;
const MESSAGE: &str = r#"","message":"#;

impl TopicFrame {
    fn read(frame: Value<'_>, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
        let topic = frame.get("topic").and_then(Value::as_str).ok_or_else(|| wrong("TOPIC", "no topic"))?;
        let topic = topic.parse().map_err(|error| wrong("TOPIC", error))?;
        let inner = frame.get("message").ok_or_else(|| wrong("TOPIC", "no message"))?;
        let kind =
            inner.get("type").and_then(Value::as_str).ok_or_else(|| wrong("TOPIC", "its message has no type"))?;
        let message = match &*kind {
            "TRANSACTION" | "SYNC" | "WANT" | "PRUNE" | "GRAFT" => match Message::read(inner, unnamed)? {
                // There is one set in a topic.
                Message::SyncOther(..) => Message::Unknown("SYNC".to_owned()),
                message => message,
            },
            // Also an envelope in an envelope.
            _ => Message::unknown(&kind),
        };
        Ok(Self { topic, message })
    }

    /// Returns the frame that has another one as its message.
    pub fn wrap(topic: &TopicName, message: &Frame) -> Frame {
        Frame::from(format!(r#"{TOPIC}{topic}{MESSAGE}{}}}"#, message.as_str()))
    }

    /// Returns the text of the message in a frame of this topic that [`Self::wrap`] made.
    pub fn message_text<'a>(topic: &TopicName, frame: &'a str) -> Option<&'a str> {
        frame.strip_prefix(TOPIC)?.strip_prefix(topic.as_str())?.strip_prefix(MESSAGE)?.strip_suffix('}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;
    use crate::transaction::{Transaction, origin_text_of_frame};
    use crate::wire::want_frame;

    fn read(text: &str) -> Result<TopicFrame, Malformed> {
        match Message::parse(&mut Parser::new(), text)? {
            Message::Topic(frame) => Ok(*frame),
            message => panic!("{message:?}"),
        }
    }

    #[test]
    fn what_is_wrapped_comes_out_with_its_topic() {
        let topic: TopicName = "blocks".parse().expect("a name");
        let origin = Origin::Node(crate::id::NodeId([7; 32]));
        let block = Transaction::parse(&mut Parser::new(), r#"{"height":1}"#).expect("a transaction");
        let block = block.with_origin(&origin);
        let wrapped = TopicFrame::wrap(&topic, block.frame());
        let TopicFrame { topic: named, message } = read(wrapped.as_str()).expect("an envelope");
        let Message::Transaction(TransactionFrame { transaction, origin: by, synced, .. }) = message else {
            panic!("{message:?}")
        };
        let transaction = transaction.expect("a transaction");
        assert_eq!((named, by, synced), (topic.clone(), Some(origin), false));
        assert_eq!((transaction.id(), transaction.frame()), (block.id(), block.frame()));
        assert_eq!(origin_text_of_frame(wrapped.as_str()), None, "it is no transaction of the default topic");
        assert_eq!(TopicFrame::message_text(&topic, wrapped.as_str()), Some(block.frame().as_str()));
        for other in ["block", "blocks2", "chat"].map(|name| name.parse().expect("a name")) {
            assert_eq!(TopicFrame::message_text(&other, wrapped.as_str()), None);
        }
        for frame in [SyncFrame::Everything.to_frame(), want_frame(&[block.id()])] {
            let wrapped = TopicFrame::wrap(&topic, &frame);
            let inner = Message::parse(&mut Parser::new(), frame.as_str()).expect("a message");
            let read = read(wrapped.as_str()).expect("an envelope").message;
            assert_eq!(format!("{read:?}"), format!("{inner:?}"));
        }
    }

    #[test]
    fn other_messages_in_an_envelope_are_unknown_and_an_envelope_without_a_name_is_malformed() {
        let handshake = r#"{"type":"TOPIC","topic":"a","message":{"type":"HANDSHAKE","data":[]}}"#;
        let nested = r#"{"type":"TOPIC","topic":"a","message":{"type":"TOPIC","topic":"b"}}"#;
        let other =
            r#"{"type":"TOPIC","topic":"a","message":{"type":"SYNC","set":"nodes","data":{"everything":true}}}"#;
        for text in [handshake, nested, other] {
            assert!(matches!(read(text).expect("an envelope").message, Message::Unknown(_)), "{text}");
        }
        for text in [
            r#"{"type":"TOPIC"}"#,
            r#"{"type":"TOPIC","topic":"A","message":{"type":"WANT","data":[]}}"#,
            r#"{"type":"TOPIC","topic":"transactions","message":{"type":"WANT","data":[]}}"#,
            r#"{"type":"TOPIC","topic":"a"}"#,
            r#"{"type":"TOPIC","topic":"a","message":7}"#,
            r#"{"type":"TOPIC","topic":"a","message":{"type":"WANT","data":7}}"#,
        ] {
            assert!(matches!(read(text), Err(Malformed::Data { .. })), "{text}");
        }
    }
}
