//! A node in your program: describe it with [`Network`], start it, and hold the [`Node`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use meshpool::Network;
//!
//! let node = Network::new("localhost").port(5050).known_peer("ws://localhost:4001".parse()?).start().await?;
//! let submitted = node.submit(&serde_json::json!({ "message": "hello" })).await?;
//! println!("{} went out on {} links", submitted.id, submitted.links);
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{DEFAULT_NETWORK, Settings};
use crate::discovery::advertised_address;
use crate::discovery::{Discovering, Discovery};
pub use crate::driver::link_rows::OpenLink;
use crate::driver::{Driver, Parts};
use crate::events::sender::EventSender;
use crate::events::stream::Ring;
use crate::events::text::plural;
use crate::folder::node_key::{KeyError, NodeKey};
use crate::folder::peer_cache::PeerCache;
use crate::images::Images;
use crate::node::access_watcher::{Admission, AdmissionError, Closed, Warden};
use crate::pool::{self, Opened, PoolError};
pub use crate::protocol::BroadcastReceipt;
use crate::protocol::address::{InvalidAddress, PeerAddress};
use crate::protocol::id::{Session, UpgradeIdentity};
use crate::protocol::limits::Limits;
use crate::protocol::mdns_record::Record;
use crate::protocol::signature::Signer;
use crate::protocol::transaction::Transaction;
use crate::protocol::{Config, Node as Core};
use crate::signing::validator::Validator;
use crate::transport::link::duplicate_filter::Filter;
use crate::transport::listener::{self, Doorman};
use crate::util::panics::Faults;

pub use crate::node::handle::{Handle, Node, NodeError, Submitted};

/// How many arrivals wait for the driver: with the batches' own bounds, at most 4 MiB. What has come this far is sent on whatever waits; more of it would fill the
/// queues of links before clients can be held up.
const INBOX: usize = 16;
/// How many of the application's commands wait.
const COMMANDS: usize = 1_024;
/// How many wait to have the files of who is let in read again.
const RELOADS: usize = 16;

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
    Address(InvalidAddress),
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
        let remembered = PeerCache::load(&self.folder, self.max_peers.is_some() || self.genesis.is_some());
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
            plural(pooled as u64, "transaction", "transactions"),
            plural(config.known_peers.len() as u64, "known peer", "known peers")
        );
        let faults = Faults::default();
        let discovering = discovering(self.discovery, &config, &faults);
        let held = opened.ids.into_iter().zip(opened.times).collect();
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        let events = Ring::new();
        let images = Images::open(&self.folder, self.limits.clone(), commands.clone(), secure.clone(), faults.clone());
        let identity = UpgradeIdentity { node, session };
        let doorman = Doorman::new(&identity, self.limits.clone(), inbox.clone(), secure.clone(), Arc::clone(&images));
        let doorman = Arc::new(doorman);
        let (reloads, reload_receiver) = mpsc::channel(RELOADS);
        let warden = Warden { admission, live: secure.clone(), commands: commands.clone(), reloads: reload_receiver };
        let (pool, syncs) = (opened.pool.reader(), Arc::new(pool::sync_histogram()));
        let mut driver = Driver::new(Parts {
            protocol: Core::new(Instant::now(), config, held),
            limits: self.limits,
            secure,
            node,
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
            events: EventSender::new(events.clone()),
            syncs: Arc::clone(&syncs),
            images: Arc::clone(&images),
            faults: faults.clone(),
            discovering,
        });
        driver.admit(access);
        let (stop, stopped) = oneshot::channel::<()>();
        let contained = faults.clone();
        let task = tokio::spawn(async move {
            let mut doors = JoinSet::new();
            for listener in listeners {
                doors.spawn(Arc::clone(&doorman).keep_open(listener));
            }
            doors.spawn(async move {
                // Without it the lists and certificates stay as they are, and whoever asks for others is told so.
                contained.contain("watching who is let in", warden.run()).await;
            });
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
            #[cfg(feature = "web")]
            faults,
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
    fn listened(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let address = advertised_address::advertised(&self.host, port, false, None)?;
        Ok(if self.closed.is_some() { address.secured() } else { address })
    }

    fn advertised(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let beyond = self.discovery != Discovery::Off || advertised_address::is_beyond(self.genesis.as_ref());
        let address = match &self.address {
            Some(address) => address.clone(),
            None => advertised_address::advertised(&self.host, port, beyond, self.genesis.as_ref())?,
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

fn discovering(discovery: Discovery, config: &Config, faults: &Faults) -> Discovering {
    let (network, address) = (config.network.clone(), config.address.clone());
    match discovery {
        Discovery::Off => Discovering::default(),
        Discovery::Mdns => {
            let own = Record { node: config.node, session: config.session, network, address, free: None };
            Discovering::mdns(own, faults.clone())
        }
    }
}

/// Seconds since 1970, by this machine's clock.
pub(crate) fn time_of_day() -> f64 {
    // A clock that stands before 1970 is no reason not to start.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
