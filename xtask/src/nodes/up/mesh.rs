//! Whether every node is linked to every other, as the nodes report by STATUS.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use meshpool::Client;
use meshpool::protocol::address::{PeerAddress, Scope};
use meshpool::protocol::wire::Status;
use tokio::time::sleep;

use crate::support::running_nodes;
use crate::support::workspace::Folder;

/// The folders of the nodes that run: those of this run until they end, and those that ran before.
pub(crate) type Live = RefCell<BTreeMap<u32, Folder>>;

/// The interval of asking the nodes while the mesh grows.
const INTERVAL: Duration = Duration::from_millis(200);

/// Waits until each node is linked to all others; returns their number.
pub(crate) async fn wait_until_complete(live: &Live) -> usize {
    let mut clients = BTreeMap::new();
    loop {
        let folders: Vec<Folder> = live.borrow().values().cloned().collect();
        let statuses = query(&folders, &mut clients).await;
        if statuses.len() == folders.len() && !folders.is_empty() && gaps(&statuses).is_empty() {
            running_nodes::close_all(clients.into_values()).await;
            return statuses.len();
        }
        sleep(INTERVAL).await;
    }
}

/// Describes the missing links.
pub(crate) async fn describe_gaps(live: &Live) -> String {
    let folders: Vec<Folder> = live.borrow().values().cloned().collect();
    let mut clients = BTreeMap::new();
    let statuses = query(&folders, &mut clients).await;
    running_nodes::close_all(clients.into_values()).await;
    let mut lacks: Vec<String> = folders
        .iter()
        .filter(|folder| !statuses.contains_key(&folder.number))
        .map(|folder| format!("{} does not answer", folder.name()))
        .collect();
    lacks.extend(gaps(&statuses).into_iter().map(|(from, to)| format!("node-{from} is not linked to node-{to}")));
    if lacks.is_empty() { "it has just been completed".to_owned() } else { lacks.join(", ") }
}

/// Returns the status of each node that answers. One that does not is connected to again the next
/// time.
async fn query(folders: &[Folder], clients: &mut BTreeMap<u32, Client>) -> BTreeMap<u32, Status> {
    let ask = folders.iter().map(|folder| {
        let client = clients.remove(&folder.number);
        async move {
            let mut client = match client {
                Some(client) => client,
                None => folder.connect().await.ok()?,
            };
            let status = client.status(&[]).await.ok()?;
            Some((folder.number, client, status))
        }
    });
    let answers: Vec<_> = join_all(ask).await.into_iter().flatten().collect();
    let mut statuses = BTreeMap::new();
    for (number, client, status) in answers {
        clients.insert(number, client);
        statuses.insert(number, status);
    }
    statuses
}

/// Returns the pairs of nodes of which the first is not linked to the second.
fn gaps(statuses: &BTreeMap<u32, Status>) -> Vec<(u32, u32)> {
    let pairs = statuses.iter().flat_map(|from| statuses.iter().map(move |to| (from, to)));
    let missing = pairs.filter(|((from, status), (to, other))| from != to && !is_linked(status, other));
    missing.map(|((from, _), (to, _))| (*from, *to)).collect()
}

fn is_linked(status: &Status, other: &Status) -> bool {
    status
        .connected
        .iter()
        .any(|peer| *peer == other.address || *peer == other.node || same_port_here(peer, &other.address))
}

/// A port of this machine belongs to one node, whichever name was dialled.
fn same_port_here(a: &str, b: &str) -> bool {
    let loopback = |text: &str| text.parse::<PeerAddress>().ok().filter(|address| address.scope() == Scope::Loopback);
    loopback(a).zip(loopback(b)).is_some_and(|(a, b)| a.port() == b.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32, connected: &[&str]) -> (u32, Status) {
        let status = Status {
            node: format!("{number:064}"),
            address: format!("ws://localhost:{}", 4_000 + number),
            connected: connected.iter().map(ToString::to_string).collect(),
            writable: true,
            ..Status::default()
        };
        (number, status)
    }

    #[test]
    fn a_link_is_known_by_address_id_or_port() {
        let id = format!("{:064}", 1);
        let statuses = BTreeMap::from([
            node(1, &["ws://127.0.0.1:4002", "ws://localhost:4003"]),
            node(2, &[&id, "ws://localhost:4003"]),
            node(3, &[]),
        ]);
        assert_eq!(gaps(&statuses), [(3, 1), (3, 2)]);
    }
}
