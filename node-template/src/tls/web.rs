//! TLS to a web server, such as the reverse proxy before a node's page: its certificate is judged
//! by the authorities that this machine trusts.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::util::byte_stream::ByteStream;

/// Does the TLS handshake with a host. TLS 1.3 is the only version that is built.
///
/// # Errors
/// This machine has no authorities, or none of them vouches for the host.
pub(crate) async fn connect(host: &str, stream: TcpStream) -> io::Result<ByteStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no certificates of authorities; install ca-certificates, or name a file in SSL_CERT_FILE",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(ByteStream::Tls(Box::new(TlsStream::Client(connected))))
}

/// Whether a handshake failed since the other end speaks no TLS.
pub(crate) fn is_plain(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidMessage(_)))
}
