//! Subprotocols (RFC 6455, section 1.9): connections to the peer port that do not become links.
//!
//! Their owner registers each with the listener. The listener upgrades a connection that asks for
//! one, and hands it over.

use std::net::IpAddr;
use std::pin::Pin;

use meshpool_proto::Challenge;
use meshpool_proto::access::Certified;

use crate::transport::iroh::connection::IrohConnection;
use crate::transport::pending_upgrades::PendingUpgrade;
use crate::transport::websocket::socket::Socket;

/// A connection to a subprotocol, upgraded.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) remote: IpAddr,
    /// The connection over iroh that it came on, which proves who is at its other end.
    pub(crate) iroh: Option<IrohConnection>,
    /// Who is at the other end; `None` in an open network.
    pub(crate) certified: Option<Certified>,
    /// What both ends sign, if it becomes a link.
    pub(crate) challenge: Challenge,
    /// Its place among the pending upgrades, which a client of the relay keeps until it has proved
    /// its key. Others have a slot instead.
    pub(crate) pending: Option<PendingUpgrade>,
}

type Serve = dyn Fn(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A subprotocol, and what serves its connections.
pub(crate) struct Subprotocol {
    name: &'static str,
    /// Whether its connections take no slot: it bounds those that have proved their key itself.
    pub(crate) is_relay: bool,
    serve: Box<Serve>,
}

impl Subprotocol {
    /// `serve` runs to the end of a connection, in the task that accepted it. It may be dropped at
    /// any await: the node ends.
    pub(crate) fn new<F>(name: &'static str, serve: impl Fn(Connection) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, is_relay: false, serve: Box::new(move |connection| Box::pin(serve(connection))) }
    }

    /// The relay that this node serves, see [`Self::is_relay`].
    #[cfg(feature = "wan")]
    pub(crate) fn of_relay(self) -> Self {
        Self { is_relay: true, ..self }
    }

    /// The name in the header `Sec-WebSocket-Protocol`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) async fn serve(&self, connection: Connection) {
        (self.serve)(connection).await;
    }
}
