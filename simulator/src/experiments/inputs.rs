//! Inputs that no other scenario has: broadcasts, image searches, access rules, discovery, frames
//! that break rules, removed transactions, shutdown.
//!
//! Only for trace hashes: the final state of the network is not checked.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool_proto::access::{Access, Rules};
use meshpool_proto::address::Scope;
use meshpool_proto::causes::ConnectionRefusal;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId};
use meshpool_proto::limits::Limits;
use meshpool_proto::mdns_record::{InvalidRecord, Record};
use meshpool_proto::wire::{ImageInfo, SearchId};
use meshpool_proto::{Input, RequestId};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::checks::rules::Broken;
use crate::net::address;
use crate::net::event::Fault;
use crate::net::network::Queue;
use crate::net::wire::Item;
use crate::world::population::Population;
use crate::world::{World, load};

/// How long inputs are generated.
const LENGTH: Duration = Duration::from_secs(60);
/// How long the network runs on after that.
const REST: Duration = Duration::from_secs(30);
/// Frames to send, with `NODE`, `ADDRESS`, `DIGEST` and `NUMBER` replaced. None is a STATUS,
/// because its answer names counters.
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
pub(super) fn world(seed: u64) -> World {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let closed = is_closed(seed);
    let (native, exercise) = (3 + (seed % 5) as usize, if closed { 0 } else { (seed % 3) as usize });
    let population = Population { native, exercise };
    let capped = (seed / 5).is_multiple_of(2);
    let all = population.all();
    // Some know no peer: they are discovered on the local network, or dialled by others.
    let known = (0..all)
        .map(|actor| {
            let knows = actor > 0 && (actor >= native || rng.random_bool(0.7));
            if knows { vec![address::of(rng.random_range(0..actor.min(native)))] } else { Vec::new() }
        })
        .collect();
    let mut world = World::new(rng.random(), population, known, Limits::default(), false);
    world.net.is_public = seed % 7 == 6;
    world.net.liars = (0..all).collect();
    for actor in 0..all {
        if let Some(node) = world.node_mut(actor) {
            node.max_peers = capped.then(|| rng.random_range(2..5));
            node.genesis = match actor {
                // A genesis node that is the node itself.
                0 => (capped && seed.is_multiple_of(2)).then(|| address::of(0)),
                _ => (capped && rng.random_bool(0.3)).then(|| address::of(0)),
            };
            node.authenticates = closed;
            let names = ["a.png", "b.jpg", "c.gif"].into_iter().take(actor % 4);
            let info = |(size, name): (usize, &str)| ImageInfo {
                name: name.parse().expect("it names an image"),
                size: 1_000 + size as u64,
                sha256: actor.is_multiple_of(2).then_some([7; 32]),
            };
            node.images = names.enumerate().map(info).collect();
        }
        let at = Duration::from_millis(rng.random_range(0..2_000));
        world.at(at, Fault::Start(actor));
    }
    for (at, transaction) in load::schedule(population, seed, LENGTH, Duration::from_secs(1), &mut rng) {
        world.at(at, transaction);
    }
    world
}

/// Runs the world of a seed.
///
/// # Errors
/// The first rule that broke.
pub(super) fn play(world: &mut World, seed: u64) -> Result<(), Broken> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed);
    let mut searches = vec![SearchId([0; 16])];
    let mut number = 1_000_000;
    let native = world.population().native;
    let mut opened = vec![false; native];
    while world.now() < LENGTH {
        world.run_for(Duration::from_millis(rng.random_range(10..250)))?;
        let actor = rng.random_range(0..native);
        if !world.is_up(actor) {
            opened[actor] = false;
            continue;
        }
        if is_closed(seed) && !std::mem::replace(&mut opened[actor], true) {
            world.handle(actor, Input::AccessChanged { access: Access { plain: false, ..Access::default() } })?;
        }
        number += 1;
        match rng.random_range(0..40) {
            0..12 => send(world, actor, &mut rng),
            12..15 => {
                let (request, message) = (RequestId(number), format!("message {number}"));
                world.handle(actor, Input::Broadcast { request, message, time: number as f64 })?;
            }
            15..18 => {
                let name = [None, Some("a.png"), Some("b.jpg")][rng.random_range(0..3)];
                let name = name.map(|name| name.parse().expect("it names an image"));
                let search = SearchId(rng.random());
                searches.push(search);
                world.handle(actor, Input::ImageSearch { search, name })?;
            }
            18 => {
                let search = searches[rng.random_range(0..searches.len())];
                world.handle(actor, Input::ImageSearchDone { search })?;
            }
            19 => world.handle(actor, Input::DiscoveryStarted)?,
            20..25 => world.handle(actor, discovered(world, &mut rng))?,
            25 => {
                let other = rng.random_range(0..native);
                if let Some(identity) = world.net.hosts[other].identity {
                    world.handle(actor, Input::RecordExpired { session: identity.session })?;
                }
            }
            26..28 => {
                let pool: Vec<_> = world.nodes().nth(actor).into_iter().flat_map(|node| node.pool()).collect();
                let ids = pool.into_iter().filter(|_| rng.random_range(0..20) == 0).take(3).collect();
                world.remove_from_file(actor, ids)?;
            }
            28 => {
                let link = link(world, actor, &mut rng).filter(|_| rng.random());
                world.handle(actor, Input::ReadsPaused { link })?;
            }
            29 => {
                if let Some(link) = link(world, actor, &mut rng) {
                    world.handle(actor, Input::ProtocolError { link, what: "a frame without a mask".to_owned() })?;
                    world.net.close(actor, link, "1002".to_owned()).unwrap_or_default();
                }
            }
            30 => world.handle(actor, Input::RuntimeCounters { counts: vec![("one", number), ("two", 2)] })?,
            31 => world.handle(actor, Input::BytesWritten { bytes: number })?,
            32 => {
                let (remote, reason) = (remote(&mut rng), ConnectionRefusal::Full(8));
                world.handle(actor, Input::ConnectionRefused { remote, reason })?;
            }
            33 => {
                let (remote, reason) = (remote(&mut rng), "no TLS".to_owned());
                world.handle(actor, Input::ConnectionRejected { remote, reason })?;
            }
            34 => world.handle(actor, Input::TaskPanicked)?,
            35..37 => world.handle(actor, access(world, seed, &mut rng))?,
            37 => world.handle(actor, Input::AccessChanged { access: default_access(seed) })?,
            38 => {
                world.handle(actor, Input::Shutdown)?;
                world.at(world.now() + Duration::from_millis(300), Fault::Stop { actor, power_lost: false });
                let down = Duration::from_millis(rng.random_range(400..8_000));
                world.at(world.now() + down, Fault::Start(actor));
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

fn default_access(seed: u64) -> Access {
    Access { plain: !is_closed(seed), ..Access::default() }
}

/// Access rules that exclude a peer.
fn access(world: &World, seed: u64, rng: &mut impl RngExt) -> Input {
    let rules = |text: String| text.parse::<Rules>().expect("these are rules");
    let excluded = rng.random_range(0..world.population().native);
    let id = |node: usize| world.nodes().nth(node).map_or(NodeId([0; 32]), |node| node.id()).to_string();
    let mut access = default_access(seed);
    match rng.random_range(0..4) {
        0 => access.denied = rules(id(excluded)),
        1 => access.denied = rules("198.18.0.0/31".to_owned()),
        2 => access.plain = false,
        _ => {
            let others = (0..world.population().native).filter(|node| *node != excluded);
            access.allowed = Some(rules(others.map(id).collect::<Vec<_>>().join("\n")));
        }
    }
    Input::AccessChanged { access }
}

/// A record of a node of this network, of another network, or an invalid one.
fn discovered(world: &World, rng: &mut impl RngExt) -> Input {
    let other = rng.random_range(0..world.population().native);
    let record = world.net.hosts[other].identity.filter(|_| rng.random_range(0..8) > 0).map(|identity| Record {
        node: identity.node,
        session: identity.session,
        network: if rng.random_range(0..8) > 0 { "simulation" } else { "another" }.to_owned(),
        address: address::of(other),
        free: [None, Some(0), Some(2)][rng.random_range(0..3)],
    });
    let scope = [Scope::Loopback, Scope::Private][rng.random_range(0..2)];
    Input::RecordDiscovered { record: record.ok_or(InvalidRecord("address")), scope }
}

fn remote(rng: &mut impl RngExt) -> IpAddr {
    let last = rng.random_range(0..3);
    if last == 0 { Ipv4Addr::LOCALHOST.into() } else { Ipv4Addr::new(198, 18, 0, last).into() }
}

/// A random open link of a node to a native node.
fn link(world: &World, actor: usize, rng: &mut impl RngExt) -> Option<LinkId> {
    let (wires, native) = (&world.net.wires, world.population().native);
    let ends = world.net.links(actor).filter(|end| wires.is_link(end.wire) && wires[end.other()].actor < native);
    let links: Vec<_> = ends.map(|end| wires[end].link).collect();
    (!links.is_empty()).then(|| links[rng.random_range(0..links.len())])
}

/// Sends a frame that breaks rules, or comes at the wrong time, on a link of a node.
fn send(world: &mut World, actor: usize, rng: &mut impl RngExt) {
    let Some(link) = link(world, actor, rng) else { return };
    let nodes = world.population().native;
    let node = world.nodes().nth(rng.random_range(0..nodes)).map_or(NodeId([0; 32]), |node| node.id());
    let digest = (0..4).map(|_| format!("{:016x}", rng.random::<u64>())).collect::<String>();
    let text = FRAMES[rng.random_range(0..FRAMES.len())]
        .replace("NODE", &node.to_string())
        .replace("ADDRESS", &address::of(rng.random_range(0..nodes + 2)).to_string())
        .replace("DIGEST", &digest)
        .replace("NUMBER", &rng.random_range(0..1_000).to_string());
    world.net.send(actor, link, Item::Text(Frame::from(text)), Queue::Control).unwrap_or_default();
}
