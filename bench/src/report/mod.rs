//! Tables and charts: medians of the rounds, with the minimum and maximum.

pub(crate) mod format;
pub(crate) mod machine;

use std::time::Duration;

use measuring::{Axis, Chart, Format, Line, Scale, Stroke, Table, mean, median};

use crate::contestants::Contestant;
use crate::measures::cold_start::ColdStart;
use crate::measures::delay::Delays;
use crate::measures::pages::Pair;
use crate::measures::throughput::Run;
use crate::mesh::status::Copies;
use crate::transactions::TRANSACTION_BYTES;
use format::{spread, thousands, three_digits, two_digits};
use machine::BLOCKS;

const MIB: f64 = 1024.0 * 1024.0;

/// All rounds of one contestant at one size.
#[derive(Debug)]
pub(crate) struct Series<T> {
    name: String,
    nodes: usize,
    /// It is a build of our node.
    is_ours: bool,
    has_pool_file: bool,
    /// One per round that succeeded.
    pub(crate) runs: Vec<T>,
}

/// All throughput runs with one target.
#[derive(Debug)]
pub(crate) struct Load {
    /// The title in the report.
    pub(crate) title: &'static str,
    /// The name in file names.
    pub(crate) short: &'static str,
    /// By size, then in the order of the contestants.
    pub(crate) series: Vec<Series<Run>>,
}

impl<T> Series<T> {
    pub(crate) fn new(contestant: &Contestant, name: String, nodes: usize) -> Self {
        let (is_ours, has_pool_file) = (contestant.kind.is_ours(), contestant.has_pool_file());
        Self { name, nodes, is_ours, has_pool_file, runs: Vec::new() }
    }

    fn median(&self, of: impl Fn(&T) -> f64) -> f64 {
        median(self.runs.iter().map(of)).unwrap_or_default()
    }

    fn spread(&self, of: impl Fn(&T) -> f64, write: fn(f64) -> String) -> String {
        spread(self.runs.iter().map(of), write)
    }

    /// The first cells of a row.
    fn head(&self) -> Vec<String> {
        vec![self.nodes.to_string(), self.name.clone()]
    }
}

/// A line with the rates of the disk.
pub(crate) fn disk(rates: &[[f64; BLOCKS.len()]]) -> Option<String> {
    let blocks = BLOCKS.iter().enumerate().map(|(index, block)| {
        let rate = median(rates.iter().map(|rates| rates[index])).unwrap_or_default();
        let transactions = thousands(rate * *block as f64 / TRANSACTION_BYTES as f64);
        format!("{} × {} KiB ({transactions} transactions)", thousands(rate), block / 1024)
    });
    let blocks = blocks.collect::<Vec<_>>().join(", ");
    (!rates.is_empty()).then(|| format!("disk, append + fdatasync per second: {blocks}"))
}

/// The table of throughput runs. All are compared with the first build of our node.
pub(crate) fn throughput(series: &[Series<Run>], format: Format) -> String {
    let mut table = table(&[
        "transactions",
        "delivered/s",
        "least–most",
        "ratio",
        "on disk/s",
        "µs CPU/delivery",
        "least–most",
        "copies",
        "by sync",
        "MiB idle",
        "MiB after (most)",
        "lost",
        "twice",
    ]);
    for one in series {
        let rate = |series: &Series<Run>| series.median(Run::delivered_rate);
        let reference = series.iter().find(|other| other.is_ours && other.nodes == one.nodes);
        // Each delivery is one new copy; duplicates are added.
        let copies = copies_each(one, |run, copies| (run.deliveries() + copies.duplicate) as f64);
        let synced = copies_each(one, |_, copies| copies.synced as f64 * 100.0);
        let most = one.runs.iter().flat_map(|run| run.resident.iter().copied()).max();
        let after = one.median(|run| mean_mib(&run.resident));
        let mut row = one.head();
        row.extend([
            one.runs.first().map_or(String::new(), |run| thousands(run.count as f64)),
            thousands(rate(one)),
            one.spread(Run::delivered_rate, thousands),
            reference.map_or("–".to_owned(), |reference| format!("{:.2}×", rate(one) / rate(reference))),
            if one.has_pool_file { thousands(one.median(Run::stored_rate)) } else { "–".to_owned() },
            two_digits(one.median(Run::cpu_per_delivery)),
            one.spread(Run::cpu_per_delivery, two_digits),
            copies.map_or("–".to_owned(), two_digits),
            synced.map_or("–".to_owned(), |percent| format!("{percent:.0} %")),
            format!("{:.1}", one.median(|run| mean_mib(&run.idle))),
            format!("{after:.1} ({:.1})", most.unwrap_or_default() as f64 / MIB),
            lost(one),
            thousands(one.runs.iter().map(|run| run.twice).sum::<u64>() as f64),
        ]);
        table.push(row);
    }
    written(&table, format)
}

/// The fraction of deliveries that did not happen.
fn lost(series: &Series<Run>) -> String {
    // If a node does not even read what is sent to it, more is missing than is due.
    let missing = series.runs.iter().map(|run| run.missing.min(run.due)).sum::<u64>();
    let due = series.runs.iter().map(|run| run.due).sum::<u64>();
    if missing == 0 { "0".to_owned() } else { format!("{:.2} %", missing as f64 * 100.0 / due as f64) }
}

/// The median of an amount of copies per delivery, if copies are counted.
fn copies_each(series: &Series<Run>, amount: impl Fn(&Run, Copies) -> f64) -> Option<f64> {
    let amounts: Option<Vec<_>> =
        series.runs.iter().map(|run| Some(amount(run, run.copies?) / run.deliveries().max(1) as f64)).collect();
    median(amounts?)
}

/// The table of runs with and without open pages. The ratios are those of the two runs of a round.
pub(crate) fn pages(series: &[Series<Pair>], format: Format) -> String {
    let mut table = table(&[
        "transactions",
        "delivered/s without",
        "with",
        "ratio",
        "least–most",
        "µs CPU/delivery without",
        "with",
        "ratio",
        "least–most",
    ]);
    for one in series {
        let mut row = one.head();
        row.extend([
            one.runs.first().map_or(String::new(), |pair| thousands(pair.with.count as f64)),
            thousands(one.median(|pair| pair.without.delivered_rate())),
            thousands(one.median(|pair| pair.with.delivered_rate())),
            format!("{:.3}×", one.median(Pair::rate)),
            one.spread(Pair::rate, three_digits),
            two_digits(one.median(|pair| pair.without.cpu_per_delivery())),
            two_digits(one.median(|pair| pair.with.cpu_per_delivery())),
            format!("{:.3}×", one.median(Pair::cost)),
            one.spread(Pair::cost, three_digits),
        ]);
        table.push(row);
    }
    written(&table, format)
}

/// The table of delays.
pub(crate) fn delays(series: &[Series<Delays>], format: Format) -> String {
    let header = ["µs p50", "least–most", "µs p99", "least–most", "µs slowest", "lost"];
    let mut table = table(&header);
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    for one in series {
        let mut row = one.head();
        row.extend([
            thousands(one.median(|run| microseconds(run.median))),
            one.spread(|run| microseconds(run.median), thousands),
            thousands(one.median(|run| microseconds(run.p99))),
            one.spread(|run| microseconds(run.p99), thousands),
            thousands(one.runs.iter().map(|run| microseconds(run.max)).fold(0.0, f64::max)),
            thousands(one.runs.iter().map(|run| run.missing).sum::<u64>() as f64),
        ]);
        table.push(row);
    }
    written(&table, format)
}

/// The table of cold starts.
pub(crate) fn cold_starts(series: &[Series<ColdStart>], format: Format) -> String {
    let header = ["ms to full mesh", "least–most", "ms CPU/node", "MiB/node", "most"];
    let mut table = table(&header);
    for one in series {
        let complete = |start: &ColdStart| start.complete.as_secs_f64() * 1e3;
        let most = one.runs.iter().flat_map(|start| start.resident.iter().copied()).max();
        let mut row = one.head();
        row.extend([
            thousands(one.median(complete)),
            one.spread(complete, thousands),
            two_digits(one.median(|start| start.cpu.as_secs_f64() * 1e3 / one.nodes as f64)),
            format!("{:.1}", one.median(|start| mean_mib(&start.resident))),
            format!("{:.1}", most.unwrap_or_default() as f64 / MIB),
        ]);
        table.push(row);
    }
    written(&table, format)
}

/// The chart of throughput by the number of nodes.
pub(crate) fn rates(load: &Load) -> Chart {
    chart(load, "transactions delivered to every node, per second", Run::delivered_rate)
}

/// The chart of CPU time per delivery by the number of nodes.
pub(crate) fn costs(load: &Load) -> Chart {
    chart(load, "CPU time per delivery, all nodes together, in µs", Run::cpu_per_delivery)
}

/// A chart with a line for each contestant, in the order of the table.
fn chart(load: &Load, what: &str, value: impl Fn(&Run) -> f64) -> Chart {
    let mut lines: Vec<Line> = Vec::new();
    for one in &load.series {
        let point = (one.nodes as f64, one.median(&value));
        let stroke = if one.is_ours { Stroke::Strong } else { Stroke::Normal };
        match lines.iter_mut().find(|line| line.name == one.name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: one.name.clone(), stroke, points: vec![point] }),
        }
    }
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Logarithmic };
    Chart {
        title: format!("{}: {what}", load.title),
        x: axis("nodes, fully connected"),
        y: axis(""),
        lines,
        bands: Vec::new(),
    }
}

/// The mean in MiB.
fn mean_mib(bytes: &[u64]) -> f64 {
    mean(&bytes.iter().map(|bytes| *bytes as f64 / MIB).collect::<Vec<_>>())
}

/// A table with the header of its numbers, to the right of the size and the contestant.
fn table(header: &[&str]) -> Table {
    Table::new(["nodes", "contestant"].iter().chain(header).copied()).right((0..header.len() + 2).filter(|at| *at != 1))
}

/// Writes a table, with a line end.
fn written(table: &Table, format: Format) -> String {
    table.show(format) + "\n"
}
