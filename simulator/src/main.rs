//! The command line: runs networks, prints tables, and shows how to repeat a run that broke a rule.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use measuring::{Format, Table, note, print, proc};
use simulator::actors::lie::Lie;
use simulator::checks::rules::Broken;
use simulator::experiments::capped;
use simulator::experiments::hashes::{self, Named, Traced};
use simulator::experiments::hub;
use simulator::experiments::liars;
use simulator::experiments::measure::{Experiment, Topology, Trouble, rows};
use simulator::experiments::mesh::{Outcome, Plan};
use simulator::world::faults::Scenario;
use simulator::world::population::Population;

/// Runs networks of nodes in virtual time, with faults, and checks the rules.
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
    /// How many exercise peers in addition.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    plain: u16,
    /// How many minutes of virtual time transactions enter and faults happen.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// Which faults: mesh (none), churn, partition, slow, mixed, wan, or all of these one after
    /// another.
    #[arg(long, default_value = "all", value_parser = selection::<Scenario>)]
    scenario: Selection<Scenario>,
    /// Print every step of the first seed to standard error, and run no other seed.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures copies, hops, delay, control frames and repair time, and prints a table.
    Measure(Measure),
    /// Runs networks with a cap on each node's links, and prints a table: the time to connect, the
    /// stability of links, the cost of a transaction.
    Overlays(Overlays),
    /// Prints a hash over all inputs and outputs of the cores of each run.
    ///
    /// Two versions of the core that behave alike have the same hashes.
    Hashes(Hashes),
    /// Runs networks in which some nodes lie, with and without these, and prints a table.
    Liars(Liars),
    /// Kills the hub of a capped network under load and starts it again.
    Hub(Hub),
}

/// Some values of an enum, named on the command line.
#[derive(Debug, Clone)]
struct Selection<T>(Vec<T>);

/// Parses the name of a value, or "all".
fn selection<T: ValueEnum>(text: &str) -> Result<Selection<T>, String> {
    if text == "all" {
        return Ok(Selection(T::value_variants().to_vec()));
    }
    let names = || T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names = || names().map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ");
    T::from_str(text, false).map(|value| Selection(vec![value])).map_err(|_| format!("expected {} or all", names()))
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
    /// Only scenarios whose names start with one of these texts.
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
    /// Runs all and prints the lines in order, broken rules to standard error.
    fn run(&self) -> usize {
        let selected = |named: &&Named| {
            self.scenario.is_empty() || self.scenario.iter().any(|start| named.name.starts_with(start.as_str()))
        };
        let seeds = || self.first..self.first.saturating_add(self.seeds);
        let runs_of = |named| seeds().map(move |seed| (named, seed));
        let runs: Vec<(&Named, u64)> = hashes::ALL.iter().filter(selected).flat_map(runs_of).collect();
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Traced>>> = runs.iter().map(|_| Mutex::new(None)).collect();
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let take = || next.fetch_add(1, Ordering::Relaxed);
                    while let Some(((named, seed), result)) =
                        Some(take()).and_then(|at| runs.get(at).zip(results.get(at)))
                    {
                        let traced = named.run(*seed);
                        result.lock().expect("no thread panics while it holds the lock").replace(traced);
                    }
                });
            }
        });
        for ((named, seed), result) in runs.iter().zip(results) {
            let traced = result.into_inner().expect("no thread panics while it holds the lock");
            let traced = traced.expect("every run ended");
            let counters = if self.counters { format!(" {:016x}", traced.counters) } else { String::new() };
            print(format_args!("{} {seed} {:016x}{counters}", named.name, traced.hash));
            if let Some(broken) = traced.broken {
                note(format_args!("{} {seed}: {broken}", named.name));
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
    /// The caps. With two, such as 3-12, each node's cap is drawn.
    #[arg(long, value_delimiter = ',', default_value = "3,6,12", value_parser = caps)]
    caps: Vec<(u32, u32)>,
    /// What happens to the networks: form, genesis, churn, third, cut, apart.
    #[arg(long, value_delimiter = ',', default_value = "form,genesis,churn,third,cut", value_parser = overlay_scenario)]
    scenarios: Vec<(capped::Scenario, bool)>,
    /// The one address that all know is that of a genesis node, in each scenario.
    #[arg(long)]
    genesis: bool,
    /// Some nodes are behind NATs, and have links over relays.
    #[arg(long)]
    wan: bool,
    /// How many exercise peers in addition.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    exercise: u16,
    /// All nodes start within so many seconds; by default 20 to 100.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    spread: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print every step of the first seed to standard error, and run no other seed.
    #[arg(long)]
    trace: bool,
    /// Have nodes announce themselves also in networks of more than a hundred.
    #[arg(long)]
    presence: bool,
    /// Print a Markdown table.
    #[arg(long)]
    markdown: bool,
}

/// Parses a scenario, and whether the network has a genesis node.
fn overlay_scenario(text: &str) -> Result<(capped::Scenario, bool), String> {
    match text {
        "genesis" => Ok((capped::Scenario::Form, true)),
        _ => capped::Scenario::from_str(text, false)
            .map(|scenario| (scenario, false))
            .map_err(|_| "expected form, genesis, churn, third, cut or apart".to_owned()),
    }
}

/// One line for each seed that breaks a rule.
#[derive(Debug, clap::Args)]
struct Hub {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Print every step of the first seed to standard error, and run no other seed.
    #[arg(long)]
    trace: bool,
}

impl Hub {
    /// Runs all. Returns how many runs broke a rule.
    fn run(&self) -> usize {
        let seeds = if self.trace { 1 } else { self.seeds };
        let mut failed = 0;
        for seed in self.seed..self.seed.saturating_add(seeds) {
            if let Err(broken) = hub::run(seed, self.trace) {
                print(format_args!("seed {seed}: {broken}"));
                failed += 1;
            }
        }
        print(format_args!("{seeds} seeds, {failed} broke a rule"));
        failed
    }
}

/// One row for each seed.
#[derive(Debug, clap::Args)]
struct Liars {
    /// How the nodes are linked: mesh, graph or capped; by default the seed decides.
    #[arg(long, value_enum)]
    shape: Option<liars::Shape>,
    /// Each liar tells these lies; by default the seed draws them.
    #[arg(long, value_enum, value_delimiter = ',')]
    lies: Vec<Lie>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Print every step of the first seed to standard error, and run no other seed.
    #[arg(long)]
    trace: bool,
    /// Print a Markdown table.
    #[arg(long)]
    markdown: bool,
}

impl Liars {
    /// Runs all; prints the table at the end. Returns how many runs broke a rule.
    fn run(&self) -> usize {
        let mut results = Results::new(liars::table(), self.markdown);
        for seed in self.seed..self.seed.saturating_add(if self.trace { 1 } else { self.seeds }) {
            let mut plan = liars::Plan::of(seed, self.shape);
            plan.print = self.trace;
            if !self.lies.is_empty() {
                plan.lies = Some(vec![self.lies.clone(); plan.liars]);
            }
            let waits = plan.run();
            results.push(plan.row(&waits));
            if let Err(broken) = waits {
                results.on_broken(&broken);
            }
        }
        results.finish()
    }
}

impl Overlays {
    fn plans(&self) -> Vec<capped::Plan> {
        let mut plans = Vec::new();
        for nodes in self.nodes.iter().map(|nodes| *nodes as usize) {
            for (scenario, genesis) in &self.scenarios {
                for caps in &self.caps {
                    for seed in self.seed..self.seed.saturating_add(if self.trace { 1 } else { self.seeds }) {
                        let mut plan = capped::rows::plan(*scenario, *genesis || self.genesis, nodes, *caps, seed);
                        (plan.wan, plan.exercise, plan.print) = (self.wan, self.exercise.into(), self.trace);
                        plan.presence |= self.presence;
                        plan.spread = self.spread.map_or(plan.spread, Duration::from_secs);
                        plans.push(plan);
                    }
                }
            }
        }
        plans
    }

    /// Runs all; prints the table at the end. Returns how many runs broke a rule.
    fn run(&self) -> usize {
        let mut results = Results::new(capped::rows::table(), self.markdown);
        for plan in self.plans() {
            let outcome = plan.run();
            results.push(capped::rows::row(&plan, outcome.as_ref().ok()));
            if let Err(broken) = outcome {
                results.on_broken(&broken);
                note(format_args!("  repeat it: {}", plan.command()));
            }
        }
        results.finish()
    }
}

/// A table that is printed at the end. Each row is printed to standard error once it is complete.
struct Results {
    table: Table,
    markdown: bool,
    started: Instant,
    failed: usize,
}

impl Results {
    fn new(table: Table, markdown: bool) -> Self {
        Self { table, markdown, started: Instant::now(), failed: 0 }
    }

    fn push(&mut self, row: Vec<String>) {
        let seconds = self.started.elapsed().as_secs_f64();
        // 0 on systems without /proc.
        let memory = proc::memory(std::process::id()).map_or(0, |memory| memory.peak >> 20);
        note(format_args!("{}  ({seconds:.1} s, {memory} MiB at most so far)", row.join("  ")));
        self.table.push(row);
        self.started = Instant::now();
    }

    fn on_broken(&mut self, broken: &Broken) {
        self.failed += 1;
        note(format_args!("  {broken}"));
    }

    /// Prints the table. Returns how many runs broke a rule.
    fn finish(self) -> usize {
        print(self.table.show(if self.markdown { Format::Markdown } else { Format::Text }));
        self.failed
    }
}

/// Without flags: the short set that CI runs. With --nodes: one row for each combination of the
/// lists.
#[derive(Debug, clap::Args)]
struct Measure {
    /// The long set: meshes to 200 nodes, random graphs to 10,000.
    #[arg(long, conflicts_with = "nodes")]
    long: bool,
    /// How many nodes.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    nodes: Vec<u32>,
    /// The degree of the random graphs; 0 is a full mesh.
    #[arg(long, value_delimiter = ',', default_value = "8", value_parser = degree, requires = "nodes")]
    degree: Vec<u32>,
    /// How many of the nodes send transactions, at most all.
    #[arg(long, value_delimiter = ',', default_value = "10", value_parser = clap::value_parser!(u32).range(1..), requires = "nodes")]
    origins: Vec<u32>,
    /// What goes wrong.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none", requires = "nodes")]
    trouble: Vec<Trouble>,
    /// How many measured transactions each origin sends in a phase.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Have nodes announce themselves also in networks of more than a hundred.
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

    /// Runs all; prints the table at the end. Returns how many runs broke a rule.
    fn run(&self) -> usize {
        let mut results = Results::new(rows::table(), self.markdown);
        for experiment in self.experiments() {
            for seed in self.seed..self.seed.saturating_add(self.seeds) {
                let (rounds, presence) = (self.rounds as usize, self.presence);
                let experiment = Experiment { seed, rounds, presence, ..experiment.clone() };
                let outcome = experiment.run();
                results.push(experiment.row(&outcome));
                match outcome {
                    Ok(report) if self.details => note(format_args!("  {}", experiment.details(&report))),
                    Ok(_) => {}
                    Err(broken) => results.on_broken(&broken),
                }
            }
        }
        results.finish()
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
        Some(Task::Liars(liars)) => liars.run(),
        Some(Task::Hub(hub)) => hub.run(),
        None => run_meshes(&flags),
    };
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    note(format_args!("{failed} runs broke a rule; the commands that repeat them are printed above"));
    ExitCode::FAILURE
}

/// Runs full meshes and prints their table. Returns how many runs broke a rule.
fn run_meshes(flags: &Flags) -> usize {
    let population = Population { native: flags.nodes.into(), exercise: flags.plain.into() };
    let length = Duration::from_secs_f64(flags.minutes * 60.0);
    let mut failed = 0;
    for scenario in flags.scenario.0.iter().copied() {
        print(format_args!(
            "\n{scenario:?}\nnodes  plain  seed        mesh after  transactions  copies  duplicates  dials  trace             result"
        ));
        for seed in flags.seed..flags.seed.saturating_add(if flags.trace { 1 } else { flags.seeds }) {
            let plan = Plan { scenario, seed, population, length, print: flags.trace, sabotage: None };
            let outcome = plan.run();
            print(mesh_row(&plan, &outcome));
            if let Err(broken) = &outcome.result {
                failed += 1;
                print(format_args!("  {broken}\n  repeat it: {}", plan.command()));
            }
        }
    }
    failed
}

/// A row of the table of full meshes. `copies` are TRANSACTION frames per node and transaction.
fn mesh_row(plan: &Plan, outcome: &Outcome) -> String {
    let meshed = outcome.meshed.map_or_else(|| "never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
    let copies = outcome.received as f64 / (outcome.transactions.max(1) * plan.population.native) as f64;
    format!(
        "{:<6} {:<6} {:<10} {:>11} {:>13} {:>7.2} {:>11} {:>6}  {:016x}  {}",
        plan.population.native,
        plan.population.exercise,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_repeats_a_run_is_understood() {
        let wan = capped::Plan { wan: true, genesis: true, exercise: 3, ..capped::Plan::default() };
        for plan in
            [wan, capped::Plan { nodes: 200, presence: true, spread: Duration::ZERO, ..capped::Plan::default() }]
        {
            let command = plan.command();
            let flags = Flags::try_parse_from(command.split(' ').skip_while(|word| *word != "--")).expect(&command);
            let Some(Task::Overlays(overlays)) = flags.task else { panic!("{command}") };
            assert_eq!(format!("{:?}", overlays.plans()), format!("{:?}", [capped::Plan { print: true, ..plan }]));
        }
    }
}
