//! Requests on real sockets: what the application gets, what each failure is called, and what
//! strangers cannot do with them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::embedded::Embedded;
use common::prover::{Prover, Upgraded, nonce};
use common::requester::{Next, Requester, accept_as_previous_release, with_callback, with_id};
use common::tester::Tester;
use common::{eventually, transaction, within};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::id::NodeId;
use meshpool::protocol::limits::{Limits, REQUEST_BYTES, REQUEST_CHUNK};
use meshpool::protocol::wire::{ChunkOf, FailedCause, RequestFrame};
use meshpool::{Refusal, Request, RequestError, Unreachable};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

/// A request that a handler never answers, and a longer time than any test has.
const LONG: Duration = Duration::from_secs(600);

/// Answers with what came.
async fn echo(request: Request) -> Result<Vec<u8>, String> {
    Ok(request.payload.to_vec())
}

/// Two nodes that are linked.
async fn pair() -> (Embedded, Embedded) {
    let one = Embedded::with(Limits::default()).await;
    let two = Embedded::start(|network| network.known_peer(one.address().clone())).await;
    one.links_to(&[&two]).await;
    (one, two)
}

/// A peer of which the test has the key, known to a node at the address of a tester. The link goes
/// with it.
async fn known_peer(node: &Embedded) -> (Prover, Tester, Upgraded) {
    let (prover, tester) = (Prover::new(), Tester::listen().await);
    let mut link = prover.link(node.port()).await;
    link.socket.send(&prover.announce(&tester.address())).await;
    eventually("the announcement", async || {
        let nodes = node.nodes().await.unwrap();
        let known = nodes.iter().any(|member| member.address.as_deref() == Some(&tester.address()));
        if known { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    (prover, tester, link)
}

/// Says when it is dropped.
struct Guard(mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send(()).unwrap_or_default();
    }
}

/// Lets a node's handler wait for ever. Gives what tells of its begin, and of its end.
fn hang(node: &Embedded) -> (mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>) {
    let ((begin, begun), (end, ended)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    node.serve(move |_| {
        let guard = Guard(end.clone());
        begin.send(()).unwrap_or_default();
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok::<_, String>("")
        }
    });
    (begun, ended)
}

#[tokio::test]
async fn a_request_is_answered_whatever_its_length_and_names_who_asks() {
    let (one, two) = pair().await;
    let asker = one.id();
    two.serve(move |request| async move {
        assert_eq!(request.from, asker);
        echo(request).await
    });
    for length in [0, 1, REQUEST_CHUNK, REQUEST_CHUNK + 1, REQUEST_BYTES] {
        let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let answer = within("an answer", async { one.request(two.id(), payload.clone()).await }).await;
        assert!(answer.unwrap() == payload, "{length} bytes");
    }
    // The other way goes over the same connection, and nobody serves there.
    let refused = two.request(one.id(), "").await.unwrap_err();
    assert_eq!(refused, RequestError::Refused { peer: one.id(), why: Refusal::NotServed });
    // And a node may ask itself.
    two.serve(echo);
    assert_eq!(two.request(two.id(), "me").await.unwrap(), "me");
}

#[tokio::test]
async fn each_failure_is_told_by_its_name() {
    let (one, two) = pair().await;
    let stranger = NodeId([9; 32]);
    assert_eq!(one.request(stranger, "").await, Err(RequestError::UnknownPeer(stranger)));
    let long = one.request(two.id(), vec![0; REQUEST_BYTES + 1]).await;
    assert_eq!(long, Err(RequestError::TooLong(REQUEST_BYTES + 1)));

    let peer = two.id();
    let refused = RequestError::Refused { peer, why: Refusal::NotServed };
    assert_eq!(one.request(peer, "before").await, Err(refused.clone()));
    two.serve(async |_| Err::<Vec<u8>, _>("no such block"));
    let failed = RequestError::HandlerFailed { peer, why: "no such block".into() };
    assert_eq!(one.request(peer, "block 7").await, Err(failed));
    two.serve(async |_| Ok::<_, String>(vec![0; REQUEST_BYTES + 1]));
    let RequestError::HandlerFailed { why, .. } = one.request(peer, "").await.unwrap_err() else { panic!() };
    assert!(why.contains("1048577"), "{why}");
    two.serve(|request| async move {
        assert!(request.payload.is_empty(), "for the test");
        Ok::<_, String>("fine")
    });
    let RequestError::HandlerFailed { why, .. } = one.request(peer, "panic").await.unwrap_err() else { panic!() };
    assert!(why.contains("panicked"), "{why}");
    assert_eq!(one.request(peer, "").await.unwrap(), "fine", "a panic ends one request");
    let (_begun, mut ended) = hang(&two);
    let after = Duration::from_millis(50);
    assert_eq!(one.request(peer, "").timeout(after).await, Err(RequestError::TimedOut { peer, after }));
    within("the handler's end", ended.recv()).await.unwrap();
    two.stop_serving();
    assert_eq!(one.request(peer, "after").await, Err(refused));

    let handle = one.node.handle();
    one.stop().await;
    assert_eq!(handle.request(peer, "").await, Err(RequestError::Ended));
}

#[tokio::test]
async fn a_dropped_request_ends_its_handler_and_others_go_on() {
    let (one, two) = pair().await;
    let (mut begun, mut ended) = hang(&two);
    let asking = tokio::spawn(one.request(two.id(), vec![0; REQUEST_BYTES]).timeout(LONG).into_future());
    let mut asking = asking;
    tokio::select! {
        answer = &mut asking => panic!("it was answered: {answer:?}"),
        begun = within("the handler's begin", begun.recv()) => begun.unwrap(),
    }
    asking.abort();
    within("the handler's end", ended.recv()).await.unwrap();
    two.serve(echo);
    assert_eq!(one.request(two.id(), "next").await.unwrap(), "next");
    eventually("the count of what was cancelled", async || match two.counted("requests_cancelled").await {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
}

#[tokio::test]
async fn a_hundred_requests_at_once_wait_for_their_turn_and_no_more_than_eight_are_handled() {
    let (one, two) = pair().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    two.serve({
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        move |request| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::Relaxed);
                echo(request).await
            }
        }
    });
    let asking = (0..100_u8).map(|n| one.request(two.id(), vec![n; 1_000]).timeout(LONG).into_future());
    let answers = within("all answers", futures_util::future::join_all(asking)).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert!(answer.unwrap() == vec![n as u8; 1_000]);
    }
    assert!(most.load(Ordering::Relaxed) <= 8, "{most:?}");
}

#[tokio::test]
async fn transactions_pass_while_the_largest_requests_travel() {
    let (one, two) = pair().await;
    two.serve(echo);
    let handle = one.node.handle();
    let peer = two.id();
    let (enough, exchanged) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (handle, enough, exchanged) = (handle.clone(), Arc::clone(&enough), Arc::clone(&exchanged));
            tokio::spawn(async move {
                while enough.available_permits() == 0 {
                    let answer = handle.request(peer, vec![7; REQUEST_BYTES]).timeout(LONG).await.unwrap();
                    assert_eq!(answer.len(), REQUEST_BYTES);
                    exchanged.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut events = two.events();
    for n in 0..20 {
        let id = one.submit(&transaction(n)).await.unwrap().id;
        common::embedded::event(&mut events, "a transaction", |event| {
            matches!(event, meshpool::Event::Transaction { transaction, .. } if transaction.id() == id).then_some(())
        })
        .await;
    }
    eventually("some requests", async || match exchanged.load(Ordering::Relaxed) {
        0..4 => Err(format!("{exchanged:?}")),
        _ => Ok(()),
    })
    .await;
    enough.add_permits(1);
    for asking in asking {
        within("the last answers", asking).await.unwrap();
    }
    let links = one.links().await.unwrap();
    assert_eq!(links.len(), 1, "no link was lost or added: {links:?}");
}

#[tokio::test]
async fn a_peer_that_was_restarted_is_asked_over_a_new_connection() {
    let (one, two) = pair().await;
    two.serve(echo);
    assert_eq!(one.request(two.id(), "first").await.unwrap(), "first");
    let (port, id) = (two.port(), two.id());
    let folder = two.stop().await;
    let two = Embedded::start_in(folder, |network| network.port(port).known_peer(one.address().clone())).await;
    assert_eq!(two.id(), id);
    two.serve(echo);
    one.links_to(&[&two]).await;
    let answer = eventually("an answer", async || one.request(id, "second").await.map_err(|error| error.to_string()));
    assert_eq!(answer.await, "second");
}

#[tokio::test]
async fn another_node_at_the_address_is_not_reachable_and_is_sent_nothing() {
    let (one, other) = pair().await;
    other.serve(async |_| Err::<&str, _>("it was asked for another"));
    let prover = Prover::new();
    let mut link = prover.link(one.port()).await;
    link.socket.send(&prover.announce(&other.address().to_string())).await;
    let error = eventually("the announcement", async || match one.request(prover.id(), "").await.unwrap_err() {
        RequestError::NotReachable { why: Unreachable::AnotherNode(address), .. } => Ok(address),
        error => Err(error.to_string()),
    });
    assert_eq!(error.await, *other.address());
}

#[tokio::test]
async fn a_node_of_the_previous_release_is_sent_no_request() {
    let (node, _) = pair().await;
    let (prover, tester, _link) = known_peer(&node).await;
    let (asked, _) = tokio::join!(node.request(prover.id(), "?"), accept_as_previous_release(&prover, &tester));
    let refused = RequestError::Refused { peer: prover.id(), why: Refusal::NotSupported };
    assert_eq!(asked, Err(refused.clone()));
    // For a minute it is not even dialled.
    assert_eq!(node.request(prover.id(), "?").await, Err(refused));
    assert!(!tester.is_dialled());
}

#[tokio::test]
async fn a_peer_that_never_answers_costs_one_request_its_time_and_then_its_connection() {
    let limits = Limits { write_deadline: Duration::from_millis(200), ..Limits::default() };
    let node = Embedded::with(limits).await;
    let (prover, tester, _link) = known_peer(&node).await;
    let after = Duration::from_millis(300);
    let peer = prover.id();
    let asking = tokio::spawn(node.request(peer, "?").timeout(after).into_future());
    let mut silent = Requester::accept(&prover, &tester, &tester.address()).await;
    assert_eq!(asking.await.unwrap(), Err(RequestError::TimedOut { peer, after }));
    assert!(matches!(silent.next().await, Next::Frame(RequestFrame::Request { id: 1, bytes: 1, .. })));
    assert_eq!(silent.next().await, Next::Chunk(ChunkOf::Request, 1, b"?".to_vec()));
    assert_eq!(silent.next().await, Next::Frame(RequestFrame::Cancel { id: 1 }));
    let (code, reason) = silent.closed().await;
    assert_eq!((code, reason.as_str()), (1000, "you end no request that was cancelled"));
}

#[tokio::test]
async fn answers_that_nobody_asked_for_end_the_connection() {
    let node = Embedded::with(Limits::default()).await;
    let frames = [
        RequestFrame::Response { id: 1, bytes: 1 },
        RequestFrame::Failed { id: 1, cause: FailedCause::Busy, reason: String::new() },
    ];
    for frame in frames {
        let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
        stranger.send(&frame).await;
        assert_eq!(stranger.closed().await.0, 1008);
    }
    for of in [ChunkOf::Response, ChunkOf::Request] {
        let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
        stranger.chunk(of, 1, b"x").await;
        assert_eq!(stranger.closed().await.0, 1008);
    }
    eventually("the count of breaches", async || match node.counted("requests_breaches").await {
        4 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
}

#[tokio::test]
async fn numbers_only_rise_and_a_request_has_the_length_that_it_names() {
    let node = Embedded::with(Limits::default()).await;
    node.serve(echo);
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    stranger.request(u64::MAX - 1, 3).await;
    stranger.chunk(ChunkOf::Request, u64::MAX - 1, b"abc").await;
    assert_eq!(stranger.answer(u64::MAX - 1).await, b"abc");
    stranger.request(1, 0).await;
    assert_eq!(stranger.closed().await, (1008, "the numbers of requests have to rise".to_owned()));
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    stranger.request(1, 3).await;
    stranger.chunk(ChunkOf::Request, 1, b"abcd").await;
    assert_eq!(stranger.closed().await.0, 1008);
}

#[tokio::test]
async fn a_ninth_request_at_once_is_refused_and_one_that_is_cancelled_makes_room() {
    let node = Embedded::with(Limits::default()).await;
    let (mut begun, mut ended) = hang(&node);
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    for id in 1..=8 {
        stranger.request(id, 0).await;
        within("a handler's begin", begun.recv()).await.unwrap();
    }
    let failed = |id, cause| Next::Frame(RequestFrame::Failed { id, cause, reason: String::new() });
    stranger.request(9, 0).await;
    assert_eq!(stranger.next().await, failed(9, FailedCause::Busy));
    stranger.send(&RequestFrame::Cancel { id: 3 }).await;
    assert_eq!(stranger.next().await, failed(3, FailedCause::Cancelled));
    within("a handler's end", ended.recv()).await.unwrap();
    stranger.request(10, 0).await;
    within("a handler's begin", begun.recv()).await.unwrap();
    drop(stranger);
    for _ in 0..8 {
        within("the end of all handlers of a connection that ended", ended.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stranger_that_cancels_in_a_loop_is_answered_and_leaves_nothing_behind() {
    let node = Embedded::with(Limits::default()).await;
    let (_begun, _ended) = hang(&node);
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    for round in 0..500 {
        // Unfinished, running, and never sent.
        let id = 3 * round + 1;
        stranger.request(id, 10).await;
        stranger.request(id + 1, 0).await;
        for id in id..id + 3 {
            stranger.send(&RequestFrame::Cancel { id }).await;
        }
        for id in id..id + 2 {
            let cancelled = RequestFrame::Failed { id, cause: FailedCause::Cancelled, reason: String::new() };
            assert_eq!(stranger.next().await, Next::Frame(cancelled));
        }
    }
    node.serve(echo);
    stranger.request(2_000, 1).await;
    stranger.chunk(ChunkOf::Request, 2_000, b"x").await;
    assert_eq!(stranger.answer(2_000).await, b"x");
    assert_eq!(node.counted("requests_cancelled").await, 1_000);
}

#[tokio::test]
async fn only_a_proof_for_this_connection_opens_it() {
    let node = Embedded::with(Limits::default()).await;
    let (prover, victim) = (Prover::new(), Prover::new());
    let (_, before) = Requester::upgrade(&prover, node.port()).await;
    let replayed = prover.request_hello(&before);
    let (mut requester, connection) = Requester::upgrade(&prover, node.port()).await;
    requester.send(&replayed).await;
    assert_eq!(requester.closed().await.0, 1008, "a proof of another connection");
    let stolen = with_id(prover.request_hello(&connection), victim.id());
    let (mut requester, _) = Requester::upgrade(&prover, node.port()).await;
    requester.send(&stolen).await;
    assert_eq!(requester.closed().await.0, 1008, "the id of another");
    let (mut requester, mut connection) = Requester::upgrade(&prover, node.port()).await;
    connection.address = "ws://localhost:1".into();
    requester.send(&prover.request_hello(&connection)).await;
    assert!(matches!(requester.next().await, Next::Frame(RequestFrame::Hello(_))));
    assert_eq!(requester.closed().await.0, 1008, "through somebody who passes it on");
    let (mut requester, _) = Requester::upgrade(&prover, node.port()).await;
    requester.request(1, 0).await;
    assert_eq!(requester.closed().await.0, 1008, "no HELLO");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_and_the_next_request_opens_one() {
    let limits = Limits { request_idle: Duration::from_millis(100), ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    assert_eq!(stranger.closed().await, (1000, "idle".to_owned()));
    // This one is closed by the node under test, while its peer is asked again and again.
    let two = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    node.links_to(&[&two]).await;
    two.serve(echo);
    let (prover, tester, _link) = known_peer(&node).await;
    for _ in 0..2 {
        let asking = tokio::spawn(node.request(prover.id(), "?").timeout(LONG).into_future());
        let mut peer = Requester::accept(&prover, &tester, &tester.address()).await;
        let Next::Frame(RequestFrame::Request { id, .. }) = peer.next().await else { panic!() };
        peer.next().await;
        peer.send(&RequestFrame::Response { id, bytes: 0 }).await;
        assert_eq!(asking.await.unwrap().unwrap(), "");
        assert_eq!(peer.closed().await, (1000, "idle".to_owned()));
    }
    assert_eq!(node.request(two.id(), "still").await.unwrap(), "still");
}

#[tokio::test]
async fn a_node_that_the_access_rules_deny_is_refused_on_an_open_connection_too() {
    let node = Embedded::with(Limits::default()).await;
    node.serve(echo);
    let prover = Prover::new();
    let mut peer = Requester::dial(&prover, node.port()).await;
    peer.request(1, 0).await;
    assert_eq!(peer.answer(1).await, b"");
    std::fs::write(node.folder.path().join("denied.txt"), prover.id().to_string()).unwrap();
    node.reload().await.unwrap();
    peer.request(2, 0).await;
    let Next::Frame(RequestFrame::Failed { id: 2, cause: FailedCause::Denied, reason }) = peer.next().await else {
        panic!("it is denied")
    };
    assert!(reason.contains("denied"), "{reason}");
    let (mut again, connection) = Requester::upgrade(&prover, node.port()).await;
    again.send(&prover.request_hello(&connection)).await;
    assert_eq!(again.closed().await.0, 1008);
}

/// A hub, and a node that dialled it and that nobody can dial.
async fn hub_and_hidden() -> (Embedded, Embedded) {
    let hub = Embedded::with(Limits::default()).await;
    // Nobody listens on port 9 of this host.
    let dead: PeerAddress = "ws://127.0.0.1:9".parse().unwrap();
    let hidden = Embedded::start(|network| network.known_peer(hub.address().clone()).address(dead)).await;
    hidden.links_to(&[&hub]).await;
    hub.links_to(&[&hidden]).await;
    (hub, hidden)
}

#[tokio::test]
async fn a_node_that_cannot_be_dialled_opens_the_connection_itself_and_answers() {
    let (hub, hidden) = hub_and_hidden().await;
    hidden.serve(echo);
    let payload: Vec<u8> = (0..REQUEST_BYTES).map(|n| n as u8).collect();
    let asking = (0..4).map(|_| hub.request(hidden.id(), payload.clone()).into_future());
    for answer in within("the answers", futures_util::future::join_all(asking)).await {
        assert!(answer.unwrap() == payload);
    }
    assert_eq!(hidden.counted("requests_called_back").await, 1, "one connection for all");
    // The other way it is as before.
    hub.serve(echo);
    assert_eq!(hidden.request(hub.id(), "back").await.unwrap(), "back");
    // A node that it does not know is not guessed.
    let stranger = Prover::new().id();
    assert_eq!(hub.request(stranger, "").await, Err(RequestError::UnknownPeer(stranger)));
}

#[tokio::test]
async fn a_callback_that_nobody_asked_for_is_closed() {
    let (hub, hidden) = hub_and_hidden().await;
    hub.serve(echo);
    hidden.serve(echo);
    let prover = Prover::new();
    let (mut requester, connection) = Requester::upgrade(&prover, hub.port()).await;
    requester.send(&with_callback(prover.request_hello(&connection), nonce())).await;
    assert_eq!(requester.closed().await, (1000, "nobody waits for this connection".to_owned()));
    assert_eq!(hub.request(hidden.id(), "still").await.unwrap(), "still");
}

#[tokio::test]
async fn callbacks_of_clients_and_of_peers_that_dialled_us_open_no_connection() {
    let node = Embedded::with(Limits::default()).await;
    node.serve(echo);
    let (prover, tester, mut link) = known_peer(&node).await;
    for _ in 0..100 {
        let frame = json!({ "type": "CALLBACK", "data": { "nonce": nonce().to_string() } });
        link.socket.send(&frame).await;
    }
    let mut client = common::tester::Socket::dial(node.port()).await.unwrap();
    client.send(&json!({ "type": "CALLBACK", "data": { "nonce": nonce().to_string() } })).await;
    eventually("the count of what came too often", async || match node.counted("messages_dropped").await {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert!(!tester.is_dialled(), "it names no address, and this node dialled none");
    let mut peer = Requester::dial(&prover, node.port()).await;
    peer.request(1, 0).await;
    assert_eq!(peer.answer(1).await, b"");
}

#[tokio::test]
async fn a_peer_of_the_previous_release_that_cannot_be_dialled_is_sent_no_callback() {
    let node = Embedded::with(Limits::default()).await;
    let prover = Prover::new();
    let mut link = prover.link(node.port()).await;
    let error = node.request(prover.id(), "?").await.unwrap_err();
    assert!(matches!(&error, RequestError::NotReachable { why: Unreachable::NoAddress, .. }), "{error}");
    // What comes before the answer to a later frame was sent before it.
    node.broadcast("after").await.unwrap();
    loop {
        let frame = link.socket.frame().await;
        assert_ne!(frame["type"], "CALLBACK");
        if frame["type"] == "BROADCAST" {
            break;
        }
    }
}

/// Panics when it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "for the test");
    }
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_dropped_is_answered_for_and_keeps_no_place() {
    let node = Embedded::with(Limits::default()).await;
    node.serve(|_| {
        let trap = Trap;
        async move {
            std::future::pending::<()>().await;
            drop(trap);
            Ok::<_, String>("")
        }
    });
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    // More than there are places for one connection.
    for id in 1..=20 {
        stranger.send(&RequestFrame::Request { id, bytes: 0, timeout: 1 }).await;
        let Next::Frame(RequestFrame::Failed { id: failed, cause, reason }) = stranger.next().await else { panic!() };
        assert_eq!((failed, cause), (id, FailedCause::Handler), "{reason}");
        assert!(reason.contains("panicked"), "{reason}");
    }
    assert_eq!(node.counted("requests_failed").await, 20);
    node.serve(echo);
    stranger.request(21, 1).await;
    stranger.chunk(ChunkOf::Request, 21, b"x").await;
    assert_eq!(stranger.answer(21).await, b"x");
}

#[tokio::test]
async fn a_request_to_oneself_has_the_bounds_of_others() {
    let node = Embedded::with(Limits::default()).await;
    let me = node.id();
    node.serve(async |_| Ok::<_, String>(vec![0; REQUEST_BYTES + 1]));
    let RequestError::HandlerFailed { why, .. } = node.request(me, "").await.unwrap_err() else { panic!() };
    assert!(why.contains("1048577"), "{why}");
    node.serve(async |_| -> Result<Vec<u8>, String> { panic!("for the test") });
    let RequestError::HandlerFailed { why, .. } = node.request(me, "").await.unwrap_err() else { panic!() };
    assert!(why.contains("panicked"), "{why}");

    // A handler that passes on what it gets to whom a stranger names may be led to itself.
    let (handle, depth) = (node.node.handle(), Arc::new(AtomicUsize::new(0)));
    let nested = Arc::clone(&depth);
    node.serve(move |request| {
        let (handle, nested) = (handle.clone(), Arc::clone(&nested));
        async move {
            nested.fetch_add(1, Ordering::Relaxed);
            let answer = handle.request(handle.id(), request.payload).timeout(LONG).await;
            answer.map_err(|error| match error {
                RequestError::HandlerFailed { why, .. } => why,
                error => error.to_string(),
            })
        }
    });
    let mut stranger = Requester::dial(&Prover::new(), node.port()).await;
    stranger.request(1, 0).await;
    let Next::Frame(RequestFrame::Failed { id: 1, cause: FailedCause::Handler, reason }) = stranger.next().await else {
        panic!("its handler fails")
    };
    assert!(reason.contains("too many requests at once"), "{reason}");
    assert_eq!(depth.load(Ordering::Relaxed), 32, "as many as there are places");

    let (mut begun, mut ended) = hang(&node);
    let mut asking = tokio::spawn(node.request(me, "").timeout(Duration::MAX).into_future());
    tokio::select! {
        answer = &mut asking => panic!("it was answered: {answer:?}"),
        begun = within("the handler's begin", begun.recv()) => begun.unwrap(),
    }
    asking.abort();
    within("the handler's end", ended.recv()).await.unwrap();
}

#[tokio::test]
async fn requests_that_are_under_way_when_a_node_ends_are_told_so() {
    let (one, two) = pair().await;
    let (mut begun, _ended) = hang(&two);
    let (mut own_begun, _own_ended) = hang(&one);
    let there = tokio::spawn(one.request(two.id(), "").timeout(LONG).into_future());
    let here = tokio::spawn(one.request(one.id(), "").timeout(LONG).into_future());
    within("the handler's begin", begun.recv()).await.unwrap();
    within("the handler's begin", own_begun.recv()).await.unwrap();
    one.stop().await;
    assert_eq!(there.await.unwrap(), Err(RequestError::Ended));
    assert_eq!(here.await.unwrap(), Err(RequestError::Ended));
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_ends_the_request_and_its_handler_here() {
    let node = Embedded::with(Limits::default()).await;
    let (mut begun, mut ended) = hang(&node);
    let (prover, tester, _link) = known_peer(&node).await;
    let asking = tokio::spawn(node.request(prover.id(), vec![7; REQUEST_BYTES]).timeout(Duration::MAX).into_future());
    let mut peer = Requester::accept(&prover, &tester, &tester.address()).await;
    let Next::Frame(RequestFrame::Request { id, timeout, .. }) = peer.next().await else { panic!() };
    assert!(timeout <= 600_000, "as long as a handler may run: {timeout}");
    peer.request(1, 0).await;
    within("the handler's begin", begun.recv()).await.unwrap();
    // Half of an answer, and half of a request.
    peer.send(&RequestFrame::Response { id, bytes: REQUEST_BYTES }).await;
    peer.chunk(ChunkOf::Response, id, &[1; REQUEST_CHUNK]).await;
    peer.request(2, REQUEST_BYTES).await;
    peer.chunk(ChunkOf::Request, 2, &[1; REQUEST_CHUNK]).await;
    drop(peer);
    let error = within("the error", asking).await.unwrap().unwrap_err();
    assert!(matches!(&error, RequestError::NotReachable { why: Unreachable::Lost(_), .. }), "{error}");
    within("the handler's end", ended.recv()).await.unwrap();
}

#[tokio::test]
async fn thousands_of_unknown_peers_cost_nothing_that_stays() {
    let node = Embedded::with(Limits::default()).await;
    let unknown = |n: u32| {
        let mut id = [9; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    };
    let asking = (0..5_000).map(|n| node.request(unknown(n), "").into_future());
    let answers = within("all errors", futures_util::future::join_all(asking)).await;
    let busy = answers.iter().filter(|answer| **answer == Err(RequestError::Busy)).count();
    let unknown = answers.iter().filter(|answer| matches!(answer, Err(RequestError::UnknownPeer(_)))).count();
    assert_eq!((busy + unknown, busy), (5_000, 5_000 - 1_024), "so many are under way at once");
    node.serve(echo);
    assert_eq!(node.request(node.id(), "still").await.unwrap(), "still");
}
