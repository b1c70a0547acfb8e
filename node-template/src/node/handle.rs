//! A running node, and handles to it.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use meshpool_proto::access::Rules as AccessRules;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::causes::StoreError;
#[cfg(feature = "web")]
use meshpool_proto::id::LinkId;
use meshpool_proto::id::{NodeId, Session};
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{InvalidTransaction, Transaction, TransactionId};
use meshpool_proto::wire::{Broadcast, ImageName, InvalidBroadcast, Member, Status};
use meshpool_proto::{BroadcastReceipt, Submission};
#[cfg(feature = "web")]
use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::driver::Unstored;
use crate::driver::commands::Command;
use crate::driver::open_link::OpenLink;
use crate::events::Sampling;
#[cfg(feature = "web")]
use crate::events::first::FirstEvents;
use crate::events::stream::{Events, Ring};
#[cfg(feature = "web")]
use crate::events::ways::Ways;
use crate::folder::node_key::NodeKey;
use crate::images::{Image, ImageError, ImageList, Images};
use crate::node::access_watcher::{AccessError, Reload};
use crate::node::declared::{Checks, Declared};
use crate::node::not_dialable::NotDialable;
use crate::pool;
use crate::requests::{OutgoingRequest, Request, Requests};
use crate::signing;
#[cfg(feature = "web")]
use crate::transport::frame_record::FrameRecord;
use crate::transport::iroh::endpoint::Wan;
#[cfg(feature = "web")]
use crate::transport::websocket::plain_http::PageLocation;
use crate::util::lifetime::Ended;
use crate::util::panics::Panics;
use crate::util::time_of_day::time_of_day;
use crate::validation::Validation;

/// How long a node has to shut down.
const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(10);

/// A running node. Dropping it stops the node; [`Node::shutdown`] also waits until everything is on
/// disk. It has all methods of [`Handle`].
#[derive(Debug)]
pub struct Node {
    pub(crate) handle: Handle,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<(), Unstored>>,
    /// How the task ended, once that is known: a task is awaited once.
    pub(crate) end: Option<Result<Result<(), Unstored>, Arc<JoinError>>>,
}

/// A handle to a running node, for other tasks. It is cheap to clone and does not keep the node
/// running; once the node has ended, every call returns that.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) key: Arc<NodeKey>,
    /// Whether submissions are signed.
    pub(crate) signs: bool,
    pub(crate) node: NodeId,
    pub(crate) session: Session,
    pub(crate) address: PeerAddress,
    pub(crate) port: u16,
    pub(crate) pooled: usize,
    /// Of the default topic.
    pub(crate) checks: Weak<Checks>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) reloads: mpsc::Sender<Reload>,
    /// The end of the node: its folder is free.
    pub(crate) released: Ended,
    pub(crate) events: Ring,
    #[cfg(feature = "web")]
    pub(crate) first_events: FirstEvents,
    #[cfg(feature = "web")]
    pub(crate) ways: Ways,
    pub(crate) pool: pool::Reader,
    /// The topics besides the default one, in the order of their numbers.
    pub(crate) topics: Arc<Vec<Declared>>,
    #[cfg(feature = "web")]
    pub(crate) sync_times: Arc<Histogram>,
    pub(crate) images: Arc<Images>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) network: String,
    /// Links over iroh, unless they are off.
    pub(crate) wan: Option<Wan>,
    /// Where the page is, for those who look for it on the peers' port.
    #[cfg(feature = "web")]
    pub(crate) page: PageLocation,
    pub(crate) panics: Panics,
}

/// A transaction that a node accepted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Submitted {
    /// Its id.
    pub id: TransactionId,
    /// On how many links it was sent; with zero, no other node has it from this one yet.
    pub links: usize,
    /// Whether the node had it already: the same content is stored once.
    pub duplicate: bool,
    pub(crate) stored: oneshot::Receiver<()>,
}

impl Submitted {
    /// Waits until the transaction is on this node's disk.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node ended first.
    pub async fn stored(self) -> Result<(), NodeError> {
        self.stored.await.map_err(|_| NodeError::Ended)
    }
}

/// Why a node did not carry out a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The submitted value is no transaction.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The text cannot be broadcast.
    #[error(transparent)]
    InvalidBroadcast(#[from] InvalidBroadcast),
    /// The submitted value cannot be written as JSON.
    #[error("the value cannot be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    /// The node refused the transaction.
    #[error("the transaction was refused: {0}")]
    Refused(String),
    /// The application's rules cannot judge the transaction yet.
    #[error("this node's rules cannot judge the transaction yet; submit it again later")]
    Deferred,
    /// The topic was not declared.
    #[error("this node has no topic {0:?}: declare it with Network::topic before the start")]
    UnknownTopic(String),
    /// An address can never be dialled.
    #[error(transparent)]
    NotDialable(#[from] NotDialable),
    /// The node has ended, or is ending: [`Handle::gone`] waits for that.
    #[error("the node has ended; start it again")]
    Ended,
    /// The node did not shut down in time, most likely because its disk does not answer.
    /// Acknowledged transactions are on disk; accepted ones may not be.
    #[error("the node did not end within {} s: perhaps its disk hangs; what was acknowledged is on disk", SHUT_DOWN_WITHIN.as_secs())]
    Stuck,
    /// When the node ended, the pool's file could not be used. Acknowledged transactions were on
    /// disk before; these were only accepted.
    #[error("the node has ended, but not everything is on disk: {error}")]
    NotStored {
        /// How many accepted transactions are not on disk.
        lost: u64,
        /// What happened, where, and what to do.
        error: StoreError,
    },
    /// The thread of the pool, or that of a topic's file, panicked, and the node ended with it.
    #[error(
        "the thread that writes transactions.json, or a topic's file, ended in a fault of this program, so the node has ended too; what was acknowledged is on disk: start the node again, and please report the lines before this one"
    )]
    PoolEnded,
    /// The node panicked.
    #[error("the node ended in a fault of this program: {0}")]
    Panicked(Arc<JoinError>),
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

    /// The count of panics that the driver does not see by itself.
    #[cfg(feature = "web")]
    pub(crate) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// The id of this run of the node.
    pub fn session(&self) -> Session {
        self.session
    }

    /// The address that others dial, with the port that the system chose.
    pub fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// The port that the node listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many transactions were in the pool at the start.
    pub fn pooled_at_start(&self) -> usize {
        self.pooled
    }

    /// Submits a transaction: any value that serialises to a JSON object. Returns once it is on its
    /// way to the peers; [`Submitted::stored`] waits for the disk.
    ///
    /// # Errors
    /// [`NodeError`] with the reason.
    pub async fn submit(&self, transaction: &impl Serialize) -> Result<Submitted, NodeError> {
        self.submit_text(&serde_json::to_string(transaction).map_err(NodeError::Unwritable)?).await
    }

    /// As [`Self::submit`], from the text of a JSON object.
    ///
    /// # Errors
    /// [`NodeError`] with the reason.
    pub async fn submit_text(&self, text: &str) -> Result<Submitted, NodeError> {
        self.submit_transaction(Transaction::parse(&mut Parser::new(), text)?).await
    }

    /// As [`Self::submit`], of a transaction, as a [`Wallet`](crate::Wallet) signs it.
    ///
    /// # Errors
    /// [`NodeError`] with the reason.
    pub async fn submit_transaction(&self, transaction: Transaction) -> Result<Submitted, NodeError> {
        let transaction = if self.signs { self.sign(transaction)? } else { transaction };
        self.check(&self.checks, &self.pool, &transaction).await?;
        let (stored_sender, stored) = oneshot::channel();
        let outcome = self.ask(|accepted| Command::Submit { transaction, accepted, stored: stored_sender }).await?;
        let Submission { id, links, duplicate } = outcome.map_err(NodeError::Refused)?;
        Ok(Submitted { id, links, duplicate, stored })
    }

    /// Has the application check what this program adds to a pool.
    pub(crate) async fn check(
        &self,
        checks: &Weak<Checks>,
        pool: &pool::Reader,
        transaction: &Transaction,
    ) -> Result<(), NodeError> {
        let checks = checks.upgrade().ok_or(NodeError::Ended)?;
        checks.validator.check(transaction).map_err(|error| NodeError::Refused(error.to_string()))?;
        let Some(rules) = checks.rules.clone() else { return Ok(()) };
        drop(checks);
        match rules.judge(transaction.clone(), pool.clone(), self.panics.clone()).await {
            Validation::Accept => Ok(()),
            Validation::Reject(reason) => Err(NodeError::Refused(reason)),
            Validation::Ignore => {
                Err(NodeError::Refused(InvalidTransaction::Ignored { id: transaction.id() }.to_string()))
            }
            Validation::Defer(_) => Err(NodeError::Deferred),
        }
    }

    /// Signs a transaction with the node's key, as [`crate::signing::sign`] does.
    ///
    /// # Errors
    /// [`InvalidTransaction::TooLong`] if there is no room for a signature.
    pub fn sign(&self, transaction: Transaction) -> Result<Transaction, InvalidTransaction> {
        signing::sign(&self.key, &mut Parser::new(), transaction)
    }

    /// Broadcasts a text to every node in the network. Nodes keep it in memory for ten minutes and
    /// give it to those that link later, also to new and restarted ones. So an application that
    /// restarts gets it again. Returns once it is on its way. If it went out on zero links, no
    /// other node has it yet.
    ///
    /// # Errors
    /// [`NodeError::InvalidBroadcast`] or [`NodeError::Ended`].
    pub async fn broadcast(&self, text: impl Into<String>) -> Result<BroadcastReceipt, NodeError> {
        let message = text.into();
        Broadcast::check(&message)?;
        self.ask(|reply| Command::Broadcast { message, time: time_of_day(), reply }).await
    }

    /// Asks another node, and waits for the answer of its application. Both have up to
    /// [`REQUEST_BYTES`](meshpool_proto::limits::REQUEST_BYTES) bytes.
    ///
    /// Await it to send it, after [`timeout`](OutgoingRequest::timeout) if 30 seconds are not the
    /// right time. Dropping the future cancels the request, and the handler at the other end. The
    /// errors are those of [`RequestError`](crate::RequestError). A request is served at most once;
    /// after a timeout or a lost connection it may have been served.
    ///
    /// A request to this node itself is answered by its own handler.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let node = meshpool::Network::new("localhost").folder(folder.path()).start().await?;
    /// node.serve(async |request: meshpool::Request| match &request.payload[..] {
    ///     b"height" => Ok("7"),
    ///     _ => Err("no such question"),
    /// });
    /// assert_eq!(node.request(node.id(), "height").await?, "7");
    /// # node.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, peer: NodeId, payload: impl Into<Bytes>) -> OutgoingRequest {
        OutgoingRequest::new(Arc::clone(self.requests.shared()), peer, payload.into())
    }

    /// Serves the requests of other nodes with a function, until [`Self::stop_serving`]. A second
    /// call replaces the function for requests that come from then on.
    ///
    /// Up to 32 requests are served at once, 16 of one address group, eight of one connection;
    /// others are refused. The future is dropped if the other node cancels or goes. An error
    /// reaches it as text. A panic is counted, and reaches it as an error.
    pub fn serve<F, A, E>(&self, handler: impl Fn(Request) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Bytes>,
        E: Display,
    {
        self.requests.serve(handler);
    }

    /// Serves no more requests. Those whose handler runs are still answered.
    pub fn stop_serving(&self) {
        self.requests.stop_serving();
    }

    /// The nodes in the network as far as this node knows, itself among them, in the order of their
    /// ids.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn nodes(&self) -> Result<Vec<Member>, NodeError> {
        self.ask(|reply| Command::Nodes { reply }).await
    }

    /// The events from now on, in order.
    ///
    /// A listener that lags too far behind loses the oldest events, and learns how many. That is
    /// 4,096 events that come one by one, or 16,384 that come many at once; fewer if they hold more
    /// than 16 MiB of transactions.
    pub fn events(&self) -> Events {
        self.events.listen()
    }

    /// As [`Self::events`], with only samples of the transactions, unless another listener wants
    /// all.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "for the page"))]
    pub(crate) fn samples(&self, samples: usize) -> (Events, Sampling) {
        self.events.listen_to_samples(samples)
    }

    /// The node's status.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.ask(|reply| Command::Status { holds: Vec::new(), reply }).await
    }

    /// The open links, those of clients among them. Round-trip times older than ten seconds are
    /// measured again; the result is in a later answer.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn links(&self) -> Result<Vec<OpenLink>, NodeError> {
        self.ask(|reply| Command::Links { reply }).await
    }

    /// The record of a link's frames; `None`: no link with this id is open.
    #[cfg(feature = "web")]
    pub(crate) async fn frames(&self, link: LinkId) -> Result<Option<Arc<FrameRecord>>, NodeError> {
        self.ask(|reply| Command::Frames { link, reply }).await
    }

    /// Sends the driver a command and waits for its reply.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| NodeError::Ended)?;
        answer.await.map_err(|_| NodeError::Ended)
    }

    /// Reloads the access rules, as the binary does on SIGHUP: `denied.txt`, `allowed.txt`, and in
    /// a closed network the certificates. Links that are no longer allowed are closed. Others stay
    /// open with the certificate that they began with.
    ///
    /// # Errors
    /// [`AccessError`]; the old rules stay in force.
    pub async fn reload(&self) -> Result<(), AccessError> {
        let (reply, done) = oneshot::channel();
        self.reloads.send(reply).await.map_err(|_| AccessError::Ended)?;
        done.await.map_err(|_| AccessError::Ended)?
    }

    /// Replaces the known peers, as the binary does on SIGHUP. New ones are dialled, and so are
    /// those with other relays. Others stay as learned addresses, and their links stay open.
    ///
    /// # Errors
    /// [`NodeError::NotDialable`], and nothing is changed; or [`NodeError::Ended`].
    pub async fn set_known_peers(&self, addresses: Vec<PeerAddress>) -> Result<(), NodeError> {
        NotDialable::check(addresses.iter(), self.wan.is_some())?;
        self.replace_known_peers(addresses).await
    }

    /// As [`Self::set_known_peers`], without those that cannot be dialled.
    pub(crate) async fn replace_known_peers(&self, addresses: Vec<PeerAddress>) -> Result<(), NodeError> {
        self.ask(|reply| Command::SetKnownPeers { addresses, reply }).await
    }

    /// Lifts the bans of this run that these rules name. Those of `denied.txt` stay. Returns how
    /// many were lifted.
    ///
    /// # Errors
    /// [`NodeError::Ended`].
    pub async fn lift_bans(&self, who: AccessRules) -> Result<usize, NodeError> {
        self.ask(|reply| Command::LiftBans { who, reply }).await
    }

    /// Reads `transactions.json` beside the node.
    pub fn pool(&self) -> &pool::Reader {
        &self.pool
    }

    /// The times that it took to write batches of transactions and to wait for the disk.
    #[cfg(feature = "web")]
    pub(crate) fn sync_times(&self) -> &Histogram {
        &self.sync_times
    }

    /// Returns an image by its name: a file in the folder `images`, or an image of another node,
    /// fetched and verified. The search takes up to
    /// [`search_deadline`](meshpool_proto::limits::Limits::search_deadline), the transfer comes on
    /// top.
    ///
    /// # Errors
    /// [`ImageError`] with the reason.
    pub async fn image(&self, name: &ImageName) -> Result<Image, ImageError> {
        self.images.get(name).await
    }

    /// The images in the network. Other nodes are asked at most every five seconds, which takes
    /// one.
    pub async fn images(&self) -> Arc<ImageList> {
        self.images.list().await
    }

    /// Whether the node has ended, as [`Self::gone`] says.
    pub fn has_ended(&self) -> bool {
        self.released.is_over()
    }

    /// Waits for the end of the node: what it stores is on disk, and its folder can be opened
    /// again. Calls fail with [`NodeError::Ended`] from the beginning of the end on. Cancel-safe.
    pub async fn gone(&self) {
        self.released.wait().await;
    }
}

impl Node {
    /// A handle to this node, for other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the node to end by itself, which only a panic causes. Cancel-safe. Once the node
    /// has ended, each call returns the same error.
    pub async fn ended(&mut self) -> NodeError {
        self.end().await.err().unwrap_or(NodeError::Ended)
    }

    async fn end(&mut self) -> Result<(), NodeError> {
        let end = match self.end.take() {
            Some(end) => end,
            None => (&mut self.task).await.map_err(Arc::new),
        };
        Ok(self.end.insert(end).clone().map_err(NodeError::Panicked)??)
    }

    /// Shuts the node down: stops accepting, closes every link, waits until all accepted
    /// transactions are on disk, and releases the folder.
    ///
    /// # Errors
    /// [`NodeError::NotStored`] if accepted transactions could not be written.
    /// [`NodeError::Panicked`] if the node had ended by itself. [`NodeError::PoolEnded`] if that or
    /// the shutdown ended in a panic of a thread that stores.
    /// [`NodeError::Stuck`] if it takes more than ten seconds: the pool's thread then keeps the
    /// folder until it has ended.
    pub async fn shutdown(mut self) -> Result<(), NodeError> {
        drop(self.stop.take());
        match tokio::time::timeout(SHUT_DOWN_WITHIN, self.end()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.task.abort();
                Err(NodeError::Stuck)
            }
        }
    }
}

impl From<Unstored> for NodeError {
    fn from(unstored: Unstored) -> Self {
        match unstored {
            Unstored::PoolEnded => Self::PoolEnded,
            Unstored::GaveUp { lost, error } => Self::NotStored { lost, error },
        }
    }
}
