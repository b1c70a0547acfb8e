//! Requests: one node asks another, and its application answers.
//!
//! They travel on WebSockets of their own between two nodes, which are kept while they are used.
//! So the largest payload delays no transaction and no pong of a link. Both ends prove their ids,
//! as they do on a link.
//!
//! A request dials only where this node itself knows its peer: by a link's verified address, or by
//! the peer's announcement. A peer that cannot be dialled is asked over its link to open the
//! connection, and does so where it dialled the link. What a stranger can drive is bounded:
//! connections, requests under way, their bytes, their rate, and signatures to verify.
//!
//! | file | content |
//! |---|---|
//! | `connection` | a connection: requests of both ends, their answers and cancellation |
//! | `outbox` | its sending half: chunks of several requests in turns |
//! | `identity` | HELLO: who is at the other end |
//! | `reach` | finds a connection to a node, opens one, accepts one |
//! | `table` | the open connections, and dials under way |
//! | `shared`, `order` | what connections share, and what they are told |
//! | `outgoing` | the application's view: a request that can be awaited |
//! | `handler` | the function that answers |
//! | `counts`, `error` | counters, and why a request has no answer |

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use meshpool_proto::Config;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::{NodeId, Nonce};
use meshpool_proto::wire::REQUEST_PROTOCOL;

mod connection;
mod counts;
mod error;
mod handler;
mod identity;
mod order;
mod outbox;
mod outgoing;
mod reach;
mod shared;
mod table;

#[cfg(feature = "web")]
pub(crate) use counts::described;
pub use error::{Refusal, RequestError, Unreachable};
pub use handler::Request;
pub use outgoing::OutgoingRequest;

use crate::core_queries::Queries;
use crate::transport::dial_permit::NamedBy;
use crate::transport::subprotocol::{Connection as Accepted, Subprotocol};
use crate::transport::websocket::dialer::Dialer;
use crate::util::panics::Panics;

use handler::Handler;
pub(crate) use shared::Serving;
use shared::Shared;

/// The requests of one node.
#[derive(Debug)]
pub(crate) struct Requests {
    shared: Arc<Shared>,
}

impl Requests {
    /// `serving`: for the node's task to keep.
    pub(crate) fn new(
        config: &Config,
        dialer: Dialer,
        queries: Queries,
        panics: Panics,
        serving: &Arc<Serving>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(config, dialer, queries, panics, Arc::downgrade(serving))) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The subprotocol of requests, to be registered with the listener.
    pub(crate) fn subprotocol(&self) -> Subprotocol {
        let shared = Arc::clone(&self.shared);
        Subprotocol::new(REQUEST_PROTOCOL, move |connection: Accepted| {
            let shared = Arc::clone(&shared);
            async move { reach::accept(shared, connection).await }
        })
    }

    /// Opens a connection that a peer asked for over the link that this node dialled.
    pub(crate) fn call_back(&self, node: NodeId, address: PeerAddress, by: NamedBy, nonce: Nonce) {
        reach::call_back(&self.shared, node, address, by, nonce);
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
        self.shared.set_handler(handler);
    }
}
