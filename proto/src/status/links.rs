//! The open links.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::address::PeerAddress;
use crate::connections::table::{Link, LinkState, LinkTable};
use crate::event::PeerName;
use crate::id::{LinkId, NodeId};
use crate::wire::PathRow;

/// An open link.
#[derive(Debug, Clone)]
pub struct LinkRow {
    /// Its id.
    pub link: LinkId,
    /// The other end, as people know it.
    pub peer: PeerName,
    /// What the other end is.
    pub kind: LinkKind,
    /// Whether the other end has proved that its node id is its own.
    pub proved: bool,
    /// Whether it runs over iroh, so that the transport proves the node id. Then `remote` is the IP
    /// address of the path when it was opened: that of a relay, if it was relayed.
    pub over_iroh: bool,
    /// Whether this node dialled.
    pub dialled: bool,
    /// The address that this node dialled; `None` if the other end did.
    pub dialled_address: Option<PeerAddress>,
    /// The IP address of the other end.
    pub remote: IpAddr,
    /// When it was opened.
    pub opened: Instant,
    /// Whether both ends held the same transactions when their pools were last compared here;
    /// `None`: they never were.
    pub reconciled: Option<bool>,
}

/// What is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A native peer.
    Native,
    /// An exercise peer.
    Exercise,
    /// A client, a node without a slot, or a peer that has not sent its HANDSHAKE yet.
    Client,
}

/// Returns every link that is open and not closing, the oldest first. `reconciled`: see
/// [`LinkRow::reconciled`].
pub(crate) fn rows(links: &LinkTable, reconciled: impl Fn(LinkId) -> Option<bool>) -> Vec<LinkRow> {
    let open = links.iter().filter(|(_, link)| !link.closing);
    let row = |(id, link): (LinkId, &Link)| LinkRow {
        link: id,
        peer: link.name(),
        kind: match link.state {
            LinkState::HelloSent(_) | LinkState::Verifying(_) | LinkState::Established(_) => LinkKind::Native,
            LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => LinkKind::Exercise,
            LinkState::Client | LinkState::Standby(_) | LinkState::AwaitingAdmission(_) => LinkKind::Client,
        },
        proved: link.is_proved(),
        over_iroh: link.authenticated.is_some(),
        dialled: link.dialled.is_some(),
        dialled_address: link.dialled.clone(),
        remote: link.remote,
        opened: link.opened,
        reconciled: reconciled(id),
    };
    open.map(row).collect()
}

/// Returns the paths of links, as the runtime reported them, with the peers at their other ends.
pub(crate) fn paths(links: &LinkTable, reported: &[(LinkId, String, Duration)]) -> Vec<PathRow> {
    let row = |(link, path, round_trip): &(LinkId, String, Duration)| {
        let peer = links.get(*link).filter(|open| open.is_peer()).and_then(linked_name)?;
        let round_trip_micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        Some(PathRow { link: link.0, peer, path: path.clone(), round_trip_micros })
    };
    reported.iter().filter_map(row).collect()
}

/// Returns the native peers with an established link, in the order of their ids.
pub(crate) fn linked_nodes(links: &LinkTable) -> Vec<NodeId> {
    let established = links.iter().filter(|(_, link)| link.takes_transactions());
    let nodes: BTreeSet<NodeId> = established.filter_map(|(_, link)| link.native()).map(|peer| peer.id).collect();
    nodes.into_iter().collect()
}

/// Returns the peers with an established link, each once: their addresses, or ids where no address
/// is known.
pub(crate) fn linked_names(links: &LinkTable) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, link) in links.iter().filter(|(_, link)| link.takes_transactions()) {
        names.extend(linked_name(link).filter(|name| !names.contains(name)));
    }
    names
}

/// Returns the address of the other end, or its id where no address is known.
fn linked_name(link: &Link) -> Option<String> {
    let name = link.name();
    let address = name.address.map(|address| address.to_string());
    address.or_else(|| name.node.map(|node| node.to_string()))
}

/// Returns the addresses of the exercise peers among [`linked_names`], each once.
pub(crate) fn linked_exercise(links: &LinkTable) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for (_, link) in links.iter().filter(|(_, link)| link.takes_transactions()) {
        let address = link.exercise_address().map(ToString::to_string);
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    addresses
}
