//! One node with a cap, and what strangers from all over the address space may do to its places.

mod admission;
mod liars;
mod refusals;
mod rewiring;
mod swaps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use crate::Node;
use crate::id::Session;
use crate::limits::Limits;
use crate::membership::slots::*;
use crate::peers::dial_allowance::DialAllowance;
use crate::wire::{Handshake, Message, Sample, Want};
use crate::{Config, Direction, Input, Output};

const CAP: u32 = 8;

/// A node and its answers to whom it dials: everybody in `others` listens.
struct Core {
    protocol: Node,
    now: Instant,
    links: u64,
    allowance: DialAllowance,
    /// Who listens where.
    others: BTreeMap<PeerAddress, UpgradeIdentity>,
    /// Of these, who answers what `liars.rs` says.
    liars: BTreeSet<PeerAddress>,
    /// The links to them.
    led_on: BTreeSet<LinkId>,
    /// Whom all others name that are asked for addresses; none: they do not answer.
    named: Vec<PeerAddress>,
    /// Whom the node dialled, in order.
    dialled: Vec<PeerAddress>,
    /// The frames and the end of each link.
    sent: BTreeMap<LinkId, Vec<String>>,
    closed: BTreeMap<LinkId, u16>,
}

fn node(number: u16) -> NodeInfo {
    let [high, low] = number.to_be_bytes();
    NodeInfo {
        id: NodeId([high, low].repeat(16).try_into().expect("32 bytes")),
        session: Session::from_random([low; 16]),
        agent: String::new(),
        protocol: 1,
        network: "test".into(),
        address: Some(address(number)),
        max_peers: Some(CAP),
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    }
}

/// Each hundred of numbers is a network group of its own.
fn ip(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 51 + (number / 100) as u8, 100, (number % 100) as u8)
}

fn address(number: u16) -> PeerAddress {
    PeerAddress::new(&ip(number).to_string(), 4001).expect("an address")
}

impl Core {
    fn new(known: &[u16]) -> Self {
        let me = NodeInfo { id: NodeId([255; 32]), ..node(9_999) };
        let config = Config {
            node: me.id,
            session: me.session,
            agent: String::new(),
            network: "test".into(),
            address: PeerAddress::new("203.0.113.1", 4001).expect("an address"),
            known_peers: known.iter().map(|number| address(*number)).collect(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            max_peers: Some(CAP),
            genesis: None,
            since: 0,
            limits: Limits::default(),
            signer: std::sync::Arc::new(crate::signature::Unsigned),
            seed: 8,
        };
        let now = Instant::now();
        let mut core = Self {
            protocol: Node::new(now, config, Vec::new()),
            now,
            links: 0,
            allowance: DialAllowance::new(&Limits::default()),
            others: BTreeMap::new(),
            liars: BTreeSet::new(),
            named: Vec::new(),
            led_on: BTreeSet::new(),
            dialled: Vec::new(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
        };
        for number in known {
            core.listens(*number);
        }
        core.tell(Input::Timeout);
        core
    }

    fn listens(&mut self, number: u16) {
        let node = node(number);
        self.others.insert(address(number), UpgradeIdentity { node: node.id, session: node.session });
    }

    /// Tells the node a fact, and all that follows from what it orders.
    fn tell(&mut self, input: Input) {
        let mut facts = VecDeque::from([input]);
        while let Some(fact) = facts.pop_front() {
            self.protocol.handle(self.now, fact);
            while let Some(order) = self.protocol.poll_output() {
                match order {
                    Output::Dial { address, sources, .. } => {
                        let ip = address.host().parse().expect("an IP address");
                        match self.allowance.spend(self.now, &sources, ip) {
                            Ok(counted) => {
                                let answers = self.others.get(&address).map(|identity| identity.node);
                                self.allowance.finish(self.now, &counted, answers, false);
                                self.dialled.push(address.clone());
                                facts.extend(self.dial(address));
                            }
                            Err(off) => facts.push_back(Input::DialPutOff { address, until: off.until }),
                        }
                    }
                    Output::Probe { link, address, .. } => {
                        let identity = self.others.get(&address).copied();
                        facts.push_back(Input::Probed { link, address, identity, proves: false });
                    }
                    Output::Send { links, frame, .. } => {
                        for link in links {
                            if self.led_on.contains(&link) {
                                facts.extend(liars::answer(&self.liars, link, frame.as_str()));
                            } else if !self.named.is_empty() && frame.as_str().contains(r#""want""#) {
                                let sample =
                                    Sample { addresses: self.named.clone(), free: Some(0), ..Sample::default() };
                                facts.push_back(Input::Received { link, message: Ok(Message::Peers(sample)) });
                            }
                            self.sent.entry(link).or_default().push(frame.as_str().to_owned());
                        }
                    }
                    Output::Close { link, code, .. } => {
                        self.closed.insert(link, code);
                        facts.push_back(Input::LinkClosed { link, cause: "closed".into() });
                    }
                    _ => {}
                }
            }
        }
    }

    fn dial(&mut self, address: PeerAddress) -> Vec<Input> {
        let Some(identity) = self.others.get(&address).copied() else {
            return vec![Input::DialFailed { address, error: "nobody".into() }];
        };
        self.links += 1;
        let link = LinkId(self.links);
        let remote = address.host().parse().expect("an IP address");
        let info = NodeInfo { id: identity.node, session: identity.session, address: Some(address.clone()), ..node(0) };
        let hello = Handshake { addresses: vec![address.clone()], dropped: 0, node: Some(info) };
        let lies = self.liars.contains(&address);
        let direction = Direction::Dialled { address, identity: Some(identity) };
        let mut facts = vec![Input::LinkOpened { link, remote, direction }];
        if lies {
            self.led_on.insert(link);
        } else {
            facts.push(Input::Received { link, message: Ok(Message::Handshake(hello)) });
        }
        facts
    }

    /// The link to a node, which need not have proved its id.
    fn link_to(&self, number: u16) -> LinkId {
        let is_there = |open: &Link| open.native().is_some_and(|peer| peer.id == node(number).id);
        let mut links = self.protocol.connections.links.iter();
        links.find(|(_, open)| is_there(open)).expect("linked").0
    }

    fn receive(&mut self, link: LinkId, message: Message) {
        self.tell(Input::Received { link, message: Ok(message) });
    }

    /// A stranger dials, introduces itself and asks for a place.
    fn knock(&mut self, number: u16, insist: bool) -> LinkId {
        self.knock_and_name(number, insist, &[])
    }

    /// The same; it names others that it is linked to.
    fn knock_and_name(&mut self, number: u16, insist: bool, others: &[PeerAddress]) -> LinkId {
        self.listens(number);
        self.links += 1;
        let link = LinkId(self.links);
        self.tell(Input::LinkOpened { link, remote: ip(number).into(), direction: Direction::Accepted });
        let addresses = [&[address(number)], others].concat();
        let hello = Handshake { addresses, dropped: 0, node: Some(node(number)) };
        self.receive(link, Message::Handshake(hello));
        self.receive(link, Message::Join(Join { insist, ..Join::default() }));
        link
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.protocol.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            // A linked peer is alive: otherwise all links would be dead after 45 s.
            let open: Vec<LinkId> = self.protocol.connections.links.iter().map(|(link, _)| link).collect();
            for link in open {
                self.tell(Input::Pong { link });
            }
            self.tell(Input::Timeout);
        }
        self.now = end;
    }

    fn linked(&self, number: u16) -> bool {
        self.protocol.linked_nodes().contains(&node(number).id)
    }

    fn places(&self) -> usize {
        self.protocol.linked_peers()
    }
}

#[test]
fn strangers_never_take_a_known_peers_place_nor_one_that_we_dialled() {
    let mut core = Core::new(&[100, 200, 300]);
    core.wait(Duration::from_secs(5));
    assert!([100, 200, 300].into_iter().all(|known| core.linked(known)), "dialled at the start");
    for round in 0..10 {
        for number in 0..300 {
            // Three hundred addresses of thirty groups, each insisting again and again.
            let number = 1_000 + number * 10;
            core.knock(number, true);
            assert!(core.places() <= CAP as usize);
        }
        core.wait(Duration::from_secs(20));
        assert!([100, 200, 300].into_iter().all(|known| core.linked(known)), "round {round}");
    }
}

#[test]
fn a_newcomer_that_insists_takes_an_accepted_place_and_its_holder_is_sent_to_it() {
    let mut core = Core::new(&[]);
    let taken: Vec<LinkId> = (0..CAP as u16).map(|number| core.knock(number, false)).collect();
    assert_eq!(core.places(), CAP as usize);
    let politely = core.knock(100, false);
    assert_eq!(core.closed[&politely], close::TRY_AGAIN_LATER);
    assert!(core.sent[&politely].iter().any(|frame| frame.contains("DECLINED")), "{:?}", core.sent[&politely]);
    core.knock(200, true);
    assert!(core.linked(200) && core.places() == CAP as usize);
    let moved: Vec<&LinkId> = taken.iter().filter(|link| core.closed.contains_key(link)).collect();
    let [moved] = moved[..] else { panic!("one holder lost its place: {moved:?}") };
    let told = core.sent[moved].last().expect("it was told");
    assert!(told.starts_with(&format!(r#"{{"type":"DECLINED","data":["{}""#, address(200))), "{told}");
}

#[test]
fn who_takes_and_never_brings_goes_first() {
    let mut core = Core::new(&[]);
    let taken: Vec<LinkId> = (0..CAP as u16).map(|number| core.knock(number, false)).collect();
    for link in &taken[1..] {
        core.protocol.connections.links.get_mut(*link).expect("open").brought = 1;
    }
    core.knock(200, true);
    assert!(core.linked(200) && core.closed.contains_key(&taken[0]));
}

#[test]
fn insisting_is_bounded_per_node_per_group_and_in_all() {
    let mut core = Core::new(&[]);
    for number in 0..CAP as u16 {
        core.knock(number, false);
    }
    let splits = |core: &Core| core.protocol.counters().slots_swapped;
    core.knock(200, true);
    core.knock(300, true);
    assert_eq!(splits(&core), 1, "the second within half a second");
    core.wait(Duration::from_secs(1));
    core.knock(201, true);
    assert_eq!(splits(&core), 1, "the second of its group");
    core.knock(300, true);
    assert_eq!(splits(&core), 2);
    core.wait(GROUP_EVERY);
    core.knock(202, true);
    assert_eq!(splits(&core), 3, "a minute later");
}

#[test]
fn old_links_are_split_once_in_a_while() {
    let mut core = Core::new(&[]);
    for number in 0..CAP as u16 {
        core.knock(number, false);
    }
    core.wait(OLD + Duration::from_secs(1));
    core.knock(200, true);
    core.wait(Duration::from_secs(1));
    // The newcomer's own link is the only young one.
    core.knock(300, true);
    assert!(core.linked(300) && !core.linked(200));
    assert_eq!(core.protocol.counters().slots_swapped, 2);
    let old = (0..CAP as u16).filter(|number| core.linked(*number)).count();
    assert_eq!(old, CAP as usize - 1);
}

#[test]
fn a_liars_lists_are_bounded_and_what_nobody_asked_for_is_dropped() {
    let mut core = Core::new(&[100]);
    core.wait(Duration::from_secs(1));
    let link = core.links;
    let lies: Vec<PeerAddress> = (2_000..2_100).map(address).collect();
    for _ in 0..10 {
        let sample = Sample { addresses: lies[..16].to_vec(), free: Some(u32::MAX), ..Sample::default() };
        core.receive(LinkId(link), Message::Peers(sample));
    }
    // It was asked once, for it is the only neighbour.
    assert!(core.protocol.counters().answers_unsolicited >= 9);
    let known = core.protocol.peers.book.others();
    assert!(known <= 17, "{known} addresses");
    let before = core.dialled.len();
    let pending = core.knock(500, false);
    let lies = lies[16..32].to_vec();
    core.receive(pending, Message::Declined(Declined { addresses: lies, retry_after: 0, ..Declined::default() }));
    // One that is linked and says DECLINED gives its place up, and that is all it can do.
    assert!(!core.linked(500));
    core.wait(Duration::from_secs(10));
    assert!(core.dialled.len() - before <= 150, "{} dials in ten seconds", core.dialled.len() - before);
}

#[test]
fn a_pending_peer_may_ask_for_addresses_and_takes_no_place() {
    let mut core = Core::new(&[]);
    core.knock(1, false);
    core.listens(2);
    core.links += 1;
    let link = LinkId(core.links);
    core.tell(Input::LinkOpened { link, remote: ip(2).into(), direction: Direction::Accepted });
    let hello = Handshake { addresses: vec![address(2)], dropped: 0, node: Some(node(2)) };
    core.receive(link, Message::Handshake(hello));
    for _ in 0..5 {
        core.receive(link, Message::Join(Join { want: Some(Want::Random), ..Join::default() }));
    }
    assert!(core.sent[&link].iter().all(|frame| frame.contains(&address(1).to_string())), "{:?}", core.sent[&link]);
    assert_eq!(core.places(), 1);
    for _ in 0..100 {
        core.receive(link, Message::Join(Join { want: Some(Want::Random), ..Join::default() }));
    }
    assert_eq!((core.sent[&link].len(), core.closed.get(&link)), (9, None), "more are dropped");
}

#[test]
fn a_place_is_held_for_whom_another_sent() {
    let mut core = Core::new(&[]);
    for number in 0..CAP as u16 - 1 {
        core.knock(number, false);
    }
    let by = node(700).id;
    core.protocol.membership.slots.reserved = Some((by, core.now + HELD));
    core.knock(100, false);
    assert!(!core.linked(100), "held for another");
    let link = {
        core.listens(101);
        core.links += 1;
        let link = LinkId(core.links);
        core.tell(Input::LinkOpened { link, remote: ip(101).into(), direction: Direction::Accepted });
        let hello = Handshake { addresses: vec![address(101)], dropped: 0, node: Some(node(101)) };
        core.receive(link, Message::Handshake(hello));
        link
    };
    core.receive(link, Message::Join(Join { moved_by: Some(by), ..Join::default() }));
    assert!(core.linked(101) && core.places() == CAP as usize);
}
