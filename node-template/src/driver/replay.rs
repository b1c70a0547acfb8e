//! Replay: sends one link transactions from the pool's file, or items of a topic, in pieces. A
//! piece is read only while less than half of the link's send queue is in use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshpool_proto::Lane;
use meshpool_proto::id::Session;
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::util::log_throttle::Window;
use meshpool_proto::wire::{TopicFrame, TransactionFrame};

use crate::pool::{Chunk, Memory, Pool, PoolError, Reader};
use crate::transport::send_queue::{Item, SendQueue};

/// The pause after the file cannot be read. The core asks again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many bytes are read from the pool at once.
const PIECE: usize = 256 * 1024;

/// What is read: a file, or the items of a topic without one.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    File(Pool),
    Memory(Memory),
}

impl Rows {
    /// Returns what reads them for people and rules.
    pub(crate) fn reader(&self) -> Reader {
        match self {
            Self::File(pool) => pool.reader(),
            Self::Memory(memory) => Reader::of_memory(memory.clone()),
        }
    }

    async fn read(&self, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Chunk, PoolError> {
        match self {
            Self::File(pool) => pool.read(from, until, max_bytes).await,
            Self::Memory(memory) => Ok(memory.read(from, until, max_bytes)),
        }
    }

    async fn read_these(&self, positions: &[u64], max_bytes: usize) -> Result<(Vec<Transaction>, usize), PoolError> {
        match self {
            Self::File(pool) => pool.read_these(positions, max_bytes).await,
            Self::Memory(memory) => Ok(memory.read_these(positions, max_bytes)),
        }
    }
}

/// Sends transactions from position `from` on until `until`, or until the end of what is on disk.
/// `session` marks them as an answer to anti-entropy. Items of a topic are wrapped.
///
/// Returns the position behind the last one sent, when at least half of the queue is free; `None`
/// if the link ended first.
pub(crate) async fn replay(
    rows: Rows,
    topic: Option<TopicName>,
    queue: Arc<SendQueue>,
    from: u64,
    until: Option<u64>,
    session: Option<Session>,
) -> Option<u64> {
    let mut position = from;
    loop {
        queue.wait_for_room().await.ok()?;
        let chunk = match rows.read(position, until, PIECE).await {
            Ok(chunk) => chunk,
            Err(error) => {
                log_unreadable(&error);
                tokio::time::sleep(PAUSE).await;
                return Some(position);
            }
        };
        push(&queue, topic.as_ref(), chunk.transactions, session).await;
        position = chunk.next;
        if chunk.end {
            return queue.wait_for_room().await.is_ok().then_some(position);
        }
    }
}

/// Sends single transactions as an answer to anti-entropy. If the file cannot be read, a later
/// round finds them.
pub(crate) async fn send_positions(
    rows: Rows,
    topic: Option<TopicName>,
    queue: Arc<SendQueue>,
    positions: Vec<u64>,
    session: Session,
) {
    let mut rest = &positions[..];
    while !rest.is_empty() && queue.wait_for_room().await.is_ok() {
        match rows.read_these(rest, PIECE).await {
            Ok((transactions, read)) => {
                push(&queue, topic.as_ref(), transactions, Some(session)).await;
                rest = rest.get(read.max(1)..).unwrap_or_default();
            }
            Err(error) => return log_unreadable(&error),
        }
    }
}

/// Queues transactions, and waits until the address group of the link may be sent more.
async fn push(queue: &SendQueue, topic: Option<&TopicName>, transactions: Vec<Transaction>, session: Option<Session>) {
    let frames = transactions.into_iter().map(|transaction| {
        let frame = match session {
            Some(session) => TransactionFrame::sync_frame(transaction.body(), session),
            None => transaction.frame().clone(),
        };
        topic.map_or_else(|| frame.clone(), |topic| TopicFrame::wrap(topic, &frame))
    });
    let items: Vec<Item> = frames.map(Item::Text).collect();
    let bytes = items.iter().map(Item::bytes).sum();
    match session {
        Some(_) => queue.push_catch_up(items, bytes),
        None => queue.push(Lane::Payload, items, bytes),
    }
    queue.on_served(bytes).await;
}

/// Logs that a pool could not be read, once per minute: a peer may ask again and again.
fn log_unreadable(error: &impl std::fmt::Display) {
    static LINES: Mutex<Window> = Mutex::new(Window::new(1, Duration::from_secs(60)));
    if LINES.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) {
        tracing::error!("cannot read transactions for a peer: {error}");
    }
}
