//! The places for connections: who may hold one, and who gives way.
//!
//! A connection is *served* from its first request that passed all checks. Until then it is a
//! stranger's, and gives way to newer ones: the oldest of the address that has most. So a client
//! that only connects, or has no token, displaces only others like it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::http::client::Client;
use crate::http::limits::{CONNECTIONS, CONNECTIONS_FROM_AFAR, STRANGERS_OF_ONE};

/// How long a connection from this machine has before it gives way to another one from here.
const GRACE: Duration = Duration::from_secs(1);

/// The places of a server.
#[derive(Debug, Default)]
pub(crate) struct Places {
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// In the order of arrival.
    open: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    since: Instant,
    /// When the last request that passed all checks came.
    served: Option<Instant>,
    /// Whether the answer to it may take long, as a stream of events does.
    is_long: bool,
    end: oneshot::Sender<()>,
}

/// The place of one connection; freed when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    client: Client,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is complete before the lock is released.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, and returns what resolves when it has to be given up. A connection from this
    /// machine waits for one; another gets `None` if there is none.
    pub(crate) async fn take(self: &Arc<Self>, client: Client) -> Option<(Arc<Place>, oneshot::Receiver<()>)> {
        loop {
            let freed = self.freed.notified();
            if let Some((number, end)) = self.lock().take(client, Instant::now()) {
                return Some((Arc::new(Place { places: Arc::clone(self), number, client }), end));
            }
            if client != Client::Local {
                return None;
            }
            // After this time another may have to give way.
            tokio::time::timeout(GRACE, freed).await.unwrap_or_default();
        }
    }
}

impl Inner {
    fn take(&mut self, client: Client, now: Instant) -> Option<(u64, oneshot::Receiver<()>)> {
        let strangers = self.open.values().filter(|one| one.client == client && one.served.is_none()).count();
        let from_afar = self.open.values().filter(|one| one.client != Client::Local).count();
        let is_local = client == Client::Local;
        if !is_local && strangers >= STRANGERS_OF_ONE {
            self.end_oldest(|one| one.client == client && one.served.is_none());
        } else if self.open.len() >= CONNECTIONS || !is_local && from_afar >= CONNECTIONS_FROM_AFAR {
            let most = self.largest_stranger();
            let ended = most.is_some_and(|most| self.end_oldest(|one| one.client == most && one.served.is_none()))
                || is_local && self.end_oldest(|one| one.served.is_none() && now.duration_since(one.since) >= GRACE)
                || self.end_idle(client, now);
            if !ended {
                return None;
            }
        }
        let (end, ended) = oneshot::channel();
        self.last += 1;
        self.open.insert(self.last, Connection { client, since: now, served: None, is_long: false, end });
        Some((self.last, ended))
    }

    /// Returns the client beyond this machine that has most connections which were not served.
    fn largest_stranger(&self) -> Option<Client> {
        let mut counts = BTreeMap::<Client, usize>::new();
        for one in self.open.values().filter(|one| one.client != Client::Local && one.served.is_none()) {
            *counts.entry(one.client).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(client, _)| client)
    }

    /// Ends the connection that was idle for longest: of anybody for this machine, of its own for
    /// another.
    fn end_idle(&mut self, client: Client, now: Instant) -> bool {
        let idle =
            self.open.iter().filter(|(_, one)| !one.is_long && (client == Client::Local || one.client == client));
        let served = idle.filter_map(|(number, one)| Some((one.served?, *number)));
        match served.min() {
            Some((since, number)) if now.duration_since(since) >= GRACE => self.end(number),
            _ => false,
        }
    }

    fn end_oldest(&mut self, which: impl Fn(&Connection) -> bool) -> bool {
        match self.open.iter().find(|(_, one)| which(one)).map(|(number, _)| *number) {
            Some(number) => self.end(number),
            None => false,
        }
    }

    fn end(&mut self, number: u64) -> bool {
        let Some(ended) = self.open.remove(&number) else { return false };
        // It may have ended by itself a moment ago.
        ended.end.send(()).unwrap_or_default();
        true
    }
}

impl Place {
    /// Returns whose the connection is.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Notes a request that passed all checks. `is_long`: its answer may take long.
    pub(crate) fn serve(&self, is_long: bool) {
        if let Some(one) = self.places.lock().open.get_mut(&self.number) {
            (one.served, one.is_long) = (Some(Instant::now()), is_long);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.number);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(last: u8) -> Client {
        Client::of([192, 0, 2, last].into())
    }

    type Taken = (Arc<Place>, oneshot::Receiver<()>);

    async fn take(places: &Arc<Places>, client: Client) -> Taken {
        places.take(client).await.expect("a place")
    }

    fn has_to_go((_, ended): &mut Taken) -> bool {
        !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    fn staying(all: &mut [Taken]) -> usize {
        all.iter_mut().map(|one| usize::from(!has_to_go(one))).sum()
    }

    #[tokio::test]
    async fn a_stranger_displaces_its_own_and_takes_no_place_from_those_who_are_served() {
        let places = Arc::<Places>::default();
        let mut owner = take(&places, remote(1)).await;
        owner.0.serve(false);
        let mut flood = Vec::new();
        for _ in 0..10 * CONNECTIONS {
            flood.push(take(&places, remote(2)).await);
        }
        assert_eq!(staying(&mut flood), STRANGERS_OF_ONE);
        // Nor does one that is behind the owner's address.
        for _ in 0..10 * CONNECTIONS {
            flood.push(take(&places, remote(1)).await);
        }
        assert!(!has_to_go(&mut owner));
        let mut again = take(&places, remote(1)).await;
        again.0.serve(false);
        assert!(!has_to_go(&mut again) && !has_to_go(&mut owner));
    }

    #[tokio::test]
    async fn many_addresses_leave_places_for_this_machine_and_for_others() {
        let places = Arc::<Places>::default();
        let mut flood = Vec::new();
        for number in 0..2 * CONNECTIONS {
            flood.push(take(&places, remote(number as u8)).await);
        }
        assert_eq!(staying(&mut flood), CONNECTIONS_FROM_AFAR);
        let mut local = Vec::new();
        for _ in 0..CONNECTIONS {
            local.push(take(&places, Client::Local).await);
        }
        assert_eq!(staying(&mut local), CONNECTIONS, "this machine may have them all");
        assert_eq!(staying(&mut flood), 0);
        assert!(places.take(remote(1)).await.is_none(), "strangers do not displace this machine's");
        drop(local.pop());
        assert!(places.take(remote(1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn on_this_machine_silent_connections_give_way_after_a_second() {
        let places = Arc::<Places>::default();
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(take(&places, Client::Local).await);
        }
        for one in &open[1..] {
            one.0.serve(true);
        }
        let next = places.lock().take(Client::Local, Instant::now());
        assert!(next.is_none(), "it came only just now");
        let next = places.lock().take(Client::Local, Instant::now() + GRACE);
        assert!(next.is_some() && has_to_go(&mut open[0]));
        let next = places.lock().take(Client::Local, Instant::now());
        assert!(next.is_none(), "streams stay");
        drop(open.pop());
        assert!(places.take(Client::Local).await.is_some());
    }
}
