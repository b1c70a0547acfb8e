//! Proofs of identity on real sockets: nobody displaces, blocks or speaks for a node by naming its
//! id, and nodes that prove nothing are linked all the same.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::embedded::Embedded;
use common::node::{Node, address, free_port, full_mesh};
use common::prover::{Prover, nonce};
use common::relay::Relay;
use common::tester::{Socket, Tester};
use common::{eventually, within};
use meshpool::protocol::LinkKind;
use meshpool::protocol::id::NodeId;
use meshpool::protocol::limits::Limits;
use serde_json::{Value, json};

/// Keeps a link open, and answers its pings. Gives the close code of the other side at its end.
fn keep(mut socket: Socket) -> tokio::task::JoinHandle<Option<u16>> {
    tokio::spawn(async move { socket.farewell_whenever().await.map(|(code, _)| code) })
}

/// The ids of the native peers that a node is linked to, each with whether it has proved its id.
async fn native(node: &Embedded) -> Vec<(NodeId, bool)> {
    let links = node.links().await.unwrap();
    let native = links.into_iter().filter(|link| link.kind == LinkKind::Native);
    let mut native: Vec<_> = native.map(|link| (link.peer.node.unwrap(), link.proved)).collect();
    native.sort_unstable();
    native
}

async fn linked_to(node: &Embedded, expected: &[(NodeId, bool)]) {
    eventually(format!("the links of {}", node.address()), async || match native(node).await {
        links if links == expected => Ok(()),
        links => Err(format!("{links:?}")),
    })
    .await;
}

async fn lone() -> Embedded {
    Embedded::with(Limits::default()).await
}

/// Waits for the answer to a HANDSHAKE, and gives its `node`.
async fn answer(socket: &mut Socket) -> Value {
    let frame = socket.frame().await;
    assert_eq!(frame["type"], "HANDSHAKE", "{frame}");
    frame["node"].clone()
}

#[tokio::test]
async fn claims_of_its_id_do_not_keep_a_restarted_node_out_of_its_mesh() {
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let mut nodes: Vec<Node> = ports.iter().map(|port| Node::ours(*port, &ports)).collect();
    full_mesh(&nodes).await;
    let id: NodeId = nodes[1].status().await.unwrap()["node"].as_str().unwrap().parse().unwrap();
    nodes[1].kill().await;
    let alive = [0, 2, 3];
    for node in alive {
        let others = alive.into_iter().filter(|other| *other != node);
        nodes[node].linked_to(others.map(|other| nodes[other].address())).await;
    }
    let mut claims = Vec::new();
    for node in alive {
        let mut claim = Prover::new().claim(ports[node], id).await;
        answer(&mut claim).await;
        claims.push(keep(claim));
    }
    nodes[1].start_again();
    full_mesh(&nodes).await;
    for claim in claims {
        assert_eq!(within("the end of a claim", claim).await.unwrap(), Some(1001));
    }
    for node in &nodes {
        let said = node.said().join("\n");
        assert!(!said.contains("was copied"), "{said}");
    }
}

#[tokio::test]
async fn a_proof_replaces_claims_that_came_first_and_no_later_claim_replaces_it() {
    let (node, owner) = (lone().await, Prover::new());
    let mut claims = Vec::new();
    for _ in 0..3 {
        let mut claim = Prover::new().claim(node.port(), owner.id()).await;
        assert_eq!(answer(&mut claim).await["proof"], Value::Null, "it has shown no nonce");
        claims.push(keep(claim));
    }
    assert!(native(&node).await.iter().all(|(id, proved)| *id == owner.id() && !proved));
    let mut link = owner.link(node.port()).await;
    linked_to(&node, &[(owner.id(), true)]).await;
    for claim in claims {
        within("the end of a claim", claim).await.unwrap();
    }
    let mut claim = Prover::new().claim(node.port(), owner.id()).await;
    let (code, _) = claim.farewell().await.unwrap();
    assert_eq!((code, native(&node).await), (1008, vec![(owner.id(), true)]));
    link.socket.send(&json!({ "type": "STATUS", "data": {} })).await;
    while link.socket.frame().await["type"] != "STATUS" {}
    assert!(node.counted("claims_replaced").await >= 2, "one at least was there before, and one came later");
}

#[tokio::test]
async fn the_answer_to_a_proof_is_a_proof() {
    let (node, peer) = (lone().await, Prover::new());
    let mut link = peer.dial(node.port()).await;
    link.socket.send(&peer.hello(Some(peer.proof(&link)))).await;
    let proof = answer(&mut link.socket).await["proof"].clone();
    assert_eq!((&proof["direct"], proof["signature"].as_str().unwrap().len()), (&json!(true), 128));
    let address = link.address.parse().unwrap();
    let statement = meshpool::protocol::wire::Statement {
        network: "p2p-node",
        dialler: link.dialler,
        acceptor: link.acceptor,
        address: &address,
        ip: "127.0.0.1".parse().unwrap(),
        direct: Some(true),
    };
    let signature = proof["signature"].as_str().unwrap().parse().unwrap();
    let purpose = meshpool::protocol::signature::Purpose::Handshake;
    let is_signed = |id| meshpool::signing::is_signed(id, purpose, &statement.canonical().unwrap(), &signature);
    assert!(is_signed(link.acceptor.id) && !is_signed(peer.id()));
}

#[tokio::test]
async fn false_replayed_and_reflected_proofs_close_the_link() {
    let (node, owner, thief) = (lone().await, Prover::new(), Prover::new());
    let recorded = owner.dial(node.port()).await;
    let old = owner.proof(&recorded);
    let refused = async |what: &str, proof: &dyn Fn(&common::prover::Upgraded) -> Value| {
        let mut link = owner.dial(node.port()).await;
        link.socket.send(&owner.hello(Some(proof(&link)))).await;
        let (code, reason) = link.socket.farewell().await.unwrap();
        assert_eq!(code, 1008, "{what}: {reason}");
        assert!(reason.contains("proof"), "{what}: {reason}");
        assert_eq!(native(&node).await, [], "{what}");
    };
    refused("of an earlier link", &|_| old.clone()).await;
    refused("with the nonce of an earlier link", &|link| {
        json!({ "nonce": old["nonce"], "address": link.address, "ip": "127.0.0.1", "signature": old["signature"] })
    })
    .await;
    refused("signed with another key", &|link| thief.proof(link)).await;
    refused("in the other role", &|link| json!({ "direct": true, "signature": owner.signature(link, Some(true)) }))
        .await;
    refused("of the other role, in this one's form", &|link| {
        let mut proof = owner.proof(link);
        proof["signature"] = owner.signature(link, Some(true)).into();
        proof
    })
    .await;
    refused("of another address than it names", &|link| {
        let mut proof = owner.proof(link);
        proof["address"] = "ws://localhost:1".into();
        proof
    })
    .await;
    refused("of another IP address than it names", &|link| {
        let mut proof = owner.proof(link);
        proof["ip"] = "127.0.0.2".into();
        proof
    })
    .await;
    assert_eq!(node.counted("proofs_refused").await, 7);
}

#[tokio::test]
async fn what_has_not_the_form_of_a_proof_proves_nothing() {
    let (node, peer) = (lone().await, Prover::new());
    let good = {
        let link = peer.dial(node.port()).await;
        peer.proof(&link)
    };
    let mut bad = vec![json!(7), json!("proof"), json!([]), json!({}), json!(true)];
    for member in ["nonce", "address", "ip", "signature"] {
        for value in [json!(null), json!(7), json!(""), json!("xy".repeat(32)), json!({}), json!("é".repeat(32))] {
            let mut proof = good.clone();
            proof[member] = value;
            bad.push(proof);
        }
        let mut proof = good.clone();
        proof.as_object_mut().unwrap().remove(member);
        bad.push(proof);
    }
    for member in ["nonce", "signature"] {
        let text = good[member].as_str().unwrap();
        for other in [text[1..].to_owned(), format!("{text}0"), format!("{text}00"), format!("0x{}", &text[2..])] {
            let mut proof = good.clone();
            proof[member] = other.into();
            bad.push(proof);
        }
        let mut proof = good.clone();
        proof[member] = format!("AB{}", &text[2..]).into();
        bad.push(proof);
    }
    for proof in bad {
        let mut link = peer.dial(node.port()).await;
        link.socket.send(&peer.hello(Some(proof.clone()))).await;
        link.socket.send(&json!({ "type": "STATUS", "data": {} })).await;
        // The HANDSHAKE is none, or the link is closed.
        if let Some(frame) = link.socket.frame_or_end().await {
            assert!(!frame.to_string().contains("HANDSHAKE"), "{proof}: {frame}");
        }
        assert_eq!(native(&node).await, [], "{proof}");
    }
    peer.link(node.port()).await;
}

#[tokio::test]
async fn a_handshake_may_not_name_another_node_than_before() {
    let (node, owner, other) = (lone().await, Prover::new(), Prover::new());
    let mut link = owner.link(node.port()).await;
    link.socket.send(&owner.hello_as(other.id(), None)).await;
    assert_eq!(link.socket.farewell().await.unwrap().0, 1008);
    // The same of one who answers a dial.
    let tester = Tester::listen().await;
    Socket::dial(node.port()).await.unwrap().say_hello(&[tester.address()]).await;
    let mut accepted = owner.accept(&tester, None).await;
    answer(&mut accepted).await;
    accepted.send(&owner.hello_as(other.id(), None)).await;
    assert_eq!(accepted.farewell().await.unwrap().0, 1008);
}

#[tokio::test]
async fn the_id_of_the_node_itself_is_taken_from_nobody() {
    let (node, thief) = (lone().await, Prover::new());
    let id = node.id();
    let mut claim = thief.claim(node.port(), id).await;
    let (code, reason) = claim.farewell().await.unwrap();
    assert_eq!((code, reason.contains("folder copied")), (1008, true), "{reason}");
    // The node proves itself to us; what it signed is sent back to it.
    let tester = Tester::listen().await;
    Socket::dial(node.port()).await.unwrap().say_hello(&[tester.address()]).await;
    let mut accepted = thief.accept(&tester, Some(nonce())).await;
    let its = answer(&mut accepted).await["proof"].clone();
    assert!(its["signature"].is_string(), "{its}");
    let mut link = thief.dial(node.port()).await;
    let mut hello = thief.hello_as(id, Some(its));
    hello["node"]["session"] = thief.session.to_string().into();
    link.socket.send(&hello).await;
    let (code, reason) = link.socket.farewell().await.unwrap();
    assert_eq!((code, reason.contains("your proof")), (1008, true), "{reason}");
}

#[tokio::test]
async fn nodes_of_the_previous_release_are_linked_in_both_roles_and_unproved() {
    let (node, dialler, acceptor) = (lone().await, Prover::new(), Prover::new());
    let mut link = dialler.claim(node.port(), dialler.id()).await;
    assert_eq!(answer(&mut link).await["proof"], Value::Null);
    let tester = Tester::listen().await;
    Socket::dial(node.port()).await.unwrap().say_hello(&[tester.address()]).await;
    let mut accepted = acceptor.accept(&tester, None).await;
    assert_eq!(answer(&mut accepted).await["proof"], Value::Null, "it could not be answered");
    accepted.send(&acceptor.hello(None)).await;
    let mut expected = [(dialler.id(), false), (acceptor.id(), false)];
    expected.sort_unstable();
    linked_to(&node, &expected).await;
}

#[tokio::test]
async fn one_that_announces_a_proof_has_to_give_it() {
    let (node, acceptor) = (lone().await, Prover::new());
    let tester = Tester::listen().await;
    Socket::dial(node.port()).await.unwrap().say_hello(&[tester.address()]).await;
    let mut accepted = acceptor.accept(&tester, Some(nonce())).await;
    assert!(answer(&mut accepted).await["proof"]["signature"].is_string());
    accepted.send(&acceptor.hello(None)).await;
    let (code, reason) = accepted.farewell().await.unwrap();
    assert_eq!((code, reason.contains("announced a proof")), (1008, true), "{reason}");
    assert_eq!(native(&node).await, []);
}

#[tokio::test]
async fn a_link_through_a_man_in_the_middle_is_unproved_and_gives_way() {
    let there = lone().await;
    let relay = Relay::to(there.port()).await;
    let (known, nobody) = (relay.address().parse().unwrap(), address(free_port()).parse().unwrap());
    // Nobody listens at its address, so that the other one cannot dial it.
    let here = Embedded::start(|network| network.known_peer(known).address(nobody)).await;
    let (one, other) = (here.id(), there.id());
    // The node there names its true address, which is dialled: that link is proved, and replaces
    // the one through the middle.
    linked_to(&here, &[(other, true)]).await;
    linked_to(&there, &[(one, true)]).await;
    let links = here.links().await.unwrap();
    assert_eq!(links[0].peer.address.as_ref(), Some(there.address()));
    let replaced = here.counted("claims_replaced").await + there.counted("claims_replaced").await;
    assert!(replaced >= 1 && !relay.tape().is_empty(), "there was a link through the middle");
}
