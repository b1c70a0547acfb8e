//! What nodes report of themselves, as a table, and whether their pools agree.

use serde_json::{Value, json};

use crate::cli::table::Table;
use crate::cli::terminal::{plural, span, strip_control};
use crate::protocol::wire::{PeerState, Status};
use crate::util::time_of_day::time_of_day;

/// A node's name for people, and its status.
pub type Named = (String, Status);

/// Describes nodes of this machine: a row for each, and whether their pools agree. `with_peers`:
/// the peer table of the first too.
pub fn describe(statuses: &[Named], with_peers: bool) -> String {
    describe_at(statuses, with_peers, time_of_day() as u64)
}

/// As [`describe`], for nodes by whose clock it is `now`, in seconds since 1970.
pub(crate) fn describe_at(statuses: &[Named], with_peers: bool, now: u64) -> String {
    let mut lines = vec![table(statuses), verdict(statuses)];
    lines.extend(topics(statuses, now));
    lines.extend(paths(statuses));
    lines.extend(refused(statuses));
    lines.extend(lost(statuses));
    lines.extend(statuses.first().filter(|_| with_peers).map(|(_, status)| peers(status)));
    lines.join("\n")
}

/// Returns all that the nodes report.
pub fn as_json(statuses: &[Named]) -> Value {
    let nodes: Vec<_> = statuses.iter().map(|(name, status)| json!({ "name": name, "status": status })).collect();
    json!({ "nodes": nodes, "poolsAgree": agree(statuses) })
}

fn table(statuses: &[Named]) -> String {
    let mut table = Table::new(["name", "port", "node", "up", "connected", "attempting", "known", "pool"]);
    for (name, status) in statuses {
        let port = status.address.rsplit(':').next().unwrap_or_default();
        let state = match (status.writable, status.pool_full) {
            (false, _) => " (its file takes no writes)",
            (true, true) => " (full)",
            (true, false) => "",
        };
        table.push([
            name.clone(),
            strip_control(port),
            strip_control(&status.node).chars().take(8).collect(),
            span(status.uptime),
            status.connected.len().to_string(),
            status.attempting.len().to_string(),
            status.known.to_string(),
            format!("{}{state}", status.pool.count),
        ]);
    }
    table.to_string()
}

/// Shows the topics of all nodes besides the default one; `now` is in seconds since 1970.
fn topics(statuses: &[Named], now: u64) -> Option<String> {
    let mut table = Table::new([
        "name", "topic", "items", "bytes", "members", "equal", "refused", "ignored", "deferred", "oldest", "newest",
    ]);
    let since = |time: Option<u64>| match time {
        Some(time) if time > now => format!("in {}", span(time - now)),
        Some(time) => format!("{} ago", span(now - time)),
        None => "-".to_owned(),
    };
    let rows = statuses.iter().flat_map(|(name, status)| status.topics.iter().map(move |topic| (name, topic)));
    let mut some = false;
    for (name, topic) in rows {
        some = true;
        let items = if topic.writable { "" } else { " (it takes no items)" };
        table.push([
            name.clone(),
            strip_control(&topic.name),
            format!("{}{items}", topic.items),
            topic.bytes.to_string(),
            topic.members.to_string(),
            topic.reconciled.to_string(),
            topic.refused.to_string(),
            topic.ignored.to_string(),
            topic.deferred.to_string(),
            since(topic.oldest),
            since(topic.newest),
        ]);
    }
    some.then(|| format!("\ntopics (equal: members with the same items)\n{table}"))
}

/// Shows the paths of links over iroh.
fn paths(statuses: &[Named]) -> Option<String> {
    let mut table = Table::new(["name", "peer", "path", "round trip"]);
    let rows = statuses.iter().flat_map(|(name, status)| status.paths.iter().map(move |path| (name, path)));
    let mut some = false;
    for (name, row) in rows {
        some = true;
        table.push([
            name.clone(),
            strip_control(&row.peer),
            strip_control(&row.path),
            format!("{:.1} ms", row.round_trip_micros as f64 / 1_000.0),
        ]);
    }
    some.then(|| format!("\nlinks by node id\n{table}"))
}

/// Returns a line for each node that has rejected transactions for their signatures. Duplicates
/// count.
fn refused(statuses: &[Named]) -> impl Iterator<Item = String> {
    statuses.iter().filter_map(|(name, status)| {
        let counted = |name: &str| status.counters.get(name).copied().unwrap_or_default();
        let (unsigned, forged) = (counted("transactions_unsigned"), counted("transactions_forged"));
        (unsigned > 0 || forged > 0).then(|| {
            format!("{name} takes signed transactions only, and has refused {unsigned} unsigned and {forged} forged since its start")
        })
    })
}

/// Shows a node's peer table: each address with its state, and until when that holds.
pub(crate) fn peers(status: &Status) -> String {
    let cap = status.max_peers.map_or_else(|| "all".to_owned(), |most| format!("at most {most}"));
    let heading = format!("\npeers (links to {cap}; * = named by a person)");
    let mut table = Table::new(["address", "state"]);
    for peer in &status.peers {
        let state = match (peer.state, peer.seconds) {
            (PeerState::Connected, _) if status.exercise.contains(&peer.address) => {
                "connected, a node of the exercise".to_owned()
            }
            (PeerState::Connected, _) => "connected".to_owned(),
            (PeerState::Pending, _) => "pending".to_owned(),
            (PeerState::Declined, Some(seconds)) => format!("declined, asked again in {seconds:.0} s"),
            (PeerState::Declined, None) => "declined".to_owned(),
            (PeerState::Failed, Some(seconds)) => format!("failed, dialled again in {seconds:.0} s"),
            (PeerState::Failed, None) => "failed".to_owned(),
            (PeerState::Banned, seconds) => {
                let cause =
                    peer.cause.as_deref().map(|cause| format!(": {}", strip_control(cause))).unwrap_or_default();
                format!("banned for {:.0} s{cause}", seconds.unwrap_or_default())
            }
            (PeerState::Idle, Some(seconds)) => format!("idle, dialled in {seconds:.0} s"),
            (PeerState::Idle, None) => "idle".to_owned(),
        };
        table.push([format!("{}{}", strip_control(&peer.address), if peer.known { " *" } else { "" }), state]);
    }
    if status.peers.is_empty() {
        return format!("{heading}\nnone");
    }
    let left_out = status.known.saturating_sub(status.peers.len());
    let rest = if left_out > 0 { format!("\n… and {left_out} more") } else { String::new() };
    format!("{heading}\n{table}{rest}")
}

/// Returns a line for each node that has lost rows of its files which are not back.
fn lost(statuses: &[Named]) -> impl Iterator<Item = String> {
    statuses.iter().filter_map(|(name, status)| {
        let (lost, missing) = lost_rows(status)?;
        let lost = plural(usize::try_from(lost).unwrap_or(usize::MAX), "row");
        Some(format!(
            "{name} has lost {lost} of its files since its start, and {missing} of them are missing: another program wrote over a file; what peers have comes back, 'meshpool import FILE' adds the rest from a copy"
        ))
    })
}

/// Returns how many rows of its files a node has lost since its start, and how many of them are
/// missing; `None` if none are.
pub(crate) fn lost_rows(status: &Status) -> Option<(u64, u64)> {
    let counted = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    let lost = counted("pool_rows_lost");
    let missing = lost.saturating_sub(counted("pool_rows_returned"));
    (missing > 0).then_some((lost, missing))
}

fn agree(statuses: &[Named]) -> bool {
    statuses.windows(2).all(|pair| pair[0].1.pool == pair[1].1.pool)
}

fn verdict(statuses: &[Named]) -> String {
    let count = |(_, status): &Named| status.pool.count;
    let transactions = |number: u64| plural(usize::try_from(number).unwrap_or(usize::MAX), "transaction");
    match statuses {
        [one] => format!("one node runs: its pool has {}", transactions(count(one))),
        [first, ..] if agree(statuses) => {
            format!("the pools agree: {} nodes hold the same {}", statuses.len(), transactions(count(first)))
        }
        _ => {
            let counts: Vec<_> = statuses.iter().map(|one| format!("{} {}", one.0, count(one))).collect();
            format!("the pools differ ({}); linked nodes become equal within seconds; ask again", counts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::{PathRow, PeerRow, Summary, TopicRow};

    fn node(number: u32, count: u64, sum: &str) -> Named {
        let status = Status {
            node: "0123456789abcdef".to_owned(),
            address: format!("ws://localhost:{}", 4_000 + number),
            uptime: 61,
            connected: vec!["a".to_owned(); 2],
            known: 3,
            pool: Summary { count, sum: sum.to_owned() },
            writable: number != 2,
            ..Status::default()
        };
        (format!("node-{number}"), status)
    }

    #[test]
    fn a_row_for_each_node() {
        let table = table(&[node(1, 5, ""), node(2, 5, "")]);
        assert_eq!(
            table,
            "name    port  node      up      connected  attempting  known  pool\n\
             node-1  4001  01234567  1m 01s  2          0           3      5\n\
             node-2  4002  01234567  1m 01s  2          0           3      5 (its file takes no writes)"
        );
    }

    #[test]
    fn the_peer_table_says_until_when() {
        let row = |port, state, seconds, known| PeerRow {
            address: format!("ws://localhost:{port}"),
            state,
            seconds,
            known,
            cause: None,
        };
        let (_, mut status) = node(1, 5, "");
        status.max_peers = Some(2);
        status.exercise = vec!["ws://localhost:5".to_owned()];
        status.peers = vec![
            row(1, PeerState::Connected, None, true),
            row(5, PeerState::Connected, None, false),
            row(2, PeerState::Declined, Some(29.6), false),
            row(3, PeerState::Failed, Some(4.0), false),
            PeerRow { cause: Some("it lied".into()), ..row(4, PeerState::Banned, Some(90.0), false) },
        ];
        assert_eq!(
            peers(&status),
            "\npeers (links to at most 2; * = named by a person)\n\
             address              state\n\
             ws://localhost:1 *  connected\n\
             ws://localhost:5    connected, a node of the exercise\n\
             ws://localhost:2    declined, asked again in 30 s\n\
             ws://localhost:3    failed, dialled again in 4 s\n\
             ws://localhost:4    banned for 90 s: it lied"
                .replace("address              ", "address             ")
        );
    }

    #[test]
    fn a_row_for_each_topic_and_nothing_without_any() {
        let mut nodes = [node(1, 5, ""), node(2, 5, "")];
        assert_eq!(topics(&nodes, 1_000), None);
        nodes[1].1.topics = vec![
            TopicRow {
                name: "blocks".to_owned(),
                items: 7,
                bytes: 700,
                members: 3,
                reconciled: 2,
                writable: true,
                refused: 1,
                oldest: Some(939),
                newest: Some(1_002),
                ..TopicRow::default()
            },
            TopicRow { name: "chat\u{1b}".to_owned(), ..TopicRow::default() },
        ];
        assert_eq!(
            topics(&nodes, 1_000).expect("there are some"),
            "\ntopics (equal: members with the same items)\n\
             name    topic   items                  bytes  members  equal  refused  ignored  deferred  oldest      newest\n\
             node-2  blocks  7                      700    3        2      1        0        0         1m 01s ago  in 2s\n\
             node-2  chat    0 (it takes no items)  0      0        0      0        0        0         -           -"
        );
    }

    #[test]
    fn a_row_for_each_link_by_node_id_and_nothing_without_any() {
        let mut nodes = [node(1, 5, ""), node(2, 5, "")];
        assert_eq!(paths(&nodes), None);
        let row = |peer: &str, path: &str, round_trip_micros| PathRow {
            link: 1,
            peer: peer.to_owned(),
            path: path.to_owned(),
            round_trip_micros,
        };
        nodes[0].1.paths = vec![row("d7e1bb27", "direct to 192.0.2.7:4001", 20_449)];
        nodes[1].1.paths = vec![row("0123\u{1b}[31m4567", "over relay relay.example:1", 50)];
        let expected = "\nlinks by node id\n\
             name    peer      path                        round trip\n\
             node-1  d7e1bb27  direct to 192.0.2.7:4001    20.4 ms\n\
             node-2  01234567  over relay relay.example:1  0.1 ms";
        assert_eq!(paths(&nodes).expect("there are some"), expected);
        assert!(describe(&nodes, false).contains(expected), "{}", describe(&nodes, false));
    }

    #[test]
    fn refusals_for_signatures_are_said() {
        let mut nodes = [node(1, 5, ""), node(2, 5, "")];
        assert_eq!(refused(&nodes).count(), 0);
        nodes[1].1.counters.insert("transactions_unsigned".to_owned(), 3);
        assert_eq!(
            refused(&nodes).collect::<Vec<_>>(),
            ["node-2 takes signed transactions only, and has refused 3 unsigned and 0 forged since its start"]
        );
    }

    #[test]
    fn a_full_pool_and_lost_rows_are_said() {
        let mut nodes = [node(1, 5, ""), node(2, 5, "")];
        assert_eq!(lost(&nodes).count(), 0);
        nodes[0].1.pool_full = true;
        nodes[0].1.counters = [("pool_rows_lost".to_owned(), 3), ("pool_rows_returned".to_owned(), 1)].into();
        nodes[1].1.counters = [("pool_rows_lost".to_owned(), 3), ("pool_rows_returned".to_owned(), 3)].into();
        let lines: Vec<String> = lost(&nodes).collect();
        assert_eq!(lines.len(), 1, "those of the other one are back: {lines:?}");
        assert!(
            lines[0].starts_with("node-1 has lost 3 rows of its files since its start, and 2 of them"),
            "{lines:?}"
        );
        assert!(table(&nodes).contains("  5 (full)\n"), "{}", table(&nodes));
    }

    #[test]
    fn pools_agree_by_count_and_sum() {
        assert_eq!(verdict(&[node(1, 1, "a")]), "one node runs: its pool has 1 transaction");
        assert_eq!(
            verdict(&[node(1, 5, "a"), node(2, 5, "a")]),
            "the pools agree: 2 nodes hold the same 5 transactions"
        );
        assert!(verdict(&[node(1, 5, "a"), node(2, 5, "b")]).starts_with("the pools differ (node-1 5, node-2 5)"));
        assert!(verdict(&[node(1, 5, "a"), node(2, 6, "a")]).starts_with("the pools differ"));
    }
}
