mod paths;

use std::time::Duration;

use crate::connections::duplicates::*;
use crate::connections::table::NativePeer;
use crate::testing::overlay::{Overlay, far, ip, native, session};

/// Links 1 and 2 to peer 20, of which the second is in this state.
fn two(state: LinkState) -> Overlay {
    let mut overlay = Overlay::mesh();
    for (link, dialled) in [(1, None), (2, Some(far(20)))] {
        overlay.conns.links.open(LinkId(link), ip(20), dialled, LinkState::Client, overlay.cx.now);
    }
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(20)));
    overlay.conns.links.set_native(LinkId(2), state);
    overlay
}

fn pong(overlay: &mut Overlay, link: u64) {
    overlay.conns.on_pong(&mut overlay.cx, &mut overlay.peers, LinkId(link));
}

fn resolve(overlay: &mut Overlay) {
    overlay.conns.resolve_duplicates(&mut overlay.cx, LinkId(1));
    overlay.done();
}

#[test]
fn the_older_link_is_pinged_and_its_deadline_does_not_move() {
    let mut overlay = two(LinkState::Standby(native(20)));
    overlay.conns.resolve_duplicates(&mut overlay.cx, LinkId(1));
    assert_eq!(overlay.done().pings, [1]);
    let deadline = overlay.cx.config.limits.duplicate_deadline;
    assert_eq!(overlay.due(&Timer::Duplicate(LinkId(1))), Some(deadline));
    overlay.pass(deadline / 2);
    overlay.conns.resolve_duplicates(&mut overlay.cx, LinkId(1));
    assert_eq!(overlay.done().pings, [1]);
    assert_eq!(overlay.due(&Timer::Duplicate(LinkId(1))), Some(deadline / 2));
}

#[test]
fn if_the_older_link_answers_the_one_on_standby_is_closed() {
    for own in [0, 200] {
        let mut overlay = two(LinkState::Standby(native(20)));
        overlay.cx.config.node = crate::testing::parts::node(own);
        resolve(&mut overlay);
        pong(&mut overlay, 1);
        assert_eq!(overlay.done().codes(), [(2, close::NORMAL)], "whatever the ids are");
        assert_eq!((overlay.due(&Timer::Duplicate(LinkId(1))), overlay.cx.counters.links_duplicate), (None, 1));
    }
}

#[test]
fn of_two_links_in_use_the_node_with_the_lower_id_closes_the_newer() {
    for (own, closed) in [(19, vec![(2, close::NORMAL)]), (21, Vec::new())] {
        let mut overlay = two(LinkState::Established(native(20)));
        overlay.cx.config.node = crate::testing::parts::node(own);
        resolve(&mut overlay);
        pong(&mut overlay, 1);
        assert_eq!(overlay.done().codes(), closed, "our id is {own}");
    }
}

#[test]
fn a_pong_that_nobody_waits_for_only_shows_that_the_link_lives() {
    let mut overlay = two(LinkState::Standby(native(20)));
    overlay.pass(Duration::from_secs(1));
    pong(&mut overlay, 1);
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.conns.links.get(LinkId(1)).map(|link| link.heard), Some(overlay.cx.now));
    resolve(&mut overlay);
    pong(&mut overlay, 2);
    assert!(overlay.done().is_nothing(), "the newer one was not asked");
    assert!(overlay.due(&Timer::Duplicate(LinkId(1))).is_some());
}

#[test]
fn two_live_runs_of_one_id_are_a_copied_folder() {
    let other = NativePeer { session: session(99), ..native(20) };
    let mut overlay = two(LinkState::Standby(other));
    overlay.learn(20);
    resolve(&mut overlay);
    pong(&mut overlay, 1);
    let done = overlay.done();
    assert_eq!(done.codes(), [(2, close::POLICY)]);
    assert!(done.closed[0].2.contains("copied"), "{done:?}");
    assert_eq!(overlay.dial_due(&far(20)), Some(Duration::from_secs(60)));
    assert_eq!(overlay.cx.counters.links_duplicate, 0);
}

#[test]
fn an_older_link_that_does_not_answer_is_replaced() {
    // Whether the older one is proved, the state of the newer one, whether the older one is closed,
    // and how many are freed.
    for (proved, state, closed, freed) in [
        (true, LinkState::Standby(native(20)), false, 1),
        (false, LinkState::Standby(native(20)), true, 1),
        (true, LinkState::Established(native(20)), true, 0),
    ] {
        let mut overlay = two(state);
        overlay.conns.links.set_native(LinkId(1), LinkState::Established(NativePeer { proved, ..native(20) }));
        overlay.pass(overlay.cx.config.limits.duplicate_deadline);
        overlay.conns.on_duplicate_due(&mut overlay.cx, LinkId(1));
        assert_eq!(overlay.done().codes(), if closed { vec![(1, close::GOING_AWAY)] } else { Vec::new() });
        let raised = overlay.raised();
        assert_eq!(raised.len(), freed, "{raised:?}");
        assert!(raised.iter().all(|event| event == "StandbyFreed(link 2)"), "{raised:?}");
        assert_eq!(overlay.cx.counters.links_dead, u64::from(closed));
    }
}

/// Lets the deadline of link 1 pass, after something was heard on a link or not.
fn deadline(overlay: &mut Overlay, heard: Option<u64>) -> crate::testing::overlay::Done {
    resolve(overlay);
    let time = overlay.cx.config.limits.duplicate_deadline;
    overlay.pass(time / 2);
    let now = overlay.cx.now;
    heard.into_iter().for_each(|link| overlay.conns.links.excuse(now, Some(LinkId(link))));
    overlay.pass(time / 2);
    overlay.cx.timers.cancel(&Timer::Duplicate(LinkId(1)));
    overlay.conns.on_duplicate_due(&mut overlay.cx, LinkId(1));
    overlay.done()
}

#[test]
fn an_older_link_that_was_heard_or_not_read_is_asked_again() {
    for (state, pings) in [(LinkState::Standby(native(20)), vec![1]), (LinkState::Established(native(20)), vec![2, 1])]
    {
        let mut overlay = two(state);
        let done = deadline(&mut overlay, Some(1));
        assert_eq!((done.codes(), done.pings), (vec![], pings));
        assert_eq!(overlay.due(&Timer::Duplicate(LinkId(1))), Some(overlay.cx.config.limits.duplicate_deadline));
        assert!(overlay.raised().is_empty());
        let closed = deadline(&mut overlay, None).codes();
        let standby = matches!(overlay.conns.links.get(LinkId(2)).map(|link| &link.state), Some(LinkState::Standby(_)));
        assert_eq!(closed, if standby { Vec::new() } else { vec![(1, close::GOING_AWAY)] }, "now it is silent");
    }
}

#[test]
fn of_links_that_are_all_silent_the_node_with_the_lower_id_closes_one() {
    let closes = vec![(1, close::GOING_AWAY)];
    // Our id, whether the newer link was heard, whether it is of another run of the node.
    for (own, heard, another, closed) in [
        (19, None, false, closes.clone()),
        (21, None, false, Vec::new()),
        (21, Some(2), false, closes.clone()),
        (21, None, true, closes),
    ] {
        let newer = if another { NativePeer { session: session(99), ..native(20) } } else { native(20) };
        let mut overlay = two(LinkState::Established(newer));
        overlay.cx.config.node = crate::testing::parts::node(own);
        let done = deadline(&mut overlay, heard);
        assert_eq!(done.codes(), closed, "our id is {own}, {heard:?}, another run: {another}");
        assert_eq!(done.pings, if closed.is_empty() { vec![2, 1] } else { Vec::new() });
        assert_eq!(overlay.due(&Timer::Duplicate(LinkId(1))).is_some(), closed.is_empty());
    }
}

#[test]
fn a_link_that_is_the_only_one_by_now_stays() {
    let mut overlay = two(LinkState::Standby(native(20)));
    overlay.conns.links.close(&mut overlay.cx, LinkId(2), close::NORMAL, "");
    overlay.done();
    overlay.conns.on_duplicate_due(&mut overlay.cx, LinkId(1));
    overlay.conns.on_duplicate_due(&mut overlay.cx, LinkId(99));
    assert!(overlay.done().is_nothing() && overlay.raised().is_empty());
    assert_eq!(overlay.cx.counters.links_dead, 0);
}

#[test]
fn other_links_to_a_node_are_those_in_use_and_on_standby() {
    let mut overlay = two(LinkState::Standby(native(20)));
    overlay.dialled(21);
    overlay.exercise(22);
    overlay.pending_peer(23);
    assert_eq!(overlay.conns.duplicates_of(LinkId(1)), [(LinkId(2), true)]);
    assert_eq!(overlay.conns.duplicates_of(LinkId(2)), [], "one on standby has no node yet");
    assert_eq!(overlay.conns.duplicates_of(LinkId(21)), []);
    overlay.conns.links.set_native(LinkId(2), LinkState::Established(native(20)));
    assert_eq!(overlay.conns.duplicates_of(LinkId(1)), [(LinkId(2), false)]);
    assert_eq!(overlay.conns.duplicates_of(LinkId(2)), [(LinkId(1), false)]);
}

#[test]
fn the_link_on_standby_for_a_node_is_found_unless_it_closes() {
    let mut overlay = two(LinkState::Standby(native(20)));
    let id = native(20).id;
    assert_eq!(overlay.conns.standby_for(id), None, "another link keeps it on standby");
    overlay.conns.links.close(&mut overlay.cx, LinkId(1), close::NORMAL, "");
    assert_eq!(overlay.conns.standby_for(id), Some(LinkId(2)));
    assert_eq!(overlay.conns.standby_for(native(21).id), None);
    overlay.conns.links.close(&mut overlay.cx, LinkId(2), close::NORMAL, "");
    assert_eq!(overlay.conns.standby_for(id), None);
}

#[test]
fn a_link_is_taken_from_standby_into_use_with_our_handshake() {
    let mut overlay = two(LinkState::Standby(native(20)));
    overlay.learn(20);
    overlay.cx.timers.set(Timer::Dial(far(20)), overlay.cx.now);
    let join = crate::wire::Join::default().to_frame();
    overlay.conns.promote(&mut overlay.cx, &mut overlay.peers, LinkId(2), Some(join));
    let done = overlay.done();
    assert_eq!((done.sent("HANDSHAKE"), done.sent("JOIN")), (vec![2], vec![2]));
    assert!(matches!(overlay.conns.links.get(LinkId(2)).map(|link| &link.state), Some(LinkState::HelloSent(_))));
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(LinkId(2))));
    assert_eq!(overlay.dial_due(&far(20)), None);
    assert_eq!(overlay.due(&Timer::Silence(LinkId(2))), Some(overlay.cx.config.limits.dial_timeout));
    for link in [1, 2, 99] {
        overlay.conns.promote(&mut overlay.cx, &mut overlay.peers, LinkId(link), None);
    }
    assert!(overlay.done().is_nothing(), "none is on standby");
}
