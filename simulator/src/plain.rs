//! A plain peer: a model of the exercise's JavaScript node.
//!
//! It reads only what arrives on sockets that it accepted and speaks only on sockets that it dialled; it dials every address of a HANDSHAKE to
//! which it has no dialled socket; it relays a TRANSACTION once. Public solutions differ in small things, so [`Habits`] do too. It never redials
//! by itself: only another HANDSHAKE makes it.

use std::collections::HashSet;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{Transaction, TransactionId};
use rand::RngExt;
use serde_json::{Value, json};

use crate::check::{Fault, Invariant};
use crate::deadly;
use crate::network::{Network, Queue, Report};
use crate::wire::{Item, Purpose};

/// In what the solutions of the exercise differ, as far as the network can see it.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Its own address stands first in its HANDSHAKE, else last.
    pub own_first: bool,
    /// It relays the text that it received, siblings and all; else it writes `type` and `data` anew.
    pub relays_raw: bool,
    /// It knows a transaction again by `hash`, else by `id`.
    pub by_hash: bool,
}

impl Habits {
    /// Habits drawn by chance.
    pub fn draw(rng: &mut impl RngExt) -> Self {
        Self { own_first: rng.random(), relays_raw: rng.random(), by_hash: rng.random() }
    }
}

/// One node of the exercise.
#[derive(Debug)]
pub struct Plain {
    actor: usize,
    known: Vec<PeerAddress>,
    habits: Habits,
    up: bool,
    dialling: Vec<PeerAddress>,
    opened: Vec<(LinkId, PeerAddress)>,
    seen: HashSet<String>,
    /// What it keeps: one identity for each transaction, in the order of arrival.
    pub pool: Vec<TransactionId>,
}

impl Plain {
    /// A node that does not run yet.
    pub fn new(actor: usize, known: Vec<PeerAddress>, habits: Habits) -> Self {
        Self {
            actor,
            known,
            habits,
            up: false,
            dialling: Vec::new(),
            opened: Vec::new(),
            seen: HashSet::new(),
            pool: Vec::new(),
        }
    }

    /// Starts the process: it dials whom it knows, once.
    pub fn start(&mut self, net: &mut Network) {
        net.start(self.actor, None);
        net.trace.note(net.clock.now(), self.actor, "start", 0, "plain");
        self.up = true;
        for address in self.known.clone() {
            self.dial(net, address);
        }
    }

    /// The process ends. What it had seen is in its file.
    pub fn stop(&mut self, net: &mut Network, power_lost: bool) {
        net.stop(self.actor, power_lost);
        self.up = false;
        self.dialling.clear();
        self.opened.clear();
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// To how many addresses it has a socket on which it can speak.
    pub fn opened(&self) -> usize {
        self.opened.len()
    }

    /// The network has something to tell.
    ///
    /// # Errors
    /// What it was sent would have killed it, or another of its kind.
    pub fn report(&mut self, net: &mut Network, report: Report) -> Result<(), Fault> {
        match report {
            Report::Text(link, ref frame)
                if let Some(why) =
                    deadly::why(frame.as_str(), !self.opened.iter().any(|(opened, _)| *opened == link)) =>
            {
                return Err((Invariant::NothingKillsPlain, why));
            }
            Report::Opened(link, Some((address, _))) => self.on_opened(net, link, address),
            Report::Text(link, frame) if !self.opened.iter().any(|(opened, _)| *opened == link) => {
                self.on_text(net, link, &frame);
            }
            Report::Closed(link, _) => self.opened.retain(|(opened, _)| *opened != link),
            Report::DialFailed(address, _) => self.dialling.retain(|dialling| *dialling != address),
            Report::Opened(..) | Report::Text(..) | Report::Pong(_) | Report::Probed(..) => {}
        }
        Ok(())
    }

    /// Its user adds a transaction.
    pub fn submit(&mut self, net: &mut Network, body: &str) {
        let text = format!(r#"{{"type":"TRANSACTION","data":{body}}}"#);
        self.on_text(net, LinkId(u64::MAX), &Frame::from(text));
    }

    fn dial(&mut self, net: &mut Network, address: PeerAddress) {
        let known = self.dialling.contains(&address) || self.opened.iter().any(|(_, opened)| *opened == address);
        if !known && address != Network::address(self.actor) {
            self.dialling.push(address.clone());
            net.dial(self.actor, address, Purpose::Link);
        }
    }

    fn on_opened(&mut self, net: &mut Network, link: LinkId, address: PeerAddress) {
        self.dialling.retain(|dialling| *dialling != address);
        self.opened.push((link, address));
        let mut data: Vec<_> = self.opened.iter().map(|(_, address)| address.to_string()).collect();
        let own = Network::address(self.actor).to_string();
        if self.habits.own_first {
            data.insert(0, own);
        } else {
            data.push(own);
        }
        self.send(net, link, json!({"type": "HANDSHAKE", "data": data}).to_string());
    }

    fn on_text(&mut self, net: &mut Network, link: LinkId, frame: &Frame) {
        net.trace.note(net.clock.now(), self.actor, "reads", link.0, frame.as_str());
        let Ok(message) = serde_json::from_str::<Value>(frame.as_str()) else {
            return;
        };
        let data = &message["data"];
        match message["type"].as_str() {
            Some("HANDSHAKE") => {
                let addresses = data.as_array().into_iter().flatten().filter_map(Value::as_str);
                for address in addresses.filter_map(|text| text.parse().ok()) {
                    self.dial(net, address);
                }
            }
            Some("TRANSACTION") => {
                let key = &data[if self.habits.by_hash { "hash" } else { "id" }];
                if !self.seen.insert(key.to_string()) {
                    return;
                }
                if let Ok(transaction) = Transaction::parse(&mut Parser::new(), &data.to_string()) {
                    self.pool.push(transaction.id());
                }
                let anew = || json!({"type": "TRANSACTION", "data": data}).to_string();
                let text = if self.habits.relays_raw { frame.as_str().to_owned() } else { anew() };
                for (link, _) in self.opened.clone() {
                    self.send(net, link, text.clone());
                }
            }
            _ => {}
        }
    }

    fn send(&self, net: &mut Network, link: LinkId, text: String) {
        // Its writes have no bound of their own: what is too much is lost with the socket, and the model need not say more.
        if net.send(self.actor, link, Item::Text(Frame::from(text)), Queue::Feed).is_err() {
            net.trace.note(net.clock.now(), self.actor, "unsent", link.0, "");
        }
    }
}
