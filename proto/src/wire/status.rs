//! STATUS: how a node stands, told to this host alone.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::json::{Kind, Value};
use crate::limits;
use crate::transaction::TransactionId;
use crate::wire::{Malformed, Typed, read, to_frame, wrong};

/// STATUS: a loopback client's question, or the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusFrame {
    /// The question. `holds`: identities of which the asker wants to know how many the pool holds, at most [`limits::STATUS_IDS`].
    Question {
        /// The identities asked for.
        holds: Vec<TransactionId>,
    },
    /// The answer.
    Answer(Box<Status>),
}

/// A node's status, as STATUS carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node's id: its public key, 64 hexadecimal digits.
    pub node: String,
    /// Which run of it: a UUID.
    pub session: String,
    /// Program and version.
    pub agent: String,
    /// The network's name.
    pub network: String,
    /// Where the node can be dialled.
    pub address: String,
    /// How long it has been up, in seconds.
    pub uptime: u64,
    /// The nodes that it is linked to: addresses, or `<node id>` where none is known.
    pub connected: Vec<String>,
    /// The addresses that it is dialling right now.
    pub attempting: Vec<String>,
    /// How many addresses its peer table has.
    pub known: usize,
    /// The most nodes that it links to; `None`: all.
    #[serde(default)]
    pub max_peers: Option<u32>,
    /// Its peer table, at most [`limits::STATUS_PEERS`] rows, those in use first.
    #[serde(default)]
    pub peers: Vec<PeerRow>,
    /// What its pool holds.
    pub pool: Summary,
    /// Whether the pool's file takes writes.
    pub writable: bool,
    /// How many of the identities asked for are in the pool's file.
    pub held: usize,
    /// Everything counted since the start, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// One address of a peer table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// The address.
    pub address: String,
    /// Where it stands.
    pub state: PeerState,
    /// For how many more seconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Whether a person named it.
    #[serde(default)]
    pub known: bool,
    /// Why it stands so, in words, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

// The seconds are finite: they come from a Duration, or from JSON, which has no others.
impl Eq for PeerRow {}

/// Where an address of a peer table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// A link to it is open.
    Connected,
    /// It is being dialled.
    Pending,
    /// It has no place for us, and is asked again then.
    Declined,
    /// It could not be reached, and is dialled again then.
    Failed,
    /// Nothing is known against it.
    Idle,
    /// Who is there broke rules: it is kept away until then. The address may be that of a group, without a port.
    #[serde(rename = "kept")]
    Banned,
}

/// What a pool holds, in short: two pools with equal summaries are equal (but for a 2^-256 accident).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many transactions.
    pub count: u64,
    /// The sum of all identities as 256-bit big-endian numbers, modulo 2^256: 64 hexadecimal digits.
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

    /// The frame of this question or answer.
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
