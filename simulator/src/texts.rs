//! What was read once is not read again: one frame comes to thousands of nodes, and each would find the same in it.
//!
//! The texts of pushed transactions are kept with what they mean, for the whole run; all nodes share them, as nodes on many machines would not. It saves
//! the simulator time and memory, and no node can tell: equal texts mean equal messages.

use std::collections::HashMap;

use meshpool_proto::frame::Frame;
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{Origin, Transaction, TransactionId};
use meshpool_proto::wire::{Malformed, Message, TransactionFrame};

/// What a frame means.
#[derive(Debug)]
pub enum Text {
    /// A transaction that a full peer pushed, and the number of its text.
    Pushed {
        /// The same for the same text.
        number: u32,
        /// What the text says.
        delivery: TransactionFrame,
    },
    /// Anything else.
    Other(Result<Message, Malformed>),
}

impl Text {
    /// The transaction in it, if there is one, and whether it is the answer to a comparison.
    pub fn transaction(&self) -> Option<(TransactionId, bool)> {
        let delivery = match self {
            Self::Pushed { delivery, .. } | Self::Other(Ok(Message::Transaction(delivery))) => delivery,
            Self::Other(_) => return None,
        };
        delivery.transaction.as_ref().ok().map(|transaction| (transaction.id(), delivery.synced))
    }
}

/// The texts that were read.
#[derive(Debug, Default)]
pub struct Texts {
    /// For all that must be read.
    pub parser: Parser,
    numbers: HashMap<Frame, u32>,
    pushed: Vec<(Transaction, Origin)>,
}

impl Texts {
    /// Reads a frame, or remembers what it means.
    pub fn read(&mut self, frame: &Frame) -> Text {
        if let Some(number) = self.numbers.get(frame.as_str()) {
            let (transaction, origin) = &self.pushed[*number as usize];
            let delivery = TransactionFrame {
                transaction: Ok(transaction.clone()),
                origin: Some(origin.clone()),
                ack: false,
                synced: false,
            };
            return Text::Pushed { number: *number, delivery };
        }
        match Message::parse(&mut self.parser, frame.as_str()) {
            Ok(Message::Transaction(TransactionFrame {
                transaction: Ok(transaction),
                origin: Some(origin),
                ack: false,
                synced: false,
            })) => {
                let number = u32::try_from(self.pushed.len()).expect("memory ends before the numbers do");
                // The text as the transaction holds it is the one that goes on; both are kept alive by one of them.
                let key = if transaction.frame() == frame { transaction.frame() } else { frame };
                self.numbers.insert(key.clone(), number);
                self.pushed.push((transaction.clone(), origin.clone()));
                let delivery =
                    TransactionFrame { transaction: Ok(transaction), origin: Some(origin), ack: false, synced: false };
                Text::Pushed { number, delivery }
            }
            message => Text::Other(message),
        }
    }

    /// The number of a text, if it is that of a pushed transaction.
    pub fn number(&mut self, frame: &Frame) -> Option<u32> {
        match self.read(frame) {
            Text::Pushed { number, .. } => Some(number),
            Text::Other(_) => None,
        }
    }
}
