//! What the shell does with a core's orders.

use std::net::{IpAddr, Ipv4Addr};

use meshpool_proto::id::{UpgradeIdentity, LinkId};
use meshpool_proto::limits;
use meshpool_proto::wire::{TransactionFrame, Message};
use meshpool_proto::transaction::Transaction;
use meshpool_proto::{Config, Direction, Input, Lane, Output};

use super::checks::keep;
use super::{Feed, Link, Net, Node};
use crate::network::Network;
use crate::planted;

impl Net {
    pub(super) fn carry_out(&mut self, node: usize, output: Output) {
        let this = &mut self.nodes[node];
        let most = this.config.limits.dials_in_flight;
        match output {
            Output::Dial { address, .. } => {
                keep(this.watch.on_dial(&address, most));
                match (0..self.nodes.len()).find(|other| Network::address(*other) == address) {
                    Some(other) => self.link(node, other),
                    None => self.nodes[node].dials.push(address),
                }
            }
            Output::Probe { link, address, .. } => {
                keep(this.watch.on_probe(most));
                this.probes.push((link, address));
            }
            Output::Send { links, frame, lane } => {
                assert!(frame.len() <= limits::MESSAGE_BYTES, "too long a message: {frame:?}");
                self.check_frame(node, frame.as_str());
                for link in links {
                    self.send(node, link, frame.as_str(), Some(lane));
                }
            }
            Output::Ping { link } => {
                assert!(this.links.contains_key(&link), "a ping on {link:?}, whose end was reported");
                if self.wires.contains_key(&(node, link)) {
                    self.facts.push_back((node, Input::Pong { link }));
                }
            }
            Output::Close { link, reason, .. } => {
                assert!(reason.len() <= limits::CLOSE_REASON_BYTES, "{reason:?}");
                let open = this.links.get_mut(&link).unwrap_or_else(|| panic!("{link:?} is closed already"));
                assert!(!std::mem::replace(&mut open.closing, true), "{link:?} is closed twice");
                this.feeds.remove(&link);
                if self.wires.contains_key(&(node, link)) {
                    self.end(node, link);
                }
            }
            Output::Store { transaction } => {
                let id = transaction.id();
                assert!(this.offered.contains(&id), "nobody brought {id}");
                // As though nobody had cut it out of the file.
                let held = this.disk.has(&id) || planted::is_due(|| this.disk.places.contains_key(&id));
                assert!(!held, "{id} is stored twice");
                this.disk.waiting.push_back(transaction);
                if this.disk.prompt {
                    let waiting: Vec<Transaction> = this.disk.waiting.drain(..).collect();
                    waiting.into_iter().for_each(|transaction| this.disk.put(transaction));
                    self.facts.push_back((node, Input::Stored { ids: vec![id] }));
                }
            }
            Output::Replay { link, from, until, synced } => {
                assert!(this.links.contains_key(&link), "{link:?} is to be fed, and its end was reported");
                this.feeds.insert(link, Feed { from, until, synced });
                self.feed(node, link);
            }
            Output::ReplayPositions { link, positions } => {
                assert!(positions.is_sorted() && this.links.contains_key(&link));
                // A row that is never found.
                let wanted = positions.iter().filter(|position| !planted::is_due(|| **position == 13));
                let found = wanted.filter_map(|position| this.disk.at(*position as usize));
                let session = this.config.session;
                let frames: Vec<_> = found.map(|found| TransactionFrame::sync_frame(found.body(), session)).collect();
                frames.iter().for_each(|frame| self.send(node, link, frame.as_str(), None));
            }
            Output::SubmissionStored { request } => {
                let id = this.requests.remove(&request).expect("what is kept was submitted");
                assert!(this.disk.places.contains_key(&id), "{id} is called kept before it is on disk");
            }
            Output::FindLocalImages { search, .. } => this.look_ups.push(search),
            Output::SavePeerCache { addresses } => assert!(addresses.len() <= limits::PEER_CACHE),
            Output::Submitted { .. }
            | Output::BroadcastSent { .. }
            | Output::ImageOffer { .. }
            | Output::ImageSearchOver { .. }
            | Output::DropQueued { .. }
            | Output::AdvertiseSlots { .. }
            | Output::PauseReading { .. }
            | Output::Notify(_) => {}
        }
    }

    fn send(&mut self, node: usize, link: LinkId, text: &str, lane: Option<Lane>) {
        let open = self.nodes[node].links.get(&link);
        let open = open.unwrap_or_else(|| panic!("{link:?} is sent to, and its end was reported: {text}"));
        if open.stuck && lane == Some(Lane::Payload) {
            self.facts.push_front((node, Input::QueueFull { link }));
        } else if let Some((other, there)) = self.wires.get(&(node, link)) {
            let message = Message::parse(&mut self.parser, text);
            self.facts.push_back((*other, Input::Received { link: *there, message }));
        }
    }

    /// Sends a link from the pool what was ordered, if its queue has room.
    pub(super) fn feed(&mut self, node: usize, link: LinkId) {
        let Node { links, feeds, disk, config, .. } = &mut self.nodes[node];
        if links.get(&link).is_none_or(|link| link.stuck || link.closing || link.ended) {
            return;
        }
        let Some(Feed { from, until, synced }) = feeds.remove(&link) else { return };
        let end = until.unwrap_or(u64::MAX).min(disk.order.len() as u64);
        let rows = (from..end).filter_map(|position| disk.at(position as usize)).map(Transaction::body);
        let session = config.session;
        let frame =
            |body| if synced { TransactionFrame::sync_frame(body, session) } else { TransactionFrame::client_frame(body, false) };
        let frames: Vec<_> = rows.map(frame).collect();
        frames.iter().for_each(|frame| self.send(node, link, frame.as_str(), None));
        self.facts.push_back((node, Input::Replayed { link, position: end.max(from) }));
    }

    /// One of our nodes dialled another, or itself.
    fn link(&mut self, from: usize, to: usize) {
        let address = Network::address(to);
        self.nodes[from].watch.on_dialled(&address);
        let (there, here) = (self.next_link(from), self.next_link(to));
        self.wires.insert((from, there), (to, here));
        self.wires.insert((to, here), (from, there));
        let Config { node, session, .. } = self.nodes[to].config;
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let dialled = Direction::Dialled { address, identity: Some(UpgradeIdentity { node, session }) };
        self.facts.push_back((from, Input::LinkOpened { link: there, remote, direction: dialled }));
        self.facts.push_back((to, Input::LinkOpened { link: here, remote, direction: Direction::Accepted }));
    }

    pub(super) fn end(&mut self, node: usize, link: LinkId) {
        let mut ends = vec![(node, link)];
        if let Some(other) = self.wires.remove(&(node, link)) {
            self.wires.remove(&other);
            ends.push(other);
        }
        for (node, link) in ends {
            if let Some(open) = self.nodes[node].links.get_mut(&link).filter(|open| !open.ended) {
                open.ended = true;
                self.facts.push_back((node, Input::LinkClosed { link, cause: "it ended".into() }));
            }
        }
    }

    pub(super) fn next_link(&mut self, node: usize) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.nodes[node].links.insert(link, Link::default());
        link
    }
}
