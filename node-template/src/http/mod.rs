//! The human side: the page with the living network, the HTTP API, server-sent events, metrics and health, on a port of its own.
//!
//! It reads and asks through a [`Handle`] like any other part of the application, and decides nothing. It is made so that nobody who looks on slows the node: the
//! node's events lie in a ring that one task, the hub, reads and sums up for everybody every 200 ms; what costs the driver time is asked once for all lookers-on,
//! and the more seldom the longer the answer took.
//!
//! **What it refuses.** Requests under a name that is not ours, and those that another site's page sends (`guard`); more connections, streams and requests than
//! the bounds of `limits` allow; beyond loopback, whoever does not show the token. What a stranger wrote into a transaction or a name goes out as JSON alone, and
//! the page makes text of it, never markup.
//!
//! ```text
//! serve   connections and their bounds     api      the routes, and what they answer
//! guard   who may ask                      pages    transactions, newest first, with search
//! hub     what everybody is told live      stream   one listener's stream of it
//! view    the network as one picture       metrics  for Prometheus; health
//! images  images, whole or in part
//! page    the page's files                 problem  errors as RFC 9457 has them
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::HttpSettings;
use crate::node::handle::Handle;
use crate::transport::websocket::listener;

mod api;
mod guard;
mod hub;
mod images;
mod limits;
mod metrics;
mod page;
mod pages;
mod problem;
mod serve;
mod stream;
mod view;

#[cfg(test)]
mod tests;

/// How far above the peers' port the default one lies.
const ABOVE_PORT: u16 = 4_000;

/// Why the page and the API are not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The port that was asked for is in use.
    #[error(
        "port {port} on {host} is in use ({origin}): stop the program that uses it, set another HTTP_PORT, or HTTP_PORT=0 for no page and no API"
    )]
    PortInUse {
        /// Where the port was set.
        origin: String,
        /// What was to be listened on.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host can not be listened on.
    #[error("can not serve the page on {host}, port {port}: {error}; check HTTP_HOST and HTTP_PORT")]
    Bind {
        /// What was to be listened on.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        error: io::Error,
    },
}

/// The running HTTP side of a node. Dropping it ends it; so does the node's end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    url: String,
    _stop: watch::Sender<()>,
    _task: JoinHandle<()>,
}

impl Server {
    /// Serves a node's page, API and metrics on the current tokio runtime. It listens when this returns.
    ///
    /// # Errors
    /// [`WebError`], one line with the remedy.
    pub async fn start(node: Handle, settings: &HttpSettings) -> Result<Self, WebError> {
        let listeners = bind(&node, settings).await?;
        let address = listeners[0].local_addr().map_err(|error| WebError::Bind {
            host: settings.host.clone(),
            port: settings.port.unwrap_or_default(),
            error,
        })?;
        let name = if settings.host == "localhost" { "localhost".to_owned() } else { address.ip().to_string() };
        let name = if name.contains(':') { format!("[{name}]") } else { name };
        let url = format!("http://{name}:{}", address.port());
        tracing::info!("the network can be looked at on {url}");
        let (stop, stopped) = watch::channel(());
        let state = Arc::new(api::State::new(node, settings));
        let task = tokio::spawn(serve::run(listeners, state, stopped));
        Ok(Self { address, url, _stop: stop, _task: task })
    }

    /// What is listened on; of several the first.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser on this machine finds the page.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn bind(node: &Handle, settings: &HttpSettings) -> Result<Vec<tokio::net::TcpListener>, WebError> {
    let host = settings.host.clone();
    let default = node.port().checked_add(ABOVE_PORT);
    let port = settings.port.or(default).unwrap_or(0);
    let error = match listener::bind(&host, port).await {
        Ok(listeners) => return Ok(listeners),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Err(WebError::Bind { host, port, error });
    }
    if settings.port.is_some() {
        return Err(WebError::PortInUse { origin: settings.origin.clone(), host, port });
    }
    tracing::warn!("port {port}, where the page would be, is in use: another one is taken; set HTTP_PORT to choose it");
    listener::bind(&host, 0).await.map_err(|error| WebError::Bind { host, port: 0, error })
}
