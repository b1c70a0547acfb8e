//! Nodes that serve images, by their id.

use super::*;
use crate::testing::net::by_id;

/// A line of nodes over iroh, of which each has a relay.
fn line(nodes: usize) -> Net {
    let mut net = Net::signed(nodes);
    for node in 1..nodes {
        net.link_over_iroh(node - 1, node);
    }
    for node in 0..nodes {
        let relay = "relay.example:1".parse().expect("a relay");
        net.tell(node, Input::WanChanged { address: Some(by_id(node).with_relays([relay])) });
    }
    settled(net)
}

#[test]
fn an_image_is_found_at_a_node_id() {
    let mut net = line(3);
    net.images.insert(2, vec![image(1)]);
    ask(&mut net, 0, 1);
    let offers: Vec<_> = net.offers.iter().map(|(at, found)| (*at, found.node, found.address.to_string())).collect();
    assert_eq!(offers, [(0, id(2), format!("{}@relay.example:1", by_id(2)))]);
    net.cores[0].cx.config.wan = false;
    ask(&mut net, 0, 2);
    assert_eq!((net.offers.len(), net.cores[0].counters().addresses_not_dialable), (1, 1), "nobody dials it there");
}

#[test]
fn a_node_that_may_take_an_id_for_a_broken_message_is_sent_none() {
    let mut net = settled(Net::line(2));
    for reads in [false, true] {
        let link = net.link_between(0, 1);
        let found = Found { id: search(1), node: id(9), address: by_id(9), images: vec![image(1)] };
        let mut cx = parts::context();
        let mut images = ImageSearch::default();
        let links = &mut net.cores[0].connections.links;
        if reads {
            links.get_mut(link).expect("open").confirm_address(&by_id(1));
        }
        images.on_find(&mut cx, links, link, Find { id: search(1), name: Some(name()), hops: 1 });
        assert_eq!(images.send_found(&mut cx, links, &found, None), reads);
    }
}
