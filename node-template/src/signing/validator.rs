//! What may not enter the pool: transactions without a good signature, where one is required, and what a function of the application refuses.
//!
//! It is asked by the links' tasks, so that judging signatures, the dearest that is done for a transaction, spreads over the cores.

use std::fmt;
use std::sync::Arc;

use crate::protocol::transaction::{InvalidTransaction, Transaction};
use crate::protocol::wire::{Message, TransactionFrame};
use crate::signing::Requirement;

type Hook = dyn Fn(&Transaction) -> Result<(), String> + Send + Sync;

/// What [`Network::validate`](crate::Network::validate) was given, if anything, and before it whether signatures are required. A clone costs two reference counts.
#[derive(Clone, Default)]
pub(crate) struct Validator {
    hook: Option<Arc<Hook>>,
    signatures: Option<Arc<Requirement>>,
}

impl Validator {
    /// Asks this function.
    pub(crate) fn ask(&mut self, hook: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static) {
        self.hook = Some(Arc::new(hook));
    }

    /// Takes signed transactions only, or others too.
    pub(crate) fn require_signatures(&mut self, required: bool) {
        self.signatures = required.then(Arc::default);
    }

    /// Looks at the signature, where one is required, and asks the application.
    pub(crate) fn check(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        if let Some(signatures) = &self.signatures {
            signatures.check(&[transaction]).remove(0)?;
        }
        self.ask_application(transaction)
    }

    /// Turns transactions that are refused into ones that are none. Signatures that come together are judged together.
    pub(crate) fn judge<E>(&self, messages: &mut [Result<Message, E>]) {
        if self.hook.is_none() && self.signatures.is_none() {
            return;
        }
        let mut given: Vec<&mut Result<Transaction, InvalidTransaction>> = messages
            .iter_mut()
            .filter_map(|message| match message {
                Ok(Message::Transaction(TransactionFrame { transaction, .. })) if transaction.is_ok() => {
                    Some(transaction)
                }
                _ => None,
            })
            .collect();
        let results = self.signatures.as_ref().map(|signatures| {
            let transactions: Vec<&Transaction> = given.iter().flat_map(|given| given.as_ref().ok()).collect();
            signatures.check(&transactions)
        });
        for (given, result) in given.iter_mut().zip(results.into_iter().flatten()) {
            if let Err(refused) = result {
                **given = Err(refused);
            }
        }
        for given in given {
            if let Ok(transaction) = given
                && let Err(refused) = self.ask_application(transaction)
            {
                *given = Err(refused);
            }
        }
    }

    fn ask_application(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        let refused = |reason| InvalidTransaction::Refused { id: transaction.id(), reason };
        self.hook.as_ref().map_or(Ok(()), |hook| hook(transaction).map_err(refused))
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hook, signatures) = (self.hook.is_some(), self.signatures.is_some());
        f.debug_struct("Validator").field("hook", &hook).field("signatures", &signatures).finish()
    }
}
