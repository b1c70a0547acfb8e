//! How a transaction spreads: accepted once, sent on to every peer but the one that brought it, and
//! acknowledged when the disk has it.
//!
//! A copy is known by the transaction's identity, so a flood ends by itself; and peers prune links
//! that bring copies (`plumtree.rs`). The first copy is sent on at once, before the disk has it; a
//! client's ACK follows the disk.

use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::event::Event;
use crate::gossip::ack_waiters::{AckWaiters, Waiter, send_ack};
use crate::gossip::plumtree::Plumtree;
use crate::id::LinkId;
use crate::io::{Lane, Output, RequestId, Submission};
use crate::store::Store;
use crate::transaction::{InvalidTransaction, Origin, Transaction, TransactionId};
use crate::wire::{Ack, AckStatus};

/// See the module.
#[derive(Debug)]
pub(crate) struct Gossip {
    pub(crate) plumtree: Plumtree,
    ack_waiters: AckWaiters,
    /// Whether each transaction is reported by an event.
    reports_transactions: bool,
    /// How many of the next transactions are traced.
    traced: usize,
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            plumtree: Plumtree::default(),
            ack_waiters: AckWaiters::default(),
            reports_transactions: true,
            traced: 0,
        }
    }
}

/// A valid transaction, as it came in on a link.
pub(crate) struct Received {
    pub(crate) transaction: Transaction,
    /// Who first sent it into the network, if the frame names somebody.
    pub(crate) origin: Option<Origin>,
    /// Whether an ACK is asked for.
    pub(crate) ack: bool,
    /// Whether it answers a comparison of pools.
    pub(crate) synced: bool,
}

impl Gossip {
    /// Returns whether a client or the application waits for the disk.
    pub(crate) fn is_disk_awaited(&self) -> bool {
        !self.ack_waiters.is_empty()
    }

    /// Sets whether each transaction is reported by an event.
    pub(crate) fn report_transactions(&mut self, report: bool) {
        self.reports_transactions = report;
    }

    /// Sets how many of the next transactions are traced.
    pub(crate) fn trace_transactions(&mut self, next: usize) {
        self.traced = next;
    }

    /// Handles a transaction. Returns whether it is new here and answers a comparison of pools.
    pub(crate) fn on_transaction(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        link: LinkId,
        received: Received,
    ) -> bool {
        let Received { transaction, origin, ack, synced } = received;
        let id = transaction.id();
        if store.index().holds(&id) {
            cx.counters.transactions_duplicate += 1;
            if ack {
                self.acknowledge_duplicate(cx, links, store, link, id);
            }
            // Whatever origin it names: a liar's would be flooded for ever, since no two copies
            // that come here name it.
            if let Some(origin) = origin.filter(|_| !synced) {
                self.plumtree.on_copy(cx, links, link, &origin);
            }
            return false;
        }
        if let Err(reason) = store.check_room(&cx.config.limits) {
            reject(cx, links, link, id.to_string(), ack, reason);
            return false;
        }
        let Some(open) = links.get(link) else { return false };
        // Only a native peer has compared pools with us.
        let synced = synced && open.native().is_some();
        // A native peer's word for the origin is believed. A client is ours, and an exercise peer
        // is its own origin.
        let named = match &open.state {
            LinkState::HelloSent(peer) | LinkState::Verifying(peer) | LinkState::Established(peer) => {
                origin.clone().unwrap_or(Origin::Node(peer.id))
            }
            LinkState::ExerciseInbound { address: Some(address) } | LinkState::ExerciseOutbound { address } => {
                Origin::Exercise(address.clone())
            }
            _ => Origin::Node(cx.config.node),
        };
        let right = synced || origin.as_ref() == Some(&named);
        let transaction = if right { transaction } else { transaction.with_origin(&named) };
        if synced {
            cx.counters.transactions_synced += 1;
        }
        let count = self.accept(cx, links, store, transaction, Some(named).filter(|_| !synced), Some(link));
        if ack {
            let waiter = Waiter::Client { link, status: AckStatus::Stored, links: count };
            self.ack_waiters.add(cx, links, id, waiter);
        }
        synced
    }

    /// Handles a transaction of the application.
    pub(crate) fn on_submit(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        request: RequestId,
        transaction: Transaction,
    ) {
        let id = transaction.id();
        let origin = Origin::Node(cx.config.node);
        let outcome = if store.index().holds(&id) {
            cx.counters.transactions_duplicate += 1;
            Ok(Submission { id, links: 0, duplicate: true })
        } else if let Err(reason) = store.check_room(&cx.config.limits) {
            cx.counters.transactions_refused += 1;
            Err(reason)
        } else {
            let links = self.accept(cx, links, store, transaction.with_origin(&origin), Some(origin), None);
            Ok(Submission { id, links, duplicate: false })
        };
        let accepted = outcome.is_ok();
        cx.output(Output::Submitted { request, outcome });
        if accepted && store.index().is_stored(&id) {
            cx.output(Output::SubmissionStored { request });
        } else if accepted {
            self.ack_waiters.add(cx, links, id, Waiter::Request(request));
        }
    }

    /// Handles transactions that another program put into the pool's file: they are ours, and
    /// spread as ours.
    pub(crate) fn on_pool_added(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        transactions: Vec<Transaction>,
    ) {
        let origin = Origin::Node(cx.config.node);
        let new = store.add_found(cx.now, &transactions);
        for (transaction, _) in transactions.into_iter().zip(new).filter(|(_, new)| *new) {
            cx.counters.transactions_accepted += 1;
            let transaction = transaction.with_origin(&origin);
            let links = self.flood(cx, links, &transaction, Some(&origin), None);
            cx.notify(Event::Transaction { transaction, origin: Some(origin.clone()), peer: None, links });
        }
    }

    /// Handles copies of transactions that the runtime recognised by their text.
    pub(crate) fn on_duplicates(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        link: LinkId,
        copies: &[(Option<Origin>, u32)],
    ) {
        cx.counters.transactions_duplicate += copies.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
        for origin in copies.iter().filter_map(|(origin, _)| origin.as_ref()) {
            self.plumtree.on_copy(cx, links, link, origin);
        }
    }

    /// Handles transactions that are on disk now: answers all who wait for them.
    pub(crate) fn on_stored(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        ids: Vec<TransactionId>,
    ) {
        for id in &ids {
            store.mark_stored(*id);
            self.ack_waiters.on_stored(cx, links, *id);
        }
        cx.notify(Event::Stored { ids, pool: store.index().count() });
    }

    /// Forgets a link that is closed. Returns whether a tree broke, so that pools are to be
    /// compared.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) -> bool {
        self.ack_waiters.on_link_closed(link);
        self.plumtree.on_link_closed(cx, links, link)
    }

    /// Accepts a transaction that is new here: sends it on and orders it stored. Returns on how
    /// many links it went out. One without origin came with a comparison of pools.
    fn accept(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        transaction: Transaction,
        origin: Option<Origin>,
        from: Option<LinkId>,
    ) -> usize {
        cx.counters.transactions_accepted += 1;
        if let Some(link) = from.and_then(|link| links.get_mut(link)) {
            link.brought += 1;
        }
        store.insert(cx.now, transaction.clone(), origin.is_none());
        if let Some(origin) = &origin {
            self.plumtree.remember(transaction.id(), origin);
            self.plumtree.on_first_copy(cx, links, origin, from);
        }
        let count = self.flood(cx, links, &transaction, origin.as_ref(), from);
        if self.reports_transactions {
            cx.output(Output::Store { transaction: transaction.clone() });
            let peer = from.map(|link| links.name_of(link));
            cx.notify(Event::Transaction { transaction, origin, peer, links: count });
        } else {
            cx.output(Output::Store { transaction });
        }
        count
    }

    /// Sends a transaction to every peer that is not known to have it, or to get it on another
    /// link.
    fn flood(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        transaction: &Transaction,
        origin: Option<&Origin>,
        from: Option<LinkId>,
    ) -> usize {
        let traced = self.traced > 0;
        let trace = traced.then(|| self.plumtree.trace(cx, links, transaction.id(), origin, from));
        let targets = self.plumtree.targets(cx, links, origin, from);
        let count = targets.links.len();
        if count > 0 {
            if targets.exercise {
                for link in &targets.links {
                    let open = links.get_mut(*link).filter(|open| open.is_exercise());
                    if let Some(open) = open {
                        open.note_payload(cx, *link);
                    }
                }
            }
            cx.counters.transactions_sent += count as u64;
            cx.send(targets.links, transaction.frame().clone(), Lane::Payload);
        }
        if let Some(trace) = trace {
            self.traced -= 1;
            cx.output(Output::Trace(Box::new(trace)));
        }
        count
    }

    fn acknowledge_duplicate(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &Store,
        link: LinkId,
        id: TransactionId,
    ) {
        let status = AckStatus::Duplicate;
        if store.index().is_stored(&id) {
            send_ack(cx, link, &Ack { id: id.to_string(), status, reason: None, links: 0 });
        } else {
            self.ack_waiters.add(cx, links, id, Waiter::Client { link, status, links: 0 });
        }
    }
}

/// Answers data that is no transaction, or none that this node takes.
pub(crate) fn reject_invalid(cx: &mut Context, links: &LinkTable, link: LinkId, error: &InvalidTransaction, ack: bool) {
    match error {
        InvalidTransaction::Unsigned { .. } => cx.counters.transactions_unsigned += 1,
        InvalidTransaction::Forged { .. } => cx.counters.transactions_forged += 1,
        // What becomes of it is told later.
        InvalidTransaction::Deferred { .. } | InvalidTransaction::PutOff { .. } => return,
        _ => {}
    }
    let id = error.id().map(|id| id.to_string()).unwrap_or_default();
    if matches!(error, InvalidTransaction::Ignored { .. }) {
        cx.counters.transactions_ignored += 1;
        return answer_rejected(cx, link, id, ack, error.to_string());
    }
    reject(cx, links, link, id, ack, error.to_string());
}

fn reject(cx: &mut Context, links: &LinkTable, link: LinkId, id: String, ack: bool, reason: String) {
    cx.counters.transactions_refused += 1;
    cx.notify(Event::TransactionRefused { peer: links.name_of(link), reason: reason.clone() });
    answer_rejected(cx, link, id, ack, reason);
}

fn answer_rejected(cx: &mut Context, link: LinkId, id: String, ack: bool, reason: String) {
    if ack {
        send_ack(cx, link, &Ack { id, status: AckStatus::Rejected, reason: Some(reason), links: 0 });
    }
}

#[cfg(test)]
mod tests;
