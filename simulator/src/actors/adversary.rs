//! Nodes that break the protocol on purpose: their outgoing frames are changed, and some incoming
//! requests are answered in place of the core.

use std::collections::BTreeSet;
use std::time::Duration;

use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId};
use meshpool_proto::transaction::{Origin, Transaction};
use meshpool_proto::wire::{Message, Step, Summary, SyncFrame, graft_frame, prune_frame};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rand::RngExt;

use crate::net::event::Behaviour;
use crate::net::frame_cache::Parsed;
use crate::net::network::{Network, Queue};
use crate::net::wire::Item;

/// How many transactions that do not exist a liar claims in one answer.
const INVENTED: usize = 50;
/// How many origins a liar prunes at once.
const PRUNED: usize = 20;
/// How often it does so at most: as often as a node compares sets while nothing comes.
const NONSENSE_EVERY: Duration = Duration::from_secs(5);

/// Returns what a node with this behaviour sends in place of a frame of its core, if anything.
pub(super) fn outgoing(behaviour: Behaviour, net: &mut Network, actor: usize, frame: Frame) -> Option<Frame> {
    if behaviour == Behaviour::Honest {
        return Some(frame);
    }
    let lies = behaviour == Behaviour::Lying;
    match net.frames.parse(&frame) {
        Parsed::Forwarded(_, forwarded) if lies && net.rng.random() => {
            let origin = Origin::Node(random_node(net));
            forwarded.transaction.ok().map(|transaction| transaction.with_origin(&origin).frame().clone())
        }
        Parsed::Forwarded(..) if lies => Some(frame),
        Parsed::Forwarded(..) | Parsed::Other(Ok(Message::Transaction(_))) => None,
        Parsed::Other(Ok(Message::Sync(SyncFrame::Summary(summary)))) if lies => {
            send_nonsense(net, actor);
            Some(SyncFrame::Summary(inflated(net, &summary)).to_frame())
        }
        Parsed::Other(Ok(Message::Sync(SyncFrame::Reply(summary)))) if lies => {
            Some(SyncFrame::Reply(inflated(net, &summary)).to_frame())
        }
        Parsed::Other(_) => Some(frame),
    }
}

/// Handles an incoming frame in place of a lying core that holds `pool`. Returns whether it did.
pub(super) fn handles(net: &mut Network, actor: usize, link: LinkId, frame: &Parsed, pool: &[Transaction]) -> bool {
    match frame {
        Parsed::Other(Ok(Message::Sync(SyncFrame::Ask(step)))) => {
            if let Some(message) = false_answer(net, step, pool) {
                send(net, actor, link, SyncFrame::Answer(Step { number: step.number, message }).to_frame());
            }
            true
        }
        Parsed::Other(Ok(Message::Sync(SyncFrame::Everything) | Message::Want(_))) => true,
        _ => false,
    }
}

/// The negentropy answer of a node that holds the pool and transactions that do not exist.
pub(super) fn false_answer(net: &mut Network, step: &Step, pool: &[Transaction]) -> Option<Vec<u8>> {
    let mut claimed = NegentropyStorageVector::with_capacity(pool.len() + INVENTED);
    let held: BTreeSet<_> = pool.iter().map(|stored| (stored.time(), stored.id())).collect();
    let invented = (0..INVENTED).map(|_| (net.rng.random_range(1_600_000_000..1_800_000_000), net.rng.random()));
    for (time, id) in held.into_iter().map(|(time, id)| (time, id.0)).chain(invented) {
        claimed.insert(time, Id::from_byte_array(id)).ok()?;
    }
    claimed.seal().ok()?;
    Negentropy::owned(claimed, 48 * 1024).ok()?.reconcile(&step.message).ok()
}

/// Sends each neighbour a GRAFT of everything and a PRUNE of random origins.
fn send_nonsense(net: &mut Network, actor: usize) {
    let now = net.clock.now();
    if net.nonsense.get(&actor).is_some_and(|last| now < *last + NONSENSE_EVERY) {
        return;
    }
    net.nonsense.insert(actor, now);
    let origins: Vec<_> = (0..PRUNED).map(|_| Origin::Node(random_node(net))).collect();
    let open = net.links(actor).filter(|end| net.wires.is_link(end.wire));
    for link in open.map(|end| net.wires[end].link).collect::<Vec<_>>() {
        send(net, actor, link, graft_frame(&[]));
        send(net, actor, link, prune_frame(&origins));
    }
}

fn send(net: &mut Network, actor: usize, link: LinkId, frame: Frame) {
    if net.send(actor, link, Item::Text(frame), Queue::Control).is_err() {
        net.note(actor, "unsent", link.0, "");
    }
}

fn random_node(net: &mut Network) -> NodeId {
    let actor = net.rng.random_range(0..net.listening);
    net.hosts[actor].identity.map_or(NodeId([0; 32]), |identity| identity.node)
}

/// A summary of a few transactions more, or of so many that a peer requests all of them.
fn inflated(net: &mut Network, summary: &Summary) -> Summary {
    let more = if net.rng.random() { 5 } else { 1_000_000 };
    let sum = (0..4).map(|_| format!("{:016x}", net.rng.random::<u64>())).collect();
    Summary { count: summary.count + more, sum }
}
