//! SYNC and WANT: what two full peers say to find out what each lacks, and to get it.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::json::Value;
use crate::transaction::TransactionId;
use crate::wire::status::Summary;
use crate::wire::{Malformed, list_frame, read, to_frame, wrong};

/// SYNC: what two full peers say to find out what each lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncFrame {
    /// What the sender offers, to be compared.
    Summary(Summary),
    /// The same, in answer to a summary that differs: so each side learns in one round whether it lacks something.
    Reply(Summary),
    /// The sender lacks so much that it wants everything.
    Everything,
    /// A question of a reconciliation …
    Ask(Step),
    /// … and its answer.
    Answer(Step),
}

/// What full peers compare besides transactions: the sibling `set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSet {
    /// The broadcasts of the last ten minutes.
    Broadcasts,
    /// The announcements of the nodes in the network; of it everything is asked for, or nothing.
    Nodes,
}

impl OtherSet {
    /// Which set a frame is about; `None`: transactions, also where it names a set that this version does not know.
    pub(crate) fn of(frame: Value<'_>) -> Option<Self> {
        match &*frame.get("set").and_then(Value::as_str)? {
            "broadcasts" => Some(Self::Broadcasts),
            "nodes" => Some(Self::Nodes),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Broadcasts => "broadcasts",
            Self::Nodes => "nodes",
        }
    }
}

/// One message of the negentropy protocol, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Names the reconciliation; the asking side chose it.
    pub number: u64,
    /// The message's bytes; on the wire in base64.
    pub message: Vec<u8>,
}

#[derive(Serialize, Deserialize, Default)]
struct SyncOnWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reply: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    everything: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

impl SyncFrame {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let decode = |text: String| BASE64.decode(text.as_bytes()).map_err(|error| wrong("SYNC", error));
        match read(frame, "SYNC")? {
            SyncOnWire { everything: true, .. } => Ok(Self::Everything),
            SyncOnWire { count: Some(count), sum: Some(sum), reply: false, .. } => {
                Ok(Self::Summary(Summary { count, sum }))
            }
            SyncOnWire { count: Some(count), sum: Some(sum), reply: true, .. } => {
                Ok(Self::Reply(Summary { count, sum }))
            }
            SyncOnWire { number: Some(number), ask: Some(ask), .. } => {
                Ok(Self::Ask(Step { number, message: decode(ask)? }))
            }
            SyncOnWire { number: Some(number), answer: Some(answer), .. } => {
                Ok(Self::Answer(Step { number, message: decode(answer)? }))
            }
            _ => Err(wrong("SYNC", "it is no summary, no question and no answer")),
        }
    }

    /// The frame of this step in comparing pools.
    pub fn to_frame(&self) -> Frame {
        self.on_wire("transactions")
    }

    /// The frame of this step in comparing another set.
    pub fn to_frame_of(&self, set: OtherSet) -> Frame {
        self.on_wire(set.name())
    }

    fn on_wire(&self, set: &'static str) -> Frame {
        #[derive(Serialize)]
        struct OnWire {
            r#type: &'static str,
            data: SyncOnWire,
            set: &'static str,
        }
        let data = match self {
            Self::Summary(Summary { count, sum }) => {
                SyncOnWire { count: Some(*count), sum: Some(sum.clone()), ..SyncOnWire::default() }
            }
            Self::Reply(Summary { count, sum }) => {
                SyncOnWire { count: Some(*count), sum: Some(sum.clone()), reply: true, ..SyncOnWire::default() }
            }
            Self::Everything => SyncOnWire { everything: true, ..SyncOnWire::default() },
            Self::Ask(Step { number, message }) => {
                SyncOnWire { number: Some(*number), ask: Some(BASE64.encode(message)), ..SyncOnWire::default() }
            }
            Self::Answer(Step { number, message }) => {
                SyncOnWire { number: Some(*number), answer: Some(BASE64.encode(message)), ..SyncOnWire::default() }
            }
        };
        to_frame(&OnWire { r#type: "SYNC", data, set })
    }
}

/// The WANT frame for at most [`WANT_IDS`](crate::limits::WANT_IDS) transactions.
pub fn want_frame(ids: &[TransactionId]) -> Frame {
    list_frame("WANT", ids)
}
