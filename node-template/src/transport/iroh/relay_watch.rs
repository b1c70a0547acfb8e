//! Detects a silent relay, before the links over it time out.
//!
//! The engine detects it after up to 20 s. Until then it has one send queue for all relays, and
//! packets to the silent one block those to the others. Both ends keep a path alive every 2 s, so a
//! relay over which nothing arrived for a while is pinged.
//!
//! A relay may answer pings and forward nothing, or the connection of this node to it may be dead.
//! Then the relay stays silent until it is pinged again, although it answered the first time.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

/// How long nothing arrives over a relay before it is pinged: longer than the interval of
/// keep-alives.
const QUIET: Duration = Duration::from_secs(3);
/// How long a relay has to answer. A relay that is started again within [`QUIET`] plus half of this
/// keeps its links.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a relay that is still silent is pinged again.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What arrived over each relay in use.
#[derive(Debug, Default)]
pub(super) struct RelayWatch(HashMap<SocketAddr, Heard>);

#[derive(Debug)]
struct Heard {
    /// How many packets had arrived over each connection at the last look.
    received: HashMap<usize, u64>,
    /// When the last one arrived.
    at: Instant,
    /// When the relay was pinged, since then.
    asked: Option<Instant>,
    /// Whether it answered, since then, and another one did too.
    answered: bool,
}

/// What pings show of a silent relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinged {
    /// It does not answer, and another one does.
    Gone,
    /// It answers, and another one does too.
    Both,
    /// No other one answers: the line of this node is cut, or there is no other relay.
    NoOther,
}

impl RelayWatch {
    /// Takes for each relayed connection its relay, its id, and how many packets have arrived.
    /// Returns the relays to ping: nothing arrived over them for [`QUIET`].
    pub(super) fn look(&mut self, relayed: Vec<(SocketAddr, usize, u64)>, now: Instant) -> Vec<SocketAddr> {
        let mut seen: HashMap<SocketAddr, HashMap<usize, u64>> = HashMap::new();
        for (relay, connection, received) in relayed {
            seen.entry(relay).or_default().insert(connection, received);
        }
        self.0.retain(|relay, _| seen.contains_key(relay));
        let mut silent = Vec::new();
        for (relay, received) in seen {
            let new = || Heard { received: HashMap::new(), at: now, asked: None, answered: false };
            let heard = self.0.entry(relay).or_insert_with(new);
            if received.iter().any(|(id, count)| heard.received.get(id).is_none_or(|before| count > before)) {
                (heard.at, heard.asked, heard.answered) = (now, None, false);
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

    /// Returns whether nothing arrived over a relay since it was pinged.
    pub(super) fn is_silent(&self, relay: SocketAddr) -> bool {
        self.0.get(&relay).is_some_and(|heard| heard.asked.is_some())
    }

    /// Notes that a silent relay answered a ping. Returns whether it did so at the ping before, and
    /// nothing arrived over it since.
    pub(super) fn answers_again(&mut self, relay: SocketAddr) -> bool {
        self.0.get_mut(&relay).is_some_and(|heard| std::mem::replace(&mut heard.answered, true))
    }

    /// Returns the relays in use.
    pub(super) fn relays(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.keys().copied()
    }
}

/// Pings a silent relay and these others. If no other answers, the node's own line is cut, and
/// another relay would not help. `ask` pings a relay.
pub(super) async fn ping_all<F>(relay: SocketAddr, others: HashSet<SocketAddr>, ask: impl Fn(SocketAddr) -> F) -> Pinged
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
                return;
            }
        }
        pending().await
    };
    tokio::pin!(answers);
    let other_answers = timeout(ANSWER_WITHIN, other_answers);
    tokio::pin!(other_answers);
    tokio::select! {
        () = &mut answers => match other_answers.await {
            Ok(()) => Pinged::Both,
            Err(_) => Pinged::NoOther,
        },
        other = &mut other_answers => match other {
            Err(_) => Pinged::NoOther,
            // The line may just have come back: then it answers soon, too.
            Ok(()) if timeout(ANSWER_WITHIN, answers).await.is_ok() => Pinged::Both,
            Ok(()) => Pinged::Gone,
        },
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

    #[test]
    fn a_relay_that_stays_silent_although_it_answers_is_noticed_at_the_second_ping() {
        let (start, mut watch, one) = (Instant::now(), RelayWatch::default(), at("192.0.2.1:1"));
        let look = |watch: &mut RelayWatch, after: u64, received| {
            watch.look(vec![(one, 1, received)], start + Duration::from_secs(after))
        };
        assert!(!watch.answers_again(one), "it is not in use");
        assert_eq!((look(&mut watch, 0, 5), look(&mut watch, 3, 5)), (vec![], vec![one]));
        assert!(!watch.answers_again(one), "for the first time");
        assert_eq!(look(&mut watch, 8, 5), [one]);
        assert!(watch.answers_again(one));
        assert_eq!((look(&mut watch, 9, 6), look(&mut watch, 12, 6)), (vec![], vec![one]));
        assert!(!watch.answers_again(one), "something arrived meanwhile");
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
            (silent, vec![answers], Pinged::Gone),
            (silent, vec![refuses, silent, answers], Pinged::Gone),
            (refuses, vec![answers], Pinged::Gone),
            (answers, vec![answers], Pinged::Both),
            (answers, vec![refuses], Pinged::NoOther),
            (silent, vec![silent], Pinged::NoOther),
            (refuses, vec![refuses, silent], Pinged::NoOther),
            (silent, vec![], Pinged::NoOther),
            (one, vec![two], Pinged::NoOther),
            (two, vec![one], Pinged::Both),
            (silent, vec![one], Pinged::Gone),
        ] {
            assert_eq!(ping_all(relay, others.iter().copied().collect(), ask).await, expected, "{relay} {others:?}");
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
        assert_eq!(ping_all(starting, HashSet::from([other]), ask).await, Pinged::Both);
    }
}
