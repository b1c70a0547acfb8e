//! Starts what a node needs for links over iroh, and the relay that it serves for others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh_relay::server::Server;
use meshpool_proto::address::PeerAddress;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{LookupMode, RelayMode, WanMode, WanSettings};
use crate::core_queries::Queries;
use crate::folder::node_key::NodeKey;
use crate::relay::RelayService;
use crate::transport::arrival::Arrival;
use crate::transport::iroh::address_discovery;
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
    /// They end when they are dropped.
    discovery: Vec<Server>,
}

impl WanParts {
    /// Prepares them; nothing runs yet but the servers for address discovery. `known`: the
    /// addresses that the user named.
    ///
    /// # Errors
    /// The UDP port that the relay cannot have, and why.
    pub(crate) async fn prepare(
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
        let mut parts = Self { wan: None, relay: None, starts, known, discovery: Vec::new() };
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
                let server = address_discovery::serve(*at).await;
                parts.discovery.push(server.map_err(|error| (at.port(), error))?);
            }
            parts.relay = Some(RelayService::new(queries.clone(), settings.relay == RelayMode::Members));
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
        let Self { wan, starts, known, discovery, .. } = self;
        let Some(wan) = wan else { return };
        let mut address = wan.address();
        let publishing = wan.clone();
        tasks.spawn(async move { publishing.publish().await });
        let looking_up = wan.clone();
        tasks.spawn(async move { looking_up.look_up_again().await });
        let (running, acceptor) = (wan.clone(), Arc::clone(acceptor));
        tasks.spawn(async move {
            let _discovery = discovery;
            if starts {
                wan.start();
            }
            wan.add_named(wan.name_relays(&known)).await;
            running.run(move |incoming| Arc::clone(&acceptor).receive_iroh(incoming)).await;
        });
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
