//! The errors of a client, each one line: where, what, and what to do next.

use std::time::Duration;

use crate::protocol::address::PeerAddress;
use crate::protocol::transaction::InvalidTransaction;
use crate::protocol::wire::InvalidBroadcast;

/// Why a request of a client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made.
    #[error("no node answers at {address}: {cause}; start it (`cargo run` in its folder), or check PORT in its .env")]
    Unreachable {
        /// The node's address.
        address: PeerAddress,
        /// The system's error.
        cause: std::io::Error,
    },
    /// Another program listens there: the upgrade to a WebSocket failed.
    #[error("the program that listens at {address} is not a node: {cause}; stop it, or change PORT in the node's .env")]
    NotANode {
        /// The node's address.
        address: PeerAddress,
        /// Why the upgrade failed.
        cause: String,
    },
    /// The address requires TLS.
    #[error(
        "{address} is in a closed network: connect with a certificate of its authority, as the tasks do inside a folder whose .env has NETWORK_CA"
    )]
    Secure {
        /// The node's address.
        address: PeerAddress,
    },
    /// One side does not accept the other's certificate.
    #[error("no access to {address}: {why}")]
    AccessDenied {
        /// The node's address.
        address: PeerAddress,
        /// Why, and what to do.
        why: String,
    },
    /// The node is an exercise peer: it sends no ACK and no STATUS, and requests for them may crash
    /// it.
    #[error("{address} is a node of the exercise, which confirms nothing; send without waiting for an answer")]
    ExercisePeer {
        /// The node's address.
        address: PeerAddress,
    },
    /// The text is not a transaction; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The text cannot be broadcast; nothing was sent.
    #[error(transparent)]
    InvalidBroadcast(#[from] InvalidBroadcast),
    /// The system has no random numbers.
    #[error("the system has no random numbers: {0}; check that /dev/urandom can be read")]
    Random(getrandom::Error),
    /// The connection ended before the answer.
    #[error("{address} ended the connection ({cause}); try again")]
    Closed {
        /// The node's address.
        address: PeerAddress,
        /// The close code and its reason, or the system's error.
        cause: String,
    },
    /// The connection ended after transactions were sent and before their ACKs came.
    #[error(
        "{address} ended the connection ({cause}); unconfirmed transactions may be stored or not: send them again, the node keeps no duplicates"
    )]
    Unconfirmed {
        /// The node's address.
        address: PeerAddress,
        /// The close code and its reason, or the system's error.
        cause: String,
    },
    /// The node did not answer in time.
    #[error("{address} gave no answer for {} s; its disk may be full or slow: check its log", after.as_secs())]
    Silent {
        /// The node's address.
        address: PeerAddress,
        /// How long the client waited.
        after: Duration,
    },
    /// The node refused the request.
    #[error("{address}: {reason}")]
    Refused {
        /// The node's address.
        address: PeerAddress,
        /// The node's reason.
        reason: String,
    },
    /// The answer is malformed, or does not match a request.
    #[error("{address} gave an unusable answer: {cause}; node and client may have different versions: rebuild both")]
    Answer {
        /// The node's address.
        address: PeerAddress,
        /// What is wrong.
        cause: String,
    },
}
