//! Permits to connect: every connection that a peer's word leads to is counted, just before it is
//! opened, against the IP address that it goes to.
//!
//! Dials, probes and image transfers share one [`DialPermits`].

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meshpool_proto::SourceGroup;
use meshpool_proto::address::Scope;
use meshpool_proto::dial_allowance::{Counted, DialAllowance};
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::Limits;
use tokio::sync::Notify;

/// How long a connection waits for others to the same host that may be given back: on a local
/// network one is answered within milliseconds.
const WAIT: Duration = Duration::from_millis(300);

/// Who named an address, and how near it may lead.
#[derive(Debug, Clone)]
pub(crate) struct NamedBy {
    pub(crate) reach: Scope,
    pub(crate) sources: Vec<SourceGroup>,
}

/// The permits of a node.
#[derive(Debug)]
pub(crate) struct DialPermits {
    allowance: Mutex<DialAllowance>,
    /// Wakes those that wait when a connection was given back.
    given_back: Notify,
}

/// The permit of one connection. Dropping it ends the connection as one that nobody answered.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<DialPermits>,
    counted: Option<Counted>,
}

/// The error of a connection that is not allowed now.
#[derive(Debug)]
pub(crate) struct PutOff {
    pub(crate) until: Instant,
}

impl fmt::Display for PutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its IP address was dialled too often lately")
    }
}

impl Error for PutOff {}

impl PutOff {
    /// Returns when the connection is allowed that failed with an error, if it was put off.
    pub(crate) fn of(error: &io::Error) -> Option<Instant> {
        error.get_ref()?.downcast_ref::<Self>().map(|put_off| put_off.until)
    }
}

impl DialPermits {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { allowance: Mutex::new(DialAllowance::new(limits)), given_back: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, DialAllowance> {
        // Its methods leave it in order wherever they could panic.
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit to connect to an IP address. Waits a moment if one may be given back.
    ///
    /// # Errors
    /// [`PutOff`].
    pub(crate) async fn take(self: &Arc<Self>, sources: &[SourceGroup], at: SocketAddr) -> io::Result<Permit> {
        let end = tokio::time::Instant::now() + WAIT;
        loop {
            let mut given_back = std::pin::pin!(self.given_back.notified());
            // Before the allowance is asked, so that no wake-up is lost.
            given_back.as_mut().enable();
            let put_off = match self.lock().spend(Instant::now(), sources, at.ip()) {
                Ok(counted) => return Ok(Permit { permits: Arc::clone(self), counted: Some(counted) }),
                Err(put_off) => put_off,
            };
            if !put_off.may_end_sooner || tokio::time::timeout_at(end, given_back).await.is_err() {
                return Err(io::Error::other(PutOff { until: put_off.until }));
            }
        }
    }
}

impl Permit {
    /// Ends the connection as one that a node answered, or a program of another kind. `wanted`: it
    /// is the node that was to be found there.
    pub(crate) fn answered(mut self, node: Option<NodeId>, wanted: bool) {
        self.finish(node, wanted);
    }

    fn finish(&mut self, node: Option<NodeId>, wanted: bool) {
        if let Some(counted) = self.counted.take() {
            self.permits.lock().finish(Instant::now(), &counted, node, wanted);
            self.permits.given_back.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.finish(None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [SourceGroup; 1] = [SourceGroup::Host];

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_connected_to_four_times_whatever_the_port_and_then_put_off() {
        let permits = DialPermits::new(&Limits::default());
        for port in 1..=4 {
            permits.take(&SOURCES, SocketAddr::from(([10, 0, 0, 1], port))).await.expect("four are allowed");
        }
        let error = permits.take(&SOURCES, at("10.0.0.1:9")).await.expect_err("a fifth is not");
        assert!(PutOff::of(&error).is_some_and(|until| until > Instant::now()), "{error:?}");
        assert_eq!(PutOff::of(&io::ErrorKind::TimedOut.into()), None);
        permits.take(&SOURCES, at("127.0.0.1:1")).await.expect("this host is exempt");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_one_that_another_node_may_give_back() {
        let permits = DialPermits::new(&Limits::default());
        let mut open = Vec::new();
        for port in 1..=4 {
            open.push(permits.take(&SOURCES, SocketAddr::from(([10, 0, 0, 1], port))).await.expect("allowed"));
        }
        let waiting = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.take(&SOURCES, at("10.0.0.1:5")).await }
        });
        for number in 0..2 {
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished(), "the first node counts");
            open.pop().expect("four").answered(Some(NodeId([number; 32])), false);
        }
        waiting.await.expect("no panic").expect("the second node gave one back");
        let error = permits.take(&SOURCES, at("10.0.0.1:6")).await.expect_err("nobody answers in time");
        assert!(PutOff::of(&error).is_some());
    }
}
