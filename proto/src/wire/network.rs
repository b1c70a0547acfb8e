//! NETWORK: who is in the network, told to this host alone.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::NodeId;
use crate::json::{Kind, Value};
use crate::wire::{Malformed, Typed, read, to_frame, wrong};

/// NETWORK: a loopback client's question, or the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFrame {
    /// The question.
    Question {
        /// Only nodes whose ids come after this one are wanted; `None`: from the first.
        after: Option<NodeId>,
    },
    /// The answer.
    Answer(Members),
}

/// A part of the list of nodes: what fits into one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// In the order of their ids.
    pub nodes: Vec<Member>,
    /// Whether there are more after these.
    pub more: bool,
}

/// A node in the network, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id: 64 hexadecimal digits.
    pub node: String,
    /// Which run of it: a UUID.
    pub session: String,
    /// Where it can be dialled, as it says.
    pub address: Option<String>,
    /// When that run began, by its own clock: seconds since 1970.
    pub since: u64,
    /// The nodes of ours that it is linked to, by their ids.
    pub peers: Vec<String>,
    /// To how many nodes it is linked, those of the exercise included.
    pub links: u32,
    /// To how many nodes it links at most; `None`: any number.
    pub max_peers: Option<u32>,
    /// How many more it would link to; `None`: any number.
    pub free: Option<u32>,
    /// How long ago it announced itself last, in seconds; 0 for the node that tells.
    pub heard: u64,
    /// Whether it is the node that tells.
    pub me: bool,
}

#[derive(Serialize, Deserialize, Default)]
struct Question {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

impl NetworkFrame {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let Some(data) = frame.get("data").filter(|data| data.kind() == Kind::Object) else {
            return Ok(Self::Question { after: None });
        };
        if data.get("nodes").is_some() {
            return serde_json::from_str(data.raw()).map(Self::Answer).map_err(|error| wrong("NETWORK", error));
        }
        let question: Question = read(frame, "NETWORK")?;
        let after = question.after.map(|text| text.parse()).transpose().map_err(|error| wrong("NETWORK", error))?;
        Ok(Self::Question { after })
    }

    /// The frame of this question or answer.
    pub fn to_frame(&self) -> Frame {
        match self {
            Self::Question { after } => {
                let after = after.as_ref().map(ToString::to_string);
                to_frame(&Typed { r#type: "NETWORK", data: &Question { after } })
            }
            Self::Answer(members) => to_frame(&Typed { r#type: "NETWORK", data: members }),
        }
    }
}
