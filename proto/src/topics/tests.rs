//! Topics in a small network of cores.

use std::time::Duration;

use super::*;
use crate::io::{Input, Retention};
use crate::testing::net::{Net, TIME_OF_DAY};
use crate::transaction::TransactionId;

const ROUNDS: Duration = Duration::from_secs(30);

fn everything() -> Retention {
    Retention::default()
}

fn last(count: u64) -> Retention {
    Retention { count: Some(count), ..Retention::default() }
}

/// A mesh of nodes, the first of which have the topic "a" with this retention, and the last ones
/// the topic "b".
fn mesh(nodes: usize, of_a: std::ops::Range<usize>, of_b: std::ops::Range<usize>, retention: &Retention) -> Net {
    let mut net = Net::new(nodes);
    of_b.for_each(|node| net.declare(node, "b", retention.clone()));
    of_a.for_each(|node| net.declare(node, "a", retention.clone()));
    for one in 0..nodes {
        for other in one + 1..nodes {
            net.link(one, other);
        }
    }
    net
}

fn sorted(mut ids: Vec<TransactionId>) -> Vec<TransactionId> {
    ids.sort_unstable();
    ids
}

fn at(second: u64) -> String {
    format!(r#"{{"timeStamp":{}}}"#, TIME_OF_DAY - 10_000 + second)
}

#[test]
fn each_member_holds_all_and_no_other_node_gets_a_frame() {
    let mut net = mesh(5, 0..3, 2..4, &everything());
    let a = sorted((0..50).map(|n| net.publish(n % 3, "a", &format!(r#"{{"n":{n}}}"#))).collect());
    let b = sorted((0..50).map(|n| net.publish(2 + n % 2, "b", &format!(r#"{{"n":{n}}}"#))).collect());
    assert_eq!(a, b, "one identity in two topics");
    for node in 0..3 {
        assert_eq!(net.items(node, "a"), a, "{node}");
    }
    for node in 2..4 {
        assert_eq!(net.items(node, "b"), b, "{node}");
    }
    net.pass(ROUNDS);
    for node in 0..5 {
        let core = &net.cores[node];
        assert_eq!((core.store.index().count(), core.counters().messages_unknown), (0, 0), "{node}");
        assert_eq!(core.topic_status(0).is_some(), node < 4);
    }
    assert!(net.items(3, "a").is_empty() && net.items(4, "a").is_empty() && net.items(0, "b").is_empty());
    assert_eq!(net.cores[2].topic_status(1).expect("declared").members.len(), 2);
}

#[test]
fn a_direct_link_prunes_the_others_so_each_item_comes_once() {
    let mut net = mesh(6, 0..6, 0..0, &everything());
    net.publish(0, "a", r#"{"n":0}"#);
    net.pass(Duration::from_secs(3));
    let before = net.sent["TOPIC"];
    (1..=100).for_each(|n| _ = net.publish(0, "a", &format!(r#"{{"n":{n}}}"#)));
    assert_eq!(net.sent["TOPIC"] - before, 100 * 5);
    assert_eq!(net.sent.get("TRANSACTION"), None);
}

#[test]
fn what_was_published_on_both_sides_of_a_cut_and_before_a_start_is_reconciled() {
    let mut net = mesh(4, 0..4, 0..0, &everything());
    let mut ids = vec![net.publish(0, "a", r#"{"n":"before"}"#)];
    net.isolate(3);
    ids.extend((0..300).map(|n| net.publish(n % 3, "a", &format!(r#"{{"many":{n}}}"#))));
    ids.extend((0..20).map(|n| net.publish(3, "a", &format!(r#"{{"alone":{n}}}"#))));
    net.pass(ROUNDS);
    assert_eq!(net.items(3, "a").len(), 21);
    net.restart(3);
    assert_eq!(net.cores[3].topic_status(0).expect("declared").count, 21, "it was stored");
    net.link(3, 0);
    net.pass(ROUNDS);
    let ids = sorted(ids);
    for node in 0..4 {
        assert_eq!(net.items(node, "a"), ids, "{node}");
    }
    // Equal sets ask for nothing more.
    let synced = |net: &Net| net.cores.iter().map(|core| core.topic_status(0).expect("declared").end).sum::<u64>();
    let before = synced(&net);
    net.pass(ROUNDS);
    assert_eq!(synced(&net), before);
}

/// Publishes at both members of the topic "a", and returns what each has to hold then.
fn publish_at_both(net: &mut Net, text: &str) {
    let before = net.items(0, "a").len().max(net.items(1, "a").len());
    let ids = [0, 1].map(|node| net.publish(node, "a", &format!(r#"{{"{text}":{node}}}"#)));
    net.pass(ROUNDS);
    for node in 0..2 {
        let items = net.items(node, "a");
        assert_eq!((items.len(), ids.iter().all(|id| items.contains(id))), (before + 2, true), "{text} at {node}");
        assert_eq!(net.cores[node].topic_status(0).expect("declared").members.len(), 1, "{text} at {node}");
    }
}

#[test]
fn a_topic_goes_on_over_the_link_that_replaces_the_first() {
    for dials in [[0, 1], [1, 0]] {
        let mut net = Net::new(2);
        (0..2).for_each(|node| net.declare(node, "a", everything()));
        net.link_over_iroh(dials[0], dials[1]);
        publish_at_both(&mut net, "over iroh");
        let (first, second) = (net.link_between(0, 1), net.link(dials[0], dials[1]));
        net.pass(ROUNDS);
        let kept = net.link_between(0, 1);
        assert!(kept != first && [second.0, second.1].contains(&kept), "that by WebSocket is better");
        publish_at_both(&mut net, "by WebSocket");
        // The other way round: one that dies without a word, while another is there.
        let second = net.begin_link(dials[1], dials[0]);
        net.cut(0, kept);
        net.pass(ROUNDS);
        assert!([second.0, second.1].contains(&net.link_between(0, 1)));
        publish_at_both(&mut net, "again");
    }
}

#[test]
fn a_member_that_comes_back_before_its_old_link_is_dead_lacks_nothing() {
    for (crashes, dials) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut net = Net::new(2);
        (0..2).for_each(|node| net.declare(node, "a", everything()));
        net.link(0, 1);
        publish_at_both(&mut net, "before");
        net.crash(crashes);
        let missed = net.publish(1 - crashes, "a", r#"{"missed":true}"#);
        net.broadcast(1 - crashes, "missed");
        net.link(dials, 1 - dials);
        // As soon as the old link is given up, and not in the next round.
        let duplicate_deadline = net.cores[0].cx.config.limits.duplicate_deadline;
        net.pass(2 * duplicate_deadline);
        assert!(net.items(crashes, "a").contains(&missed), "{crashes} {dials}");
        assert_eq!(net.texts(crashes), ["missed"], "{crashes} {dials}");
        publish_at_both(&mut net, "after");
        for node in 0..2 {
            assert_eq!(net.cores[node].counters().messages_unknown, 0, "{crashes} {dials}");
        }
    }
}

#[test]
fn a_member_that_lacks_much_is_sent_everything() {
    let mut net = mesh(2, 0..1, 0..0, &everything());
    let ids = sorted((0..2_500).map(|n| net.publish(0, "a", &format!(r#"{{"n":{n}}}"#))).collect());
    net.declare(1, "a", everything());
    net.link(1, 0);
    net.pass(ROUNDS);
    assert_eq!(net.items(1, "a"), ids);
}

#[test]
fn a_queue_that_was_full_delays_a_topic_and_loses_nothing() {
    let mut net = mesh(2, 0..2, 0..0, &everything());
    let link = net.link_between(0, 1);
    net.tell(0, Input::QueueFull { link });
    let mut ids: Vec<_> = (0..10).map(|n| net.publish(0, "a", &format!(r#"{{"n":{n}}}"#))).collect();
    assert!(net.items(1, "a").is_empty(), "nothing is pushed while the queue drains");
    let (node, of, position) = net.replays.pop().expect("the runtime reports room");
    net.tell(node, Input::Replayed { link: of, position });
    ids.push(net.publish(0, "a", r#"{"n":"live"}"#));
    assert_eq!(net.items(1, "a").len(), 1);
    net.pass(ROUNDS);
    assert_eq!(net.items(1, "a"), sorted(ids));
}

#[test]
fn members_with_equal_retention_keep_the_same_items_whatever_way_they_came() {
    let mut net = mesh(3, 0..3, 0..0, &last(64));
    net.isolate(2);
    (0..300).for_each(|n| _ = net.publish(n % 3, "a", &at(n as u64 * 7 % 300)));
    net.link(2, 0);
    net.link(2, 1);
    net.pass(ROUNDS);
    let all = sorted((300 - 64..300).map(|n| Net::new(1).id_of(&at(n))).collect());
    for node in 0..3 {
        let items = net.items(node, "a");
        assert!((64..=68).contains(&items.len()), "{}", items.len());
        assert!(all.iter().all(|id| items.contains(id)), "{node}");
    }
}

#[test]
fn what_retention_removed_is_not_fetched_again_from_a_member_that_keeps_more() {
    let mut net = Net::new(2);
    net.declare(0, "a", everything());
    net.declare(1, "a", last(50));
    (0..400).for_each(|n| _ = net.publish(0, "a", &at(n)));
    net.link(0, 1);
    net.pass(ROUNDS);
    let frames = net.sent["TOPIC"];
    assert!(frames < 460, "{frames} frames: each of the 400 items comes once");
    let kept = net.items(1, "a");
    assert!((50..=53).contains(&kept.len()), "{}", kept.len());
    let status = |net: &Net| net.cores[1].topic_status(0).expect("declared");
    let (end, before) = (status(&net).end, net.sent["TOPIC"]);
    net.pass(20 * ROUNDS);
    assert_eq!((status(&net).end, net.items(1, "a")), (end, kept), "nothing came again");
    let frames = net.sent["TOPIC"] - before;
    assert!(frames < 600, "{frames} frames: summaries, and no reconciliation");
    // What is new spreads, also what the one that keeps more gets by a comparison.
    net.isolate(1);
    let new: Vec<_> = (0..20).map(|n| net.publish((n % 2) as usize, "a", &at(1_000 + n))).collect();
    let before = net.sent["TOPIC"];
    net.link(1, 0);
    net.pass(ROUNDS);
    let frames = net.sent["TOPIC"] - before;
    assert!(frames < 100, "{frames} frames: what is below the floor is not asked for");
    assert!((0..2).all(|node| new.iter().all(|id| net.items(node, "a").contains(id))));
    assert_eq!(net.items(0, "a").len(), 420);
    let end = status(&net).end;
    net.restart(1);
    net.link(1, 0);
    net.pass(4 * ROUNDS);
    assert!(status(&net).end <= end, "after a start the floor is found again without fetching everything");
}

#[test]
fn a_member_that_keeps_less_learns_what_it_lacks_from_the_first_summary_of_one_that_keeps_more() {
    let mut net = Net::new(2);
    net.declare(0, "a", everything());
    net.declare(1, "a", last(50));
    net.link(0, 1);
    (0..100).for_each(|n| _ = net.publish(0, "a", &at(n)));
    net.isolate(1);
    let new: Vec<_> = (100..110).map(|n| net.publish(0, "a", &at(n))).collect();
    net.pass(ROUNDS);
    // The one with the lower id begins, which has no floor.
    net.link(0, 1);
    net.pass(Duration::from_millis(100));
    assert!(new.iter().all(|id| net.items(1, "a").contains(id)));
}

#[test]
fn items_without_a_time_are_removed_with_a_word_once_a_topic_has_retention() {
    let mut net = Net::new(1);
    net.declare(0, "a", everything());
    (0..3).for_each(|n| _ = net.publish(0, "a", &format!(r#"{{"n":{n}}}"#)));
    net.publish(0, "a", &format!(r#"{{"timeStamp":{TIME_OF_DAY}}}"#));
    net.retain(0, "a", Retention { age: Some(Duration::from_secs(3_600)), ..Retention::default() });
    assert_eq!(net.items(0, "a").len(), 1);
    let told = warnings(&net, 0);
    let [told] = told[..] else { panic!("one line of {told:?}") };
    let parts = ["topic a: ", "without a timeStamp are removed (3)", "without retention"];
    assert!(parts.iter().all(|part| told.contains(part)) && !told.contains('\n'), "{told}");
}

#[test]
fn what_is_lost_from_the_file_of_a_topic_with_retention_takes_no_position_any_more() {
    for (retention, end) in [(last(100), 11), (everything(), 10)] {
        let mut net = Net::new(1);
        net.declare(0, "a", retention);
        let ids: Vec<_> = (0..10).map(|n| net.publish(0, "a", &at(n))).collect();
        let lost = vec![ids[3]];
        net.tell(0, Input::Topic { topic: 0, input: TopicInput::Removed { ids: lost } });
        let status = |net: &Net| net.cores[0].topic_status(0).expect("declared");
        assert_eq!((status(&net).count, status(&net).end), (9, 10));
        assert_eq!(net.publish(0, "a", &at(3)), ids[3]);
        assert_eq!((status(&net).count, status(&net).end), (10, end));
        // Of the one that is kept by its time the runtime is told.
        assert_eq!(net.items(0, "a").len(), if end == 11 { 10 } else { 11 });
    }
}

fn warnings(net: &Net, node: usize) -> Vec<&str> {
    let texts = net.events[node].iter().filter_map(|event| match event {
        Event::Warning { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A relay in memory between two members that keep everything, which are not linked.
fn relayed(retention: Retention) -> Net {
    let mut net = Net::new(3);
    for (node, kept) in [(0, everything()), (1, retention), (2, everything())] {
        net.declare(node, "a", kept);
    }
    net.link(0, 1);
    net.link(1, 2);
    net
}

#[test]
fn what_no_member_with_retention_ever_takes_is_told_once_at_it() {
    let bytes = Retention { bytes: Some(40), ..Retention::default() };
    let long = format!(r#"{{"timeStamp":{TIME_OF_DAY},"text":"{}"}}"#, "x".repeat(40));
    for (retention, item, says) in [
        (last(100), r#"{"n":1}"#, ["no timeStamp", "declare the topic without retention"]),
        (bytes, &*long, ["more than the 40 bytes", "keep_bytes"]),
    ] {
        let mut net = relayed(retention);
        net.publish(0, "a", item);
        net.publish(0, "a", &item.replace(['1', 'x'], "2"));
        net.pass(ROUNDS);
        assert!((1..3).all(|node| net.items(node, "a").is_empty()));
        let told = warnings(&net, 1);
        let [told] = told[..] else { panic!("one line of {told:?}") };
        let parts = ["topic a: ", "neither kept nor passed on here", says[0], says[1], "ws://localhost:4001"];
        assert!(parts.iter().all(|part| told.contains(part)) && !told.contains('\n'), "{told}");
    }
    // What is merely older than what is kept is no fault of anybody.
    let mut net = relayed(last(20));
    (0..200).for_each(|n| _ = net.publish(0, "a", &at(n)));
    net.publish(0, "a", &at(1));
    net.pass(ROUNDS);
    assert!((0..3).all(|node| warnings(&net, node).is_empty()));
    assert_eq!(net.items(2, "a").len(), 200, "while it was new it passed");
}

#[test]
fn a_member_that_holds_items_without_a_time_learns_that_another_keeps_none_of_them() {
    let mut net = relayed(Retention { age: Some(Duration::from_secs(3_600)), ..Retention::default() });
    let untimed: Vec<_> = (0..3).map(|n| net.publish(0, "a", &format!(r#"{{"n":{n}}}"#))).collect();
    // Of what was published before, the relay never hears after a start: its floor is above.
    net.restart(1);
    net.events.iter_mut().for_each(Vec::clear);
    net.link(0, 1);
    net.link(1, 2);
    net.pass(ROUNDS);
    assert_eq!((net.items(0, "a").len(), net.items(1, "a").len(), net.items(2, "a").len()), (3, 0, 0));
    let told = warnings(&net, 0);
    let [told] = told[..] else { panic!("one line of {told:?}") };
    let parts =
        ["topic a: ", "(3)", "without a timeStamp", "keeps items by it", "without retention", "ws://localhost:4002"];
    assert!(parts.iter().all(|part| told.contains(part)) && !told.contains('\n'), "{told}");
    assert!(warnings(&net, 2).is_empty(), "it holds none");
    let reconciled = |net: &Net, node: usize| net.cores[node].topic_status(0).expect("declared").reconciled;
    assert_eq!([0, 1, 2].map(|node| reconciled(&net, node)), [0, 2, 1]);
    // Linked, both have all.
    net.link(2, 0);
    net.pass(ROUNDS);
    assert!(untimed.iter().all(|id| net.items(2, "a").contains(id)));
    assert_eq!([0, 2].map(|node| reconciled(&net, node)), [1, 1], "with each other");
    // With times all of it passes.
    net.isolate(0);
    net.link(0, 1);
    let new = net.publish(0, "a", &format!(r#"{{"timeStamp":{TIME_OF_DAY}}}"#));
    net.pass(ROUNDS);
    assert!((1..3).all(|node| net.items(node, "a").contains(&new)));
}

#[test]
fn what_is_too_old_is_removed_by_itself_and_refused_when_it_comes_again() {
    let age = Retention { age: Some(Duration::from_secs(60)), ..Retention::default() };
    let mut net = mesh(2, 0..2, 0..0, &age);
    let stamped = |second: u64| format!(r#"{{"timeStamp":{}}}"#, TIME_OF_DAY + second);
    net.publish(0, "a", &stamped(0));
    net.publish(1, "a", &stamped(30));
    assert_eq!((net.items(0, "a").len(), net.items(1, "a").len()), (2, 2));
    net.pass(Duration::from_secs(75));
    assert_eq!((net.items(0, "a").len(), net.items(1, "a").len()), (1, 1));
    net.publish(0, "a", &stamped(0));
    net.publish(0, "a", r#"{"n":1}"#);
    net.pass(Duration::from_secs(30));
    assert_eq!((net.items(0, "a").len(), net.items(1, "a").len()), (0, 0));
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_costs_nothing_that_another_member_has() {
    let age = Retention { age: Some(Duration::from_secs(3_600)), ..Retention::default() };
    let mut net = mesh(2, 0..2, 0..0, &age);
    let stamped = |second: u64| format!(r#"{{"timeStamp":{}}}"#, TIME_OF_DAY + second);
    let mut ids: Vec<_> = (0..5).map(|second| net.publish(0, "a", &stamped(second))).collect();
    net.pass(ROUNDS);
    let clock = |net: &mut Net, ahead: u64| {
        let seconds = TIME_OF_DAY + ahead;
        net.tell(1, Input::TimeOfDay { seconds });
        net.pass(Duration::from_secs(2));
    };
    clock(&mut net, 2 * 3_600);
    assert!(net.items(1, "a").is_empty(), "they are too old by this clock");
    ids.push(net.publish(0, "a", &stamped(30)));
    assert!(net.items(1, "a").is_empty());
    clock(&mut net, 34);
    for (node, second) in [(1, 32), (0, 33)] {
        ids.push(net.publish(node, "a", &stamped(second)));
        assert!(net.items(1, "a").contains(&ids[ids.len() - 1]), "what is new is taken at once");
    }
    net.pass(ROUNDS);
    let ids = sorted(ids);
    assert!((0..2).all(|node| net.items(node, "a") == ids));
}

#[test]
fn a_node_that_named_no_topic_gets_no_summary_and_what_it_sends_is_ignored() {
    let mut net = Net::new(2);
    net.declare(0, "a", everything());
    net.link(0, 1);
    net.publish(0, "a", r#"{"n":1}"#);
    net.pass(ROUNDS);
    assert_eq!(net.sent.get("TOPIC"), None);
    let link = net.link_between(0, 1);
    let frame = r#"{"type":"TOPIC","topic":"a","message":{"type":"TRANSACTION","data":{"n":2}}}"#;
    net.receive(0, link, frame);
    net.receive(0, link, &frame.replace("\"a\"", "\"b\""));
    assert_eq!((net.items(0, "a").len(), net.cores[0].counters().messages_unknown), (1, 2));
}

#[test]
fn a_client_may_not_speak_of_topics() {
    let mut net = Net::new(1);
    net.declare(0, "a", everything());
    let client = net.client(0);
    net.receive(0, client, r#"{"type":"TOPIC","topic":"a","message":{"type":"TRANSACTION","data":{"n":2}}}"#);
    assert!(net.items(0, "a").is_empty());
    assert!(net.events[0].iter().any(|event| matches!(event, Event::PeerFault { text, .. } if text.contains("TOPIC"))));
}

#[test]
fn the_rates_of_messages_hold_in_each_topic() {
    let mut net = mesh(2, 0..2, 0..0, &everything());
    let link = net.link_between(0, 1);
    let ask = r#"{"type":"TOPIC","topic":"a","message":{"type":"SYNC","data":{"everything":true}}}"#;
    let dropped = |net: &Net| net.cores[0].counters().messages_dropped;
    (0..60).for_each(|_| net.receive(0, link, ask));
    assert_eq!(dropped(&net), 0);
    (0..20).for_each(|_| net.receive(0, link, ask));
    assert!(dropped(&net) > 0);
}

#[test]
fn a_flood_of_items_ahead_of_the_clock_keeps_out_no_others() {
    let mut net = mesh(3, 0..3, 0..0, &last(160));
    let link = net.link_between(0, 2);
    let ahead = TIME_OF_DAY + 55;
    for n in 0..400 {
        net.receive(0, link, &of_a(&format!(r#"{{"type":"TRANSACTION","data":{{"n":{n},"timeStamp":{ahead}}}}}"#)));
    }
    assert_eq!(net.items(0, "a").len(), 10, "a sixteenth");
    let honest: Vec<_> = (0..150)
        .map(|n| net.publish(1, "a", &format!(r#"{{"honest":{n},"timeStamp":{}}}"#, TIME_OF_DAY - 200 + n)))
        .collect();
    for node in 0..3 {
        let items = net.items(node, "a");
        assert!(honest.iter().all(|id| items.contains(id)), "{node}");
        assert!(items.len() <= 170, "{}", items.len());
    }
    let status = net.cores[0].topic_status(0).expect("declared");
    assert_eq!((status.deferred, status.refused), (390, 0));
    assert_eq!(status.times, Some((TIME_OF_DAY - 200, ahead)));
}

#[test]
fn a_prune_in_a_topic_drops_what_is_queued_of_it() {
    let mut net = mesh(3, 0..3, 0..0, &everything());
    // Node 1 wants nothing of node 2 from node 0.
    let link = net.link_between(0, 1);
    let origin = crate::testing::net::id(2);
    let prune = |of: &str| of.replace("ID", &origin.to_string());
    net.receive(0, link, &prune(&of_a(r#"{"type":"PRUNE","data":["ID"]}"#)));
    assert_eq!(net.dropped, [(0, Some("a".parse().expect("a name")), link)]);
    net.receive(0, link, &prune(r#"{"type":"PRUNE","data":["ID"]}"#));
    assert_eq!(net.dropped.last(), Some(&(0, None, link)));
}

#[test]
fn an_operator_sees_what_came_of_the_items_of_a_topic_and_whether_members_agree() {
    let mut net = mesh(3, 0..3, 0..0, &last(100));
    net.publish(0, "a", &at(1));
    net.publish(1, "a", &at(2));
    net.pass(ROUNDS);
    let rows = |net: &Net, node: usize| net.cores[node].status(net.now, &[]).topics;
    let row = rows(&net, 0).remove(0);
    assert_eq!((row.name.as_str(), row.items, row.end, row.writable), ("a", 2, 2, true));
    assert_eq!((row.members, row.reconciled), (2, 2));
    assert_eq!(row.oldest.zip(row.newest), Some((TIME_OF_DAY - 9_999, TIME_OF_DAY - 9_998)));
    let link = net.link_between(0, 2);
    for data in [r#"{"n":1}"#, r#"{"timeStamp":1900000000}"#] {
        net.receive(0, link, &of_a(&format!(r#"{{"type":"TRANSACTION","data":{data}}}"#)));
    }
    let row = rows(&net, 0).remove(0);
    assert_eq!((row.refused, row.ignored, row.deferred), (0, 1, 1));
    net.tell(0, Input::Topic { topic: 0, input: TopicInput::StoreFailed { error: "no space".into() } });
    assert!(!rows(&net, 0)[0].writable);
    // A member whose set stays another is no equal one.
    let summary = format!(r#"{{"type":"SYNC","set":"transactions","data":{{"count":9,"sum":"{}"}}}}"#, "0".repeat(64));
    net.receive(0, link, &of_a(&summary));
    assert_eq!((rows(&net, 0)[0].members, rows(&net, 0)[0].reconciled), (2, 1));
    net.pass(4 * ROUNDS);
    assert_eq!(rows(&net, 0)[0].reconciled, 2);
}

/// An envelope.
fn of_a(message: &str) -> String {
    format!(r#"{{"type":"TOPIC","topic":"a","message":{message}}}"#)
}

#[test]
fn no_message_of_another_kind_does_anything_in_an_envelope() {
    let mut net = mesh(2, 0..2, 0..0, &everything());
    net.publish(0, "a", r#"{"n":1}"#);
    let link = net.link_between(0, 1);
    let id = "ab".repeat(32);
    let kinds = [
        r#"{"type":"HANDSHAKE","data":["ws://localhost:1"]}"#.to_owned(),
        r#"{"type":"BROADCAST","data":"text","id":"x"}"#.to_owned(),
        r#"{"type":"STATUS"}"#.to_owned(),
        r#"{"type":"ANNOUNCE","data":[]}"#.to_owned(),
        r#"{"type":"JOIN","data":{}}"#.to_owned(),
        r#"{"type":"FIND","data":{}}"#.to_owned(),
        r#"{"type":"EXERCISE","data":[]}"#.to_owned(),
        r#"{"type":"ACK","data":{}}"#.to_owned(),
        format!(r#"{{"type":"DIAL_BACK","data":{{"id":"{id}"}}}}"#),
        of_a(r#"{"type":"TRANSACTION","data":{"n":2}}"#),
        r#"{"type":"SYNC","set":"broadcasts","data":{"everything":true}}"#.to_owned(),
        r#"{"type":"\u0000","data":7}"#.to_owned(),
    ];
    let (count, dialled) = (kinds.len() as u64, net.cores[0].status(net.now, &[]).peers.len());
    kinds.iter().for_each(|kind| net.receive(0, link, &of_a(kind)));
    assert_eq!(net.cores[0].counters().messages_unknown, count);
    assert_eq!((net.items(0, "a").len(), net.cores[0].store.index().count()), (1, 0));
    assert_eq!(net.cores[0].status(net.now, &[]).peers.len(), dialled);
    assert!(net.texts(0).is_empty() && net.cores[0].topic_status(0).expect("declared").members.len() == 1);
}

#[test]
fn a_liar_about_counts_floors_and_ids_costs_a_bounded_answer_and_harms_no_item() {
    let mut net = mesh(2, 0..2, 0..0, &last(50));
    (0..40).for_each(|n| _ = net.publish(0, "a", &at(n)));
    net.pass(ROUNDS);
    let link = net.link_between(0, 1);
    let (zeros, most) = ("0".repeat(64), "f".repeat(64));
    let unknown: Vec<String> = (0..limits::WANT_IDS).map(|n| format!(r#""{n:064x}""#)).collect();
    let attacks = [
        format!(r#"{{"type":"SYNC","set":"transactions","data":{{"count":1000000000,"sum":"{zeros}"}}}}"#),
        format!(r#"{{"type":"SYNC","set":"transactions","data":{{"count":18446744073709551615,"sum":"{most}"}}}}"#),
        format!(
            r#"{{"type":"SYNC","set":"transactions","data":{{"count":5,"sum":"{zeros}","from":[18446744073709551615,"{most}"]}}}}"#
        ),
        format!(
            r#"{{"type":"SYNC","set":"transactions","data":{{"count":5,"sum":"{zeros}","reply":true,"from":[18446744073709551615,"{most}"]}}}}"#
        ),
        format!(r#"{{"type":"WANT","data":[{}]}}"#, unknown.join(",")),
    ];
    for attack in &attacks {
        let before = net.sent["TOPIC"];
        net.receive(0, link, &of_a(attack));
        let frames = net.sent["TOPIC"] - before;
        // A claim to hold more is believed once: everything is asked for.
        assert!(frames < 60, "{frames} frames for {}", &attack[..60]);
    }
    net.pass(10 * ROUNDS);
    net.publish(1, "a", &at(100));
    net.pass(ROUNDS);
    assert_eq!((net.items(0, "a").len(), net.items(1, "a").len()), (41, 41));
}

#[test]
fn an_exercise_peer_may_not_speak_of_topics_and_is_sent_nothing_of_them() {
    let mut net = Net::new(1);
    net.declare(0, "a", everything());
    let link = net.exercise(0, 7);
    net.publish(0, "a", r#"{"n":1}"#);
    assert_eq!(net.sent.get("TOPIC"), None);
    net.receive(0, link, &of_a(r#"{"type":"TRANSACTION","data":{"n":2}}"#));
    assert_eq!(net.items(0, "a").len(), 1);
    assert!(net.events[0].iter().any(|event| matches!(event, Event::PeerFault { text, .. } if text.contains("TOPIC"))));
}
