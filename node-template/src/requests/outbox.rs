//! The sending half of a connection for requests: frames of several requests, in turns.
//!
//! Each request and each answer gives one chunk a turn, so a small one is not held up by large
//! ones. Nothing is copied before its turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use meshpool_proto::limits::{CLOSE_REASON_BYTES, REQUEST_CHUNK};
use meshpool_proto::wire::{ChunkOf, RequestFrame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::util::group_counts::Place;

/// How many frames and bodies take turns. More wait, and with them reading.
pub(super) const TURNS: usize = 64;

/// Says that the rest of a body is not wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether nobody else holds it: the body has been sent, or was stopped.
    pub(super) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Frame(RequestFrame),
    Body(Body),
    /// The connection ends; nothing is sent after it.
    Close {
        code: u16,
        reason: String,
    },
}

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Body {
    /// Sent first, in any case: the other end has to know of each number.
    pub(super) head: Option<RequestFrame>,
    pub(super) of: ChunkOf,
    pub(super) id: u64,
    pub(super) content: Bytes,
    pub(super) stop: Stop,
    /// Sent in place of the rest if it is stopped.
    pub(super) if_stopped: Option<RequestFrame>,
    /// Held until all is sent.
    pub(super) _place: Option<Place>,
}

/// Sends what comes until there is no more, and returns the count of bytes of each chunk to
/// `sent`.
///
/// # Errors
/// Why the connection is of no more use.
pub(super) async fn send<S>(
    mut sink: S,
    mut queue: mpsc::Receiver<Outgoing>,
    deadline: Duration,
    sent: impl Fn(usize),
) -> Result<(), String>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let mut turns = VecDeque::new();
    loop {
        if turns.is_empty() {
            match queue.recv().await {
                Some(outgoing) => turns.push_back(outgoing),
                None => return Ok(()),
            }
        }
        while turns.len() < TURNS
            && let Ok(outgoing) = queue.try_recv()
        {
            turns.push_back(outgoing);
        }
        let Some(next) = turns.pop_front() else { continue };
        match next {
            Outgoing::Frame(frame) => put(&mut sink, deadline, Message::text(frame.to_text())).await?,
            Outgoing::Close { code, mut reason } => {
                reason.truncate(reason.floor_char_boundary(CLOSE_REASON_BYTES));
                let close = CloseFrame { code: code.into(), reason: reason.into() };
                return put(&mut sink, deadline, Message::Close(Some(close))).await;
            }
            Outgoing::Body(mut body) => {
                if let Some(head) = body.head.take() {
                    put(&mut sink, deadline, Message::text(head.to_text())).await?;
                }
                if body.content.is_empty() {
                    continue;
                }
                if body.stop.is_set() {
                    if let Some(frame) = body.if_stopped.take() {
                        put(&mut sink, deadline, Message::text(frame.to_text())).await?;
                    }
                    continue;
                }
                let chunk = body.content.split_to(body.content.len().min(REQUEST_CHUNK));
                put(&mut sink, deadline, Message::Binary(body.of.to_bytes(body.id, &chunk).into())).await?;
                sent(chunk.len());
                if !body.content.is_empty() {
                    turns.push_back(Outgoing::Body(body));
                }
            }
        }
    }
}

async fn put<S>(sink: &mut S, deadline: Duration, message: Message) -> Result<(), String>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    match timeout(deadline, sink.send(message)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it reads nothing for {} s", deadline.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn body(id: u64, content: Vec<u8>, stop: &Stop) -> Outgoing {
        Outgoing::Body(Body {
            head: Some(RequestFrame::Response { id, bytes: content.len() }),
            of: ChunkOf::Response,
            id,
            content: content.into(),
            stop: stop.clone(),
            if_stopped: Some(RequestFrame::Cancel { id }),
            _place: None,
        })
    }

    /// Sends all this, and returns what went out, each frame in a word.
    async fn sent(outgoing: Vec<Outgoing>) -> Vec<String> {
        let (queue, waiting) = mpsc::channel(TURNS);
        for one in outgoing {
            queue.try_send(one).expect("there is room");
        }
        drop(queue);
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = futures_util::sink::unfold(Arc::clone(&out), |out, message: Message| async move {
            let word = match &message {
                Message::Text(text) => match RequestFrame::read(text).expect("a frame") {
                    RequestFrame::Response { id, .. } => format!("head {id}"),
                    frame => format!("{frame:?}"),
                },
                Message::Binary(bytes) => {
                    let (_, id, content) = ChunkOf::read(bytes).expect("a chunk");
                    format!("{id}: {}", content.len())
                }
                Message::Close(Some(frame)) => format!("close {}", frame.reason.len()),
                message => panic!("{message:?}"),
            };
            out.lock().expect("no panic").push(word);
            Ok::<_, tungstenite::Error>(out)
        });
        send(Box::pin(sink), waiting, Duration::from_secs(1), |_| {}).await.expect("it sends");
        out.lock().expect("no panic").clone()
    }

    #[tokio::test]
    async fn a_small_answer_passes_a_large_one() {
        let stop = Stop::default();
        let large = 2 * REQUEST_CHUNK + 1;
        let order =
            sent(vec![body(1, vec![0; large], &stop), body(2, vec![0; 3], &stop), body(3, vec![], &stop)]).await;
        assert_eq!(order, ["head 1", "1: 65536", "head 2", "2: 3", "head 3", "1: 65536", "1: 1"]);
    }

    #[tokio::test]
    async fn what_is_stopped_is_named_and_not_sent_and_nothing_follows_the_end() {
        let (stop, other) = (Stop::default(), Stop::default());
        stop.set();
        let close = Outgoing::Close { code: 1000, reason: "x".repeat(200) };
        let order = sent(vec![body(1, vec![0; 9], &stop), close, body(2, vec![0; 9], &other)]).await;
        assert_eq!(order, ["head 1", "Cancel { id: 1 }", "close 123"]);
        assert!(stop.is_last() && other.is_last());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_reads_nothing_is_given_up() {
        let (queue, waiting) = mpsc::channel(TURNS);
        queue.try_send(body(1, vec![0; 9], &Stop::default())).expect("there is room");
        let stuck = futures_util::sink::unfold((), |(), _: Message| std::future::pending());
        let error = send(Box::pin(stuck), waiting, Duration::from_secs(10), |_| {}).await.expect_err("it is stuck");
        assert!(error.contains("10 s"), "{error}");
    }
}
