//! Finds a connection to a node, opens one, or accepts one.
//!
//! A node is dialled once at a time: all requests to it wait for that dial and share its failure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::Location;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::CLOSE_REASON_BYTES;
use meshpool_proto::wire::REQUEST_PROTOCOL;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::requests::connection::Connection;
use crate::requests::error::{Refusal, RequestError};
use crate::requests::identity::{self, Failure};
use crate::requests::order::Peer;
use crate::requests::shared::{LATER, Shared};
use crate::requests::table::{Dial, Reached, UNSUPPORTED};
use crate::transport::dial_permit::NamedBy;
use crate::transport::subprotocol::Connection as Accepted;
use crate::transport::websocket::dialer::DialError;
use crate::transport::websocket::socket::Socket;

/// How long a request waits for the address of a peer that has just linked: to verify it takes a
/// dial.
const VERIFIED_WITHIN: Duration = Duration::from_secs(2);
/// How often the core is asked meanwhile.
const LOCATE_AGAIN: Duration = Duration::from_millis(50);

/// Removes a connection from the table when it ends, however it does.
struct Registered {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.table().remove(self.number);
    }
}

/// Forgets a dial when nobody waits for it any more.
struct Dialling<'a> {
    shared: &'a Shared,
    node: NodeId,
    dial: Arc<Dial>,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        // One is held here, one by the table. After a failure the table may have another.
        let is_there = table.dials.get(&self.node).is_some_and(|dial| Arc::ptr_eq(dial, &self.dial));
        if is_there && Arc::strong_count(&self.dial) <= 2 {
            table.dials.remove(&self.node);
        }
    }
}

/// Finds a connection to a node, or opens one.
pub(super) async fn reach(shared: &Arc<Shared>, peer: NodeId) -> Result<Reached, RequestError> {
    if let Some(reached) = shared.table().find(peer) {
        return Ok(reached);
    }
    let (address, by) = match locate(shared, peer).await? {
        Location::Myself => return Ok(Reached::Myself),
        Location::Unknown => return Err(RequestError::UnknownPeer(peer)),
        Location::NoAddress => {
            let why = "it names no address that can be dialled from here; let it ask, or set its ADDRESS".to_owned();
            return Err(RequestError::NotReachable { peer, why });
        }
        Location::At { address, reach, source } => (address, NamedBy { reach, sources: vec![source] }),
    };
    let dialling = {
        let mut table = shared.table();
        if table.unsupported.get(&peer).is_some_and(|at| at.elapsed() < UNSUPPORTED) {
            return Err(RequestError::Refused { peer, why: Refusal::NotSupported });
        }
        let dial = Arc::clone(table.dials.entry(peer).or_default());
        Dialling { shared, node: peer, dial }
    };
    let mut failed = dialling.dial.lock().await;
    if let Some(reached) = shared.table().find(peer) {
        return Ok(reached);
    }
    if let Some(error) = &*failed {
        return Err(error.clone());
    }
    let opened = open(shared, peer, &address, &by).await;
    if let Err(error) = &opened {
        *failed = Some(error.clone());
        let mut table = shared.table();
        table.dials.remove(&peer);
        if matches!(error, RequestError::Refused { why: Refusal::NotSupported, .. }) {
            table.unsupported.insert(Instant::now().into_std(), peer, Instant::now());
        }
    }
    opened
}

/// Asks the core where a node is. The address of one that has just linked may still be verified.
async fn locate(shared: &Arc<Shared>, peer: NodeId) -> Result<Location, RequestError> {
    let end = Instant::now() + VERIFIED_WITHIN;
    loop {
        let location = shared.queries.locate(peer).await.map_err(|_| RequestError::Ended)?;
        if !matches!(location, Location::NoAddress) || Instant::now() >= end {
            return Ok(location);
        }
        sleep(LOCATE_AGAIN).await;
    }
}

/// Dials a node, and starts the connection if it is the one.
async fn open(
    shared: &Arc<Shared>,
    node: NodeId,
    address: &PeerAddress,
    by: &NamedBy,
) -> Result<Reached, RequestError> {
    let not_reachable = |why: String| RequestError::NotReachable { peer: node, why };
    let refused = |why| RequestError::Refused { peer: node, why };
    let mut dialled = match shared.dialer.dial_subprotocol(address, by, REQUEST_PROTOCOL, node).await {
        Ok(dialled) => dialled,
        Err(DialError::WithoutSubprotocol) => return Err(refused(Refusal::NotSupported)),
        Err(error) => return Err(not_reachable(format!("{address}: {error}"))),
    };
    if dialled.identity.is_none_or(|identity| identity.node != node) {
        let why = format!("another node answers at {address}; wait until it has announced its new address");
        close(&mut dialled.socket, shared.limits.write_deadline, LATER, "another node was dialled").await;
        return Err(not_reachable(why));
    }
    identity::dial(shared, &mut dialled, address).await.map_err(|failure| match failure {
        Failure::NotReachable(why) => not_reachable(why),
        Failure::Refused(why) => refused(why),
    })?;
    let peer = Peer { node, remote: dialled.remote, certified: dialled.certified, dialled: true };
    let (registered, orders) = {
        let mut table = shared.table();
        table.make_room();
        let (number, orders) = table.add(peer);
        (Registered { shared: Arc::clone(shared), number }, orders)
    };
    let (running, socket) = (Arc::clone(shared), dialled.socket);
    tokio::spawn(async move {
        let connection = Connection::run(Arc::clone(&running), socket, peer, orders);
        running.panics.catch("a connection for requests", connection).await;
        drop(registered);
    });
    let reached = shared.table().find(node);
    reached.ok_or_else(|| not_reachable("the connection ended at once; ask again".to_owned()))
}

/// Serves a connection that another node opened, to its end.
pub(super) async fn accept(shared: Arc<Shared>, mut accepted: Accepted) {
    let deadline = shared.limits.write_deadline;
    let remote = accepted.remote;
    let node = match identity::accept(&shared, &mut accepted).await {
        Ok(node) => node,
        Err((code, reason)) => {
            tracing::debug!("{remote} was refused a connection for requests: {reason}");
            return close(&mut accepted.socket, deadline, code, &reason).await;
        }
    };
    let Accepted { mut socket, certified, .. } = accepted;
    let peer = Peer { node, remote, certified, dialled: false };
    let added = {
        let mut table = shared.table();
        table.may_accept(node, remote).then(|| table.add(peer))
    };
    let Some((number, orders)) = added else {
        return close(&mut socket, deadline, LATER, "too many connections for requests; come back later").await;
    };
    let registered = Registered { shared: Arc::clone(&shared), number };
    Connection::run(shared, socket, peer, orders).await;
    drop(registered);
}

/// Closes a connection, and waits for the other end's close frame: closing before would reset what
/// it still reads.
async fn close(socket: &mut Socket, deadline: Duration, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
    let close = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    let closing = async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await
                && !socket.get_ref().is_overfull()
            {}
        }
    };
    timeout(deadline, closing).await.unwrap_or_default();
}
