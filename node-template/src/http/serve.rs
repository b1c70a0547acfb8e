//! Connections: accepting, deadlines, the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::http::api::{self, Shared};
use crate::http::limits::{CONNECTIONS, HEAD_BYTES, HEAD_WITHIN, WRITE_WITHIN};
use crate::util::panics::Panics;

/// How long answers that are under way have when it ends.
const END_WITHIN: Duration = Duration::from_secs(1);
/// After an accept failed, for want of descriptors above all.
const PAUSE: Duration = Duration::from_millis(100);
/// After a fault of this program.
const REST: Duration = Duration::from_secs(1);

/// Serves until `stop` ends, or the node.
pub(crate) async fn run(listeners: Vec<TcpListener>, state: Shared, stop: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = api::router(Arc::clone(&state));
    let panics = state.node.panics();
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (places, router, stop, panics) = (Arc::clone(&places), router.clone(), stop.clone(), panics.clone());
        tasks.spawn(async move {
            let begin = || accept(&listener, &places, &router, &stop, &panics);
            again_after_panics(&panics, "accepting connections to the page", begin).await;
        });
    }
    let mut stop = stop;
    tokio::select! {
        // Nothing is ever sent: the error that the sender is gone is what is waited for.
        _ = stop.changed() => {}
        () = again_after_panics(panics, "telling the pages what happens", || state.hub.run()) => {}
    }
    // The hub's frames end with it, and every stream with them.
    state.hub.end();
    tasks.shutdown().await;
}

/// Does some work to its end, and begins it anew after each fault of this program.
async fn again_after_panics<W: Future<Output = ()>>(panics: &Panics, what: &str, begin: impl Fn() -> W) {
    while panics.catch(what, begin()).await.is_none() {
        // Whatever it was may come again at once.
        tokio::time::sleep(REST).await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    router: &Router,
    stop: &watch::Receiver<()>,
    panics: &Panics,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let (connection, panics) = (connection(socket, router.clone(), place, stop.clone()), panics.clone());
                connections.spawn(async move {
                    panics.catch("a connection to the page", connection).await;
                });
            }
            Err(error) => {
                tracing::debug!("the page's port can not accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, router: Router, _place: OwnedSemaphorePermit, mut stop: watch::Receiver<()>) {
    // Small frames, each worth seeing at once. A socket that refuses is gone already.
    socket.set_nodelay(true).ok();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(Impatient { socket, patience: None });
    let mut serving = std::pin::pin!(server.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stop.changed() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(END_WITHIN, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the page's port ended: {error}");
    }
}

/// A socket that gives up a reader who does not read.
struct Impatient {
    socket: TcpStream,
    /// Runs while something waits to be written.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience =
            self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_WITHIN)));
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The clock is stopped, and goes on to the next deadline when nothing else is left to do.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_silent, (socket, _)) = (dialled.unwrap(), accepted.unwrap());
        let mut impatient = Impatient { socket, patience: None };
        let began = Instant::now();
        let error = loop {
            // Until the system takes no more for it.
            if let Err(error) = impatient.write_all(&[0; 64 * 1024]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= WRITE_WITHIN);
    }
}
