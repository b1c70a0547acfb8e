//! A node that defends itself: what it does with peers that break rules, and with those that would take everybody's place.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::core::Core;
use common::embedded::Embedded;
use common::raw::{Raw, request};
use common::{eventually, within};
use p2p_node::protocol::Output;
use p2p_node::protocol::address::Scope;
use p2p_node::protocol::limits::Limits;
use serde_json::json;

#[test]
fn a_name_may_lead_no_nearer_than_whoever_told_of_it() {
    let mut core = Core::new(Limits::default());
    let mut reach = |remote: &str, name: &str| {
        let link = core.link(remote);
        let mut outputs = core.receive(link, &json!({ "type": "HANDSHAKE", "data": [name] }));
        outputs.extend(core.pass(Duration::from_millis(1)));
        outputs.into_iter().find_map(|output| match output {
            Output::Dial { address, reach } if address.to_string() == name => Some(reach),
            _ => None,
        })
    };
    assert_eq!(reach("203.0.113.7", "ws://far.example:1"), Some(Scope::Public));
    assert_eq!(reach("10.9.9.9", "ws://near.example:1"), Some(Scope::Private));
    assert_eq!(reach("127.0.0.1", "ws://here.example:1"), Some(Scope::Loopback));
    assert_eq!(reach("127.0.0.1", "ws://localhost:1"), Some(Scope::Loopback));
}

/// THREATS: slow upgrades. Each sends a byte a second and would do so for a minute; together they are eight times as many as may be upgrading at once.
#[tokio::test]
async fn a_peer_joins_while_two_thousand_connections_dawdle_over_their_upgrade() {
    let limits = Limits { upgrade_timeout: Duration::from_secs(60), inbound_links: 8, ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let Raw(stream) = Raw::connect(node.port()).await;
        slow.spawn(async move {
            let (mut reader, mut writer) = stream.into_split();
            let dawdle = async {
                for byte in request(1, "").bytes() {
                    if tokio::io::AsyncWriteExt::write_all(&mut writer, &[byte]).await.is_err() {
                        break;
                    }
                    // Not a wait for anything: this is what a slow sender is.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                () = dawdle => {}
                _ = tokio::io::AsyncReadExt::read_u8(&mut reader) => {}
            }
        });
    }
    let begun = std::time::Instant::now();
    let peer = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    eventually("the link of a peer", async || match node.status().await.unwrap().connected {
        peers if peers == [peer.address().to_string()] => Ok(()),
        peers => Err(format!("{peers:?}")),
    })
    .await;
    println!("a peer joined in {:?}", begun.elapsed());
    let mut ended = 0;
    while ended < 2_000 - 256 {
        within("the end of those that gave way", slow.join_next()).await.unwrap().unwrap();
        ended += 1;
    }
}
