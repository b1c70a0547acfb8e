//! Measures our node and its rivals in one run: in each round all contestants do the same work one
//! after the other, so other load on the machine affects all alike.
//!
//! The bench starts processes, uses their sockets, and reads `/proc` and the files that they leave.
//! Progress goes to standard error, tables to standard output. The rivals in Rust are programs of
//! another package, built only if they take part.

mod arguments;
mod contestants;
mod hex;
mod measures;
mod mesh;
mod report;
mod suite;
mod transactions;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use measuring::Format;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use mesh::Paths;
use report::format::{list, section};
use report::machine;
use suite::Results;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            measuring::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench is not in the repository")?;
    let temporary = arguments.folder.clone().unwrap_or_else(|| root.join("target/bench-tmp"));
    let paths = Paths { root: root.to_owned(), temporary };
    std::fs::create_dir_all(&paths.temporary)
        .with_context(|| format!("{} cannot be made", paths.temporary.display()))?;
    let contestants = arguments.contestants(root)?;
    // After a signal the nodes end when their mesh is dropped.
    let mut terminate = signal(SignalKind::terminate())?;
    let results = tokio::select! {
        results = suite::run(arguments, &paths, &contestants) => results?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    print(arguments, &paths, &results)?;
    if let Some(folder) = arguments.charts(root) {
        draw(&folder, &results)?;
    }
    ensure!(results.failures.is_empty(), "{} run(s) failed; they are listed below the tables", results.failures.len());
    Ok(())
}

fn print(arguments: &Arguments, paths: &Paths, results: &Results) -> Result<()> {
    let format = if arguments.markdown { Format::Markdown } else { Format::Text };
    let bytes = transactions::TRANSACTION_BYTES;
    let mut lines = machine::describe(&paths.root, &paths.temporary);
    lines.push(format!("load: transactions of {bytes} bytes; {} round(s)", arguments.rounds()));
    lines.extend(report::disk(&results.disk));
    let mut text = list(&lines, format);
    let mut add = |title: &str, body: String| text += &section(title, &body, format);
    for load in &results.loads {
        add(load.title, report::throughput(&load.series, format));
    }
    if !results.pages.is_empty() {
        let pages = arguments.pages;
        let title = if pages == 1 { "one page".to_owned() } else { format!("{pages} pages") };
        add(&format!("With {title} open on every node"), report::pages(&results.pages, format));
    }
    if !results.delays.is_empty() {
        add("Delay at 100 transactions per second", report::delays(&results.delays, format));
    }
    if !results.cold.is_empty() {
        add("Cold start to a full mesh", report::cold_starts(&results.cold, format));
    }
    if !results.failures.is_empty() {
        add("Runs that failed", list(&results.failures, format));
    }
    std::io::stdout().write_all(text.as_bytes()).context("the tables cannot be written")
}

fn draw(folder: &Path, results: &Results) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for load in &results.loads {
        for (kind, chart) in [("throughput", report::rates(load)), ("cpu", report::costs(load))] {
            let path = folder.join(format!("{kind}-{}.svg", load.short));
            std::fs::write(&path, chart.svg()).with_context(|| format!("{} cannot be written", path.display()))?;
            measuring::note(format_args!("drew {}", path.display()));
        }
    }
    Ok(())
}
