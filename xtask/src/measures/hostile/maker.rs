//! Makes what attackers send.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use data_encoding::{BASE64, HEXLOWER};
use meshpool::NodeKey;
use meshpool::protocol::json::Parser;
use meshpool::protocol::signature::Purpose;
use meshpool::protocol::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::testbed::frames;
use crate::support::testbed::node::PORT;

/// The body of the transaction that some attacks send or want.
const HELD: &str = r#"{"amount":1}"#;
/// How many nodes are invented.
const INVENTED: usize = 64;

/// What the attacker says that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A program that sends no HANDSHAKE.
    Client,
    /// A node of the exercise.
    Exercise,
    /// A native peer that accepts no connections.
    Native,
    /// A client of the relay that the node serves.
    RelayClient,
}

/// Makes frames. Its random choices come from a seed.
pub(crate) struct Maker {
    to: Ipv4Addr,
    /// The seed: the number of the link.
    pub(crate) number: u64,
    rng: Xoshiro256PlusPlus,
    key: NodeKey,
    /// The keys of invented nodes, made when they are first used.
    invented: Vec<NodeKey>,
    session: String,
    /// The identity of [`HELD`].
    held: String,
    count: u64,
}

impl Maker {
    pub(crate) fn new(to: Ipv4Addr, seed: u64) -> Result<Self> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let held = Transaction::parse(&mut Parser::default(), HELD)?.id().to_string();
        let session = uuid(&mut rng);
        Ok(Self { to, number: seed, rng, key: new_key()?, invented: Vec::new(), session, held, count: 0 })
    }

    /// Appends the request for the upgrade.
    pub(crate) fn upgrade(&mut self, out: &mut Vec<u8>) {
        out.extend(frames::request(self.to).bytes());
    }

    /// Appends the request for the upgrade with another header.
    pub(crate) fn upgrade_with(&mut self, out: &mut Vec<u8>, header: &str) {
        let request = frames::request(self.to);
        out.extend(request.trim_end().bytes().chain(*b"\r\n"));
        out.extend(header.bytes().chain(*b"\r\n"));
    }

    /// Appends a frame with any first byte.
    pub(crate) fn frame(&self, out: &mut Vec<u8>, first: u8, payload: &[u8]) {
        out.extend(frames::frame(first, payload));
    }

    pub(crate) fn text(&self, out: &mut Vec<u8>, text: &str) {
        self.frame(out, 0x81, text.as_bytes());
    }

    /// Appends a ping of the relay's protocol.
    pub(crate) fn relay_ping(&mut self, out: &mut Vec<u8>) {
        self.frame(out, 0x82, b"\x0912345678");
    }

    /// Appends a message whose data is a list.
    pub(crate) fn message(&self, out: &mut Vec<u8>, kind: &str, data: &[String]) {
        self.text(out, &json!({ "type": kind, "data": data }).to_string());
    }

    /// Appends the transaction that is wanted, and many times the request for it.
    pub(crate) fn want_held(&mut self, out: &mut Vec<u8>) {
        if self.count == 0 {
            self.text(out, &format!(r#"{{"type":"TRANSACTION","data":{HELD}}}"#));
        }
        self.count += 1;
        let ids = vec![self.held.clone(); 1_000];
        self.message(out, "WANT", &ids);
    }

    pub(crate) fn handshake(&mut self, role: Role, addresses: &[String]) -> String {
        match role {
            Role::Native => json!({ "type": "HANDSHAKE", "data": addresses, "node": {
                "id": self.key.node_id().to_string(), "session": self.session, "agent": "attacker/1", "protocol": 1,
                "network": "p2p-node", "maxPeers": null, "features": [],
            } }),
            Role::Exercise | Role::Client | Role::RelayClient => json!({ "type": "HANDSHAKE", "data": addresses }),
        }
        .to_string()
    }

    /// Returns a new TRANSACTION of 100,000 numbers in 60 arrays, one in another: with an indent of
    /// two blanks for each level it would take 60 times its size.
    pub(crate) fn nested_transaction(&mut self) -> String {
        self.count += 1;
        let (mine, count) = (self.rng.random::<u64>(), self.count);
        let (open, numbers, close) = ("[".repeat(60), "1,".repeat(100_000), "]".repeat(60));
        format!(r#"{{"type":"TRANSACTION","data":{{"amount":{count},"text":"{mine:x}","a":{open}{numbers}1{close}}}}}"#)
    }

    /// Returns a SYNC with false fingerprints of as many ranges as fit into it. See the message
    /// format of Negentropy, version 1.
    pub(crate) fn false_sums(&mut self) -> String {
        const VERSION: u8 = 0x61;
        const SAME_TIME: u8 = 1;
        const END: u8 = 0;
        const FINGERPRINT: u8 = 1;
        let mut message = vec![VERSION];
        for bound in 1..2_200_u16 {
            message.extend([SAME_TIME, 2]);
            message.extend((bound * 29).to_be_bytes());
            message.push(FINGERPRINT);
            message.extend(self.rng.random::<[u8; 16]>());
        }
        message.extend([END, 0, FINGERPRINT]);
        message.extend(self.rng.random::<[u8; 16]>());
        let ask = BASE64.encode(&message);
        format!(r#"{{"type":"SYNC","data":{{"number":1,"ask":"{ask}"}},"set":"transactions"}}"#)
    }

    /// Returns a TRANSACTION that is new. `members` are further ones of the frame, each after a
    /// comma.
    pub(crate) fn transaction(&mut self, bytes: usize, members: &str) -> String {
        self.count += 1;
        let (mine, count) = (self.rng.random::<u64>(), self.count);
        let text = "x".repeat(bytes);
        format!(r#"{{"type":"TRANSACTION","data":{{"amount":{count},"text":"{mine:x}{text}"}}{members}}}"#)
    }

    /// Returns a TRANSACTION whose signature is wrong.
    pub(crate) fn forged(&mut self) -> String {
        let signature = self.hex() + &self.hex();
        json!({ "type": "TRANSACTION", "data": {
            "amount": 1, "publicKey": self.key.node_id().to_string(), "signature": signature,
        } })
        .to_string()
    }

    /// Returns a BROADCAST that nobody signed.
    pub(crate) fn broadcast(&mut self, bytes: usize) -> String {
        json!({ "type": "BROADCAST", "data": { "id": self.hex(), "message": "x".repeat(bytes), "time": now() },
            "from": self.key.node_id().to_string(), "signature": self.hex() + &self.hex() })
        .to_string()
    }

    /// Returns an ANNOUNCE of an invented node; with `signs` by that node's key.
    pub(crate) fn announce(&mut self, signs: bool) -> String {
        self.count += 1;
        while signs
            && self.invented.len() < INVENTED
            && let Ok(key) = new_key()
        {
            self.invented.push(key);
        }
        let (address, peer, session) = (self.addresses(1), self.hex(), self.uuid());
        let key = self.invented.get(self.count as usize % INVENTED).unwrap_or(&self.key);
        let node = if signs { key.node_id().to_string() } else { peer.clone() };
        // Its members are in the order of RFC 8785, and its numbers are integers.
        let data = json!({
            "address": address[0], "interval": 10, "links": 2, "maxPeers": null, "node": node, "nodes": 900,
            "peers": [peer, self.key.node_id().to_string()], "seq": self.count, "session": session, "since": now(),
        });
        let signature = key.signature(Purpose::Announce, &data.to_string());
        json!({ "type": "ANNOUNCE", "data": data, "signature": signature.to_string() }).to_string()
    }

    pub(crate) fn found(&mut self) -> String {
        json!({ "type": "FOUND", "data": {
            "id": self.hex()[..32], "address": self.addresses(1)[0], "name": "cat.jpg", "size": 10, "sha256": self.hex(),
        } })
        .to_string()
    }

    /// Returns addresses where no node is.
    pub(crate) fn addresses(&mut self, count: usize) -> Vec<String> {
        let mut ip = || {
            format!(
                "ws://11.{}.{}.{}:{PORT}",
                self.rng.random::<u8>(),
                self.rng.random::<u8>(),
                self.rng.random::<u8>()
            )
        };
        (0..count).map(|_| ip()).collect()
    }

    /// Returns names that do not exist.
    pub(crate) fn names(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| format!("ws://n{:x}.invalid:{PORT}", self.rng.random::<u64>())).collect()
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.rng.random()
    }

    pub(crate) fn hex(&mut self) -> String {
        HEXLOWER.encode(&self.bytes())
    }

    pub(crate) fn uuid(&mut self) -> String {
        uuid(&mut self.rng)
    }
}

fn new_key() -> Result<NodeKey> {
    Ok(NodeKey::load_or_create(tempfile::tempdir()?.path())?)
}

fn uuid(rng: &mut Xoshiro256PlusPlus) -> String {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
