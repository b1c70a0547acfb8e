//! Tests of what is said in the network under signatures: by whom it is believed, and how often it
//! is judged.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::id::Session;
use crate::json::Parser;
use crate::json::Value;
use crate::limits;
use crate::signature::*;
use crate::testing::net::{Net, address, id};
use crate::wire::{AnnounceFrame, Announcement, Message, TITLE};

const SECOND: Duration = Duration::from_secs(1);

/// Nodes that sign, each linked to the next.
fn line(nodes: usize) -> Net {
    let mut net = Net::signed(nodes);
    for one in 1..nodes {
        net.link(one - 1, one);
    }
    net
}

fn known(net: &Net, node: usize) -> BTreeSet<String> {
    net.cores[node].nodes(net.now).into_iter().map(|member| member.node).collect()
}

/// The link of one node on which it hears another.
fn hears(net: &Net, node: usize, other: usize) -> crate::id::LinkId {
    net.cores[node].connections.links.to_node(id(other), None).expect("linked").0
}

/// News of a node that is not there, signed by another.
fn announcement(net: &Net, node: usize, signer: usize) -> Announcement {
    let mut announcement = Announcement {
        node: id(node),
        session: Session::from_random([9; 16]),
        address: Some(address(node)),
        since: 50,
        seq: 3,
        peers: vec![id(1)],
        links: 1,
        max_peers: None,
        nodes: 1,
        interval: 10,
        topics: Vec::new(),
        left: false,
        seal: None,
    };
    announcement.seal(&net.pretend(signer));
    announcement
}

fn frame(announcement: Announcement) -> String {
    let frame = AnnounceFrame { announcement, synced: None };
    frame.to_frame(Session::from_random([9; 16])).as_str().to_owned()
}

#[test]
fn what_is_signed_goes_through_many_hands() {
    let mut net = line(6);
    net.pass(5 * SECOND);
    net.broadcast(0, "hello");
    net.link(0, 5);
    net.pass(10 * SECOND);
    for node in 0..6 {
        assert_eq!(known(&net, node).len(), 6, "node {node}");
        assert_eq!(net.texts(node), ["hello"], "node {node}");
        let counters = net.cores[node].counters();
        assert_eq!((counters.announcements_forged, counters.broadcasts_forged), (0, 0));
    }
}

#[test]
fn who_was_away_is_told_with_the_signatures_of_others() {
    let mut net = line(3);
    net.broadcast(0, "before");
    net.pass(5 * SECOND);
    net.restart(2);
    net.link(2, 1);
    net.pass(20 * SECOND);
    assert_eq!(net.texts(2), ["before", "before"], "each run was told once");
    assert_eq!(known(&net, 2).len(), 3);
}

#[test]
fn nobody_announces_another() {
    let mut net = line(3);
    net.pass(5 * SECOND);
    let link = hears(&net, 0, 1);
    let good = announcement(&net, 90, 90);
    let changed = Announcement { left: true, ..good.clone() };
    let mut replaced = frame(good.clone()).replace("\"seq\":3", "\"seq\":4");
    assert!(replaced.contains("\"seq\":4"));
    replaced = replaced.replace("\"interval\":10", "\"interval\":11");
    let unsigned = frame(Announcement { seal: None, ..good.clone() });
    for forged in [frame(announcement(&net, 90, 1)), replaced, unsigned] {
        let before = net.cores[0].counters().announcements_forged;
        net.receive(0, link, &forged);
        assert_eq!(net.cores[0].counters().announcements_forged, before + 1, "{forged}");
    }
    assert_eq!(known(&net, 0), known(&net, 1));
    // What the members say outside the seal does not count: the seal is what is read.
    assert!(!frame(changed).contains("left"));
    net.receive(0, link, &frame(good));
    assert!(known(&net, 0).contains(&id(90).to_string()), "a signed announcement counts, no matter who brings it");
}

#[test]
fn who_brings_forgeries_is_cut_off() {
    let mut net = line(2);
    net.pass(5 * SECOND);
    let link = hears(&net, 0, 1);
    for n in 0..16 {
        assert!(net.cores[0].connections.links.get(link).is_some(), "after {n}");
        net.receive(0, link, &frame(announcement(&net, 90 + n, 1)));
    }
    assert!(net.cores[0].connections.links.get(link).is_none());
    assert_eq!(net.cores[0].counters().announcements_forged, 16);
}

#[test]
fn old_news_are_not_judged() {
    let mut net = line(3);
    net.pass(5 * SECOND);
    let link = hears(&net, 0, 1);
    let news = frame(announcement(&net, 90, 90));
    net.receive(0, link, &news);
    let judged = net.judged.load(Ordering::Relaxed);
    for _ in 0..20 {
        net.receive(0, link, &news);
    }
    assert_eq!(net.judged.load(Ordering::Relaxed), judged);
    assert!(net.cores[0].connections.links.get(link).is_some(), "and a copy is no fault");
}

/// A broadcast of a node under the id `ab…`, signed by it.
fn said(net: &Net, signer: usize, message: &str) -> String {
    let data = format!(r#"{{"id":"{}","title":"{TITLE}","message":"{message}","time":1.5}}"#, "ab".repeat(32));
    let mut parser = Parser::new();
    let canonical = parser.parse(&data).and_then(Value::normal).expect("JSON").canonical().to_owned();
    let signature = net.pretend(signer).sign(Purpose::Broadcast, &canonical).expect("it signs");
    format!(r#"{{"type":"BROADCAST","data":{data},"from":"{}","signature":"{signature}"}}"#, id(signer))
}

/// A relay that is faster than the origin signs another text under the id that it heard.
#[test]
fn a_broadcast_is_not_replaced_by_another_under_its_id() {
    let mut net = line(3);
    net.pass(5 * SECOND);
    let link = hears(&net, 1, 0);
    net.receive(1, link, &said(&net, 90, "a lie"));
    net.receive(1, link, &said(&net, 91, "the truth"));
    net.receive(1, link, &said(&net, 91, "the truth"));
    for node in [1, 2] {
        assert_eq!(net.texts(node), ["a lie", "the truth"], "node {node}");
    }
    // The first node has what was sent on to it, and what it lacks comes by comparison.
    net.restart(0);
    net.events[0].clear();
    net.link(0, 1);
    net.pass(20 * SECOND);
    let mut texts = net.texts(0);
    texts.sort_unstable();
    assert_eq!(texts, ["a lie", "the truth"], "both are compared");
}

#[test]
fn one_message_under_one_id_is_reported_once_also_if_two_nodes_took_it_in() {
    let mut net = line(3);
    net.pass(5 * SECOND);
    for node in [0, 2] {
        let client = net.client(node);
        net.receive(node, client, &crate::testing::net::broadcast_frame(1, "hello", ""));
    }
    net.pass(20 * SECOND);
    for node in 0..3 {
        assert_eq!(net.texts(node), ["hello"], "node {node}");
        assert_eq!(net.cores[node].broadcasts.store.iter().count(), 2, "they are two broadcasts: node {node}");
    }
}

#[test]
fn nobody_broadcasts_for_another() {
    let mut net = line(3);
    net.pass(5 * SECOND);
    let link = hears(&net, 0, 1);
    let said = |signer: usize| {
        let data = format!(r#"{{"id":"{}","title":"{TITLE}","message":"hi","time":1.5}}"#, "ab".repeat(32));
        let mut parser = Parser::new();
        let canonical = parser.parse(&data).and_then(Value::normal).expect("JSON").canonical().to_owned();
        let signature = net.pretend(signer).sign(Purpose::Broadcast, &canonical).expect("it signs");
        (data, signature.to_string())
    };
    let ((data, good), (_, other)) = (said(2), said(1));
    let frame = |siblings: String| format!(r#"{{"type":"BROADCAST","data":{data}{siblings}}}"#);
    let two = id(2);
    let forged = [
        frame(format!(r#","from":"{two}""#)),
        frame(format!(r#","from":"{two}","signature":"{other}""#)),
        frame(format!(r#","from":"{}","signature":"{good}""#, id(1))),
        frame(format!(r#","from":"plain:ws://localhost:4009","signature":"{other}""#)),
        frame(format!(r#","signature":"{good}""#)),
        frame(format!(r#","from":"{two}","signature":"{good}""#)).replace("\"hi\"", "\"ho\""),
        frame(format!(r#","from":"{two}","signature":"{good}","session":"x","age":1"#)).replace("1.5", "1.6"),
    ];
    let good = frame(format!(r#","from":"{two}","signature":"{good}""#));
    for (n, forged) in forged.iter().enumerate() {
        net.receive(0, link, forged);
        assert_eq!(net.cores[0].counters().broadcasts_forged, n as u64 + 1, "{forged}");
    }
    assert!(net.texts(0).is_empty());
    net.receive(0, link, &good);
    assert_eq!(net.texts(0), ["hi"], "a forgery does not take the place of the true one");
    let judged = net.judged.load(Ordering::Relaxed);
    net.receive(0, link, &good);
    assert_eq!(net.judged.load(Ordering::Relaxed), judged, "a copy is not judged");
}

#[test]
fn what_a_client_says_is_signed_by_the_node_that_takes_it_in() {
    let mut net = line(3);
    let client = net.client(0);
    net.receive(0, client, &crate::testing::net::broadcast_frame(1, "from a client", ""));
    net.pass(5 * SECOND);
    assert_eq!(net.texts(2), ["from a client"]);
}

#[test]
fn members_of_later_versions_are_passed_on_and_signed_data_is_bounded() {
    let net = Net::signed(1);
    let plain = announcement(&net, 90, 90);
    let with = |more: &str| {
        let data = format!(r#"{{"later":{more},{}"#, &plain.seal.as_ref().expect("signed").canonical[1..]);
        let mut parser = Parser::new();
        let canonical = parser.parse(&data).and_then(Value::normal).expect("JSON").canonical().to_owned();
        let signature = net.pretend(90).sign(Purpose::Announce, &canonical).expect("it signs");
        format!(r#"{{"type":"ANNOUNCE","data":{data},"signature":"{signature}"}}"#)
    };
    let mut parser = Parser::new();
    let Ok(Message::Announce(read)) = Message::parse(&mut parser, &with("[1]")) else { panic!("an announcement") };
    assert!(net.pretend(0).vouches(id(90), Purpose::Announce, read.announcement.seal.as_deref()));
    let passed_on = read.to_frame(Session::from_random([0; 16]));
    assert!(passed_on.as_str().contains(r#""later":[1]"#), "{passed_on:?}");
    let long = format!(r#""{}""#, "x".repeat(limits::SEALED_BYTES));
    assert!(Message::parse(&mut parser, &with(&long)).is_err());
}
