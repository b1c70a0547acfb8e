//! The service of a relay: who is served, and how many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iroh_relay::KeyCache;
use iroh_relay::http::ProtocolVersion;
use iroh_relay::protos::handshake;
use iroh_relay::server::client::Config;
use iroh_relay::server::clients::Clients;
use iroh_relay::server::streams::RelayedStream;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, DynAccessControl, Metrics};
use meshpool_proto::access::Certified;
use meshpool_proto::id::NodeId;
use meshpool_proto::{IpPrefix, Location};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::http::Request;

use crate::core_queries::Queries;
use crate::relay::socket::{Rate, RelaySocket, Traffic};
use crate::transport::subprotocol::{Connection, Subprotocol};
use crate::util::counts::{add, counts};
use crate::util::group_counts::{Group, GroupCounts};

/// The subprotocol of a relay's client.
const SUBPROTOCOL: &str = "iroh-relay-v2";
/// How many clients there are at most …
const CLIENTS: usize = 128;
/// … and how many of one address group: some nodes behind one NAT.
const CLIENTS_OF_ONE: usize = 4;
/// How many connections one of them has at most: the earlier one may be dead, which shows only
/// after 25 s. They take one place. A further one ends the oldest.
const CONNECTIONS_OF_ONE: usize = 2;
/// What each client may send: enough for a node that reconciles a pool meanwhile.
const OF_ONE: Rate = Rate { per_second: 256 * 1024, at_once: 1024 * 1024 };
/// What all may send together.
const OF_ALL: Rate = Rate { per_second: 8 * 1024 * 1024, at_once: 8 * 1024 * 1024 };
/// How many frames each client may send: four times those of a node that sends packets of 1,200
/// bytes at [`OF_ONE`]. Few are let through at once, since a client that leaves and comes again has
/// them all again.
const FRAMES_OF_ONE: Rate = Rate { per_second: 1_000, at_once: 100 };
/// How many all may send together.
const FRAMES_OF_ALL: Rate = Rate { per_second: 16_000, at_once: 16_000 };
/// How long a client has to prove its key. Until then it is one of the pending upgrades, of which
/// the oldest is displaced, and holds no place.
const PROOF_WITHIN: Duration = Duration::from_secs(5);
/// How many keys of clients are kept decoded.
const KEYS: usize = 1_024;

counts! {
    /// Nodes that this node, as a relay, has begun to serve.
    admitted "relay_clients_admitted",
    /// Nodes that it has stopped serving.
    ended "relay_clients_ended",
    /// Nodes that it has refused: too many, or denied.
    refused "relay_clients_refused",
    /// Bytes that it has passed on between nodes.
    bytes "relay_bytes",
}

/// The relay of a node. A clone is the same relay.
#[derive(Debug, Clone)]
pub(crate) struct RelayService(Arc<Relay>);

#[derive(Debug)]
struct Relay {
    queries: Queries,
    /// Whether only nodes are served that are in the network already.
    members_only: bool,
    clients: Clients,
    keys: KeyCache,
    metrics: Arc<Metrics>,
    all: Arc<Mutex<Traffic>>,
    places: Mutex<Places>,
    counts: Counts,
}

/// The places in use.
#[derive(Debug, Default)]
struct Places {
    /// The clients, each in the group of its latest connection.
    clients: GroupCounts,
    /// The connections of each client, in the order in which they came.
    connections: HashMap<NodeId, Vec<(ConnectionId, Group)>>,
}

impl RelayService {
    pub(crate) fn new(queries: Queries, members_only: bool) -> Self {
        Self(Arc::new(Relay {
            queries,
            members_only,
            clients: Clients::default(),
            keys: KeyCache::new(KEYS),
            metrics: Arc::default(),
            all: Arc::new(Mutex::new(Traffic::new(OF_ALL, FRAMES_OF_ALL))),
            places: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// The subprotocol for the listener.
    pub(crate) fn subprotocol(&self) -> Subprotocol {
        let relay = self.clone();
        let subprotocol = Subprotocol::new(SUBPROTOCOL, move |connection| {
            let relay = relay.clone();
            async move {
                let remote = connection.remote;
                if let Err(reason) = relay.serve(connection).await {
                    tracing::debug!("the relay did not serve a client from {remote}: {reason}");
                }
            }
        });
        subprotocol.of_relay()
    }

    /// Ends the connections to all clients.
    pub(crate) async fn close(&self) {
        self.0.clients.shutdown().await;
    }

    /// The counters, by name.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bytes = self.0.all.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        self.0.counts.bytes.store(bytes, Ordering::Relaxed);
        self.0.counts.entries()
    }

    /// Serves a client to its end.
    async fn serve(&self, connection: Connection) -> Result<(), String> {
        let relay = &self.0;
        let Connection { socket, remote, certified, pending, .. } = connection;
        let mut socket = RelaySocket::new(socket, Traffic::new(OF_ONE, FRAMES_OF_ONE), Arc::clone(&relay.all));
        let (ended, wait) = oneshot::channel();
        let admission = Admission { relay: Arc::clone(relay), remote, certified, ended: Mutex::new(Some(ended)) };
        let proving = async {
            let proved = handshake::serverside(&mut socket, None).await.map_err(|error| error.to_string())?;
            let access: Arc<dyn DynAccessControl> = Arc::new(admission);
            let (head, ()) = Request::new(()).into_parts();
            let request = ClientRequest::new(proved.client_key, ProtocolVersion::V2, head);
            proved.authorize_with(&request, &access, &mut socket).await.map_err(|error| error.to_string())
        };
        let displaced = async {
            match pending {
                Some(mut pending) => pending.displaced().await,
                None => std::future::pending().await,
            }
        };
        let guard = tokio::select! {
            proved = tokio::time::timeout(PROOF_WITHIN, proving) => {
                proved.map_err(|_| "it did not prove its key in time")??
            }
            () = displaced => return Err("it was slow to prove its key, and was displaced by others".to_owned()),
        };
        let client = Config::new(guard, RelayedStream::new(socket, relay.keys.clone()), ProtocolVersion::V2);
        relay.clients.register(client, Arc::clone(&relay.metrics));
        // The task that accepted it ends then, too.
        wait.await.unwrap_or_default();
        Ok(())
    }
}

impl Relay {
    fn places(&self) -> MutexGuard<'_, Places> {
        // All numbers are changed without a call between that could panic.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a client, or lets another connection share its place. `end` ends the
    /// oldest connection of a client that has too many, and returns whether it is registered.
    ///
    /// # Errors
    /// What it is told.
    fn take_place(
        &self,
        node: NodeId,
        connection: ConnectionId,
        remote: IpAddr,
        end: impl FnOnce(ConnectionId) -> bool,
    ) -> Result<(), String> {
        let group = IpPrefix::address_group(remote);
        let mut places = self.places();
        let Places { clients, connections } = &mut *places;
        let before = connections.get(&node).and_then(|open| open.last()).map(|(_, group)| *group);
        if before.is_none() && clients.total() >= CLIENTS {
            return Err(format!("this relay serves {CLIENTS} nodes already; use another one"));
        }
        // This host has no bound of its own.
        if before != Some(group) && clients.is_full(group, CLIENTS_OF_ONE) {
            return Err(format!("this relay serves {CLIENTS_OF_ONE} nodes from your address already; use another one"));
        }
        let open = connections.entry(node).or_default();
        if open.len() >= CONNECTIONS_OF_ONE {
            // One that is not registered yet cannot be ended, and is not dead.
            if !end(open[0].0) {
                return Err(format!(
                    "this relay takes {CONNECTIONS_OF_ONE} connections of your node at a time already"
                ));
            }
            open.remove(0);
        }
        if let Some(before) = before {
            clients.remove(before);
        }
        clients.add(group);
        open.push((connection, group));
        add(&self.counts.admitted, 1);
        Ok(())
    }

    /// Notes the end of a connection. The last one of a client gives its place back.
    fn give_back(&self, node: NodeId, connection: ConnectionId) {
        let mut places = self.places();
        let Places { clients, connections } = &mut *places;
        // One that was ended for another has no place any more.
        if let Some(open) = connections.get_mut(&node)
            && let Some(index) = open.iter().position(|(other, _)| *other == connection)
        {
            let counted = open.last().map(|(_, group)| *group);
            open.remove(index);
            counted.into_iter().for_each(|group| clients.remove(group));
            match open.last() {
                Some((_, group)) => clients.add(*group),
                None => drop(connections.remove(&node)),
            }
        }
        add(&self.counts.ended, 1);
    }
}

/// Decides on one client, and hears of its end.
struct Admission {
    relay: Arc<Relay>,
    remote: IpAddr,
    certified: Option<Certified>,
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Admission {
    async fn admit(&self, request: &ClientRequest) -> Result<(), String> {
        let client = request.endpoint_id();
        let node = NodeId(*client.as_bytes());
        let ended = |_| "this node shuts down".to_owned();
        self.relay.queries.may_request(self.remote, self.certified, node).await.map_err(ended)??;
        if self.relay.members_only && matches!(self.relay.queries.locate(node).await.map_err(ended)?, Location::Unknown)
        {
            return Err("this relay serves nodes that are in its network already (RELAY=members)".to_owned());
        }
        // The library then ends it in a task of its own.
        let end = |oldest| self.relay.clients.disconnect(client, Some(oldest));
        self.relay.take_place(node, request.connection_id(), self.remote, end)
    }
}

impl AccessControl for Admission {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        match self.admit(request).await {
            Ok(()) => Access::Allow,
            Err(reason) => {
                add(&self.relay.counts.refused, 1);
                tracing::debug!("the relay refused a client from {}: {reason}", self.remote);
                Access::Deny { reason: Some(reason) }
            }
        }
    }

    fn on_disconnect(&self, node: iroh::EndpointId, connection: ConnectionId) {
        self.relay.give_back(NodeId(*node.as_bytes()), connection);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody waits if the node ends.
        if let Some(ended) = ended {
            ended.send(()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;
    use iroh_relay::server::OnDisconnectGuard;

    use super::*;

    fn relay() -> RelayService {
        RelayService::new(Queries::channel().0, false)
    }

    /// A connection that no other one equals.
    fn connection() -> ConnectionId {
        OnDisconnectGuard::empty(SecretKey::from_bytes(&[1; 32]).public()).connection_id()
    }

    /// A connection of client `n`, for which no other one ends.
    fn take(relay: &RelayService, n: u8, ip: &str) -> Result<ConnectionId, String> {
        let new = connection();
        let taken = relay.0.take_place(NodeId([n; 32]), new, ip.parse().expect("an address"), |_| false);
        taken.map(|()| new)
    }

    fn end(relay: &RelayService, n: u8, connection: ConnectionId) {
        relay.0.give_back(NodeId([n; 32]), connection);
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_address_group_and_given_back() {
        let relay = relay();
        let first = take(&relay, 1, "192.0.2.1").expect("a place");
        for n in 2..=4 {
            take(&relay, n, "192.0.2.1").expect("a place");
        }
        let refused = take(&relay, 5, "192.0.2.1").expect_err("all of its group");
        assert!(refused.contains("from your address") && refused.contains('4'), "{refused}");
        take(&relay, 5, "2001:db8::1").expect("another group");
        end(&relay, 1, first);
        take(&relay, 6, "192.0.2.1").expect("it was given back");
        for n in 7..=129 {
            take(&relay, n, &format!("198.51.100.{n}")).expect("a place");
        }
        let refused = take(&relay, 130, "203.0.113.1").expect_err("the 129th");
        assert!(refused.contains("128 nodes already") && refused.contains("use another one"), "{refused}");
        let refused = take(&relay, 130, "127.0.0.1").expect_err("a program of this host, too");
        assert!(refused.contains("128"), "{refused}");
        let counts: HashMap<_, _> = relay.counts().collect();
        assert_eq!((counts["relay_clients_admitted"], counts["relay_clients_ended"]), (129, 1));
    }

    #[test]
    fn clients_that_come_again_while_their_dead_connections_are_open_find_their_places() {
        let relay = relay();
        let dead: Vec<_> = (1..=4).map(|n| take(&relay, n, "192.0.2.1").expect("a place")).collect();
        for n in 1..=4 {
            take(&relay, n, "192.0.2.1").expect("the same node");
        }
        let refused = take(&relay, 1, "192.0.2.1").expect_err("a third connection, and none is registered");
        assert!(refused.contains("2 connections of your node"), "{refused}");
        assert!(take(&relay, 5, "192.0.2.1").is_err(), "another node");
        (1..=4).zip(dead).for_each(|(n, dead)| end(&relay, n, dead));
        assert!(take(&relay, 5, "192.0.2.1").is_err(), "the four are served");
    }

    #[test]
    fn a_third_connection_of_a_client_ends_the_oldest_one() {
        let relay = relay();
        let (first, second) = (take(&relay, 1, "192.0.2.1").expect("a place"), take(&relay, 1, "192.0.2.1"));
        let (mut ended, third) = (None, connection());
        let end_it = |oldest| ended.replace(oldest).is_none();
        let taken = relay.0.take_place(NodeId([1; 32]), third, [192, 0, 2, 1].into(), end_it);
        assert_eq!((taken, ended), (Ok(()), Some(first)));
        end(&relay, 1, first);
        let clients = || relay.0.places().clients.total();
        assert_eq!(clients(), 1, "the others are open");
        end(&relay, 1, second.expect("a place"));
        end(&relay, 1, third);
        assert!(clients() == 0 && relay.0.places().connections.is_empty());
    }

    #[test]
    fn a_client_counts_for_the_address_of_its_latest_connection() {
        let relay = relay();
        let of = |ip: &str| relay.0.places().clients.of(IpPrefix::address_group(ip.parse().expect("an address")));
        let old = take(&relay, 1, "192.0.2.1").expect("a place");
        let new = take(&relay, 1, "203.0.113.1").expect("its router has another address");
        assert_eq!((of("192.0.2.1"), of("203.0.113.1")), (0, 1));
        end(&relay, 1, old);
        assert_eq!((of("192.0.2.1"), of("203.0.113.1")), (0, 1));
        let third = take(&relay, 1, "198.51.100.1").expect("again");
        end(&relay, 1, third);
        assert_eq!((of("198.51.100.1"), of("203.0.113.1")), (0, 1), "the one before is still open");
        for n in 2..=5 {
            take(&relay, n, "192.0.2.1").expect("a place");
        }
        assert!(take(&relay, 1, "192.0.2.1").is_err(), "a group that is full takes no client of another one");
        end(&relay, 1, new);
        assert_eq!(of("203.0.113.1"), 0);
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let relay = relay();
        for n in 0..200_u8 {
            let place = take(&relay, n, &format!("192.0.2.{n}")).expect("a place");
            end(&relay, n, place);
        }
        assert!(relay.0.places().connections.is_empty() && relay.0.places().clients.total() == 0);
    }
}
