//! Requests: one node asks another, and its application answers.
//!
//! They travel on WebSockets of their own between two nodes, which are kept while they are used.
//! So the largest payload delays no transaction and no pong of a link. Both ends prove their ids,
//! as they do on a link.
//!
//! A request dials only where this node itself knows its peer: by a link's verified address, or by
//! the peer's announcement. What a stranger can drive is bounded: connections, requests under way,
//! their bytes, their rate, and signatures to verify.
//!
//! | file | content |
//! |---|---|
//! | `connection` | a connection: requests of both ends, their answers and cancellation |
//! | `outbox` | its sending half: chunks of several requests in turns |
//! | `identity` | HELLO: who is at the other end |
//! | `table` | the open connections, and dials under way |
//! | `outgoing` | the application's view: a request that can be awaited |
//! | `handler` | the function that answers |
//! | `queries` | what is asked of the core, as a channel to the driver |

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use meshpool_proto::IpPrefix;
use meshpool_proto::id::UpgradeIdentity;
use meshpool_proto::limits::Limits;
use meshpool_proto::signature::Signer;
use meshpool_proto::util::generations::Generations;
use meshpool_proto::util::rate_limit::RateLimit;
use meshpool_proto::wire::{FailedCause, REQUEST_PROTOCOL};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

mod connection;
mod counts;
mod error;
mod handler;
mod identity;
mod outbox;
mod outgoing;
pub(crate) mod queries;
mod table;

#[cfg(feature = "web")]
pub(crate) use counts::described;
pub use error::{Refusal, RequestError};
pub use handler::Request;
pub use outgoing::OutgoingRequest;

use crate::transport::subprotocol::{Connection as Accepted, Subprotocol};
use crate::transport::websocket::dialer::Dialer;
use crate::util::panics::Panics;

use connection::Peer;
use counts::Counts;
use handler::Handler;
use queries::Queries;
use table::Table;

/// Close codes (RFC 6455, section 7.4).
const DONE: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const BREACH: u16 = 1008;
const DENIED: u16 = BREACH;
const LATER: u16 = 1013;

/// How many requests of others are received, handled or answered at once: 64 MiB of memory.
const SERVED: usize = 32;
/// How many requests of this node are under way at once: 1 GiB, if all are as long as they may be.
const ASKED: usize = 1_024;
/// A verification of a proof costs some 50 µs; an address group has a dozen at once …
const VERIFIED: Duration = Duration::from_secs(12);
/// … and then one in each of these intervals.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// What a frame of an address group costs: 1,000 a second …
const FRAME: Duration = Duration::from_millis(1);
/// … and what each of its bytes does: 64 MiB a second …
const KIBIBYTE: Duration = Duration::from_micros(15);
/// … after a burst of so much.
const BURST: Duration = Duration::from_secs(2);
/// How many address groups are counted, twice at most.
const GROUPS: usize = 4_096;

/// The requests of one node.
#[derive(Debug)]
pub(crate) struct Requests {
    shared: Arc<Shared>,
}

/// What all connections of a node share.
pub(crate) struct Shared {
    identity: UpgradeIdentity,
    network: String,
    signer: Arc<dyn Signer>,
    limits: Limits,
    dialer: Dialer,
    queries: Queries,
    panics: Panics,
    counts: Counts,
    handler: RwLock<Option<Handler>>,
    serving: Arc<Semaphore>,
    asking: Semaphore,
    table: Mutex<Table>,
    verified: Mutex<Generations<IpPrefix, RateLimit>>,
    charged: Mutex<Generations<IpPrefix, RateLimit>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Requests {
    pub(crate) fn new(
        identity: UpgradeIdentity,
        network: String,
        signer: Arc<dyn Signer>,
        limits: Limits,
        dialer: Dialer,
        queries: Queries,
        panics: Panics,
    ) -> Self {
        let shared = Shared {
            identity,
            network,
            signer,
            limits,
            dialer,
            queries,
            panics,
            counts: Counts::default(),
            handler: RwLock::default(),
            serving: Arc::new(Semaphore::new(SERVED)),
            asking: Semaphore::new(ASKED),
            table: Mutex::default(),
            verified: Mutex::new(Generations::new(GROUPS)),
            charged: Mutex::new(Generations::new(GROUPS)),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The subprotocol of requests, to be registered with the listener.
    pub(crate) fn subprotocol(&self) -> Subprotocol {
        let shared = Arc::clone(&self.shared);
        Subprotocol::new(REQUEST_PROTOCOL, move |connection: Accepted| {
            let shared = Arc::clone(&shared);
            async move { table::accept(shared, connection).await }
        })
    }

    /// The counters, by name.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.shared.counts.entries()
    }

    /// Sets the function that answers requests.
    pub(crate) fn serve<F, A, E>(&self, function: impl Fn(Request) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Bytes>,
        E: fmt::Display,
    {
        self.set_handler(Some(Handler::new(function)));
    }

    /// Answers no more requests.
    pub(crate) fn stop_serving(&self) {
        self.set_handler(None);
    }

    fn set_handler(&self, handler: Option<Handler>) {
        *self.shared.handler.write().unwrap_or_else(PoisonError::into_inner) = handler;
    }
}

impl Shared {
    fn handler(&self) -> Option<Handler> {
        self.handler.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Changed by single insertions and removals.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request of another node, if the access rules still admit it.
    async fn handle(&self, peer: Peer, request: Request, within: Duration) -> Result<Bytes, (FailedCause, String)> {
        match self.queries.may_request(peer.remote, peer.certified, peer.node).await {
            Ok(Ok(_)) => self.answer(request, within).await,
            Ok(Err(why)) => Err((FailedCause::Denied, why)),
            Err(_) => Err((FailedCause::Other, "this node is shutting down".to_owned())),
        }
    }

    /// Calls the handler.
    async fn answer(&self, request: Request, within: Duration) -> Result<Bytes, (FailedCause, String)> {
        let Some(handler) = self.handler() else { return Err((FailedCause::NotServed, String::new())) };
        let answering = self.panics.catch("the handler of requests", handler.call(request));
        match timeout(within, answering).await {
            Ok(Some(answer)) => answer.map_err(|why| (FailedCause::Handler, why)),
            Ok(None) => Err((FailedCause::Handler, "it panicked; the log there says where".to_owned())),
            Err(_) => Err((FailedCause::TimedOut, "its handler took too long".to_owned())),
        }
    }

    /// Returns whether one more proof of an address group is verified now.
    fn may_verify(&self, group: IpPrefix) -> bool {
        let now = Instant::now().into_std();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.entry(now, &group).spend(now, VERIFY_EVERY, VERIFIED).is_ok()
    }

    /// Counts a frame of an address group; returns when the next is read.
    fn charge(&self, group: IpPrefix, bytes: usize) -> Instant {
        let now = Instant::now().into_std();
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = FRAME + KIBIBYTE * u32::try_from(bytes / 1_024).unwrap_or(u32::MAX);
        charged.entry(now, &group).reserve(now, cost, BURST).into()
    }
}
