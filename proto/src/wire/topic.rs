//! TOPIC: an envelope for a message of a topic other than the default one.

use crate::frame::Frame;
use crate::json::Value;
use crate::topic_name::TopicName;
use crate::transaction::Origin;
use crate::wire::Message;
use crate::wire::codec::{Malformed, wrong};

/// A TOPIC frame.
#[derive(Debug)]
pub struct TopicFrame {
    /// The topic.
    pub topic: TopicName,
    /// What is said about it: TRANSACTION, SYNC, WANT, PRUNE or GRAFT. Any other message is
    /// [`Message::Unknown`].
    pub message: Message,
}

impl TopicFrame {
    pub(crate) fn read(frame: Value<'_>, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
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
        Frame::from(format!(r#"{{"type":"TOPIC","topic":"{topic}","message":{}}}"#, message.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;
    use crate::transaction::{Transaction, origin_text_of_frame};
    use crate::wire::{SyncFrame, TransactionFrame, want_frame};

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
