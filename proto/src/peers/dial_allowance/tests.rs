use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

fn peer(text: &str) -> SourceGroup {
    SourceGroup::of(ip(text))
}

fn allowance() -> DialAllowance {
    DialAllowance::new(&Limits::default())
}

#[test]
fn one_host_is_dialled_four_times_in_any_ten_seconds_on_the_word_of_one_group() {
    let (mut allowance, start, liar) = (allowance(), Instant::now(), peer("203.0.113.7"));
    // Every tenth of a second for a minute; the IPv4-mapped form is the same host.
    let mut opened = Vec::new();
    for tenth in 0..600 {
        let (now, host) = (start + SECOND * tenth / 10, if tenth % 2 == 0 { "192.0.2.1" } else { "::ffff:192.0.2.1" });
        if let Ok(counted) = allowance.spend(now, &[liar], ip(host)) {
            assert!(!allowance.finish(now, &counted, None, false), "nobody answers");
            opened.push(now);
        }
    }
    assert_eq!(opened.len(), 24);
    assert!(opened.windows(5).all(|five| five[4] - five[0] >= SECOND * 10), "{opened:?}");
}

#[test]
fn what_is_refused_says_when_it_is_allowed_and_costs_nothing() {
    let (mut allowance, now, liar) = (allowance(), Instant::now(), peer("203.0.113.7"));
    for second in 0..4 {
        allowance.spend(now + SECOND * second, &[liar], ip("192.0.2.1")).expect("four are allowed");
    }
    for _ in 0..100 {
        let put_off = allowance.spend(now + SECOND * 4, &[liar], ip("192.0.2.1")).expect_err("the fifth is not");
        assert_eq!(put_off.until, now + SECOND * 10);
    }
    allowance.spend(now + SECOND * 10, &[liar], ip("192.0.2.1")).expect("the first is ten seconds ago");
    assert!(allowance.spend(now + SECOND * 10, &[liar], ip("192.0.2.1")).is_err(), "the others are not");
}

#[test]
fn addresses_are_counted_as_ipv4_addresses_and_ipv6_networks_of_64_bits() {
    let (mut allowance, now, liar) = (allowance(), Instant::now(), peer("203.0.113.7"));
    let mut opened = |ips: &[String]| ips.iter().filter(|at| allowance.spend(now, &[liar], ip(at)).is_ok()).count();
    assert_eq!(opened(&(0..50).map(|n| format!("2001:db8:0:1::{n:x}")).collect::<Vec<_>>()), 4, "one /64");
    assert_eq!(opened(&(0..50).map(|n| format!("2001:db8:0:{n:x}::1")).collect::<Vec<_>>()), 49, "others");
    assert_eq!(opened(&(0..50).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>()), 50);
    assert_eq!(opened(&vec!["10.0.0.1".to_owned(); 50]), 4, "private addresses too");
    for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(opened(&vec![loopback.to_owned(); 50]), 50);
    }
}

#[test]
fn each_source_group_has_an_allowance_of_its_own_and_any_of_them_will_do() {
    let (mut allowance, now, host) = (allowance(), Instant::now(), ip("192.0.2.1"));
    let (liar, honest) = (peer("2001:db8:1:1::7"), peer("203.0.113.8"));
    let mut opened = |sources: &[SourceGroup]| (0..10).filter(|_| allowance.spend(now, sources, host).is_ok()).count();
    assert_eq!(opened(&[liar]), 4);
    assert_eq!(opened(&[peer("2001:db8:1:1:ffff::1")]), 0, "the same /64");
    assert_eq!(opened(&[liar, honest]), 4);
    assert_eq!(opened(&[honest, liar]), 0);
    assert_eq!(opened(&[liar, honest, SourceGroup::User]), 4, "what the user named is not held up");
    assert_eq!(opened(&[]), 0);
}

#[test]
fn all_groups_together_have_a_bound_too_and_the_user_is_outside_of_it() {
    let (mut allowance, now, host) = (allowance(), Instant::now(), ip("192.0.2.1"));
    let mut opened = |source: SourceGroup| (0..10).filter(|_| allowance.spend(now, &[source], host).is_ok()).count();
    let liars: usize = (0..50).map(|n| opened(peer(&format!("203.0.113.{n}")))).sum();
    assert_eq!((liars, opened(SourceGroup::LocalNetwork), opened(SourceGroup::User)), (16, 0, 4));
}

#[test]
fn words_of_unknown_origin_add_nothing_to_what_one_attacker_has() {
    const UNKNOWN: [SourceGroup; 2] = [SourceGroup::Relayed, SourceGroup::LocalNetwork];
    let (start, host) = (Instant::now(), ip("192.0.2.1"));
    let attacker = peer("203.0.113.7");
    // In any order of its ways: its own links, what neighbours relay for it, multicast DNS.
    let mut ways = [attacker, UNKNOWN[0], UNKNOWN[1]];
    for turn in 0..3 {
        ways.rotate_left(1);
        let (mut allowance, mut opened) = (allowance(), Vec::new());
        for tenth in 0..600 {
            let now = start + SECOND * tenth / 10;
            // Each word for itself, and all of them for one address.
            for sources in [&ways[..1], &ways[1..2], &ways[2..], &ways[..]] {
                if let Ok(counted) = allowance.spend(now, sources, host) {
                    allowance.finish(now, &counted, None, false);
                    opened.push(now);
                }
            }
        }
        assert!(opened.windows(5).all(|five| five[4] - five[0] >= SECOND * 10), "turn {turn}: {opened:?}");
        assert!(opened.len() >= 12, "turn {turn}: {opened:?}");
    }
}

#[test]
fn words_of_unknown_origin_leave_half_an_allowance_to_each_group() {
    let (mut allowance, now, host) = (allowance(), Instant::now(), ip("192.0.2.1"));
    let mut opened = |source: SourceGroup| (0..10).filter(|_| allowance.spend(now, &[source], host).is_ok()).count();
    assert_eq!((opened(SourceGroup::Relayed), opened(SourceGroup::LocalNetwork)), (2, 0));
    assert_eq!((opened(peer("203.0.113.7")), opened(peer("203.0.113.8")), opened(SourceGroup::User)), (2, 2, 4));
}

#[test]
fn a_name_reaches_a_third_party_no_more_often_whoever_passes_it_on() {
    let (start, host) = (Instant::now(), ip("192.0.2.1"));
    let attacker = peer("203.0.113.7");
    // Honest nodes of so many groups verified a name of the attacker, which stood for itself then.
    let honest: Vec<_> = (1..=8).map(|number| peer(&format!("198.51.{number}.1"))).collect();
    let (mut allowance, mut opened) = (allowance(), Vec::new());
    for tenth in 0..600 {
        let now = start + SECOND * tenth / 10;
        // Names of one group each, a name of all of them, and what the attacker says itself.
        let names = honest.chunks(1).chain([&honest[..]]).map(sources_of_name);
        for sources in names.chain([vec![attacker]]) {
            if let Ok(counted) = allowance.spend(now, &sources, host) {
                allowance.finish(now, &counted, None, false);
                opened.push(now);
            }
        }
    }
    assert!(opened.windows(5).all(|five| five[4] - five[0] >= SECOND * 10), "{opened:?}");
    assert!(opened.len() >= 12, "{opened:?}");
}

#[test]
fn the_user_vouches_for_a_name() {
    let sources = sources_of_name(&[peer("203.0.113.7"), SourceGroup::User, SourceGroup::Host]);
    assert_eq!(sources, [SourceGroup::User, SourceGroup::Relayed]);
}

#[test]
fn other_nodes_that_answer_give_connections_back_and_the_same_one_does_not() {
    let (mut allowance, now, source, host) = (allowance(), Instant::now(), peer("10.0.0.9"), ip("10.0.0.1"));
    let mut dial = |node: u8| {
        let counted = allowance.spend(now, &[source], host).ok()?;
        Some(allowance.finish(now, &counted, Some(NodeId([node; 32])), false))
    };
    // A classroom behind one address: each of them is another node.
    assert_eq!(dial(0), Some(false), "the first one counts: the host may be a third party that runs a node");
    assert!((1..60).all(|node| dial(node) == Some(true)));
    // The one that was to be found there may be asked again and again.
    let counted = allowance.spend(now, &[source], host).expect("the others were given back");
    assert!(allowance.finish(now, &counted, Some(NodeId([7; 32])), true));
    let mut dial = |node: u8| {
        let counted = allowance.spend(now, &[source], host).ok()?;
        Some(allowance.finish(now, &counted, Some(NodeId([node; 32])), false))
    };
    // One node under a thousand names.
    let again: Vec<_> = (0..1_000).filter_map(|_| dial(7)).collect();
    assert_eq!(again, [false; 3]);
}

#[test]
fn one_that_is_under_way_may_be_given_back() {
    let (mut allowance, now, source, host) = (allowance(), Instant::now(), SourceGroup::User, ip("10.0.0.1"));
    let opened: Vec<Counted> = (0..4).map(|_| allowance.spend(now, &[source], host).expect("allowed")).collect();
    assert!(allowance.spend(now, &[source], host).expect_err("four are").may_end_sooner);
    for (number, counted) in opened.iter().enumerate() {
        assert!(allowance.spend(now, &[source], host).is_err_and(|off| off.may_end_sooner), "{number} have ended");
        allowance.finish(now, counted, None, false);
    }
    assert!(!allowance.spend(now, &[source], host).expect_err("they count").may_end_sooner);
}

#[test]
fn what_is_over_is_forgotten() {
    let (mut allowance, start, liar) = (allowance(), Instant::now(), peer("203.0.113.7"));
    for number in 0..100_000_u32 {
        let host = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0100_0000 + number));
        let now = start + SECOND * number / 10;
        let counted = allowance.spend(now, &[liar], host).expect("each is another host");
        allowance.finish(now, &counted, None, false);
        assert!(allowance.opened.len() <= 2 * PRUNED_AT);
    }
}
