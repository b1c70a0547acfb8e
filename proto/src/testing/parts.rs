//! What a component is lent, for tests of one component without a node around it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::config::Config;
use crate::connections::table::{LinkState, LinkTable, NativePeer};
use crate::context::Context;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Session};
use crate::io::{Lane, Output};
use crate::json::Parser;
use crate::limits::Limits;
use crate::signature::Unsigned;
use crate::testing::net::address;
use crate::transaction::{Origin, Transaction};

/// A context of node 0.
pub(crate) fn context() -> Context {
    let config = Config {
        node: node(0),
        session: Session::from_random([0; 16]),
        agent: "test".into(),
        network: "test".into(),
        address: address(0),
        known_peers: Vec::new(),
        wan: false,
        relays: false,
        remembered_peers: Vec::new(),
        remembered_exercise: Vec::new(),
        genesis: None,
        max_peers: None,
        since: 0,
        limits: Limits::default(),
        signer: Arc::new(Unsigned),
        seed: 0,
    };
    Context::new(Instant::now() + std::time::Duration::from_secs(1_000), config, SmallRng::seed_from_u64(0))
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub(crate) fn origin(n: u8) -> Origin {
    Origin::Node(node(n))
}

/// Opens link `n` to native peer `n`, established.
pub(crate) fn native(cx: &Context, links: &mut LinkTable, n: u8) -> LinkId {
    native_link(cx, links, u64::from(n), n)
}

/// Opens a link to a native peer, established.
pub(crate) fn native_link(cx: &Context, links: &mut LinkTable, link: u64, n: u8) -> LinkId {
    let session = Session::from_random([n; 16]);
    let peer = NativePeer {
        id: node(n),
        session,
        address: None,
        wan: None,
        proved: true,
        topics: Default::default(),
        calls_back: true,
    };
    open(cx, links, link, None, LinkState::Client);
    links.set_native(LinkId(link), LinkState::Established(peer));
    LinkId(link)
}

/// Dials exercise peer `n` on link `n`.
pub(crate) fn exercise(cx: &Context, links: &mut LinkTable, n: u8) -> LinkId {
    let address = address(n.into());
    open(cx, links, n.into(), Some(address.clone()), LinkState::ExerciseOutbound { address })
}

/// Accepts link `n` from a client.
pub(crate) fn client(cx: &Context, links: &mut LinkTable, n: u8) -> LinkId {
    open(cx, links, n.into(), None, LinkState::Client)
}

fn open(
    cx: &Context,
    links: &mut LinkTable,
    link: u64,
    dialled: Option<crate::address::PeerAddress>,
    role: LinkState,
) -> LinkId {
    links.open(LinkId(link), IpAddr::V4(Ipv4Addr::LOCALHOST), dialled, role, cx.now);
    LinkId(link)
}

pub(crate) fn transaction(n: u32) -> Transaction {
    Transaction::parse(&mut Parser::new(), &format!(r#"{{"n":{n}}}"#)).expect("a transaction")
}

/// Takes all outputs, as text: frames without their quotes, and events by name.
pub(crate) fn drain(cx: &mut Context) -> Vec<String> {
    std::iter::from_fn(|| cx.poll_output()).map(|output| describe(&output)).collect()
}

/// Takes all outputs, and returns the frames of one type with their links.
pub(crate) fn frames(cx: &mut Context, kind: &str) -> Vec<(Vec<u64>, String)> {
    let frame = |output| match output {
        Output::Send { links, frame, .. } => Some((links.iter().map(|link| link.0).collect(), frame.as_str().into())),
        _ => None,
    };
    let sent = std::iter::from_fn(|| cx.poll_output()).filter_map(frame);
    sent.filter(|(_, frame): &(_, String)| frame.starts_with(&format!(r#"{{"type":"{kind}""#))).collect()
}

fn describe(output: &Output) -> String {
    match output {
        Output::Send { links, frame, lane } => {
            let links: Vec<u64> = links.iter().map(|link| link.0).collect();
            let lane = if *lane == Lane::Control { "control" } else { "payload" };
            format!("{lane} {links:?} {}", frame.as_str().replace('"', ""))
        }
        Output::Replay { link, from, until, synced } => {
            let until = until.map_or("end".into(), |until| until.to_string());
            format!("replay {} {from}..{until}{}", link.0, if *synced { " synced" } else { "" })
        }
        Output::ReplayPositions { link, positions } => format!("replay {} {positions:?}", link.0),
        Output::DropQueued { link, origins, .. } => format!("drop {} {}", link.0, origins.len()),
        Output::Close { link, reason, .. } => format!("close {} {reason}", link.0),
        Output::Store { transaction } => format!("store {}", transaction.body().replace('"', "")),
        Output::Submitted { request, outcome } => match outcome {
            Ok(told) => format!("submitted {} links {} duplicate {}", request.0, told.links, told.duplicate),
            Err(reason) => format!("refused {} {reason}", request.0),
        },
        Output::SubmissionStored { request } => format!("stored {}", request.0),
        Output::BroadcastSent { request, told } => format!("broadcast {} links {}", request.0, told.links),
        Output::Notify(event) => {
            let event = format!("{event:?}");
            format!("event {}", event.split([' ', '{', '(']).next().unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}

/// Returns the event among outputs that `wanted` picks, and drops the others.
pub(crate) fn event<T>(cx: &mut Context, wanted: impl Fn(Event) -> Option<T>) -> Option<T> {
    let events = std::iter::from_fn(|| cx.poll_output()).filter_map(|output| match output {
        Output::Notify(event) => Some(event),
        _ => None,
    });
    events.filter_map(wanted).last()
}
