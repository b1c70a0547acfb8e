//! The validator: which transactions may enter the pool. It refuses those without a good signature,
//! where one is required, and those that a function of the application refuses.
//!
//! The links' tasks call it, so verifying signatures, the most expensive step of a transaction, is
//! spread over the CPU cores.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{InvalidTransaction, Transaction};
use meshpool_proto::wire::{Message, TransactionFrame};

use crate::signing::requirement::Requirement;
use crate::util::panics::Panics;

/// The validators of the default topic and of the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validators {
    pub(crate) default: Validator,
    /// Those of topics that have rules, by name. Shared by all links.
    pub(crate) topics: Arc<BTreeMap<TopicName, Validator>>,
}

impl Validators {
    /// Checks the transactions among some messages, those of topics included.
    pub(crate) fn validate<E>(&self, messages: &mut [Result<Message, E>]) {
        self.default.validate(messages);
        for (name, validator) in self.topics.iter().filter(|(_, validator)| !validator.is_idle()) {
            let given = messages.iter_mut().filter_map(|message| match message {
                Ok(Message::Topic(frame)) if frame.topic == *name => match &mut frame.message {
                    Message::Transaction(TransactionFrame { transaction, .. }) => Some(transaction),
                    _ => None,
                },
                _ => None,
            });
            validator.validate_these(given.filter(|given| given.is_ok()).collect());
        }
    }
}

type Function = dyn Fn(&Transaction) -> Result<(), String> + Send + Sync;

/// The function given to `Network::validate`, and before it whether signatures are required. A
/// clone costs three reference counts.
#[derive(Clone, Default)]
pub(crate) struct Validator {
    function: Option<Arc<Function>>,
    signatures: Option<Arc<Requirement>>,
    /// Of the node, once it runs.
    panics: Panics,
}

impl Validator {
    /// Sets the application's function.
    pub(crate) fn set_function(
        &mut self,
        function: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.function = Some(Arc::new(function));
    }

    /// Sets where panics of the function are counted.
    pub(crate) fn count_panics(&mut self, panics: &Panics) {
        self.panics = panics.clone();
    }

    /// Sets whether signatures are required.
    pub(crate) fn require_signatures(&mut self, required: bool) {
        self.signatures = required.then(Arc::default);
    }

    /// Checks one transaction.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn check(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        if let Some(signatures) = &self.signatures {
            signatures.check(&[transaction]).remove(0)?;
        }
        self.call_function(transaction)
    }

    /// Checks the transactions among some messages, and replaces each refused one by its error.
    /// Their signatures are verified together.
    pub(crate) fn validate<E>(&self, messages: &mut [Result<Message, E>]) {
        if self.is_idle() {
            return;
        }
        let given = messages.iter_mut().filter_map(|message| match message {
            Ok(Message::Transaction(TransactionFrame { transaction, .. })) => Some(transaction),
            _ => None,
        });
        self.validate_these(given.filter(|given| given.is_ok()).collect());
    }

    fn is_idle(&self) -> bool {
        self.function.is_none() && self.signatures.is_none()
    }

    fn validate_these(&self, mut given: Vec<&mut Result<Transaction, InvalidTransaction>>) {
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
                && let Err(refused) = self.call_function(transaction)
            {
                *given = Err(refused);
            }
        }
    }

    fn call_function(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        let (Some(function), id) = (&self.function, transaction.id()) else { return Ok(()) };
        match catch_unwind(AssertUnwindSafe(|| function(transaction))) {
            Ok(verdict) => verdict.map_err(|reason| InvalidTransaction::Refused { id, reason }),
            Err(panic) => {
                self.panics.note_ignored("the function of validate", id, panic.as_ref());
                Err(InvalidTransaction::Ignored { id })
            }
        }
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (function, signatures) = (self.function.is_some(), self.signatures.is_some());
        f.debug_struct("Validator").field("function", &function).field("signatures", &signatures).finish()
    }
}
