//! What becomes of the page when parts of it end in a fault. The requests that make them are in test builds alone.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::*;
use crate::node::network::Network;

/// All that comes in answer to a request.
async fn get(server: &Server, path: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("read to its end");
    answer
}

#[tokio::test]
async fn a_panic_in_a_request_and_one_in_the_hub_are_counted_and_the_page_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let settings = HttpSettings { port: Some(0), ..HttpSettings::default() };
    let server = Server::start(node.handle(), &settings).await.expect("served");
    let panicked = async || node.status().await.expect("a status").counters["tasks_panicked"];
    assert_eq!(get(&server, "/trip/request").await, "", "the connection of that request ends");
    assert_eq!(panicked().await, 1);
    assert!(get(&server, "/trip/hub").await.ends_with("soon"));
    while panicked().await < 2 {
        tokio::task::yield_now().await;
    }
    // Streams go on, and what is said after the fault is told in them.
    let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("after the fault") {
        tokio::select! {
            read = stream.read_buf(&mut told) => assert!(read.expect("the stream goes on") > 0, "the stream ended"),
            // The hub rests before it begins again, and hears nothing of what was said before.
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {
                node.broadcast("after the fault").await.expect("said");
            }
        }
    }
    assert_eq!(panicked().await, 2);
    node.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn what_happens_before_the_hub_runs_is_told_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let hub = hub::Hub::new(node.handle());
    let mut frames = hub.listen();
    let submission = node.submit_text(r#"{"early":true}"#).await.expect("taken");
    let told = tokio::select! {
        () = hub.run() => unreachable!("the node goes on"),
        told = frames.recv() => String::from_utf8(told.expect("a frame").to_vec()).expect("text"),
    };
    assert!(told.starts_with("event: activity\n"), "{told}");
    assert!(told.contains(&submission.id.to_string()), "{told}");
    node.shutdown().await.expect("a clean end");
}
