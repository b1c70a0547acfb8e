//! Node ids as announced addresses.

use super::*;
use crate::Input;
use crate::event::Event;
use crate::peers::address_book::AddressState;

fn hinted(node: usize, relay: &str) -> PeerAddress {
    by_id(node).with_relays([relay.parse().expect("a relay")])
}

/// What a node says of where another one is, with its relays.
fn announced(net: &Net, at: usize, node: usize) -> Option<String> {
    net.cores[at].presence.address_of(id(node)).map(ToString::to_string)
}

/// What a node knows of an address, with its relays.
fn known(net: &Net, at: usize, address: &PeerAddress) -> Option<String> {
    let book = &net.cores[at].peers.book;
    book.get(address).map(|_| book.with_relays(address).to_string())
}

#[test]
fn a_node_that_is_not_public_announces_its_id_and_again_when_its_relays_change() {
    let mut net = Net::signed(3);
    net.link_over_iroh(0, 1);
    net.link_over_iroh(1, 2);
    net.pass(Duration::from_secs(5));
    assert_eq!(announced(&net, 2, 0), None, "its address by WebSocket is for its host");
    for relay in ["one.example:1", "two.example:1"] {
        let address = hinted(0, relay);
        net.tell(0, Input::WanChanged { address: Some(address.clone()) });
        net.pass(Duration::from_secs(3));
        assert_eq!(announced(&net, 2, 0), Some(address.to_string()), "within seconds, through node 1");
        assert_eq!(known(&net, 2, &by_id(0)), Some(address.to_string()), "the node's own word");
        assert_eq!(known(&net, 1, &by_id(0)), Some(address.to_string()));
        let peer = net.cores[1].connections.links.to_node(id(0), None).expect("linked").1.wan.clone();
        assert_eq!(peer.map(|wan| wan.to_string()), Some(address.to_string()), "and what others are told of it");
    }
    assert_eq!(
        net.cores[0].cx.wan_address.as_ref().map(ToString::to_string),
        Some(hinted(0, "two.example:1").to_string())
    );
    let sent = net.sent["ANNOUNCE"];
    net.tell(0, Input::WanChanged { address: Some(hinted(0, "two.example:1")) });
    net.pass(Duration::from_secs(3));
    assert_eq!(net.sent["ANNOUNCE"], sent, "nothing changed");
    net.tell(0, Input::WanChanged { address: None });
    net.pass(Duration::from_secs(3));
    assert_eq!(announced(&net, 2, 0), None);
}

#[test]
fn a_public_address_is_announced_rather_than_the_id() {
    let mut net = Net::signed(3);
    net.cores[0].cx.config.address = "ws://203.0.113.7:4001".parse().expect("an address");
    net.link_over_iroh(0, 1);
    net.link_over_iroh(1, 2);
    net.tell(0, Input::WanChanged { address: Some(hinted(0, "one.example:1")) });
    net.pass(Duration::from_secs(5));
    assert_eq!(announced(&net, 2, 0).as_deref(), Some("ws://203.0.113.7:4001"));
}

#[test]
fn announced_ids_are_dialled_only_where_the_runtime_can_and_of_nodes_that_are_not_linked() {
    for wan in [true, false] {
        let mut net = Net::signed(3);
        net.link(0, 1);
        net.link(1, 2);
        // Only node 0 has an endpoint.
        net.cores[2].cx.config.wan = wan;
        net.cores[2].cx.config.max_peers = None;
        net.tell(0, Input::WanChanged { address: Some(hinted(0, "one.example:1")) });
        net.pass(Duration::from_secs(10));
        let dialled = |at: usize| {
            let dials = net.events[at].iter().filter_map(|event| match event {
                Event::Dialling { address } => Some(address.clone()),
                _ => None,
            });
            dials.collect::<BTreeSet<_>>().contains(&by_id(0))
        };
        assert_eq!((dialled(2), dialled(1)), (wan, false), "{wan}");
        assert_eq!(known(&net, 2, &by_id(0)).is_some(), wan);
        assert_eq!(net.cores[2].counters().addresses_not_dialable > 0, !wan);
        assert_eq!(net.cores[2].counters().violations + net.cores[1].counters().violations, 0);
    }
}

#[test]
fn a_node_announces_no_id_but_its_own() {
    let mut net = Net::signed(3);
    for node in 0..3 {
        net.cores[node].cx.config.wan = true;
    }
    net.link(0, 1);
    net.link(1, 2);
    net.pass(Duration::from_secs(1));
    // A liar gives the id of another node with a relay of its own.
    net.cores[0].cx.config.address = hinted(5, "evil.example:1");
    net.pass(Duration::from_secs(30));
    assert_eq!(announced(&net, 2, 0), None);
    assert!(net.cores[2].presence.knows(id(0)), "the rest of it counts");
    assert_eq!((known(&net, 1, &by_id(5)), known(&net, 2, &by_id(5))), (None, None));
}

#[test]
fn relays_are_as_near_as_the_node_that_names_them() {
    // All links are on one host, so what a node says of itself there may name that host.
    let mut net = Net::signed(3);
    for node in 0..3 {
        net.cores[node].cx.config.wan = true;
    }
    net.link(0, 1);
    net.link(1, 2);
    let relays = ["127.0.0.1:1", "relay.example:1"].map(|relay| relay.parse().expect("a relay"));
    net.tell(0, Input::WanChanged { address: Some(by_id(0).with_relays(relays)) });
    net.pass(Duration::from_secs(5));
    let told =
        |at| known(&net, at, &by_id(0)).map(|address| address.split('@').next_back().unwrap_or_default().to_owned());
    assert_eq!(told(1).as_deref(), Some("127.0.0.1:1,relay.example:1"));
    assert_eq!(told(2).as_deref(), Some("relay.example:1"), "passed on");
    let candidates = |at: usize| {
        let core = &mut net.cores[at];
        core.presence.not_linked(&core.cx, &core.connections.links).first().map(|(_, scope, _)| *scope)
    };
    assert_eq!([2].map(candidates), [Some(Scope::Public)]);
}

#[test]
fn our_own_id_is_never_dialled() {
    let mut net = Net::signed(1);
    let node = &mut net.cores[0];
    node.cx.config.wan = true;
    net.tell(0, Input::KnownPeersChanged { addresses: vec![by_id(0), by_id(1)] });
    net.tell(0, Input::WanChanged { address: Some(hinted(0, "one.example:1")) });
    net.pass(Duration::from_secs(10));
    let dialled =
        net.events[0].iter().filter(|event| matches!(event, Event::Dialling { address } if *address == by_id(0)));
    assert_eq!(dialled.count(), 0);
    let state = |node| net.cores[0].peers.book.get(&by_id(node)).map(|peer| peer.state);
    assert_eq!(state(0), Some(AddressState::Myself));
    assert!(state(1).is_some());
}

#[test]
fn ids_that_the_user_named_are_dialled_once_the_runtime_can() {
    let dialled = |net: &Net, node: usize| {
        let by = |event: &&Event| matches!(event, Event::Dialling { address } if *address == by_id(node));
        net.events[0].iter().any(|event| by(&event))
    };
    for starts in [Input::WanStarted, Input::WanChanged { address: Some(hinted(0, "one.example:1")) }] {
        let mut net = Net::signed(1);
        net.tell(0, Input::KnownPeersChanged { addresses: vec![by_id(0), by_id(1)] });
        net.pass(Duration::from_secs(1));
        assert!(!dialled(&net, 1) && !net.cores[0].is_known_peer(&by_id(1)));
        net.tell(0, starts);
        net.pass(Duration::from_millis(10));
        assert!(dialled(&net, 1) && net.cores[0].is_known_peer(&by_id(1)));
        net.tell(0, Input::WanStarted);
        net.tell(0, Input::KnownPeersChanged { addresses: vec![by_id(0), by_id(1), by_id(2)] });
        net.pass(Duration::from_millis(10));
        assert!(dialled(&net, 2) && !dialled(&net, 0));
    }
}
