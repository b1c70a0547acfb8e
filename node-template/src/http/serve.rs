//! Connections of the HTTP server: accepting, deadlines, shutdown.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::config::HttpSettings;
use crate::http::client::Client;
use crate::http::limits::{HEAD_BYTES, HEAD_TIMEOUT, WRITE_TIMEOUT};
use crate::http::places::{Place, Places};
use crate::http::state::Shared;
use crate::util::forwarded::{self, X_FORWARDED_FOR};
use crate::util::ip_range::IpRange;
use crate::util::panics::Panics;

/// The pause after a failed accept, mostly for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause after a panic, which may repeat at once.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The answer to a connection without a place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 34\r\n\r\ntoo many connections; retry later\n";

/// What all connections share.
pub(crate) struct App {
    /// The node's routes, once it has started.
    ready: watch::Receiver<Option<(Router, Shared)>>,
    /// The routes until then.
    starting: Router,
    places: Arc<Places>,
    /// The path under which a proxy passes requests on; empty: none.
    path: String,
    trusted_proxies: Vec<IpRange>,
    /// Counts panics while there is no node.
    panics: Panics,
}

/// Whose a request is, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) place: Arc<Place>,
    /// Whether the path has no slash at its end, on which the page's relative paths depend.
    pub(crate) lacks_slash: bool,
}

impl App {
    pub(crate) fn new(
        ready: watch::Receiver<Option<(Router, Shared)>>,
        starting: Router,
        settings: &HttpSettings,
    ) -> Self {
        let (path, trusted_proxies) = (settings.path.clone(), settings.trusted_proxies.clone());
        Self { ready, starting, places: Arc::default(), path, trusted_proxies, panics: Panics::default() }
    }

    fn router(&self) -> Router {
        self.ready.borrow().as_ref().map_or_else(|| self.starting.clone(), |(router, _)| router.clone())
    }

    fn panics(&self) -> Panics {
        self.ready.borrow().as_ref().map_or_else(|| self.panics.clone(), |(_, state)| state.node.panics().clone())
    }

    /// Returns whose a connection is. A proxy of ours is as near as this machine.
    fn client_of(&self, socket: &TcpStream, remote: IpAddr) -> Client {
        let is_local =
            remote.is_loopback() || socket.local_addr().is_ok_and(|local| local.ip().to_canonical() == remote);
        match is_local || self.trusted_proxies.iter().any(|range| range.contains(remote)) {
            true => Client::Local,
            false => Client::of(remote),
        }
    }

    /// Returns the path of a request without that of the proxy, and whether it lacked the slash.
    fn local_path(&self, uri: &Uri) -> Option<(Uri, bool)> {
        let rest = uri.path().strip_prefix(&self.path).filter(|_| !self.path.is_empty())?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let slash = if rest.is_empty() { "/" } else { "" };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(format!("{slash}{rest}{query}").parse().ok()?);
        Some((Uri::from_parts(parts).ok()?, rest.is_empty()))
    }
}

/// Serves until the sender of `stop` is dropped, or the node ends. Open connections end then.
pub(crate) async fn run(listeners: Vec<TcpListener>, app: Arc<App>, mut stop: watch::Receiver<()>) {
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let app = Arc::clone(&app);
        tasks.spawn(async move {
            let begin = || accept(&listener, &app);
            restart_after_panics(&app.panics(), "accepting connections of the page", begin).await;
        });
    }
    let mut ready = app.ready.clone();
    let live = async {
        let state = ready
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|ready| ready.as_ref().map(|(_, state)| Arc::clone(state)));
        if let Some(state) = state {
            restart_after_panics(state.node.panics(), "the live updates of the page", || state.hub.run()).await;
        }
    };
    tokio::select! {
        // Returns once the sender is dropped; nothing is ever sent.
        _ = stop.changed() => {}
        () = live => {}
    }
    if let Some((_, state)) = &*app.ready.borrow() {
        // Ends every stream.
        state.hub.end();
    }
    tasks.shutdown().await;
}

/// Runs a task to its end, and restarts it after each panic.
async fn restart_after_panics<W: Future<Output = ()>>(panics: &Panics, what: &str, begin: impl Fn() -> W) {
    while panics.catch(what, begin()).await.is_none() {
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Accepts connections. Dropping the future ends them.
async fn accept(listener: &TcpListener, app: &Arc<App>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, remote)) => {
                let remote = remote.ip().to_canonical();
                let Some((place, displaced)) = app.places.take(app.client_of(&socket, remote)).await else {
                    tracing::debug!("{remote} found no place for a connection to the page");
                    // Whether it arrives has no effect here.
                    socket.try_write(FULL).unwrap_or_default();
                    continue;
                };
                let served = Served { app: Arc::clone(app), remote, place };
                let (connection, panics) = (connection(socket, served, displaced), app.panics());
                connections.spawn(async move {
                    panics.catch("a connection of the page", connection).await;
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection of the page: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The routes, for the requests of one connection.
struct Served {
    app: Arc<App>,
    remote: IpAddr,
    place: Arc<Place>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Served {
    type Response = Response;
    type Error = Infallible;
    type Future = TowerToHyperServiceFuture<Router, hyper::Request<Incoming>>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        let lacks_slash = match self.app.local_path(request.uri()) {
            Some((uri, lacks_slash)) => {
                *request.uri_mut() = uri;
                lacks_slash
            }
            None => false,
        };
        let named = request.headers().get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?"));
        let client = forwarded::client(self.remote, named, &self.app.trusted_proxies).map(Client::of);
        let client = client.unwrap_or_else(|| self.place.client());
        let sender = Sender { client, place: Arc::clone(&self.place), lacks_slash };
        request.extensions_mut().insert(sender);
        TowerToHyperService::new(self.app.router()).call(request)
    }
}

async fn connection(socket: TcpStream, served: Served, displaced: oneshot::Receiver<()>) {
    // Frames are small and urgent. A socket that refuses is closed already.
    socket.set_nodelay(true).ok();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(WriteTimeout { socket, deadline: None });
    let ended = tokio::select! {
        ended = server.serve_connection(io, served) => ended,
        Ok(()) = displaced => return tracing::debug!("a connection of the page gave way to others"),
    };
    if let Err(error) = ended {
        tracing::debug!("a connection of the page ended: {error}");
    }
}

/// A socket whose writes fail if the client does not read for [`WRITE_TIMEOUT`].
struct WriteTimeout {
    socket: TcpStream,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    fn check<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIMEOUT)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.check(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The paused clock advances to the next deadline when all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_silent, (socket, _)) = (dialled.unwrap(), accepted.unwrap());
        let mut socket_with_timeout = WriteTimeout { socket, deadline: None };
        let began = Instant::now();
        let error = loop {
            // Until the system's buffers are full.
            if let Err(error) = socket_with_timeout.write_all(&[0; 64 * 1024]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= WRITE_TIMEOUT);
    }
}
