use super::*;
use crate::address::Scope;
use crate::limits::Limits;
use crate::peers::address_book::AddressSource;

const SECOND: Duration = Duration::from_secs(1);

/// A queue with a book, in which address `n` of a source is a name of its own.
struct Rig {
    now: Instant,
    book: AddressBook,
    queue: DialQueue,
    dialled: Vec<PeerAddress>,
}

fn peer(n: u8) -> SourceGroup {
    SourceGroup::of(std::net::IpAddr::from([203, 0, 113, n]))
}

fn address(source: SourceGroup, n: u16) -> PeerAddress {
    let text = format!("{source:?}").to_lowercase().replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    PeerAddress::new(&format!("n{}", text.trim_matches('-')), 1_000 + n).expect("valid")
}

impl Rig {
    fn new() -> Self {
        Self { now: Instant::now(), book: AddressBook::default(), queue: DialQueue::default(), dialled: Vec::new() }
    }

    /// Makes an address due.
    fn due(&mut self, source: SourceGroup, n: u16) {
        let (address, limits) = (address(source, n), Limits::default());
        let known = source == SourceGroup::User;
        let source = if known { AddressSource::Known } else { AddressSource::Gossiped(Scope::Public, source) };
        self.book.add(&address, source, self.now, &limits);
        self.dial(address);
    }

    fn dial(&mut self, address: PeerAddress) {
        if self.queue.begin(self.now, &self.book, &address) {
            self.book.set_state(&address, AddressState::Attempting);
            self.dialled.push(address);
        } else {
            self.book.set_state(&address, AddressState::Queued);
            self.queue.push(self.now, &self.book, address);
        }
    }

    /// Begins what may begin.
    fn next(&mut self) {
        while let Some(address) = self.queue.pop(self.now, &self.book) {
            self.dial(address);
        }
    }

    fn fail(&mut self, address: &PeerAddress) {
        self.queue.on_failed(self.now, address);
        self.book.set_state(address, AddressState::Waiting);
    }

    /// Takes what was dialled.
    fn dialled(&mut self) -> Vec<PeerAddress> {
        std::mem::take(&mut self.dialled)
    }
}

#[test]
fn a_liar_neither_takes_all_places_nor_has_others_wait_behind_its_words() {
    let mut rig = Rig::new();
    for n in 0..1_000 {
        rig.due(peer(1), n);
    }
    assert_eq!(rig.dialled().len(), PER_GROUP, "nobody answers");
    rig.due(peer(2), 0);
    rig.due(SourceGroup::User, 0);
    assert_eq!(rig.dialled(), [address(peer(2), 0), address(SourceGroup::User, 0)]);
}

#[test]
fn an_address_that_its_node_named_goes_before_those_that_others_named() {
    let mut rig = Rig::new();
    for n in 0..1_000 {
        rig.due(peer(1), n);
    }
    let own = address(peer(1), 2_000);
    rig.book.add(&own, AddressSource::SelfAnnounced(Scope::Public, peer(1)), rig.now, &Limits::default());
    rig.dial(own.clone());
    let first = rig.dialled();
    assert!(!first.contains(&own), "all places are taken");
    rig.fail(&first[0]);
    rig.now += SECOND;
    rig.next();
    assert_eq!(rig.dialled(), [own]);
}

#[test]
fn dials_that_fail_at_once_are_few_in_a_second() {
    let mut rig = Rig::new();
    for n in 0..200 {
        rig.due(peer(1), n);
    }
    let (start, mut count) = (rig.now, 0);
    while rig.now < start + 5 * SECOND {
        let dialled = rig.dialled();
        count += dialled.len();
        for address in dialled {
            rig.fail(&address);
        }
        rig.next();
        if rig.dialled.is_empty() {
            rig.now = rig.queue.next_due(rig.now).expect("some wait");
            rig.next();
        }
    }
    assert_eq!(count, 5 * PER_GROUP);
}

#[test]
fn dials_that_lead_to_nodes_are_as_many_as_there_are_places() {
    let mut rig = Rig::new();
    for n in 0..200 {
        rig.due(peer(1), n);
    }
    let mut count = 0;
    while let Some(address) = rig.dialled.pop() {
        count += 1;
        rig.book.set_state(&address, AddressState::Connected(crate::id::LinkId(count)));
        rig.next();
    }
    assert_eq!(count, 200);
    assert_eq!(rig.queue.next_due(rig.now), None, "nothing waits");
}

#[test]
fn what_the_user_named_has_no_such_bound_and_goes_first() {
    let mut rig = Rig::new();
    for n in 0..100 {
        rig.due(SourceGroup::User, n);
    }
    let dialled = rig.dialled();
    assert_eq!(dialled.len(), 100);
    for address in &dialled {
        rig.fail(address);
    }
    for n in 0..100 {
        rig.due(peer(1), n);
    }
    rig.dialled();
    rig.queue.push(rig.now, &rig.book, address(SourceGroup::User, 0));
    assert_eq!(rig.queue.pop(rig.now, &rig.book), Some(address(SourceGroup::User, 0)));
    assert_eq!(rig.queue.pop(rig.now, &rig.book), None);
}

#[test]
fn an_address_that_several_named_is_dialled_for_the_one_with_fewest_dials() {
    let mut rig = Rig::new();
    for n in 0..20 {
        rig.due(peer(1), n);
    }
    let shared = address(peer(1), 19);
    assert_eq!(rig.book.get(&shared).map(|peer| peer.state), Some(AddressState::Queued));
    rig.book.note_source(&shared, Scope::Public, peer(2));
    rig.dialled();
    rig.dial(shared.clone());
    assert_eq!(rig.dialled(), [shared]);
}

#[test]
fn a_group_is_forgotten_with_its_last_dial() {
    let mut rig = Rig::new();
    for group in 0..100 {
        rig.due(peer(group), 0);
        let address = address(peer(group), 0);
        rig.fail(&address);
    }
    rig.now += FAILED_REMEMBERED;
    assert_eq!(rig.queue.next_due(rig.now), None);
    assert!(rig.queue.groups.is_empty() && rig.queue.begun.is_empty());
}

#[test]
fn of_groups_that_wait_the_one_of_which_fewest_dials_failed_is_next() {
    for (passed, first) in [(SECOND, 2), (FAILED_REMEMBERED - SECOND, 2), (FAILED_REMEMBERED, 1)] {
        let mut rig = Rig::new();
        rig.due(peer(1), 0);
        rig.fail(&address(peer(1), 0));
        rig.now += passed;
        rig.queue.next_due(rig.now);
        for group in [1, 2] {
            let waits = address(peer(group), 7);
            rig.book.add(&waits, AddressSource::Gossiped(Scope::Public, peer(group)), rig.now, &Limits::default());
            rig.queue.push(rig.now, &rig.book, waits);
        }
        assert_eq!(rig.queue.pop(rig.now, &rig.book), Some(address(peer(first), 7)), "{passed:?}");
    }
}

#[test]
fn of_many_groups_failures_are_forgotten_once_they_count_no_more() {
    let mut rig = Rig::new();
    for n in 0..=GROUPS_MOST {
        let group = SourceGroup::of(std::net::IpAddr::from([203, 0, (n >> 8) as u8, n as u8]));
        rig.queue.groups.entry(group).or_default().failed.push_back(rig.now);
    }
    assert!(rig.queue.groups.len() > GROUPS_MOST);
    rig.now += FAILED_COUNTS;
    rig.queue.next_due(rig.now);
    assert!(rig.queue.groups.is_empty());
}
