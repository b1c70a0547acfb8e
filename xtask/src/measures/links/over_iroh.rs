//! Streams to a node over iroh. Each has an endpoint of its own, since a node links to another one
//! once, and the key of an endpoint is the node id.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey, TransportAddr};
use meshpool::protocol::id::NodeId;
use tokio::io::Join;

/// The application protocol of links.
const ALPN: &[u8] = b"p2p-node/1";
/// How often a node keeps a path alive. The other ends do as it does.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Keeps a stream open.
pub(crate) struct Open {
    _connection: Connection,
    _endpoint: Endpoint,
}

/// Makes an endpoint that has one address, on loopback, so a link has one path. It knows no relay.
pub(crate) async fn endpoint(secret: [u8; 32]) -> Result<(NodeId, Endpoint)> {
    let transport = QuicTransportConfig::builder()
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .build();
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from(secret))
        .portmapper_config(PortmapperConfig::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .bind()
        .await
        .context("an endpoint for links over iroh cannot be made")?;
    Ok((NodeId(*endpoint.id().as_bytes()), endpoint))
}

/// Opens a stream to a node that has one of these UDP ports.
pub(crate) async fn connect(
    endpoint: Endpoint,
    node: NodeId,
    ports: &[u16],
) -> Result<(Join<RecvStream, SendStream>, Open)> {
    let address = |port: &u16| TransportAddr::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
    let to = EndpointAddr::from_parts(EndpointId::from_bytes(&node.0)?, ports.iter().map(address));
    let connection = endpoint.connect(to, ALPN).await.context("the node cannot be reached over iroh")?;
    let (send, receive) = connection.open_bi().await?;
    Ok((tokio::io::join(receive, send), Open { _connection: connection, _endpoint: endpoint }))
}
