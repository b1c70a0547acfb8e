//! The costs of attacks, their bounds, and the table of both.

use std::time::Duration;

use measuring::{Format, Table, percentile};

use crate::measures::hostile::attacker::Effort;
use crate::measures::hostile::attacks::Attack;
use crate::measures::hostile::discovery_client;

/// The most CPU time of the node for each second of the attacker's.
const RATIO: f64 = 10.0;
/// The part of one processor up to which that does not count: an attacker that does next to nothing
/// costs next to nothing.
const SHARE: f64 = 0.10;
/// The most bytes of log for one second.
const LOG: f64 = 8.0 * 1024.0;
/// The most bytes on disk for each byte that the attacker sent.
const DISK: f64 = 1.5;
/// The bytes of the client's own transactions, and of a file that grows in steps.
const DISK_FREE: u64 = 256 * 1024;
/// The most dials for each ten seconds: on one peer's word 32 new addresses at once and then one a
/// second, each of them four times.
const DIALS: f64 = 168.0;
/// The most bytes of memory that the node may have for a moment beyond the most it had before.
const MEMORY: u64 = 128 * 1024 * 1024;
/// The most that the 99th percentile of the client's times may grow: times that without an attack …
const SLOWER: u32 = 10;
/// … or up to this time, as a machine that is shared is slow now and then.
const SLOW: Duration = Duration::from_millis(100);

/// What was measured of a node under an attack.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) log: u64,
    pub(crate) disk: u64,
    pub(crate) dials: u64,
    /// The growth of the most resident memory that it had, in bytes.
    pub(crate) memory: u64,
    /// The sorted times of the client's acknowledgements.
    pub(crate) acks: Vec<Duration>,
    pub(crate) effort: Effort,
}

/// An attack beside the same time without one.
pub(crate) struct Row<'a> {
    /// `None`: without an attack.
    pub(crate) attack: Option<&'a Attack>,
    pub(crate) calm: &'a Cost,
    pub(crate) cost: &'a Cost,
}

impl Row<'_> {
    /// Returns the CPU time of the node beyond that without an attack, in seconds.
    fn cpu(&self) -> f64 {
        let share = |cost: &Cost| cost.cpu.as_secs_f64() / cost.time.as_secs_f64();
        (share(self.cost) - share(self.calm)).max(0.0) * self.cost.time.as_secs_f64()
    }

    fn ratio(&self) -> f64 {
        self.cpu() / self.cost.effort.cpu.max(0.01)
    }

    fn p99(cost: &Cost) -> Duration {
        percentile(&cost.acks, 0.99).unwrap_or_default()
    }

    /// Returns what is out of bounds, in one line.
    pub(crate) fn broken(&self) -> Option<String> {
        let (cost, seconds) = (self.cost, self.cost.time.as_secs_f64());
        let share = self.cpu() / seconds;
        let mut broken = Vec::new();
        if share > SHARE && self.ratio() > RATIO {
            broken.push(format!(
                "{:.0} times the attacker's CPU time, {:.0} % of a processor",
                self.ratio(),
                share * 100.0
            ));
        }
        if cost.log as f64 > LOG * seconds {
            broken.push(format!("{} bytes of log in {seconds:.0} s", cost.log));
        }
        if cost.disk > DISK_FREE && cost.disk as f64 > DISK * cost.effort.bytes as f64 {
            broken.push(format!("{} bytes on disk", cost.disk));
        }
        if cost.dials as f64 > DIALS * (seconds / 10.0).max(1.0) {
            broken.push(format!("{} dials in {seconds:.0} s", cost.dials));
        }
        if cost.memory > MEMORY {
            broken.push(format!("{} MB of memory", cost.memory / 1_000_000));
        }
        if cost.effort.held > discovery_client::PLACES {
            broken.push(format!("{} connections for address discovery", cost.effort.held));
        }
        if Self::p99(cost) > (Self::p99(self.calm) * SLOWER).max(SLOW) {
            broken.push(format!(
                "p99 of the client {:?}, without an attack {:?}",
                Self::p99(cost),
                Self::p99(self.calm)
            ));
        }
        let name = self.attack.map_or("calm", |attack| attack.name);
        (!broken.is_empty()).then(|| format!("{name}: {}", broken.join(", ")))
    }
}

/// Shows a row for each attack.
pub(crate) fn show(rows: &[Row], format: Format) -> String {
    let heading = [
        "attack",
        "what",
        "CPU of the node",
        "CPU of the attacker",
        "ratio",
        "sent",
        "connections",
        "log",
        "disk",
        "dials",
        "ACK p50",
        "ACK p99",
    ];
    let mut table = Table::new(heading).right(2..heading.len());
    for row in rows {
        let (cost, effort) = (row.cost, &row.cost.effort);
        let milliseconds = |time: Option<Duration>| {
            time.map_or("–".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
        };
        table.push([
            row.attack.map_or("none", |attack| attack.name).to_owned(),
            row.attack.map_or("the client alone", |attack| attack.does).to_owned(),
            format!("{:.0} ms/s", cost.cpu.as_secs_f64() * 1e3 / cost.time.as_secs_f64()),
            format!("{:.0} ms/s", effort.cpu * 1e3 / cost.time.as_secs_f64()),
            if row.attack.is_some() { format!("{:.1}", row.ratio()) } else { String::new() },
            bytes(effort.bytes),
            effort.connections.to_string(),
            bytes(cost.log),
            bytes(cost.disk),
            cost.dials.to_string(),
            milliseconds(percentile(&cost.acks, 0.5)),
            milliseconds(percentile(&cost.acks, 0.99)),
        ]);
    }
    table.show(format)
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} KB", count / 1_000),
        _ => format!("{} MB", count / 1_000_000),
    }
}
