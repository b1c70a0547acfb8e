//! Measures our node and its rivals side by side, in one run: each round lets all contestants do the same work one after the other, so that what else the
//! machine does meets all of them alike.
//!
//! The judge is outside: it starts processes, speaks to them over their sockets, reads what the system says of them and the files that they leave. Progress
//! goes to standard error, the tables to standard output. What a delivery costs when nodes have little to do, its delay, is a measurement of its own that
//! is not made here yet.

mod arguments;
mod cold_start;
mod contestant;
mod load;
mod machine;
mod mesh;
mod pool;
mod process;
mod report;
mod status;
mod throughput;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, What};
use contestant::Contestant;
use mesh::{Known, Places};
use report::{ColdSeries, Series, Style, median, thousands};
use throughput::Target;

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
    tokio::select! {
        result = measure(arguments, &places, &contestants) => result,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

async fn measure(arguments: &Arguments, places: &Places, contestants: &[Contestant]) -> Result<()> {
    let mut disk = vec![machine::disk_rate(&places.temporary)?];
    let mut loads = Vec::new();
    for (what, target, title) in
        [(What::One, Target::One, "Pushed at one node"), (What::All, Target::All, "Pushed at all nodes at once")]
    {
        if arguments.measures(what) {
            loads.push((title, load(arguments, places, contestants, target, title).await?));
            disk.push(machine::disk_rate(&places.temporary)?);
        }
    }
    let cold = match arguments.measures(What::Cold) {
        true => cold(arguments, places, contestants).await?,
        false => Vec::new(),
    };
    let style = if arguments.markdown { Style::Markdown } else { Style::Plain };
    let mut lines = machine::describe(&places.root, &places.temporary);
    lines.push(format!("load: transactions of {} bytes", load::TRANSACTION_BYTES));
    let disk = disk.into_iter();
    lines.push(format!(
        "the disk's own rate: {} × (write 64 KiB + fdatasync) per second (median of {})",
        thousands(median(disk.clone())),
        disk.len()
    ));
    let mut text = write_lines(style, &lines);
    for (title, series) in &loads {
        text += &write_table(style, title, &report::throughput(series, Contestant::JavaScriptMemory.name(), style));
    }
    if !cold.is_empty() {
        text += &write_table(style, "Cold start to a full mesh", &report::cold_starts(&cold, style));
    }
    std::io::stdout().write_all(text.as_bytes()).context("the tables can not be written")
}

/// All rounds of all contestants at all sizes, with one target.
async fn load(
    arguments: &Arguments,
    places: &Places,
    contestants: &[Contestant],
    target: Target,
    title: &str,
) -> Result<Vec<Series>> {
    let sizes = arguments.sizes().into_iter();
    let mut series: Vec<_> = sizes
        .flat_map(|nodes| contestants.iter().map(move |contestant| (nodes, contestant)))
        .map(|(nodes, contestant)| {
            let series = Series {
                name: contestant.name().to_owned(),
                nodes,
                durable: contestant.keeps_a_file(),
                runs: Vec::new(),
            };
            (contestant, series)
        })
        .collect();
    for round in 1..=arguments.rounds() {
        for (contestant, series) in &mut series {
            let count = arguments.count(contestant, series.nodes);
            let run = throughput::run(places, contestant, series.nodes, target, count)
                .await
                .with_context(|| format!("{}, {} nodes", series.name, series.nodes))?;
            eprintln!(
                "{title}, round {round} of {}, {} nodes, {}: {}/s delivered, {}/s in all pools, {:.2} µs per delivery, {} lost",
                arguments.rounds(),
                series.nodes,
                series.name,
                thousands(run.delivered_rate()),
                thousands(run.stored_rate()),
                run.cpu_per_delivery(),
                run.missing
            );
            series.runs.push(run);
        }
    }
    Ok(series.into_iter().map(|(_, series)| series).collect())
}

/// All rounds of the cold starts. The rival that writes files starts as the other one does, and is left out.
async fn cold(arguments: &Arguments, places: &Places, contestants: &[Contestant]) -> Result<Vec<ColdSeries>> {
    let mut plan = Vec::new();
    for contestant in contestants.iter().filter(|one| **one != Contestant::JavaScriptFile) {
        for nodes in arguments.cold_sizes(contestant) {
            plan.push((contestant, nodes, Known::All));
            // A rival that dials a node that does not listen yet never tries again, so its mesh may stay torn then.
            if contestant.is_ours() {
                plan.push((contestant, nodes, Known::First));
            }
        }
    }
    plan.sort_by_key(|(_, nodes, _)| *nodes);
    let mut series: Vec<_> = plan
        .iter()
        .map(|(contestant, nodes, known)| ColdSeries {
            name: match known {
                Known::All => format!("{}, all known", contestant.name()),
                Known::First => format!("{}, one known", contestant.name()),
            },
            nodes: *nodes,
            starts: Vec::new(),
        })
        .collect();
    for round in 1..=arguments.rounds() {
        for ((contestant, nodes, known), series) in plan.iter().zip(&mut series) {
            let start = cold_start::run(places, contestant, *nodes, *known)
                .await
                .with_context(|| format!("{}, {nodes} nodes", series.name))?;
            eprintln!(
                "Cold start, round {round} of {}, {nodes} nodes, {}: {} ms",
                arguments.rounds(),
                series.name,
                start.complete.as_millis()
            );
            series.starts.push(start);
        }
    }
    Ok(series)
}

fn write_lines(style: Style, lines: &[String]) -> String {
    let mark = if style == Style::Markdown { "- " } else { "" };
    lines.iter().map(|line| format!("{mark}{line}\n")).collect()
}

fn write_table(style: Style, title: &str, table: &str) -> String {
    let mark = if style == Style::Markdown { "### " } else { "" };
    format!("\n{mark}{title}\n\n{table}")
}
