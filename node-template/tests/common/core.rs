//! A core without a shell: facts in, orders out, and a clock that the test moves. For what needs no
//! socket, or an address beyond loopback.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::dial_allowance::DialAllowance;
use meshpool::protocol::id::{LinkId, NodeId, Session};
use meshpool::protocol::json::Parser;
use meshpool::protocol::limits::Limits;
use meshpool::protocol::wire::Message;
use meshpool::protocol::{Config, Direction, Input, Node, Output, SourceGroup};
use serde_json::{Value, json};

/// A core, its clock, and the orders that it gave and nobody carried out.
pub struct Core {
    pub protocol: Node,
    pub now: Instant,
    allowance: DialAllowance,
    links: u64,
    parser: Parser,
}

impl Core {
    pub fn new(limits: Limits) -> Self {
        Self::knowing(limits, &[])
    }

    /// A core that knows these peers.
    pub fn knowing(limits: Limits, known: &[&str]) -> Self {
        let config = Config {
            node: NodeId([1; 32]),
            session: Session::from_random([2; 16]),
            agent: "test".into(),
            network: "test".into(),
            address: "ws://198.51.100.1:4001".parse().unwrap(),
            known_peers: known.iter().map(|address| address.parse().unwrap()).collect(),
            wan: false,
            relays: false,
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            max_peers: None,
            genesis: None,
            since: 0,
            limits,
            signer: std::sync::Arc::new(meshpool::protocol::signature::Unsigned),
            seed: 7,
        };
        let (now, allowance) = (Instant::now(), DialAllowance::new(&config.limits));
        Self { protocol: Node::new(now, config, Vec::new()), now, allowance, links: 0, parser: Parser::new() }
    }

    pub fn tell(&mut self, input: Input) -> Vec<Output> {
        self.protocol.handle(self.now, input);
        std::iter::from_fn(|| self.protocol.poll_output()).collect()
    }

    /// Carries out a dial as the runtime does, to where nobody listens. All names stand for one
    /// address. Returns whether it was allowed, and what follows.
    pub fn dial(&mut self, address: PeerAddress, sources: &[SourceGroup]) -> (bool, Vec<Output>) {
        let ip = address.host().parse().unwrap_or(IpAddr::from([198, 51, 100, 200]));
        match self.allowance.spend(self.now, sources, ip) {
            Ok(counted) => {
                self.allowance.finish(self.now, &counted, None, false);
                (true, self.tell(Input::DialFailed { address, error: "nobody there".into() }))
            }
            Err(off) => (false, self.tell(Input::DialPutOff { address, until: off.until })),
        }
    }

    /// Opens a link from somewhere.
    pub fn link(&mut self, remote: &str) -> LinkId {
        self.open(remote).0
    }

    /// Opens a link from somewhere; gives also what follows.
    pub fn open(&mut self, remote: &str) -> (LinkId, Vec<Output>) {
        self.links += 1;
        let (link, remote) = (LinkId(self.links), remote.parse::<IpAddr>().unwrap());
        (link, self.tell(Input::LinkOpened { link, remote, direction: Direction::Accepted }))
    }

    /// Opens a link that was dialled, to a node of the exercise.
    pub fn dialled(&mut self, address: &str, remote: &str) -> LinkId {
        self.links += 1;
        let (link, remote) = (LinkId(self.links), remote.parse::<IpAddr>().unwrap());
        let direction = Direction::Dialled { address: address.parse().unwrap(), identity: None };
        self.tell(Input::LinkOpened { link, remote, direction });
        link
    }

    /// A full peer that nobody can dial introduces itself.
    pub fn full_peer(&mut self, remote: &str, number: u8) -> LinkId {
        let link = self.link(remote);
        let (id, session) =
            (format!("{number:02x}").repeat(32), format!("00000000-0000-4000-8000-0000000000{number:02x}"));
        let node = json!({ "id": id, "session": session, "agent": "", "protocol": 1, "network": "test" });
        self.receive(link, &json!({ "type": "HANDSHAKE", "data": [], "node": node }));
        link
    }

    pub fn receive(&mut self, link: LinkId, frame: &Value) -> Vec<Output> {
        let message = Message::parse(&mut self.parser, &frame.to_string());
        self.tell(Input::Received { link, message })
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(due) = self.protocol.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            outputs.extend(self.tell(Input::Timeout));
        }
        self.now = until;
        outputs
    }
}
