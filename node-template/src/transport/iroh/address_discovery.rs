//! Address discovery over QUIC, which a relay serves beside its relaying: a node behind a NAT
//! learns which public address its packets have. It is on the UDP port of the number that the
//! node's TCP port has, so one firewall rule covers both.
//!
//! The server shows a certificate of its own making, and its clients take any: what it says is only
//! a candidate for a path, which two nodes try and which their own keys protect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh_relay::server::{QuicConfig, Server, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// Starts the server; dropping it ends it.
///
/// # Errors
/// The system's: mostly that the UDP port is in use.
pub(crate) async fn serve(at: SocketAddr) -> io::Result<Server> {
    // The library says only that it could not bind; here it is known why.
    drop(std::net::UdpSocket::bind(at)?);
    let made = rcgen::generate_simple_self_signed(vec![at.ip().to_string()]).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    let mut quic = QuicConfig::new(at);
    quic.server_config = Some(tls);
    let mut config = ServerConfig::default();
    config.quic = Some(quic);
    Server::spawn(config).await.map_err(io::Error::other)
}

/// Takes the certificate of any relay: see the module's page.
pub(super) fn any_certificate(provider: Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
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
    use super::*;

    #[tokio::test]
    async fn a_udp_port_that_is_in_use_is_an_error_that_says_so() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = taken.local_addr().expect("bound");
        assert_eq!(serve(at).await.expect_err("it is in use").kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        let server = serve(at).await.expect("it is free");
        assert_eq!(server.quic_addr(), Some(at));
    }
}
