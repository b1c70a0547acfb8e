//! The builder of a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::Transaction;

#[cfg(feature = "wan")]
use crate::config::WanSettings;
use crate::config::{self, Settings, WanMode};
use crate::discovery::{Discovery, advertised_address};
use crate::events::log::TransactionLines;
use crate::folder::known_peers;
use crate::folder::node_key::NodeKey;
use crate::node::assembly::{self, Program};
#[cfg(doc)]
use crate::node::handle::Handle;
use crate::node::handle::Node;
#[cfg(feature = "wan")]
use crate::node::invite::Invite;
use crate::node::not_dialable::NotDialable;
use crate::node::start_error::StartError;
use crate::node::start_progress::StartProgress;
use crate::node::topic_config::{self, TopicConfig};
use crate::node::topic_start::OpenedTopic;
use crate::pool::{self, Lock, PoolError};
use crate::util::ip_range::IpRange;
use crate::util::network_name;
use crate::validation::{Rules, Validation};

/// How often the log says how far reading the pool is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A node that is not started yet.
#[derive(Debug, Clone)]
#[must_use = "a network does nothing until it is started"]
pub struct Network {
    settings: Settings,
    program: Program,
    /// The peers that the program named: of a folder's settings one that cannot be dialled is
    /// warned of.
    named: Vec<PeerAddress>,
    topics: Vec<(String, TopicConfig)>,
    progress: StartProgress,
}

impl Network {
    /// A node that listens on a host: `"localhost"` (both loopback addresses), another name, or an
    /// IP address. By default its files are in the current folder, its port is any free one, and it
    /// knows no peers.
    pub fn new(host: impl Into<String>) -> Self {
        Self::from(Settings::for_host(host.into()))
    }

    /// Sets the port to listen on; 0: any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = port;
        self
    }

    /// Sets the folder of the node's files: `transactions.json`, `node.key`, `node.lock`. Missing
    /// files are created; the folder is not.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.folder = folder.into();
        self
    }

    /// Sets the node's key. By default it is that of the folder's `node.key`, which is made if it
    /// is missing. With this one the file is neither read nor made.
    pub fn key(mut self, key: NodeKey) -> Self {
        self.program.key = Some(Arc::new(key));
        self
    }

    /// Sets the address that others dial, if it is not the host and port to listen on.
    pub fn address(mut self, address: PeerAddress) -> Self {
        self.settings.address = Some(address);
        self
    }

    /// Sets the name of the network. Nodes of different networks do not link. It has 1 to 64
    /// characters that can be seen; spaces among them are allowed. [`Self::start`] refuses others.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.network = name.into();
        self
    }

    /// Adds an address that is dialled from the start and never forgotten. The relays of one that
    /// is known are replaced.
    pub fn known_peer(mut self, address: PeerAddress) -> Self {
        self.named.push(address.clone());
        known_peers::name(&mut self.settings.known_peers, address);
        self
    }

    /// Links to at most `most` nodes instead of all. A full node refers others to its peers, and
    /// gives a slot to a node that has no link. 0 counts as 1, with which no network can stay
    /// connected. [`Self::start`] refuses more than 10,000.
    pub fn max_peers(mut self, most: u32) -> Self {
        self.settings.max_peers = Some(most.max(1));
        self
    }

    /// Joins through this node: it names a live node to begin with. If it does not answer, known
    /// peers and those of the last run are used.
    pub fn genesis(mut self, address: PeerAddress) -> Self {
        self.named.push(address.clone());
        self.settings.genesis = Some(address);
        self
    }

    /// Makes the node a member of a closed network: it speaks TLS, accepts only certificates of the
    /// network's authority, and dials only `wss://` addresses.
    ///
    /// `ca` is the authority's certificate, `certificate` the node's own, for the key in
    /// `node.key`. Both are PEM files, relative to the folder.
    #[cfg(feature = "tls")]
    pub fn closed(mut self, ca: impl Into<PathBuf>, certificate: impl Into<PathBuf>) -> Self {
        self.settings.closed = Some((ca.into(), certificate.into()));
        self
    }

    /// Sets whether exercise peers are accepted, and clients from other hosts without a
    /// certificate. By default they are in an open network, and are not in a closed one.
    pub fn exercise_peers(mut self, accept: bool) -> Self {
        self.settings.plain = Some(accept);
        self
    }

    /// Finds nodes on the local network, and lets them find this one. A node that listens on
    /// loopback (`"localhost"`) finds those of its host. One that listens on all interfaces
    /// (`"0.0.0.0"`) announces the address of the interface that leads to the network.
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.settings.discovery = discovery;
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
        self.program.validator.set_function(function);
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
        self.program.rules = Some(Rules::new(function));
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
        self.settings.require_signatures = required;
        self
    }

    /// Sets whether [`Handle::submit`] signs transactions with the node's key. Those with a
    /// signature or another `publicKey` stay as they are.
    pub fn sign_submissions(mut self, sign: bool) -> Self {
        self.program.sign_submissions = sign;
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
        self.settings.wan = wan;
        self
    }

    /// Joins a network by an invite, which [`Handle::invite`] gives: its name is that of the
    /// invite, and the node that invites is a known peer. [`Self::start`] fails with the invite of
    /// the node itself, which would wait alone, and with [`WanMode::Off`] by [`Self::wan`].
    #[cfg(feature = "wan")]
    pub fn join(mut self, invite: &Invite) -> Self {
        self.settings.wan.mode = WanMode::On;
        self.program.inviting.extend(invite.address.node());
        self.name(invite.network.clone()).known_peer(invite.address.clone())
    }

    /// Sets other limits than [`Limits::default`]. [`Self::start`] refuses those with which no node
    /// can run: a time is from 1 ms to a day, and few counts and sizes may be 0.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets how transactions are logged: each, which is the default, or counted.
    pub fn log_transactions(mut self, lines: TransactionLines) -> Self {
        self.settings.transaction_lines = Some(lines);
        self
    }

    /// Lets others see how far [`Self::start`] is: of a large pool it takes a while.
    pub fn progress(mut self, progress: StartProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the reverse proxies whose header X-Forwarded-For says who connects to the peers' port.
    pub fn trusted_proxies(mut self, proxies: Vec<IpRange>) -> Self {
        self.settings.trusted_proxies = proxies;
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
        network_name::check(&self.settings.network).map_err(StartError::Name)?;
        config::check_limits(&self.settings.limits)?;
        self.check_settings()?;
        let declared = topic_config::check(std::mem::take(&mut self.topics))?;
        NotDialable::check(self.named.iter(), cfg!(feature = "wan") && self.settings.wan.mode != WanMode::Off)?;
        let folder = self.settings.folder.clone();
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
        let topics = OpenedTopic::open_all(self.settings.folder.clone(), lock.clone(), declared).await;
        let started = match topics {
            Ok(topics) => assembly::start(self.settings, self.program, lock, opened, topics).await,
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

    /// Checks what the settings of a folder are checked for too.
    fn check_settings(&self) -> Result<(), StartError> {
        let closed = self.settings.closed.is_some();
        if let Some(address) = &self.settings.address
            && let Some(fault) = config::own_address_fault(address, closed)
        {
            return Err(StartError::unusable("ADDRESS", address, fault));
        }
        if let Some(most) = self.settings.max_peers
            && let Some(expected) = config::cap_fault(most)
        {
            return Err(StartError::Setting { name: "MAX_PEERS", value: most.to_string(), expected });
        }
        // A host that names no interface leads others nowhere. One that does may be loopback, whose
        // relay is for nodes of this machine.
        let has_address = self.settings.address.is_some() || !advertised_address::is_unspecified(&self.settings.host);
        match self.settings.wan.fault(closed, has_address) {
            Some((name, value, expected)) => Err(StartError::Setting { name, value, expected }),
            None => Ok(()),
        }
    }
}

impl From<Settings> for Network {
    fn from(settings: Settings) -> Self {
        Self {
            settings,
            program: Program::default(),
            named: Vec::new(),
            topics: Vec::new(),
            progress: StartProgress::default(),
        }
    }
}

#[cfg(test)]
mod tests;
