//! One core and strangers: links open and close, messages of all types arrive, dials are answered
//! or not, the disk is slow or fails, time passes.
//!
//! The core must keep the rules of [`crate::rules`] and of the model of its runtime. Some scripts
//! are played twice and must lead to the same outputs.

use std::net::IpAddr;
use std::time::Duration;

use meshpool_proto::access::{Access, Certified};
use meshpool_proto::address::Scope;
use meshpool_proto::causes::ConnectionRefusal;
use meshpool_proto::id::{LinkId, Nonce, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use meshpool_proto::mdns_record::{InvalidRecord, Record};
use meshpool_proto::transaction::{Origin, Transaction};
use meshpool_proto::{Config, Input, RequestId};

use crate::names;
use crate::names::{address, config};
use crate::net::Net;
use crate::script::Script;

/// How many links a script may have open at once.
const LINKS: usize = 12;

/// Longer than any timeout of the core.
const LONG: Duration = Duration::from_secs(25 * 3_600);

/// Plays a script.
pub fn run(data: &[u8]) {
    // Hashing all outputs and playing twice is slow, so only every fourth script that asks does it.
    let asked = data.first().is_some_and(|first| first & 0x80 != 0);
    let again = asked && data.len().is_multiple_of(4);
    let trace = play(data, again);
    if again {
        assert_eq!(play(data, true), trace, "equal inputs lead to equal outputs");
    }
}

fn play(data: &[u8], traced: bool) -> Option<u64> {
    let mut script = Script::new(data);
    let mut net = Net::new(traced);
    let config = any_config(&mut script);
    let pool = script.few(names::any_transaction);
    let mut pool: Vec<Transaction> = pool;
    let mut seen = std::collections::HashSet::new();
    pool.retain(|transaction| seen.insert(transaction.id()));
    net.add(config, pool);
    let mut requests = 0;
    while let Some(choice) = script.next() {
        step(&mut net, &mut script, choice, &mut requests);
        if net.nodes[0].links.len() > LINKS {
            let oldest = *net.nodes[0].links.keys().next().expect("there are many");
            net.cut(0, oldest);
        }
    }
    // Everything that waits is answered, and all links end.
    net.write(0, usize::MAX);
    net.pass(Duration::from_secs(120));
    while !net.nodes[0].dials.is_empty() {
        net.fail_dial(0, 0);
    }
    while !net.nodes[0].probes.is_empty() {
        net.answer_probe(0, 0, None);
    }
    net.check_status(0);
    net.handle(0, Input::Shutdown);
    net.finish_closing();
    assert!(net.nodes[0].links.is_empty(), "a node that shuts down closes every link");
    assert_eq!(net.nodes[0].core.linked_peers(), 0);
    net.trace()
}

/// Defaults, or limits so small that a short script reaches them.
fn any_config(script: &mut Script<'_>) -> Config {
    let choice = script.byte();
    let mut config = config(0);
    if choice & 1 != 0 {
        config.max_peers = Some(1 + u32::from(choice >> 1 & 3));
    }
    if choice & 8 != 0 {
        config.genesis = Some(address(2));
    }
    if choice & 16 != 0 {
        config.known_peers = vec![address(1), address(0), address(3)];
    }
    if choice & 32 != 0 {
        config.remembered_peers = script.few(|script| names::any_address(script).into());
    }
    if choice & 64 != 0 {
        config.limits = Limits {
            peer_table: 4,
            dials_in_flight: 2,
            pool_transactions: 6,
            unstored_bytes: 200,
            presence_nodes: 3,
            gossip_burst: 2,
            ..Limits::default()
        };
    }
    config
}

/// One step of a script.
fn step(net: &mut Net, script: &mut Script<'_>, choice: u8, requests: &mut u64) {
    match choice % 32 {
        0 | 1 => {
            let remote = any_remote(script);
            if choice >= 224 {
                let certified = Certified { node: names::id(script.below(6)), fingerprint: [script.byte(); 32] };
                net.certify(0, certified);
            }
            net.accept(0, remote);
        }
        2 if !net.nodes[0].dials.is_empty() => {
            let dial = script.below(net.nodes[0].dials.len());
            let (identity, remote) = (any_identity(script), any_remote(script));
            net.answer_dial(0, dial, identity, remote);
        }
        3 if !net.nodes[0].dials.is_empty() => net.fail_dial(0, script.below(net.nodes[0].dials.len())),
        4 if !net.nodes[0].probes.is_empty() => {
            let probe = script.below(net.nodes[0].probes.len());
            net.answer_probe(0, probe, any_identity(script));
        }
        5 => net.pass(Duration::from_millis(1 << (choice >> 5))),
        6 => net.pass(Duration::from_secs(1 << (choice >> 5))),
        // Once only: a day has a hundred thousand timers.
        7 if choice >= 224 && net.age() < LONG => net.pass(LONG),
        8 => net.write(0, 1 + script.below(4)),
        9 if choice < 128 => net.handle(0, Input::StoreFailed { error: "no space left".into() }),
        9 => net.handle(0, Input::StoreRecovered),
        10 => {
            *requests += 1;
            let (request, transaction) = (RequestId(*requests), names::any_transaction(script));
            net.handle(0, Input::Submit { request, transaction });
        }
        11 => {
            *requests += 1;
            let message = format!("text {}", script.byte());
            net.handle(0, Input::Broadcast { request: RequestId(*requests), message, time: 1.5 });
        }
        12 => pool_changes(net, script),
        13 => searches(net, script),
        14 => discoveries(net, script),
        15 if choice >= 224 => net.handle(0, Input::AccessChanged { access: any_access(script) }),
        15 => {
            let (remote, reason) = (any_remote(script), "no".to_owned());
            net.handle(
                0,
                if choice & 64 == 0 {
                    Input::ConnectionRefused { remote, reason: ConnectionRefusal::Other(reason) }
                } else {
                    Input::ConnectionRejected { remote, reason }
                },
            );
        }
        _ => on_link(net, script, choice),
    }
}

/// A step on one of the links.
fn on_link(net: &mut Net, script: &mut Script<'_>, choice: u8) {
    let links: Vec<LinkId> = net.nodes[0].links.keys().copied().collect();
    let Some(link) = script.of(&links) else { return };
    match choice % 32 {
        16 => net.cut(0, link),
        17 if choice >= 128 => {
            let (node, nonce) = (names::id(script.below(6)), Nonce([script.byte(); 32]));
            net.call_back(0, node, nonce);
        }
        17 => net.handle(0, Input::Pong { link }),
        18 => net.toggle_full(0, link),
        19 if choice >= 128 => net.handle(0, Input::ReadsPaused { link: Some(link).filter(|_| choice < 192) }),
        19 => {
            net.handle(0, Input::ProtocolError { link, what: "a masked frame".into() });
            net.cut(0, link);
        }
        20 => {
            let copies = script.few(|script| {
                let origin = script.flag().then(|| Origin::Node(names::id(script.below(6))));
                (origin, u32::from(script.byte()))
            });
            net.handle(0, Input::Duplicates { link, copies });
        }
        21 | 22 => {
            let text = String::from_utf8_lossy(script.bytes());
            net.receive(0, link, &text);
        }
        _ => {
            let text = names::any_message(script);
            net.receive(0, link, &text);
        }
    }
}

/// Another program changes the pool file.
fn pool_changes(net: &mut Net, script: &mut Script<'_>) {
    let transaction = names::any_transaction(script);
    let disk = &net.nodes[0].disk;
    if disk.present.contains_key(&transaction.id()) {
        net.handle(0, Input::PoolRemoved { ids: vec![transaction.id()] });
    } else if !disk.has(&transaction.id()) {
        net.handle(0, Input::PoolAdded { transactions: vec![transaction] });
    }
}

fn searches(net: &mut Net, script: &mut Script<'_>) {
    match script.below(4) {
        0 => {
            let (search, name) = (names::any_search(script), script.flag().then(|| names::any_image(script)));
            net.handle(0, Input::ImageSearch { search, name });
        }
        1 => net.handle(0, Input::ImageSearchDone { search: names::any_search(script) }),
        _ if !net.nodes[0].image_searches.is_empty() => {
            let search = net.nodes[0].image_searches.remove(0);
            net.handle(0, Input::LocalImages { search, images: names::any_images(script) });
        }
        _ => {}
    }
}

fn discoveries(net: &mut Net, script: &mut Script<'_>) {
    let session = names::session(script.below(6));
    net.handle(
        0,
        match script.below(8) {
            0 => Input::DiscoveryStarted,
            1 => Input::RecordExpired { session },
            2 => Input::RecordDiscovered { record: Err(InvalidRecord("it has no node")), scope: Scope::Private },
            _ => {
                let network = if script.below(8) == 0 { "another" } else { names::NETWORK };
                let record = Record {
                    node: names::id(script.below(6)),
                    session,
                    network: network.into(),
                    address: names::any_address(script),
                    free: script.flag().then(|| script.byte().into()),
                };
                let scope = if script.flag() { Scope::Loopback } else { Scope::Private };
                Input::RecordDiscovered { record: Ok(record), scope }
            }
        },
    );
}

fn any_access(script: &mut Script<'_>) -> Access {
    let mut rules = || script.few(|script| format!("{}\n", any_remote(script))).concat().parse().expect("rules");
    let (denied, allowed) = (rules(), rules());
    Access { plain: script.flag(), denied, allowed: Some(allowed).filter(|_| script.flag()) }
}

fn any_identity(script: &mut Script<'_>) -> Option<UpgradeIdentity> {
    let identity = UpgradeIdentity { node: names::id(script.below(6)), session: names::session(script.below(6)) };
    Some(identity).filter(|_| script.flag())
}

fn any_remote(script: &mut Script<'_>) -> IpAddr {
    let remotes = ["127.0.0.1", "::1", "10.0.0.7", "198.51.100.7", "198.51.100.8", "2001:db8::7"];
    remotes[script.below(remotes.len())].parse().expect("an IP address")
}
