use meshpool_proto::event::AddressOutcome;
use meshpool_proto::json::Parser;

use super::*;

fn received(record: &FrameRecord, text: &str) {
    record.received(&Message::parse(&mut Parser::new(), text), text);
}

fn handshake(addresses: usize) -> String {
    let addresses = (1..=addresses).map(|port| format!("\"ws://localhost:{port}\"")).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"HANDSHAKE","data":[{addresses}]}}"#)
}

/// The core reports what it did with the addresses of such a HANDSHAKE.
fn judge(record: &FrameRecord, addresses: usize) {
    let named = (1..=addresses).map(|port| NamedAddress {
        address: format!("ws://localhost:{port}").parse().expect("an address"),
        outcome: AddressOutcome::Connected,
    });
    record.judged(&named.collect::<Vec<_>>(), 7);
}

fn numbers(extract: &Extract) -> Vec<u64> {
    extract.frames.iter().map(|frame| frame.number).collect()
}

#[test]
fn without_a_viewer_only_handshakes_are_kept() {
    let record = FrameRecord::default();
    record.sent(&handshake(2));
    received(&record, &handshake(1));
    for _ in 0..100 {
        received(&record, r#"{"type":"ACK","data":{"id":"1"}}"#);
        record.sent(r#"{"type":"TRANSACTION","data":{}}"#);
        record.ping(Way::Sent, Opcode::Ping, &[], "");
        record.close(Way::Received, 1000, "bye");
    }
    judge(&record, 1);
    let extract = record.after(0);
    assert_eq!((numbers(&extract), extract.missed, extract.since), (vec![1, 2], 0, None));
    let ways: Vec<_> = extract.frames.iter().map(|frame| (frame.way, frame.kind.as_str(), frame.bytes)).collect();
    assert_eq!(ways, [(Way::Sent, "HANDSHAKE", handshake(2).len()), (Way::Received, "HANDSHAKE", handshake(1).len())]);
    assert_eq!(extract.frames[0].text, handshake(2), "as it travelled");
}

#[test]
fn a_viewer_gets_all_frames_as_they_travel_and_a_late_one_the_last_of_them() {
    let record = FrameRecord::default();
    record.sent(&handshake(1));
    record.start();
    assert!(record.is_on() && record.after(0).since.is_some());
    received(&record, r#"{"data":{"amount":5},"type":"TRANSACTION"}"#);
    record.received_copy(r#"{"type":"TRANSACTION","data":{"amount":5}}"#);
    received(&record, "no JSON");
    record.ping(Way::Received, Opcode::Pong, &[0x6d, 0, 255], "");
    record.close(Way::Received, 1001, "going away");
    let extract = record.after(1);
    assert_eq!(numbers(&extract), [2, 3, 4, 5, 6]);
    let kinds: Vec<_> =
        extract.frames.iter().map(|frame| (frame.opcode, frame.kind.as_str(), frame.text.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (Opcode::Text, "TRANSACTION", r#"{"data":{"amount":5},"type":"TRANSACTION"}"#),
            (Opcode::Text, "TRANSACTION", r#"{"type":"TRANSACTION","data":{"amount":5}}"#),
            (Opcode::Text, "", "no JSON"),
            (Opcode::Pong, "", "6d00ff"),
            (Opcode::Close, "", "going away"),
        ]
    );
    assert!(extract.frames[1].note.as_ref().is_some_and(|note| note.contains("copy")));
    assert!(extract.frames[2].note.as_ref().is_some_and(|note| note.starts_with("refused: not readable as JSON")));
    for _ in 0..2 * FRAMES {
        received(&record, r#"{"type":"ACK","data":{"id":"1"}}"#);
    }
    let late = record.after(6);
    assert_eq!((late.frames.len(), late.missed, late.last), (FRAMES, FRAMES as u64, 6 + 2 * FRAMES as u64));
    assert_eq!(numbers(&record.after(0))[..2], [1, late.frames[0].number], "the HANDSHAKE stays");
    assert_eq!(record.after(late.last).frames, []);
}

#[test]
fn once_the_last_viewer_has_gone_nothing_is_left_of_what_it_saw() {
    let record = FrameRecord::default();
    record.start();
    received(&record, r#"{"type":"ACK","data":{"id":"1"}}"#);
    received(&record, &handshake(1));
    judge(&record, 1);
    record.stop();
    assert!(!record.is_on());
    // The batch had begun before.
    received(&record, r#"{"type":"ACK","data":{"id":"2"}}"#);
    assert_eq!(numbers(&record.after(0)), [2]);
    record.start();
    assert_eq!(numbers(&record.after(0)), [2], "a new record starts");
    record.end("it closed the connection");
    assert_eq!(record.after(0).ended.as_deref(), Some("it closed the connection"));
}

#[test]
fn what_is_kept_is_bounded_whatever_is_sent() {
    let record = FrameRecord::default();
    record.start();
    for count in 1..500 {
        received(&record, &handshake(count));
        record.sent(&handshake(count));
        received(&record, &format!(r#"{{"type":"BROADCAST","data":"{}"}}"#, "é".repeat(TEXT)));
        received(&record, &format!(r#"{{"type":"{}","data":1}}"#, "é".repeat(TEXT)));
        received(&record, &format!(r#"{{"type":"ACK","data":{{"id":"{}"}},"#, "é".repeat(TEXT)));
    }
    let recorded = record.lock();
    assert_eq!(recorded.ring.as_ref().map(VecDeque::len), Some(FRAMES));
    for frame in recorded.ring.iter().flatten() {
        assert!(frame.text.len() <= TEXT && frame.kind.len() <= NOTE, "{frame:?}");
        assert!(frame.note.as_ref().is_none_or(|note| note.len() <= NOTE), "{frame:?}");
    }
    assert_eq!(recorded.handshakes.len(), 2 + LATER);
    for kept in &recorded.handshakes {
        assert!(kept.frame.text.len() <= if kept.is_first { TEXT } else { LATER_TEXT });
        assert!(kept.addresses.len() <= REPORTED_ADDRESSES);
    }
    let first: Vec<_> = recorded.handshakes.iter().filter(|kept| kept.is_first).map(|kept| kept.frame.number).collect();
    assert_eq!(first, [1, 2], "the first of each direction");
    let cut = recorded.ring.iter().flatten().find(|frame| frame.kind.is_empty()).expect("a malformed one");
    assert!(cut.bytes > TEXT && cut.text.ends_with('é'), "no half character: {:?}", &cut.text[cut.text.len() - 8..]);
}

#[test]
fn a_handshake_is_shown_with_what_was_done_with_its_addresses_and_without_soon_after() {
    let record = FrameRecord::default();
    record.start();
    received(&record, &handshake(2));
    received(&record, &handshake(1));
    received(&record, r#"{"type":"ACK","data":{"id":"1"}}"#);
    let early = record.after(0);
    assert_eq!((numbers(&early), early.last, early.missed), (vec![], 0, 0), "the core has not seen it");
    judge(&record, 2);
    assert_eq!(numbers(&record.after(0)), [1], "what came behind the second waits with it");
    judge(&record, 1);
    let shown = record.after(0);
    assert_eq!((numbers(&shown), shown.missed), (vec![1, 2, 3], 0));
    let named = shown.frames.iter().map(|frame| frame.named.as_ref().map(|(all, more)| (all.len(), *more)));
    assert_eq!(named.collect::<Vec<_>>(), [Some((2, 7)), Some((1, 7)), None]);
    // One of which nothing is reported: its link has no slot.
    received(&record, &handshake(3));
    let recorded = record.lock();
    let at = recorded.handshakes.last().expect("kept").frame.time;
    assert_eq!((recorded.shown(at), recorded.shown(at + JUDGED_WITHIN), recorded.shown(at - 1.0)), (3, 4, 4));
}
