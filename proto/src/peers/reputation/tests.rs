use std::net::IpAddr;

use crate::peers::reputation::*;
use crate::violation::Violation;

fn number(number: u32) -> IpPrefix {
    IpPrefix::address_group(IpAddr::from((0xc612_0000 + number).to_be_bytes())).expect("a public address")
}

#[test]
fn points_decay_one_by_one() {
    let start = Instant::now();
    let mut score = Score::new(start);
    assert_eq!(score.add(start, 10), 10);
    assert_eq!(score.add(start + limits::SCORE_DECAY * 3 / 2, 10), 19, "one has decayed, and half of the next");
    assert_eq!(score.add(start + limits::SCORE_DECAY * 2, 0), 18, "the half is not lost");
    assert_eq!(score.at(start + limits::SCORE_DECAY * 100), 0);
    assert_eq!(score.add(start + limits::SCORE_DECAY * 100, 7), 7);
}

#[test]
fn each_ban_is_twice_as_long_up_to_an_hour_and_an_hour_of_peace_ends_that() {
    let (mut reputation, mut now, who) = (Reputation::default(), Instant::now(), number(1));
    let mut times = Vec::new();
    for _ in 0..7 {
        reputation.add(now, who, limits::BAN_SCORE);
        let time = reputation.ban(now, who, &Violation::breach("lies"));
        times.push(time.as_secs());
        assert!(reputation.ban_of(now + time - Duration::from_secs(1), who).is_some());
        assert!(reputation.ban_of(now + time, who).is_none());
        now += time;
    }
    assert_eq!(times, [120, 240, 480, 960, 1_920, 3_600, 3_600]);
    now += limits::BAN_MAX;
    reputation.add(now, who, limits::BAN_SCORE);
    assert_eq!(reputation.ban(now, who, &Violation::breach("lies")), limits::BAN_MIN);
}

#[test]
fn records_are_bounded_and_bans_are_forgotten_last() {
    let (mut reputation, now) = (Reputation::default(), Instant::now());
    reputation.add(now, number(0), limits::BAN_SCORE);
    reputation.ban(now, number(0), &Violation::breach("lies"));
    for other in 1..=2 * u32::try_from(limits::REPUTATION_ENTRIES).expect("few") {
        reputation.add(now, number(other), 1);
    }
    assert_eq!(reputation.records.len(), limits::REPUTATION_ENTRIES);
    assert!(reputation.ban_of(now, number(0)).is_some());
    for other in 0..10_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&other.to_be_bytes());
        reputation.ban_node(now, NodeId(id), limits::BAN_MIN, &Violation::breach("lies"));
    }
    assert_eq!(reputation.nodes.len(), limits::REPUTATION_ENTRIES);
}

/// How long an address group is still banned.
fn left(reputation: &Reputation, now: Instant, who: IpPrefix) -> Option<Duration> {
    reputation.ban_of(now, who).and_then(|ban| ban.left(now))
}

#[test]
fn a_ban_begins_a_new_score_and_needs_a_violation() {
    let (mut reputation, now, who) = (Reputation::default(), Instant::now(), number(1));
    assert_eq!(reputation.ban(now, who, &Violation::breach("lies")), Duration::ZERO, "nothing is known of it");
    assert_eq!(reputation.add(now, who, 100), 100);
    assert_eq!(reputation.add(now, who, 50), 150);
    assert_eq!(reputation.add(now, number(2), 1), 1, "each has its own");
    assert_eq!(reputation.ban(now, who, &Violation::breach("ä".repeat(100))), limits::BAN_MIN);
    assert_eq!(reputation.ban_of(now, who).map(|ban| ban.cause.text.chars().count()), Some(limits::SHOWN_CHARACTERS));
    assert_eq!(reputation.add(now, who, 1), 1);
    assert_eq!(reputation.ban_of(now, number(2)).map(|ban| ban.until), None);
}

#[test]
fn a_ban_is_forgiven_an_hour_after_its_end_and_not_before() {
    for (passed, time) in [(0, limits::BAN_MIN), (1, limits::BAN_MIN * 2)] {
        let (mut reputation, now, who) = (Reputation::default(), Instant::now(), number(1));
        reputation.add(now, who, 1);
        let end = now + reputation.ban(now, who, &Violation::breach("lies"));
        let later = end + limits::BAN_MAX - Duration::from_millis(passed);
        assert_eq!(reputation.ban(later, who, &Violation::breach("lies")), time);
    }
}

#[test]
fn who_is_banned_least_is_forgotten_first_and_a_clean_record_before_all() {
    let (mut reputation, now) = (Reputation::default(), Instant::now());
    let most = u32::try_from(limits::REPUTATION_ENTRIES).expect("few");
    for other in 0..most {
        reputation.add(now, number(other), 10 + u32::from(other != 7));
    }
    reputation.add(now, number(most), 50);
    assert!(!reputation.records.contains_key(&number(7).into()), "the fewest points");
    assert_eq!(reputation.records.len(), limits::REPUTATION_ENTRIES);
    reputation.add(now, number(most), 1);
    assert_eq!(reputation.records.len(), limits::REPUTATION_ENTRIES, "it is known: nobody makes room");
    // All others have 11 points: they are clean after eleven intervals, and one a moment before.
    let clean = now + limits::SCORE_DECAY * 11;
    reputation.add(clean, number(most + 1), 1);
    assert_eq!(reputation.records.len(), 2);
}

#[test]
fn a_ban_counts_for_an_hour_after_its_end() {
    for (early, kept) in [(0, false), (1, true)] {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let most = u32::try_from(limits::REPUTATION_ENTRIES).expect("few");
        let later = now + limits::BAN_MIN + limits::BAN_MAX - Duration::from_millis(early);
        reputation.add(now, number(0), 1);
        reputation.ban(now, number(0), &Violation::breach("lies"));
        for other in 1..most {
            reputation.add(later, number(other), 5);
        }
        reputation.make_room(later);
        // Without a clean record the one with the fewest points and no ban goes.
        assert_eq!(reputation.records.len(), most as usize - 1);
        assert!(!reputation.records.contains_key(&number(0).into()), "{kept}");
        assert_eq!(left(&reputation, later, number(1)), None);
    }
}

#[test]
fn bans_of_node_ids_end_and_make_room() {
    let (mut reputation, now) = (Reputation::default(), Instant::now());
    let node = |n| NodeId([n; 32]);
    reputation.ban_node(now, node(1), limits::BAN_MIN, &Violation::breach("x".repeat(100)));
    let cause = reputation.ban_of_node(now, node(1)).map(|ban| ban.cause.text.len());
    assert_eq!(cause, Some(limits::SHOWN_CHARACTERS));
    assert!(reputation.ban_of_node(now + limits::BAN_MIN - Duration::from_millis(1), node(1)).is_some());
    assert!(reputation.ban_of_node(now + limits::BAN_MIN, node(1)).is_none());
    assert!(reputation.ban_of_node(now, node(2)).is_none());
    reputation.ban_node(now + limits::BAN_MIN, node(2), limits::BAN_MIN, &Violation::breach("lies"));
    assert_eq!(reputation.nodes.len(), 1, "what is over is forgotten");
}

#[test]
fn a_banned_address_is_not_dialled_unless_the_user_named_it() {
    use crate::peers::address_book::AddressSource;
    let (mut reputation, now, limits) = (Reputation::default(), Instant::now(), crate::limits::Limits::default());
    let mut book = AddressBook::default();
    let address = PeerAddress::new("198.18.0.1", 4001).expect("an address");
    assert_eq!(reputation.banned_until(now, &book, &address), None, "it is not in the book");
    book.add(
        &address,
        AddressSource::Gossiped(crate::address::Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
        now,
        &limits,
    );
    assert_eq!(reputation.banned_until(now, &book, &address), None);
    let mark = |book: &mut AddressBook, until| book.get_mut(&address).expect("there").banned_until = until;
    mark(&mut book, Some(now + Duration::from_secs(1)));
    assert_eq!(reputation.banned_until(now, &book, &address), Some(now + Duration::from_secs(1)));
    assert_eq!(reputation.banned_until(now + Duration::from_secs(1), &book, &address), None);
    let address_group = number(1);
    reputation.add(now, address_group, 1);
    let until = now + reputation.ban(now, address_group, &Violation::breach("lies"));
    assert_eq!(reputation.banned_until(now, &book, &address), Some(until), "the later of the two");
    mark(&mut book, Some(until + Duration::from_secs(1)));
    assert_eq!(reputation.banned_until(now, &book, &address), Some(until + Duration::from_secs(1)));
    book.get_mut(&address).expect("there").known = true;
    assert_eq!(reputation.banned_until(now, &book, &address), None);
}

#[test]
fn current_bans_are_shown_a_few_at_a_time() {
    let (mut reputation, now) = (Reputation::default(), Instant::now());
    for other in 0..100 {
        reputation.add(now, number(other), 1);
        if other != 3 {
            reputation.ban(now, number(other), &Violation::breach("lies"));
        }
    }
    let rows = reputation.rows(now + Duration::from_secs(20));
    assert_eq!(rows.len(), limits::STATUS_PEERS / 4);
    let row = &rows[0];
    assert_eq!((&*row.address, row.state, row.known), ("198.18.0.0", PeerState::Banned, false));
    assert_eq!((row.seconds, row.cause.as_deref()), (Some(100.0), Some("lies")));
    assert!(!rows.iter().any(|row| row.address == "198.18.0.3"));
    assert!(reputation.rows(now + limits::BAN_MIN).is_empty());
}

#[test]
fn a_ban_is_lifted_by_address_range_or_node_id_and_others_stay() {
    let now = Instant::now();
    let node = NodeId([7; 32]);
    let banned = || {
        let mut reputation = Reputation::default();
        for who in [number(1), number(2)] {
            reputation.add(now, who, limits::BAN_SCORE);
            reputation.ban(now, who, &Violation::breach("lies"));
        }
        reputation.ban_node(now, node, limits::BAN_MIN, &Violation::breach("lies"));
        reputation
    };
    let mut book = AddressBook::default();
    for (rules, first, second, id) in [
        ("198.18.0.1", false, true, true),
        ("198.18.0.0/24", false, false, true),
        ("192.0.2.1", true, true, true),
        (&"07".repeat(32), true, true, false),
    ] {
        let mut reputation = banned();
        reputation.lift(&mut book, &rules.parse().expect("rules"));
        let left = |who| reputation.ban_of(now, who).is_some();
        assert_eq!((left(number(1)), left(number(2))), (first, second), "{rules}");
        assert_eq!(reputation.ban_of_node(now, node).is_some(), id, "{rules}");
    }
    // The next offence counts from the beginning.
    let mut reputation = banned();
    reputation.lift(&mut book, &"198.18.0.1".parse().expect("a rule"));
    assert_eq!(reputation.add(now, number(1), 1), 1);
}
