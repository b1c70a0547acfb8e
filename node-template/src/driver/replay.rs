//! Replay: sends one link transactions from the pool's file, in pieces. A piece is read only while
//! less than half of the link's send queue is in use.

use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::Lane;
use meshpool_proto::id::Session;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::TransactionFrame;

use crate::pool::Pool;
use crate::transport::send_queue::{Item, SendQueue};

/// The pause after the file cannot be read. The core asks again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many bytes are read from the pool at once.
const PIECE: usize = 256 * 1024;

/// Sends transactions from position `from` on until `until`, or until the end of what is on disk.
/// `session` marks them as an answer to anti-entropy.
///
/// Returns the position behind the last one sent, when at least half of the queue is free; `None`
/// if the link ended first.
pub(crate) async fn replay(
    pool: Pool,
    queue: Arc<SendQueue>,
    from: u64,
    until: Option<u64>,
    session: Option<Session>,
) -> Option<u64> {
    let mut position = from;
    loop {
        queue.wait_for_room().await.ok()?;
        let chunk = match pool.read(position, until, PIECE).await {
            Ok(chunk) => chunk,
            Err(error) => {
                log_unreadable(&error);
                tokio::time::sleep(PAUSE).await;
                return Some(position);
            }
        };
        push(&queue, chunk.transactions, session);
        position = chunk.next;
        if chunk.end {
            return queue.wait_for_room().await.is_ok().then_some(position);
        }
    }
}

/// Sends single transactions as an answer to anti-entropy. A later round finds what cannot be read.
pub(crate) async fn send_positions(pool: Pool, queue: Arc<SendQueue>, positions: Vec<u64>, session: Session) {
    let mut rest = &positions[..];
    while !rest.is_empty() && queue.wait_for_room().await.is_ok() {
        match pool.read_these(rest, PIECE).await {
            Ok((transactions, read)) => {
                push(&queue, transactions, Some(session));
                rest = rest.get(read.max(1)..).unwrap_or_default();
            }
            Err(error) => return log_unreadable(&error),
        }
    }
}

fn push(queue: &SendQueue, transactions: Vec<Transaction>, session: Option<Session>) {
    let frames = transactions.into_iter().map(|transaction| match session {
        Some(session) => TransactionFrame::sync_frame(transaction.body(), session),
        None => transaction.frame().clone(),
    });
    let items: Vec<Item> = frames.map(Item::Text).collect();
    let bytes = items.iter().map(Item::bytes).sum();
    match session {
        Some(_) => queue.push_catch_up(items, bytes),
        None => queue.push(Lane::Payload, items, bytes),
    }
}

/// Logs that a pool could not be read, once per minute: a peer may ask again and again.
fn log_unreadable(error: &impl std::fmt::Display) {
    static LAST: std::sync::Mutex<Option<std::time::Instant>> = std::sync::Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= std::time::Duration::from_secs(60)) {
        *last = Some(std::time::Instant::now());
        tracing::error!("cannot read transactions for a peer: {error}");
    }
}
