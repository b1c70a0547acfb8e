//! All measurements, round by round: in each round every contestant runs once at every size. A run
//! that fails is reported and excluded.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::arguments::{Arguments, What};
use crate::contestants::Contestant;
use crate::measures::cold_start::{self, ColdStart};
use crate::measures::delay::{self, Delays};
use crate::measures::listeners::Open;
use crate::measures::pages::{self, Pair};
use crate::measures::throughput::{self, Run, Target};
use crate::mesh::{Known, Paths};
use crate::report::format::thousands;
use crate::report::machine::{self, BLOCKS};
use crate::report::{Load, Series};

/// The limit of a single run: more than twice the time of the slowest that succeeds.
const LIMIT: Duration = Duration::from_secs(300);

/// All results.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The rates of the disk for each of [`BLOCKS`], measured between the loads.
    pub(crate) disk: Vec<[f64; BLOCKS.len()]>,
    /// Throughput for each target.
    pub(crate) loads: Vec<Load>,
    pub(crate) pages: Vec<Series<Pair>>,
    pub(crate) delays: Vec<Series<Delays>>,
    pub(crate) cold: Vec<Series<ColdStart>>,
    /// The runs that failed, with their errors.
    pub(crate) failures: Vec<String>,
}

/// Runs all selected measurements.
pub(crate) async fn run(arguments: &Arguments, paths: &Paths, contestants: &[Contestant]) -> Result<Results> {
    let mut suite = Suite { arguments, paths, contestants, results: Results::default() };
    suite.measure_disk()?;
    for (what, target, title, short) in [
        (What::One, Target::One, "Pushed at one node", "one"),
        (What::All, Target::All, "Pushed at all nodes at once", "all"),
    ] {
        if arguments.measures(what) {
            let series = suite.load(target, title).await;
            suite.results.loads.push(Load { title, short, series });
            suite.measure_disk()?;
        }
    }
    if arguments.measures(What::Pages) {
        suite.results.pages = suite.pages().await;
    }
    if arguments.measures(What::Delay) {
        suite.results.delays = suite.delays().await;
    }
    if arguments.measures(What::Cold) {
        suite.results.cold = suite.cold().await;
    }
    Ok(suite.results)
}

struct Suite<'a> {
    arguments: &'a Arguments,
    paths: &'a Paths,
    contestants: &'a [Contestant],
    results: Results,
}

impl<'a> Suite<'a> {
    fn measure_disk(&mut self) -> Result<()> {
        self.results.disk.push(machine::disk_rates(&self.paths.temporary)?);
        Ok(())
    }

    /// Throughput with one target.
    async fn load(&mut self, target: Target, title: &str) -> Vec<Series<Run>> {
        let (arguments, paths) = (self.arguments, self.paths);
        let turns = self.turns(|one| !one.is_embedded, |_| arguments.sizes());
        let run = async |turn: &Turn<'_>, _| {
            let (nodes, count) = (turn.nodes, arguments.count(turn.contestant, turn.nodes));
            throughput::run(paths, turn.contestant, nodes, target, count, Open::NONE).await
        };
        let summary = |run: &Run| {
            format!(
                "{}/s delivered, {}/s in all pools, {:.2} µs per delivery, {} lost",
                thousands(run.delivered_rate()),
                thousands(run.stored_rate()),
                run.cpu_per_delivery(),
                run.missing
            )
        };
        self.rounds(title, turns, run, summary).await
    }

    /// Open pages; only our node has pages.
    async fn pages(&mut self) -> Vec<Series<Pair>> {
        let (arguments, paths) = (self.arguments, self.paths);
        let turns = self.turns(|one| one.kind.is_ours() && !one.is_embedded, |_| arguments.page_sizes());
        let run = async |turn: &Turn<'_>, round| {
            let (nodes, count) = (turn.nodes, arguments.count(turn.contestant, turn.nodes));
            pages::run(paths, turn.contestant, nodes, count, arguments.open(), round).await
        };
        let summary = |pair: &Pair| format!("{:.3}× the throughput, {:.3}× the CPU", pair.rate(), pair.cost());
        self.rounds("Open pages", turns, run, summary).await
    }

    /// Delays; our node is embedded for them.
    async fn delays(&mut self) -> Vec<Series<Delays>> {
        let (arguments, paths) = (self.arguments, self.paths);
        let takes_part = |one: &Contestant| one.has_own_latency() && (one.is_embedded || !one.kind.is_ours());
        let turns = self.turns(takes_part, |_| arguments.delay_sizes());
        let run =
            async |turn: &Turn<'_>, _| delay::run(paths, turn.contestant, turn.nodes, arguments.delay_time()).await;
        let summary = |run: &Delays| format!("p50 {:?}, p99 {:?}, {} lost", run.median, run.p99, run.missing);
        self.rounds("Delay", turns, run, summary).await
    }

    async fn cold(&mut self) -> Vec<Series<ColdStart>> {
        let (arguments, paths) = (self.arguments, self.paths);
        let turns = self.turns(|one| one.has_own_latency() && !one.is_embedded, |one| arguments.cold_sizes(one));
        let turns = turns.into_iter().flat_map(|turn| {
            // Rivals do not learn addresses, or do not retry.
            let first = turn.contestant.kind.is_ours().then(|| turn.with_known(Known::First, "one known"));
            [Some(turn.with_known(Known::All, "all known")), first].into_iter().flatten()
        });
        let run = async |turn: &Turn<'_>, _| cold_start::run(paths, turn.contestant, turn.nodes, turn.known).await;
        let summary = |start: &ColdStart| format!("{} ms", start.complete.as_millis());
        self.rounds("Cold start", turns.collect(), run, summary).await
    }

    /// The runs of a round, by size and in the order of the contestants.
    fn turns(
        &self,
        takes_part: impl Fn(&Contestant) -> bool,
        sizes: impl Fn(&Contestant) -> Vec<usize>,
    ) -> Vec<Turn<'a>> {
        let mut turns = Vec::new();
        for contestant in self.contestants.iter().filter(|one| takes_part(one)) {
            let turn = |nodes| Turn { contestant, nodes, known: Known::All, name: contestant.name.clone() };
            turns.extend(sizes(contestant).into_iter().map(turn));
        }
        turns.sort_by_key(|turn| turn.nodes);
        turns
    }

    /// Runs all rounds. Returns the series of which at least one run succeeded.
    async fn rounds<T>(
        &mut self,
        title: &str,
        turns: Vec<Turn<'_>>,
        run: impl AsyncFn(&Turn<'_>, usize) -> Result<T>,
        summary: impl Fn(&T) -> String,
    ) -> Vec<Series<T>> {
        let mut series: Vec<_> =
            turns.iter().map(|turn| Series::new(turn.contestant, turn.name.clone(), turn.nodes)).collect();
        for round in 1..=self.arguments.rounds() {
            for (turn, series) in turns.iter().zip(&mut series) {
                let what = format!("{title}, round {round}, {} nodes, {}", turn.nodes, turn.name);
                // The nodes of a run end when it is dropped.
                let result = timeout(LIMIT, run(turn, round)).await;
                match result.with_context(|| format!("given up after {} s", LIMIT.as_secs())).flatten() {
                    Ok(result) => {
                        measuring::note(format_args!("{what}: {}", summary(&result)));
                        series.runs.push(result);
                    }
                    Err(error) => {
                        measuring::note(format_args!("{what}: FAILED: {error:#}"));
                        // The log of a node has many lines.
                        let error = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
                        self.results.failures.push(format!("{what}: {error}"));
                    }
                }
            }
        }
        series.retain(|series| !series.runs.is_empty());
        series
    }
}

/// One run of each round.
struct Turn<'a> {
    contestant: &'a Contestant,
    nodes: usize,
    known: Known,
    /// The name in the tables.
    name: String,
}

impl Turn<'_> {
    /// The same with other known peers, which are part of the name.
    fn with_known(&self, known: Known, suffix: &str) -> Self {
        Self { known, name: format!("{}, {suffix}", self.name), ..*self }
    }
}
