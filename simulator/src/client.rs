//! A client: dials one node, sends one TRANSACTION with the wish for an ACK, waits for it, closes.

use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::wire::TransactionFrame;
use serde_json::Value;

use crate::network::{Network, Queue, Report};
use crate::wire::{Item, Purpose};

/// One client, and what became of it.
#[derive(Debug)]
pub struct Client {
    actor: usize,
    target: usize,
    frame: Frame,
    /// The link while it waits for its ACK.
    pub waiting: Option<LinkId>,
    /// The status that the ACK told.
    pub answer: Option<String>,
}

impl Client {
    /// A client that will send the object `body` to an actor.
    pub fn new(actor: usize, target: usize, body: &str) -> Self {
        Self { actor, target, frame: TransactionFrame::client_frame(body, true), waiting: None, answer: None }
    }

    /// Its number.
    pub fn actor(&self) -> usize {
        self.actor
    }

    /// Dials.
    pub fn start(&mut self, net: &mut Network) {
        net.start(self.actor, None);
        net.dial(self.actor, Network::address(self.target), Purpose::Link);
    }

    /// The network has something to tell.
    pub fn report(&mut self, net: &mut Network, report: Report) {
        match report {
            Report::Opened(link, _) => {
                if net.send(self.actor, link, Item::Text(self.frame.clone()), Queue::Payload).is_ok() {
                    self.waiting = Some(link);
                }
            }
            Report::Text(link, frame) => {
                net.trace.note(net.clock.now(), self.actor, "client reads", link.0, frame.as_str());
                let message: Value = serde_json::from_str(frame.as_str()).unwrap_or_default();
                if message["type"] == "ACK" && self.waiting.take().is_some() {
                    self.answer = message["data"]["status"].as_str().map(str::to_owned);
                    // A link that broke in this instant is closed already.
                    net.close(self.actor, link, "1000".to_owned()).unwrap_or_default();
                }
            }
            Report::Closed(..) => self.waiting = None,
            Report::Pong(_) | Report::DialFailed(..) | Report::Probed(..) => {}
        }
    }
}
