use crate::address::PeerAddress;
use crate::connections::table::{Delivery, Link};
use crate::gossip::transactions::*;
use crate::id::NodeId;
use crate::json::Parser;
use crate::testing::net::address;
use crate::testing::parts::{client, context, drain, event, exercise, native, native_link, node, origin, transaction};
use crate::trace::{SendDecision, TRACED_LINKS, Trace};

/// Native peers 1 and 2 on links of the same numbers, exercise peer 3, and a client, 4.
fn parts() -> (Gossip, Context, LinkTable, Store) {
    let (cx, mut links) = (context(), LinkTable::default());
    native(&cx, &mut links, 1);
    native(&cx, &mut links, 2);
    exercise(&cx, &mut links, 3);
    client(&cx, &mut links, 4);
    (Gossip::default(), cx, links, Store::new(Vec::new()))
}

fn received(n: u32, origin: Option<Origin>) -> Received {
    let transaction = transaction(n);
    let transaction = origin.as_ref().map_or(transaction.clone(), |origin| transaction.with_origin(origin));
    Received { transaction, origin, ack: false, synced: false }
}

fn frame(n: u32, from: &Origin) -> String {
    format!("{{type:TRANSACTION,data:{{n:{n}}},from:{from}}}")
}

#[test]
fn a_new_transaction_is_sent_on_stored_and_reported_in_that_order() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let synced = gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(1, Some(origin(9))));
    assert!(!synced && store.index().holds(&transaction(1).id()));
    assert_eq!(
        drain(&mut cx),
        [format!("payload [2, 3] {}", frame(1, &origin(9))), "store {n:1}".into(), "event Transaction".into()]
    );
    assert_eq!((cx.counters.transactions_accepted, cx.counters.transactions_sent), (1, 2));
    assert_eq!([1, 2].map(|link| links.get(LinkId(link)).expect("open").brought), [1, 0]);
    assert_eq!(links.get(LinkId(3)).expect("open").first_payload, Some(cx.now));
    gossip.report_transactions(false);
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(3), received(2, None));
    let exercise = Origin::Exercise(address(3));
    assert_eq!(drain(&mut cx), [format!("payload [1, 2] {}", frame(2, &exercise)), "store {n:2}".into()]);
}

#[test]
fn the_origin_is_what_a_native_peer_says_and_nobody_else() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    for (n, link, named, right) in [
        (1, 1, None, origin(1)),
        (2, 1, Some(origin(9)), origin(9)),
        (3, 4, Some(origin(9)), origin(0)),
        (4, 4, None, origin(0)),
        (5, 3, Some(origin(9)), Origin::Exercise(address(3))),
    ] {
        gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(link), received(n, named));
        let sent = drain(&mut cx);
        assert!(sent.iter().any(|output| output.ends_with(&frame(n, &right))), "{sent:?}");
    }
}

#[test]
fn a_copy_is_counted_and_pruned_unless_it_answers_a_comparison() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(1, Some(origin(9))));
    drain(&mut cx);
    let copy = Received { synced: true, ..received(1, Some(origin(9))) };
    assert!(!gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(2), copy));
    assert!(drain(&mut cx).is_empty());
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(2), received(1, Some(origin(9))));
    assert_eq!(drain(&mut cx), [format!("control [2] {{type:PRUNE,data:[{}]}}", origin(9))]);
    gossip.on_duplicates(&mut cx, &links, LinkId(2), &[(Some(origin(8)), 3), (None, 4)]);
    gossip.on_duplicates(&mut cx, &links, LinkId(1), &[(Some(origin(8)), 1)]);
    assert_eq!(drain(&mut cx), [format!("control [1] {{type:PRUNE,data:[{}]}}", origin(8))]);
    assert_eq!((cx.counters.transactions_duplicate, cx.counters.transactions_accepted), (10, 1));
}

#[test]
fn what_answers_a_comparison_is_not_relayed_to_native_peers() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let answer = || Received { synced: true, ..received(1, None) };
    assert!(gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), answer()));
    let sent = ["payload [3] {type:TRANSACTION,data:{n:1}}", "store {n:1}", "event Transaction"];
    assert_eq!(drain(&mut cx), sent);
    assert_eq!(cx.counters.transactions_synced, 1);
    store.sync_set().settle(cx.now);
    assert_eq!(store.sync_set().summary().count, 1, "it has settled elsewhere");
    // A client's word for that is nothing.
    let answer = Received { synced: true, ..received(2, None) };
    assert!(!gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), answer));
    assert!(drain(&mut cx)[0].starts_with("payload [1, 2, 3]"));
    assert_eq!(cx.counters.transactions_synced, 1);
}

#[test]
fn a_client_s_ack_follows_the_disk() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let id = transaction(1).id();
    let asking = || Received { ack: true, ..received(1, None) };
    let ack =
        |status: &str, links: u8| format!("payload [4] {{type:ACK,data:{{id:{id},status:{status},links:{links}}}}}");
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), asking());
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), asking());
    assert!(gossip.is_disk_awaited());
    drain(&mut cx);
    gossip.on_stored(&mut cx, &mut links, &mut store, vec![id]);
    assert_eq!(drain(&mut cx), [ack("stored", 3), ack("duplicate", 0), "event Stored".into()]);
    assert!(!gossip.is_disk_awaited() && store.index().is_stored(&id));
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), asking());
    assert_eq!(drain(&mut cx), [ack("duplicate", 0)], "it is on disk: at once");
}

#[test]
fn a_submission_is_answered_at_once_and_again_when_it_is_on_disk() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let id = transaction(1).id();
    let mut submit = |gossip: &mut Gossip, cx: &mut Context, store: &mut Store, request| {
        gossip.on_submit(cx, &mut links, store, RequestId(request), transaction(1));
        drain(cx)
    };
    let sent = submit(&mut gossip, &mut cx, &mut store, 7);
    assert_eq!(sent[0], format!("payload [1, 2, 3] {}", frame(1, &origin(0))));
    assert_eq!(sent[1..], ["store {n:1}", "event Transaction", "submitted 7 links 3 duplicate false"]);
    assert_eq!(submit(&mut gossip, &mut cx, &mut store, 8), ["submitted 8 links 0 duplicate true"]);
    store.mark_stored(id);
    let sent = submit(&mut gossip, &mut cx, &mut store, 9);
    assert_eq!(sent, ["submitted 9 links 0 duplicate true", "stored 9"]);
    gossip.ack_waiters.on_stored(&mut cx, &mut links, id);
    assert_eq!(drain(&mut cx), ["stored 7", "stored 8"]);
    assert_eq!((cx.counters.transactions_accepted, cx.counters.transactions_duplicate), (1, 2));
}

#[test]
fn a_pool_that_is_full_of_bytes_refuses_until_some_are_removed() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let size = transaction(1).body_bytes() as u64;
    cx.config.limits.pool_bytes = 10 * size;
    // What was in the file at the start counts.
    store.set_bytes(8 * size);
    for number in 1..=2 {
        gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(number), transaction(number as u32));
        assert!(!drain(&mut cx).iter().any(|told| told.starts_with("refused")));
    }
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(3), transaction(3));
    let told = drain(&mut cx);
    assert!(told[0].starts_with("refused 3 the pool is full: its transactions have"), "{told:?}");
    assert!(told[0].contains("and POOL_BYTES allows"), "{told:?}");
    gossip.on_stored(&mut cx, &mut links, &mut store, vec![transaction(1).id(), transaction(2).id()]);
    store.remove(&[transaction(1).id()]);
    drain(&mut cx);
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(4), transaction(4));
    assert!(!drain(&mut cx).iter().any(|told| told.starts_with("refused")));
}

#[test]
fn a_full_pool_and_a_full_disk_refuse() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    cx.config.limits.pool_transactions = 1;
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(1), transaction(1));
    drain(&mut cx);
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(2), transaction(2));
    assert!(matches!(&drain(&mut cx)[..], [told] if told.starts_with("refused 2 the pool is full: it holds 1 ")));
    let asking = Received { ack: true, ..received(2, None) };
    assert!(!gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), asking));
    let told = drain(&mut cx);
    assert_eq!(told[0], "event TransactionRefused");
    assert!(told[1].starts_with("payload [4] {type:ACK,data:{") && told[1].contains("status:rejected"), "{told:?}");
    cx.config.limits.pool_transactions = 2;
    cx.config.limits.unstored_bytes = transaction(1).body_bytes();
    store.on_write_failed(&mut cx, "no room".into());
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(3), transaction(2));
    assert!(drain(&mut cx)[1].starts_with("refused 3 the disk takes no writes"));
    cx.config.limits.unstored_bytes += 1;
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(4), transaction(2));
    assert!(drain(&mut cx).contains(&"submitted 4 links 3 duplicate false".into()), "what waits fits exactly");
    assert_eq!(cx.counters.transactions_refused, 3);
    store.on_write_recovered(&mut cx);
    assert!(store.is_writable());
}

#[test]
fn what_another_program_put_into_the_file_spreads_as_ours() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(1, None));
    drain(&mut cx);
    gossip.on_pool_added(&mut cx, &mut links, &mut store, vec![transaction(1), transaction(2)]);
    assert_eq!(drain(&mut cx), [format!("payload [1, 2, 3] {}", frame(2, &origin(0))), "event Transaction".into()]);
    assert_eq!((cx.counters.transactions_accepted, store.index().count(), store.accepted()), (2, 2, 2));
}

#[test]
fn invalid_data_is_counted_by_kind_and_answered_if_asked_for() {
    let (_, mut cx, links, _) = parts();
    let id = transaction(1).id();
    let errors = [
        InvalidTransaction::Unsigned { id },
        InvalidTransaction::Forged { id, why: "its signature is another's" },
        InvalidTransaction::Refused { id, reason: "too small".into() },
        Transaction::parse(&mut Parser::new(), "[]").expect_err("an array"),
    ];
    for error in &errors {
        reject_invalid(&mut cx, &links, LinkId(4), error, false);
        assert_eq!(drain(&mut cx), ["event TransactionRefused"]);
    }
    assert_eq!(errors.each_ref().map(|error| error.id()), [Some(id), Some(id), Some(id), None]);
    reject_invalid(&mut cx, &links, LinkId(4), &errors[2], true);
    let ack = format!("payload [4] {{type:ACK,data:{{id:{id},status:rejected,reason:too small,links:0}}}}");
    assert_eq!(drain(&mut cx)[1..], [ack]);
    reject_invalid(&mut cx, &links, LinkId(4), &errors[3], true);
    assert!(drain(&mut cx)[1].starts_with("payload [4] {type:ACK,data:{id:,status:rejected,"));
    let counters = &cx.counters;
    let counted = (counters.transactions_refused, counters.transactions_unsigned, counters.transactions_forged);
    assert_eq!(counted, (6, 1, 1));
}

#[test]
fn what_is_ignored_is_told_to_a_client_alone_and_what_is_deferred_to_nobody() {
    let (_, mut cx, links, _) = parts();
    let id = transaction(1).id();
    for ack in [false, true] {
        reject_invalid(&mut cx, &links, LinkId(4), &InvalidTransaction::Deferred { id }, ack);
        assert!(drain(&mut cx).is_empty());
    }
    reject_invalid(&mut cx, &links, LinkId(4), &InvalidTransaction::Ignored { id }, false);
    assert!(drain(&mut cx).is_empty());
    reject_invalid(&mut cx, &links, LinkId(4), &InvalidTransaction::Ignored { id }, true);
    let told = drain(&mut cx);
    assert!(told.len() == 1 && told[0].contains("status:rejected"), "{told:?}");
    assert_eq!((cx.counters.transactions_ignored, cx.counters.transactions_refused), (2, 0));
    let both = [InvalidTransaction::Deferred { id }, InvalidTransaction::Ignored { id }];
    assert_eq!(both.map(|error| error.id()), [Some(id); 2], "neither is asked for again");
}

#[test]
fn an_event_names_the_peer_that_brought_a_transaction() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let peer_of = |event| match event {
        Event::Transaction { peer, links, .. } => Some((peer.and_then(|peer| peer.node), links)),
        _ => None,
    };
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(2), received(1, Some(origin(9))));
    assert_eq!(event(&mut cx, peer_of), Some((Some(node(2)), 2)));
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(1), transaction(2));
    assert_eq!(event(&mut cx, peer_of), Some((None::<NodeId>, 3)));
}

#[test]
fn a_closed_link_waits_for_nothing_and_its_trees_break() {
    let (mut gossip, mut cx, mut links, mut store) = parts();
    let asking = Received { ack: true, ..received(1, None) };
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(4), asking);
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(2, Some(origin(9))));
    for (link, broke) in [(4, false), (2, false), (1, true)] {
        links.remove(LinkId(link));
        assert_eq!(gossip.on_link_closed(&mut cx, &links, LinkId(link)), broke);
    }
    assert!(!gossip.is_disk_awaited());
}

fn traces(cx: &mut Context) -> Vec<Trace> {
    let outputs = std::iter::from_fn(|| cx.poll_output());
    let trace = |output| match output {
        Output::Trace(trace) => Some(*trace),
        _ => None,
    };
    outputs.filter_map(trace).collect()
}

fn decisions(trace: &Trace) -> Vec<(u64, SendDecision)> {
    trace.links.iter().map(|traced| (traced.link.0, traced.decision)).collect()
}

#[test]
fn a_trace_says_for_each_link_whether_a_transaction_went_out_and_why() {
    use SendDecision::{Behind, Brought, Closing, Compares, NotLinked, Origin as IsOrigin, Pruned};
    use SendDecision::{ReadsElsewhere, SecondLink, Sent, Withheld};
    let (mut gossip, mut cx, mut links, mut store) = parts();
    native_link(&cx, &mut links, 5, 2);
    for link in 6..=9 {
        native(&cx, &mut links, link);
    }
    exercise(&cx, &mut links, 10);
    client(&cx, &mut links, 11);
    let open = |links: &mut LinkTable, link: u64, change: &dyn Fn(&mut Link)| {
        change(links.get_mut(LinkId(link)).expect("open"))
    };
    open(&mut links, 6, &|link| link.flow = Delivery::Lagging);
    open(&mut links, 7, &|link| link.closing = true);
    open(&mut links, 10, &|link| link.withheld = true);
    open(&mut links, 11, &|link| link.state = inbound(address(3)));
    let waiting = |link: &mut Link| {
        if let LinkState::Established(peer) = &link.state {
            link.state = LinkState::Verifying(peer.clone());
        }
    };
    open(&mut links, 9, &waiting);
    gossip.trace_transactions(3);
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(1, Some(origin(8))));
    gossip.plumtree.on_prune(&mut cx, &links, LinkId(2), &[origin(8)]);
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(2, Some(origin(8))));
    let synced = Received { synced: true, ..received(3, None) };
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), synced);
    gossip.on_transaction(&mut cx, &mut links, &mut store, LinkId(1), received(4, Some(origin(8))));
    let traces = traces(&mut cx);
    let rest = [
        (5, SecondLink),
        (6, Behind),
        (7, Closing),
        (8, IsOrigin),
        (9, NotLinked),
        (10, Withheld),
        (11, ReadsElsewhere),
    ];
    let all = |first: [SendDecision; 3], eighth: SendDecision| {
        let first = (1..).zip(first).chain(rest);
        first.map(|(link, decision)| (link, if link == 8 { eighth } else { decision })).collect::<Vec<_>>()
    };
    assert_eq!(decisions(&traces[0]), all([Brought, Sent, Sent], IsOrigin));
    assert_eq!(decisions(&traces[1]), all([Brought, Pruned, Sent], IsOrigin));
    assert_eq!(decisions(&traces[2]), all([Brought, Compares, Sent], Compares));
    assert_eq!(traces.len(), 3, "no more were asked for");
    let from = traces[0].from.as_ref().map(|(link, peer)| (link.0, peer.node));
    assert_eq!((from, &traces[0].origin, traces[0].clients), (Some((1, Some(node(1)))), &Some(origin(8)), 1));
    assert_eq!((traces[0].id, &traces[2].origin), (transaction(1).id(), &None));
}

/// A link that an exercise peer dialled.
fn inbound(address: PeerAddress) -> LinkState {
    LinkState::ExerciseInbound { address: Some(address) }
}

#[test]
fn a_trace_names_so_many_links_and_agrees_with_what_is_sent() {
    let (mut gossip, mut cx, mut links, mut store) =
        (Gossip::default(), context(), LinkTable::default(), Store::new(Vec::new()));
    for link in 1..=100 {
        native(&cx, &mut links, link);
    }
    gossip.trace_transactions(1);
    gossip.on_submit(&mut cx, &mut links, &mut store, RequestId(1), transaction(1));
    let outputs: Vec<_> = std::iter::from_fn(|| cx.poll_output()).collect();
    let [Output::Send { links: sent, .. }, Output::Trace(trace), ..] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((sent.len(), trace.links.len(), trace.more, &trace.from), (100, TRACED_LINKS, 36, &None));
    assert!(trace.links.iter().all(|traced| traced.decision == SendDecision::Sent));
}
