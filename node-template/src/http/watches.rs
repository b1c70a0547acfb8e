//! The links whose frames somebody watches.
//!
//! Each request for the frames of a link is a lease. Viewers of one link share it, and when the
//! last lease has run out the link records HANDSHAKEs only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::http::limits::{WATCHED, WATCHED_FOR};
use crate::protocol::id::LinkId;
use crate::transport::frame_record::FrameRecord;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<BTreeMap<LinkId, Watch>>);

#[derive(Debug)]
struct Watch {
    /// It outlives the link for as long as somebody watches.
    record: Arc<FrameRecord>,
    until: Instant,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Watch>> {
        // Each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease of a link; `None` if there is none.
    pub(crate) fn renew(&self, link: LinkId, now: Instant) -> Option<Arc<FrameRecord>> {
        let mut watches = self.lock();
        let watch = watches.get_mut(&link)?;
        watch.until = now + WATCHED_FOR;
        Some(Arc::clone(&watch.record))
    }

    /// Begins a lease. Returns `false` if too many links are watched.
    pub(crate) fn begin(&self, link: LinkId, record: &Arc<FrameRecord>, now: Instant) -> bool {
        let mut watches = self.lock();
        if watches.len() >= WATCHED && !watches.contains_key(&link) {
            return false;
        }
        record.start();
        watches.insert(link, Watch { record: Arc::clone(record), until: now + WATCHED_FOR });
        true
    }

    /// Ends the leases that have run out.
    pub(crate) fn expire(&self, now: Instant) {
        self.lock().retain(|_, watch| {
            let goes_on = now < watch.until;
            if !goes_on {
                watch.record.stop();
            }
            goes_on
        });
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.lock().values().for_each(|watch| watch.record.stop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Arc<FrameRecord> {
        Arc::default()
    }

    #[test]
    fn a_link_records_until_the_last_lease_has_run_out() {
        let (watches, now) = (Watches::default(), Instant::now());
        let (one, other) = (record(), record());
        assert!(watches.renew(LinkId(1), now).is_none());
        assert!(watches.begin(LinkId(1), &one, now) && watches.begin(LinkId(2), &other, now));
        assert!(one.is_on() && other.is_on());
        assert!(watches.renew(LinkId(1), now + WATCHED_FOR / 2).is_some());
        watches.expire(now + WATCHED_FOR);
        assert!(one.is_on() && !other.is_on());
        assert!(watches.renew(LinkId(2), now).is_none());
        watches.expire(now + WATCHED_FOR * 2);
        assert!(!one.is_on());
    }

    #[test]
    fn links_are_watched_up_to_a_bound_and_none_once_the_server_has_gone() {
        let (watches, now) = (Watches::default(), Instant::now());
        let records: Vec<_> = (0..WATCHED as u64).map(|_| record()).collect();
        for (link, record) in (0..).zip(&records) {
            assert!(watches.begin(LinkId(link), record, now));
        }
        let late = record();
        assert!(!watches.begin(LinkId(99), &late, now) && !late.is_on());
        assert!(watches.begin(LinkId(3), &records[3], now), "it has its place");
        watches.expire(now + WATCHED_FOR);
        assert!(watches.begin(LinkId(99), &late, now) && late.is_on());
        drop(watches);
        assert!(!late.is_on());
    }
}
