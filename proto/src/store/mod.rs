//! What this node holds: the pool's index, the settled part of it that is compared, and broadcasts.

pub(crate) mod broadcast_store;
pub(crate) mod pool_index;
mod position_map;
pub(crate) mod replay;
pub(crate) mod set_digest;
pub(crate) mod sorted_blocks;
pub(crate) mod sync_set;

use std::time::Instant;

use crate::causes::StoreError;
use crate::context::Context;
use crate::event::Event;
use crate::limits::Limits;
use crate::store::pool_index::PoolIndex;
use crate::store::sync_set::SyncSet;
use crate::transaction::{Transaction, TransactionId};
use crate::wire::Floor;

/// The pool, as far as the core knows it: the bodies of stored transactions are in the file only.
#[derive(Debug)]
pub(crate) struct Store {
    index: PoolIndex,
    sync_set: SyncSet,
    /// How many bytes the transactions have, on disk or not.
    bytes: u64,
    /// How many transactions were new since the start.
    accepted: u64,
    /// Whether the pool's file takes writes, as far as is known.
    writable: bool,
    /// Whether it was reported that the pool is full.
    reported_full: bool,
    /// The name of the file, for people.
    file: String,
}

impl Store {
    /// Takes the identities and times of a pool in the order of their positions.
    pub(crate) fn new(pool: Vec<(TransactionId, u64)>) -> Self {
        let sync_set = SyncSet::of(pool.iter().copied());
        Self {
            sync_set,
            index: PoolIndex::of(pool.into_iter().map(|(id, _)| id)),
            bytes: 0,
            accepted: 0,
            writable: true,
            reported_full: false,
            file: "transactions.json".to_owned(),
        }
    }

    /// The same, in another file.
    pub(crate) fn in_file(self, file: String) -> Self {
        Self { file, ..self }
    }

    /// Notes how many bytes the stored transactions have, in the file. Those that wait for it count
    /// as they came.
    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes + self.index.unstored_bytes() as u64;
    }

    /// Returns which transactions are held, and where.
    pub(crate) fn index(&self) -> &PoolIndex {
        &self.index
    }

    /// Returns the settled set, which anti-entropy compares.
    pub(crate) fn sync_set(&mut self) -> &mut SyncSet {
        &mut self.sync_set
    }

    /// Returns how many transactions were new since the start. It grows with each.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Inserts a transaction that is new here. One that is `settled` came out of another pool.
    pub(crate) fn insert(&mut self, now: Instant, transaction: Transaction, settled: bool) {
        self.accepted += 1;
        self.bytes += transaction.body_bytes() as u64;
        if settled {
            self.sync_set.insert_settled(transaction.id(), transaction.time());
        } else {
            self.sync_set.insert(now, transaction.id(), transaction.time());
        }
        self.index.insert(transaction);
    }

    /// Notes that the disk has the oldest transaction that it had not.
    pub(crate) fn mark_stored(&mut self, id: TransactionId) {
        self.index.mark_stored(id);
    }

    /// Adds transactions that another program put into the file, and returns of each whether it is
    /// new here.
    pub(crate) fn add_found(&mut self, now: Instant, transactions: &[Transaction]) -> Vec<bool> {
        let new = self.index.add_found(transactions.iter().map(Transaction::id));
        for (transaction, _) in transactions.iter().zip(&new).filter(|(_, new)| **new) {
            self.accepted += 1;
            self.bytes += transaction.body_bytes() as u64;
            self.sync_set.insert(now, transaction.id(), transaction.time());
        }
        new
    }

    /// Forgets transactions that somebody removed from the file.
    pub(crate) fn remove(&mut self, ids: &[TransactionId]) {
        let before = self.index.count();
        let removed = self.index.remove(ids);
        // Their sizes are not known here: each counts as the mean.
        let gone = before.saturating_sub(self.index.count());
        self.bytes -= (u128::from(self.bytes) * u128::from(gone) / u128::from(before.max(1))) as u64;
        self.sync_set.remove(&removed);
    }

    /// Forgets stored transactions that retention removes, each with its length, and takes nothing
    /// below a floor for kept any more. Returns those that were stored.
    pub(crate) fn forget(&mut self, rows: &[(TransactionId, u32)], floor: Floor) -> Vec<TransactionId> {
        let gone = self.index.forget(rows.iter().map(|(id, _)| *id));
        let bytes: u64 = rows.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.sync_set.remove(&gone);
        self.sync_set.set_floor(floor);
        gone
    }

    /// Returns how many bytes the transactions have, on disk or not.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns an error, in words for the sender, if no transaction can be accepted now.
    pub(crate) fn check_room(&self, limits: &Limits) -> Result<(), String> {
        if let Some(full) = self.fullness(limits) {
            Err(full)
        } else if !self.writable && self.index.unstored_bytes() >= limits.unstored_bytes {
            Err(format!("the disk takes no writes: free space on it, or make {} writable, then send again", self.file))
        } else {
            Ok(())
        }
    }

    /// Returns which limit the pool has reached, in words for the sender; `None` if it has room.
    pub(crate) fn fullness(&self, limits: &Limits) -> Option<String> {
        let (count, bytes) = (self.index.count(), self.bytes);
        if count >= limits.pool_transactions {
            let limit = limits.pool_transactions;
            Some(format!("the pool is full: it holds {count} transactions, and POOL_TRANSACTIONS allows {limit}"))
        } else if bytes >= limits.pool_bytes {
            let limit = limits.pool_bytes;
            Some(format!("the pool is full: its transactions have {bytes} bytes, and POOL_BYTES allows {limit}"))
        } else {
            None
        }
    }

    /// Returns how many of the settled transactions have no time.
    pub(crate) fn untimed(&self) -> usize {
        self.sync_set.untimed()
    }

    /// Returns below which nothing is kept.
    pub(crate) fn floor(&self) -> Floor {
        self.sync_set.floor()
    }

    /// Returns the times of the oldest and of the newest transaction that has one.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        self.sync_set.times()
    }

    /// Returns how many more transactions may be accepted.
    pub(crate) fn room(&self, limits: &Limits) -> usize {
        match self.check_room(limits) {
            Ok(()) => usize::try_from(limits.pool_transactions - self.index.count()).unwrap_or(usize::MAX),
            Err(_) => 0,
        }
    }

    /// Warns when the pool becomes full.
    pub(crate) fn watch_room(&mut self, cx: &mut Context) {
        let full = self.fullness(&cx.config.limits);
        if !std::mem::replace(&mut self.reported_full, full.is_some())
            && let Some(full) = full
        {
            let text = format!(
                "{full}; new ones are refused and not passed on, and nothing is fetched from peers; set a higher limit and start the node again"
            );
            cx.notify(Event::Warning { text });
        }
    }

    /// Returns whether the pool's file takes writes, as far as is known.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(crate) fn on_write_failed(&mut self, cx: &mut Context, error: StoreError) {
        self.writable = false;
        cx.notify(Event::StoreFailed { error });
    }

    pub(crate) fn on_write_recovered(&mut self, cx: &mut Context) {
        self.writable = true;
        cx.notify(Event::StoreRecovered);
    }
}

#[cfg(test)]
mod tests;
