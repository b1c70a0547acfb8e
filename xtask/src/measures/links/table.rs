//! The table of what links cost: a line for each figure, a column for each network.

use std::time::Duration;

use measuring::{Format, Table, percentile};

/// What one node with many links cost.
pub(crate) struct Row {
    pub(crate) secure: bool,
    pub(crate) links: usize,
    /// How many ended while others were opened.
    pub(crate) lost: usize,
    /// How long it took until all were open.
    pub(crate) all_after: Duration,
    /// Resident memory without links, with all of them, and at its highest, in bytes.
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) most: u64,
    /// Milliseconds of processor time per second, with all links, while nothing happens.
    pub(crate) cpu: f64,
    /// How long it took to open one more, in order, with so many links open.
    pub(crate) accepts: Vec<(usize, Vec<Duration>)>,
}

impl Row {
    /// How much memory one link takes, in bytes.
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
        figures
    }
}

/// A column for each network.
pub(crate) fn show(rows: &[Row], format: Format) -> String {
    let kind = |row: &Row| if row.secure { "closed (TLS 1.3)" } else { "open" }.to_owned();
    let mut table = Table::new(std::iter::once(String::new()).chain(rows.iter().map(kind))).right(1..=rows.len());
    let columns: Vec<_> = rows.iter().map(Row::figures).collect();
    for (number, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let figures = columns.iter().filter_map(|column| column.get(number)).map(|(_, figure)| figure.clone());
        table.push(std::iter::once(name.clone()).chain(figures));
    }
    table.show(format)
}
