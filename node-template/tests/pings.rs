//! Control frames. Pings without end: a peer that sends them and reads no answer fills no memory,
//! and a peer that reads gets every answer. A close frame is answered.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::embedded::Embedded;
use common::finder::Finder;
use common::hostile::masked;
use common::raw::{Raw, request};
use common::within;
use meshpool::ImageError;
use meshpool::protocol::limits::{Limits, MESSAGE_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// The first byte of a ping, and of its answer.
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
/// The longest that a ping may carry.
const PAYLOAD: [u8; 125] = [b'x'; 125];
/// What pings without end are here, in bytes: far more than the node and the system may hold of the
/// answers.
const WITHOUT_END: usize = 256 * MESSAGE_BYTES;

/// A connection, upgraded, of which the system takes little that is not read.
async fn narrow(port: u16) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut raw = Raw(within("a connection", socket.connect((Ipv4Addr::LOCALHOST, port).into())).await.unwrap());
    raw.write(request(port, "").as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    raw
}

/// A megabyte of pings, about.
fn pings() -> Vec<u8> {
    masked(PING, &PAYLOAD).repeat(MESSAGE_BYTES / 128)
}

#[tokio::test]
async fn whoever_closes_is_answered_before_the_connection_ends() {
    let node = Embedded::with(Limits::default()).await;
    for payload in [&1000_u16.to_be_bytes()[..], &[]] {
        let mut client = Raw::upgraded(node.port()).await;
        assert!(client.write(&masked(CLOSE, payload)).await);
        let rest = client.rest().await;
        let expected = [vec![CLOSE, payload.len() as u8], payload.to_vec()].concat();
        assert_eq!(rest, expected);
    }
}

#[tokio::test]
async fn a_client_that_pings_and_reads_nothing_is_not_read_for_long_and_then_closed() {
    let node = Embedded::with(Limits { write_deadline: Duration::from_secs(1), ..Limits::default() }).await;
    let mut client = narrow(node.port()).await;
    let (pings, mut sent) = (pings(), 0);
    // It ends when the node has had enough.
    while sent < WITHOUT_END && client.write(&pings).await {
        sent += pings.len();
    }
    assert!(sent < WITHOUT_END / 8, "it took {sent} bytes of pings of which no answer was read");
    eventually_without_links(&node).await;
}

async fn eventually_without_links(node: &Embedded) {
    common::eventually("the end of the link", async || match node.links().await.unwrap().len() {
        0 => Ok(()),
        links => Err(format!("{links} links")),
    })
    .await;
}

#[tokio::test]
async fn whoever_reads_late_gets_the_answer_to_every_ping() {
    const PINGS: usize = 40_000;
    let node = Embedded::with(Limits::default()).await;
    let client = narrow(node.port()).await;
    let (mut reading, mut writing) = client.0.into_split();
    let (half, is_half) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        let part = masked(PING, &PAYLOAD).repeat(PINGS / 4);
        // As much as the node answers without being read …
        writing.write_all(&part).await.unwrap();
        half.send(()).unwrap();
        // … and more than it does.
        for _ in 0..3 {
            writing.write_all(&part).await.unwrap();
        }
        writing
    });
    within("the first quarter", is_half).await.unwrap();
    let mut answer = vec![0; 2 + PAYLOAD.len()];
    for number in 0..PINGS {
        within(format!("answer {number}"), reading.read_exact(&mut answer)).await.unwrap();
        assert!(answer[..2] == [PONG, PAYLOAD.len() as u8] && answer[2..] == PAYLOAD, "answer {number}");
    }
    let mut writing = within("all to be sent", sending).await.unwrap();
    writing.write_all(&masked(0x81, br#"{"type":"STATUS","data":{}}"#)).await.unwrap();
    assert_eq!(within("an answer to STATUS", reading.read_u8()).await.unwrap(), 0x81);
}

#[tokio::test]
async fn a_finder_that_pings_instead_of_sending_is_given_up() {
    let node = Embedded::with(Limits { write_deadline: common::PATIENCE, ..Limits::default() }).await;
    let mut finder = Finder::link(node.port(), 1).await;
    let name = "cat.jpg".parse().unwrap();
    let fetching = node.image(&name);
    let finding = async {
        let id = finder.asked().await;
        finder.offer(&id, "cat.jpg", &[7; 1_000]).await;
        finder.transfer().await.ping(WITHOUT_END / PAYLOAD.len()).await;
        finder
    };
    let (fetched, _finder) = within("the end of the search", async { tokio::join!(fetching, finding) }).await;
    let Err(ImageError::NotFetched { why, .. }) = fetched else { panic!("{fetched:?}") };
    assert!(why.ends_with("it does not take the answers to its pings"), "{why}");
}
