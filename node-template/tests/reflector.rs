//! An attacker aims a node at a third party in every way that there is: addresses of its own and of
//! others, in every spelling, names, claims to verify, refusals that name others, announcements of
//! invented nodes, false offers of images; on many links of its own, and through honest nodes that
//! relay. All that reaches the third party is counted, in network namespaces.

#![cfg(target_os = "linux")]
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::namespace::{TwoSides, WINDOW, address, eager};
use futures_util::{SinkExt, StreamExt};
use meshpool::protocol::id::UpgradeIdentity;
use meshpool::protocol::signature::Purpose;
use meshpool::{ImageName, NodeKey};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

/// The node that is attacked, the attacker, the third party, and the first of the honest nodes that
/// relay.
const VICTIM: usize = 0;
const ATTACKER: usize = 1;
const THIRD: usize = 2;
const RELAYS: std::ops::Range<usize> = 3..6;
/// Where the third party listens: ports that the attacker names itself, and those that it has
/// others relay.
const DIRECT: std::ops::Range<u16> = 5_000..5_050;
const RELAYED: std::ops::Range<u16> = 5_050..5_100;
const THIRD_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// The third party's /64, in which it has a few addresses.
const THIRD_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 5, 0, 0, 0, 0, 0, 0);
const V6_ADDRESSES: u16 = 4;
/// Where the attacker listens.
const LURE: u16 = 4_500;
/// How many connections are waited for.
const WANTED: usize = 28;

/// Gives the namespaces of the victim and of the third party addresses of IPv6, in different
/// networks, and a resolver for which every name is the third party.
fn furnish(sides: &TwoSides) {
    let network = format!("{THIRD_V6}/64");
    sides.ip(VICTIM, &["address", "add", "fd77::1/64", "dev", "eth0", "nodad"]);
    sides.ip(VICTIM, &["route", "add", &network, "dev", "eth0"]);
    for number in 1..=V6_ADDRESSES {
        let at = Ipv6Addr::from_bits(THIRD_V6.to_bits() + u128::from(number));
        sides.ip(THIRD, &["address", "add", &format!("{at}/64"), "dev", "eth0", "nodad"]);
    }
    sides.ip(THIRD, &["address", "add", "fd77::3/64", "dev", "eth0", "nodad"]);
    let conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = conf.lines().find_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    let server = server.unwrap_or(Ipv4Addr::LOCALHOST.into());
    if !server.is_loopback() {
        let bits = if server.is_ipv4() { 32 } else { 128 };
        sides.ip(VICTIM, &["address", "add", &format!("{server}/{bits}"), "dev", "lo"]);
    }
    let (ready, listening) = mpsc::channel();
    sides.run(VICTIM, move || {
        let socket = UdpSocket::bind((server, 53)).unwrap();
        ready.send(()).unwrap();
        // The thread ends with the test's process.
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            socket.send_to(&resolve(&question[..length]), from).ok();
        }
    });
    listening.recv().unwrap();
}

/// Answers a question about any name: it is the third party (RFC 1035, section 4).
fn resolve(question: &[u8]) -> Vec<u8> {
    let name = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let address = match question[name + 1] {
        1 => THIRD_V4.octets().to_vec(),
        28 => Ipv6Addr::from_bits(THIRD_V6.to_bits() + 1).octets().to_vec(),
        _ => Vec::new(),
    };
    let answers = u8::from(!address.is_empty());
    let head = [&question[..2], &[0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0], &question[12..name + 4]].concat();
    if address.is_empty() {
        return head;
    }
    let record = [&[0xc0, 12, 0, question[name + 1], 0, 1, 0, 0, 0, 9, 0, address.len() as u8], &address[..]].concat();
    [head, record].concat()
}

/// Listens on many ports of the third party, and reports when the victim connects, and to which
/// family.
fn third_party(sides: &TwoSides) -> mpsc::Receiver<(bool, u16, Instant)> {
    let (seen, times) = mpsc::channel();
    let (ready, listening) = mpsc::channel();
    sides.run(THIRD, move || {
        for port in DIRECT.chain(RELAYED) {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            let seen = seen.clone();
            // The threads end with the test's process.
            std::thread::spawn(move || {
                while let Ok((_, from)) = listener.accept() {
                    let from = from.ip().to_canonical();
                    let port = listener.local_addr().unwrap().port();
                    let victims = [IpAddr::from([10, 77, 0, 1]), IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, 1])];
                    if victims.contains(&from) && seen.send((from.is_ipv6(), port, Instant::now())).is_err() {
                        break;
                    }
                }
            });
        }
        ready.send(()).unwrap();
    });
    listening.recv().unwrap();
    times
}

/// The attacker's invention.
struct Inventor {
    ports: std::ops::Range<u16>,
    number: u64,
    keys: Vec<NodeKey>,
}

impl Inventor {
    fn new(ports: std::ops::Range<u16>) -> Self {
        let key = |_| NodeKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
        Self { ports, number: rand::random::<u32>().into(), keys: (0..32).map(key).collect() }
    }

    /// An address of the third party, each time another one.
    fn address(&mut self) -> String {
        self.number += 1;
        let port = self.ports.start + (self.number / 4 % self.ports.len() as u64) as u16;
        match self.number % 4 {
            0 => format!("ws://{THIRD_V4}:{port}"),
            1 => format!("ws://[::ffff:{THIRD_V4}]:{port}"),
            2 => {
                let last = 1 + self.number / 4 % u64::from(V6_ADDRESSES);
                format!("ws://[{}]:{port}", Ipv6Addr::from_bits(THIRD_V6.to_bits() + u128::from(last)))
            }
            _ => format!("ws://n{}.example.test:{port}", self.number),
        }
    }

    fn addresses(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.address()).collect()
    }

    fn session(&self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.number)
    }

    /// The introduction of a native peer that claims an address; `names`: it names others as well.
    fn hello(&mut self, claims: bool, names: usize) -> Value {
        let address = claims.then(|| self.address());
        let node = json!({
            "id": format!("{:064x}", 0xabc0_0000 + self.number), "session": self.session(), "agent": "test",
            "protocol": 1, "network": "p2p-node", "address": address, "maxPeers": null,
        });
        json!({ "type": "HANDSHAKE", "data": self.addresses(names), "node": node })
    }

    /// The announcement of a node that is not there, with its signature.
    fn announcement(&mut self) -> Value {
        let address = self.address();
        let key = &self.keys[self.number as usize % self.keys.len()];
        // Its members are in the order of RFC 8785, and its numbers are integers.
        let data = json!({
            "address": address, "interval": 10, "links": 2, "maxPeers": null, "node": key.node_id().to_string(),
            "nodes": 9, "peers": [], "seq": self.number, "session": self.session(), "since": 1_700_000_000 + self.number,
        });
        let signature = key.signature(Purpose::Announce, &data.to_string());
        json!({ "type": "ANNOUNCE", "data": data, "signature": signature.to_string() })
    }

    /// The offer of what was asked for.
    fn found(&mut self, find: &Value) -> Value {
        let address = self.address();
        json!({ "type": "FOUND", "data": {
            "id": find["id"], "node": format!("{:064x}", 0xdef0_0000 + self.number), "address": address,
            "images": [{ "name": find["name"], "size": 14, "sha256": "ab".repeat(32) }],
        } })
    }
}

/// Says everything on one link, for two seconds or until it ends.
async fn talk(mut socket: WebSocketStream<TcpStream>, inventor: &mut Inventor, hello: Value) {
    if socket.send(Message::text(hello.to_string())).await.is_err() {
        return;
    }
    let (mut turn, mut turns) = (tokio::time::interval(Duration::from_millis(50)), 0);
    while turns < 40 {
        let mut says = Vec::new();
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == "FIND" {
                        says.extend((0..4).map(|_| inventor.found(&frame["data"])));
                    }
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            _ = turn.tick() => {
                turns += 1;
                says.push(inventor.announcement());
            }
        }
        for frame in says {
            if socket.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    }
}

/// Links to a node again and again.
async fn press(node: usize, ports: std::ops::Range<u16>, claims: bool, names: usize) {
    let mut inventor = Inventor::new(ports);
    let mut turn = tokio::time::interval(Duration::from_millis(20));
    loop {
        turn.tick().await;
        let stream = TcpStream::connect((Ipv4Addr::new(10, 77, 0, node as u8 + 1), 4_000)).await;
        if let Ok(stream) = stream
            && let Ok((socket, _)) = client_async(address(node), stream).await
        {
            let hello = inventor.hello(claims, names);
            talk(socket, &mut inventor, hello).await;
        }
    }
}

/// Answers those that dial the attacker: it is full, and others are at the third party.
async fn lure() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, LURE)).await.unwrap();
    let mut inventor = Inventor::new(DIRECT);
    while let Ok((stream, _)) = listener.accept().await {
        inventor.number += 1;
        let identity = format!("{:064x}/{}", 0xfed0_0000 + inventor.number, inventor.session());
        assert!(identity.parse::<UpgradeIdentity>().is_ok(), "{identity}");
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let respond = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert(UpgradeIdentity::HEADER, identity.parse().unwrap());
            Ok(response)
        };
        let Ok(mut socket) = accept_hdr_async(stream, respond).await else { continue };
        let declined = json!({ "type": "DECLINED", "data": inventor.addresses(16), "retryAfter": 0 });
        if let Some(Ok(_)) = socket.next().await {
            socket.send(Message::text(declined.to_string())).await.ok();
        }
    }
}

/// Attacks from one host until the test is over.
fn attack(sides: &TwoSides, over: oneshot::Receiver<()>) -> std::thread::JoinHandle<()> {
    sides.run(ATTACKER, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let all = async {
                let victim = (0..8).map(|link| press(VICTIM, DIRECT, link % 2 == 0, 50));
                let relays = RELAYS.flat_map(|relay| [(); 2].map(|()| press(relay, RELAYED, false, 0)));
                tokio::join!(futures_util::future::join_all(victim.chain(relays)), lure())
            };
            tokio::select! {
                _ = over => {}
                _ = all => {}
            }
        });
    })
}

/// Has the victim look for images that nobody has.
fn search(sides: &TwoSides, node: meshpool::Handle, mut over: watch::Receiver<()>) -> std::thread::JoinHandle<()> {
    sides.run(VICTIM, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for number in 0.. {
                let name: ImageName = format!("{number}.png").parse().unwrap();
                tokio::select! {
                    _ = over.changed() => return,
                    image = node.image(&name) => assert!(image.is_err(), "nobody has it"),
                }
            }
        });
    })
}

/// Attacks a node with this cap, and counts.
async fn aim(cap: Option<u32>) {
    let Some(sides) = TwoSides::lay(6) else { return };
    furnish(&sides);
    let third = third_party(&sides);
    let mut relays = Vec::new();
    for relay in RELAYS {
        relays.push(sides.start(relay, move |network| network.limits(eager())).await);
    }
    let victim = sides.start(VICTIM, move |network| {
        let known = RELAYS.map(address).chain([format!("ws://10.77.0.2:{LURE}")]);
        let network = known.fold(network.limits(eager()), |network, peer| network.known_peer(peer.parse().unwrap()));
        match cap {
            Some(cap) => network.max_peers(cap),
            None => network,
        }
    });
    let victim = victim.await;
    let ((end, over), (stop, stopped)) = (oneshot::channel(), watch::channel(()));
    let (attacker, searcher) = (attack(&sides, over), search(&sides, victim.node.handle(), stopped));
    let counted = tokio::task::spawn_blocking(move || {
        let (mut times, mut relayed) = ([Vec::new(), Vec::new()], 0);
        while times.iter().map(Vec::len).sum::<usize>() < WANTED {
            let (v6, port, at) = third.recv_timeout(common::PATIENCE).expect("it is dialled now and then");
            times[usize::from(v6)].push(at);
            relayed += usize::from(RELAYED.contains(&port));
        }
        (times, relayed)
    });
    let (counted, relayed) = counted.await.unwrap();
    let status = victim.node.status().await.unwrap();
    drop((end, stop));
    attacker.join().unwrap();
    searcher.join().unwrap();
    let seen = ["dials", "probes", "announcements_accepted", "image_searches"].map(|name| status.counters[name]);
    assert!(seen.iter().all(|count| *count > 0), "the attack was one: {seen:?}");
    assert!(counted.iter().all(|times| times.len() > 4), "to both families: {counted:?}");
    eprintln!("{relayed} of {WANTED} connections were relayed ones; {seen:?}");
    // What was sent in time may be seen a moment later.
    let late = Duration::from_millis(200);
    for (family, times) in counted.iter().enumerate() {
        for five in times.windows(5) {
            assert!(five[4] - five[0] >= WINDOW - late, "family {family}, five within {:?}", five[4] - five[0]);
        }
    }
}

#[tokio::test]
async fn all_ways_of_one_attacker_together_reach_a_third_party_four_times_in_a_window() {
    aim(None).await;
}

#[tokio::test]
async fn so_they_do_where_a_node_has_a_cap_and_is_redirected() {
    aim(Some(6)).await;
    // More slots than the attacker and the honest nodes take: the node asks for more.
    aim(Some(16)).await;
}
