//! Submits transactions at a rate, each to one running node, and records the ACKs in the ledger.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use futures_util::stream;
use meshpool::Client;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::measures::soak::ledger::Ledger;
use crate::support::generated_pool;
use crate::support::testbed::node::{Node, local_address};

/// A connection without transactions for this long is closed, since a node closes clients that are
/// silent for five seconds.
const IDLE: Duration = Duration::from_secs(2);
/// The most transactions in a node's queue; other nodes get those that do not fit.
const QUEUE: usize = 4_096;
/// The longest wait for the last ACKs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with its queue.
struct Lane {
    node: Arc<Node>,
    queue: mpsc::Sender<Transaction>,
    work: JoinHandle<()>,
}

impl Lane {
    fn open(node: &Arc<Node>, ledger: Option<Arc<Ledger>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { node: Arc::clone(node), queue, work: node.namespace.spawn(serve(waiting, ledger)) }
    }
}

/// Submits until the time is over, then waits for the ACKs. The isolated node gets all
/// transactions, and its ACKs do not count.
pub(crate) async fn push(
    nodes: &[Arc<Node>],
    isolated: &Arc<Node>,
    rate: u32,
    until: Instant,
    mut rng: Xoshiro256PlusPlus,
    ledger: &Arc<Ledger>,
) -> Result<()> {
    let lanes: Vec<_> = nodes.iter().map(|node| Lane::open(node, Some(Arc::clone(ledger)))).collect();
    let shadow = Lane::open(isolated, None);
    let mut parser = Parser::new();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // The schedule catches up after a delay.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    while ticks.tick().await < until {
        let alive: Vec<_> =
            lanes.iter().filter(|lane| lane.node.pid().is_some() && lane.queue.capacity() > 0).collect();
        let Some(lane) = alive.choose(&mut rng) else { continue };
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let transaction =
            Transaction::parse(&mut parser, &generated_pool::transaction(number, time - generated_pool::FIRST_TIME))?;
        number += 1;
        ledger.pushed(transaction.body());
        // What does not fit counts as submitted and is never acknowledged.
        shadow.queue.try_send(transaction.clone()).ok();
        lane.queue.try_send(transaction).ok();
    }
    for Lane { queue, work, .. } in lanes.into_iter().chain([shadow]) {
        drop(queue);
        timeout(PATIENCE, work).await??;
    }
    Ok(())
}

/// Submits what is in a node's queue. When a connection breaks, its outstanding transactions stay
/// without an ACK, and may be stored or not.
async fn serve(mut waiting: mpsc::Receiver<Transaction>, ledger: Option<Arc<Ledger>>) {
    while let Some(first) = waiting.recv().await {
        // A node that is down gets nothing: the transaction is dropped, and was never acknowledged.
        let Ok(mut client) = Client::connect(&local_address()).await else { continue };
        let source = stream::unfold((Some(first), &mut waiting), async |(first, waiting)| match first {
            Some(first) => Some((first, (None, waiting))),
            None => {
                let next = timeout(IDLE, waiting.recv()).await.ok().flatten();
                next.map(|next| (next, (None, waiting)))
            }
        });
        let submitted = client
            .submit_many(source, |ack| {
                if let Some(ledger) = &ledger {
                    ledger.on_ack(&ack);
                }
            })
            .await;
        if submitted.is_ok() {
            client.close().await;
        }
    }
}
