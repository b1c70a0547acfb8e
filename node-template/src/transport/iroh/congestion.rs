//! Congestion control of a path: CUBIC (RFC 9438), and a packet now and then while nothing moves.
//!
//! What was sent into a line that is cut fills the congestion window. The engine then sends nothing
//! more, not even acknowledgements, but for probes at ever longer intervals (RFC 9002, section
//! 6.2.1): a link notices late that its line is back, and two ends that wait for each other in this
//! way do not notice at all. So a path on which nothing was sent or acknowledged for a while may
//! send one packet beyond its window. Its acknowledgement shows what was lost, and starts the flow
//! again.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, RttEstimator};
use noq::congestion::CubicConfig;

/// How often a path that waits may send a packet. Both ends may have to wait for it, one after the
/// other, and a link has to notice within half a second that its line is back. Ten packets in a
/// second are a fifth of what a call sends (20 ms each, RFC 3551, section 4.2).
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Makes the congestion control of each path.
#[derive(Debug)]
pub(super) struct CubicWithProbes {
    cubic: Arc<CubicConfig>,
    /// A window that is never full.
    open: u64,
}

impl CubicWithProbes {
    /// `under_way`: how many bytes a connection may have sent that are not acknowledged.
    pub(super) fn new(under_way: u64) -> Self {
        // Each packet has a header, and some have been lost and sent again.
        Self { cubic: Arc::default(), open: 2 * under_way }
    }
}

impl ControllerFactory for CubicWithProbes {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::clone(&self.cubic).build(now, current_mtu);
        Box::new(WithProbes { cubic, open: self.open, moved: now })
    }
}

/// The congestion control of one path.
#[derive(Debug)]
struct WithProbes {
    cubic: Box<dyn Controller>,
    open: u64,
    /// When a packet was sent or acknowledged last.
    moved: Instant,
}

impl Controller for WithProbes {
    fn window(&self) -> u64 {
        let window = self.cubic.window();
        if self.moved.elapsed() >= PROBE_EVERY { window.max(self.open) } else { window }
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, pn: u64) {
        self.moved = now;
        self.cubic.on_packet_sent(now, bytes, pn);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool, rtt: &RttEstimator) {
        self.moved = now;
        self.cubic.on_ack(now, sent, bytes, pn, app_limited, rtt);
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), open: self.open, moved: self.moved })
    }

    // The rest is that of CUBIC.

    fn on_sent(&mut self, now: Instant, bytes: u64, largest_pn: u64) {
        self.cubic.on_sent(now, bytes, largest_pn);
    }

    fn on_cwnd_limited(&mut self) {
        self.cubic.on_cwnd_limited();
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        is_ecn: bool,
        lost_bytes: u64,
        largest_lost_pn: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, is_ecn, lost_bytes, largest_lost_pn);
    }

    fn on_packet_lost(&mut self, lost_bytes: u16, pn: u64, now: Instant) {
        self.cubic.on_packet_lost(lost_bytes, pn, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        self.cubic.on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn on_ack_frequency_update(&mut self, ack_eliciting_threshold: u64, requested_max_ack_delay: Duration) {
        self.cubic.on_ack_frequency_update(ack_eliciting_threshold, requested_max_ack_delay);
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: u64 = 2_000_000;

    #[test]
    fn a_path_on_which_nothing_moves_may_send_one_packet_beyond_its_window() {
        let now = Instant::now();
        let long_ago = now - PROBE_EVERY;
        let path = |moved| Arc::new(CubicWithProbes::new(OPEN / 2)).build(moved, 1200);
        assert_eq!(path(now).window(), path(now).initial_window(), "something was sent just now");
        let mut waits = path(long_ago);
        assert_eq!(waits.window(), OPEN);
        assert_eq!(waits.clone_box().window(), OPEN, "a path that moves to another address waits, too");
        waits.on_packet_sent(Instant::now(), 1200, 7);
        assert_eq!(waits.window(), waits.initial_window(), "that was the packet");
        assert!(path(long_ago).metrics().congestion_window < OPEN, "pacing follows CUBIC");
    }
}
