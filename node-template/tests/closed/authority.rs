//! A closed network's authority, the folders of its nodes, and strangers who speak TLS as they
//! like.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshpool::protocol::address::PeerAddress;
use meshpool::tls::{Authority, Credentials, Files, NODE_VALIDITY};
use meshpool::{Client, Network, NodeKey};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::common::embedded::Embedded;

/// An authority. Its folder is not needed any more.
pub(crate) struct Ca {
    pub(crate) authority: Authority,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        Self { authority: Authority::create(&root.path().join("network-ca")).unwrap() }
    }

    /// A new folder with a key and a certificate of this authority.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), self.authority.certificate()).unwrap();
        self.certify(folder.path(), NODE_VALIDITY);
        folder
    }

    /// Issues the folder's key another certificate.
    pub(crate) fn certify(&self, folder: &Path, validity: Duration) {
        let key = NodeKey::load_or_create(folder).unwrap();
        std::fs::write(folder.join("node.pem"), self.authority.issue(key.node_id(), validity).unwrap()).unwrap();
    }

    /// Starts a member on any free port.
    pub(crate) async fn start(&self, describe: impl FnOnce(Network) -> Network) -> Embedded {
        Embedded::start_in(self.folder(), |network| describe(network.closed("ca.pem", "node.pem"))).await
    }
}

/// A client with the certificate of a folder.
pub(crate) async fn client(folder: &Path, address: &PeerAddress) -> Client {
    let key = Arc::new(NodeKey::load(folder).unwrap().unwrap());
    let files = Files { ca: "ca.pem".into(), certificate: "node.pem".into() };
    Client::connect_as(address, &Credentials::load(folder, &files, key).unwrap()).await.unwrap()
}

/// A stranger's TLS: it takes any server, and shows the certificate of a folder, or none.
pub(crate) async fn tls(port: u16, folder: Option<&Path>) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let config = match folder {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let certificate = CertificateDer::from_pem_file(folder.join("node.pem")).unwrap();
            builder.with_client_auth_cert(vec![certificate], pkcs8(folder).into()).unwrap()
        }
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("p2p-node").unwrap(), stream).await
}

/// A folder's key as other programs have keys (RFC 8410, section 7).
fn pkcs8(folder: &Path) -> PrivatePkcs8KeyDer<'static> {
    let secret = std::fs::read_to_string(folder.join("node.key")).unwrap();
    let der = format!("302e020100300506032b657004220420{}", secret.trim());
    let der: Vec<u8> = (0..der.len()).step_by(2).map(|at| u8::from_str_radix(&der[at..at + 2], 16).unwrap()).collect();
    der.into()
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        panic!("nodes speak TLS 1.3")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
