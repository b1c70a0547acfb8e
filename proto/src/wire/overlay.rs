//! JOIN, PEERS, DECLINED, BEACON: how nodes with a cap find slots at each other.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{NodeId, Session};
use crate::json::{Kind, Value};
use crate::limits;
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// JOIN: what the sender wants of a node that it has dialled or is linked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// High priority: a receiver without a free slot takes one from a peer (slot swap). For the
    /// cases see docs/protocol.md, section 7.12.
    pub insist: bool,
    /// It wants addresses and no slot.
    pub want: Option<Want>,
    /// The node that gave the sender's slot away and referred it here, where one is reserved.
    pub moved_by: Option<NodeId>,
    /// The id of the sender's partition, see [`Beacon`].
    pub root: Option<Session>,
}

/// The addresses that a JOIN asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// Random nodes of the network.
    Random,
    /// The neighbors of the receiver.
    Neighbours,
}

/// PEERS: addresses that the sender dialled or probed itself. It answers a JOIN that wants some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// The addresses in `data`, at most [`limits::SAMPLE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// The number of entries of `data` that are no address or beyond the limit.
    pub dropped: usize,
    /// The number of the sender's free slots; `None`: any number.
    pub free: Option<u32>,
    /// The id of the sender's partition.
    pub root: Option<Session>,
}

/// DECLINED: the sender has no slot, or gives the receiver's away. It then closes the link with
/// 1013.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declined {
    /// The nodes to try instead, at most [`limits::SAMPLE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// The number of entries of `data` that are no address or beyond the limit.
    pub dropped: usize,
    /// The time until the sender may be asked again, in seconds.
    pub retry_after: u64,
    /// Why there is no slot, in words for people, at most [`limits::DECLINED_REASON`] bytes.
    pub reason: Option<String>,
    /// The id of the sender's partition.
    pub root: Option<Session>,
}

/// BEACON: is flooded in a partition of the network, so that all of its nodes know the same
/// partition id. Two nodes with different ids belong to partitions that are not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// The partition id: the lowest session in it.
    pub root: Session,
    /// The number of this beacon, counted by the node with that session.
    pub seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JoinOnWire {
    #[serde(default)]
    insist: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    want: Option<Want>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOnWire<'a> {
    r#type: &'static str,
    data: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct BeaconOnWire {
    root: String,
    seq: u64,
}

impl Join {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let join: JoinOnWire = read(frame, "JOIN")?;
        Ok(Self {
            insist: join.insist,
            want: join.want,
            moved_by: join.moved_by.and_then(|text| text.parse().ok()),
            root: join.root.and_then(|text| text.parse().ok()),
        })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        let data = JoinOnWire {
            insist: self.insist,
            want: self.want,
            moved_by: self.moved_by.map(|node| node.to_string()),
            root: self.root.map(|root| root.to_string()),
        };
        to_frame(&Typed { r#type: "JOIN", data: &data })
    }
}

impl Sample {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let (addresses, dropped) = addresses(frame, "PEERS")?;
        let free = number(frame, "free").and_then(|free| u32::try_from(free).ok());
        Ok(Self { addresses, dropped, free, root: root(frame) })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(&ListOnWire {
            r#type: "PEERS",
            data: self.addresses.iter().map(ToString::to_string).collect(),
            retry_after: None,
            reason: None,
            free: self.free,
            root: self.root.map(|root| root.to_string()),
        })
    }
}

impl Declined {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let (addresses, dropped) = addresses(frame, "DECLINED")?;
        let retry_after = number(frame, "retryAfter").unwrap_or(0);
        let reason = frame.get("reason").and_then(Value::as_str).map(Cow::into_owned);
        let reason = reason.filter(|text| !text.is_empty() && text.len() <= limits::DECLINED_REASON);
        Ok(Self { addresses, dropped, retry_after, reason, root: root(frame) })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(&ListOnWire {
            r#type: "DECLINED",
            data: self.addresses.iter().map(ToString::to_string).collect(),
            retry_after: Some(self.retry_after),
            reason: self.reason.as_deref(),
            free: None,
            root: self.root.map(|root| root.to_string()),
        })
    }
}

impl Beacon {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let beacon: BeaconOnWire = read(frame, "BEACON")?;
        Ok(Self { root: beacon.root.parse().map_err(|error| wrong("BEACON", error))?, seq: beacon.seq })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        let data = BeaconOnWire { root: self.root.to_string(), seq: self.seq };
        to_frame(&Typed { r#type: "BEACON", data: &data })
    }
}

fn addresses(frame: Value<'_>, kind: &'static str) -> Result<(Vec<PeerAddress>, usize), Malformed> {
    let data = frame.get("data").filter(|data| data.kind() == Kind::Array);
    let data = data.ok_or_else(|| wrong(kind, "data is not an array of addresses"))?;
    let (mut addresses, mut dropped) = (Vec::new(), 0);
    for entry in data.elements() {
        let room = addresses.len() < limits::SAMPLE_ADDRESSES;
        let address = room.then(|| entry.as_str().and_then(|text| text.parse().ok())).flatten();
        match address {
            Some(address) => addresses.push(address),
            None => dropped += 1,
        }
    }
    Ok((addresses, dropped))
}

fn root(frame: Value<'_>) -> Option<Session> {
    frame.get("root")?.as_str()?.parse().ok()
}

fn number(frame: Value<'_>, name: &str) -> Option<u64> {
    frame.get(name)?.raw().parse().ok()
}
