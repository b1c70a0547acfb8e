//! HANDSHAKE: who a node is, and which nodes it is linked to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{NodeId, Session};
use crate::json::{Kind, Value};
use crate::limits;
use crate::topic_name::TopicName;
use crate::wire::codec::{Malformed, to_frame, wrong};
use crate::wire::proof::{Proof, ProofOnWire};

/// The version of this protocol. Two nodes speak the lower of their versions.
pub const PROTOCOL: u32 = 1;
/// The name in `features` of a node that answers CALLBACK.
const CALLBACK: &str = "callback";
/// The name in `features` of a node that is a relay for others.
const RELAY: &str = "relay";

/// HANDSHAKE: the sender's own address, and every address that it has an open connection to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The addresses in `data`, in its order, at most [`limits::HANDSHAKE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// The number of entries of `data` that are no address or beyond the limit.
    pub dropped: usize,
    /// What a native peer says of itself; an exercise peer sends none.
    pub node: Option<NodeInfo>,
}

/// The sibling `node` of a HANDSHAKE: what a native peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id: its public key.
    pub id: NodeId,
    /// Its session: one run of its process.
    pub session: Session,
    /// Its program and version, for people.
    pub agent: String,
    /// The highest protocol version that it speaks.
    pub protocol: u32,
    /// The name of its network; nodes of different networks do not link.
    pub network: String,
    /// Where it can be dialled, by its own account. A probe verifies it before it is passed on.
    pub address: Option<PeerAddress>,
    /// The most nodes that it links to; `None`: all. A node with a cap sends JOIN next.
    pub max_peers: Option<u32>,
    /// Its topics besides the default one, at most [`limits::TOPICS`].
    pub topics: Vec<TopicName>,
    /// Whether it opens a connection for requests when a node asks for one by CALLBACK.
    pub calls_back: bool,
    /// Whether it is a relay, at its address, for nodes that are reached by their ids.
    pub relays: bool,
    /// Its proof that the id is its own; nodes of an earlier release send none.
    pub proof: Option<Box<Proof>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeOnWire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    agent: Cow<'a, str>,
    #[serde(default = "first_protocol")]
    protocol: u32,
    #[serde(borrow, default)]
    network: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    address: Option<Cow<'a, str>>,
    #[serde(default)]
    max_peers: Option<u32>,
    #[serde(borrow, default)]
    features: Vec<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    proof: Option<ProofOnWire<'a>>,
}

fn first_protocol() -> u32 {
    1
}

impl Handshake {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data = frame.get("data").ok_or_else(|| wrong("HANDSHAKE", "no data"))?;
        if data.kind() != Kind::Array {
            return Err(wrong("HANDSHAKE", "data is not an array of addresses"));
        }
        let mut addresses = Vec::new();
        let mut dropped = 0;
        for entry in data.elements() {
            let address = (addresses.len() < limits::HANDSHAKE_ADDRESSES)
                .then(|| entry.as_str().and_then(|text| text.parse::<PeerAddress>().ok()))
                .flatten();
            match address {
                Some(address) => addresses.push(address),
                None => dropped += 1,
            }
        }
        let node = frame.get("node").map(NodeInfo::read).transpose()?;
        Ok(Self { addresses, dropped, node })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        #[derive(Serialize)]
        struct OnWire<'a> {
            r#type: &'static str,
            data: Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            node: Option<NodeOnWire<'a>>,
        }
        let data = self.addresses.iter().map(ToString::to_string).collect();
        to_frame(&OnWire { r#type: "HANDSHAKE", data, node: self.node.as_ref().map(NodeInfo::on_wire) })
    }
}

impl NodeInfo {
    fn read(value: Value<'_>) -> Result<Self, Malformed> {
        let node: NodeOnWire<'_> = serde_json::from_str(value.raw()).map_err(|error| wrong("HANDSHAKE", error))?;
        let shown = |text: &str| text.chars().take(limits::SHOWN_CHARACTERS).collect::<String>();
        Ok(Self {
            id: node.id.parse().map_err(|error| wrong("HANDSHAKE", error))?,
            session: node.session.parse().map_err(|error| wrong("HANDSHAKE", error))?,
            agent: shown(&node.agent),
            protocol: node.protocol,
            network: shown(&node.network),
            address: node.address.and_then(|text| text.parse().ok()),
            max_peers: node.max_peers,
            topics: node.topics.iter().filter_map(|name| name.parse().ok()).take(limits::TOPICS).collect(),
            calls_back: node.features.iter().any(|name| name == CALLBACK),
            relays: node.features.iter().any(|name| name == RELAY),
            proof: node
                .proof
                .map(|proof| proof.read().map(Box::new).map_err(|error| wrong("HANDSHAKE", error)))
                .transpose()?,
        })
    }

    fn on_wire(&self) -> NodeOnWire<'_> {
        NodeOnWire {
            id: self.id.to_string().into(),
            session: self.session.to_string().into(),
            agent: Cow::Borrowed(&self.agent),
            protocol: self.protocol,
            network: Cow::Borrowed(&self.network),
            address: self.address.as_ref().map(|address| address.to_string().into()),
            max_peers: self.max_peers,
            features: [(self.calls_back, CALLBACK), (self.relays, RELAY)]
                .into_iter()
                .filter_map(|(has, name)| has.then_some(Cow::Borrowed(name)))
                .collect(),
            topics: self.topics.iter().map(|name| Cow::Borrowed(name.as_str())).collect(),
            proof: self.proof.as_deref().map(Proof::on_wire),
        }
    }
}
