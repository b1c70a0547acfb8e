//! Many who look on, and one who never reads: what the mesh does it does all the same.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::SocketAddr;

use common::embedded::Embedded;
use common::http::get;
use common::{eventually, exactly, transaction, within};
use futures_util::future::join_all;
use meshpool::config::HttpSettings;
use meshpool::http::Server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// How many want to listen.
const CLIENTS: usize = 1_000;
/// How many may (`STREAMS` in `http/limits.rs`).
const LET_IN: usize = 100;
/// How many of them come at the same moment: with the node's own ends that is below the 1,024
/// descriptors that a process usually has.
const AT_ONCE: usize = 200;
/// How many transactions flow meanwhile.
const TRANSACTIONS: u64 = 2_000;

/// Someone who asked for the stream of events.
struct Client {
    socket: BufReader<TcpStream>,
    head: String,
}

impl Client {
    /// Asks as a browser does, which keeps connections for later, and reads what is told before the
    /// stream.
    async fn ask(socket: TcpStream) -> Self {
        let mut client = Self { socket: BufReader::new(socket), head: String::new() };
        client.socket.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        while !client.head.ends_with("\r\n\r\n") {
            assert!(client.socket.read_line(&mut client.head).await.unwrap() > 0, "no answer: {:?}", client.head);
        }
        client.head.make_ascii_lowercase();
        client
    }

    fn is_let_in(&self) -> bool {
        self.head.starts_with("http/1.1 200 ")
    }

    /// Reads until such a frame has come.
    async fn frame(&mut self, kind: &str) {
        let mut line = String::new();
        while line.trim() != format!("event: {kind}") {
            line.clear();
            assert!(self.socket.read_line(&mut line).await.unwrap() > 0, "the stream ended before {kind}");
        }
    }
}

/// As many as may listen do; the others are told to come back, and are not kept.
async fn crowd(address: SocketAddr, already: usize) -> Vec<Client> {
    let mut listening = Vec::new();
    for _ in 0..CLIENTS / AT_ONCE {
        let coming = (0..AT_ONCE).map(async |_| {
            let mut client = Client::ask(TcpStream::connect(address).await.unwrap()).await;
            if !client.is_let_in() {
                // The last of so many may be told that they ask too fast, before anything else.
                let hurried = client.head.starts_with("http/1.1 429 ");
                assert!(hurried || client.head.starts_with("http/1.1 503 "), "{}", client.head);
                assert!(client.head.contains("\r\nretry-after: "), "{}", client.head);
                // Its place is free at once for those who ask something else.
                assert!(client.head.contains("\r\nconnection: close\r\n"), "{}", client.head);
                let mut problem = String::new();
                client.socket.read_to_string(&mut problem).await.unwrap();
                assert!(hurried || problem.contains("too many streams are open"), "{problem}");
                return None;
            }
            Some(client)
        });
        listening.extend(within("an answer to each", join_all(coming)).await.into_iter().flatten());
    }
    assert_eq!(listening.len() + already, LET_IN);
    listening
}

#[tokio::test]
async fn a_thousand_who_listen_and_one_who_never_reads_do_not_touch_the_mesh() {
    let first = Embedded::start(|network| network).await;
    let address = first.address().clone();
    let second = Embedded::start(|network| network.known_peer(address)).await;
    let anywhere = HttpSettings { port: Some(0), ..HttpSettings::default() };
    let server = Server::start(first.handle(), &anywhere).await.unwrap();
    let page = server.address();
    eventually("the link", async || {
        let connected = first.status().await.unwrap().connected.len();
        if connected == 1 { Ok(()) } else { Err(format!("{connected} links")) }
    })
    .await;

    // The system holds as little as it can for this one.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut silent = socket.connect(page).await.unwrap();
    silent.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    eventually("its place", async || {
        let metrics = get(page, "/metrics").await;
        if metrics.contains("\nmeshpool_streams 1\n") { Ok(()) } else { Err(metrics) }
    })
    .await;
    let mut listening = crowd(page, 1).await;

    let sent: Vec<_> = (0..TRANSACTIONS).map(transaction).collect();
    for transaction in &sent {
        first.submit(transaction).await.unwrap();
    }
    exactly(&first, &sent).await;
    exactly(&second, &sent).await;
    // Nor does it touch who reads, or asks for something else.
    for client in &mut listening {
        within("what happened", client.frame("activity")).await;
    }
    eventually("an answer to a question", async || {
        let answer = get(page, "/api/status").await;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
    })
    .await;
    let counters = first.status().await.unwrap().counters;
    assert_eq!((counters["queues_full"], counters["links_dead"]), (0, 0), "{counters:?}");
    drop(silent);
}
