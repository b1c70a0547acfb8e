use crate::store::*;
use crate::testing::parts::{context, drain, transaction};

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
