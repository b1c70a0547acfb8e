//! Nodes that nobody told of each other, on one host and on one network: in namespaces, where no
//! other test's multicast DNS is heard.

#![cfg(target_os = "linux")]
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::Duration;

use common::namespace::{Inhabitant, OneHost, TwoSides, address};
use common::{eventually, in_time};
use meshpool::protocol::id::{NodeId, Session};
use meshpool::protocol::mdns_record::Record;
use meshpool::{Discovery, Network};
use tokio::time::timeout;

/// How long a network with a cap may take until each node has its links, as in `overlay.rs`: mostly
/// it is a second.
const SETTLE: Duration = Duration::from_secs(180);

/// A network's name that no other test has, should they hear each other.
fn name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn finding(network: Network, name: &str) -> Network {
    network.discovery(Discovery::Mdns).name(name)
}

/// Waits until each of these is linked to all others of them, and to nobody else.
async fn meshed(nodes: &[&Inhabitant]) {
    let all: BTreeSet<String> = nodes.iter().map(|one| one.node.address().to_string()).collect();
    for one in nodes {
        let own = one.node.address().to_string();
        let expected: BTreeSet<String> = all.iter().filter(|other| **other != own).cloned().collect();
        eventually(format!("the links of {own}"), async || {
            let links: BTreeSet<String> = one.node.status().await.unwrap().connected.into_iter().collect();
            if links == expected { Ok(()) } else { Err(format!("{links:?} instead of {expected:?}")) }
        })
        .await;
    }
}

async fn counted(one: &Inhabitant, counter: &str, least: u64) {
    eventually(format!("{counter} of {}", one.node.address()), async || {
        let count = one.node.status().await.unwrap().counters[counter];
        if count >= least { Ok(()) } else { Err(format!("{count} of {least}")) }
    })
    .await;
}

#[tokio::test]
async fn three_nodes_on_one_host_find_each_other_and_another_network_stays_apart() {
    let host = OneHost::build();
    let (ours, theirs) = (name("ours"), name("theirs"));
    let mut nodes = Vec::new();
    for network in [&ours, &theirs, &ours, &theirs, &ours] {
        let network = network.clone();
        nodes.push(host.start("localhost", move |node| finding(node, &network)).await);
    }
    let [a, x, b, y, c] = nodes.as_slice() else { panic!("five nodes") };
    meshed(&[a, b, c]).await;
    meshed(&[x, y]).await;
    for one in &nodes {
        counted(one, "records_foreign", if one.node.status().await.unwrap().network == ours { 2 } else { 3 }).await;
        let status = one.node.status().await.unwrap();
        assert_eq!(status.counters["records_malformed"] + status.counters["records_out_of_scope"], 0);
        assert_eq!(status.counters["dials_failed"], 0, "{}", one.node.address());
    }
    meshed(&[a, b, c]).await;
}

#[tokio::test]
async fn nodes_on_everything_of_a_host_without_a_network_find_each_other_by_loopback() {
    let host = OneHost::build();
    if !host.is_private() {
        return eprintln!("skipped: this machine has networks");
    }
    let network = name("alone");
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let network = network.clone();
        nodes.push(host.start("0.0.0.0", move |node| finding(node, &network)).await);
    }
    assert!(nodes[0].node.address().to_string().starts_with("ws://localhost:"), "{}", nodes[0].node.address());
    meshed(&[&nodes[0], &nodes[1]]).await;
}

#[tokio::test]
async fn nodes_on_one_network_find_each_other_at_the_addresses_of_their_interfaces() {
    let Some(sides) = TwoSides::lay(5) else { return };
    let (ours, theirs) = (name("ours"), name("theirs"));
    let mut nodes = Vec::new();
    for number in 0..5 {
        let network = if number == 2 { theirs.clone() } else { ours.clone() };
        nodes.push(sides.start_on(number, "0.0.0.0", move |node| finding(node, &network)).await);
        assert_eq!(nodes[number].node.address().to_string(), address(number));
    }
    let [a, b, apart, c, d] = nodes.as_slice() else { panic!("five nodes") };
    meshed(&[a, b, c, d]).await;
    meshed(&[apart]).await;
    counted(apart, "records_foreign", 4).await;
    for one in [a, b] {
        counted(one, "records_heard", 4).await;
    }
    // One is torn down, and its record says goodbye all the same; what it was linked to stays
    // linked.
    drop(nodes.pop());
    for one in &nodes[..2] {
        counted(one, "records_ended", 1).await;
    }
    meshed(&[&nodes[0], &nodes[1], &nodes[3]]).await;
}

#[tokio::test]
async fn a_node_whose_address_changes_is_found_at_the_new_one() {
    let Some(sides) = TwoSides::lay(3) else { return };
    let network = name("moving");
    let finds = |network: &String| {
        let network = network.clone();
        move |node| finding(node, &network)
    };
    let mover = sides.start_on(0, "0.0.0.0", finds(&network)).await;
    assert_eq!(mover.node.address().to_string(), address(0));
    let fixed = sides.start_on(1, "0.0.0.0", move |node| finding(node, &name("fixed"))).await;
    sides.readdress(0, 50);
    let moved = "ws://10.77.0.50:4000";
    eventually("the new address", async || {
        let address = mover.node.status().await.unwrap().address;
        if address == moved { Ok(()) } else { Err(address) }
    })
    .await;
    let newcomer = sides.start_on(2, "0.0.0.0", finds(&network)).await;
    eventually("the link of the newcomer", async || {
        let links = newcomer.node.status().await.unwrap().connected;
        if links == [moved] { Ok(()) } else { Err(format!("{links:?}")) }
    })
    .await;
    assert_eq!(fixed.node.status().await.unwrap().address, address(1), "the others stay where they are");
}

#[tokio::test]
async fn nodes_with_a_cap_find_their_places() {
    let host = OneHost::build();
    let network = name("capped");
    let mut nodes = Vec::new();
    for _ in 0..6 {
        let network = network.clone();
        nodes.push(host.start("localhost", move |node| finding(node, &network).max_peers(3)).await);
    }
    for one in &nodes {
        in_time(format!("the links of {}", one.node.address()), SETTLE, async || {
            let links = one.node.status().await.unwrap().connected;
            assert!(links.len() <= 3, "{links:?}");
            if links.len() >= 2 { Ok(()) } else { Err(format!("{links:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn forged_datagrams_close_no_link_and_lead_nowhere() {
    let host = OneHost::build();
    if !host.is_private() {
        return eprintln!("skipped, for want of a host of its own: run the tests as root");
    }
    let network = name("forged");
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let network = network.clone();
        nodes.push(host.start("localhost", move |node| finding(node, &network)).await);
    }
    meshed(&[&nodes[0], &nodes[1]]).await;
    // The link may have come of the one's record alone.
    for one in &nodes {
        counted(one, "records_heard", 1).await;
    }
    let mut opened = BTreeMap::new();
    for one in &nodes {
        opened.insert(one.node.address(), one.node.status().await.unwrap().counters["links_opened"]);
    }

    let nobody = |number: u8| Record {
        node: NodeId([number; 32]),
        session: Session::from_random([number; 16]),
        network: network.clone(),
        address: "ws://10.99.99.99:1".parse().unwrap(),
        free: Some(u32::MAX),
    };
    let goodbyes = nodes.iter().map(|one| {
        let own = Record { node: one.node.id(), session: one.node.session(), ..nobody(1) };
        packet(&own.name(), &own.strings(), 0)
    });
    let foreign = Record { network: "elsewhere".into(), ..nobody(7) };
    let packets = vec![
        b"\x84".repeat(9),
        vec![0xff; 9_000],
        packet(&foreign.name(), &foreign.strings(), 120),
        packet(&nobody(8).name(), &[("id", "x".into())], 120),
        packet("no node", &nobody(9).strings(), 120),
    ];
    send(&host, packets);
    for one in &nodes {
        counted(one, "records_foreign", 1).await;
        counted(one, "records_malformed", 2).await;
    }
    // A forged goodbye counts a second later, unless the node is asked meanwhile and says that it
    // lives: mostly one is enough.
    let goodbyes: Vec<_> = goodbyes.collect();
    let ended = async {
        for one in &nodes {
            counted(one, "records_ended", 1).await;
        }
    };
    let mut ended = std::pin::pin!(ended);
    send(&host, goodbyes.clone());
    while timeout(Duration::from_secs(2), &mut ended).await.is_err() {
        send(&host, goodbyes.clone());
    }
    for one in &nodes {
        let status = one.node.status().await.unwrap();
        assert_eq!((status.connected.len(), status.counters["links_opened"]), (1, opened[one.node.address()]));
        assert_eq!(status.counters["dials_failed"], 0);
    }
}

/// Sends datagrams as anybody on the network may.
fn send(host: &OneHost, packets: Vec<Vec<u8>>) {
    host.run(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for packet in packets {
            socket.send_to(&packet, "224.0.0.251:5353").unwrap();
        }
    });
}

/// A response of multicast DNS that names an instance of our service: PTR, SRV, TXT and A.
fn packet(instance: &str, strings: &[(&'static str, String)], ttl: u32) -> Vec<u8> {
    let labels = |name: &str| -> Vec<u8> {
        let labels = name.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
    };
    let service = labels(Record::SERVICE);
    let name = labels(&format!("{instance}.{}", Record::SERVICE));
    let host = labels(&format!("{}.local.", instance.replace(' ', "-")));
    let text: Vec<u8> = strings
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .flat_map(|string| [&[string.len() as u8], string.as_bytes()].concat())
        .collect();
    let records: [(&[u8], u16, Vec<u8>); 4] = [
        (&service, 12, name.clone()),
        (&name, 33, [&[0, 0, 0, 0, 0, 1], host.as_slice()].concat()),
        (&name, 16, text),
        (&host, 1, vec![127, 0, 0, 1]),
    ];
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0];
    for (name, kind, data) in records {
        packet.extend_from_slice(name);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&1_u16.to_be_bytes());
        packet.extend_from_slice(&ttl.to_be_bytes());
        packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
        packet.extend_from_slice(&data);
    }
    packet
}
