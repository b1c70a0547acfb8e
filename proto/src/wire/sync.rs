//! SYNC and WANT: set reconciliation between two native peers.

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::parse_hex32;
use crate::json::Value;
use crate::limits;
use crate::transaction::TransactionId;
use crate::wire::codec::{Malformed, list_frame, read, to_frame, wrong};
use crate::wire::status::Summary;

/// SYNC: one step in finding out what each of two native peers lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncFrame {
    /// The summary of the sender's set, to be compared.
    Summary(Summary),
    /// The same, in answer to a summary that differs: both sides learn of the difference in one
    /// round.
    Reply(Summary),
    /// The summary of a part of the sender's set, see [`Floor`].
    Since {
        /// Where the part begins.
        floor: Floor,
        /// Its summary.
        summary: Summary,
        /// Whether it is an answer, as [`Self::Reply`] is.
        reply: bool,
    },
    /// The sender lacks so much that it asks for everything.
    Everything,
    /// A question of a reconciliation.
    Ask(Step),
    /// The answer to such a question.
    Answer(Step),
}

/// Where the part of a set begins that its node keeps: the least item in the order of comparisons,
/// which is that of [`Transaction::time`](crate::transaction::Transaction::time), then that of
/// ids. A topic with retention has one. Nothing below it is compared, so that a node does not fetch
/// again what it removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// The time, in seconds since 1970.
    pub time: u64,
    /// The least id at this time.
    pub id: [u8; 32],
}

/// What native peers compare besides transactions: the sibling `set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSet {
    /// The broadcasts of the last ten minutes, by their digests.
    BroadcastDigests,
    /// The same by their ids, as nodes of release 0.1 compare them. A sender can choose the id of
    /// another's broadcast, so nodes of this release compare digests. Goes with the first release
    /// that does not link to 0.1.
    Broadcasts,
    /// The announcements of all nodes. It is not compared: a peer asks for everything.
    Nodes,
}

impl OtherSet {
    /// Returns the set that a frame names. `None` stands for transactions and for unknown sets.
    pub(crate) fn of(frame: Value<'_>) -> Option<Self> {
        match &*frame.get("set").and_then(Value::as_str)? {
            "broadcasts" if frame.get("by").and_then(Value::as_str).is_some_and(|by| by == BY_DIGEST) => {
                Some(Self::BroadcastDigests)
            }
            "broadcasts" => Some(Self::Broadcasts),
            "nodes" => Some(Self::Nodes),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Broadcasts | Self::BroadcastDigests => "broadcasts",
            Self::Nodes => "nodes",
        }
    }
}

/// The sibling `by` of a comparison of broadcasts by digests.
const BY_DIGEST: &str = "digest";

/// One message of the negentropy protocol, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The number of the reconciliation; the asking side chooses it.
    pub number: u64,
    /// The bytes of the message, in base64 on the wire.
    pub message: Vec<u8>,
}

#[derive(Serialize, Deserialize, Default)]
struct SyncOnWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    /// A floor: time and id.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<(u64, String)>,
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
        if frame.raw().len() > limits::SYNC_BYTES {
            return Err(wrong("SYNC", "it is far longer than any comparison needs"));
        }
        let decode = |text: String| BASE64.decode(text.as_bytes()).map_err(|error| wrong("SYNC", error));
        match read(frame, "SYNC")? {
            SyncOnWire { everything: true, .. } => Ok(Self::Everything),
            SyncOnWire { count: Some(count), sum: Some(sum), from: Some((time, id)), reply, .. } => {
                let id = parse_hex32(&id).ok_or_else(|| wrong("SYNC", "from has no identity"))?;
                Ok(Self::Since { floor: Floor { time, id }, summary: Summary { count, sum }, reply })
            }
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

    /// Returns the frame for a comparison of pools.
    pub fn to_frame(&self) -> Frame {
        self.on_wire("transactions", None)
    }

    /// Returns the frame for a comparison of another set.
    pub fn to_frame_of(&self, set: OtherSet) -> Frame {
        self.on_wire(set.name(), (set == OtherSet::BroadcastDigests).then_some(BY_DIGEST))
    }

    fn on_wire(&self, set: &'static str, by: Option<&'static str>) -> Frame {
        #[derive(Serialize)]
        struct OnWire {
            r#type: &'static str,
            data: SyncOnWire,
            set: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<&'static str>,
        }
        let data = match self {
            Self::Summary(Summary { count, sum }) => {
                SyncOnWire { count: Some(*count), sum: Some(sum.clone()), ..SyncOnWire::default() }
            }
            Self::Reply(Summary { count, sum }) => {
                SyncOnWire { count: Some(*count), sum: Some(sum.clone()), reply: true, ..SyncOnWire::default() }
            }
            Self::Since { floor, summary: Summary { count, sum }, reply } => SyncOnWire {
                count: Some(*count),
                sum: Some(sum.clone()),
                from: Some((floor.time, HEXLOWER.encode(&floor.id))),
                reply: *reply,
                ..SyncOnWire::default()
            },
            Self::Everything => SyncOnWire { everything: true, ..SyncOnWire::default() },
            Self::Ask(Step { number, message }) => {
                SyncOnWire { number: Some(*number), ask: Some(BASE64.encode(message)), ..SyncOnWire::default() }
            }
            Self::Answer(Step { number, message }) => {
                SyncOnWire { number: Some(*number), answer: Some(BASE64.encode(message)), ..SyncOnWire::default() }
            }
        };
        to_frame(&OnWire { r#type: "SYNC", data, set, by })
    }
}

/// Returns the WANT frame for at most [`WANT_IDS`](crate::limits::WANT_IDS) transactions.
pub fn want_frame(ids: &[TransactionId]) -> Frame {
    list_frame("WANT", ids)
}
