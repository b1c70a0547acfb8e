//! Counts what was delivered: each transaction once, and separately what came twice or is not the
//! bench's.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use crate::payload;

/// What a node has. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// A bit per number.
    seen: Vec<u64>,
    count: u64,
    twice: u64,
    linked: usize,
    delays: Option<Delays>,
}

impl Tally {
    /// An empty one, that notes delays or does not.
    pub fn new(delays: bool) -> Self {
        let counts = Counts { delays: delays.then(Delays::default), ..Counts::default() };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// A transaction was pushed at us.
    pub fn pushed(&self, transaction: &[u8]) {
        self.counts().enter(transaction);
    }

    /// A transaction came from another node.
    pub fn delivered(&self, transaction: &[u8]) {
        let mut counts = self.counts();
        if counts.enter(transaction)
            && let Some(delays) = &mut counts.delays
        {
            delays.note(transaction);
        }
    }

    /// To how many nodes we are linked now.
    pub fn linked(&self, linked: usize) {
        self.counts().linked = linked;
    }

    /// Writes the file `delays`, if delays are noted.
    ///
    /// # Errors
    /// It can not be written.
    pub fn write_delays(&self) -> Result<()> {
        self.counts().delays.as_ref().map_or(Ok(()), Delays::write)
    }

    /// Links, transactions, and how many of them came twice.
    pub(crate) fn status(&self) -> (usize, u64, u64) {
        let counts = self.counts();
        (counts.linked, counts.count, counts.twice)
    }

    /// Nothing panics while it holds the lock.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Whether it is new. One that is not the bench's is never counted, and so is missing in the
    /// end.
    fn enter(&mut self, transaction: &[u8]) -> bool {
        let Some(number) = payload::number(transaction) else { return false };
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        self.count += u64::from(new);
        self.twice += u64::from(!new);
        new
    }
}

/// How long deliveries took, in nanoseconds: from when the bench pushed until here.
#[derive(Debug, Default)]
pub struct Delays(Vec<u64>);

impl Delays {
    /// A transaction of the bench's was delivered just now.
    pub fn note(&mut self, transaction: &[u8]) {
        let now = payload::now();
        self.0.extend(payload::stamp(transaction).map(|pushed| now.saturating_sub(pushed)));
    }

    /// Writes the file `delays`.
    ///
    /// # Errors
    /// It can not be written.
    pub fn write(&self) -> Result<()> {
        let write = || {
            let mut file = BufWriter::new(File::create("delays")?);
            self.0.iter().try_for_each(|delay| writeln!(file, "{delay}"))?;
            file.flush()
        };
        write().context("delays can not be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once() {
        let transaction = |number: u64| format!("{:155},\"timeStamp\":{}", "", 1_700_000_000_000 + number).into_bytes();
        let tally = Tally::default();
        tally.pushed(&transaction(0));
        tally.delivered(&transaction(64));
        tally.delivered(&transaction(0));
        tally.delivered(b"foreign");
        assert_eq!(tally.status(), (0, 2, 1));
    }
}
