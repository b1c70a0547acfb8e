//! Finds a connection to a node, opens one, or accepts one.
//!
//! A node that cannot be dialled, and has dialled its link to this node, is asked over that link to
//! open the connection.
//!
//! A node is dialled once at a time: all requests to it wait for that dial and share its failure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::Location;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::causes::DialError;
use meshpool_proto::id::{NodeId, Nonce};
use meshpool_proto::limits::CLOSE_REASON_BYTES;
use meshpool_proto::wire::REQUEST_PROTOCOL;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::requests::connection::Connection;
use crate::requests::error::{Refusal, RequestError, Unreachable};
use crate::requests::identity::{self, Failure};
use crate::requests::order::Peer;
use crate::requests::shared::{LATER, Shared};
use crate::requests::table::{Dial, Reached, UNSUPPORTED};
use crate::transport::dial_permit::NamedBy;
use crate::transport::subprotocol::Connection as Accepted;
use crate::transport::websocket::dialer::NotDialled;
use crate::transport::websocket::socket::Socket;
use crate::util::counts::add;

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
    let at = match shared.queries.locate(peer).await.map_err(|_| RequestError::Ended)? {
        Location::Myself => return Ok(Reached::Myself),
        Location::Unknown => return Err(RequestError::UnknownPeer(peer)),
        Location::NoAddress | Location::Linking => {
            return Err(RequestError::NotReachable { peer, why: Unreachable::NoAddress });
        }
        Location::CallsBack => None,
        Location::At { address, reach, source } => Some((address, NamedBy { reach, sources: vec![source] })),
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
    let Ok(_one_of_few) = shared.dialling.acquire().await else { return Err(RequestError::Ended) };
    let opened = match &at {
        Some((address, by)) => match open(shared, peer, address, by, None).await {
            Err(error @ RequestError::NotReachable { .. }) => ask_for_connection(shared, peer, error).await,
            opened => opened,
        },
        None => ask_for_connection(shared, peer, link_ended(peer)).await,
    };
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

fn link_ended(peer: NodeId) -> RequestError {
    RequestError::NotReachable { peer, why: Unreachable::LinkEnded }
}

/// Forgets a callback that nobody waits for any more.
struct Awaiting<'a>(&'a Shared, NodeId, Nonce);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.table().take_callback(self.1, self.2);
    }
}

/// Asks a node over its link to open a connection, and waits for it. `otherwise`: the error if no
/// link allows that.
async fn ask_for_connection(shared: &Shared, peer: NodeId, otherwise: RequestError) -> Result<Reached, RequestError> {
    let nonce = Nonce(rand::random());
    let opened = shared.table().await_callback(peer, nonce);
    let _awaiting = Awaiting(shared, peer, nonce);
    if !shared.queries.call_back(peer, nonce).await.map_err(|_| RequestError::Ended)? {
        return Err(otherwise);
    }
    // For its dial, and for the ways there and back.
    let within = shared.limits.dial_timeout * 2;
    let failed = |why| Err(RequestError::NotReachable { peer, why });
    match timeout(within, opened).await {
        Ok(Ok(())) => shared.table().find(peer).map_or_else(|| failed(Unreachable::CallbackEnded), Ok),
        Ok(Err(_)) => failed(Unreachable::CallbackRefused),
        Err(_) => failed(Unreachable::NotCalledBack(within)),
    }
}

/// Opens a connection that a node asked for, unless one is being opened.
pub(super) fn call_back(shared: &Arc<Shared>, node: NodeId, address: PeerAddress, by: NamedBy, nonce: Nonce) {
    struct CallingBack(Arc<Shared>, NodeId);
    impl Drop for CallingBack {
        fn drop(&mut self) {
            self.0.table().end_call_back(self.1);
        }
    }
    if !shared.table().begin_call_back(node) {
        return;
    }
    let calling = CallingBack(Arc::clone(shared), node);
    tokio::spawn(async move {
        let shared = &calling.0;
        let opening = shared.panics.catch("a callback", open(shared, node, &address, &by, Some(nonce)));
        tokio::select! {
            opened = opening => match opened {
                Some(Err(error)) => tracing::debug!("no connection for requests, which was asked for: {error}"),
                Some(Ok(_)) => add(&shared.counts.called_back, 1),
                None => {}
            },
            () = shared.queries.ended() => {}
        }
    });
}

/// Dials a node, and starts the connection if it is the one.
async fn open(
    shared: &Arc<Shared>,
    node: NodeId,
    address: &PeerAddress,
    by: &NamedBy,
    callback: Option<Nonce>,
) -> Result<Reached, RequestError> {
    let not_reachable = |why| RequestError::NotReachable { peer: node, why };
    let refused = |why| RequestError::Refused { peer: node, why };
    let mut dialled = match shared.dialer.dial_subprotocol(address, by, REQUEST_PROTOCOL, node).await {
        Ok(dialled) => dialled,
        Err(NotDialled::Failed(DialError::UnknownSubprotocol)) => return Err(refused(Refusal::NotSupported)),
        Err(error) => {
            let error = error.cause();
            return Err(not_reachable(Unreachable::NotDialled { address: address.clone(), error }));
        }
    };
    if dialled.identity.is_none_or(|identity| identity.node != node) {
        close(&mut dialled.socket, shared.limits.write_deadline, LATER, "another node was dialled").await;
        return Err(not_reachable(Unreachable::AnotherNode(address.clone())));
    }
    identity::dial(shared, &mut dialled, address, callback).await.map_err(|failure| match failure {
        Failure::NotReachable(why) => not_reachable(why),
        Failure::Refused(why) => refused(why),
    })?;
    let peer = Peer { node, remote: dialled.remote, certified: dialled.certified, dialled: true };
    let (registered, orders) = {
        let mut table = shared.table();
        table.make_room();
        if callback.is_some() {
            table.replace_oldest(node, true);
        }
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
    reached.ok_or_else(|| not_reachable(Unreachable::EndedAtOnce))
}

/// Serves a connection that another node opened, to its end.
pub(super) async fn accept(shared: Arc<Shared>, mut accepted: Accepted) {
    let deadline = shared.limits.write_deadline;
    let remote = accepted.remote;
    let (node, waiter) = match identity::accept(&shared, &mut accepted).await {
        Ok(accepted) => accepted,
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
    if let Some(opened) = waiter {
        // The request may have been cancelled.
        opened.send(()).unwrap_or_default();
    }
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
