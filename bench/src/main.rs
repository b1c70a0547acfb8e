//! Measures our node and its rivals side by side, in one run: each round lets all contestants do
//! the same work one after the other, so that what else the machine does meets all of them alike.
//!
//! The judge is outside: it starts processes, speaks to them over their sockets, reads what the
//! system says of them and the files that they leave. Progress goes to standard error, the tables
//! to standard output. The rivals in Rust are programs of a package beside this one, and built only
//! if they take part.

mod arguments;
mod authority;
mod build;
mod cold_start;
mod contestant;
mod delay;
mod door;
mod enlarged;
mod load;
mod machine;
mod mesh;
mod pages;
mod picture;
mod pool;
mod process;
mod report;
mod status;
mod suite;
mod throughput;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use mesh::Places;
use report::Style;
use suite::Results;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench is not inside the repository")?;
    let places = Places {
        root: root.to_owned(),
        temporary: arguments.folder.clone().unwrap_or_else(|| root.join("target/bench-tmp")),
    };
    std::fs::create_dir_all(&places.temporary)
        .with_context(|| format!("{} can not be made", places.temporary.display()))?;
    let contestants = arguments.contestants(root)?;
    // Ended by a signal, we still end the nodes: they do when their mesh is dropped.
    let mut terminate = signal(SignalKind::terminate())?;
    let results = tokio::select! {
        results = suite::run(arguments, &places, &contestants) => results?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    tell(arguments, &places, &results)?;
    if let Some(folder) = arguments.pictures(root) {
        draw(&folder, &results)?;
    }
    ensure!(results.failures.is_empty(), "{} run(s) failed; they are named below the tables", results.failures.len());
    Ok(())
}

fn tell(arguments: &Arguments, places: &Places, results: &Results) -> Result<()> {
    let style = if arguments.markdown { Style::Markdown } else { Style::Plain };
    let mut lines = machine::describe(&places.root, &places.temporary);
    lines.push(format!("load: transactions of {} bytes; {} round(s)", load::TRANSACTION_BYTES, arguments.rounds()));
    lines.extend(report::disk(&results.disk));
    let mut text = report::lines(&lines, style);
    for load in &results.loads {
        text += &report::section(load.title, &report::throughput(&load.series, style), style);
    }
    if !results.pages.is_empty() {
        let title = format!("With {} open on every node", report::pages_open(arguments.pages()));
        text += &report::section(&title, &report::pages(&results.pages, style), style);
    }
    if !results.delays.is_empty() {
        text +=
            &report::section("Delay at 100 transactions per second", &report::delays(&results.delays, style), style);
    }
    if !results.cold.is_empty() {
        text += &report::section("Cold start to a full mesh", &report::cold_starts(&results.cold, style), style);
    }
    if !results.failures.is_empty() {
        text += &report::section("Runs that failed", &report::lines(&results.failures, style), style);
    }
    std::io::stdout().write_all(text.as_bytes()).context("the tables can not be written")
}

fn draw(folder: &Path, results: &Results) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} can not be made", folder.display()))?;
    for load in &results.loads {
        for (kind, picture) in [("throughput", report::rates(load)), ("cpu", report::costs(load))] {
            let path = folder.join(format!("{kind}-{}.svg", load.short));
            std::fs::write(&path, picture.svg()).with_context(|| format!("{} can not be written", path.display()))?;
            eprintln!("drew {}", path.display());
        }
    }
    Ok(())
}
