//! What the tests with real processes share: nodes in temporary folders ([`node`]), raw WebSocket
//! peers that say what a test tells them to ([`tester`]), and what strangers may throw at a node
//! ([`hostile`]); native peers that follow a script ([`scripted`]); nodes inside the test's process
//! ([`embedded`]), peers that speak bytes ([`raw`]), disks that are full or read-only ([`mount`]),
//! and networks that can be cut in two ([`namespace`]).
//!
//! Nothing here waits for a time to pass. A test waits for a frame, for a line of output, or for a
//! state that it asks for again and again; each wait has a deadline, and its failure says what was
//! there instead.

#![allow(dead_code, unreachable_pub, reason = "each test binary compiles its own copy and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub mod core;
pub mod embedded;
pub mod finder;
pub mod hostile;
pub mod http;
pub mod mount;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod node;
pub mod prover;
pub mod raw;
pub mod relay;
pub mod requester;
pub mod scripted;
pub mod tester;

use std::collections::HashSet;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

/// How long anything may take that should take milliseconds. Long, because a loaded machine is no
/// failure; longer on Windows, since one process of Wine does the work of all.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(windows) { 60 } else { 20 });

/// Waits for a future, and fails with its name once [`PATIENCE`] is at an end.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
    }
}

/// Asks until the answer is good, and fails with the last bad one once [`PATIENCE`] is at an end.
/// For states that announce themselves by no frame and no line, such as what a file holds.
pub async fn eventually<T>(what: impl Display, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    in_time(what, PATIENCE, ask).await
}

/// As [`eventually`], for what chance may make take longer.
pub async fn in_time<T>(what: impl Display, patience: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience;
    let mut turn = interval(Duration::from_millis(10));
    loop {
        turn.tick().await;
        match ask().await {
            Ok(value) => return value,
            Err(state) => assert!(Instant::now() < end, "{what}: after {patience:?} still {state}"),
        }
    }
}

/// A transaction of the exercise, told apart by its number.
pub fn transaction(number: u64) -> Value {
    json!({
        "fromAddress": "04aa", "toAddress": null, "amount": 50 + number, "timeStamp": 1_700_000_000_000_u64 + number, "hash": format!("{number:064x}"),
    })
}

/// The frame that carries a transaction, as `add-transaction.js` writes it.
pub fn transaction_frame(transaction: &Value) -> String {
    json!({ "type": "TRANSACTION", "data": transaction }).to_string()
}

/// Hands transactions to a node as a client does, over one connection.
pub async fn submit(node: &node::Node, transactions: &[Value]) {
    let mut socket = tester::Socket::dial(node.port).await.unwrap();
    for transaction in transactions {
        socket.send_text(transaction_frame(transaction)).await;
    }
    socket.close().await;
}

/// A node that keeps transactions in a file.
pub trait Keeper {
    /// How failures name it.
    fn name(&self) -> String;
    /// The file's transactions; an error where it cannot be read just now.
    fn transactions(&self) -> Result<Vec<Value>, String>;
}

/// Waits until a node's file holds all of the expected transactions, and then fails if one is there
/// twice or one is there that nobody sent.
pub async fn exactly(node: &impl Keeper, expected: &[Value]) {
    let held = at_least(node, expected).await;
    assert_eq!(held.len(), expected.len(), "{}: something is there twice, or was never sent: {held:?}", node.name());
}

/// Waits until a node's file holds all of the expected transactions, in whatever order.
pub async fn at_least(node: &impl Keeper, expected: &[Value]) -> Vec<Value> {
    eventually(format!("the file of {}", node.name()), async || {
        let held = node.transactions()?;
        let hashes: HashSet<_> = held.iter().map(|transaction| transaction["hash"].to_string()).collect();
        let missing = expected.iter().filter(|transaction| !hashes.contains(&transaction["hash"].to_string())).count();
        if missing == 0 { Ok(held) } else { Err(format!("without {missing} of {}", expected.len())) }
    })
    .await
}

/// A listener on a port that the system gave, so that nobody else can.
pub fn free_port_holder() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
