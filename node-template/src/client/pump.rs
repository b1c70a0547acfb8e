//! Sends transactions ahead of their ACKs: one state machine that polls both directions of a
//! socket.
//!
//! Awaiting a send could deadlock: the node waits until its ACKs are read, the client until its
//! transactions are. [`Client::submit_many`](crate::client::Client::submit_many) drives it.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};

use crate::client::connection::{Connection, text};
use crate::client::error::ClientError;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::wire::{Ack, Message, TransactionFrame};

/// How many transactions are sent ahead of their ACKs: enough to fill a node's batches, few enough
/// to track cheaply.
pub(crate) const WINDOW: usize = 4_096;

/// The progress of one poll.
pub(crate) enum Step {
    /// An ACK arrived.
    Acked(Ack),
    /// Transactions were sent.
    Sent,
    /// All were sent and have their ACKs.
    Done,
}

pub(crate) struct Pump<'a, S> {
    connection: &'a mut Connection,
    source: Pin<&'a mut S>,
    ended: bool,
    flushed: bool,
    /// Expected ACKs by identity: a source may contain a transaction twice.
    outstanding: HashMap<TransactionId, usize>,
    /// The sum of all expected ACKs, at most [`WINDOW`].
    expected: usize,
}

impl<'a, S: Stream<Item = Transaction>> Pump<'a, S> {
    pub(crate) fn new(connection: &'a mut Connection, source: Pin<&'a mut S>) -> Self {
        Self { connection, source, ended: false, flushed: true, outstanding: HashMap::new(), expected: 0 }
    }

    /// Returns whether ACKs are expected: only then waiting has a limit.
    pub(crate) fn waits_for_acks(&self) -> bool {
        self.expected > 0
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, ClientError>> {
        // If no ACK is expected, the source comes first: a node that closes after its last ACK has
        // done its part.
        let mut sent = self.expected == 0 && self.fill(cx)?;
        if self.ended && self.expected == 0 {
            return Poll::Ready(Ok(Step::Done));
        }
        if let Poll::Ready(ack) = self.poll_ack(cx)? {
            return Poll::Ready(Ok(Step::Acked(ack)));
        }
        sent |= self.fill(cx)?;
        if !self.flushed {
            let flush = Pin::new(&mut self.connection.socket).poll_flush(cx);
            self.flushed = flush.map_err(|error| self.connection.closed(error.to_string()))?.is_ready();
        }
        if sent { Poll::Ready(Ok(Step::Sent)) } else { Poll::Pending }
    }

    fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ack, ClientError>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.connection.socket).poll_next(cx) else {
                return Poll::Pending;
            };
            if let Some(Message::Ack(ack)) = self.connection.message(frame)?
                && self.settle(&ack)?
            {
                return Poll::Ready(Ok(ack));
            }
        }
    }

    /// Counts an ACK. Returns false if it is for no transaction of this client.
    fn settle(&mut self, ack: &Ack) -> Result<bool, ClientError> {
        if ack.id.is_empty() {
            // The node could not parse a transaction that this client could. With one expected it
            // is clear which.
            if self.expected != 1 {
                let reason = ack.reason.as_deref().unwrap_or("no reason given");
                let cause = format!("it refused a transaction ({reason:?}) without its identity");
                return Err(self.connection.invalid(cause));
            }
            self.outstanding.clear();
            self.expected = 0;
            return Ok(true);
        }
        let Ok(id) = ack.id.parse::<TransactionId>() else {
            let cause = format!("an ACK for {:?}", ack.id.chars().take(64).collect::<String>());
            return Err(self.connection.invalid(cause));
        };
        let Some(count) = self.outstanding.get_mut(&id) else {
            return Ok(false);
        };
        *count -= 1;
        if *count == 0 {
            self.outstanding.remove(&id);
        }
        self.expected -= 1;
        Ok(true)
    }

    /// Sends what the window has room for. Returns whether anything was sent.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut sent = false;
        while !self.ended && self.expected < WINDOW {
            let ready = Pin::new(&mut self.connection.socket).poll_ready(cx);
            if ready.map_err(|error| self.connection.closed(error.to_string()))?.is_pending() {
                break;
            }
            let Poll::Ready(next) = self.source.as_mut().poll_next(cx) else {
                break;
            };
            let Some(transaction) = next else {
                self.ended = true;
                break;
            };
            let frame = text(TransactionFrame::client_frame(transaction.body(), true));
            let sending = Pin::new(&mut self.connection.socket).start_send(frame);
            sending.map_err(|error| self.connection.closed(error.to_string()))?;
            *self.outstanding.entry(transaction.id()).or_default() += 1;
            self.expected += 1;
            self.flushed = false;
            sent = true;
        }
        Ok(sent)
    }
}
