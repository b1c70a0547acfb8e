//! `wan`: measures links between nodes behind NATs, and fails if one takes too long, or stays away.
//!
//! In each round two nodes and a relay start in a [`nat_lab`]. The first node prints an invite, the
//! second one joins by it, and both exchange transactions until all pools are equal. A round of the
//! other cases then disturbs the link while transactions flow, and measures for how long none
//! comes. At the end nothing may be lost or doubled.
//!
//! Each node is asked for its status and its links every 10 ms, from its own host. The cases
//! [`overlay`] and [`mixed`] have many nodes, and say themselves what they do.

mod cases;
mod dht;
mod history;
mod member;
mod mesh;
mod mixed;
mod overlay;
mod round;
mod script;
mod state;
mod table;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::measures::setup::Setup;
use crate::measures::wan::cases::Case;
use crate::measures::wan::member::Programs;
use crate::measures::wan::table::Row;
use crate::measures::wan::world::Lines;
use crate::support::nat_lab::{self, Nat};
use crate::support::npm;
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::{note, number, plural, print};
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only these cases [default: all]
    #[arg(value_name = "CASE", value_parser = Case::NAMES)]
    only: Vec<String>,
    /// Join behind these NATs only: that of the inviting node and that of the joining one, as in
    /// home,sym [default: all pairs]
    #[arg(long, value_name = "A,B", value_parser = pair)]
    pair: Vec<(Nat, Nat)>,
    /// Run each case N times
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number(1..=1_000_u32, "20"))]
    rounds: u32,
    /// Let a packet take N milliseconds from one public address to another
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = number(0..=1_000_u64, "10"))]
    delay: u64,
    /// Lose N of 100 packets
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0..=50_u8, "2"))]
    loss: u8,
    /// Let everything take N times as long as its bounds say, for a machine that does other things
    /// too
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    slack: u32,
    /// Watch a direct link for N seconds after its relay was killed. The relay's part of the engine
    /// ends after 60 to 92 s
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number(1..=600_u64, "100"))]
    watch: u64,
    /// Let a node of the case mixed run this program, such as that of the previous release
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    #[command(flatten)]
    setup: Setup,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    nat_lab::provide()?;
    let all: Vec<_> = Nat::ALL.into_iter().flat_map(|a| Nat::ALL.map(|b| (a, b))).collect();
    let pairs = if arguments.pair.is_empty() { &all } else { &arguments.pair };
    let mut cases = Case::all(pairs);
    cases.retain(|case| arguments.only.is_empty() || arguments.only.iter().any(|name| name == case.name()));
    let (binary, root) = arguments.setup.prepare(workspace, "wan")?;
    let interop = workspace.root().join("interop");
    if cases.contains(&Case::Mixed) && !npm::is_fresh(&interop) {
        npm::install(&interop)?;
    }
    let absolute =
        |file: &PathBuf| fs::canonicalize(file).with_context(|| format!("{} cannot be read", file.display()));
    let previous = arguments.previous.as_ref().map(absolute).transpose()?.map(Into::into);
    let programs = Programs { node: binary.into(), previous, interop };
    let rows = block_on(async {
        let mut stop = Stop::new()?;
        // Dropping the measurement ends its nodes and removes their network.
        tokio::select! {
            rows = measure(&cases, arguments, &root, &programs) => rows.map(Some),
            () = stop.asked() => Ok(None),
        }
    })?;
    let remove = || match root.exists() {
        true => fs::remove_dir_all(&root).with_context(|| format!("{} cannot be removed", root.display())),
        false => Ok(()),
    };
    let Some(rows) = rows else {
        remove()?;
        bail!("stopped; all nodes are ended, their network and their folders are removed");
    };
    print(table::show(&rows, arguments.setup.format()))?;
    let broken: Vec<String> = rows.iter().filter_map(Row::broken).collect();
    let kept = match rows.iter().all(|row| row.failures.is_empty()) {
        true => {
            remove()?;
            String::new()
        }
        false => format!("; the folders of failed rounds are in {}", root.display()),
    };
    ensure!(broken.is_empty(), "out of bounds: {}{kept}", broken.join("; "));
    print(format!("{} are within bounds", plural(rows.len(), "case")))?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(cases: &[Case], arguments: &Arguments, root: &Path, programs: &Programs) -> Result<Vec<Row>> {
    let lines = Lines { delay: Duration::from_millis(arguments.delay), loss: f64::from(arguments.loss) / 100.0 };
    let mut rows = Vec::new();
    for case in cases {
        let mut row =
            Row { case: *case, delay: lines.delay, slack: arguments.slack, rounds: Vec::new(), failures: Vec::new() };
        for number in 1..=arguments.rounds {
            let folder = root.join(format!("{case}-{number}").replace(' ', ""));
            fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            match case.run(lines, Duration::from_secs(arguments.watch), &folder, programs).await {
                Ok(round) => {
                    row.rounds.push(round);
                    fs::remove_dir_all(&folder)?;
                }
                // Its folder is kept.
                Err(error) => {
                    note!("{case}: round {number} failed: {error:#}");
                    row.failures.push(format!("{error:#}"));
                }
            }
        }
        note!("{}", row.broken().unwrap_or_else(|| format!("{case}: within bounds")));
        rows.push(row);
    }
    Ok(rows)
}

/// Reads a pair of NATs.
fn pair(text: &str) -> Result<(Nat, Nat), String> {
    let nat = |name: &str| Nat::ALL.into_iter().find(|nat| nat.name() == name);
    let pair = text.split_once(',').and_then(|(a, b)| nat(a).zip(nat(b)));
    pair.ok_or_else(|| format!("write two of {}, as in home,sym", Nat::ALL.map(Nat::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_or_its_remedy_named() {
        assert_eq!(pair("home,sym"), Ok((Nat::Home, Nat::Symmetric)));
        for text in ["home", "home,", "home,sym,sym", "cone,home"] {
            let error = pair(text).expect_err(text);
            assert_eq!(error, "write two of none, full, home, sym, udpblock, as in home,sym");
        }
    }
}
