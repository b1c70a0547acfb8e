//! What the pool reports to the driver.

use std::time::Duration;

use crate::protocol::causes::StoreError;
use crate::protocol::transaction::{Transaction, TransactionId};

/// A report of the pool's writer. Reports come in the order in which things happened.
#[derive(Debug)]
pub enum Report {
    /// A batch is on the disk.
    Stored {
        /// All that were given to [`Pool::store`](crate::pool::Pool::store), in that order; also
        /// those that the file had already.
        ids: Vec<TransactionId>,
        /// Duration of the write and the wait for the disk.
        synced_in: Duration,
        /// The length of the file.
        file_bytes: u64,
    },
    /// The file cannot be written. The writer keeps the batch and retries with growing pauses,
    /// until [`Report::Recovered`]. Reported once per series of failures.
    Failed {
        /// One line: what happened, where, what to do.
        error: StoreError,
    },
    /// The file could not be used when the pool was closed. The last report.
    GaveUp {
        /// How many transactions were given to the pool and are not on the disk.
        lost: u64,
        /// One line: what happened, where, what to do.
        error: StoreError,
    },
    /// The file can be written again.
    Recovered,
    /// Another program added transactions to the file. They have taken the next positions, and
    /// those that were [`Report::Lost`] their old ones. One that is also being stored may be
    /// reported here first.
    Found {
        /// The transactions, in the order of their positions.
        transactions: Vec<Transaction>,
    },
    /// Transactions cannot be read any more: another program removed them from the file, and they
    /// cannot be restored, or their place on the disk is bad. They keep their positions, which are
    /// empty until they are stored again.
    Lost {
        /// Their identities.
        ids: Vec<TransactionId>,
    },
    /// Something that a person should know.
    Warning {
        /// One line.
        text: String,
    },
}
