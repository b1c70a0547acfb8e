//! One node and the records that it hears, true and forged ones.

mod alone;

use crate::access::Certified;
use crate::id::{LinkId, UpgradeIdentity};
use crate::limits::Limits;
use crate::peers::dial_allowance::DialAllowance;
use crate::peers::dial_queue::PER_GROUP;
use crate::peers::lan_discovery::*;
use crate::{Config, Direction, Input, Node};
use std::net::{IpAddr, Ipv4Addr};

/// A node with id 128…, and what it ordered.
struct Core {
    protocol: Node,
    now: Instant,
    allowance: DialAllowance,
    dialled: Vec<PeerAddress>,
    advertised: Vec<Option<u32>>,
    found: usize,
    closed: usize,
}

fn session(number: u16) -> Session {
    let [high, low] = number.to_be_bytes();
    Session::from_random([9, high, low, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])
}

/// The record of a node on a private network; its id begins with `id`.
fn record(id: u8, number: u16, free: Option<u32>) -> Record {
    let [high, low] = number.to_be_bytes();
    Record {
        node: NodeId([id; 32]),
        session: session(number),
        network: "test".into(),
        address: PeerAddress::new(&Ipv4Addr::new(10, 7, high, low).to_string(), 4001).expect("an address"),
        free,
    }
}

impl Core {
    fn new(max_peers: Option<u32>) -> Self {
        let config = Config {
            node: NodeId([128; 32]),
            session: session(0),
            agent: String::new(),
            network: "test".into(),
            address: PeerAddress::new("10.7.0.0", 4001).expect("an address"),
            known_peers: Vec::new(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            max_peers,
            genesis: None,
            since: 0,
            limits: Limits::default(),
            signer: std::sync::Arc::new(crate::signature::Unsigned),
            seed: 7,
        };
        let now = Instant::now();
        let protocol = Node::new(now, config, Vec::new());
        let allowance = DialAllowance::new(&Limits::default());
        Self { protocol, now, allowance, dialled: Vec::new(), advertised: Vec::new(), found: 0, closed: 0 }
    }

    fn tell(&mut self, input: Input) {
        let mut put_off = Vec::new();
        self.protocol.handle(self.now, input);
        while let Some(output) = self.protocol.poll_output() {
            match output {
                Output::Dial { address, sources, .. } => {
                    let ip = address.host().parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                    match self.allowance.spend(self.now, &sources, ip) {
                        Ok(_) => self.dialled.push(address),
                        Err(off) => put_off.push(Input::DialPutOff { address, until: off.until }),
                    }
                }
                Output::AdvertiseSlots { free } => self.advertised.push(free),
                Output::Notify(Event::LanPeerFound { .. }) => self.found += 1,
                Output::Close { .. } => self.closed += 1,
                _ => {}
            }
        }
        put_off.into_iter().for_each(|input| self.tell(input));
    }

    fn hear(&mut self, record: &Record) {
        self.tell(Input::RecordDiscovered { record: Ok(record.clone()), scope: Scope::Private });
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.protocol.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tell(Input::Timeout);
        }
        self.now = until;
    }

    /// The dial to a node leads to it.
    fn link(&mut self, link: u64, record: &Record) {
        let identity = Some(UpgradeIdentity { node: record.node, session: record.session });
        let direction = Direction::Dialled { address: record.address.clone(), identity };
        let certified = Certified { node: record.node, fingerprint: [0; 32] };
        self.tell(Input::PeerCertified { link: LinkId(link), certified });
        self.tell(Input::LinkOpened { link: LinkId(link), remote: IpAddr::V4(Ipv4Addr::new(10, 7, 0, 1)), direction });
    }

    fn counters(&self) -> [u64; 5] {
        let counted = self.protocol.counters();
        [
            counted.records_heard,
            counted.records_foreign,
            counted.records_malformed,
            counted.records_out_of_scope,
            counted.records_without_room,
        ]
    }
}

#[test]
fn of_two_nodes_the_one_with_the_smaller_id_dials_at_once_and_the_other_a_moment_later() {
    let mut core = Core::new(None);
    let (greater, smaller) = (record(200, 1, None), record(50, 2, None));
    core.hear(&greater);
    core.hear(&smaller);
    core.pass(Duration::ZERO);
    assert_eq!(core.dialled, [greater.address]);
    core.pass(DEFER);
    assert_eq!(core.dialled.last(), Some(&smaller.address));
    assert_eq!((core.dialled.len(), core.found), (2, 2));
}

#[test]
fn a_linked_node_is_not_dialled_at_another_address_and_a_repeated_record_dials_nobody() {
    let mut core = Core::new(None);
    let other = record(200, 1, None);
    core.hear(&other);
    core.pass(Duration::ZERO);
    core.link(1, &other);
    let elsewhere = Record { session: session(2), ..record(200, 2, None) };
    core.hear(&elsewhere);
    for free in 0..50 {
        core.hear(&Record { free: Some(free), ..other.clone() });
    }
    core.pass(Duration::from_secs(5));
    assert_eq!((core.dialled.len(), core.found), (1, 2));
}

#[test]
fn our_own_record_other_networks_and_what_can_not_be_true_are_left_out_and_counted() {
    let mut core = Core::new(None);
    core.hear(&record(128, 0, None));
    assert_eq!(core.counters(), [0; 5], "our own is nothing heard");
    core.hear(&Record { network: "other".into(), ..record(200, 1, None) });
    let closed = record(200, 1, None);
    core.hear(&Record { address: closed.address.clone().secured(), ..closed });
    core.tell(Input::RecordDiscovered { record: Err(InvalidRecord("id")), scope: Scope::Private });
    let loopback = Record { address: "ws://localhost:4009".parse().expect("an address"), ..record(200, 3, None) };
    core.hear(&loopback);
    assert_eq!(core.counters(), [4, 2, 1, 1, 0]);
    core.pass(Duration::from_secs(30));
    assert!(core.dialled.is_empty() && core.found == 0);
    core.tell(Input::RecordDiscovered { record: Ok(loopback.clone()), scope: Scope::Loopback });
    core.pass(Duration::ZERO);
    assert_eq!(core.dialled, [loopback.address], "this host may tell of itself");
}

#[test]
fn an_expired_record_drops_no_link_and_only_ends_the_preference() {
    let mut core = Core::new(Some(8));
    let (linked, freest, second) = (record(200, 1, Some(1)), record(201, 2, Some(7)), record(202, 3, Some(6)));
    core.hear(&linked);
    core.pass(GATHER);
    core.link(1, &linked);
    core.tell(Input::RecordExpired { session: linked.session });
    assert_eq!((core.closed, core.protocol.connections.links.iter().count()), (0, 1));
    core.protocol.peers.lan.by_records = false;
    core.hear(&freest);
    core.hear(&second);
    core.tell(Input::RecordExpired { session: freest.session });
    core.pass(GATHER);
    assert_eq!(core.dialled, [linked.address, second.address]);
}

#[test]
fn with_a_cap_who_has_most_places_is_asked_first() {
    let mut core = Core::new(Some(2));
    let records = [(201, 1, Some(0)), (202, 2, Some(3)), (203, 3, Some(5)), (204, 4, Some(1))];
    let records = records.map(|(id, number, free)| record(id, number, free));
    for record in &records {
        core.hear(record);
    }
    assert!(core.dialled.is_empty(), "all answers are awaited first");
    core.pass(GATHER);
    assert_eq!(core.dialled[0], records[2].address);
    assert_eq!(core.dialled.len(), 2, "no more than there are places");
}

#[test]
fn a_node_that_links_to_all_counts_as_the_freest_and_one_that_gained_places_moves_up() {
    let mut core = Core::new(Some(3));
    let (none, all) = (record(201, 1, Some(9)), record(202, 2, None));
    core.hear(&none);
    core.hear(&all);
    core.pass(GATHER);
    assert_eq!(core.dialled[0], all.address);
    let mut core = Core::new(Some(3));
    core.hear(&Record { free: Some(1), ..none.clone() });
    core.hear(&record(203, 3, Some(2)));
    core.hear(&none);
    core.pass(GATHER);
    assert_eq!(core.dialled[0], none.address);
}

#[test]
fn forged_records_make_us_dial_no_more_than_a_peer_may_and_take_no_more_room_than_there_is() {
    let mut core = Core::new(None);
    for number in 1..5_000 {
        core.hear(&record(200, number, Some(u32::MAX)));
    }
    core.pass(Duration::ZERO);
    let burst = Limits::default().gossip_burst as usize;
    assert_eq!(core.dialled.len(), PER_GROUP, "the others wait");
    assert_eq!((core.protocol.peers.lan.records.len(), core.found), (limits::RECORDS, LOGGED as usize));
    assert!(core.protocol.peers.book.others() <= burst);
    assert_eq!(core.counters(), [4_999, 0, 0, 0, 4_999 - limits::RECORDS as u64]);
    for address in core.dialled.clone() {
        core.tell(Input::DialFailed { address, error: "nobody".into() });
    }
    core.dialled.clear();
    core.pass(Duration::from_secs(60));
    let new: BTreeSet<PeerAddress> = core.dialled.iter().cloned().collect();
    assert!(new.len() <= burst + 60, "one more a second: {}", new.len());
}

#[test]
fn records_of_one_host_make_us_dial_it_no_more_often_than_any_host() {
    let mut core = Core::new(None);
    for number in 1..20 {
        let address = PeerAddress::new("10.7.0.1", 5_000 + number).expect("an address");
        core.hear(&Record { address, ..record(200, number, None) });
    }
    core.pass(Duration::from_secs(1));
    // Nobody knows who sends records, so they have half an allowance.
    assert_eq!(core.dialled.len(), Limits::default().host_dials as usize / 2);
}

#[test]
fn what_a_full_table_forgot_is_tried_again_while_its_record_lives() {
    let mut core = Core::new(None);
    let other = record(200, 1, None);
    core.hear(&other);
    let mut failed = 0;
    for _ in 0..600 {
        core.pass(Duration::from_secs(1));
        for address in std::mem::take(&mut core.dialled) {
            failed += 1;
            core.tell(Input::DialFailed { address, error: "nobody".into() });
        }
    }
    assert!(failed > Limits::default().forget_failures as usize, "{failed} dials: it was given up for ever");
    core.tell(Input::RecordExpired { session: other.session });
    for _ in 0..600 {
        core.pass(Duration::from_secs(1));
        for address in std::mem::take(&mut core.dialled) {
            core.tell(Input::DialFailed { address, error: "nobody".into() });
        }
    }
    assert_eq!(core.protocol.peers.book.others(), 0, "without a record it is forgotten");
}

#[test]
fn free_places_are_announced_when_they_change_and_not_too_often() {
    let mut core = Core::new(Some(4));
    core.pass(Duration::from_secs(20));
    assert!(core.advertised.is_empty(), "nobody can announce us yet");
    core.tell(Input::DiscoveryStarted);
    assert_eq!(core.advertised, [Some(4)]);
    for number in 1..=3 {
        let other = record(200 + number as u8, number, Some(4));
        core.hear(&other);
        core.pass(GATHER);
        core.link(u64::from(number), &other);
    }
    let taken = core.protocol.connections.links.iter().count();
    assert!(taken > 0 && core.advertised.len() == 1, "not at once");
    core.pass(ADVERTISE_EVERY);
    assert_eq!(core.advertised, [Some(4), Some(4 - taken as u32)]);
    core.tell(Input::Shutdown);
    core.pass(ADVERTISE_EVERY * 3);
    assert_eq!(core.advertised.len(), 2);
    let mut mesh = Core::new(None);
    mesh.tell(Input::DiscoveryStarted);
    mesh.pass(ADVERTISE_EVERY * 3);
    assert_eq!(mesh.advertised, [None]);
    // When discovery starts again, the record is announced again, and older records do not count.
    mesh.hear(&record(201, 1, None));
    mesh.tell(Input::DiscoveryStarted);
    assert_eq!((mesh.advertised.len(), mesh.protocol.peers.lan.records.len()), (2, 0));
}
