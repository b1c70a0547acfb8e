//! The table of the costs of idle networks.

use measuring::{Format, Table, mean};

use crate::measures::idle::watch::Costs;

/// The costs of one network.
pub(crate) struct Row {
    pub(crate) cap: u32,
    pub(crate) costs: Costs,
}

const HEADING: [&str; 9] = [
    "nodes",
    "cap",
    "links (least–most)",
    "CPU ms/s (most)",
    "bytes/s (most)",
    "announcements/s",
    "dials/min",
    "MiB (most)",
    "machine busy",
];

/// Shows means over all nodes, of most figures also the greatest value of a node.
pub(crate) fn show(rows: &[Row], format: Format) -> String {
    let mut table = Table::new(HEADING).right(0..HEADING.len());
    for row in rows {
        table.push(cells(row));
    }
    table.show(format)
}

fn cells(row: &Row) -> Vec<String> {
    let Costs { links, cpu, sent, announced, dialled, memory, busy } = &row.costs;
    let with_most = |values: &[f64], digits: usize| format!("{:.digits$} ({:.digits$})", mean(values), most(values));
    let least = links.iter().copied().fold(f64::INFINITY, f64::min);
    vec![
        links.len().to_string(),
        row.cap.to_string(),
        format!("{:.2} ({least:.0}–{:.0})", mean(links), most(links)),
        with_most(cpu, 2),
        with_most(sent, 0),
        format!("{:.2}", mean(announced)),
        format!("{:.1}", mean(dialled)),
        with_most(memory, 1),
        format!("{:.0} %", busy * 100.0),
    ]
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_on_the_screen_and_in_markdown() {
        let costs = Costs {
            links: vec![2.0, 5.0],
            cpu: vec![1.0, 1.5],
            sent: vec![100.0, 301.0],
            announced: vec![0.5, 0.25],
            dialled: vec![2.0, 3.0],
            memory: vec![9.0, 9.5],
            busy: 0.256,
        };
        let rows = [Row { cap: 6, costs }];
        let markdown = show(&rows, Format::Markdown);
        let cells = ["2", "6", "3.50 (2–5)", "1.25 (1.50)", "200 (301)", "0.38", "2.5", "9.2 (9.5)", "26 %"];
        let last: Vec<_> = markdown.lines().last().unwrap_or_default().split('|').map(str::trim).collect();
        assert_eq!(last[1..10], cells);
        let columns = markdown.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>();
        assert_eq!(columns, [10, 10, 10]);
        let text = show(&rows, Format::Text);
        let last: Vec<_> = text.lines().last().unwrap_or_default().split("  ").map(str::trim).collect();
        assert_eq!(last.into_iter().filter(|cell| !cell.is_empty()).collect::<Vec<_>>(), cells);
    }
}
