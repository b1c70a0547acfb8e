//! The open links, one row each: who dialled, since when, and why there are several to one peer.

use serde::Serialize;

use crate::driver::open_link::OpenLink;
use crate::events::text::strip_control;
use crate::http::activity::id_of;
use crate::protocol::LinkKind;
use crate::protocol::event::PeerName;

/// Why two links to an exercise peer are both needed.
const BOTH_WAYS: &str = "A node of the exercise sends on the link that it dialled, and reads on the link that it accepted. So each end dialled the other, and both links are needed.";
/// Why there may be two links to a native peer.
const DUPLICATE: &str = "Both ends dialled at about the same time. One link is enough: the younger one waits until the older one has answered, and is closed then.";

/// An open link.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    pub(crate) id: u64,
    /// `native`, `exercise` or `client`: as in the metrics.
    pub(crate) kind: &'static str,
    /// The node at the other end, as in [`Node`](crate::http::view::Node::id).
    pub(crate) peer: Option<String>,
    /// The address that leads to the other end.
    pub(crate) address: Option<String>,
    /// Whether this node dialled.
    pub(crate) dialled: bool,
    /// What it dialled.
    pub(crate) dialled_address: Option<String>,
    /// The IP address of the other end.
    pub(crate) remote: String,
    pub(crate) proved: bool,
    pub(crate) agent: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) since: u64,
    pub(crate) round_trip_seconds: Option<f64>,
    /// The path of a link over iroh, such as `over relay 192.0.2.7:4001`.
    pub(crate) path: Option<String>,
    pub(crate) queued_bytes: usize,
    /// Whether both pools were equal at the last comparison.
    pub(crate) reconciled: Option<bool>,
    /// The other links to the same peer.
    pub(crate) others: Vec<u64>,
    /// Why there are several.
    pub(crate) why: Option<&'static str>,
}

/// Returns the rows in the order of their ids. `now`: seconds since 1970.
pub(crate) fn rows(links: &[OpenLink], now: f64) -> Vec<Link> {
    let mut rows: Vec<Link> = links
        .iter()
        .map(|link| {
            let of_same = |other: &&OpenLink| other.link != link.link && is_same(&other.peer, &link.peer);
            let others: Vec<u64> = links.iter().filter(of_same).map(|other| other.link.0).collect();
            let why = if link.kind == LinkKind::Exercise { BOTH_WAYS } else { DUPLICATE };
            Link {
                id: link.link.0,
                kind: match link.kind {
                    LinkKind::Native => "native",
                    LinkKind::Exercise => "exercise",
                    LinkKind::Client => "client",
                },
                peer: id_of(&link.peer),
                address: link.peer.address.as_ref().map(ToString::to_string),
                dialled: link.dialled,
                dialled_address: link.dialled_address.as_ref().map(ToString::to_string),
                remote: link.remote.to_string(),
                proved: link.proved,
                agent: link.agent.as_deref().map(strip_control),
                since: ((now - link.open_for.as_secs_f64()) * 1_000.0) as u64,
                round_trip_seconds: link.round_trip.map(|time| time.as_secs_f64()),
                path: link.path.as_ref().map(ToString::to_string),
                queued_bytes: link.queued_bytes,
                reconciled: link.reconciled,
                why: (!others.is_empty()).then_some(why),
                others,
            }
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    rows
}

/// Returns whether two links lead to one peer, as far as it is known.
fn is_same(one: &PeerName, other: &PeerName) -> bool {
    match (&one.node, &other.node) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.address.is_some() && one.address == other.address,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::id::{LinkId, NodeId};

    fn link(id: u64, kind: LinkKind, node: Option<u8>, port: Option<u16>, dialled: bool) -> OpenLink {
        let address = port.map(|port| format!("ws://localhost:{port}").parse().expect("an address"));
        OpenLink {
            link: LinkId(id),
            peer: PeerName { node: node.map(|byte| NodeId([byte; 32])), address: address.clone() },
            kind,
            proved: false,
            dialled,
            dialled_address: address.filter(|_| dialled),
            remote: [127, 0, 0, 1].into(),
            open_for: Duration::from_secs(10),
            round_trip: None,
            agent: None,
            queued_bytes: 0,
            reconciled: None,
            path: None,
        }
    }

    #[test]
    fn the_links_to_one_peer_name_each_other_and_say_why() {
        let links = [
            link(1, LinkKind::Native, Some(1), Some(4001), true),
            link(5, LinkKind::Exercise, None, Some(4003), false),
            link(3, LinkKind::Exercise, None, Some(4003), true),
            link(2, LinkKind::Client, None, None, false),
            link(4, LinkKind::Client, None, None, false),
            link(6, LinkKind::Client, Some(1), Some(4001), true),
        ];
        let rows = rows(&links, 1_000.0);
        let others: Vec<_> = rows.iter().map(|row| (row.id, row.others.clone(), row.why)).collect();
        let expected: [(u64, Vec<u64>, _); 6] = [
            (1, vec![6], Some(DUPLICATE)),
            (2, vec![], None),
            (3, vec![5], Some(BOTH_WAYS)),
            (4, vec![], None),
            (5, vec![3], Some(BOTH_WAYS)),
            (6, vec![1], Some(DUPLICATE)),
        ];
        assert_eq!(others, expected);
        assert_eq!((rows[0].since, rows[2].peer.as_deref()), (990_000, Some("plain:ws://localhost:4003")));
        assert_eq!((&rows[2].dialled_address, &rows[4].dialled_address), (&rows[2].address, &None));
    }
}
