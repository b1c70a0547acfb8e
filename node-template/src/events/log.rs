//! Writes events to the log.
//!
//! Transactions are either logged each, at info, or counted in a line per minute, with each at
//! debug: see [`TransactionLines`]. Of those of one second only the first twenty get a line. Lines
//! that strangers can cause have limits: see `line_limit`.

use std::time::{Duration, Instant};

use tracing::Level;

use crate::events::describe::{Description, level};
use crate::events::line_limit::{Config, LineLimit};
use crate::events::text::plural;
use crate::protocol::event::Event;

/// Lines for transactions per second: as many as a person can follow.
const TRANSACTION_LINES: u64 = 20;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// How transactions are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionLines {
    /// Each has a line at info, for a person who watches.
    #[default]
    Each,
    /// Each has a line at debug, and at info a line per minute counts them, for a log that is kept.
    Count,
}

impl TransactionLines {
    fn level(self) -> Level {
        match self {
            Self::Each => Level::INFO,
            Self::Count => Level::DEBUG,
        }
    }

    /// Returns whether the log's level includes single transactions.
    pub fn logs_single(self) -> bool {
        match self {
            Self::Each => tracing::enabled!(Level::INFO),
            Self::Count => tracing::enabled!(Level::DEBUG),
        }
    }
}

/// Writes events to the log, and counts transactions.
///
/// The caller passes the time. It calls [`Self::tick`] at [`Self::deadline`]: otherwise a count is
/// logged only with the next transaction.
#[derive(Debug)]
pub(crate) struct EventLog {
    lines: TransactionLines,
    /// Start of the second that the counts are for.
    second: Option<Instant>,
    logged: u64,
    suppressed: u64,
    limit: LineLimit,
    /// Start of the minute that is counted, with the number of accepted transactions.
    minute: Option<(Instant, u64)>,
}

impl EventLog {
    /// Makes a log of events.
    pub(crate) fn new(lines: TransactionLines) -> Self {
        Self { lines, second: None, logged: 0, suppressed: 0, limit: LineLimit::new(Config::KEPT), minute: None }
    }

    /// Returns whether the log's level includes single transactions.
    pub(crate) fn wants_transactions(&self) -> bool {
        self.lines.logs_single()
    }

    /// Counts an accepted transaction.
    pub(crate) fn on_accepted(&mut self, now: Instant) {
        if self.lines == TransactionLines::Count {
            self.minute.get_or_insert((now, 0)).1 += 1;
        }
    }

    /// Logs an event, unless it is a transaction beyond the limit.
    pub(crate) fn log(&mut self, now: Instant, event: &Event) {
        if !matches!(event, Event::Transaction { .. }) {
            if is_enabled(level(event)) && self.limit.admits(now, event, 1) {
                log(event);
            }
            return;
        }
        if !self.wants_transactions() {
            return;
        }
        self.tick(now);
        if self.admits(now) {
            log_at(self.lines.level(), event);
        }
    }

    /// Logs the counts whose second or minute is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(suppressed) = self.take_suppressed(now) {
            let more = plural(suppressed, "more transaction", "more transactions");
            match self.lines {
                TransactionLines::Each => tracing::info!("… and {more} in the last second"),
                TransactionLines::Count => tracing::debug!("… and {more} in the last second"),
            }
        }
        for (kind, left_out) in self.limit.take_due(now) {
            let lines = plural(left_out, "line", "lines");
            tracing::info!("… and {lines} like '{kind}' left out in the last minute: too many in a short time");
        }
        if let Some(accepted) = self.take_accepted(now) {
            tracing::info!("{} in the last minute", plural(accepted, "new transaction", "new transactions"));
        }
    }

    /// Returns when to call [`Self::tick`]; `None` if there is nothing to log.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let minute = self.minute.map(|(since, _)| since + MINUTE);
        [self.second_over(), minute, self.limit.deadline()].into_iter().flatten().min()
    }

    /// Logs the counts at the end of the node.
    pub(crate) fn finish(&mut self) {
        if let Some((_, accepted)) = self.minute.take() {
            tracing::info!("{} since the last count", plural(accepted, "new transaction", "new transactions"));
        }
    }

    fn second_over(&self) -> Option<Instant> {
        self.second.filter(|_| self.suppressed > 0).map(|second| second + SECOND)
    }

    fn admits(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now >= second + SECOND) {
            self.second = Some(now);
            self.logged = 0;
        }
        let admitted = self.logged < TRANSACTION_LINES;
        self.logged += u64::from(admitted);
        self.suppressed += u64::from(!admitted);
        admitted
    }

    fn take_suppressed(&mut self, now: Instant) -> Option<u64> {
        self.second_over().filter(|over| now >= *over)?;
        Some(std::mem::take(&mut self.suppressed))
    }

    fn take_accepted(&mut self, now: Instant) -> Option<u64> {
        self.minute.filter(|(since, _)| now >= *since + MINUTE)?;
        self.minute.take().map(|(_, accepted)| accepted)
    }
}

/// Returns whether lines of a level are logged. One that is not uses up no limit.
fn is_enabled(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(Level::ERROR),
        Level::WARN => tracing::enabled!(Level::WARN),
        Level::INFO => tracing::enabled!(Level::INFO),
        Level::DEBUG => tracing::enabled!(Level::DEBUG),
        Level::TRACE => tracing::enabled!(Level::TRACE),
    }
}

/// Writes an event to the log, as one line of its level.
pub(crate) fn log(event: &Event) {
    log_at(level(event), event);
}

fn log_at(level: Level, event: &Event) {
    match level {
        Level::ERROR => tracing::error!("{}", Description(event)),
        Level::WARN => tracing::warn!("{}", Description(event)),
        Level::INFO => tracing::info!("{}", Description(event)),
        Level::DEBUG => tracing::debug!("{}", Description(event)),
        Level::TRACE => tracing::trace!("{}", Description(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::PeerName;
    use crate::protocol::json::Parser;
    use crate::protocol::transaction::Transaction;

    #[test]
    fn a_burst_of_transactions_is_counted() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut log = EventLog::new(TransactionLines::Each);
        assert_eq!(log.deadline(), None);
        assert_eq!((0..1_254).filter(|_| log.admits(at(100))).count(), 20);
        assert_eq!(log.deadline(), Some(at(1_100)));
        assert_eq!(log.take_suppressed(at(1_099)), None);
        assert_eq!(log.take_suppressed(at(1_100)), Some(1_234));
        assert_eq!(log.take_suppressed(at(1_101)), None, "logged once");
        assert_eq!(log.deadline(), None);
        assert!(log.admits(at(1_102)), "a new second, a new allowance");
    }

    #[test]
    fn an_even_trickle_is_logged_whole() {
        let start = Instant::now();
        let mut log = EventLog::new(TransactionLines::Each);
        assert!((0..100).all(|step| log.admits(start + step * Duration::from_millis(50))));
        assert_eq!(log.deadline(), None);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_burst_in_the_log() {
        let transaction = Transaction::parse(&mut Parser::new(), r#"{"amount":1}"#).unwrap();
        let event = Event::Transaction { transaction, origin: None, peer: None, links: 1 };
        let lines = crate::cli::logs::tests::logged(false, || {
            let now = Instant::now();
            let mut log = EventLog::new(TransactionLines::Each);
            for _ in 0..22 {
                log.log(now, &event);
            }
            log.log(now, &Event::StoreRecovered);
            log.tick(now + SECOND);
            log.tick(now + SECOND);
        });
        let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(lines.len(), 22, "{lines:?}");
        assert!(lines[..20].iter().all(|line| line.starts_with("transaction ")));
        assert_eq!(
            lines[20..],
            ["transactions.json takes transactions again", "… and 2 more transactions in the last second"]
        );
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_log_that_is_kept_has_a_count_per_minute_and_each_transaction_at_debug() {
        let transaction = Transaction::parse(&mut Parser::new(), r#"{"amount":1}"#).unwrap();
        let event = Event::Transaction { transaction, origin: None, peer: None, links: 1 };
        let start = Instant::now();
        let lines = crate::cli::logs::tests::logged(false, || {
            let mut log = EventLog::new(TransactionLines::Count);
            assert_eq!(log.deadline(), None);
            for second in 0..30 {
                log.on_accepted(start + second * SECOND);
            }
            log.log(start, &event);
            assert_eq!(log.deadline(), Some(start + MINUTE));
            log.tick(start + MINUTE - SECOND);
            log.tick(start + MINUTE);
            log.tick(start + 2 * MINUTE);
            log.on_accepted(start + 3 * MINUTE);
            log.finish();
            log.finish();
        });
        let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("DEBUG transaction "), "{lines:?}");
        assert_eq!(lines[1..], ["30 new transactions in the last minute", "1 new transaction since the last count"]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn an_event_is_one_line_of_its_level() {
        let failed = |millis| Event::DialFailed {
            address: "ws://localhost:4003".parse().unwrap(),
            error: "Connection refused".into(),
            retry_in: Some(Duration::from_millis(millis)),
        };
        let lines = crate::cli::logs::tests::logged(false, || {
            log(&Event::StoreFailed { error: "disk\nfull".into() });
            log(&Event::PeerLagging { peer: PeerName { node: None, address: "ws://localhost:4001".parse().ok() } });
            log(&failed(800));
            log(&failed(8_000));
        });
        let levels: Vec<_> = lines.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(levels, ["ERROR", "WARN", "ws://localhost:4003", "DEBUG"]);
    }
}
