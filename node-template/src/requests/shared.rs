//! What all connections for requests of a node share, and their bounds.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use meshpool_proto::id::UpgradeIdentity;
use meshpool_proto::limits::{Limits, REQUEST_BYTES};
use meshpool_proto::signature::Signer;
use meshpool_proto::util::generations::Generations;
use meshpool_proto::util::rate_limit::RateLimit;
use meshpool_proto::wire::FailedCause;
use meshpool_proto::{Config, IpPrefix};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::core_queries::Queries;
use crate::requests::counts::Counts;
use crate::requests::handler::{Handler, Request};
use crate::requests::order::Peer;
use crate::requests::table::Table;
use crate::transport::websocket::dialer::Dialer;
use crate::util::group_counts::Places;
use crate::util::panics::Panics;

/// Close codes (RFC 6455, section 7.4).
pub(super) const DONE: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const BREACH: u16 = 1008;
pub(super) const DENIED: u16 = BREACH;
pub(super) const LATER: u16 = 1013;

/// How many requests of this node are under way at once: 1 GiB, if all are as long as they may be.
const ASKED: usize = 1_024;
/// How many nodes are dialled at once, for which more requests wait: each is an open file.
const DIALLING: usize = 64;
/// How many requests are received, handled or answered at once: 64 MiB of memory.
const REQUESTS: usize = 32;
/// How many of them one address group may have, loopback excepted: one host with many keys leaves
/// some to others.
const REQUESTS_OF_GROUP: usize = 16;
/// Why a request has no answer whose handler panicked.
pub(super) const PANICKED: &str = "it panicked; the log there says where";
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

/// The function that answers requests. The node's task has it: the function may hold a handle, and
/// with it all that connections share.
#[derive(Debug, Default)]
pub(crate) struct Serving(RwLock<Option<Handler>>);

/// What all connections of a node share.
pub(crate) struct Shared {
    pub(super) identity: UpgradeIdentity,
    pub(super) network: String,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) limits: Limits,
    pub(super) dialer: Dialer,
    pub(super) queries: Queries,
    pub(super) panics: Panics,
    pub(super) counts: Counts,
    serving: Weak<Serving>,
    pub(super) places: Places,
    pub(super) asking: Semaphore,
    pub(super) dialling: Semaphore,
    table: Mutex<Table>,
    verified: Mutex<Generations<IpPrefix, RateLimit>>,
    charged: Mutex<Generations<IpPrefix, RateLimit>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        dialer: Dialer,
        queries: Queries,
        panics: Panics,
        serving: Weak<Serving>,
    ) -> Self {
        Self {
            identity: UpgradeIdentity { node: config.node, session: config.session },
            network: config.network.clone(),
            signer: Arc::clone(&config.signer),
            limits: config.limits.clone(),
            dialer,
            queries,
            panics,
            counts: Counts::default(),
            serving,
            places: Places::new(REQUESTS, REQUESTS_OF_GROUP),
            asking: Semaphore::new(ASKED),
            dialling: Semaphore::new(DIALLING),
            table: Mutex::default(),
            verified: Mutex::new(Generations::new(GROUPS)),
            charged: Mutex::new(Generations::new(GROUPS)),
        }
    }

    /// After the end of the node it has no effect.
    pub(super) fn set_handler(&self, handler: Option<Handler>) {
        let Some(serving) = self.serving.upgrade() else { return };
        let before = {
            let mut current = serving.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, handler)
        };
        // Without the lock: what it holds may call this node when it is dropped.
        drop(before);
    }

    pub(super) fn handler(&self) -> Option<Handler> {
        self.serving.upgrade()?.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Changed by single insertions and removals.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request of another node, if the access rules still admit it.
    pub(super) async fn handle(
        &self,
        peer: Peer,
        request: Request,
        within: Duration,
    ) -> Result<Bytes, (FailedCause, String)> {
        match self.queries.may_request(peer.remote, peer.certified, peer.node).await {
            Ok(Ok(_)) => self.answer(request, within).await,
            Ok(Err(why)) => Err((FailedCause::Denied, why)),
            Err(_) => Err((FailedCause::Other, "this node is shutting down".to_owned())),
        }
    }

    /// Calls the handler.
    pub(super) async fn answer(&self, request: Request, within: Duration) -> Result<Bytes, (FailedCause, String)> {
        let Some(handler) = self.handler() else { return Err((FailedCause::NotServed, String::new())) };
        let answering = self.panics.catch("the handler of requests", handler.call(request));
        match timeout(within, answering).await {
            Ok(Some(Ok(answer))) if answer.len() > REQUEST_BYTES => {
                let why = format!("its answer has {} bytes, and at most {REQUEST_BYTES} are allowed", answer.len());
                Err((FailedCause::Handler, why))
            }
            Ok(Some(answer)) => answer.map_err(|why| (FailedCause::Handler, why)),
            Ok(None) => Err((FailedCause::Handler, PANICKED.to_owned())),
            Err(_) => Err((FailedCause::TimedOut, "its handler took too long".to_owned())),
        }
    }

    /// Returns whether one more proof of an address group is verified now.
    pub(super) fn may_verify(&self, group: IpPrefix) -> bool {
        let now = Instant::now().into_std();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.entry(now, &group).spend(now, VERIFY_EVERY, VERIFIED).is_ok()
    }

    /// Counts a frame of an address group; returns when the next is read.
    pub(super) fn charge(&self, group: IpPrefix, bytes: usize) -> Instant {
        let now = Instant::now().into_std();
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = FRAME + KIBIBYTE * u32::try_from(bytes / 1_024).unwrap_or(u32::MAX);
        charged.entry(now, &group).reserve(now, cost, BURST).into()
    }
}
