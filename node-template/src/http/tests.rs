//! The server after panics in its parts, its URL, and methods that no route has. Test builds have
//! routes that panic.

use axum::body::Body;
use axum::extract::{Request, State as FromState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{Flags, Settings};
use crate::http::*;
use crate::node::network::Network;

/// Returns the whole response.
async fn get(server: &Server, path: &str) -> String {
    asked(server, "GET", path).await
}

#[test]
fn a_url_is_one_that_programs_here_can_call() {
    let name = |host: &str, address: &str| name_of(host, address.parse().expect(address));
    for (host, address, expected) in [
        ("localhost", "127.0.0.1:1", "localhost"),
        ("localhost", "[::1]:1", "localhost"),
        ("127.0.0.1", "127.0.0.1:1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0:1", "localhost"),
        ("::", "[::]:1", "localhost"),
        ("::ffff:0.0.0.0", "[::ffff:0.0.0.0]:1", "localhost"),
        ("::1", "[::1]:1", "[::1]"),
        ("node.example", "192.0.2.7:1", "192.0.2.7"),
        ("fe80::1%eth0", "[fe80::1%3]:1", "[fe80::1%25eth0]"),
    ] {
        assert_eq!(name(host, address), expected, "{host}");
    }
    assert_eq!((zone("[fe80::1%3]:1".parse().expect("one")), zone("[::1]:1".parse().expect("one"))), (3, 0));
}

#[tokio::test]
async fn the_page_of_all_interfaces_is_called_by_the_name_of_this_machine() {
    let settings = HttpSettings { host: "0.0.0.0".to_owned(), port: Some(0), ..HttpSettings::default() };
    let server = Server::listen(0, &settings, &StartProgress::default()).await.expect("it listens");
    assert_eq!(server.url(), format!("http://localhost:{}", server.address().port()));
}

/// Returns the answer to a request with a method and no body.
async fn asked(server: &Server, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("read to its end");
    answer
}

#[tokio::test]
async fn a_method_that_changes_nothing_anywhere_is_not_told_to_send_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let settings = HttpSettings { port: Some(0), ..HttpSettings::default() };
    let server = Server::start(node.handle(), &settings).await.expect("served");
    for (method, path, status) in [
        ("OPTIONS", "/api/status", 405),
        ("TRACE", "/api/peers", 405),
        ("PUT", "/", 405),
        ("POST", "/metrics", 405),
        ("POST", "/api/peers", 415),
        ("PUT", "/api/log", 415),
        ("DELETE", "/api/bans", 415),
    ] {
        let answer = asked(&server, method, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
    }
    node.shutdown().await.expect("a clean end");
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

#[tokio::test]
async fn the_hub_ends_leases_that_have_run_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let (watches, record) = (Arc::<watches::Watches>::default(), Arc::default());
    let hub = hub::Hub::new(node.handle(), Arc::clone(&watches));
    let long_ago = std::time::Instant::now().checked_sub(limits::WATCHED_FOR).expect("the machine runs for longer");
    assert!(watches.begin(crate::protocol::id::LinkId(1), &record, long_ago) && record.is_on());
    let ended = async {
        while record.is_on() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = hub.run() => unreachable!("the node goes on"),
        () = ended => {}
    }
    node.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_change_whose_client_goes_is_carried_out_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, address) = (folder.path().join("known-peers.json"), "ws://localhost:9");
    std::fs::write(&file, "[]").expect("written");
    let node = Network::new("localhost").folder(folder.path()).start().await.expect("a node");
    let flags = Flags { folder: Some(folder.path().to_owned()), port: Some("0".to_owned()), ..Flags::default() };
    let settings = Settings::read(folder.path(), &flags, |_| None).expect("settings");
    let operator = Arc::new(Operator::new(node.handle(), flags, settings, Arc::new(|_| Ok(()))));
    let state = Arc::new(State::new(node.handle(), String::new(), Some(Arc::clone(&operator))));
    let body = serde_json::json!({ "address": address }).to_string();
    let request = Request::post("/api/peers").body(Body::from(body)).expect("a request");
    let mut adding = Box::pin(control::add_peer(FromState(state), request));
    assert!(futures_util::poll!(adding.as_mut()).is_pending());
    drop(adding);
    while !std::fs::read_to_string(&file).expect("read").contains(address) {
        tokio::task::yield_now().await;
    }
    operator.denied().await.expect("after the change");
    let peers = node.status().await.expect("a status").peers;
    assert!(peers.iter().any(|peer| peer.address == address), "{peers:?}");
    node.shutdown().await.expect("a clean end");
}
