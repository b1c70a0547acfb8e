//! Connections of the HTTP server: accepting, deadlines, shutdown.

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

use crate::http::limits::{CONNECTIONS, HEAD_BYTES, HEAD_TIMEOUT, WRITE_TIMEOUT};
use crate::http::state::Shared;
use crate::util::panics::Panics;

/// How long open responses may take at shutdown.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a failed accept, mostly for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause after a panic, which may repeat at once.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Serves until the sender of `stop` is dropped, or the node ends.
pub(crate) async fn run(listeners: Vec<TcpListener>, router: Router, state: Shared, stop: watch::Receiver<()>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let panics = state.node.panics();
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (permits, router, stop, panics) = (Arc::clone(&permits), router.clone(), stop.clone(), panics.clone());
        tasks.spawn(async move {
            let begin = || accept(&listener, &permits, &router, &stop, &panics);
            restart_after_panics(&panics, "accepting connections of the page", begin).await;
        });
    }
    let mut stop = stop;
    tokio::select! {
        // Returns once the sender is dropped; nothing is ever sent.
        _ = stop.changed() => {}
        () = restart_after_panics(panics, "the live updates of the page", || state.hub.run()) => {}
    }
    // Ends every stream.
    state.hub.end();
    tasks.shutdown().await;
}

/// Runs a task to its end, and restarts it after each panic.
async fn restart_after_panics<W: Future<Output = ()>>(panics: &Panics, what: &str, begin: impl Fn() -> W) {
    while panics.catch(what, begin()).await.is_none() {
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    router: &Router,
    stop: &watch::Receiver<()>,
    panics: &Panics,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let (connection, panics) = (connection(socket, router.clone(), permit, stop.clone()), panics.clone());
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

async fn connection(socket: TcpStream, router: Router, _permit: OwnedSemaphorePermit, mut stop: watch::Receiver<()>) {
    // Frames are small and urgent. A socket that refuses is closed already.
    socket.set_nodelay(true).ok();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(WriteTimeout { socket, deadline: None });
    let mut serving = std::pin::pin!(server.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stop.changed() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(END_TIMEOUT, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
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
