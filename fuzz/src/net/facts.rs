//! What a script makes happen to a node.

use std::net::IpAddr;

use meshpool_proto::access::Certified;
use meshpool_proto::id::{UpgradeIdentity, LinkId};
use meshpool_proto::wire::Message;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::{Direction, Input};

use super::Net;

impl Net {
    /// A stranger connects.
    pub(crate) fn accept(&mut self, node: usize, remote: IpAddr) -> LinkId {
        let link = self.next_link(node);
        self.tell(node, Input::LinkOpened { link, remote, direction: Direction::Accepted });
        link
    }

    /// It is proved who opens the next link.
    pub(crate) fn certify(&mut self, node: usize, certified: Certified) {
        let link = LinkId(self.last_link + 1);
        self.tell(node, Input::PeerCertified { link, certified });
    }

    /// A stranger answers a dial.
    pub(crate) fn answer_dial(&mut self, node: usize, dial: usize, identity: Option<UpgradeIdentity>, remote: IpAddr) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].watch.on_dialled(&address);
        let link = self.next_link(node);
        self.tell(node, Input::LinkOpened { link, remote, direction: Direction::Dialled { address, identity } });
    }

    /// A dial comes to nothing.
    pub(crate) fn fail_dial(&mut self, node: usize, dial: usize) {
        let address = self.nodes[node].dials.remove(dial);
        self.nodes[node].watch.on_dialled(&address);
        self.tell(node, Input::DialFailed { address, error: "refused".into() });
    }

    /// Somebody or nobody answers a probe.
    pub(crate) fn answer_probe(&mut self, node: usize, probe: usize, identity: Option<UpgradeIdentity>) {
        let (link, address) = self.nodes[node].probes.remove(probe);
        self.nodes[node].watch.on_probed();
        self.tell(node, Input::Probed { link, address, identity });
    }

    /// Some of what waits for the disk is on it.
    pub(crate) fn write(&mut self, node: usize, most: usize) {
        let disk = &mut self.nodes[node].disk;
        let count = most.min(disk.waiting.len());
        let written: Vec<Transaction> = disk.waiting.drain(..count).collect();
        let ids: Vec<_> = written.iter().map(Transaction::id).collect();
        written.into_iter().for_each(|transaction| disk.put(transaction));
        if !ids.is_empty() {
            self.tell(node, Input::Stored { ids });
        }
        for link in self.nodes[node].feeds.keys().copied().collect::<Vec<_>>() {
            self.feed(node, link);
        }
        self.settle();
    }

    /// A frame comes in from a stranger.
    pub(crate) fn receive(&mut self, node: usize, link: LinkId, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        self.tell(node, Input::Received { link, message });
    }

    /// A queue is full, or has room again.
    pub(crate) fn toggle(&mut self, node: usize, link: LinkId) {
        if let Some(open) = self.nodes[node].links.get_mut(&link) {
            open.stuck = !open.stuck;
        }
        self.feed(node, link);
        self.settle();
    }

    /// A link ends without the node's doing, or because the node ordered it.
    pub(crate) fn cut(&mut self, node: usize, link: LinkId) {
        self.end(node, link);
        self.settle();
    }

    /// All links end that were ordered to.
    pub(crate) fn finish_closing(&mut self) {
        for node in 0..self.nodes.len() {
            let closing = self.nodes[node].links.iter().filter(|(_, link)| link.closing);
            for link in closing.map(|(link, _)| *link).collect::<Vec<_>>() {
                self.cut(node, link);
            }
        }
    }
}
