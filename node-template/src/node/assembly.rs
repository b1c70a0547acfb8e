//! Makes a node from what a program and its settings say: its parts, the channels between them, and
//! the tasks that run them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use meshpool_proto::access::Access;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::{NodeId, Session, UpgradeIdentity};
use meshpool_proto::mdns_record::Record;
use meshpool_proto::signature::Signer;
use meshpool_proto::transaction::Origin;
use meshpool_proto::{Config, Input, Node as Core};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{OWN_GENESIS, RelayMode, Settings, WanSettings};
use crate::core_queries::Queries;
use crate::discovery::{Discovery, DiscoveryHandle, advertised_address};
use crate::driver::topics::{TopicReports, Topics};
use crate::driver::{Driver, Inputs, Services, Unstored};
use crate::events::first::FirstEvents;
use crate::events::sender::EventSender;
use crate::events::stream::Ring;
use crate::events::text::plural;
use crate::events::ways::Ways;
use crate::folder::node_key::NodeKey;
use crate::folder::peer_cache::PeerCache;
use crate::images::{self, Images};
use crate::node::access_watcher::{AccessFiles, AccessWatcher};
use crate::node::declared::Checks;
use crate::node::handle::{Handle, Node};
use crate::node::start_error::StartError;
use crate::node::topic_start::OpenedTopic;
use crate::node::wan::WanParts;
use crate::pool::{self, Lock, Opened, POOL_FILE, Reader};
use crate::requests::{Requests, Serving};
use crate::signing::validator::{Validator, Validators};
use crate::transport::arrival::Arrival;
use crate::transport::duplicate_filter::DuplicateFilter;
use crate::transport::tls::Live;
use crate::transport::websocket::dialer::Dialer;
use crate::transport::websocket::link::LinkContext;
use crate::transport::websocket::listener::{self, Acceptor, Outside};
use crate::transport::websocket::plain_http::PageLocation;
use crate::util::panics::Panics;
use crate::util::time_of_day::time_of_day;
use crate::util::version::version;
use crate::validation::Rules;
use crate::validation::stage::{Stage, StagedTopic};

/// How many arrivals wait for the driver: at most 4 MiB, by the bound of a batch. All that has come
/// this far is forwarded, so more would fill the send queues before backpressure reaches the
/// clients.
const ARRIVALS: usize = 16;
/// How many commands of the application wait.
const COMMANDS: usize = 1_024;
/// How many requests to reload the access rules wait.
const RELOADS: usize = 16;

/// What a program gives a node besides its settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// `None`: that of the folder.
    pub(crate) key: Option<Arc<NodeKey>>,
    pub(crate) validator: Validator,
    pub(crate) rules: Option<Rules>,
    pub(crate) sign_submissions: bool,
    /// The nodes whose invites it follows.
    pub(crate) inviting: Vec<NodeId>,
}

/// Starts a node on its folder's lock, its pool and its topics.
pub(crate) async fn start(
    settings: Settings,
    program: Program,
    lock: Lock,
    opened: Opened,
    mut opened_topics: Vec<OpenedTopic>,
) -> Result<Node, StartError> {
    let Program { key, mut validator, rules, sign_submissions, inviting } = program;
    let key = own_key(&settings.folder, key, &inviting)?;
    let (files, access, credentials) = read_access(&settings, &key)?;
    let Listening { listeners, port, address, shown } = listen(&settings).await?;
    let peer_cache = PeerCache::load(&settings.folder);
    let listens: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let wan_settings = wan_settings(&settings, &listens);
    let config = configure(&settings, &wan_settings, &key, &address, &peer_cache)?;
    let (node, session, pooled) = (config.node, config.session, opened.ids.len());
    tracing::info!(
        "listening on {shown}{} as node {}; {} in the pool, {}",
        if shown == address.to_string() { String::new() } else { format!(" (others dial {address})") },
        node.short(),
        plural(pooled as u64, "transaction", "transactions"),
        plural(config.known_peers.len() as u64, "known peer", "known peers")
    );

    let panics = Panics::default();
    validator.require_signatures(settings.require_signatures);
    validator.count_panics(&panics);
    opened_topics.iter_mut().for_each(|topic| topic.count_panics(&panics));
    let discovery = discover(&settings, &config, port, &panics);
    let (arrivals, arrival_receiver) = mpsc::channel(ARRIVALS);
    let (commands, command_receiver) = mpsc::channel(COMMANDS);
    let (reloads, reload_receiver) = mpsc::channel(RELOADS);
    let (queries, query_receiver) = Queries::channel();

    let named: Vec<PeerAddress> = config.known_peers.iter().chain(&config.genesis).cloned().collect();
    let wan = WanParts::prepare(&wan_settings, &named, &config.network, &key, &queries, &address, &listens);
    let wan = wan.map_err(|(port, error)| StartError::RelayPort { port, error })?;
    let dialer = Dialer::new(&settings.limits, credentials.clone(), wan.wan.clone());
    let images = Images::open(&settings.folder, &settings.limits, queries.clone(), dialer.clone(), panics.clone());
    let transfers = images::serve::subprotocol(Arc::clone(&images), queries.clone(), settings.limits.clone());
    let serving = Arc::new(Serving::default());
    let requests = Arc::new(Requests::new(&config, dialer.clone(), queries, panics.clone(), &serving));
    let subprotocols = [transfers, requests.subprotocol()].into_iter().chain(wan.subprotocol()).collect();
    let page = PageLocation::default();
    let outside = Outside {
        address: address.clone(),
        page: page.clone(),
        is_relay: wan.is_relay(),
        trusted_proxies: settings.trusted_proxies,
    };
    let identity = UpgradeIdentity { node, session };
    let limits = settings.limits.clone();
    let acceptor = Acceptor::new(&identity, outside, limits, arrivals.clone(), credentials.clone(), subprotocols);

    let validators = Validators {
        default: validator.clone(),
        topics: Arc::new(opened_topics.iter().map(OpenedTopic::validator).collect()),
    };
    let default_checks = Arc::new(Checks { validator, rules });
    let checks = Arc::downgrade(&default_checks);
    let mut core = Core::new(Instant::now(), config, opened.ids.into_iter().zip(opened.times).collect());
    let pool = opened.pool.reader();
    let mut topic_reports = TopicReports::default();
    let (mut topics, mut declared) = (Topics::default(), Vec::new());
    let mut staged = vec![(StagedTopic::Default, Arc::clone(&default_checks), pool.clone())];
    let mut kept = vec![default_checks];
    for (number, opened) in opened_topics.into_iter().enumerate() {
        let name = opened.name().clone();
        let (topic, checks) = opened.declare(&mut core, &mut topics, &mut topic_reports);
        staged.push((StagedTopic::Declared(number, name), Arc::clone(&checks), topic.pool.clone()));
        kept.push(checks);
        declared.push(topic);
    }
    let (from_links, stages) = stages(staged, arrivals.clone(), &panics);

    let released = lock.released();
    let (events, first_events, ways) = (Ring::new(released.clone()), FirstEvents::default(), Ways::default());
    let sync_times = Arc::new(pool::sync_histogram());
    let inputs = Inputs {
        arrivals: arrival_receiver,
        commands: command_receiver,
        queries: query_receiver,
        reports: opened.reports,
        topic_reports,
        discovery,
    };
    let context = LinkContext {
        arrivals: from_links,
        own: Origin::Node(node),
        filter: Arc::new(DuplicateFilter::new(&random()?)),
        backpressure: Arc::default(),
        validators,
        write_deadline: settings.limits.write_deadline,
        written: Arc::default(),
    };
    let services = Services {
        session,
        limits: settings.limits,
        dialer,
        pool: opened.pool,
        peer_cache,
        images: Arc::clone(&images),
        requests: Arc::clone(&requests),
        sync_times: Arc::clone(&sync_times),
        panics: panics.clone(),
        topics,
        credentials: credentials.clone(),
        relay: wan.relay.clone(),
        wan: wan.wan.clone(),
    };
    let bytes = std::fs::metadata(settings.folder.join(POOL_FILE)).map_or(0, |file| file.len());
    let driver = Driver::new(
        core,
        inputs,
        services,
        context,
        (EventSender::new(events.clone()), first_events.clone(), ways.clone()),
        settings.transaction_lines.unwrap_or_default(),
        [Input::AccessChanged { access }, Input::PoolSize { bytes }],
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let handle = Handle {
        key,
        signs: sign_submissions,
        node,
        session,
        address,
        port,
        pooled,
        checks,
        commands: commands.clone(),
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
        requests,
        network: settings.network,
        wan: wan.wan.clone(),
        #[cfg(feature = "web")]
        page,
        panics: panics.clone(),
    };
    let watcher = AccessWatcher { files, credentials, commands, reloads: reload_receiver };
    let tasks = Tasks { listeners, acceptor: Arc::new(acceptor), stages, wan, arrivals, watcher, panics };
    let task = tokio::spawn(async move {
        let ended = tasks.run(driver, stopped).await;
        // The application's functions, which handles refer to.
        drop((kept, serving));
        // Those who wait for the end may open the folder, and listen on the port, again.
        drop(lock);
        ended
    });
    Ok(Node { handle, stop: Some(stop), task, end: None })
}

/// Returns the key that the program gave, or that of the folder, which is made if it is missing.
fn own_key(folder: &Path, given: Option<Arc<NodeKey>>, inviting: &[NodeId]) -> Result<Arc<NodeKey>, StartError> {
    let key = match given {
        Some(key) => key,
        None => Arc::new(NodeKey::load_or_create(folder)?),
    };
    if let Some(warning) = key.warning() {
        tracing::warn!("{warning}");
    }
    if inviting.contains(&key.node_id()) { Err(StartError::OwnInvite) } else { Ok(key) }
}

/// Reads the access rules and, in a closed network, the credentials.
fn read_access(
    settings: &Settings,
    key: &Arc<NodeKey>,
) -> Result<(AccessFiles, Access, Option<Arc<Live>>), StartError> {
    let files = AccessFiles::new(settings, Arc::clone(key));
    let (access, credentials) = files
        .read()
        .map_err(|error| StartError::Access { origin: error.origin(&settings.closed_origin).to_owned(), error })?;
    if let Some(warning) = files.warning(&access) {
        tracing::warn!("{warning}");
    }
    Ok((files, access, credentials.map(Arc::new)))
}

/// Returns the settings of links over iroh. RELAY=auto makes no relay of a node whose UDP port is
/// in use: its user did not insist on one.
fn wan_settings(settings: &Settings, listens: &[SocketAddr]) -> WanSettings {
    let mut wan = settings.wan.clone();
    let taken = || listens.iter().find_map(|at| UdpSocket::bind(at).err().map(|error| (at.port(), error)));
    if cfg!(feature = "wan")
        && settings.relay_is_auto
        && wan.relay != RelayMode::Off
        && let Some((port, error)) = taken()
    {
        tracing::warn!(
            "RELAY is auto, and this node is no relay: UDP port {port} cannot be used for it: {error}; stop the program that uses it, or set another PORT"
        );
        wan.relay = RelayMode::Off;
    }
    wan
}

/// Where a node listens.
struct Listening {
    listeners: Vec<TcpListener>,
    port: u16,
    /// The address that the node announces.
    address: PeerAddress,
    /// What is listened on, for people.
    shown: String,
}

/// Listens, and writes the address for tools on this host into the folder's lock file.
async fn listen(settings: &Settings) -> Result<Listening, StartError> {
    if cfg!(windows) && !is_loopback(&settings.host) {
        tracing::info!("other machines can reach this node if you allow it when Windows asks (Windows Firewall)");
    }
    let explain = |error: io::Error| {
        let (host, port, origin) = (settings.host.clone(), settings.port, settings.listen_origin.clone());
        match error.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { origin, host, port },
            _ => StartError::Bind { origin, host, port, error },
        }
    };
    let listeners = listener::bind(&settings.host, settings.port).await.map_err(explain)?;
    let at = listeners[0].local_addr().map_err(explain)?;
    let address = settings.advertised(at.port()).map_err(StartError::Address)?;
    if settings.genesis.as_ref() == Some(&address) {
        return Err(StartError::unusable("GENESIS", &address, OWN_GENESIS));
    }
    let listened = advertised_address::advertised(&settings.host, at.port(), false, None);
    let listened = settings.secured(listened.map_err(StartError::Address)?);
    pool::announce(&settings.folder, &listened)?;
    let shown = match at.ip().is_unspecified() {
        true => format!("{}://{at}", if settings.closed.is_some() { "wss" } else { "ws" }),
        false => listened.to_string(),
    };
    Ok(Listening { listeners, port: at.port(), address, shown })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns the configuration of the core, with a new session.
fn configure(
    settings: &Settings,
    wan: &WanSettings,
    key: &Arc<NodeKey>,
    address: &PeerAddress,
    peer_cache: &PeerCache,
) -> Result<Config, StartError> {
    let is_wan = cfg!(feature = "wan") && wan.is_on(settings.known_peers.iter().chain(&settings.genesis));
    Ok(Config {
        node: key.node_id(),
        session: Session::from_random(random()?),
        agent: format!("p2p-node/{}", version()),
        network: settings.network.clone(),
        address: address.clone(),
        known_peers: settings.known_peers.clone(),
        wan: is_wan,
        relays: is_wan && wan.relay != RelayMode::Off,
        remembered_peers: peer_cache.loaded().addresses.clone(),
        remembered_exercise: peer_cache.loaded().exercise.clone(),
        max_peers: settings.max_peers,
        genesis: settings.genesis.clone(),
        since: time_of_day() as u64,
        limits: settings.limits.clone(),
        signer: Arc::clone(key) as Arc<dyn Signer>,
        seed: u64::from_le_bytes(random()?),
    })
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}

fn discover(settings: &Settings, config: &Config, port: u16, panics: &Panics) -> DiscoveryHandle {
    if settings.discovery == Discovery::Off {
        return DiscoveryHandle::default();
    }
    let (network, address) = (config.network.clone(), config.address.clone());
    let own = Record { node: config.node, session: config.session, network, address, free: None };
    // The address that this host's interfaces give the node, unless ADDRESS or HOST does.
    let follows = settings.address.is_none() && advertised_address::is_unspecified(&settings.host);
    let settings = settings.clone();
    DiscoveryHandle::mdns(own, move || follows.then(|| settings.advertised(port).ok()).flatten(), panics.clone())
}

/// Puts a stage with its rules before the driver, for each topic that has rules. Returns where the
/// links send what arrives, and each stage with what reaches it.
fn stages(
    topics: Vec<(StagedTopic, Arc<Checks>, Reader)>,
    driver: mpsc::Sender<Arrival>,
    panics: &Panics,
) -> (mpsc::Sender<Arrival>, Vec<(Stage, mpsc::Receiver<Arrival>)>) {
    let (mut next, mut stages) = (driver, Vec::new());
    for (topic, checks, pool) in topics {
        let Some(rules) = checks.rules.clone() else { continue };
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        let stage = Stage::new(topic, rules, pool, panics.clone(), std::mem::replace(&mut next, sender));
        stages.push((stage, receiver));
    }
    (next, stages)
}

/// What runs beside the driver, and ends with it.
struct Tasks {
    listeners: Vec<TcpListener>,
    acceptor: Arc<Acceptor>,
    stages: Vec<(Stage, mpsc::Receiver<Arrival>)>,
    wan: WanParts,
    arrivals: mpsc::Sender<Arrival>,
    watcher: AccessWatcher,
    panics: Panics,
}

impl Tasks {
    /// Runs them with the driver, until it is stopped or ends by itself.
    async fn run(self, driver: Driver, stopped: oneshot::Receiver<()>) -> Result<(), Unstored> {
        let Self { listeners, acceptor, stages, wan, arrivals, watcher, panics } = self;
        let (links, relay) = (wan.wan.clone(), wan.relay.clone());
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(Arc::clone(&acceptor).run(listener));
        }
        for (stage, arrivals) in stages {
            tasks.spawn(stage.run(arrivals));
        }
        wan.spawn(&mut tasks, &acceptor, arrivals);
        tasks.spawn(async move {
            // After a panic the rules stay as they are, and requests to reload them fail.
            panics.catch("watching the access rules", watcher.run()).await;
        });
        let until = async {
            // A dropped `Node` stops the node as one that is shut down does.
            stopped.await.unwrap_or_default();
            tasks.abort_all();
        };
        let ended = driver.run(until).await;
        tasks.shutdown().await;
        // By itself neither ends before the last handle to the node.
        if let Some(relay) = relay {
            relay.close().await;
        }
        if let Some(links) = links {
            links.close().await;
        }
        ended
    }
}

#[cfg(all(test, feature = "wan"))]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_a_relay_if_it_can_be_starts_without_its_udp_port() {
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = [taken.local_addr().expect("bound")];
        let wan = WanSettings { relay: RelayMode::On, ..WanSettings::default() };
        let auto = Settings { relay_is_auto: true, wan, ..Settings::for_host("127.0.0.1".to_owned()) };
        let on = Settings { relay_is_auto: false, ..auto.clone() };
        let relay = |settings| wan_settings(settings, &at).relay;
        assert_eq!((relay(&auto), relay(&on)), (RelayMode::Off, RelayMode::On), "who wants one is told why not");
        drop(taken);
        assert_eq!(relay(&auto), RelayMode::On);
    }
}
