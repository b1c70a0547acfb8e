use crate::store::replay::*;
use crate::testing::parts::{client, context, drain, exercise, native, transaction};

const N: LinkId = LinkId(1);
const E: LinkId = LinkId(2);
const C: LinkId = LinkId(3);

/// A native peer, an exercise peer and a client, and a pool with three stored and two unstored
/// transactions.
fn parts() -> (Replay, Context, LinkTable, Store) {
    let (cx, mut links, mut store) = (context(), LinkTable::default(), Store::new(Vec::new()));
    native(&cx, &mut links, 1);
    exercise(&cx, &mut links, 2);
    client(&cx, &mut links, 3);
    for n in 0..5 {
        store.insert(cx.now, transaction(n), false);
    }
    for n in 0..3 {
        store.mark_stored(transaction(n).id());
    }
    (Replay::default(), cx, links, store)
}

fn delivery(links: &LinkTable, link: LinkId) -> Delivery {
    links.get(link).expect("open").flow
}

#[test]
fn a_native_peer_lags_until_its_queue_has_room_and_then_compares_pools() {
    let (mut replay, mut cx, mut links, store) = parts();
    replay.begin_input(&store);
    replay.on_queue_full(&mut cx, &mut links, N);
    assert_eq!(drain(&mut cx), ["replay 1 3..3", "event PeerLagging"]);
    replay.on_queue_full(&mut cx, &mut links, N);
    assert_eq!((drain(&mut cx).len(), delivery(&links, N)), (0, Delivery::Lagging));
    assert!(replay.on_replayed(&mut cx, &mut links, &store, N, 3));
    assert_eq!((delivery(&links, N), cx.counters.queues_full), (Delivery::Live, 2));
    assert!(!replay.on_replayed(&mut cx, &mut links, &store, N, 3), "it is live");
    assert!(drain(&mut cx).is_empty());
}

#[test]
fn an_exercise_peer_gets_a_replay_from_where_the_pool_ended_and_then_what_is_unstored() {
    let (mut replay, mut cx, mut links, mut store) = parts();
    replay.begin_input(&store);
    // Stored by the same input: what did not fit may be that.
    store.mark_stored(transaction(3).id());
    replay.on_queue_full(&mut cx, &mut links, E);
    assert_eq!(drain(&mut cx), ["replay 2 3..end", "event PeerLagging"]);
    assert_eq!(links.get(E).expect("open").first_payload, None);
    assert!(!replay.on_replayed(&mut cx, &mut links, &store, E, 3));
    assert_eq!(drain(&mut cx), ["replay 2 3..end"], "one position more is on disk");
    assert_eq!(delivery(&links, E), Delivery::Replaying { from: 3, pushed: 0, trying: 0 });
    assert!(!replay.on_replayed(&mut cx, &mut links, &store, E, 4));
    assert_eq!(drain(&mut cx), ["payload [2] {type:TRANSACTION,data:{n:4}}"]);
    assert_eq!((delivery(&links, E), links.get(E).expect("open").first_payload), (Delivery::Live, Some(cx.now)));
}

#[test]
fn what_is_unstored_goes_out_a_quarter_of_a_queue_at_a_time_and_again_if_it_did_not_fit() {
    let (mut replay, mut cx, mut links, store) = parts();
    let frame = transaction(3).frame().len();
    cx.config.limits.queue_bytes = 8 * frame - 4;
    replay.on_queue_full(&mut cx, &mut links, E);
    drain(&mut cx);
    replay.on_replayed(&mut cx, &mut links, &store, E, 3);
    assert_eq!(drain(&mut cx), ["payload [2] {type:TRANSACTION,data:{n:3}}", "replay 2 3..3"]);
    assert_eq!(delivery(&links, E), Delivery::Replaying { from: 3, pushed: 0, trying: 4 });
    replay.on_queue_full(&mut cx, &mut links, E);
    replay.on_replayed(&mut cx, &mut links, &store, E, 3);
    assert_eq!(drain(&mut cx), ["payload [2] {type:TRANSACTION,data:{n:3}}", "replay 2 3..3"], "it goes again");
    replay.on_replayed(&mut cx, &mut links, &store, E, 3);
    assert_eq!(drain(&mut cx), ["payload [2] {type:TRANSACTION,data:{n:4}}"]);
    assert_eq!(delivery(&links, E), Delivery::Live);
    cx.config.limits.queue_bytes = 8 * frame;
    replay.resume(&mut cx, &mut links, E, 3);
    replay.on_replayed(&mut cx, &mut links, &store, E, 3);
    let both = [3, 4].map(|n| format!("payload [2] {{type:TRANSACTION,data:{{n:{n}}}}}"));
    assert_eq!(drain(&mut cx)[1..], both, "both fit exactly");
}

#[test]
fn a_transaction_longer_than_a_quarter_of_a_queue_goes_out_alone() {
    let (mut replay, mut cx, mut links, store) = parts();
    cx.config.limits.queue_bytes = 4;
    replay.resume(&mut cx, &mut links, E, 3);
    drain(&mut cx);
    for (number, left) in [(3, true), (4, false)] {
        replay.on_replayed(&mut cx, &mut links, &store, E, 3);
        let mut sent = vec![format!("payload [2] {{type:TRANSACTION,data:{{n:{number}}}}}")];
        sent.extend(left.then(|| "replay 2 3..3".to_owned()));
        assert_eq!(drain(&mut cx), sent);
    }
}

#[test]
fn a_peer_that_asked_for_the_whole_pool_is_pushed_new_ones_meanwhile() {
    let (mut replay, mut cx, mut links, store) = parts();
    stream_pool(&mut cx, &mut links, &store, N);
    let session = cx.config.session;
    assert_eq!(
        drain(&mut cx),
        [
            "replay 1 0..3 synced".to_owned(),
            format!("payload [1] {{type:TRANSACTION,data:{{n:3}},session:{session}}}"),
            format!("payload [1] {{type:TRANSACTION,data:{{n:4}},session:{session}}}"),
            "event Replaying".to_owned()
        ]
    );
    stream_pool(&mut cx, &mut links, &store, N);
    assert!(drain(&mut cx).is_empty(), "once at a time");
    assert!(!replay.on_replayed(&mut cx, &mut links, &store, N, 3));
    assert_eq!(delivery(&links, N), Delivery::Live);
    stream_pool(&mut cx, &mut links, &store, N);
    replay.on_queue_full(&mut cx, &mut links, N);
    assert_eq!(delivery(&links, N), Delivery::Syncing { missed: true });
    assert!(replay.on_replayed(&mut cx, &mut links, &store, N, 3), "it missed something");
    drain(&mut cx);
    stream_pool(&mut cx, &mut links, &Store::new(Vec::new()), N);
    assert!(drain(&mut cx).is_empty(), "of an empty pool nothing is sent");
}

#[test]
fn answers_to_a_comparison_take_a_quarter_of_a_queue() {
    let (_, mut cx, _, store) = parts();
    let frame = TransactionFrame::sync_frame(transaction(3).body(), cx.config.session).len();
    for (queue, sent) in [(8 * frame, 2), (8 * frame - 1, 1), (4 * frame - 1, 0)] {
        cx.config.limits.queue_bytes = queue;
        sync_unstored(&mut cx, N, store.index().unstored(0).map(|(_, transaction)| transaction));
        assert_eq!(drain(&mut cx).len(), sent, "{queue}");
    }
}

#[test]
fn a_person_is_told_once_a_minute_and_link() {
    let (mut replay, mut cx, mut links, store) = parts();
    let mut reports = |replay: &mut Replay, cx: &mut Context, link, position| {
        replay.on_queue_full(cx, &mut links, link);
        let reported = drain(cx).contains(&"event PeerLagging".to_owned());
        replay.on_replayed(cx, &mut links, &store, link, position);
        drain(cx);
        reported
    };
    assert!(reports(&mut replay, &mut cx, N, 3) && reports(&mut replay, &mut cx, E, 3));
    cx.now += REPORT_INTERVAL - Duration::from_nanos(1);
    assert!(!reports(&mut replay, &mut cx, N, 3));
    cx.now += Duration::from_nanos(1);
    assert!(reports(&mut replay, &mut cx, N, 3) && !reports(&mut replay, &mut cx, N, 3));
    replay.on_link_closed(N);
    assert!(reports(&mut replay, &mut cx, N, 3), "a new link is a new matter");
}

#[test]
fn a_client_that_reads_no_acks_is_closed_and_a_closing_link_is_left_alone() {
    let (mut replay, mut cx, mut links, store) = parts();
    replay.on_queue_full(&mut cx, &mut links, C);
    assert_eq!(drain(&mut cx), ["close 3 you do not read your ACKs"]);
    replay.on_queue_full(&mut cx, &mut links, C);
    replay.on_queue_full(&mut cx, &mut links, LinkId(9));
    links.get_mut(N).expect("open").flow = Delivery::Lagging;
    links.get_mut(N).expect("open").closing = true;
    assert!(!replay.on_replayed(&mut cx, &mut links, &store, N, 3));
    assert!(drain(&mut cx).is_empty());
}

#[test]
fn an_exercise_peer_that_comes_back_goes_on_where_it_was() {
    let (mut replay, mut cx, mut links, _) = parts();
    replay.resume(&mut cx, &mut links, E, 1);
    assert_eq!(drain(&mut cx), ["replay 2 1..end"]);
    assert_eq!(delivery(&links, E), Delivery::Replaying { from: 1, pushed: 0, trying: 0 });
    replay.resume(&mut cx, &mut links, LinkId(9), 1);
    assert!(drain(&mut cx).is_empty());
}
