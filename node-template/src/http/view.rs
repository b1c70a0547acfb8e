//! The view of the network: the nodes that this node knows, their links, and its own peers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::driver::open_link::OpenLink;
use crate::events::text::strip_control;
use crate::http::links::{self, Link};
use crate::protocol::LinkKind;
use crate::protocol::address::PeerAddress;
use crate::protocol::wire::{Member, PeerState, Status};
use crate::util::time_of_day::time_of_day;

/// The state that the page shows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) network: Network,
    pub(crate) peers: Vec<Peer>,
    /// Clients' links among them. The stream has no part of it.
    #[serde(skip)]
    pub(crate) links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Network {
    /// This node first.
    pub(crate) nodes: Vec<Node>,
    /// Pairs of indexes into `nodes`, the smaller first.
    pub(crate) links: BTreeSet<(usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// The node's id, or `plain:<address>` for an exercise peer.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) address: Option<String>,
    /// When this run of the node began, by its own clock: seconds since 1970.
    pub(crate) since: Option<u64>,
    /// Its program and version, by its own account; known of this node and of its neighbours.
    pub(crate) agent: Option<String>,
    /// How many links it announces.
    pub(crate) links: Option<u32>,
    pub(crate) max_peers: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// This node.
    Me,
    #[serde(rename = "full")]
    Native,
    #[serde(rename = "plain")]
    Exercise,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// As in [`Node::id`]; `None` for an address that never led to a node.
    pub(crate) id: Option<String>,
    /// The id of the link; `None` without one.
    pub(crate) link: Option<u64>,
    pub(crate) address: Option<String>,
    pub(crate) state: &'static str,
    /// Why the state is so, as text.
    pub(crate) reason: Option<String>,
    pub(crate) retry_in_seconds: Option<f64>,
    pub(crate) proved: Option<bool>,
    pub(crate) dialled: Option<bool>,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) queued_bytes: Option<usize>,
    /// The path of a link over iroh.
    pub(crate) path: Option<String>,
    pub(crate) open_for_seconds: Option<u64>,
}

impl View {
    /// Builds a view. `reasons`: why addresses could not be dialled.
    pub(crate) fn new(
        status: Status,
        members: &[Member],
        links: &[OpenLink],
        reasons: &BTreeMap<String, String>,
    ) -> Self {
        Self {
            network: network(&status, members, links),
            peers: peers(&status, links, reasons),
            links: links::rows(links, time_of_day()),
            status,
        }
    }
}

/// Returns the id of a link's other end, as in [`Node::id`]; `None` for a client.
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
        agent: Some(status.agent.clone()),
        links: Some(status.connected.len() as u32),
        max_peers: status.max_peers,
    }];
    let mut indexes = BTreeMap::from([(status.node.clone(), 0)]);
    for member in members {
        if member.me {
            nodes[0].since = Some(member.since);
            continue;
        }
        indexes.insert(member.node.clone(), nodes.len());
        nodes.push(Node {
            id: member.node.clone(),
            kind: Kind::Native,
            address: member.address.as_deref().map(strip_control),
            since: Some(member.since),
            agent: None,
            links: Some(member.links),
            max_peers: member.max_peers,
        });
    }
    let mut pairs = BTreeSet::new();
    for link in links {
        let Some(id) = id_of(link) else { continue };
        // As the status has it: a node of the exercise counts once this node has dialled it, too.
        let is_counted = |address: &PeerAddress| status.exercise.contains(&address.to_string());
        if link.kind == LinkKind::Exercise && !link.peer.address.as_ref().is_some_and(is_counted) {
            continue;
        }
        let index = *indexes.entry(id.clone()).or_insert_with(|| {
            let kind = if link.kind == LinkKind::Exercise { Kind::Exercise } else { Kind::Native };
            let address = link.peer.address.as_ref().map(ToString::to_string);
            nodes.push(Node { id, kind, address, since: None, agent: None, links: None, max_peers: None });
            nodes.len() - 1
        });
        if let Some(agent) = &link.agent {
            nodes[index].agent = Some(strip_control(agent));
        }
        if index > 0 {
            pairs.insert((0, index));
        }
    }
    for member in members.iter().filter(|member| !member.me) {
        let from = indexes[&member.node];
        // This node knows its own links better than others announce them.
        for to in member.peers.iter().filter_map(|peer| indexes.get(peer)).filter(|to| **to != 0 && **to != from) {
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
            link: Some(link.link.0),
            address: link.peer.address.as_ref().map(ToString::to_string),
            state: "connected",
            proved: Some(link.proved),
            dialled: Some(link.dialled),
            round_trip_seconds: link.round_trip.map(|time| time.as_secs_f64()),
            queued_bytes: Some(link.queued_bytes),
            path: link.path.as_ref().map(ToString::to_string),
            open_for_seconds: Some(link.open_for.as_secs()),
            ..Peer::default()
        })
        .collect();
    let listed: BTreeSet<_> = rows.iter().filter_map(|row| row.address.clone()).collect();
    for peer in &status.peers {
        let state = match peer.state {
            _ if listed.contains(&peer.address) => continue,
            // Another address of a node listed above.
            PeerState::Connected => continue,
            PeerState::Pending => "pending",
            PeerState::Declined => "declined",
            PeerState::Failed => "failed",
            PeerState::Idle => "idle",
            PeerState::Banned => "kept away",
        };
        let reason = match peer.state {
            PeerState::Declined => Some("it has no free slot for this node".to_owned()),
            PeerState::Banned => peer.cause.clone().map(|cause| strip_control(&cause)),
            PeerState::Failed => reasons.get(&peer.address).cloned(),
            _ => None,
        };
        rows.push(Peer {
            address: Some(strip_control(&peer.address)),
            state,
            reason,
            retry_in_seconds: peer.seconds,
            ..Peer::default()
        });
    }
    rows
}
