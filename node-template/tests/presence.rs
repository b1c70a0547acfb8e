//! Who is in the network, over real sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;

use common::embedded::{Embedded, event};
use common::{eventually, within};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::{Client, Departure};

async fn beside(other: &Embedded) -> Embedded {
    Embedded::start(|network| network.known_peer(other.address().clone())).await
}

/// Waits until a node knows exactly these to be in the network.
async fn knows(node: &Embedded, nodes: &[&Embedded]) {
    let expected: BTreeSet<String> = nodes.iter().map(|node| node.id().to_string()).collect();
    eventually("the list of nodes", async || {
        let known = node.nodes().await.unwrap();
        let ids: BTreeSet<String> = known.iter().map(|member| member.node.clone()).collect();
        if ids == expected { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
}

#[tokio::test]
async fn every_node_knows_who_is_there_and_who_leaves() {
    let one = Embedded::with(Limits::default()).await;
    let mut events = one.events();
    let (two, three) = (beside(&one).await, beside(&one).await);
    for node in [&one, &two, &three] {
        knows(node, &[&one, &two, &three]).await;
    }
    // Their announcements follow when their links have settled.
    eventually("links", async || {
        let nodes = three.nodes().await.unwrap();
        let all = nodes.iter().all(|node| node.links == 2 && node.peers.len() == 2 && node.free.is_none());
        if all { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    let nodes = two.nodes().await.unwrap();
    let me = nodes.iter().find(|node| node.me).unwrap();
    assert_eq!(me.node, two.id().to_string());
    for (node, of) in nodes.iter().filter_map(|node| {
        let of = [&one, &two, &three].into_iter().find(|of| of.id().to_string() == node.node)?;
        Some((node, of))
    }) {
        assert_eq!(node.address.as_deref(), Some(of.address().to_string().as_str()));
        assert_eq!(node.session, of.session().to_string());
        assert!(node.since > 1_700_000_000, "{}", node.since);
    }
    let (id, name) = (three.id(), three.address().clone());
    three.stop().await;
    let cause = event(&mut events, "its leaving", |event| match event {
        Event::NodeLeft { node, cause, nodes } => {
            assert_eq!((node.node, node.address, nodes), (Some(id), Some(name.clone()), 2));
            Some(cause)
        }
        _ => None,
    })
    .await;
    assert_eq!(cause, Departure::Goodbye);
    knows(&one, &[&one, &two]).await;
    knows(&two, &[&one, &two]).await;
}

#[tokio::test]
async fn a_client_on_this_host_is_told_the_list() {
    let one = Embedded::with(Limits::default()).await;
    let two = beside(&one).await;
    knows(&one, &[&one, &two]).await;
    let mut client = Client::connect(one.address()).await.unwrap();
    let mut told = within("the list", client.nodes()).await.unwrap();
    let mut own = one.nodes().await.unwrap();
    client.close().await;
    for member in told.iter_mut().chain(&mut own) {
        (member.heard, member.links) = (0, 0);
        member.peers.clear();
    }
    assert_eq!(told, own);
}

#[tokio::test]
async fn a_node_is_told_when_others_join() {
    let one = Embedded::with(Limits::default()).await;
    let mut events = one.events();
    let two = beside(&one).await;
    let joined = event(&mut events, "its joining", |event| match event {
        Event::NodeJoined { node, nodes } => Some((node.node, node.address, nodes)),
        _ => None,
    })
    .await;
    assert_eq!(joined, (Some(two.id()), Some(two.address().clone()), 2));
}
