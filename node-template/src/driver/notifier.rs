//! Passes events to the log and to the application.

use std::time::Instant;

use meshpool_proto::event::Event;

use crate::events::log::EventLog;
use crate::events::sender::EventSender;

/// The two receivers of events.
pub(crate) struct Notifier {
    log: EventLog,
    application: EventSender,
    /// Whether the core reports single transactions. If not, they are counted here.
    transactions: bool,
}

impl Notifier {
    pub(crate) fn new(application: EventSender) -> Self {
        Self { log: EventLog::default(), application, transactions: true }
    }

    /// Checks whether any receiver wants single transactions. Returns whether the core is to report
    /// them.
    pub(crate) fn update_demand(&mut self) -> bool {
        self.transactions = self.application.wants_transactions() || EventLog::wants_transactions();
        self.transactions
    }

    /// Counts a transaction that was accepted and that the core does not report.
    pub(crate) fn on_accepted(&self) {
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

    /// Logs how many lines were suppressed.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.log.tick(now);
    }
}
