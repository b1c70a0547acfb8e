//! Back-pressure: while a link to a peer has much waiting, what clients hand in is not read, and TCP slows them down.
//!
//! Without it a burst fills every queue, and a full queue costs more than waiting would: what did not fit has to be found missing and fetched. Peers are always
//! read, so two nodes can not wait for each other. And a slow peer may hold nobody up for long: a link holds only while it takes something, at most for
//! [`AT_MOST`] in a row, and one that used all of that holds nobody again for [`REST`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::protocol::id::LinkId;

/// How long one link may hold clients up in a row.
const AT_MOST: Duration = Duration::from_secs(1);
/// How long a link that takes nothing may.
const UNMOVED: Duration = Duration::from_millis(200);
/// How long a link that was not relieved in time holds nobody.
const REST: Duration = Duration::from_secs(10);

/// Which links hold clients up; shared by all links of a node.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Whether the map is not empty: what every client's link looks at before it reads.
    held: AtomicBool,
    links: Mutex<BTreeMap<LinkId, Hold>>,
    relieved: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    /// When this link has held for as long as it may …
    until: Instant,
    /// … or earlier, when it has taken nothing for a while.
    moved: Instant,
    /// It was not relieved in time, and rests.
    resting: bool,
}

impl Hold {
    fn end(&self) -> Instant {
        self.until.min(self.moved + UNMOVED)
    }
}

impl Pressure {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Hold>> {
        // Each change is one insertion or removal: the map is whole at every moment.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link has much waiting.
    pub(crate) fn hold(&self, link: LinkId, now: Instant) {
        let mut links = self.lock();
        links.retain(|_, hold| !hold.resting || hold.until + REST > now);
        links.entry(link).or_insert(Hold { until: now + AT_MOST, moved: now, resting: false });
        self.note(&links);
    }

    /// A link that holds took something.
    pub(crate) fn moved(&self, link: LinkId, now: Instant) {
        if let Some(hold) = self.lock().get_mut(&link) {
            hold.moved = now;
        }
    }

    /// A link has little waiting again, or is gone.
    pub(crate) fn relieve(&self, link: LinkId) {
        let mut links = self.lock();
        if links.get(&link).is_some_and(|hold| !hold.resting) {
            links.remove(&link);
            self.note(&links);
        }
    }

    fn note(&self, links: &BTreeMap<LinkId, Hold>) {
        let held = links.values().any(|hold| !hold.resting);
        self.held.store(held, Ordering::Relaxed);
        if !held {
            self.relieved.notify_waiters();
        }
    }

    /// Whether clients may be held up just now.
    pub(crate) fn is_high(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Until when clients are held up at most.
    fn until(&self, now: Instant) -> Option<Instant> {
        let mut links = self.lock();
        for hold in links.values_mut().filter(|hold| !hold.resting && hold.end() <= now) {
            *hold = Hold { until: now, resting: true, ..*hold };
        }
        self.note(&links);
        links.values().filter(|hold| !hold.resting).map(Hold::end).max()
    }

    /// Waits until nothing holds clients up. Cancel-safe.
    pub(crate) async fn low(self: Arc<Self>) {
        loop {
            let mut relieved = std::pin::pin!(self.relieved.notified());
            // From here on a notification counts, so none is lost between the look and the wait.
            relieved.as_mut().enable();
            let Some(until) = self.until(Instant::now()) else { return };
            tokio::select! {
                () = relieved => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: LinkId = LinkId(1);

    async fn waited(pressure: &Arc<Pressure>) -> Duration {
        let start = Instant::now();
        Arc::clone(pressure).low().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_takes_nothing_holds_nobody_for_long_and_then_rests() {
        let pressure = Arc::<Pressure>::default();
        assert_eq!(waited(&pressure).await, Duration::ZERO);
        pressure.hold(SLOW, Instant::now());
        assert!(pressure.is_high());
        assert_eq!(waited(&pressure).await, UNMOVED);
        pressure.relieve(SLOW);
        pressure.hold(SLOW, Instant::now());
        assert_eq!(waited(&pressure).await, Duration::ZERO, "it rests");
        tokio::time::sleep(REST).await;
        pressure.hold(SLOW, Instant::now());
        assert_eq!(waited(&pressure).await, UNMOVED, "it may again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_goes_on_taking_holds_no_longer_than_it_may() {
        let pressure = Arc::<Pressure>::default();
        pressure.hold(SLOW, Instant::now());
        let moving = tokio::spawn({
            let pressure = Arc::clone(&pressure);
            async move {
                loop {
                    tokio::time::sleep(UNMOVED / 2).await;
                    pressure.moved(SLOW, Instant::now());
                }
            }
        });
        assert_eq!(waited(&pressure).await, AT_MOST);
        moving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn relief_ends_the_wait_once_no_link_holds() {
        let pressure = Arc::<Pressure>::default();
        pressure.hold(SLOW, Instant::now());
        pressure.hold(LinkId(2), Instant::now());
        let waiting = tokio::spawn({
            let pressure = Arc::clone(&pressure);
            async move { waited(&pressure).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        pressure.relieve(SLOW);
        tokio::time::sleep(Duration::from_millis(10)).await;
        pressure.relieve(LinkId(2));
        assert_eq!(waiting.await.expect("no panic"), Duration::from_millis(20));
    }
}
