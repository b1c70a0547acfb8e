//! What the properties are tried with: names, transactions, and messages of each type beside the
//! frames that are written for them.

use std::time::Duration;

use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::frame::Frame;
use meshpool::protocol::id::{NodeId, Nonce, Session};
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::{Origin, Transaction, TransactionId};
use meshpool::protocol::wire::{
    Ack, AckStatus, AnnounceFrame, Announcement, Beacon, Broadcast, BroadcastFrame, BroadcastId, CallBack, Declined,
    DialBack, DialBacks, ExerciseUpdate, Handshake, Join, Member, Members, Message, NetworkFrame, NodeInfo, OtherSet,
    PeerRow, PeerState, Sample, Status, StatusFrame, Step, Summary, SyncFrame, TopicRow, TransactionFrame, Want,
    exercise_frame, graft_frame, prune_frame, want_frame,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases in every run.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() }
}

pub(crate) fn addresses() -> impl Strategy<Value = PeerAddress> {
    let label = "[a-z]([a-z0-9_-]{0,8}[a-z0-9])?";
    let host = prop_oneof![
        vec(label, 1..4).prop_map(|labels| labels.join(".")),
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")),
        any::<[u16; 8]>().prop_map(|segments| format!("[{}]", std::net::Ipv6Addr::from(segments))),
        Just("[::1]".to_owned()),
        Just("localhost".to_owned()),
    ];
    ("wss?", host, 1u16..).prop_map(|(scheme, host, port)| format!("{scheme}://{host}:{port}").parse().unwrap())
}

pub(crate) fn origins() -> impl Strategy<Value = Origin> {
    prop_oneof![any::<[u8; 32]>().prop_map(|id| Origin::Node(NodeId(id))), addresses().prop_map(Origin::Exercise)]
}

fn sessions() -> impl Strategy<Value = Session> {
    any::<[u8; 16]>().prop_map(Session::from_random)
}

/// A text that looks like what follows a transaction's body in its frame, to be met inside of the
/// body.
fn like_an_origin() -> impl Strategy<Value = String> {
    (origins(), "(\"|\"}|\"}}|)", "(x|\\{|)")
        .prop_map(|(origin, end, begin)| format!(r#"{begin},"from":"{origin}{end}"#))
}

/// Any JSON value that may stand in a transaction.
pub(crate) fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Into::into)),
        any::<String>().prop_map(Into::into),
        origins().prop_map(|origin| origin.to_string().into()),
        like_an_origin().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Into::into), vec((keys(), inner), 0..4).prop_map(object)]
    })
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof!["(from|data|type|session|ack|node|timeStamp|hash)", any::<String>(), like_an_origin(),]
}

fn object(members: Vec<(String, serde_json::Value)>) -> serde_json::Value {
    serde_json::Value::Object(members.into_iter().collect())
}

pub(crate) fn transactions() -> impl Strategy<Value = Transaction> {
    vec((keys(), values()), 0..6)
        .prop_map(|members| Transaction::parse(&mut Parser::new(), &object(members).to_string()).unwrap())
}

/// A frame as it is written, and the message that it must read back as.
pub(crate) fn messages() -> impl Strategy<Value = (Frame, Message)> {
    prop_oneof![
        handshakes().prop_map(|handshake| (handshake.to_frame(), Message::Handshake(handshake))),
        transaction_frames(),
        acks().prop_map(|ack| (ack.to_frame(), Message::Ack(ack))),
        statuses().prop_map(|status| (status.to_frame(), Message::Status(status))),
        syncs().prop_map(|sync| (sync.to_frame(), Message::Sync(sync))),
        syncs().prop_map(|sync| {
            (sync.to_frame_of(OtherSet::Broadcasts), Message::SyncOther(OtherSet::Broadcasts, sync))
        }),
        broadcasts().prop_map(|frame| (frame.to_frame(Session::from_random([1; 16])), Message::Broadcast(frame))),
        announcements().prop_map(|frame| (frame.to_frame(Session::from_random([1; 16])), Message::Announce(frame))),
        members().prop_map(|frame| (frame.to_frame(), Message::Network(frame))),
        ids().prop_map(|ids| (want_frame(&ids), Message::Want(ids))),
        vec(origins(), 0..4).prop_map(|origins| (prune_frame(&origins), Message::Prune(origins))),
        vec(origins(), 0..4).prop_map(|origins| (graft_frame(&origins), Message::Graft(origins))),
        overlay(),
        dial_backs(),
        call_backs(),
        exercise_updates(),
    ]
}

fn exercise_updates() -> impl Strategy<Value = (Frame, Message)> {
    let entry = (addresses(), option::of(0..=16_u32), option::of(0..=600_u64), 0..=1_u64 << 53);
    let entry = entry.prop_map(|(address, drops, lacks, event)| ExerciseUpdate { address, drops, lacks, event });
    vec(entry, 0..4).prop_map(|news| (exercise_frame(&news), Message::Exercise(news)))
}

fn dial_backs() -> impl Strategy<Value = (Frame, Message)> {
    (addresses(), option::of("[a-z ]{0,64}")).prop_map(|(address, error)| {
        let dial_back = DialBack { address, error };
        (dial_back.to_frame(), Message::DialBack(dial_back))
    })
}

fn call_backs() -> impl Strategy<Value = (Frame, Message)> {
    any::<[u8; 32]>().prop_map(|nonce| {
        let call_back = CallBack { nonce: Nonce(nonce) };
        (call_back.to_frame(), Message::CallBack(call_back))
    })
}

/// A transaction in the three frames in which it travels: relayed, from a client, and in answer to
/// a comparison.
pub(crate) fn transaction_frames() -> impl Strategy<Value = (Frame, Message)> {
    let delivery = |transaction: Transaction, origin, ack, synced| {
        Message::Transaction(TransactionFrame { transaction: Ok(transaction), origin, ack, synced })
    };
    prop_oneof![
        (transactions(), origins()).prop_map(move |(transaction, origin)| {
            let travelling = transaction.with_origin(&origin);
            (travelling.frame().clone(), delivery(travelling, Some(origin), false, false))
        }),
        (transactions(), any::<bool>()).prop_map(move |(transaction, ack)| {
            (TransactionFrame::client_frame(transaction.body(), ack), delivery(transaction, None, ack, false))
        }),
        (transactions(), sessions()).prop_map(move |(transaction, session)| {
            (TransactionFrame::sync_frame(transaction.body(), session), delivery(transaction, None, false, true))
        }),
    ]
}

fn handshakes() -> impl Strategy<Value = Handshake> {
    // As much of a name as is kept for logs.
    let shown = || vec(any::<char>(), 0..64).prop_map(String::from_iter);
    let name = (any::<[u8; 32]>().prop_map(NodeId), sessions(), shown(), any::<u32>(), shown());
    let place = (option::of(addresses()), option::of(any::<u32>()));
    let node = (name, place).prop_map(|((id, session, agent, protocol, network), (address, max_peers))| NodeInfo {
        id,
        session,
        agent,
        protocol,
        network,
        address,
        max_peers,
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    });
    (vec(addresses(), 0..4), option::of(node)).prop_map(|(addresses, node)| Handshake { addresses, dropped: 0, node })
}

fn ids() -> impl Strategy<Value = Vec<TransactionId>> {
    vec(any::<[u8; 32]>().prop_map(TransactionId), 0..4)
}

fn acks() -> impl Strategy<Value = Ack> {
    let status = prop_oneof![
        Just(AckStatus::Stored),
        Just(AckStatus::Duplicate),
        Just(AckStatus::Sent),
        Just(AckStatus::Rejected)
    ];
    ("[0-9a-f]{64}|", status, any::<Option<String>>(), any::<usize>()).prop_map(|(id, status, reason, links)| Ack {
        id,
        status,
        reason,
        links,
    })
}

fn summaries() -> impl Strategy<Value = Summary> {
    (any::<u64>(), any::<String>()).prop_map(|(count, sum)| Summary { count, sum })
}

fn rows() -> impl Strategy<Value = PeerRow> {
    let state = prop_oneof![
        Just(PeerState::Connected),
        Just(PeerState::Pending),
        Just(PeerState::Declined),
        Just(PeerState::Failed),
        Just(PeerState::Idle),
        Just(PeerState::Banned),
    ];
    // A tenth of a second is what a node tells.
    let seconds = option::of((0..10_000_u32).prop_map(|tenths| f64::from(tenths) / 10.0));
    (any::<String>(), state, seconds, any::<bool>(), any::<Option<String>>())
        .prop_map(|(address, state, seconds, known, cause)| PeerRow { address, state, seconds, known, cause })
}

fn overlay() -> impl Strategy<Value = (Frame, Message)> {
    let want = prop_oneof![Just(Want::Random), Just(Want::Neighbours)];
    let join =
        (any::<bool>(), option::of(want), option::of(any::<[u8; 32]>().prop_map(NodeId)), option::of(sessions()))
            .prop_map(|(insist, want, moved_by, root)| Join { insist, want, moved_by, root });
    let list = || (vec(addresses(), 0..16), option::of(sessions()));
    let peers = (list(), option::of(any::<u32>())).prop_map(|((addresses, root), free)| Sample {
        addresses,
        dropped: 0,
        free,
        root,
    });
    let reason = || option::of("[a-z ]{1,123}");
    let declined = (list(), any::<u64>(), reason()).prop_map(|((addresses, root), retry_after, reason)| Declined {
        addresses,
        dropped: 0,
        retry_after,
        reason,
        root,
    });
    let beacon = (sessions(), any::<u64>()).prop_map(|(root, seq)| Beacon { root, seq });
    prop_oneof![
        join.prop_map(|join| (join.to_frame(), Message::Join(join))),
        peers.prop_map(|sample| (sample.to_frame(), Message::Peers(sample))),
        declined.prop_map(|declined| (declined.to_frame(), Message::Declined(declined))),
        beacon.prop_map(|beacon| (beacon.to_frame(), Message::Beacon(beacon))),
    ]
}

fn statuses() -> impl Strategy<Value = StatusFrame> {
    let texts = || vec(any::<String>(), 0..3);
    let who = (any::<[String; 5]>(), any::<u64>(), texts(), texts());
    let what = (any::<[usize; 2]>(), summaries(), any::<bool>(), btree_map(any::<String>(), any::<u64>(), 0..3));
    let backs = (any::<[usize; 2]>(), option::of(any::<String>())).prop_map(|([reached, failed], error)| DialBacks {
        reached,
        failed,
        error,
    });
    let table = (option::of(any::<u32>()), vec(rows(), 0..3), option::of(backs), vec(topic_rows(), 0..3));
    let answer = (who, what, table).prop_map(
        |((texts, uptime, connected, attempting), what, (max_peers, peers, dial_backs, topics))| {
            let (sizes, pool, writable, counters) = what;
            let ([node, session, agent, network, address], [known, held]) = (texts, sizes);
            Status {
                node,
                session,
                agent,
                network,
                address,
                dial_backs,
                uptime,
                exercise: connected.iter().take(1).cloned().collect(),
                connected,
                attempting,
                known,
                max_peers,
                peers,
                pool,
                writable,
                topics,
                held,
                counters,
                ..Status::default()
            }
        },
    );
    prop_oneof![
        ids().prop_map(|holds| StatusFrame::Question { holds }),
        answer.prop_map(|status| StatusFrame::Answer(Box::new(status))),
    ]
}

fn topic_rows() -> impl Strategy<Value = TopicRow> {
    let numbers = (any::<[u64; 6]>(), any::<[usize; 2]>(), any::<[Option<u64>; 2]>());
    (any::<String>(), numbers, any::<bool>()).prop_map(|(name, (counts, [members, reconciled], times), writable)| {
        let ([items, bytes, end, refused, ignored, deferred], [oldest, newest]) = (counts, times);
        TopicRow { name, items, bytes, end, members, reconciled, writable, refused, ignored, deferred, oldest, newest }
    })
}

fn syncs() -> impl Strategy<Value = SyncFrame> {
    let step = || (any::<u64>(), vec(any::<u8>(), 0..64)).prop_map(|(number, message)| Step { number, message });
    prop_oneof![
        summaries().prop_map(SyncFrame::Summary),
        Just(SyncFrame::Everything),
        step().prop_map(SyncFrame::Ask),
        step().prop_map(SyncFrame::Answer),
    ]
}

/// An age as a frame tells it: whole seconds, which a double holds exactly.
fn ages() -> impl Strategy<Value = Option<Duration>> {
    option::of((0..86_400_u64).prop_map(Duration::from_secs))
}

fn broadcasts() -> impl Strategy<Value = BroadcastFrame> {
    let time = any::<f64>().prop_filter("finite", |time| time.is_finite());
    (any::<[u8; 32]>(), any::<String>(), time, option::of(origins()), any::<bool>(), ages()).prop_map(
        |(id, text, time, origin, ack, synced)| {
            let broadcast = Broadcast { id: BroadcastId(id), message: format!("{text}.").into(), time, seal: None };
            BroadcastFrame { broadcast, origin, ack, synced }
        },
    )
}

fn announcements() -> impl Strategy<Value = AnnounceFrame> {
    let node = any::<[u8; 32]>().prop_map(NodeId);
    let numbers = (any::<u64>(), any::<u64>(), any::<[u32; 3]>(), option::of(any::<u32>()), any::<bool>());
    let told = (node, sessions(), option::of(addresses()), vec(any::<[u8; 32]>().prop_map(NodeId), 0..5));
    (told, numbers, ages()).prop_map(|((node, session, address, peers), numbers, told)| {
        let (since, seq, [links, nodes, interval], max_peers, left) = numbers;
        let announcement = Announcement {
            node,
            session,
            address,
            since,
            seq,
            peers,
            links,
            max_peers,
            nodes,
            interval,
            topics: Vec::new(),
            left,
            seal: None,
        };
        AnnounceFrame { announcement, synced: told }
    })
}

fn members() -> impl Strategy<Value = NetworkFrame> {
    let member = (any::<[String; 3]>(), any::<[u32; 3]>(), vec(any::<String>(), 0..3), any::<bool>()).prop_map(
        |([node, session, address], [since, links, most], peers, me)| Member {
            node,
            session,
            address: me.then_some(address),
            since: since.into(),
            peers,
            links,
            max_peers: me.then_some(most),
            free: me.then_some(links),
            heard: most.into(),
            me,
        },
    );
    let answer = (vec(member, 0..3), any::<bool>());
    prop_oneof![
        option::of(any::<[u8; 32]>().prop_map(NodeId)).prop_map(|after| NetworkFrame::Question { after }),
        answer.prop_map(|(nodes, more)| NetworkFrame::Answer(Members { nodes, more })),
    ]
}
