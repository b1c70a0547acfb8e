//! How a transaction spreads: taken once, sent on to every peer but the one that brought it, and answered for when the disk has it.
//!
//! A copy is known by the transaction's identity, so a flood ends by itself; and neighbours tell each other whose transactions they get elsewhere, so that soon
//! there are no copies (`trees.rs`). The first copy is sent on at once, before the disk; a client's ACK comes after the disk.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::connections::table::{Delivery, Link, Role};
use crate::event::Event;
use crate::gossip::plumtree::TreeAction;
use crate::id::LinkId;
use crate::transaction::{IdMap, InvalidTransaction, Origin, Transaction, TransactionId};
use crate::violation::ViolationKind;
use crate::wire::close;
use crate::wire::{Ack, AckStatus, TransactionFrame, graft_frame, prune_frame};
use crate::{Lane, Node, Output, RequestId, Submission, limits};

/// Who is owed an answer once a transaction is on disk. Bounded by [`limits::ACKS_DUE`] for each link: one transaction may be asked for again and again.
#[derive(Debug, Default)]
pub(crate) struct AckWaiters(IdMap<Vec<Asker>>);

#[derive(Debug, PartialEq)]
enum Asker {
    /// A client on a link, with what its ACK will say.
    Client { link: LinkId, status: AckStatus, links: usize },
    /// The application.
    Request(RequestId),
}

impl AckWaiters {
    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Node {
    pub(crate) fn on_transaction(&mut self, now: Instant, link: LinkId, delivery: TransactionFrame) {
        let TransactionFrame { transaction, origin, ack, synced } = delivery;
        let transaction = match transaction {
            Ok(transaction) => transaction,
            Err(
                error @ (InvalidTransaction::Refused { id, .. }
                | InvalidTransaction::Unsigned { id }
                | InvalidTransaction::Forged { id, .. }),
            ) => {
                match error {
                    InvalidTransaction::Unsigned { .. } => self.cx.counters.transactions_unsigned += 1,
                    InvalidTransaction::Forged { .. } => self.cx.counters.transactions_forged += 1,
                    _ => {}
                }
                // Only full peers compare pools; what clients send must not push out what is remembered for that.
                if self.connections.links.get(link).and_then(Link::full).is_some() {
                    self.pool_sync.on_refused(id);
                }
                return self.refuse(link, id.to_string(), ack, error.to_string());
            }
            Err(error) => {
                // A client is told in its ACK; a full peer has checked what it passes on.
                use InvalidTransaction::{Json, NotAnObject, TooLong};
                let checked = matches!(error, NotAnObject(_) | TooLong(_) | Json(_));
                if checked && self.connections.links.get(link).and_then(Link::full).is_some() {
                    self.offend(link, ViolationKind::Breach, &format!("TRANSACTION: {error}"));
                }
                return self.refuse(link, String::new(), ack, error.to_string());
            }
        };
        let id = transaction.id();
        if self.store.index().holds(&id) {
            self.cx.counters.transactions_duplicate += 1;
            if ack {
                self.answer_duplicate(link, id);
            }
            // Whichever origin it names: that of a liar would else be flooded for ever, since no two copies that came here name it.
            if let Some(origin) = origin.filter(|_| !synced) {
                self.on_copy(now, link, &origin);
            }
            return;
        }
        if let Err(reason) = self.store.check_room(&self.cx.config.limits) {
            return self.refuse(link, id.to_string(), ack, reason);
        }
        let Some(open) = self.connections.links.get(link) else { return };
        // Only a full peer has compared pools with us.
        let synced = synced && open.full().is_some();
        // What a full peer says of the origin is believed; a client of ours, or a plain peer, has none of its own.
        let named = match &open.role {
            Role::Native(peer) => origin.clone().unwrap_or(Origin::Node(peer.id)),
            Role::Exercise { address: Some(address) } => Origin::Exercise(address.clone()),
            _ => Origin::Node(self.cx.config.node),
        };
        let right = synced || origin.as_ref() == Some(&named);
        let transaction = if right { transaction } else { transaction.with_origin(&named) };
        if synced {
            self.cx.counters.transactions_synced += 1;
            self.pool_sync.on_synced(now, link);
        }
        let links = self.accept(now, transaction, Some(named).filter(|_| !synced), Some(link));
        if ack {
            self.wait(id, Asker::Client { link, status: AckStatus::Stored, links });
        }
    }

    pub(crate) fn on_submit(&mut self, now: Instant, request: RequestId, transaction: Transaction) {
        let id = transaction.id();
        let origin = Origin::Node(self.cx.config.node);
        let outcome = if self.store.index().holds(&id) {
            self.cx.counters.transactions_duplicate += 1;
            Ok(Submission { id, links: 0, duplicate: true })
        } else if let Err(reason) = self.store.check_room(&self.cx.config.limits) {
            self.cx.counters.transactions_refused += 1;
            Err(reason)
        } else {
            let links = self.accept(now, transaction.with_origin(&origin), Some(origin), None);
            Ok(Submission { id, links, duplicate: false })
        };
        let taken = outcome.is_ok();
        self.cx.output(Output::Submitted { request, outcome });
        if taken && self.store.index().is_stored(&id) {
            self.cx.output(Output::SubmissionStored { request });
        } else if taken {
            self.wait(id, Asker::Request(request));
        }
    }

    /// Holds a transaction that is new here, sends it on and orders it stored. Returns on how many links it went out.
    fn accept(
        &mut self,
        now: Instant,
        transaction: Transaction,
        origin: Option<Origin>,
        from: Option<LinkId>,
    ) -> usize {
        self.cx.counters.transactions_accepted += 1;
        if let Some(link) = from.and_then(|link| self.connections.links.get_mut(link)) {
            link.brought += 1;
        }
        self.pool_sync.on_accepted(&transaction.id());
        self.store.insert(now, transaction.clone(), origin.is_none());
        if let Some(origin) = &origin {
            self.plumtree.remember(transaction.id(), origin);
            self.note_first_copy(now, origin, from);
        }
        let links = self.flood(now, &transaction, origin.as_ref(), from);
        if self.tells_transactions {
            self.cx.output(Output::Store { transaction: transaction.clone() });
            let peer = from.map(|link| self.connections.links.name_of(link));
            self.cx.notify(Event::Transaction { transaction, origin, peer, links });
        } else {
            self.cx.output(Output::Store { transaction });
        }
        links
    }

    /// Pushes a transaction to every peer that is not known to have it, nor to get it otherwise.
    fn flood(
        &mut self,
        now: Instant,
        transaction: &Transaction,
        origin: Option<&Origin>,
        from: Option<LinkId>,
    ) -> usize {
        let targets = self.targets(now, origin, from);
        let count = targets.len();
        if count > 0 {
            for link in &targets {
                self.note_payload(now, *link);
            }
            self.cx.counters.transactions_sent += count as u64;
            self.cx.send(targets, transaction.frame().clone(), Lane::Payload);
        }
        count
    }

    /// What came with a comparison has no origin here and goes to plain peers alone: full peers find it by their own comparisons.
    pub(crate) fn targets(&mut self, now: Instant, origin: Option<&Origin>, from: Option<LinkId>) -> Vec<LinkId> {
        let Self { connections, plumtree: trees, peers, .. } = self;
        let (links, book) = (&connections.links, &peers.book);
        let source = from.and_then(|link| links.get(link)).map(|link| &link.role);
        let pruned = origin.map(|origin| trees.pruned(origin)).unwrap_or_default();
        let doubles = links.has_doubles();
        // A set: with a thousand links, a list would be gone through a thousand times for each transaction.
        let mut nodes = BTreeSet::new();
        let mut targets = Vec::new();
        for (id, link) in links.iter() {
            if Some(id) == from
                || !link.takes_transactions()
                || matches!(link.flow, Delivery::Replaying { .. } | Delivery::Lagging)
            {
                continue;
            }
            let wanted = match &link.role {
                Role::Native(peer) => {
                    // Of two links to one node only the older carries payload.
                    let second = doubles && !nodes.insert(peer.id);
                    let brought = matches!(source, Some(Role::Native(source)) if source.id == peer.id);
                    let another = origin.is_some_and(|origin| *origin != Origin::Node(peer.id));
                    !second && !brought && another && pruned.binary_search(&id).is_err()
                }
                Role::Exercise { address: Some(address) } => {
                    // A plain peer's own link to us is not the one on which it listens.
                    let brought = matches!(source, Some(Role::Exercise { address: Some(source) }) if source == address);
                    let shy = book.get(address).and_then(|peer| peer.handshakes_only_until);
                    !brought && shy.is_none_or(|until| now >= until)
                }
                Role::Exercise { address: None } | Role::Standby(_) | Role::AwaitingAdmission(_) | Role::Client => {
                    false
                }
            };
            if wanted {
                targets.push(id);
            }
        }
        targets
    }

    /// A direct link to an origin is always its parent; else the link is that brought the latest new transaction. What a client or the application brings
    /// is our own: it has no parent.
    pub(crate) fn note_first_copy(&mut self, now: Instant, origin: &Origin, from: Option<LinkId>) {
        let peer =
            |link: &LinkId| self.connections.links.get(*link).is_some_and(|link| !matches!(link.role, Role::Client));
        let Some(link) = from.filter(peer).filter(|_| *origin != Origin::Node(self.cx.config.node)) else { return };
        let tell = match self.direct_link(origin) {
            None => self.plumtree.first_copy(origin, link),
            Some(direct) => {
                self.keep_to(now, origin, direct);
                if direct == link { TreeAction::Nothing } else { self.plumtree.another_copy(now, origin, link) }
            }
        };
        self.tell(tell, origin);
    }

    /// Makes the direct link to an origin its parent. All other neighbours are told at once that they need not send what it sends.
    pub(crate) fn keep_to(&mut self, now: Instant, origin: &Origin, direct: LinkId) {
        let Some(tell) = self.plumtree.direct(origin, direct) else { return };
        self.tell(tell, origin);
        let others = self
            .connections
            .links
            .iter()
            .filter(|(id, link)| *id != direct && link.full().is_some() && link.takes_transactions());
        let others: Vec<LinkId> = others.map(|(id, _)| id).collect();
        for other in others {
            let tell = self.plumtree.superfluous(now, origin, other);
            self.tell(tell, origin);
        }
    }

    /// Says to a neighbour what its place in an origin's tree is.
    pub(crate) fn tell(&mut self, tell: TreeAction, origin: &Origin) {
        let (link, frame) = match tell {
            TreeAction::Nothing => return,
            TreeAction::Prune(link) => (link, prune_frame(std::slice::from_ref(origin))),
            TreeAction::Graft(link) => (link, graft_frame(std::slice::from_ref(origin))),
        };
        // To a plain peer nothing is said that it does not know: it may die of it.
        if self.connections.links.get(link).is_some_and(|link| link.full().is_some() && !link.closing) {
            match tell {
                TreeAction::Graft(_) => self.cx.counters.grafts_sent += 1,
                _ => self.cx.counters.prunes_sent += 1,
            }
            self.cx.send(vec![link], frame, Lane::Control);
        }
    }

    pub(crate) fn direct_link(&self, origin: &Origin) -> Option<LinkId> {
        let Origin::Node(node) = origin else { return None };
        self.connections
            .links
            .to_node(*node, None)
            .map(|(link, _)| link)
            .filter(|link| self.connections.links.get(*link).is_some_and(Link::takes_transactions))
    }

    /// Copies came in: neighbours that are not the way to their origins are told to send no more of them.
    pub(crate) fn on_repeated(&mut self, now: Instant, link: LinkId, copies: &[(Option<Origin>, u32)]) {
        self.connections.links.hear(now, link);
        self.cx.counters.transactions_duplicate += copies.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
        for origin in copies.iter().filter_map(|(origin, _)| origin.as_ref()) {
            self.on_copy(now, link, origin);
        }
    }

    /// A copy of a transaction or a broadcast came in that names an origin: a neighbour that is not the way to it is told to send no more of it.
    pub(crate) fn on_copy(&mut self, now: Instant, link: LinkId, origin: &Origin) {
        let Some(sender) =
            self.connections.links.get(link).filter(|link| !link.closing).and_then(Link::full).map(|peer| peer.id)
        else {
            return;
        };
        if *origin == Origin::Node(sender) || *origin == Origin::Node(self.cx.config.node) {
            return;
        }
        if let Some(direct) = self.direct_link(origin) {
            self.keep_to(now, origin, direct);
        }
        let tell = self.plumtree.another_copy(now, origin, link);
        self.tell(tell, origin);
    }

    pub(crate) fn on_prune(&mut self, link: LinkId, origins: &[Origin]) {
        if self.connections.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "PRUNE: only full peers are part of a tree");
        }
        // Our own transactions go to everybody: a node that prunes us could not be told from one that is cut off.
        let mut pruned = Vec::new();
        for origin in origins.iter().filter(|origin| **origin != Origin::Node(self.cx.config.node)) {
            let neighbour = self.direct_link(origin).is_some();
            if self.plumtree.prune(origin, link, neighbour) {
                pruned.push(origin.clone());
            }
        }
        if !pruned.is_empty() {
            self.cx.output(Output::DropQueued { link, origins: pruned });
        }
    }

    pub(crate) fn on_graft(&mut self, now: Instant, link: LinkId, origins: &[Origin]) {
        let Some(sender) = self.connections.links.get(link).and_then(Link::full).map(|peer| peer.id) else {
            return self.fault(link, "GRAFT: only full peers are part of a tree");
        };
        if !self.may_graft(now, link) {
            // What it lacks it finds by comparing pools.
            return self.offend(link, ViolationKind::Flood, "GRAFT: far more often than any tree breaks; ignored");
        }
        let mut orphans = match origins {
            [] => self.plumtree.graft_all(link),
            some => some.iter().filter(|origin| self.plumtree.graft(origin, link)).cloned().collect(),
        };
        orphans.retain(|origin| *origin != Origin::Node(sender));
        self.regrow(now, &orphans, Some(link));
    }

    /// Whether a link may graft once more: each makes us ask all our neighbours.
    fn may_graft(&mut self, now: Instant, link: LinkId) -> bool {
        let Some(open) = self.connections.links.get_mut(link) else { return false };
        let used = open.grafts_used_until.unwrap_or(now).max(now) + limits::GRAFT_EVERY;
        let allowed = used <= now + limits::GRAFT_EVERY * limits::GRAFTS_AT_ONCE;
        if allowed {
            open.grafts_used_until = Some(used);
        }
        allowed
    }

    /// The parents of these origins are gone: every neighbour is asked to send them again, and one to compare pools, for what fell between.
    pub(crate) fn regrow(&mut self, now: Instant, origins: &[Origin], except: Option<LinkId>) {
        if origins.is_empty() || self.cx.shutting_down {
            return;
        }
        let neighbours = self
            .connections
            .links
            .iter()
            .filter(|(id, link)| Some(*id) != except && link.full().is_some() && link.takes_transactions());
        let neighbours: Vec<LinkId> = neighbours.map(|(id, _)| id).collect();
        if !neighbours.is_empty() {
            // More than fit into one frame are all: naming them would fill the neighbours' control lanes.
            let named = if origins.len() > limits::ORIGINS { &[] } else { origins };
            self.cx.counters.grafts_sent += neighbours.len() as u64;
            self.cx.send(neighbours, graft_frame(named), Lane::Control);
        }
        self.fetch_from_somebody(now);
    }

    /// Remembers when the first transaction went out on a link.
    pub(crate) fn note_payload(&mut self, now: Instant, link: LinkId) {
        if let Some(link) = self.connections.links.get_mut(link) {
            link.first_payload.get_or_insert(now);
        }
    }

    fn refuse(&mut self, link: LinkId, id: String, ack: bool, reason: String) {
        self.cx.counters.transactions_refused += 1;
        self.cx
            .notify(Event::TransactionRefused { peer: self.connections.links.name_of(link), reason: reason.clone() });
        if ack {
            self.send_ack(link, Ack { id, status: AckStatus::Rejected, reason: Some(reason), links: 0 });
        }
    }

    fn answer_duplicate(&mut self, link: LinkId, id: TransactionId) {
        if self.store.index().is_stored(&id) {
            self.send_ack(link, Ack { id: id.to_string(), status: AckStatus::Duplicate, reason: None, links: 0 });
        } else {
            self.wait(id, Asker::Client { link, status: AckStatus::Duplicate, links: 0 });
        }
    }

    /// ACKs travel with the payload: a client may ask for thousands at once, and they come in batches, after each write.
    fn send_ack(&mut self, link: LinkId, ack: Ack) {
        self.cx.send(vec![link], ack.to_frame(), Lane::Payload);
    }

    fn wait(&mut self, id: TransactionId, asker: Asker) {
        if let Asker::Client { link, .. } = asker
            && let Some(open) = self.connections.links.get_mut(link)
        {
            if open.acks_due >= limits::ACKS_DUE {
                return self.connections.links.close(
                    &mut self.cx,
                    link,
                    close::POLICY,
                    "too many of your transactions wait for the disk",
                );
            }
            open.acks_due += 1;
        }
        self.ack_waiters.0.entry(id).or_default().push(asker);
    }

    /// The disk has these transactions: whoever waits for that is told.
    pub(crate) fn on_stored(&mut self, ids: Vec<TransactionId>) {
        for id in &ids {
            self.store.mark_stored(*id);
            // Most batches answer nobody: then not even the map is asked.
            if self.ack_waiters.is_any() {
                self.answer_askers(*id);
            }
        }
        self.cx.notify(Event::Stored { ids, pool: self.store.index().count() });
    }

    fn answer_askers(&mut self, id: TransactionId) {
        for asker in self.ack_waiters.0.remove(&id).unwrap_or_default() {
            match asker {
                Asker::Request(request) => self.cx.output(Output::SubmissionStored { request }),
                Asker::Client { link, status, links } => {
                    let Some(open) = self.connections.links.get_mut(link).filter(|link| !link.closing) else {
                        continue;
                    };
                    open.acks_due -= 1;
                    self.send_ack(link, Ack { id: id.to_string(), status, reason: None, links });
                }
            }
        }
    }

    /// Somebody else put transactions into our file: they are ours now, and the others get them too.
    pub(crate) fn on_found(&mut self, now: Instant, transactions: Vec<Transaction>) {
        let origin = Origin::Node(self.cx.config.node);
        let new = self.store.add_found(now, &transactions);
        for (transaction, is_new) in transactions.into_iter().zip(new) {
            if is_new {
                self.cx.counters.transactions_accepted += 1;
                self.pool_sync.on_accepted(&transaction.id());
                let transaction = transaction.with_origin(&origin);
                let links = self.flood(now, &transaction, Some(&origin), None);
                self.cx.notify(Event::Transaction { transaction, origin: Some(origin.clone()), peer: None, links });
            }
        }
    }

    /// A link is gone: nobody there waits any more.
    pub(crate) fn drop_waiting(&mut self, gone: LinkId) {
        self.ack_waiters.0.retain(|_, askers| {
            askers.retain(|asker| !matches!(asker, Asker::Client { link, .. } if *link == gone));
            !askers.is_empty()
        });
    }
}
