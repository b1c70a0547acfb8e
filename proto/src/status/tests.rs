use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::address::{PeerAddress, Scope};
use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::event::PeerName;
use crate::id::{LinkId, NodeId, Nonce, Session};
use crate::io::{Input, Output, RequestId};
use crate::ip_prefix::{IpPrefix, SourceGroup};
use crate::json::Parser;
use crate::limits::{self, Limits};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::presence::announcer::Presence;
use crate::status::links::LinkKind;
use crate::status::location::{self, Location, locate};
use crate::testing::net::{Net, address};
use crate::testing::parts;
use crate::timers::Timer;
use crate::transaction::Transaction;
use crate::violation::Violation;
use crate::wire::{CallBack, Member, Message, NetworkFrame, PeerState};

const SECOND: Duration = Duration::from_secs(1);

/// Accepted and dialled links of every kind; 3 is closing.
fn some_links(cx: &Context) -> LinkTable {
    let mut links = LinkTable::default();
    for n in [2, 1, 3] {
        parts::native(cx, &mut links, n);
    }
    parts::native_link(cx, &mut links, 4, 1);
    parts::exercise(cx, &mut links, 5);
    parts::client(cx, &mut links, 6);
    links.get_mut(LinkId(3)).expect("open").closing = true;
    links.get_mut(LinkId(2)).expect("open").confirm_address(&address(2));
    links
}

#[test]
fn rows_of_links_leave_out_what_is_closing() {
    let cx = parts::context();
    let rows = links::rows(&some_links(&cx), |link| (link == LinkId(1)).then_some(true));
    let seen: Vec<_> = rows.iter().map(|row| (row.link.0, row.kind, row.dialled, row.opened == cx.now)).collect();
    let expected = [
        (1, LinkKind::Native, false, true),
        (2, LinkKind::Native, false, true),
        (4, LinkKind::Native, false, true),
        (5, LinkKind::Exercise, true, true),
        (6, LinkKind::Client, false, true),
    ];
    assert_eq!(seen, expected);
    assert_eq!([rows[0].reconciled, rows[1].reconciled], [Some(true), None]);
    assert_eq!(rows[1].peer, PeerName { node: Some(parts::node(2)), address: Some(address(2)) });
}

/// A full node passes nothing on and says so to nobody: its neighbours see that its pool differs.
#[test]
fn the_neighbours_of_a_full_node_see_that_its_pool_differs_from_theirs() {
    let mut net = Net::with(1, Limits { pool_transactions: 1, ..Limits::default() });
    net.limits = Limits::default();
    net.add();
    net.add();
    net.link(1, 0);
    net.link(2, 0);
    let mut parser = Parser::new();
    let mut submit = |net: &mut Net, node: usize, body: &str| {
        let transaction = Transaction::parse(&mut parser, body).expect("a transaction");
        net.tell(node, Input::Submit { request: RequestId(node as u64), transaction });
        net.pass(30 * SECOND);
    };
    let seen = |net: &Net| [1, 2].map(|node| net.cores[node].open_links()[0].reconciled);
    submit(&mut net, 1, r#"{"n":1}"#);
    assert_eq!(seen(&net), [Some(true); 2]);
    submit(&mut net, 1, r#"{"n":2}"#);
    assert_eq!(net.cores[2].status(net.now, &[]).pool.count, 1, "the full one has not passed it on");
    assert_eq!(seen(&net), [Some(false), Some(true)], "the one that has more sees it");
}

#[test]
fn each_linked_peer_is_listed_once() {
    let (cx, mut links) = (parts::context(), LinkTable::default());
    assert_eq!((links::linked_nodes(&links), links::linked_names(&links)), (vec![], vec![]));
    links = some_links(&cx);
    assert_eq!(links::linked_nodes(&links), [parts::node(1), parts::node(2)]);
    let names = [parts::node(1).to_string(), address(2).to_string(), address(5).to_string()];
    assert_eq!(links::linked_names(&links), names);
    assert_eq!(links::linked_exercise(&links), names[2..]);
}

/// Addresses 1 and so on, of this host, as a person named them.
fn peers(cx: &Context, addresses: usize) -> Peers {
    let mut peers = Peers::default();
    for n in 1..=addresses {
        peers.book.add(&address(n), AddressSource::Known, cx.now, &Limits::default());
    }
    peers
}

#[test]
fn rows_of_addresses_say_where_each_stands_and_for_how_long() {
    let mut cx = parts::context();
    let mut peers = peers(&cx, 10);
    let states = [
        AddressState::Myself,
        AddressState::Connected(LinkId(1)),
        AddressState::Attempting,
        AddressState::Probing(LinkId(1)),
        AddressState::Queued,
    ];
    for (n, state) in states.into_iter().enumerate() {
        peers.book.set_state(&address(n + 1), state);
    }
    let at = |millis| cx.now + Duration::from_millis(millis);
    for n in [6, 7, 9] {
        peers.book.get_mut(&address(n)).expect("known").failures = 1;
    }
    peers.book.get_mut(&address(6)).expect("known").declined_until = Some(at(1_260));
    peers.book.get_mut(&address(7)).expect("known").declined_until = Some(at(0));
    for (n, millis) in [(6, 9_000), (7, 2_340), (8, 3_000), (2, 5_000)] {
        cx.timers.set(Timer::Dial(address(n)), cx.now + Duration::from_millis(millis));
    }
    let rows = peers::rows(cx.now, &peers, &cx.timers);
    let seen: Vec<_> = rows.iter().map(|row| (row.address.clone(), row.state, row.seconds)).collect();
    let expected = [
        (2, PeerState::Connected, None),
        (3, PeerState::Pending, None),
        (4, PeerState::Pending, None),
        (5, PeerState::Pending, None),
        (6, PeerState::Declined, Some(1.3)),
        (7, PeerState::Failed, Some(2.3)),
        (8, PeerState::Idle, Some(3.0)),
        (9, PeerState::Idle, None),
        (10, PeerState::Idle, None),
    ];
    assert_eq!(seen, expected.map(|(n, state, seconds)| (address(n).to_string(), state, seconds)));
    assert!(rows.iter().all(|row| row.known && row.cause.is_none()));
}

#[test]
fn banned_addresses_and_their_address_groups_are_listed() {
    let mut cx = parts::context();
    let mut peers = Peers::default();
    let banned: PeerAddress = "ws://203.0.113.9:4001".parse().expect("an address");
    peers.book.add(
        &banned,
        AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
        cx.now,
        &cx.config.limits,
    );
    let address_group = IpPrefix::address_group(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))).expect("not of this host");
    peers.reputation.add(cx.now, address_group, limits::BAN_SCORE);
    peers.reputation.ban(cx.now, address_group, &Violation::breach("PRUNE: why"));
    cx.now += SECOND / 4;
    let rows = peers::rows(cx.now, &peers, &cx.timers);
    let seen: Vec<_> = rows.iter().map(|row| (row.address.as_str(), row.state, row.seconds)).collect();
    let expected =
        [("ws://203.0.113.9:4001", PeerState::Banned, Some(119.8)), ("203.0.113.9", PeerState::Banned, Some(120.0))];
    assert_eq!(seen, expected);
    assert_eq!(rows[1].cause.as_deref(), Some("PRUNE: why"));
    assert!(!rows[0].known);
    let rows = peers::rows(cx.now + limits::BAN_MIN, &peers, &cx.timers);
    assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), [PeerState::Idle], "the ban is over");
}

#[test]
fn rows_of_addresses_are_bounded_and_bans_have_room() {
    let cx = parts::context();
    let mut peers = peers(&cx, limits::STATUS_PEERS + 1);
    assert_eq!(peers::rows(cx.now, &peers, &cx.timers).len(), limits::STATUS_PEERS);
    for n in 0..2 {
        let address_group =
            IpPrefix::address_group(IpAddr::V4(Ipv4Addr::new(203, 0, 113, n))).expect("not of this host");
        peers.reputation.add(cx.now, address_group, 1);
        peers.reputation.ban(cx.now, address_group, &Violation::breach("why"));
    }
    let rows = peers::rows(cx.now, &peers, &cx.timers);
    let bans = rows.iter().filter(|row| row.state == PeerState::Banned).count();
    assert_eq!((rows.len(), bans), (limits::STATUS_PEERS, 2));
}

fn member(n: u8, peers: usize) -> Member {
    Member {
        node: parts::node(n).to_string(),
        session: Session::from_random([n; 16]).to_string(),
        address: None,
        since: 0,
        peers: vec![parts::node(0).to_string(); peers],
        links: 0,
        max_peers: None,
        free: None,
        heard: 0,
        me: false,
    }
}

/// The last digits of the ids in an answer, and whether there are more.
fn answer(members: Vec<Member>, after: Option<NodeId>) -> (Vec<u8>, bool) {
    let later = |member: &Member| after.is_none_or(|after| member.node > after.to_string());
    let frame = network::answer(members.into_iter().filter(later));
    let Ok(Message::Network(NetworkFrame::Answer(answer))) = Message::parse(&mut Default::default(), frame.as_str())
    else {
        panic!("{frame:?}")
    };
    let id = |member: &Member| member.node.parse::<NodeId>().expect("an id").0[0];
    (answer.nodes.iter().map(id).collect(), answer.more)
}

#[test]
fn an_answer_begins_after_an_id_and_ends_where_no_more_fits() {
    let members = |peers: [usize; 3]| (1..).zip(peers).map(|(n, peers)| member(n, peers)).collect::<Vec<_>>();
    assert_eq!(answer(members([0; 3]), None), (vec![1, 2, 3], false));
    assert_eq!(answer(members([0; 3]), Some(parts::node(1))), (vec![2, 3], false));
    assert_eq!(answer(members([0; 3]), Some(parts::node(3))), (vec![], false));
    // 192 KiB are 196,608: members have 512 and each of their peers 67.
    let room = (192 * 1024 - 3 * 512) / 67;
    assert_eq!(answer(members([room - 7, 0, 7]), None), (vec![1, 2, 3], false));
    assert_eq!(answer(members([room - 7, 0, 8]), None), (vec![1, 2], true));
    assert_eq!(answer(members([9_999, 0, 0]), None), (vec![1], true), "the first is always there");
}

#[test]
fn members_are_this_node_and_what_others_announced() {
    let mut cx = parts::context();
    cx.config.max_peers = Some(8);
    cx.config.since = 77;
    let (mut links, mut presence) = (LinkTable::default(), Presence::new(1));
    let link = parts::native(&cx, &mut links, 1);
    let mut news = presence.announcement(&cx, &links, false);
    (news.node, news.session, news.links, news.max_peers) = (parts::node(1), Session::from_random([1; 16]), 9, Some(8));
    let frame = crate::wire::AnnounceFrame { announcement: news, synced: Some(5 * SECOND) };
    assert_eq!(presence.on_announce(&mut cx, &links, link, frame), Ok(()));
    let members = network::members(&cx, &links, &presence, cx.now + SECOND / 2);
    let me = Member {
        address: Some(address(0).to_string()),
        since: 77,
        links: 1,
        max_peers: Some(8),
        free: Some(7),
        me: true,
        node: parts::node(0).to_string(),
        session: cx.config.session.to_string(),
        peers: vec![parts::node(1).to_string()],
        heard: 0,
    };
    let other = Member {
        node: parts::node(1).to_string(),
        session: Session::from_random([1; 16]).to_string(),
        links: 9,
        free: Some(0),
        heard: 5,
        me: false,
        ..me.clone()
    };
    assert_eq!(members, [me, other]);
    cx.config.node = parts::node(9);
    cx.config.max_peers = None;
    let members = network::members(&cx, &links, &presence, cx.now);
    let seen: Vec<_> = members.iter().map(|member| (member.me, member.free)).collect();
    assert_eq!(seen, [(false, Some(0)), (true, None)], "in the order of ids");
}

#[test]
fn a_node_is_reached_where_its_link_leads_or_where_it_announced_itself() {
    let mut cx = parts::context();
    let (mut links, mut presence) = (some_links(&cx), Presence::new(1));
    let mut announce = |n: u8, at: Option<PeerAddress>| {
        let mut news = presence.announcement(&cx, &links, false);
        (news.node, news.session, news.address) = (parts::node(n), Session::from_random([n; 16]), at);
        let frame = crate::wire::AnnounceFrame { announcement: news, synced: None };
        assert_eq!(presence.on_announce(&mut cx, &links, LinkId(1), frame), Ok(()));
    };
    announce(8, Some(address(8)));
    announce(9, None);
    let at = |n, source| Location::At { address: address(n), reach: Scope::Loopback, source };
    for (node, location) in [
        (0, Location::Myself),
        (1, Location::CallsBack),
        (2, at(2, SourceGroup::Host)),
        (3, Location::Unknown),
        (8, at(8, SourceGroup::Relayed)),
        (9, Location::NoAddress),
        (10, Location::Unknown),
    ] {
        assert_eq!(locate(&cx, &links, &presence, parts::node(node)), location, "{node}");
    }
    links.get_mut(LinkId(1)).expect("open").scope = Scope::Public;
    let mut news = presence.announcement(&cx, &links, false);
    (news.node, news.session, news.address) = (parts::node(11), Session::from_random([11; 16]), Some(address(11)));
    let frame = crate::wire::AnnounceFrame { announcement: news, synced: None };
    assert_eq!(presence.on_announce(&mut cx, &links, LinkId(1), frame), Ok(()));
    let location = locate(&cx, &links, &presence, parts::node(11));
    assert_eq!(location, Location::NoAddress, "a stranger elsewhere names no address of this host");
}

#[test]
fn a_peer_is_asked_for_a_connection_only_over_a_link_that_it_dialled() {
    let mut cx = parts::context();
    let mut links = LinkTable::default();
    let nonce = Nonce([7; 32]);
    let link = parts::native(&cx, &mut links, 1);
    assert!(location::call_back(&mut cx, &links, parts::node(1), nonce));
    let text = CallBack { nonce }.to_frame().as_str().to_owned();
    assert_eq!(parts::frames(&mut cx, "CALLBACK"), [(vec![1], text)]);
    assert!(!location::call_back(&mut cx, &links, parts::node(2), nonce), "no link");
    let change = |links: &mut LinkTable, calls_back, dialled| {
        let open = links.get_mut(link).expect("linked");
        open.dialled = dialled;
        if let LinkState::Established(peer) = &mut open.state {
            peer.calls_back = calls_back;
        }
    };
    change(&mut links, false, None);
    assert!(!location::call_back(&mut cx, &links, parts::node(1), nonce), "a node of the previous release");
    change(&mut links, true, Some(address(1)));
    assert!(!location::call_back(&mut cx, &links, parts::node(1), nonce), "this node dialled the link");
    assert_eq!(parts::frames(&mut cx, "CALLBACK"), []);
}

#[test]
fn a_peer_is_called_back_only_where_this_node_dialled_it() {
    let mut cx = parts::context();
    let mut links = LinkTable::default();
    let link = parts::native(&cx, &mut links, 1);
    let call_back = CallBack { nonce: Nonce([7; 32]) };
    let dials = |cx: &mut Context| {
        std::iter::from_fn(|| cx.poll_output())
            .filter_map(|output| match output {
                Output::CallBack { node, address, nonce, .. } => Some((node, address, nonce)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    location::on_call_back(&mut cx, &links, link, call_back);
    assert_eq!(dials(&mut cx), [], "it dialled this link");
    links.get_mut(link).expect("linked").dialled = Some(address(5));
    location::on_call_back(&mut cx, &links, link, call_back);
    assert_eq!(dials(&mut cx), [(parts::node(1), address(5), call_back.nonce)]);
    links.get_mut(link).expect("linked").closing = true;
    location::on_call_back(&mut cx, &links, link, call_back);
    assert_eq!(dials(&mut cx), []);
}

#[test]
fn a_row_says_whether_the_link_runs_over_iroh_and_names_the_node_by_its_id() {
    let (cx, mut links) = (parts::context(), LinkTable::default());
    parts::native(&cx, &mut links, 1);
    parts::native(&cx, &mut links, 2);
    links.authenticate(LinkId(2), parts::node(2));
    let id = PeerAddress::of_node(parts::node(2), []);
    links.get_mut(LinkId(2)).expect("open").confirm_address(&id);
    let rows = links::rows(&links, |_| None);
    assert_eq!(rows.iter().map(|row| row.over_iroh).collect::<Vec<_>>(), [false, true]);
    assert_eq!(rows[1].peer.address, Some(id.clone()));
    assert_eq!(links::linked_names(&links), [parts::node(1).to_string(), id.to_string()]);
    let presence = Presence::new(0);
    let at = locate(&cx, &links, &presence, parts::node(2));
    assert!(matches!(&at, Location::At { address, reach: Scope::Public, .. } if *address == id), "{at:?}");
}
