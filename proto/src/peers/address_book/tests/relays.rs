//! The relays of node ids: whose word counts.

use crate::peers::address_book::*;
use crate::testing::parts::{context, node};

fn id(relays: &[&str]) -> PeerAddress {
    PeerAddress::of_node(node(20), relays.iter().map(|relay| relay.parse().expect("a relay")))
}

fn gossiped(scope: Scope) -> AddressSource {
    AddressSource::Gossiped(scope, SourceGroup::Relayed)
}

fn own(scope: Scope) -> AddressSource {
    AddressSource::SelfAnnounced(scope, SourceGroup::Relayed)
}

/// The relays after each word in turn.
fn after(words: &[(AddressSource, &[&str])]) -> Vec<String> {
    let (mut book, cx) = (AddressBook::default(), context());
    let after = |(source, relays): &(AddressSource, &[&str])| {
        book.add(&id(relays), *source, cx.now, &cx.config.limits);
        book.with_relays(&id(&["asked.example:9"])).to_string().split('@').nth(1).unwrap_or_default().to_owned()
    };
    words.iter().map(after).collect()
}

#[test]
fn the_user_and_the_node_itself_replace_relays_and_hearsay_fills_in_missing_ones() {
    let far = Scope::Public;
    assert_eq!(
        after(&[(gossiped(far), &[]), (gossiped(far), &["a:1"]), (gossiped(far), &["b:1"])]),
        ["", "a:1", "a:1"]
    );
    assert_eq!(
        after(&[(gossiped(far), &["a:1"]), (own(far), &["b:1", "c:1"]), (gossiped(far), &["d:1"])]),
        ["a:1", "b:1,c:1", "b:1,c:1"]
    );
    assert_eq!(
        after(&[(own(far), &["a:1"]), (AddressSource::Known, &["b:1"]), (own(far), &["c:1"])]),
        ["a:1", "b:1", "c:1"],
        "the last word of the two"
    );
    assert_eq!(
        after(&[(own(far), &["a:1"]), (AddressSource::Known, &[])]),
        ["a:1", "a:1"],
        "that says nothing of them"
    );
}

#[test]
fn a_list_of_the_user_replaces_the_relays_that_it_names_otherwise_than_before() {
    let (mut book, mut cx) = (AddressBook::default(), context());
    cx.config.wan = true;
    let relays = |book: &AddressBook| book.with_relays(&id(&[])).to_string().split('@').nth(1).map(str::to_owned);
    let mut named = |book: &mut AddressBook, relays: &[&str]| {
        let list = vec![id(relays)];
        book.set_known(&cx, &list);
        cx.config.known_peers = list;
    };
    named(&mut book, &["old:1"]);
    named(&mut book, &["new:1"]);
    assert_eq!(relays(&book).as_deref(), Some("new:1"), "the user's latest word");
    let (now, limits) = (std::time::Instant::now(), Limits::default());
    book.add(&id(&["moved:1"]), own(Scope::Public), now, &limits);
    named(&mut book, &["new:1"]);
    assert_eq!(relays(&book).as_deref(), Some("moved:1"), "what the user said before is no new word");
    named(&mut book, &[]);
    assert_eq!(relays(&book).as_deref(), Some("moved:1"), "that says nothing of them");
    named(&mut book, &["new:1"]);
    assert_eq!(relays(&book).as_deref(), Some("new:1"));
}

#[test]
fn relays_that_are_nearer_to_us_than_their_source_are_left_out() {
    let all: &[&str] = &["127.0.0.1:1", "10.0.0.1:1", "a:1"];
    for (source, kept) in [
        (AddressSource::Known, "127.0.0.1:1,10.0.0.1:1,a:1"),
        (own(Scope::Loopback), "127.0.0.1:1,10.0.0.1:1,a:1"),
        (own(Scope::Private), "10.0.0.1:1,a:1"),
        (own(Scope::Public), "a:1"),
        (gossiped(Scope::Public), "a:1"),
    ] {
        assert_eq!(after(&[(source, all)]), [kept], "{source:?}");
        assert_eq!(after(&[(gossiped(Scope::Public), &[]), (source, all)])[1], kept, "{source:?}, once it is known");
    }
    let near: (AddressSource, &[&str]) = (own(Scope::Public), &["localhost:1"]);
    assert_eq!(after(&[(own(Scope::Public), &["a:1"]), near]), ["a:1", "a:1"], "nothing is left of that word");
}

#[test]
fn a_relay_may_resolve_to_what_its_own_source_may_name() {
    let (mut book, cx) = (AddressBook::default(), context());
    let limits = &cx.config.limits;
    book.add(&id(&["a:1"]), AddressSource::Known, cx.now, limits);
    assert_eq!(book.reach_of(&id(&[])), Scope::Loopback);
    book.add(&id(&["b:1"]), own(Scope::Public), cx.now, limits);
    assert_eq!(book.reach_of(&id(&[])), Scope::Public, "the user named another relay");
    assert!(book.get(&id(&[])).is_some_and(|peer| peer.known && peer.sources.len() == 2), "its record stays");
    assert_eq!(book.others(), 1);
}

#[test]
fn dials_carry_the_relays_of_now() {
    let mut overlay = crate::testing::overlay::Overlay::with(|config| config.wan = true);
    overlay.book(&id(&["a:1"]), gossiped(Scope::Public));
    let now = overlay.cx.now;
    overlay.peers.book.dial_at(&mut overlay.cx, &id(&["a:1"]), now);
    overlay.book(&id(&["b:1"]), own(Scope::Public));
    let due = overlay.cx.timers.pop_due(now);
    let Some(Timer::Dial(address)) = due else { panic!("{due:?}") };
    let crate::peers::Peers { book, dialer, reputation, .. } = &mut overlay.peers;
    dialer.on_due(&mut overlay.cx, book, reputation, &|_| None, address);
    assert_eq!(overlay.done().dials.iter().map(ToString::to_string).collect::<Vec<_>>(), [id(&["b:1"]).to_string()]);
}

#[test]
fn ids_are_neither_known_nor_dialled_where_the_runtime_cannot() {
    let mut cx = context();
    let mut book = AddressBook::default();
    for wan in [false, true] {
        cx.config.wan = wan;
        book.set_known(&cx, &[id(&[])]);
        assert_eq!(book.get(&id(&[])).is_some(), wan);
    }
    let mut overlay = crate::testing::overlay::Overlay::mesh();
    overlay.book(&id(&[]), AddressSource::Known);
    let crate::peers::Peers { book, dialer, reputation, .. } = &mut overlay.peers;
    dialer.on_due(&mut overlay.cx, book, reputation, &|_| None, id(&[]));
    assert!(overlay.done().is_nothing());
}
