//! A small blockchain: blocks with proof of work, the longest chain counts, orphans wait for their
//! parents, and a late joiner gets the past. Each process is a node; run several:
//!
//! ```text
//! cargo run -p meshpool --example blockchain -- /tmp/one
//! cargo run -p meshpool --example blockchain -- /tmp/two ws://localhost:<the port of the first>
//! ```
//!
//! Then type `mine <text>`, `head`, or `block <height>`, which asks another node.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meshpool::protocol::json::Parser;
use meshpool::{Followed, Handle, Network, Transaction, TransactionExt, Until, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How many hexadecimal zeros the id of a block begins with: 4,096 tries for each block.
const ZEROS: usize = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Block {
    /// The id of the block before; `None`: this is a first block.
    parent: Option<String>,
    /// How many blocks are before it, and one.
    height: u64,
    text: String,
    nonce: u64,
}

/// The blocks that are stored, by id, and the end of the longest chain.
#[derive(Debug, Default)]
struct Chain {
    blocks: HashMap<String, Block>,
    head: Option<String>,
}

impl Chain {
    /// Every node gives the same answer sooner or later: what depends on a block that has not come
    /// is deferred, and not rejected.
    fn judge(&self, transaction: &Transaction) -> Validation {
        let Ok(block) = transaction.parse::<Block>() else {
            return Validation::Reject("this pool takes blocks".to_owned());
        };
        if !transaction.id().to_string().starts_with(&"0".repeat(ZEROS)) {
            return Validation::Reject(format!("a block's id begins with {ZEROS} zeros"));
        }
        let before = match &block.parent {
            None => 0,
            Some(parent) => match self.blocks.get(parent) {
                Some(parent) => parent.height,
                // The pool may have it before this chain does, so time passes too.
                None => return Validation::Defer(Until::changed_or_after(Duration::from_millis(100))),
            },
        };
        match block.height == before + 1 {
            true => Validation::Accept,
            false => Validation::Reject(format!("its height is {}, not {}", before + 1, block.height)),
        }
    }

    /// Adds a stored block. Of two chains of one length that with the lower id counts, so all nodes
    /// agree.
    fn add(&mut self, transaction: &Transaction) {
        // The file may have been edited.
        let (Validation::Accept, Ok(block)) = (self.judge(transaction), transaction.parse::<Block>()) else {
            return;
        };
        let id = transaction.id().to_string();
        let best = self.head.as_ref().map(|head| (self.blocks[head].height, head));
        let longer = best.is_none_or(|(height, head)| block.height > height || (block.height == height && id < *head));
        if longer {
            self.head = Some(id.clone());
        }
        self.blocks.insert(id, block);
    }

    /// The block of the longest chain at a height.
    fn at(&self, height: u64) -> Option<&Block> {
        let mut block = self.blocks.get(self.head.as_ref()?)?;
        while block.height > height {
            block = self.blocks.get(block.parent.as_ref()?)?;
        }
        (block.height == height).then_some(block)
    }

    /// The next block on the longest chain, with its work done.
    fn mine(&self, text: &str) -> Result<Transaction, Box<dyn Error>> {
        let height = self.head.as_ref().map_or(0, |head| self.blocks[head].height) + 1;
        let mut block = Block { parent: self.head.clone(), height, text: text.to_owned(), nonce: 0 };
        let mut parser = Parser::new();
        loop {
            let transaction = Transaction::parse(&mut parser, &serde_json::to_string(&block)?)?;
            if transaction.id().to_string().starts_with(&"0".repeat(ZEROS)) {
                return Ok(transaction);
            }
            block.nonce += 1;
        }
    }
}

fn lock(chain: &Mutex<Chain>) -> MutexGuard<'_, Chain> {
    chain.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: blockchain FOLDER [ADDRESS OF A NODE]")?;
    std::fs::create_dir_all(&folder)?;
    let chain = Arc::new(Mutex::new(Chain::default()));
    let rules = Arc::clone(&chain);
    let mut network = Network::new("localhost").name("blockchain").folder(folder);
    network = network.validate_with(move |transaction, _| {
        let verdict = lock(&rules).judge(&transaction);
        async move { verdict }
    });
    if let Some(peer) = arguments.next() {
        network = network.known_peer(peer.parse()?);
    }
    let node = network.start().await?;
    println!("node {} at {}", node.id(), node.address());

    // "Give me block n": the height as text, the answer as JSON.
    let serving = Arc::clone(&chain);
    node.serve(move |request| {
        let height = std::str::from_utf8(&request.payload).ok().and_then(|text| text.parse().ok());
        let block = height.and_then(|height| lock(&serving).at(height).cloned());
        async move { block.map(|block| serde_json::json!(block).to_string()).ok_or("no such block") }
    });

    // What is stored already comes first, and then what is new: one way in for both.
    let mut follow = node.topic("transactions")?.follow(0);
    let mut lines = typed();
    loop {
        tokio::select! {
            followed = follow.next() => {
                if let Followed::Item { transaction, .. } = followed? {
                    let mut chain = lock(&chain);
                    chain.add(&transaction);
                    print_head(&chain);
                }
            }
            line = lines.recv() => {
                let Some(line) = line else { break };
                match line.split_once(' ').unwrap_or((&line, "")) {
                    ("mine", text) => {
                        let block = lock(&chain).mine(text)?;
                        if let Err(error) = node.submit_transaction(block).await {
                            println!("not mined: {error}");
                        }
                    }
                    ("head", _) => print_head(&lock(&chain)),
                    ("block", height) => println!("{}", ask(&node, height).await),
                    _ => println!("mine TEXT, head, or block HEIGHT"),
                }
            }
        }
    }
    node.shutdown().await?;
    Ok(())
}

fn print_head(chain: &Chain) {
    if let Some(head) = &chain.head {
        let Block { height, text, .. } = &chain.blocks[head];
        println!("head {height} {} {text:?}", &head[..8]);
    }
}

/// Asks the other nodes for a block, one after the other.
async fn ask(node: &Handle, height: &str) -> String {
    let mut answer = "nobody else is there".to_owned();
    for member in node.nodes().await.unwrap_or_default().into_iter().filter(|member| !member.me) {
        let Ok(peer) = member.node.parse() else { continue };
        match node.request(peer, height.to_owned()).timeout(Duration::from_secs(5)).await {
            Ok(block) => return format!("block {}", String::from_utf8_lossy(&block)),
            Err(error) => answer = error.to_string(),
        }
    }
    answer
}

/// The lines of standard input, read by a thread, because a read cannot be cancelled.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
    });
    lines
}
