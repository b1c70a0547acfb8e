//! The time in which this node is connected to no relay.
//!
//! The engine dials a relay again after pauses of up to 32 s, and has been seen not to come back at
//! all. So the relays are pinged meanwhile, as before their first use. If one answers and the
//! engine is still not connected, the endpoint is replaced. If none answers, the line of this node
//! is cut or all relays are gone: another endpoint would not help.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

/// The parts of an outage after which the relays are pinged again: a long one is noticed to be over
/// within a sixteenth of its length, at the latest after [`ASK_MOST`].
const ASK_PART: u32 = 16;
const ASK_MOST: Duration = Duration::from_secs(60);
/// How long a relay has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long the engine has to connect to a relay that answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The time from one replaced endpoint to the next in one outage: each is twice the one before. A
/// server of web pages answers pings, too.
const REPLACE_AFTER: Duration = Duration::from_secs(10);
const REPLACE_MOST: Duration = Duration::from_secs(600);

/// The present outage, if there is one.
#[derive(Debug)]
pub(super) struct Outage {
    /// After how long the relays are pinged for the first time, and again at least.
    ask_after: Duration,
    /// After how long its user is warned.
    warn_after: Duration,
    since: Option<Instant>,
    asked: Option<Instant>,
    warned: bool,
    /// Until when the endpoint is not replaced, and the time that follows.
    wait: Option<(Instant, Duration)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The relays are to be pinged.
    Ask,
    /// The user is to be warned, once in an outage.
    Warn,
    /// It is over, after this time, and the user was warned.
    Over(Duration),
}

impl Outage {
    /// `warn_after`: after how long the user is warned. The relays are pinged sooner: after that
    /// time in which another relay takes the place of the home relay.
    pub(super) fn new(warn_after: Duration) -> Self {
        Self { ask_after: warn_after / 6, warn_after, since: None, asked: None, warned: false, wait: None }
    }

    /// Notes whether a relay is connected, or none is known. Returns what is due.
    pub(super) fn look(&mut self, connected: bool, now: Instant) -> Due {
        if connected {
            let ended = std::mem::replace(self, Self::new(self.warn_after));
            let lasted = ended.since.map(|since| now.saturating_duration_since(since));
            return lasted.filter(|_| ended.warned).map_or(Due::Nothing, Due::Over);
        }
        let lasted = now.saturating_duration_since(*self.since.get_or_insert(now));
        if !self.warned && lasted >= self.warn_after {
            self.warned = true;
            return Due::Warn;
        }
        let pause = (lasted / ASK_PART).clamp(self.ask_after, ASK_MOST.max(self.ask_after));
        let is_due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= pause);
        if lasted >= self.ask_after && is_due {
            self.asked = Some(now);
            return Due::Ask;
        }
        Due::Nothing
    }

    /// Returns whether the endpoint may be replaced: a relay answers, and it is not connected.
    pub(super) fn replaces(&mut self, now: Instant) -> bool {
        if self.since.is_none() || self.wait.is_some_and(|(until, _)| now < until) {
            return false;
        }
        let wait = self.wait.map_or(REPLACE_AFTER, |(_, wait)| REPLACE_MOST.min(wait * 2));
        self.wait = Some((now + wait, wait));
        true
    }
}

/// Returns a relay that answers now, and still after the engine has had time to connect to it; the
/// first of several. `ask` pings a relay.
pub(super) async fn still_answering<F>(relays: Vec<SocketAddr>, ask: impl Fn(SocketAddr) -> F) -> Option<SocketAddr>
where
    F: Future<Output = io::Result<()>>,
{
    let ask = &ask;
    let answers = async |at| timeout(ANSWER_WITHIN, ask(at)).await.is_ok_and(|answer| answer.is_ok());
    let answers = &answers;
    let mut asked: FuturesUnordered<_> = relays
        .into_iter()
        .map(|at| async move {
            if !answers(at).await {
                return None;
            }
            sleep(CONNECT_WITHIN).await;
            answers(at).await.then_some(at)
        })
        .collect();
    while let Some(answer) = asked.next().await {
        if answer.is_some() {
            return answer;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn relays_are_pinged_again_after_a_part_of_the_outage_and_its_user_is_warned_once() {
        let (start, mut outage) = (Instant::now(), Outage::new(SECOND * 30));
        let mut asked = Vec::new();
        for second in 0..=1_200 {
            match outage.look(false, start + SECOND * second) {
                Due::Ask => asked.push(second),
                Due::Warn => assert_eq!(second, 30),
                due => assert_eq!(due, Due::Nothing, "after {second} s"),
            }
        }
        assert_eq!(asked[..5], [5, 10, 15, 20, 25], "the warning comes between");
        let pause = |after: u32| {
            let next = asked.iter().position(|second| *second > after).expect("asked later");
            asked[next] - asked[next - 1]
        };
        assert_eq!([pause(90), pause(320), pause(1_100)], [6, 22, 60]);
        assert_eq!(outage.look(true, start + SECOND * 1_201), Due::Over(SECOND * 1_201));
        assert_eq!(outage.look(true, start + SECOND * 1_202), Due::Nothing);
        let again = start + SECOND * 2_000;
        assert_eq!([0, 30].map(|after| outage.look(false, again + SECOND * after)), [Due::Nothing, Due::Warn]);
        assert_eq!(outage.look(true, again + SECOND * 31), Due::Over(SECOND * 31), "another one");
        assert_eq!(outage.look(false, again + SECOND * 40), Due::Nothing);
        assert_eq!(outage.look(true, again + SECOND * 45), Due::Nothing, "nobody was warned");
    }

    #[test]
    fn the_time_from_one_replaced_endpoint_to_the_next_doubles() {
        let (start, mut outage) = (Instant::now(), Outage::new(SECOND * 30));
        assert!(!outage.replaces(start), "a relay is connected");
        outage.look(false, start);
        let replaced: Vec<_> = (0..5_000).filter(|second| outage.replaces(start + SECOND * *second)).collect();
        assert_eq!(replaced, [0, 10, 30, 70, 150, 310, 630, 1_230, 1_830, 2_430, 3_030, 3_630, 4_230, 4_830]);
        outage.look(true, start);
        outage.look(false, start);
        assert!(outage.replaces(start), "another outage");
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_answers_if_it_still_does_after_a_while() {
        let at = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let asked = RefCell::new(Vec::new());
        let ask = async |relay: SocketAddr| {
            asked.borrow_mut().push(relay);
            match relay.port() {
                1 => pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                // It is about to end.
                3 if asked.borrow().iter().filter(|other| **other == relay).count() > 1 => {
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                _ => Ok(()),
            }
        };
        assert_eq!(still_answering(vec![at(1), at(2), at(3)], ask).await, None);
        assert_eq!(asked.borrow_mut().drain(..).count(), 4);
        let began = tokio::time::Instant::now();
        assert_eq!(still_answering(vec![at(1), at(2), at(3), at(4)], ask).await, Some(at(4)));
        assert_eq!((asked.borrow().len(), began.elapsed()), (6, CONNECT_WITHIN), "nobody waits for the silent one");
        assert_eq!(still_answering(Vec::new(), ask).await, None);
    }
}
