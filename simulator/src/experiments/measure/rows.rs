//! Sets of experiments, and their results as rows of a table.

use std::time::Duration;

use super::{Experiment, Report, Topology, Trouble};
use crate::checks::rules::Broken;
use crate::experiments::table::Table;
use crate::net::delivery_stats::CONTROL;

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

/// A table without rows.
pub fn table() -> Table {
    Table::new(&HEAD)
}

impl Experiment {
    /// The row of a result.
    pub fn row(&self, outcome: &Result<Report, Broken>) -> Vec<String> {
        let graph = match self.topology {
            Topology::Mesh => "mesh".to_owned(),
            Topology::Random(degree) => format!("random {degree}"),
        };
        let mut row = vec![
            graph,
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

    /// The figures that are not in the table.
    pub fn details(&self, report: &Report) -> String {
        let mut text = format!("{} links, {} nodes judged", report.links, report.judged);
        for (name, phase) in [("steady", &report.steady), ("trouble", &report.trouble), ("after", &report.after)] {
            if phase.entered == 0 {
                continue;
            }
            text += &format!(
                "\n  {name}: {} entered, {} delivered, {} copies, of these {} by anti-entropy, {} of them first; hops {:?}; p99 {:.1} ms, max {:.1} ms; control",
                phase.entered,
                phase.delivered,
                phase.copies,
                phase.synced,
                phase.first_synced,
                phase.hops,
                phase.delay(0.99),
                phase.delay(1.0),
            );
            for (kind, frames) in CONTROL.iter().zip(phase.frames) {
                text += &format!(" {kind} {frames}");
            }
        }
        text
    }
}

/// All faults but none.
const TROUBLES: [Trouble; 6] =
    [Trouble::Loss, Trouble::Churn, Trouble::Partition, Trouble::Crash, Trouble::Withhold, Trouble::Lie];

fn experiment(topology: Topology, nodes: usize, origins: usize, trouble: Trouble) -> Experiment {
    Experiment { topology, nodes, origins, trouble, ..Experiment::default() }
}

/// The set that CI runs, in seconds.
pub fn short() -> Vec<Experiment> {
    let (mesh, random) = (Topology::Mesh, Topology::Random(8));
    let mut set = vec![
        experiment(mesh, 50, 1, Trouble::None),
        experiment(mesh, 50, 50, Trouble::None),
        experiment(Topology::Random(5), 100, 10, Trouble::None),
        experiment(Topology::Random(12), 100, 10, Trouble::None),
        experiment(random, 100, 1, Trouble::None),
        experiment(random, 100, 100, Trouble::None),
        experiment(random, 1_000, 4, Trouble::None),
    ];
    set.extend(TROUBLES.map(|trouble| experiment(random, 100, 5, trouble)));
    set.push(experiment(random, 1_000, 1, Trouble::Loss));
    set.push(experiment(random, 1_000, 1, Trouble::Partition));
    set.push(experiment(mesh, 30, 5, Trouble::Withhold));
    set.push(experiment(mesh, 30, 5, Trouble::Lie));
    set
}

/// The set that is run by hand, in about an hour.
pub fn long() -> Vec<Experiment> {
    let mut set = Vec::new();
    for nodes in [10, 50, 100, 200] {
        set.push(experiment(Topology::Mesh, nodes, 1, Trouble::None));
        set.push(experiment(Topology::Mesh, nodes, nodes, Trouble::None));
    }
    for degree in [5, 8, 12] {
        for nodes in [100, 1_000, 10_000] {
            set.push(experiment(Topology::Random(degree), nodes, 1, Trouble::None));
            set.push(experiment(Topology::Random(degree), nodes, nodes.min(50), Trouble::None));
        }
        set.push(experiment(Topology::Random(degree), 200, 200, Trouble::None));
    }
    for trouble in TROUBLES {
        set.push(experiment(Topology::Mesh, 100, 10, trouble));
        set.push(experiment(Topology::Random(8), 1_000, 10, trouble));
        set.push(experiment(Topology::Random(8), 10_000, 5, trouble));
    }
    set
}
