//! Parsed frames, shared by all actors: one frame reaches thousands of nodes and is parsed once.
//!
//! Only transactions that native peers forwarded are kept, for the whole run. No node can notice:
//! equal texts mean equal messages.

use std::collections::HashMap;

use meshpool_proto::frame::Frame;
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{Origin, Transaction, TransactionId};
use meshpool_proto::wire::{Malformed, Message, TransactionFrame};

/// A parsed frame.
#[derive(Debug)]
pub enum Parsed {
    /// A transaction that a native peer forwarded, and the number of its text.
    Forwarded(u32, TransactionFrame),
    /// Any other frame.
    Other(Result<Message, Malformed>),
}

impl Parsed {
    /// Its transaction, if it holds one, and whether it was sent by anti-entropy.
    pub fn transaction(&self) -> Option<(TransactionId, bool)> {
        let (Self::Forwarded(_, frame) | Self::Other(Ok(Message::Transaction(frame)))) = self else { return None };
        frame.transaction.as_ref().ok().map(|transaction| (transaction.id(), frame.synced))
    }
}

/// The parser and the transactions that it parsed so far.
#[derive(Debug, Default)]
pub struct FrameCache {
    /// The parser for everything that is not cached.
    pub parser: Parser,
    numbers: HashMap<Frame, u32>,
    forwarded: Vec<(Transaction, Origin)>,
}

impl FrameCache {
    /// Parses a frame, or returns what it was parsed to before.
    pub fn parse(&mut self, frame: &Frame) -> Parsed {
        let number = match self.numbers.get(frame.as_str()) {
            Some(number) => *number,
            None => match Message::parse(&mut self.parser, frame.as_str()) {
                Ok(Message::Transaction(TransactionFrame {
                    transaction: Ok(transaction),
                    origin: Some(origin),
                    ack: false,
                    synced: false,
                })) => self.keep(frame, transaction, origin),
                message => return Parsed::Other(message),
            },
        };
        let (transaction, origin) = self.forwarded[number as usize].clone();
        let transaction =
            TransactionFrame { transaction: Ok(transaction), origin: Some(origin), ack: false, synced: false };
        Parsed::Forwarded(number, transaction)
    }

    /// The number of a frame's text, if it is a forwarded transaction.
    pub fn number(&mut self, frame: &Frame) -> Option<u32> {
        if let Parsed::Forwarded(number, _) = self.parse(frame) { Some(number) } else { None }
    }

    fn keep(&mut self, frame: &Frame, transaction: Transaction, origin: Origin) -> u32 {
        let number = u32::try_from(self.forwarded.len()).expect("memory ends before the numbers do");
        // The transaction holds its text already; sharing it saves a copy of each.
        let key = if transaction.frame() == frame { transaction.frame() } else { frame };
        self.numbers.insert(key.clone(), number);
        self.forwarded.push((transaction, origin));
        number
    }
}
