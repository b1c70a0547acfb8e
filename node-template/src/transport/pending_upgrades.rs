//! Connections that were accepted and have not finished their upgrade. They have a bounded pool of their own and hold nobody's place among the links: who is slow is in the
//! way of others that are slow.
//!
//! Under pressure the oldest goes first, of the address that has most: an upgrade takes a peer one round trip, so whoever floods this pool pushes out its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The half-open connections of a node.
#[derive(Debug, Default)]
pub(crate) struct HalfOpen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// In the order in which they came; the sender ends one.
    open: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    by_ip: HashMap<IpAddr, usize>,
    /// How many had to give way.
    displaced: u64,
}

/// One half-open connection; it leaves the pool when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    pool: Arc<HalfOpen>,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl HalfOpen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole before the lock is let go.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. If there are `most` already, another one gives way.
    pub(crate) fn enter(pool: &Arc<Self>, ip: IpAddr, most: usize) -> Entry {
        let mut inner = pool.lock();
        if inner.open.len() >= most {
            inner.displace();
        }
        let (end, ended) = oneshot::channel();
        inner.last += 1;
        let number = inner.last;
        inner.open.insert(number, (ip, end));
        *inner.by_ip.entry(ip).or_default() += 1;
        Entry { pool: Arc::clone(pool), number, ended }
    }
}

impl Inner {
    fn displace(&mut self) {
        let most = self.by_ip.values().copied().max();
        let of_most = |ip: &IpAddr| self.by_ip.get(ip).copied() == most;
        let oldest = self.open.iter().find(|(_, (ip, _))| of_most(ip)).map(|(number, _)| *number);
        if let Some(end) = oldest.and_then(|number| self.leave(number)) {
            self.displaced += 1;
            // It may have ended by itself a moment ago.
            end.send(()).unwrap_or_default();
        }
    }

    fn leave(&mut self, number: u64) -> Option<oneshot::Sender<()>> {
        let (ip, end) = self.open.remove(&number)?;
        if let Some(count) = self.by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&ip);
            }
        }
        Some(end)
    }
}

impl Entry {
    /// Ready when it has to give way to another. Cancel-safe.
    pub(crate) async fn displaced(&mut self) {
        // The sender lives for as long as this entry is in the pool: its end without a word is the same as a word.
        (&mut self.ended).await.unwrap_or_default();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pool.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn has_to_go(entry: &mut Entry) -> bool {
        entry.ended.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_of_whoever_has_most_gives_way() {
        let pool = Arc::<HalfOpen>::default();
        let enter = |last: u8| HalfOpen::enter(&pool, ip(last), 4);
        let mut one = enter(1);
        let mut flood = vec![enter(2), enter(2), enter(2)];
        flood.push(enter(2));
        assert!(
            has_to_go(&mut flood[0]) && !has_to_go(&mut one),
            "the flood pushes out its own, though another is older"
        );
        let mut other = enter(3);
        assert!(has_to_go(&mut flood[1]) && !has_to_go(&mut other) && !has_to_go(&mut one));
        assert_eq!(pool.lock().open.len(), 4);
        let mut equals = (4..8).map(enter).collect::<Vec<_>>();
        assert!(has_to_go(&mut one), "among equals the oldest goes");
        assert!(equals.iter_mut().all(|entry| !has_to_go(entry)));
        assert_eq!(pool.lock().displaced, 6);
        drop((one, flood, other, equals));
        let left = pool.lock();
        assert!(left.open.is_empty() && left.by_ip.is_empty());
    }
}
