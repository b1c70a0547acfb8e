//! The nodes of the network and their links, as one node knows them: as a table and as a picture.

mod graph;
mod label;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cli::network::label::{label, plain, short};
use crate::cli::table::Table;
use crate::cli::target::Target;
use crate::cli::terminal::{plural, print, span, write_note};
use crate::cli::user_file;
use crate::folder::replace::Draft;
use crate::protocol::wire::Member;

/// The most linked nodes that a row names.
const NAMED: usize = 6;

/// Prints what a node knows of the network. `svg`: a file for the picture.
///
/// # Errors
/// The node gives no answer, or the picture cannot be written.
pub async fn show(mut target: Target, as_json: bool, svg: Option<&Path>) -> Result<()> {
    if let Some(path) = svg {
        user_file::check(path, target.folder(), "")?;
    }
    let (name, members) = (target.name(), target.nodes().await?);
    // Nodes of the exercise announce nothing: each node knows those that it is linked to.
    let exercise = target.status().await?.exercise;
    let now = target.time();
    target.close().await;
    if as_json {
        print(format!("{:#}", json!({ "askedOf": name, "nodes": members, "exercise": exercise })))?;
    } else {
        print(table(&members, &exercise, now))?;
        print(format!("{} in the network, as {name} sees it", plural(members.len() + exercise.len(), "node")))?;
    }
    if let Some(path) = svg {
        write(path, &graph::svg(&members, &exercise))
            .with_context(|| format!("{} cannot be written; free space, or name another file", path.display()))?;
        // Standard output may carry JSON and then nothing else.
        write_note(format_args!("the picture is in {}", path.display()));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = Draft::open(path)?;
    draft.write_all(text.as_bytes())?;
    draft.finish()
}

/// `exercise`: the nodes of the exercise that the asked node is linked to. `now`: seconds since
/// 1970.
fn table(members: &[Member], exercise: &[String], now: u64) -> String {
    let labels: BTreeMap<&str, String> = members.iter().map(|member| (member.node.as_str(), label(member))).collect();
    let mut table = Table::new(["address", "node", "up", "links", "free", "heard", "linked to"]);
    for member in members {
        let free = member.free.map_or_else(|| "any".to_owned(), |free| free.to_string());
        let heard = if member.me { "(asked)".to_owned() } else { format!("{} ago", span(member.heard)) };
        table.push([
            label(member),
            short(&member.node),
            span(now.saturating_sub(member.since)),
            member.links.to_string(),
            free,
            heard,
            linked_to(member, &labels),
        ]);
    }
    let asked = members.iter().find(|member| member.me).map(label).unwrap_or_default();
    for address in exercise {
        let name = plain(address);
        table.push([&name, "exercise", "", "", "", "", &asked].map(ToOwned::to_owned));
    }
    table.to_string()
}

fn linked_to(member: &Member, labels: &BTreeMap<&str, String>) -> String {
    let name = |peer: &String| labels.get(peer.as_str()).cloned().unwrap_or_else(|| short(peer));
    let names: Vec<String> = member.peers.iter().take(NAMED).map(name).collect();
    let more = member.peers.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn member(number: u8, peers: &[u8]) -> Member {
        let id = |number: u8| format!("{number:02x}").repeat(32);
        Member {
            node: id(number),
            session: String::new(),
            address: Some(format!("ws://localhost:{}", 4_000 + u32::from(number))),
            since: 1_000,
            peers: peers.iter().map(|peer| id(*peer)).collect(),
            links: peers.len() as u32,
            max_peers: Some(3),
            free: Some(3 - peers.len() as u32),
            heard: 2,
            me: number == 1,
        }
    }

    #[test]
    fn a_row_for_each_node() {
        let mut members = vec![member(1, &[2]), member(2, &[1, 9])];
        (members[1].free, members[1].address) = (None, None);
        assert_eq!(
            table(&members, &["ws://localhost:5001".to_owned()], 1_061),
            "address         node      up      links  free  heard    linked to\n\
             localhost:4001  01010101  1m 01s  1      2     (asked)  02020202\n\
             02020202        02020202  1m 01s  2      any   2s ago   localhost:4001, 09090909\n\
             localhost:5001  exercise                                localhost:4001"
        );
    }

    #[test]
    fn many_links_are_counted() {
        let mut many = member(1, &[]);
        many.peers = (0..20).map(|peer| format!("{peer:02}").repeat(32)).collect();
        let row = linked_to(&many, &BTreeMap::new());
        assert!(row.ends_with("05050505 and 14 more"), "{row}");
    }
}
