//! What a stranger may throw at a node: text that is no message, frames that break the protocol,
//! bytes that are no WebSocket at all.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::node::free_port;
use super::tester::Socket;
use super::within;

/// Throws all of it at the node with this port, each on a connection of its own, and waits until
/// the node has taken each in: it answers a STATUS on that connection, or has closed it. No valid
/// transaction is among it, and nothing that it names is a node.
pub async fn throw_everything(port: u16) {
    for text in texts() {
        let mut socket = Socket::dial(port).await.unwrap();
        socket.write_raw(&masked(0x81, text.as_bytes())).await;
        socket.write_raw(&masked(0x81, br#"{"type":"STATUS","data":{}}"#)).await;
        socket.frame_or_end().await;
    }
    for bytes in broken_frames() {
        let mut socket = Socket::dial(port).await.unwrap();
        socket.write_raw(&bytes).await;
        while socket.frame_or_end().await.is_some() {}
    }
    for bytes in not_web_sockets() {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // The node may close before it has read all of it, which both of these then tell.
        stream.write_all(bytes).await.ok();
        within("the end of a connection that is no WebSocket", stream.read_to_end(&mut Vec::new())).await.ok();
    }
}

/// A listener that answers every request with an HTTP error, which kills nodes of the exercise that
/// dial it.
pub async fn not_a_node() -> String {
    let port = free_port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Closing what is not read to its end would take the answer back.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n")
                && let Ok(byte) = stream.read_u8().await
            {
                head.push(byte);
            }
            stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.ok();
        }
    });
    format!("ws://localhost:{port}")
}

fn texts() -> Vec<String> {
    let mut texts: Vec<String> =
        ["", "garbage", "null", "7", "[]", "{}", "{", r#""text""#, r#"{"type":1}"#, r#"{"type":null,"data":[]}"#]
            .into_iter()
            .map(str::to_owned)
            .collect();
    for kind in ["HANDSHAKE", "TRANSACTION", "SYNC", "ACK", "UNKNOWN"] {
        texts.push(json!({ "type": kind }).to_string());
        for data in [json!(null), json!("text"), json!(7), json!([null, 7, {}, ["ws://localhost:1"]]), json!([[[]]])] {
            texts.push(json!({ "type": kind, "data": data }).to_string());
        }
    }
    let addresses = json!([
        "not a url",
        "ws://",
        "ws://localhost",
        "http://localhost:1",
        "ws://localhost:99999",
        "ws://localhost:1#fragment",
        "ws://a@localhost:1",
        "ws://localhost:1/path",
        "ws://localhost:1?query",
        "\u{1b}[2J",
        "ws://".to_owned() + &"x".repeat(10_000),
    ]);
    texts.push(json!({ "type": "HANDSHAKE", "data": addresses, "node": 7 }).to_string());
    texts.push(json!({ "type": "HANDSHAKE", "data": addresses }).to_string());
    texts.push(json!({ "type": "HANDSHAKE", "data": addresses, "node": { "id": "x", "session": "y" } }).to_string());
    texts.push(format!(r#"{{"type":"TRANSACTION","data":{{"deep":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000)));
    texts.push(r#"{"type":"TRANSACTION","data":{"large":12345678901234567891}}"#.to_owned());
    texts.push(r#"{"type":"TRANSACTION","data":{"endless":1e400}}"#.to_owned());
    texts.push(r#"{"type":"TRANSACTION","data":{"half":"\ud800"}}"#.to_owned());
    texts.push(json!({ "type": "TRANSACTION", "data": { "fat": "x".repeat(300 * 1024) } }).to_string());
    texts
}

fn broken_frames() -> Vec<Vec<u8>> {
    let text = br#"{"type":"HANDSHAKE","data":[]}"#;
    vec![
        [&[0x81, text.len() as u8], &text[..]].concat(), // unmasked
        masked(0xc1, text),                              // RSV1: compressed, which nobody agreed on
        masked(0x83, text),                              // an unknown opcode
        masked(0x81, b"\"\xff\xfe\""),                   // bad UTF-8
        masked(0x80, text),                              // a continuation of nothing
        masked(0x09, b"fragmented ping"),                // control frames are never fragmented
        masked(0x88, &1005_u16.to_be_bytes()),           // a close code that must not be sent
        masked(0x88, &999_u16.to_be_bytes()),            // a close code that does not exist
        masked(0x88, b"\x03"),                           // half a close code
        vec![0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // a text of 2^62 bytes
        masked(0x81, &vec![b' '; 2 * 1024 * 1024]),      // two megabytes of nothing
    ]
}

fn not_web_sockets() -> [&'static [u8]; 4] {
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 a TLS hello",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"{\"type\":\"HANDSHAKE\",\"data\":[]}\n\r\n\r\n",
    ]
}

/// A frame as a client sends it. The mask is zero, so that the payload stands as it is.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
