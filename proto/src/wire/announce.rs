//! ANNOUNCE: a node is in the network, and these are its links.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{NodeId, Session};
use crate::json::Value;
use crate::limits;
use crate::signature::{Purpose, Seal, Signer};
use crate::topic_name::TopicName;
use crate::wire::codec::{Data, Malformed, age_of, read, to_frame, wrong};

/// What a node announces of itself to the whole network. `presence/announcer.rs` says what is
/// believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub node: NodeId,
    /// Its session: one run of its process.
    pub session: Session,
    /// Where it can be dialled, by its own account.
    pub address: Option<PeerAddress>,
    /// When the session began, by its own clock, in seconds since 1970.
    pub since: u64,
    /// The number of this announcement in its session: of two the higher one is newer.
    pub seq: u64,
    /// The native peers that it is linked to, at most [`limits::ANNOUNCED_PEERS`].
    pub peers: Vec<NodeId>,
    /// The number of nodes that it is linked to, exercise peers included.
    pub links: u32,
    /// The most nodes that it links to; `None`: any number.
    pub max_peers: Option<u32>,
    /// The number of nodes in the network that it knows, itself included.
    pub nodes: u32,
    /// The longest time until its next announcement, in seconds.
    pub interval: u32,
    /// Its topics besides the default one, at most [`limits::TOPICS`].
    pub topics: Vec<TopicName>,
    /// Whether it leaves the network.
    pub left: bool,
    /// The signature of its node; `None` if it is not signed.
    pub seal: Option<Arc<Seal>>,
}

/// An ANNOUNCE frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceFrame {
    /// The announcement.
    pub announcement: Announcement,
    /// The siblings `session` and `age`: how long ago it was made, in an answer to SYNC and on a
    /// new link. Such a frame is not passed on.
    pub synced: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnWire {
    node: String,
    session: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    since: u64,
    seq: u64,
    #[serde(default)]
    peers: Vec<String>,
    #[serde(default)]
    links: u32,
    #[serde(default)]
    max_peers: Option<u32>,
    #[serde(default)]
    nodes: u32,
    #[serde(default)]
    interval: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
}

#[derive(Serialize)]
struct FrameOnWire<'a> {
    r#type: &'static str,
    data: Data<'a, OnWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<f64>,
}

impl AnnounceFrame {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data: OnWire = read(frame, "ANNOUNCE")?;
        let peers = data.peers.iter().take(limits::ANNOUNCED_PEERS).map(|peer| peer.parse());
        let announcement = Announcement {
            node: data.node.parse().map_err(|error| wrong("ANNOUNCE", error))?,
            session: data.session.parse().map_err(|error| wrong("ANNOUNCE", error))?,
            address: data.address.and_then(|text| text.parse().ok()),
            since: data.since,
            seq: data.seq,
            peers: peers.collect::<Result<_, _>>().map_err(|error| wrong("ANNOUNCE", error))?,
            links: data.links,
            max_peers: data.max_peers,
            nodes: data.nodes,
            interval: data.interval,
            topics: data.topics.iter().filter_map(|name| name.parse().ok()).take(limits::TOPICS).collect(),
            left: data.left,
            seal: Seal::read(frame).map_err(|error| wrong("ANNOUNCE", error))?,
        };
        Ok(Self { announcement, synced: frame.get("session").map(|_| age_of(frame)) })
    }

    /// Returns the frame. `session` is the sender's; only frames with an age have it.
    pub fn to_frame(&self, session: Session) -> Frame {
        let announcement = &self.announcement;
        let data = match &announcement.seal {
            Some(seal) => Data::Sealed(seal.raw()),
            None => Data::Open(announcement.on_wire()),
        };
        let signature = announcement.seal.as_ref().map(|seal| seal.signature.to_string());
        let (session, age) = (self.synced.map(|_| session.to_string()), self.synced.map(|age| age.as_secs_f64()));
        to_frame(&FrameOnWire { r#type: "ANNOUNCE", data, signature, session, age })
    }
}

impl Announcement {
    /// Signs it with the key of this node.
    pub(crate) fn seal(&mut self, signer: &dyn Signer) {
        self.seal = Seal::make(signer, Purpose::Announce, &self.on_wire());
    }

    /// Returns the length of its signed data in bytes; 0 if it is not signed.
    pub(crate) fn sealed_bytes(&self) -> usize {
        self.seal.as_ref().map_or(0, |seal| seal.canonical.len())
    }

    fn on_wire(&self) -> OnWire {
        OnWire {
            node: self.node.to_string(),
            session: self.session.to_string(),
            address: self.address.as_ref().map(ToString::to_string),
            since: self.since,
            seq: self.seq,
            peers: self.peers.iter().map(ToString::to_string).collect(),
            links: self.links,
            max_peers: self.max_peers,
            nodes: self.nodes,
            interval: self.interval,
            topics: self.topics.iter().map(ToString::to_string).collect(),
            left: self.left,
        }
    }
}
