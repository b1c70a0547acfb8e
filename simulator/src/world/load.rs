//! The transactions that enter a run: when, where and how.

use std::time::Duration;

use rand::RngExt;

use super::population::Population;
use crate::net::event::{NewTransaction, Source};

/// Ten years, in milliseconds.
const TEN_YEARS: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// The error of an actor's wall clock when it makes transaction `number`, in milliseconds: of three
/// actors one clock is right, one is ten years ahead, and one jumps ten years back and forth.
/// The protocol may use a time stamp for ordering only.
fn clock_error(actor: usize, number: usize) -> i64 {
    match (actor % 3, number % 2) {
        (1, _) => TEN_YEARS,
        (2, 0) => -TEN_YEARS,
        _ => 0,
    }
}

/// A transaction of about 250 bytes in the format of the exercise; `number` makes it unique.
pub fn body(seed: u64, number: usize) -> String {
    with_clock_error(seed, number, 0)
}

/// The same, with an error of the time stamp in milliseconds.
fn with_clock_error(seed: u64, number: usize, clock_error: i64) -> String {
    let hash = format!("{seed:016x}{number:048x}");
    format!(
        r#"{{"fromAddress":null,"toAddress":"simulated","amount":{number},"timeStamp":{},"id":"{number}-{seed}","hash":"{hash}"}}"#,
        1_700_000_000_000 + number as i64 + clock_error
    )
}

/// Draws the transactions of a run, up to `end` with this mean interval; one in twenty is a burst.
pub fn schedule(
    population: Population,
    seed: u64,
    end: Duration,
    interval: Duration,
    rng: &mut impl RngExt,
) -> Vec<(Duration, NewTransaction)> {
    let mut entries: Vec<(Duration, NewTransaction)> = Vec::new();
    let mut at = Duration::ZERO;
    while at < end {
        let count = if rng.random_range(0..20) == 0 { rng.random_range(5..60) } else { 1 };
        let actor = rng.random_range(0..population.all());
        for _ in 0..count {
            let number = entries.len();
            let repeated = (number > 0 && rng.random_range(0..20) == 0).then(|| rng.random_range(0..number));
            let body = repeated.map_or_else(
                || with_clock_error(seed, number, clock_error(actor, number)),
                |old| entries[old].1.body.clone(),
            );
            // What is written into a file must be new, otherwise it would be there twice.
            let source = match rng.random_range(0..10) {
                _ if actor >= population.native => Source::ExercisePeer,
                0 if repeated.is_none() => Source::PoolFile,
                0..5 => Source::Client,
                _ => Source::Application,
            };
            entries.push((at, NewTransaction { source, actor, body }));
        }
        at += interval.mul_f64(rng.random_range(0.0..2.0));
    }
    entries
}

/// One transaction at every actor, for the end of a run; `first` is the number of the first.
pub fn one_each(population: Population, seed: u64, first: usize) -> Vec<NewTransaction> {
    let entry = |actor: usize| {
        let source = match actor {
            _ if actor >= population.native => Source::ExercisePeer,
            _ if actor.is_multiple_of(2) => Source::Application,
            _ => Source::Client,
        };
        let body = with_clock_error(seed, first + actor, clock_error(actor, first + actor));
        NewTransaction { source, actor, body }
    };
    (0..population.all()).map(entry).collect()
}
