//! The table of capped networks: one row for each combination of scenario, cap and size.

use std::time::Duration;

use measuring::Table;

use super::{Outcome, Plan, Scenario};
use crate::world::population::PRESENCE_NODES;

/// How long networks of more than a thousand nodes are observed.
const SHORT: Duration = Duration::from_secs(60);

/// The plan of a row. The nodes start at a hundred per second, but within 20 s at least and 100 s
/// at most.
pub fn plan(scenario: Scenario, genesis: bool, nodes: usize, caps: (u32, u32), seed: u64) -> Plan {
    let plan = Plan {
        scenario,
        seed,
        nodes,
        caps,
        genesis,
        spread: Duration::from_secs((nodes as u64 / 100).clamp(20, 100)),
        presence: nodes <= PRESENCE_NODES,
        ..Plan::default()
    };
    if nodes > 1_000 { Plan { observed: SHORT, ..plan } } else { plan }
}

/// A table without rows.
pub fn table() -> Table {
    Table::new([
        "scenario",
        "nodes",
        "cap",
        "seed",
        "connected",
        "again",
        "links",
        "dialled",
        "swaps",
        "new links/min",
        "bytes/s idle",
        "copies",
        "hops",
        "most",
        "ln n / ln (links-1)",
        "result",
    ])
    .right(0..16)
}

/// The row of one run.
pub fn row(plan: &Plan, outcome: Option<&Outcome>) -> Vec<String> {
    let scenario = format!("{:?}", plan.scenario).to_lowercase();
    let name = match plan.scenario {
        Scenario::Form if plan.genesis => "genesis".to_owned(),
        _ if plan.genesis => format!("{scenario}, genesis"),
        _ => scenario,
    };
    let (least, most) = plan.caps;
    let caps = if least == most { most.to_string() } else { format!("{least}-{most}") };
    let mut row = vec![name, plan.nodes.to_string(), caps, plan.seed.to_string()];
    let Some(outcome) = outcome else {
        row.extend(std::iter::repeat_n("–".to_owned(), 11));
        row.push("BROKEN".to_owned());
        return row;
    };
    let [low, middle, high] = outcome.dialled;
    let again = format!("{:.1} s", outcome.healed.as_secs_f64());
    let ideal = (plan.nodes as f64).ln() / (outcome.degree - 1.0).max(1.01).ln();
    row.extend([
        format!("{:.1} s", outcome.formed.as_secs_f64()),
        if plan.scenario == Scenario::Form { "–".to_owned() } else { again },
        format!("{:.2} ≤ {}", outcome.degree, outcome.most_degree),
        format!("{low:.2} {middle:.2} {high:.2}"),
        outcome.swaps.to_string(),
        format!("{:.3}", outcome.new_links),
        format!("{:.0}", outcome.bytes),
        format!("{:.2}", outcome.copies),
        format!("{:.1}", outcome.hops.0),
        outcome.hops.1.to_string(),
        format!("{ideal:.1}"),
        "ok".to_owned(),
    ]);
    row
}
