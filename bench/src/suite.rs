//! All measurements, round by round. In each round every contestant has its turn at every size. A
//! run that fails is told of and left out: what the others showed is not lost with it.

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

/// How long a single run may take, whatever hangs: more than twice what the slowest that comes to
/// an end does.
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

impl<'a> Suite<'a> {
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

    /// All rounds with one target.
    async fn load(&mut self, target: Target, title: &str) -> Vec<Series<throughput::Run>> {
        let (arguments, places) = (self.arguments, self.places);
        let turns = self.turns(|one| !one.is_embedded(), |_| arguments.sizes());
        let run = async |turn: &Turn<'_>, _| {
            let (nodes, count) = (turn.nodes, turn.count(arguments));
            throughput::run(places, turn.contestant, nodes, target, count, 0).await
        };
        let told = |run: &throughput::Run| {
            format!(
                "{}/s delivered, {}/s in all pools, {:.2} µs per delivery, {} lost",
                thousands(run.delivered_rate()),
                thousands(run.stored_rate()),
                run.cpu_per_delivery(),
                run.missing
            )
        };
        self.rounds(title, turns, run, told).await
    }

    /// All rounds of the open pages; only ours has any.
    async fn pages(&mut self) -> Vec<Series<pages::Pair>> {
        let (arguments, places) = (self.arguments, self.places);
        let turns = self.turns(|one| one.is_ours() && !one.is_embedded(), |_| arguments.page_sizes());
        let run = async |turn: &Turn<'_>, round| {
            let (nodes, count) = (turn.nodes, turn.count(arguments));
            pages::run(places, turn.contestant, nodes, count, arguments.pages(), round).await
        };
        let told = |pair: &pages::Pair| format!("{:.3}× the throughput, {:.3}× the CPU", pair.rate(), pair.cost());
        self.rounds("Open pages", turns, run, told).await
    }

    /// All rounds of the delays. Ours is embedded for that.
    async fn delays(&mut self) -> Vec<Series<delay::Delays>> {
        let (arguments, places) = (self.arguments, self.places);
        let takes_part = |one: &Contestant| one.is_plain() && (one.is_embedded() || !one.is_ours());
        let turns = self.turns(takes_part, |_| arguments.delay_sizes());
        let run =
            async |turn: &Turn<'_>, _| delay::run(places, turn.contestant, turn.nodes, arguments.delay_time()).await;
        let told = |run: &delay::Delays| {
            format!("half within {:?}, 99 % within {:?}, {} lost", run.half, run.most, run.missing)
        };
        self.rounds("Delay", turns, run, told).await
    }

    /// All rounds of the cold starts.
    async fn cold(&mut self) -> Vec<Series<cold_start::ColdStart>> {
        let (arguments, places) = (self.arguments, self.places);
        let turns = self.turns(|one| one.is_plain() && !one.is_embedded(), |one| arguments.cold_sizes(one));
        let turns = turns.into_iter().flat_map(|turn| {
            // Rivals do not learn of others, or never try again whom they missed.
            let first = turn.contestant.is_ours().then(|| turn.knowing(Known::First, "one known"));
            [Some(turn.knowing(Known::All, "all known")), first].into_iter().flatten()
        });
        let run = async |turn: &Turn<'_>, _| cold_start::run(places, turn.contestant, turn.nodes, turn.known).await;
        let told = |start: &cold_start::ColdStart| format!("{} ms", start.complete.as_millis());
        self.rounds("Cold start", turns.collect(), run, told).await
    }

    /// Whose turn it is in each round, by size and in the contestants' order.
    fn turns(
        &self,
        takes_part: impl Fn(&Contestant) -> bool,
        sizes: impl Fn(&Contestant) -> Vec<usize>,
    ) -> Vec<Turn<'a>> {
        let mut turns = Vec::new();
        for contestant in self.contestants.iter().filter(|one| takes_part(one)) {
            let turn = |nodes| Turn { contestant, nodes, known: Known::All, name: contestant.name() };
            turns.extend(sizes(contestant).into_iter().map(turn));
        }
        turns.sort_by_key(|turn| turn.nodes);
        turns
    }

    /// Makes all rounds; those series of which at least one run came to an end.
    async fn rounds<T>(
        &mut self,
        title: &str,
        turns: Vec<Turn<'_>>,
        run: impl AsyncFn(&Turn<'_>, usize) -> Result<T>,
        told: impl Fn(&T) -> String,
    ) -> Vec<Series<T>> {
        let mut series: Vec<_> =
            turns.iter().map(|turn| Series::new(turn.contestant, turn.name.clone(), turn.nodes)).collect();
        for round in 1..=self.arguments.rounds() {
            for (turn, series) in turns.iter().zip(&mut series) {
                let what = format!("{title}, round {round}, {} nodes, {}", turn.nodes, turn.name);
                let Some(shown) = self.ended(bounded(run(turn, round)).await, &what) else { continue };
                eprintln!("{what}: {}", told(&shown));
                series.runs.push(shown);
            }
        }
        series.retain(|series| !series.runs.is_empty());
        series
    }
}

/// Who has its turn once in each round.
struct Turn<'a> {
    contestant: &'a Contestant,
    nodes: usize,
    /// Which addresses its nodes know.
    known: Known,
    /// What the tables call it.
    name: String,
}

impl Turn<'_> {
    /// How many transactions it is given.
    fn count(&self, arguments: &Arguments) -> u64 {
        arguments.count(self.contestant, self.nodes)
    }

    /// The same with these addresses known, and with that in its name.
    fn knowing(&self, known: Known, word: &str) -> Self {
        Self { known, name: format!("{}, {word}", self.name), ..*self }
    }
}

/// A run, given up after [`LIMIT`]: its nodes end with it.
async fn bounded<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LIMIT, run).await.with_context(|| format!("given up after {} s", LIMIT.as_secs()))?
}
