//! The rules alone, without a node or a link.

use std::net::IpAddr;
use std::time::Duration;

use crate::access::{Access, Certified};
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId};
use crate::peers::access_control::*;
use crate::testing::parts::{context, node};

const LINK: LinkId = LinkId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

/// The certificate of node `n`.
fn certificate(n: u8) -> Certified {
    Certified { node: node(n), fingerprint: [n + 100; 32] }
}

fn control(access: Access, certified: Option<u8>) -> AccessControl {
    let mut control = AccessControl::default();
    control.set_rules(access);
    if let Some(n) = certified {
        control.certify(LINK, certificate(n));
    }
    control
}

fn denying(rules: &str) -> Access {
    Access { denied: rules.parse().expect(rules), ..Access::default() }
}

fn allowing(rules: &str) -> Access {
    Access { allowed: Some(rules.parse().expect(rules)), ..Access::default() }
}

fn kind(refused: Option<Refused>) -> Option<Refusal> {
    refused.map(|(kind, _)| kind)
}

#[test]
fn a_peer_is_refused_by_its_certificate_the_list_of_the_denied_and_then_that_of_the_allowed() {
    let own: NodeId = node(0);
    let far = ip("192.0.2.9");
    let seven = node(7).to_string();
    // The rules, the node of the certificate, the node that the peer names, the refusal.
    for (access, certified, named, refusal) in [
        (Access::default(), None, None, None),
        (Access::default(), None, Some(7), None),
        (Access::default(), Some(7), Some(7), None),
        (Access::default(), Some(7), Some(8), Some(Refusal::Impostor)),
        (denying(&seven), None, Some(7), Some(Refusal::Listed)),
        (denying(&seven), Some(7), None, Some(Refusal::Listed)),
        (denying(&seven), None, Some(8), None),
        (denying("192.0.2.0/24"), None, None, Some(Refusal::Listed)),
        (denying("192.0.2.0/24"), None, Some(0), None),
        (denying(&node(0).to_string()), None, Some(0), None),
        (allowing(&seven), None, Some(7), None),
        (allowing(&seven), None, Some(8), Some(Refusal::Listed)),
        (allowing(&seven), None, None, None),
        (allowing(&seven), Some(8), None, Some(Refusal::Listed)),
        (allowing(&seven), None, Some(0), None),
        (allowing("192.0.2.9"), None, Some(8), None),
    ] {
        let shown = format!("{access:?}, {certified:?}, {named:?}");
        let control = control(access, certified);
        assert_eq!(kind(control.refusal(own, LINK, far, named.map(node))), refusal, "{shown}");
    }
}

#[test]
fn the_certificate_of_a_closed_link_is_forgotten() {
    let mut control = control(Access::default(), Some(7));
    assert_eq!(kind(control.refusal(node(0), LINK, ip("192.0.2.9"), Some(node(8)))), Some(Refusal::Impostor));
    assert_eq!(kind(control.refusal(node(0), LinkId(2), ip("192.0.2.9"), Some(node(8)))), None, "another link");
    control.on_link_closed(LINK);
    assert_eq!(control.refusal(node(0), LINK, ip("192.0.2.9"), Some(node(8))), None);
}

#[test]
fn an_exercise_peer_needs_plain_and_a_place_on_the_list_of_the_allowed() {
    let far = ip("192.0.2.9");
    for (access, certified, refusal) in [
        (Access::default(), None, None),
        (Access { plain: false, ..Access::default() }, None, Some(Refusal::Exercise)),
        (Access { plain: false, ..Access::default() }, Some(7), Some(Refusal::Exercise)),
        (denying("192.0.2.9"), None, Some(Refusal::Listed)),
        (allowing("192.0.2.8"), None, Some(Refusal::Listed)),
        (allowing("192.0.2.9"), None, None),
        (allowing(&node(7).to_string()), Some(7), None),
        (allowing(&node(7).to_string()), Some(8), Some(Refusal::Listed)),
    ] {
        let shown = format!("{access:?}, {certified:?}");
        assert_eq!(kind(control(access, certified).exercise_refusal(node(0), LINK, far)), refusal, "{shown}");
    }
}

#[test]
fn a_client_is_served_on_this_host_or_with_a_certificate_or_where_all_are() {
    let (far, here) = (ip("192.0.2.9"), ip("127.0.0.1"));
    let closed = Access { plain: false, ..Access::default() };
    for (access, certified, remote, refusal) in [
        (Access::default(), None, far, None),
        (closed.clone(), None, far, Some(Refusal::Client)),
        (closed.clone(), None, here, None),
        (closed, Some(7), far, None),
        (allowing("192.0.2.8"), None, far, Some(Refusal::Listed)),
        (allowing("192.0.2.8"), None, here, None),
        (allowing("192.0.2.8"), Some(7), far, None),
        (allowing("192.0.2.9"), None, far, None),
    ] {
        let shown = format!("{access:?}, {certified:?}, {remote}");
        assert_eq!(kind(control(access, certified).client_refusal(LINK, remote)), refusal, "{shown}");
    }
}

#[test]
fn images_are_fetched_by_the_same_rules_without_a_link() {
    let (far, here) = (ip("192.0.2.9"), ip("127.0.0.1"));
    let seven = node(7).to_string();
    for (access, remote, certified, may) in [
        (Access::default(), far, None, true),
        (denying("192.0.2.9"), far, None, false),
        (denying("192.0.2.9"), far, Some(0), true),
        (denying(&seven), far, Some(7), false),
        (denying(&seven), far, Some(8), true),
        (allowing(&seven), far, None, false),
        (allowing(&seven), far, Some(7), true),
        (allowing(&seven), far, Some(8), false),
        (allowing(&seven), here, None, true),
        (allowing(&seven), here, Some(8), false),
        (allowing("192.0.2.9"), far, None, true),
    ] {
        let shown = format!("{access:?}, {remote}, {certified:?}");
        let control = control(access, None);
        assert_eq!(control.may_fetch(node(0), remote, certified.map(certificate)), may, "{shown}");
    }
}

#[test]
fn an_address_is_denied_by_the_rules_that_name_addresses_alone() {
    for (access, denied) in [
        (Access::default(), false),
        (denying("192.0.2.9"), true),
        (denying("192.0.2.8"), false),
        (denying(&node(7).to_string()), false),
        (allowing("192.0.2.8"), false),
    ] {
        let shown = format!("{access:?}");
        assert_eq!(control(access, None).denies(ip("192.0.2.9")), denied, "{shown}");
    }
}

#[test]
fn requests_are_served_by_the_rules_for_the_node_that_proved_its_id() {
    let far = ip("192.0.2.9");
    let seven = node(7).to_string();
    for (access, asking, reason) in [
        (Access::default(), 7, None),
        (denying("192.0.2.9"), 7, Some("denied")),
        (denying("192.0.2.9"), 0, None),
        (denying(&seven), 7, Some("denied")),
        (denying(&seven), 8, None),
        (allowing(&seven), 7, None),
        (allowing(&seven), 8, Some("allowed")),
    ] {
        let shown = format!("{access:?}, {asking}");
        let refusal = control(access, None).request_refusal(node(0), far, None, node(asking));
        match reason {
            None => assert_eq!(refusal, None, "{shown}"),
            Some(word) => assert!(refusal.is_some_and(|refusal| refusal.contains(word)), "{shown}"),
        }
    }
}

#[test]
fn each_kind_of_refusal_is_counted_and_says_what_to_do() {
    let mut cx = context();
    let mut control = AccessControl::default();
    let name = PeerName { node: Some(node(7)), address: None };
    for (kind, hint) in [
        (Refusal::Exercise, "PLAIN=on"),
        (Refusal::Client, "PLAIN=off"),
        (Refusal::Listed, "denied.txt"),
        (Refusal::Impostor, "issue it a certificate"),
    ] {
        control.log_link(&mut cx, &name, ip("192.0.2.9"), &(kind, "goodbye".to_owned()));
        let Some(crate::Output::Notify(Event::Warning { text })) = cx.poll_output() else { panic!("{kind:?}") };
        assert!(text.contains(hint) && text.contains("192.0.2.9") && text.contains("goodbye"), "{text}");
    }
    control.log_connection(&mut cx, ip("192.0.2.9"), "no TLS");
    let Some(crate::Output::Notify(Event::Warning { text })) = cx.poll_output() else { panic!() };
    assert!(text.contains("no TLS"), "{text}");
    let counters = &cx.counters;
    let counts = [
        counters.exercise_refused,
        counters.clients_refused,
        counters.listed_refused,
        counters.impostors_refused,
        counters.connections_refused,
    ];
    assert_eq!(counts, [1; 5]);
    cx.now += Duration::from_secs(599);
    control.log_connection(&mut cx, ip("192.0.2.9"), "no TLS");
    assert!(matches!(cx.poll_output(), Some(crate::Output::Notify(Event::AccessDenied { .. }))));
    cx.now += Duration::from_secs(1);
    control.log_connection(&mut cx, ip("192.0.2.9"), "no TLS");
    assert!(matches!(cx.poll_output(), Some(crate::Output::Notify(Event::Warning { .. }))));
}
