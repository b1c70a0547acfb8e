use std::collections::BTreeSet;

use crate::id::Session;
use crate::limits::Limits;
use crate::presence::announcer::*;
use crate::signature::{Seal, Signature};
use crate::testing::net::{Net, address, id};
use crate::wire::{Member, NetworkFrame};

const SECOND: Duration = Duration::from_secs(1);

/// Whom a node knows to be in the network, itself included.
fn known(net: &Net, node: usize) -> BTreeSet<String> {
    net.cores[node].nodes(net.now).into_iter().map(|member| member.node).collect()
}

fn ids(nodes: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    nodes.into_iter().map(|node| id(node).to_string()).collect()
}

/// What a node tells of itself or others; `announcement` changes what it would be.
fn announce(node: NodeId, session: u8, change: impl FnOnce(&mut Announcement)) -> AnnounceFrame {
    let mut announcement = Announcement {
        node,
        session: Session::from_random([session; 16]),
        address: Some(address(90)),
        since: u64::from(session),
        seq: 1_000,
        peers: Vec::new(),
        links: 1,
        max_peers: None,
        nodes: 1,
        interval: 10,
        left: false,
        seal: None,
    };
    change(&mut announcement);
    AnnounceFrame { announcement, told: None }
}

fn frame_text(frame: &AnnounceFrame) -> String {
    frame.to_frame(Session::from_random([9; 16])).as_str().to_owned()
}

#[test]
fn everybody_knows_everybody_and_who_is_linked_to_whom() {
    for mut net in [Net::mesh(6), Net::line(6)] {
        net.pass(5 * SECOND);
        for node in 0..6 {
            assert_eq!(known(&net, node), ids(0..6), "node {node}");
        }
        let seen = net.cores[0].nodes(net.now);
        let last = &seen[5];
        assert_eq!(last.address, Some(address(5).to_string()));
        let links = net.cores[5].connections.links.peers() as u32;
        assert_eq!((last.links, last.max_peers, last.free), (links, Some(64), Some(64 - links)));
        assert!(last.since > 0 && last.peers.len() == links as usize && !last.me && seen[0].me);
        let joined = net.events[0].iter().filter(|event| matches!(event, Event::NodeJoined { .. })).count();
        assert_eq!(joined, 5, "each is told once");
    }
}

#[test]
fn those_who_come_close_upon_each_other_are_told_of_us_together() {
    let mut net = Net::signed(12);
    net.link(1, 0);
    let told = |net: &Net| net.cores[0].presence.seq;
    assert_eq!((told(&net), net.judged.load(std::sync::atomic::Ordering::Relaxed)), (1, 2), "the first at once");
    for other in 2..12 {
        net.link(other, 0);
        net.pass(SETTLE / 20);
    }
    assert_eq!(told(&net), 1);
    net.pass(SETTLE);
    assert_eq!(told(&net), 2, "all others by one announcement");
    assert_eq!(known(&net, 11), ids(0..12), "and who came last was told of all before");
    // However long they go on coming, nobody waits for ever.
    let mut net = Net::new(40);
    for other in 1..40 {
        net.link(other, 0);
        net.pass(SETTLE / 4);
    }
    assert!(told(&net) >= 3);
}

#[test]
fn in_a_settled_mesh_nobody_passes_on_what_all_have_first_hand() {
    let mut net = Net::mesh(10);
    net.pass(60 * SECOND);
    net.sent.clear();
    net.pass(100 * SECOND);
    // Each announces itself every 16 to 20 s to 9 others.
    let sent = net.sent["ANNOUNCE"];
    assert!((450..=650).contains(&sent), "{sent}");
}

#[test]
fn the_greater_the_network_the_more_seldom_a_node_announces_itself() {
    let mut presence = Presence::new(1);
    assert_eq!(interval(presence.count()), 10 * SECOND);
    for node in 0..999 {
        let announcement = announce(id(node), 1, |_| {}).announcement;
        presence.table.put(announcement, Instant::now());
    }
    assert_eq!(interval(presence.count()), 2_000 * SECOND);
}

#[test]
fn who_links_many_times_and_announces_nothing_does_not_make_us_talk_as_in_a_small_network() {
    let mut net = Net::new(1);
    for number in 1..=60 {
        let link = net.client(0);
        let hello = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{number:064x}","session":"00000000-0000-4000-8000-{number:012x}","network":"test"}}}}"#
        );
        net.receive(0, link, &hello);
        net.pass(SECOND / 2);
    }
    assert_eq!(net.cores[0].connections.links.peers(), 60);
    // Each is told of us when it comes; all of those that are there, each time that one more has settled, would be 30 times 60.
    let sent = net.sent["ANNOUNCE"];
    assert!((60..500).contains(&sent), "{sent}");
}

#[test]
fn who_says_goodbye_is_gone_at_once_everywhere() {
    let mut net = Net::line(4);
    net.pass(5 * SECOND);
    net.tell(3, crate::Input::Shutdown);
    for node in 0..3 {
        assert_eq!(known(&net, node), ids(0..3), "node {node}");
    }
    let left = |event: &Event| matches!(event, Event::NodeLeft { nodes: 3, cause, .. } if cause == "it said goodbye");
    assert!(net.events[0].iter().any(left));
    net.pass(60 * SECOND);
    assert_eq!(known(&net, 0), ids(0..3), "and stays so");
}

#[test]
fn who_vanishes_is_gone_after_ten_seconds_and_some() {
    let mut net = Net::line(4);
    net.pass(5 * SECOND);
    net.isolate(3);
    net.pass(9 * SECOND);
    assert_eq!(known(&net, 0), ids(0..4), "it may come back");
    net.pass(6 * SECOND);
    assert_eq!(known(&net, 0), ids(0..3));
    // It was alive all the time, and comes back with the same run.
    net.link(3, 2);
    net.pass(3 * SECOND);
    assert_eq!(known(&net, 0), ids(0..4));
}

#[test]
fn a_cut_divides_the_list_and_a_new_link_joins_it_again() {
    let mut net = Net::line(6);
    net.pass(5 * SECOND);
    let between = net.cores[2].connections.links.to_node(id(3), None).expect("linked").0;
    net.cut(2, between);
    net.pass(20 * SECOND);
    assert_eq!((known(&net, 0), known(&net, 5)), (ids(0..3), ids(3..6)), "although the halves list each other's nodes");
    net.link(2, 3);
    net.pass(30 * SECOND);
    for node in 0..6 {
        assert_eq!(known(&net, node), ids(0..6), "node {node}");
    }
}

#[test]
fn a_new_run_takes_the_place_of_the_old_one() {
    let mut net = Net::line(4);
    net.pass(5 * SECOND);
    net.restart(3);
    net.link(3, 2);
    net.pass(5 * SECOND);
    let session = net.cores[3].cx.config.session.to_string();
    assert_eq!(net.cores[0].nodes(net.now)[3].session, session);
    assert_eq!(known(&net, 0), ids(0..4));
}

#[test]
fn a_newcomer_is_told_of_all_by_one_neighbour() {
    let mut net = Net::new(202);
    for node in 1..200 {
        net.link(node - 1, node);
    }
    net.pass(60 * SECOND);
    net.sent.clear();
    net.link(200, 100);
    net.link(200, 50);
    net.pass(SECOND);
    assert_eq!(known(&net, 200).len(), 201);
    let (asked, told) = (net.sent["SYNC"], net.sent["ANNOUNCE"]);
    assert!(told < 450, "{told} announcements after {asked} comparisons");
}

#[test]
fn of_a_neighbour_only_itself_is_believed_and_of_ourselves_nobody() {
    let mut net = Net::mesh(3);
    net.pass(5 * SECOND);
    let liar = net.cores[0].connections.links.to_node(id(1), None).expect("linked").0;
    let (sessions, before) =
        ([net.cores[2].cx.config.session, net.cores[0].cx.config.session], net.cores[0].nodes(net.now));
    for (node, session) in [(2, sessions[0]), (0, sessions[1])] {
        for left in [false, true] {
            let lie = announce(id(node), 1, |lie| (lie.session, lie.seq, lie.left) = (session, 1 << 60, left));
            net.receive(0, liar, &frame_text(&lie));
            let lie = announce(id(node), 200, |lie| lie.left = left);
            net.receive(0, liar, &frame_text(&lie));
        }
    }
    let strip = |mut nodes: Vec<Member>| {
        nodes.iter_mut().for_each(|node| node.heard = 0);
        nodes
    };
    assert_eq!(strip(net.cores[0].nodes(net.now)), strip(before));
    assert!(net.cores[0].counters().announcements_old >= 8);
    // Of itself it may say what it likes, but it is the run that it introduced itself as.
    net.receive(0, liar, &frame_text(&announce(id(1), 201, |_| {})));
    assert_eq!(net.cores[0].counters().announcements_refused, 1);
}

#[test]
fn invented_nodes_are_bounded_and_go_by_themselves() {
    let mut net = Net::with(2, Limits { presence_nodes: 50, ..Limits::default() });
    let (_, liar) = net.link(1, 0);
    net.pass(5 * SECOND);
    for node in 100..400 {
        let lie = announce(id(node), 1, |lie| lie.peers = (0..2_000).map(id).collect());
        net.receive(0, liar, &frame_text(&lie));
    }
    assert_eq!(known(&net, 0).len(), 51);
    assert!(net.cores[0].counters().announcements_refused >= 250);
    assert!(net.cores[0].nodes(net.now).iter().all(|node| node.peers.len() <= limits::ANNOUNCED_PEERS));
    // They say that they are linked to node 1. It says otherwise with its next announcement, and ten seconds later they are gone.
    net.pass(25 * SECOND);
    assert_eq!(known(&net, 0), ids(0..2));
}

#[test]
fn a_flood_about_others_is_read_no_faster_than_a_network_speaks() {
    let mut net = Net::new(2);
    let (_, liar) = net.link(1, 0);
    for seq in 0..30_000 {
        let lie = announce(id(77), 1, |lie| lie.seq = seq);
        net.receive(0, liar, &frame_text(&lie));
    }
    let counters = net.cores[0].counters();
    assert!(counters.announcements_accepted <= u64::from(WORDS_AT_ONCE) + 10, "{counters:?}");
    net.pass(10 * SECOND);
    let before = net.cores[0].counters().announcements_accepted;
    for seq in 30_000..40_000 {
        let lie = announce(id(77), 1, |lie| lie.seq = seq);
        net.receive(0, liar, &frame_text(&lie));
    }
    let more = net.cores[0].counters().announcements_accepted - before;
    assert!(more <= 501, "50 in a second, not {more} in ten");
}

#[test]
fn a_liar_that_claims_to_know_many_is_asked_seldom() {
    let mut net = Net::new(2);
    let (_, liar) = net.link(1, 0);
    let session = net.cores[1].cx.config.session;
    net.sent.clear();
    for seq in 0..100 {
        let lie = announce(id(1), 1, |lie| (lie.session, lie.seq, lie.nodes) = (session, 5_000 + seq, u32::MAX));
        net.receive(0, liar, &frame_text(&lie));
    }
    assert_eq!(net.sent.get("SYNC"), Some(&1));
}

#[test]
fn plain_peers_and_clients_are_told_nothing_and_tell_nothing() {
    let mut net = Net::mesh(2);
    let client = net.client(0);
    net.receive(0, client, &frame_text(&announce(id(50), 1, |_| {})));
    let plain = net.client(0);
    net.receive(0, plain, r#"{"type":"HANDSHAKE","data":["ws://localhost:9"]}"#);
    net.receive(0, plain, &frame_text(&announce(id(51), 1, |_| {})));
    net.pass(15 * SECOND);
    assert_eq!(known(&net, 0), ids(0..2));
    assert!(net.to_clients.iter().all(|frame| !frame.contains("ANNOUNCE")), "{:?}", net.to_clients);
}

#[test]
fn who_announces_nothing_is_asked_nothing() {
    let mut net = Net::with(3, Limits { presence_nodes: 0, ..Limits::default() });
    net.link(0, 1);
    net.link(1, 2);
    net.pass(60 * SECOND);
    assert_eq!((net.sent.get("ANNOUNCE"), known(&net, 0)), (None, ids([0])));
}

#[test]
fn the_list_is_told_to_clients_on_this_host_in_parts_that_fit() {
    let mut net = Net::new(1);
    for node in 1..600 {
        let announcement = announce(id(node), 1, |told| told.peers = (0..20).map(id).collect()).announcement;
        let now = net.now;
        net.cores[0].presence.table.put(announcement, now);
    }
    let client = net.client(0);
    let (mut nodes, mut after, mut parts) = (Vec::new(), None, 0);
    loop {
        let question = NetworkFrame::Question { after }.to_frame();
        net.receive(0, client, question.as_str());
        let answer = net.to_clients.pop().expect("an answer");
        assert!(answer.len() < 256 * 1024, "{}", answer.len());
        let message = crate::wire::Message::parse(&mut Default::default(), &answer).expect("a message");
        let crate::wire::Message::Network(NetworkFrame::Answer(members)) = message else { panic!("{answer}") };
        parts += 1;
        after = members.nodes.last().map(|last| last.node.parse().expect("an id"));
        nodes.extend(members.nodes);
        if !members.more {
            break;
        }
    }
    assert_eq!((nodes, parts > 3), (net.cores[0].nodes(net.now), true));
}

#[test]
fn signed_announcements_are_bounded_in_bytes() {
    let seal = std::sync::Arc::new(Seal { canonical: "x".repeat(limits::SEALED_BYTES), signature: Signature([0; 64]) });
    let sealed = |node, seq| {
        announce(id(node), 1, |announcement| (announcement.seal, announcement.seq) = (Some(seal.clone()), seq))
            .announcement
    };
    let (mut table, bounds) = (Table::default(), Limits::default());
    let room = limits::ANNOUNCED_BYTES / limits::SEALED_BYTES;
    for node in 0..room {
        assert_eq!(table.judge(&sealed(node, 1), false, &bounds), Verdict::News, "{node}");
        table.put(sealed(node, 1), Instant::now());
    }
    assert_eq!(table.judge(&sealed(room, 1), false, &bounds), Verdict::NoRoom);
    assert_eq!(table.judge(&sealed(0, 2), false, &bounds), Verdict::News, "the newer one takes the older one's place");
    table.put(sealed(0, 2), Instant::now());
    table.bury(id(1), None);
    assert_eq!(table.judge(&sealed(room, 1), false, &bounds), Verdict::News);
}
