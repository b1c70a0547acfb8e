//! Two honest nodes with different pools, linked to each other, and a liar linked to one or both of
//! them. It sends any anti-entropy messages.
//!
//! After the liar's last message both pools must become equal, and hold all transactions of both.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::Handshake;

use crate::names;
use crate::names::{address, config};
use crate::net::Net;
use crate::script::Script;

/// The number of the liar.
const LIAR: usize = 5;

/// The time after the liar's last message: until its link is considered dead, and some rounds more.
const PATIENCE: Duration = Duration::from_secs(90);

/// Plays a liar's script.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut net = Net::new(false);
    let pools = [script.number(), script.number()];
    // Waiting for the full time is slow, so only every eighth script checks that pools stay equal.
    let thorough = data.len().is_multiple_of(8);
    for (node, mask) in pools.into_iter().enumerate() {
        let held = (0..names::TRANSACTIONS).filter(|number| mask >> number & 1 == 1).map(names::transaction);
        let mut config = config(node);
        config.known_peers = vec![address(1 - node)];
        net.add(config, held.collect());
        net.nodes[node].disk.is_immediate = true;
    }
    let remote = if script.flag() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(198, 51, 100, 7) };
    let links: [LinkId; 2] = [0, 1].map(|node| net.accept(node, IpAddr::V4(remote)));
    let node = Some(names::node_info(LIAR, LIAR, None));
    let hello = Handshake { addresses: Vec::new(), dropped: 0, node }.to_frame();
    for (node, link) in links.into_iter().enumerate().take(1 + script.below(2)) {
        net.receive(node, link, hello.as_str());
    }
    while let Some(choice) = script.next() {
        let node = usize::from(choice >> 7);
        match choice & 0x7f {
            0..96 => {
                let text = names::any_sync_message(&mut script);
                net.receive(node, links[node], &text);
            }
            96..104 => net.pass(Duration::from_millis(1 << (4 + choice % 8))),
            104..108 => net.cut(node, links[node]),
            _ => {
                let text = String::from_utf8_lossy(script.bytes());
                net.receive(node, links[node], &text);
            }
        }
    }
    let end = net.now + PATIENCE;
    while net.now < end && (thorough || pool(&net, 0) != pool(&net, 1)) {
        net.pass(Duration::from_secs(1));
    }
    let [one, other] = [0, 1].map(|node| pool(&net, node));
    assert_eq!(one, other, "the pools of honest nodes become equal");
    let all = (0..names::TRANSACTIONS).filter(|number| (pools[0] | pools[1]) >> number & 1 == 1);
    assert!(all.map(names::transaction).all(|held| one.contains(&held.id())), "nothing is lost");
    (0..2).for_each(|node| net.check_status(node));
}

fn pool(net: &Net, node: usize) -> BTreeSet<TransactionId> {
    net.nodes[node].disk.present.values().map(Transaction::id).collect()
}
