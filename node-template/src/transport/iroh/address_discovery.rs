//! Address discovery over QUIC, which a relay serves beside its relaying: a node behind a NAT
//! learns which public address its packets have. It is on the UDP port of the number that the
//! node's TCP port has, so one firewall rule covers both.
//!
//! A client connects, and the QUIC library reports its address to it (the frame OBSERVED_ADDRESS of
//! draft-ietf-quic-address-discovery); it needs no stream. The server of the relay's library takes
//! every connection and keeps it for as long as its client wants. Here their number is bounded, in
//! all and of each address group, and nobody has a place before its address is validated.
//!
//! The server shows a certificate of its own making, and its clients take any: what it says is only
//! a candidate for a path, which two nodes try and which their own keys protect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use iroh_relay::quic::ALPN_QUIC_ADDR_DISC;
use meshpool_proto::IpPrefix;
use noq::crypto::rustls::QuicServerConfig;
use noq::{Endpoint, Incoming, ServerConfig, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::util::group_counts::{Place, Places};

/// How many connections there are at most: two for each client of the relay, which may use IPv4 and
/// IPv6.
const ALL: usize = 256;
/// How many of one address group: two for each of the four clients that the relay serves of one.
const OF_GROUP: usize = 8;
/// How long a place is taken at least. So an address group makes the node compute eight handshakes
/// a second at most.
const HELD: Duration = Duration::from_secs(1);
/// How long a client may be silent. It has its answer after one round trip, and asks again every 20
/// to 26 s.
const SILENCE: Duration = Duration::from_secs(10);
/// How many connections wait until they are accepted, and how many bytes of them. That takes no
/// time, so this many come in one moment; others are repeated by their clients.
const WAITING: usize = 1_024;
const WAITING_BYTES: u64 = 1024 * 1024;

/// A server that has its port, and serves nobody yet. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct AddressDiscovery {
    endpoint: Endpoint,
    port: u16,
    /// The connections that are open, or were a moment ago.
    places: Places,
}

impl AddressDiscovery {
    /// Takes the port of a server.
    ///
    /// # Errors
    /// The system's: mostly that the UDP port is in use.
    pub(crate) fn bind(at: SocketAddr) -> io::Result<Self> {
        let endpoint = Endpoint::server(config(at)?, at)?;
        let port = endpoint.local_addr()?.port();
        Ok(Self { endpoint, port, places: Places::new(ALL, OF_GROUP) })
    }

    /// Serves clients for as long as it is polled. `admits` says whether this node's access rules
    /// admit an address.
    pub(crate) async fn run<F>(self, admits: impl Fn(IpAddr) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { return warn_of_end(self.port) };
                    if !incoming.remote_address_validated() {
                        // A forged address takes no place. It gets less than it sends.
                        incoming.retry().ok();
                        continue;
                    }
                    let ip = incoming.remote_address().ip().to_canonical();
                    match self.places.take(IpPrefix::address_group(ip)) {
                        Some(place) => drop(serving.spawn(serve(incoming, place, admits(ip)))),
                        None => {
                            incoming.refuse();
                            tracing::debug!("{ip} was not told its address: too many ask");
                        }
                    }
                }
                Some(ended) = serving.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("address discovery for a node ended in a fault of this program: {error}");
                    }
                }
            }
        }
    }
}

/// Warns that the socket can be used no more. The relay is announced on.
fn warn_of_end(port: u16) {
    tracing::warn!(
        "UDP port {port} of the relay is lost: nodes behind NATs do not learn their public addresses from it, and their links may stay relayed; start the node again"
    );
}

/// Serves a client to its end. The library tells it its address.
async fn serve(incoming: Incoming, _place: Place, admitted: impl Future<Output = bool>) {
    let serving = async {
        if !admitted.await {
            return incoming.refuse();
        }
        match incoming.await {
            Ok(connection) => drop(connection.closed().await),
            Err(error) => tracing::debug!("a node that asked for its address did not connect: {error}"),
        }
    };
    tokio::join!(serving, sleep(HELD));
}

fn config(at: SocketAddr) -> io::Result<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec![at.ip().to_string()]).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    tls.alpn_protocols = vec![ALPN_QUIC_ADDR_DISC.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(0_u8.into())
        .max_concurrent_bidi_streams(0_u8.into())
        .datagram_receive_buffer_size(None)
        .send_observed_address_reports(true)
        .max_idle_timeout(Some(SILENCE.try_into().expect("it fits in a QUIC integer")));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES);
    Ok(config)
}

/// Returns what takes the certificate of any relay: see the module's page.
///
/// # Errors
/// None.
pub fn any_certificate(provider: Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
    Ok(Arc::new(AnyCertificate(provider)))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::net::Ipv4Addr;

    use futures_util::StreamExt;
    use iroh_relay::quic::QuicClient;
    use noq::Connection;
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// How long an answer may take.
    const WITHIN: Duration = Duration::from_secs(20);

    /// A server with room for so many connections, and its address.
    fn bound(all: usize) -> (AddressDiscovery, SocketAddr) {
        let mut server = AddressDiscovery::bind((LOOPBACK, 0).into()).expect("a port");
        server.places = Places::new(all, OF_GROUP);
        let at = server.endpoint.local_addr().expect("bound");
        (server, at)
    }

    /// The client of the relay's library, and the address of its socket.
    fn client() -> (QuicClient, SocketAddr) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has it")
            .dangerous()
            .with_custom_certificate_verifier(any_certificate(provider).expect("made"))
            .with_no_client_auth();
        let endpoint = Endpoint::client((LOOPBACK, 0).into()).expect("a port");
        let at = endpoint.local_addr().expect("bound");
        (QuicClient::new(endpoint, tls), at)
    }

    /// Asks for the address of a client. Returns the connection with the answer, or why there is
    /// none.
    async fn ask(client: &QuicClient, server: SocketAddr) -> Result<(Connection, Option<SocketAddr>), String> {
        let asking = async {
            let connection = client.create_conn(server, "relay").await.map_err(|error| format!("{error:?}"))?;
            let observed = connection.observed_external_addr().next().await;
            Ok((connection, observed))
        };
        timeout(WITHIN, asking).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_client_is_told_its_address_and_those_beyond_the_bound_are_refused() {
        let (server, at) = bound(2);
        let places = server.places.clone();
        let asking = async {
            let (client, own) = client();
            let (first, observed) = ask(&client, at).await.expect("there is room");
            assert_eq!(observed, Some(own));
            let _second = ask(&client, at).await.expect("there is room");
            let refused = ask(&client, at).await.expect_err("a third one");
            assert!(refused.contains("refused"), "{refused}");
            first.close(0_u8.into(), b"");
            while ask(&client, at).await.is_err() {}
            assert_eq!(places.count(), 2, "it took the place of the first one");
        };
        tokio::select! {
            () = server.run(|_| ready(true)) => unreachable!("it serves on"),
            done = timeout(WITHIN, asking) => done.expect("in time"),
        }
    }

    #[tokio::test]
    async fn an_address_that_is_not_admitted_is_refused() {
        let (server, at) = bound(ALL);
        let asking = async { ask(&client().0, at).await.expect_err("it is denied") };
        tokio::select! {
            () = server.run(|ip| ready(ip != LOOPBACK)) => unreachable!("it serves on"),
            refused = asking => assert!(refused.contains("refused"), "{refused}"),
        }
    }

    #[tokio::test]
    async fn nobody_has_a_place_before_its_address_is_validated() {
        let (server, at) = bound(2);
        let places = server.places.clone();
        let forging = async {
            // What a client sends first; nobody answers there.
            let nobody = UdpSocket::bind((LOOPBACK, 0)).await.expect("a port");
            let to = nobody.local_addr().expect("bound");
            let mut initial = vec![0; 2_048];
            let (honest, _) = client();
            let received = tokio::select! {
                _ = honest.create_conn(to, "relay") => unreachable!("nobody answers"),
                received = nobody.recv_from(&mut initial) => received.expect("a datagram").0,
            };
            initial.truncate(received);
            let mut answer = vec![0; 2_048];
            for _ in 0..10 {
                let forger = UdpSocket::bind((LOOPBACK, 0)).await.expect("a port");
                forger.send_to(&initial, at).await.expect("sent");
                let (length, _) = forger.recv_from(&mut answer).await.expect("an answer");
                // A long header of the type Retry (RFC 9000, section 17.2.5).
                assert_eq!(answer[0] & 0xf0, 0xf0);
                assert!(length < received, "it gets less than it sends");
            }
            assert_eq!(places.count(), 0);
            ask(&honest, at).await.expect("there is room");
        };
        tokio::select! {
            () = server.run(|_| ready(true)) => unreachable!("it serves on"),
            done = timeout(WITHIN, forging) => done.expect("in time"),
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn the_end_of_the_socket_is_logged_with_the_remedy() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let lines = crate::cli::logs::tests::logged(false, || {
            runtime.block_on(async {
                let (server, at) = bound(ALL);
                server.endpoint.close(0_u8.into(), b"");
                timeout(WITHIN, server.run(|_| ready(true))).await.expect("it ends");
                at
            });
        });
        assert!(lines.contains("WARN") && lines.contains("start the node again"), "{lines}");
    }

    #[tokio::test]
    async fn a_udp_port_that_is_in_use_is_an_error_that_says_so() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = taken.local_addr().expect("bound");
        assert_eq!(AddressDiscovery::bind(at).expect_err("it is in use").kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        let server = AddressDiscovery::bind(at).expect("it is free");
        assert_eq!(server.endpoint.local_addr().expect("bound"), at);
    }
}
