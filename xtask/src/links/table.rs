//! The table of what links cost: a line for each figure, a column for each network.

use std::time::Duration;

use crate::terminal::table;

/// What one node with many links cost.
pub(super) struct Row {
    pub(super) secure: bool,
    pub(super) links: usize,
    /// How many ended while others were opened.
    pub(super) lost: usize,
    /// How long it took until all were open.
    pub(super) all_after: Duration,
    /// Resident memory without links, with all of them, and at its highest, in bytes.
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) most: u64,
    /// Milliseconds of processor time per second, with all links, while nothing happens.
    pub(super) cpu: f64,
    /// How long it took to open one more, in order, with so many links open.
    pub(super) accepts: Vec<(usize, Vec<Duration>)>,
}

impl Row {
    /// How much memory one link takes, in bytes.
    pub(super) fn per_link(&self) -> u64 {
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
            let at = |part: f64| times.get(((times.len().max(1) - 1) as f64 * part) as usize);
            let shown = |part| at(part).map_or("–".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3));
            figures.push((
                format!("one more, beside {open}: p50; p99; most"),
                format!("{}; {}; {} ms", shown(0.5), shown(0.99), shown(1.0)),
            ));
        }
        figures
    }
}

/// The table, as text or as Markdown.
pub(super) fn show(rows: &[Row], markdown: bool) -> String {
    let kind = |row: &Row| if row.secure { "closed (TLS 1.3)" } else { "open" }.to_owned();
    let mut lines = vec![std::iter::once(String::new()).chain(rows.iter().map(kind)).collect::<Vec<_>>()];
    let columns: Vec<_> = rows.iter().map(Row::figures).collect();
    for (number, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let figures = columns.iter().filter_map(|column| column.get(number)).map(|(_, figure)| figure.clone());
        lines.push(std::iter::once(name.clone()).chain(figures).collect());
    }
    if !markdown {
        return table(&lines);
    }
    let rule = std::iter::once("---".to_owned()).chain(rows.iter().map(|_| "---:".to_owned())).collect();
    lines.insert(1, rule);
    lines.iter().map(|line| format!("| {} |", line.join(" | "))).collect::<Vec<_>>().join("\n")
}
