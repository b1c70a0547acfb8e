//! Passes events to the log and to the application.

use std::time::Instant;

use meshpool_proto::event::Event;

use crate::events::log::{EventLog, TransactionLines};
use crate::events::sender::EventSender;

/// The two receivers of events.
pub(crate) struct Notifier {
    log: EventLog,
    application: EventSender,
    /// Whether the core reports single transactions. If not, they are counted here.
    transactions: bool,
}

impl Notifier {
    pub(crate) fn new(application: EventSender, lines: TransactionLines) -> Self {
        Self { log: EventLog::new(lines), application, transactions: true }
    }

    /// Checks whether any receiver wants single transactions. Returns whether the core is to report
    /// them.
    pub(crate) fn update_demand(&mut self) -> bool {
        self.transactions = self.application.wants_transactions() || self.log.wants_transactions();
        self.transactions
    }

    /// Counts a transaction that was accepted, for the log, and for the application if the core does
    /// not report it.
    pub(crate) fn on_accepted(&mut self, now: Instant) {
        self.log.on_accepted(now);
        if !self.transactions {
            self.application.count_unsent(1);
        }
    }

    pub(crate) fn notify(&mut self, now: Instant, event: Event) {
        self.log.log(now, &event);
        self.application.send(event);
    }

    /// Sends the application the events of this round.
    pub(crate) fn end_round(&mut self) {
        self.application.flush();
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.log.deadline()
    }

    /// Logs the counts that are due.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.log.tick(now);
    }

    /// Logs the last counts.
    pub(crate) fn finish(&mut self) {
        self.log.finish();
    }
}
