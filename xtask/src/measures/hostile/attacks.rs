//! The attacks: one for each kind of message, frame, connection and HTTP request, and for each way
//! to use a relay.

use crate::measures::hostile::maker::{Maker, Role};
use crate::measures::hostile::relay_client;

/// What one attacker does, again and again, until its time is over.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What it does, in a few words for the table.
    pub(crate) does: &'static str,
    pub(crate) way: Way,
    pub(crate) on: Victim,
}

/// The node that is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// A node with an empty pool, which serves no relay.
    Plain,
    /// One that serves a relay.
    Relay,
    /// One whose pool holds [`LARGE_POOL`] transactions.
    LargePool,
}

/// The transactions of a large pool.
pub(crate) const LARGE_POOL: usize = 200_000;

/// A way to attack.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Writes frames on open links as fast as they are taken.
    Frames(Frames),
    /// Opens one connection after another, and writes bytes on each.
    Connections {
        /// The port.
        port: Port,
        /// The bytes of one connection.
        bytes: Make,
        /// Whether to wait for the end, or for the first bytes of the answer.
        waits: bool,
    },
    /// Holds as many connections as it gets, and writes bytes once on each.
    Holds {
        /// The port.
        port: Port,
        /// The bytes of one connection.
        bytes: Make,
    },
    /// Becomes a client of the relay, writes bytes and leaves, again and again.
    RelayClients {
        /// How many other clients it holds meanwhile.
        held: u64,
        /// The bytes of one client.
        bytes: Make,
    },
    /// Holds as many connections to the relay's address discovery as it gets.
    DiscoveryHolds,
    /// Begins such connections as fast as it can, and reads no answer.
    DiscoveryBegins,
}

/// Frames on open links.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) role: Role,
    /// How many links at once, from one address.
    pub(crate) links: usize,
    /// Appends the next frames.
    pub(crate) make: Make,
    /// Whether each frame is made for its use. Otherwise the same bytes are sent again and again.
    pub(crate) fresh: bool,
    /// Whether what the node sends is read.
    pub(crate) reads: bool,
}

/// Appends bytes.
pub(crate) type Make = fn(&mut Maker, &mut Vec<u8>);

/// A port of the node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// That for peers.
    Peers,
    /// That for the page, the API and the metrics.
    Http,
}

const fn frames(role: Role, make: Make) -> Frames {
    Frames { role, links: 1, make, fresh: false, reads: true }
}

/// The same frames again and again, on one link.
const fn same(name: &'static str, does: &'static str, role: Role, make: Make) -> Attack {
    Attack { name, does, way: Way::Frames(frames(role, make)), on: Victim::Plain }
}

/// New frames, on one link.
const fn fresh(name: &'static str, does: &'static str, role: Role, make: Make) -> Attack {
    Attack { name, does, way: Way::Frames(Frames { fresh: true, ..frames(role, make) }), on: Victim::Plain }
}

/// Frames against a large pool.
const fn on_large_pool(attack: Attack) -> Attack {
    Attack { on: Victim::LargePool, ..attack }
}

/// New frames, on as many links as one address gets.
const fn many(name: &'static str, does: &'static str, role: Role, make: Make) -> Attack {
    Attack { name, does, way: Way::Frames(Frames { fresh: true, links: 16, ..frames(role, make) }), on: Victim::Plain }
}

/// The same frames on one link, whose answers are not read.
const fn deaf(name: &'static str, does: &'static str, role: Role, make: Make) -> Attack {
    Attack { name, does, way: Way::Frames(Frames { reads: false, ..frames(role, make) }), on: Victim::Plain }
}

const fn peers(name: &'static str, does: &'static str, bytes: Make) -> Attack {
    Attack { name, does, way: Way::Connections { port: Port::Peers, bytes, waits: true }, on: Victim::Plain }
}

/// The same frames again and again, on as many links to the relay as one address gets.
const fn relayed(name: &'static str, does: &'static str, make: Make) -> Attack {
    let frames = Frames { links: relay_client::PLACES as usize, ..frames(Role::RelayClient, make) };
    Attack { name, does, way: Way::Frames(frames), on: Victim::Relay }
}

/// The same, and nothing that the relay sends is read.
const fn relayed_unread(name: &'static str, does: &'static str, make: Make) -> Attack {
    let frames = Frames { links: relay_client::PLACES as usize, reads: false, ..frames(Role::RelayClient, make) };
    Attack { name, does, way: Way::Frames(frames), on: Victim::Relay }
}

const fn http(name: &'static str, does: &'static str, bytes: Make) -> Attack {
    Attack { name, does, way: Way::Connections { port: Port::Http, bytes, waits: true }, on: Victim::Plain }
}

/// All attacks, in the order of the table.
pub(crate) const ATTACKS: &[Attack] = &[
    // Connections.
    Attack {
        name: "connect-close",
        does: "connects and closes",
        way: Way::Connections { port: Port::Peers, bytes: |_, _| {}, waits: false },
        on: Victim::Plain,
    },
    Attack {
        name: "half-upgrade",
        does: "holds connections with half a request",
        way: Way::Holds { port: Port::Peers, bytes: |_, out| out.extend(b"GET / HTTP/1.1\r\nHost: x\r\n") },
        on: Victim::Plain,
    },
    Attack {
        name: "idle-links",
        does: "holds upgraded connections",
        way: Way::Holds { port: Port::Peers, bytes: Maker::upgrade },
        on: Victim::Plain,
    },
    peers("upgrade-leave", "upgrades and leaves", |maker, out| {
        maker.upgrade(out);
        maker.frame(out, 0x88, &1000_u16.to_be_bytes());
    }),
    peers("long-reason", "closes with the longest reason", |maker, out| {
        maker.upgrade(out);
        let reason = [&1000_u16.to_be_bytes()[..], &[b'x'; 123]].concat();
        maker.frame(out, 0x88, &reason);
    }),
    peers("not-http", "sends bytes that are no HTTP", |_, out| out.extend(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")),
    peers("tls-hello", "sends the beginning of TLS", |_, out| {
        out.extend(b"\x16\x03\x01\x00\x05\x01\x00\x00\xa1\x03\r\n\r\n");
    }),
    peers("plain-http", "requests a page on the peers' port", |_, out| {
        out.extend(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }),
    peers("origin", "upgrades as a foreign web page", |maker, out| {
        maker.upgrade_with(out, "Origin: http://example.com\r\n");
    }),
    peers("long-headers", "sends 16 KiB of headers", |maker, out| {
        let header = format!("X: {}\r\n", "x".repeat(16 * 1024));
        maker.upgrade_with(out, &header);
    }),
    peers("broken-frame", "sends a frame with reserved bits", |maker, out| {
        maker.upgrade(out);
        maker.frame(out, 0xf1, b"{}");
    }),
    peers("endless-frame", "begins a text of 2^62 bytes", |maker, out| {
        maker.upgrade(out);
        out.extend([0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    }),
    peers("not-utf8", "sends a text that is no UTF-8", |maker, out| {
        maker.upgrade(out);
        maker.frame(out, 0x81, b"\"\xff\xfe\"");
    }),
    peers("not-json", "sends a text that is no JSON", |maker, out| {
        maker.upgrade(out);
        maker.text(out, "garbage");
    }),
    peers("deep-json", "sends JSON of 5,000 levels", |maker, out| {
        maker.upgrade(out);
        let text = format!(r#"{{"type":"TRANSACTION","data":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        maker.text(out, &text);
    }),
    peers("impostors", "introduces itself with an id of another", |maker, out| {
        maker.upgrade(out);
        let handshake = maker.handshake(Role::Native, &[]);
        maker.text(out, &handshake);
    }),
    // Frames.
    same("pings", "pings of 125 bytes", Role::Client, |maker, out| maker.frame(out, 0x89, &[b'x'; 125])),
    deaf("pings-unread", "pings, and reads no pong", Role::Client, |maker, out| maker.frame(out, 0x89, &[b'x'; 125])),
    same("pongs", "pongs for no ping", Role::Client, |maker, out| maker.frame(out, 0x8a, &[b'x'; 125])),
    same("fragments", "a message in pieces of one byte", Role::Client, |maker, out| {
        let text = format!(r#"{{"type":"X","data":"{}"}}"#, "x".repeat(64));
        for (number, byte) in text.bytes().enumerate() {
            let first = u8::from(number == 0) | if number + 1 == text.len() { 0x80 } else { 0 };
            maker.frame(out, first, &[byte]);
        }
    }),
    // Messages that any connection may send.
    same("unknown-type", "messages of an unknown type", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"SOMETHING","data":{"a":[1,2,3]}}"#);
    }),
    same("unknown-large", "messages of 1 MB and an unknown type", Role::Client, |maker, out| {
        let text = format!(r#"{{"type":"SOMETHING","data":[{}0]}}"#, "1.25e3,".repeat(140_000));
        maker.text(out, &text);
    }),
    same("foreign-status", "STATUS from another host", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"STATUS","data":{}}"#);
    }),
    same("foreign-network", "NETWORK from another host", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"NETWORK","data":{}}"#);
    }),
    fresh("transactions", "new transactions", Role::Client, |maker, out| {
        let text = maker.transaction(40, "");
        maker.text(out, &text);
    }),
    many("transactions-16", "new transactions on 16 links", Role::Client, |maker, out| {
        let text = maker.transaction(40, "");
        maker.text(out, &text);
    }),
    fresh("transactions-large", "new transactions of 250 KB", Role::Client, |maker, out| {
        let text = maker.transaction(250_000, "");
        maker.text(out, &text);
    }),
    fresh("transactions-nested", "new transactions of deep arrays", Role::Client, |maker, out| {
        let text = maker.nested_transaction();
        maker.text(out, &text);
    }),
    fresh("transactions-acks", "new transactions with an ACK", Role::Client, |maker, out| {
        let text = maker.transaction(40, r#","ack":true"#);
        maker.text(out, &text);
    }),
    same("duplicates", "one transaction, with an ACK", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"TRANSACTION","data":{"amount":1},"ack":true}"#);
    }),
    deaf("duplicates-unread", "one transaction, and reads no ACK", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"TRANSACTION","data":{"amount":1},"ack":true}"#);
    }),
    same("no-transactions", "transactions that are none", Role::Client, |maker, out| {
        maker.text(out, r#"{"type":"TRANSACTION","data":[],"ack":true}"#);
    }),
    same("forged", "transactions with a wrong signature", Role::Client, |maker, out| {
        let text = maker.forged();
        maker.text(out, &text);
    }),
    same("broadcasts", "broadcasts of 16 KB", Role::Client, |maker, out| {
        let text = maker.broadcast(16_000);
        maker.text(out, &text);
    }),
    // Messages of exercise peers.
    fresh("addresses", "HANDSHAKEs with 1,000 invented addresses", Role::Exercise, |maker, out| {
        let addresses = maker.addresses(1_000);
        let text = maker.handshake(Role::Exercise, &addresses);
        maker.text(out, &text);
    }),
    fresh("names", "HANDSHAKEs with 1,000 invented names", Role::Exercise, |maker, out| {
        let names = maker.names(1_000);
        let text = maker.handshake(Role::Exercise, &names);
        maker.text(out, &text);
    }),
    // Messages of native peers.
    same("native-addresses", "HANDSHAKEs with 1,000 addresses", Role::Native, |maker, out| {
        let addresses = maker.addresses(1_000);
        let text = maker.handshake(Role::Native, &addresses);
        maker.text(out, &text);
    }),
    same("want-unknown", "WANT for 1,000 ids that do not exist", Role::Native, |maker, out| {
        let ids: Vec<_> = (0..1_000).map(|_| maker.hex()).collect();
        maker.message(out, "WANT", &ids);
    }),
    same("want-held", "WANT for one transaction, again and again", Role::Native, Maker::want_held),
    deaf("want-unread", "the same, and reads no answer", Role::Native, Maker::want_held),
    fresh("summaries", "SYNC with false summaries", Role::Native, |maker, out| {
        let text = format!(r#"{{"type":"SYNC","data":{{"count":9,"sum":"{}"}},"set":"transactions"}}"#, maker.hex());
        maker.text(out, &text);
    }),
    fresh("summaries-huge", "SYNC with a count of a billion", Role::Native, |maker, out| {
        let text =
            format!(r#"{{"type":"SYNC","data":{{"count":1000000000,"sum":"{}"}},"set":"transactions"}}"#, maker.hex());
        maker.text(out, &text);
    }),
    same("questions", "SYNC with a question about everything", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"number":1,"ask":"YQAAAgA="},"set":"transactions"}"#);
    }),
    same("everything", "SYNC for the whole pool", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"everything":true},"set":"transactions"}"#);
    }),
    same("all-nodes", "SYNC for all nodes", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"everything":true},"set":"nodes"}"#);
    }),
    same("answers", "SYNC answers without a question", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"number":1,"answer":"YQAAAgA="},"set":"transactions"}"#);
    }),
    on_large_pool(same("lists", "SYNC for a list of a large pool", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"number":1,"ask":"YQAAAgA="},"set":"transactions"}"#);
    })),
    on_large_pool(fresh("sums", "SYNC with false sums of a large pool", Role::Native, |maker, out| {
        let text = maker.false_sums();
        maker.text(out, &text);
    })),
    on_large_pool(same("everything-large", "SYNC for the whole of a large pool", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"SYNC","data":{"everything":true},"set":"transactions"}"#);
    })),
    same("prunes", "PRUNE of 1,000 invented origins", Role::Native, |maker, out| {
        let ids: Vec<_> = (0..1_000).map(|_| maker.hex()).collect();
        maker.message(out, "PRUNE", &ids);
    }),
    same("grafts", "GRAFT of all origins", Role::Native, |maker, out| maker.message(out, "GRAFT", &[])),
    same("announces-forged", "ANNOUNCE with a wrong signature", Role::Native, |maker, out| {
        let text = maker.announce(false);
        maker.text(out, &text);
    }),
    fresh("announces", "ANNOUNCE of invented nodes, signed", Role::Native, |maker, out| {
        let text = maker.announce(true);
        maker.text(out, &text);
    }),
    same("native-broadcasts", "BROADCAST with a wrong signature", Role::Native, |maker, out| {
        let text = maker.broadcast(100);
        maker.text(out, &text);
    }),
    same("joins", "JOIN for addresses", Role::Native, |maker, out| {
        maker.text(out, r#"{"type":"JOIN","data":{"want":"random"}}"#);
    }),
    same("peers", "PEERS that nobody asked for", Role::Native, |maker, out| {
        let addresses = maker.addresses(16);
        maker.message(out, "PEERS", &addresses);
    }),
    same("declines", "DECLINED with invented addresses", Role::Native, |maker, out| {
        let addresses = maker.addresses(16);
        maker.message(out, "DECLINED", &addresses);
    }),
    fresh("beacons", "BEACON with invented roots", Role::Native, |maker, out| {
        let text = format!(r#"{{"type":"BEACON","data":{{"root":"{}","seq":1}}}}"#, maker.uuid());
        maker.text(out, &text);
    }),
    fresh("finds", "FIND for images that do not exist", Role::Native, |maker, out| {
        let id = &maker.hex()[..32];
        let text = format!(r#"{{"type":"FIND","data":{{"id":"{id}","name":"cat.jpg","hops":32}}}}"#);
        maker.text(out, &text);
    }),
    same("founds", "FOUND for searches that do not exist", Role::Native, |maker, out| {
        let text = maker.found();
        maker.text(out, &text);
    }),
    many("native-transactions", "new transactions of invented origins, on 16 links", Role::Native, |maker, out| {
        let from = format!(r#","from":"{}""#, maker.hex());
        let text = maker.transaction(40, &from);
        maker.text(out, &text);
    }),
    many("native-origins", "new transactions of 16 origins, on 16 links", Role::Native, |maker, out| {
        let from = format!(r#","from":"{}""#, maker.hex().split_at(1).0.repeat(64));
        let text = maker.transaction(40, &from);
        maker.text(out, &text);
    }),
    // HTTP requests.
    http("page", "requests the page", |_, out| out.extend(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")),
    http("metrics", "requests the metrics without the token", |_, out| {
        out.extend(b"GET /metrics HTTP/1.1\r\nHost: 10.1.0.1\r\nConnection: close\r\n\r\n");
    }),
    http("health", "requests the health check", |_, out| {
        out.extend(b"GET /healthz HTTP/1.1\r\nHost: 10.1.0.1\r\nConnection: close\r\n\r\n");
    }),
    http("posts", "posts without the token", |_, out| {
        let body = format!(r#"{{"amount":"{}"}}"#, "x".repeat(1_000));
        let head = "POST /api/transactions HTTP/1.1\r\nHost: 10.1.0.1\r\nContent-Type: application/json\r\n";
        out.extend(format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).bytes());
    }),
    http("tokens", "guesses tokens", |maker, out| {
        let head = "GET /api/status HTTP/1.1\r\nHost: 10.1.0.1\r\nConnection: close\r\n";
        out.extend(format!("{head}Authorization: Bearer {}\r\n\r\n", maker.hex()).bytes());
    }),
    http("no-http", "sends no HTTP to the page", |_, out| out.extend(b"\0\x01\x02 garbage\r\n\r\n")),
    Attack {
        name: "page-held",
        does: "holds connections to the page",
        way: Way::Holds { port: Port::Http, bytes: |_, out| out.extend(b"GET / HTTP/1.1\r\nHost: x\r\n") },
        on: Victim::Plain,
    },
    // The relay.
    Attack {
        name: "relay-silent",
        does: "holds connections to the relay and proves no key",
        way: Way::Holds { port: Port::Peers, bytes: |maker, out| maker.upgrade_with(out, relay_client::HEADER) },
        on: Victim::Relay,
    },
    Attack {
        name: "relay-forged",
        does: "proves to the relay a key that it does not have",
        way: Way::Connections {
            port: Port::Peers,
            bytes: |maker, out| {
                maker.upgrade_with(out, relay_client::HEADER);
                relay_client::false_proof(out);
            },
            waits: true,
        },
        on: Victim::Relay,
    },
    Attack {
        name: "relay-connect",
        does: "becomes a client of the relay and leaves",
        way: Way::RelayClients { held: 0, bytes: |_, _| {} },
        on: Victim::Relay,
    },
    Attack {
        name: "relay-refused",
        does: "wants more places at the relay than it gets",
        way: Way::RelayClients { held: relay_client::PLACES, bytes: |_, _| {} },
        on: Victim::Relay,
    },
    Attack {
        name: "relay-bursts",
        does: "becomes a client of the relay, sends 100 pings and leaves",
        way: Way::RelayClients { held: 0, bytes: |maker, out| (0..100).for_each(|_| maker.relay_ping(out)) },
        on: Victim::Relay,
    },
    relayed("relay-datagrams", "relays datagrams of 1,200 bytes", |maker, out| {
        relay_client::datagram(out, &relay_client::neighbour(maker.number), 1_200);
    }),
    relayed("relay-small", "relays datagrams of one byte", |maker, out| {
        relay_client::datagram(out, &relay_client::neighbour(maker.number), 1);
    }),
    relayed("relay-large", "relays datagrams of 60 KB", |maker, out| {
        relay_client::datagram(out, &relay_client::neighbour(maker.number), 60_000);
    }),
    relayed_unread("relay-unread", "the same, and reads none", |maker, out| {
        relay_client::datagram(out, &relay_client::neighbour(maker.number), 60_000);
    }),
    relayed("relay-nobody", "relays datagrams to ids that nobody has", |maker, out| {
        relay_client::datagram(out, &relay_client::invented(maker), 1);
    }),
    relayed("relay-empty", "relays datagrams of no byte", |maker, out| {
        relay_client::datagram(out, &relay_client::neighbour(maker.number), 0);
    }),
    relayed("relay-malformed", "frames of a kind that the relay does not know", |maker, out| {
        maker.frame(out, 0x82, &[63; 40]);
    }),
    relayed("relay-pings", "pings of the relay's protocol", Maker::relay_ping),
    relayed_unread("relay-pings-unread", "pings of WebSocket, and reads no pong", |maker, out| {
        maker.frame(out, 0x89, &[b'x'; 125]);
    }),
    relayed("relay-fragments", "relays a datagram in 10,000 pieces", |maker, out| {
        relay_client::datagram_in_pieces(out, &relay_client::neighbour(maker.number));
    }),
    Attack {
        name: "relay-udp",
        does: "holds connections to the relay's address discovery",
        way: Way::DiscoveryHolds,
        on: Victim::Relay,
    },
    Attack {
        name: "relay-initials",
        does: "begins such connections, and reads no answer",
        way: Way::DiscoveryBegins,
        on: Victim::Relay,
    },
];
