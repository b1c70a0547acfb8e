//! A client of a relay's address discovery, as far as an attacker needs it: connections over UDP
//! that it holds, and beginnings of such connections.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use meshpool::binary::relay::any_certificate;
use noq::crypto::rustls::QuicClientConfig;
use noq::rustls;
use noq::{ClientConfig, Connection, Endpoint, TransportConfig};
use tokio::time::{sleep, timeout};

use crate::support::running_nodes::block_on;

/// How many connections of one address a relay serves.
pub(crate) const PLACES: u64 = 8;

/// The application protocol (RFC 7301).
const ALPN: &[u8] = b"/iroh-qad/0";
/// How many connections are opened at once.
const AT_ONCE: usize = 64;
/// How often a connection that is held says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The pause after a connection that was refused, and the longest wait for an answer.
const PAUSE: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(200);
/// The largest datagram that a client begins with.
const DATAGRAM: usize = 2_048;

/// Opens connections and holds all that it gets. Calls `count` for each that it tries. Returns how
/// many it holds at the end.
pub(crate) fn hold(to: SocketAddr, until: Instant, count: impl Fn()) -> Result<u64> {
    block_on(async {
        let endpoint = client()?;
        let (mut held, mut connecting) = (Vec::<Connection>::new(), FuturesUnordered::new());
        while Instant::now() < until {
            while connecting.len() < AT_ONCE {
                connecting.push(endpoint.connect(to, "relay")?);
                count();
            }
            match timeout(STEP, connecting.next()).await {
                Ok(Some(Ok(connection))) => held.push(connection),
                Ok(Some(Err(_))) => sleep(PAUSE).await,
                Ok(None) | Err(_) => {}
            }
        }
        Ok(held.iter().filter(|connection| connection.close_reason().is_none()).count() as u64)
    })
}

/// Sends what a client sends first, again and again, and reads no answer. Calls `count` with the
/// bytes of each.
pub(crate) fn begin(to: SocketAddr, until: Instant, count: impl Fn(u64)) -> Result<()> {
    let initial = block_on(async {
        let nobody = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = client()?;
        let _connecting = endpoint.connect(nobody.local_addr()?, "relay")?;
        let mut bytes = vec![0; DATAGRAM];
        let (length, _) = nobody.recv_from(&mut bytes).await?;
        bytes.truncate(length);
        anyhow::Ok(bytes)
    })?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    while Instant::now() < until {
        // The system has no room for it now and then.
        let sent = socket.send_to(&initial, to).unwrap_or_default();
        count(sent as u64);
    }
    Ok(())
}

fn client() -> Result<Endpoint> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(any_certificate(provider)?)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}
