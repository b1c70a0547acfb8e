//! Experiments in sets, and what came of them as rows of a table.

use std::time::Duration;

use super::{Experiment, Report, Topology, Trouble};
use crate::check::Broken;
use crate::ledger::CONTROL;
use crate::table::Table;

/// The head of the table.
const HEAD: [&str; 17] = [
    "graph",
    "nodes",
    "origins",
    "seed",
    "trouble",
    "linked s",
    "copies",
    "hops",
    "most",
    "p50 ms",
    "p99 ms",
    "max ms",
    "frames",
    "bytes",
    "repair s",
    "copies after",
    "result",
];

/// An empty table of experiments.
pub fn table() -> Table {
    Table::new(&HEAD)
}

impl Experiment {
    /// A short name of its graph.
    fn graph(&self) -> String {
        match self.topology {
            Topology::Mesh => "mesh".to_owned(),
            Topology::Random(degree) => format!("random {degree}"),
        }
    }

    /// The row of its outcome.
    pub fn row(&self, outcome: &Result<Report, Broken>) -> Vec<String> {
        let mut row = vec![
            self.graph(),
            self.nodes.to_string(),
            self.origins.to_string(),
            self.seed.to_string(),
            format!("{:?}", self.trouble).to_lowercase(),
        ];
        let Ok(report) = outcome else {
            row.resize(HEAD.len() - 1, String::new());
            row.push("BROKEN".to_owned());
            return row;
        };
        let seconds = |time: Duration| format!("{:.1}", time.as_secs_f64());
        let steady = &report.steady;
        row.extend([
            seconds(report.linked),
            format!("{:.3}", steady.copies_each()),
            format!("{:.2}", steady.mean_hops()),
            steady.most_hops().to_string(),
            format!("{:.1}", steady.delay(0.5)),
            format!("{:.1}", steady.delay(0.99)),
            format!("{:.1}", steady.delay(1.0)),
            format!("{:.3}", steady.control_each()),
            format!("{:.0}", steady.control_bytes_each()),
        ]);
        row.extend(match self.trouble {
            Trouble::None => [String::new(), String::new()],
            _ => [seconds(report.repair), format!("{:.3}", report.after.copies_each())],
        });
        row.push("ok".to_owned());
        row
    }

    /// What the table has no room for.
    pub fn details(&self, report: &Report) -> String {
        let mut text = format!("{} links, {} nodes judged", report.links, report.judged);
        for (name, figures) in [("steady", &report.steady), ("trouble", &report.trouble), ("after", &report.after)] {
            if figures.entered == 0 {
                continue;
            }
            text += &format!(
                "\n  {name}: {} entered, {} delivered, {} copies, of these {} by comparison, {} of them first; hops {:?}; p99 {:.1} ms, max {:.1} ms; control",
                figures.entered,
                figures.delivered,
                figures.copies,
                figures.synced,
                figures.first_synced,
                figures.hops,
                figures.delay(0.99),
                figures.delay(1.0),
            );
            for (kind, frames) in CONTROL.iter().zip(figures.frames) {
                text += &format!(" {kind} {frames}");
            }
        }
        text
    }
}

/// What CI runs: seconds, each rule of it once.
pub fn short() -> Vec<Experiment> {
    let of =
        |topology, nodes, origins, trouble| Experiment { topology, nodes, origins, trouble, ..Experiment::default() };
    let (mesh, random) = (Topology::Mesh, Topology::Random(8));
    let mut set = vec![
        of(mesh, 50, 1, Trouble::None),
        of(mesh, 50, 50, Trouble::None),
        of(Topology::Random(5), 100, 10, Trouble::None),
        of(Topology::Random(12), 100, 10, Trouble::None),
        of(random, 100, 1, Trouble::None),
        of(random, 100, 100, Trouble::None),
        of(random, 1_000, 4, Trouble::None),
    ];
    for trouble in [Trouble::Loss, Trouble::Churn, Trouble::Partition, Trouble::Crash, Trouble::Withhold, Trouble::Lie]
    {
        set.push(of(random, 100, 5, trouble));
    }
    set.push(of(random, 1_000, 1, Trouble::Loss));
    set.push(of(random, 1_000, 1, Trouble::Partition));
    set.push(of(mesh, 30, 5, Trouble::Withhold));
    set.push(of(mesh, 30, 5, Trouble::Lie));
    set
}

/// What is run by hand: minutes.
pub fn long() -> Vec<Experiment> {
    let of =
        |topology, nodes, origins, trouble| Experiment { topology, nodes, origins, trouble, ..Experiment::default() };
    let mut set = Vec::new();
    for nodes in [10, 50, 100, 200] {
        set.push(of(Topology::Mesh, nodes, 1, Trouble::None));
        set.push(of(Topology::Mesh, nodes, nodes, Trouble::None));
    }
    for degree in [5, 8, 12] {
        for nodes in [100, 1_000, 10_000] {
            set.push(of(Topology::Random(degree), nodes, 1, Trouble::None));
            set.push(of(Topology::Random(degree), nodes, nodes.min(50), Trouble::None));
        }
        set.push(of(Topology::Random(degree), 200, 200, Trouble::None));
    }
    for trouble in [Trouble::Loss, Trouble::Churn, Trouble::Partition, Trouble::Crash, Trouble::Withhold, Trouble::Lie]
    {
        set.push(of(Topology::Mesh, 100, 10, trouble));
        set.push(of(Topology::Random(8), 1_000, 10, trouble));
        set.push(of(Topology::Random(8), 10_000, 5, trouble));
    }
    set
}
