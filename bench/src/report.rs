//! Tables: medians of the rounds, with the least and the most.

use std::time::Duration;

use crate::cold_start::ColdStart;
use crate::contestant::Contestant;
use crate::delay::Delays;
use crate::load::TRANSACTION_BYTES;
use crate::machine::BLOCKS;
use crate::pages::Pair;
use crate::picture::{Line, Picture};
use crate::status::Copies;
use crate::throughput::Run;

const MIB: f64 = 1024.0 * 1024.0;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// For a terminal.
    Plain,
    /// For a document.
    Markdown,
}

/// All rounds of one contestant at one size.
#[derive(Debug)]
pub(crate) struct Series<T> {
    /// The contestant's name.
    pub(crate) name: String,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// Whether it is a build of our node.
    pub(crate) ours: bool,
    /// Whether its pool is on disk.
    pub(crate) durable: bool,
    /// One per round that came to an end.
    pub(crate) runs: Vec<T>,
}

/// All runs with one target.
#[derive(Debug)]
pub(crate) struct Load {
    /// What the document calls it.
    pub(crate) title: &'static str,
    /// What a file's name calls it.
    pub(crate) short: &'static str,
    /// By size, and in the contestants' order.
    pub(crate) series: Vec<Series<Run>>,
}

impl<T> Series<T> {
    pub(crate) fn new(contestant: &Contestant, name: String, nodes: usize) -> Self {
        Self { name, nodes, ours: contestant.is_ours(), durable: contestant.keeps_a_file(), runs: Vec::new() }
    }

    fn median(&self, of: impl Fn(&T) -> f64) -> f64 {
        median(self.runs.iter().map(of))
    }

    fn spread(&self, of: impl Fn(&T) -> f64, write: fn(f64) -> String) -> String {
        spread(self.runs.iter().map(of), write)
    }
}

impl Run {
    /// How many deliveries were made.
    fn deliveries(&self) -> u64 {
        self.due - self.missing.min(self.due)
    }

    /// Transactions per second that every node had accepted. Where some are lost, a node's share of
    /// those that were not.
    pub(crate) fn delivered_rate(&self) -> f64 {
        self.arrived() / self.delivered.as_secs_f64()
    }

    fn arrived(&self) -> f64 {
        self.count as f64 * self.deliveries() as f64 / self.due as f64
    }

    /// Transactions per second that every node's pool had.
    pub(crate) fn stored_rate(&self) -> f64 {
        self.arrived() / self.stored.as_secs_f64()
    }

    /// CPU time per delivery of all nodes together, in microseconds.
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries().max(1) as f64
    }
}

/// The disk's own rates, a line.
pub(crate) fn disk(rates: &[[f64; BLOCKS.len()]]) -> Option<String> {
    let blocks = BLOCKS.iter().enumerate().map(|(index, block)| {
        let rate = median(rates.iter().map(|rates| rates[index]));
        let transactions = thousands(rate * *block as f64 / TRANSACTION_BYTES as f64);
        format!("{} × {} KiB ({transactions} transactions)", thousands(rate), block / 1024)
    });
    let blocks = blocks.collect::<Vec<_>>().join(", ");
    (!rates.is_empty()).then(|| format!("the disk's own rate, append + fdatasync per second: {blocks}"))
}

/// The table of the runs with one target. All are compared with the first build of ours.
pub(crate) fn throughput(series: &[Series<Run>], style: Style) -> String {
    let header = [
        "nodes",
        "contestant",
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
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in series {
        let rate = |series: &Series<Run>| series.median(Run::delivered_rate);
        let reference = series.iter().find(|other| other.ours && other.nodes == one.nodes);
        // Each delivery is one copy that was new; the duplicates come on top.
        let copies = shares(one, |run, copies| (run.deliveries() + copies.duplicate) as f64);
        let synced = shares(one, |_, copies| copies.synced as f64 * 100.0);
        let most = one.runs.iter().flat_map(|run| run.resident.iter().copied()).max();
        let after = one.median(|run| mean(&run.resident)) / MIB;
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
            one.runs.first().map_or(String::new(), |run| thousands(run.count as f64)),
            thousands(rate(one)),
            one.spread(Run::delivered_rate, thousands),
            reference.map_or("–".to_owned(), |reference| format!("{:.2}×", rate(one) / rate(reference))),
            if one.durable { thousands(one.median(Run::stored_rate)) } else { "–".to_owned() },
            two_digits(one.median(Run::cpu_per_delivery)),
            one.spread(Run::cpu_per_delivery, two_digits),
            copies.map_or("–".to_owned(), two_digits),
            synced.map_or("–".to_owned(), |percent| format!("{percent:.0} %")),
            format!("{:.1}", one.median(|run| mean(&run.idle)) / MIB),
            format!("{after:.1} ({:.1})", most.unwrap_or_default() as f64 / MIB),
            lost(one),
            thousands(one.runs.iter().map(|run| run.twice).sum::<u64>() as f64),
        ]);
    }
    table(&rows, style)
}

/// Which part of all deliveries was never made.
fn lost(series: &Series<Run>) -> String {
    // Where a node does not even take what is pushed at it, more is missing than was to be
    // delivered.
    let missing = series.runs.iter().map(|run| run.missing.min(run.due)).sum::<u64>();
    let due = series.runs.iter().map(|run| run.due).sum::<u64>();
    if missing == 0 { "0".to_owned() } else { format!("{:.2} %", missing as f64 * 100.0 / due as f64) }
}

/// The median of something that is counted of copies, per delivery; `None` where copies are not
/// counted.
fn shares(series: &Series<Run>, amount: impl Fn(&Run, Copies) -> f64) -> Option<f64> {
    let shares: Option<Vec<_>> =
        series.runs.iter().map(|run| Some(amount(run, run.copies?) / run.deliveries().max(1) as f64)).collect();
    Some(median(shares?.into_iter()))
}

/// So many pages, in words.
pub(crate) fn pages_open(pages: usize) -> String {
    if pages == 1 { "one page".to_owned() } else { format!("{pages} pages") }
}

/// The table of the runs with and without open pages. The ratios are those of the two runs of a
/// round.
pub(crate) fn pages(series: &[Series<Pair>], style: Style) -> String {
    let header = [
        "nodes",
        "contestant",
        "transactions",
        "delivered/s without",
        "with",
        "ratio",
        "least–most",
        "µs CPU/delivery without",
        "with",
        "ratio",
        "least–most",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in series {
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
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
    }
    table(&rows, style)
}

/// The table of the delays.
pub(crate) fn delays(series: &[Series<Delays>], style: Style) -> String {
    let header = ["nodes", "contestant", "µs p50", "least–most", "µs p99", "least–most", "µs slowest", "lost"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    for one in series {
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
            thousands(one.median(|run| microseconds(run.half))),
            one.spread(|run| microseconds(run.half), thousands),
            thousands(one.median(|run| microseconds(run.most))),
            one.spread(|run| microseconds(run.most), thousands),
            thousands(one.runs.iter().map(|run| microseconds(run.slowest)).fold(0.0, f64::max)),
            thousands(one.runs.iter().map(|run| run.missing).sum::<u64>() as f64),
        ]);
    }
    table(&rows, style)
}

/// The table of the cold starts.
pub(crate) fn cold_starts(series: &[Series<ColdStart>], style: Style) -> String {
    let header = ["nodes", "contestant", "ms to full mesh", "least–most", "ms CPU/node", "MiB/node", "most"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in series {
        let complete = |start: &ColdStart| start.complete.as_secs_f64() * 1e3;
        let most = one.runs.iter().flat_map(|start| start.resident.iter().copied()).max();
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
            thousands(one.median(complete)),
            one.spread(complete, thousands),
            two_digits(one.median(|start| start.cpu.as_secs_f64() * 1e3 / one.nodes as f64)),
            format!("{:.1}", one.median(|start| mean(&start.resident)) / MIB),
            format!("{:.1}", most.unwrap_or_default() as f64 / MIB),
        ]);
    }
    table(&rows, style)
}

/// Throughput over the number of nodes.
pub(crate) fn rates(load: &Load) -> Picture {
    let title = format!("{}: transactions delivered to every node, per second", load.title);
    Picture { title, lines: picture_lines(load, Run::delivered_rate) }
}

/// CPU per delivery over the number of nodes.
pub(crate) fn costs(load: &Load) -> Picture {
    let title = format!("{}: CPU time per delivery, all nodes together, in µs", load.title);
    Picture { title, lines: picture_lines(load, Run::cpu_per_delivery) }
}

/// A line for each contestant, in the order of the table.
fn picture_lines(load: &Load, value: impl Fn(&Run) -> f64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for one in &load.series {
        let point = (one.nodes, one.median(&value));
        match lines.iter_mut().find(|line| line.name == one.name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: one.name.clone(), ours: one.ours, points: vec![point] }),
        }
    }
    lines
}

/// A list, a line per thing.
pub(crate) fn lines(lines: &[String], style: Style) -> String {
    let mark = if style == Style::Markdown { "- " } else { "" };
    lines.iter().map(|line| format!("{mark}{line}\n")).collect()
}

/// A part of the report with its title.
pub(crate) fn section(title: &str, text: &str, style: Style) -> String {
    let mark = if style == Style::Markdown { "### " } else { "" };
    format!("\n{mark}{title}\n\n{text}")
}

/// The middle one; of an even number, the mean of the two in the middle. 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len().max(1) as f64
}

/// The least and the most, if there are two.
fn spread(values: impl Iterator<Item = f64>, write: fn(f64) -> String) -> String {
    let values: Vec<_> = values.collect();
    if values.len() < 2 {
        return "–".to_owned();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{}–{}", write(least), write(values.iter().copied().fold(0.0, f64::max)))
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
}

fn three_digits(value: f64) -> String {
    format!("{value:.3}")
}

/// A whole number with its thousands parted: 12,345.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns of equal width; the second, the names, to the left and the others to the right.
fn table(rows: &[Vec<String>], style: Style) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let cells: Vec<_> = cells.collect();
        match style {
            Style::Plain => text.push_str(&cells.join("  ")),
            Style::Markdown => text.push_str(&format!("| {} |", cells.join(" | "))),
        }
        text.push('\n');
        if index == 0 && style == Style::Markdown {
            let rule = widths.iter().enumerate().map(|(column, width)| {
                if column == 1 { format!(":{}", "-".repeat(width + 1)) } else { format!("{}:", "-".repeat(width + 1)) }
            });
            text.push_str(&format!("|{}|\n", rule.collect::<Vec<_>>().join("|")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(12.0), "12");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter(), two_digits), "1.00–3.00");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, 3.0].into_iter()), 3.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [["n", "name"], ["10", "µ"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, Style::Plain), " n  name\n10  µ   \n");
        assert_eq!(table(&rows, Style::Markdown), "|  n | name |\n|---:|:-----|\n| 10 | µ    |\n");
    }
}
