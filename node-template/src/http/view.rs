//! The network as one picture: the nodes that this node knows of, their links, and its own table of peers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::driver::open_link::OpenLink;
use crate::events::text::plain;
use crate::protocol::LinkKind;
use crate::protocol::wire::{Member, PeerState, Status};

/// How things stand.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) network: Network,
    pub(crate) peers: Vec<Peer>,
}

/// Nodes, and who is linked to whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Network {
    /// This node first.
    pub(crate) nodes: Vec<Node>,
    /// Pairs of places in `nodes`, the smaller first.
    pub(crate) links: BTreeSet<(usize, usize)>,
}

/// One node of the network.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// What names it among the others: the node's id, or `plain:<address>` for a node of the exercise.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) address: Option<String>,
    /// When this run of it began, by its own clock: seconds since 1970.
    pub(crate) since: Option<u64>,
    /// To how many nodes it says that it is linked.
    pub(crate) links: Option<u32>,
    pub(crate) max_peers: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// This node.
    Me,
    /// One of ours.
    Full,
    /// A node of the exercise.
    Plain,
}

/// A row of the table of peers.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// As in [`Node::id`]; `None` for an address behind which nobody was met.
    pub(crate) id: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) state: &'static str,
    /// In words.
    pub(crate) reason: Option<String>,
    /// When it is tried again, where that is known.
    pub(crate) retry_in_seconds: Option<f64>,
    /// Whether we dialled the link.
    pub(crate) dialled: Option<bool>,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) queued_bytes: Option<usize>,
    pub(crate) open_for_seconds: Option<u64>,
}

impl View {
    /// Puts what the node told together. `reasons`: why addresses could not be dialled, in words.
    pub(crate) fn new(
        status: Status,
        members: &[Member],
        links: &[OpenLink],
        reasons: &BTreeMap<String, String>,
    ) -> Self {
        Self { network: network(&status, members, links), peers: peers(&status, links, reasons), status }
    }
}

/// What names the other end of a link among all nodes; `None` for a client.
fn id_of(link: &OpenLink) -> Option<String> {
    match (link.kind, &link.peer.node, &link.peer.address) {
        (LinkKind::Native, Some(node), _) => Some(node.to_string()),
        (LinkKind::Exercise, _, Some(address)) => Some(format!("plain:{address}")),
        _ => None,
    }
}

fn network(status: &Status, members: &[Member], links: &[OpenLink]) -> Network {
    let mut nodes = vec![Node {
        id: status.node.clone(),
        kind: Kind::Me,
        address: Some(status.address.clone()),
        since: None,
        links: Some(status.connected.len() as u32),
        max_peers: status.max_peers,
    }];
    let mut places = BTreeMap::from([(status.node.clone(), 0)]);
    for member in members {
        if member.me {
            nodes[0].since = Some(member.since);
            continue;
        }
        places.insert(member.node.clone(), nodes.len());
        nodes.push(Node {
            id: member.node.clone(),
            kind: Kind::Full,
            address: member.address.as_deref().map(plain),
            since: Some(member.since),
            links: Some(member.links),
            max_peers: member.max_peers,
        });
    }
    let mut pairs = BTreeSet::new();
    for link in links {
        let Some(id) = id_of(link) else { continue };
        let place = *places.entry(id.clone()).or_insert_with(|| {
            let kind = if link.kind == LinkKind::Exercise { Kind::Plain } else { Kind::Full };
            let address = link.peer.address.as_ref().map(ToString::to_string);
            nodes.push(Node { id, kind, address, since: None, links: None, max_peers: None });
            nodes.len() - 1
        });
        if place > 0 {
            pairs.insert((0, place));
        }
    }
    for member in members.iter().filter(|member| !member.me) {
        let from = places[&member.node];
        // To whom we are linked we know better than others do.
        for to in member.peers.iter().filter_map(|peer| places.get(peer)).filter(|to| **to != 0 && **to != from) {
            pairs.insert((from.min(*to), from.max(*to)));
        }
    }
    Network { nodes, links: pairs }
}

fn peers(status: &Status, links: &[OpenLink], reasons: &BTreeMap<String, String>) -> Vec<Peer> {
    let mut rows: Vec<Peer> = links
        .iter()
        .filter(|link| link.kind != LinkKind::Client)
        .map(|link| Peer {
            id: id_of(link),
            address: link.peer.address.as_ref().map(ToString::to_string),
            state: "connected",
            reason: None,
            retry_in_seconds: None,
            dialled: Some(link.dialled),
            round_trip_seconds: link.round_trip.map(|time| time.as_secs_f64()),
            queued_bytes: Some(link.queued_bytes),
            open_for_seconds: Some(link.open_for.as_secs()),
        })
        .collect();
    let listed: BTreeSet<_> = rows.iter().filter_map(|row| row.address.clone()).collect();
    for peer in &status.peers {
        let state = match peer.state {
            _ if listed.contains(&peer.address) => continue,
            // Another address of a node that stands above.
            PeerState::Connected => continue,
            PeerState::Pending => "pending",
            PeerState::Declined => "declined",
            PeerState::Failed => "failed",
            PeerState::Idle => "idle",
            PeerState::Banned => "kept away",
        };
        let reason = match peer.state {
            PeerState::Declined => Some("it has no place for us".to_owned()),
            PeerState::Banned => peer.cause.clone().map(|cause| plain(&cause)),
            PeerState::Failed => reasons.get(&peer.address).cloned(),
            _ => None,
        };
        rows.push(Peer {
            address: Some(plain(&peer.address)),
            state,
            reason,
            retry_in_seconds: peer.seconds,
            ..Peer::default()
        });
    }
    rows
}
