//! Nodes that others cannot dial, as behind NAT: they are linked all the same.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::{Ipv4Addr, TcpListener};

use common::embedded::Embedded;
use meshpool::Network;
use meshpool::protocol::address::PeerAddress;

/// An address where nobody listens.
fn dead_address() -> PeerAddress {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    PeerAddress::new("127.0.0.1", port).unwrap()
}

/// A hub, a node that announces an address where nobody listens, and one that comes later.
async fn three(cap: Option<u32>) -> [Embedded; 3] {
    let capped = |network: Network| match cap {
        Some(cap) => network.max_peers(cap),
        None => network,
    };
    let hub = Embedded::start(capped).await;
    let known = hub.address().clone();
    let hidden = Embedded::start(|network| capped(network.known_peer(known.clone()).address(dead_address()))).await;
    hidden.links_to(&[&hub]).await;
    let late = Embedded::start(|network| capped(network.known_peer(known))).await;
    [hub, hidden, late]
}

#[tokio::test]
async fn a_node_that_nobody_can_dial_dials_those_that_come_later_and_outlives_the_one_between() {
    for cap in [None, Some(6)] {
        let [hub, hidden, late] = three(cap).await;
        hidden.links_to(&[&hub, &late]).await;
        late.links_to(&[&hub, &hidden]).await;
        hub.stop().await;
        hidden.links_to(&[&late]).await;
    }
}
