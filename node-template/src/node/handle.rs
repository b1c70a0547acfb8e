//! A running node, and the handles on it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::driver::link_rows::OpenLink;
use crate::driver::{Command, PoolEnded};
use crate::events::Sampling;
use crate::events::stream::{Events, Ring};
use crate::folder::node_key::NodeKey;
use crate::images::{Image, ImageError, ImageList, Images};
use crate::node::access_watcher::{AdmissionError, Reload};
use crate::node::network::time_of_day;
use crate::pool::{self, Pool};
use crate::protocol::address::PeerAddress;
use crate::protocol::id::{NodeId, Session};
use crate::protocol::json::Parser;
use crate::protocol::transaction::{InvalidTransaction, Transaction, TransactionId};
use crate::protocol::wire::{Broadcast, ImageName, InvalidBroadcast, Member, Status};
use crate::protocol::{BroadcastReceipt, Submission};
use crate::signing;
use crate::signing::validator::Validator;
#[cfg(feature = "web")]
use crate::util::panics::Faults;

/// How long a node has to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A running node. Dropping it stops the node; [`Node::shutdown`] also waits until everything is on disk. All that a [`Handle`] can do it can too.
#[derive(Debug)]
pub struct Node {
    pub(crate) handle: Handle,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<Pool, PoolEnded>>,
}

/// A way to a running node for other tasks: it submits, asks and listens. It is cheap to clone and keeps no node alive; when the node has ended it says so.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) key: Arc<NodeKey>,
    /// Whether what is submitted is signed.
    pub(crate) signs: bool,
    pub(crate) node: NodeId,
    pub(crate) session: Session,
    pub(crate) address: PeerAddress,
    pub(crate) port: u16,
    pub(crate) pooled: usize,
    pub(crate) validator: Validator,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) reloads: mpsc::Sender<Reload>,
    pub(crate) events: Ring,
    pub(crate) pool: pool::Reader,
    pub(crate) syncs: Arc<Histogram>,
    pub(crate) images: Arc<Images>,
    #[cfg(feature = "web")]
    pub(crate) faults: Faults,
}

/// A transaction that a node took.
#[derive(Debug)]
pub struct Submitted {
    /// Its identity.
    pub id: TransactionId,
    /// On how many links it went out; zero means that no other node has it from us yet.
    pub links: usize,
    /// Whether the node held it already: the same content can not be submitted twice.
    pub duplicate: bool,
    kept: oneshot::Receiver<()>,
}

impl Submitted {
    /// Waits until the transaction is on this node's disk.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node ended first.
    pub async fn stored(self) -> Result<(), NodeError> {
        self.kept.await.map_err(|_| NodeError::Ended)
    }
}

/// Why a node did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// What was submitted is no transaction.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The text can not be broadcast.
    #[error(transparent)]
    InvalidBroadcast(#[from] InvalidBroadcast),
    /// What was submitted can not be written as JSON.
    #[error("the value can not be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    /// The node refused it.
    #[error("the transaction was refused: {0}")]
    Refused(String),
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
    /// The node did not end in time, most likely for its disk, which does not answer. What was acknowledged is on disk all the same; what was only taken may not be.
    #[error("the node did not end within {} s: perhaps its disk hangs; what was acknowledged is on disk", END_WITHIN.as_secs())]
    Stuck,
    /// The pool's thread ended in a fault of this program, and the node with it.
    #[error(
        "the thread that writes transactions.json ended in a fault of this program, so the node has ended too; what was acknowledged is on disk: start the node again, and please report the lines before this one"
    )]
    PoolEnded,
    /// The node ended in a fault of this program.
    #[error("the node ended in a fault of this program: {0}")]
    Fault(tokio::task::JoinError),
}

impl Deref for Node {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Handle {
    /// The node's id: its public key.
    pub fn id(&self) -> NodeId {
        self.node
    }

    /// Where faults are kept that the driver does not see by itself.
    #[cfg(feature = "web")]
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// This run of the node.
    pub fn session(&self) -> Session {
        self.session
    }

    /// Where others are told to dial this node, with the port that the system gave.
    pub fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// The port that is listened on, whatever others are told.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many transactions were in the pool at the start.
    pub fn pooled_at_start(&self) -> usize {
        self.pooled
    }

    /// Submits a transaction: any value that becomes a JSON object. Returns once it is on its way to the peers; [`Submitted::stored`] waits for the disk.
    ///
    /// # Errors
    /// [`NodeError`] says why it was not taken.
    pub async fn submit(&self, transaction: &impl Serialize) -> Result<Submitted, NodeError> {
        self.submit_text(&serde_json::to_string(transaction).map_err(NodeError::Unwritable)?).await
    }

    /// As [`Self::submit`], from the text of a JSON object.
    ///
    /// # Errors
    /// [`NodeError`] says why it was not taken.
    pub async fn submit_text(&self, text: &str) -> Result<Submitted, NodeError> {
        let transaction = Transaction::parse(&mut Parser::new(), text)?;
        let transaction = if self.signs { self.sign(transaction)? } else { transaction };
        self.validator.check(&transaction).map_err(|error| NodeError::Refused(error.to_string()))?;
        let (taken, outcome) = oneshot::channel();
        let (kept_sender, kept) = oneshot::channel();
        let command = Command::Submit { transaction, taken, kept: kept_sender };
        self.commands.send(command).await.map_err(|_| NodeError::Ended)?;
        let outcome = outcome.await.map_err(|_| NodeError::Ended)?;
        let Submission { id, links, duplicate } = outcome.map_err(NodeError::Refused)?;
        Ok(Submitted { id, links, duplicate, kept })
    }

    /// Signs a transaction with the node's key, as [`crate::signing::sign`] does.
    ///
    /// # Errors
    /// [`InvalidTransaction::TooLong`] if there is no room for a signature.
    pub fn sign(&self, transaction: Transaction) -> Result<Transaction, InvalidTransaction> {
        signing::sign(&self.key, &mut Parser::new(), transaction)
    }

    /// Broadcasts a text to every node in the network, and to those that come back within ten minutes. Returns once it is on its way, and tells as what and on
    /// how many links; with zero links nobody has it yet.
    ///
    /// # Errors
    /// [`NodeError::InvalidBroadcast`] or [`NodeError::Ended`].
    pub async fn broadcast(&self, text: impl Into<String>) -> Result<BroadcastReceipt, NodeError> {
        let message = text.into();
        Broadcast::check(&message)?;
        let (told, answer) = oneshot::channel();
        let command = Command::Broadcast { message, time: time_of_day(), told };
        self.commands.send(command).await.map_err(|_| NodeError::Ended)?;
        answer.await.map_err(|_| NodeError::Ended)
    }

    /// Who is in the network, as far as this node knows, in the order of their ids; itself among them.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn nodes(&self) -> Result<Vec<Member>, NodeError> {
        let (answer, nodes) = oneshot::channel();
        self.commands.send(Command::Nodes { answer }).await.map_err(|_| NodeError::Ended)?;
        nodes.await.map_err(|_| NodeError::Ended)
    }

    /// What happens from now on, in order. A listener that lags too far behind loses the oldest events, and is told how many: 4,096 when they come one by one, up to
    /// 16,384 when many come at once, fewer if they hold more than 16 MiB of transactions.
    pub fn events(&self) -> Events {
        self.events.listen()
    }

    /// What happens from now on, but of transactions only samples, unless somebody listens to all.
    pub(crate) fn samples(&self, samples: usize) -> (Events, Sampling) {
        self.events.listen_to_samples(samples)
    }

    /// How the node stands.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        let (answer, status) = oneshot::channel();
        self.commands.send(Command::Status { holds: Vec::new(), answer }).await.map_err(|_| NodeError::Ended)?;
        status.await.map_err(|_| NodeError::Ended)
    }

    /// The open links, clients' among them. Asking has the round-trip times measured anew that are older than ten seconds; they are in a later answer.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn links(&self) -> Result<Vec<OpenLink>, NodeError> {
        let (answer, links) = oneshot::channel();
        self.commands.send(Command::Links { answer }).await.map_err(|_| NodeError::Ended)?;
        links.await.map_err(|_| NodeError::Ended)
    }

    /// Reads again who is let in: `denied.txt`, `allowed.txt`, and in a closed network the certificates, as SIGHUP makes the binary do. Links of those who are
    /// not let in any more are closed; others stay, whatever certificate they began with.
    ///
    /// # Errors
    /// [`AdmissionError`], one line with the remedy: then everything is as it was.
    pub async fn reload(&self) -> Result<(), AdmissionError> {
        let (answer, done) = oneshot::channel();
        self.reloads.send(answer).await.map_err(|_| AdmissionError::Ended)?;
        done.await.map_err(|_| AdmissionError::Ended)?
    }

    /// What is in `transactions.json`, to be read beside the node.
    pub fn pool(&self) -> &pool::Reader {
        &self.pool
    }

    /// How long writing batches of transactions and waiting for the disk took.
    pub fn syncs(&self) -> &Histogram {
        &self.syncs
    }

    /// An image by its name: a file in the folder's `images`, or one that another node has, fetched and checked. That takes up to
    /// [`search_deadline`](crate::protocol::limits::Limits::search_deadline) until somebody is found, and then as long as the transfer.
    ///
    /// # Errors
    /// [`ImageError`] says why there is none.
    pub async fn image(&self, name: &ImageName) -> Result<Image, ImageError> {
        self.images.get(name).await
    }

    /// The images known in the network: other nodes are asked, for a second, at most every five.
    pub async fn images(&self) -> Arc<ImageList> {
        self.images.list().await
    }

    /// Whether the node has ended.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits for the node's end, whatever brings it. Cancel-safe.
    pub async fn gone(&self) {
        self.commands.closed().await;
    }
}

impl Node {
    /// A way to this node for other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the node to end by itself, which only a fault makes it do. Cancel-safe.
    pub async fn ended(&mut self) -> NodeError {
        match (&mut self.task).await {
            Ok(Ok(_)) => NodeError::Ended,
            Ok(Err(PoolEnded)) => NodeError::PoolEnded,
            Err(error) => NodeError::Fault(error),
        }
    }

    /// Ends the node: stops accepting, says goodbye to every peer, waits until what was taken is on disk, and releases the folder.
    ///
    /// # Errors
    /// [`NodeError::Fault`] if the node had ended in one, [`NodeError::PoolEnded`] if the pool's thread had; [`NodeError::Stuck`] if all of this takes more than ten
    /// seconds: the pool's thread then goes on by itself, and has the folder until it has ended.
    pub async fn shutdown(mut self) -> Result<(), NodeError> {
        drop(self.stop.take());
        let ending = async {
            let pool = (&mut self.task).await.map_err(NodeError::Fault)?;
            pool.map_err(|PoolEnded| NodeError::PoolEnded)?.close().await;
            Ok(())
        };
        tokio::time::timeout(END_WITHIN, ending).await.unwrap_or(Err(NodeError::Stuck))
    }
}
