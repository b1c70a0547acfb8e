//! A node in your program: describe it with [`Network`], start it, and hold the [`Node`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use p2p_node::Network;
//!
//! let node = Network::new("localhost").port(5050).known_peer("ws://localhost:4001".parse()?).start().await?;
//! let submitted = node.submit(&serde_json::json!({ "message": "hello" })).await?;
//! println!("{} went out on {} links", submitted.id, submitted.links);
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::admission::{Admission, AdmissionError, Closed, Reload, Warden};
use crate::discovery::{Discovering, Discovery};
use crate::events::{Events, Ring, Teller};
use crate::hook::Validator;
use crate::images::{Image, ImageError, ImageList, Images};
use crate::interface;
use crate::key::{KeyError, NodeKey};
use crate::pool::{self, Opened, Pool, PoolError};
pub use crate::protocol::Told;
use crate::protocol::address::{NotAnAddress, PeerAddress};
use crate::protocol::identity::{Greeting, NodeId, Session};
use crate::protocol::json::Parser;
use crate::protocol::limits::Limits;
use crate::protocol::message::{Broadcast, ImageName, InvalidBroadcast, Member, Status};
use crate::protocol::record::Record;
use crate::protocol::signature::Signer;
use crate::protocol::transaction::{InvalidTransaction, Transaction, TransactionId};
use crate::protocol::{Config, Protocol, Submission};
use crate::remembered::Remembered;
use crate::report::many;
use crate::settings::{DEFAULT_NETWORK, Settings};
use crate::signing;
use crate::transport::driver::{Command, Driver, Parts, PoolEnded};
use crate::transport::filter::Filter;
pub use crate::transport::histogram::Histogram;
pub use crate::transport::links::OpenLink;
use crate::transport::listener::{self, Doorman};

/// How many arrivals wait for the driver: with the batches' own bounds, at most 4 MiB. What has come this far is sent on whatever waits; more of it would fill the
/// queues of links before clients can be held up.
const INBOX: usize = 16;
/// How many of the application's commands wait.
const COMMANDS: usize = 1_024;
/// How many wait to have the files of who is let in read again.
const RELOADS: usize = 16;
/// How long a node has to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A node that is not started yet.
#[derive(Debug, Clone)]
#[must_use = "a network does nothing until it is started"]
pub struct Network {
    folder: PathBuf,
    host: String,
    port: u16,
    address: Option<PeerAddress>,
    name: String,
    known_peers: Vec<PeerAddress>,
    max_peers: Option<u32>,
    genesis: Option<PeerAddress>,
    plain: Option<bool>,
    closed: Option<Closed>,
    discovery: Discovery,
    validator: Validator,
    sign_submissions: bool,
    limits: Limits,
    /// Where host and port were set, for errors.
    origin: String,
}

/// Why a node did not start. Nothing is left running, and nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder's `transactions.json`, or the folder itself, can not be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The folder's key can not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The files of who is let in can not be used: lists, certificates.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The port is in use.
    #[error(
        "port {port} on {host} is in use ({origin}): stop the program that uses it, or set another PORT (0 = any free one)"
    )]
    PortInUse {
        /// Where port and host were set.
        origin: String,
        /// What was to be listened on.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host or the port can not be listened on.
    #[error("can not listen on {host}, port {port}: {error}; check HOST and PORT")]
    Bind {
        /// What was to be listened on.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        error: io::Error,
    },
    /// The address that peers would be told is none.
    #[error("others can not be told where to find this node: {0}; set ADDRESS")]
    Address(NotAnAddress),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Network {
    /// A node that listens on a host: `"localhost"` (both loopback addresses), another name, or an IP address. Its files are in the current folder, its port is
    /// any free one, and it knows no peers.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            folder: PathBuf::from("."),
            host: host.into(),
            port: 0,
            address: None,
            name: DEFAULT_NETWORK.to_owned(),
            known_peers: Vec::new(),
            max_peers: None,
            genesis: None,
            plain: None,
            closed: None,
            discovery: Discovery::Off,
            validator: Validator::default(),
            sign_submissions: false,
            limits: Limits::default(),
            origin: "as the program asked".to_owned(),
        }
    }

    /// The port to listen on; 0: any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The folder of the node's files: `transactions.json`, `node.key`, `node.lock`. They are made where they are missing; the folder is not.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Where others are told to dial this node, if that is not the host and port listened on.
    pub fn address(mut self, address: PeerAddress) -> Self {
        self.address = Some(address);
        self
    }

    /// The network's name; nodes of different names do not link.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// One more address to dial from the start, never forgotten.
    pub fn known_peer(mut self, address: PeerAddress) -> Self {
        self.known_peers.push(address);
        self
    }

    /// Link to at most `most` nodes, instead of to all. A node that is full sends others on, and takes one that has no link in place of another; with 1 a network
    /// can not connect. 0 counts as 1.
    pub fn max_peers(mut self, most: u32) -> Self {
        self.max_peers = Some(most.max(1));
        self
    }

    /// Join through this node: ask it for a live one, link to that and to some of its neighbours. If it is down, known peers and those of the last run serve.
    pub fn genesis(mut self, address: PeerAddress) -> Self {
        self.genesis = Some(address);
        self
    }

    /// Makes the node a member of a closed network: it speaks TLS, lets in nobody whose certificate the network's authority has not signed, and dials `wss://`
    /// addresses only. `ca` is the authority's certificate, `certificate` the node's own, with the key of its `node.key`; PEM files, relative to the folder.
    #[cfg(feature = "tls")]
    pub fn closed(mut self, ca: impl Into<PathBuf>, certificate: impl Into<PathBuf>) -> Self {
        self.closed = Some(Closed { ca: ca.into(), certificate: certificate.into() });
        self
    }

    /// Whether nodes of the exercise are let in, and clients from other hosts that show no certificate. If it is not said: in an open network they are,
    /// in a closed one not.
    pub fn plain(mut self, plain: bool) -> Self {
        self.plain = Some(plain);
        self
    }

    /// Finds nodes on the local network, and is found by them. A node that listens on one host's loopback alone (`"localhost"`) finds those of its host; one that
    /// listens on everything (`"0.0.0.0"`) tells others the address of the interface that leads to the network.
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discovery = discovery;
        self
    }

    /// Asks this function about every transaction that would enter the pool: what it refuses is neither stored nor passed on, and the reason
    /// that it gives reaches whoever sent it (a client in its ACK, [`Handle::submit`] in its error).
    ///
    /// It is asked on the threads that read the links, by several at once, and also about copies: it should be quick, say the same of the same transaction on
    /// every node of the network, and not panic, which ends the link that brought the transaction. What stands in `transactions.json` at the start, or
    /// is written into it by another program, is not asked about.
    pub fn validate(mut self, hook: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.validator.ask(hook);
        self
    }

    /// Takes signed transactions only: what is not signed, or whose signature does not verify (see [`crate::signing`]), is neither stored nor passed on, whoever
    /// brings it, [`Handle::submit`] included. What stands in `transactions.json` already stays.
    pub fn require_signatures(mut self, required: bool) -> Self {
        self.validator.require_signatures(required);
        self
    }

    /// Signs with the node's key what [`Handle::submit`] is given, where it has no signature yet and names no other `publicKey`.
    pub fn sign_submissions(mut self, sign: bool) -> Self {
        self.sign_submissions = sign;
        self
    }

    /// Other bounds than [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the node on the current tokio runtime. It listens when this returns.
    ///
    /// # Errors
    /// [`StartError`], one line with the remedy.
    pub async fn start(self) -> Result<Node, StartError> {
        let folder = self.folder.clone();
        // Reading a pool of a million transactions takes a second: not on a thread that others' tasks wait for.
        let opened =
            tokio::task::spawn_blocking(move || pool::open(&folder)).await.map_err(|_| PoolError::Closed)??;
        for repair in &opened.repairs {
            tracing::warn!("{repair}");
        }
        let pool = opened.pool.clone();
        let started = self.start_on(opened).await;
        if started.is_err() {
            // The folder is free again once the pool's writer has ended.
            pool.close().await;
        }
        started
    }

    async fn start_on(self, opened: Opened) -> Result<Node, StartError> {
        let key = Arc::new(NodeKey::load_or_create(&self.folder)?);
        let node = key.node_id();
        let admission = Admission::new(self.folder.clone(), self.plain, self.closed.clone(), Arc::clone(&key));
        let (access, live) = admission.read()?;
        let secure = live.map(Arc::new);
        let listeners = listener::bind(&self.host, self.port).await.map_err(|error| self.explain(error))?;
        let port = listeners[0].local_addr().map_err(|error| self.explain(error))?.port();
        let address = self.advertised(port).map_err(StartError::Address)?;
        pool::announce(&self.folder, &self.listened(port).map_err(StartError::Address)?)?;
        let remembered = Remembered::read(&self.folder, self.max_peers.is_some() || self.genesis.is_some());
        let (session, seed) = (Session::from_random(random()?), u64::from_le_bytes(random()?));
        let config = Config {
            node,
            session,
            agent: concat!("p2p-node/", env!("CARGO_PKG_VERSION")).to_owned(),
            network: self.name,
            address: address.clone(),
            known_peers: self.known_peers,
            remembered_peers: remembered.addresses().to_vec(),
            max_peers: self.max_peers,
            genesis: self.genesis,
            since: time_of_day() as u64,
            limits: self.limits.clone(),
            signer: Arc::clone(&key) as Arc<dyn Signer>,
            seed,
        };
        let pooled = opened.ids.len();
        tracing::info!(
            "listening on {address} as node {}; {} in the pool, {}",
            node.short(),
            many(pooled as u64, "transaction", "transactions"),
            many(config.known_peers.len() as u64, "known peer", "known peers")
        );
        let discovering = discovering(self.discovery, &config);
        let held = opened.ids.into_iter().zip(opened.times).collect();
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        let events = Ring::new();
        let images = Images::open(&self.folder, self.limits.clone(), commands.clone(), secure.clone());
        let greeting = Greeting { node, session };
        let doorman = Doorman::new(&greeting, self.limits.clone(), inbox.clone(), secure.clone(), Arc::clone(&images));
        let doorman = Arc::new(doorman);
        let (reloads, reload_receiver) = mpsc::channel(RELOADS);
        let warden = Warden { admission, live: secure.clone(), commands: commands.clone(), reloads: reload_receiver };
        let (pool, syncs) = (opened.pool.reader(), Arc::new(Histogram::default()));
        let mut driver = Driver::new(Parts {
            protocol: Protocol::new(Instant::now(), config, held),
            limits: self.limits,
            secure,
            session,
            pool: opened.pool,
            reports: opened.reports,
            arrivals,
            inbox,
            filter: Arc::new(Filter::new(&random()?)),
            validator: self.validator.clone(),
            pressure: Arc::default(),
            commands: command_receiver,
            remembered,
            events: Teller::new(events.clone()),
            syncs: Arc::clone(&syncs),
            images: Arc::clone(&images),
            discovering,
        });
        driver.admit(access);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let mut doors = JoinSet::new();
            for listener in listeners {
                doors.spawn(Arc::clone(&doorman).keep_open(listener));
            }
            doors.spawn(warden.run());
            let until = async {
                // A handle that was dropped stops the node as one that was shut down.
                stopped.await.unwrap_or_default();
                doors.abort_all();
            };
            driver.run(until).await
        });
        let (validator, signs) = (self.validator, self.sign_submissions);
        let handle = Handle {
            key,
            signs,
            node,
            session,
            address,
            port,
            pooled,
            validator,
            commands,
            reloads,
            events,
            pool,
            syncs,
            images,
        };
        Ok(Node { handle, stop: Some(stop), task })
    }

    fn explain(&self, error: io::Error) -> StartError {
        let (host, port, origin) = (self.host.clone(), self.port, self.origin.clone());
        match error.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { origin, host, port },
            _ => StartError::Bind { host, port, error },
        }
    }

    /// Where tools on this host find the node: what it listens on, whatever others are told.
    fn listened(&self, port: u16) -> Result<PeerAddress, NotAnAddress> {
        interface::advertised(&self.host, port, false, None)
    }

    fn advertised(&self, port: u16) -> Result<PeerAddress, NotAnAddress> {
        let beyond = self.discovery != Discovery::Off || interface::is_beyond(self.genesis.as_ref());
        let address = match &self.address {
            Some(address) => address.clone(),
            None => interface::advertised(&self.host, port, beyond, self.genesis.as_ref())?,
        };
        // Whoever wrote ws:// into ADDRESS meant host and port; nobody could dial it so.
        Ok(if self.closed.is_some() { address.secured() } else { address })
    }
}

impl From<Settings> for Network {
    fn from(settings: Settings) -> Self {
        let mut validator = Validator::default();
        validator.require_signatures(settings.require_signatures);
        Self {
            folder: settings.folder,
            host: settings.host,
            port: settings.port,
            address: settings.address,
            name: settings.network,
            known_peers: settings.known_peers,
            max_peers: settings.max_peers,
            genesis: settings.genesis,
            plain: settings.plain,
            closed: settings.closed.map(|(ca, certificate)| Closed { ca, certificate }),
            validator,
            sign_submissions: false,
            discovery: settings.discovery,
            limits: settings.limits,
            origin: settings.listen_origin,
        }
    }
}

fn discovering(discovery: Discovery, config: &Config) -> Discovering {
    let (network, address) = (config.network.clone(), config.address.clone());
    match discovery {
        Discovery::Off => Discovering::default(),
        Discovery::Mdns => {
            Discovering::mdns(Record { node: config.node, session: config.session, network, address, free: None })
        }
    }
}

/// Seconds since 1970, by this machine's clock.
fn time_of_day() -> f64 {
    // A clock that stands before 1970 is no reason not to start.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}

/// A running node. Dropping it stops the node; [`Node::shutdown`] also waits until everything is on disk. All that a [`Handle`] can do it can too.
#[derive(Debug)]
pub struct Node {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Pool, PoolEnded>>,
}

/// A way to a running node for other tasks: it submits, asks and listens. It is cheap to clone and keeps no node alive; when the node has ended it says so.
#[derive(Debug, Clone)]
pub struct Handle {
    key: Arc<NodeKey>,
    /// Whether what is submitted is signed.
    signs: bool,
    node: NodeId,
    session: Session,
    address: PeerAddress,
    port: u16,
    pooled: usize,
    validator: Validator,
    commands: mpsc::Sender<Command>,
    reloads: mpsc::Sender<Reload>,
    events: Ring,
    pool: pool::Reader,
    syncs: Arc<Histogram>,
    images: Arc<Images>,
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
    /// The node did not end in time. What was acknowledged is on disk all the same.
    #[error("the node did not end within {} s; what was acknowledged is on disk", END_WITHIN.as_secs())]
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
    pub async fn broadcast(&self, text: impl Into<String>) -> Result<Told, NodeError> {
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

    /// What happens from now on, in order. A listener that lags more than 4,096 events behind, or so far that they hold more than 16 MiB of transactions, loses the oldest,
    /// and is told so.
    pub fn events(&self) -> Events {
        self.events.listen()
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
    /// [`search_deadline`](Limits::search_deadline) until somebody is found, and then as long as the transfer.
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
    /// [`NodeError::Fault`] if the node had ended in one, [`NodeError::PoolEnded`] if the pool's thread had.
    pub async fn shutdown(mut self) -> Result<(), NodeError> {
        drop(self.stop.take());
        let ended = tokio::time::timeout(END_WITHIN, &mut self.task).await;
        let pool = ended.map_err(|_| NodeError::Stuck)?.map_err(NodeError::Fault)?;
        let pool = pool.map_err(|PoolEnded| NodeError::PoolEnded)?;
        pool.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
