//! The connections over iroh: who is at the other end, and the path in use.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{Connection, Path, VarInt};
use meshpool_proto::address::Scope;
use meshpool_proto::id::NodeId;

use crate::transport::iroh::relay_url;
use crate::transport::link_path::LinkPath;

/// The connection below a stream: who is at its other end, and the path in use. A clone shares it.
#[derive(Debug, Clone)]
pub(crate) struct IrohConnection(Connection);

impl IrohConnection {
    pub(super) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// The node at the other end: the connection proves its key.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(*self.0.remote_id().as_bytes())
    }

    /// The path that is in use, and its round-trip time; `None` when the connection has ended.
    pub(crate) fn path(&self) -> Option<(LinkPath, Duration)> {
        self.with_path(|path| {
            let shown = match path.remote_addr() {
                TransportAddr::Ip(at) => LinkPath::Direct(*at),
                TransportAddr::Relay(url) => LinkPath::Relayed(relay_url::shown(url)),
                _ => return None,
            };
            Some((shown, path.rtt()))
        })
    }

    /// The relay that packets go over, and how many have arrived over it.
    pub(super) fn relay(&self) -> Option<(SocketAddr, u64)> {
        self.with_path(|path| match path.remote_addr() {
            TransportAddr::Relay(url) => Some((relay_url::at(url)?, path.stats().udp_rx.datagrams)),
            _ => None,
        })
    }

    /// Calls a function with the path in use. There is none when the connection has ended.
    fn with_path<T>(&self, of: impl FnOnce(Path<'_>) -> Option<T>) -> Option<T> {
        let paths = self.0.paths();
        of(paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?)
    }

    /// A number that no other open connection has.
    pub(super) fn id(&self) -> usize {
        self.0.stable_id()
    }

    pub(super) fn close(&self, reason: &str) {
        self.0.close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Whether packets go over a relay now.
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.path(), Some((LinkPath::Relayed(_), _)))
    }

    /// Returns the IP address of the other end if packets go straight to it.
    pub(crate) fn direct(&self) -> Option<IpAddr> {
        self.with_path(|path| match path.remote_addr() {
            TransportAddr::Ip(at) => Some(remote(Some(*at)).ip()),
            _ => None,
        })
    }

    /// The IP address that the other end counts for: that of the path, which is the relay's if it
    /// is relayed. Node ids are free, so newcomers over a relay count together.
    pub(crate) fn remote(&self) -> IpAddr {
        remote(self.with_path(|path| match path.remote_addr() {
            TransportAddr::Ip(at) => Some(*at),
            TransportAddr::Relay(url) => relay_url::at(url),
            _ => None,
        }))
        .ip()
    }
}

/// The address that a path counts for. A node over iroh is a stranger also if its packets come from
/// this host: it has none of the rights of a program here.
pub(super) fn remote(at: Option<SocketAddr>) -> SocketAddr {
    at.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()))
        .filter(|at| Scope::of(at.ip()) != Scope::Loopback)
        .unwrap_or(SocketAddr::new(NOBODY, 0))
}

/// The IPv4 dummy address (RFC 7600, section 4.8), which nobody has.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<usize, IrohConnection>>);

/// Keeps a connection among the open ones until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    connections: Arc<Connections>,
    id: usize,
}

impl Connections {
    fn all(&self) -> MutexGuard<'_, HashMap<usize, IrohConnection>> {
        // Each change leaves it in order.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(self: &Arc<Self>, connection: &IrohConnection) -> Open {
        let id = connection.id();
        self.all().insert(id, connection.clone());
        Open { connections: Arc::clone(self), id }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Returns the relayed ones: the relay, the id of the connection, and how many packets arrived.
    pub(super) fn relayed(&self) -> Vec<(SocketAddr, usize, u64)> {
        let received = |(id, connection): (&usize, &IrohConnection)| {
            let (relay, received) = connection.relay()?;
            Some((relay, *id, received))
        };
        self.all().iter().filter_map(received).collect()
    }

    /// Closes those over a relay. Returns how many there were, and how many direct ones there are.
    pub(super) fn close_over(&self, relay: SocketAddr) -> (usize, usize) {
        let all: Vec<_> = self.all().values().cloned().collect();
        let direct = all.iter().filter(|connection| !connection.is_relayed()).count();
        let over = all.iter().filter(|connection| connection.relay().is_some_and(|(at, _)| at == relay));
        (over.map(|connection| connection.close("the relay is silent")).count(), direct)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.all().remove(&self.id);
    }
}
