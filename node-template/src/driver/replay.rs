//! Replay: sends one link transactions from the pool's file, in pieces. A piece is read only while
//! less than half of the link's send queue is in use.

use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::Lane;
use meshpool_proto::id::Session;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::TransactionFrame;

use crate::pool::Pool;
use crate::transport::send_queue::{Gone, Item, SendQueue};

/// The pause after the file cannot be read. The core asks again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many bytes are read from the pool at once.
const PIECE: usize = 256 * 1024;

/// Reads the pool for links. A clone reads the same pool.
#[derive(Debug, Clone)]
pub(crate) struct Replayer {
    pool: Pool,
    /// Marks frames that answer anti-entropy.
    session: Session,
}

impl Replayer {
    pub(crate) fn new(pool: Pool, session: Session) -> Self {
        Self { pool, session }
    }

    /// Sends transactions from position `from` on until `until`, or until the end of what is on
    /// disk. `synced` marks them as an answer to anti-entropy.
    ///
    /// Returns the position behind the last one sent, when at least half of the queue is free;
    /// `None` if the link ended first.
    pub(crate) async fn replay(
        self,
        queue: Arc<SendQueue>,
        from: u64,
        until: Option<u64>,
        synced: bool,
    ) -> Option<u64> {
        let session = synced.then_some(self.session);
        let mut position = from;
        loop {
            if let Err(Gone) = queue.wait_for_room().await {
                return None;
            }
            let chunk = match self.pool.read(position, until, PIECE).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::error!("cannot read transactions for a peer: {error}");
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

    /// Sends single transactions as an answer to anti-entropy. A later round finds what cannot be
    /// read.
    pub(crate) async fn send_positions(self, queue: Arc<SendQueue>, positions: Vec<u64>) {
        let mut rest = &positions[..];
        while !rest.is_empty() {
            if let Err(Gone) = queue.wait_for_room().await {
                return;
            }
            match self.pool.read_these(rest, PIECE).await {
                Ok((transactions, read)) => {
                    push(&queue, transactions, Some(self.session));
                    rest = rest.get(read.max(1)..).unwrap_or_default();
                }
                Err(error) => return tracing::error!("cannot read transactions for a peer: {error}"),
            }
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
    queue.push(Lane::Payload, items, bytes);
}
