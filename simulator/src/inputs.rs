//! Inputs that no other scenario brings about: broadcasts, image searches, access rules, discovery,
//! frames that break rules, lost transactions, shutdown.
//!
//! Only for trace hashes. What the network must come to in the end is not checked here.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool_proto::access::{Access, Rules};
use meshpool_proto::address::Scope;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId};
use meshpool_proto::limits::Limits;
use meshpool_proto::mdns_record::{InvalidRecord, Record};
use meshpool_proto::wire::{ImageInfo, SearchId};
use meshpool_proto::{Input, RequestId};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::check::Broken;
use crate::faults::{Cast, Fault};
use crate::load;
use crate::network::{Network, Queue};
use crate::wire::Item;
use crate::world::{Event, World};

/// For how long inputs are made.
const LENGTH: Duration = Duration::from_secs(60);
/// How long the network runs on after that.
const REST: Duration = Duration::from_secs(30);
/// Sent on links, with `NODE`, `ADDRESS`, `DIGEST` and `NUMBER` replaced.
/// None asks for a status: the answer names counters.
const FRAMES: [&str; 38] = [
    "no JSON",
    "null",
    "{}",
    r#"{"type":7}"#,
    r#"{"type":"NOTHING","data":NUMBER}"#,
    r#"{"type":"HANDSHAKE"}"#,
    r#"{"type":"HANDSHAKE","data":[1]}"#,
    r#"{"type":"HANDSHAKE","data":["ADDRESS"]}"#,
    r#"{"type":"HANDSHAKE","data":["ADDRESS"],"node":{"id":"NODE"}}"#,
    r#"{"type":"TRANSACTION","data":[]}"#,
    r#"{"type":"TRANSACTION","data":{"n":NUMBER}}"#,
    r#"{"type":"TRANSACTION","data":{"n":NUMBER},"from":"NODE"}"#,
    r#"{"type":"TRANSACTION","data":{"n":NUMBER},"from":"plain:ADDRESS"}"#,
    r#"{"type":"TRANSACTION","data":{"n":NUMBER},"from":"nobody"}"#,
    r#"{"type":"SYNC","data":{"count":NUMBER,"sum":"DIGEST"},"set":"transactions"}"#,
    r#"{"type":"SYNC","data":{"count":NUMBER,"sum":"DIGEST"},"set":"broadcasts"}"#,
    r#"{"type":"SYNC","data":{"everything":true},"set":"transactions"}"#,
    r#"{"type":"SYNC","data":{"everything":true},"set":"broadcasts"}"#,
    r#"{"type":"SYNC","data":{"everything":true},"set":"nodes"}"#,
    r#"{"type":"SYNC","data":{"number":NUMBER,"ask":"YQAA"},"set":"transactions"}"#,
    r#"{"type":"SYNC","data":{"number":NUMBER,"answer":"YQAA"},"set":"transactions"}"#,
    r#"{"type":"WANT","data":["DIGEST"]}"#,
    r#"{"type":"PRUNE","data":["NODE"]}"#,
    r#"{"type":"GRAFT","data":["NODE"]}"#,
    r#"{"type":"GRAFT","data":[]}"#,
    r#"{"type":"ACK","data":{"id":"DIGEST","status":"stored","links":0}}"#,
    r#"{"type":"BROADCAST","data":{"id":"DIGEST","message":"hello","time":NUMBER,"title":"BROADCAST"},"from":"NODE"}"#,
    r#"{"type":"ANNOUNCE","data":{"node":"NODE","seq":NUMBER}}"#,
    r#"{"type":"NETWORK"}"#,
    r#"{"type":"NETWORK","data":{"after":"NODE"}}"#,
    r#"{"type":"JOIN","data":{"insist":false,"root":"NODE"}}"#,
    r#"{"type":"JOIN","data":{"insist":true,"root":"NODE"}}"#,
    r#"{"type":"JOIN","data":{"insist":false,"want":"random","root":"NODE"}}"#,
    r#"{"type":"PEERS","data":["ADDRESS"],"free":1,"root":"NODE"}"#,
    r#"{"type":"DECLINED","data":["ADDRESS"],"retryAfter":5,"root":"NODE"}"#,
    r#"{"type":"BEACON","data":{"root":"NODE","seq":NUMBER}}"#,
    r#"{"type":"FIND","data":{"id":"9f86d081884c7d659a2feaa0c55ad015","name":"a.png","hops":NUMBER}}"#,
    r#"{"type":"FOUND","data":{"id":"9f86d081884c7d659a2feaa0c55ad015","node":"NODE","address":"ADDRESS","images":[]}}"#,
];

/// The world of a seed, with its starts and transactions scheduled.
pub fn world(seed: u64) -> World {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let closed = is_closed(seed);
    let cast = Cast { nodes: 3 + (seed % 5) as usize, plain: if closed { 0 } else { (seed % 3) as usize } };
    let capped = (seed / 5).is_multiple_of(2);
    let all = cast.nodes + cast.plain;
    // Some know nobody: they are found on the local network, or by others.
    let known = (0..all)
        .map(|actor| {
            let knows = actor > 0 && (actor >= cast.nodes || rng.random_bool(0.7));
            if knows { vec![Network::address(rng.random_range(0..actor.min(cast.nodes)))] } else { Vec::new() }
        })
        .collect();
    let mut world = World::new(rng.random(), cast, known, Limits::default(), false);
    world.net.public = seed % 7 == 6;
    world.net.liars = (0..all).collect();
    for actor in 0..all {
        if let Some(node) = world.node_mut(actor) {
            node.max_peers = capped.then(|| rng.random_range(2..5));
            node.genesis = match actor {
                // A genesis node that is the node itself.
                0 => (capped && seed.is_multiple_of(2)).then(|| Network::address(0)),
                _ => (capped && rng.random_bool(0.3)).then(|| Network::address(0)),
            };
            node.certifies = closed;
            let names = ["a.png", "b.jpg", "c.gif"].into_iter().take(actor % 4);
            let info = |(size, name): (usize, &str)| ImageInfo {
                name: name.parse().expect("it names an image"),
                size: 1_000 + size as u64,
                sha256: actor.is_multiple_of(2).then_some([7; 32]),
            };
            node.images = names.enumerate().map(info).collect();
        }
        let at = Duration::from_millis(rng.random_range(0..2_000));
        world.net.clock.at(at, Event::Fault(Box::new(Fault::Start(actor))));
    }
    for (at, entry) in load::schedule(cast, seed, LENGTH, Duration::from_secs(1), &mut rng) {
        world.net.clock.at(at, Event::Enter(Box::new(entry)));
    }
    world
}

/// Runs the world of a seed.
///
/// # Errors
/// The first rule that broke.
pub fn play(world: &mut World, seed: u64) -> Result<(), Broken> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed);
    let mut searches = vec![SearchId([0; 16])];
    let mut number = 1_000_000;
    let mut opened = vec![false; world.cast().nodes];
    while world.net.clock.now() < LENGTH {
        world.run_until(world.net.clock.now() + Duration::from_millis(rng.random_range(10..250)))?;
        let actor = rng.random_range(0..world.cast().nodes);
        if !world.is_up(actor) {
            opened[actor] = false;
            continue;
        }
        if is_closed(seed) && !std::mem::replace(&mut opened[actor], true) {
            world.fact(actor, Input::AccessChanged { access: Access { plain: false, ..Access::default() } })?;
        }
        number += 1;
        match rng.random_range(0..40) {
            0..12 => send(world, actor, &mut rng),
            12..15 => {
                let (request, message) = (RequestId(number), format!("message {number}"));
                world.fact(actor, Input::Broadcast { request, message, time: number as f64 })?;
            }
            15..18 => {
                let name = [None, Some("a.png"), Some("b.jpg")][rng.random_range(0..3)];
                let name = name.map(|name| name.parse().expect("it names an image"));
                let search = SearchId(rng.random());
                searches.push(search);
                world.fact(actor, Input::ImageSearch { search, name })?;
            }
            18 => {
                let search = searches[rng.random_range(0..searches.len())];
                world.fact(actor, Input::ImageSearchDone { search })?;
            }
            19 => world.fact(actor, Input::DiscoveryStarted)?,
            20..25 => world.fact(actor, discovered(world, &mut rng))?,
            25 => {
                let other = rng.random_range(0..world.cast().nodes);
                if let Some(identity) = world.net.hosts[other].identity {
                    world.fact(actor, Input::RecordExpired { session: identity.session })?;
                }
            }
            26..28 => {
                let pool: Vec<_> = world.nodes().nth(actor).into_iter().flat_map(|node| node.pool()).collect();
                let ids = pool.into_iter().filter(|_| rng.random_range(0..20) == 0).take(3).collect();
                world.lose(actor, ids)?;
            }
            28 => {
                let link = link(world, actor, &mut rng).filter(|_| rng.random());
                world.fact(actor, Input::ReadsPaused { link })?;
            }
            29 => {
                if let Some(link) = link(world, actor, &mut rng) {
                    world.fact(actor, Input::ProtocolError { link, what: "a frame without a mask".to_owned() })?;
                    world.net.close(actor, link, "1002".to_owned()).unwrap_or_default();
                }
            }
            30 => world.fact(actor, Input::RuntimeCounters { counts: vec![("one", number), ("two", 2)] })?,
            31 => world.fact(actor, Input::BytesWritten { bytes: number })?,
            32 => world
                .fact(actor, Input::ConnectionRefused { remote: remote(&mut rng), reason: "too many".to_owned() })?,
            33 => world
                .fact(actor, Input::ConnectionRejected { remote: remote(&mut rng), reason: "no TLS".to_owned() })?,
            34 => world.fact(actor, Input::TaskPanicked)?,
            35..37 => world.fact(actor, access(world, seed, &mut rng))?,
            37 => world.fact(actor, Input::AccessChanged { access: everybody(seed) })?,
            38 => {
                world.fact(actor, Input::Shutdown)?;
                let stop = Event::Fault(Box::new(Fault::Stop { actor, power_lost: false }));
                world.net.clock.after(Duration::from_millis(300), stop);
                let away = Duration::from_millis(rng.random_range(400..8_000));
                world.net.clock.after(away, Event::Fault(Box::new(Fault::Start(actor))));
            }
            _ => world.apply(&Fault::Cut(rng.random()))?,
        }
    }
    world.run_until(LENGTH + REST)
}

/// Whether the network of a seed is a closed one.
fn is_closed(seed: u64) -> bool {
    seed % 4 == 3
}

fn everybody(seed: u64) -> Access {
    Access { plain: !is_closed(seed), ..Access::default() }
}

/// Rules that keep somebody out.
fn access(world: &World, seed: u64, rng: &mut impl RngExt) -> Input {
    let rules = |text: String| text.parse::<Rules>().expect("these are rules");
    let somebody = rng.random_range(0..world.cast().nodes);
    let id = |node: usize| world.nodes().nth(node).map_or(NodeId([0; 32]), |node| node.id()).to_string();
    let mut access = everybody(seed);
    match rng.random_range(0..4) {
        0 => access.denied = rules(id(somebody)),
        1 => access.denied = rules("198.18.0.0/31".to_owned()),
        2 => access.plain = false,
        _ => {
            let others = (0..world.cast().nodes).filter(|node| *node != somebody);
            access.allowed = Some(rules(others.map(id).collect::<Vec<_>>().join("\n")));
        }
    }
    Input::AccessChanged { access }
}

/// A record of a node of this network, of another network, or one that can not be read.
fn discovered(world: &World, rng: &mut impl RngExt) -> Input {
    let other = rng.random_range(0..world.cast().nodes);
    let record = world.net.hosts[other].identity.filter(|_| rng.random_range(0..8) > 0).map(|identity| Record {
        node: identity.node,
        session: identity.session,
        network: if rng.random_range(0..8) > 0 { "simulation" } else { "another" }.to_owned(),
        address: Network::address(other),
        free: [None, Some(0), Some(2)][rng.random_range(0..3)],
    });
    let scope = [Scope::Loopback, Scope::Private][rng.random_range(0..2)];
    Input::RecordDiscovered { record: record.ok_or(InvalidRecord("address")), scope }
}

fn remote(rng: &mut impl RngExt) -> IpAddr {
    let last = rng.random_range(0..3);
    if last == 0 { Ipv4Addr::LOCALHOST.into() } else { Ipv4Addr::new(198, 18, 0, last).into() }
}

/// One of the open links of a node to full peers.
fn link(world: &World, actor: usize, rng: &mut impl RngExt) -> Option<LinkId> {
    let full = world.cast().nodes;
    let links = world.net.links(actor).filter(|(wire, side)| wire.is_link() && wire.ends[1 - side].actor < full);
    let links: Vec<_> = links.map(|(wire, side)| wire.ends[side].link).collect();
    (!links.is_empty()).then(|| links[rng.random_range(0..links.len())])
}

/// Sends a frame that breaks rules, or comes at a wrong time, on a link of a node.
fn send(world: &mut World, actor: usize, rng: &mut impl RngExt) {
    let Some(link) = link(world, actor, rng) else { return };
    let nodes = world.cast().nodes;
    let node = world.nodes().nth(rng.random_range(0..nodes)).map_or(NodeId([0; 32]), |node| node.id());
    let digest = (0..4).map(|_| format!("{:016x}", rng.random::<u64>())).collect::<String>();
    let text = FRAMES[rng.random_range(0..FRAMES.len())]
        .replace("NODE", &node.to_string())
        .replace("ADDRESS", &Network::address(rng.random_range(0..nodes + 2)).to_string())
        .replace("DIGEST", &digest)
        .replace("NUMBER", &rng.random_range(0..1_000).to_string());
    world.net.send(actor, link, Item::Text(Frame::from(text)), Queue::Control).unwrap_or_default();
}
