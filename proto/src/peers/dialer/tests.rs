//! How a node dials whom people named when many start together: with no word from others, and what
//! its orders are answered with is a test's.

mod alone;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use crate::Node;
use crate::id::{NodeId, Session, UpgradeIdentity};
use crate::limits::Limits;
use crate::peers::dialer::*;
use crate::signature::Unsigned;
use crate::wire::{Handshake, Message, NodeInfo};
use crate::{Config, Direction, Input};

const MILLISECOND: Duration = Duration::from_millis(1);

struct Core {
    protocol: Node,
    now: Instant,
    links: u64,
    /// Whom it dialled and probed since this was looked at last, and the links on which a HANDSHAKE
    /// went out.
    dialled: Vec<PeerAddress>,
    probed: Vec<PeerAddress>,
    hello_received: Vec<LinkId>,
    /// How long it said that it waits after a dial that failed.
    waits: Vec<Duration>,
    /// Whether its probes find whom they look for.
    found: bool,
}

fn address(port: u16) -> PeerAddress {
    PeerAddress::new("localhost", port).expect("an address")
}

fn node(port: u16) -> NodeInfo {
    NodeInfo {
        id: NodeId([port as u8; 32]),
        session: Session::from_random([port as u8; 16]),
        agent: "test".into(),
        protocol: 1,
        network: "test".into(),
        address: Some(address(port)),
        max_peers: None,
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    }
}

impl Core {
    /// A node at port 50 to which a person named these.
    fn new(known: impl Iterator<Item = u16>) -> Self {
        let me = node(50);
        let config = Config {
            node: me.id,
            session: me.session,
            agent: me.agent,
            network: me.network,
            address: address(50),
            known_peers: known.map(address).collect(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            genesis: None,
            max_peers: None,
            since: 0,
            limits: Limits::default(),
            signer: Arc::new(Unsigned),
            seed: 1,
        };
        let now = Instant::now();
        let protocol = Node::new(now, config, Vec::new());
        let mut core = Self {
            protocol,
            now,
            links: 0,
            dialled: Vec::new(),
            probed: Vec::new(),
            hello_received: Vec::new(),
            waits: Vec::new(),
            found: true,
        };
        core.tell(Input::Timeout);
        core
    }

    /// Tells the node a fact. All its dials fail.
    fn tell(&mut self, fact: Input) {
        let mut facts = VecDeque::from([fact]);
        while let Some(fact) = facts.pop_front() {
            self.protocol.handle(self.now, fact);
            while let Some(order) = self.protocol.poll_output() {
                match order {
                    Output::Dial { address, .. } => {
                        self.dialled.push(address.clone());
                        facts.push_back(Input::DialFailed { address, error: "nobody listens there".into() });
                    }
                    Output::Probe { link, address, .. } => {
                        let there = node(address.port());
                        let identity = UpgradeIdentity { node: there.id, session: there.session };
                        self.probed.push(address.clone());
                        facts.push_back(Input::Probed {
                            link,
                            address,
                            identity: self.found.then_some(identity),
                            proves: false,
                        });
                    }
                    Output::Send { links, frame, .. } if frame.as_str().contains("HANDSHAKE") => {
                        self.hello_received.extend(links)
                    }
                    Output::Notify(Event::DialFailed { retry_in, .. }) => self.waits.extend(retry_in),
                    _ => {}
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.protocol.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tell(Input::Timeout);
        }
        self.now = until;
    }

    /// A full peer links to the node and says where it is.
    fn comes_in(&mut self, port: u16) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.tell(Input::LinkOpened { link, remote, direction: Direction::Accepted });
        let addresses = vec![address(port), address(50)];
        let handshake = Handshake { addresses, dropped: 0, node: Some(node(port)) };
        self.tell(Input::Received { link, message: Ok(Message::Handshake(handshake)) });
        link
    }

    fn taken(list: &mut Vec<PeerAddress>) -> Vec<u16> {
        list.drain(..).map(|address| address.port()).collect()
    }
}

#[test]
fn who_starts_dials_from_its_own_place_on_and_not_all_at_once() {
    let mut core = Core::new((1..100).rev());
    assert_eq!(Core::taken(&mut core.dialled), (51..59).collect::<Vec<_>>());
    core.pass(DIAL_EVERY);
    assert_eq!(Core::taken(&mut core.dialled), [59]);
    core.pass(DIAL_EVERY * 89);
    let rest: Vec<u16> = (60..100).chain(1..50).collect();
    assert_eq!(Core::taken(&mut core.dialled), rest);
}

#[test]
fn who_was_never_there_is_given_time_to_start() {
    let mut core = Core::new(51..91);
    core.pass(DIAL_EVERY * 40);
    let (least, most) = (core.waits.iter().min(), core.waits.iter().max());
    assert_eq!(core.waits.len(), 40);
    assert!(least >= Some(&(MILLISECOND * 550)) && most <= Some(&(MILLISECOND * 1_000)), "{least:?} {most:?}");
    // Of few known peers each counts.
    let few = Core::new(51..53);
    assert!(few.waits.iter().all(|wait| *wait <= MILLISECOND * 500), "{:?}", few.waits);
    // A node that was there once comes back soon.
    core.waits.clear();
    let link = core.comes_in(51);
    core.tell(Input::LinkClosed { link, cause: "it is being started again".into() });
    let due = core.protocol.cx.timers.due(&Timer::Dial(address(51))).expect("it is dialled again");
    assert!(due <= core.now + MILLISECOND * 500);
}

#[test]
fn where_many_come_in_at_once_the_links_come_first() {
    let mut core = Core::new(60..80);
    core.pass(DIAL_EVERY * 20);
    core.dialled.clear();
    let links: Vec<LinkId> = (60..70).map(|port| core.comes_in(port)).collect();
    assert_eq!(core.hello_received, links, "each is answered at once");
    assert_eq!(Core::taken(&mut core.probed), [60, 61, 62, 63]);
    core.pass(PROBE_LATER + PROBE_EVERY);
    assert_eq!(Core::taken(&mut core.probed), [64]);
    // Somebody of whom no person told is not waited for: others hear of it from us alone.
    core.comes_in(90);
    assert_eq!(Core::taken(&mut core.probed), [90]);
    // Who has gone again is dialled.
    core.tell(Input::LinkClosed { link: links[9], cause: "gone".into() });
    core.pass(PROBE_EVERY * 5);
    assert_eq!(Core::taken(&mut core.probed), [65, 66, 67, 68]);
    assert!(Core::taken(&mut core.dialled).contains(&69));
    let all =
        (60..69).all(|port| core.protocol.peers.book.get(&address(port)).is_some_and(|peer| peer.last_up.is_some()));
    assert!(all, "all were seen to lead there");
}

#[test]
fn a_false_claim_to_an_address_that_a_person_named_does_not_keep_us_from_dialling_it() {
    let mut core = Core::new(60..70);
    core.pass(DIAL_EVERY * 10);
    core.found = false;
    core.dialled.clear();
    let links: Vec<LinkId> = (60..68).map(|port| core.comes_in(port)).collect();
    core.pass(MILLISECOND * 3_500);
    let dialled = Core::taken(&mut core.dialled);
    assert!((60..70).all(|port| dialled.contains(&port)), "{dialled:?}");
    let told = links
        .iter()
        .any(|link| core.protocol.connections.links.get(*link).unwrap().native().unwrap().address.is_some());
    assert!(!told, "nobody is told of what was not found");
}

#[test]
fn claims_without_end_do_not_keep_us_from_an_address_for_long() {
    let mut core = Core::new(60..70);
    core.pass(DIAL_EVERY * 10);
    core.found = false;
    core.dialled.clear();
    for port in 60..68 {
        core.comes_in(port);
    }
    for _ in 0..120 {
        core.comes_in(69);
        core.pass(PROBE_EVERY / 2);
    }
    // A probe finds the node that is there, as a dial does.
    let looked: Vec<u16> = [Core::taken(&mut core.dialled), Core::taken(&mut core.probed)].concat();
    assert!(looked.iter().filter(|port| **port == 69).count() >= 2, "{looked:?}");
    // However many come in at once, the probe of nobody waits for longer than that of the last that
    // may.
    let mut core = Core::new(60..250);
    core.pass(DIAL_EVERY * 200);
    core.probed.clear();
    for port in 60..200 {
        core.comes_in(port);
    }
    core.pass(PROBE_LATER + PROBE_EVERY * PROBES_WAITING);
    assert_eq!(Core::taken(&mut core.probed).len(), 140);
}

#[test]
fn node_ids_are_dialled_within_a_second_once_the_line_of_this_node_is_back() {
    let mut core = Core::new(std::iter::empty());
    let ids: Vec<_> = (1..4).map(|port| PeerAddress::of_node(node(port).id, [])).collect();
    core.tell(Input::WanStarted);
    core.tell(Input::KnownPeersChanged { addresses: ids.clone() });
    let reached = |relay: &str| {
        let own = PeerAddress::of_node(node(50).id, [relay.parse().expect("a relay")]);
        Input::WanChanged { address: Some(own) }
    };
    // The line is cut for a few minutes.
    core.pass(Duration::from_secs(300));
    core.tell(Input::WanChanged { address: None });
    for relay in ["one.example:1", "two.example:1"] {
        // Between two dials of the longest back-off.
        core.pass(Duration::from_secs(300));
        core.dialled.clear();
        core.waits.clear();
        core.tell(reached(relay));
        core.pass(REDIAL_WITHIN);
        core.dialled.sort();
        core.dialled.dedup();
        assert_eq!(core.dialled, ids);
        let longest = core.waits.iter().max().expect("they fail again");
        assert!(*longest <= Duration::from_secs(2), "the failures of before count: {longest:?}");
        core.dialled.clear();
        core.tell(reached(relay));
        core.pass(Duration::ZERO);
        assert_eq!(core.dialled, [], "nothing changed");
    }
}
