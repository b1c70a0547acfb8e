use crate::peers::reputation::*;

fn group(text: &str) -> Option<AddressGroup> {
    AddressGroup::of(text.parse().expect("an IP address"))
}

fn number(number: u32) -> AddressGroup {
    AddressGroup::of(IpAddr::from((0xc612_0000 + number).to_be_bytes())).expect("a public address")
}

#[test]
fn a_group_is_an_ipv4_address_or_an_ipv6_subscriber() {
    assert_eq!(group("203.0.113.7"), group("::ffff:203.0.113.7"));
    assert_ne!(group("203.0.113.7"), group("203.0.113.8"));
    assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
    assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
    assert_eq!(group("2001:db8:1:2::1").expect("a group").to_string(), "2001:db8:1:2::/64");
    assert_eq!(group("10.0.0.1").expect("a group").to_string(), "10.0.0.1");
    assert_eq!((group("127.0.0.1"), group("::1")), (None, None));
}

#[test]
fn points_fade_one_by_one() {
    let start = Instant::now();
    let mut score = Score::new(start);
    assert_eq!(score.add(start, 10), 10);
    assert_eq!(score.add(start + limits::SCORE_DECAY * 3 / 2, 10), 19, "one has faded, and half of the next");
    assert_eq!(score.add(start + limits::SCORE_DECAY * 2, 0), 18, "the half is not lost");
    assert_eq!(score.at(start + limits::SCORE_DECAY * 100), 0);
    assert_eq!(score.add(start + limits::SCORE_DECAY * 100, 7), 7);
}

#[test]
fn each_time_it_is_kept_away_for_twice_as_long_up_to_an_hour_and_peace_ends_that() {
    let (mut conduct, mut now, who) = (Reputation::default(), Instant::now(), number(1));
    let mut times = Vec::new();
    for _ in 0..7 {
        conduct.offend(now, who, limits::BAN_SCORE);
        let time = conduct.keep_away(now, who, "lies");
        times.push(time.as_secs());
        assert!(conduct.kept(now + time - Duration::from_secs(1), who).is_some());
        assert!(conduct.kept(now + time, who).is_none());
        now += time;
    }
    assert_eq!(times, [120, 240, 480, 960, 1_920, 3_600, 3_600]);
    now += limits::BAN_MAX;
    conduct.offend(now, who, limits::BAN_SCORE);
    assert_eq!(conduct.keep_away(now, who, "lies"), limits::BAN_MIN);
}

#[test]
fn what_is_remembered_is_bounded_and_whoever_is_kept_away_is_forgotten_last() {
    let (mut conduct, now) = (Reputation::default(), Instant::now());
    conduct.offend(now, number(0), limits::BAN_SCORE);
    conduct.keep_away(now, number(0), "lies");
    for other in 1..=2 * u32::try_from(limits::REPUTATION_ENTRIES).expect("few") {
        conduct.offend(now, number(other), 1);
    }
    assert_eq!(conduct.records.len(), limits::REPUTATION_ENTRIES);
    assert!(conduct.kept(now, number(0)).is_some());
    for other in 0..10_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&other.to_be_bytes());
        conduct.keep_node_away(now, NodeId(id), limits::BAN_MIN, "lies");
    }
    assert_eq!(conduct.nodes.len(), limits::REPUTATION_ENTRIES);
}

#[test]
fn a_group_is_told_of_once_a_minute_with_a_count_of_the_rest() {
    let (mut conduct, now) = (Reputation::default(), Instant::now());
    assert_eq!(conduct.may_tell(now, None, "no place"), Some(0));
    for _ in 0..41 {
        assert_eq!(conduct.may_tell(now, None, "no place"), None);
    }
    assert_eq!(conduct.may_tell(now, Some(number(1)), "no place"), Some(0), "another group");
    assert_eq!(conduct.next_count(), Some(now + limits::LOG_INTERVAL));
    assert_eq!(conduct.may_tell(now + limits::LOG_INTERVAL, None, "no place"), Some(41));
    for other in 0..10_000 {
        conduct.may_tell(now, Some(number(other)), "no place");
    }
    assert_eq!(conduct.told.len(), limits::LOG_GROUPS);
}
