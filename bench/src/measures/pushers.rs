//! Sends transactions to the nodes.
//!
//! The pushers must be much faster than any node. So the frames are made before the clock starts,
//! many are sent per flush, and the pushers have a thread of their own. Only TCP slows them down.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::mesh::endpoint::{Endpoint, Socket};
use crate::transactions::{signed, transaction, transaction_with};

/// Frames per flush.
const FLUSH: usize = 64;

fn frame(transaction: &str) -> Utf8Bytes {
    format!(r#"{{"type":"TRANSACTION","data":{transaction}}}"#).into()
}

/// Sends transactions to a node at an interval. The first 16 digits of each are the time in
/// nanoseconds of the clock that the nodes read too. The connection stays open until the node ends.
pub(crate) async fn send_slowly(endpoint: &Endpoint, count: u64, pause: Duration) -> Result<()> {
    let (mut writing, mut reading) = endpoint.connect().await?.split();
    tokio::spawn(async move { while let Some(Ok(_)) = reading.next().await {} });
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..count {
        ticks.tick().await;
        writing.send(Message::Text(frame(&transaction_with(number, now())))).await?;
    }
    Ok(())
}

/// Nanoseconds of the clock that all processes of a machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Pushers that are connected, have made their frames, and wait for the start.
#[derive(Debug)]
pub(crate) struct Pushers {
    go: oneshot::Sender<()>,
    finish: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Pushers {
    /// Connects a pusher to each node and divides `count` transactions among them. With `is_signed`
    /// each pusher signs its share.
    pub(crate) async fn connect(endpoints: Vec<Endpoint>, count: u64, is_signed: bool) -> Result<Self> {
        let (ready, readied) = oneshot::channel();
        let (go, started) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        let thread = std::thread::Builder::new().name("pusher".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let shares = endpoints.len() as u64;
                let numbers = |share| (share..count).step_by(endpoints.len());
                let text = |share, number| if is_signed { signed(number, share) } else { transaction(number) };
                let frames =
                    (0..shares).map(|share| numbers(share).map(|number| frame(&text(share, number))).collect());
                let frames: Vec<Vec<_>> = frames.collect();
                let sockets = try_join_all(endpoints.iter().map(Endpoint::connect)).await?;
                ready.send(()).map_err(|()| anyhow!("the run has ended"))?;
                if started.await.is_err() {
                    return Ok(());
                }
                let readers =
                    try_join_all(sockets.into_iter().zip(frames).map(|(socket, frames)| push(socket, frames))).await?;
                // The connections stay open until the run is measured. A dropped sender ends them
                // too.
                finished.await.unwrap_or_default();
                readers.iter().for_each(|reader| reader.abort());
                Ok(())
            })
        })?;
        match readied.await {
            Ok(()) => Ok(Self { go, finish, thread }),
            Err(_) => Err(join(thread).err().unwrap_or_else(|| anyhow!("the thread of the pushers ended")))
                .context("the pushers cannot connect"),
        }
    }

    /// Starts to send, as fast as the nodes read.
    pub(crate) fn start(self) -> Pushing {
        // If their thread has ended, joining it returns the cause.
        self.go.send(()).unwrap_or_default();
        Pushing { finish: self.finish, thread: self.thread }
    }
}

/// Pushers that send.
#[derive(Debug)]
pub(crate) struct Pushing {
    finish: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Pushing {
    /// Ends them after the nodes have everything.
    pub(crate) fn finish(self) -> Result<()> {
        self.finish.send(()).unwrap_or_default();
        join(self.thread).context("a node did not read all transactions")
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("the pushers' thread panicked"))?
}

async fn push(socket: Socket, frames: Vec<Utf8Bytes>) -> Result<tokio::task::JoinHandle<()>> {
    let (mut writing, mut reading) = socket.split();
    // Reading answers pings.
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = reading.next().await {} });
    let mut frames = frames.into_iter().map(Message::Text).peekable();
    while frames.peek().is_some() {
        for frame in frames.by_ref().take(FLUSH) {
            writing.feed(frame).await?;
        }
        writing.flush().await?;
    }
    Ok(reader)
}
