//! Gives transactions to the nodes that live, at a rate, each to one of them, and enters the answers into the ledger.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use futures_util::stream;
use meshpool::client::Client;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::measures::soak::ledger::Ledger;
use crate::measures::soak::node::{Node, at_home};
use crate::support::generated_pool;

/// After so long without a transaction a connection is closed: a node closes clients that are silent for five seconds.
const IDLE: Duration = Duration::from_secs(2);
/// How many wait for one node at most; more are given to others.
const QUEUE: usize = 4_096;
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with the queue of what it is to be given.
struct Lane {
    node: Arc<Node>,
    queue: mpsc::Sender<Transaction>,
    work: JoinHandle<()>,
}

impl Lane {
    fn open(node: &Arc<Node>, ledger: Option<Arc<Ledger>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { node: Arc::clone(node), queue, work: node.seat.begin(serve(waiting, ledger)) }
    }
}

/// Pushes until the time is over, and then waits for the answers. `alone` is given all that the others are, and its answers count for nothing.
pub(crate) async fn push(
    nodes: &[Arc<Node>],
    alone: &Arc<Node>,
    rate: u32,
    until: Instant,
    mut rng: Xoshiro256PlusPlus,
    ledger: &Arc<Ledger>,
) -> Result<()> {
    let lanes: Vec<_> = nodes.iter().map(|node| Lane::open(node, Some(Arc::clone(ledger)))).collect();
    let shadow = Lane::open(alone, None);
    let mut parser = Parser::new();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // What the machine held up is made up for.
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
        // What finds no room counts as pushed and never answered.
        shadow.queue.try_send(transaction.clone()).ok();
        lane.queue.try_send(transaction).ok();
    }
    for Lane { queue, work, .. } in lanes.into_iter().chain([shadow]) {
        drop(queue);
        timeout(PATIENCE, work).await??;
    }
    Ok(())
}

/// Gives one node what is in its queue. What is on its way when a connection breaks stays without an answer, and may be stored or not.
async fn serve(mut waiting: mpsc::Receiver<Transaction>, ledger: Option<Arc<Ledger>>) {
    while let Some(first) = waiting.recv().await {
        // Who was ended meanwhile is not reached, and what was meant for it is lost, never having been acknowledged.
        let Ok(mut client) = Client::connect(&at_home()).await else { continue };
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
