//! The builder of a node.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshpool_proto::address::{InvalidAddress, PeerAddress};
use meshpool_proto::id::{NodeId, Session, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use meshpool_proto::mdns_record::Record;
use meshpool_proto::signature::Signer;
use meshpool_proto::transaction::{Origin, Transaction};
use meshpool_proto::{Config, Node as Core};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{self, DEFAULT_NETWORK, InvalidLimit, RelayMode, Settings, WanMode, WanSettings};
use crate::discovery::advertised_address;
use crate::discovery::{Discovery, DiscoveryHandle};
use crate::driver::topics::{TopicReports, Topics};
use crate::driver::{Driver, Inputs, Services};
use crate::events::first::FirstEvents;
use crate::events::log::TransactionLines;
use crate::events::sender::EventSender;
use crate::events::stream::Ring;
use crate::events::text::plural;
use crate::events::ways::Ways;
use crate::folder::known_peers;
use crate::folder::node_key::{KeyError, NodeKey};
use crate::folder::peer_cache::PeerCache;
use crate::images::requests::Requests as ImageRequests;
use crate::images::{self, Images};
use crate::node::access_watcher::{AccessError, AccessFiles, AccessWatcher, ClosedNetwork};
use crate::node::declared::Checks;
use crate::node::handle::{Handle, Node};
#[cfg(feature = "wan")]
use crate::node::invite::Invite;
use crate::node::not_dialable::NotDialable;
use crate::node::start_progress::StartProgress;
use crate::node::topic_config::{self, TopicConfig, TopicError};
use crate::node::topic_start::OpenedTopic;
use crate::node::wan::WanParts;
use crate::pool::{self, Lock, Opened, PoolError};
use crate::requests::queries::Queries;
use crate::requests::{Requests, Serving};
use crate::signing::validator::{Validator, Validators};
use crate::transport::duplicate_filter::DuplicateFilter;
use crate::transport::websocket::dialer::Dialer;
use crate::transport::websocket::link::LinkContext;
use crate::transport::websocket::listener::{self, Acceptor, Outside};
use crate::transport::websocket::plain_http::PageLocation;
use crate::util::ip_range::IpRange;
use crate::util::network_name::{self, InvalidNetworkName};
use crate::util::panics::Panics;
use crate::util::time_of_day::time_of_day;
use crate::util::version::version;
use crate::validation::stage::{Stage, StagedTopic};
use crate::validation::{Rules, Validation};

/// How many arrivals wait for the driver: at most 4 MiB, by the bound of a batch. All that has come
/// this far is forwarded, so more would fill the send queues before backpressure reaches the
/// clients.
const ARRIVALS: usize = 16;
/// How often the log says how far reading the pool is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How many commands of the application wait.
const COMMANDS: usize = 1_024;
/// How many requests to reload the access rules wait.
const RELOADS: usize = 16;

/// A node that is not started yet.
#[derive(Debug, Clone)]
#[must_use = "a network does nothing until it is started"]
pub struct Network {
    folder: PathBuf,
    key: Option<Arc<NodeKey>>,
    host: String,
    port: u16,
    address: Option<PeerAddress>,
    name: String,
    known_peers: Vec<PeerAddress>,
    /// Those that the program named: of a folder's settings one that cannot be dialled is warned
    /// of.
    named: Vec<PeerAddress>,
    max_peers: Option<u32>,
    genesis: Option<PeerAddress>,
    exercise_peers: Option<bool>,
    closed: Option<ClosedNetwork>,
    /// Where the names of its files were set, for error texts.
    closed_origin: String,
    discovery: Discovery,
    validator: Validator,
    rules: Option<Rules>,
    topics: Vec<(String, TopicConfig)>,
    sign_submissions: bool,
    limits: Limits,
    transaction_lines: TransactionLines,
    progress: StartProgress,
    trusted_proxies: Vec<IpRange>,
    wan: WanSettings,
    /// The nodes whose invites it follows.
    inviting: Vec<NodeId>,
    /// Where host and port were set, for error texts.
    origin: String,
}

/// Why a node did not start. Nothing is left running, and no file was overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder, or its `transactions.json`, cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The folder's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The access rules or the certificates cannot be used.
    #[error("{error}{}", from_where(.origin))]
    Access {
        /// Where the names of the files of a closed network were set; empty in an open one.
        origin: String,
        /// Which file, what is wrong, what to do.
        error: AccessError,
    },
    /// The port is in use.
    #[error(
        "port {port} on {host} is in use ({origin}): stop the program that uses it, or set another PORT (0 = any free one)"
    )]
    PortInUse {
        /// Where port and host were set.
        origin: String,
        /// The host to listen on.
        host: String,
        /// The port.
        port: u16,
    },
    /// The node cannot listen on the host or the port.
    #[error("cannot listen on {host}, port {port} ({origin}): {error}; {}", bind_remedy(.error, *.port))]
    Bind {
        /// Where port and host were set.
        origin: String,
        /// The host to listen on.
        host: String,
        /// The port.
        port: u16,
        /// The system's reason.
        error: io::Error,
    },
    /// The address for peers is invalid.
    #[error("the address for other nodes is invalid: {0}; set ADDRESS")]
    Address(InvalidAddress),
    /// A setting can never work, alone or with another one.
    #[error("{name} is {value}: {expected}")]
    Setting {
        /// The setting, by its name in a file of settings.
        name: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot work, and what to do.
        expected: &'static str,
    },
    /// An address that the program named can never be dialled.
    #[error(transparent)]
    NotDialable(#[from] NotDialable),
    /// A topic cannot be declared as it is.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The UDP port of the relay is in use, or not allowed.
    #[error(
        "RELAY is on, and UDP port {port} cannot be used for it: {error}; stop the program that uses it, or set another PORT"
    )]
    RelayPort {
        /// The port, which is that of the node.
        port: u16,
        /// The system's reason.
        error: io::Error,
    },
    /// The limits cannot be used.
    #[error(transparent)]
    Limits(#[from] InvalidLimit),
    /// The network cannot have this name.
    #[error("{0}; give Network::name another one")]
    Name(InvalidNetworkName),
    /// The invite by which the node is to join is its own.
    #[error(
        "that is the invite of this node itself; give it to somebody else, or join with another key or in another folder"
    )]
    OwnInvite,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Network {
    /// A node that listens on a host: `"localhost"` (both loopback addresses), another name, or an
    /// IP address. By default its files are in the current folder, its port is any free one, and it
    /// knows no peers.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            folder: PathBuf::from("."),
            key: None,
            host: host.into(),
            port: 0,
            address: None,
            name: DEFAULT_NETWORK.to_owned(),
            known_peers: Vec::new(),
            named: Vec::new(),
            max_peers: None,
            genesis: None,
            exercise_peers: None,
            closed: None,
            closed_origin: String::new(),
            discovery: Discovery::Off,
            validator: Validator::default(),
            rules: None,
            topics: Vec::new(),
            sign_submissions: false,
            limits: Limits::default(),
            transaction_lines: TransactionLines::default(),
            progress: StartProgress::default(),
            trusted_proxies: Vec::new(),
            wan: WanSettings { mode: WanMode::Off, ..WanSettings::default() },
            inviting: Vec::new(),
            origin: "as the program asked".to_owned(),
        }
    }

    /// Sets the port to listen on; 0: any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the folder of the node's files: `transactions.json`, `node.key`, `node.lock`. Missing
    /// files are created; the folder is not.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets the node's key. By default it is that of the folder's `node.key`, which is made if it
    /// is missing. With this one the file is neither read nor made.
    pub fn key(mut self, key: NodeKey) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// Sets the address that others dial, if it is not the host and port to listen on.
    pub fn address(mut self, address: PeerAddress) -> Self {
        self.address = Some(address);
        self
    }

    /// Sets the name of the network. Nodes of different networks do not link. It has 1 to 64
    /// characters that can be seen; spaces among them are allowed. [`Self::start`] refuses others.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an address that is dialled from the start and never forgotten. The relays of one that
    /// is known are replaced.
    pub fn known_peer(mut self, address: PeerAddress) -> Self {
        self.named.push(address.clone());
        known_peers::name(&mut self.known_peers, address);
        self
    }

    /// Links to at most `most` nodes instead of all. A full node refers others to its peers, and
    /// gives a slot to a node that has no link. 0 counts as 1, with which no network can stay
    /// connected. [`Self::start`] refuses more than 10,000.
    pub fn max_peers(mut self, most: u32) -> Self {
        self.max_peers = Some(most.max(1));
        self
    }

    /// Joins through this node: it names a live node to begin with. If it does not answer, known
    /// peers and those of the last run are used.
    pub fn genesis(mut self, address: PeerAddress) -> Self {
        self.named.push(address.clone());
        self.genesis = Some(address);
        self
    }

    /// Makes the node a member of a closed network: it speaks TLS, accepts only certificates of the
    /// network's authority, and dials only `wss://` addresses.
    ///
    /// `ca` is the authority's certificate, `certificate` the node's own, for the key in
    /// `node.key`. Both are PEM files, relative to the folder.
    #[cfg(feature = "tls")]
    pub fn closed(mut self, ca: impl Into<PathBuf>, certificate: impl Into<PathBuf>) -> Self {
        self.closed = Some(ClosedNetwork { ca: ca.into(), certificate: certificate.into() });
        self
    }

    /// Sets whether exercise peers are accepted, and clients from other hosts without a
    /// certificate. By default they are in an open network, and are not in a closed one.
    pub fn exercise_peers(mut self, accept: bool) -> Self {
        self.exercise_peers = Some(accept);
        self
    }

    /// Finds nodes on the local network, and lets them find this one. A node that listens on
    /// loopback (`"localhost"`) finds those of its host. One that listens on all interfaces
    /// (`"0.0.0.0"`) announces the address of the interface that leads to the network.
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discovery = discovery;
        self
    }

    /// Sets a function that validates every new transaction. A refused transaction is neither
    /// stored nor forwarded. The reason reaches the sender: a client in its ACK, [`Handle::submit`]
    /// in its error.
    ///
    /// The function is called concurrently by the tasks that read the links, also for duplicates.
    /// It should be fast and give the same result on every node. If it panics, the transaction is
    /// ignored, and the log names it.
    ///
    /// It is not called for what is in `transactions.json` at the start, or is written there by
    /// other programs.
    pub fn validate(mut self, function: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.validator.set_function(function);
        self
    }

    /// Sets rules with state: each new transaction is judged by an async function, which may read
    /// the pool, and may [defer](Validation::Defer) its judgement. It runs after [`Self::validate`]
    /// and the check of signatures.
    ///
    /// Each transaction is judged once at a time, 64 of those that links bring at once, in no
    /// certain order; what the program itself submits is judged beside them. While it waits,
    /// nothing else does. At most 4,096 transactions with 16 MiB are judged and deferred;
    /// beyond that those of the link that brought most give way. They are in memory: after a crash
    /// they come again from other nodes. A judgement that panics or takes 30 seconds counts as
    /// [`Validation::Ignore`]. What was rejected or ignored is not asked for again.
    ///
    /// The pool that the function reads holds what is on disk. [`Handle::submit`] waits for the
    /// judgement; one that defers is an error there, [`NodeError::Deferred`](crate::NodeError).
    ///
    /// Like [`Self::validate`] it is not called for what other programs write into
    /// `transactions.json`.
    ///
    /// ```
    /// use meshpool::{Network, NodeError, TransactionExt, Until, Validation};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Answer {
    ///     to: Option<String>,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let network = Network::new("localhost").folder(folder.path());
    /// let network = network.validate_with(|transaction, pool| async move {
    ///     let Ok(Answer { to }) = transaction.parse() else {
    ///         return Validation::Reject("this pool takes answers".to_owned());
    ///     };
    ///     let Some(before) = to.and_then(|id| id.parse().ok()) else { return Validation::Accept };
    ///     match pool.find(&before).await {
    ///         Ok(Some(_)) => Validation::Accept,
    ///         _ => Validation::Defer(Until::changed()),
    ///     }
    /// });
    /// let node = network.start().await?;
    /// let early = node.submit(&serde_json::json!({ "to": "00".repeat(32) })).await;
    /// assert!(matches!(early, Err(NodeError::Deferred)));
    /// # node.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn validate_with<F>(mut self, function: impl Fn(Transaction, pool::Reader) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Validation> + Send + 'static,
    {
        self.rules = Some(Rules::new(function));
        self
    }

    /// Declares a topic: a set of items of its own beside `transactions.json`, among the nodes that
    /// declare it too. A node has at most 16. [`Handle::topic`] publishes and follows.
    pub fn topic(mut self, name: impl Into<String>, config: TopicConfig) -> Self {
        self.topics.push((name.into(), config));
        self
    }

    /// Sets whether signatures are required. If so, a transaction without a good signature (see
    /// [`crate::signing`]) is neither stored nor forwarded, also from [`Handle::submit`]. What is
    /// in `transactions.json` stays.
    pub fn require_signatures(mut self, required: bool) -> Self {
        self.validator.require_signatures(required);
        self
    }

    /// Sets whether [`Handle::submit`] signs transactions with the node's key. Those with a
    /// signature or another `publicKey` stay as they are.
    pub fn sign_submissions(mut self, sign: bool) -> Self {
        self.sign_submissions = sign;
        self
    }

    /// Links by node id too, through NATs, as the settings say. By default it does not.
    ///
    /// ```no_run
    /// use meshpool::{Network, WanMode, WanSettings};
    ///
    /// # async fn invite() -> Result<(), Box<dyn std::error::Error>> {
    /// let relays = vec!["relay.example:4001".parse()?];
    /// let wan = WanSettings { mode: WanMode::On, relays, ..WanSettings::default() };
    /// let node = Network::new("localhost").wan(wan).start().await?;
    /// println!("{}", node.invite().await?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "wan")]
    pub fn wan(mut self, wan: WanSettings) -> Self {
        self.wan = wan;
        self
    }

    /// Joins a network by an invite, which [`Handle::invite`] gives: its name is that of the
    /// invite, and the node that invites is a known peer. [`Self::start`] fails with the invite of
    /// the node itself, which would wait alone, and with [`WanMode::Off`] by [`Self::wan`].
    #[cfg(feature = "wan")]
    pub fn join(mut self, invite: &Invite) -> Self {
        self.wan.mode = WanMode::On;
        self.inviting.extend(invite.address.node());
        self.name(invite.network.clone()).known_peer(invite.address.clone())
    }

    /// Sets other limits than [`Limits::default`]. [`Self::start`] refuses those with which no node
    /// can run: a time is from 1 ms to a day, and few counts and sizes may be 0.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how transactions are logged: each, which is the default, or counted.
    pub fn log_transactions(mut self, lines: TransactionLines) -> Self {
        self.transaction_lines = lines;
        self
    }

    /// Lets others see how far [`Self::start`] is: of a large pool it takes a while.
    pub fn progress(mut self, progress: StartProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the reverse proxies whose header X-Forwarded-For says who connects to the peers' port.
    pub fn trusted_proxies(mut self, proxies: Vec<IpRange>) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Starts the node on the current tokio runtime. When this returns, it is listening.
    ///
    /// # Errors
    /// [`StartError`], one line that says what to do.
    ///
    /// # Panics
    /// Without a tokio runtime, and with one whose timers or I/O are not enabled:
    /// `Builder::enable_all` enables both.
    pub async fn start(mut self) -> Result<Node, StartError> {
        network_name::check(&self.name).map_err(StartError::Name)?;
        config::check_limits(&self.limits)?;
        self.check_settings()?;
        let declared = topic_config::check(std::mem::take(&mut self.topics))?;
        NotDialable::check(self.named.iter(), cfg!(feature = "wan") && self.wan.mode != WanMode::Off)?;
        let folder = self.folder.clone();
        // A pool of a million transactions takes a second to read: too long for a runtime thread.
        let progress = self.progress.clone();
        let mut opening = tokio::task::spawn_blocking(move || {
            let lock = Lock::take(&folder)?;
            Ok::<_, PoolError>((pool::open_watched(&folder, lock.clone(), progress.pool())?, lock))
        });
        let (opened, lock) = loop {
            match tokio::time::timeout(PROGRESS_EVERY, &mut opening).await {
                Ok(opened) => break opened.map_err(|_| PoolError::Closed)??,
                Err(_) => tracing::info!(
                    "reading transactions.json: {} % of {} MB",
                    self.progress.percent(),
                    self.progress.pool().size() / 1_000_000
                ),
            }
        };
        for repair in &opened.repairs {
            tracing::warn!("{repair}");
        }
        let released = lock.released();
        let topics = OpenedTopic::open_all(self.folder.clone(), lock.clone(), declared).await;
        let started = match topics {
            Ok(topics) => self.start_on(lock, opened, topics).await,
            Err(error) => {
                drop((lock, opened));
                Err(error.into())
            }
        };
        if started.is_err() {
            // The threads that write end with their handles.
            released.wait().await;
        }
        started
    }

    async fn start_on(
        mut self,
        lock: Lock,
        opened: Opened,
        mut opened_topics: Vec<OpenedTopic>,
    ) -> Result<Node, StartError> {
        let key = match &self.key {
            Some(key) => Arc::clone(key),
            None => Arc::new(NodeKey::load_or_create(&self.folder)?),
        };
        if let Some(warning) = key.warning() {
            tracing::warn!("{warning}");
        }
        let node = key.node_id();
        if self.inviting.contains(&node) {
            return Err(StartError::OwnInvite);
        }
        let exercise_peers = self.exercise_peers;
        let files = AccessFiles::new(self.folder.clone(), exercise_peers, self.closed.clone(), Arc::clone(&key));
        let (access, credentials) = files
            .read()
            .map_err(|error| StartError::Access { origin: error.origin(&self.closed_origin).to_owned(), error })?;
        if let Some(warning) = files.warning(&access) {
            tracing::warn!("{warning}");
        }
        let credentials = credentials.map(Arc::new);
        if cfg!(windows) && !is_loopback(&self.host) {
            tracing::info!("other machines can reach this node if you allow it when Windows asks (Windows Firewall)");
        }
        let listeners = listener::bind(&self.host, self.port).await.map_err(|error| self.explain(error))?;
        let port = listeners[0].local_addr().map_err(|error| self.explain(error))?.port();
        let address = self.advertised(port).map_err(StartError::Address)?;
        if self.genesis.as_ref() == Some(&address) {
            return Err(unusable("GENESIS", &address, config::OWN_GENESIS));
        }
        let present = self.present_address(port);
        let listened = self.listened(port).map_err(StartError::Address)?;
        pool::announce(&self.folder, &listened)?;
        let shown = match listeners[0].local_addr() {
            Ok(at) if at.ip().is_unspecified() => {
                format!("{}://{at}", if self.closed.is_some() { "wss" } else { "ws" })
            }
            _ => listened.to_string(),
        };
        let peer_cache = PeerCache::load(&self.folder);
        let (session, seed) = (Session::from_random(random()?), u64::from_le_bytes(random()?));
        let network = self.name.clone();
        let named: Vec<PeerAddress> = self.known_peers.iter().chain(&self.genesis).cloned().collect();
        let is_wan = self.wan.is_on(named.iter());
        let config = Config {
            node,
            session,
            agent: format!("p2p-node/{}", version()),
            network: self.name,
            address: address.clone(),
            known_peers: self.known_peers,
            wan: cfg!(feature = "wan") && is_wan,
            relays: cfg!(feature = "wan") && is_wan && self.wan.relay != RelayMode::Off,
            remembered_peers: peer_cache.loaded().addresses.clone(),
            remembered_exercise: peer_cache.loaded().exercise.clone(),
            max_peers: self.max_peers,
            genesis: self.genesis,
            since: time_of_day() as u64,
            limits: self.limits.clone(),
            signer: Arc::clone(&key) as Arc<dyn Signer>,
            seed,
        };
        let pooled = opened.ids.len();
        tracing::info!(
            "listening on {shown}{} as node {}; {} in the pool, {}",
            if shown == address.to_string() { String::new() } else { format!(" (others dial {address})") },
            node.short(),
            plural(pooled as u64, "transaction", "transactions"),
            plural(config.known_peers.len() as u64, "known peer", "known peers")
        );
        let panics = Panics::default();
        self.validator.count_panics(&panics);
        opened_topics.iter_mut().for_each(|topic| topic.count_panics(&panics));
        let discovery = discover(self.discovery, &config, present, &panics);
        let held = opened.ids.into_iter().zip(opened.times).collect();
        let (arrivals, arrival_receiver) = mpsc::channel(ARRIVALS);
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        let (reloads, reload_receiver) = mpsc::channel(RELOADS);
        let (requests, image_requests) = ImageRequests::channel();
        let (core_queries, queries) = Queries::channel();
        let listens: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let wan = WanParts::prepare(&self.wan, &named, &config.network, &key, &core_queries, &address, &listens);
        let wan = wan.map_err(|(port, error)| StartError::RelayPort { port, error })?;
        let shared_wan = wan.wan.clone();
        let dialer = Dialer::new(&self.limits, credentials.clone(), shared_wan.clone());
        let images = Images::open(&self.folder, &self.limits, requests.clone(), dialer.clone(), panics.clone());
        let transfers = images::serve::subprotocol(Arc::clone(&images), requests, self.limits.clone());
        let identity = UpgradeIdentity { node, session };
        let limits = self.limits.clone();
        let serving = Arc::new(Serving::default());
        let asking = Requests::new(&config, dialer.clone(), core_queries, panics.clone(), &serving);
        let subprotocols = [transfers, asking.subprotocol()].into_iter().chain(wan.subprotocol()).collect();
        let asking = Arc::new(asking);
        let page = PageLocation::default();
        let outside = Outside {
            address: address.clone(),
            page: page.clone(),
            is_relay: wan.is_relay(),
            trusted_proxies: self.trusted_proxies,
        };
        let acceptor = Acceptor::new(&identity, outside, limits, arrivals.clone(), credentials.clone(), subprotocols);
        let wan_arrivals = arrivals.clone();
        let watcher = AccessWatcher {
            files,
            credentials: credentials.clone(),
            commands: commands.clone(),
            reloads: reload_receiver,
        };
        let (first_events, ways) = (FirstEvents::default(), Ways::default());
        let released = lock.released();
        let events = Ring::new(released.clone());
        let (pool, sync_times) = (opened.pool.reader(), Arc::new(pool::sync_histogram()));
        let mut inputs = Inputs {
            arrivals: arrival_receiver,
            commands: command_receiver,
            image_requests,
            queries,
            reports: opened.reports,
            topic_reports: TopicReports::default(),
            discovery,
        };
        let validators = Validators {
            default: self.validator.clone(),
            topics: Arc::new(opened_topics.iter().map(OpenedTopic::validator).collect()),
        };
        let default_checks = Arc::new(Checks { validator: self.validator, rules: self.rules });
        let checks = Arc::downgrade(&default_checks);
        let mut core = Core::new(Instant::now(), config, held);
        let (mut topics, mut declared) = (Topics::default(), Vec::new());
        let mut staged = vec![(StagedTopic::Default, default_checks, pool.clone())];
        for (number, opened) in opened_topics.into_iter().enumerate() {
            let name = opened.name().clone();
            let (topic, checks) = opened.declare(&mut core, &mut topics, &mut inputs.topic_reports);
            staged.push((StagedTopic::Declared(number, name), checks, topic.pool.clone()));
            declared.push(topic);
        }
        let (mut from_links, mut stages, mut kept) = (arrivals, Vec::new(), Vec::new());
        for (topic, checks, pool) in staged {
            let rules = checks.rules.clone();
            kept.push(checks);
            let Some(rules) = rules else { continue };
            let stage = Stage::new(topic, rules, pool, panics.clone(), from_links);
            let (sender, receiver) = mpsc::channel(ARRIVALS);
            from_links = sender;
            stages.push((stage, receiver));
        }
        let context = LinkContext {
            arrivals: from_links,
            own: Origin::Node(node),
            filter: Arc::new(DuplicateFilter::new(&random()?)),
            backpressure: Arc::default(),
            validators,
            write_deadline: self.limits.write_deadline,
            written: Arc::default(),
        };
        let services = Services {
            session,
            limits: self.limits,
            dialer,
            pool: opened.pool,
            peer_cache,
            images: Arc::clone(&images),
            requests: Arc::clone(&asking),
            sync_times: Arc::clone(&sync_times),
            panics: panics.clone(),
            topics,
            credentials: credentials.clone(),
            relay: wan.relay.clone(),
            wan: shared_wan.clone(),
        };
        let bytes = std::fs::metadata(self.folder.join("transactions.json")).map_or(0, |file| file.len());
        let driver = Driver::new(
            core,
            inputs,
            services,
            context,
            (EventSender::new(events.clone()), first_events.clone(), ways.clone()),
            self.transaction_lines,
            [meshpool_proto::Input::AccessChanged { access }, meshpool_proto::Input::PoolSize { bytes }],
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let ending = (wan.wan.clone(), wan.relay.clone());
        let (acceptor, watching) = (Arc::new(acceptor), panics.clone());
        // The application's functions, which handles refer to.
        let functions = (kept, serving);
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            for listener in listeners {
                tasks.spawn(Arc::clone(&acceptor).run(listener));
            }
            for (stage, arrivals) in stages {
                tasks.spawn(stage.run(arrivals));
            }
            wan.spawn(&mut tasks, &acceptor, wan_arrivals);
            tasks.spawn(async move {
                // After a panic the rules stay as they are, and requests to reload them fail.
                watching.catch("watching the access rules", watcher.run()).await;
            });
            let until = async {
                // A dropped `Node` stops the node as one that is shut down does.
                stopped.await.unwrap_or_default();
                tasks.abort_all();
            };
            let ended = driver.run(until).await;
            tasks.shutdown().await;
            // By itself neither ends before the last handle to the node.
            if let Some(relay) = ending.1 {
                relay.close().await;
            }
            if let Some(wan) = ending.0 {
                wan.close().await;
            }
            // Those who wait for the end may open the folder, and listen on the port, again.
            drop(functions);
            drop(lock);
            ended
        });
        let handle = Handle {
            key,
            signs: self.sign_submissions,
            node,
            session,
            address,
            port,
            pooled,
            checks,
            commands,
            reloads,
            released,
            events,
            #[cfg(feature = "web")]
            first_events,
            #[cfg(feature = "web")]
            ways,
            pool,
            topics: Arc::new(declared),
            #[cfg(feature = "web")]
            sync_times,
            images,
            requests: asking,
            network,
            wan: shared_wan,
            #[cfg(feature = "web")]
            page,
            panics,
        };
        Ok(Node { handle, stop: Some(stop), task, end: None })
    }

    /// Checks what the settings of a folder are checked for too.
    fn check_settings(&self) -> Result<(), StartError> {
        let closed = self.closed.is_some();
        if let Some(address) = &self.address
            && let Some(fault) = config::own_address_fault(address, closed)
        {
            return Err(unusable("ADDRESS", address, fault));
        }
        if let Some(most) = self.max_peers
            && let Some(expected) = config::cap_fault(most)
        {
            return Err(StartError::Setting { name: "MAX_PEERS", value: most.to_string(), expected });
        }
        // A host that names no interface leads others nowhere. One that does may be loopback, whose
        // relay is for nodes of this machine.
        let has_address = self.address.is_some() || !advertised_address::is_unspecified(&self.host);
        match self.wan.fault(closed, has_address) {
            Some((name, value, expected)) => Err(StartError::Setting { name, value, expected }),
            None => Ok(()),
        }
    }

    fn explain(&self, error: io::Error) -> StartError {
        let (host, port, origin) = (self.host.clone(), self.port, self.origin.clone());
        match error.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { origin, host, port },
            _ => StartError::Bind { origin, host, port, error },
        }
    }

    /// The address for tools on this host: the one that the node listens on.
    fn listened(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let address = advertised_address::advertised(&self.host, port, false, None)?;
        Ok(if self.closed.is_some() { address.secured() } else { address })
    }

    fn advertised(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let beyond = self.discovery != Discovery::Off || advertised_address::is_beyond(self.genesis.as_ref());
        let address = match &self.address {
            Some(address) => address.clone().without_zone(),
            None => advertised_address::advertised(&self.host, port, beyond, self.genesis.as_ref())?,
        };
        // With ws:// in ADDRESS only host and port are meant: no peer could dial ws://.
        Ok(if self.closed.is_some() { address.secured() } else { address })
    }

    /// Returns what says which address this host's interfaces give the node; `None` if ADDRESS or
    /// HOST does.
    fn present_address(&self, port: u16) -> impl Fn() -> Option<PeerAddress> + Send + Sync + 'static {
        let follows = self.address.is_none() && advertised_address::is_unspecified(&self.host);
        let (host, genesis, closed) = (self.host.clone(), self.genesis.clone(), self.closed.is_some());
        move || {
            let address =
                follows.then(|| advertised_address::advertised(&host, port, true, genesis.as_ref()).ok())??;
            Some(if closed { address.secured() } else { address })
        }
    }
}

impl From<Settings> for Network {
    fn from(settings: Settings) -> Self {
        let mut validator = Validator::default();
        validator.require_signatures(settings.require_signatures);
        Self {
            folder: settings.folder,
            key: None,
            host: settings.host,
            port: settings.port,
            address: settings.address,
            name: settings.network,
            known_peers: settings.known_peers,
            named: Vec::new(),
            max_peers: settings.max_peers,
            genesis: settings.genesis,
            exercise_peers: settings.plain,
            closed: settings.closed.map(|(ca, certificate)| ClosedNetwork { ca, certificate }),
            closed_origin: settings.closed_origin,
            validator,
            rules: None,
            topics: Vec::new(),
            sign_submissions: false,
            discovery: settings.discovery,
            limits: settings.limits,
            transaction_lines: settings.transaction_lines.unwrap_or_default(),
            progress: StartProgress::default(),
            trusted_proxies: settings.trusted_proxies,
            wan: settings.wan,
            inviting: Vec::new(),
            origin: settings.listen_origin,
        }
    }
}

fn unusable(name: &'static str, value: &PeerAddress, expected: &'static str) -> StartError {
    StartError::Setting { name, value: value.to_string(), expected }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The first port that every user may listen on, on most systems.
const UNPRIVILEGED: u16 = 1_024;

fn bind_remedy(error: &io::Error, port: u16) -> &'static str {
    match needs_root(error, port) {
        // WSAEACCES.
        false if cfg!(windows) && error.raw_os_error() == Some(10_013) => {
            "another program has this port for itself, or Windows reserves it ('netsh interface ipv4 show excludedportrange protocol=tcp' lists them): set PORT to another one"
        }
        true => {
            "only root may listen on ports below 1024, or a program with the capability CAP_NET_BIND_SERVICE; set PORT to 1024 or more"
        }
        false => "check HOST and PORT",
    }
}

/// Returns whether a port could not be listened on because only root may.
pub(crate) fn needs_root(error: &io::Error, port: u16) -> bool {
    !cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied && (1..UNPRIVILEGED).contains(&port)
}

fn from_where(origin: &str) -> String {
    if origin.is_empty() { String::new() } else { format!(" ({origin})") }
}

fn discover(
    discovery: Discovery,
    config: &Config,
    present: impl Fn() -> Option<PeerAddress> + Send + Sync + 'static,
    panics: &Panics,
) -> DiscoveryHandle {
    let (network, address) = (config.network.clone(), config.address.clone());
    match discovery {
        Discovery::Off => DiscoveryHandle::default(),
        Discovery::Mdns => {
            let own = Record { node: config.node, session: config.session, network, address, free: None };
            DiscoveryHandle::mdns(own, present, panics.clone())
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
