//! Feeds one link from the pool's file: in bounded pieces, each only when less than half of the link's queue is in use.

use std::sync::Arc;
use std::time::Duration;

use crate::pool::Pool;
use crate::protocol::Lane;
use crate::protocol::id::Session;
use crate::protocol::transaction::Transaction;
use crate::protocol::wire::TransactionFrame;
use crate::transport::link::send_queue::{Gone, Item, Queue};

/// How long feeding rests when the file can not be read; the core will ask again.
const REST: Duration = Duration::from_secs(1);
/// How many bytes are read from the pool at once.
const PIECE: usize = 256 * 1024;

/// Sends transactions from position `from` on until `until`, or until the end of what is on disk. Returns the position after the last one sent; `None` if
/// the link ended first. When it returns at least half of the queue is free. `session` marks the frames as an answer to a comparison.
pub(crate) async fn feed(
    pool: Pool,
    queue: Arc<Queue>,
    from: u64,
    until: Option<u64>,
    session: Option<Session>,
) -> Option<u64> {
    let mut position = from;
    loop {
        match queue.room().await {
            Ok(()) => {}
            Err(Gone) => return None,
        }
        let chunk = match pool.read(position, until, PIECE).await {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::error!("can not read transactions for a peer: {error}");
                tokio::time::sleep(REST).await;
                return Some(position);
            }
        };
        push(&queue, chunk.transactions, session);
        position = chunk.next;
        if chunk.end {
            return queue.room().await.is_ok().then_some(position);
        }
    }
}

/// Sends single transactions from the pool, as an answer to a comparison. What can not be read is found by the next one.
pub(crate) async fn fetch(pool: Pool, queue: Arc<Queue>, positions: Vec<u64>, session: Session) {
    let mut rest = &positions[..];
    while !rest.is_empty() {
        if queue.room().await.is_err() {
            return;
        }
        match pool.read_these(rest, PIECE).await {
            Ok((transactions, read)) => {
                push(&queue, transactions, Some(session));
                rest = rest.get(read.max(1)..).unwrap_or_default();
            }
            Err(error) => return tracing::error!("can not read transactions for a peer: {error}"),
        }
    }
}

fn push(queue: &Queue, transactions: Vec<Transaction>, session: Option<Session>) {
    let frames = transactions.into_iter().map(|transaction| match session {
        Some(session) => TransactionFrame::sync_frame(transaction.body(), session),
        None => transaction.frame().clone(),
    });
    let items: Vec<Item> = frames.map(Item::Text).collect();
    let bytes = items.iter().map(Item::bytes).sum();
    queue.push(Lane::Payload, items, bytes);
}
