//! What can go wrong for a client, each in one line: where, what, and what to do next.

use std::time::Duration;

use crate::protocol::address::PeerAddress;
use crate::protocol::transaction::InvalidTransaction;
use crate::protocol::wire::{InvalidBroadcast, Malformed};

/// Why a client did not get what it asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection came about.
    #[error("no node answers at {address}: {cause}; start it (`cargo run` in its folder), or check PORT in its .env")]
    Unreachable {
        /// Where.
        address: PeerAddress,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Something listens there, but it speaks no WebSocket.
    #[error(
        "what listens at {address} is no node: {cause}; another program has that port: stop it, or change PORT in the node's .env"
    )]
    NotANode {
        /// Where.
        address: PeerAddress,
        /// What the upgrade came to.
        cause: String,
    },
    /// The address asks for TLS.
    #[error(
        "{address} is in a closed network: connect with a certificate of its authority, as the tasks do inside a folder whose .env has NETWORK_CA"
    )]
    Secure {
        /// Where.
        address: PeerAddress,
    },
    /// One side does not take the other's certificate.
    #[error("{address} and this client do not let each other in: {why}")]
    NotLetIn {
        /// Where.
        address: PeerAddress,
        /// Why, and what to do.
        why: String,
    },
    /// A node of the exercise: it sends no ACK and no STATUS, and dies of some frames that ask for them.
    #[error(
        "the node at {address} is a node of the exercise, which confirms nothing; send without waiting for an answer"
    )]
    Plain {
        /// Where.
        address: PeerAddress,
    },
    /// The text is no transaction; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The text can not be broadcast; nothing was sent.
    #[error(transparent)]
    InvalidBroadcast(#[from] InvalidBroadcast),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// The connection ended before the answer came.
    #[error(
        "{address} ended the connection ({cause}); what was not confirmed may be stored or not: send the same content again, a copy is not kept twice"
    )]
    Closed {
        /// Who.
        address: PeerAddress,
        /// The close code and its reason, or the system's error.
        cause: String,
    },
    /// No answer within the time allowed.
    #[error("{address} gave no answer for {} s; it may be stuck on a full or slow disk: its log says so", after.as_secs())]
    Silent {
        /// Who.
        address: PeerAddress,
        /// How long the client waited.
        after: Duration,
    },
    /// The node said why it does not do what was asked.
    #[error("{address}: {reason}")]
    Refused {
        /// Who.
        address: PeerAddress,
        /// Its words.
        reason: String,
    },
    /// The answer can not be read, or does not say what it answers.
    #[error(
        "{address} gave an answer that can not be used: {cause}; node and client may be of different versions: rebuild both"
    )]
    Answer {
        /// Who.
        address: PeerAddress,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    pub(crate) fn malformed(address: &PeerAddress, malformed: &Malformed) -> Self {
        Self::Answer { address: address.clone(), cause: malformed.to_string() }
    }
}
