//! All measurements, round by round. In each round every contestant has its turn at every size. A run that fails is told of and left out: what the others showed
//! is not lost with it.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::arguments::{Arguments, What};
use crate::contestant::Contestant;
use crate::machine::{self, BLOCKS};
use crate::mesh::{Known, Places};
use crate::report::{Load, Series, thousands};
use crate::throughput::Target;
use crate::{cold_start, delay, pages, throughput};

/// How long a single run may take, whatever hangs: more than twice what the slowest that comes to an end does.
const LIMIT: Duration = Duration::from_secs(300);

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The disk's own rates, for each of [`BLOCKS`], measured between the loads.
    pub(crate) disk: Vec<[f64; BLOCKS.len()]>,
    /// Throughput, for each target.
    pub(crate) loads: Vec<Load>,
    /// Throughput with and without open pages.
    pub(crate) pages: Vec<Series<pages::Pair>>,
    /// Delays.
    pub(crate) delays: Vec<Series<delay::Delays>>,
    /// Cold starts.
    pub(crate) cold: Vec<Series<cold_start::ColdStart>>,
    /// Which runs failed, and why.
    pub(crate) failures: Vec<String>,
}

/// Measures all that is wanted.
pub(crate) async fn run(arguments: &Arguments, places: &Places, contestants: &[Contestant]) -> Result<Results> {
    let mut suite = Suite { arguments, places, contestants, results: Results::default() };
    suite.disk()?;
    for (what, target, title, short) in [
        (What::One, Target::One, "Pushed at one node", "one"),
        (What::All, Target::All, "Pushed at all nodes at once", "all"),
    ] {
        if arguments.measures(what) {
            let series = suite.load(target, title).await;
            suite.results.loads.push(Load { title, short, series });
            suite.disk()?;
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
    places: &'a Places,
    contestants: &'a [Contestant],
    results: Results,
}

impl Suite<'_> {
    fn disk(&mut self) -> Result<()> {
        self.results.disk.push(machine::disk_rates(&self.places.temporary)?);
        Ok(())
    }

    /// What a run showed, if it came to an end.
    fn ended<T>(&mut self, run: Result<T>, what: &str) -> Option<T> {
        run.inspect_err(|error| {
            eprintln!("{what}: FAILED: {error:#}");
            // What a node said goes over many lines.
            let error = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            self.results.failures.push(format!("{what}: {error}"));
        })
        .ok()
    }

    /// All rounds of all contestants at all sizes, with one target.
    async fn load(&mut self, target: Target, title: &str) -> Vec<Series<throughput::Run>> {
        let contestants = self.contestants.iter().filter(|one| !matches!(one, Contestant::Embedded { .. }));
        let mut series: Vec<_> = contestants
            .flat_map(|contestant| self.arguments.sizes().into_iter().map(move |nodes| (contestant, nodes)))
            .map(|(contestant, nodes)| (contestant, Series::new(contestant, contestant.name().to_owned(), nodes)))
            .collect();
        series.sort_by_key(|(_, series)| series.nodes);
        for round in 1..=self.arguments.rounds() {
            for (contestant, series) in &mut series {
                let nodes = series.nodes;
                let what = format!("{title}, round {round}, {nodes} nodes, {}", series.name);
                let count = self.arguments.count(contestant, nodes);
                let run = bounded(throughput::run(self.places, contestant, nodes, target, count, 0)).await;
                let Some(run) = self.ended(run, &what) else { continue };
                eprintln!(
                    "{what}: {}/s delivered, {}/s in all pools, {:.2} µs per delivery, {} lost",
                    thousands(run.delivered_rate()),
                    thousands(run.stored_rate()),
                    run.cpu_per_delivery(),
                    run.missing
                );
                series.runs.push(run);
            }
        }
        finished(series)
    }

    /// All rounds of the open pages; only ours has any.
    async fn pages(&mut self) -> Vec<Series<pages::Pair>> {
        let contestants = self.contestants.iter().filter(|one| matches!(one, Contestant::Ours { .. }));
        let mut series: Vec<_> = contestants
            .flat_map(|contestant| self.arguments.page_sizes().into_iter().map(move |nodes| (contestant, nodes)))
            .map(|(contestant, nodes)| (contestant, Series::new(contestant, contestant.name().to_owned(), nodes)))
            .collect();
        series.sort_by_key(|(_, series)| series.nodes);
        for round in 1..=self.arguments.rounds() {
            for (contestant, series) in &mut series {
                let nodes = series.nodes;
                let what = format!("Open pages, round {round}, {nodes} nodes, {}", series.name);
                let count = self.arguments.count(contestant, nodes);
                let run = pages::run(self.places, contestant, nodes, count, self.arguments.pages(), round);
                let Some(pair) = self.ended(bounded(run).await, &what) else { continue };
                eprintln!("{what}: {:.3}× the throughput, {:.3}× the CPU", pair.rate(), pair.cost());
                series.runs.push(pair);
            }
        }
        finished(series)
    }

    /// All rounds of the delays.
    async fn delays(&mut self) -> Vec<Series<delay::Delays>> {
        let contestants =
            self.contestants.iter().filter(|one| one.is_plain() && !matches!(one, Contestant::Ours { .. }));
        let mut series: Vec<_> = contestants
            .flat_map(|contestant| self.arguments.delay_sizes().into_iter().map(move |nodes| (contestant, nodes)))
            .map(|(contestant, nodes)| (contestant, Series::new(contestant, contestant.name().to_owned(), nodes)))
            .collect();
        series.sort_by_key(|(_, series)| series.nodes);
        for round in 1..=self.arguments.rounds() {
            for (contestant, series) in &mut series {
                let what = format!("Delay, round {round}, {} nodes, {}", series.nodes, series.name);
                let time = self.arguments.delay_time();
                let run = bounded(delay::run(self.places, contestant, series.nodes, time)).await;
                let Some(run) = self.ended(run, &what) else { continue };
                eprintln!("{what}: half within {:?}, 99 % within {:?}, {} lost", run.half, run.most, run.missing);
                series.runs.push(run);
            }
        }
        finished(series)
    }

    /// All rounds of the cold starts.
    async fn cold(&mut self) -> Vec<Series<cold_start::ColdStart>> {
        let contestants =
            self.contestants.iter().filter(|one| one.is_plain() && !matches!(one, Contestant::Embedded { .. }));
        let mut plan = Vec::new();
        for contestant in contestants {
            for nodes in self.arguments.cold_sizes(contestant) {
                let series = |known| Series::new(contestant, format!("{}, {known} known", contestant.name()), nodes);
                plan.push((contestant, Known::All, series("all")));
                // Rivals do not learn of others, or never try again whom they missed.
                if contestant.is_ours() {
                    plan.push((contestant, Known::First, series("one")));
                }
            }
        }
        plan.sort_by_key(|(_, _, series)| series.nodes);
        for round in 1..=self.arguments.rounds() {
            for (contestant, known, series) in &mut plan {
                let what = format!("Cold start, round {round}, {} nodes, {}", series.nodes, series.name);
                let start = bounded(cold_start::run(self.places, contestant, series.nodes, *known)).await;
                let Some(start) = self.ended(start, &what) else { continue };
                eprintln!("{what}: {} ms", start.complete.as_millis());
                series.runs.push(start);
            }
        }
        finished(plan.into_iter().map(|(contestant, _, series)| (contestant, series)).collect())
    }
}

/// A run, given up after [`LIMIT`]: its nodes end with it.
async fn bounded<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LIMIT, run).await.with_context(|| format!("given up after {} s", LIMIT.as_secs()))?
}

/// Those of which at least one run came to an end.
fn finished<T>(series: Vec<(&Contestant, Series<T>)>) -> Vec<Series<T>> {
    series.into_iter().map(|(_, series)| series).filter(|series| !series.runs.is_empty()).collect()
}
