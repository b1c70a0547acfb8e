//! An exercise peer: a model of the exercise's JavaScript node.
//!
//! It reads only on links that it accepted and sends only on links that it dialled. It dials every
//! address of a HANDSHAKE to which it has no dialled link, and forwards a TRANSACTION once. It
//! never redials without another HANDSHAKE. Public solutions differ in details, see [`Variant`].

use std::collections::HashSet;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{Transaction, TransactionId};
use rand::RngExt;
use serde_json::{Value, json};

use crate::checks::exercise::{crash_cause, told_id};
use crate::checks::rules::{Invariant, Violation};
use crate::net::network::{LinkEvent, Network, Queue};
use crate::net::wire::{Item, Purpose};

/// The details in which solutions of the exercise differ.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Its own address is the first in its HANDSHAKE, otherwise the last.
    own_first: bool,
    /// It forwards the text that it received, otherwise `type` and `data` only.
    forwards_raw: bool,
    /// It identifies a transaction by `hash`, otherwise by `id`.
    by_hash: bool,
}

impl Variant {
    /// Draws a variant.
    pub fn draw(rng: &mut impl RngExt) -> Self {
        Self { own_first: rng.random(), forwards_raw: rng.random(), by_hash: rng.random() }
    }
}

/// What ends the program of an exercise peer, as it catches nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Habits {
    /// It takes the data of each frame for a list of addresses, and dies of a TRANSACTION.
    pub type_blind: bool,
    /// It has no error handler, and dies of a dial that fails.
    pub no_error_handler: bool,
}

/// An exercise peer and its file.
#[derive(Debug)]
pub struct ExercisePeer {
    actor: usize,
    known: Vec<PeerAddress>,
    variant: Variant,
    is_up: bool,
    dialling: Vec<PeerAddress>,
    dialled: Vec<(LinkId, PeerAddress)>,
    seen: HashSet<String>,
    /// What its program dies of; at first of nothing.
    pub habits: Habits,
    /// Where a program stands still: the system there takes connections all the same, so a dial
    /// does not fail for long.
    pub still: Option<PeerAddress>,
    /// The causes of its deaths.
    pub deaths: Vec<String>,
    /// The transactions in its file, in the order of arrival.
    pub pool: Vec<TransactionId>,
}

impl ExercisePeer {
    /// A peer that does not run yet.
    pub fn new(actor: usize, known: Vec<PeerAddress>, variant: Variant) -> Self {
        Self {
            actor,
            known,
            variant,
            is_up: false,
            dialling: Vec::new(),
            dialled: Vec::new(),
            seen: HashSet::new(),
            habits: Habits::default(),
            still: None,
            deaths: Vec::new(),
            pool: Vec::new(),
        }
    }

    /// Starts the process: it dials its known peers once.
    pub fn start(&mut self, net: &mut Network) {
        net.start(self.actor, None);
        net.note(self.actor, "start", 0, "exercise peer");
        self.is_up = true;
        for address in self.known.clone() {
            self.dial(net, address);
        }
    }

    /// Kills the process; its file stays.
    pub fn stop(&mut self, net: &mut Network, power_lost: bool) {
        net.stop(self.actor, power_lost);
        self.is_up = false;
        self.dialling.clear();
        self.dialled.clear();
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Handles an event of the network.
    ///
    /// # Errors
    /// It was sent something that crashes a solution of the exercise.
    pub fn on_link_event(&mut self, net: &mut Network, event: LinkEvent) -> Result<(), Violation> {
        match event {
            LinkEvent::Text(link, frame) => {
                if let Some(id) = told_id(frame.as_str()) {
                    return Err((Invariant::ExercisePeersAreToldNoIds, format!("it is told {id}")));
                }
                let accepted = !self.dialled.iter().any(|(dialled, _)| *dialled == link);
                if let Some(cause) = crash_cause(frame.as_str(), accepted) {
                    return Err((Invariant::ExercisePeersSurvive, cause));
                }
                self.on_text(net, link, &frame);
            }
            LinkEvent::Opened(link, Some((address, _))) => self.on_dialled(net, link, address),
            LinkEvent::Closed(link, _) => self.dialled.retain(|(dialled, _)| *dialled != link),
            LinkEvent::DialFailed(address, _) => {
                self.dialling.retain(|dialling| *dialling != address);
                // Nobody tells it of those in its own file.
                let fails = !self.known.contains(&address) && self.still.as_ref() != Some(&address);
                if self.habits.no_error_handler && fails {
                    self.die(net, format!("the dead address {address}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Its user adds a transaction.
    pub fn submit(&mut self, net: &mut Network, body: &str) {
        let text = format!(r#"{{"type":"TRANSACTION","data":{body}}}"#);
        self.on_text(net, LinkId(u64::MAX), &Frame::from(text));
    }

    fn die(&mut self, net: &mut Network, cause: String) {
        self.deaths.push(cause);
        self.stop(net, false);
    }

    fn dial(&mut self, net: &mut Network, address: PeerAddress) {
        let known = self.dialling.contains(&address) || self.dialled.iter().any(|(_, dialled)| *dialled == address);
        if !known && address != net.address_of(self.actor) {
            self.dialling.push(address.clone());
            net.dial(self.actor, address, Purpose::Link);
        }
    }

    fn on_dialled(&mut self, net: &mut Network, link: LinkId, address: PeerAddress) {
        self.dialling.retain(|dialling| *dialling != address);
        self.dialled.push((link, address));
        let mut data: Vec<_> = self.dialled.iter().map(|(_, address)| address.to_string()).collect();
        let own_position = if self.variant.own_first { 0 } else { data.len() };
        data.insert(own_position, net.address_of(self.actor).to_string());
        self.send(net, link, json!({"type": "HANDSHAKE", "data": data}).to_string());
    }

    fn on_text(&mut self, net: &mut Network, link: LinkId, frame: &Frame) {
        net.note(self.actor, "reads", link.0, frame.as_str());
        let Ok(message) = serde_json::from_str::<Value>(frame.as_str()) else { return };
        let data = &message["data"];
        if self.habits.type_blind && !data.is_array() {
            return self.die(net, format!("a {}", message["type"]));
        }
        match message["type"].as_str() {
            Some("HANDSHAKE") => {
                let addresses = data.as_array().into_iter().flatten().filter_map(Value::as_str);
                for address in addresses.filter_map(|text| text.parse().ok()) {
                    self.dial(net, address);
                }
            }
            Some("TRANSACTION") => {
                let key = &data[if self.variant.by_hash { "hash" } else { "id" }];
                if !self.seen.insert(key.to_string()) {
                    return;
                }
                if let Ok(transaction) = Transaction::parse(&mut Parser::new(), &data.to_string()) {
                    self.pool.push(transaction.id());
                }
                let text = if self.variant.forwards_raw {
                    frame.as_str().to_owned()
                } else {
                    json!({"type": "TRANSACTION", "data": data}).to_string()
                };
                for (link, _) in self.dialled.clone() {
                    self.send(net, link, text.clone());
                }
            }
            _ => {}
        }
    }

    fn send(&self, net: &mut Network, link: LinkId, text: String) {
        // It ignores write errors; what does not fit is lost.
        if net.send(self.actor, link, Item::Text(Frame::from(text)), Queue::Payload).is_err() {
            net.note(self.actor, "unsent", link.0, "");
        }
    }
}
