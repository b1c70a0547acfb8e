//! TRANSACTION, and its answer to a client, ACK.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::Session;
use crate::json::{Kind, Value};
use crate::transaction::{InvalidTransaction, Origin, Transaction};
use crate::wire::{Malformed, Typed, to_frame, wrong};

/// A TRANSACTION frame.
#[derive(Debug)]
pub struct TransactionFrame {
    /// The transaction, or why its data is none: a client is told in its ACK.
    pub transaction: Result<Transaction, InvalidTransaction>,
    /// The sibling `from`: who first sent it into the network. Believed from full peers only.
    pub origin: Option<Origin>,
    /// The sibling `ack`: the sender, a client, asks for an ACK once it is on disk.
    pub ack: bool,
    /// Whether the frame has the sibling `session`: it came out of a pool in answer to a comparison, and is not relayed.
    pub synced: bool,
}

/// What became of a client's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckStatus {
    /// New here, and on disk now.
    Stored,
    /// Known here already, and on disk.
    Duplicate,
    /// A broadcast, new here and on its way; no disk keeps it.
    Sent,
    /// Refused; `reason` says why.
    Rejected,
}

/// ACK: the answer to a client's TRANSACTION, sent after the disk has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The transaction's identity, 64 hexadecimal digits; empty where the data was no transaction.
    #[serde(default)]
    pub id: String,
    /// What became of it.
    pub status: AckStatus,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On how many links it went out; zero means that no other node has it from us yet.
    #[serde(default)]
    pub links: usize,
}

impl TransactionFrame {
    /// `unnamed`: the origin of what names none.
    pub(crate) fn read(frame: Value<'_>, unnamed: Option<&Origin>) -> Result<Self, Malformed> {
        let (mut data, mut origin, mut ack, mut synced) = (None, None, false, false);
        for (key, value) in frame.members() {
            match key.as_str().as_deref() {
                Some("data") => data = Some(value),
                Some("from") => origin = value.as_str().and_then(|text| text.parse().ok()),
                Some("ack") => ack = value.kind() == Kind::True,
                Some("session") => synced = true,
                _ => {}
            }
        }
        let data = data.ok_or_else(|| wrong("TRANSACTION", "no data"))?;
        let origin = origin.or_else(|| unnamed.filter(|_| !synced).cloned());
        let transaction = Transaction::from_value(data, origin.as_ref());
        Ok(Self { transaction, origin, ack, synced })
    }

    /// A client's frame: the transaction, and the wish for an ACK. `body` is the object's JSON text, sent as it is.
    pub fn client_frame(body: &str, ack: bool) -> Frame {
        let wish = if ack { r#","ack":true"# } else { "" };
        Frame::from(format!(r#"{{"type":"TRANSACTION","data":{body}{wish}}}"#))
    }

    /// A frame that brings a full peer what its pool lacks. `body` is the object's compact JSON.
    pub fn sync_frame(body: &str, session: Session) -> Frame {
        Frame::from(format!(r#"{{"type":"TRANSACTION","data":{body},"session":"{session}"}}"#))
    }
}

impl Ack {
    /// The frame of this answer.
    pub fn to_frame(&self) -> Frame {
        to_frame(&Typed { r#type: "ACK", data: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::json::Parser;
    use crate::wire::Message;

    fn read(text: &str, unnamed: Option<&Origin>) -> (TransactionFrame, String) {
        let Ok(Message::Transaction(delivery)) = Message::parse_from(&mut Parser::new(), text, unnamed) else {
            panic!("{text}")
        };
        let frame = delivery.transaction.as_ref().expect("a transaction").frame().as_str().to_owned();
        (delivery, frame)
    }

    #[test]
    fn what_names_no_origin_travels_under_the_one_that_is_known_and_nothing_else_does() {
        let (own, other) = (Origin::Node(NodeId([1; 32])), Origin::Node(NodeId([2; 32])));
        let named = |origin: &Origin| format!(r#"{{"type":"TRANSACTION","data":{{"n":1}},"from":"{origin}"}}"#);
        let open = r#"{"type":"TRANSACTION","data":{"n":1}}"#;
        let (delivery, frame) = read(open, Some(&own));
        assert_eq!((delivery.origin, frame), (Some(own.clone()), named(&own)));
        let (delivery, frame) = read(&named(&other), Some(&own));
        assert_eq!((delivery.origin, frame), (Some(other.clone()), named(&other)));
        let (delivery, frame) = read(r#"{"session":"x","type":"TRANSACTION","data":{"n":1}}"#, Some(&own));
        assert_eq!((delivery.origin, delivery.synced, frame.as_str()), (None, true, open));
        let (delivery, frame) = read(open, None);
        assert_eq!((delivery.origin, frame.as_str()), (None, open));
    }

    #[test]
    fn of_siblings_that_repeat_the_last_counts_and_what_is_no_origin_is_none() {
        let other = Origin::Node(NodeId([2; 32]));
        let text = format!(
            r#"{{"from":7,"ack":true,"data":{{"n":1}},"\u0066rom":"{other}","type":"TRANSACTION","ack":1,"data":{{"n":2}}}}"#
        );
        let (delivery, _) = read(&text, None);
        assert_eq!((delivery.origin, delivery.ack), (Some(other), false));
        assert_eq!(delivery.transaction.expect("a transaction").body(), r#"{"n":2}"#);
        let (delivery, _) = read(r#"{"type":"TRANSACTION","data":{},"from":"somebody"}"#, None);
        assert_eq!(delivery.origin, None);
    }
}
