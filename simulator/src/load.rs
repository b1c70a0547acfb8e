//! The transactions that enter a run: when, where, and in which of the ways a node knows.

use std::time::Duration;

use rand::RngExt;

use crate::faults::Cast;

/// One transaction entering the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How it enters.
    pub way: Way,
    /// At which actor: a full peer, or a plain one for [`Way::Plain`].
    pub actor: usize,
    /// The object's JSON text.
    pub body: String,
}

/// How a transaction enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The application submits it.
    Submit,
    /// A client brings it and wants an ACK.
    Client,
    /// Another program writes it into the pool's file.
    File,
    /// The user of a plain peer adds it.
    Plain,
}

/// Ten years, in milliseconds.
const TEN_YEARS: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// How far from the true time the clock of an actor's wall stands when transaction `number` is made, in milliseconds: of three actors one is right, one ten years ahead, and
/// one leaps ten years back and forth. Nothing in the protocol may depend on it but an order.
fn wrong_by(actor: usize, number: usize) -> i64 {
    match (actor % 3, number % 2) {
        (1, _) => TEN_YEARS,
        (2, 0) => -TEN_YEARS,
        _ => 0,
    }
}

/// A transaction as the exercise makes them, of some 250 bytes; `number` makes it unique in the run.
pub fn body(seed: u64, number: usize) -> String {
    stamped(seed, number, 0)
}

/// The same, with a time stamp that is wrong by so many milliseconds.
fn stamped(seed: u64, number: usize, wrong_by: i64) -> String {
    let hash = format!("{seed:016x}{number:048x}");
    format!(
        r#"{{"fromAddress":null,"toAddress":"simulated","amount":{number},"timeStamp":{},"id":"{number}-{seed}","hash":"{hash}"}}"#,
        1_700_000_000_000 + number as i64 + wrong_by
    )
}

/// Draws the transactions of a run: up to `end`, at the mean `interval`; one in twenty is a burst.
pub fn schedule(
    cast: Cast,
    seed: u64,
    end: Duration,
    interval: Duration,
    rng: &mut impl RngExt,
) -> Vec<(Duration, Entry)> {
    let mut entries: Vec<(Duration, Entry)> = Vec::new();
    let mut at = Duration::ZERO;
    while at < end {
        let count = if rng.random_range(0..20) == 0 { rng.random_range(5..60) } else { 1 };
        let place = rng.random_range(0..cast.nodes + cast.plain);
        for _ in 0..count {
            let again =
                (!entries.is_empty() && rng.random_range(0..20) == 0).then(|| rng.random_range(0..entries.len()));
            let body = again.map_or_else(
                || stamped(seed, entries.len(), wrong_by(place, entries.len())),
                |old| entries[old].1.body.clone(),
            );
            // What is written into a file must be new there, or it would be there twice.
            let way = match rng.random_range(0..10) {
                _ if place >= cast.nodes => Way::Plain,
                0 if again.is_none() => Way::File,
                0..5 => Way::Client,
                _ => Way::Submit,
            };
            entries.push((at, Entry { way, actor: place, body }));
        }
        at += interval.mul_f64(rng.random_range(0.0..2.0));
    }
    entries
}

/// One transaction at every actor, for the end of a run: `first` numbers them.
pub fn round(cast: Cast, seed: u64, first: usize) -> Vec<Entry> {
    let entry = |actor| {
        let way = if actor >= cast.nodes { Way::Plain } else { [Way::Submit, Way::Client][actor % 2] };
        Entry { way, actor, body: stamped(seed, first + actor, wrong_by(actor, first + actor)) }
    };
    (0..cast.nodes + cast.plain).map(entry).collect()
}
