use std::time::Duration;

use crate::Input;
use crate::image_search::*;
use crate::limits::Limits;
use crate::testing::net::{Net, address, id};

const CAT: &str = "cat.jpg";

fn name() -> ImageName {
    CAT.parse().unwrap()
}

fn image(content: u8) -> ImageInfo {
    ImageInfo { name: name(), size: 9, sha256: Some([content; 32]) }
}

fn search(number: u8) -> SearchId {
    SearchId([number; 16])
}

fn ask(net: &mut Net, node: usize, number: u8) {
    net.tell(node, Input::ImageSearch { search: search(number), name: Some(name()) });
}

fn found_text(number: u8, finder: usize) -> String {
    let found = Found { id: search(number), node: id(finder), address: address(finder), images: vec![image(1)] };
    found.to_frame().as_str().to_owned()
}

fn finds(net: &Net) -> usize {
    net.sent.get("FIND").copied().unwrap_or_default()
}

/// The nodes know each other.
fn settled(mut net: Net) -> Net {
    net.pass(Duration::from_secs(30));
    net.sent.clear();
    net
}

#[test]
fn an_image_is_found_at_the_far_end_of_a_line() {
    let mut net = settled(Net::line(5));
    net.images.insert(4, vec![image(1)]);
    ask(&mut net, 0, 1);
    let offers: Vec<_> = net.offers.iter().map(|(at, found)| (*at, found.node, found.address.clone())).collect();
    assert_eq!(offers, [(0, id(4), address(4))]);
    assert_eq!(net.cores[4].counters().finds_answered, 1);
    net.pass(Limits::default().search_deadline);
    assert_eq!(net.searches_over, [(0, search(1), SearchEnd::Deadline)], "more might have been found until now");
}

#[test]
fn what_nobody_has_is_over_at_the_deadline() {
    let mut net = settled(Net::mesh(3));
    ask(&mut net, 0, 1);
    net.pass(Limits::default().search_deadline - Duration::from_millis(1));
    assert!(net.searches_over.is_empty());
    net.pass(Duration::from_millis(1));
    assert_eq!(net.searches_over, [(0, search(1), SearchEnd::Deadline)]);
}

#[test]
fn who_is_alone_is_told_at_once() {
    let mut net = Net::new(1);
    ask(&mut net, 0, 1);
    assert_eq!(net.searches_over, [(0, search(1), SearchEnd::Alone)]);
}

#[test]
fn in_a_settled_mesh_a_question_goes_over_each_link_of_the_asker_once() {
    let mut net = settled(Net::mesh(6));
    ask(&mut net, 0, 1);
    assert_eq!(finds(&net), 5);
    // Node 5 is nobody's neighbour but node 4's: now others must pass the question on.
    let mut net = Net::mesh(5);
    net.add();
    net.link(4, 5);
    let mut net = settled(net);
    net.images.insert(5, vec![image(1)]);
    ask(&mut net, 0, 2);
    assert_eq!(net.offers.len(), 1, "{:?}", net.sent);
}

#[test]
fn a_question_seen_before_goes_nowhere() {
    let mut net = settled(Net::new(4));
    let links: Vec<_> = [(0, 1), (1, 2), (2, 3), (3, 0)].into_iter().map(|(one, other)| net.link(one, other)).collect();
    let mut net = settled(net);
    net.images.insert(2, vec![image(1)]);
    ask(&mut net, 0, 1);
    // Two ways lead to node 2: it answers on the one, and says nothing on the other.
    assert_eq!((net.offers.len(), net.cores[2].counters().finds_duplicate), (1, 1));
    let again = Find { id: search(1), name: Some(name()), hops: 9 }.to_frame();
    let before = finds(&net);
    net.receive(1, links[1].0, again.as_str());
    assert_eq!((finds(&net), net.offers.len()), (before, 1));
}

#[test]
fn a_question_goes_no_farther_than_it_may() {
    let mut net = settled(Net::line(5));
    for (node, content) in [(2, 1), (3, 2)] {
        net.images.insert(node, vec![image(content)]);
    }
    let link = net.link_between(1, 0);
    net.receive(1, link, Find { id: search(1), name: Some(name()), hops: 2 }.to_frame().as_str());
    assert_eq!(net.cores[2].counters().finds_answered, 1);
    assert_eq!(net.cores[3].counters().finds_answered, 0);
}

#[test]
fn nobody_has_us_dial_one_address_again_and_again() {
    let mut net = settled(Net::line(2));
    ask(&mut net, 0, 1);
    let link = net.link_between(0, 1);
    for finder in 10..15 {
        let found = Found { id: search(1), node: id(finder), address: address(9), images: vec![image(1)] };
        net.receive(0, link, found.to_frame().as_str());
    }
    assert_eq!(net.offers.len(), 1);
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped_and_counted() {
    let mut net = Net::line(3);
    let link = net.link_between(1, 0);
    net.receive(1, link, &found_text(1, 0));
    assert_eq!(net.cores[1].counters().founds_unsolicited, 1);
    assert!(net.offers.is_empty() && !net.sent.contains_key("FOUND"));
}

#[test]
fn what_comes_late_twice_or_about_something_else_is_no_offer() {
    let mut net = settled(Net::line(2));
    let link = net.link_between(0, 1);
    ask(&mut net, 0, 1);
    let other = Found {
        id: search(1),
        node: id(7),
        address: address(7),
        images: vec![ImageInfo { name: "dog.jpg".parse().unwrap(), ..image(1) }],
    };
    net.receive(0, link, other.to_frame().as_str());
    assert!(net.offers.is_empty(), "another image");
    for _ in 0..2 {
        net.receive(0, link, &found_text(1, 7));
    }
    assert_eq!(net.offers.len(), 1, "one of each finder");
    net.tell(0, Input::ImageSearchDone { search: search(1) });
    net.receive(0, link, &found_text(1, 8));
    assert_eq!(net.offers.len(), 1, "too late");
    assert_eq!(net.cores[0].counters().founds_dropped, 3);
    net.pass(Duration::from_secs(10));
    assert!(net.searches_over.is_empty(), "who is done is told nothing more");
}

#[test]
fn a_liar_with_many_names_is_one_of_few_finders() {
    let mut net = settled(Net::line(3));
    ask(&mut net, 0, 1);
    let link = net.link_between(1, 2);
    for finder in 10..40 {
        net.receive(1, link, &found_text(1, finder));
    }
    assert_eq!(net.offers.len(), limits::FINDERS);
}

#[test]
fn own_searches_are_bounded() {
    let mut net = settled(Net::line(2));
    for number in 0..=u8::try_from(limits::SEARCHES).unwrap() {
        ask(&mut net, 0, number);
    }
    let refused = search(u8::try_from(limits::SEARCHES).unwrap());
    assert_eq!(net.searches_over, [(0, refused, SearchEnd::Refused)]);
    net.tell(0, Input::ImageSearchDone { search: search(0) });
    ask(&mut net, 0, 200);
    assert_eq!(net.searches_over.len(), 1, "there is room again");
}

#[test]
fn questions_of_one_link_are_bounded_and_what_is_remembered_too() {
    let mut net = settled(Net::line(3));
    let link = net.link_between(1, 0);
    for number in 0..10_000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let find = Find { id: SearchId(id), name: Some(name()), hops: 9 };
        net.receive(1, link, find.to_frame().as_str());
    }
    assert_eq!(finds(&net), FINDS_AT_ONCE as usize, "these went on to the third node");
    for number in 0..20_000_u32 {
        net.pass(FIND_EVERY);
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let find = Find { id: SearchId(id), name: Some(name()), hops: 1 };
        net.receive(1, link, find.to_frame().as_str());
    }
    let searches = &net.cores[1].images;
    assert!(searches.routes.len() <= limits::SEARCHES_SEEN && searches.routes.len() == searches.by_age.len());
    assert!(searches.routes.len() >= 1_000, "a minute of them: {}", searches.routes.len());
    assert!(searches.looking.is_empty());
}

#[test]
fn answers_on_one_link_never_fill_the_room_for_control_frames() {
    let mut net = settled(Net::line(3));
    net.tell(0, Input::ImageSearch { search: search(1), name: None });
    let link = net.link_between(1, 2);
    let names = || (0..200).map(|number| format!("{number:080}.jpg"));
    let images: Vec<_> = names().map(|name| ImageInfo { name: name.parse().unwrap(), size: 1, sha256: None }).collect();
    for finder in 10..100 {
        let found = Found { id: search(1), node: id(finder), address: address(finder), images: images.clone() };
        net.receive(1, link, found.to_frame().as_str());
    }
    let bytes = net.offers.iter().map(|(_, found)| found.to_frame().as_str().len()).sum::<usize>();
    let limits = Limits::default();
    let later = 8 * 1024 * limits.write_deadline.as_secs() as usize;
    let asked = FINDS_AT_ONCE as usize + (limits.write_deadline.as_millis() / FIND_EVERY.as_millis()) as usize;
    let asked = asked
        * Find { id: search(1), name: Some("x".repeat(200).parse().unwrap()), hops: 32 }.to_frame().as_str().len();
    assert!(bytes > 40 * 1024 && bytes + later + asked < limits.control_bytes, "{bytes} {asked}");
}

#[test]
fn clients_and_plain_peers_are_neither_asked_nor_heard() {
    let mut net = settled(Net::line(2));
    let (client, plain) = (net.client(0), net.client(0));
    net.receive(0, plain, r#"{"type":"HANDSHAKE","data":["ws://localhost:9"]}"#);
    ask(&mut net, 0, 1);
    assert_eq!(finds(&net), 1, "{:?}", net.to_clients);
    let find = Find { id: search(9), name: Some(name()), hops: 9 }.to_frame();
    net.images.insert(0, vec![image(1)]);
    for link in [client, plain] {
        net.receive(0, link, find.as_str());
        net.receive(0, link, &found_text(1, 5));
    }
    assert!(net.to_clients.iter().all(|frame| !frame.contains("FIND") && !frame.contains("FOUND")));
    assert!(net.offers.is_empty());
    assert_eq!(net.cores[0].counters().finds_answered, 0);
}

#[test]
fn a_way_that_is_gone_carries_no_answer() {
    let mut net = settled(Net::line(3));
    let (to_asker, to_finder) = (net.link_between(1, 0), net.link_between(1, 2));
    ask(&mut net, 0, 1);
    net.cut(1, to_asker);
    net.receive(1, to_finder, &found_text(1, 2));
    assert!(net.offers.is_empty());
    assert_eq!(net.cores[1].counters().founds_dropped, 1);
}
