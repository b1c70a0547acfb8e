//! The open connections of requests, and the dials under way.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::IpPrefix;
use meshpool_proto::id::{NodeId, Nonce};
use meshpool_proto::util::generations::Generations;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::requests::error::RequestError;
use crate::requests::order::{AT_ONCE, Order, Peer};

/// How many connections this node dials. One more ends the one that was idle for longest.
const DIALLED: usize = 64;
/// How many it accepts …
const ACCEPTED: usize = 128;
/// … and how many of one address group, loopback excepted …
const ACCEPTED_OF_GROUP: usize = 8;
/// … and of one node; so many it dials to one that asks for them. A newer one replaces the oldest:
/// the node may have lost it.
const OF_NODE: usize = 2;
/// How long it is remembered that a node does not know requests: it may be updated.
pub(super) const UNSUPPORTED: Duration = Duration::from_secs(60);
/// How many such nodes are remembered, twice at most.
const UNSUPPORTED_NODES: usize = 256;
/// How many connections that peers asked for are opened at once.
const CALLING_BACK: usize = 16;

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
pub(super) type Dial = Mutex<Option<RequestError>>;

/// Tells a request that the connection is open for which it asked.
pub(super) type CallBackWaiter = oneshot::Sender<()>;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    connections: Vec<Entry>,
    pub(super) dials: HashMap<NodeId, Arc<Dial>>,
    pub(super) unsupported: Generations<NodeId, Instant>,
    /// The nodes that were asked for a connection. Each has one dial, so one request waits.
    callbacks: HashMap<NodeId, (Nonce, CallBackWaiter)>,
    /// The nodes to which a connection is opened that they asked for.
    calling_back: HashSet<NodeId>,
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
    /// Unbounded, as senders never wait. Its length is bounded: each request in it holds one of the
    /// permits of `free`, and connections that are replaced are accepted at a bounded rate.
    orders: mpsc::UnboundedSender<Order>,
    free: Arc<Semaphore>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            dials: HashMap::new(),
            unsupported: Generations::new(UNSUPPORTED_NODES),
            callbacks: HashMap::new(),
            calling_back: HashSet::new(),
            clock: 0,
        }
    }
}

impl Table {
    /// Returns the connection to a node that takes most requests now; of equal ones the newest.
    pub(super) fn find(&mut self, node: NodeId) -> Option<Reached> {
        self.clock += 1;
        let clock = self.clock;
        let open = self.connections.iter_mut().filter(|entry| entry.node == node && !entry.orders.is_closed());
        let entry = open.max_by_key(|entry| (entry.free.available_permits(), entry.number))?;
        entry.used = clock;
        Some(Reached::Connected { orders: entry.orders.clone(), free: Arc::clone(&entry.free) })
    }

    /// Adds a connection, and returns its number.
    pub(super) fn add(&mut self, peer: Peer) -> (u64, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        self.clock += 1;
        let (number, free) = (self.clock, Arc::new(Semaphore::new(AT_ONCE)));
        let Peer { node, remote, dialled, .. } = peer;
        self.connections.push(Entry { number, used: number, node, remote, dialled, orders, free });
        (number, receiver)
    }

    /// Waits for a connection for which a node is asked.
    pub(super) fn await_callback(&mut self, node: NodeId, nonce: Nonce) -> oneshot::Receiver<()> {
        let (opened, wait) = oneshot::channel();
        self.callbacks.insert(node, (nonce, opened));
        wait
    }

    /// Takes the request that waits for a connection of a node with this nonce.
    pub(super) fn take_callback(&mut self, node: NodeId, nonce: Nonce) -> Option<CallBackWaiter> {
        self.callbacks.get(&node).filter(|(awaited, _)| *awaited == nonce)?;
        self.callbacks.remove(&node).map(|(_, opened)| opened)
    }

    /// Begins to open a connection that a node asked for. Returns whether it may be: one to each
    /// node at a time, and few to all.
    pub(super) fn begin_call_back(&mut self, node: NodeId) -> bool {
        self.calling_back.len() < CALLING_BACK && self.calling_back.insert(node)
    }

    /// Ends to open a connection that a node asked for.
    pub(super) fn end_call_back(&mut self, node: NodeId) {
        self.calling_back.remove(&node);
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, number: u64) {
        self.connections.retain(|entry| entry.number != number);
    }

    /// Makes room for a connection that was dialled. The one that goes may be busy with requests of
    /// the other end; then it stays, and there is one more.
    pub(super) fn make_room(&self) {
        let dialled = || self.connections.iter().filter(|entry| entry.dialled);
        if dialled().count() >= DIALLED
            && let Some(oldest) =
                dialled().filter(|entry| entry.free.available_permits() == AT_ONCE).min_by_key(|entry| entry.used)
        {
            oldest.orders.send(Order::CloseIfIdle).unwrap_or_default();
        }
    }

    /// Ends the oldest connection to a node that this end dialled, or that the other did, if there
    /// are as many as there may be. Returns whether there are.
    pub(super) fn replace_oldest(&self, node: NodeId, dialled: bool) -> bool {
        let of_node = || self.connections.iter().filter(|entry| entry.dialled == dialled && entry.node == node);
        let full = of_node().count() >= OF_NODE;
        if let Some(oldest) = of_node().min_by_key(|entry| entry.number).filter(|_| full) {
            oldest.orders.send(Order::Replaced).unwrap_or_default();
        }
        full
    }

    /// Returns whether a connection from a node is taken; ends an older one of it if need be.
    pub(super) fn may_accept(&self, node: NodeId, remote: IpAddr) -> bool {
        if self.replace_oldest(node, false) {
            return true;
        }
        let accepted = || self.connections.iter().filter(|entry| !entry.dialled);
        let group = IpPrefix::address_group(remote);
        let of_group = accepted().filter(|entry| group.is_some() && IpPrefix::address_group(entry.remote) == group);
        accepted().count() < ACCEPTED && of_group.count() < ACCEPTED_OF_GROUP
    }
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
    fn of_three_connections_that_one_node_asked_for_the_oldest_is_replaced() {
        let mut table = Table::default();
        let mut dialled: Vec<_> = (0..2).map(|_| table.add(peer(1, 1, true)).1).collect();
        dialled.push(table.add(peer(1, 1, false)).1);
        dialled.push(table.add(peer(2, 1, true)).1);
        assert!(table.replace_oldest(NodeId([1; 32]), true) && !table.replace_oldest(NodeId([2; 32]), true));
        let replaced = dialled.iter_mut().map(|orders| matches!(orders.try_recv(), Ok(Order::Replaced)));
        assert_eq!(replaced.collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn a_callback_is_taken_once_by_the_node_and_the_nonce_that_were_asked() {
        let (node, other, nonce) = (NodeId([1; 32]), NodeId([2; 32]), Nonce([7; 32]));
        let mut table = Table::default();
        assert!(table.take_callback(node, nonce).is_none(), "nobody asked");
        let mut wait = table.await_callback(node, nonce);
        assert!(table.take_callback(other, nonce).is_none(), "another node");
        assert!(table.take_callback(node, Nonce([8; 32])).is_none(), "another nonce");
        let opened = table.take_callback(node, nonce).expect("it is awaited");
        assert!(table.take_callback(node, nonce).is_none(), "once");
        opened.send(()).expect("it waits");
        assert!(wait.try_recv().is_ok());
    }

    #[test]
    fn one_callback_to_each_node_is_under_way_and_few_to_all() {
        let mut table = Table::default();
        let nodes: Vec<_> = (0..=CALLING_BACK).map(|node| NodeId([node as u8; 32])).collect();
        assert!(table.begin_call_back(nodes[0]) && !table.begin_call_back(nodes[0]));
        assert!(nodes[1..CALLING_BACK].iter().all(|node| table.begin_call_back(*node)));
        assert!(!table.begin_call_back(nodes[CALLING_BACK]), "no room");
        table.end_call_back(nodes[0]);
        assert!(table.begin_call_back(nodes[CALLING_BACK]));
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
