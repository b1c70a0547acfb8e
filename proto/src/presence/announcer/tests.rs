mod ids;

use std::collections::BTreeSet;

use crate::Node;
use crate::id::Session;
use crate::ip_prefix::IpPrefix;
use crate::limits::Limits;
use crate::presence::announcer::*;
use crate::testing::net::{Net, address, by_id, id};
use crate::testing::parts;
use crate::wire::{Member, NetworkFrame};

const SECOND: Duration = Duration::from_secs(1);

/// The nodes in the network that a node knows, itself included.
fn known(net: &Net, node: usize) -> BTreeSet<String> {
    net.cores[node].nodes(net.now).into_iter().map(|member| member.node).collect()
}

fn ids(nodes: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    nodes.into_iter().map(|node| id(node).to_string()).collect()
}

/// A neighbor on this host.
fn near() -> Source {
    Source { node: id(1), scope: Scope::Loopback, group: SourceGroup::Host, is_live: true }
}

/// An announcement of a node, changed by `change`.
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
        topics: Vec::new(),
        left: false,
        seal: None,
    };
    change(&mut announcement);
    AnnounceFrame { announcement, synced: None }
}

fn frame_text(frame: &AnnounceFrame) -> String {
    frame.to_frame(Session::from_random([9; 16])).as_str().to_owned()
}

#[test]
fn all_nodes_know_all_nodes_and_their_links() {
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
        assert_eq!(joined, 5, "each is reported once");
    }
}

#[test]
fn neighbors_that_come_soon_after_each_other_get_one_announcement() {
    let mut net = Net::signed(12);
    net.link(1, 0);
    let announced = |net: &Net| net.cores[0].presence.seq;
    assert_eq!((announced(&net), net.judged.load(std::sync::atomic::Ordering::Relaxed)), (1, 2), "the first at once");
    for other in 2..12 {
        net.link(other, 0);
        net.pass(DEBOUNCE / 20);
    }
    assert_eq!(announced(&net), 1);
    net.pass(DEBOUNCE);
    assert_eq!(announced(&net), 2, "all others by one announcement");
    assert_eq!(known(&net, 11), ids(0..12), "and the last one got all before it");
    // However long they go on coming, nobody waits for ever.
    let mut net = Net::new(40);
    for other in 1..40 {
        net.link(other, 0);
        net.pass(DEBOUNCE / 4);
    }
    assert!(announced(&net) >= 3);
}

#[test]
fn in_a_settled_mesh_no_announcement_is_passed_on() {
    let mut net = Net::mesh(10);
    net.pass(60 * SECOND);
    net.sent.clear();
    net.pass(100 * SECOND);
    // Each announces itself every 16 to 20 s to 9 others.
    let sent = net.sent["ANNOUNCE"];
    assert!((450..=650).contains(&sent), "{sent}");
}

#[test]
fn the_interval_grows_with_the_network() {
    let mut presence = Presence::new(1);
    assert_eq!(interval(presence.count()), 10 * SECOND);
    for node in 0..999 {
        let announcement = announce(id(node), 1, |_| {}).announcement;
        presence.table.insert(announcement, Instant::now(), near());
    }
    assert_eq!(interval(presence.count()), 2_000 * SECOND);
}

#[test]
fn neighbors_without_announcements_do_not_shorten_the_interval() {
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
    // Each gets one announcement when it comes. One to all for each new link would be 30 times 60.
    let sent = net.sent["ANNOUNCE"];
    assert!((60..500).contains(&sent), "{sent}");
}

#[test]
fn a_node_that_says_goodbye_is_removed_everywhere_at_once() {
    let mut net = Net::line(4);
    net.pass(5 * SECOND);
    net.tell(3, crate::Input::Shutdown);
    for node in 0..3 {
        assert_eq!(known(&net, node), ids(0..3), "node {node}");
    }
    let left = |event: &Event| matches!(event, Event::NodeLeft { nodes: 3, cause, .. } if *cause == Departure::Goodbye);
    assert!(net.events[0].iter().any(left));
    net.pass(60 * SECOND);
    assert_eq!(known(&net, 0), ids(0..3), "and stays so");
}

#[test]
fn a_node_that_vanishes_expires_after_ten_seconds_and_some() {
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
fn a_cut_splits_the_list_and_a_new_link_joins_it() {
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
fn a_new_session_replaces_the_old_one() {
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
fn a_newcomer_gets_all_nodes_from_one_neighbor() {
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
    let (asked, sent) = (net.sent["SYNC"], net.sent["ANNOUNCE"]);
    assert!(sent < 450, "{sent} announcements after {asked} comparisons");
}

#[test]
fn a_neighbor_is_believed_about_itself_alone_and_nobody_about_us() {
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
fn invented_nodes_are_bounded_and_expire() {
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
    // They say that they are linked to node 1. It says otherwise with its next announcement, and
    // ten seconds later they are gone.
    net.pass(25 * SECOND);
    assert_eq!(known(&net, 0), ids(0..2));
}

#[test]
fn invented_nodes_are_gone_a_minute_after_their_inventor_and_stretch_no_timer() {
    let mut net = Net::new(3);
    let (there, liar) = net.link(1, 0);
    net.link(2, 0);
    net.pass(5 * SECOND);
    for node in 100..10_090 {
        let lie = announce(id(node), 1, |lie| (lie.peers, lie.interval) = (vec![id(1), id(node + 1)], 14_400));
        net.receive(0, liar, &frame_text(&lie));
    }
    assert!(known(&net, 0).len() > 9_000, "all are believed to be there");
    assert!((200..1_000).contains(&known(&net, 2).len()), "{} are passed on", known(&net, 2).len());
    // A timer that is set while they are there.
    net.pass(15 * SECOND);
    let scale = |net: &Net, node: usize| {
        let Node { cx, connections, presence, .. } = &net.cores[node];
        let next = cx.timers.due(&Timer::Announce).map_or(Duration::ZERO, |at| at - net.now);
        (presence.announcement(cx, &connections.links, false).interval, next)
    };
    for node in [0, 2] {
        let (interval, next) = scale(&net, node);
        assert!(interval <= 128 && next <= 128 * SECOND, "node {node}: {interval} s, the next in {next:?}");
    }
    net.cut(1, there);
    net.pass(75 * SECOND);
    for node in [0, 2] {
        assert_eq!(known(&net, node), ids([0, 2]), "node {node}");
    }
    net.pass(130 * SECOND);
    assert_eq!((scale(&net, 0).0, scale(&net, 2).0), (10, 10));
}

#[test]
fn announcements_of_others_are_limited_per_link() {
    let mut net = Net::new(2);
    let (_, liar) = net.link(1, 0);
    for seq in 0..30_000 {
        let lie = announce(id(77), 1, |lie| lie.seq = seq);
        net.receive(0, liar, &frame_text(&lie));
    }
    let counters = net.cores[0].counters();
    assert!(counters.announcements_accepted <= 10_010, "{counters:?}");
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
fn exercise_peers_and_clients_take_no_part() {
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
fn a_node_without_a_table_announces_nothing() {
    let mut net = Net::with(3, Limits { presence_nodes: 0, ..Limits::default() });
    net.link(0, 1);
    net.link(1, 2);
    net.pass(60 * SECOND);
    assert_eq!((net.sent.get("ANNOUNCE"), known(&net, 0)), (None, ids([0])));
}

#[test]
fn clients_on_this_host_get_the_list_in_parts_that_fit() {
    let mut net = Net::new(1);
    for node in 1..600 {
        let announcement = announce(id(node), 1, |it| it.peers = (0..20).map(id).collect()).announcement;
        let now = net.now;
        net.cores[0].presence.table.insert(announcement, now, near());
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

/// Node 0 and links to native peers, without a network around them.
struct Rig {
    cx: Context,
    links: LinkTable,
    presence: Presence,
}

impl Rig {
    /// Links node 0 to peers 1 to `neighbors`, by links of the same numbers.
    fn new(neighbors: u8) -> Self {
        let (cx, mut links) = (parts::context(), LinkTable::default());
        for n in 1..=neighbors {
            parts::native(&cx, &mut links, n);
        }
        Self { cx, links, presence: Presence::new(1) }
    }

    fn lag(&mut self, link: u64) {
        self.links.get_mut(LinkId(link)).expect("linked").flow = Delivery::Lagging;
    }

    fn neighbor_up(&mut self, link: u64) {
        self.presence.on_neighbor_up(&mut self.cx, &self.links, LinkId(link));
    }

    fn links_changed(&mut self) {
        self.presence.on_links_changed(&mut self.cx, &self.links);
    }

    fn announce_due(&mut self) {
        self.presence.on_announce_due(&mut self.cx, &self.links);
    }

    fn receive(&mut self, link: u64, frame: AnnounceFrame) -> Result<(), Violation> {
        self.presence.on_announce(&mut self.cx, &self.links, LinkId(link), frame)
    }

    fn request(&mut self, link: u64, frame: SyncFrame) -> Result<(), Violation> {
        self.presence.on_sync(&mut self.cx, LinkId(link), &frame)
    }

    /// Takes news of a node that is not linked.
    fn learn(&mut self, node: u8, change: impl FnOnce(&mut Announcement)) {
        let news = announce(parts::node(node), node, change).announcement;
        self.presence.table.insert(news, self.cx.now, near());
    }

    fn pass(&mut self, time: Duration) {
        self.cx.now += time;
    }

    /// In how many milliseconds a timer is due.
    fn due(&self, timer: &Timer) -> Option<u128> {
        self.cx.timers.due(timer).map(|at| (at - self.cx.now).as_millis())
    }

    /// On which links announcements went out, and those announcements.
    fn sent(&mut self) -> Vec<(Vec<u64>, AnnounceFrame)> {
        let frames = parts::frames(&mut self.cx, "ANNOUNCE").into_iter();
        let read = |text: &str| match crate::wire::Message::parse(&mut Default::default(), text) {
            Ok(crate::wire::Message::Announce(frame)) => frame,
            other => panic!("{other:?}"),
        };
        frames.map(|(links, text)| (links, read(&text))).collect()
    }

    fn sent_on(&mut self) -> Vec<Vec<u64>> {
        self.sent().into_iter().map(|(links, _)| links).collect()
    }
}

/// What peer `n` announces of itself, as the session of its link.
fn own(n: u8, change: impl FnOnce(&mut Announcement)) -> AnnounceFrame {
    announce(parts::node(n), n, change)
}

#[test]
fn intervals_and_debounce_times_grow_from_a_number_of_nodes_on() {
    assert_eq!([0, 5, 6, 10_000].map(|nodes| interval(nodes).as_secs()), [10, 10, 12, 20_000]);
    assert_eq!([0, 6, 7, 10_000].map(|nodes| debounce(nodes).as_millis()), [300, 300, 350, 500_000]);
}

#[test]
fn the_first_new_neighbor_gets_an_announcement_at_once_and_the_next_ones_together() {
    let mut rig = Rig::new(5);
    rig.neighbor_up(1);
    let sent = rig.sent();
    assert_eq!((sent.len(), &sent[0].0, sent[0].1.synced), (1, &vec![1], Some(Duration::ZERO)));
    assert_eq!(sent[0].1.announcement.seq, 1);
    assert_eq!(rig.due(&Timer::AnnounceToNew), None);
    rig.pass(DEBOUNCE - Duration::from_millis(1));
    rig.neighbor_up(2);
    assert_eq!((rig.sent_on(), rig.due(&Timer::AnnounceToNew)), (vec![], Some(300)));
    rig.pass(Duration::from_millis(200));
    rig.neighbor_up(3);
    assert_eq!((rig.sent_on(), rig.due(&Timer::AnnounceToNew)), (vec![], Some(300)), "moved by the next one");
    for link in [4, 5] {
        rig.pass(Duration::from_millis(450));
        rig.neighbor_up(link);
    }
    assert_eq!(rig.due(&Timer::AnnounceToNew), Some(100), "1.2 s after the first that waits");
    rig.links.remove(LinkId(3));
    rig.presence.on_announce_to_new_due(&mut rig.cx, &rig.links);
    assert_eq!(rig.sent_on(), [[2, 4, 5]]);
    rig.presence.on_announce_to_new_due(&mut rig.cx, &rig.links);
    assert_eq!((rig.sent_on(), rig.presence.seq), (vec![], 2), "nobody is new");
    rig.pass(DEBOUNCE);
    rig.neighbor_up(1);
    assert_eq!(rig.sent_on(), [[1]], "at once again");
}

#[test]
fn changed_links_are_announced_once_they_stay_the_same() {
    let mut rig = Rig::new(7);
    rig.links_changed();
    assert_eq!(rig.due(&Timer::Announce), Some(350), "50 ms for each link of a newcomer");
    for _ in 0..3 {
        rig.pass(Duration::from_millis(340));
        rig.links_changed();
    }
    assert_eq!(rig.due(&Timer::Announce), Some(350));
    rig.pass(Duration::from_millis(340));
    rig.links_changed();
    assert_eq!(rig.due(&Timer::Announce), Some(40), "1.4 s after the first change");
    rig.announce_due();
    for node in 100..119 {
        rig.learn(node, |_| {});
    }
    rig.links_changed();
    assert_eq!(rig.due(&Timer::Announce), Some(1_000), "50 ms for each of 20 nodes, once announced");
    rig.cx.shutting_down = true;
    rig.pass(Duration::from_millis(100));
    rig.links_changed();
    assert_eq!(rig.due(&Timer::Announce), Some(900), "nothing new is begun");
}

#[test]
fn an_announcement_goes_to_each_neighbor_that_does_not_lag_on_one_link() {
    let mut rig = Rig::new(4);
    parts::native_link(&rig.cx, &mut rig.links, 5, 1);
    parts::client(&rig.cx, &mut rig.links, 6);
    parts::exercise(&rig.cx, &mut rig.links, 7);
    rig.lag(2);
    rig.links.get_mut(LinkId(3)).expect("linked").flow = Delivery::Replaying { from: 0, pushed: 0, trying: 0 };
    rig.learn(50, |_| {});
    rig.neighbor_up(9);
    rig.sent();
    rig.announce_due();
    let sent = rig.sent();
    assert_eq!((sent.len(), &sent[0].0, sent[0].1.synced), (1, &vec![1, 4], None));
    assert_eq!(rig.cx.counters.announcements_sent, 2);
    let Announcement { node, session, since, seq, peers, links, max_peers, nodes, interval, left, .. } =
        &sent[0].1.announcement;
    assert_eq!((*node, *session), (rig.cx.config.node, rig.cx.config.session));
    assert_eq!((*since, *seq, *links, *max_peers, *nodes, *interval, *left), (0, 1, 5, None, 2, 10, false));
    assert_eq!(*peers, [1, 2, 3, 4].map(parts::node), "each once, and those that lag too");
    let wait = rig.due(&Timer::Announce).expect("the next");
    assert!((8_000..10_000).contains(&wait), "{wait}");
}

#[test]
fn without_a_neighbor_that_takes_it_an_announcement_waits() {
    let mut rig = Rig::new(1);
    rig.lag(1);
    rig.announce_due();
    assert_eq!((rig.sent_on(), rig.due(&Timer::Announce)), (vec![], Some(10_000)));
    rig.presence.announce_leaving(&mut rig.cx, &rig.links);
    assert_eq!((rig.sent_on(), rig.presence.seq), (vec![], 0));
    let mut rig = Rig::new(0);
    rig.announce_due();
    assert_eq!((rig.sent_on(), rig.due(&Timer::Announce)), (vec![], None), "the first neighbor sets the timer");
}

#[test]
fn a_node_that_leaves_says_so() {
    let mut rig = Rig::new(2);
    rig.presence.announce_leaving(&mut rig.cx, &rig.links);
    let sent = rig.sent();
    assert_eq!((sent.len(), &sent[0].0), (1, &vec![1, 2]));
    assert_eq!((sent[0].1.announcement.left, sent[0].1.announcement.seq, sent[0].1.synced), (true, 1, None));
    rig.cx.config.limits.presence_nodes = 0;
    rig.presence.announce_leaving(&mut rig.cx, &rig.links);
    rig.neighbor_up(1);
    assert_eq!((rig.sent_on(), rig.due(&Timer::Announce)), (vec![], None), "without a table it takes no part");
}

#[test]
fn of_one_party_so_many_bytes_are_passed_on_and_no_other_waits_for_it() {
    let mut rig = Rig::new(3);
    // Invented nodes of a thousand links each.
    let invented = |number: u16| {
        let node = |tail: u16| NodeId(std::array::from_fn(|at| [7, (tail >> 8) as u8, tail as u8][at.min(2)]));
        announce(node(number), 1, |it| it.peers = (0..1_000).map(|peer| node(10_000 + peer)).collect())
    };
    let bytes =
        |rig: &mut Rig| -> usize { parts::frames(&mut rig.cx, "ANNOUNCE").iter().map(|(_, text)| text.len()).sum() };
    for number in 0..100 {
        assert_eq!(rig.receive(1, invented(number)), Ok(()));
    }
    let first = bytes(&mut rig);
    assert!((RELAYED_AT_ONCE - 80_000..=RELAYED_AT_ONCE).contains(&first), "{first}");
    let more = rig.cx.counters.announcements_not_relayed;
    assert!((90..100).contains(&more) && rig.presence.count() == 101, "{more}: they are kept all the same");
    assert_eq!(rig.receive(2, announce(parts::node(50), 1, |_| {})), Ok(()));
    assert_eq!(rig.sent_on(), [[1, 3]], "another party's");
    let mut later = 0;
    for number in 100..200 {
        rig.pass(SECOND / 5);
        assert_eq!(rig.receive(1, invented(number)), Ok(()));
        later += bytes(&mut rig);
    }
    // A frame more or less: what the first ones left of their allowance counts.
    assert!((20 * RELAYED_PER_SECOND).abs_diff(later) < 80_000, "{later}");
}

#[test]
fn news_is_passed_on_to_those_that_may_lack_it() {
    let mut rig = Rig::new(5);
    rig.lag(4);
    let news = |seq| announce(parts::node(50), 1, |it| (it.seq, it.peers) = (seq, vec![parts::node(2)]));
    assert_eq!(rig.receive(1, news(1)), Ok(()));
    assert_eq!(rig.sent(), [(vec![3, 5], news(1))], "not to the sender, nor to node 2, which has it first hand");
    assert_eq!(rig.receive(3, news(1)), Ok(()));
    assert_eq!(rig.receive(3, AnnounceFrame { synced: Some(SECOND), ..news(2) }), Ok(()));
    assert_eq!(rig.sent_on(), [[0; 0]; 0], "neither a copy nor an answer");
    let counters = &rig.cx.counters;
    assert_eq!((counters.announcements_accepted, counters.announcements_old, counters.announcements_sent), (2, 1, 2));
    let heard: Vec<_> = rig.presence.others().map(|(it, made)| (it.seq, rig.cx.now - made)).collect();
    assert_eq!(heard, [(2, SECOND)], "its age counts");
}

#[test]
fn a_peer_that_names_another_session_of_itself_contradicts_itself() {
    let mut rig = Rig::new(2);
    let violation = rig.receive(1, announce(parts::node(1), 9, |_| {})).expect_err("another session");
    assert_eq!(violation.kind, ViolationKind::Contradiction);
    assert_eq!((rig.cx.counters.announcements_refused, rig.presence.count()), (1, 1));
    assert_eq!(rig.receive(1, own(1, |_| {})), Ok(()));
    // The parts of a network without tables ignore announcements.
    rig.cx.config.limits.presence_nodes = 0;
    assert_eq!(rig.receive(1, own(50, |_| {})), Ok(()));
    assert_eq!((rig.presence.count(), rig.cx.counters.announcements_old), (2, 1));
}

#[test]
fn forgeries_are_verified_last_and_break_a_rule() {
    let mut rig = Rig::new(1);
    let net = Net::signed(1);
    rig.cx.config.signer = std::sync::Arc::new(net.pretend(0));
    let judged = || net.judged.load(std::sync::atomic::Ordering::Relaxed);
    let text = "ANNOUNCE: the node that it names has not signed it";
    assert_eq!(rig.receive(1, own(50, |_| {})), Err(Violation::breach(text)));
    let counters = rig.cx.counters;
    assert_eq!((counters.announcements_forged, counters.announcements_accepted, judged()), (1, 0, 1));
    rig.cx.config.limits.presence_nodes = 1;
    rig.learn(51, |_| {});
    assert_eq!(rig.receive(1, own(50, |_| {})), Ok(()));
    assert_eq!(rig.receive(1, own(51, |_| {})), Ok(()));
    let counters = rig.cx.counters;
    assert_eq!((counters.announcements_refused, counters.announcements_old, judged()), (1, 1, 1));
}

/// A liar passes the announcement of another on as an answer, before its copies come.
#[test]
fn an_announcement_that_a_liar_calls_old_is_passed_on_all_the_same() {
    for (age, taken) in [(0, true), (29, true), (30, false), (86_400, false)] {
        for left in [false, true] {
            let mut rig = Rig::new(3);
            rig.learn(50, |it| it.seq = 999);
            let news = |synced| AnnounceFrame { synced, ..announce(parts::node(50), 50, |it| it.left = left) };
            let case = format!("{age} {left}");
            assert_eq!(rig.receive(1, news(Some(age * SECOND))), Ok(()));
            assert_eq!(rig.cx.counters.announcements_accepted, u64::from(taken), "{case}");
            rig.pass(2 * SECOND);
            rig.presence.on_expire_due(&mut rig.cx, &rig.links);
            assert_eq!(rig.sent_on(), [[0; 0]; 0], "{case}");
            assert_eq!(rig.receive(2, news(None)), Ok(()));
            assert_eq!((rig.sent_on(), rig.presence.count()), (vec![vec![1, 3]], if left { 1 } else { 2 }), "{case}");
            assert_eq!(rig.receive(3, news(None)), Ok(()));
            assert_eq!(rig.sent_on(), [[0; 0]; 0], "{case}: once");
        }
    }
}

/// Has peer `link` announce that it knows so many nodes. Returns the links that are asked for all.
fn claims(rig: &mut Rig, link: u8, nodes: u32, seq: u64) -> Vec<u64> {
    assert_eq!(rig.receive(link.into(), own(link, |it| (it.nodes, it.seq) = (nodes, seq))), Ok(()));
    asked(rig)
}

fn asked(rig: &mut Rig) -> Vec<u64> {
    let frames = parts::frames(&mut rig.cx, "SYNC");
    assert!(frames.iter().all(|(_, text)| text.contains("everything") && text.contains("nodes")), "{frames:?}");
    frames.into_iter().flat_map(|(links, _)| links).collect()
}

/// Lets the time pass in which a request may stay without an answer.
fn wait_for_answer(rig: &mut Rig) -> Vec<u64> {
    assert_eq!(rig.due(&Timer::RequestNodes), Some(ANSWER_PATIENCE.as_millis()));
    rig.pass(ANSWER_PATIENCE);
    rig.cx.timers.cancel(&Timer::RequestNodes);
    rig.presence.on_request_due(&mut rig.cx, &rig.links);
    asked(rig)
}

#[test]
fn a_neighbor_that_knows_considerably_more_is_asked_one_at_a_time_and_seldom() {
    let mut rig = Rig::new(3);
    for node in 100..115 {
        rig.learn(node, |_| {});
    }
    assert_eq!(claims(&mut rig, 1, 19, 2_000), [0; 0], "an eighth more than 17 is as good as the same");
    assert_eq!(claims(&mut rig, 1, 20, 2_001), [1]);
    assert_eq!(rig.receive(1, AnnounceFrame { synced: Some(SECOND), ..own(60, |_| {}) }), Ok(()));
    assert_eq!(wait_for_answer(&mut rig), [0; 0]);
    rig.pass(REQUEST_PATIENCE - ANSWER_PATIENCE - Duration::from_millis(1));
    assert_eq!(claims(&mut rig, 2, u32::MAX, 2_002), [0; 0], "the first still answers");
    rig.pass(Duration::from_millis(1));
    assert_eq!(claims(&mut rig, 2, u32::MAX, 2_003), [2]);
    rig.pass(REQUEST_AGAIN - REQUEST_PATIENCE - Duration::from_millis(1));
    assert_eq!(claims(&mut rig, 1, u32::MAX, 2_004), [0; 0]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(claims(&mut rig, 1, u32::MAX, 2_005), [1]);
    rig.pass(REQUEST_PATIENCE);
    rig.presence.on_link_closed(LinkId(1));
    assert_eq!(claims(&mut rig, 1, u32::MAX, 2_006), [2], "which was asked less recently");
    assert_eq!(wait_for_answer(&mut rig), [1], "a new link has its own limits");
    assert_eq!(wait_for_answer(&mut rig), [0; 0]);
}

#[test]
fn neighbors_that_bring_nothing_do_not_keep_others_from_being_asked() {
    let mut rig = Rig::new(14);
    let group = |last| IpPrefix::address_group([203, 0, 113, last].into());
    for link in 1..=14 {
        rig.links.get_mut(LinkId(link)).expect("linked").address_group = group(link.clamp(12, 14) as u8);
    }
    // Twelve links of one host, each of which says that it knows all there is.
    assert_eq!(claims(&mut rig, 1, u32::MAX, 2_000), [1]);
    for link in 2..=12 {
        assert_eq!(claims(&mut rig, link, u32::MAX, 2_000), [0; 0]);
    }
    // Two honest ones announce themselves once.
    assert_eq!(claims(&mut rig, 13, 500, 2_000), [0; 0]);
    assert_eq!(claims(&mut rig, 14, 500, 2_000), [0; 0]);
    assert_eq!(wait_for_answer(&mut rig), [13], "a second later");
    // Brought by another, or as a copy, it is no answer.
    let answer = |node, seq| AnnounceFrame { synced: Some(SECOND), ..own(node, |it| it.seq = seq) };
    for (link, node) in [(1, 60), (13, 60), (13, 13)] {
        assert_eq!(rig.receive(link, answer(node, 2_001)), Ok(()));
    }
    assert_eq!(wait_for_answer(&mut rig), [14]);
    assert_eq!(rig.receive(14, answer(61, 2_000)), Ok(()));
    assert_eq!(wait_for_answer(&mut rig), [0; 0], "it answers");
    rig.pass(REQUEST_PATIENCE);
    assert_eq!(claims(&mut rig, 1, u32::MAX, 2_002), [2], "only liars are left");
}

#[test]
fn who_announces_what_is_forged_or_old_is_not_asked_for_nodes() {
    let mut rig = Rig::new(1);
    let net = Net::signed(1);
    rig.cx.config.signer = std::sync::Arc::new(net.pretend(0));
    assert!(rig.receive(1, own(1, |it| it.nodes = u32::MAX)).is_err());
    assert_eq!(asked(&mut rig), [0; 0]);
    rig.learn(1, |it| it.nodes = u32::MAX);
    assert_eq!(claims(&mut rig, 1, u32::MAX, 1_000), [0; 0], "a copy");
}

#[test]
fn all_nodes_are_sent_in_batches() {
    for (nodes, batches) in [(0, vec![0]), (63, vec![63]), (64, vec![64, 0]), (150, vec![64, 64, 22])] {
        let mut rig = Rig::new(2);
        for node in 0..nodes {
            rig.learn(100 + node, |_| {});
        }
        rig.pass(3 * SECOND);
        assert_eq!(rig.request(1, SyncFrame::Everything), Ok(()));
        let mut sent: Vec<NodeId> = Vec::new();
        for (n, batch) in batches.iter().enumerate() {
            if n > 0 {
                assert_eq!(rig.due(&Timer::SendNodes), Some(100));
                assert_eq!(rig.cx.timers.pop_due(rig.cx.now + BATCH_EVERY), Some(Timer::SendNodes));
                rig.presence.on_send_nodes_due(&mut rig.cx);
            }
            let frames = rig.sent();
            assert!(frames.iter().all(|(links, frame)| links[..] == [1] && frame.synced == Some(3 * SECOND)));
            assert_eq!(frames.len(), *batch, "{nodes} nodes");
            sent.extend(frames.iter().map(|(_, frame)| frame.announcement.node));
        }
        assert_eq!(rig.due(&Timer::SendNodes), None);
        assert!(sent.is_sorted_by(|one, next| one < next) && sent.len() == usize::from(nodes));
    }
}

#[test]
fn nodes_are_requested_as_a_whole() {
    let mut rig = Rig::new(1);
    for node in 0..100 {
        rig.learn(100 + node, |_| {});
    }
    let refused = |text: &str| Err(Violation::breach(text));
    let summary = SyncFrame::Summary(crate::wire::Summary { count: 0, sum: String::new() });
    assert_eq!(rig.request(1, summary), refused("SYNC: nodes are not compared; ask for everything"));
    assert!(rig.sent().is_empty());
    // Who asks again while it is answered goes on where it was.
    for batch in [64, 36] {
        assert_eq!(rig.request(1, SyncFrame::Everything), Ok(()));
        assert_eq!(rig.sent().len(), batch);
    }
    assert_eq!(rig.request(1, SyncFrame::Everything), Ok(()));
    rig.presence.on_link_closed(LinkId(1));
    rig.sent();
    rig.presence.on_send_nodes_due(&mut rig.cx);
    assert_eq!(rig.sent().len(), 0, "the link is gone");
}

#[test]
fn the_table_is_looked_through_soon_after_a_change_and_when_a_node_expires() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.receive(1, own(1, |_| {})), Ok(()));
    assert_eq!(rig.due(&Timer::ExpireNodes), Some(1_001));
    rig.pass(SECOND);
    assert_eq!(rig.receive(1, own(50, |it| it.peers = vec![parts::node(1)])), Ok(()));
    assert_eq!(rig.due(&Timer::ExpireNodes), Some(1), "the earlier time stays");
    rig.cx.timers.cancel(&Timer::ExpireNodes);
    rig.presence.on_expire_due(&mut rig.cx, &rig.links);
    assert_eq!(rig.due(&Timer::ExpireNodes), Some(30_000), "three intervals of node 50");
    rig.pass(30 * SECOND - Duration::from_millis(1));
    rig.presence.on_expire_due(&mut rig.cx, &rig.links);
    assert_eq!((rig.presence.count(), rig.due(&Timer::ExpireNodes)), (3, Some(1_000)), "no sooner than that");
    rig.pass(Duration::from_millis(1));
    parts::drain(&mut rig.cx);
    rig.presence.on_expire_due(&mut rig.cx, &rig.links);
    let left = parts::event(&mut rig.cx, |event| match event {
        Event::NodeLeft { node, cause, nodes } => Some((node.node, node.address, cause, nodes)),
        _ => None,
    });
    let cause = Departure::Silent;
    assert_eq!(left, Some((Some(parts::node(50)), Some(address(90)), cause, 2)), "node 1 is linked");
    assert_eq!(rig.receive(1, own(50, |_| {})), Ok(()));
    assert_eq!((rig.presence.count(), rig.cx.counters.announcements_old), (2, 1), "its tombstone");
}

#[test]
fn in_a_large_network_nodes_without_links_stay_longer() {
    // Four neighbors bear out 128 nodes, and no time is longer than a minute.
    for (neighbors, nodes, seconds) in [(4, 50, 10), (4, 51, 10), (4, 100, 20), (1, 100, 10), (200, 9_000, 60)] {
        let mut rig = Rig::new(neighbors);
        for node in 0..nodes - 1 {
            rig.presence.table.insert(announce(id(node), 1, |it| it.interval = 3_600).announcement, rig.cx.now, near());
        }
        rig.presence.on_expire_due(&mut rig.cx, &rig.links);
        let due = rig.due(&Timer::ExpireNodes).map(|millis| millis / 1_000);
        assert_eq!(due, Some(seconds), "{nodes} nodes");
    }
}

#[test]
fn a_node_is_named_by_its_link_or_else_by_what_it_announced() {
    let mut rig = Rig::new(1);
    rig.learn(1, |_| {});
    rig.learn(50, |_| {});
    let name = |rig: &Rig, node| {
        let name = rig.presence.name_of(&rig.links, parts::node(node));
        assert_eq!(name.node, Some(parts::node(node)));
        name.address
    };
    assert_eq!([1, 50, 51].map(|node| name(&rig, node)), [Some(address(90)), Some(address(90)), None]);
    rig.links.get_mut(LinkId(1)).expect("linked").confirm_address(&address(1));
    assert_eq!(name(&rig, 1), Some(address(1)));
}

#[test]
fn the_address_of_a_node_is_its_own_word_only_if_it_brings_it_itself() {
    let mut rig = Rig::new(0);
    for (node, by) in [(7, 7), (8, 7)] {
        let source = Source { node: id(by), ..near() };
        rig.presence.table.insert(announce(id(node), 1, |_| {}).announcement, rig.cx.now, source);
    }
    let mut groups: Vec<_> = rig.presence.not_linked(&rig.cx, &rig.links).into_iter().map(|named| named.2).collect();
    groups.sort_unstable();
    let mut expected = [near().group, SourceGroup::Relayed];
    expected.sort_unstable();
    assert_eq!(groups, expected);
}

#[test]
fn a_node_is_linked_to_all_if_its_neighbors_know_no_more() {
    let mut rig = Rig::new(2);
    assert!(!rig.presence.is_linked_to_all(&rig.links), "they have not said anything");
    rig.learn(1, |it| it.nodes = 3);
    rig.learn(2, |it| it.nodes = 3);
    assert!(rig.presence.is_linked_to_all(&rig.links));
    rig.learn(2, |it| it.nodes = 4);
    assert!(!rig.presence.is_linked_to_all(&rig.links), "one knows of another");
    rig.learn(2, |it| it.nodes = 1);
    assert!(rig.presence.is_linked_to_all(&rig.links));
    rig.learn(50, |_| {});
    assert!(!rig.presence.is_linked_to_all(&rig.links), "we know of another");
}

#[test]
fn neighbors_without_announcements_count_for_the_size_of_the_network() {
    let mut rig = Rig::new(6);
    assert_eq!(rig.presence.network_size(&rig.links), 6);
    for node in 100..106 {
        rig.learn(node, |_| {});
    }
    assert_eq!(rig.presence.network_size(&rig.links), 7);
    // Each bears out 32 nodes, and those of one address bear out as many together.
    for node in 0..1_000 {
        rig.presence.table.insert(announce(id(node), 1, |_| {}).announcement, rig.cx.now, near());
    }
    assert_eq!(rig.presence.network_size(&rig.links), 6 * 32);
    for link in 1..=6 {
        rig.links.get_mut(LinkId(link)).expect("linked").address_group =
            IpPrefix::address_group([203, 0, 113, 7].into());
    }
    assert_eq!(rig.presence.network_size(&rig.links), 32);
}

/// The addresses that are named, in the order of their texts.
fn named(nodes: Vec<(PeerAddress, Scope, SourceGroup)>) -> Vec<String> {
    let mut addresses: Vec<String> = nodes.into_iter().map(|(address, ..)| address.to_string()).collect();
    addresses.sort_unstable();
    addresses
}

fn texts(addresses: impl IntoIterator<Item = PeerAddress>) -> Vec<String> {
    addresses.into_iter().map(|address| address.to_string()).collect()
}

#[test]
fn nodes_without_a_link_are_named_if_they_can_be_dialled_here() {
    let mut rig = Rig::new(1);
    let of_52 = PeerAddress::of_node(parts::node(52), []);
    let announced = [(0, Some(address(0))), (1, Some(address(1))), (50, Some(address(50))), (51, None)];
    for (node, address) in announced.into_iter().chain([(52, Some(of_52.clone()))]) {
        rig.learn(node, |it| it.address = address);
    }
    assert_eq!(named(rig.presence.not_linked(&rig.cx, &rig.links)), texts([address(50)]));
    rig.cx.config.wan = true;
    let mut both = texts([address(50), of_52]);
    both.sort_unstable();
    assert_eq!(named(rig.presence.not_linked(&rig.cx, &rig.links)), both, "node ids too");
    for node in 100..200 {
        rig.learn(node, |_| {});
    }
    assert_eq!(rig.presence.not_linked(&rig.cx, &rig.links).len(), CANDIDATES);
}

#[test]
fn members_of_a_topic_are_named_or_only_those_that_no_chain_of_members_leads_to() {
    let mut rig = Rig::new(2);
    let topic: TopicName = "a".parse().expect("a name");
    // 1 - 50 - 51 are members, 52 is none, and 53 is one behind it.
    for (node, peer, is_member) in
        [(1, 50, true), (2, 9, false), (50, 51, true), (51, 52, true), (52, 53, false), (53, 9, true)]
    {
        rig.learn(node, |it| {
            (it.address, it.peers) = (Some(address(node.into())), vec![parts::node(peer)]);
            it.topics = is_member.then(|| topic.clone()).into_iter().collect();
        });
    }
    let Rig { cx, links, presence } = &mut rig;
    assert_eq!(named(presence.members_not_linked(cx, links, &topic)), texts([50, 51, 53].map(address)));
    let beyond = |presence: &mut Presence, has: u64| {
        named(presence.members_beyond(cx, links, &topic, |link| link == LinkId(has)))
    };
    assert_eq!(beyond(presence, 1), texts([address(53)]));
    assert_eq!(beyond(presence, 2), texts([50, 51, 53].map(address)), "only 2 has it, and leads nowhere");
    let other = "b".parse().expect("a name");
    assert!(presence.members_not_linked(cx, links, &other).is_empty());
}

#[test]
fn a_node_is_where_it_says_with_the_word_of_who_passed_that_on() {
    let mut rig = Rig::new(0);
    let group = near().group;
    for (node, by, address, scope, group) in [
        (7, 7, address(7), Scope::Loopback, group),
        (8, 7, address(8), Scope::Loopback, SourceGroup::Relayed),
        (9, 9, by_id(9), Scope::Loopback, group),
        (10, 7, by_id(10), Scope::Public, SourceGroup::Relayed),
    ] {
        assert!(!rig.presence.knows(id(node)) && rig.presence.location_of(id(node)).is_none());
        let news = announce(id(node), 1, |it| it.address = Some(address.clone())).announcement;
        rig.presence.table.insert(news, rig.cx.now, Source { node: id(by), ..near() });
        assert_eq!(rig.presence.location_of(id(node)), Some((&address, scope, group)), "{node} by {by}");
        assert!(rig.presence.knows(id(node)));
    }
}

#[test]
fn a_new_neighbor_that_got_an_announcement_with_all_others_gets_no_other() {
    let mut rig = Rig::new(3);
    rig.neighbor_up(1);
    rig.sent();
    rig.lag(3);
    rig.neighbor_up(2);
    rig.neighbor_up(3);
    rig.announce_due();
    assert_eq!(rig.sent_on(), [[1, 2]]);
    rig.presence.on_announce_to_new_due(&mut rig.cx, &rig.links);
    assert_eq!(rig.sent_on(), [[3]], "it lagged");
}

#[test]
fn nodes_that_give_way_to_a_neighbor_are_counted_as_refused() {
    let mut rig = Rig::new(2);
    rig.cx.config.limits.presence_nodes = 2;
    rig.learn(50, |_| {});
    rig.learn(51, |_| {});
    for link in [1, 2] {
        assert_eq!(rig.receive(link.into(), own(link, |_| {})), Ok(()));
        assert_eq!((rig.cx.counters.announcements_refused, rig.presence.count()), (link.into(), 3));
    }
}

#[test]
fn among_many_parties_those_that_wait_for_nothing_are_forgotten() {
    let relay = |rig: &mut Rig, party: usize| {
        let frame = announce(parts::node(50), 1, |_| {});
        rig.presence.relay(&mut rig.cx, (SourceGroup::Host, Some(id(party))), vec![LinkId(1)], &frame);
        rig.presence.relayed.len()
    };
    let mut rig = Rig::new(1);
    for party in 1..=RELAYED_PARTIES + 10 {
        assert_eq!(relay(&mut rig, party), party, "what they sent counts");
    }
    let mut rig = Rig::new(1);
    for party in 1..=RELAYED_PARTIES {
        rig.pass(SECOND);
        assert_eq!(relay(&mut rig, party), party, "there are few");
    }
    assert_eq!(relay(&mut rig, 1_000), 2, "the last one waits a moment");
}
