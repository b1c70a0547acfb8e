//! Nodes that do not do what they should: the real core runs in them, and what it says is twisted on its way out.

use std::collections::BTreeSet;

use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId};
use meshpool_proto::transaction::Origin;
use meshpool_proto::wire::{Message, Step, Summary, SyncFrame, graft_frame, prune_frame};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rand::RngExt;

use super::Node;
use crate::network::{Network, Queue};
use crate::texts::Text;
use crate::wire::Item;

/// How a node treats the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conduct {
    /// As it should.
    Honest,
    /// It takes part in everything and passes no transaction on, whether new or asked for.
    Withholding,
    /// It also passes half of the transactions on under false origins, claims pools that it does not hold, names transactions that do not exist, answers no
    /// WANT, prunes and grafts at random.
    Lying,
}

/// How many transactions that do not exist a liar names in one answer.
const INVENTED: usize = 50;
/// How many origins a liar prunes at once.
const PRUNED: usize = 20;

impl Node {
    /// What goes out in place of a frame; `None`: nothing.
    pub(super) fn twist(&mut self, net: &mut Network, frame: Frame) -> Option<Frame> {
        if self.conduct == Conduct::Honest {
            return Some(frame);
        }
        match net.texts.read(&frame) {
            Text::Pushed { delivery, .. } if self.conduct == Conduct::Lying && net.rng.random() => {
                let stranger = Origin::Node(stranger(net));
                delivery.transaction.ok().map(|transaction| transaction.with_origin(&stranger).frame().clone())
            }
            Text::Pushed { .. } if self.conduct == Conduct::Lying => Some(frame),
            Text::Pushed { .. } | Text::Other(Ok(Message::Transaction(_))) => None,
            Text::Other(Ok(Message::Sync(SyncFrame::Summary(summary)))) if self.conduct == Conduct::Lying => {
                self.talk_nonsense(net);
                Some(SyncFrame::Summary(inflated(net, &summary)).to_frame())
            }
            Text::Other(Ok(Message::Sync(SyncFrame::Reply(summary)))) if self.conduct == Conduct::Lying => {
                Some(SyncFrame::Reply(inflated(net, &summary)).to_frame())
            }
            Text::Other(_) => Some(frame),
        }
    }

    /// Treats a question in place of the core; `true` if it did.
    pub(super) fn deceive(&mut self, net: &mut Network, link: LinkId, text: &Text) -> bool {
        let (Conduct::Lying, Text::Other(Ok(message))) = (self.conduct, text) else { return false };
        match message {
            Message::Sync(SyncFrame::Ask(step)) => {
                if let Some(message) = self.invent(net, step) {
                    let frame = SyncFrame::Answer(Step { number: step.number, message }).to_frame();
                    self.say(net, link, frame);
                }
                true
            }
            Message::Sync(SyncFrame::Everything) | Message::Want(_) => true,
            _ => false,
        }
    }

    /// The answer of somebody who holds everything, and more.
    fn invent(&self, net: &mut Network, step: &Step) -> Option<Vec<u8>> {
        let mut claimed = NegentropyStorageVector::with_capacity(self.disk.stored.len() + INVENTED);
        let held: BTreeSet<_> = self.disk.stored.iter().map(|stored| (stored.time(), stored.id())).collect();
        let invented = (0..INVENTED).map(|_| (net.rng.random_range(1_600_000_000..1_800_000_000), net.rng.random()));
        for (time, id) in held.into_iter().map(|(time, id)| (time, id.0)).chain(invented) {
            claimed.insert(time, Id::from_byte_array(id)).ok()?;
        }
        claimed.seal().ok()?;
        Negentropy::owned(claimed, 48 * 1024).ok()?.reconcile(&step.message).ok()
    }

    /// Tells all neighbours that it wants everything again, and nothing of some.
    fn talk_nonsense(&self, net: &mut Network) {
        let origins: Vec<_> = (0..PRUNED).map(|_| Origin::Node(stranger(net))).collect();
        let open: Vec<_> =
            net.links(self.actor).filter(|(wire, _)| wire.is_link()).map(|(wire, side)| wire.ends[side].link).collect();
        for link in open {
            self.say(net, link, graft_frame(&[]));
            self.say(net, link, prune_frame(&origins));
        }
    }

    fn say(&self, net: &mut Network, link: LinkId, frame: Frame) {
        if net.send(self.actor, link, Item::Text(frame), Queue::Control).is_err() {
            net.trace.note(net.clock.now(), self.actor, "unsaid", link.0, "");
        }
    }
}

/// The id of some node.
fn stranger(net: &mut Network) -> NodeId {
    let place = net.rng.random_range(0..net.listening);
    net.hosts[place].identity.map_or(NodeId([0; 32]), |identity| identity.node)
}

/// A little more than it has, or so much that it is worth to ask for all.
fn inflated(net: &mut Network, summary: &Summary) -> Summary {
    let more = if net.rng.random() { 5 } else { 1_000_000 };
    let sum = (0..4).map(|_| format!("{:016x}", net.rng.random::<u64>())).collect();
    Summary { count: summary.count + more, sum }
}
