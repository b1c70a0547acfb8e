//! The table of the costs of links: a row for each figure, a column for each network.

use std::time::Duration;

use measuring::{Format, Table, percentile};

use crate::measures::links::network::Network;

/// The costs of the links of one node.
pub(crate) struct Row {
    pub(crate) network: Network,
    pub(crate) links: usize,
    /// Links that ended while others were opened.
    pub(crate) lost: usize,
    /// The time until all were open.
    pub(crate) all_after: Duration,
    /// Resident memory in bytes: without links, with all of them, and at its highest.
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) most: u64,
    /// Milliseconds of CPU time per second, with all links idle.
    pub(crate) cpu: f64,
    /// For each number of open links, the sorted times that one more took to open.
    pub(crate) accepts: Vec<(usize, Vec<Duration>)>,
    /// Resident memory in bytes, with all links, each time that all had been replaced.
    pub(crate) turns: Vec<u64>,
}

impl Row {
    /// Returns the memory of one link, in bytes.
    pub(crate) fn per_link(&self) -> u64 {
        self.after.saturating_sub(self.before) / self.links as u64
    }

    fn figures(&self) -> Vec<(String, String)> {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let mut figures = vec![
            ("links; lost while they were opened".to_owned(), format!("{}; {}", self.links, self.lost)),
            ("memory per link".to_owned(), format!("{:.1} KiB", self.per_link() as f64 / 1024.0)),
            (
                "memory: without links; with all; at its highest".to_owned(),
                format!("{}; {}; {}", mib(self.before), mib(self.after), mib(self.most)),
            ),
            ("until all were open".to_owned(), format!("{:.1} s", self.all_after.as_secs_f64())),
            ("CPU at rest with all links, pings included".to_owned(), format!("{:.1} ms/s", self.cpu)),
        ];
        for (open, times) in &self.accepts {
            let shown = |part| {
                percentile(times, part).map_or("–".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3))
            };
            figures.push((
                format!("one more, beside {open}: p50; p99; most"),
                format!("{}; {}; {} ms", shown(0.5), shown(0.99), shown(1.0)),
            ));
        }
        if let (Some(first), Some(quarter), Some(end)) =
            (self.turns.first(), self.turns.get(self.turns.len() / 4), self.turns.last())
        {
            figures.push((
                "memory after all were replaced: once; after a quarter of the turns; at the end".to_owned(),
                format!("{}; {}; {} ({} turns)", mib(*first), mib(*quarter), mib(*end), self.turns.len()),
            ));
        }
        figures
    }
}

/// Shows a column for each network.
pub(crate) fn show(rows: &[Row], format: Format) -> String {
    let kind = |row: &Row| row.network.name().to_owned();
    let mut table = Table::new(std::iter::once(String::new()).chain(rows.iter().map(kind))).right(1..=rows.len());
    let columns: Vec<_> = rows.iter().map(Row::figures).collect();
    for (number, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let figures = columns.iter().filter_map(|column| column.get(number)).map(|(_, figure)| figure.clone());
        table.push(std::iter::once(name.clone()).chain(figures));
    }
    table.show(format)
}
