//! Nodes that keep the form of the protocol and lie: about whom to try, about who has a place,
//! about their own.

use crate::membership::slots::tests::*;

/// Plays a gang: each node claims that all its places are free, gives none, and names the others.
impl Core {
    pub(crate) fn gang(&mut self, numbers: std::ops::Range<u16>) {
        for number in numbers.clone() {
            self.listens(number);
        }
        self.liars.extend(numbers.map(address));
    }

    fn dials(&self, to: impl Fn(&PeerAddress) -> bool) -> usize {
        self.dialled.iter().filter(|address| to(address)).count()
    }
}

/// One member of the gang answers on a link that we dialled.
pub(crate) fn answer(liars: &BTreeSet<PeerAddress>, link: LinkId, frame: &str) -> Option<Input> {
    let addresses: Vec<PeerAddress> = liars.iter().take(limits::SAMPLE_ADDRESSES).cloned().collect();
    let lie = if !frame.contains(r#""type":"JOIN""#) {
        return None;
    } else if frame.contains(r#""want""#) {
        Message::Peers(Sample { addresses, free: Some(u32::MAX), ..Sample::default() })
    } else {
        Message::Declined(Declined { addresses, retry_after: 0, ..Declined::default() })
    };
    Some(Input::Received { link, message: Ok(lie) })
}

#[test]
fn who_claims_that_all_places_are_free_and_gives_none_is_asked_ever_more_seldom() {
    let mut core = Core::new(&[100, 200]);
    core.gang(1_000..1_016);
    let named: Vec<PeerAddress> = core.liars.iter().take(4).cloned().collect();
    core.knock_and_name(1_100, false, &named);
    core.wait(Duration::from_secs(600));
    let first = core.dials(|address| core.liars.contains(address));
    core.dialled.clear();
    core.wait(Duration::from_secs(600));
    let second = core.dials(|address| core.liars.contains(address));
    assert!(first >= 16, "they were believed at first: {first} dials");
    // Visits go on, 15 to 30 of them; a place is sought at each once or twice.
    assert!(second <= 30 + 2 * 16, "{first} dials in the first ten minutes, {second} in the next");
    assert!([100, 200].into_iter().all(|honest| core.linked(honest)));
}

#[test]
fn a_false_declined_list_aims_few_dials_at_a_third_host() {
    let mut core = Core::new(&[100]);
    core.wait(Duration::from_secs(1));
    assert!(core.linked(100));
    let victim = |port| PeerAddress::new("198.51.100.200", port).expect("an address");
    for round in 0..20 {
        let addresses: Vec<PeerAddress> = (0..16).map(|port| victim(5_000 + round * 16 + port)).collect();
        let pending = core.knock(300 + round * 100, true);
        core.receive(pending, Message::Declined(Declined { addresses, retry_after: 0, ..Declined::default() }));
        core.wait(Duration::from_secs(1));
    }
    let dials = core.dials(|address| address.host() == "198.51.100.200");
    // Sixteen in ten seconds, whatever the names and however many tell them.
    assert!((1..=48).contains(&dials), "{dials} dials in 20 s");
    assert!(core.linked(100), "who was there before stays");
}

#[test]
fn who_declines_us_for_ever_is_asked_again_within_a_quarter_of_an_hour() {
    let mut core = Core::new(&[100, 200, 300]);
    core.wait(Duration::from_secs(5));
    let link = core.link_to(100);
    core.receive(link, Message::Declined(Declined { retry_after: u64::MAX, ..Declined::default() }));
    assert!(!core.linked(100));
    core.dialled.clear();
    core.wait(LONGEST_RETRY + LONGEST_RETRY / 2);
    assert!(core.dials(|asked| *asked == address(100)) > 0, "a great number must not put it off for ever");
}

#[test]
fn a_flood_of_peers_teaches_nothing_and_ends_the_link() {
    let mut core = Core::new(&[100]);
    core.wait(Duration::from_secs(60));
    let link = core.knock(300, false);
    let known = core.protocol.peers.book.others();
    for round in 0..1_000_u16 {
        let addresses = (0..16).map(|number| address(2_000 + round * 16 + number)).collect();
        core.receive(link, Message::Peers(Sample { addresses, free: Some(u32::MAX), ..Sample::default() }));
    }
    assert_eq!(core.protocol.peers.book.others(), known);
    assert_eq!(core.closed.get(&link), Some(&close::POLICY));
    assert!(core.linked(100));
}

#[test]
fn a_place_that_is_held_is_given_back_after_its_time() {
    let mut core = Core::new(&[]);
    for number in 0..CAP as u16 - 1 {
        core.knock(number, false);
    }
    core.protocol.membership.slots.reserved = Some((node(700).id, core.now + HELD));
    core.knock(100, false);
    assert!(!core.linked(100), "held for another");
    core.wait(HELD);
    core.knock(200, false);
    assert!(core.linked(200) && core.places() == CAP as usize);
}
