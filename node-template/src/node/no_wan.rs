//! Stands in for links over iroh in a program built without the feature `wan`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use meshpool_proto::address::PeerAddress;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::WanSettings;
use crate::core_queries::Queries;
use crate::folder::node_key::NodeKey;
use crate::relay::RelayService;
use crate::transport::arrival::Arrival;
use crate::transport::iroh::endpoint::Wan;
use crate::transport::subprotocol::Subprotocol;
use crate::transport::websocket::listener::Acceptor;

pub(crate) struct WanParts {
    pub(crate) wan: Option<Wan>,
    pub(crate) relay: Option<RelayService>,
}

impl WanParts {
    pub(crate) fn prepare(
        settings: &WanSettings,
        _: &[PeerAddress],
        _: &str,
        _: &NodeKey,
        _: &Queries,
        _: &PeerAddress,
        _: &[SocketAddr],
    ) -> Result<Self, (u16, io::Error)> {
        // Of addresses the settings warn.
        if settings.is_on(std::iter::empty()) {
            tracing::warn!(
                "this program was built without the feature \"wan\": WAN, RELAY, RELAYS and LOOKUP have no effect"
            );
        }
        Ok(Self { wan: None, relay: None })
    }

    #[expect(clippy::unused_self, reason = "with the feature it may be one")]
    pub(crate) fn is_relay(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "with the feature it has one")]
    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        None
    }

    pub(crate) fn spawn(self, _: &mut JoinSet<()>, _: &Arc<Acceptor>, _: mpsc::Sender<Arrival>) {}
}
