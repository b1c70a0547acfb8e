//! The credentials of a node in a closed network: what it shows, and what it accepts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::folder::files::{FolderError, read_text, shown};
use crate::folder::node_key::NodeKey;
use crate::protocol::access::Certified;
use crate::tls::authority::CERTIFICATE_NAME;
use crate::tls::certificate::Certificate;
use crate::tls::errors;
use crate::util::byte_stream::ByteStream;

/// The files, besides `node.key`, that make a node a member of a closed network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The authority's certificate, PEM; relative to the folder.
    pub ca: PathBuf,
    /// The node's own, PEM; relative to the folder.
    pub certificate: PathBuf,
}

/// Why a node has no credentials. One line: which file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file is missing.
    #[error("{path} is missing ({setting}): {remedy}")]
    Missing {
        /// The file.
        path: String,
        /// The setting that names it.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file has no certificate.
    #[error(
        "{path} has no certificate ({setting}): it must be a PEM file as 'cargo xtask issue-certificate' writes it; {remedy}"
    )]
    Broken {
        /// The file.
        path: String,
        /// The setting that names it.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A certificate among those of the authorities is none of an authority.
    #[error(
        "{path} has the certificate of node {node} among those of authorities ({setting}): that node could admit others; take it out"
    )]
    NoAuthority {
        /// The file.
        path: String,
        /// The setting that names it.
        setting: &'static str,
        /// Whose certificate it is.
        node: String,
    },
    /// The certificate does not match the folder's key.
    #[error(
        "{path} is the certificate of node {certificate}, but the folder's node.key is that of {key}: issue one for this key (meshpool --request-certificate), or restore the right key"
    )]
    OtherKey {
        /// The file.
        path: String,
        /// The node of the certificate.
        certificate: String,
        /// The node of the key.
        key: String,
    },
    /// The certificate is not valid.
    #[error("{path} is not valid under {ca}: {why}")]
    Refused {
        /// The file.
        path: String,
        /// The authority's file.
        ca: String,
        /// Why, and what to do.
        why: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The TLS library refused.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// The credentials of a node in a closed network, ready for connections.
#[derive(Clone)]
pub struct Credentials {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    certified: Certified,
    not_before: SystemTime,
    not_after: SystemTime,
    ca_not_before: SystemTime,
    ca_not_after: SystemTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.certified.node.short())
    }
}

impl Credentials {
    /// Reads the files of a node's folder, and checks that the certificate matches the key, that
    /// the authority signed it, and that it is valid now.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(folder: &Path, files: &Files, key: Arc<NodeKey>) -> Result<Self, CredentialsError> {
        const GET_CA: &str =
            "copy the network's ca.pem there (it is in the folder that 'cargo xtask new-network' made)";
        const GET_CERTIFICATE: &str = "make a request with 'meshpool --request-certificate > node.csr' and have it signed with 'cargo xtask issue-certificate --request node.csr -o node.pem'";
        // Several, while one authority replaces another: each counts.
        let authorities = read_all(folder, &files.ca, "NETWORK_CA", GET_CA)?;
        let own = read_all(folder, &files.certificate, "CERTIFICATE", GET_CERTIFICATE)?;
        let (path, ca_path) = (shown_file(folder, &files.certificate), shown_file(folder, &files.ca));
        let broken = |path: &str, setting, remedy| CredentialsError::Broken { path: path.to_owned(), setting, remedy };
        let (own, read) = longest(own, &key).map_err(|other| match other {
            Some(other) => {
                let (certificate, key) = (other.node.to_string(), key.node_id().to_string());
                CredentialsError::OtherKey { path: path.clone(), certificate, key }
            }
            None => broken(&path, "CERTIFICATE", GET_CERTIFICATE),
        })?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            if let Some(node) = Certificate::read(authority).filter(|read| !read.is_authority) {
                let (path, node) = (ca_path, node.node.to_string());
                return Err(CredentialsError::NoAuthority { path, setting: "NETWORK_CA", node });
            }
            roots.add(authority.clone()).map_err(|_| broken(&ca_path, "NETWORK_CA", GET_CA))?;
        }
        let certified = certified(&own).ok_or_else(|| broken(&path, "CERTIFICATE", GET_CERTIFICATE))?;
        let tls = |error: &dyn fmt::Display| CredentialsError::Tls(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { roots: Arc::new(roots), algorithms };
        verifier.check(&own, &[], UnixTime::now()).map_err(|error| CredentialsError::Refused {
            path,
            ca: ca_path.clone(),
            why: errors::own_certificate(&error),
        })?;
        let checked = own.clone();
        let shown = Arc::new(Shown(Arc::new(CertifiedKey::new(vec![own], Arc::new(Key(key))))));
        let server = Self::server(&provider, &verifier, Arc::clone(&shown)).map_err(|error| tls(&error))?;
        let client = Self::client(provider, verifier, shown).map_err(|error| tls(&error))?;
        // Of the authorities that issued the certificate the one that lasts longest.
        let issuers = authorities.iter().filter(|authority| issued(authority, &checked, algorithms));
        let issuer = issuers.filter_map(|authority| Certificate::read(authority)).max_by_key(|read| read.not_after);
        let issuer = issuer.ok_or_else(|| broken(&ca_path, "NETWORK_CA", GET_CA))?;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            certified,
            not_before: read.not_before,
            not_after: read.not_after,
            ca_not_before: issuer.not_before,
            ca_not_after: issuer.not_after,
        })
    }

    fn server(
        provider: &Arc<CryptoProvider>,
        verifier: &Verifier,
        shown: Arc<Shown>,
    ) -> Result<ServerConfig, rustls::Error> {
        // Without a certificate, a client does not learn the authority's name.
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&verifier.roots), Arc::clone(provider))
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13])?;
        let mut server = builder.with_client_cert_verifier(clients).with_cert_resolver(shown);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(server)
    }

    fn client(
        provider: Arc<CryptoProvider>,
        verifier: Verifier,
        shown: Arc<Shown>,
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = builder.with_client_cert_resolver(shown);
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(client)
    }

    /// Returns the identity that the certificate proves.
    pub fn certified(&self) -> Certified {
        self.certified
    }

    /// Returns when the node's certificate or the authority's expires, whichever is first.
    pub fn not_after(&self) -> SystemTime {
        self.not_after.min(self.ca_not_after)
    }

    /// Returns since when the node's certificate and the authority's are both valid.
    pub(crate) fn not_before(&self) -> SystemTime {
        self.not_before.max(self.ca_not_before)
    }

    /// Returns a warning of when they are valid, and its stage: 1 within 30 days of the end, 2
    /// within 7 days, 3 expired, 4 not valid yet. The node does not start in the last two, but its
    /// clock may be set while it runs, and nobody else checks the authority's time.
    pub(crate) fn validity(&self, now: SystemTime) -> Option<(u8, String)> {
        let ends = self.not_after();
        let authority = (
            "the network's authority",
            "make a new one with 'cargo xtask new-network' and issue every node a certificate",
        );
        let own = (
            "this node's certificate",
            "issue it a new one with 'cargo xtask issue-certificate'; the node takes the file while it runs",
        );
        let begins = self.not_before();
        if now < begins {
            let (what, remedy) = if self.ca_not_before == begins { authority } else { own };
            let begins = errors::utc(begins);
            let text = format!(
                "by this machine's clock {what} is not valid before {begins}, so this node refuses others or they refuse it: set the clock; if it is right, {remedy}"
            );
            return Some((4, text));
        }
        let (what, remedy) = if self.ca_not_after <= self.not_after { authority } else { own };
        let Ok(left) = ends.duration_since(now) else {
            return Some((
                3,
                format!(
                    "by this machine's clock {what} has expired, and other nodes refuse this one: check the clock; {remedy}"
                ),
            ));
        };
        let stage = if left < WARN_LAST {
            2
        } else if left < WARN_FIRST {
            1
        } else {
            return None;
        };
        Some((stage, format!("{what} expires in {}: {remedy}", crate::events::text::time_left(left))))
    }

    /// Does the TLS handshake as server, and returns the client's identity. An error comes with the
    /// connection, so that the caller can still reply on it.
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<(ByteStream<S>, Certified), (io::Error, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).into_fallible().await?;
        match peer(accepted.get_ref().1.peer_certificates()) {
            Ok(certified) => Ok((ByteStream::Tls(Box::new(TlsStream::Server(accepted))), certified)),
            Err(error) => Err((error, accepted.into_inner().0)),
        }
    }

    /// Does the TLS handshake over a connection to a node of the network, and returns the node's
    /// identity: for programs that implement the protocol themselves.
    ///
    /// # Errors
    /// The TLS library's error, as an [`io::Error`]: one side does not accept the other's
    /// certificate. A refusal by the server may show only at the first read.
    pub async fn secure<S>(
        &self,
        stream: S,
    ) -> io::Result<(impl AsyncRead + AsyncWrite + Unpin + Send + use<S>, Certified)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        self.connect(stream).await
    }

    /// Does the TLS handshake as client, and returns the server's identity.
    pub(crate) async fn connect<S>(&self, stream: S) -> io::Result<(ByteStream<S>, Certified)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(CERTIFICATE_NAME).expect("it is a host name");
        let connected = TlsConnector::from(Arc::clone(&self.client)).connect(name, stream).await?;
        let certified = peer(connected.get_ref().1.peer_certificates())?;
        Ok((ByteStream::Tls(Box::new(TlsStream::Client(connected))), certified))
    }
}

/// The first warning before a certificate expires …
const WARN_FIRST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// … and the second.
const WARN_LAST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Credentials that can be replaced while the node runs. Open connections keep the old ones.
#[derive(Debug)]
pub(crate) struct Live(RwLock<Arc<Credentials>>);

impl Live {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self(RwLock::new(Arc::new(credentials)))
    }

    pub(crate) fn now(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Returns since when the credentials are valid, in seconds since 1970.
    pub(crate) fn begins(&self) -> u64 {
        since_1970(self.now().not_before())
    }

    /// Returns when the credentials expire, in seconds since 1970.
    pub(crate) fn expires(&self) -> u64 {
        since_1970(self.now().not_after())
    }

    /// Replaces the credentials with those of another one.
    pub(crate) fn replace(&self, new: &Self) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new.now();
    }
}

fn shown_file(folder: &Path, file: &Path) -> String {
    shown(folder, &file.to_string_lossy())
}

/// Reads all certificates of a file: at least one.
fn read_all(
    folder: &Path,
    file: &Path,
    setting: &'static str,
    remedy: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let path = shown_file(folder, file);
    let Some(text) = read_text(&folder.join(file), &path)? else {
        return Err(CredentialsError::Missing { path, setting, remedy });
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(CredentialsError::Broken { path, setting, remedy }),
    }
}

/// Returns the certificate of a key that lasts longest, of those that are valid already if there
/// are such ones: a renewed one may have been appended.
///
/// # Errors
/// One of another key, or `None` if one cannot be read.
fn longest(
    all: Vec<CertificateDer<'static>>,
    key: &NodeKey,
) -> Result<(CertificateDer<'static>, Certificate), Option<Certificate>> {
    let now = SystemTime::now();
    let order = |read: &Certificate| (read.not_before <= now, read.not_after);
    let mut longest: Option<(CertificateDer<'static>, Certificate)> = None;
    for der in all {
        let read = Certificate::read(&der).ok_or(None)?;
        if read.node != key.node_id() {
            return Err(Some(read));
        }
        if longest.as_ref().is_none_or(|(_, so_far)| order(so_far) < order(&read)) {
            longest = Some((der, read));
        }
    }
    longest.ok_or(None)
}

/// Returns whether an authority issued a certificate, which is valid now.
fn issued(
    authority: &CertificateDer<'_>,
    certificate: &CertificateDer<'_>,
    algorithms: WebPkiSupportedAlgorithms,
) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).is_ok()
        && Verifier { roots: Arc::new(roots), algorithms }.check(certificate, &[], UnixTime::now()).is_ok()
}

fn certified(certificate: &[u8]) -> Option<Certified> {
    let node = Certificate::read(certificate)?.node;
    Some(Certified { node, fingerprint: Sha256::digest(certificate).into() })
}

/// Returns the identity in these certificates, which the handshake has checked.
fn peer(certificates: Option<&[CertificateDer<'_>]>) -> io::Result<Certified> {
    let first = certificates.and_then(<[_]>::first);
    first.and_then(|first| certified(first)).ok_or_else(|| {
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

/// Accepts a server with a certificate of the authority, whatever its host name.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, more, now, self.algorithms.all)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate, more, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Shows the node's certificate, as server and as client.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The node's key for rustls. The secret stays in the [`NodeKey`].
#[derive(Debug, Clone)]
struct Key(Arc<NodeKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests;
