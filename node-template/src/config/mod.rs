//! The settings of a node. A flag overrides the environment, that the folder's `.env`, that the
//! default.
//!
//! All settings are read and checked once, relations included, before anything starts. An error is
//! one line that names the value, its source and the remedy. A value that is odd but usable causes
//! a warning. Only the `.env` in the node's own folder counts, and the process's environment is
//! never changed.

use std::path::{Path, PathBuf};

use tracing::Level;

use crate::discovery::Discovery;
use crate::discovery::advertised_address;
use crate::events::log::TransactionLines;
use crate::folder::files::{folder_name, shown};
use crate::folder::known_peers::{self, known_peers};
use crate::folder::node_key::{NODE_KEY, NodeKey};
use crate::protocol::address::{InvalidAddress, PeerAddress};
use crate::protocol::id::NodeId;
use crate::protocol::limits::Limits;
use crate::util::ip_range::IpRange;
use crate::util::network_name;

mod addresses;
mod discovery;
mod env_file;
mod error;
mod flags;
mod http;
mod limits;
mod overlay;
mod source;
mod suggest;
mod trust;
mod wan;

pub(crate) use addresses::own_address_fault;
#[cfg_attr(
    not(any(feature = "cli", feature = "web")),
    expect(unused_imports, reason = "for the command line and the API")
)]
pub(crate) use addresses::parse_address;
pub use error::SettingsError;
pub use flags::Flags;
pub use http::HttpSettings;
pub use limits::InvalidLimit;
pub(crate) use limits::check as check_limits;
pub(crate) use overlay::{OWN_GENESIS, cap_fault};
#[cfg_attr(not(feature = "cli"), expect(unused_imports, reason = "for the command line"))]
pub(crate) use wan::not_dialled;
pub use wan::{LookupMode, RelayMode, WanMode, WanSettings};
#[cfg_attr(not(feature = "cli"), expect(unused_imports, reason = "for the command line"))]
pub(crate) use {addresses::peer_texts, env_file::last_value};

use flags::flag;
use source::Sources;

/// The default of NETWORK.
pub const DEFAULT_NETWORK: &str = "p2p-node";

const LOG_FORMAT: &str = "LOG_FORMAT";

/// A node's settings, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The node's folder.
    pub folder: PathBuf,
    /// The host to listen on: `localhost` (both ::1 and 127.0.0.1), another name, or an IP address
    /// without brackets.
    pub host: String,
    /// The port to listen on; 0: any free one.
    pub port: u16,
    /// The sources of host and port, for errors of listening: some tools export a HOST of their
    /// own, and an exported PORT applies to every folder.
    pub listen_origin: String,
    /// ADDRESS, if it is set; see [`Self::advertised`].
    pub address: Option<PeerAddress>,
    /// The network's name. Nodes of different networks do not link.
    pub network: String,
    /// The addresses of `known-peers.json`, then those of PEERS, each once, with the relays that
    /// were named last. They may include this node's.
    pub known_peers: Vec<PeerAddress>,
    /// The most nodes to link to; `None`: all.
    pub max_peers: Option<u32>,
    /// The bootstrap node.
    pub genesis: Option<PeerAddress>,
    /// PLAIN: whether exercise peers, and clients of other hosts without a certificate, are
    /// admitted. `None`: only in an open network.
    pub plain: Option<bool>,
    /// In a closed network the files of the authority's certificate and of the node's own, relative
    /// to the folder.
    pub closed: Option<(PathBuf, PathBuf)>,
    /// The sources of these names, for errors of the files.
    pub closed_origin: String,
    /// How to find nodes on the local network.
    pub discovery: Discovery,
    /// MY_PUBLIC_KEY, if it is set; it is that of the folder's key.
    pub public_key: Option<NodeId>,
    /// The most detailed level that is logged.
    pub log: Level,
    /// Whether the log is JSON, one object per line.
    pub log_json: bool,
    /// LOG_TRANSACTIONS; `None`: each if a person watches, otherwise counted.
    pub transaction_lines: Option<TransactionLines>,
    /// The settings of the page, the API and the metrics; `None`: off.
    pub http: Option<HttpSettings>,
    /// The reverse proxies whose header X-Forwarded-For says who connects.
    pub trusted_proxies: Vec<IpRange>,
    /// Whether transactions without a valid signature are refused.
    pub require_signatures: bool,
    /// Links over iroh.
    pub wan: WanSettings,
    /// Whether this node is a relay only if it can be: RELAY is auto.
    pub relay_is_auto: bool,
    /// The node's limits.
    pub limits: Limits,
    /// The settings that only the process's environment has, one line.
    pub exported: Option<String>,
    /// Values that are odd but usable, one line each.
    pub warnings: Vec<String>,
}

/// Looks up a variable of the process's environment. What is no UTF-8 in it becomes U+FFFD, which
/// [`Settings::read`] refuses: a default must not take its place.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Settings {
    /// Returns the settings of a node that a program makes, on this host: its files are in the
    /// current folder, its port is any free one, and it knows no peers.
    pub(crate) fn for_host(host: String) -> Self {
        Self {
            folder: PathBuf::from("."),
            host,
            port: 0,
            listen_origin: "as the program asked".to_owned(),
            address: None,
            network: DEFAULT_NETWORK.to_owned(),
            known_peers: Vec::new(),
            max_peers: None,
            genesis: None,
            plain: None,
            closed: None,
            closed_origin: String::new(),
            discovery: Discovery::Off,
            public_key: None,
            log: Level::INFO,
            log_json: false,
            transaction_lines: None,
            http: None,
            trusted_proxies: Vec::new(),
            require_signatures: false,
            wan: WanSettings { mode: WanMode::Off, ..WanSettings::default() },
            relay_is_auto: false,
            limits: Limits::default(),
            exported: None,
            warnings: Vec::new(),
        }
    }

    /// Reads the settings of the node in `folder`. `environment` looks up a variable, as
    /// [`environment`] does.
    ///
    /// # Errors
    /// [`SettingsError`]; nothing was written.
    pub fn read(
        folder: &Path,
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        if !folder.is_dir() {
            return Err(SettingsError::NoFolder { path: folder_name(folder) });
        }
        let mut sources = Sources::read(folder, &environment)?;
        let (port, port_origin) = port(&mut sources, flags)?;
        let host = addresses::host(&mut sources, flags)?;
        let choices = [("on", true), ("off", false)];
        let plain = sources.choice("PLAIN", None, &choices, "it is on or off: whether exercise peers are admitted")?;
        let closed = trust::closed(&mut sources)?;
        let (closed, closed_origin) = closed.map_or((None, String::new()), |(files, origin)| (Some(files), origin));
        let secure = closed.is_some();
        let address = addresses::address(&mut sources, flags, secure)?;
        let network = network(&mut sources, flags)?;
        let log = log(&mut sources, flags)?;
        let choices = [("text", false), ("json", true)];
        let log_json = sources.choice(LOG_FORMAT, None, &choices, "a log's format is text or json")?;
        let choices = [("each", TransactionLines::Each), ("count", TransactionLines::Count)];
        let flag = flag("--log-transactions", &flags.log_transactions);
        let expected = "transactions are logged each, or as a count per minute: each or count";
        let transaction_lines = sources.choice("LOG_TRANSACTIONS", flag, &choices, expected)?;
        let trusted_proxies = http::trusted_proxies(&mut sources)?;
        let http = http::http(&mut sources, flags, port, &trusted_proxies)?;
        let more_peers = addresses::peers(&mut sources, flags, secure)?;
        let max_peers = overlay::max_peers(&mut sources, flags)?;
        let listened = host.as_ref().map_or("localhost", |(host, _)| host);
        let genesis = overlay::genesis(&mut sources, flags, listened, port, address.as_ref())?;
        let require_signatures = require_signatures(&mut sources, flags)?;
        let genesis = genesis.map(|genesis| if secure { genesis.secured() } else { genesis });
        let discovery = discovery::discovery(&mut sources, flags)?;
        let (host, host_origin) = host.unwrap_or_else(|| discovery::default_host(discovery, genesis.as_ref()));
        let (wan, relay_is_auto) = wan::wan(&mut sources, address.as_ref(), secure)?;
        let limits = limits::limits(&mut sources)?;
        let public_key = public_key(&mut sources, folder)?;
        let mut known = known_peers(folder)?;
        if secure {
            // Whatever the scheme, a peer of a closed network is dialled with TLS.
            let addresses = std::mem::take(&mut known.addresses);
            for address in addresses.into_iter().map(PeerAddress::secured) {
                known_peers::name(&mut known.addresses, address);
            }
        }
        for address in more_peers {
            known_peers::name(&mut known.addresses, if secure { address.secured() } else { address });
        }
        let typos: Vec<_> = suggest::warnings(sources.file()).collect();
        let (exported, mut warnings) = sources.into_lines();
        warnings.extend(typos);
        warnings.extend(discovery::unreachable_address(&host, address.as_ref(), discovery, genesis.as_ref()));
        if trusted_proxies.is_empty() {
            warnings.extend(discovery::unreachable_host(&host, address.as_ref()));
        }
        warnings.append(&mut known.warnings);
        warnings.extend(wan.ignored(known.addresses.iter().chain(&genesis)));
        if !secure {
            warnings.extend(addresses::undialable(known.addresses.iter().chain(&genesis)));
        }
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            host,
            port,
            listen_origin: format!("PORT {port_origin}; HOST {host_origin}"),
            address,
            network,
            known_peers: known.addresses,
            max_peers,
            genesis,
            plain,
            closed,
            closed_origin,
            discovery,
            public_key,
            log,
            log_json: log_json.unwrap_or(false),
            transaction_lines,
            http,
            trusted_proxies,
            require_signatures,
            wan,
            relay_is_auto,
            limits,
            exported,
            warnings,
        })
    }

    /// Returns the names of the settings that other settings have another value of, without the
    /// known peers and LOG: a running node does not take these.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Where the settings of HTTP were read says nothing about them: a line may have moved.
        let http = |differs: fn(&HttpSettings, &HttpSettings) -> bool| {
            self.http.as_ref().zip(other.http.as_ref()).is_some_and(|(one, other)| differs(one, other))
        };
        let closed = |differs: fn(&(PathBuf, PathBuf), &(PathBuf, PathBuf)) -> bool| {
            self.closed.as_ref().zip(other.closed.as_ref()).is_some_and(|(one, other)| differs(one, other))
        };
        let differs = [
            ("PORT", self.port != other.port),
            ("HOST", self.host != other.host),
            ("ADDRESS", self.address != other.address),
            ("NETWORK", self.network != other.network),
            ("MAX_PEERS", self.max_peers != other.max_peers),
            ("GENESIS", self.genesis != other.genesis),
            ("PLAIN", self.plain != other.plain),
            (
                "NETWORK_CA",
                self.closed.is_some() != other.closed.is_some() || closed(|(one, _), (other, _)| one != other),
            ),
            ("CERTIFICATE", closed(|(_, one), (_, other)| one != other)),
            ("DISCOVERY", self.discovery != other.discovery),
            ("LOG_FORMAT", self.log_json != other.log_json),
            ("LOG_TRANSACTIONS", self.transaction_lines != other.transaction_lines),
            ("HTTP_PORT", self.http.is_some() != other.http.is_some() || http(|one, other| one.port != other.port)),
            ("HTTP_HOST", http(|one, other| one.host != other.host)),
            ("HTTP_NAMES", http(|one, other| one.names != other.names)),
            ("HTTP_PATH", http(|one, other| one.path != other.path)),
            ("HTTP_TOKEN", http(|one, other| one.token != other.token)),
            ("TRUSTED_PROXIES", self.trusted_proxies != other.trusted_proxies),
            ("REQUIRE_SIGNATURES", self.require_signatures != other.require_signatures),
        ];
        let differs = differs.into_iter().chain(self.wan.differences(&other.wan));
        let mut names: Vec<_> = differs.filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        names.extend(limits::differences(&self.limits, &other.limits));
        names
    }

    /// Returns the address that the node announces: ADDRESS, or the host that it listens on. A node
    /// that listens on all interfaces announces that of its network if nodes of other machines are
    /// to link to it, by DISCOVERY or GENESIS, and localhost otherwise. `port`: the bound one,
    /// which is not [`Self::port`] if that is 0.
    ///
    /// # Errors
    /// [`InvalidAddress`] if `port` is 0, which no bound socket has.
    pub fn advertised(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let address = match &self.address {
            Some(address) => address.clone().without_zone(),
            None => {
                let beyond = discovery::reaches_beyond(self.discovery, self.genesis.as_ref());
                advertised_address::advertised(&self.host, port, beyond, self.genesis.as_ref())?
            }
        };
        // With ws:// in ADDRESS only host and port are meant: no peer could dial ws://.
        Ok(self.secured(address))
    }

    /// Returns an address of this node with the scheme of its network.
    pub(crate) fn secured(&self, address: PeerAddress) -> PeerAddress {
        if self.closed.is_some() { address.secured() } else { address }
    }
}

/// Returns whether the log is to be JSON, also where [`Settings::read`] fails: its error is then
/// JSON too.
pub fn wants_json_log(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> bool {
    let format = environment(LOG_FORMAT).or_else(|| env_file::last_value(flags.folder(), LOG_FORMAT));
    format.is_some_and(|format| format.trim().eq_ignore_ascii_case("json"))
}

fn port(sources: &mut Sources<'_>, flags: &Flags) -> Result<(u16, String), SettingsError> {
    let Some(value) = sources.value("PORT", flag("--port", &flags.port))? else {
        return Err(SettingsError::NoPort { found: suggest::instead_of("PORT", sources.file()) });
    };
    let port = value.number(0, u16::MAX.into()).ok_or_else(|| value.bad("a port is a number from 0 to 65535"))?;
    Ok((port as u16, value.origin.to_string()))
}

fn network(sources: &mut Sources<'_>, flags: &Flags) -> Result<String, SettingsError> {
    let Some(value) = sources.filled("NETWORK", flag("--network", &flags.network))? else {
        return Ok(DEFAULT_NETWORK.to_owned());
    };
    match network_name::check(&value.text) {
        Ok(()) => Ok(value.text),
        Err(error) => Err(value.bad(&error.to_string())),
    }
}

fn log(sources: &mut Sources<'_>, flags: &Flags) -> Result<Level, SettingsError> {
    let choices = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let expected = "a level is one of error, warn, info, debug, trace";
    Ok(sources.choice("LOG", flag("--log", &flags.log), &choices, expected)?.unwrap_or(Level::INFO))
}

fn require_signatures(sources: &mut Sources<'_>, flags: &Flags) -> Result<bool, SettingsError> {
    let on = ["1", "on", "true", "yes"].map(|text| (text, true));
    let off = ["0", "off", "false", "no"].map(|text| (text, false));
    let flag = flag("--require-signatures", &flags.require_signatures);
    let expected = "signatures are required (1) or not (0)";
    Ok(sources.choice("REQUIRE_SIGNATURES", flag, &[on, off].concat(), expected)?.unwrap_or(false))
}

fn public_key(sources: &mut Sources<'_>, folder: &Path) -> Result<Option<NodeId>, SettingsError> {
    // JavaScript nodes of the exercise without a key write "undefined".
    let Some(value) = sources.filled("MY_PUBLIC_KEY", None)?.filter(|value| value.text != "undefined") else {
        return Ok(None);
    };
    let id: NodeId =
        value.text.parse().map_err(|_| value.bad("a public key has 64 hexadecimal digits, or is left empty"))?;
    let file = shown(folder, NODE_KEY);
    match NodeKey::load(folder)? {
        Some(key) if key.node_id() == id => Ok(Some(id)),
        Some(key) => Err(value.bad(&format!("it is not the public half of {file}, which is {}", key.node_id()))),
        None => Err(value.bad(&format!(
            "its secret key is missing, there is no {file}; restore that file, or leave MY_PUBLIC_KEY empty to get a new key"
        ))),
    }
}
