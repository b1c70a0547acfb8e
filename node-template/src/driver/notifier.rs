//! Passes events to the log and to the application.

use std::time::Instant;

use meshpool_proto::event::Event;

use crate::driver::alone::{Alone, Line};
use crate::events::first::FirstEvents;
use crate::events::log::{EventLog, TransactionLines};
use crate::events::sender::EventSender;

/// The receivers of events: the log, the application, and those who ask later how it began.
pub(crate) struct Notifier {
    log: EventLog,
    application: EventSender,
    first: FirstEvents,
    alone: Alone,
    /// Whether the core reports single transactions. If not, they are counted here.
    transactions: bool,
}

impl Notifier {
    pub(crate) fn new((application, first): (EventSender, FirstEvents), lines: TransactionLines, alone: Alone) -> Self {
        Self { log: EventLog::new(lines), application, first, alone, transactions: true }
    }

    /// Checks whether any receiver wants single transactions. Returns whether the core is to report
    /// them.
    pub(crate) fn update_demand(&mut self) -> bool {
        self.transactions = self.application.wants_transactions() || self.log.wants_transactions();
        self.transactions
    }

    /// Counts a transaction that was accepted, for the log, and for the application if the core
    /// does not report it.
    pub(crate) fn on_accepted(&mut self, now: Instant) {
        self.log.on_accepted(now);
        if !self.transactions {
            self.application.count_unsent(1);
        }
    }

    pub(crate) fn notify(&mut self, now: Instant, event: Event) {
        let peers = match &event {
            Event::PeerUp { peers, .. } | Event::PeerDown { peers, .. } => Some(*peers),
            _ => None,
        };
        self.log.log(now, &event);
        self.first.record(&event);
        self.application.send(event);
        if let Some(line) = peers.and_then(|peers| self.alone.on_peers(now, peers)) {
            self.report(now, line);
        }
    }

    fn report(&mut self, now: Instant, line: Line) {
        match line {
            Line::Warn(text) => self.notify(now, Event::Warning { text }),
            Line::Info(text) => tracing::info!("{text}"),
        }
    }

    /// Returns for how long no peer has been linked, in seconds; `None` if one is.
    pub(crate) fn alone_seconds(&self, now: Instant) -> Option<u64> {
        self.alone.seconds(now)
    }

    /// Sends the application the events of this round.
    pub(crate) fn end_round(&mut self) {
        self.application.flush();
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.log.deadline(), self.alone.deadline()].into_iter().flatten().min()
    }

    /// Logs the counts that are due, and that the node is alone.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.log.tick(now);
        if let Some(line) = self.alone.tick(now) {
            self.report(now, line);
        }
    }

    /// Logs the last counts.
    pub(crate) fn finish(&mut self) {
        self.log.finish();
    }
}
