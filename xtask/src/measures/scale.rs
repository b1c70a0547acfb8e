//! `scale`: measures nodes with a large pool, and fails if a bound is broken.
//!
//! The bounds are those of docs/testing.md, for a million transactions of 300 bytes. They hold for
//! fewer all the more.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream;
use measuring::proc::Memory;
use measuring::{Table, percentile};
use meshpool::binary::pool;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::Transaction;

use crate::measures::setup::Setup;
use crate::support::generated_pool;
use crate::support::process::Process;
use crate::support::terminal::{number, print};
use crate::support::workspace::Workspace;

/// Transactions that are appended in one round …
const APPENDED: u64 = 25_000;
/// … and the rounds, in turns with the empty pool. The quickest counts, since other load on the
/// machine only slows a round down.
const ROUNDS: u64 = 3;
/// Transactions that are read by id.
const READ: usize = 2_000;
/// The time in which two pools must become equal before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bound of the start.
const START: Duration = Duration::from_secs(5);
/// The bound of a node's memory in bytes, at any time.
const MEMORY: u64 = 250_000_000;
/// The bound of the cost of an append, as a multiple of one to an empty pool. Only cache misses in
/// large tables may make a difference.
const APPEND: f64 = 1.3;
/// The bound of the time until missing transactions have arrived …
const SYNC: Duration = Duration::from_secs(1);
/// … and of the bytes on the wire for it, both ways.
const WIRE: u64 = 3_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fill the pool with N transactions
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = number(10_000..=10_000_000_u64, "1000000"))]
    transactions: u64,
    /// Leave N of them out of the second node's pool, evenly spread
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number(1..=100_000_u64, "1000"))]
    missing: u64,
    #[command(flatten)]
    setup: Setup,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.missing <= arguments.transactions / 10,
        "--missing {} is too much of {} transactions: a node that lacks more than a tenth is not what this measures",
        arguments.missing,
        arguments.transactions
    );
    let measure = async |binary: &Path, root: &Path| measure(binary, root, arguments).await;
    let results = arguments.setup.run(workspace, "scale", measure)?;
    let mut table = Table::new(["what", "bound", "measured", ""]);
    for row in &results {
        table.push(row.cells());
    }
    print(table.show(arguments.setup.format()))?;
    let broken: Vec<_> = results.iter().filter(|row| row.holds == Some(false)).map(|row| row.what.as_str()).collect();
    ensure!(broken.is_empty(), "out of bounds: {}", broken.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// One line of the table.
struct Row {
    what: String,
    bound: String,
    measured: String,
    /// Whether the bound holds; `None` if there is none.
    holds: Option<bool>,
}

impl Row {
    fn info(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), bound: String::new(), measured: measured.into(), holds: None }
    }

    fn bounded<T: PartialOrd>(what: impl Into<String>, bound: T, measured: T, show: impl Fn(&T) -> String) -> Self {
        let holds = Some(measured <= bound);
        Self { what: what.into(), bound: show(&bound), measured: show(&measured), holds }
    }

    fn cells(&self) -> Vec<String> {
        let verdict = self.holds.map_or("", |holds| if holds { "ok" } else { "BROKEN" });
        vec![self.what.clone(), self.bound.clone(), self.measured.clone(), verdict.to_owned()]
    }
}

fn megabytes(bytes: &u64) -> String {
    format!("{:.1} MB", *bytes as f64 / 1e6)
}

fn seconds(time: &Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

async fn measure(binary: &Path, root: &Path, arguments: &Arguments) -> Result<Vec<Row>> {
    let count = arguments.transactions;
    let every = count / arguments.missing;
    let lacking = |number: u64| number % every == every / 2 && number / every < arguments.missing;
    let [full, partial, empty] = ["full", "partial", "empty"].map(|name| root.join(name));
    for (folder, count, lacks) in [(&full, count, false), (&partial, count, true), (&empty, 0, false)] {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        generated_pool::write_pool(&folder.join(pool::POOL_FILE), count, |number| lacks && lacking(number))?;
    }
    let mut table = Vec::new();
    let large = Process::start(binary, &full, &[], "").await?;
    table.push(Row::info("transactions in the pool", large.status().await?.pool.count.to_string()));
    table.push(Row::bounded("start", START, large.started_in, seconds));
    table.push(Row::info("  CPU time of the start", seconds(&large.cpu()?)));
    let Memory { resident, peak } = large.memory()?;
    table.push(Row::info(
        "memory after the start, and at its highest",
        format!("{}, {}", megabytes(&resident), megabytes(&peak)),
    ));
    sync(binary, &large, &partial, arguments.missing, &mut table).await?;
    table.push(Row::bounded(
        "memory at its highest, after start and comparison",
        MEMORY,
        large.memory()?.peak,
        megabytes,
    ));
    let fresh = Process::start(binary, &empty, &[], "").await?;
    append(&large, &fresh, count, &mut table).await?;
    let held = fresh.status().await?.pool.count;
    table.push(Row::info(
        format!("memory of the node that was empty, with {held}"),
        megabytes(&fresh.memory()?.resident),
    ));
    fresh.stop().await?;
    let held = large.status().await?.pool.count;
    table.push(Row::info(format!("memory at the end, with {held}"), megabytes(&large.memory()?.resident)));
    table.push(read(&large.stop().await?).await?);
    Ok(table)
}

/// Links a node that lacks some transactions to one that has all.
async fn sync(binary: &Path, large: &Process, folder: &Path, missing: u64, table: &mut Vec<Row>) -> Result<()> {
    let before = large.cpu()?;
    let lacking = Process::start(binary, folder, &[&large.address], "").await?;
    let began = Instant::now();
    let whole = large.status().await?.pool;
    let mut client = lacking.client().await?;
    let mut slowest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let status = client.status(&[]).await?;
        slowest = slowest.max(asked.elapsed());
        if status.pool == whole {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "after {PATIENCE:?} the pools differ: {:?}, {whole:?}", status.pool);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    let bytes = lacking.bytes_between(large).await?;
    table.push(Row::bounded(format!("{missing} missing: until both are equal, on disk"), SYNC, took, seconds));
    table.push(Row::bounded(format!("{missing} missing: on the wire, both ways"), WIRE, bytes, megabytes));
    table.push(Row::info("  the receiver's longest answer to STATUS meanwhile", milliseconds(slowest)));
    table.push(Row::info("  CPU time of the node that had them", milliseconds(large.cpu()? - before)));
    table.push(Row::bounded("  memory of the receiver at its highest", MEMORY, lacking.memory()?.peak, megabytes));
    lacking.stop().await?;
    Ok(())
}

/// Measures the cost of an append beside one to an empty pool, for new time stamps and for old ones
/// between those in the pool.
async fn append(large: &Process, fresh: &Process, count: u64, table: &mut Vec<Row>) -> Result<()> {
    for (name, old) in [("new time stamps", false), ("old time stamps", true)] {
        let (mut best, mut slowest) = ([Duration::MAX; 2], [Duration::ZERO; 2]);
        for round in 0..ROUNDS {
            for (which, node) in [large, fresh].into_iter().enumerate() {
                let first = count + (round + if old { ROUNDS } else { 0 }) * APPENDED;
                let (cpu, stall) = submit(node, first, old.then_some(count)).await?;
                best[which] = best[which].min(cpu);
                slowest[which] = slowest[which].max(stall);
            }
        }
        let each = best.map(|time| time.as_secs_f64() * 1e6 / APPENDED as f64);
        let ratio = each[0] / each[1];
        table.push(Row::bounded(format!("append, {name}: cost beside an empty pool"), APPEND, ratio, |ratio| {
            format!("{ratio:.2}")
        }));
        table.push(Row::info("  CPU per transaction: large, empty", format!("{:.1} µs, {:.1} µs", each[0], each[1])));
        let [of_large, of_fresh] = slowest.map(milliseconds);
        table.push(Row::info("  longest answer to STATUS meanwhile: large, empty", format!("{of_large}, {of_fresh}")));
    }
    Ok(())
}

/// Submits transactions and waits until they are on disk. Returns the node's CPU time for it, and
/// its longest answer to a STATUS until the accepted ones are settled.
async fn submit(node: &Process, first: u64, scattered_over: Option<u64>) -> Result<(Duration, Duration)> {
    let mut parser = Parser::new();
    let mut transactions = Vec::new();
    for number in first..first + APPENDED {
        // The golden ratio scatters consecutive numbers evenly.
        let time = scattered_over.map_or(number, |count| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count);
        transactions.push(Transaction::parse(&mut parser, &generated_pool::transaction(number, time))?);
    }
    let (mut client, mut watcher) = (node.client().await?, node.client().await?);
    let before = node.cpu()?;
    let mut refused = 0;
    let submitting = async {
        client.submit_many(stream::iter(transactions), |ack| refused += usize::from(ack.reason.is_some())).await?;
        client.close().await;
        tokio::time::sleep(Duration::from_millis(2_600)).await;
        anyhow::Ok(())
    };
    let slowest = Cell::new(Duration::ZERO);
    let watching = async {
        let mut turn = tokio::time::interval(Duration::from_millis(5));
        loop {
            turn.tick().await;
            let asked = Instant::now();
            watcher.status(&[]).await?;
            slowest.set(slowest.get().max(asked.elapsed()));
        }
    };
    tokio::select! {
        done = submitting => done?,
        failed = watching => return failed,
    }
    ensure!(refused == 0, "the node refused {refused} transactions");
    Ok((node.cpu()? - before, slowest.get()))
}

/// Reads transactions by id, from a file that no cache of ours holds.
async fn read(folder: &Path) -> Result<Row> {
    let opened = pool::open(folder)?;
    let reader = opened.pool.reader();
    let step = (opened.ids.len() / READ).max(1);
    let mut times = Vec::new();
    for id in opened.ids.iter().step_by(step) {
        let began = Instant::now();
        let found = reader.find(id).await?;
        times.push(began.elapsed());
        ensure!(found.is_some_and(|(_, transaction)| transaction.id() == *id), "{id} is not where the index says");
    }
    drop(opened.reports);
    opened.pool.close().await;
    times.sort_unstable();
    let at = |part: f64| percentile(&times, part).map_or_else(|| "–".to_owned(), milliseconds);
    Ok(Row::info("reading one by id: median, 99 %", format!("{}, {}", at(0.5), at(0.99))))
}
