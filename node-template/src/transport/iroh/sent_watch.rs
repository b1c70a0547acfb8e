//! Detects an engine that sends nothing to any relay.
//!
//! The engine has one queue for the packets to all relays. A relay that refuses connections is
//! dialled again after up to 32 s, and meanwhile takes no packet. Once 64 wait for it, nothing goes
//! to any other relay either, until the engine gives that relay up after 60 to 92 s.

use std::time::{Duration, Instant};

/// How long nothing is sent although something should be. It is longer than the longest pause
/// between two packets of a dial within its 5 s (2 s), and than the interval of keep-alives (2 s).
const STALLED: Duration = Duration::from_secs(3);

/// What the engine has sent to relays.
#[derive(Debug, Default)]
pub(super) struct SentWatch {
    /// The bytes sent to all relays, at the last look.
    sent: u64,
    /// Since when nothing was sent although something should have been.
    since: Option<Instant>,
}

impl SentWatch {
    /// Takes how many bytes were sent to all relays, and whether a link or a dial needs one.
    /// Returns whether nothing was sent for [`STALLED`].
    pub(super) fn is_stalled(&mut self, sent: u64, is_needed: bool, now: Instant) -> bool {
        if !is_needed || sent != self.sent {
            (self.sent, self.since) = (sent, is_needed.then_some(now));
            return false;
        }
        now.saturating_duration_since(*self.since.get_or_insert(now)) >= STALLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_stalled_if_it_sends_nothing_for_a_while_although_it_should() {
        let (start, mut watch) = (Instant::now(), SentWatch::default());
        let mut look =
            |after: u64, sent, is_needed| watch.is_stalled(sent, is_needed, start + Duration::from_secs(after));
        assert!(!look(0, 7, true) && !look(2, 7, true), "not long enough");
        assert!(look(3, 7, true) && look(4, 7, true));
        assert!(!look(5, 8, true) && !look(7, 8, true), "something was sent");
        assert!(!look(8, 8, false) && !look(20, 8, true), "nothing was to be sent until now");
        assert!(!look(22, 8, true) && look(23, 8, true));
    }
}
