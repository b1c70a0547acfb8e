//! The open connections of requests, and the dials under way.
//!
//! A node is dialled once at a time: all requests to it wait for that dial and share its failure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::CLOSE_REASON_BYTES;
use meshpool_proto::util::generations::Generations;
use meshpool_proto::wire::REQUEST_PROTOCOL;
use meshpool_proto::{IpPrefix, Location};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::requests::connection::{AT_ONCE, Connection, Order, Peer};
use crate::requests::error::{Refusal, RequestError};
use crate::requests::identity::{self, Failure};
use crate::requests::{LATER, Shared};
use crate::transport::dial_permit::NamedBy;
use crate::transport::subprotocol::Connection as Accepted;
use crate::transport::websocket::dialer::DialError;
use crate::transport::websocket::socket::Socket;

/// How many connections this node dials. One more ends the one that was idle for longest.
const DIALLED: usize = 64;
/// How many it accepts …
const ACCEPTED: usize = 128;
/// … and how many of one address group, loopback excepted …
const ACCEPTED_OF_GROUP: usize = 8;
/// … and of one node. A newer one replaces the oldest: the node may have lost it.
const ACCEPTED_OF_NODE: usize = 2;
/// How long it is remembered that a node does not know requests: it may be updated.
const UNSUPPORTED: Duration = Duration::from_secs(60);
/// How many such nodes are remembered, twice at most.
const UNSUPPORTED_NODES: usize = 256;

/// How a node is reached.
pub(super) enum Reached {
    Myself,
    /// By a connection; `free` has a permit for each request that it takes at once.
    Connected {
        orders: mpsc::UnboundedSender<Order>,
        free: Arc<Semaphore>,
    },
}

/// The outcome of a dial that failed, for those that waited for it.
type Dial = Mutex<Option<RequestError>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    connections: Vec<Entry>,
    dials: HashMap<NodeId, Arc<Dial>>,
    unsupported: Generations<NodeId, Instant>,
    /// Counts connections and uses: the clock of the order in which idle ones are closed.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    used: u64,
    node: NodeId,
    remote: IpAddr,
    dialled: bool,
    orders: mpsc::UnboundedSender<Order>,
    free: Arc<Semaphore>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            dials: HashMap::new(),
            unsupported: Generations::new(UNSUPPORTED_NODES),
            clock: 0,
        }
    }
}

impl Table {
    /// Returns the connection to a node that takes most requests now; of equal ones the newest.
    fn find(&mut self, node: NodeId) -> Option<Reached> {
        self.clock += 1;
        let clock = self.clock;
        let open = self.connections.iter_mut().filter(|entry| entry.node == node && !entry.orders.is_closed());
        let entry = open.max_by_key(|entry| (entry.free.available_permits(), entry.number))?;
        entry.used = clock;
        Some(Reached::Connected { orders: entry.orders.clone(), free: Arc::clone(&entry.free) })
    }

    /// Adds a connection, and returns its number.
    fn add(&mut self, peer: Peer) -> (u64, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        self.clock += 1;
        let (number, free) = (self.clock, Arc::new(Semaphore::new(AT_ONCE)));
        let Peer { node, remote, dialled, .. } = peer;
        self.connections.push(Entry { number, used: number, node, remote, dialled, orders, free });
        (number, receiver)
    }

    /// Makes room for a connection that was dialled. The one that goes may be busy with requests of
    /// the other end; then it stays, and there is one more.
    fn make_room(&self) {
        let dialled = || self.connections.iter().filter(|entry| entry.dialled);
        if dialled().count() >= DIALLED
            && let Some(oldest) =
                dialled().filter(|entry| entry.free.available_permits() == AT_ONCE).min_by_key(|entry| entry.used)
        {
            oldest.orders.send(Order::CloseIfIdle).unwrap_or_default();
        }
    }

    /// Returns whether a connection from a node is taken; ends an older one of it if need be.
    fn may_accept(&self, node: NodeId, remote: IpAddr) -> bool {
        let accepted = || self.connections.iter().filter(|entry| !entry.dialled);
        let of_node = || accepted().filter(|entry| entry.node == node);
        if of_node().count() >= ACCEPTED_OF_NODE {
            if let Some(oldest) = of_node().min_by_key(|entry| entry.number) {
                oldest.orders.send(Order::Replaced).unwrap_or_default();
            }
            return true;
        }
        let group = IpPrefix::subscriber(remote);
        let of_group = accepted().filter(|entry| group.is_some() && IpPrefix::subscriber(entry.remote) == group);
        accepted().count() < ACCEPTED && of_group.count() < ACCEPTED_OF_GROUP
    }
}

/// Removes a connection from the table when it ends, however it does.
struct Registered {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.table().connections.retain(|entry| entry.number != self.number);
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
    let (address, by) = match shared.queries.locate(peer).await.map_err(|_| RequestError::Ended)? {
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

/// Dials a node, and starts the connection if it is the one.
async fn open(
    shared: &Arc<Shared>,
    node: NodeId,
    address: &meshpool_proto::address::PeerAddress,
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: [u8; 3] = [203, 0, 113];

    fn peer(node: u8, host: u8, dialled: bool) -> Peer {
        let [a, b, c] = PLACE;
        Peer { node: NodeId([node; 32]), remote: [a, b, c, host].into(), certified: None, dialled }
    }

    fn accept(table: &mut Table, node: u8, host: u8) -> Option<mpsc::UnboundedReceiver<Order>> {
        let peer = peer(node, host, false);
        table.may_accept(peer.node, peer.remote).then(|| table.add(peer).1)
    }

    #[test]
    fn accepted_connections_are_bounded_by_number_address_group_and_node() {
        let mut table = Table::default();
        let mut held = Vec::new();
        for node in 0..ACCEPTED_OF_GROUP {
            held.push(accept(&mut table, node as u8, 1).expect("there is room"));
        }
        assert!(accept(&mut table, 99, 1).is_none(), "one address has its share");
        let mut first = accept(&mut table, 100, 2).expect("another address");
        let _second = accept(&mut table, 100, 3).expect("a second of one node");
        assert!(first.try_recv().is_err());
        let _third = accept(&mut table, 100, 4).expect("a third replaces the first");
        assert!(matches!(first.try_recv(), Ok(Order::Replaced)));
        for host in 10..=255 {
            held.extend(accept(&mut table, host, host));
        }
        assert_eq!(table.connections.len(), ACCEPTED);
    }

    #[test]
    fn the_connection_that_was_unused_for_longest_makes_room() {
        let mut table = Table::default();
        let mut orders: Vec<_> = (0..DIALLED).map(|node| table.add(peer(node as u8, 1, true)).1).collect();
        assert!(table.find(NodeId([0; 32])).is_some(), "the oldest is used");
        let busy = table.connections[1].free.clone().try_acquire_owned().expect("it is free");
        table.make_room();
        let asked: Vec<_> = orders.iter_mut().map(|orders| orders.try_recv().is_ok()).collect();
        assert_eq!(asked.iter().position(|asked| *asked), Some(2), "1 is busy");
        assert_eq!(asked.iter().filter(|asked| **asked).count(), 1);
        drop(busy);
    }

    #[test]
    fn of_two_connections_the_one_with_more_room_is_used_and_one_that_ended_is_not() {
        let mut table = Table::default();
        let first = table.add(peer(1, 1, true)).1;
        let _second = table.add(peer(1, 1, false)).1;
        let permit = table.connections[1].free.clone().try_acquire_owned().expect("it is free");
        let used = |table: &mut Table| match table.find(NodeId([1; 32])) {
            Some(Reached::Connected { free, .. }) => free.available_permits(),
            _ => panic!("it is there"),
        };
        assert_eq!(used(&mut table), AT_ONCE);
        drop(first);
        assert_eq!(used(&mut table), AT_ONCE - 1);
        drop(permit);
    }
}
