//! Sends ahead of the ACKs: one state machine that reads before it writes, and never waits for the one while the other could move.
//!
//! Were sending awaited, a node that waits for us to read its ACKs and we, waiting for it to read our transactions, would wait for ever. So both
//! directions are polled in one place, on one socket, without a task or a lock. Driven by [`Client::submit_many`](crate::client::Client::submit_many).

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};

use crate::client::{Client, ClientError, WINDOW, text};
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::wire::{Ack, Message, TransactionFrame};

/// What moved.
pub(crate) enum Step {
    /// One ACK came.
    Acked(Ack),
    /// Transactions went out.
    Sent,
    /// All were sent, and all are answered.
    Done,
}

/// The transactions on their way.
pub(crate) struct Pump<'a, S> {
    client: &'a mut Client,
    source: Pin<&'a mut S>,
    ended: bool,
    flushed: bool,
    /// How many ACKs are owed for each identity: a source may hold one transaction twice. `owed` is their sum, at most [`WINDOW`].
    outstanding: HashMap<TransactionId, usize>,
    owed: usize,
}

impl<'a, S: Stream<Item = Transaction>> Pump<'a, S> {
    pub(crate) fn new(client: &'a mut Client, source: Pin<&'a mut S>) -> Self {
        Self { client, source, ended: false, flushed: true, outstanding: HashMap::new(), owed: 0 }
    }

    /// Whether the node owes us something: only then is there a limit to waiting.
    pub(crate) fn waits_for_acks(&self) -> bool {
        self.owed > 0
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, ClientError>> {
        // With nothing owed, the source speaks before the connection: a node that closes after its last ACK has done all that was asked.
        let mut sent = self.owed == 0 && self.fill(cx)?;
        if self.ended && self.owed == 0 {
            return Poll::Ready(Ok(Step::Done));
        }
        if let Poll::Ready(ack) = self.poll_ack(cx)? {
            return Poll::Ready(Ok(Step::Acked(ack)));
        }
        sent |= self.fill(cx)?;
        if !self.flushed {
            let flush = Pin::new(&mut self.client.socket).poll_flush(cx);
            self.flushed = flush.map_err(|error| self.client.closed(error.to_string()))?.is_ready();
        }
        if sent { Poll::Ready(Ok(Step::Sent)) } else { Poll::Pending }
    }

    fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ack, ClientError>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.client.socket).poll_next(cx) else {
                return Poll::Pending;
            };
            if let Some(Message::Ack(ack)) = self.client.understand(frame)?
                && self.settle(&ack)?
            {
                return Poll::Ready(Ok(ack));
            }
        }
    }

    /// Takes an ACK off what is owed. False if nothing of ours was meant.
    fn settle(&mut self, ack: &Ack) -> Result<bool, ClientError> {
        if ack.id.is_empty() {
            // The node could not read what we could: with one outstanding it is clear which, else a guess would name the wrong one.
            if self.owed != 1 {
                let reason = ack.reason.as_deref().unwrap_or("no reason given");
                let cause = format!("a transaction was refused ({reason:?}), but not said which");
                return Err(ClientError::Answer { address: self.client.address.clone(), cause });
            }
            self.outstanding.clear();
            self.owed = 0;
            return Ok(true);
        }
        let Ok(id) = ack.id.parse::<TransactionId>() else {
            let cause = format!("an ACK for {:?}", ack.id.chars().take(64).collect::<String>());
            return Err(ClientError::Answer { address: self.client.address.clone(), cause });
        };
        let Some(count) = self.outstanding.get_mut(&id) else {
            return Ok(false);
        };
        *count -= 1;
        if *count == 0 {
            self.outstanding.remove(&id);
        }
        self.owed -= 1;
        Ok(true)
    }

    /// Hands the socket what the window has room for. True if anything was.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut sent = false;
        while !self.ended && self.owed < WINDOW {
            let ready = Pin::new(&mut self.client.socket).poll_ready(cx);
            if ready.map_err(|error| self.client.closed(error.to_string()))?.is_pending() {
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
            let taken = Pin::new(&mut self.client.socket).start_send(frame);
            taken.map_err(|error| self.client.closed(error.to_string()))?;
            *self.outstanding.entry(transaction.id()).or_default() += 1;
            self.owed += 1;
            self.flushed = false;
            sent = true;
        }
        Ok(sent)
    }
}
