//! Two links to one node, of which one runs over iroh.

use super::*;
use crate::Input;
use crate::address::PeerAddress;
use crate::testing::net::{Net, address, by_id, id};
use crate::testing::parts::node;

/// The links of a node to the other one of two, each with whether it runs over iroh.
fn links(net: &Net, node: usize) -> Vec<bool> {
    net.cores[node].open_links().iter().map(|row| row.over_iroh).collect()
}

/// The state of an address of the other one of two nodes, at a node.
fn state(net: &Net, node: usize, address: &PeerAddress) -> Option<AddressState> {
    net.cores[node].peers.book.get(address).map(|peer| peer.state)
}

#[test]
fn exactly_one_link_stays_and_it_is_the_one_by_web_socket() {
    for first_over_iroh in [true, false] {
        // Node 0 has the lower id. Each may have dialled either.
        for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut net = Net::signed(2);
            let mut dial = |over_iroh: bool, from: usize| match over_iroh {
                true => net.link_over_iroh(from, 1 - from),
                false => net.link(from, 1 - from),
            };
            dial(first_over_iroh, first);
            dial(!first_over_iroh, second);
            let case = format!("first over iroh: {first_over_iroh}, dialled by {first} and {second}");
            assert_eq!((links(&net, 0), links(&net, 1)), (vec![false], vec![false]), "{case}");
            net.pass(Duration::from_secs(60));
            assert_eq!((links(&net, 0), links(&net, 1)), (vec![false], vec![false]), "{case}, later");
            assert_eq!(net.cores[0].linked_nodes(), [id(1)], "{case}");
            // The id leads there too, so nobody dials it.
            let dialler = if first_over_iroh { first } else { second };
            let known = state(&net, dialler, &by_id(1 - dialler));
            assert!(matches!(known, Some(AddressState::Connected(_))), "{case}: {known:?}");
        }
    }
}

#[test]
fn exactly_one_link_stays_when_both_open_at_once() {
    for over_iroh_first in [true, false] {
        for (by_iroh, by_web_socket) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut net = Net::signed(2);
            for over_iroh in [over_iroh_first, !over_iroh_first] {
                match over_iroh {
                    true => net.begin_link_over_iroh(by_iroh, 1 - by_iroh),
                    false => net.begin_link(by_web_socket, 1 - by_web_socket),
                };
            }
            // Each handles what is on its way in turn, both links mixed.
            net.tell(0, Input::TaskPanicked);
            let case = format!("over iroh first: {over_iroh_first}, dialled by {by_iroh} and {by_web_socket}");
            assert_eq!((links(&net, 0), links(&net, 1)), (vec![false], vec![false]), "{case}");
            net.pass(Duration::from_secs(60));
            assert_eq!((links(&net, 0), links(&net, 1)), (vec![false], vec![false]), "{case}, later");
        }
    }
}

#[test]
fn an_id_is_due_again_when_the_link_ends() {
    let mut net = Net::signed(2);
    let (link, _) = net.link_over_iroh(0, 1);
    net.pass(Duration::from_secs(1));
    assert!(matches!(state(&net, 0, &by_id(1)), Some(AddressState::Connected(_))));
    net.cut(0, link);
    assert_eq!(state(&net, 0, &by_id(1)), Some(AddressState::Waiting));
    assert!(net.cores[0].cx.timers.due(&Timer::Dial(by_id(1))).is_some());
}

#[test]
fn a_link_that_is_not_established_yet_replaces_none() {
    // The newer link is in use, and our HANDSHAKE has not gone out on it.
    let mut overlay = two(LinkState::Verifying(native(20)));
    overlay.cx.config.node = node(1);
    overlay.conns.links.authenticate(LinkId(1), node(20));
    resolve(&mut overlay);
    pong(&mut overlay, 1);
    assert_eq!(overlay.done().codes(), [], "neither");
    overlay.conns.answer(&mut overlay.cx, LinkId(2));
    assert_eq!(overlay.done().pings, [1], "now it can");
    pong(&mut overlay, 1);
    let done = overlay.done();
    assert_eq!(done.codes(), [(1, close::NORMAL)]);
    assert_eq!(done.closed[0].2, "we are linked by a better path");
    assert_eq!(overlay.cx.counters.links_duplicate, 1);
}

#[test]
fn a_link_by_web_socket_that_may_be_dead_replaces_none() {
    let mut overlay = two(LinkState::Established(native(20)));
    overlay.cx.config.node = node(1);
    overlay.conns.links.authenticate(LinkId(1), node(20));
    overlay.pass(overlay.cx.config.limits.ping_interval);
    resolve(&mut overlay);
    pong(&mut overlay, 1);
    assert_eq!(overlay.done().codes(), []);
    overlay.conns.links.hear(overlay.cx.now, LinkId(2));
    resolve(&mut overlay);
    pong(&mut overlay, 1);
    assert_eq!(overlay.done().codes(), [(1, close::NORMAL)]);
}

#[test]
fn of_two_links_of_one_kind_the_older_stays() {
    for from in [0, 1] {
        let mut net = Net::signed(2);
        let (older, _) = net.link_over_iroh(0, 1);
        net.link_over_iroh(from, 1 - from);
        let open: Vec<LinkId> = net.cores[0].open_links().iter().map(|row| row.link).collect();
        assert_eq!(open, [older], "{from}");
        assert_eq!(net.cores[1].open_links().len(), 1);
    }
    let mut net = Net::signed(2);
    let (older, _) = net.link(0, 1);
    net.link(1, 0);
    assert_eq!(net.cores[0].open_links().iter().map(|row| row.link).collect::<Vec<_>>(), [older]);
    assert!(matches!(state(&net, 0, &address(1)), Some(AddressState::Connected(_))));
}
