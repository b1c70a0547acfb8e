//! The slots for accepted connections: a bound on all of them, and one per IP address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::address::Scope;
use meshpool_proto::limits::Limits;

/// How many connections are accepted beyond `inbound_links`. The core then decides which to close.
const SPARE: usize = 8;

/// The slots in use.
#[derive(Debug, Default)]
pub(crate) struct AcceptSlots(Mutex<InUse>);

#[derive(Debug, Default)]
struct InUse {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The slot of one accepted connection; freed when dropped.
#[derive(Debug)]
pub(crate) struct AcceptSlot {
    slots: Arc<AcceptSlots>,
    ip: IpAddr,
}

impl AcceptSlots {
    fn lock(&self) -> MutexGuard<'_, InUse> {
        // Both numbers are changed under the lock, without a call between that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot; `None` if all are in use, or all of this IP address. Loopback has no bound of
    /// its own.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<AcceptSlot> {
        let mut used = self.lock();
        let loopback = Scope::of(ip) == Scope::Loopback;
        let of_ip = used.by_ip.get(&ip).copied().unwrap_or(0);
        if used.total >= limits.inbound_links + SPARE || (!loopback && of_ip >= limits.inbound_per_ip) {
            return None;
        }
        used.total += 1;
        used.by_ip.insert(ip, of_ip + 1);
        Some(AcceptSlot { slots: Arc::clone(self), ip })
    }
}

impl Drop for AcceptSlot {
    fn drop(&mut self) {
        let mut used = self.slots.lock();
        used.total -= 1;
        if let Some(count) = used.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                used.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_by_number_and_address_and_freed() {
        let limits = Limits { inbound_links: 5, inbound_per_ip: 2, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: &str| slots.take(ip.parse().expect("an address"), &limits);
        let held = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none(), "two from one address");
        let local: Vec<_> = (0..3 + SPARE).map(|_| take("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some), "loopback is exempt");
        assert!(take("192.0.2.2").is_none(), "five in all, and the spare ones");
        drop(held);
        assert!(take("192.0.2.1").is_some());
        drop(local);
        assert!(slots.lock().by_ip.is_empty() && slots.lock().total == 0);
    }
}
