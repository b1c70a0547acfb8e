use std::net::SocketAddr;

use super::*;
use crate::config::Config;
use crate::connections::table::{LinkState, LinkTable, NativePeer};
use crate::testing::parts::{context, node};
use crate::wire::PROTOCOL;

/// One end of a link, with its own view of it.
struct End {
    cx: Context,
    links: LinkTable,
    proofs: Proofs,
}

const LINK: LinkId = LinkId(1);

impl End {
    fn new(number: u8) -> Self {
        let mut cx = context();
        cx.config.node = node(number);
        cx.config.session = Session::from_random([number; 16]);
        Self { cx, links: LinkTable::default(), proofs: Proofs::default() }
    }

    fn open(&mut self, link: LinkId, remote: &str, dialled: Option<&PeerAddress>, peer: &Self, challenge: Challenge) {
        let Config { node: id, session, .. } = peer.cx.config;
        let peer = NativePeer {
            wan: None,
            id,
            session,
            address: dialled.cloned(),
            proved: false,
            topics: Default::default(),
            calls_back: false,
        };
        let state = if dialled.is_some() { LinkState::HelloSent(peer) } else { LinkState::Client };
        self.links.open(link, remote.parse().expect("an IP address"), dialled.cloned(), state, self.cx.now);
        self.proofs.expect(link, challenge);
    }

    fn node(&self, proof: Option<Proof>) -> NodeInfo {
        NodeInfo {
            id: self.cx.config.node,
            session: self.cx.config.session,
            agent: "test".into(),
            protocol: PROTOCOL,
            network: self.cx.config.network.clone(),
            address: None,
            max_peers: None,
            topics: Vec::new(),
            calls_back: false,
            relays: false,
            proof: proof.map(Box::new),
        }
    }

    fn own(&mut self, link: LinkId) -> Option<Proof> {
        self.proofs.own(&self.cx, link, self.links.get(link).expect("open"))
    }

    fn judge(&mut self, link: LinkId, node: &NodeInfo) -> Result<(), Refused> {
        self.proofs.judge(&self.cx, link, self.links.get(link).expect("open"), node)
    }

    fn has_proof_of(&self, other: &Self) -> bool {
        self.proofs.is_proved(LINK, other.cx.config.node, other.cx.config.session)
    }
}

/// Lets two ends prove themselves to each other. Returns whether each takes the other as proved.
fn exchange(announced: &str, address: &str, ip: &str, local: &str) -> (bool, bool) {
    let (mut dialler, mut acceptor) = (End::new(1), End::new(2));
    acceptor.cx.config.address = announced.parse().expect("an address");
    let address: PeerAddress = address.parse().expect("an address");
    let ip = ip.parse().expect("an IP address");
    let local: SocketAddr = local.parse().expect("a socket's address");
    let challenge = Challenge::Dialled { nonce: Nonce([1; 32]), answered: Some(Nonce([2; 32])), ip };
    dialler.open(LINK, "198.51.100.1", Some(&address), &acceptor, challenge);
    acceptor.open(LINK, "198.51.100.2", None, &dialler, Challenge::Accepted { nonce: Nonce([2; 32]), local });
    let proof = dialler.own(LINK);
    assert!(matches!(proof, Some(Proof::Dialler { .. })) && dialler.own(LINK).is_none(), "once");
    assert!(acceptor.judge(LINK, &dialler.node(proof)).is_ok());
    let proof = acceptor.own(LINK);
    assert!(dialler.judge(LINK, &acceptor.node(proof)).is_ok());
    (dialler.has_proof_of(&acceptor), acceptor.has_proof_of(&dialler))
}

#[test]
fn both_ends_agree_on_whether_the_address_is_the_acceptors_own() {
    let own = "ws://node.example:9";
    for (announced, address, ip, local, direct) in [
        (own, "ws://localhost:4001", "127.0.0.1", "127.0.0.1:4001", true),
        (own, "ws://localhost:4001", "::1", "[::1]:4001", true),
        (own, "ws://127.0.0.1:4001", "127.0.0.1", "127.0.0.1:4001", true),
        (own, "ws://host.example:4001", "192.0.2.1", "192.0.2.1:4001", true),
        (own, "ws://host.example:4001", "::ffff:192.0.2.1", "192.0.2.1:4001", true),
        (own, "ws://host.example:4001", "192.0.2.1", "[::ffff:192.0.2.1]:4001", true),
        // A forwarded port, which the acceptor announces.
        (own, own, "203.0.113.9", "10.0.0.5:4001", true),
        // Somebody is between the two.
        (own, "ws://localhost:5001", "127.0.0.1", "127.0.0.1:4001", false),
        (own, "ws://127.0.0.2:4001", "127.0.0.2", "127.0.0.1:4001", false),
        (own, "ws://middle.example:4001", "192.0.2.7", "192.0.2.1:4001", false),
        (own, "ws://middle.example:9", "192.0.2.7", "192.0.2.1:4001", false),
        (own, "ws://node.example:10", "192.0.2.7", "192.0.2.1:4001", false),
        // Each host has a localhost, so the name says nothing.
        ("ws://localhost:4001", "ws://localhost:4001", "127.0.0.1", "192.0.2.1:4001", false),
        ("ws://127.0.0.1:4001", "ws://127.0.0.1:4001", "127.0.0.1", "192.0.2.1:4001", false),
    ] {
        let outcome = exchange(announced, address, ip, local);
        assert_eq!(outcome, (direct, direct), "{announced} at {local}, dialled as {address} at {ip}");
    }
}

#[test]
fn who_showed_no_nonce_gets_no_proof_and_gives_none() {
    let (mut dialler, mut acceptor) = (End::new(1), End::new(2));
    let address: PeerAddress = "ws://localhost:4001".parse().expect("an address");
    let ip = "127.0.0.1".parse().expect("an IP address");
    let challenge = Challenge::Dialled { nonce: Nonce([1; 32]), answered: None, ip };
    dialler.open(LINK, "127.0.0.1", Some(&address), &acceptor, challenge);
    assert!(dialler.own(LINK).is_none() && !dialler.proofs.is_announced(LINK));
    assert!(dialler.judge(LINK, &acceptor.node(None)).is_ok() && !dialler.has_proof_of(&acceptor));
    let local = "127.0.0.1:4001".parse().expect("a socket's address");
    acceptor.open(LINK, "127.0.0.1", None, &dialler, Challenge::Accepted { nonce: Nonce([2; 32]), local });
    assert!(acceptor.judge(LINK, &dialler.node(None)).is_ok() && !acceptor.has_proof_of(&dialler));
    assert!(acceptor.own(LINK).is_none());
    // One that announced a proof has to give it.
    let challenge = Challenge::Dialled { nonce: Nonce([1; 32]), answered: Some(Nonce([2; 32])), ip };
    dialler.open(LinkId(2), "127.0.0.1", Some(&address), &acceptor, challenge);
    assert!(dialler.proofs.is_announced(LinkId(2)) && dialler.own(LinkId(2)).is_some());
    assert!(matches!(dialler.judge(LinkId(2), &acceptor.node(None)), Err(Refused::False(_))));
}

#[test]
fn a_proof_is_of_one_node_and_one_session_and_of_no_link_that_is_closed() {
    let (mut dialler, mut acceptor) = (End::new(1), End::new(2));
    let address: PeerAddress = "ws://localhost:4001".parse().expect("an address");
    let ip = "127.0.0.1".parse().expect("an IP address");
    let challenge = Challenge::Dialled { nonce: Nonce([1; 32]), answered: Some(Nonce([2; 32])), ip };
    dialler.open(LINK, "127.0.0.1", Some(&address), &acceptor, challenge);
    let local = "127.0.0.1:4001".parse().expect("a socket's address");
    acceptor.open(LINK, "127.0.0.1", None, &dialler, Challenge::Accepted { nonce: Nonce([2; 32]), local });
    let proof = dialler.own(LINK);
    assert!(acceptor.judge(LINK, &dialler.node(proof)).is_ok());
    let Config { node: id, session, .. } = dialler.cx.config;
    assert!(acceptor.proofs.is_proved(LINK, id, session));
    assert!(!acceptor.proofs.is_proved(LINK, node(3), session));
    assert!(!acceptor.proofs.is_proved(LINK, id, Session::from_random([9; 16])));
    assert!(!acceptor.proofs.is_proved(LinkId(2), id, session));
    acceptor.proofs.on_closed(LINK);
    assert!(!acceptor.proofs.is_proved(LINK, id, session) && acceptor.proofs.exchanges.is_empty());
}

#[test]
fn strangers_have_so_many_proofs_verified_and_no_more() {
    let mut acceptor = End::new(2);
    let local = "192.0.2.1:4001".parse().expect("a socket's address");
    let mut links = 0;
    let mut introduce = |acceptor: &mut End, remote: &str| {
        links += 1;
        let (link, dialler) = (LinkId(links), End::new(1));
        acceptor.open(link, remote, None, &dialler, Challenge::Accepted { nonce: Nonce([2; 32]), local });
        let address = "ws://192.0.2.1:4001".parse().expect("an address");
        let (nonce, ip, signature) = (Nonce([1; 32]), local.ip(), crate::signature::Signature([0; 64]));
        let proof = Proof::Dialler { nonce, address, ip, signature };
        acceptor.judge(link, &dialler.node(Some(proof))).is_ok()
    };
    assert!((0..240).all(|_| introduce(&mut acceptor, "198.51.100.7")));
    assert!(!introduce(&mut acceptor, "198.51.100.7"));
    assert!(introduce(&mut acceptor, "198.51.100.8"), "another group has its own");
    assert!((0..500).all(|_| introduce(&mut acceptor, "127.0.0.1")), "this host is no stranger");
    acceptor.cx.now += VERIFY_EVERY;
    assert!(introduce(&mut acceptor, "198.51.100.7") && !introduce(&mut acceptor, "198.51.100.7"));
    // All addresses of one site in IPv6 are one group.
    assert!((0..240).all(|n| introduce(&mut acceptor, &format!("2001:db8::{n:x}"))));
    assert!(!introduce(&mut acceptor, "2001:db8::ffff"));
}

#[test]
fn a_proof_does_not_say_which_interface_the_dialler_has() {
    let (mut dialler, mut acceptor) = (End::new(1), End::new(2));
    let address: PeerAddress = "ws://[fe80::1%eth0]:4001".parse().expect("an address");
    let ip = "fe80::1".parse().expect("an IP address");
    let local = "[fe80::1]:4001".parse().expect("a socket's address");
    let challenge = Challenge::Dialled { nonce: Nonce([1; 32]), answered: Some(Nonce([2; 32])), ip };
    dialler.open(LINK, "fe80::1", Some(&address), &acceptor, challenge);
    acceptor.open(LINK, "fe80::2", None, &dialler, Challenge::Accepted { nonce: Nonce([2; 32]), local });
    let proof = dialler.own(LINK);
    let Some(Proof::Dialler { address: shown, .. }) = &proof else { panic!("{proof:?}") };
    assert_eq!(*shown, address.without_zone());
    assert!(acceptor.judge(LINK, &dialler.node(proof)).is_ok());
    let proof = acceptor.own(LINK);
    assert!(dialler.judge(LINK, &acceptor.node(proof)).is_ok());
    assert!(dialler.has_proof_of(&acceptor) && acceptor.has_proof_of(&dialler));
}
