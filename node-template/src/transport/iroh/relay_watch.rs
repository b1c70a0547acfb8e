//! Notices that a relay has fallen silent, before the links over it end for that.
//!
//! The engine notices after 20 s. Until then it has one queue for the packets to all relays: those
//! to the silent one, which takes none any more, hold up those to the others. A path is kept alive
//! every 2 s by both ends, so a relay over which nothing came for a while is asked whether it is
//! there.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use iroh::TransportAddr;
use iroh::endpoint::{Connection, VarInt};
use tokio::time::{sleep, timeout};

use crate::transport::iroh::relay_url;

/// How long nothing comes over a relay before it is asked: both ends missed one packet that keeps
/// their path alive, and more.
const QUIET: Duration = Duration::from_secs(3);
/// How long a relay has to answer. With [`QUIET`] it has the time of a restart.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a relay that is still silent is asked again.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The connections that have an open stream.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<usize, Connection>>);

/// Has a connection among the open ones for as long as it lives.
#[derive(Debug)]
pub(super) struct Open {
    connections: Arc<Connections>,
    id: usize,
}

impl Connections {
    fn all(&self) -> MutexGuard<'_, HashMap<usize, Connection>> {
        // Each change leaves it in order.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(self: &Arc<Self>, connection: &Connection) -> Open {
        let id = connection.stable_id();
        self.all().insert(id, connection.clone());
        Open { connections: Arc::clone(self), id }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Returns those whose packets go over a relay: their numbers, and how many packets came.
    pub(super) fn relayed(&self) -> Vec<(SocketAddr, usize, u64)> {
        let received = |(id, connection): (&usize, &Connection)| {
            let (relay, received) = over_relay(connection)?;
            Some((relay, *id, received))
        };
        self.all().iter().filter_map(received).collect()
    }

    /// Ends those over a relay. Returns how many there were.
    pub(super) fn close_over(&self, relay: SocketAddr) -> usize {
        let all: Vec<_> = self.all().values().cloned().collect();
        let over = all.iter().filter(|connection| over_relay(connection).is_some_and(|(at, _)| at == relay));
        over.map(|connection| connection.close(VarInt::from_u32(0), b"the relay is silent")).count()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.all().remove(&self.id);
    }
}

/// Returns the relay of the path in use, and how many packets came over it.
fn over_relay(connection: &Connection) -> Option<(SocketAddr, u64)> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected())?;
    match path.remote_addr() {
        TransportAddr::Relay(url) => Some((relay_url::at(url)?, path.stats().udp_rx.datagrams)),
        _ => None,
    }
}

/// What came over each relay in use.
#[derive(Debug, Default)]
pub(super) struct RelayWatch(HashMap<SocketAddr, Heard>);

#[derive(Debug)]
struct Heard {
    /// How many packets had come over each connection at the last look.
    received: HashMap<usize, u64>,
    /// When one came last.
    at: Instant,
    /// When the relay was asked, since then.
    asked: Option<Instant>,
}

impl RelayWatch {
    /// Takes how many packets have come over each connection and its relay. Returns the relays to
    /// ask: nothing came over them for a while.
    pub(super) fn look(&mut self, relayed: Vec<(SocketAddr, usize, u64)>, now: Instant) -> Vec<SocketAddr> {
        let mut seen: HashMap<SocketAddr, HashMap<usize, u64>> = HashMap::new();
        for (relay, connection, received) in relayed {
            seen.entry(relay).or_default().insert(connection, received);
        }
        self.0.retain(|relay, _| seen.contains_key(relay));
        let mut silent = Vec::new();
        for (relay, received) in seen {
            let heard = self.0.entry(relay).or_insert_with(|| Heard { received: HashMap::new(), at: now, asked: None });
            if received.iter().any(|(id, count)| heard.received.get(id).is_none_or(|before| count > before)) {
                heard.at = now;
                heard.asked = None;
            }
            heard.received = received;
            let is_due = heard.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
            if is_due && now.saturating_duration_since(heard.at) >= QUIET {
                heard.asked = Some(now);
                silent.push(relay);
            }
        }
        silent
    }

    /// Returns whether nothing came over a relay since it was asked.
    pub(super) fn is_silent(&self, relay: SocketAddr) -> bool {
        self.0.get(&relay).is_some_and(|heard| heard.asked.is_some())
    }

    /// Returns the relays in use.
    pub(super) fn relays(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.keys().copied()
    }
}

/// Returns whether a relay does not answer although one of these others does. If none does, the
/// node's own line is cut: nothing would be won by another relay. `ask` asks one.
pub(super) async fn is_gone<F>(relay: SocketAddr, others: HashSet<SocketAddr>, ask: impl Fn(SocketAddr) -> F) -> bool
where
    F: Future<Output = io::Result<()>>,
{
    let answers = async {
        if ask(relay).await.is_err() {
            // It may be about to start.
            sleep(ANSWER_WITHIN / 2).await;
            if ask(relay).await.is_err() {
                pending::<()>().await;
            }
        }
    };
    let other_answers = async {
        let mut asked: FuturesUnordered<_> = others.into_iter().map(&ask).collect();
        while let Some(answer) = asked.next().await {
            if answer.is_ok() {
                return true;
            }
        }
        false
    };
    tokio::pin!(answers);
    tokio::select! {
        () = &mut answers => false,
        // The line may just have come back: then it answers soon, too.
        other = timeout(ANSWER_WITHIN, other_answers) => {
            other == Ok(true) && timeout(ANSWER_WITHIN, answers).await.is_err()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_relay_over_which_nothing_came_for_a_while_is_asked_and_asked_again_later() {
        let (start, mut watch) = (Instant::now(), RelayWatch::default());
        let (one, two) = (at("192.0.2.1:1"), at("198.51.100.1:1"));
        let mut look = |after: u64, relayed: &[(SocketAddr, usize, u64)]| {
            watch.look(relayed.to_vec(), start + Duration::from_secs(after))
        };
        assert_eq!(look(0, &[(one, 1, 5), (two, 2, 5)]), []);
        assert_eq!(look(2, &[(one, 1, 5), (two, 2, 6)]), [], "not long enough");
        assert_eq!(look(3, &[(one, 1, 5), (two, 2, 6)]), [one]);
        assert_eq!(look(4, &[(one, 1, 5), (two, 2, 7)]), [], "it has been asked");
        assert_eq!(look(8, &[(one, 1, 5), (two, 2, 8)]), [one], "it is still silent");
        assert_eq!(look(9, &[(one, 1, 6), (two, 2, 9)]), [], "it is back");
        assert_eq!(look(12, &[(one, 1, 6), (one, 3, 1)]), [], "a new connection came about over it");
        assert_eq!(look(15, &[(one, 1, 6)]), [one], "the end of one is no sign of life");
        assert!(watch.is_silent(one) && !watch.is_silent(two));
        assert_eq!(watch.relays().collect::<Vec<_>>(), [one]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_is_gone_if_it_does_not_answer_while_another_does() {
        let (answers, refuses, silent) = (at("192.0.2.1:1"), at("192.0.2.2:1"), at("192.0.2.3:1"));
        // The line of the node was cut.
        let (one, two) = (at("192.0.2.4:1"), at("192.0.2.5:1"));
        let ask = async |relay| match relay {
            _ if relay == answers => Ok(()),
            _ if relay == refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            _ if relay == silent => pending().await,
            _ => {
                sleep(if relay == one { ANSWER_WITHIN * 3 / 4 } else { ANSWER_WITHIN * 5 / 4 }).await;
                Ok(())
            }
        };
        for (relay, others, expected) in [
            (silent, vec![answers], true),
            (silent, vec![refuses, silent, answers], true),
            (refuses, vec![answers], true),
            (answers, vec![answers], false),
            (answers, vec![refuses], false),
            (silent, vec![silent], false),
            (refuses, vec![refuses, silent], false),
            (silent, vec![], false),
            (one, vec![two], false),
            (two, vec![one], false),
            (silent, vec![one], true),
        ] {
            assert_eq!(is_gone(relay, others.iter().copied().collect(), ask).await, expected, "{relay} {others:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_starts_again_within_a_second_is_not_gone() {
        let began = tokio::time::Instant::now();
        let (starting, other) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        let ask = async |relay| match relay == other || began.elapsed() >= ANSWER_WITHIN / 2 {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        assert!(!is_gone(starting, HashSet::from([other]), ask).await);
    }
}
