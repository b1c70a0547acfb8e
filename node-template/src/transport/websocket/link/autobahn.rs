//! The WebSocket transport against the Autobahn test suite: an echo server that reads, answers
//! faults and closes as a link's task does. Only the echo is not a node's: the suite expects it.
//!
//! `cargo xtask autobahn` runs it. The suite is a program for Python 2.7, which few machines have,
//! so it is no part of the tests.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_tungstenite::accept_async_with_config;

use crate::transport::bounded_stream::BoundedStream;
use crate::transport::raw_stream::RawStream;
use crate::transport::websocket::link::*;
use crate::transport::websocket::read_buffer::ReadBuffer;
use crate::transport::websocket::read_buffer::tests::read;
use crate::transport::websocket::socket::config;
use crate::transport::websocket::write_buffer::WriteBuffer;
use crate::util::byte_stream::ByteStream;

/// Framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, and automatic
/// fragmentation. Left out: 9 (speed with messages above our limit), 12 and 13 (compression, which
/// is not offered).
const CASES: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];

async fn echo(stream: TcpStream) {
    let stream = RawStream::tcp(stream).expect("a socket that can be configured");
    let stream = BoundedStream::new(stream, limits::MESSAGE_BYTES);
    let stream = WriteBuffer::new(ReadBuffer::new(ByteStream::Plain(stream)));
    let mut socket = accept_async_with_config(stream, Some(config())).await.expect("the suite upgrades");
    socket.get_mut().stream_mut().lift_read_limit();
    socket.get_mut().stream_mut().begin_texts(true);
    let end = loop {
        match read(&mut socket).await {
            Some(Ok((message @ (tungstenite::Message::Text(_) | tungstenite::Message::Binary(_)), _))) => {
                // If the suite has gone, the next read returns that.
                socket.send(message).await.unwrap_or_default();
            }
            Some(Ok((tungstenite::Message::Close(frame), _))) => break End::from_close(frame),
            Some(Ok(_)) => {}
            Some(Err(error)) => break End::from_error(&error),
            None => return,
        }
    };
    socket.get_mut().stream_mut().end_texts();
    tokio::time::timeout(CLOSE_WITHIN, close(socket, end)).await.unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Autobahn test suite: cargo xtask autobahn"]
async fn nothing_that_the_suite_sends_fails() {
    let suite = std::env::var("AUTOBAHN").expect("AUTOBAHN names a program that takes wstest's arguments");
    let folder = std::env::var("AUTOBAHN_REPORT").expect("AUTOBAHN_REPORT names a folder for the report");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let spec = json!({
        "outdir": folder,
        "servers": [{ "agent": "p2p-node", "url": url }],
        "cases": CASES,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let path = Path::new(&folder).join("spec.json");
    std::fs::write(&path, spec.to_string()).expect("a folder that can be written");
    let ended = Command::new(&suite).args(["--mode", "fuzzingclient", "--spec"]).arg(&path).status().await;
    server.abort();
    assert!(ended.as_ref().is_ok_and(std::process::ExitStatus::success), "{suite}: {ended:?}");
    let index = std::fs::read(Path::new(&folder).join("index.json")).expect("a report");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let cases = index["p2p-node"].as_object().expect("the results of this server");
    let (mut counted, mut failed) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (case, result) in cases {
        for what in ["behavior", "behaviorClose"] {
            let result = result[what].as_str().unwrap_or("none");
            *counted.entry(format!("{what} {result}")).or_default() += 1;
            if !["OK", "NON-STRICT", "INFORMATIONAL"].contains(&result) {
                failed.push(format!("{case}: {what} {result}"));
            }
        }
    }
    println!("{} cases: {counted:?}", cases.len());
    assert!(cases.len() > 200 && failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), cases.len());
}
