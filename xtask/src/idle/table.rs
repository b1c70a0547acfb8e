//! The table of what resting networks cost.

use super::watch::Costs;
use crate::terminal::table;

/// One network.
pub(super) struct Row {
    pub(super) cap: u32,
    pub(super) costs: Costs,
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

/// The table: means of all nodes, of most figures also the most that a node has.
pub(super) fn show(rows: &[Row], markdown: bool) -> String {
    let mut lines = vec![HEADING.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(cells));
    if !markdown {
        return table(&lines);
    }
    lines.insert(1, vec!["---:".to_owned(); HEADING.len()]);
    lines.iter().map(|line| format!("| {} |", line.join(" | "))).collect::<Vec<_>>().join("\n")
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

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
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
        let markdown = show(&rows, true);
        let line = "| 2 | 6 | 3.50 (2–5) | 1.25 (1.50) | 200 (301) | 0.38 | 2.5 | 9.2 (9.5) | 26 % |";
        assert_eq!(markdown.lines().last(), Some(line));
        let columns = markdown.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>();
        assert_eq!(columns, [10, 10, 10]);
        assert!(show(&rows, false).lines().nth(1).is_some_and(|line| line.starts_with("2      6    3.50 (2–5)")));
    }
}
