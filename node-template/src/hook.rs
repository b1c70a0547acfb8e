//! The application's say on transactions: a function that refuses some.

use std::fmt;
use std::sync::Arc;

use crate::protocol::message::{Delivery, Message};
use crate::protocol::transaction::{InvalidTransaction, Transaction};

type Hook = dyn Fn(&Transaction) -> Result<(), String> + Send + Sync;

/// What [`Network::validate`](crate::Network::validate) was given, if anything. A clone costs a reference count.
#[derive(Clone, Default)]
pub(crate) struct Validator(Option<Arc<Hook>>);

impl Validator {
    pub(crate) fn new(hook: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Asks the application.
    pub(crate) fn check(&self, transaction: &Transaction) -> Result<(), String> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(transaction))
    }

    /// Turns a transaction that the application refuses into one that is none.
    pub(crate) fn judge(&self, message: &mut Message) {
        if self.0.is_some()
            && let Message::Transaction(Delivery { transaction, .. }) = message
            && let Ok(good) = transaction
            && let Err(reason) = self.check(good)
        {
            *transaction = Err(InvalidTransaction::Refused { id: good.id(), reason });
        }
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Validator(a function)" } else { "Validator(none)" })
    }
}
