//! The page, the HTTP API, server-sent events, metrics and health checks, on a port of their own.
//!
//! The server uses a [`Handle`] like any other part of the application, and decides nothing.
//! Viewers do not slow the node: one task, the hub, reads the event ring and sums it up for all of
//! them every 200 ms. A request that costs the driver time is made once for all viewers, and less
//! often the longer the last one took.
//!
//! **What it refuses.** Requests with a foreign host name or from another site's page (`guard`);
//! more connections, streams and requests than `limits` allows; beyond loopback, requests without
//! the token. Foreign text is sent as JSON only, and the page shows it as text, never as markup.
//!
//! | file | content |
//! |---|---|
//! | `serve`, `places` | connections, and who gives way when all places are taken |
//! | `guard`, `rates`, `client` | access checks, and the rates of requests |
//! | `starting` | the answers while the node starts |
//! | `api` | routes and handlers |
//! | `control` | what the owner changes: peers, bans, the log, the settings |
//! | `state` | what the handlers share |
//! | `pages` | transactions, newest first, with search |
//! | `images` | images, whole or a range |
//! | `hub`, `activity`, `view` | live updates: the fan-out, what happened, the current state |
//! | `stream`, `sse_frame` | one listener's stream |
//! | `links`, `frames`, `watches` | the open links, the frames of one, and who watches them |
//! | `timeline` | how this node found its place in the network |
//! | `way` | the way of one transaction through this node |
//! | `input` | parameters of paths and queries, and bodies |
//! | `metrics`, `delays` | metrics and health checks |
//! | `page` | the page's files |
//! | `problem` | error responses |

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::HttpSettings;
use crate::http::guard::Guard;
use crate::http::serve::App;
use crate::http::state::{Shared, State};
use crate::node::handle::Handle;
use crate::node::operator::Operator;
use crate::node::start_error::needs_root;
use crate::node::start_progress::StartProgress;
use crate::transport::websocket::listener;
use crate::transport::websocket::plain_http::PageLocation;

mod activity;
mod api;
mod client;
mod control;
mod delays;
mod frames;
mod guard;
mod hub;
mod images;
mod input;
mod limits;
mod links;
mod metrics;
mod page;
mod pages;
mod places;
mod problem;
mod rates;
mod serve;
mod sse_frame;
mod starting;
mod state;
mod stream;
mod timeline;
mod view;
mod watches;
mod way;

#[cfg(test)]
mod tests;

/// The default port is PORT plus this.
const PORT_OFFSET: u16 = 4_000;

/// Why the server cannot start. One line: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configured port is in use.
    #[error(
        "port {port} on {host} is in use ({origin}): stop the program that uses it, set another HTTP_PORT, or HTTP_PORT=0 for no page and no API"
    )]
    PortInUse {
        /// Where the port was set.
        origin: String,
        /// The host to listen on.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host cannot be listened on.
    #[error("cannot serve the page on {host}, port {port} ({origin}): {error}; {}", bind_remedy(.error, *.port))]
    Bind {
        /// Where host and port were set.
        origin: String,
        /// The host to listen on.
        host: String,
        /// The port.
        port: u16,
        /// The system's error.
        error: io::Error,
    },
}

fn bind_remedy(error: &io::Error, port: u16) -> &'static str {
    match needs_root(error, port) {
        true => {
            "only root may listen on ports below 1024, or a program with the capability CAP_NET_BIND_SERVICE; set HTTP_PORT to 1024 or more"
        }
        false => "check HTTP_HOST and HTTP_PORT",
    }
}

/// A running HTTP server. It ends when it is dropped, or with its node.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    url: String,
    path: String,
    guard: Arc<Guard>,
    ready: watch::Sender<Option<(Router, Shared)>>,
    location: Option<PageLocation>,
    _stop: watch::Sender<()>,
    _task: JoinHandle<()>,
}

impl Server {
    /// Starts to serve a node's page, API and metrics on the current tokio runtime. The server
    /// listens when this returns.
    ///
    /// # Errors
    /// [`ServerError`] if the port or the host cannot be listened on.
    pub async fn start(node: Handle, settings: &HttpSettings) -> Result<Self, ServerError> {
        let mut server = Self::listen(node.port(), settings, &StartProgress::default()).await?;
        server.attach(node);
        Ok(server)
    }

    /// Listens before the node has started, whose `port` decides the default one. Until
    /// [`Self::attach`] all requests are answered with the progress of the start.
    ///
    /// # Errors
    /// [`ServerError`] if the port or the host cannot be listened on.
    pub async fn listen(port: u16, settings: &HttpSettings, progress: &StartProgress) -> Result<Self, ServerError> {
        let listeners = bind(port, settings).await?;
        let address = listeners[0].local_addr().map_err(|error| ServerError::Bind {
            origin: settings.origin.clone(),
            host: settings.host.clone(),
            port: settings.port.unwrap_or_default(),
            error,
        })?;
        let url = format!("http://{}:{}{}", name_of(&settings.host, address), address.port(), settings.path);
        let (stop, stopped) = watch::channel(());
        let (ready, is_ready) = watch::channel(None);
        let guard = Arc::new(Guard::new(settings));
        let starting = starting::router(progress.clone(), Arc::clone(&guard));
        let app = Arc::new(App::new(is_ready, starting, settings));
        let task = tokio::spawn(serve::run(listeners, app, stopped));
        let path = settings.path.clone();
        Ok(Self { address, url, path, guard, ready, location: None, _stop: stop, _task: task })
    }

    /// Serves the page, the API and the metrics of a node, without the changes of its owner.
    pub fn attach(&mut self, node: Handle) {
        self.attach_to(node, None);
    }

    /// As [`Self::attach`], with the changes of the node's owner: known peers, bans, the log, a
    /// reload of the settings.
    pub fn attach_operated(&mut self, node: Handle, operator: Arc<Operator>) {
        self.attach_to(node, Some(operator));
    }

    fn attach_to(&mut self, node: Handle, operator: Option<Arc<Operator>>) {
        tracing::info!("the page is at {}", self.url);
        node.page.set(self.address, &format!("{}/", self.path));
        self.location = Some(node.page.clone());
        let state = Arc::new(State::new(node, self.path.clone(), operator));
        let router = api::router(Arc::clone(&state), Arc::clone(&self.guard));
        self.ready.send_replace(Some((router, state)));
    }

    /// Returns the address that is listened on; of several the first.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the page's URL on this machine.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the page's URL if every client can call it: that of a link-local address has a zone,
    /// which most refuse (RFC 6874, section 1).
    #[cfg(feature = "cli")]
    pub(crate) fn plain_url(&self) -> Option<&str> {
        Some(self.url()).filter(|_| zone(self.address) == 0)
    }
}

/// Returns the name by which programs on this machine call what listens at an address. `host`: as
/// the settings have it.
fn name_of(host: &str, address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        _ if host == "localhost" => "localhost".to_owned(),
        // All interfaces include that of this machine, and nobody can call this address itself.
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => match zone(address) {
            0 => format!("[{ip}]"),
            number => {
                let zone = host.split_once('%').map_or_else(|| number.to_string(), |(_, zone)| zone.to_owned());
                format!("[{ip}%25{zone}]")
            }
        },
    }
}

/// Returns the number of the interface that a link-local address belongs to, otherwise 0.
fn zone(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(location) = &self.location {
            location.clear();
        }
    }
}

async fn bind(node: u16, settings: &HttpSettings) -> Result<Vec<tokio::net::TcpListener>, ServerError> {
    let host = settings.host.clone();
    let default = node.checked_add(PORT_OFFSET);
    let port = settings.port.or(default).unwrap_or(0);
    let error = match listener::bind(&host, port).await {
        Ok(listeners) => return Ok(listeners),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Err(ServerError::Bind { origin: settings.origin.clone(), host, port, error });
    }
    if settings.port.is_some() {
        return Err(ServerError::PortInUse { origin: settings.origin.clone(), host, port });
    }
    tracing::warn!("port {port}, the default of the page, is in use: taking another one; set HTTP_PORT to choose it");
    let origin = settings.origin.clone();
    listener::bind(&host, 0).await.map_err(|error| ServerError::Bind { origin, host, port: 0, error })
}
