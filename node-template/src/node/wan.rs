//! Starts what a node needs for links over iroh, and the relay that it serves for others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use meshpool_proto::address::PeerAddress;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{LookupMode, RelayMode, WanMode, WanSettings};
use crate::core_queries::Queries;
use crate::folder::node_key::NodeKey;
use crate::relay::RelayService;
use crate::transport::arrival::Arrival;
use crate::transport::iroh::address_discovery::AddressDiscovery;
use crate::transport::iroh::endpoint::Wan;
use crate::transport::iroh::identity::WanIdentity;
use crate::transport::iroh::lookup::Lookup;
use crate::transport::subprotocol::Subprotocol;
use crate::transport::websocket::listener::Acceptor;

/// What a node has for links over iroh.
pub(crate) struct WanParts {
    /// `None`: they are off.
    pub(crate) wan: Option<Wan>,
    /// The relay that this node serves.
    pub(crate) relay: Option<RelayService>,
    /// Whether the endpoint starts at once, not only when it is needed.
    starts: bool,
    /// The addresses that the user named.
    known: Vec<PeerAddress>,
    discovery: Vec<AddressDiscovery>,
    queries: Queries,
}

impl WanParts {
    /// Prepares them; nothing runs yet. `known`: the addresses that the user named.
    ///
    /// # Errors
    /// The UDP port that the relay cannot have, and why.
    pub(crate) fn prepare(
        settings: &WanSettings,
        known: &[PeerAddress],
        network: &str,
        key: &NodeKey,
        queries: &Queries,
        address: &PeerAddress,
        listens: &[SocketAddr],
    ) -> Result<Self, (u16, io::Error)> {
        let starts = settings.is_on(known.iter());
        let known = known.to_vec();
        let queries = queries.clone();
        let mut parts = Self { wan: None, relay: None, starts, known, discovery: Vec::new(), queries };
        if settings.mode == WanMode::Off {
            return Ok(parts);
        }
        let identity = WanIdentity { node: key.node_id(), seed: key.seed() };
        let lookup = match &settings.lookup {
            LookupMode::Off => None,
            LookupMode::Dht { bootstrap } => Some(Lookup::new(&identity, network, bootstrap)),
        };
        let mut relays = settings.relays.clone();
        if settings.relay != RelayMode::Off {
            for at in listens {
                parts.discovery.push(AddressDiscovery::bind(*at).map_err(|error| (at.port(), error))?);
            }
            parts.relay = Some(RelayService::new(parts.queries.clone(), settings.relay == RelayMode::Members));
            relays.extend(address.as_relay());
            tracing::info!("this node is a relay for others: TCP and UDP of port {} have to be open", address.port());
        }
        parts.wan = Some(Wan::new(&identity, lookup, relays));
        Ok(parts)
    }

    pub(crate) fn is_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Returns the subprotocol of the relay, for the listener.
    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        self.relay.as_ref().map(RelayService::subprotocol)
    }

    /// Runs them for as long as the tasks do.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<()>, acceptor: &Arc<Acceptor>, arrivals: mpsc::Sender<Arrival>) {
        let Self { wan, starts, known, discovery, queries, .. } = self;
        let Some(wan) = wan else { return };
        for server in discovery {
            let queries = queries.clone();
            tasks.spawn(server.run(move |ip| {
                let queries = queries.clone();
                // A node that has ended admits nobody.
                async move { queries.may_connect(ip).await.unwrap_or(false) }
            }));
        }
        let mut address = wan.address();
        let publishing = wan.clone();
        tasks.spawn(async move { publishing.publish().await });
        let looking_up = wan.clone();
        tasks.spawn(async move { looking_up.look_up_again().await });
        let (running, acceptor) = (wan.clone(), Arc::clone(acceptor));
        tasks.spawn(async move { running.run(move |incoming| Arc::clone(&acceptor).receive_iroh(incoming)).await });
        if starts {
            wan.start();
        }
        // A name may take the resolver half a minute: the endpoint does not wait for it.
        let named = wan.name_relays(&known);
        tasks.spawn(async move { wan.add_named(named).await });
        tasks.spawn(async move {
            while address.changed().await.is_ok() {
                let now = address.borrow_and_update().clone();
                if arrivals.send(Arrival::WanAddress(now)).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::id::{NodeId, Session, UpgradeIdentity};
    use meshpool_proto::limits::Limits;

    use super::*;
    use crate::transport::websocket::listener::Outside;
    use crate::transport::websocket::plain_http::PageLocation;

    #[tokio::test]
    async fn where_they_are_off_links_over_iroh_have_no_task_and_no_socket() {
        for (mode, on) in [(WanMode::Off, false), (WanMode::Auto, true)] {
            let settings = WanSettings { mode, ..WanSettings::default() };
            let (key, queries) = (NodeKey::from_bytes(&[1; 32]), Queries::channel().0);
            let address: PeerAddress = "ws://localhost:4001".parse().expect("an address");
            let parts = WanParts::prepare(&settings, &[], "net", &key, &queries, &address, &[]).expect("no port");
            assert_eq!((parts.wan.is_some(), parts.discovery.len()), (on, 0));
            let identity = UpgradeIdentity { node: NodeId([1; 32]), session: Session::from_random([1; 16]) };
            let outside =
                Outside { address, page: PageLocation::default(), is_relay: false, trusted_proxies: Vec::new() };
            let arrivals = mpsc::channel(1).0;
            let acceptor = Acceptor::new(&identity, outside, Limits::default(), arrivals.clone(), None, Vec::new());
            let mut tasks = JoinSet::new();
            parts.spawn(&mut tasks, &Arc::new(acceptor), arrivals);
            assert_eq!(tasks.is_empty(), !on);
        }
    }
}
