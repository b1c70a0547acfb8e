//! `status`: shows what the running nodes report, and whether their pools agree.

use std::process::ExitCode;

use anyhow::Result;
use futures_util::future::join_all;
use measuring::Table;
use meshpool::client::Client;
use meshpool::protocol::wire::{PeerState, Status};
use serde_json::json;

use crate::support::running_nodes::{self, Found};
use crate::support::terminal::note;
use crate::support::terminal::{self, print, span};
use crate::support::workspace::{Folder, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show only node N, with its peers
    #[arg(long, value_name = "N")]
    node: Option<u32>,
    /// Print all that the nodes report, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let statuses = running_nodes::block_on(ask(workspace, arguments.node))?;
    if statuses.is_empty() {
        return Err(running_nodes::none_running(workspace)?);
    }
    if arguments.json {
        let nodes: Vec<_> =
            statuses.iter().map(|(folder, status)| json!({ "name": folder.name(), "status": status })).collect();
        print(format!("{:#}", json!({ "nodes": nodes, "poolsAgree": agree(&statuses) })))?;
    } else {
        print(table(&statuses))?;
        print(verdict(&statuses))?;
        for line in refused(&statuses) {
            print(line)?;
        }
        if let (Some(_), [(_, status)]) = (arguments.node, &statuses[..]) {
            print(peers(status))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(workspace: &Workspace, node: Option<u32>) -> Result<Vec<(Folder, Status)>> {
    let found = match node {
        Some(number) => {
            let folder = workspace.existing(number)?;
            let client = running_nodes::connect(&folder).await?;
            vec![(folder, Found::Native(Box::new(client)))]
        }
        None => running_nodes::find(workspace).await?,
    };
    let mut native = Vec::new();
    for (folder, found) in found {
        match found {
            Found::Native(client) => native.push((folder, *client)),
            Found::Exercise(client) => {
                client.close().await;
                note!("{} is a node of the exercise, which reports no status", folder.name());
            }
            Found::Unresponsive(why) => {
                note!("warning: {} runs, but does not answer: {}", folder.name(), terminal::strip_control(&why))
            }
            Found::Down => {}
        }
    }
    let alone = node.is_some();
    let answers = join_all(native.into_iter().map(|(folder, client)| ask_one(folder, client))).await;
    let mut statuses = Vec::new();
    for answer in answers {
        match answer {
            Ok(status) => statuses.push(status),
            Err(error) if alone => return Err(error),
            Err(error) => note!("warning: {}", terminal::strip_control(&format!("{error:#}"))),
        }
    }
    Ok(statuses)
}

async fn ask_one(folder: Folder, mut client: Client) -> Result<(Folder, Status)> {
    let status = client.status(&[]).await?;
    client.close().await;
    Ok((folder, status))
}

fn table(statuses: &[(Folder, Status)]) -> String {
    let mut table = Table::new(["name", "port", "node", "up", "connected", "attempting", "known", "pool"]);
    for (folder, status) in statuses {
        let port = status.address.rsplit(':').next().unwrap_or_default();
        let unwritable = if status.writable { "" } else { " (its file takes no writes)" };
        table.push([
            folder.name(),
            terminal::strip_control(port),
            terminal::strip_control(&status.node).chars().take(8).collect(),
            span(status.uptime),
            status.connected.len().to_string(),
            status.attempting.len().to_string(),
            status.known.to_string(),
            format!("{}{unwritable}", status.pool.count),
        ]);
    }
    table.to_string()
}

/// Returns a line for each node that has rejected transactions for their signatures. Duplicates
/// count.
fn refused(statuses: &[(Folder, Status)]) -> impl Iterator<Item = String> {
    statuses.iter().filter_map(|(folder, status)| {
        let counted = |name: &str| status.counters.get(name).copied().unwrap_or_default();
        let (unsigned, forged) = (counted("transactions_unsigned"), counted("transactions_forged"));
        let name = folder.name();
        (unsigned + forged > 0).then(|| {
            format!("{name} takes signed transactions only, and has refused {unsigned} unsigned and {forged} forged since its start")
        })
    })
}

/// Shows a node's peer table: each address with its state, and until when that holds.
fn peers(status: &Status) -> String {
    let cap = status.max_peers.map_or_else(|| "all".to_owned(), |most| format!("at most {most}"));
    let heading = format!("\npeers (links to {cap}; * = named by a person)");
    let mut table = Table::new(["address", "state"]);
    for peer in &status.peers {
        let state = match (peer.state, peer.seconds) {
            (PeerState::Connected, _) => "connected".to_owned(),
            (PeerState::Pending, _) => "pending".to_owned(),
            (PeerState::Declined, Some(seconds)) => format!("declined, asked again in {seconds:.0} s"),
            (PeerState::Declined, None) => "declined".to_owned(),
            (PeerState::Failed, Some(seconds)) => format!("failed, dialled again in {seconds:.0} s"),
            (PeerState::Failed, None) => "failed".to_owned(),
            (PeerState::Banned, seconds) => {
                let cause = peer
                    .cause
                    .as_deref()
                    .map(|cause| format!(": {}", terminal::strip_control(cause)))
                    .unwrap_or_default();
                format!("banned for {:.0} s{cause}", seconds.unwrap_or_default())
            }
            (PeerState::Idle, Some(seconds)) => format!("idle, dialled in {seconds:.0} s"),
            (PeerState::Idle, None) => "idle".to_owned(),
        };
        table
            .push([format!("{}{}", terminal::strip_control(&peer.address), if peer.known { " *" } else { "" }), state]);
    }
    if status.peers.is_empty() {
        return format!("{heading}\nnone");
    }
    let left_out = status.known.saturating_sub(status.peers.len());
    let rest = if left_out > 0 { format!("\n… and {left_out} more") } else { String::new() };
    format!("{heading}\n{table}{rest}")
}

fn agree(statuses: &[(Folder, Status)]) -> bool {
    statuses.windows(2).all(|pair| pair[0].1.pool == pair[1].1.pool)
}

fn verdict(statuses: &[(Folder, Status)]) -> String {
    let count = |(_, status): &(Folder, Status)| status.pool.count;
    let transactions = |number: u64| terminal::plural(usize::try_from(number).unwrap_or(usize::MAX), "transaction");
    match statuses {
        [one] => format!("one node runs: its pool has {}", transactions(count(one))),
        [first, ..] if agree(statuses) => {
            format!("the pools agree: {} nodes hold the same {}", statuses.len(), transactions(count(first)))
        }
        _ => {
            let counts: Vec<_> = statuses.iter().map(|one| format!("{} {}", one.0.name(), count(one))).collect();
            format!("the pools differ ({}); linked nodes become equal within seconds; ask again", counts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use meshpool::protocol::wire::{PeerRow, Summary};

    use super::*;

    fn node(number: u32, count: u64, sum: &str) -> (Folder, Status) {
        let status = Status {
            node: "0123456789abcdef".to_owned(),
            session: String::new(),
            agent: String::new(),
            network: String::new(),
            address: format!("ws://localhost:{}", 4_000 + number),
            dial_backs: None,
            uptime: 61,
            connected: vec!["a".to_owned(); 2],
            attempting: Vec::new(),
            known: 3,
            max_peers: None,
            peers: Vec::new(),
            pool: Summary { count, sum: sum.to_owned() },
            writable: number != 2,
            pool_full: false,
            alone_seconds: None,
            certificate_expires: None,
            held: 0,
            counters: BTreeMap::new(),
        };
        (Folder { number, path: PathBuf::new() }, status)
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
        status.peers = vec![
            row(1, PeerState::Connected, None, true),
            row(2, PeerState::Declined, Some(29.6), false),
            row(3, PeerState::Failed, Some(4.0), false),
            PeerRow { cause: Some("it lied".into()), ..row(4, PeerState::Banned, Some(90.0), false) },
        ];
        assert_eq!(
            peers(&status),
            "\npeers (links to at most 2; * = named by a person)\n\
             address              state\n\
             ws://localhost:1 *  connected\n\
             ws://localhost:2    declined, asked again in 30 s\n\
             ws://localhost:3    failed, dialled again in 4 s\n\
             ws://localhost:4    banned for 90 s: it lied"
                .replace("address              ", "address             ")
        );
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
