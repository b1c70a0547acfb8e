//! A client of one node: submits transactions, asks for its status, and takes no peer slot.
//!
//! It never sends a HANDSHAKE, so a node does not take it for a peer. The [`UpgradeIdentity`] in
//! the upgrade's response marks a native node: an exercise peer gets no requests, since some would
//! crash it. Every wait has a limit. No task runs behind a client. After an error the connection is
//! of no more use.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = meshpool::Client::connect(&"ws://localhost:4001".parse()?).await?;
//! let ack = client.submit(r#"{"from":"ann","to":"bob","amount":5}"#).await?;
//! println!("{:?}; sent on {} links", ack.status, ack.links);
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod exercise_fields;
mod images;
mod pump;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream;
use tokio::time::timeout;

pub use error::ClientError;
#[cfg(feature = "cli")]
pub(crate) use images::IMAGE_TIMEOUT;
#[cfg(all(feature = "tls", feature = "cli"))]
pub(crate) use images::list_images_as;
pub use images::{ImageStream, list_images};

use crate::protocol::address::PeerAddress;
use crate::protocol::id::UpgradeIdentity;
use crate::protocol::limits::STATUS_IDS;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::wire::{
    Ack, Broadcast, BroadcastFrame, BroadcastId, Member, Members, Message, NetworkFrame, Status, StatusFrame,
    TransactionFrame,
};
use crate::util::time_of_day::time_of_day;
use connection::{ACK_TIMEOUT, Connection, text};
use pump::{Pump, Step};

/// For the answer to a STATUS or NETWORK request.
pub(crate) const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one node.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the node at `address` and upgrades, within 5 s, trying all
    /// addresses of its host name. The node closes a client that sends nothing for 5 s and waits
    /// for no ACK: connect when there is something to send.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::NotANode`] or [`ClientError::Secure`].
    pub async fn connect(address: &PeerAddress) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::open(address, None).await? })
    }

    /// As [`Self::connect`], to a node of a closed network: shows a certificate of its authority,
    /// and requires one.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::NotANode`] or [`ClientError::AccessDenied`].
    #[cfg(feature = "tls")]
    pub async fn connect_as(address: &PeerAddress, credentials: &crate::tls::Credentials) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::open_as(address, credentials, None).await? })
    }

    /// Returns the address that was dialled.
    pub fn address(&self) -> &PeerAddress {
        &self.connection.address
    }

    /// Returns the node's identity; `None` for an exercise peer, which supports only
    /// [`Self::send`].
    pub fn identity(&self) -> Option<UpgradeIdentity> {
        self.connection.identity
    }

    /// Sends one transaction, the JSON text of an object, and waits until the node has stored or
    /// refused it, for 30 s at most: rules may defer it for longer. It fails more than 5 s after
    /// the last call, since the node has closed the connection.
    ///
    /// # Errors
    /// Any [`ClientError`] except those of connecting. A refusal is no error, but an [`Ack`] with
    /// its reason.
    pub async fn submit(&mut self, body: &str) -> Result<Ack, ClientError> {
        let transaction = Transaction::parse(&mut self.connection.parser, body)?;
        let mut answer = None;
        self.submit_many(stream::iter([transaction]), |ack| answer = Some(ack)).await?;
        Ok(answer.expect("submitting succeeds only when every transaction sent has its ACK"))
    }

    /// Sends transactions as they come, at most 4,096 ahead of their ACKs, and calls `on_ack`
    /// for each ACK, in any order. Returns when `transactions` has ended and all ACKs came. The
    /// node closes a client that is silent for some seconds and waits for nothing: a source that
    /// pauses for long should end, and continue with a new client.
    ///
    /// # Errors
    /// Any [`ClientError`] except those of connecting. A transaction without an ACK may be stored
    /// or not.
    pub async fn submit_many(
        &mut self,
        transactions: impl futures_util::Stream<Item = Transaction>,
        mut on_ack: impl FnMut(Ack),
    ) -> Result<(), ClientError> {
        self.connection.require_native()?;
        let transactions = pin!(transactions);
        let mut pump = Pump::new(&mut self.connection, transactions);
        loop {
            let waits = pump.waits_for_acks();
            let step = poll_fn(|cx| pump.poll(cx));
            let step = if waits { timeout(ACK_TIMEOUT, step).await } else { Ok(step.await) };
            match step {
                Ok(Ok(Step::Acked(ack))) => on_ack(ack),
                Ok(Ok(Step::Sent)) => {}
                Ok(Ok(Step::Done)) => return Ok(()),
                Ok(Err(ClientError::Closed { address, cause })) if pump.waits_for_acks() => {
                    return Err(ClientError::Unconfirmed { address, cause });
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.connection.silent(ACK_TIMEOUT)),
            }
        }
    }

    /// Sends one transaction without requesting an ACK, which is all that an exercise peer
    /// supports. The node has read it if [`Self::close`] then returns true.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Closed`] or [`ClientError::Silent`].
    pub async fn send(&mut self, body: &str) -> Result<(), ClientError> {
        let transaction = Transaction::parse(&mut self.connection.parser, body)?;
        self.connection.send(text(TransactionFrame::client_frame(transaction.body(), false))).await
    }

    /// Asks for the node's status, and how many of `holds` its pool has on disk.
    ///
    /// # Errors
    /// [`ClientError::ExercisePeer`], [`ClientError::Closed`], [`ClientError::Silent`] or
    /// [`ClientError::Answer`].
    pub async fn status(&mut self, holds: &[TransactionId]) -> Result<Status, ClientError> {
        self.connection.require_native()?;
        let (first, rest) = holds.split_at(holds.len().min(STATUS_IDS));
        let mut status = self.ask_status(first).await?;
        for ids in rest.chunks(STATUS_IDS) {
            let next = self.ask_status(ids).await?;
            status = Status { held: status.held + next.held, ..next };
        }
        Ok(status)
    }

    async fn ask_status(&mut self, holds: &[TransactionId]) -> Result<Status, ClientError> {
        self.connection.send(text(StatusFrame::Question { holds: holds.to_vec() }.to_frame())).await?;
        let answer = self.connection.answer(STATUS_TIMEOUT, |message| match message {
            Message::Status(StatusFrame::Answer(status)) => Some(*status),
            _ => None,
        });
        answer.await
    }

    /// Broadcasts a text to every node in the network. The [`Ack`] has the number of links it was
    /// sent on.
    ///
    /// # Errors
    /// Any [`ClientError`] except those of connecting.
    pub async fn broadcast(&mut self, message: &str) -> Result<Ack, ClientError> {
        self.connection.require_native()?;
        Broadcast::check(message)?;
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(ClientError::Random)?;
        let id = BroadcastId(id);
        let broadcast = Broadcast { id, message: message.into(), time: time_of_day(), seal: None };
        self.connection.send(text(BroadcastFrame::client_frame(broadcast))).await?;
        let id = id.to_string();
        let answer = self.connection.answer(ACK_TIMEOUT, |message| match message {
            Message::Ack(ack) if ack.id == id => Some(ack),
            _ => None,
        });
        answer.await
    }

    /// Asks for the nodes of the network that the node knows, itself included, in the order of
    /// their ids.
    ///
    /// # Errors
    /// [`ClientError::ExercisePeer`], [`ClientError::Closed`], [`ClientError::Silent`] or
    /// [`ClientError::Answer`].
    pub async fn nodes(&mut self) -> Result<Vec<Member>, ClientError> {
        self.connection.require_native()?;
        let mut nodes: Vec<Member> = Vec::new();
        loop {
            let after = nodes.last().and_then(|last| last.node.parse().ok());
            self.connection.send(text(NetworkFrame::Question { after }.to_frame())).await?;
            let page = self.connection.answer(STATUS_TIMEOUT, |message| match message {
                Message::Network(NetworkFrame::Answer(members)) => Some(members),
                _ => None,
            });
            let Members { nodes: some, more } = page.await?;
            // An empty page that announces more would repeat for ever.
            let more = more && !some.is_empty();
            nodes.extend(some);
            if !more {
                return Ok(nodes);
            }
        }
    }

    /// Closes the connection and waits for the answer, at most 2 s. Returns whether
    /// it came: then the node has read all that was sent before.
    pub async fn close(self) -> bool {
        self.connection.close().await
    }
}
