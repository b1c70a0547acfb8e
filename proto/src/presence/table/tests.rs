use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::signature::{Seal, Signature};

const SECOND: Duration = Duration::from_secs(1);

fn id(n: usize) -> NodeId {
    let mut id = [0; 32];
    id[24..].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId(id)
}

/// A neighbor on this host.
fn near() -> Source {
    Source { node: id(999), scope: Scope::Loopback, group: SourceGroup::Host, is_live: true }
}

/// A neighbor elsewhere, at an address of its own.
fn elsewhere(n: u8) -> Source {
    let group = SourceGroup::of([203, 0, 113, n].into());
    Source { node: id(900 + usize::from(n)), scope: Scope::Public, group, is_live: true }
}

/// The verdict on an announcement that came from its node, or by way of [`near`].
fn judge(table: &Table, announcement: &Announcement, direct: bool, limits: &Limits) -> Verdict {
    let node = if direct { announcement.node } else { near().node };
    table.judge(announcement, Source { node, ..near() }, limits)
}

fn announcement(node: usize, session: u8, change: impl FnOnce(&mut Announcement)) -> Announcement {
    let mut announcement = Announcement {
        node: id(node),
        session: Session::from_random([session; 16]),
        address: None,
        since: 0,
        seq: 0,
        peers: Vec::new(),
        links: 0,
        max_peers: None,
        nodes: 0,
        interval: 3_600,
        topics: Vec::new(),
        left: false,
        seal: None,
    };
    change(&mut announcement);
    announcement
}

/// The nodes that have expired at a time, and when the next one may.
/// Neighbors that have proved their ids.
fn proved(neighbors: &[NodeId]) -> Vec<(NodeId, bool)> {
    neighbors.iter().map(|node| (*node, true)).collect()
}

fn expired(table: &mut Table, at: Instant, neighbors: &[usize]) -> (Vec<usize>, Option<Instant>) {
    let neighbors: Vec<NodeId> = neighbors.iter().copied().map(id).collect();
    let (gone, next) = table.expired(at, &proved(&neighbors), 10 * SECOND);
    let number = |node: NodeId| (0..1_000).find(|n| id(*n) == node).expect("a small number");
    (gone.into_iter().map(|(node, _)| number(node)).collect(), next)
}

/// A table in which each node names some others, and when each was heard of.
fn random(nodes: usize, named: usize, rng: &mut SmallRng) -> (Table, Instant) {
    let (mut table, now) = (Table::new(), Instant::now() + 1_000 * SECOND);
    for node in 0..nodes {
        // Some of the names belong to no node.
        let peers = (0..rng.random_range(0..=named)).map(|_| id(rng.random_range(0..nodes + nodes / 8))).collect();
        table.insert(announcement(node, 1, |it| it.peers = peers), now - SECOND * rng.random_range(0..4), near());
    }
    (table, now)
}

#[test]
fn of_one_session_the_higher_number_is_newer_and_of_two_the_later_start() {
    let (mut table, limits) = (Table::new(), Limits::default());
    let of = |session, since, seq| announcement(1, session, |it| (it.since, it.seq) = (since, seq));
    assert!(table.insert(of(2, 50, 7), Instant::now(), near()));
    let cases = [
        (2, 50, 6, false, false),
        (2, 50, 7, false, false),
        (2, 50, 8, true, true),
        (2, 0, 8, true, true),
        (2, 99, 7, false, false),
        (1, 49, 99, false, true),
        (1, 50, 99, false, true),
        (3, 50, 0, true, true),
        (1, 51, 0, true, true),
    ];
    for (session, since, seq, relayed, direct) in cases {
        let verdict = |news| if news { Verdict::News } else { Verdict::Old };
        let new = of(session, since, seq);
        assert_eq!(judge(&table, &new, false, &limits), verdict(relayed), "{session} {since} {seq}");
        assert_eq!(judge(&table, &new, true, &limits), verdict(direct), "{session} {since} {seq} from itself");
    }
    assert!(!table.insert(of(2, 50, 8), Instant::now(), near()), "it is not new");
    assert_eq!((table.len(), table.get(id(1)).map(|it| it.seq), table.get(id(2))), (1, Some(8), None));
}

#[test]
fn the_last_announcement_of_a_node_that_is_gone_stays_old() {
    let (mut table, limits, now) = (Table::new(), Limits::default(), Instant::now());
    let of = |node, session, seq| announcement(node, session, |it| it.seq = seq);
    table.insert(of(1, 1, 7), now, near());
    assert!(table.remove(now, id(1), None) && !table.remove(now, id(1), None));
    assert!(!table.remove(now, id(2), Some((&of(2, 1, 7), true))), "it was not in the table");
    assert!(!table.remove(now, id(3), None));
    for node in [1, 2] {
        assert_eq!(judge(&table, &of(node, 1, 7), true, &limits), Verdict::Old);
        assert_eq!(judge(&table, &of(node, 1, 8), false, &limits), Verdict::News);
        assert_eq!(judge(&table, &of(node, 2, 0), false, &limits), Verdict::News, "another session");
    }
    assert_eq!(judge(&table, &of(3, 1, 0), false, &limits), Verdict::News, "nothing is known of it");
    // What it said last counts, not what the table had.
    table.insert(of(4, 1, 1), now, near());
    assert!(table.remove(now, id(4), Some((&of(4, 1, 5), true))));
    assert_eq!(judge(&table, &of(4, 1, 5), false, &limits), Verdict::Old);
    for node in 10..10 + 2 * TOMBSTONES {
        table.remove(now, id(node), Some((&of(node, 1, 7), true)));
    }
    assert_eq!(judge(&table, &of(1, 1, 0), false, &limits), Verdict::News, "forgotten, after two generations");
    assert_eq!(judge(&table, &of(10 + TOMBSTONES, 1, 0), false, &limits), Verdict::Old);
}

/// A relay passed it on as an answer to a request, which is not sent on, and whose age is a claim.
#[test]
fn the_first_live_copy_of_an_announcement_is_news() {
    let (limits, now) = (Limits::default(), Instant::now());
    let of = |seq| announcement(1, 1, |it| it.seq = seq);
    let [live, answer] = [true, false].map(|is_live| Source { is_live, ..near() });
    for (first, second, verdict) in [
        (answer, live, Verdict::News),
        (answer, answer, Verdict::Old),
        (live, live, Verdict::Old),
        (live, answer, Verdict::Old),
    ] {
        // Also after it was removed, by its age or by a goodbye.
        for (is_gone, left) in [(false, false), (true, false), (true, true)] {
            let mut table = Table::new();
            if !left {
                table.insert(of(7), now, first);
            }
            if is_gone {
                table.remove(now, id(1), Some((&of(7), first.is_live)).filter(|_| left));
            }
            let case = format!("{} {} {is_gone} {left}", first.is_live, second.is_live);
            assert_eq!(table.judge(&of(7), second, &limits), verdict, "{case}");
            assert_eq!(table.judge(&of(6), second, &limits), Verdict::Old, "{case}");
            assert_eq!(table.judge(&of(8), second, &limits), Verdict::News, "{case}");
        }
    }
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let (mut table, limits, now) = (Table::new(), Limits { presence_nodes: 2, ..Limits::default() }, Instant::now());
    for node in 0..2 {
        assert_eq!(judge(&table, &announcement(node, 1, |_| {}), false, &limits), Verdict::News);
        table.insert(announcement(node, 1, |_| {}), now, near());
    }
    assert_eq!(judge(&table, &announcement(2, 1, |_| {}), false, &limits), Verdict::NoRoom);
    assert_eq!(judge(&table, &announcement(2, 1, |_| {}), true, &limits), Verdict::News, "neighbors always have room");
    assert_eq!(
        judge(&table, &announcement(0, 1, |it| it.seq = 1), false, &limits),
        Verdict::News,
        "it has room already"
    );
    assert_eq!(judge(&table, &announcement(2, 1, |it| it.left = true), false, &limits), Verdict::News, "needs none");
    assert_eq!(judge(&table, &announcement(0, 1, |it| it.left = true), false, &limits), Verdict::Old);
    table.remove(now, id(0), None);
    assert_eq!(judge(&table, &announcement(2, 1, |_| {}), false, &limits), Verdict::News);
}

#[test]
fn the_links_that_all_nodes_name_are_bounded() {
    let (mut table, limits, now) = (Table::new(), Limits::default(), Instant::now());
    let of = |node, seq, peers| announcement(node, 1, |it| (it.seq, it.peers) = (seq, vec![id(0); peers]));
    table.insert(of(1, 1, limits::ANNOUNCED_LINKS - 10), now, near());
    assert_eq!(judge(&table, &of(2, 1, 10), false, &limits), Verdict::News);
    assert_eq!(judge(&table, &of(2, 1, 11), false, &limits), Verdict::NoRoom);
    assert_eq!(judge(&table, &of(1, 2, limits::ANNOUNCED_LINKS), false, &limits), Verdict::News, "in place of its own");
    assert_eq!(judge(&table, &of(1, 2, limits::ANNOUNCED_LINKS + 1), false, &limits), Verdict::NoRoom);
    table.insert(of(1, 2, limits::ANNOUNCED_LINKS), now, near());
    assert_eq!(judge(&table, &of(2, 1, 1), false, &limits), Verdict::NoRoom);
    table.remove(now, id(1), None);
    assert_eq!(judge(&table, &of(2, 1, limits::ANNOUNCED_LINKS), false, &limits), Verdict::News);
}

#[test]
fn signed_announcements_are_bounded_in_bytes() {
    let seal = Arc::new(Seal { canonical: "x".repeat(limits::SEALED_BYTES), signature: Signature([0; 64]) });
    let sealed = |node, seq| announcement(node, 1, |it| (it.seal, it.seq) = (Some(seal.clone()), seq));
    let (mut table, limits, now) = (Table::new(), Limits::default(), Instant::now());
    let room = limits::ANNOUNCED_BYTES / limits::SEALED_BYTES;
    for node in 0..room {
        assert_eq!(judge(&table, &sealed(node, 1), false, &limits), Verdict::News, "{node}");
        table.insert(sealed(node, 1), now, near());
    }
    assert_eq!(judge(&table, &sealed(room, 1), false, &limits), Verdict::NoRoom);
    assert_eq!(judge(&table, &sealed(0, 2), false, &limits), Verdict::News, "in place of the older one");
    table.insert(sealed(0, 2), now, near());
    table.remove(now, id(1), None);
    assert_eq!(judge(&table, &sealed(room, 1), false, &limits), Verdict::News);
}

#[test]
fn nodes_come_in_the_order_of_their_ids_after_any_one() {
    let (mut table, now) = (Table::new(), Instant::now());
    for node in [5, 3, 9, 1] {
        table.insert(announcement(node, 1, |_| {}), now + SECOND * node as u32, near());
    }
    let after = |last: Option<usize>, most| {
        let some = table.after(last.map(id)).take(most);
        some.map(|(announcement, heard)| (announcement.node, heard)).collect::<Vec<_>>()
    };
    let expected = |nodes: &[usize]| nodes.iter().map(|n| (id(*n), now + SECOND * *n as u32)).collect::<Vec<_>>();
    assert_eq!(after(None, 2), expected(&[1, 3]));
    assert_eq!(after(Some(3), 9), expected(&[5, 9]));
    assert_eq!(after(Some(4), 1), expected(&[5]), "the one before need not be there");
    assert_eq!(after(Some(9), 9), []);
    assert_eq!(table.iter().map(|(it, heard)| (it.node, heard)).collect::<Vec<_>>(), expected(&[1, 3, 5, 9]));
}

#[test]
fn a_node_expires_after_three_intervals_of_silence_within_bounds() {
    for (interval, patience) in [(0, 30), (10, 30), (11, 33), (14_400, 43_200), (14_401, 43_200), (u32::MAX, 43_200)] {
        let (mut table, now) = (Table::new(), Instant::now());
        table.insert(announcement(1, 1, |it| it.peers = vec![id(2)]), now, near());
        table.insert(announcement(2, 1, |it| (it.peers, it.interval) = (vec![id(1)], interval)), now, near());
        let at = now + SECOND * patience;
        assert_eq!(expired(&mut table, at - Duration::from_nanos(1), &[1]), (vec![], Some(at)), "{interval}");
        assert_eq!(expired(&mut table, at, &[1]), (vec![2], None), "{interval}");
        assert_eq!(table.expired(at, &proved(&[id(1)]), SECOND).0, [(id(2), Departure::Silent)]);
    }
}

#[test]
fn a_node_to_which_no_link_leads_expires_unless_one_leads_to_it_again() {
    let (mut table, now) = (Table::new(), Instant::now() + 1_000 * SECOND);
    let link = |table: &mut Table, peers: Vec<NodeId>, at| {
        table.insert(announcement(1, 1, |it| it.peers = peers), at, near());
    };
    link(&mut table, vec![id(2)], now);
    table.insert(announcement(2, 1, |_| {}), now, near());
    assert_eq!(expired(&mut table, now, &[1]), (vec![], Some(now + SECOND * 3 * 3_600)), "reachable");
    link(&mut table, vec![], now + SECOND);
    assert_eq!(expired(&mut table, now + SECOND, &[1]), (vec![], Some(now + SECOND * 11)));
    assert_eq!(expired(&mut table, now + SECOND * 10, &[1]).1, Some(now + SECOND * 11), "since the first time");
    link(&mut table, vec![id(2)], now + SECOND * 10);
    assert_eq!(expired(&mut table, now + SECOND * 11, &[1]).0, [0; 0]);
    link(&mut table, vec![], now + SECOND * 12);
    assert_eq!(expired(&mut table, now + SECOND * 12, &[1]), (vec![], Some(now + SECOND * 22)), "it begins again");
    let (gone, next) = table.expired(now + SECOND * 22, &proved(&[id(1)]), SECOND * 10);
    assert_eq!((gone, next), (vec![(id(2), Departure::Unlinked)], None));
    // The earliest of several comes next, and our own neighbors never expire.
    table.insert(announcement(3, 1, |_| {}), now - SECOND * 3 * 3_600 + SECOND * 30, near());
    let (_, next) = table.expired(now + SECOND * 23, &proved(&[id(1), id(2)]), SECOND * 99);
    assert_eq!(next, Some(now + SECOND * 30), "silence, although links count for longer");
    assert_eq!(expired(&mut table, now + SECOND * 99_999, &[1, 2, 3]), (vec![], None));
}

#[test]
fn of_two_nodes_the_one_heard_of_last_says_whether_they_are_linked() {
    for (says, later, linked) in [(1, 1, true), (1, 2, false), (2, 1, false), (2, 2, true)] {
        let (mut table, now) = (Table::new(), Instant::now());
        for node in [1, 2] {
            let peers = if node == says { vec![id(3 - node)] } else { vec![] };
            table.insert(announcement(node, 1, |it| it.peers = peers), now + SECOND * u32::from(node == later), near());
        }
        table.expired(now, &proved(&[id(1)]), SECOND);
        let gone = table.expired(now + SECOND, &proved(&[id(1)]), SECOND).0;
        assert_eq!(gone.is_empty(), linked, "{says} says so, {later} is later");
    }
}

#[test]
fn nodes_to_which_no_chain_of_links_leads_expire() {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..200 {
        let nodes = rng.random_range(1..30);
        let (mut table, now) = random(nodes, 2, &mut rng);
        let neighbors: Vec<NodeId> = (0..rng.random_range(0..3)).map(|_| id(rng.random_range(0..nodes))).collect();
        // The same by going round until nothing changes.
        let linked = |one: usize, other: usize| {
            let (one, other) = (&table.records[&id(one)], &table.records[&id(other)]);
            let names = |record: &Record, node| record.announcement.peers.contains(&node);
            (one.heard >= other.heard && names(one, other.announcement.node))
                || (other.heard >= one.heard && names(other, one.announcement.node))
        };
        let mut reached: Vec<bool> = (0..nodes).map(|node| neighbors.contains(&id(node))).collect();
        for _ in 0..nodes {
            for node in 0..nodes {
                reached[node] |= (0..nodes).any(|other| reached[other] && linked(node, other));
            }
        }
        let expected: Vec<NodeId> = (0..nodes).filter(|node| !reached[*node]).map(id).collect();
        assert_eq!(table.expired(now, &proved(&neighbors), 10 * SECOND).0, [], "they have ten seconds");
        let gone: Vec<NodeId> = table
            .expired(now + 10 * SECOND, &proved(&neighbors), 10 * SECOND)
            .0
            .into_iter()
            .map(|(node, _)| node)
            .collect();
        assert_eq!(gone, expected, "{neighbors:?} {table:?}");
    }
}

/// Inserts what is news.
fn take(table: &mut Table, announcement: Announcement, source: Source, limits: &Limits) -> bool {
    let news = table.judge(&announcement, source, limits) == Verdict::News;
    if news {
        table.make_room(&announcement, source, limits);
        table.insert(announcement, Instant::now(), source);
    }
    news
}

#[test]
fn a_full_table_is_shared_by_those_that_bring_its_nodes() {
    let (mut table, limits) = (Table::new(), Limits { presence_nodes: 90, ..Limits::default() });
    let (liar, honest, third) = (elsewhere(1), elsewhere(2), elsewhere(3));
    // Many ids at one address are one source.
    let alias = |n: usize| Source { node: id(700 + n), ..liar };
    let invented = (0..200).filter(|n| take(&mut table, announcement(*n, 1, |_| {}), alias(n % 16), &limits)).count();
    assert_eq!((invented, table.len()), (90, 90), "alone it may fill the table");
    let real: Vec<usize> =
        (300..340).filter(|n| take(&mut table, announcement(*n, 1, |_| {}), honest, &limits)).collect();
    assert_eq!(real.len(), 40, "as few as an honest neighbor brings, all have room");
    assert!(
        !(200..300).any(|n| take(&mut table, announcement(n, 1, |_| {}), liar, &limits)),
        "it has more than others"
    );
    assert_eq!((400..500).filter(|n| take(&mut table, announcement(*n, 1, |_| {}), third, &limits)).count(), 30);
    assert_eq!(table.len(), 90);
    let left: Vec<usize> = [liar, honest, third].iter().map(|source| table.shares[&source.share()].len()).collect();
    assert_eq!(left, [30, 30, 30]);
    assert!(take(&mut table, announcement(600, 1, |_| {}), Source { node: id(600), ..third }, &limits), "a neighbor");
    // What is gone frees its share.
    for node in 0..1_000 {
        table.remove(Instant::now(), id(node), None);
    }
    assert_eq!((table.len(), table.shares.len(), table.links, table.sealed), (0, 0, 0, 0));
}

#[test]
fn links_and_bytes_are_shared_as_well() {
    let (mut table, limits) = (Table::new(), Limits::default());
    let many = limits::ANNOUNCED_LINKS / 4;
    let of = |node, peers| announcement(node, 1, |it| it.peers = vec![id(0); peers]);
    for node in 0..4 {
        assert!(take(&mut table, of(node, many), elsewhere(1), &limits));
    }
    assert!(!take(&mut table, of(5, 1), elsewhere(1), &limits));
    assert!(take(&mut table, of(6, many), elsewhere(2), &limits));
    assert_eq!((table.len(), table.links), (4, 4 * many));
}

#[test]
fn chains_of_one_kind_of_nodes_reach_what_either_end_says_it_is_linked_to() {
    let (mut table, now) = (Table::new(), Instant::now());
    let topic: crate::topic_name::TopicName = "a".parse().expect("a name");
    // 1 - 2 - 3 have it, 4 does not, 5 - 6 have it beyond, and 7 is alone.
    for (node, peers, has) in [
        (1, vec![2], true),
        (2, vec![], true),
        (3, vec![2, 4], true),
        (4, vec![5], false),
        (5, vec![4, 6], true),
        (6, vec![], true),
        (7, vec![1_000], true),
    ] {
        let change = |announcement: &mut Announcement| {
            announcement.peers = peers.into_iter().map(id).collect();
            announcement.topics = if has { vec![topic.clone()] } else { Vec::new() };
        };
        table.insert(announcement(node, 1, change), now, near());
    }
    let reached = |from: &[usize], except| {
        let from = from.iter().copied().map(id).collect();
        let nodes = table.reached(from, id(except), |announcement| announcement.topics.contains(&topic));
        nodes.into_iter().map(|node| (0..8).find(|n| id(*n) == node).expect("one of them")).collect::<Vec<_>>()
    };
    assert_eq!(reached(&[1], 9), [1, 2, 3]);
    assert_eq!(reached(&[1, 6], 9), [1, 2, 3, 5, 6]);
    assert_eq!(reached(&[1], 2), [1], "not through the node that asks");
    assert!(reached(&[], 9).is_empty());
}

#[test]
fn a_node_is_linked_if_both_ends_announced_it() {
    let mut table = Table::new();
    for (node, peers) in [(1, &[2, 3][..]), (2, &[1]), (3, &[]), (4, &[3, 999]), (5, &[5])] {
        let peers = peers.iter().map(|peer| id(*peer)).collect();
        table.insert(announcement(node, 1, |own| own.peers = peers), Instant::now(), near());
    }
    let linked = |nodes: &[usize]| table.linked(nodes.iter().map(|node| id(*node)).collect());
    assert_eq!(linked(&[1, 2, 3, 4, 6]), [id(1), id(2)].into());
    assert_eq!(linked(&[2]), [id(2)].into());
}
