//! A counter that every node may change at any time, also while it is cut off: a PN-counter, one of
//! the conflict-free replicated data types (Shapiro and others, 2011).
//!
//! Each node publishes its own totals, and nobody else's. The value is the sum of the newest totals
//! of all, in whatever order they came. Run several, and type `+3`, `-1` or `show`:
//!
//! ```text
//! cargo run -p meshpool --example counter -- /tmp/one
//! cargo run -p meshpool --example counter -- /tmp/two ws://localhost:<the port of the first>
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use meshpool::{Network, NodeId, TopicConfig, TypedItem};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// The totals of one node. They only grow, so of two the larger is the newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Totals {
    added: u64,
    removed: u64,
}

/// The totals of all nodes, by who signed them.
#[derive(Debug, Default)]
struct Counter(BTreeMap<NodeId, Totals>);

impl Counter {
    /// Takes the larger of each: the order and the number of calls have no effect.
    fn merge(&mut self, node: NodeId, totals: Totals) {
        let known = self.0.entry(node).or_default();
        known.added = known.added.max(totals.added);
        known.removed = known.removed.max(totals.removed);
    }

    fn value(&self) -> i128 {
        self.0.values().map(|totals| i128::from(totals.added) - i128::from(totals.removed)).sum()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: counter FOLDER [ADDRESS OF A NODE]")?;
    std::fs::create_dir_all(&folder)?;
    // Signed, so that each node changes its own totals only.
    let counts = TopicConfig::on_disk().require_signatures(true);
    let mut network = Network::new("localhost").name("counter").folder(folder).sign_submissions(true);
    network = network.topic("counts", counts);
    if let Some(peer) = arguments.next() {
        network = network.known_peer(peer.parse()?);
    }
    let node = network.start().await?;
    println!("node {} at {}", node.id(), node.address());
    let topic = node.topic("counts")?.typed::<Totals>();

    // What this node said before it was restarted has to be known before it says more.
    let stored = topic.topic().positions().end;
    let (mut follow, mut counter, mut lines) = (topic.follow(0), Counter::default(), typed());
    loop {
        tokio::select! {
            item = follow.next() => {
                if let TypedItem::Item { signer: Some(signer), value, .. } = item? {
                    counter.merge(signer, value);
                    println!("value {}", counter.value());
                }
            }
            line = lines.recv(), if follow.position() >= stored => {
                let Some(line) = line else { break };
                let mut own = counter.0.get(&node.id()).copied().unwrap_or_default();
                match (line.strip_prefix('+'), line.strip_prefix('-')) {
                    (Some(number), _) => own.added += number.parse::<u64>()?,
                    (_, Some(number)) => own.removed += number.parse::<u64>()?,
                    _ => println!("value {}", counter.value()),
                }
                counter.merge(node.id(), own);
                topic.publish(&own).await?;
            }
        }
    }
    node.shutdown().await?;
    Ok(())
}

/// The lines of standard input, read by a thread, because a read cannot be cancelled.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
    });
    lines
}
