//! A client: dials a node, sends a TRANSACTION that requests an ACK, waits for the ACK, closes.

use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::wire::TransactionFrame;
use serde_json::Value;

use crate::net::address;
use crate::net::network::{LinkEvent, Network, Queue};
use crate::net::wire::{Item, Purpose};

/// A client.
#[derive(Debug)]
pub struct Client {
    actor: usize,
    frame: Frame,
    /// The link on which it waits for its ACK.
    pub waiting: Option<LinkId>,
}

impl Client {
    /// A client that dials `target` to send it the transaction `body`.
    pub fn start(net: &mut Network, actor: usize, target: usize, body: &str) -> Self {
        net.start(actor, None);
        net.dial(actor, address::of(target), Purpose::Link);
        Self { actor, frame: TransactionFrame::client_frame(body, true), waiting: None }
    }

    /// The number of the actor.
    pub fn actor(&self) -> usize {
        self.actor
    }

    /// Handles an event of the network.
    pub fn on_link_event(&mut self, net: &mut Network, event: LinkEvent) {
        match event {
            LinkEvent::Opened(link, _) => {
                let sent = net.send(self.actor, link, Item::Text(self.frame.clone()), Queue::Payload);
                self.waiting = sent.is_ok().then_some(link).or(self.waiting);
            }
            LinkEvent::Text(link, frame) => {
                net.note(self.actor, "client reads", link.0, frame.as_str());
                let message: Value = serde_json::from_str(frame.as_str()).unwrap_or_default();
                if message["type"] == "ACK" && self.waiting.take().is_some() {
                    // A link that broke in this instant is closed already.
                    net.close(self.actor, link, "1000".to_owned()).unwrap_or_default();
                }
            }
            LinkEvent::Closed(..) => self.waiting = None,
            _ => {}
        }
    }
}
