//! Tables: medians of the rounds, with the least and the most.

use std::time::Duration;

use crate::cold_start::ColdStart;
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

/// All rounds of one contestant at one size and target.
#[derive(Debug)]
pub(crate) struct Series {
    /// The contestant's name.
    pub(crate) name: String,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// Whether its pool is on disk.
    pub(crate) durable: bool,
    /// One per round.
    pub(crate) runs: Vec<Run>,
}

/// All rounds of one contestant's cold start at one size.
#[derive(Debug)]
pub(crate) struct ColdSeries {
    /// The contestant's name, and whom its nodes know.
    pub(crate) name: String,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// One per round.
    pub(crate) starts: Vec<ColdStart>,
}

impl Run {
    /// Transactions per second that every node had accepted.
    pub(crate) fn delivered_rate(&self) -> f64 {
        self.count as f64 / self.delivered.as_secs_f64()
    }

    /// Transactions per second that every node's pool had.
    pub(crate) fn stored_rate(&self) -> f64 {
        self.count as f64 / self.stored.as_secs_f64()
    }

    /// CPU time per delivery of all nodes together, in microseconds.
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

/// The table of the runs with one target. `reference` is the contestant that all are compared with.
pub(crate) fn throughput(series: &[Series], reference: &str, style: Style) -> String {
    let mut rows = vec![
        [
            "nodes",
            "contestant",
            "transactions",
            "delivered/s",
            "on disk/s",
            "least–most",
            "ratio",
            "µs CPU/delivery",
            "least–most",
            "copies",
            "by sync",
            "MiB idle",
            "MiB after (most)",
            "lost",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for one in series {
        let rate = |series: &Series| median(series.runs.iter().map(Run::stored_rate));
        let reference = series.iter().find(|other| other.name == reference && other.nodes == one.nodes);
        // Each delivery is one copy that was new; the duplicates come on top.
        let copies = shares(one, |run, copies| (run.deliveries + copies.duplicate) as f64);
        let synced = shares(one, |_, copies| copies.synced as f64 * 100.0);
        let after = one.runs.iter().map(|run| mean(&run.resident));
        let most = one.runs.iter().flat_map(|run| run.resident.iter().copied()).max();
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
            one.runs.first().map_or(String::new(), |run| thousands(run.count as f64)),
            thousands(median(one.runs.iter().map(Run::delivered_rate))),
            if one.durable { thousands(rate(one)) } else { "–".to_owned() },
            spread(one.runs.iter().map(Run::stored_rate), thousands),
            reference.map_or("–".to_owned(), |reference| format!("{:.2}×", rate(one) / rate(reference))),
            two_digits(median(one.runs.iter().map(Run::cpu_per_delivery))),
            spread(one.runs.iter().map(Run::cpu_per_delivery), two_digits),
            copies.map_or("–".to_owned(), two_digits),
            synced.map_or("–".to_owned(), |percent| format!("{percent:.0} %")),
            format!("{:.1}", median(one.runs.iter().map(|run| mean(&run.idle))) / MIB),
            format!("{:.1} ({:.1})", median(after) / MIB, most.unwrap_or_default() as f64 / MIB),
            thousands(one.runs.iter().map(|run| run.missing).sum::<u64>() as f64),
        ]);
    }
    table(&rows, style)
}

/// The median of something that is counted of copies, per delivery; `None` where copies are not counted.
fn shares(series: &Series, amount: impl Fn(&Run, Copies) -> f64) -> Option<f64> {
    let shares: Option<Vec<_>> =
        series.runs.iter().map(|run| Some(amount(run, run.copies?) / run.deliveries as f64)).collect();
    Some(median(shares?.into_iter()))
}

/// The table of the cold starts.
pub(crate) fn cold_starts(series: &[ColdSeries], style: Style) -> String {
    let header = ["nodes", "contestant", "ms to full mesh", "least–most", "ms CPU/node", "MiB/node", "most"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in series {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let complete = one.starts.iter().map(|start| milliseconds(start.complete));
        let cpu = one.starts.iter().map(|start| milliseconds(start.cpu) / one.nodes as f64);
        let most = one.starts.iter().flat_map(|start| start.resident.iter().copied()).max();
        rows.push(vec![
            one.nodes.to_string(),
            one.name.clone(),
            thousands(median(complete.clone())),
            spread(complete, thousands),
            two_digits(median(cpu)),
            format!("{:.1}", median(one.starts.iter().map(|start| mean(&start.resident))) / MIB),
            format!("{:.1}", most.unwrap_or_default() as f64 / MIB),
        ]);
    }
    table(&rows, style)
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
fn spread(values: impl Iterator<Item = f64> + Clone, write: fn(f64) -> String) -> String {
    if values.clone().count() < 2 {
        return "–".to_owned();
    }
    let least = values.clone().fold(f64::INFINITY, f64::min);
    format!("{}–{}", write(least), write(values.fold(0.0, f64::max)))
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
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
