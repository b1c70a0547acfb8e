//! What happened in a run, folded into one number: two runs of one seed must have the same.
//!
//! Every event that a node sees and every order that it gives is noted here, with its time. On demand the notes are printed too, one line each.

use std::fmt::{self, Write};
use std::time::Duration;

/// The running hash of all notes (FNV-1a, 64 bits: it tells runs apart, it need not withstand anyone).
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    print: bool,
    /// A large network is measured, not compared: there nothing is noted, and nothing is written out in order to be noted.
    pub silent: bool,
}

impl Trace {
    /// An empty trace; `print` sends each note to standard error as well.
    pub fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, print, silent: false }
    }

    /// Notes that something happened at an actor; `usize::MAX` stands for all of them. `number` and `text` say what it was about; numbers must be the same in each run of a seed.
    pub fn note(&mut self, at: Duration, actor: usize, what: &str, number: u64, text: impl fmt::Display) {
        if self.silent {
            return;
        }
        self.fold(&at.as_nanos().to_le_bytes());
        self.fold(&(actor as u64).to_le_bytes());
        self.fold(what.as_bytes());
        self.fold(&number.to_le_bytes());
        write!(self, "{text}").expect("folding takes all that is written");
        if self.print {
            let short: String = text.to_string().chars().take(240).collect();
            let who = if actor == usize::MAX { "all".to_owned() } else { format!("node {actor}") };
            eprintln!("{:>12.6} s  {who:<9} {what:<12} {number:<6} {short}", at.as_secs_f64());
        }
    }

    /// The hash of everything noted so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn fold(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// What is written to a trace is folded into its hash.
impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.fold(text.as_bytes());
        Ok(())
    }
}
