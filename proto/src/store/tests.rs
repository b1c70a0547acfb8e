use crate::store::*;
use crate::testing::parts::{context, drain, transaction};

/// A store of so many transactions of 7 bytes each, on disk.
fn stored(count: u32) -> Store {
    let mut store = Store::new(Vec::new());
    for n in 0..count {
        store.insert(Instant::now(), transaction(n), false);
        store.mark_stored(transaction(n).id());
    }
    store
}

#[test]
fn each_new_transaction_is_counted_and_held() {
    let mut store = Store::new(Vec::new());
    let now = Instant::now();
    store.insert(now, transaction(1), false);
    store.insert(now, transaction(2), true);
    assert_eq!((store.accepted(), store.index().count()), (2, 2));
    assert!(store.index().holds(&transaction(1).id()) && store.index().holds(&transaction(2).id()));
    let mut store = Store::new(vec![(transaction(1).id(), 0)]);
    assert_eq!((store.accepted(), store.index().count()), (0, 1), "what was there at the start is not new");
    let found = store.add_found(now, &[transaction(1), transaction(3), transaction(4)]);
    assert_eq!((found, store.accepted()), (vec![false, true, true], 2));
    assert_eq!(store.index().count(), 3);
    store.remove(&[transaction(3).id(), transaction(9).id()]);
    assert_eq!((store.index().count(), store.index().holds(&transaction(3).id())), (2, false));
}

#[test]
fn a_full_pool_and_a_full_buffer_of_a_disk_that_fails_refuse_more() {
    let mut cx = context();
    let mut store = Store::new(Vec::new());
    store.insert(cx.now, transaction(1), false);
    let bytes = store.index().unstored_bytes();
    let limits = |pool_transactions, unstored_bytes| Limits { pool_transactions, unstored_bytes, ..Limits::default() };
    assert_eq!(store.check_room(&limits(2, bytes)), Ok(()), "the disk takes it");
    let full = store.check_room(&limits(1, bytes)).expect_err("full");
    assert!(full.contains("holds 1 transactions") && full.contains("POOL_TRANSACTIONS"), "{full}");
    assert!(store.is_writable());
    store.on_write_failed(&mut cx, "no space".into());
    assert!(!store.is_writable());
    assert_eq!(store.check_room(&limits(2, bytes + 1)), Ok(()), "there is room until it works again");
    let failing = store.check_room(&limits(2, bytes)).expect_err("no room");
    assert!(failing.contains("free space"), "{failing}");
    store.on_write_recovered(&mut cx);
    assert!(store.is_writable());
    assert_eq!(store.check_room(&limits(2, bytes)), Ok(()));
    assert_eq!(drain(&mut cx), ["event StoreFailed", "event StoreRecovered"]);
}

#[test]
fn what_is_on_disk_does_not_wait_for_it() {
    let mut store = Store::new(Vec::new());
    store.insert(Instant::now(), transaction(1), false);
    store.mark_stored(transaction(1).id());
    assert_eq!(store.index().unstored_bytes(), 0);
    assert!(store.index().is_stored(&transaction(1).id()));
}

#[test]
fn the_bytes_of_all_transactions_are_counted_and_what_is_removed_counts_as_the_mean() {
    let mut store = stored(3);
    assert_eq!(store.bytes(), 3 * 7);
    store.add_found(Instant::now(), &[transaction(2), transaction(3)]);
    assert_eq!(store.bytes(), 4 * 7, "what is known is not counted again");
    store.set_bytes(100);
    let ids = |numbers: &[u32]| numbers.iter().map(|n| transaction(*n).id()).collect::<Vec<_>>();
    store.remove(&ids(&[0, 9]));
    assert_eq!(store.bytes(), 75);
    store.remove(&ids(&[1, 2]));
    assert_eq!(store.bytes(), 25, "two of three");
    store.remove(&ids(&[3]));
    store.remove(&ids(&[3]));
    assert_eq!((store.bytes(), store.index().count()), (0, 0), "none of none");
}

#[test]
fn the_file_says_what_stored_transactions_take_and_those_that_wait_count_as_they_came() {
    let mut store = Store::new(Vec::new());
    store.insert(Instant::now(), transaction(1), false);
    store.insert(Instant::now(), transaction(2), false);
    store.mark_stored(transaction(1).id());
    store.set_bytes(1_000);
    assert_eq!(store.bytes(), 1_000 + transaction(2).body_bytes() as u64);
    store.mark_stored(transaction(2).id());
    store.set_bytes(2_000);
    assert_eq!(store.bytes(), 2_000);
}

#[test]
fn what_retention_forgets_counts_with_its_own_bytes_and_the_floor_rises() {
    let mut store = stored(3);
    let id = |n| transaction(n).id();
    let floor = Floor { time: 5, id: [0; 32] };
    assert_eq!(store.forget(&[(id(0), 7), (id(9), 1)], floor), [id(0)]);
    assert_eq!((store.bytes(), store.index().count(), store.sync_set().floor()), (13, 2, floor));
    store.forget(&[(id(1), 7), (id(2), 7)], floor);
    assert_eq!((store.bytes(), store.index().count()), (0, 0), "however long they are said to be");
}

#[test]
fn there_is_room_up_to_the_limit_of_transactions_or_of_bytes() {
    let store = stored(3);
    let limits = |pool_transactions, pool_bytes| Limits { pool_transactions, pool_bytes, ..Limits::default() };
    for (transactions, bytes, room) in [(10, 100, 7), (4, 22, 1), (3, 100, 0), (2, 100, 0), (10, 21, 0)] {
        let limits = limits(transactions, bytes);
        assert_eq!(store.room(&limits), room, "{transactions} {bytes}");
        assert_eq!(store.fullness(&limits).is_some(), room == 0, "{transactions} {bytes}");
    }
    let full = store.fullness(&limits(10, 21)).expect("full");
    assert!(full.contains("have 21 bytes") && full.contains("POOL_BYTES"), "{full}");
}

#[test]
fn what_is_removed_or_forgotten_is_compared_no_more() {
    let now = Instant::now();
    let pool = (0..4).map(|n| (transaction(n).id(), u64::from(n) + 5));
    let mut store = Store::new(pool.collect()).in_file("pool.json".into());
    assert_eq!((store.times(), store.file.as_str()), (Some((5, 8)), "pool.json"));
    store.remove(&[transaction(0).id()]);
    store.forget(&[(transaction(3).id(), 7)], Floor::default());
    store.sync_set().settle(now);
    assert_eq!((store.sync_set().summary().count, store.times()), (2, Some((6, 7))));
    store.insert(now, transaction(8), true);
    store.sync_set().settle(now + std::time::Duration::from_secs(1));
    assert_eq!(store.sync_set().summary().count, 3, "it has settled elsewhere");
    store.insert(now, transaction(9), false);
    store.add_found(now, &[transaction(10)]);
    store.sync_set().settle(now + std::time::Duration::from_millis(1_900));
    assert_eq!(store.sync_set().summary().count, 3);
    store.sync_set().settle(now + std::time::Duration::from_secs(3));
    assert_eq!(store.sync_set().summary().count, 5);
}

#[test]
fn a_pool_that_becomes_full_is_one_warning() {
    let (mut cx, mut store) = (context(), stored(3));
    cx.config.limits.pool_transactions = 4;
    store.watch_room(&mut cx);
    assert!(drain(&mut cx).is_empty());
    store.insert(cx.now, transaction(4), false);
    for _ in 0..3 {
        store.watch_room(&mut cx);
    }
    assert_eq!(drain(&mut cx), ["event Warning"]);
    store.mark_stored(transaction(4).id());
    store.remove(&[transaction(4).id()]);
    store.watch_room(&mut cx);
    assert!(drain(&mut cx).is_empty());
    store.insert(cx.now, transaction(5), false);
    store.watch_room(&mut cx);
    assert_eq!(drain(&mut cx), ["event Warning"], "full again");
}
