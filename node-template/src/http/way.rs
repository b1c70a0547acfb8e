//! The way of one transaction through this node: who brought it, to whom it was sent, to whom not
//! and why, and when it was on disk.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use serde::Serialize;

use crate::client::exercise_fields::exercise_hash;
use crate::events::text::strip_control_max;
use crate::events::ways::{WAYS, Way};
use crate::http::activity::id_of;
use crate::http::frames::milliseconds;
use crate::http::input::Path;
use crate::http::limits::{SAMPLES, TICK};
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::http::view::View;
use crate::protocol::event::PeerName;
use crate::protocol::id::LinkId;
use crate::protocol::json::Parser;
use crate::protocol::trace::{SendDecision, TracedLink};
use crate::protocol::transaction::{Origin, Transaction, TransactionId};

/// Characters of an `id` or a `hash` in a transaction that are shown.
const SHOWN: usize = 200;

/// The answer.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    id: String,
    /// Where it is in the pool; `None`: it is not on disk yet.
    position: Option<u64>,
    ids: Vec<Named>,
    /// Why the way is not known, and what to do; `None`: it is.
    note: Option<String>,
    way: Option<Shown>,
}

/// One of the ids of a transaction.
#[derive(Debug, PartialEq, Serialize)]
struct Named {
    name: &'static str,
    value: Option<String>,
    text: String,
}

/// The way, as it was recorded.
#[derive(Debug, Serialize)]
struct Shown {
    arrived: Arrived,
    /// When it was on disk, in milliseconds since 1970.
    stored: Option<f64>,
    links: Vec<Decided>,
    more: usize,
    clients: usize,
}

#[derive(Debug, Serialize)]
struct Arrived {
    /// Milliseconds since 1970.
    time: f64,
    /// `node`, `client` or `self`.
    by: &'static str,
    /// Whether it came with a comparison of pools.
    synced: bool,
    link: Option<u64>,
    /// As in [`Node`](crate::http::view::Node::id).
    peer: Option<String>,
    address: Option<String>,
    /// The node where it entered the network, as far as is known.
    origin: Option<String>,
    text: String,
}

#[derive(Debug, Serialize)]
struct Decided {
    link: u64,
    /// As in [`Node`](crate::http::view::Node::id).
    peer: Option<String>,
    address: Option<String>,
    /// The decision: `sent`, or why it was not.
    outcome: &'static str,
    text: &'static str,
    /// Whether the link is still open.
    open: bool,
}

/// Handles `GET /api/transactions/{id}/way`.
pub(crate) async fn way(FromState(state): FromState<Shared>, Path(id): Path<String>) -> Result<Json<Answer>, Problem> {
    let id: TransactionId = id.parse().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("{error}")))?;
    let (way, stored) = (state.node.ways.find(&id), state.node.pool().find(&id).await?);
    if way.is_none() && stored.is_none() {
        let detail = "this node has no such transaction: it never came, or is not on disk yet; \
                      /api/transactions lists those that it has";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let position = stored.as_ref().map(|(position, _)| *position);
    let view = state.hub.view().await?;
    let note = way.is_none().then(|| not_recorded(position, state.node.pooled_at_start() as u64));
    Ok(Json(Answer {
        id: id.to_string(),
        position,
        ids: ids(id, stored.as_ref().map(|(_, transaction)| transaction)),
        note,
        way: way.map(|way| Shown::new(way, &view)),
    }))
}

/// Explains why nothing is recorded of a transaction.
fn not_recorded(position: Option<u64>, pooled_at_start: u64) -> String {
    let why = if position.is_some_and(|position| position < pooled_at_start) {
        "It was in transactions.json already when this node started, and ways are kept in memory.".to_owned()
    } else {
        let rate = SAMPLES as u128 * 1_000 / TICK.as_millis();
        format!(
            "A node keeps the ways of its last {WAYS} transactions, and of {rate} a second at most. This one came \
             before those, or in a burst."
        )
    };
    format!("{why} Add a transaction now: its way is recorded.")
}

/// Returns the ids of a transaction: what the network knows it by, and what its author wrote.
fn ids(id: TransactionId, transaction: Option<&Transaction>) -> Vec<Named> {
    let mut parser = Parser::new();
    let object = transaction.and_then(|transaction| parser.parse(transaction.body()).ok());
    let of_author = |name: &str| {
        let value = object.as_ref()?.get(name)?;
        let text = value.as_str().map_or_else(|| value.raw().to_owned(), |text| text.into_owned());
        Some(strip_control_max(&text, SHOWN))
    };
    let identity = "The identity: SHA-256 of the canonical form (RFC 8785) of the whole object. Nodes know a \
                    transaction by it: equal content is one transaction, whatever its other ids say.";
    let (wire, hash) = (of_author("id"), of_author("hash"));
    let wire_text = match &wire {
        Some(_) => {
            "The member \"id\", as it travels in \"data\" of TRANSACTION. Its author chose it, so that the same payment \
             can be made twice. The network does not use it."
        }
        None => "The author wrote no member \"id\". The network needs none.",
    };
    let expected = object.as_ref().map(exercise_hash);
    let hash_text = match (&hash, expected) {
        (Some(hash), Some(expected)) if *hash == expected => {
            "The member \"hash\": SHA-256 of fromAddress, toAddress, amount and timeStamp one after the other, as the \
             exercise computes it, and it is right. It leaves out the other members. The network does not use it."
        }
        (Some(_), _) => {
            "The member \"hash\", as its author wrote it. It is not what the exercise computes of fromAddress, \
             toAddress, amount and timeStamp. The network does not use it."
        }
        (None, _) => "The author wrote no member \"hash\". The network needs none.",
    };
    vec![
        Named { name: "identity", value: Some(id.to_string()), text: identity.to_owned() },
        Named { name: "id", value: wire, text: wire_text.to_owned() },
        Named { name: "hash", value: hash, text: hash_text.to_owned() },
    ]
}

impl Shown {
    fn new(Way { time, stored, trace }: Way, view: &View) -> Self {
        let origin = trace.origin.as_ref().map(ToString::to_string);
        let synced = trace.origin.is_none();
        let from = trace.from.as_ref().map(|(link, peer)| (*link, peer));
        let by = match from {
            None => "self",
            Some((_, PeerName { node: None, address: None })) => "client",
            Some(_) => "node",
        };
        let links = trace.links.iter().map(|traced| Decided::new(traced, view)).collect();
        Self {
            arrived: Arrived {
                time: milliseconds(time),
                by,
                synced,
                link: from.map(|(link, _)| link.0),
                peer: from.and_then(|(_, peer)| id_of(peer)),
                address: from.and_then(|(_, peer)| peer.address.as_ref().map(ToString::to_string)),
                text: arrival(from, trace.origin.as_ref(), view),
                origin,
            },
            stored: stored.map(milliseconds),
            links,
            more: trace.more,
            clients: trace.clients,
        }
    }
}

/// Says how a transaction came.
fn arrival(from: Option<(LinkId, &PeerName)>, origin: Option<&Origin>, view: &View) -> String {
    let Some((link, peer)) = from else {
        return "It entered the network at this node: by its page or API, its program, or transactions.json."
            .to_owned();
    };
    if peer.node.is_none() && peer.address.is_none() {
        return format!("A client of this node sent it on link {link}, so it entered the network here.");
    }
    let who = name(&id_of(peer), view).unwrap_or_else(|| peer.to_string());
    let is_origin = match origin {
        None => {
            return format!(
                "{who} sent it on link {link}, as a comparison of pools (SYNC, WANT) found that this node lacked it."
            );
        }
        Some(Origin::Node(node)) => peer.node == Some(*node),
        Some(Origin::Exercise(address)) => peer.node.is_none() && peer.address.as_ref() == Some(address),
    };
    if is_origin && peer.node.is_none() {
        // It floods what it gets, and names nobody.
        return format!("{who} sent it on link {link}. A node of the exercise does not say where it came from.");
    }
    if is_origin {
        return format!("{who} sent it on link {link}. It entered the network there.");
    }
    let origin = origin.map(ToString::to_string);
    let first = name(&origin, view).unwrap_or_else(|| "a node that this one does not know".to_owned());
    format!("{who} passed it on, on link {link}. It entered the network at {first}.")
}

/// Returns the address of a node without its scheme, or the beginning of its id.
fn name(id: &Option<String>, view: &View) -> Option<String> {
    let id = id.as_ref()?;
    let plain = |address: &str| address.trim_start_matches("ws://").trim_start_matches("wss://").to_owned();
    if let Some(address) = id.strip_prefix("plain:") {
        return Some(plain(address));
    }
    let known = view.network.nodes.iter().find(|node| node.id == *id);
    let address = known.and_then(|node| node.address.as_deref()).map(plain);
    Some(address.unwrap_or_else(|| id.chars().take(8).collect()))
}

impl Decided {
    fn new(TracedLink { link, peer, decision }: &TracedLink, view: &View) -> Self {
        let (outcome, text) = said(*decision);
        Self {
            link: link.0,
            peer: id_of(peer),
            address: peer.address.as_ref().map(ToString::to_string),
            outcome,
            text,
            open: view.links.iter().any(|row| row.id == link.0),
        }
    }
}

/// Returns the name of a decision, and the sentence for people.
fn said(decision: SendDecision) -> (&'static str, &'static str) {
    match decision {
        SendDecision::Sent => ("sent", "It was sent."),
        SendDecision::QueueFull => (
            "queue full",
            "It was not sent: the queue of the link was full. It follows from the pool, or by a comparison of pools.",
        ),
        SendDecision::Brought => ("brought", "It was not sent: that node brought it."),
        SendDecision::Origin => ("origin", "It was not sent: it entered the network there."),
        SendDecision::Pruned => (
            "pruned",
            "It was not sent: that node asked by PRUNE for nothing of this origin, as another link brings it. \
             A comparison of pools finds what would be missing.",
        ),
        SendDecision::Compares => (
            "compares",
            "It was not sent: it came with a comparison of pools, and that node finds it by one of its own.",
        ),
        SendDecision::SecondLink => {
            ("second link", "It was not sent here: the older link to the same node carries the transactions.")
        }
        SendDecision::ReadsElsewhere => (
            "reads elsewhere",
            "It was not sent here: a node of the exercise sends on the link that it dialled, and reads on the one \
             that this node dialled.",
        ),
        SendDecision::Withheld => (
            "withheld",
            "It was not sent at once: it is held back until it is known that this node of the exercise stays.",
        ),
        SendDecision::Behind => (
            "behind",
            "It was not sent at once: that node is behind, and gets it from the pool or by a comparison of pools.",
        ),
        SendDecision::NotLinked => {
            ("not a peer", "It was not sent: the HANDSHAKEs were not done, or that node had no slot here.")
        }
        SendDecision::Closing => ("closing", "It was not sent: the connection was being closed."),
        _ => ("other", "It was not sent."),
    }
}
