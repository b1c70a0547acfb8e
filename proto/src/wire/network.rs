//! NETWORK: the list of nodes, for clients on the same host.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::NodeId;
use crate::json::{Kind, Value};
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// NETWORK: the question of a client on the same host, or the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFrame {
    /// The question.
    Question {
        /// Only nodes with higher ids than this are wanted; `None`: all.
        after: Option<NodeId>,
    },
    /// The answer.
    Answer(Members),
}

/// A part of the list of nodes that fits into one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The nodes, in the order of their ids.
    pub nodes: Vec<Member>,
    /// Whether more nodes follow.
    pub more: bool,
}

/// A node in the network, as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id: 64 hexadecimal digits, which parse as a [`NodeId`].
    pub node: String,
    /// Its session: a UUID.
    pub session: String,
    /// Where it can be dialled, by its own account. It parses as a
    /// [`PeerAddress`](crate::address::PeerAddress).
    pub address: Option<String>,
    /// When the session began, by its own clock, in seconds since 1970.
    pub since: u64,
    /// The ids of the native peers that it is linked to.
    pub peers: Vec<String>,
    /// The number of nodes that it is linked to, exercise peers included.
    pub links: u32,
    /// The most nodes that it links to; `None`: any number.
    pub max_peers: Option<u32>,
    /// The number of its free slots; `None`: any number.
    pub free: Option<u32>,
    /// The time since its last announcement, in seconds; 0 for the answering node.
    pub heard: u64,
    /// Whether it is the answering node.
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

    /// Returns the frame.
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
