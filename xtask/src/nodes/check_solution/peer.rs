//! A peer that the checker plays: a server whose frames and connections are recorded, and calls to
//! the solution's own server.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

/// How long a solution has for each step; the exercise's own tests allow as much.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// Below the ports that systems give to outgoing connections: one that dials such a port before
/// anybody listens there can meet itself.
const PORTS: Range<u16> = 24_000..32_000;

/// How a peer answers a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It upgrades and reads.
    Upgrade,
    /// It upgrades after this time.
    Late(Duration),
    /// It answers the upgrade with 403.
    Refuse,
    /// It upgrades and closes at once.
    Close,
}

/// What came in, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// TCP connections that were opened.
    pub(super) connections: usize,
    /// Those of them that are upgraded and open.
    pub(super) open: usize,
    pub(super) frames: Vec<String>,
}

impl Seen {
    /// The frames that are JSON of a type.
    pub(super) fn of_type(&self, kind: &str) -> Vec<Value> {
        let values = self.frames.iter().filter_map(|frame| serde_json::from_str::<Value>(frame).ok());
        values.filter(|value| value["type"] == kind).collect()
    }
}

/// A server on a free port of localhost, IPv4 and IPv6. Dropping it closes everything.
pub(super) struct Peer {
    pub(super) address: String,
    tasks: Vec<AbortHandle>,
    seen: watch::Receiver<Seen>,
    /// Changes when everything is to be closed.
    close: watch::Sender<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Peer {
    pub(super) async fn listen(answer: Answer) -> Result<Self> {
        Self::listen_on(0, answer).await
    }

    pub(super) async fn listen_on(port: u16, answer: Answer) -> Result<Self> {
        let first = TcpListener::bind(("127.0.0.1", port)).await.context("no port for a peer")?;
        let port = first.local_addr()?.port();
        // Without IPv6 on this machine nobody can dial it there either.
        let second = TcpListener::bind(("::1", port)).await.ok();
        let (sender, seen) = watch::channel(Seen::default());
        let (sender, close) = (Arc::new(sender), watch::Sender::new(()));
        let accept = |listener| {
            let accepting = accept(listener, answer, Arc::clone(&sender), close.subscribe());
            tokio::spawn(accepting).abort_handle()
        };
        let tasks = std::iter::once(first).chain(second).map(accept).collect();
        Ok(Self { address: format!("ws://localhost:{port}"), tasks, seen, close })
    }

    /// A port on which nobody listens now, and that no other story gets, of this process or of
    /// another: the UDP port of the same number says that it is taken.
    pub(super) fn free_port() -> Result<u16> {
        static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
        for _ in 0..1_000 {
            let port = rand::rng().random_range(PORTS);
            let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
            let binds = |host| std::net::TcpListener::bind((host, port));
            // Closed again at once. Without IPv6 on this machine the second has another error.
            let used = |bound: std::io::Result<_>| bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
            if !used(binds("127.0.0.1")) && !used(binds("::1")) {
                TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
                return Ok(port);
            }
        }
        bail!("no port from {} to {} is free: end some programs", PORTS.start, PORTS.end - 1)
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until something was seen, for as long as a solution has; returns what was seen then.
    pub(super) async fn wait(&self, until: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        // What it did not do in time shows in what was seen until then.
        let came = timeout(WITHIN, seen.wait_for(until)).await.ok().and_then(Result::ok).map(|seen| seen.clone());
        came.unwrap_or_else(|| self.seen())
    }

    /// The first HANDSHAKE that came, or what came instead.
    pub(super) async fn handshake(&self) -> Result<Vec<String>, String> {
        let seen = self.wait(|seen| !seen.of_type("HANDSHAKE").is_empty()).await;
        let first = seen.of_type("HANDSHAKE").into_iter().next();
        let data = first.and_then(|first| serde_json::from_value::<Vec<String>>(first["data"].clone()).ok());
        data.ok_or_else(|| match (seen.connections, seen.frames.first()) {
            (0, _) => format!("no connection to {}", self.address),
            (_, None) => "a connection and no message".to_owned(),
            (_, Some(frame)) => format!("as the first message {}", cut(frame)),
        })
    }

    /// Stops to listen, closes all sockets, and waits until they are closed.
    pub(super) async fn close(&self) {
        self.close.send_replace(());
        self.wait(|seen| seen.open == 0).await;
    }
}

async fn accept(listener: TcpListener, answer: Answer, seen: Arc<watch::Sender<Seen>>, close: watch::Receiver<()>) {
    let (mut sockets, mut closed) = (tokio::task::JoinSet::new(), close.clone());
    loop {
        let stream = tokio::select! {
            Ok((stream, _)) = listener.accept() => stream,
            _ = closed.changed() => break,
        };
        seen.send_modify(|seen| seen.connections += 1);
        sockets.spawn(serve(stream, answer, Arc::clone(&seen), close.clone()));
    }
    drop(listener);
    sockets.join_all().await;
}

/// Whatever ends a connection, there is nobody to report it to: what was seen is what counts.
async fn serve(mut stream: TcpStream, answer: Answer, seen: Arc<watch::Sender<Seen>>, mut close: watch::Receiver<()>) {
    match answer {
        Answer::Late(time) => sleep(time).await,
        Answer::Refuse => {
            let text = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(text).await);
            return;
        }
        Answer::Upgrade | Answer::Close => {}
    }
    let Ok(mut socket) = accept_async(stream).await else { return };
    if answer == Answer::Close {
        drop(socket.close(None).await);
        return;
    }
    seen.send_modify(|seen| seen.open += 1);
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            _ = close.changed() => {
                drop(socket.close(None).await);
                None
            }
        };
        match frame {
            Some(Ok(Message::Text(text))) => seen.send_modify(|seen| seen.frames.push(text.to_string())),
            Some(Ok(Message::Binary(bytes))) => {
                seen.send_modify(|seen| seen.frames.push(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            Some(Ok(_)) => {}
        }
    }
    seen.send_modify(|seen| seen.open -= 1);
}

/// A connection that the checker opened to the solution's server.
pub(super) struct Caller {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Caller {
    /// # Errors
    /// Nobody answers, in words for the learner.
    pub(super) async fn dial(port: u16) -> Result<Self, String> {
        let dialled = timeout(WITHIN, connect_async(format!("ws://localhost:{port}"))).await;
        match dialled {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(error)) => Err(format!("no WebSocket connection to port {port}: {error}")),
            Err(_) => Err(format!("no WebSocket connection to port {port} within {} s", WITHIN.as_secs())),
        }
    }

    /// Sends a text. An end that has closed shows in what the solution does next.
    pub(super) async fn send(&mut self, text: impl Into<String>) {
        drop(self.socket.send(Message::text(text.into())).await);
    }

    /// Waits until the solution has handled what was sent: it answers a ping, or closes.
    pub(super) async fn handled(&mut self) {
        drop(self.socket.send(Message::Ping(Vec::new().into())).await);
        let answered = async {
            while let Some(Ok(message)) = self.socket.next().await {
                if matches!(message, Message::Pong(_)) {
                    break;
                }
            }
        };
        timeout(WITHIN, answered).await.unwrap_or_default();
    }
}

/// A frame as a message shows it: its beginning.
pub(super) fn cut(frame: &str) -> String {
    match frame.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &frame[..end]),
        None => frame.to_owned(),
    }
}
