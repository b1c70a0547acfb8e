use crate::connections::table::OURSELVES;
use crate::json::Parser;
use crate::store::broadcast_store::HeldBroadcast;
use crate::sync::broadcast_sync::*;
use crate::testing::parts::{client, context, drain, native, origin};
use crate::wire::{Broadcast, Message};
use crate::{Output, wire::Step};

const A: LinkId = LinkId(1);

/// One node's side: a native peer on link 1, and a client on 2.
struct Side {
    sync: BroadcastSync,
    cx: Context,
    links: LinkTable,
    store: BroadcastStore,
}

fn side(broadcasts: std::ops::Range<u8>) -> Side {
    let (mut cx, mut links, mut store) = (context(), LinkTable::default(), BroadcastStore::default());
    native(&cx, &mut links, 1);
    client(&cx, &mut links, 2);
    for n in broadcasts {
        let digest = BroadcastDigest([n; 32]);
        store.insert(cx.now, digest, held(n, cx.now, cx.now, f64::from(n)));
    }
    cx.now += SETTLE_DELAY;
    Side { sync: BroadcastSync::default(), cx, links, store }
}

fn id(n: u8) -> BroadcastId {
    BroadcastId([n; 32])
}

fn held(n: u8, born: Instant, received: Instant, time: f64) -> HeldBroadcast {
    let broadcast = Broadcast { id: id(n), message: format!("text {n}").into(), time, seal: None };
    HeldBroadcast { broadcast, origin: origin(9), born, received, is_live: true, by: OURSELVES }
}

impl Side {
    fn compare(&mut self) {
        self.sync.compare(&mut self.cx, &self.links, &mut self.store, A);
    }

    fn on(&mut self, link: LinkId, frame: SyncFrame) -> Result<(), Violation> {
        self.sync.on_sync(&mut self.cx, &self.links, &mut self.store, link, (OtherSet::BroadcastDigests, frame))
    }

    fn count(&self) -> u64 {
        Layout::new(&self.store, Key::Digest, self.cx.now).summary.count
    }
}

/// Takes what a side sends, and lets the other handle it. Returns the frames and the ids of its
/// WANTs.
fn carry(from: &mut Side, to: &mut Side) -> (usize, Vec<TransactionId>) {
    let (mut frames, mut wanted) = (0, Vec::new());
    while let Some(Output::Send { frame, .. }) = from.cx.poll_output() {
        frames += 1;
        match Message::parse(&mut Parser::new(), frame.as_str()) {
            Ok(Message::SyncOther(OtherSet::BroadcastDigests, frame)) => to.on(A, frame).expect("a sound frame"),
            Ok(Message::Want(ids)) => wanted.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    (frames, wanted)
}

fn converse(one: &mut Side, other: &mut Side) -> [Vec<u8>; 2] {
    let mut wanted = [Vec::new(), Vec::new()];
    loop {
        let (there, ids) = carry(one, other);
        wanted[0].extend(ids.iter().map(|id| id.0[0]));
        let (back, ids) = carry(other, one);
        wanted[1].extend(ids.iter().map(|id| id.0[0]));
        if there + back == 0 {
            return wanted;
        }
    }
}

#[test]
fn each_side_fetches_what_it_lacks_at_once() {
    let (mut one, mut other) = (side(0..10), side(5..20));
    one.compare();
    let wanted = converse(&mut one, &mut other);
    assert_eq!(wanted, [(10..20).collect::<Vec<u8>>(), (0..5).collect()]);
    assert_eq!((one.cx.counters.sync_rounds, one.cx.counters.sync_sent_bytes), (0, 0), "only pools are counted");
    assert!(!one.sync.by_digest.reconciler.is_open(A) && !other.sync.by_digest.reconciler.is_open(A));
}

#[test]
fn a_node_that_holds_nothing_says_nothing_and_fetches_all() {
    let (mut one, mut other) = (side(0..0), side(0..3));
    one.compare();
    assert!(drain(&mut one.cx).is_empty());
    other.compare();
    assert_eq!(converse(&mut other, &mut one), [Vec::new(), vec![0, 1, 2]]);
    // A summary of nothing leads to nothing.
    let nothing = Summary { count: 0, sum: "0".repeat(64) };
    other.on(A, SyncFrame::Reply(nothing)).expect("a native peer");
    assert!(drain(&mut other.cx).is_empty() && !other.sync.by_digest.reconciler.is_open(A));
}

#[test]
fn what_came_a_moment_ago_is_not_requested_although_it_has_not_settled() {
    let (mut one, mut other) = (side(0..1), side(0..3));
    let now = one.cx.now;
    one.store.insert(now, BroadcastDigest([1; 32]), held(1, now, now, 1.0));
    one.compare();
    assert_eq!(converse(&mut one, &mut other), [vec![2], Vec::new()]);
}

#[test]
fn a_broadcast_is_compared_once_it_has_settled_and_until_it_expires() {
    let mut side = side(0..0);
    let start = side.cx.now;
    side.store.insert(start, BroadcastDigest([1; 32]), held(1, start - Duration::from_secs(5), start, 1.0));
    side.cx.now = start + SETTLE_DELAY - Duration::from_nanos(1);
    assert_eq!(side.count(), 0);
    side.cx.now = start + SETTLE_DELAY;
    assert_eq!(side.count(), 1);
    side.cx.now = start + limits::BROADCAST_TTL - Duration::from_secs(5);
    side.compare();
    assert!(drain(&mut side.cx).is_empty(), "its age counts from where it was new");
}

#[test]
fn time_stamps_that_are_no_numbers_of_seconds_are_compared_all_the_same() {
    let mut side = side(0..0);
    let start = side.cx.now;
    for (n, time) in [(1, -5.0), (2, f64::NAN), (3, 1e300), (4, 7.9)] {
        side.store.insert(start, BroadcastDigest([n; 32]), held(n, start, start, time));
    }
    side.cx.now += SETTLE_DELAY;
    let set = Layout::new(&side.store, Key::Digest, side.cx.now);
    let items = settled(&side.store, Key::Digest, side.cx.now);
    assert_eq!(items.into_iter().map(|(_, time)| time).collect::<Vec<u64>>(), [0, 0, u64::MAX - 1, 7]);
    assert!(set.begin().is_ok());
}

#[test]
fn broadcasts_with_one_id_are_compared_by_digest_and_by_id_as_one() {
    let mut side = side(0..2);
    let (start, other) = (side.cx.now - SETTLE_DELAY, BroadcastDigest([77; 32]));
    side.store.insert(start, other, held(1, start, start, 1.0));
    let keys = |key| {
        settled(&side.store, key, side.cx.now)
            .into_iter()
            .map(|(id, _)| id.0[0])
            .collect::<std::collections::BTreeSet<u8>>()
    };
    assert_eq!(keys(Key::Digest), [0, 1, 77].into());
    assert_eq!(keys(Key::Id), [0, 1].into());
    assert_eq!(Layout::new(&side.store, Key::Id, side.cx.now).summary.count, 2);
}

/// Has the other side handle what a side sends, as if by ids. Notes the first bytes of wanted ids.
fn carry_by_ids(from: &mut Side, to: &mut Side, wanted: &mut Vec<u8>) {
    while let Some(Output::Send { frame, .. }) = from.cx.poll_output() {
        match Message::parse(&mut Parser::new(), frame.as_str()) {
            Ok(Message::SyncOther(by, frame)) => {
                let first = matches!(frame, SyncFrame::Summary(_));
                assert_eq!(by == OtherSet::BroadcastDigests, first, "an old node is answered by ids");
                let Side { sync, cx, links, store } = to;
                sync.on_sync(cx, links, store, A, (OtherSet::Broadcasts, frame)).expect("sound");
            }
            Ok(Message::Want(ids)) => wanted.extend(ids.iter().map(|id| id.0[0])),
            other => panic!("{other:?}"),
        }
    }
}

/// A node of release 0.1 compares ids, and takes every summary of broadcasts for one of ids.
#[test]
fn a_node_of_the_previous_release_is_compared_with_by_ids() {
    let (mut ours, mut theirs) = (side(0..0), side(0..0));
    let start = ours.cx.now;
    for n in 1..4 {
        // Digests are not ids.
        ours.store.insert(start, BroadcastDigest([100 + n; 32]), held(n, start, start, f64::from(n)));
    }
    for n in 3..6 {
        theirs.store.insert(start, BroadcastDigest([100 + n; 32]), held(n, start, start, f64::from(n)));
    }
    (ours.cx.now, theirs.cx.now) = (start + SETTLE_DELAY, start + SETTLE_DELAY);
    ours.compare();
    let mut wanted = [Vec::new(), Vec::new()];
    for _ in 0..10 {
        carry_by_ids(&mut ours, &mut theirs, &mut wanted[0]);
        carry_by_ids(&mut theirs, &mut ours, &mut wanted[1]);
    }
    wanted.iter_mut().for_each(|ids| ids.sort_unstable());
    assert_eq!(wanted, [vec![4, 5], vec![1, 2]]);
}

#[test]
fn an_id_that_is_anothers_digest_keeps_nobody_from_asking_for_it() {
    let (mut one, mut other) = (side(0..0), side(0..3));
    let now = one.cx.now;
    one.store.insert(now, BroadcastDigest([50; 32]), held(1, now, now, 0.0));
    other.compare();
    assert_eq!(converse(&mut other, &mut one)[1], [0, 1, 2]);
    one.sync.on_brought(&mut one.cx, &one.store, A, (BroadcastDigest([60; 32]), id(2)), 10);
    assert!(one.sync.by_digest.wants.next_due().is_some());
    for n in 0..3 {
        one.sync.on_brought(&mut one.cx, &one.store, A, (BroadcastDigest([n; 32]), id(9)), 10);
    }
    assert!(one.sync.by_digest.wants.next_due().is_none(), "all have come");
}

#[test]
fn a_neighbour_that_offers_broadcasts_and_brings_none_is_asked_last() {
    let (mut one, mut other) = (side(0..0), side(0..3));
    other.compare();
    converse(&mut other, &mut one);
    one.cx.now = one.cx.timers.due(&Timer::WantBroadcasts).expect("set");
    assert!(one.sync.on_wants_due(&mut one.cx, &one.store) && one.sync.is_stalled(A));
    assert!(one.cx.timers.due(&Timer::WantBroadcasts).is_none());
}

#[test]
fn wanted_broadcasts_carry_their_age() {
    let mut side = side(0..2);
    let ids = [TransactionId(id(1).0), TransactionId(id(7).0)];
    on_want(&mut side.cx, &mut side.store, A, &ids);
    let Some(Output::Send { frame, .. }) = side.cx.poll_output() else { panic!("no frame") };
    let Ok(Message::Broadcast(frame)) = Message::parse(&mut Parser::new(), frame.as_str()) else { panic!("{frame:?}") };
    assert_eq!((frame.broadcast.id, frame.synced, frame.origin), (id(1), Some(SETTLE_DELAY), Some(origin(9))));
    assert_eq!((side.cx.counters.broadcasts_sent, side.cx.poll_output().is_none()), (1, true));
    side.cx.now += limits::BROADCAST_TTL;
    on_want(&mut side.cx, &mut side.store, A, &ids);
    assert!(drain(&mut side.cx).is_empty());
}

#[test]
fn what_no_peer_needs_is_a_breach_and_a_late_answer_is_not() {
    let mut side = side(0..2);
    let answer = || SyncFrame::Answer(Step { number: 1, message: Vec::new() });
    assert_eq!(side.on(A, answer()), Ok(()));
    assert_eq!(side.cx.counters.answers_unsolicited, 1);
    let error = side.on(A, SyncFrame::Everything).expect_err("not for broadcasts");
    assert_eq!(error, Violation::breach("SYNC: broadcasts are not requested as a whole"));
    side.on(A, SyncFrame::Reply(Summary { count: 1, sum: "other".into() })).expect("a native peer");
    assert!(side.sync.by_digest.reconciler.is_open(A) && side.on(A, answer()).is_err(), "malformed");
    side.on(A, SyncFrame::Reply(Summary { count: 1, sum: "other".into() })).expect("a native peer");
    side.sync.on_link_closed(&mut side.cx, &side.store, A);
    assert!(!side.sync.by_digest.reconciler.is_open(A));
}

#[test]
fn a_large_set_is_laid_out_a_few_times_a_second_however_often_a_peer_asks() {
    let mut side = side(0..0);
    let start = side.cx.now;
    let insert = |side: &mut Side, n: u32| {
        let mut digest = BroadcastDigest([7; 32]);
        digest.0[..4].copy_from_slice(&n.to_be_bytes());
        side.store.insert(start, digest, held(7, start, start, 1.0));
    };
    (0..10_000).for_each(|n| insert(&mut side, n));
    side.cx.now += SETTLE_DELAY;
    let other = || SyncFrame::Summary(Summary { count: 0, sum: "other".into() });
    side.on(A, other()).expect("a native peer");
    let laid_out = |side: &Side| side.sync.by_digest.layout.as_ref().map(|layout| (layout.at, layout.summary.count));
    let first = laid_out(&side);
    assert_eq!(first, Some((side.cx.now, 10_000)));
    insert(&mut side, 10_000);
    side.cx.now += LAYOUT_COST * 9_999;
    side.on(A, other()).expect("a native peer");
    assert_eq!(laid_out(&side), first, "a tenth of a second");
    side.cx.now += LAYOUT_COST;
    side.on(A, other()).expect("a native peer");
    assert_eq!(laid_out(&side), Some((side.cx.now, 10_001)));
}

#[test]
fn one_want_brings_each_broadcast_once_and_no_more_than_half_a_queue() {
    let mut side = side(0..2);
    let ids = [TransactionId([1; 32]); 100];
    on_want(&mut side.cx, &mut side.store, A, &ids);
    assert_eq!(drain(&mut side.cx).len(), 1);
    side.cx.config.limits.queue_bytes = 20;
    on_want(&mut side.cx, &mut side.store, A, &[TransactionId([0; 32]), TransactionId([1; 32])]);
    assert_eq!(drain(&mut side.cx).len(), 1, "ten bytes: one of seven");
}
