//! STATUS: the state of a node, for clients on the same host.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::json::{Kind, Value};
use crate::limits;
use crate::transaction::TransactionId;
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// STATUS: the question of a client on the same host, or the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusFrame {
    /// The question.
    Question {
        /// Transactions to count in the pool, at most [`limits::STATUS_IDS`].
        holds: Vec<TransactionId>,
    },
    /// The answer.
    Answer(Box<Status>),
}

/// The state of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node's id: its public key, 64 hexadecimal digits.
    pub node: String,
    /// Its session: a UUID.
    pub session: String,
    /// Its program and version.
    pub agent: String,
    /// The network's name.
    pub network: String,
    /// Where the node can be dialled.
    pub address: String,
    /// What its peers found who dialled that address; `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_backs: Option<DialBacks>,
    /// The time since its start, in seconds.
    pub uptime: u64,
    /// The nodes that it is linked to: addresses, or ids where no address is known.
    pub connected: Vec<String>,
    /// The addresses among them that lead to nodes of the exercise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exercise: Vec<String>,
    /// Where it can be reached by its id, with its relays; `None`: it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_id: Option<String>,
    /// The paths of its links to nodes that it reaches by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRow>,
    /// The addresses that it is dialling.
    pub attempting: Vec<String>,
    /// The number of addresses in its address book.
    pub known: usize,
    /// The most nodes that it links to; `None`: all.
    #[serde(default)]
    pub max_peers: Option<u32>,
    /// Its address book, at most [`limits::STATUS_PEERS`] rows, those in use first.
    #[serde(default)]
    pub peers: Vec<PeerRow>,
    /// The summary of its pool.
    pub pool: Summary,
    /// Whether the pool's file takes writes.
    pub writable: bool,
    /// Whether the pool holds as many transactions as it may, so that new ones are refused.
    #[serde(default)]
    pub pool_full: bool,
    /// For how long no peer has been linked, in seconds, where that is known; `None` if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_seconds: Option<u64>,
    /// Since when the node's certificate and its authority's are both valid, as
    /// [`Self::certificate_expires`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_begins: Option<u64>,
    /// When the node's certificate or its authority's expires, in seconds since 1970, in a closed
    /// network and where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<u64>,
    /// Its topics besides the default one, at most [`limits::TOPICS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicRow>,
    /// The number of transactions in the question that are in the pool's file.
    pub held: usize,
    /// All counters, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// The path of a link over iroh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathRow {
    /// The link.
    pub link: u64,
    /// The node at the other end, as in [`Status::connected`].
    pub peer: String,
    /// The path: `direct to <address>`, or `over relay <address>`.
    pub path: String,
    /// Its round-trip time, in microseconds.
    pub round_trip_micros: u64,
}

/// One topic of a node besides the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRow {
    /// Its name.
    pub name: String,
    /// The number of items that the node holds.
    #[serde(default)]
    pub items: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The position of the next item: it grows with each that is stored.
    #[serde(default)]
    pub end: u64,
    /// The number of linked nodes that have the topic too …
    #[serde(default)]
    pub members: usize,
    /// … and of how many of them the items were equal at the last comparison.
    #[serde(default)]
    pub reconciled: usize,
    /// Whether it takes items: false if its file cannot be written, or if it is full.
    #[serde(default)]
    pub writable: bool,
    /// The number of items that were refused since the start: not valid here, or no room.
    #[serde(default)]
    pub refused: u64,
    /// The number of items that were ignored since the start: too old, too long or without a time
    /// for what is kept, or ignored by the application.
    #[serde(default)]
    pub ignored: u64,
    /// The number of items that were deferred since the start: from the future, taken once their
    /// time has come, or not to be judged yet by the application.
    #[serde(default)]
    pub deferred: u64,
    /// The `timeStamp` of the oldest item, in seconds since 1970; `None` if no item has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// The same of the newest item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// What linked peers found who dialled a node's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialBacks {
    /// The number of peers that reached the node there.
    pub reached: usize,
    /// The number of those that did not.
    pub failed: usize,
    /// Why the last one did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One row of the address book.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// The address, or for a ban the IP addresses, without a port.
    pub address: String,
    /// Its state.
    pub state: PeerState,
    /// The time until the state ends, in seconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Whether a person configured it.
    #[serde(default)]
    pub known: bool,
    /// The reason of the state, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

// The seconds are finite: they come from a Duration, or from JSON, which has no others.
impl Eq for PeerRow {}

/// The state of an address in the address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// A link to it is open.
    Connected,
    /// It is being dialled.
    Pending,
    /// Its node has no slot for us; it is asked again at the end.
    Declined,
    /// It could not be reached; it is dialled again at the end.
    Failed,
    /// None of the others.
    Idle,
    /// Its node broke rules.
    #[serde(rename = "kept")]
    Banned,
}

/// The summary of a set. Two sets with equal summaries are equal, with a probability of error of
/// 2^-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of items.
    pub count: u64,
    /// The sum of all ids as 256-bit big-endian numbers, modulo 2^256: 64 hexadecimal digits.
    pub sum: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Question {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holds: Vec<String>,
}

impl StatusFrame {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let Some(data) = frame.get("data").filter(|data| data.kind() == Kind::Object) else {
            return Ok(Self::Question { holds: Vec::new() });
        };
        if data.get("node").is_some() {
            return serde_json::from_str(data.raw()).map(Self::Answer).map_err(|error| wrong("STATUS", error));
        }
        let question: Question = read(frame, "STATUS")?;
        let holds = question.holds.iter().take(limits::STATUS_IDS).map(|text| text.parse());
        Ok(Self::Question { holds: holds.collect::<Result<_, _>>().map_err(|error| wrong("STATUS", error))? })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        match self {
            Self::Question { holds } => {
                let holds = holds.iter().map(ToString::to_string).collect();
                to_frame(&Typed { r#type: "STATUS", data: &Question { holds } })
            }
            Self::Answer(status) => to_frame(&Typed { r#type: "STATUS", data: status }),
        }
    }
}
