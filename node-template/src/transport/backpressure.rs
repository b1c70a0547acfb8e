//! Backpressure: while much waits on a link to a peer, links of clients are not read, and TCP slows
//! the clients down.
//!
//! Otherwise a burst fills every queue, and a full queue costs more than waiting: what did not fit
//! has to be found missing and fetched. Peers are always read, so two nodes cannot block each
//! other.
//!
//! A client that sends little is read all the same: it is not the cause, and what fills the queues
//! may come from peers (`ClientPace`).
//!
//! A slow peer throttles clients for a bounded time:
//!
//! | rule | value |
//! |---|---|
//! | a link throttles only while it takes bytes, otherwise for | [`STALLED`] |
//! | and in any case for at most | [`MAX`] |
//! | after that it does not throttle for | [`PAUSE`] |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshpool_proto::id::LinkId;
use meshpool_proto::limits::UNIT_BYTES;
use meshpool_proto::util::rate_limit::RateLimit;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long one link may throttle clients without a break.
const MAX: Duration = Duration::from_secs(1);
/// How long a link that takes no bytes may.
const STALLED: Duration = Duration::from_millis(200);
/// How long a link that used all of its time does not throttle again.
const PAUSE: Duration = Duration::from_secs(10);
/// A client is not throttled while it sends no more than one message in this interval …
const LITTLE_EVERY: Duration = Duration::from_millis(2);
/// … after this many at once.
const LITTLE_AT_ONCE: u32 = 100;

/// The links that throttle clients; shared by all links of a node.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    /// Whether any link throttles: every client's link checks this before it reads.
    active: AtomicBool,
    links: Mutex<BTreeMap<LinkId, Hold>>,
    released: Notify,
}

/// A link that throttles, or that used all of its time.
#[derive(Debug, Clone, Copy)]
struct Hold {
    /// The end of the link's time; it ends earlier if the link stalls.
    until: Instant,
    /// When the link took bytes last.
    progress: Instant,
    /// Whether the time is used up. The link does not throttle until [`PAUSE`] is over.
    paused: bool,
}

impl Hold {
    fn end(&self) -> Instant {
        self.until.min(self.progress + STALLED)
    }
}

impl Backpressure {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Hold>> {
        // Each change is one insertion or removal, so the map is valid at every moment.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a link throttle: much waits on it.
    pub(crate) fn hold(&self, link: LinkId, now: Instant) {
        let mut links = self.lock();
        links.retain(|_, hold| !hold.paused || hold.until + PAUSE > now);
        links.entry(link).or_insert(Hold { until: now + MAX, progress: now, paused: false });
        self.update(&links);
    }

    /// A link that throttles took bytes.
    pub(crate) fn progress(&self, link: LinkId, now: Instant) {
        if let Some(hold) = self.lock().get_mut(&link) {
            hold.progress = now;
        }
    }

    /// Ends a link's throttling: little waits on it, or it is gone.
    pub(crate) fn release(&self, link: LinkId) {
        let mut links = self.lock();
        if links.get(&link).is_some_and(|hold| !hold.paused) {
            links.remove(&link);
            self.update(&links);
        }
    }

    fn update(&self, links: &BTreeMap<LinkId, Hold>) {
        let active = links.values().any(|hold| !hold.paused);
        self.active.store(active, Ordering::Relaxed);
        if !active {
            self.released.notify_waiters();
        }
    }

    /// Whether clients are throttled now.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// The latest end of the throttling; `None` if no link throttles.
    fn until(&self, now: Instant) -> Option<Instant> {
        let mut links = self.lock();
        for hold in links.values_mut().filter(|hold| !hold.paused && hold.end() <= now) {
            *hold = Hold { until: now, paused: true, ..*hold };
        }
        self.update(&links);
        links.values().filter(|hold| !hold.paused).map(Hold::end).max()
    }

    /// Waits until no link throttles. Cancel-safe.
    pub(crate) async fn wait_for_release(self: Arc<Self>) {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // From here on a notification counts, so none is lost between the check and the wait.
            released.as_mut().enable();
            let Some(until) = self.until(Instant::now()) else { return };
            tokio::select! {
                () = released => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// How much one client sends.
#[derive(Debug, Default)]
pub(crate) struct ClientPace {
    sent: RateLimit,
    /// When it has sent little again.
    little_at: Option<Instant>,
}

impl ClientPace {
    /// Counts messages that were read, of so many bytes together.
    pub(crate) fn count(&mut self, now: Instant, messages: usize, bytes: usize) {
        let units = messages.max(bytes / UNIT_BYTES).try_into().unwrap_or(u32::MAX);
        let little_at = self.sent.reserve(now.into_std(), LITTLE_EVERY * units, LITTLE_EVERY * LITTLE_AT_ONCE);
        self.little_at = Some(little_at.into());
    }

    /// Returns how long it is from now until the client has sent little; zero if it has.
    pub(crate) fn excess(&self, now: Instant) -> Duration {
        self.little_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: LinkId = LinkId(1);

    async fn waited(backpressure: &Arc<Backpressure>) -> Duration {
        let start = Instant::now();
        Arc::clone(backpressure).wait_for_release().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_stalls_throttles_for_a_moment_and_then_pauses() {
        let backpressure = Arc::<Backpressure>::default();
        assert_eq!(waited(&backpressure).await, Duration::ZERO);
        backpressure.hold(SLOW, Instant::now());
        assert!(backpressure.is_active());
        assert_eq!(waited(&backpressure).await, STALLED);
        backpressure.release(SLOW);
        backpressure.hold(SLOW, Instant::now());
        assert_eq!(waited(&backpressure).await, Duration::ZERO, "it pauses");
        tokio::time::sleep(PAUSE).await;
        backpressure.hold(SLOW, Instant::now());
        assert_eq!(waited(&backpressure).await, STALLED, "it may again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_makes_progress_throttles_no_longer_than_it_may() {
        let backpressure = Arc::<Backpressure>::default();
        backpressure.hold(SLOW, Instant::now());
        let moving = tokio::spawn({
            let backpressure = Arc::clone(&backpressure);
            async move {
                loop {
                    tokio::time::sleep(STALLED / 2).await;
                    backpressure.progress(SLOW, Instant::now());
                }
            }
        });
        assert_eq!(waited(&backpressure).await, MAX);
        moving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_ends_the_wait_once_no_link_throttles() {
        let backpressure = Arc::<Backpressure>::default();
        backpressure.hold(SLOW, Instant::now());
        backpressure.hold(LinkId(2), Instant::now());
        let waiting = tokio::spawn({
            let backpressure = Arc::clone(&backpressure);
            async move { waited(&backpressure).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        backpressure.release(SLOW);
        tokio::time::sleep(Duration::from_millis(10)).await;
        backpressure.release(LinkId(2));
        assert_eq!(waiting.await.expect("no panic"), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_little_has_no_excess_and_one_that_sends_much_has() {
        let mut pace = ClientPace::default();
        assert!(pace.excess(Instant::now()).is_zero(), "nothing yet");
        for _ in 0..1_000 {
            pace.count(Instant::now(), 1, 200);
            assert!(pace.excess(Instant::now()).is_zero(), "one in each interval");
            tokio::time::sleep(LITTLE_EVERY).await;
        }
        pace.count(Instant::now(), LITTLE_AT_ONCE as usize, 0);
        assert!(pace.excess(Instant::now()).is_zero(), "the burst");
        pace.count(Instant::now(), 5, 0);
        assert_eq!(pace.excess(Instant::now()), 5 * LITTLE_EVERY);
        pace.count(Instant::now(), 1, 20 * UNIT_BYTES);
        assert_eq!(pace.excess(Instant::now()), 25 * LITTLE_EVERY, "a large one counts by its bytes");
        tokio::time::sleep(25 * LITTLE_EVERY).await;
        assert!(pace.excess(Instant::now()).is_zero());
    }
}
