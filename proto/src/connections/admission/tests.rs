use std::time::Duration;

use crate::access::Certified;
use crate::address::Scope;
use crate::connections::admission::*;
use crate::ip_prefix::SourceGroup;
use crate::peers::address_book::AddressSource;
use crate::testing::overlay::{Overlay, far, ip, native};
use crate::testing::parts::node;
use crate::timers::Timer;
use crate::violation::Violation;

const HALF: u32 = limits::BAN_SCORE / 2;

/// Link `n` gets so many points.
fn points(overlay: &mut Overlay, n: u64, points: u32) {
    for _ in 0..points {
        let violation = Violation::new(ViolationKind::Unsolicited, "PEERS: nobody asked");
        overlay.conns.penalize(&mut overlay.cx, &mut overlay.peers, LinkId(n), &violation);
    }
}

fn banned(overlay: &mut Overlay, link: u64) -> bool {
    overlay.conns.refuse_banned(&mut overlay.cx, &mut overlay.peers, LinkId(link))
}

#[test]
fn from_half_of_the_score_a_link_pauses_and_at_the_whole_it_is_closed() {
    let mut overlay = Overlay::mesh();
    overlay.pending_peer(20);
    points(&mut overlay, 20, HALF - 1);
    let done = overlay.done();
    assert!(done.paused.is_empty() && done.closed.is_empty());
    points(&mut overlay, 20, 1);
    assert_eq!(overlay.done().paused, [(20, limits::VIOLATION_PAUSE)]);
    points(&mut overlay, 20, HALF - 1);
    let done = overlay.done();
    assert_eq!((done.paused.len(), done.closed.len()), (HALF as usize - 1, 0));
    points(&mut overlay, 20, 1);
    let done = overlay.done();
    assert_eq!((done.paused.len(), done.codes()), (0, vec![(20, close::POLICY)]));
    assert_eq!((overlay.cx.counters.violations, overlay.cx.counters.bans), (u64::from(limits::BAN_SCORE), 1));
    let banned = done.events.iter().find_map(|event| match event {
        Event::Banned { from, cause, time, .. } => Some((from.map(|from| from.to_string()), cause.to_string(), *time)),
        _ => None,
    });
    let expected = ("20.20.0.1".to_owned(), "PEERS: nobody asked".to_owned(), limits::BAN_MIN);
    assert_eq!(banned, Some((Some(expected.0), expected.1, Some(expected.2))));
}

#[test]
fn a_link_that_closes_is_not_paused_and_one_that_is_gone_not_counted() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    points(&mut overlay, 20, HALF);
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    overlay.done();
    points(&mut overlay, 20, 1);
    assert!(overlay.done().paused.is_empty());
    let violations = overlay.cx.counters.violations;
    points(&mut overlay, 99, 1);
    assert_eq!(overlay.cx.counters.violations, violations);
}

#[test]
fn all_links_of_one_address_group_share_a_score_and_are_closed_together() {
    let mut overlay = Overlay::mesh();
    overlay.pending_peer(20);
    for link in [1, 2] {
        overlay.conns.links.open(LinkId(link), ip(20), None, LinkState::Client, overlay.cx.now);
    }
    overlay.pending_peer(21);
    points(&mut overlay, 1, HALF);
    points(&mut overlay, 2, HALF);
    let mut codes = overlay.done().codes();
    codes.sort_unstable();
    assert_eq!(codes, [1, 2, 20].map(|link| (link, close::POLICY)), "21 comes from elsewhere");
}

#[test]
fn links_on_this_host_have_a_score_each_and_are_not_banned() {
    let mut overlay = Overlay::mesh();
    for link in [1, 2] {
        overlay.conns.links.open(LinkId(link), [127, 0, 0, 1].into(), None, LinkState::Client, overlay.cx.now);
    }
    points(&mut overlay, 1, limits::BAN_SCORE);
    let done = overlay.done();
    assert_eq!(done.codes(), [(1, close::POLICY)]);
    assert!(done.events.iter().any(|event| matches!(event, Event::Banned { from: None, time: None, .. })));
    assert!(!banned(&mut overlay, 2));
}

#[test]
fn a_known_peer_is_closed_and_may_come_back_at_once() {
    // By a dialled address, and by one that was verified.
    for dialled in [true, false] {
        let mut overlay = Overlay::mesh();
        overlay.know(20);
        let link = if dialled { overlay.dialled(20) } else { overlay.accepted(20) };
        points(&mut overlay, 20, limits::BAN_SCORE);
        let done = overlay.done();
        assert_eq!(done.codes(), [(20, close::POLICY)]);
        assert!(done.events.iter().any(|event| matches!(event, Event::Banned { from: None, time: None, .. })));
        assert!(!banned(&mut overlay, link.0));
        assert_eq!(overlay.peers.book.get(&far(20)).expect("there").banned_until, None);
    }
    let mut overlay = Overlay::mesh();
    overlay.know(20);
    let link = overlay.pending_peer(20);
    overlay.conns.links.get_mut(link).expect("open").state = LinkState::ExerciseInbound { address: Some(far(20)) };
    points(&mut overlay, 20, limits::BAN_SCORE);
    assert!(banned(&mut overlay, 20), "a claim proves nothing");
}

#[test]
fn with_the_address_group_its_addresses_and_its_verified_node_are_banned() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    points(&mut overlay, 20, limits::BAN_SCORE);
    let until = overlay.cx.now + limits::BAN_MIN;
    assert_eq!(overlay.peers.book.get(&far(20)).expect("there").banned_until, Some(until));
    assert_eq!(overlay.peers.reputation.ban_of_node(overlay.cx.now, node(20)).map(|ban| ban.until), Some(until));
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    let peer = crate::connections::table::NativePeer { proved: false, ..native(20) };
    overlay.conns.links.set_native(link, LinkState::Established(peer));
    points(&mut overlay, 20, limits::BAN_SCORE);
    assert!(overlay.peers.reputation.ban_of_node(overlay.cx.now, node(20)).is_none(), "anyone could use its name");
}

#[test]
fn other_links_of_known_peers_stay_when_their_address_group_is_banned() {
    let mut overlay = Overlay::mesh();
    overlay.know(20);
    overlay.accepted(20);
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    points(&mut overlay, 1, limits::BAN_SCORE);
    assert_eq!(overlay.done().codes(), [(1, close::POLICY)]);
}

#[test]
fn a_banned_address_group_is_closed_at_once_until_the_end_of_its_ban() {
    let mut overlay = Overlay::mesh();
    overlay.pending_peer(20);
    points(&mut overlay, 20, limits::BAN_SCORE);
    overlay.end(LinkId(20));
    overlay.done();
    overlay.dialled(20);
    overlay.pass(limits::BAN_MIN - Duration::from_secs(1));
    assert!(banned(&mut overlay, 20));
    let done = overlay.done();
    assert_eq!(done.codes(), [(20, close::POLICY)]);
    assert!(done.closed[0].2.contains("in 2 s"), "{done:?}");
    assert!(
        matches!(&done.events[..], [Event::PeerRefused { reason, .. }] if reason.to_string().contains("nobody asked"))
    );
    assert_eq!(overlay.cx.counters.links_banned, 1);
    let until = overlay.peers.book.get(&far(20)).expect("there").banned_until;
    assert_eq!(until, Some(overlay.cx.now + Duration::from_secs(1)));
    overlay.pending_peer(21);
    assert!(!banned(&mut overlay, 21), "another address group");
    overlay.pass(Duration::from_secs(1));
    assert!(!banned(&mut overlay, 20));
    assert!(!banned(&mut overlay, 99));
}

#[test]
fn a_banned_node_id_is_refused_on_accepted_links_from_other_hosts() {
    let mut overlay = Overlay::mesh();
    overlay.peers.reputation.ban_node(overlay.cx.now, node(7), limits::BAN_MIN, &Violation::breach("lies"));
    overlay.pending_peer(20);
    overlay.dialled(21);
    overlay.conns.links.open(LinkId(1), [127, 0, 0, 1].into(), None, LinkState::Client, overlay.cx.now);
    let refused = |overlay: &mut Overlay, link, n| {
        overlay.conns.refuse_banned_node(&mut overlay.cx, &mut overlay.peers, LinkId(link), node(n))
    };
    assert!(refused(&mut overlay, 20, 7));
    assert_eq!(overlay.done().codes(), [(20, close::POLICY)]);
    assert!(!refused(&mut overlay, 21, 7), "we dialled it");
    assert!(!refused(&mut overlay, 1, 7), "it is on this host");
    assert!(!refused(&mut overlay, 20, 8), "another node");
    assert!(!refused(&mut overlay, 99, 7));
}

#[test]
fn a_frame_that_breaks_the_rules_of_websocket_has_a_quarter_of_the_score() {
    let mut overlay = Overlay::mesh();
    overlay.pending_peer(20);
    overlay.conns.on_protocol_error(&mut overlay.cx, &mut overlay.peers, LinkId(20), "a frame without a mask");
    assert_eq!((overlay.cx.counters.frames_broken, overlay.cx.counters.violations), (1, 1));
    points(&mut overlay, 20, limits::BAN_SCORE * 3 / 4 - 1);
    assert!(overlay.done().closed.is_empty());
    points(&mut overlay, 20, 1);
    assert_eq!(overlay.done().closed.len(), 1);
}

fn denying(rules: &str) -> Access {
    Access { denied: rules.parse().expect(rules), ..Access::default() }
}

#[test]
fn new_rules_close_the_links_that_they_exclude() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    overlay.dialled(21);
    overlay.exercise(22);
    overlay.pending_peer(23);
    let closing = overlay.accepted(24);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    overlay.done();
    let change = |overlay: &mut Overlay, access| {
        overlay.conns.on_access_changed(&mut overlay.cx, &mut overlay.peers, access);
        overlay.done().codes()
    };
    assert_eq!(change(&mut overlay, Access::default()), []);
    assert_eq!(change(&mut overlay, denying(&format!("{}\n{}", node(21), node(24)))), [(21, close::POLICY)]);
    assert_eq!(overlay.dial_due(&far(21)), Some(Duration::from_secs(60)), "it is not dialled soon");
    assert_eq!(change(&mut overlay, Access { plain: false, ..Access::default() }), [(22, close::POLICY)]);
    assert_eq!(change(&mut overlay, denying("23.23.0.1")), [(23, close::POLICY)]);
    assert!(!overlay.closing(LinkId(20)));
    assert_eq!((overlay.cx.counters.listed_refused, overlay.cx.counters.exercise_refused), (2, 1));
}

#[test]
fn each_kind_of_peer_is_checked_by_its_own_rule() {
    let mut overlay = Overlay::mesh();
    overlay.peers.access.set_rules(Access { plain: false, ..denying(&node(7).to_string()) });
    for n in [20, 21, 22, 23] {
        overlay.pending_peer(n);
    }
    let certified = Certified { node: node(7), fingerprint: [0; 32] };
    overlay.peers.access.certify(LinkId(20), certified);
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    assert!(conns.refuse_accepted(cx, peers, LinkId(20), ip(20)), "its certificate is denied");
    assert!(!conns.refuse_accepted(cx, peers, LinkId(21), ip(21)));
    assert!(!conns.refuse_native(cx, peers, LinkId(21), node(8)));
    assert!(conns.refuse_native(cx, peers, LinkId(21), node(7)));
    assert!(conns.refuse_exercise(cx, peers, LinkId(22)));
    assert!(conns.refuse_client(cx, peers, LinkId(23)));
    assert!(!conns.refuse_native(cx, peers, LinkId(99), node(7)), "a link that is gone");
    assert!(!conns.refuse_exercise(cx, peers, LinkId(99)));
    conns.links.get_mut(LinkId(23)).expect("open").state = LinkState::Established(native(23));
    assert!(!conns.refuse_client(cx, peers, LinkId(23)), "a peer is no client");
    assert_eq!(overlay.done().codes(), [20, 21, 22, 23].map(|link| (link, close::POLICY)));
    assert_eq!(overlay.due(&Timer::Dial(far(20))), None);
}

/// A peer that dialled us has not been admitted when its HANDSHAKE is judged.
#[test]
fn no_refused_peer_is_called_a_client_unless_it_is_one() {
    let mut overlay = Overlay::mesh();
    overlay.peers.access.set_rules(Access { plain: false, ..denying(&format!("{}\n22.22.0.1", node(20))) });
    for n in [20, 21, 22, 23] {
        overlay.pending_peer(n);
    }
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    assert!(conns.refuse_native(cx, peers, LinkId(20), node(20)));
    assert!(conns.refuse_exercise(cx, peers, LinkId(21)));
    assert!(conns.refuse_accepted(cx, peers, LinkId(22), ip(22)));
    conns.refuse_copied_key(cx, peers, LinkId(23), true);
    let texts: Vec<String> = overlay.done().events.iter().map(|event| format!("{event:?}")).collect();
    let own = node(0).short();
    for (text, begin) in texts.iter().zip([
        format!("{} at 20.20.0.1 was refused: by denied.txt", node(20).short()),
        "a connection from 21.21.0.1 was refused: it is a node of the exercise".to_owned(),
        "a connection from 22.22.0.1 was refused: by denied.txt".to_owned(),
        format!("{own} is another node with an id that is in use"),
    ]) {
        assert!(text.contains(&format!("\"{begin}")), "{begin} in {text}");
    }
    assert_eq!(texts.len(), 4);
}

/// Opens links to peers whose ids the transport proves, all by the relay at the IP address of peer
/// 20.
fn over_relay(overlay: &mut Overlay, peers: &[(u64, u8)]) {
    for (link, n) in peers {
        let link = LinkId(*link);
        overlay.conns.links.open(link, ip(20), None, LinkState::Client, overlay.cx.now);
        overlay.conns.links.authenticate(link, node(*n));
        overlay.conns.links.set_native(link, LinkState::Established(native(*n)));
    }
}

#[test]
fn over_iroh_the_node_is_scored_and_not_the_relay_that_others_share() {
    let mut overlay = Overlay::mesh();
    over_relay(&mut overlay, &[(1, 21), (2, 21), (3, 22)]);
    overlay.pending_peer(20);
    points(&mut overlay, 1, HALF);
    points(&mut overlay, 3, HALF);
    assert_eq!(overlay.done().codes(), [], "each node has a score of its own");
    points(&mut overlay, 2, HALF);
    let done = overlay.done();
    let mut codes = done.codes();
    codes.sort_unstable();
    assert_eq!(codes, [1, 2].map(|link| (link, close::POLICY)), "both links of the node");
    assert!(done.closed.iter().any(|(_, _, reason)| reason == "another connection from your node broke the rules"));
    let event = |event: &Event| matches!(event, Event::Banned { from: None, time: Some(limits::BAN_MIN), .. });
    assert!(done.events.iter().any(event), "{done:?}");
    // It comes back by another relay, by its id, and over WebSocket; the relay and others stay.
    over_relay(&mut overlay, &[(4, 21), (5, 23)]);
    assert_eq!((banned(&mut overlay, 4), banned(&mut overlay, 5), banned(&mut overlay, 20)), (true, false, false));
    let id = crate::address::PeerAddress::of_node(node(21), []);
    overlay.book(&id, AddressSource::Gossiped(Scope::Public, SourceGroup::Relayed));
    let until = overlay.peers.reputation.banned_until(overlay.cx.now, &overlay.peers.book, &id);
    assert_eq!(until, Some(overlay.cx.now + limits::BAN_MIN));
    assert!(overlay.peers.reputation.ban_of_node(overlay.cx.now, node(21)).is_some());
    let rows = overlay.peers.reputation.rows(overlay.cx.now);
    assert_eq!(rows.iter().map(|row| row.address.clone()).collect::<Vec<_>>(), [id.to_string()]);
    overlay.peers.reputation.lift(&mut overlay.peers.book, &node(21).to_string().parse().expect("a rule"));
    assert!(!banned(&mut overlay, 2) && overlay.peers.reputation.rows(overlay.cx.now).is_empty());
}

#[test]
fn violations_over_iroh_are_not_free_on_this_host() {
    let mut overlay = Overlay::mesh();
    for link in [1, 2] {
        overlay.conns.links.open(LinkId(link), [127, 0, 0, 1].into(), None, LinkState::Client, overlay.cx.now);
        overlay.conns.links.authenticate(LinkId(link), node(21));
    }
    points(&mut overlay, 1, limits::BAN_SCORE);
    assert!(banned(&mut overlay, 2));
    assert_ne!(overlay.conns.links.source_of(LinkId(2)).1, SourceGroup::Host, "no program of this host speaks");
}
