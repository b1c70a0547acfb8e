//! What a node reports of its links and its pool. This file alone knows how it says that.

use std::net::Ipv4Addr;

use meshpool::protocol::wire::{Status, Summary};

/// How the packets of a link travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// From node to node, to this address.
    Direct(String),
    /// Over this relay.
    Relayed(String),
}

/// A link whose path is reported. Links over WebSocket are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// How the node names the other one: its id is part of that.
    pub(crate) peer: String,
    pub(crate) path: Path,
    /// Another number means another link.
    pub(crate) number: u64,
}

/// What a node reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Its id.
    pub(crate) node: String,
    /// The nodes that it is linked to, on any transport: addresses, or ids.
    pub(crate) connected: Vec<String>,
    pub(crate) pool: Summary,
    pub(crate) links: Vec<Link>,
}

impl State {
    pub(crate) fn read(status: &Status) -> Self {
        let links = status
            .paths
            .iter()
            .filter_map(|row| Some(Link { peer: row.peer.clone(), path: read_path(&row.path)?, number: row.link }));
        let (node, pool) = (status.node.clone(), status.pool.clone());
        Self { node, connected: status.connected.clone(), pool, links: links.collect() }
    }

    /// Returns whether it is linked to the node of this id, which may be known by its address.
    pub(crate) fn is_linked_to(&self, node: &str, address: Ipv4Addr) -> bool {
        let by_address = format!("ws://{address}:");
        self.connected.iter().any(|peer| peer.contains(node) || peer.starts_with(&by_address))
    }

    /// Returns the link to a node.
    pub(crate) fn link_to(&self, node: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.peer.contains(node))
    }
}

fn read_path(text: &str) -> Option<Path> {
    let direct = text.strip_prefix("direct to ").map(|to| Path::Direct(to.to_owned()));
    direct.or_else(|| text.strip_prefix("over relay ").map(|relay| Path::Relayed(relay.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_of_each_link_is_read() {
        let paths = json!([
            { "link": 7, "peer": "aa", "path": "direct to 198.51.100.21:4242", "roundTripMicros": 1 },
            { "link": 8, "peer": "iroh:bb", "path": "over relay 198.51.100.10:4001", "roundTripMicros": 1 },
        ]);
        let status = json!({
            "node": "cc", "session": "", "agent": "", "network": "", "address": "", "uptime": 1, "connected": ["iroh:bb", "ws://198.51.100.10:4001"],
            "attempting": [], "known": 0, "pool": { "count": 3, "sum": "" }, "writable": true, "held": 0, "counters": {},
            "paths": paths,
        });
        let state = State::read(&serde_json::from_value(status).expect("a status"));
        assert_eq!((state.node.as_str(), state.pool.count, state.links.len()), ("cc", 3, 2));
        let direct = Link { peer: "aa".into(), path: Path::Direct("198.51.100.21:4242".into()), number: 7 };
        assert_eq!(state.link_to("aa"), Some(&direct));
        let path = state.link_to("bb").map(|link| link.path.clone());
        assert_eq!(path, Some(Path::Relayed("198.51.100.10:4001".into())));
        assert_eq!(state.link_to("dd"), None);
        let linked = |node, last| state.is_linked_to(node, Ipv4Addr::new(198, 51, 100, last));
        assert_eq!([linked("bb", 2), linked("dd", 10), linked("dd", 1)], [true, true, false]);
    }
}
