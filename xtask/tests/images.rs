//! `image` against fake nodes; the tests of the node use real ones.

mod support;

use std::fs::{self, File};
use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use meshpool::protocol::id::{NodeId, Session, UpgradeIdentity};
use support::{Behaviour, FakeNode, TestWorkspace, lock};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const PROTOCOL: &str = "sec-websocket-protocol";

/// A fake node that answers each transfer with these frames and then closes.
struct FakeImageNode {
    _lock: File,
    _runtime: tokio::runtime::Runtime,
}

impl FakeImageNode {
    fn start(folder: &Path, frames: Vec<Frame>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let lock = lock(folder, &listener);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut transfer = false;
                #[expect(clippy::result_large_err, reason = "the library's callback type")]
                let greet = |request: &Request, mut answer: Response| {
                    let identity = UpgradeIdentity { node: NodeId([7; 32]), session: Session::from_random([1; 16]) };
                    answer
                        .headers_mut()
                        .insert(UpgradeIdentity::HEADER, identity.to_string().parse().expect("a value"));
                    if let Some(protocol) = request.headers().get(PROTOCOL) {
                        answer.headers_mut().insert(PROTOCOL, protocol.clone());
                        transfer = true;
                    }
                    Ok(answer)
                };
                let mut socket = accept_hdr_async(stream, greet).await.expect("an upgrade");
                // A request, or a client's close.
                socket.next().await;
                for frame in frames.iter().filter(|_| transfer) {
                    socket.send(frame.clone()).await.expect("sent");
                }
            }
        });
        Self { _lock: lock, _runtime: runtime }
    }
}

fn text(frame: &str) -> Frame {
    Frame::text(frame.to_owned())
}

/// The image files in the root.
fn pictures(workspace: &TestWorkspace) -> Vec<String> {
    let entries = fs::read_dir(workspace.path("")).expect("read").map(|entry| entry.expect("read").file_name());
    let names = entries.map(|name| name.into_string().expect("UTF-8"));
    names.filter(|name| name.contains("jpg")).collect()
}

#[test]
fn an_image_is_written_once_it_is_whole() {
    let workspace = TestWorkspace::new();
    let announced = text(r#"{"type":"IMAGE","data":{"size":6}}"#);
    let frames = vec![announced, Frame::binary(b"pic".to_vec()), Frame::binary(b"tur".to_vec())];
    let _node = FakeImageNode::start(&workspace.folder(1), frames);
    fs::write(workspace.path("copy.jpg"), "an older one").expect("written");
    let out = workspace.run(&["image", "get", "cat.jpg", "-o", "copy.jpg"]).done();
    assert_eq!(out, "copy.jpg: 6 B, by way of node-1\n");
    assert_eq!(fs::read(workspace.path("copy.jpg")).expect("there"), b"pictur");
    assert_eq!(pictures(&workspace), ["copy.jpg"]);
}

#[test]
fn what_breaks_off_leaves_what_was_there() {
    let workspace = TestWorkspace::new();
    let frames = vec![text(r#"{"type":"IMAGE","data":{"size":6}}"#), Frame::binary(b"pic".to_vec())];
    let _node = FakeImageNode::start(&workspace.folder(1), frames);
    fs::write(workspace.path("cat.jpg"), "an older one").expect("written");
    workspace.run(&["image", "get", "cat.jpg"]).failed(&["cat.jpg did not come whole"]);
    assert_eq!(fs::read(workspace.path("cat.jpg")).expect("there"), b"an older one");
    assert_eq!(pictures(&workspace), ["cat.jpg"]);
}

#[test]
fn the_nodes_own_words_are_told() {
    let workspace = TestWorkspace::new();
    workspace.run(&["image", "get", "cat.jpg"]).failed(&["no node is running"]);
    workspace.run(&["image", "get", "sub/cat.jpg"]).failed(&["sub/cat.jpg names no image", "without /"]);
    let failed = text(r#"{"type":"FAILED","data":{"reason":"no node that can be reached has cat.jpg"}}"#);
    let _node = FakeImageNode::start(&workspace.folder(1), vec![failed]);
    workspace.run(&["image", "get", "cat.jpg"]).failed(&["node-1", "no node that can be reached has cat.jpg"]);
    assert!(pictures(&workspace).is_empty());
    let _plain = FakeNode::start(&workspace.folder(2), Behaviour { exercise: true, ..Behaviour::default() });
    workspace.run(&["image", "list", "--node", "2"]).failed(&["node-2", "node of the exercise"]);
}

#[test]
fn the_list_is_a_table_or_json() {
    let workspace = TestWorkspace::new();
    let list =
        r#"{"images":[{"name":"cat\u001b[2J.jpg","size":2048,"here":true,"kept":false,"nodes":2}],"more":false}"#;
    let _node =
        FakeImageNode::start(&workspace.folder(1), vec![text(&format!(r#"{{"type":"IMAGES","data":{list}}}"#))]);
    let out = workspace.run(&["image", "list"]).done();
    assert_eq!(out, "name     size     where\ncat.jpg  2.0 KiB  node-1, 2 other nodes\n");
    let json: serde_json::Value =
        serde_json::from_str(&workspace.run(&["image", "list", "--json"]).done()).expect("JSON");
    assert_eq!((&json["askedOf"], &json["images"][0]["nodes"]), (&"node-1".into(), &2.into()));
}
