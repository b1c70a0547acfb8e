//! The messages on the wire: text frames, one JSON object each, `{"type": …, "data": …, …siblings}`.
//!
//! [`Message::parse`] turns a frame into a [`Message`], and does the dear work (reading, identity) on the caller's core; the functions beside it
//! write frames. Unknown types and unknown siblings are ignored, never an error, so that versions can differ. `docs/protocol.md` shows a sample of
//! each message and the recipe for a new one.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::address::PeerAddress;
use super::frame::Frame;
use super::identity::{NodeId, Session};
use super::json::{JsonError, Kind, Parser, Value};
use super::limits;
use super::transaction::{InvalidTransaction, Origin, Transaction, TransactionId};

/// The version of this protocol. Of two versions both sides speak the lower.
pub const PROTOCOL: u32 = 1;

/// One frame, understood.
#[derive(Debug)]
pub enum Message {
    /// The first frame on every dialled link.
    Handshake(Handshake),
    /// A transaction, flooded and stored.
    Transaction(Delivery),
    /// The answer to a client's transaction.
    Ack(Ack),
    /// A question for the node's status, or its answer.
    Status(StatusFrame),
    /// A step in finding out what two full peers' pools lack.
    Sync(SyncFrame),
    /// What a full peer lacks and wants sent.
    Want(Vec<TransactionId>),
    /// A full peer wants nothing more of these origins on this link.
    Prune(Vec<Origin>),
    /// A full peer wants these origins again.
    Graft(Vec<Origin>),
    /// A type that this version does not know; ignored.
    Unknown(String),
}

/// Why a frame is no message. The peer's fault: counted, and said in the debug log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, too deep, or with text that JSON forbids.
    #[error("not readable as JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not an object with a `type`.
    #[error("not an object with a \"type\" text")]
    Shape,
    /// A known type whose data is not what it must be.
    #[error("{kind}: {reason}")]
    Data {
        /// The message's type.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// HANDSHAKE: the sender's own address, every address that it has an open connection to, the one just dialled included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// What could be read of `data`, in its order, at most [`limits::HANDSHAKE_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// How many entries of `data` were left out: no address, too long, or beyond the limit.
    pub dropped: usize,
    /// What a full peer says of itself; a node of the exercise has none.
    pub node: Option<NodeInfo>,
}

/// The sibling `node` of a HANDSHAKE: what a full peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its public key.
    pub id: NodeId,
    /// Which run of it.
    pub session: Session,
    /// Program and version, for people.
    pub agent: String,
    /// The protocol version that it speaks at most.
    pub protocol: u32,
    /// The name of its network; nodes of different names do not link.
    pub network: String,
    /// Where it can be dialled, as it believes; checked by a probe before it is passed on.
    pub address: Option<PeerAddress>,
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
    #[serde(default)]
    features: Vec<Cow<'a, str>>,
}

fn first_protocol() -> u32 {
    1
}

/// A TRANSACTION frame.
#[derive(Debug)]
pub struct Delivery {
    /// The transaction, or why its data is none: a client is told in its ACK.
    pub transaction: Result<Transaction, InvalidTransaction>,
    /// The sibling `from`: who first sent it into the network. Believed from full peers only.
    pub origin: Option<Origin>,
    /// The sibling `ack`: the sender, a client, asks for an ACK once it is on disk.
    pub ack: bool,
    /// Whether the frame has the sibling `session`: it came out of a pool in answer to a comparison, and is not relayed.
    pub synced: bool,
}

/// What became of a client's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckStatus {
    /// New here, and on disk now.
    Stored,
    /// Known here already, and on disk.
    Duplicate,
    /// Refused; `reason` says why.
    Rejected,
}

/// ACK: the answer to a client's TRANSACTION, sent after the disk has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The transaction's identity, 64 hexadecimal digits; empty where the data was no transaction.
    #[serde(default)]
    pub id: String,
    /// What became of it.
    pub status: AckStatus,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On how many links it went out; zero means that no other node has it from us yet.
    #[serde(default)]
    pub links: usize,
}

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
    /// What its pool holds.
    pub pool: Summary,
    /// Whether the pool's file takes writes.
    pub writable: bool,
    /// How many of the identities asked for are in the pool's file.
    pub held: usize,
    /// Everything counted since the start, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// What a pool holds, in short: two pools with equal summaries are equal (but for a 2^-256 accident).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many transactions.
    pub count: u64,
    /// The sum of all identities as 256-bit big-endian numbers, modulo 2^256: 64 hexadecimal digits.
    pub sum: String,
}

impl Message {
    /// Reads one frame. `parser` is reused from frame to frame, so that reading allocates nothing that is thrown away.
    ///
    /// # Errors
    /// [`Malformed`] if the text is no message; a TRANSACTION whose data is no transaction is a message all the same, see [`Delivery`].
    pub fn parse(parser: &mut Parser, text: &str) -> Result<Self, Malformed> {
        let message = parser.parse(text).map_err(Malformed::from).and_then(Self::read);
        parser.trim();
        message
    }

    fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let kind = frame.get("type").and_then(Value::as_str).ok_or(Malformed::Shape)?;
        match &*kind {
            "TRANSACTION" => Delivery::read(frame).map(Self::Transaction),
            "HANDSHAKE" => Handshake::read(frame).map(Self::Handshake),
            "ACK" => read(frame, "ACK").map(Self::Ack),
            "SYNC" => SyncFrame::read(frame).map(Self::Sync),
            "WANT" => read_list(frame, "WANT", limits::WANT_IDS).map(Self::Want),
            "PRUNE" => read_list(frame, "PRUNE", limits::ORIGINS).map(Self::Prune),
            "GRAFT" => read_list(frame, "GRAFT", limits::ORIGINS).map(Self::Graft),
            "STATUS" => StatusFrame::read(frame).map(Self::Status),
            _ => Ok(Self::Unknown(kind.chars().take(limits::SHOWN_CHARACTERS).collect())),
        }
    }

    /// The message's type as it stands on the wire, for logs.
    pub fn kind(&self) -> &str {
        match self {
            Self::Handshake(_) => "HANDSHAKE",
            Self::Transaction(_) => "TRANSACTION",
            Self::Ack(_) => "ACK",
            Self::Status(_) => "STATUS",
            Self::Sync(_) => "SYNC",
            Self::Want(_) => "WANT",
            Self::Prune(_) => "PRUNE",
            Self::Graft(_) => "GRAFT",
            Self::Unknown(kind) => kind,
        }
    }
}

fn wrong(kind: &'static str, reason: impl ToString) -> Malformed {
    Malformed::Data { kind, reason: reason.to_string() }
}

/// Reads `data` by its serde description.
fn read<'a, T: Deserialize<'a>>(frame: Value<'a>, kind: &'static str) -> Result<T, Malformed> {
    let data = frame.get("data").ok_or_else(|| wrong(kind, "no data"))?;
    serde_json::from_str(data.raw()).map_err(|error| wrong(kind, error))
}

impl Handshake {
    fn read(frame: Value<'_>) -> Result<Self, Malformed> {
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

    /// The frame of this handshake.
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
            max_peers: None,
            features: Vec::new(),
        }
    }
}

impl Delivery {
    fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data = frame.get("data").ok_or_else(|| wrong("TRANSACTION", "no data"))?;
        let origin = frame.get("from").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let transaction = Transaction::from_value(data, origin.as_ref());
        let ack = frame.get("ack").is_some_and(|ack| ack.kind() == Kind::True);
        Ok(Self { transaction, origin, ack, synced: frame.get("session").is_some() })
    }

    /// A client's frame: the transaction, and the wish for an ACK. `body` is the object's JSON text, sent as it is.
    pub fn client_frame(body: &str, ack: bool) -> Frame {
        let wish = if ack { r#","ack":true"# } else { "" };
        Frame::from(format!(r#"{{"type":"TRANSACTION","data":{body}{wish}}}"#))
    }

    /// A frame that brings a full peer what its pool lacks. `body` is the object's compact JSON.
    pub fn sync_frame(body: &str, session: Session) -> Frame {
        Frame::from(format!(r#"{{"type":"TRANSACTION","data":{body},"session":"{session}"}}"#))
    }
}

#[derive(Serialize)]
struct Typed<'a, T> {
    r#type: &'static str,
    data: &'a T,
}

fn to_frame(message: &impl Serialize) -> Frame {
    Frame::from(
        serde_json::to_string(message)
            .expect("our messages have text keys and finite numbers, which is all that serialising asks"),
    )
}

impl Ack {
    /// The frame of this answer.
    pub fn to_frame(&self) -> Frame {
        to_frame(&Typed { r#type: "ACK", data: self })
    }
}

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
    fn read(frame: Value<'_>) -> Result<Self, Malformed> {
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

    /// The frame of this step.
    pub fn to_frame(&self) -> Frame {
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
        to_frame(&OnWire { r#type: "SYNC", data, set: "transactions" })
    }
}

/// Reads `data` as a list of names, at most `most`; a name that is none makes the whole malformed.
fn read_list<T: std::str::FromStr<Err: std::fmt::Display>>(
    frame: Value<'_>,
    kind: &'static str,
    most: usize,
) -> Result<Vec<T>, Malformed> {
    let data = frame
        .get("data")
        .filter(|data| data.kind() == Kind::Array)
        .ok_or_else(|| wrong(kind, "data is not an array"))?;
    let names = data.elements().take(most).map(|name| {
        let text = name.as_str().ok_or_else(|| wrong(kind, "an entry is not a text"))?;
        text.parse().map_err(|error| wrong(kind, error))
    });
    names.collect()
}

fn list_frame(kind: &'static str, names: &[impl ToString]) -> Frame {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    to_frame(&Typed { r#type: kind, data: &names })
}

/// The WANT frame for at most [`limits::WANT_IDS`] transactions.
pub fn want_frame(ids: &[TransactionId]) -> Frame {
    list_frame("WANT", ids)
}

/// The PRUNE frame for at most [`limits::ORIGINS`] origins.
pub fn prune_frame(origins: &[Origin]) -> Frame {
    list_frame("PRUNE", origins)
}

/// The GRAFT frame for at most [`limits::ORIGINS`] origins.
pub fn graft_frame(origins: &[Origin]) -> Frame {
    list_frame("GRAFT", origins)
}

#[derive(Serialize, Deserialize, Default)]
struct Question {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holds: Vec<String>,
}

impl StatusFrame {
    fn read(frame: Value<'_>) -> Result<Self, Malformed> {
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
