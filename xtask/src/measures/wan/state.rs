//! What a node reports of its links and its pool. This file alone knows how a STATUS says it.

use meshpool::protocol::wire::{Status, Summary};
use serde_json::Value;

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
    pub(crate) number: Option<u64>,
}

/// What a node reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Its id.
    pub(crate) node: String,
    /// How many nodes it is linked to, on any transport.
    pub(crate) connected: usize,
    pub(crate) pool: Summary,
    pub(crate) links: Vec<Link>,
}

impl State {
    pub(crate) fn read(status: &Status) -> Self {
        let mut links = Vec::new();
        // A status consists of texts and numbers, which JSON has.
        find_links(&serde_json::to_value(status).unwrap_or_default(), &mut links);
        Self { node: status.node.clone(), connected: status.connected.len(), pool: status.pool.clone(), links }
    }

    /// Returns the link to a node.
    pub(crate) fn link_to(&self, node: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.peer.contains(node))
    }
}

/// Collects each object with a `path`, wherever it is.
fn find_links(value: &Value, links: &mut Vec<Link>) {
    if let Some(path) = value["path"].as_str().and_then(read_path) {
        let text = |name: &str| value[name].as_str();
        let peer = ["node", "peer", "address"].into_iter().find_map(text).unwrap_or_default().to_owned();
        links.push(Link { peer, path, number: value["link"].as_u64() });
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| find_links(value, links)),
        Value::Object(values) => values.values().for_each(|value| find_links(value, links)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn read_path(text: &str) -> Option<Path> {
    let direct = text.strip_prefix("direct ").map(|to| Path::Direct(to.to_owned()));
    direct.or_else(|| text.strip_prefix("over relay ").map(|relay| Path::Relayed(relay.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_of_each_link_is_read() {
        let mut links = Vec::new();
        let status = json!({ "connected": ["x"], "links": [
            { "node": "aa", "path": "direct 198.51.100.21:4242", "link": 7 },
            { "address": "iroh:bb", "path": "over relay 198.51.100.10:4001" },
            { "address": "ws://198.51.100.10:4001" },
        ]});
        find_links(&status, &mut links);
        let expected = [
            Link { peer: "aa".into(), path: Path::Direct("198.51.100.21:4242".into()), number: Some(7) },
            Link { peer: "iroh:bb".into(), path: Path::Relayed("198.51.100.10:4001".into()), number: None },
        ];
        assert_eq!(links, expected);
        let state = State { node: "cc".into(), connected: 3, pool: Summary { count: 0, sum: String::new() }, links };
        assert_eq!((state.link_to("bb"), state.link_to("dd")), (Some(&expected[1]), None));
    }
}
