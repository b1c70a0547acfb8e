//! The command line: runs scenarios, prints a table, and says how to repeat what failed.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use simulator::faults::{Cast, Scenario};
use simulator::hashes::{self, Named, Traced};
use simulator::measure::{Experiment, Topology, Trouble, rows};
use simulator::overlay::{self, OverlayPlan, Story};
use simulator::run::{Outcome, Plan};

/// Runs networks of nodes in virtual time, with faults, and checks what must hold.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(subcommand)]
    task: Option<Task>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    nodes: u16,
    /// How many nodes of the exercise besides.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    plain: u16,
    /// For how many minutes of virtual time transactions enter and faults happen.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// Which faults.
    #[arg(long, value_enum, default_value_t = Choice::All)]
    scenario: Choice,
    /// Runs networks with a cap on each node's links, instead of a full mesh.
    #[arg(long, value_enum)]
    overlay: Option<OverlayChoice>,
    /// With --overlay: the least and the most cap; each node's is drawn.
    #[arg(long, default_value = "3-12", value_parser = caps)]
    caps: (u32, u32),
    /// With --overlay: within how many seconds all nodes start.
    #[arg(long, default_value_t = 20)]
    spread: u64,
    /// With --overlay: the one address that all begin with is a genesis node's.
    #[arg(long)]
    genesis: bool,
    /// With --overlay: how many nodes of the exercise besides.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    overlay_plain: u16,
    /// Print every step of the first seed to standard error, and run no other.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures copies, hops, delay, control frames and repair time, and prints a table.
    Measure(Measure),
    /// Runs networks with a cap on each node's links, and prints a table: how long they take to be connected, how they rest, what a transaction costs.
    Overlays(Overlays),
    /// Prints a hash over all inputs and outputs of the cores of each run.
    ///
    /// Two versions of the core that behave alike have the same hashes.
    Hashes(Hashes),
}

/// One line for each run: scenario, seed, hash.
#[derive(Debug, clap::Args)]
struct Hashes {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// Only scenarios of these names, or all whose names begin so.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Also print a hash over the values of the counters. Their names and order do not count.
    #[arg(long)]
    counters: bool,
    /// How many threads; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
}

impl Hashes {
    /// Runs them all and prints the lines in order. A broken rule is told on standard error.
    fn run(&self) -> usize {
        let chosen = |named: &&Named| {
            self.scenario.is_empty() || self.scenario.iter().any(|begin| named.name.starts_with(begin.as_str()))
        };
        let seeds = || self.first..self.first.saturating_add(self.seeds);
        let of = |named| seeds().map(move |seed| (named, seed));
        let runs: Vec<(&Named, u64)> = hashes::ALL.iter().filter(chosen).flat_map(of).collect();
        let next = AtomicUsize::new(0);
        let done: Vec<Mutex<Option<Traced>>> = runs.iter().map(|_| Mutex::new(None)).collect();
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some(((named, seed), place)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| runs.get(at).zip(done.get(at)))
                    {
                        let traced = named.run(*seed);
                        place.lock().expect("no thread panics while it holds it").replace(traced);
                    }
                });
            }
        });
        let mut out = std::io::stdout().lock();
        for ((named, seed), traced) in runs.iter().zip(done) {
            let traced = traced.into_inner().expect("no thread panics while it holds it").expect("every run ended");
            let counters = if self.counters { format!(" {:016x}", traced.counters) } else { String::new() };
            writeln!(out, "{} {seed} {:016x}{counters}", named.name, traced.hash).expect("standard output is open");
            if let Some(broken) = traced.broken {
                eprintln!("{} {seed}: {broken}", named.name);
            }
        }
        0
    }
}

/// One row for each combination of the lists.
#[derive(Debug, clap::Args)]
struct Overlays {
    /// How many nodes.
    #[arg(long, value_delimiter = ',', default_value = "10,100", value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    nodes: Vec<u32>,
    /// The caps.
    #[arg(long, value_delimiter = ',', default_value = "3,6,12", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    caps: Vec<u32>,
    /// What happens to the networks.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "form,genesis,churn,third,cut")]
    scenarios: Vec<OverlayScenario>,
    /// Within how many seconds they start, one at a random moment each; by default 20 to 100.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    spread: Option<u64>,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let nodes announce themselves also in networks of more than a hundred.
    #[arg(long)]
    presence: bool,
    /// Print a Markdown table.
    #[arg(long)]
    markdown: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverlayScenario {
    Form,
    Genesis,
    Churn,
    Third,
    Cut,
    Apart,
}

impl OverlayScenario {
    fn story(self) -> Story {
        match self {
            Self::Form | Self::Genesis => Story::Form,
            Self::Churn => Story::Churn,
            Self::Third => Story::Third,
            Self::Cut => Story::Cut,
            Self::Apart => Story::Apart,
        }
    }
}

impl Overlays {
    /// Runs them all; the table comes at the end. Returns how many broke a rule.
    fn run(&self) -> usize {
        let mut table = overlay::rows::table();
        let mut failed = 0;
        for (nodes, scenario, cap) in self.nodes.iter().flat_map(|nodes| {
            let of = move |scenario| self.caps.iter().map(move |cap| (*nodes as usize, scenario, *cap));
            self.scenarios.iter().copied().flat_map(of)
        }) {
            let genesis = matches!(scenario, OverlayScenario::Genesis);
            let mut plan = overlay::rows::plan(scenario.story(), genesis, nodes, cap, self.seed);
            plan.presence |= self.presence;
            plan.spread = self.spread.map_or(plan.spread, Duration::from_secs);
            let began = Instant::now();
            let outcome = plan.run();
            let row = overlay::rows::row(&plan, outcome.as_ref().ok());
            let (time, memory) = (began.elapsed().as_secs_f64(), peak_mib());
            eprintln!("{}  ({time:.1} s, {memory} MiB at most so far)", row.join("  "));
            table.push(row);
            if let Err(broken) = outcome {
                failed += 1;
                eprintln!("  {broken}\n  repeat it: {}", plan.command());
            }
        }
        println!("{}", if self.markdown { table.markdown() } else { table.text() });
        failed
    }
}

/// Without flags: the short set that CI runs. With --nodes: one row for each combination of the lists.
#[derive(Debug, clap::Args)]
struct Measure {
    /// The long set: meshes to 200 nodes, random graphs to 10,000.
    #[arg(long, conflicts_with = "nodes")]
    long: bool,
    /// How many nodes.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    nodes: Vec<u32>,
    /// Of what degree the random graphs are; 0 is a full mesh.
    #[arg(long, value_delimiter = ',', default_value = "8", value_parser = degree, requires = "nodes")]
    degree: Vec<u32>,
    /// How many of the nodes send transactions, at most all.
    #[arg(long, value_delimiter = ',', default_value = "10", value_parser = clap::value_parser!(u32).range(1..), requires = "nodes")]
    origins: Vec<u32>,
    /// What goes wrong.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none", requires = "nodes")]
    trouble: Vec<Trouble>,
    /// How many counted transactions each origin sends in a phase.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Let nodes announce themselves also in networks of more than a hundred.
    #[arg(long)]
    presence: bool,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print a Markdown table.
    #[arg(long)]
    markdown: bool,
    /// Print more of each experiment to standard error.
    #[arg(long)]
    details: bool,
}

impl Measure {
    fn experiments(&self) -> Vec<Experiment> {
        if self.nodes.is_empty() {
            return if self.long { rows::long() } else { rows::short() };
        }
        let mut set = Vec::new();
        for nodes in self.nodes.iter().map(|nodes| *nodes as usize) {
            for degree in &self.degree {
                let topology = if *degree == 0 { Topology::Mesh } else { Topology::Random(*degree as usize) };
                for origins in self.origins.iter().map(|origins| nodes.min(*origins as usize)) {
                    let of = |trouble| Experiment { topology, nodes, origins, trouble, ..Experiment::default() };
                    set.extend(self.trouble.iter().copied().map(of));
                }
            }
        }
        set
    }

    /// Runs them all; the table comes at the end. Returns how many broke a rule.
    fn run(&self) -> usize {
        let mut table = rows::table();
        let mut failed = 0;
        for experiment in self.experiments() {
            for seed in self.seed..self.seed.saturating_add(self.seeds) {
                let experiment =
                    Experiment { seed, rounds: self.rounds as usize, presence: self.presence, ..experiment.clone() };
                let began = Instant::now();
                let outcome = experiment.run();
                let row = experiment.row(&outcome);
                eprintln!(
                    "{}  ({:.1} s, {} MiB at most so far)",
                    row.join(" "),
                    began.elapsed().as_secs_f64(),
                    peak_mib()
                );
                table.push(row);
                match outcome {
                    Ok(report) if self.details => eprintln!("  {}", experiment.details(&report)),
                    Ok(_) => {}
                    Err(broken) => {
                        failed += 1;
                        eprintln!("  {broken}");
                    }
                }
            }
        }
        println!("{}", if self.markdown { table.markdown() } else { table.text() });
        failed
    }
}

/// The most memory that this process ever had, in MiB, as Linux tells it; 0 where nobody does.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    Mesh,
    Churn,
    Partition,
    Slow,
    Mixed,
    All,
}

impl Choice {
    fn scenarios(self) -> Vec<Scenario> {
        match self {
            Self::Mesh => vec![Scenario::Mesh],
            Self::Churn => vec![Scenario::Churn],
            Self::Partition => vec![Scenario::Partition],
            Self::Slow => vec![Scenario::Slow],
            Self::Mixed => vec![Scenario::Mixed],
            Self::All => Scenario::ALL.to_vec(),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverlayChoice {
    Form,
    Churn,
    Third,
    Cut,
    Apart,
    All,
}

impl OverlayChoice {
    fn stories(self) -> Vec<Story> {
        match self {
            Self::Form => vec![Story::Form],
            Self::Churn => vec![Story::Churn],
            Self::Third => vec![Story::Third],
            Self::Cut => vec![Story::Cut],
            Self::Apart => vec![Story::Apart],
            Self::All => Story::ALL.to_vec(),
        }
    }
}

fn caps(text: &str) -> Result<(u32, u32), String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let caps = least.parse().ok().zip(most.parse().ok()).filter(|(least, most)| (1..=*most).contains(least));
    caps.ok_or_else(|| "expected a cap such as 6, or two such as 3-12".to_owned())
}

fn degree(text: &str) -> Result<u32, String> {
    let degree = text.parse().ok().filter(|degree| *degree == 0 || (2..=64).contains(degree));
    degree.ok_or_else(|| "expected a degree from 2 to 64, or 0 for a full mesh".to_owned())
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.0..=100_000.0).contains(minutes));
    minutes.ok_or_else(|| "expected a number of minutes from 0 to 100000".to_owned())
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let failed = match &flags.task {
        Some(Task::Measure(measure)) => measure.run(),
        Some(Task::Overlays(overlays)) => overlays.run(),
        Some(Task::Hashes(hashes)) => hashes.run(),
        None => run_scenarios(&flags),
    };
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{failed} runs broke a rule; what to do to repeat them stands above");
    ExitCode::FAILURE
}

/// Runs the scenarios, a line of the table after the other. Returns how many runs broke a rule.
fn run_scenarios(flags: &Flags) -> usize {
    let cast = Cast { nodes: flags.nodes.into(), plain: flags.plain.into() };
    let seeds = if flags.trace { 1 } else { flags.seeds };
    if let Some(choice) = flags.overlay {
        return overlays(flags, choice, seeds);
    }
    let mut failed = 0;
    for scenario in flags.scenario.scenarios() {
        println!("\n{scenario:?}");
        println!(
            "nodes  plain  seed        mesh after  transactions  copies  duplicates  dials  trace             result"
        );
        for seed in flags.seed..flags.seed.saturating_add(seeds) {
            let length = Duration::from_secs_f64(flags.minutes * 60.0);
            let plan = Plan { scenario, seed, cast, length, print: flags.trace, sabotage: None };
            let outcome = plan.run();
            println!("{}", row(&plan, &outcome));
            if let Err(broken) = &outcome.result {
                failed += 1;
                println!("  {broken}\n  repeat it: {}", plan.command());
            }
        }
    }
    failed
}

/// Runs overlays and prints their table. Returns how many runs broke a rule.
fn overlays(flags: &Flags, choice: OverlayChoice, seeds: u64) -> usize {
    let mut failed = 0;
    for story in choice.stories() {
        println!(
            "\n{story:?}\nnodes  caps   seed        formed    healed  degree  splits  links/node/min  copies  result"
        );
        for seed in flags.seed..flags.seed.saturating_add(seeds) {
            let spread = Duration::from_secs(flags.spread);
            let (nodes, caps, genesis) = (flags.nodes.into(), flags.caps, flags.genesis);
            let plan = OverlayPlan {
                story,
                seed,
                nodes,
                caps,
                genesis,
                spread,
                plain: flags.overlay_plain.into(),
                presence: nodes <= overlay::rows::PRESENT,
                print: flags.trace,
                ..OverlayPlan::default()
            };
            let start = format!("{nodes:<6} {:<6} {seed:<10}", format!("{}-{}", caps.0, caps.1));
            match plan.run() {
                Ok(outcome) => println!(
                    "{start} {:>6.1} s  {:>6.1} s  {:>6.2}  {:>6}  {:>14.3}  {:>6.2}  ok",
                    outcome.formed.as_secs_f64(),
                    outcome.healed.as_secs_f64(),
                    outcome.degree,
                    outcome.splits,
                    outcome.changes,
                    outcome.copies,
                ),
                Err(broken) => {
                    failed += 1;
                    println!("{start} BROKEN: {broken}\n  repeat it: {}", plan.command());
                }
            }
        }
    }
    failed
}

/// One line of the table. `copies`: how many TRANSACTION frames a node received for each transaction of the run.
fn row(plan: &Plan, outcome: &Outcome) -> String {
    let meshed = outcome.meshed.map_or_else(|| "never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
    let copies = outcome.received as f64 / (outcome.transactions.max(1) * plan.cast.nodes) as f64;
    format!(
        "{:<6} {:<6} {:<10} {:>11} {:>13} {:>7.2} {:>11} {:>6}  {:016x}  {}",
        plan.cast.nodes,
        plan.cast.plain,
        plan.seed,
        meshed,
        outcome.transactions,
        copies,
        outcome.duplicates,
        outcome.dials,
        outcome.hash,
        if outcome.result.is_ok() { "ok" } else { "BROKEN" },
    )
}
