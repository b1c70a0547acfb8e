//! TRANSACTION, and its answer to a client, ACK.

use serde::{Deserialize, Serialize};

use super::{Malformed, Typed, to_frame, wrong};
use crate::protocol::frame::Frame;
use crate::protocol::identity::Session;
use crate::protocol::json::{Kind, Value};
use crate::protocol::transaction::{InvalidTransaction, Origin, Transaction};

/// A TRANSACTION frame.
#[derive(Debug)]
pub struct Delivery {
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

impl Delivery {
    pub(super) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data = frame.get("data").ok_or_else(|| wrong("TRANSACTION", "no data"))?;
        let origin = frame.get("from").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let transaction = Transaction::from_value(data, origin.as_ref());
        let ack = frame.get("ack").is_some_and(|ack| ack.kind() == Kind::True);
        Ok(Self { transaction, origin, ack, synced: frame.get("session").is_some() })
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
