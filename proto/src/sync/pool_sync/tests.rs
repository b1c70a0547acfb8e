use crate::event::Event;
use crate::json::Parser;
use crate::sync::pool_sync::*;
use crate::sync::stream::{STREAM_GRACE, STREAM_TICK, STREAM_TIMEOUT};
use crate::sync::wants::JUDGED;
use crate::testing::parts::{client, context, drain, event, native, transaction};
use crate::wire::Message;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

const D: LinkId = LinkId(4);

/// One node's side: native peers on links 1, 2 and 4, and a client on 3.
struct Side {
    sync: PoolSync,
    cx: Context,
    links: LinkTable,
    store: Store,
}

fn side(pool: impl Iterator<Item = u32>) -> Side {
    let (cx, mut links) = (context(), LinkTable::default());
    native(&cx, &mut links, 1);
    native(&cx, &mut links, 2);
    client(&cx, &mut links, 3);
    native(&cx, &mut links, 4);
    let store = Store::new(pool.map(|n| (id(n), 0)).collect());
    Side { sync: PoolSync::default(), cx, links, store }
}

fn id(n: u32) -> TransactionId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    TransactionId(id)
}

impl Side {
    fn on(&mut self, link: LinkId, frame: SyncFrame) -> Result<(), Violation> {
        self.sync.on_sync(&mut self.cx, &mut self.links, &mut self.store, link, frame)
    }

    /// Handles a summary of so many transactions that are not ours.
    fn on_summary(&mut self, link: LinkId, count: u64) -> Vec<String> {
        self.on(link, SyncFrame::Reply(Summary { count, sum: "other".into() })).expect("a native peer");
        drain(&mut self.cx).iter().map(|frame| kind(frame).to_owned()).collect()
    }
}

fn kind(frame: &str) -> &str {
    ["everything", "ask", "answer", "reply", "WANT"].into_iter().find(|kind| frame.contains(kind)).unwrap_or(frame)
}

/// Takes what a side sends on link 1, and lets the other handle it there. Returns the frames and
/// the ids of its WANTs.
fn carry(from: &mut Side, to: &mut Side) -> (usize, Vec<TransactionId>) {
    let (mut frames, mut wanted) = (0, Vec::new());
    while let Some(output) = from.cx.poll_output() {
        let Output::Send { frame, .. } = output else { continue };
        frames += 1;
        match Message::parse(&mut Parser::new(), frame.as_str()) {
            Ok(Message::Sync(frame)) => to.on(A, frame).expect("a sound frame"),
            Ok(Message::Want(ids)) => wanted.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    (frames, wanted)
}

/// Lets two sides talk until both are silent. Returns what each of them wants.
fn converse(one: &mut Side, other: &mut Side) -> [Vec<TransactionId>; 2] {
    let mut wanted = [Vec::new(), Vec::new()];
    loop {
        let (there, ids) = carry(one, other);
        wanted[0].extend(ids);
        let (back, ids) = carry(other, one);
        wanted[1].extend(ids);
        if there + back == 0 {
            wanted.iter_mut().for_each(|ids| ids.sort_unstable());
            return wanted;
        }
    }
}

fn sorted(ids: impl Iterator<Item = u32>) -> Vec<TransactionId> {
    let mut ids: Vec<TransactionId> = ids.map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn each_side_fetches_what_it_lacks_the_one_with_less_first() {
    let (mut one, mut other) = (side(0..90), side(5..100));
    one.sync.compare(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other), [sorted(90..100), Vec::new()], "the other side holds more");
    one.sync.compare(&mut one.cx, &one.links, &mut one.store, A);
    let wanted = converse(&mut one, &mut other);
    assert_eq!(wanted, [Vec::new(), sorted(0..5)], "what was requested a moment ago is still under way");
    assert_eq!((one.cx.counters.sync_rounds, other.cx.counters.sync_rounds), (2, 0));
}

#[test]
fn equal_pools_exchange_one_summary() {
    let (mut one, mut other) = (side(0..50), side(0..50));
    one.sync.compare(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(carry(&mut one, &mut other), (1, Vec::new()));
    assert!(drain(&mut other.cx).is_empty());
    assert_eq!(other.cx.counters.sync_rounds_differed, 0);
}

#[test]
fn what_has_settled_meanwhile_is_compared() {
    let mut side = side(0..5);
    side.store.insert(side.cx.now, transaction(1), false);
    for (passed, count) in [(0, 5), (2, 6)] {
        side.cx.now += Duration::from_secs(passed);
        side.sync.compare(&mut side.cx, &side.links, &mut side.store, A);
        let sent = drain(&mut side.cx);
        assert!(sent[0].contains(&format!("count:{count}")), "{sent:?}");
    }
}

#[test]
fn precedence_is_given_once_until_pools_are_equal() {
    let mut side = side(0..50);
    assert!(side.on_summary(A, 49).is_empty(), "the other side has less");
    assert_eq!(side.on_summary(A, 49), ["ask"], "and still differs");
    side.sync.reconciler.end(A);
    assert!(side.on_summary(A, 49).is_empty());
    assert_eq!(side.on_summary(B, 50), ["ask"], "as much is not less");
    let equal = SyncFrame::Reply(side.store.sync_set().summary());
    side.on(A, equal).expect("a native peer");
    assert!(side.on_summary(A, 49).is_empty(), "a new difference");
    assert_eq!(side.cx.counters.sync_rounds_differed, 5);
}

#[test]
fn a_peer_that_lacks_a_great_part_asks_for_everything_of_one_neighbour_at_a_time() {
    for (ours, theirs, request) in [(0, 1_000, "ask"), (0, 1_001, "everything"), (8_000, 10_000, "ask")] {
        assert_eq!(side(0..ours).on_summary(A, theirs), [request], "{ours} {theirs}");
    }
    let mut side = side(0..8_000);
    side.sync.on_refused(side.cx.now, id(9_000));
    assert_eq!(side.on_summary(B, 10_001), ["ask"], "what was refused was seen");
    assert_eq!(side.on_summary(A, 10_003), ["everything"]);
    side.sync.reconciler.end(B);
    side.cx.now += JUDGED - Duration::from_nanos(1);
    assert!(side.on_summary(B, 10_003).is_empty(), "one neighbour streams");
    side.cx.now += Duration::from_nanos(1);
    assert_eq!(side.on_summary(B, 10_003), ["ask"], "and brings nothing");
    side.sync.reconciler.end(B);
    side.bring(B, 1_000, 1_000);
    side.cx.now += STREAM_GRACE - JUDGED;
    assert_eq!(side.on_summary(B, 10_003), ["everything"], "what others bring does not count");
    assert!(side.sync.is_asked_last(A), "it brought nothing");
    assert!(side.sync.on_link_closed(&mut side.cx, &side.store, B));
    side.bring(A, 0, 0);
    assert_eq!(side.on_summary(A, 10_003), ["ask"], "it is not asked for everything again soon");
    assert_eq!(side.on_summary(D, 10_003), ["everything"]);
}

impl Side {
    /// A link brings new transactions that nobody asked for one by one.
    fn bring(&mut self, link: LinkId, items: u64, bytes: usize) {
        for _ in 0..items {
            self.sync.on_brought(&mut self.cx, &self.store, link, &id(77_777), (bytes, true));
        }
    }
}

#[test]
fn a_stream_must_bring_what_was_offered_for_it() {
    // A peer that offers a billion brings some in each second.
    for (offered, items, bytes, after) in [
        (1_000_000_000, 1, 300, ["everything"]),
        (1_000_000_000, 100, 50, ["everything"]),
        (1_000_000_000, 40, 300, ["ask"]),
        (1_000_000_000, 300, 300, ["ask"]),
        (6_000, 500, 1, ["everything"]),
        (6_000, 700, 1, [""]),
    ] {
        let mut side = side(0..0);
        assert_eq!(side.on_summary(A, offered), ["everything"]);
        for _ in 0..2 {
            side.cx.now += Duration::from_secs(1);
            side.bring(A, items, bytes);
        }
        let then = side.on_summary(B, 5_000);
        assert_eq!(then, after.into_iter().filter(|kind| !kind.is_empty()).collect::<Vec<_>>(), "{offered} {items}");
    }
}

#[test]
fn the_rest_is_fetched_from_others_when_a_stream_takes_long() {
    let mut side = side(0..0);
    assert_eq!(side.on_summary(A, 20_000), ["everything"]);
    assert_eq!(side.cx.timers.due(&Timer::Wants), Some(side.cx.now + JUDGED), "when it is looked at first");
    for _ in 0..9 {
        side.cx.now += Duration::from_secs(1);
        side.bring(A, 2_000, 300);
        assert!(!side.sync.expire(&mut side.cx, &side.store) && side.on_summary(B, 5_000).is_empty());
    }
    side.cx.now += Duration::from_secs(1);
    side.bring(A, 1_999, 300);
    assert!(side.sync.expire(&mut side.cx, &side.store));
    side.cx.now += STREAM_TICK - Duration::from_nanos(1);
    assert!(!side.sync.expire(&mut side.cx, &side.store), "once in each second");
    side.cx.now += Duration::from_nanos(1);
    side.bring(A, 1_999, 300);
    assert!(side.sync.expire(&mut side.cx, &side.store));
    assert_eq!(side.on_summary(B, 5_000), ["ask"], "and the stream goes on");
    assert!(side.cx.timers.due(&Timer::Wants).is_some_and(|due| due <= side.cx.now + STREAM_TICK));
    side.cx.now += STREAM_TIMEOUT;
    assert!(side.sync.expire(&mut side.cx, &side.store), "it has ended, and others are asked at once");
    assert!(side.sync.is_asked_last(A) && side.sync.stream.is_none());
}

#[test]
fn a_reconciliation_that_finds_too_many_becomes_a_stream() {
    let (mut one, mut other) = (side(0..40_000), side(20_000..70_000));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    let mut streamed = false;
    for _ in 0..100 {
        carry(&mut one, &mut other);
        streamed |= other.links.get(A).expect("open").flow != crate::connections::table::Delivery::Live;
        if streamed {
            break;
        }
        carry(&mut other, &mut one);
    }
    assert!(streamed && !one.sync.reconciler.is_open(A));
    let stream = one.sync.stream.expect("begun");
    assert!(stream.link == A && (60_000..=70_000).contains(&stream.offered), "what it has, and what was found");
}

#[test]
fn what_was_refused_is_not_requested() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.on_refused(one.cx.now, id(10));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other)[0], [id(11)]);
}

#[test]
fn a_peer_with_much_that_was_refused_is_not_asked_for_everything_and_not_asked_again() {
    let (mut one, mut other) = (side(0..40_000), side(20_000..70_000));
    (40_000..70_000).for_each(|n| one.sync.on_refused(one.cx.now, id(n)));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other), [Vec::new(), Vec::new()]);
    assert!(one.sync.stream.is_none() && !one.sync.reconciler.is_open(A));
    // It offers the same again.
    for _ in 0..3 {
        other.sync.compare(&mut other.cx, &other.links, &mut other.store, A);
        assert_eq!(converse(&mut one, &mut other)[0], []);
        assert!(one.sync.stream.is_none() && !one.sync.reconciler.is_open(A));
    }
}

#[test]
fn what_was_refused_and_is_brought_as_one_that_this_node_takes_is_requested_again() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.on_refused(one.cx.now, id(10));
    one.sync.on_brought(&mut one.cx, &one.store, A, &id(10), (250, false));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other)[0], sorted(10..12));
}

#[test]
fn what_was_refused_and_is_put_off_later_is_requested_again() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.on_refused(one.cx.now, id(10));
    one.sync.on_put_off(&id(10));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other)[0], sorted(10..12));
}

#[test]
fn a_link_that_is_asked_is_stalled_if_it_brings_nothing() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    converse(&mut one, &mut other);
    one.cx.now += Duration::from_secs(2);
    assert!(one.sync.expire(&mut one.cx, &one.store));
    assert!(one.sync.is_asked_last(A) && !one.sync.is_asked_last(B));
    one.sync.on_brought(&mut one.cx, &one.store, A, &id(10), (250, true));
    assert!(!one.sync.is_asked_last(A));
}

#[test]
fn a_link_that_has_still_to_bring_something_is_not_asked_what_it_has() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    assert_eq!(converse(&mut one, &mut other)[0], sorted(10..12));
    for number in [10, 11] {
        one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
        assert!(drain(&mut one.cx).is_empty(), "it would name them again");
        assert!(one.on_summary(A, 5_000).is_empty(), "and send them again");
        one.sync.on_brought(&mut one.cx, &one.store, A, &id(number), (250, true));
    }
    assert_eq!(one.on_summary(A, 13), ["ask"], "it has brought all");
}

#[test]
fn a_link_that_did_not_bring_what_it_was_asked_for_is_asked_again_what_it_has() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    converse(&mut one, &mut other);
    assert_eq!(one.on_summary(B, 5_000), ["everything"], "others have nothing to bring");
    one.cx.now += Duration::from_secs(2);
    one.sync.expire(&mut one.cx, &one.store);
    assert_eq!(one.on_summary(A, 13), ["ask"]);
}

#[test]
fn answers_that_nobody_asked_for_cost_a_point() {
    let mut side = side(0..10);
    let answer = || SyncFrame::Answer(crate::wire::Step { number: 1, message: Vec::new() });
    assert_eq!(side.on(A, answer()).expect_err("unsolicited").kind, ViolationKind::Unsolicited);
    side.sync.fetch(&mut side.cx, &side.links, &mut side.store, A);
    assert_eq!(side.on(A, answer()).expect_err("malformed").kind, ViolationKind::Breach);
    side.sync.fetch(&mut side.cx, &side.links, &mut side.store, A);
    side.sync.on_link_closed(&mut side.cx, &side.store, A);
    assert_eq!(side.on(A, answer()).expect_err("unsolicited").kind, ViolationKind::Unsolicited);
}

#[test]
fn a_stream_that_is_asked_for_is_sent() {
    let mut side = side(0..10);
    side.on(A, SyncFrame::Everything).expect("a native peer");
    let ours = |event| if let Event::Replaying { ours, .. } = event { Some(ours) } else { None };
    assert_eq!(event(&mut side.cx, ours), Some(10));
}

#[test]
fn wanted_transactions_come_from_the_disk_or_from_what_waits_for_it() {
    let mut side = side(0..5);
    side.store.insert(side.cx.now, transaction(1), false);
    side.store.insert(side.cx.now, transaction(2), false);
    let ids = [id(3), transaction(2).id(), id(77), id(1), id(3)];
    on_want(&mut side.cx, &side.store, A, &ids);
    let session = side.cx.config.session;
    let unstored = format!("payload [1] {{type:TRANSACTION,data:{{n:2}},session:{session}}}");
    assert_eq!(drain(&mut side.cx), [unstored, "replay 1 [1, 3]".into()]);
    on_want(&mut side.cx, &side.store, A, &[id(77)]);
    assert!(drain(&mut side.cx).is_empty());
}

#[test]
fn a_full_pool_asks_for_nothing_and_one_with_little_room_for_what_fits() {
    let mut full = side(0..10);
    full.cx.config.limits.pool_transactions = 10;
    for count in [11, 5_000, 1_000_000] {
        assert_eq!(full.on_summary(A, count), Vec::<String>::new(), "{count}");
    }
    full.sync.fetch(&mut full.cx, &full.links, &mut full.store, A);
    assert!(drain(&mut full.cx).is_empty());
    // A comparison that begins before the pool is full ends without a request.
    let mut filling = side(0..10);
    assert_eq!(filling.on_summary(A, 50), ["ask"]);
    filling.cx.config.limits.pool_transactions = 10;
    let mut other = side(0..50);
    filling.sync.fetch(&mut filling.cx, &filling.links, &mut filling.store, B);
    assert!(drain(&mut filling.cx).is_empty());
    filling.sync = PoolSync::default();
    filling.cx.config.limits.pool_transactions = 11;
    filling.sync.fetch(&mut filling.cx, &filling.links, &mut filling.store, A);
    filling.cx.config.limits.pool_transactions = 10;
    assert_eq!(converse(&mut filling, &mut other)[0], []);
    // A full pool still gives.
    let mut empty = side(0..0);
    let mut full = side(0..10);
    full.cx.config.limits.pool_transactions = 10;
    empty.sync.fetch(&mut empty.cx, &empty.links, &mut empty.store, A);
    assert_eq!(converse(&mut empty, &mut full), [sorted(0..10), Vec::new()]);
    let mut little = side(0..10);
    little.cx.config.limits.pool_transactions = 13;
    little.sync.fetch(&mut little.cx, &little.links, &mut little.store, A);
    assert_eq!(converse(&mut little, &mut other)[0].len(), 3);
}

#[test]
fn a_disk_that_takes_no_more_asks_for_nothing_until_it_recovers() {
    let mut side = side(0..10);
    side.cx.config.limits.unstored_bytes = 0;
    side.store.on_write_failed(&mut side.cx, "full".into());
    drain(&mut side.cx);
    assert_eq!(side.on_summary(A, 50), Vec::<String>::new());
    side.store.on_write_recovered(&mut side.cx);
    drain(&mut side.cx);
    assert_eq!(side.on_summary(A, 50), ["ask"]);
}

#[test]
fn a_reconciliation_of_several_questions_finds_all_that_is_missing() {
    let (mut one, mut other) = (side(0..100), side(0..5_000));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    let mut wanted = Vec::new();
    loop {
        let [ids, _] = converse(&mut one, &mut other);
        if ids.is_empty() {
            break;
        }
        for id in &ids {
            one.sync.on_brought(&mut one.cx, &one.store, A, id, (250, true));
        }
        wanted.extend(ids);
    }
    wanted.sort_unstable();
    assert_eq!(wanted, sorted(100..5_000));
    assert!(one.sync.stream.is_none() && one.sync.is_idle());
}

#[test]
fn a_quarter_of_a_large_pool_is_not_too_many_for_a_reconciliation() {
    let (mut one, mut other) = (side(0..100_000), side(0..124_000));
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    converse(&mut one, &mut other);
    assert!(one.sync.stream.is_none() && !one.sync.reconciler.is_open(A));
}

#[test]
fn what_is_below_the_floor_is_not_compared() {
    let mut side = side(0..5);
    side.store.forget(&[], Floor { time: 7, id: [0; 32] });
    side.sync.compare(&mut side.cx, &side.links, &mut side.store, A);
    let sent = drain(&mut side.cx);
    assert!(sent[0].contains("count:0") && sent[0].contains("from:[7,"), "{sent:?}");
}

#[test]
fn a_node_is_idle_while_nothing_is_on_its_way() {
    let (mut one, mut other) = (side(0..10), side(0..12));
    assert!(one.sync.is_idle());
    one.sync.fetch(&mut one.cx, &one.links, &mut one.store, A);
    converse(&mut one, &mut other);
    assert!(!one.sync.is_idle(), "two are requested");
    one.sync.on_put_off(&id(10));
    one.sync.on_refused(one.cx.now, id(11));
    assert!(one.sync.is_idle(), "neither is taken");
    assert_eq!(one.on_summary(B, 5_000), ["everything"]);
    assert!(!one.sync.is_idle() && one.sync.is_asked_last(B) && !one.sync.is_asked_last(A));
    assert!(!one.sync.is_reconciled(A));
    let equal = SyncFrame::Reply(one.store.sync_set().summary());
    one.on(A, equal).expect("a native peer");
    assert!(one.sync.is_reconciled(A));
}

#[test]
fn a_stream_that_brought_what_was_offered_has_ended_well() {
    let mut side = side(0..0);
    assert_eq!(side.on_summary(A, 1_001), ["everything"]);
    side.store = self::side(0..1_001).store;
    side.cx.now += STREAM_TIMEOUT;
    assert!(!side.sync.expire(&mut side.cx, &side.store), "nobody else is asked");
    assert!(side.sync.is_idle() && !side.sync.is_asked_last(A));
}

#[test]
fn a_stream_is_looked_at_early_and_then_once_a_second() {
    let mut side = side(0..0);
    side.on_summary(A, 20_000);
    let since = side.cx.now;
    for (passed, next) in [(0, 300), (290, 300), (300, 1_300), (1_500, 2_000), (2_000, 3_000), (3_000, 4_000)] {
        side.cx.now = since + Duration::from_millis(passed);
        side.bring(A, 10_000, 300);
        side.sync.expire(&mut side.cx, &side.store);
        let due = side.cx.timers.due(&Timer::Wants).map(|due| (due - since).as_millis());
        assert_eq!(due, Some(next), "{passed}");
    }
}
