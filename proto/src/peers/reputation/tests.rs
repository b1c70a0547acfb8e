use std::net::IpAddr;

use crate::peers::reputation::*;

fn number(number: u32) -> IpPrefix {
    IpPrefix::subscriber(IpAddr::from((0xc612_0000 + number).to_be_bytes())).expect("a public address")
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
        let time = reputation.ban(now, who, "lies");
        times.push(time.as_secs());
        assert!(reputation.ban_of(now + time - Duration::from_secs(1), who).is_some());
        assert!(reputation.ban_of(now + time, who).is_none());
        now += time;
    }
    assert_eq!(times, [120, 240, 480, 960, 1_920, 3_600, 3_600]);
    now += limits::BAN_MAX;
    reputation.add(now, who, limits::BAN_SCORE);
    assert_eq!(reputation.ban(now, who, "lies"), limits::BAN_MIN);
}

#[test]
fn records_are_bounded_and_bans_are_forgotten_last() {
    let (mut reputation, now) = (Reputation::default(), Instant::now());
    reputation.add(now, number(0), limits::BAN_SCORE);
    reputation.ban(now, number(0), "lies");
    for other in 1..=2 * u32::try_from(limits::REPUTATION_ENTRIES).expect("few") {
        reputation.add(now, number(other), 1);
    }
    assert_eq!(reputation.records.len(), limits::REPUTATION_ENTRIES);
    assert!(reputation.ban_of(now, number(0)).is_some());
    for other in 0..10_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&other.to_be_bytes());
        reputation.ban_node(now, NodeId(id), limits::BAN_MIN, "lies");
    }
    assert_eq!(reputation.nodes.len(), limits::REPUTATION_ENTRIES);
}
