//! `mutants`: how many faults, planted by cargo-mutants into the core, its tests catch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use measuring::{Format, Table};
use serde::Deserialize;

use crate::support::cargo::command;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

/// The core's sources. A file or folder in them is a component.
const SOURCES: &str = "proto/src";

/// Where cargo-mutants writes its logs, and this task its table.
const FOLDER: &str = "target/mutants";

/// The exit codes of cargo-mutants after a whole run: all caught, some missed, some timed out.
const WHOLE: [i32; 3] = [0, 2, 3];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Mutate only this file or folder of proto/src, without `.rs`, and run only its own tests; may
    /// be given several times
    #[arg(long = "component", value_name = "NAME")]
    components: Vec<String>,
    /// Test only part K of N of the mutants; K is 0 for the first part
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Write the table to this file
    #[arg(long, value_name = "FILE", default_value = "target/mutants/table.md")]
    output: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace.root();
    let version = command(root, &["mutants", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        version.is_ok_and(|status| status.success()),
        "cargo-mutants is missing: install it with `cargo install --locked cargo-mutants`"
    );
    let mut mutants = command(root, &["mutants", "--package", "meshpool-proto", "--output", FOLDER]);
    for component in &arguments.components {
        let path = Path::new(SOURCES).join(component);
        let there = root.join(&path).is_dir() || root.join(&path).with_extension("rs").is_file();
        ensure!(there, "{SOURCES} has neither {component}.rs nor a folder {component}");
        mutants.args(["--file", &format!("{}.rs", path.display()), "--file", &format!("{}/**", path.display())]);
    }
    if let Some(shard) = &arguments.shard {
        mutants.args(["--shard", shard]);
    }
    if !arguments.components.is_empty() {
        mutants.args(["--", "--lib", "--"]);
        mutants.args(arguments.components.iter().map(|component| filter(component)));
    }
    fs::create_dir_all(root.join(FOLDER)).with_context(|| format!("{FOLDER} cannot be made"))?;
    let status = mutants.status().context("cargo cannot be started")?;
    if !status.code().is_some_and(|code| WHOLE.contains(&code)) {
        bail!("cargo mutants ended with {status}: its logs are in {FOLDER}/mutants.out");
    }
    let outcomes = root.join(FOLDER).join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&outcomes).with_context(|| format!("{} cannot be read", outcomes.display()))?;
    let table = table(&text)?.show(Format::Markdown);
    fs::write(root.join(&arguments.output), format!("{table}\n"))
        .with_context(|| format!("{} cannot be written", arguments.output.display()))?;
    print(table)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the beginning of the names of a component's tests.
fn filter(component: &str) -> String {
    format!("{}::", component.trim_matches('/').replace('/', "::"))
}

/// The parts of `outcomes.json` that are read.
#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: String,
}

#[derive(Deserialize)]
enum Scenario {
    /// The run of the tests without a mutant.
    Baseline,
    Mutant {
        file: String,
    },
}

/// What became of the mutants of one component.
#[derive(Default)]
struct Counts {
    caught: usize,
    missed: usize,
    timeout: usize,
    unviable: usize,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.caught += other.caught;
        self.missed += other.missed;
        self.timeout += other.timeout;
        self.unviable += other.unviable;
    }

    fn row(&self, name: &str) -> [String; 7] {
        let Self { caught, missed, timeout, unviable } = self;
        // A mutant that does not build says nothing; one without an end is noticed, as a caught one
        // is.
        let (noticed, viable) = (caught + timeout, caught + timeout + missed);
        let percent =
            if viable == 0 { "–".to_owned() } else { format!("{:.1}", 100.0 * noticed as f64 / viable as f64) };
        let counts = [viable + unviable, *caught, *missed, *timeout, *unviable].map(|count| count.to_string());
        let [mutants, caught, missed, timeout, unviable] = counts;
        [name.to_owned(), mutants, caught, missed, timeout, unviable, percent]
    }
}

fn table(outcomes: &str) -> Result<Table> {
    let outcomes: Outcomes = serde_json::from_str(outcomes).context("outcomes.json cannot be read")?;
    let mut components: BTreeMap<String, Counts> = BTreeMap::new();
    for Outcome { scenario, summary } in outcomes.outcomes {
        let Scenario::Mutant { file } = scenario else { continue };
        let counts = components.entry(component_of(&file)).or_default();
        let count = match summary.as_str() {
            "CaughtMutant" => &mut counts.caught,
            "MissedMutant" => &mut counts.missed,
            "Timeout" => &mut counts.timeout,
            "Unviable" => &mut counts.unviable,
            other => bail!("outcomes.json has the unknown outcome {other:?} for a mutant of {file}"),
        };
        *count += 1;
    }
    let heading = ["component", "mutants", "caught", "missed", "timeout", "unviable", "% caught"];
    let mut table = Table::new(heading).right(1..heading.len());
    let mut all = Counts::default();
    for (name, counts) in &components {
        table.push(counts.row(name));
        all.add(counts);
    }
    table.push(all.row("all"));
    Ok(table)
}

/// The first name below the sources, without `.rs`.
fn component_of(file: &str) -> String {
    let inside = file.split_once("src/").map_or(file, |(_, inside)| inside);
    let name = inside.split('/').next().unwrap_or(inside);
    name.trim_end_matches(".rs").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_for_each_component() {
        let mutant = |file: &str, summary: &str| {
            format!(
                r#"{{"scenario":{{"Mutant":{{"name":"n","file":"{file}","genre":"FnValue"}}}},"summary":"{summary}"}}"#
            )
        };
        let outcomes = [
            r#"{"scenario":"Baseline","summary":"Success","phase_results":[]}"#.to_owned(),
            mutant("proto/src/gossip/plumtree.rs", "CaughtMutant"),
            mutant("proto/src/gossip/mod.rs", "MissedMutant"),
            mutant("proto/src/gossip/mod.rs", "Timeout"),
            mutant("proto/src/id.rs", "Unviable"),
        ];
        let text = format!(r#"{{"outcomes":[{}],"total_mutants":4}}"#, outcomes.join(","));
        let table = table(&text).expect("readable").show(Format::Markdown);
        let rows: Vec<Vec<_>> = table.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(rows[2][1..8], ["gossip", "3", "1", "1", "1", "0", "66.7"]);
        assert_eq!(rows[3][1..8], ["id", "1", "0", "0", "0", "1", "–"]);
        assert_eq!(rows[4][1..8], ["all", "4", "1", "1", "1", "1", "66.7"]);
    }

    #[test]
    fn the_tests_of_a_component_are_named_after_its_path() {
        assert_eq!(filter("sync"), "sync::");
        assert_eq!(filter("membership/slots/"), "membership::slots::");
    }

    #[test]
    fn an_unknown_outcome_is_an_error() {
        let text = r#"{"outcomes":[{"scenario":{"Mutant":{"file":"proto/src/id.rs"}},"summary":"New"}]}"#;
        assert!(table(text).expect_err("unknown").to_string().contains("New"));
    }
}
