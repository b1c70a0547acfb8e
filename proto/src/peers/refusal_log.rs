//! The log of refused connections: one line per address group and minute, with a count of the
//! suppressed ones.
//!
//! Admission and eviction report to it, and the node does for connections that the runtime refused.

use crate::causes::ConnectionRefusal;
use crate::context::Context;
use crate::event::Event;
use crate::ip_prefix::IpPrefix;
use crate::limits;
use crate::timers::Timer;
use crate::util::log_throttle::{LogThrottle, Throttle};

/// The address groups refused lately; `None` stands for this host.
#[derive(Debug)]
pub(crate) struct RefusalLog(LogThrottle<Option<IpPrefix>, ConnectionRefusal>);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(LogThrottle::new(limits::LOG_INTERVAL, limits::LOG_GROUPS))
    }
}

impl RefusalLog {
    /// Reports a refusal, or counts it if one of the same address group was reported lately.
    pub(crate) fn log(&mut self, cx: &mut Context, from: Option<IpPrefix>, reason: ConnectionRefusal) {
        match self.0.judge(cx.now, from, reason.clone()) {
            Throttle::Log { suppressed } => {
                cx.notify(Event::PeerRefused { from, reason, suppressed });
            }
            Throttle::Suppress | Throttle::NoRoom => self.schedule(cx),
        }
    }

    /// Handles the timer: reports the suppressed refusals.
    pub(crate) fn on_due(&mut self, cx: &mut Context) {
        for (from, count, reason) in self.0.take_due(cx.now) {
            // The line itself stands for one of them.
            cx.notify(Event::PeerRefused { from, reason, suppressed: count - 1 });
        }
        self.schedule(cx);
    }

    fn schedule(&self, cx: &mut Context) {
        if let Some(at) = self.0.next_due() {
            cx.timers.set(Timer::RefusalLog, at);
        }
    }
}

#[cfg(test)]
mod tests;
