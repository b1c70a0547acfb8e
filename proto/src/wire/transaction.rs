//! TRANSACTION, and ACK, its answer to a client.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::Session;
use crate::json::{Kind, Value};
use crate::transaction::{InvalidTransaction, Origin, Transaction};
use crate::wire::codec::{Malformed, Typed, to_frame, wrong};

/// A TRANSACTION frame.
#[derive(Debug)]
pub struct TransactionFrame {
    /// The transaction, or why its data is none, for the ACK.
    pub transaction: Result<Transaction, InvalidTransaction>,
    /// The sibling `from`: the node that sent it first. Only native peers are believed.
    pub origin: Option<Origin>,
    /// The sibling `ack`: a client asks for an ACK once it is on disk.
    pub ack: bool,
    /// Whether the frame has the sibling `session`: it answers SYNC or WANT, and is not passed on.
    pub synced: bool,
}

/// What became of a client's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckStatus {
    /// It was new, and is on disk now.
    Stored,
    /// It was known, and is on disk.
    Duplicate,
    /// It is a broadcast, was new and was sent on; it is not kept on disk.
    Sent,
    /// It was refused; `reason` says why.
    Rejected,
}

/// ACK: the answer to a client's TRANSACTION, sent once it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The transaction's id, 64 hexadecimal digits; empty if the data was no transaction.
    #[serde(default)]
    pub id: String,
    /// What became of it.
    pub status: AckStatus,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of links on which it went out; with 0 no other node has it from this one yet.
    #[serde(default)]
    pub links: usize,
}

impl TransactionFrame {
    /// Reads a frame. `unnamed` is the origin of a frame that names none.
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

    /// Returns a client's frame. `ack`: it asks for an ACK. `body` is the object's JSON text, sent
    /// as it is.
    pub fn client_frame(body: &str, ack: bool) -> Frame {
        let ack = if ack { r#","ack":true"# } else { "" };
        Frame::from(format!(r#"{{"type":"TRANSACTION","data":{body}{ack}}}"#))
    }

    /// Returns a frame that answers SYNC or WANT. `body` is the object's compact JSON.
    pub fn sync_frame(body: &str, session: Session) -> Frame {
        let mut session_text = [0; 36];
        let session = session.0.hyphenated().encode_lower(&mut session_text);
        // Without the machinery of `format!`: a peer that asks for a whole pool gets many of these.
        Frame::from([r#"{"type":"TRANSACTION","data":"#, body, r#","session":""#, session, "\"}"].concat())
    }
}

impl Ack {
    /// Returns the frame.
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
    fn only_a_flooded_frame_that_names_no_origin_gets_the_known_one() {
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
    fn of_repeated_siblings_the_last_counts_and_an_invalid_origin_is_none() {
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
