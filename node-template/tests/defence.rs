//! A node that defends itself: what it does with peers that break rules, and with those that would
//! take everybody's place.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::core::Core;
use common::embedded::Embedded;
use common::raw::{Raw, request};
use common::scripted::ScriptedPeer;
use common::tester::Socket;
use common::{eventually, within};
use meshpool::protocol::address::Scope;
use meshpool::protocol::event::Event;
use meshpool::protocol::id::LinkId;
use meshpool::protocol::limits::{GRAFTS_AT_ONCE, Limits};
use meshpool::protocol::transaction::Transaction;
use meshpool::protocol::wire::PeerState;
use meshpool::protocol::{Input, Output};
use serde_json::json;

#[test]
fn a_name_may_lead_no_nearer_than_whoever_told_of_it() {
    let mut core = Core::new(Limits::default());
    let mut reach = |remote: &str, name: &str| {
        let link = core.link(remote);
        let mut outputs = core.receive(link, &json!({ "type": "HANDSHAKE", "data": [name] }));
        outputs.extend(core.pass(Duration::from_millis(1)));
        outputs.into_iter().find_map(|output| match output {
            Output::Dial { address, reach, .. } if address.to_string() == name => Some(reach),
            _ => None,
        })
    };
    assert_eq!(reach("203.0.113.7", "ws://far.example:1"), Some(Scope::Public));
    assert_eq!(reach("10.9.9.9", "ws://near.example:1"), Some(Scope::Private));
    assert_eq!(reach("127.0.0.1", "ws://here.example:1"), Some(Scope::Loopback));
    assert_eq!(reach("127.0.0.1", "ws://localhost:1"), Some(Scope::Loopback));
}

/// THREATS: slow upgrades. Each sends a byte a second and would do so for a minute; together they
/// are eight times as many as may be upgrading at once.
#[tokio::test]
async fn a_peer_joins_while_two_thousand_connections_dawdle_over_their_upgrade() {
    let limits = Limits { upgrade_timeout: Duration::from_secs(60), inbound_links: 8, ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let Raw(stream) = Raw::connect(node.port()).await;
        slow.spawn(async move {
            let (mut reader, mut writer) = stream.into_split();
            let dawdle = async {
                for byte in request(1, "").bytes() {
                    if tokio::io::AsyncWriteExt::write_all(&mut writer, &[byte]).await.is_err() {
                        break;
                    }
                    // Not a wait for anything: this is what a slow sender is.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                () = dawdle => {}
                _ = tokio::io::AsyncReadExt::read_u8(&mut reader) => {}
            }
        });
    }
    let begun = std::time::Instant::now();
    let peer = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    eventually("the link of a peer", async || match node.status().await.unwrap().connected {
        peers if peers == [peer.address().to_string()] => Ok(()),
        peers => Err(format!("{peers:?}")),
    })
    .await;
    println!("a peer joined in {:?}", begun.elapsed());
    let mut ended = 0;
    while ended < 2_000 - 256 {
        within("the end of those that gave way", slow.join_next()).await.unwrap().unwrap();
        ended += 1;
    }
}

fn malformed() -> serde_json::Value {
    json!({ "type": "HANDSHAKE", "data": 7 })
}

/// The code and the reason with which links were closed.
fn closed(outputs: &[Output]) -> Vec<(LinkId, u16, &str)> {
    let mut all = Vec::new();
    for output in outputs {
        if let Output::Close { link, code, reason } = output {
            all.push((*link, *code, reason.as_str()));
        }
    }
    all
}

/// Breaks rules until the link is closed; says how many breaches that took, and how many were
/// answered by a pause.
fn misbehave(core: &mut Core, link: LinkId) -> (u32, u32) {
    let (mut breaches, mut pauses) = (0, 0);
    loop {
        let outputs = core.receive(link, &malformed());
        breaches += 1;
        pauses += u32::from(outputs.iter().any(|output| matches!(output, Output::PauseReading { .. })));
        if !closed(&outputs).is_empty() {
            return (breaches, pauses);
        }
        assert!(breaches < 100, "whatever it does, it is not closed");
    }
}

#[test]
fn who_breaks_rules_is_slowed_then_closed_then_kept_away_and_comes_back_later() {
    let mut core = Core::new(Limits::default());
    let (link, innocent) = (core.link("203.0.113.7"), core.link("203.0.113.8"));
    assert_eq!(misbehave(&mut core, link), (16, 8));
    core.tell(Input::LinkClosed { link, cause: "closed".into() });
    let outputs = core.open("203.0.113.7").1;
    assert!(matches!(&closed(&outputs)[..], [(_, 1008, reason)] if reason.contains("come back in 12")), "{outputs:?}");
    let row = core.protocol.status(core.now, &[]).peers.pop().unwrap();
    assert_eq!((row.address.as_str(), row.state, row.seconds), ("203.0.113.7", PeerState::Banned, Some(120.0)));
    assert!(row.cause.unwrap().contains("HANDSHAKE"));
    assert!(closed(&core.open("203.0.113.9").1).is_empty(), "its neighbours are others");
    assert!(closed(&core.receive(innocent, &json!({ "type": "HANDSHAKE", "data": [] }))).is_empty());
    core.pass(Duration::from_secs(120));
    assert!(closed(&core.open("203.0.113.7").1).is_empty(), "its time is over");
    let counters = core.protocol.counters();
    assert_eq!((counters.bans, counters.links_banned, counters.violations), (1, 1, 16));
}

#[test]
fn all_connections_of_one_address_share_its_score_and_go_together() {
    let mut core = Core::new(Limits::default());
    let links: Vec<LinkId> = (0..4).map(|_| core.link("2001:db8::1")).collect();
    let other = core.link("2001:db8::ffff:1");
    let mut all = Vec::new();
    for breach in 0..16 {
        all.extend(closed(&core.receive(links[breach % 4], &malformed())).iter().map(|(link, ..)| *link));
    }
    all.sort_unstable();
    assert_eq!(all, [&links[..], &[other]].concat());
}

#[test]
fn on_this_host_a_link_is_closed_and_nobody_is_kept_away() {
    let mut core = Core::new(Limits::default());
    let (link, innocent) = (core.link("127.0.0.1"), core.link("127.0.0.1"));
    assert_eq!(misbehave(&mut core, link).0, 16);
    assert!(closed(&core.open("127.0.0.1").1).is_empty() && core.protocol.status(core.now, &[]).peers.is_empty());
    assert!(closed(&core.receive(innocent, &malformed())).is_empty(), "each link there is scored by itself");
}

#[test]
fn rare_faults_are_borne_for_ever() {
    let mut core = Core::new(Limits { client_silence: Duration::from_secs(1_000_000), ..Limits::default() });
    let link = core.link("203.0.113.7");
    core.receive(link, &json!({ "type": "HANDSHAKE", "data": [] }));
    for minute in 0..300 {
        core.pass(Duration::from_secs(60));
        core.tell(Input::Pong { link });
        let outputs = core.receive(link, &malformed());
        assert!(
            closed(&outputs).is_empty() && !outputs.iter().any(|output| matches!(output, Output::PauseReading { .. })),
            "{minute}"
        );
    }
}

#[test]
fn frames_that_break_websockets_own_rules_count_over_connections() {
    let mut core = Core::new(Limits::default());
    let mut turned_away = 0;
    for _ in 0..6 {
        let (link, outputs) = core.open("203.0.113.7");
        turned_away += closed(&outputs).len();
        core.tell(Input::ProtocolError { link, what: "it sent a frame that is none".into() });
        core.tell(Input::LinkClosed { link, cause: "it sent a frame that is none".into() });
    }
    assert_eq!(turned_away, 2, "four are enough");
}

#[test]
fn a_known_peer_is_closed_and_dialled_again_all_the_same() {
    let mut core = Core::knowing(Limits::default(), &["ws://203.0.113.7:4001"]);
    let outputs = core.pass(Duration::from_millis(1));
    assert!(outputs.iter().any(|output| matches!(output, Output::Dial { .. })));
    let link = core.dialled("ws://203.0.113.7:4001", "203.0.113.7");
    assert_eq!(misbehave(&mut core, link).0, 16);
    core.tell(Input::LinkClosed { link, cause: "closed".into() });
    let outputs = core.pass(Duration::from_secs(61));
    assert!(outputs.iter().any(|output| matches!(output, Output::Dial { .. })), "a person named it: {outputs:?}");
}

#[test]
fn where_somebody_is_kept_away_nobody_is_dialled() {
    let mut core = Core::new(Limits::default());
    let told =
        json!({ "type": "HANDSHAKE", "data": ["ws://203.0.113.7:4001", "ws://192.0.2.1:1", "ws://203.0.113.9:4001"] });
    let link = core.link("203.0.113.7");
    misbehave(&mut core, link);
    core.tell(Input::LinkClosed { link, cause: "closed".into() });
    let friend = core.link("198.51.100.7");
    let mut outputs = core.receive(friend, &told);
    outputs.extend(core.pass(Duration::from_secs(50)));
    let dials = |outputs: &[Output]| {
        let to = |output: &Output| matches!(output, Output::Dial { address, .. } if address.host() == "203.0.113.7");
        outputs.iter().filter(|output| to(output)).count()
    };
    assert_eq!(dials(&outputs), 0, "{outputs:?}");
    let rows = core.protocol.status(core.now, &[]).peers;
    let row = rows.iter().find(|row| row.address == "ws://203.0.113.7:4001").unwrap();
    assert_eq!(row.state, PeerState::Banned);
    assert_eq!(dials(&core.pass(Duration::from_secs(120))), 1, "later it is");
}

#[test]
fn a_person_is_told_once_a_minute_who_is_turned_away() {
    let mut core = Core::new(Limits::default());
    let mut told = Vec::new();
    let link = core.link("203.0.113.7");
    misbehave(&mut core, link);
    for _ in 0..500 {
        let (link, outputs) = core.open("203.0.113.7");
        told.extend(outputs);
        core.tell(Input::LinkClosed { link, cause: "closed".into() });
    }
    told.extend(core.pass(Duration::from_secs(61)));
    let said: Vec<u64> = told
        .iter()
        .filter_map(|output| match output {
            Output::Notify(Event::PeerRefused { suppressed, from, .. })
                if from.is_some_and(|from| from.to_string() == "203.0.113.7") =>
            {
                Some(*suppressed)
            }
            _ => None,
        })
        .collect();
    assert_eq!(said, [0, 498], "one line, and a minute later one that counts the rest and is one of them");
}

#[test]
fn a_flood_of_grafts_is_dropped_and_bans_nobody() {
    let mut core = Core::new(Limits::default());
    let link = core.full_peer("203.0.113.7", 9);
    let graft = json!({ "type": "GRAFT", "data": ["plain:ws://localhost:9"] });
    for number in 0..GRAFTS_AT_ONCE {
        assert!(closed(&core.receive(link, &graft)).is_empty(), "{number}");
    }
    assert_eq!(core.protocol.counters().violations, 0);
    for number in 0..100 {
        assert!(closed(&core.receive(link, &graft)).is_empty(), "{number}");
    }
    let counters = core.protocol.counters();
    assert_eq!((counters.messages_dropped, counters.violations, counters.bans), (100, 0, 0));
}

#[test]
fn whoever_takes_anothers_name_does_not_shut_it_out() {
    let mut core = Core::new(Limits::default());
    // Nobody answers at the address that it claims, so the name is not held against anybody.
    let impostor = core.full_peer("203.0.113.7", 9);
    misbehave(&mut core, impostor);
    core.tell(Input::LinkClosed { link: impostor, cause: "closed".into() });
    let owner = core.full_peer("203.0.113.99", 9);
    assert_eq!(core.protocol.linked_peers(), 1, "it is let in: {owner:?}");
}

/// The application's function runs in the task of the link that brought a transaction. Its panics
/// are caught, but this one goes on when it is dropped.
fn trip(transaction: &Transaction) -> Result<(), String> {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("as a test wants it");
        }
    }
    if transaction.body().contains("trip") {
        std::panic::panic_any(Again);
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_in_the_task_of_a_link_ends_that_link_alone() {
    let node = Embedded::start(|network| network.validate(trip)).await;
    let (mut one, mut other) = (Socket::dial(node.port()).await.unwrap(), Socket::dial(node.port()).await.unwrap());
    other.status().await;
    one.send_text(r#"{"type":"TRANSACTION","data":{"trip":1},"ack":true}"#).await;
    while one.frame_or_end().await.is_some() {}
    assert_eq!(other.status().await["counters"]["tasks_panicked"], 2, "in the function, and in the task");
    node.submit(&json!({ "it": "lives" })).await.unwrap().stored().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_task_of_a_link_leaves_nobody_waiting_for_it() {
    let limits = Limits { queue_bytes: 100_000, ..Limits::default() };
    let node = Embedded::start(|network| network.limits(limits).validate(trip)).await;
    let mut ids = Vec::new();
    for number in 0..40 {
        let long = json!({ "number": number, "text": "x".repeat(200_000) });
        let submitted = node.submit(&long).await.unwrap();
        ids.push(submitted.id.to_string());
        submitted.stored().await.unwrap();
    }
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut peer = ScriptedPeer::link(node.port()).await;
    // From here on it reads nothing, so fetching for it waits for room.
    let before = tasks();
    peer.say("WANT", json!(ids)).await;
    eventually("a full queue", async || match &node.links().await.unwrap()[..] {
        links if links.iter().any(|link| link.queued_bytes > 100_000) => Ok(()),
        links => Err(format!("{links:?}")),
    })
    .await;
    peer.say("TRANSACTION", json!({ "trip": 1 })).await;
    eventually("the end of the link", async || match node.links().await.unwrap().len() {
        0 => Ok(()),
        links => Err(format!("{links} links")),
    })
    .await;
    eventually("nobody fetching for it", async || match tasks() {
        left if left < before => Ok(()),
        left => Err(format!("{left} tasks, {before} while the link was there")),
    })
    .await;
}

/// How many of these links are still open, after so many strangers of one network knocked.
fn left(core: &mut Core, links: &[LinkId], strangers: std::ops::Range<u8>, remote: impl Fn(u8) -> String) -> usize {
    let mut gone = BTreeSet::new();
    for stranger in strangers {
        let (link, mut outputs) = core.open(&remote(stranger));
        outputs.extend(core.receive(link, &json!({ "type": "HANDSHAKE", "data": [] })));
        for (closed, ..) in closed(&outputs) {
            gone.insert(closed);
        }
        for link in gone.iter().copied().collect::<Vec<_>>() {
            core.tell(Input::LinkClosed { link, cause: "closed".into() });
        }
    }
    links.iter().filter(|link| !gone.contains(link)).count()
}

#[test]
fn when_places_run_out_useful_and_old_links_and_links_from_elsewhere_stay() {
    let mut core = Core::new(Limits { inbound_links: 40, ..Limits::default() });
    let mut useful = Vec::new();
    for number in 0..8 {
        let link = core.full_peer(&format!("203.0.{number}.1"), number + 2);
        core.receive(link, &json!({ "type": "TRANSACTION", "data": { "number": number } }));
        useful.push(link);
    }
    let old: Vec<LinkId> = (0..16).map(|number| core.full_peer(&format!("198.18.{number}.1"), number + 50)).collect();
    // Sixteen more places, and two hundred strangers from one network.
    let all = [useful, old].concat();
    assert_eq!(left(&mut core, &all, 0..200, |stranger| format!("192.0.2.{stranger}")), all.len());
    assert_eq!(core.protocol.counters().links_evicted, 200 - 16);
}

#[test]
fn a_client_that_says_nothing_goes_before_a_peer_finds_no_place() {
    let mut core = Core::new(Limits { inbound_links: 3, ..Limits::default() });
    let (silent, talks) = (core.link("192.0.2.1"), core.link("192.0.2.2"));
    core.pass(Duration::from_secs(3));
    core.receive(talks, &json!({ "type": "PING" }));
    core.link("192.0.2.3");
    let outputs = core.open("203.0.113.1").1;
    assert_eq!(closed(&outputs), [(silent, 1013, "this node has no room for another connection")]);
}
