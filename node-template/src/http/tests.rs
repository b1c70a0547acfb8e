//! The server after panics in its parts. Test builds have routes that panic.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::*;
use crate::node::network::Network;

/// Returns the whole response.
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
    assert_eq!(get(&server, "/panic/request").await, "", "the connection of that request ends");
    assert_eq!(panicked().await, 1);
    assert!(get(&server, "/panic/hub").await.ends_with("soon"));
    while panicked().await < 2 {
        tokio::task::yield_now().await;
    }
    // Streams go on, and get what happens after the panic.
    let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("after the panic") {
        tokio::select! {
            read = stream.read_buf(&mut received) => assert!(read.expect("the stream goes on") > 0, "the stream ended"),
            // The hub misses what happens before it restarts.
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {
                node.broadcast("after the panic").await.expect("sent");
            }
        }
    }
    assert_eq!(panicked().await, 2);
    node.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn what_happens_before_the_hub_runs_is_sent_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let hub = hub::Hub::new(node.handle(), Arc::default());
    let mut frames = hub.listen();
    let submission = node.submit_text(r#"{"early":true}"#).await.expect("taken");
    let frame = tokio::select! {
        () = hub.run() => unreachable!("the node goes on"),
        frame = frames.recv() => String::from_utf8(frame.expect("a frame").to_vec()).expect("text"),
    };
    assert!(frame.starts_with("event: activity\n"), "{frame}");
    assert!(frame.contains(&submission.id.to_string()), "{frame}");
    node.shutdown().await.expect("a clean end");
}
