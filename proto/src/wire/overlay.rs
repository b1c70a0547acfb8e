//! JOIN, PEERS, DECLINED, BEACON: how nodes whose links are capped find places with each other.

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{NodeId, Session};
use crate::json::{Kind, Value};
use crate::limits;
use crate::wire::{Malformed, read, to_frame, wrong};

/// JOIN: what the sender wants of a node that it has just dialled, or is linked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// It has no other way into the network, or moves a link to a random node: the receiver, if it is full, is to split a link for it.
    pub insist: bool,
    /// It wants addresses and no place.
    pub want: Option<Want>,
    /// The node that gave its place away and sent it here, where one is held for it.
    pub moved_by: Option<NodeId>,
    /// The root of the sender's part of the network, see [`Beacon`].
    pub root: Option<Session>,
}

/// Which addresses a JOIN asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// Some nodes of the network, at random.
    Random,
    /// Those that the receiver is linked to.
    Neighbours,
}

/// PEERS: addresses that the sender dialled or probed itself, in answer to a JOIN that wants some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// What could be read of `data`, at most [`limits::SAMPLE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// How many entries were left out: no address, too long, or beyond the limit.
    pub dropped: usize,
    /// How many more links the sender takes; `None`: as many as come.
    pub free: Option<u32>,
    /// The root of the sender's part of the network.
    pub root: Option<Session>,
}

/// DECLINED: the sender has no place, or gives the receiver's away; its link is closed with 1013 after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declined {
    /// Whom to try instead, at most [`limits::SAMPLE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// How many entries were left out.
    pub dropped: usize,
    /// After how many seconds the sender may be asked again.
    pub retry_after: u64,
    /// The root of the sender's part of the network.
    pub root: Option<Session>,
}

/// BEACON: the pulse of a connected part of a network. Everybody in it knows the same root, and parts that formed apart know each other by their roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// The least session of the part.
    pub root: Session,
    /// The root's own count of its beacons.
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
struct ListOnWire {
    r#type: &'static str,
    data: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
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

#[derive(Serialize)]
struct Typed<T> {
    r#type: &'static str,
    data: T,
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

    /// The frame of this request.
    pub fn to_frame(&self) -> Frame {
        let data = JoinOnWire {
            insist: self.insist,
            want: self.want,
            moved_by: self.moved_by.map(|node| node.to_string()),
            root: self.root.map(|root| root.to_string()),
        };
        to_frame(&Typed { r#type: "JOIN", data })
    }
}

impl Sample {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let (addresses, dropped) = addresses(frame, "PEERS")?;
        let free = number(frame, "free").and_then(|free| u32::try_from(free).ok());
        Ok(Self { addresses, dropped, free, root: root(frame) })
    }

    /// The frame of this sample.
    pub fn to_frame(&self) -> Frame {
        to_frame(&ListOnWire {
            r#type: "PEERS",
            data: self.addresses.iter().map(ToString::to_string).collect(),
            retry_after: None,
            free: self.free,
            root: self.root.map(|root| root.to_string()),
        })
    }
}

impl Declined {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let (addresses, dropped) = addresses(frame, "DECLINED")?;
        let retry_after = number(frame, "retryAfter").unwrap_or(0);
        Ok(Self { addresses, dropped, retry_after, root: root(frame) })
    }

    /// The frame of this refusal.
    pub fn to_frame(&self) -> Frame {
        to_frame(&ListOnWire {
            r#type: "DECLINED",
            data: self.addresses.iter().map(ToString::to_string).collect(),
            retry_after: Some(self.retry_after),
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

    /// The frame of this beacon.
    pub fn to_frame(&self) -> Frame {
        to_frame(&Typed { r#type: "BEACON", data: BeaconOnWire { root: self.root.to_string(), seq: self.seq } })
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
