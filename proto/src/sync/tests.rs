use crate::Output;
use crate::connections::table::OURSELVES;
use crate::json::Parser;
use crate::store::broadcast_store::HeldBroadcast;
use crate::sync::*;
use crate::testing::parts::{client, context, drain, exercise, native, origin, transaction};
use crate::wire::{Broadcast, BroadcastDigest, BroadcastId, Message, OtherSet, Step, Summary, SyncFrame};

fn parts(natives: u8) -> (AntiEntropy, Context, LinkTable, Store, BroadcastStore) {
    let (cx, mut links) = (context(), LinkTable::default());
    for n in 1..=natives {
        native(&cx, &mut links, n);
    }
    client(&cx, &mut links, 100);
    (AntiEntropy::default(), cx, links, Store::new(Vec::new()), BroadcastStore::default())
}

/// Runs a round, and returns after how many shortest intervals the next one is due at the earliest.
fn round(parts: &mut (AntiEntropy, Context, LinkTable, Store, BroadcastStore)) -> u32 {
    let (sync, cx, links, store, broadcasts) = parts;
    sync.on_round_due(cx, links, store, broadcasts);
    let wait = cx.timers.due(&Timer::Reconcile).expect("a timer") - cx.now;
    assert!(wait >= sync.interval && wait < sync.interval * 2, "{wait:?}");
    (sync.interval.as_millis() / ROUND_MIN.as_millis()) as u32
}

#[test]
fn rounds_follow_each_other_the_more_slowly_the_longer_there_is_no_news() {
    let mut parts = parts(1);
    assert_eq!([0; 4].map(|_| round(&mut parts)), [2, 4, 5, 5]);
    parts.3.insert(parts.1.now, transaction(1), false);
    assert_eq!([0; 3].map(|_| round(&mut parts)), [1, 2, 4]);
    parts.3.add_found(parts.1.now, &[transaction(1), transaction(2)]);
    assert_eq!(round(&mut parts), 1);
    parts.3.remove(&[transaction(2).id()]);
    assert_eq!(round(&mut parts), 2, "what is gone is no news");
}

/// Runs a round a second later, and returns the link of its one comparison.
fn compared(parts: &mut (AntiEntropy, Context, LinkTable, Store, BroadcastStore)) -> u64 {
    parts.1.now += Duration::from_secs(1);
    round(parts);
    let sent = drain(&mut parts.1);
    let link = (1..=9).find(|link| sent[0].starts_with(&format!("control [{link}]")));
    assert!(sent.len() == 1 && sent[0].contains("set:transactions"), "{sent:?}");
    link.expect("a native peer")
}

#[test]
fn a_round_compares_with_the_neighbour_whose_turn_it_is() {
    let mut parts = parts(4);
    let first: Vec<u64> = (0..4).map(|_| compared(&mut parts)).collect();
    assert_eq!(std::collections::BTreeSet::from_iter(&first).len(), 4, "each once: {first:?}");
    assert_eq!((0..4).map(|_| compared(&mut parts)).collect::<Vec<_>>(), first, "and again in turn");
    let (sync, cx, links, store, _) = &mut parts;
    let summary = SyncFrame::Summary(store.sync_set().summary());
    cx.now += Duration::from_secs(1);
    sync.pool.on_sync(cx, links, store, LinkId(first[0]), summary).expect("a native peer");
    assert_eq!(compared(&mut parts), first[1], "who compared with us has had its turn");
    assert_eq!(parts.1.counters.sync_rounds, 9);
    let mut alone = self::parts(0);
    round(&mut alone);
    assert!(drain(&mut alone.1).is_empty());
}

#[test]
fn what_a_comparison_brought_is_spread_to_others_soon() {
    let mut parts = parts(5);
    round(&mut parts);
    drain(&mut parts.1);
    let (sync, cx, links, store, broadcasts) = &mut parts;
    sync.on_synced(cx, links, LinkId(1), transaction(1).id());
    assert_eq!(cx.timers.due(&Timer::Reconcile), Some(cx.now + SPREAD_DELAY));
    sync.on_round_due(cx, links, store, broadcasts);
    let Some(Output::Notify(Event::Synced { link: LinkId(1), transactions: 1, .. })) = cx.poll_output() else {
        panic!("it is reported once")
    };
    let sent = drain(cx);
    assert_eq!(sent.len(), SPREAD_TO, "{sent:?}");
    assert!(!sent.iter().any(|frame| frame.contains("[1]")), "it has it: {sent:?}");
    round(&mut parts);
    assert_eq!(drain(&mut parts.1).len(), 1, "once");
}

#[test]
fn what_a_comparison_brought_is_in_the_summary_that_is_sent_for_it() {
    let mut parts = parts(5);
    round(&mut parts);
    drain(&mut parts.1);
    let (sync, cx, links, store, broadcasts) = &mut parts;
    // The set was merged when the comparison began, and what it found came soon after.
    store.sync_set().settle(cx.now);
    store.insert(cx.now, transaction(1), true);
    sync.on_synced(cx, links, LinkId(1), transaction(1).id());
    cx.now += SPREAD_DELAY;
    sync.on_round_due(cx, links, store, broadcasts);
    let sent = drain(cx);
    let whole = sent.iter().filter(|frame| frame.starts_with("control") && frame.contains("count:1,"));
    assert_eq!(whole.count(), SPREAD_TO, "{sent:?}");
}

#[test]
fn what_comparisons_brought_is_reported_once_for_each_neighbour_with_the_first_of_it() {
    let mut parts = parts(2);
    round(&mut parts);
    drain(&mut parts.1);
    let (sync, cx, links, store, broadcasts) = &mut parts;
    for number in 1..=10 {
        sync.on_synced(cx, links, LinkId(1), transaction(number).id());
    }
    sync.on_synced(cx, links, LinkId(2), transaction(11).id());
    // A link that closes reports what it brought.
    sync.on_link_closed(cx, links, store, broadcasts, LinkId(2));
    sync.on_round_due(cx, links, store, broadcasts);
    sync.on_link_closed(cx, links, store, broadcasts, LinkId(1));
    let events = std::iter::from_fn(|| cx.poll_output()).filter_map(|output| match output {
        Output::Notify(Event::Synced { link, peer, transactions, first }) => {
            assert_eq!(peer, links.name_of(link));
            Some((link.0, transactions, first))
        }
        _ => None,
    });
    let first = (1..=8).map(|number| transaction(number).id()).collect::<Vec<_>>();
    assert_eq!(events.collect::<Vec<_>>(), [(2, 1, vec![transaction(11).id()]), (1, 10, first)]);
}

#[test]
fn pools_are_compared_again_when_what_was_on_its_way_while_links_changed_is_settled() {
    let mut parts = parts(5);
    (0..4).for_each(|_| _ = round(&mut parts));
    drain(&mut parts.1);
    let (sync, cx, links, store, broadcasts) = &mut parts;
    let first = cx.now;
    sync.on_links_changed(cx);
    cx.now += Duration::from_secs(1);
    sync.on_links_changed(cx);
    for due in [first, cx.now].map(|at| at + CHANGE_DELAY) {
        assert_eq!(cx.timers.due(&Timer::Reconcile), Some(due), "a second change does not put the first off");
        cx.now = due;
        sync.on_round_due(cx, links, store, broadcasts);
        assert_eq!(drain(cx).len(), SPREAD_TO);
    }
    assert_eq!((sync.changed, sync.changed_last), (None, None));
}

#[test]
fn one_change_of_links_is_one_round() {
    let mut parts = parts(5);
    (0..4).for_each(|_| _ = round(&mut parts));
    drain(&mut parts.1);
    parts.0.on_links_changed(&mut parts.1);
    parts.1.now += CHANGE_DELAY;
    round(&mut parts);
    assert_eq!((drain(&mut parts.1).len(), parts.0.changed, parts.0.changed_last), (SPREAD_TO, None, None));
}

#[test]
fn exercise_peers_and_links_that_close_are_not_compared_with() {
    let mut parts = parts(2);
    exercise(&parts.1, &mut parts.2, 101);
    parts.2.get_mut(LinkId(2)).expect("open").closing = true;
    assert_eq!([0; 3].map(|_| compared(&mut parts)), [1, 1, 1]);
}

/// Has a link offer a transaction, which is requested of it.
fn request(sync: &mut AntiEntropy, cx: &mut Context, links: &mut LinkTable, store: &mut Store, link: LinkId) {
    sync.pool.fetch(cx, links, store, link);
    let Some(Output::Send { frame, .. }) = cx.poll_output() else { panic!("no question") };
    let Ok(Message::Sync(SyncFrame::Ask(Step { number, message }))) =
        Message::parse(&mut Parser::new(), frame.as_str())
    else {
        panic!("{frame:?}")
    };
    let mut theirs = Store::new(vec![(transaction(77).id(), 0)]);
    let message = negentropy::answer(theirs.sync_set().items(), &message).expect("a question");
    let answer = SyncFrame::Answer(Step { number, message });
    sync.pool.on_sync(cx, links, store, link, answer).expect("a native peer");
    assert!(drain(cx)[0].contains("WANT"));
}

/// Has a link offer a transaction, and bring nothing of it for two seconds.
fn stall(sync: &mut AntiEntropy, cx: &mut Context, links: &mut LinkTable, store: &mut Store, link: LinkId) {
    request(sync, cx, links, store, link);
    cx.now += Duration::from_secs(2);
    sync.pool.expire(cx, store);
    assert!(sync.pool.is_asked_last(link));
}

#[test]
fn a_stalled_neighbour_is_asked_only_if_there_is_no_other() {
    let (mut sync, mut cx, mut links, mut store, broadcasts) = parts(2);
    stall(&mut sync, &mut cx, &mut links, &mut store, LinkId(1));
    for _ in 0..20 {
        sync.fetch(&mut cx, &links, &mut store);
        let sent = drain(&mut cx);
        assert!(sent.len() == 1 && sent[0].starts_with("control [2]"), "{sent:?}");
        sync.on_link_closed(&mut cx, &LinkTable::default(), &mut store, &broadcasts, LinkId(2));
    }
    links.remove(LinkId(2));
    sync.fetch(&mut cx, &links, &mut store);
    assert!(drain(&mut cx)[0].starts_with("control [1]"));
    sync.fetch(&mut cx, &links, &mut store);
    assert!(drain(&mut cx).is_empty(), "one is open");
}

#[test]
fn while_something_is_on_its_way_pools_are_compared_with_one_neighbour_unless_links_changed() {
    for changed in [false, true] {
        let (mut sync, mut cx, mut links, mut store, mut broadcasts) = parts(5);
        if changed {
            sync.on_links_changed(&mut cx);
        }
        cx.now += CHANGE_DELAY;
        request(&mut sync, &mut cx, &mut links, &mut store, LinkId(1));
        sync.on_round_due(&mut cx, &links, &mut store, &mut broadcasts);
        assert_eq!(drain(&mut cx).len(), if changed { SPREAD_TO } else { 1 });
    }
}

#[test]
fn what_a_neighbour_did_not_bring_is_fetched_from_another() {
    let (mut sync, mut cx, mut links, mut store, _) = parts(2);
    request(&mut sync, &mut cx, &mut links, &mut store, LinkId(1));
    sync.on_wants_due(&mut cx, &links, &mut store);
    assert!(drain(&mut cx).is_empty(), "it may still come");
    cx.now += Duration::from_secs(2);
    sync.on_wants_due(&mut cx, &links, &mut store);
    let sent = drain(&mut cx);
    assert!(sent.len() == 1 && sent[0].starts_with("control [2]") && sent[0].contains("ask:"), "{sent:?}");
}

/// A store of one broadcast.
fn broadcast(n: u8, at: Instant) -> BroadcastStore {
    let mut store = BroadcastStore::default();
    let broadcast = Broadcast { id: BroadcastId([n; 32]), message: "text".into(), time: 1.0, seal: None };
    let held = HeldBroadcast { broadcast, origin: origin(9), born: at, received: at, is_live: true, by: OURSELVES };
    store.insert(at, BroadcastDigest([n; 32]), held);
    store
}

#[test]
fn broadcasts_that_a_neighbour_did_not_bring_are_compared_with_another() {
    let (mut sync, mut cx, links, ..) = parts(2);
    let (mut ours, mut theirs) = (broadcast(1, cx.now), broadcast(2, cx.now));
    cx.now += Duration::from_secs(2);
    let mut other = BroadcastSync::default();
    let mut frame = SyncFrame::Reply(Summary { count: 1, sum: "other".into() });
    // Their summary, our question, and their answer.
    for turn in 0..3 {
        let (side, store) = if turn % 2 == 0 { (&mut sync.broadcasts, &mut ours) } else { (&mut other, &mut theirs) };
        let handled = side.on_sync(&mut cx, &links, store, LinkId(1), (OtherSet::BroadcastDigests, frame));
        handled.expect("a native peer");
        let Some(Output::Send { frame: sent, .. }) = cx.poll_output() else { panic!("nothing in turn {turn}") };
        frame = match Message::parse(&mut Parser::new(), sent.as_str()) {
            Ok(Message::SyncOther(_, frame)) => frame,
            Ok(Message::Want(_)) => break,
            other => panic!("{other:?}"),
        };
    }
    sync.on_want_broadcasts_due(&mut cx, &links, &mut ours);
    assert!(drain(&mut cx).is_empty(), "it may still come");
    cx.now += Duration::from_secs(2);
    sync.on_want_broadcasts_due(&mut cx, &links, &mut ours);
    let sent = drain(&mut cx);
    assert!(sent.len() == 1 && sent[0].starts_with("control [2]") && sent[0].contains("set:broadcasts"), "{sent:?}");
}

#[test]
fn wants_of_a_flood_are_dropped_and_no_violation() {
    let mut net = crate::testing::net::Net::mesh(2);
    let link = net.cores[0].connections.links.iter().next().expect("a link").0;
    let counts = |net: &crate::testing::net::Net| {
        let counters = net.cores[0].counters();
        (counters.messages_dropped, counters.violations)
    };
    let want = format!(r#"{{"type":"WANT","data":["{}"]}}"#, "77".repeat(32));
    for _ in 0..256 {
        net.receive(0, link, &want);
    }
    assert_eq!(counts(&net), (0, 0), "a whole pool has twenty of them");
    for n in 1..=20 {
        net.receive(0, link, &want);
        assert_eq!(counts(&net), (n, 0));
    }
    net.pass(Duration::from_secs(3));
    for _ in 0..256 {
        net.receive(0, link, &want);
    }
    assert_eq!(counts(&net), (20, 0));
}

/// Rules had a peer's transactions deferred, and take them while its link closes: they come again.
#[test]
fn what_was_deferred_and_is_taken_on_a_link_that_closes_is_no_longer_refused() {
    use crate::transaction::InvalidTransaction;
    use crate::wire::{TopicFrame, TransactionFrame};

    let mut net = crate::testing::net::Net::new(2);
    (0..2).for_each(|node| net.declare(node, "chat", crate::Retention::default()));
    net.link(0, 1);
    let link = net.link_between(0, 1);
    let frame =
        |transaction| Message::Transaction(TransactionFrame { transaction, origin: None, ack: false, synced: true });
    let in_topic = |message| Message::Topic(Box::new(TopicFrame { topic: "chat".parse().expect("a name"), message }));
    let id = transaction(1).id();
    let refused = |core: &crate::Node| [core.sync.pool.has_refused(&id), core.topics.has_refused("chat", &id)];
    let core = &mut net.cores[0];
    let deferred = || frame(Err(InvalidTransaction::Deferred { id }));
    for message in [deferred(), in_topic(deferred())] {
        core.on_received(net.now, link, Ok(message));
    }
    assert_eq!(refused(core), [true, true]);
    core.connections.links.close(&mut core.cx, link, 1000, "for the test");
    for message in [frame(Ok(transaction(1))), in_topic(frame(Ok(transaction(1))))] {
        core.on_received(net.now, link, Ok(message));
    }
    assert_eq!(refused(core), [false, false]);
}
