//! A wire with a switch and a tape: a TCP relay in front of a node, which can stop carrying
//! anything, and keeps what the diallers sent.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::node::address;

/// See the module. Its connections end with it.
pub struct Relay {
    port: u16,
    /// The port of the node behind it; 0 while there is none.
    node: Arc<AtomicU16>,
    carrying: watch::Sender<bool>,
    tape: Tape,
    accepting: JoinHandle<()>,
}

/// What came from each dialler.
type Tape = Arc<Mutex<Vec<Vec<u8>>>>;

impl Relay {
    /// A relay to the node with this port.
    pub async fn to(node: u16) -> Self {
        let relay = Self::to_nobody().await;
        relay.lead_to(node);
        relay
    }

    /// A relay that closes each connection, until [`Self::lead_to`] names its node.
    pub async fn to_nobody() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (carrying, carried) = watch::channel(true);
        let tape = Tape::default();
        let node = Arc::new(AtomicU16::new(0));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&node), Arc::clone(&tape), carried));
        Self { port, node, carrying, tape, accepting }
    }

    /// The port of the node that it leads to from now on.
    pub fn lead_to(&self, node: u16) {
        self.node.store(node, Ordering::Relaxed);
    }

    /// Where it can be dialled.
    pub fn address(&self) -> String {
        address(self.port)
    }

    /// Whether it carries anything: if not, neither end's bytes are read, and no connection ends.
    pub fn carry(&self, carries: bool) {
        self.carrying.send_replace(carries);
    }

    /// All that its diallers sent so far, by connection.
    pub fn tape(&self) -> Vec<Vec<u8>> {
        self.tape.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, node: Arc<AtomicU16>, tape: Tape, carried: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((dialler, _)) = listener.accept().await {
        let port = node.load(Ordering::Relaxed);
        let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { continue };
        dialler.set_nodelay(true).unwrap();
        node.set_nodelay(true).unwrap();
        let place = {
            let mut tape = tape.lock().unwrap();
            tape.push(Vec::new());
            tape.len() - 1
        };
        let ((from_dialler, to_dialler), (from_node, to_node)) = (dialler.into_split(), node.into_split());
        let (tape, carried) = (Arc::clone(&tape), carried.clone());
        let note = move |bytes: &[u8]| tape.lock().unwrap()[place].extend_from_slice(bytes);
        connections.spawn(carry(from_dialler, to_node, carried.clone(), note));
        connections.spawn(carry(from_node, to_dialler, carried, |_| {}));
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut carried: watch::Receiver<bool>,
    note: impl Fn(&[u8]),
) {
    let mut bytes = vec![0; 16 * 1024];
    while carried.wait_for(|carried| *carried).await.is_ok() {
        match from.read(&mut bytes).await {
            Ok(read @ 1..) if to.write_all(&bytes[..read]).await.is_ok() => note(&bytes[..read]),
            // Its end ends the other side's writing half, and so the connection.
            _ => return,
        }
    }
}
