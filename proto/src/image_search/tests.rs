mod ids;

use std::time::Duration;

use crate::Input;
use crate::connections::table::LinkState;
use crate::image_search::*;
use crate::ip_prefix::SourceGroup;
use crate::limits::Limits;
use crate::testing::net::{Net, address, id};
use crate::testing::parts;

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

/// Lets the nodes get to know each other.
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
fn a_search_for_what_nobody_has_ends_at_the_deadline() {
    let mut net = settled(Net::mesh(3));
    ask(&mut net, 0, 1);
    net.pass(Limits::default().search_deadline - Duration::from_millis(1));
    assert!(net.searches_over.is_empty());
    net.pass(Duration::from_millis(1));
    assert_eq!(net.searches_over, [(0, search(1), SearchEnd::Deadline)]);
}

#[test]
fn a_search_without_peers_ends_at_once() {
    let mut net = Net::new(1);
    ask(&mut net, 0, 1);
    assert_eq!(net.searches_over, [(0, search(1), SearchEnd::Alone)]);
}

#[test]
fn in_a_full_mesh_a_find_goes_over_each_link_of_the_asker_once() {
    let mut net = settled(Net::mesh(6));
    ask(&mut net, 0, 1);
    assert_eq!(finds(&net), 5);
    // Node 5 is nobody's neighbor but node 4's: now others must pass the question on.
    let mut net = Net::mesh(5);
    net.add();
    net.link(4, 5);
    let mut net = settled(net);
    net.images.insert(5, vec![image(1)]);
    ask(&mut net, 0, 2);
    assert_eq!(net.offers.len(), 1, "{:?}", net.sent);
}

#[test]
fn a_find_seen_before_goes_nowhere() {
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
fn a_find_goes_no_farther_than_its_hops() {
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
fn no_address_is_dialled_twice_for_one_search() {
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
fn a_found_that_nobody_asked_for_is_dropped_and_counted() {
    let mut net = Net::line(3);
    let link = net.link_between(1, 0);
    net.receive(1, link, &found_text(1, 0));
    assert_eq!(net.cores[1].counters().founds_unsolicited, 1);
    assert!(net.offers.is_empty() && !net.sent.contains_key("FOUND"));
}

#[test]
fn a_found_that_comes_late_twice_or_about_another_image_is_no_offer() {
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
    assert!(net.searches_over.is_empty(), "nothing is reported after the end");
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
fn finds_of_one_link_and_remembered_finds_are_bounded() {
    let mut net = settled(Net::line(3));
    let link = net.link_between(1, 0);
    for number in 0..10_000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let find = Find { id: SearchId(id), name: Some(name()), hops: 9 };
        net.receive(1, link, find.to_frame().as_str());
    }
    assert_eq!(finds(&net), limits::FINDS_AT_ONCE as usize, "these went on to the third node");
    for number in 0..20_000_u32 {
        net.pass(limits::FIND_EVERY);
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let find = Find { id: SearchId(id), name: Some(name()), hops: 1 };
        net.receive(1, link, find.to_frame().as_str());
    }
    let searches = &net.cores[1].images;
    assert!(searches.routes.len() <= limits::SEARCHES_SEEN && searches.routes.len() == searches.by_age.len());
    assert!(searches.routes.len() >= 1_000, "a minute of them: {}", searches.routes.len());
    assert!(searches.lookups.is_empty());
}

#[test]
fn founds_on_one_link_never_fill_the_control_lane() {
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
    let most = Limits::default();
    let later = 8 * 1024 * most.write_deadline.as_secs() as usize;
    let asked =
        limits::FINDS_AT_ONCE as usize + (most.write_deadline.as_millis() / limits::FIND_EVERY.as_millis()) as usize;
    let asked = asked
        * Find { id: search(1), name: Some("x".repeat(200).parse().unwrap()), hops: 32 }.to_frame().as_str().len();
    assert!(bytes > 40 * 1024 && bytes + later + asked < most.control_bytes, "{bytes} {asked}");
}

#[test]
fn clients_and_exercise_peers_take_no_part() {
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
fn a_found_whose_way_back_is_closed_is_dropped() {
    let mut net = settled(Net::line(3));
    let (to_asker, to_finder) = (net.link_between(1, 0), net.link_between(1, 2));
    ask(&mut net, 0, 1);
    net.cut(1, to_asker);
    net.receive(1, to_finder, &found_text(1, 2));
    assert!(net.offers.is_empty());
    assert_eq!(net.cores[1].counters().founds_dropped, 1);
}

/// Node 0 and links to native peers, without a network around them.
struct Rig {
    cx: Context,
    links: LinkTable,
    images: ImageSearch,
}

impl Rig {
    /// Links node 0 to peers 1 to `neighbors`, by links of the same numbers.
    fn new(neighbors: u8) -> Self {
        let (cx, mut links) = (parts::context(), LinkTable::default());
        for n in 1..=neighbors {
            parts::native(&cx, &mut links, n);
        }
        Self { cx, links, images: ImageSearch::default() }
    }

    fn search(&mut self, number: u8, linked_to_all: bool) {
        self.images.on_search(&mut self.cx, &self.links, linked_to_all, search(number), Some(name()));
    }

    fn find(&mut self, link: u64, number: u8, hops: u32) {
        let find = Find { id: search(number), name: Some(name()), hops };
        self.images.on_find(&mut self.cx, &self.links, LinkId(link), find);
    }

    fn found(&mut self, link: u64, found: Found) {
        self.images.on_found(&mut self.cx, &self.links, LinkId(link), found);
    }

    fn local(&mut self, number: u8, images: Vec<ImageInfo>) {
        self.images.on_local_images(&mut self.cx, &self.links, search(number), images);
    }

    fn open(&mut self, link: u64) -> &mut Link {
        self.links.get_mut(LinkId(link)).expect("linked")
    }

    /// Takes all outputs: links and hops of FINDs, links of FOUNDs, and the rest by name.
    fn outputs(&mut self) -> Vec<String> {
        let describe = |output| match output {
            Output::Send { links, frame, lane: Lane::Control } => {
                let links: Vec<u64> = links.iter().map(|link| link.0).collect();
                match crate::wire::Message::parse(&mut Default::default(), frame.as_str()) {
                    Ok(crate::wire::Message::Find(find)) => format!("find {links:?} hops {}", find.hops),
                    Ok(crate::wire::Message::Found(found)) => format!("found {links:?} by {}", found.node.0[0]),
                    other => panic!("{other:?}"),
                }
            }
            Output::FindLocalImages { search, .. } => format!("look up {}", search.0[0]),
            Output::ImageOffer { reach, found, .. } => format!("offer {reach:?} by {}", found.node.0[0]),
            Output::ImageSearchOver { search, end } => format!("over {} {end:?}", search.0[0]),
            Output::Notify(crate::event::Event::PeerFault { .. }) => "fault".into(),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.cx.poll_output()).map(describe).collect()
    }
}

/// A FOUND of node `n`, at an address of its own.
fn found(number: u8, n: u8) -> Found {
    Found { id: search(number), node: parts::node(n), address: address(n.into()), images: vec![image(1)] }
}

#[test]
fn a_search_goes_to_each_native_peer_and_no_farther_if_that_is_everybody() {
    let mut rig = Rig::new(3);
    parts::native_link(&rig.cx, &mut rig.links, 4, 1);
    parts::exercise(&rig.cx, &mut rig.links, 5);
    parts::client(&rig.cx, &mut rig.links, 6);
    rig.open(2).closing = true;
    rig.search(1, false);
    assert_eq!(rig.outputs(), ["find [1, 3] hops 32"]);
    let deadline = rig.cx.now + Limits::default().search_deadline;
    assert_eq!(rig.cx.timers.due(&Timer::Search(search(1))), Some(deadline));
    rig.search(2, true);
    assert_eq!(rig.outputs(), ["find [1, 3] hops 1"]);
    rig.search(1, true);
    assert_eq!(rig.outputs(), ["over 1 Refused"], "it is under way");
    assert_eq!((rig.cx.counters.image_searches, rig.cx.counters.image_searches_refused), (2, 1));
    rig.images.on_search_done(&mut rig.cx, search(1));
    assert_eq!(rig.cx.timers.due(&Timer::Search(search(1))), None);
    rig.images.on_search_due(&mut rig.cx, search(1));
    rig.images.on_search_due(&mut rig.cx, search(2));
    assert_eq!(rig.outputs(), ["over 2 Deadline"]);
}

#[test]
fn a_find_is_looked_up_and_forwarded_with_one_hop_less() {
    let mut rig = Rig::new(3);
    for (number, hops, forwarded) in [(1, 2, "find [2, 3] hops 1"), (2, u32::MAX, "find [2, 3] hops 31")] {
        rig.find(1, number, hops);
        assert_eq!(rig.outputs(), [format!("look up {number}"), forwarded.to_owned()]);
    }
    for (number, hops) in [(3, 1), (4, 0)] {
        rig.find(1, number, hops);
        assert_eq!(rig.outputs(), [format!("look up {number}")]);
    }
    rig.find(2, 1, 9);
    assert_eq!((rig.outputs(), rig.cx.counters.finds_duplicate), (vec![], 1));
}

#[test]
fn look_ups_at_once_are_bounded_and_a_find_beyond_them_is_only_forwarded() {
    let mut rig = Rig::new(2);
    for number in 0..64 {
        rig.find(1, number, 1);
    }
    assert_eq!((rig.outputs().len(), rig.cx.counters.finds_dropped), (limits::LOOKUPS, 0));
    rig.cx.now += limits::FIND_EVERY;
    rig.find(1, 64, 3);
    assert_eq!((rig.outputs(), rig.cx.counters.finds_dropped), (vec!["find [2] hops 2".to_owned()], 1));
    rig.local(0, vec![]);
    rig.cx.now += limits::FIND_EVERY;
    rig.find(1, 65, 1);
    assert_eq!(rig.outputs(), ["look up 65"]);
}

#[test]
fn what_is_sent_of_finds_is_limited_per_link() {
    let mut rig = Rig::new(2);
    for number in 0..limits::SEARCHES as u8 {
        rig.search(number, false);
    }
    assert_eq!(rig.outputs().len(), 64);
    parts::native(&rig.cx, &mut rig.links, 3);
    rig.find(1, 200, 9);
    assert_eq!(rig.outputs(), ["look up 200", "find [3] hops 8"]);
    rig.images.on_link_closed(LinkId(2));
    rig.find(1, 201, 9);
    assert_eq!(rig.outputs(), ["look up 201", "find [2, 3] hops 8"], "a new link has its own limits");
    rig.cx.now += limits::FIND_EVERY;
    rig.images.on_search_done(&mut rig.cx, search(0));
    rig.search(202, false);
    assert_eq!(rig.outputs(), ["find [1, 2, 3] hops 32"]);
}

#[test]
fn images_in_the_folder_are_offered_to_the_node_that_asked() {
    let mut rig = Rig::new(2);
    rig.find(1, 1, 1);
    rig.find(1, 2, 1);
    rig.outputs();
    rig.local(3, vec![image(1)]);
    rig.local(1, vec![]);
    rig.local(1, vec![image(1)]);
    assert_eq!((rig.outputs(), rig.cx.counters.finds_answered), (vec![], 0), "not asked, nothing, answered");
    rig.local(2, vec![image(1)]);
    assert_eq!((rig.outputs(), rig.cx.counters.finds_answered), (vec!["found [1] by 0".to_owned()], 1));
    assert_eq!(rig.cx.counters.founds_dropped, 0);
    // Our address leads nobody else to this host.
    rig.find(1, 4, 1);
    rig.open(1).scope = crate::address::Scope::Public;
    rig.outputs();
    rig.local(4, vec![image(1)]);
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped, rig.cx.counters.finds_answered), (vec![], 1, 1));
}

#[test]
fn a_found_goes_back_the_way_that_its_find_came() {
    let mut rig = Rig::new(4);
    rig.found(2, found(1, 7));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_unsolicited), (vec!["fault".to_owned()], 1));
    rig.find(1, 1, 1);
    rig.outputs();
    rig.found(2, found(1, 7));
    assert_eq!(rig.outputs(), ["found [1] by 7"]);
    rig.found(1, found(1, 7));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 1), "not back to where it comes from");
    rig.open(2).scope = crate::address::Scope::Private;
    rig.found(2, found(1, 8));
    assert_eq!((rig.outputs(), rig.cx.counters.addresses_out_of_scope), (vec![], 1));
    for n in 0..limits::FINDERS as u8 {
        rig.found(3, found(1, 10 + n));
        assert_eq!(rig.outputs().len(), 1, "{n}");
    }
    rig.found(3, found(1, 30));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 2), "no more of one neighbour");
    for n in 1..limits::FINDERS as u8 {
        rig.found(4, found(1, 40 + n));
        assert_eq!(rig.outputs().len(), 1, "{n}: of another");
    }
    rig.found(4, found(1, 60));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 3), "these were all that may go back");
    rig.find(2, 2, 1);
    rig.outputs();
    rig.open(2).closing = true;
    rig.found(3, found(2, 31));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 4));
    rig.open(2).closing = false;
    rig.open(2).state = LinkState::ExerciseOutbound { address: crate::testing::net::address(2) };
    rig.found(3, found(2, 32));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 5), "an exercise peer has not asked");
}

#[test]
fn offers_are_from_different_nodes_at_different_addresses_with_the_image_alone() {
    let mut rig = Rig::new(4);
    rig.search(1, false);
    rig.outputs();
    let other = ImageInfo { name: "dog.jpg".parse().unwrap(), ..image(1) };
    let useless = [
        Found { images: vec![other], ..found(1, 7) },
        Found { images: vec![ImageInfo { sha256: None, ..image(1) }], ..found(1, 7) },
        Found { images: vec![image(1), image(1)], ..found(1, 7) },
        Found { images: vec![], ..found(1, 7) },
        found(1, 0),
    ];
    for (n, useless) in useless.into_iter().enumerate() {
        rig.found(1, useless);
        assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], n as u64 + 1));
    }
    rig.found(1, found(1, 7));
    assert_eq!(rig.outputs(), ["offer Loopback by 7"]);
    rig.found(2, found(1, 7));
    rig.found(1, Found { address: address(8), ..found(1, 7) });
    rig.found(1, Found { address: address(7), ..found(1, 8) });
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 8), "the pair, the node, the address again");
    rig.found(1, Found { address: address(9), ..found(1, 8) });
    rig.found(1, Found { address: address(8), ..found(1, 9) });
    assert_eq!(rig.outputs().len(), 2, "a lie with the id, and one with the address, of a finder");
    rig.found(2, found(1, 8));
    rig.open(2).scope = crate::address::Scope::Private;
    let public = Found { address: "ws://example.org:1".parse().unwrap(), ..found(1, 9) };
    rig.found(2, public);
    assert_eq!(rig.outputs(), ["offer Loopback by 8", "offer Private by 9"], "as near as both allow");
    for n in 10..30 {
        rig.found(1, found(1, n));
    }
    assert_eq!(rig.outputs().len(), limits::FINDERS - 3, "no more of one neighbour");
    for n in 40..60 {
        rig.found(3, found(1, n));
    }
    // The second neighbour brought two.
    assert_eq!(rig.outputs().len(), limits::FINDERS - 2, "all together have no more than twice as many");
}

#[test]
fn an_offer_that_a_neighbour_relays_is_nobodys_word() {
    let mut rig = Rig::new(3);
    rig.search(1, false);
    for (link, finder) in [(1, 1), (2, 7)] {
        rig.found(link, found(1, finder));
    }
    let sources = std::iter::from_fn(|| rig.cx.poll_output()).filter_map(|output| match output {
        Output::ImageOffer { source, .. } => Some(source),
        _ => None,
    });
    let sources: Vec<_> = sources.collect();
    assert_eq!(sources, [rig.links.source_of(LinkId(1)).1, SourceGroup::Relayed]);
}

#[test]
fn a_list_of_all_images_has_more_finders() {
    let mut rig = Rig::new(1);
    rig.images.on_search(&mut rig.cx, &rig.links, false, search(1), None);
    rig.outputs();
    for n in 0..=limits::LISTERS {
        let found = Found { node: id(n), address: address(n), images: vec![], ..found(1, 0) };
        rig.found(1, found);
    }
    assert_eq!((rig.outputs().len(), rig.cx.counters.founds_dropped), (limits::LISTERS, 1));
}

#[test]
fn bytes_of_founds_are_limited_per_link() {
    let mut rig = Rig::new(2);
    let find = Find { id: search(1), name: None, hops: 1 };
    rig.images.on_find(&mut rig.cx, &rig.links, LinkId(1), find);
    rig.outputs();
    let length = found(1, 100).to_frame().as_str().len();
    let burst = FOUND_BURST.as_nanos() / (FOUND_BYTE.as_nanos() * length as u128);
    for _ in 0..burst {
        rig.found(2, found(1, 100));
    }
    assert_eq!(rig.outputs().len() as u128, burst);
    rig.found(2, found(1, 100));
    assert_eq!((rig.outputs(), rig.cx.counters.founds_dropped), (vec![], 1));
    rig.cx.now += FOUND_BYTE * length as u32;
    rig.found(2, found(1, 100));
    assert_eq!(rig.outputs().len(), 1);
    rig.images.on_link_closed(LinkId(1));
    for _ in 0..burst {
        rig.found(2, found(1, 100));
    }
    assert_eq!(rig.outputs().len() as u128, burst, "a new link has its own limits");
    assert_eq!(rig.images.routes[&search(1)].answers.total, 2 * burst as usize + 1);
}

#[test]
fn finds_are_remembered_for_a_time_and_the_oldest_make_room() {
    let mut images = ImageSearch::default();
    let start = parts::context().now;
    let id = |n: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        SearchId(id)
    };
    let add = |images: &mut ImageSearch, now, n| {
        images.add_route(now, (SourceGroup::User, None), id(n), Route { link: None, answers: Answers::to(None) })
    };
    assert!(add(&mut images, start, 0));
    let almost = start + limits::SEARCH_TTL - Duration::from_nanos(1);
    assert!(add(&mut images, almost, 1) && !add(&mut images, almost, 0));
    assert!(add(&mut images, start + limits::SEARCH_TTL, 0), "forgotten");
    assert!(!add(&mut images, start + limits::SEARCH_TTL, 1));
    for n in 2..limits::SEARCHES_SEEN as u16 {
        assert!(add(&mut images, almost, n));
    }
    assert_eq!((images.routes.len(), images.by_age.len()), (limits::SEARCHES_SEEN, limits::SEARCHES_SEEN));
    assert!(add(&mut images, almost, 60_000) && add(&mut images, almost, 1), "the oldest made room");
    assert!(!add(&mut images, almost, 5));
    assert!(images.routes.len() <= limits::SEARCHES_SEEN && images.routes.len() == images.by_age.len());
}

#[test]
fn nobody_cuts_off_the_answers_to_searches_of_others() {
    let (mut images, now) = (ImageSearch::default(), parts::context().now);
    let id = |n: u16| SearchId([n.to_be_bytes(); 8].concat().try_into().expect("16 bytes"));
    let by = |last: u8| (SourceGroup::of([192, 0, 2, last].into()), None);
    let mut add = |by, n| images.add_route(now, by, id(n), Route { link: None, answers: Answers::to(None) });
    for n in 0..10 {
        assert!(add(by(1), n));
    }
    for n in 0..20_000 {
        assert!(add(by(2), 100 + n));
    }
    assert!((0..10).all(|n| images.routes.contains_key(&id(n))));
    assert_eq!(images.routes.len(), limits::SEARCHES_SEEN);
}
