//! Connects to the first of several IP addresses that answers (Happy Eyeballs, RFC 8305).
//!
//! A name may stand for addresses that swallow every packet: an AAAA record without a route, a host
//! that is switched off. The system reports such an address after minutes, so none is waited for.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long an attempt is alone before the next address is tried as well (RFC 8305, section 5:
/// Connection Attempt Delay). One that fails is followed at once.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried. A name is a stranger's choice, and so is their number.
const ADDRESSES: usize = 16;

/// Connects to the addresses one after the other, families in turn, and returns the first that
/// succeeds. The other attempts are dropped.
///
/// # Errors
/// The error of an attempt, if all fail. `NotFound` without an address.
pub(crate) async fn race<C, A>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> A) -> io::Result<C>
where
    A: Future<Output = io::Result<C>>,
{
    let mut race = Race {
        waiting: interleave(addresses).into_iter().take(ADDRESSES).collect::<Vec<_>>().into_iter(),
        running: Vec::new(),
        next: Box::pin(tokio::time::sleep(Duration::ZERO)),
        failed: None,
    };
    poll_fn(|cx| race.poll(cx, &connect)).await
}

/// Orders addresses so that the families alternate, beginning with that of the first (RFC 8305,
/// section 4). Within a family the resolver's order stays.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let total = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(total);
    while ordered.len() < total {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

struct Race<A> {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Pin<Box<A>>>,
    /// When the next address is tried.
    next: Pin<Box<Sleep>>,
    failed: Option<io::Error>,
}

impl<A: Future<Output = io::Result<C>>, C> Race<A> {
    fn poll(&mut self, cx: &mut Context<'_>, connect: impl Fn(SocketAddr) -> A) -> Poll<io::Result<C>> {
        loop {
            let mut at = 0;
            let mut failed = false;
            while at < self.running.len() {
                match self.running[at].as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(connection)) => return Poll::Ready(Ok(connection)),
                    Poll::Ready(Err(error)) => {
                        self.running.remove(at);
                        self.fail(error);
                        failed = true;
                    }
                }
            }
            if self.waiting.as_slice().is_empty() {
                if !self.running.is_empty() {
                    return Poll::Pending;
                }
                let none = || io::Error::new(io::ErrorKind::NotFound, "its name stands for no address");
                return Poll::Ready(Err(self.failed.take().unwrap_or_else(none)));
            }
            if !failed && !self.running.is_empty() {
                ready!(self.next.as_mut().poll(cx));
            }
            self.running.extend(self.waiting.next().map(|address| Box::pin(connect(address))));
            self.next.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
        }
    }

    /// Keeps the error that explains most: on a host without IPv6 every AAAA address is
    /// unreachable.
    fn fail(&mut self, error: io::Error) {
        use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
        let says_little = matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable);
        if self.failed.is_none() || !says_little {
            self.failed = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// Races addresses whose ports say what happens: 1 swallows packets, 2 refuses, 3 answers.
    /// Returns the outcome, what was tried, and the milliseconds it took.
    async fn raced(texts: &[&str]) -> (io::Result<SocketAddr>, Vec<SocketAddr>, u128) {
        let (tried, start) = (RefCell::new(Vec::new()), Instant::now());
        let outcome = race(all(texts), async |address| {
            tried.borrow_mut().push(address);
            match address.port() {
                1 => pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                3 => Ok(address),
                _ => Err(io::ErrorKind::NetworkUnreachable.into()),
            }
        })
        .await;
        (outcome, tried.into_inner(), start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_answers_wins() {
        for (addresses, tried, milliseconds) in [
            (&["192.0.2.1:3", "192.0.2.2:3"][..], 1, 0),
            (&["192.0.2.1:1", "192.0.2.2:3"], 2, 250),
            (&["[2001:db8::1]:1", "192.0.2.2:3"], 2, 250),
            (&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:3"], 4, 750),
            // A refusal is followed at once; one that hangs is waited for no second time.
            (&["192.0.2.1:2", "192.0.2.2:3"], 2, 0),
            (&["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"], 3, 250),
            // Three dead ones of one family do not keep the other waiting.
            (&["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:3"], 2, 250),
        ] {
            let (outcome, order, took) = raced(addresses).await;
            assert_eq!(outcome.expect("one answers").port(), 3, "{addresses:?}");
            assert_eq!((order.len(), took), (tried, milliseconds), "{addresses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_overtaken_may_still_win() {
        let connect = async |address: SocketAddr| {
            tokio::time::sleep(Duration::from_millis(u64::from(address.port()))).await;
            Ok(address.port())
        };
        assert_eq!(race(all(&["192.0.2.1:400", "192.0.2.2:900"]), connect).await.expect("both answer"), 400);
        assert_eq!(race(all(&["192.0.2.1:900", "192.0.2.2:400"]), connect).await.expect("both answer"), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_the_error_says_what_there_was() {
        let kind = async |addresses: &[&str]| raced(addresses).await.0.expect_err("none answers").kind();
        assert_eq!(kind(&["192.0.2.1:2", "[2001:db8::1]:4"]).await, io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(&["[2001:db8::1]:4", "192.0.2.1:2"]).await, io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(&["[2001:db8::1]:4"]).await, io::ErrorKind::NetworkUnreachable);
        assert_eq!(kind(&[]).await, io::ErrorKind::NotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn families_alternate_and_the_number_is_bounded() {
        let ordered = |texts: &[&str]| interleave(all(texts));
        assert_eq!(
            ordered(&["[::1]:1", "[::2]:1", "[::3]:1", "192.0.2.1:1", "192.0.2.2:1"]),
            all(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "[::3]:1"])
        );
        assert_eq!(
            ordered(&["192.0.2.1:1", "192.0.2.2:1", "[::1]:1"]),
            all(&["192.0.2.1:1", "[::1]:1", "192.0.2.2:1"])
        );
        let many: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}:2")).collect();
        let (outcome, tried, _) = raced(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!((outcome.is_err(), tried.len()), (true, ADDRESSES));
    }
}
