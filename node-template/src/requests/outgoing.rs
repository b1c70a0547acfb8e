//! The application's view of a request: it is sent when it is awaited, and cancelled when it is
//! dropped.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::REQUEST_BYTES;
use meshpool_proto::wire::FailedCause;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::requests::error::{Refusal, RequestError, Unreachable};
use crate::requests::handler::Request;
use crate::requests::order::{Order, Unanswered};
use crate::requests::reach::reach;
use crate::requests::shared::{PANICKED, Shared};
use crate::requests::table::Reached;
use crate::util::counts::add;

/// How long an answer is waited for, unless the application says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent again because the other end closed the connection as idle before it
/// looked at the request.
const ATTEMPTS: usize = 3;

/// A request to another node, made by [`Handle::request`](crate::Handle::request).
///
/// Awaiting it sends it and gives the answer. Dropping the future cancels it, also the handler at
/// the other end.
#[must_use = "a request is sent when it is awaited"]
pub struct OutgoingRequest {
    shared: Arc<Shared>,
    peer: NodeId,
    payload: Bytes,
    timeout: Duration,
}

impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingRequest")
            .field("peer", &self.peer)
            .field("bytes", &self.payload.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl OutgoingRequest {
    pub(crate) fn new(shared: Arc<Shared>, peer: NodeId, payload: Bytes) -> Self {
        Self { shared, peer, payload, timeout: TIMEOUT }
    }

    /// Sets how long the answer is waited for, from the first step: to find the node, to dial it,
    /// to send, and to answer. 30 seconds by default. A handler runs for ten minutes at most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn send(self) -> Result<Bytes, RequestError> {
        let Self { shared, peer, payload, timeout: after } = self;
        if payload.len() > REQUEST_BYTES {
            return Err(RequestError::TooLong(payload.len()));
        }
        let Ok(_place) = shared.asking.try_acquire() else { return Err(RequestError::Busy) };
        let answer = timeout(after, ask(&shared, peer, payload, after)).await;
        let answer = answer.unwrap_or(Err(RequestError::TimedOut { peer, after }));
        add(if answer.is_ok() { &shared.counts.answered } else { &shared.counts.unanswered }, 1);
        answer
    }
}

impl IntoFuture for OutgoingRequest {
    type Output = Result<Bytes, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

async fn ask(shared: &Arc<Shared>, peer: NodeId, payload: Bytes, within: Duration) -> Result<Bytes, RequestError> {
    for _ in 0..ATTEMPTS {
        let (orders, free) = match reach(shared, peer).await? {
            Reached::Myself => return ask_myself(shared, Request { from: peer, payload }, within).await,
            Reached::Connected { orders, free } => (orders, free),
        };
        // Those before it on this connection go first.
        let Ok(permit) = free.acquire_owned().await else { continue };
        let (reply, answer) = oneshot::channel();
        let order = Order::Ask { payload: payload.clone(), timeout: within, reply, permit };
        if orders.send(order).is_err() {
            continue;
        }
        let guard = CancelOnDrop(Some(orders));
        let answer = answer.await;
        guard.disarm();
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Unanswered::NotServed)) => {}
            Ok(Err(Unanswered::Failed(cause, why))) => return Err(failed(peer, within, cause, why)),
            Ok(Err(Unanswered::Lost(why))) => {
                return Err(RequestError::NotReachable { peer, why: Unreachable::Lost(why) });
            }
            // The task of the connection was dropped: the node ends.
            Ok(Err(Unanswered::Ended)) | Err(_) => return Err(RequestError::Ended),
        }
    }
    Err(RequestError::NotReachable { peer, why: Unreachable::ClosesEach })
}

/// Answers a request of this node to itself.
///
/// It takes a place, and its handler has a task of its own: one that asks its own node again would
/// otherwise nest without a bound.
async fn ask_myself(shared: &Arc<Shared>, request: Request, within: Duration) -> Result<Bytes, RequestError> {
    let peer = request.from;
    let Some(place) = shared.places.take(None) else {
        return Err(RequestError::Refused { peer, why: Refusal::Busy });
    };
    let (mut handling, own) = (JoinSet::new(), Arc::clone(shared));
    handling.spawn(async move {
        let _place = place;
        own.answer(request, within).await
    });
    // Dropping the set cancels the handler.
    tokio::select! {
        answer = handling.join_next() => match answer {
            Some(Ok(answer)) => answer.map_err(|(cause, why)| failed(peer, within, cause, why)),
            Some(Err(error)) => {
                shared.panics.note("the handler of requests", error);
                Err(failed(peer, within, FailedCause::Handler, PANICKED.to_owned()))
            }
            None => Err(RequestError::Ended),
        },
        () = shared.queries.ended() => Err(RequestError::Ended),
    }
}

fn failed(peer: NodeId, after: Duration, cause: FailedCause, why: String) -> RequestError {
    let refused = |why| RequestError::Refused { peer, why };
    match cause {
        FailedCause::NotServed => refused(Refusal::NotServed),
        FailedCause::Busy => refused(Refusal::Busy),
        FailedCause::Denied => refused(Refusal::Denied(why)),
        FailedCause::Handler => RequestError::HandlerFailed { peer, why },
        FailedCause::TimedOut => RequestError::TimedOut { peer, after },
        FailedCause::Cancelled | FailedCause::Other => {
            let why = if why.is_empty() { "it cancelled the request".to_owned() } else { why };
            RequestError::NotReachable { peer, why: Unreachable::GaveUp(why) }
        }
    }
}

/// Tells the connection if the future is dropped while it waits.
struct CancelOnDrop(Option<mpsc::UnboundedSender<Order>>);

impl CancelOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(orders) = &self.0 {
            // A connection that has ended has nothing to cancel.
            orders.send(Order::Cancelled).unwrap_or_default();
        }
    }
}
