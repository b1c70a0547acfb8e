use std::path::Path;

use super::*;
use crate::counters::Counters;
use crate::exercise::updates::{SEND_EVERY, SENT_AT_ONCE};
use crate::testing::net::{Net, address, broadcast_frame, id};
use crate::wire::{Find, ImageInfo, SearchId};

mod describe;

const LINK: LinkId = LinkId(1);
const SECOND: Duration = Duration::from_secs(1);

/// All classes of senders, in the order of the columns of `who_may_send_what`.
const CLASSES: [Senders; 9] = [
    Senders::CLIENT,
    Senders::EXERCISE,
    Senders::STANDBY,
    Senders::ASKED,
    Senders::WAITING,
    Senders::DIALLED,
    Senders::VERIFYING,
    Senders::ESTABLISHED,
    Senders(Senders::CLIENT.0 | Senders::LOCAL.0),
];

#[test]
fn who_may_send_what() {
    // `+` is handled, `i` ignored, `B` a Breach, `U` Unsolicited.
    let expected = |kind| match kind {
        MessageKind::Handshake | MessageKind::Peers => "+++++++++",
        MessageKind::Transaction => "++BiB++++",
        MessageKind::Ack | MessageKind::StatusAnswer => "UUUUUUUUU",
        MessageKind::NetworkAnswer | MessageKind::Unknown => "iiiiiiiii",
        MessageKind::Sync
        | MessageKind::SyncAnswer
        | MessageKind::Topic
        | MessageKind::Want
        | MessageKind::Prune
        | MessageKind::Graft
        | MessageKind::GraftAll => "BBBiB+++B",
        MessageKind::Broadcast => "+BBiB++++",
        MessageKind::Announce
        | MessageKind::AnnounceOwn
        | MessageKind::DialBack
        | MessageKind::CallBack
        | MessageKind::Exercise => "BBBiBB++B",
        MessageKind::Status | MessageKind::Network => "UUUUUUUU+",
        MessageKind::Join => "BBBi+B++B",
        MessageKind::Declined => "UUUUU+++U",
        MessageKind::Beacon => "iiiiiii+i",
        MessageKind::Find | MessageKind::Found => "BBiii+++B",
    };
    for kind in MessageKind::ALL {
        let verdict = |sender| match MessageRates::default().judge(Instant::now(), LINK, sender, *kind) {
            Verdict::Handle => '+',
            Verdict::Ignore => 'i',
            Verdict::Refuse(Violation { kind: ViolationKind::Breach, .. }) => 'B',
            Verdict::Refuse(Violation { kind: ViolationKind::Unsolicited, .. }) => 'U',
            other => panic!("{kind:?}: {other:?}"),
        };
        assert_eq!(CLASSES.map(verdict).iter().collect::<String>(), expected(*kind), "{kind:?}");
    }
}

/// Returns the documents' file.
fn protocol() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    std::fs::read_to_string(&path).expect("docs/protocol.md")
}

#[test]
fn the_documents_have_the_tables_of_the_code() {
    let document = protocol();
    for table in [describe::messages(), describe::tables(), describe::reading()] {
        assert!(document.contains(&table), "docs/protocol.md, section 9, is to have this table:\n{table}");
        let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).any(str::is_empty);
        assert!(!table.lines().any(cells), "an empty cell:\n{table}");
    }
}

#[test]
fn every_kind_is_listed_once_and_every_bound_is_one() {
    let mut kinds = MessageKind::ALL.to_vec();
    kinds.dedup();
    assert!(kinds.is_sorted() && kinds.len() == MessageKind::ALL.len() && kinds.last() == Some(&MessageKind::Unknown));
    for kind in MessageKind::ALL {
        let rule = kind.rule();
        assert!(rule.bytes <= limits::MESSAGE_BYTES, "{kind:?}");
        if let Rate::Link { burst, interval, .. } = rule.rate {
            assert!(burst > 0 && interval >= Duration::from_millis(5), "{kind:?}");
        }
    }
}

#[test]
fn each_link_and_each_kind_has_a_rate_and_gets_it_back_in_time() {
    let (mut rates, start) = (MessageRates::default(), Instant::now());
    for kind in MessageKind::ALL {
        let Rate::Link { burst, interval, above } = kind.rule().rate else { continue };
        let sender = CLASSES.into_iter().find(|class| kind.rule().senders.hold(*class)).expect("somebody");
        let mut judge = |link, now| rates.judge(now, LinkId(link), sender, *kind);
        assert!((0..burst).all(|_| judge(1, start) == Verdict::Handle), "{kind:?}: the burst");
        match (judge(1, start), above) {
            (Verdict::Pause(time), Above::Pause) => assert_eq!(time, interval),
            (Verdict::Drop, Above::Drop) => {}
            other => panic!("{kind:?}: {other:?}"),
        }
        assert_eq!(judge(2, start), Verdict::Handle, "{kind:?}: each link for itself");
        assert_eq!(judge(1, start + interval * 2), Verdict::Handle, "{kind:?}: later");
    }
    rates.on_link_closed(LINK);
    rates.on_link_closed(LinkId(2));
    assert!(rates.0.is_empty());
}

#[test]
fn a_graft_of_all_origins_has_a_rate_of_its_own() {
    let some = "plain:ws://localhost:1".parse().expect("an origin");
    assert_eq!(MessageKind::of(&Message::Graft(vec![some]), false), MessageKind::Graft);
    assert_eq!(MessageKind::of(&Message::Graft(Vec::new()), false), MessageKind::GraftAll);
}

/// Returns a frame of a kind that node 0 takes from node 1 as often as the rate allows, without a
/// violation. `None`: its flood is a test of its own.
fn frame(net: &Net, kind: MessageKind) -> Option<String> {
    let (node, session) = (id(1), net.cores[1].cx.config.session);
    let other = crate::id::Session::from_random([0xee; 16]);
    let search = SearchId([7; 16]);
    let announce = |node, session| {
        format!(r#"{{"type":"ANNOUNCE","data":{{"node":"{node}","session":"{session}","since":0,"seq":1}}}}"#)
    };
    Some(match kind {
        MessageKind::Handshake => r#"{"type":"HANDSHAKE","data":[]}"#.into(),
        MessageKind::Sync => format!(r#"{{"type":"SYNC","data":{{"count":0,"sum":"{}"}}}}"#, "0".repeat(64)),
        MessageKind::SyncAnswer => r#"{"type":"SYNC","data":{"number":99,"answer":""},"set":"broadcasts"}"#.into(),
        MessageKind::Want => r#"{"type":"WANT","data":[]}"#.into(),
        MessageKind::Prune => format!(r#"{{"type":"PRUNE","data":["{}"]}}"#, id(5)),
        MessageKind::GraftAll => r#"{"type":"GRAFT","data":[]}"#.into(),
        MessageKind::Graft => format!(r#"{{"type":"GRAFT","data":["{}"]}}"#, id(5)),
        MessageKind::Broadcast => broadcast_frame(7, "hello", ""),
        MessageKind::Announce => announce(id(77), other),
        MessageKind::AnnounceOwn => announce(node, session),
        MessageKind::Status => r#"{"type":"STATUS"}"#.into(),
        MessageKind::Network => r#"{"type":"NETWORK"}"#.into(),
        MessageKind::Join => r#"{"type":"JOIN","data":{"insist":false,"want":"random"}}"#.into(),
        MessageKind::Beacon => format!(r#"{{"type":"BEACON","data":{{"root":"{other}","seq":1}}}}"#),
        MessageKind::Find => Find { id: search, name: None, hops: 1 }.to_frame().as_str().into(),
        MessageKind::Found => {
            let images: Vec<ImageInfo> = Vec::new();
            let found = crate::wire::Found { id: search, node, address: address(1), images };
            found.to_frame().as_str().into()
        }
        MessageKind::DialBack => {
            format!(r#"{{"type":"DIALBACK","data":{{"address":"{}","reached":true}}}}"#, address(0))
        }
        MessageKind::CallBack => format!(r#"{{"type":"CALLBACK","data":{{"nonce":"{}"}}}}"#, "0".repeat(64)),
        MessageKind::Exercise => r#"{"type":"EXERCISE","data":[]}"#.into(),
        MessageKind::Transaction
        | MessageKind::Ack
        | MessageKind::StatusAnswer
        | MessageKind::NetworkAnswer
        | MessageKind::Peers
        | MessageKind::Declined
        | MessageKind::Topic
        | MessageKind::Unknown => return None,
    })
}

fn dropped(counters: &Counters) -> u64 {
    let Counters { messages_dropped, finds_dropped, founds_dropped, announcements_refused, .. } = *counters;
    messages_dropped + finds_dropped + founds_dropped + announcements_refused
}

/// Two nodes, and the link on which node 0 hears node 1.
fn pair() -> (Net, LinkId) {
    let mut net = Net::new(2);
    let link = net.link(1, 0).1;
    net.pass(10 * SECOND);
    (net, link)
}

#[test]
fn a_flood_of_any_kind_is_handled_up_to_its_rate_and_ends_as_the_table_says() {
    // What the peer itself has sent a moment before counts too.
    const MORE: u64 = 13;
    for kind in MessageKind::ALL {
        let (mut net, native) = pair();
        let Some(text) = frame(&net, *kind) else { continue };
        let Rate::Link { burst, above, .. } = kind.rule().rate else { panic!("{kind:?} has no rate") };
        let client = net.client(0);
        let link = if kind.rule().senders == Senders::LOCAL { client } else { native };
        let before = *net.cores[0].counters();
        let found_before = net.cores[0].counters().founds_dropped;
        let mut unsent = 0;
        for _ in 0..u64::from(burst) + 3 {
            net.receive(0, link, &text);
            // A FOUND that nobody asked for is counted apart.
            unsent = net.cores[0].counters().founds_dropped - found_before;
        }
        let after = *net.cores[0].counters();
        let (drops, violations) = (dropped(&after) - dropped(&before), after.violations - before.violations);
        let above_rate = 3..=3 + MORE;
        match above {
            Above::Pause => assert_eq!((drops, violations), (0, 0), "{kind:?}"),
            Above::Drop => assert!(above_rate.contains(&drops) && violations == 0, "{kind:?}: {drops} {violations}"),
        }
        assert!(unsent <= 3 + MORE, "{kind:?}");
        assert!(net.cores[0].connections.links.get(link).is_some_and(|open| !open.closing), "{kind:?}");
    }
}

/// What came during a standstill of this node is read within a moment. Its senders kept to their
/// rates.
#[test]
fn a_node_that_stood_still_for_a_minute_blames_nobody() {
    for kind in MessageKind::ALL {
        let (mut net, link) = pair();
        let Some(text) = frame(&net, *kind).filter(|_| kind.rule().senders != Senders::LOCAL) else { continue };
        let Rate::Link { burst, interval, .. } = kind.rule().rate else { panic!("{kind:?} has no rate") };
        let minute = u32::try_from(60 * SECOND.as_millis() / interval.as_millis()).expect("a small number");
        let before = net.cores[0].counters().violations;
        for _ in 0..burst + minute {
            net.receive(0, link, &text);
        }
        assert_eq!(net.cores[0].counters().violations, before, "{kind:?}");
        assert!(net.cores[0].connections.links.get(link).is_some_and(|open| !open.closing), "{kind:?}");
    }
}

/// The newest of these come last, and nobody sends them again.
#[test]
fn what_is_told_of_exercise_peers_during_a_minute_is_handled() {
    let Rate::Link { burst, .. } = MessageKind::Exercise.rule().rate else { panic!("it has a rate") };
    let later = Duration::from_secs(60).div_duration_f64(SEND_EVERY) as u32;
    assert!(burst >= SENT_AT_ONCE + later, "what a node sends in a minute");
}

#[test]
fn questions_of_this_host_above_their_rate_are_answered_and_reading_pauses() {
    for (question, kind) in [("STATUS", MessageKind::Status), ("NETWORK", MessageKind::Network)] {
        let (mut net, _) = pair();
        let client = net.client(0);
        let Rate::Link { burst, .. } = kind.rule().rate else { panic!("{kind:?}") };
        let before = net.to_clients.len();
        for _ in 0..burst + 50 {
            net.receive(0, client, &format!(r#"{{"type":"{question}"}}"#));
        }
        assert_eq!((net.to_clients.len() - before, net.pauses), (burst as usize + 50, 50), "{question}");
    }
}

#[test]
fn answers_that_nobody_asked_for_end_the_link_or_are_ignored() {
    let status = r#"{"type":"STATUS","data":{"node":"x"}}"#;
    let ack = format!(r#"{{"type":"ACK","data":{{"id":"{}","status":"stored","links":1}}}}"#, "0".repeat(64));
    let peers = r#"{"type":"PEERS","data":[]}"#;
    // The second is no answer: its form is wrong.
    for (text, most) in [(&*ack, 160), (status, 16), (peers, 16)] {
        let (mut net, link) = pair();
        let open = |net: &Net| net.cores[0].connections.links.get(link).is_some_and(|open| !open.closing);
        for n in 0..most {
            assert!(open(&net), "{text}: after {n}");
            net.receive(0, link, text);
        }
        assert!(!open(&net), "{text}");
    }
    let (mut net, link) = pair();
    let before = (net.sent.clone(), net.cores[0].counters().violations);
    for _ in 0..10_000 {
        net.receive(0, link, r#"{"type":"NETWORK","data":{"nodes":[],"more":false}}"#);
        net.receive(0, link, r#"{"type":"X","data":{}}"#);
    }
    assert_eq!((net.sent.clone(), net.cores[0].counters().violations), before);
    net.receive(0, link, r#"{"type":"DECLINED","data":[]}"#);
    assert!(net.cores[0].connections.links.get(link).is_none_or(|open| open.closing), "one ends the link");
}

#[test]
fn a_client_is_told_of_a_broadcast_above_the_rate() {
    let mut net = Net::new(1);
    let client = net.client(0);
    for _ in 0..limits::BROADCASTS {
        net.receive(0, client, &broadcast_frame(7, "hello", ""));
    }
    net.receive(0, client, &broadcast_frame(8, "hello", r#","ack":true"#));
    let answer = net.to_clients.last().expect("an answer");
    assert!(answer.contains(r#""status":"rejected""#) && answer.contains("more broadcasts"), "{answer}");
}

#[test]
fn a_sync_longer_than_any_comparison_needs_is_a_breach() {
    let text = |bytes: usize| format!(r#"{{"type":"SYNC","data":{{"number":1,"ask":"{}"}}}}"#, "A".repeat(bytes));
    let mut parser = crate::json::Parser::new();
    let most = (limits::SYNC_BYTES - text(0).len()) / 4 * 4;
    assert!(Message::parse(&mut parser, &text(most)).is_ok());
    assert!(Message::parse(&mut parser, &text(most + 4)).is_err());
    const { assert!(48 * 1024 / 3 * 4 * 2 <= limits::SYNC_BYTES, "twice our own") };
}
