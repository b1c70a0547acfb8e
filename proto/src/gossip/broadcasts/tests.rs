use std::time::Duration;

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::gossip::broadcasts::Broadcasts;
use crate::gossip::plumtree::Plumtree;
use crate::id::LinkId;
use crate::limits;
use crate::testing::net::{Net, broadcast_frame};
use crate::testing::parts;
use crate::wire::{Broadcast, BroadcastDigest, BroadcastFrame, BroadcastId};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn everybody_is_told_once_and_the_second_costs_one_copy_each() {
    for mut net in [Net::mesh(5), Net::line(5)] {
        let links = net.broadcast(0, "one").links;
        assert_eq!(links, net.cores[0].connections.links.peers());
        net.sent.clear();
        net.broadcast(0, "two");
        assert_eq!(net.sent["BROADCAST"], 4, "after the first, the tree of the origin has grown");
        net.pass(30 * SECOND);
        for node in 0..5 {
            assert_eq!(net.texts(node), ["one", "two"], "node {node}");
        }
    }
}

#[test]
fn nobody_linked_is_told_as_zero() {
    let mut net = Net::new(1);
    assert_eq!(net.broadcast(0, "is anybody there?").links, 0);
    assert_eq!(net.texts(0), ["is anybody there?"]);
}

#[test]
fn who_was_away_gets_what_is_younger_than_ten_minutes() {
    let mut net = Net::new(4);
    net.link(0, 1);
    net.broadcast(0, "early");
    net.pass(SECOND * 500);
    net.broadcast(0, "late");
    net.pass(SECOND * 50);
    net.link(1, 2);
    net.pass(SECOND * 20);
    assert_eq!(net.texts(2), ["early", "late"]);
    // What node 2 has by comparison is as old as it is everywhere.
    net.pass(SECOND * 40);
    net.link(2, 3);
    net.pass(SECOND * 20);
    assert_eq!(net.texts(3), ["late"]);
    net.pass(SECOND * 1_200);
    for node in 0..3 {
        assert_eq!(net.texts(node), ["early", "late"], "nobody is told twice: node {node}");
        assert_eq!(net.cores[node].broadcasts.store.iter().count(), 0, "and nothing is kept for ever");
    }
}

#[test]
fn what_a_node_said_before_its_restart_does_not_come_back_to_it_and_reaches_newcomers() {
    let mut net = Net::new(3);
    net.link(0, 1);
    net.broadcast(0, "hello");
    net.pass(5 * SECOND);
    net.restart(0);
    net.events[0].clear();
    net.link(0, 1);
    net.pass(5 * SECOND);
    net.isolate(1);
    net.link(0, 2);
    net.pass(20 * SECOND);
    assert!(net.texts(0).is_empty());
    assert_eq!(net.texts(2), ["hello"], "kept by who said it, since others may lack it");
}

#[test]
fn a_restarted_sender_says_new_things_and_repeats_nothing() {
    let mut net = Net::line(3);
    net.broadcast(0, "hello");
    net.pass(5 * SECOND);
    net.restart(0);
    net.link(0, 1);
    net.broadcast(0, "hello");
    net.pass(20 * SECOND);
    assert_eq!(net.texts(2), ["hello", "hello"], "the same words said twice are two broadcasts");
    assert_eq!(net.texts(0), ["hello", "hello"], "each when it was said");
}

#[test]
fn two_halves_that_meet_tell_each_other() {
    let mut net = Net::new(4);
    net.link(0, 1);
    net.link(2, 3);
    for n in 0..200 {
        net.broadcast(0, &format!("left {n}"));
        net.broadcast(3, &format!("right {n}"));
    }
    net.pass(5 * SECOND);
    net.link(1, 2);
    net.pass(60 * SECOND);
    for node in 0..4 {
        let mut texts = net.texts(node);
        assert_eq!(texts.len(), 400, "node {node}");
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 400, "node {node}");
    }
}

#[test]
fn a_client_is_told_on_how_many_links_it_went_out() {
    let mut net = Net::mesh(3);
    let client = net.client(0);
    net.receive(0, client, &broadcast_frame(1, "hi", r#","ack":true,"from":"plain:ws://a:1""#));
    net.receive(0, client, &broadcast_frame(1, "hi", r#","ack":true"#));
    let id = "01".repeat(32);
    assert_eq!(
        net.to_clients,
        [
            format!(r#"{{"type":"ACK","data":{{"id":"{id}","status":"sent","links":2}}}}"#),
            format!(r#"{{"type":"ACK","data":{{"id":"{id}","status":"duplicate","links":0}}}}"#)
        ]
    );
    assert_eq!((net.texts(0), net.texts(2)), (vec!["hi".to_owned()], vec!["hi".to_owned()]));
    let Some(Event::Broadcast { sender, .. }) =
        net.events[2].iter().find(|event| matches!(event, Event::Broadcast { .. }))
    else {
        panic!("no broadcast")
    };
    assert_eq!(sender.address, Some(crate::testing::net::address(0)), "a client has no name of its own");
}

#[test]
fn what_is_no_broadcast_is_a_fault() {
    let mut net = Net::new(1);
    let client = net.client(0);
    let long = "x".repeat(limits::BROADCAST_BYTES + 1);
    for frame in [
        broadcast_frame(1, "", ""),
        broadcast_frame(1, &long, ""),
        r#"{"type":"BROADCAST"}"#.to_owned(),
        r#"{"type":"BROADCAST","data":{"id":"7","title":"","message":"a","time":1}}"#.to_owned(),
        r#"{"type":"BROADCAST","data":{"id":null,"title":"","message":7,"time":1}}"#.to_owned(),
    ] {
        net.receive(0, client, &frame);
    }
    assert_eq!((net.texts(0).len(), net.cores[0].counters().frames_malformed), (0, 5));
    net.receive(0, client, &broadcast_frame(1, &long[1..], ""));
    assert_eq!(net.texts(0).len(), 1, "the longest one is taken");
}

#[test]
fn a_plain_peer_may_not_broadcast() {
    let mut net = Net::new(1);
    let plain = net.client(0);
    net.receive(0, plain, r#"{"type":"HANDSHAKE","data":["ws://localhost:9"]}"#);
    net.receive(0, plain, &broadcast_frame(1, "hi", ""));
    assert!(net.texts(0).is_empty());
}

/// A broadcast of node 9 on link `link`; `synced` if it answers a comparison, with its age.
fn receive(
    cx: &mut Context,
    links: &LinkTable,
    (broadcasts, plumtree): &mut (Broadcasts, Plumtree),
    link: u64,
    synced: Option<Duration>,
) -> Option<BroadcastDigest> {
    let broadcast = Broadcast { id: BroadcastId([7; 32]), message: "hello".into(), time: 1.5, seal: None };
    let frame = BroadcastFrame { broadcast, origin: Some(parts::origin(9)), ack: false, synced };
    let name = |node| PeerName { node: Some(node), address: None };
    broadcasts.on_broadcast(cx, links, plumtree, name, LinkId(link), frame).expect("a broadcast")
}

/// A liar passes the broadcast of another on as an answer to a comparison, before its copies come.
#[test]
fn a_broadcast_that_a_liar_calls_old_is_sent_on_and_kept_all_the_same() {
    for age in [Duration::ZERO, limits::BROADCAST_TTL - SECOND, limits::BROADCAST_TTL, limits::OLDEST] {
        let (mut cx, mut links, mut gossip) = (parts::context(), LinkTable::default(), Default::default());
        for n in [1, 2, 3] {
            parts::native(&cx, &mut links, n);
        }
        let is_over = age >= limits::BROADCAST_TTL;
        assert_eq!(receive(&mut cx, &links, &mut gossip, 1, Some(age)).is_none(), is_over, "{age:?}");
        assert_eq!(cx.counters.broadcasts_accepted, u64::from(!is_over), "{age:?}");
        cx.now += 2 * SECOND;
        gossip.0.store.expire(cx.now);
        let told = parts::drain(&mut cx);
        assert_eq!(told, if is_over { vec![] } else { vec!["event Broadcast"] }, "{age:?}");
        let digest = receive(&mut cx, &links, &mut gossip, 2, None).expect("taken");
        let outputs = parts::drain(&mut cx);
        assert!(outputs[0].starts_with("payload [1, 3] {type:BROADCAST"), "{age:?}: {outputs:?}");
        assert_eq!(outputs.iter().any(|output| output == "event Broadcast"), is_over, "{age:?}: once");
        assert_eq!(cx.counters.broadcasts_accepted, 1, "{age:?}");
        // Once.
        receive(&mut cx, &links, &mut gossip, 3, None);
        assert!(!parts::drain(&mut cx).iter().any(|output| output.starts_with("payload")), "{age:?}");
        cx.now += limits::BROADCAST_TTL - SECOND;
        gossip.0.store.expire(cx.now);
        assert!(gossip.0.store.get(&digest).is_some(), "{age:?}");
    }
}

#[test]
fn the_live_copy_of_what_a_comparison_brought_is_not_reported_again() {
    let mut net = Net::line(3);
    let link = net.cores[1].connections.links.iter().next().expect("a link").0;
    let from = format!(r#","from":"{}""#, crate::testing::net::id(9));
    net.receive(1, link, &broadcast_frame(7, "hello", &format!(r#"{from},"session":"x","age":599"#)));
    assert_eq!((net.texts(1), net.texts(2).len()), (vec!["hello".to_owned()], 0));
    net.pass(5 * SECOND);
    net.receive(1, link, &broadcast_frame(7, "hello", &from));
    assert_eq!((net.texts(1).len(), net.texts(2).len()), (1, 1));
}

#[test]
fn copies_are_counted_and_pruned_unless_they_answer_a_comparison_or_come_from_a_client() {
    let (mut cx, mut links, mut gossip) = (parts::context(), LinkTable::default(), Default::default());
    for n in [1, 2, 3] {
        parts::native(&cx, &mut links, n);
    }
    let client = parts::client(&cx, &mut links, 4);
    receive(&mut cx, &links, &mut gossip, 1, None);
    // A client's is ours, whatever its id.
    receive(&mut cx, &links, &mut gossip, client.0, None);
    parts::drain(&mut cx);
    receive(&mut cx, &links, &mut gossip, 2, Some(SECOND));
    receive(&mut cx, &links, &mut gossip, client.0, None);
    assert_eq!(parts::drain(&mut cx), [""; 0], "these say nothing of the trees");
    receive(&mut cx, &links, &mut gossip, 3, None);
    let outputs = parts::drain(&mut cx);
    assert!(outputs.iter().any(|output| output.starts_with("control [3] {type:PRUNE")), "{outputs:?}");
    assert_eq!((cx.counters.broadcasts_accepted, cx.counters.broadcasts_duplicate), (2, 3));
}
