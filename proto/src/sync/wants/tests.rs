use super::*;
use crate::store::Store;
use crate::testing::parts::{context, drain, transaction};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);
const TICK: Duration = Duration::from_nanos(1);

fn parts() -> (Wants, Context, Store) {
    (Wants::default(), context(), Store::new(Vec::new()))
}

fn ids(from: u32, to: u32) -> Vec<TransactionId> {
    (from..to)
        .map(|n| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            TransactionId(id)
        })
        .collect()
}

/// Takes the WANTs that were sent: how many items in all, to which links.
fn sent(cx: &mut Context) -> Vec<(String, usize)> {
    let frame = |text: String| (text.split(' ').nth(1).unwrap_or_default().to_owned(), text.matches(',').count());
    drain(cx).into_iter().map(frame).collect()
}

/// Requests, and returns how many items were named in how many frames.
fn request(wants: &mut Wants, cx: &mut Context, store: &Store, link: LinkId, ids: Vec<TransactionId>) -> [usize; 2] {
    wants.request(cx, &|id| store.index().holds(id), link, ids);
    let sent = drain(cx);
    [sent.iter().map(|frame| frame.matches(',').count()).sum(), sent.len()]
}

/// Ends what is overdue, and returns whom others are asked of, and whether some have no source.
fn expire(wants: &mut Wants, cx: &mut Context, store: &Store) -> (Vec<(String, usize)>, bool) {
    let orphans = wants.expire(cx, &|id| store.index().holds(id));
    (sent(cx), orphans)
}

fn bring(wants: &mut Wants, cx: &mut Context, link: LinkId, ids: &[TransactionId]) {
    ids.iter().for_each(|id| wants.on_brought(cx, &|_| false, link, id, 250));
}

/// Looks at the sources, and returns who is asked for how many items.
fn tick(wants: &mut Wants, cx: &mut Context, store: &Store) -> Vec<(String, usize)> {
    wants.tick(cx, &|id| store.index().holds(id));
    check(wants);
    sent(cx)
}

fn close(wants: &mut Wants, cx: &mut Context, store: &Store, link: LinkId) -> bool {
    wants.on_link_closed(cx, &|id| store.index().holds(id), link)
}

/// Checks that the counts are those of the items, and that each waits where it says so.
fn check(wants: &Wants) {
    for (link, source) in &wants.sources {
        let asked = wants.items.values().filter(|item| item.is_asked_of(*link)).count();
        assert_eq!(source.outstanding, asked, "{link:?}");
        for (id, item) in &wants.items {
            assert!(!item.waits.contains(link) || source.waiting.contains(id), "{link:?}");
            assert!(!item.waits.contains(link) || !item.is_asked_of(*link), "{link:?}");
        }
    }
    assert_eq!(wants.unasked, wants.items.values().filter(|item| item.asked.is_none()).count());
}

/// Returns what a link is asked for.
fn asked_of(wants: &Wants, link: LinkId) -> Vec<TransactionId> {
    let mut ids: Vec<_> = wants.items.iter().filter(|(_, item)| item.is_asked_of(link)).map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn an_item_is_requested_from_one_link_at_a_time() {
    let (mut wants, mut cx, store) = parts();
    assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 3)), [3, 1]);
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(1, 5)), [2, 1]);
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [0, 0]);
    wants.cancel(&ids(0, 1)[0]);
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [1, 1]);
    check(&wants);
    assert!(close(&mut wants, &mut cx, &store, B), "nobody else offered 3, 4 and 0");
    assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 5)), [3, 1], "what a closed link was asked for");
    assert!(close(&mut wants, &mut cx, &store, A), "the other announcer has closed its link");
    assert!(sent(&mut cx).is_empty() && wants.items.is_empty() && wants.sources.is_empty());
}

#[test]
fn what_is_held_is_not_requested_and_what_came_is_no_longer_awaited() {
    let (mut wants, mut cx, mut store) = parts();
    let both: Vec<TransactionId> = [1, 2].map(|n| transaction(n).id()).to_vec();
    store.insert(cx.now, transaction(1), false);
    assert_eq!(request(&mut wants, &mut cx, &store, A, both), [1, 1]);
    store.insert(cx.now, transaction(2), false);
    cx.now += ITEM_TIMEOUT;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
    assert!(wants.items.is_empty() && !wants.is_stalled(A) && wants.next_due().is_none());
}

#[test]
fn a_source_that_brings_nothing_for_two_seconds_is_stalled_for_a_minute() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 3));
    assert_eq!(wants.next_due(), Some(cx.now + WINDOW));
    cx.now += WINDOW - TICK;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
    cx.now += TICK;
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 3)), [3, 1]);
    assert!(wants.is_stalled(A) && !wants.is_stalled(B));
    assert_eq!(request(&mut wants, &mut cx, &store, A, ids(3, 5)), [2, 1]);
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(3, 5)), [2, 1], "what it offers holds nobody up");
    check(&wants);
    bring(&mut wants, &mut cx, B, &ids(0, 5));
    cx.now += STALL - TICK;
    expire(&mut wants, &mut cx, &store);
    assert!(wants.is_stalled(A) && !wants.is_stalled(B));
    cx.now += TICK;
    expire(&mut wants, &mut cx, &store);
    assert!(!wants.is_stalled(A));
}

#[test]
fn only_what_was_asked_for_is_progress() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 800));
    bring(&mut wants, &mut cx, A, &ids(5_000, 6_000));
    cx.now += WINDOW;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
    assert!(wants.is_stalled(A), "a thousand that nobody asked for");
    request(&mut wants, &mut cx, &store, B, ids(0, 800));
    bring(&mut wants, &mut cx, B, &ids(0, WINDOW_ITEMS as u32 - 1));
    cx.now += WINDOW;
    expire(&mut wants, &mut cx, &store);
    assert!(wants.is_stalled(B), "one less than the least");
    request(&mut wants, &mut cx, &store, C, ids(100, 800));
    bring(&mut wants, &mut cx, C, &ids(100, 100 + WINDOW_ITEMS as u32));
    cx.now += WINDOW;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
    assert!(!wants.is_stalled(C));
    ids(200, 202).iter().for_each(|id| wants.on_brought(&mut cx, &|_| false, C, id, WINDOW_BYTES / 2));
    cx.now += WINDOW;
    expire(&mut wants, &mut cx, &store);
    assert!(!wants.is_stalled(C), "few and long");
    check(&wants);
}

#[test]
fn a_lapsed_item_is_requested_from_the_next_announcer_and_never_first_from_one_that_failed() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 10));
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 10)), [0, 0]);
    assert_eq!(request(&mut wants, &mut cx, &store, C, ids(5, 10)), [0, 0]);
    cx.now += WINDOW;
    assert_eq!(expire(&mut wants, &mut cx, &store), (vec![("[2]".into(), 10)], false), "at once");
    // The first pays with ten others, and is asked like everybody again.
    wants.sources.get_mut(&A).expect("asked").stalled = None;
    assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 10)), [0, 0]);
    cx.now += WINDOW;
    let asked = vec![("[3]".into(), 5), ("[1]".into(), 5)];
    assert_eq!(expire(&mut wants, &mut cx, &store), (asked, true), "for five A is the only one, and has failed");
    assert_eq!(request(&mut wants, &mut cx, &store, C, ids(0, 10)), [5, 1], "there is another");
    check(&wants);
}

#[test]
fn an_item_has_five_seconds_and_what_comes_late_ends_a_stall() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 100));
    for n in 0..4 {
        cx.now += Duration::from_secs(1);
        bring(&mut wants, &mut cx, A, &ids(n * 16, n * 16 + 16));
        expire(&mut wants, &mut cx, &store);
    }
    cx.now += Duration::from_secs(1) - TICK;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
    cx.now += TICK;
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
    assert!(wants.items.is_empty() && !wants.is_stalled(A));
    request(&mut wants, &mut cx, &store, A, ids(200, 300));
    cx.now += WINDOW;
    expire(&mut wants, &mut cx, &store);
    assert!(wants.is_stalled(A));
    for _ in 0..50 {
        bring(&mut wants, &mut cx, A, &ids(200, 215));
    }
    assert!(wants.is_stalled(A), "each counts once");
    bring(&mut wants, &mut cx, A, &ids(215, 216));
    assert!(!wants.is_stalled(A));
    check(&wants);
}

#[test]
fn what_is_offered_is_requested_from_the_first_source_with_room() {
    let (mut wants, mut cx, store) = parts();
    let quota = QUOTA as u32;
    assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 5 * quota)), [QUOTA, 2]);
    assert_eq!(asked_of(&wants, A), ids(0, quota));
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5 * quota)), [QUOTA, 2]);
    assert_eq!(asked_of(&wants, B), ids(quota, 2 * quota));
    check(&wants);
    // Each item that comes is four more, and many are asked for at once.
    let few = quota / 10;
    bring(&mut wants, &mut cx, A, &ids(0, few));
    assert!(sent(&mut cx).is_empty(), "more than half of its quota is on its way");
    bring(&mut wants, &mut cx, A, &ids(few, quota));
    check(&wants);
    let asked = asked_of(&wants, A);
    assert!(asked.len() > QUOTA && asked[0] == ids(2 * quota, 2 * quota + 1)[0], "{}", asked.len());
    assert!(sent(&mut cx).iter().all(|(link, items)| link == "[1]" && *items > QUOTA / 8));
    bring(&mut wants, &mut cx, A, &asked);
    bring(&mut wants, &mut cx, B, &ids(quota, 2 * quota));
    let rest = [A, B].map(|link| asked_of(&wants, link)).concat();
    assert_eq!((asked.len() + rest.len(), wants.items.len()), (3 * QUOTA, rest.len()), "all of the rest is asked for");
    check(&wants);
    bring(&mut wants, &mut cx, A, &rest);
    assert!(wants.is_empty() && wants.next_due().is_none());
}

#[test]
fn others_take_over_what_a_source_is_slow_to_bring() {
    let (mut wants, mut cx, store) = parts();
    for link in [A, B, C] {
        request(&mut wants, &mut cx, &store, link, ids(0, 3_000));
    }
    assert_eq!([A, B, C].map(|link| asked_of(&wants, link).len()), [QUOTA, QUOTA, 3_000 - 2 * QUOTA]);
    let of_a = asked_of(&wants, A);
    cx.now += JUDGED - TICK;
    bring(&mut wants, &mut cx, B, &ids(1_024, 1_224));
    assert!(tick(&mut wants, &mut cx, &store).is_empty());
    cx.now += TICK;
    assert!(wants.next_due().is_some_and(|due| due < cx.now + TICK_INTERVAL));
    assert!(tick(&mut wants, &mut cx, &store).is_empty(), "B is as slow: 200 in 0.3 s, and 824 are left");
    assert_eq!([A, B, C].map(|link| wants.sources[&link].quota), [QUOTA_LEAST, 666, QUOTA_LEAST]);
    // What B brings now lets it take over what the others do not bring.
    let of_b = asked_of(&wants, B);
    bring(&mut wants, &mut cx, B, &of_b);
    let room = wants.sources[&B].quota;
    cx.now += TICK_INTERVAL;
    assert_eq!(tick(&mut wants, &mut cx, &store).iter().map(|(link, _)| link.as_str()).collect::<Vec<_>>(), ["[2]"; 2]);
    assert_eq!(asked_of(&wants, B).len(), room.min(3_000 - QUOTA));
    // Who lost its items is stalled all the same, and what it brings late counts.
    cx.now += WINDOW;
    expire(&mut wants, &mut cx, &store);
    assert!(wants.is_stalled(A) && wants.is_stalled(C));
    bring(&mut wants, &mut cx, A, &of_a);
    assert!(!wants.is_stalled(A), "it was late, and brought all");
    check(&wants);
}

#[test]
fn a_source_is_judged_after_two_of_its_round_trips_within_bounds() {
    for (round_trip, judged) in [(None, 300), (Some(1), 100), (Some(51), 102), (Some(149), 298), (Some(5_000), 300)] {
        let (mut wants, mut cx, store) = parts();
        if let Some(time) = round_trip {
            wants.on_round_trip(cx.now, A, Duration::from_millis(time));
        }
        request(&mut wants, &mut cx, &store, A, ids(0, 10));
        request(&mut wants, &mut cx, &store, B, ids(0, 10));
        let due = cx.now + Duration::from_millis(judged);
        assert_eq!(wants.next_due(), Some(due), "{round_trip:?}");
        for (now, taken) in [(due - TICK, 0), (due, 10)] {
            cx.now = now;
            let asked = tick(&mut wants, &mut cx, &store);
            assert_eq!(asked.iter().map(|(_, taken)| taken).sum::<usize>(), taken, "{round_trip:?}");
        }
    }
}

#[test]
fn nobody_takes_over_from_a_source_that_is_done_within_a_second() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 800));
    request(&mut wants, &mut cx, &store, B, ids(0, 800));
    for n in 0..10 {
        bring(&mut wants, &mut cx, A, &ids(n * 80, n * 80 + 80));
        cx.now += JUDGED / 4;
        assert!(tick(&mut wants, &mut cx, &store).is_empty(), "{n}");
    }
}

#[test]
fn requests_are_bounded_per_link_per_frame_and_in_all() {
    let (mut wants, mut cx, store) = parts();
    assert_eq!((wants.per_link, wants.in_all), (PER_LINK, IN_ALL));
    (wants.per_link, wants.in_all) = (2_000, 20_000);
    let all = || ids(0, 2_000 + 10);
    let first = [QUOTA, QUOTA.div_ceil(limits::WANT_IDS)];
    assert_eq!(request(&mut wants, &mut cx, &store, A, all()), first);
    assert_eq!(request(&mut wants, &mut cx, &store, A, all()), [0, 0]);
    assert_eq!(wants.items.len(), 2_000);
    assert_eq!(request(&mut wants, &mut cx, &store, B, all()), [2_000 - QUOTA, 1]);
    for link in 10..24 {
        let first = 100_000 * u32::try_from(link).expect("small");
        request(&mut wants, &mut cx, &store, LinkId(link), ids(first, first + 2_000));
    }
    let of = |source: &Source| source.outstanding + source.waiting.len();
    assert!(wants.sources.values().map(of).sum::<usize>() <= 20_000);
    assert!(of(&wants.sources[&LinkId(23)]) < 100, "each takes half of what is left");
    cx.now += WINDOW;
    expire(&mut wants, &mut cx, &store);
    assert!(wants.sources.values().all(|source| source.stalled.is_some() && source.outstanding <= QUOTA_LEAST));
    check(&wants);
    assert!(wants.failed.len() <= FAILED);
    assert_eq!(request(&mut wants, &mut cx, &store, C, ids(1, 2)), [1, 1]);
    check(&wants);
}

#[test]
fn of_few_items_half_must_come_in_a_window() {
    for (asked, brought, stalled) in [(3, 1, true), (3, 2, false), (4, 2, false), (5, 2, true)] {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, asked));
        bring(&mut wants, &mut cx, A, &ids(0, brought));
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert_eq!(wants.is_stalled(A), stalled, "{brought} of {asked}");
    }
}

#[test]
fn a_source_is_slow_if_it_would_take_more_than_a_second_for_what_is_left() {
    // Half a second brought ten: it brings twenty more in another second.
    for (asked, slow) in [(30, false), (31, true)] {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, asked));
        request(&mut wants, &mut cx, &store, B, ids(0, asked));
        bring(&mut wants, &mut cx, A, &ids(0, 10));
        cx.now += DRAIN / 2;
        assert_eq!(!tick(&mut wants, &mut cx, &store).is_empty(), slow, "{asked}");
    }
}

#[test]
fn four_others_that_offer_an_item_are_remembered_each_once() {
    let (mut wants, mut cx, store) = parts();
    for link in [1, 1, 2, 2, 3, 4, 5, 6, 1] {
        request(&mut wants, &mut cx, &store, LinkId(link), ids(0, 1));
    }
    assert_eq!(wants.items[&ids(0, 1)[0]].waits, [2, 3, 4, 5].map(LinkId));
    check(&wants);
}

#[test]
fn what_a_source_takes_over_from_a_stalled_one_may_be_taken_over_again() {
    let (mut wants, mut cx, store) = parts();
    wants.stall(cx.now, A);
    wants.stall(cx.now, C);
    for (link, named) in [(A, 2), (C, 0), (B, 2)] {
        assert_eq!(request(&mut wants, &mut cx, &store, link, ids(0, 2)), [named, named / 2], "{link:?}");
    }
    wants.sources.get_mut(&C).expect("it offers them").stalled = None;
    cx.now += JUDGED;
    assert_eq!(tick(&mut wants, &mut cx, &store), [("[3]".to_owned(), 2)]);
}

#[test]
fn what_came_behind_an_item_that_did_not_is_forgotten_once_it_is_much() {
    let (mut wants, mut cx, store) = parts();
    wants.per_link = 10;
    let mut asked = Vec::new();
    for (from, to) in [(0, 2), (2, 11), (11, 20), (20, 29), (29, 38)] {
        request(&mut wants, &mut cx, &store, A, ids(from, to));
        asked.push(wants.sources[&A].asked.len());
        bring(&mut wants, &mut cx, A, &ids(from.max(1), to));
    }
    assert_eq!(asked, [2, 11, 20, 10, 19], "twice as much as may be requested is not much");
    assert_eq!(wants.sources[&A].asked[0].1, ids(0, 1)[0]);
}

#[test]
fn what_is_taken_over_counts_as_lost_and_may_be_taken_over_by_the_others() {
    let (mut wants, mut cx, store) = parts();
    for link in [A, B, C] {
        request(&mut wants, &mut cx, &store, link, ids(0, 200));
    }
    cx.now += JUDGED;
    assert_eq!(tick(&mut wants, &mut cx, &store), [("[2]".to_owned(), 200)]);
    assert_eq!((wants.sources[&A].lost, wants.sources[&A].outstanding), (200, 0));
    cx.now += JUDGED;
    assert_eq!(tick(&mut wants, &mut cx, &store), [("[3]".to_owned(), 200)]);
    assert!(wants.items.values().all(|item| item.waits.is_empty()));
}

#[test]
fn what_is_held_is_not_taken_over() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 10));
    request(&mut wants, &mut cx, &store, B, ids(0, 10));
    cx.now += JUDGED;
    wants.tick(&mut cx, &|_| true);
    assert!(sent(&mut cx).is_empty());
    check(&wants);
}

#[test]
fn who_failed_for_an_item_does_not_take_it_over() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 10));
    request(&mut wants, &mut cx, &store, B, ids(0, 10));
    for id in ids(1, 10) {
        note_failed(&mut wants.failed, cx.now, id, B);
    }
    cx.now += JUDGED;
    assert_eq!(tick(&mut wants, &mut cx, &store), [("[2]".to_owned(), 1)]);
}

#[test]
fn others_take_over_again_after_fifty_milliseconds() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 3_000));
    request(&mut wants, &mut cx, &store, B, ids(0, 3_000));
    cx.now += JUDGED;
    assert!(tick(&mut wants, &mut cx, &store).is_empty());
    assert_eq!(wants.next_due(), Some(cx.now + TICK_INTERVAL));
}

#[test]
fn what_is_cancelled_and_requested_again_at_the_same_time_lapses_once() {
    let (mut wants, mut cx, store) = parts();
    for _ in 0..2 {
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        wants.cancel(&ids(0, 3)[1]);
    }
    request(&mut wants, &mut cx, &store, A, ids(0, 3));
    check(&wants);
    cx.now += ITEM_TIMEOUT;
    assert!(expire(&mut wants, &mut cx, &store).1);
    check(&wants);
    assert_eq!(wants.sources[&A].outstanding, 0);
}

#[test]
fn a_request_that_was_cancelled_does_not_shorten_the_next_one() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 2));
    let [first, again] = [ids(0, 1)[0], ids(1, 2)[0]];
    wants.cancel(&again);
    for n in 0..4 {
        cx.now += Duration::from_secs(1);
        request(&mut wants, &mut cx, &store, A, ids(1, 101));
        bring(&mut wants, &mut cx, A, &ids(n * 16 + 2, n * 16 + 18));
    }
    cx.now += Duration::from_secs(1);
    assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
    let asked = [first, again].map(|id| wants.items.contains_key(&id));
    assert_eq!((asked, wants.is_empty()), ([false, true], false), "five seconds ago, and four");
}

#[test]
fn what_lapsed_is_requested_from_a_stalled_source_last() {
    let (mut wants, mut cx, store) = parts();
    for link in [A, B, C] {
        request(&mut wants, &mut cx, &store, link, ids(0, 10));
    }
    wants.stall(cx.now, B);
    cx.now += WINDOW;
    assert_eq!(expire(&mut wants, &mut cx, &store), (vec![("[3]".into(), 10)], false));
}

#[test]
fn so_many_that_failed_for_one_item_are_remembered_and_the_last_of_them() {
    let (mut wants, mut cx, store) = parts();
    for link in 1..=20 {
        assert_eq!(request(&mut wants, &mut cx, &store, LinkId(link), ids(0, 1)), [1, 1]);
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
    }
    let failed = wants.failed.get(&ids(0, 1)[0]).expect("all did");
    assert_eq!((failed.len(), failed.last()), (2 * ANNOUNCERS + 1, Some(&LinkId(20))));
}

#[test]
fn what_is_withdrawn_is_requested_no_more_and_what_is_requested_may_come() {
    let (mut wants, mut cx, store) = parts();
    request(&mut wants, &mut cx, &store, A, ids(0, 3_000));
    request(&mut wants, &mut cx, &store, B, ids(0, 1_000));
    wants.withdraw();
    check(&wants);
    assert_eq!((wants.items.len(), wants.sources[&A].outstanding), (QUOTA, QUOTA));
    assert!(wants.is_wanted(&ids(0, 1)[0]) && !wants.is_wanted(&ids(2_000, 2_001)[0]));
    bring(&mut wants, &mut cx, A, &ids(0, 1_024));
    assert!(sent(&mut cx).is_empty() && wants.is_empty());
    assert_eq!(request(&mut wants, &mut cx, &store, B, ids(2_000, 2_100)), [100, 1], "it is offered again");
}

/// However often items lapse, a link is sent fewer WANTs than it takes.
#[test]
fn a_link_is_sent_so_many_wants_at_once_and_the_rest_in_one() {
    let (mut wants, mut cx, store) = parts();
    let frames: usize = (0..200).map(|n| request(&mut wants, &mut cx, &store, A, ids(n, n + 1))[1]).sum();
    assert_eq!(frames, ASKS_AT_ONCE as usize);
    check(&wants);
    let due = wants.next_due().expect("the rest waits");
    assert!(due <= cx.now + TICK_INTERVAL);
    assert!(tick(&mut wants, &mut cx, &store).is_empty());
    cx.now += TICK_INTERVAL;
    assert_eq!(tick(&mut wants, &mut cx, &store), [("[1]".to_owned(), 200 - frames)]);
    let per_second = 1.0 / ASK_EVERY.as_secs_f64();
    assert!(ASKS_AT_ONCE < limits::WANTS_AT_ONCE && per_second < f64::from(limits::WANTS_PER_SECOND));
}
