//! How often a node dials one host, and that many nodes behind one address find each other all the
//! same: in network namespaces, where addresses are not loopback's.

#![cfg(target_os = "linux")]
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::in_time;
use common::namespace::{Inhabitant, TwoSides, WINDOW, address, eager};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// Where the third party listens.
const PORTS: std::ops::Range<u16> = 5_000..5_100;

/// Listens on many ports of a host, and reports when connections come.
fn third_party(sides: &TwoSides, node: usize) -> mpsc::Receiver<Instant> {
    let (seen, times) = mpsc::channel();
    let (ready, listening) = mpsc::channel();
    sides.run(node, move || {
        for port in PORTS {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            let seen = seen.clone();
            // The threads end with the test's process.
            std::thread::spawn(move || {
                while listener.accept().is_ok() {
                    if seen.send(Instant::now()).is_err() {
                        break;
                    }
                }
            });
        }
        ready.send(()).unwrap();
    });
    listening.recv().unwrap();
    times
}

/// Names the third party on sixteen links, in every spelling, as others' addresses and as its own,
/// until the test is over.
fn attack(sides: &TwoSides, node: usize, over: oneshot::Receiver<()>) -> std::thread::JoinHandle<()> {
    sides.run(node, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut links = Vec::new();
            for link in 0..16 {
                let stream = tokio::net::TcpStream::connect("10.77.0.1:4000").await.unwrap();
                let (mut socket, _) = client_async("ws://10.77.0.1:4000", stream).await.unwrap();
                let spelling = |port: u16| match port % 2 {
                    0 => format!("ws://10.77.0.3:{port}"),
                    _ => format!("ws://[::ffff:10.77.0.3]:{port}"),
                };
                let data: Vec<_> = PORTS.map(spelling).collect();
                let mut hello = json!({ "type": "HANDSHAKE", "data": data });
                if link % 4 == 0 {
                    let (id, session) = (format!("{link:064x}"), format!("00000000-0000-4000-8000-{link:012x}"));
                    hello["node"] =
                        json!({ "id": id, "session": session, "network": "p2p-node", "address": data[link] });
                }
                socket.send(Message::text(hello.to_string())).await.unwrap();
                links.push(socket);
            }
            // Each link is read, so that none is closed as silent, and repeats what it said.
            let talk = links.into_iter().map(|mut socket| async move {
                let hello =
                    json!({ "type": "HANDSHAKE", "data": ["ws://10.77.0.3:5001", "ws://[::ffff:10.77.0.3]:5002"] });
                while let Some(Ok(_)) = socket.next().await {
                    if socket.send(Message::text(hello.to_string())).await.is_err() {
                        break;
                    }
                }
            });
            tokio::select! {
                _ = over => {}
                _ = futures_util::future::join_all(talk) => {}
            }
        });
    })
}

#[tokio::test]
async fn sixteen_links_of_one_liar_aim_four_connections_in_a_window_at_a_third_party() {
    let Some(sides) = TwoSides::lay(3) else { return };
    let victim = third_party(&sides, 2);
    let _node = sides.start(0, move |network| network.limits(eager())).await;
    let (end, over) = oneshot::channel();
    let attacker = attack(&sides, 1, over);
    let times = tokio::task::spawn_blocking(move || -> Vec<Instant> {
        (0..14).map(|_| victim.recv_timeout(common::PATIENCE).expect("it is dialled now and then")).collect()
    });
    let times = times.await.unwrap();
    drop(end);
    attacker.join().unwrap();
    // What was sent in time may be seen a moment later.
    let late = Duration::from_millis(200);
    for five in times.windows(5) {
        assert!(five[4] - five[0] >= WINDOW - late, "five within {:?}", five[4] - five[0]);
    }
}

/// Waits until each node is linked to all others.
async fn all_linked(nodes: &[Inhabitant]) {
    let all: BTreeSet<_> = nodes.iter().map(|inhabitant| inhabitant.node.id()).collect();
    for inhabitant in nodes {
        let others: BTreeSet<_> = all.iter().copied().filter(|id| *id != inhabitant.node.id()).collect();
        in_time(format!("the links of {}", inhabitant.node.address()), Duration::from_secs(60), async || {
            let links = inhabitant.node.links().await.unwrap();
            let linked: BTreeSet<_> = links.into_iter().filter_map(|link| link.peer.node).collect();
            if linked == others { Ok(()) } else { Err(format!("{} of {}", linked.len(), others.len())) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_classroom_behind_one_address_that_knows_one_node_is_linked_as_a_whole() {
    let Some(sides) = TwoSides::lay(2) else { return };
    let mut nodes = vec![sides.start(0, |network| network).await];
    // More than one address may have links: the last ones are referred to others.
    for _ in 0..19 {
        nodes.push(sides.start_sharing(1, |network| network.known_peer(address(0).parse().unwrap())).await);
    }
    let begun = Instant::now();
    all_linked(&nodes).await;
    eprintln!("20 nodes at two addresses are linked {:.1?} after the last start", begun.elapsed());
    let refused = nodes[0].node.status().await.unwrap().counters["connections_refused"];
    assert!(refused > 0, "there were more than may be");
}
