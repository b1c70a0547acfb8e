//! What a node is told at its start: a flag wins over the environment, that over the folder's own `.env`, that over the default.
//!
//! Everything is read once and checked here, relations included, so that nothing is half-started and nobody validates again. An error is one line
//! that names the value, where it came from and the remedy; what is odd but usable becomes a warning. The `.env` is the one in the node's folder,
//! never a parent's, and the process's environment is only asked, never changed. The sole driver is the binary; the key and the known peers come from
//! [`crate::folder::node_key`] and [`crate::folder::known_peers`].

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tracing::Level;

use crate::discovery::Discovery;
use crate::discovery::advertised_address;
use crate::events::text::strip_control;
use crate::folder::known_peers::{self, FolderError};
use crate::folder::node_key::{KeyError, NODE_KEY, NodeKey};
use crate::protocol::address::{InvalidAddress, PeerAddress};
use crate::protocol::id::NodeId;
use crate::protocol::limits::{self, Limits};

mod adjust;
mod discovery;
mod env_file;
mod flags;
mod http;
mod overlay;
mod signatures;
mod source;
mod suggest;
mod trust;

pub use flags::Flags;
pub use http::HttpSettings;

use source::{Sources, Value};

/// The network that a node belongs to if nothing else is said.
pub const DEFAULT_NETWORK: &str = "p2p-node";

/// A node's settings, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The folder that holds the node's files.
    pub folder: PathBuf,
    /// What is listened on: `localhost` (both ::1 and 127.0.0.1), another name, or an IP address without brackets.
    pub host: String,
    /// The port that is listened on; 0: any free one.
    pub port: u16,
    /// Where host and port came from, in words, for the error of a port that is in use or a host that is not ours: some shells and tools export a
    /// HOST of their own, and an exported PORT goes for every folder.
    pub listen_origin: String,
    /// Where others can dial us, if it was said; see [`Self::advertised`].
    pub address: Option<PeerAddress>,
    /// The network's name; nodes of different names do not link.
    pub network: String,
    /// The addresses dialled from the start: those of `known-peers.json`, then those of PEERS; each once, perhaps our own among them.
    pub known_peers: Vec<PeerAddress>,
    /// How many nodes to link to at most; `None`: all.
    pub max_peers: Option<u32>,
    /// Whom to ask for a node to begin with.
    pub genesis: Option<PeerAddress>,
    /// Whether nodes of the exercise, and clients from other hosts that show no certificate, are let in; `None`: in an open network alone.
    pub plain: Option<bool>,
    /// In a closed network the files of the authority's certificate and of the node's own, relative to the folder.
    pub closed: Option<(PathBuf, PathBuf)>,
    /// How others are found without being named.
    pub discovery: Discovery,
    /// MY_PUBLIC_KEY, if it was said; it is the folder's key then.
    pub public_key: Option<NodeId>,
    /// Down to which level the log is written.
    pub log: Level,
    /// Whether the log is written as JSON, one object per line.
    pub log_json: bool,
    /// Where the page, the API and the metrics are served; `None`: nowhere.
    pub http: Option<HttpSettings>,
    /// Whether transactions without a good signature are refused.
    pub require_signatures: bool,
    /// The bounds that the node keeps.
    pub limits: Limits,
    /// What is odd but usable, one line each, for the log.
    pub warnings: Vec<String>,
}

/// Why a node can not be started with its settings. One line: what, from where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value that does not fit.
    #[error("{name} is {value} ({origin}): {expected}; {remedy}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Its value, shortened; "empty" if it is.
        value: String,
        /// Where it came from, in words.
        origin: String,
        /// What is wanted.
        expected: String,
        /// What to do, which depends on where the value came from.
        remedy: String,
        /// Whether it came from the command line.
        from_flag: bool,
    },
    /// PORT stands nowhere.
    #[error(
        "PORT is not set: {found}; write PORT=4001 into it, or run 'cargo xtask clone-node' and start the node inside the folder that it makes"
    )]
    NoPort {
        /// What was found in its place, naming the file.
        found: String,
    },
    /// A line of `.env` that can not be read.
    #[error(
        "{path}, line {line}: this is not NAME=value; correct it (a value with spaces, quotes or backslashes stands in single quotes), \
         or put # before it"
    )]
    Syntax {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The folder itself is missing.
    #[error("{path} is no folder: name one that holds a node's .env, or run 'cargo xtask clone-node' to make one")]
    NoFolder {
        /// The path.
        path: String,
    },
    /// A file of the folder can not be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// MY_PUBLIC_KEY could not be compared with the folder's key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SettingsError {
    /// Whether the command line is at fault: exit code 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Invalid { from_flag: true, .. })
    }
}

impl Settings {
    /// Reads the settings of the node in `folder`. `environment` looks a name up, as `|name| std::env::var(name).ok()` does.
    ///
    /// # Errors
    /// [`SettingsError`]; nothing was written or opened for long.
    pub fn read(
        folder: &Path,
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        if !folder.is_dir() {
            return Err(SettingsError::NoFolder { path: known_peers::folder_name(folder) });
        }
        let mut sources = Sources::read(folder, &environment)?;
        let (port, port_origin) = port(&mut sources, flags)?;
        let host = host(&mut sources, flags)?;
        let (plain, closed) = (trust::plain(&mut sources)?, trust::closed(&mut sources)?);
        let secure = closed.is_some();
        let address = address(&mut sources, flags, secure)?;
        let network = network(&mut sources, flags)?;
        let log = log(&mut sources, flags)?;
        let log_json = log_json(&mut sources)?;
        let http = http::http(&mut sources, flags)?;
        let more_peers = peers(&mut sources, flags, secure)?;
        let max_peers = overlay::max_peers(&mut sources, flags)?;
        let listened = host.as_ref().map_or("localhost", |(host, _)| host);
        let genesis = overlay::genesis(&mut sources, flags, listened, port, address.as_ref())?;
        let require_signatures = signatures::required(&mut sources, flags)?;
        let genesis = genesis.map(|genesis| if secure { genesis.secured() } else { genesis });
        let discovery = discovery::discovery(&mut sources, flags)?;
        let (host, host_origin) = host.unwrap_or_else(|| discovery::default_host(discovery, genesis.as_ref()));
        let limits = adjust::limits(&mut sources)?;
        let public_key = public_key(&mut sources, folder)?;
        let mut known = crate::folder::known_peers::known_peers(folder)?;
        for address in more_peers {
            if !known.addresses.contains(&address) {
                known.addresses.push(address);
            }
        }
        sources.warn_of_typos();
        let mut warnings = sources.into_warnings();
        warnings.extend(discovery::unreachable_address(&host, address.as_ref(), discovery, genesis.as_ref()));
        warnings.append(&mut known.warnings);
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
            discovery,
            public_key,
            log,
            log_json,
            http,
            require_signatures,
            limits,
            warnings,
        })
    }

    /// Where others are told to dial us, once the port is known that the system gave (it is not [`Self::port`] if that is 0): ADDRESS if it was
    /// said, else the host that is listened on. For a node that listens on everything that is the address of its network's interface if others are to come from
    /// there, by DISCOVERY or GENESIS, else localhost.
    ///
    /// # Errors
    /// [`InvalidAddress`] if `port` is 0, which no bound socket has.
    pub fn advertised(&self, port: u16) -> Result<PeerAddress, InvalidAddress> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => {
                let beyond = discovery::reaches_beyond(self.discovery, self.genesis.as_ref());
                advertised_address::advertised(&self.host, port, beyond, self.genesis.as_ref())?
            }
        };
        Ok(if self.closed.is_some() { address.secured() } else { address })
    }
}

fn port(sources: &mut Sources<'_>, flags: &Flags) -> Result<(u16, String), SettingsError> {
    let Some(value) = sources.value("PORT", flags.port.as_deref().map(|port| ("--port", port))) else {
        return Err(SettingsError::NoPort { found: sources.in_place_of("PORT") });
    };
    let port = value.number(0, u16::MAX.into()).ok_or_else(|| value.bad("a port is a number from 0 to 65535"))?;
    Ok((port as u16, value.origin.to_string()))
}

/// HOST and where it came from, if it was said.
fn host(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<(String, String)>, SettingsError> {
    let Some(value) = sources.filled("HOST", flags.host.as_deref().map(|host| ("--host", host))) else {
        return Ok(None);
    };
    // The rules of a peer's host are those of ours; the port is put in to have a whole address.
    match PeerAddress::new(&value.text, 1) {
        Ok(address) => Ok(Some((address.host(), value.origin.to_string()))),
        Err(_) => Err(value.bad("a host is a name or an IP address to listen on, such as localhost or 0.0.0.0")),
    }
}

fn address(sources: &mut Sources<'_>, flags: &Flags, secure: bool) -> Result<Option<PeerAddress>, SettingsError> {
    let Some(value) = sources.filled("ADDRESS", flags.address.as_deref().map(|address| ("--address", address))) else {
        return Ok(None);
    };
    let address = parse_address(&value.text, secure)
        .map_err(|error| value.bad(&format!("{}; an address is ws://host:port", error.reason())))?;
    if is_unspecified(&address.host()) {
        return Err(value.bad("nobody can dial that host; name one by which others reach this machine"));
    }
    Ok(Some(address))
}

fn network(sources: &mut Sources<'_>, flags: &Flags) -> Result<String, SettingsError> {
    let Some(value) = sources.filled("NETWORK", flags.network.as_deref().map(|network| ("--network", network))) else {
        return Ok(DEFAULT_NETWORK.to_owned());
    };
    // Peers show as many characters and no more: two networks must not look the same in a log.
    if value.text.chars().count() > limits::SHOWN_CHARACTERS || strip_control(&value.text) != value.text {
        return Err(value.bad("a network's name has at most 64 printable characters"));
    }
    Ok(value.text)
}

fn log(sources: &mut Sources<'_>, flags: &Flags) -> Result<Level, SettingsError> {
    let Some(value) = sources.filled("LOG", flags.log.as_deref().map(|level| ("--log", level))) else {
        return Ok(Level::INFO);
    };
    match value.text.to_ascii_lowercase().as_str() {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => Err(value.bad("a level is one of error, warn, info, debug, trace")),
    }
}

fn log_json(sources: &mut Sources<'_>) -> Result<bool, SettingsError> {
    let Some(value) = sources.filled("LOG_FORMAT", None) else { return Ok(false) };
    match value.text.to_ascii_lowercase().as_str() {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err(value.bad("a log's format is text or json")),
    }
}

fn peers(sources: &mut Sources<'_>, flags: &Flags, secure: bool) -> Result<Vec<PeerAddress>, SettingsError> {
    let flag = flags.peers.join(",");
    let Some(value) = sources.filled("PEERS", (!flag.is_empty()).then_some(("--peers", flag.as_str()))) else {
        return Ok(Vec::new());
    };
    let texts = value.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts
        .map(|text| {
            parse_address(text, secure).map_err(|error| {
                let one = Value { text: text.to_owned(), ..value.clone() };
                one.bad(&format!(
                    "{}; a peer is ws://host:port or host:port, several are separated by commas",
                    error.reason()
                ))
            })
        })
        .collect()
}

fn public_key(sources: &mut Sources<'_>, folder: &Path) -> Result<Option<NodeId>, SettingsError> {
    // A clone of the exercise that has no key writes nothing or, from JavaScript, the word.
    let Some(value) = sources.filled("MY_PUBLIC_KEY", None).filter(|value| value.text != "undefined") else {
        return Ok(None);
    };
    let id: NodeId =
        value.text.parse().map_err(|_| value.bad("a public key has 64 hexadecimal digits, or is left empty"))?;
    let file = known_peers::shown(folder, NODE_KEY);
    match NodeKey::load(folder)? {
        Some(key) if key.node_id() == id => Ok(Some(id)),
        Some(key) => Err(value.bad(&format!("it is not the public half of {file}, which is {}", key.node_id()))),
        None => Err(value.bad(&format!(
            "its other half is missing, for there is no {file}; put that file back, or leave MY_PUBLIC_KEY empty to get a new key"
        ))),
    }
}

/// Reads `ws://host:port`, `wss://host:port` or `host:port`, which is the former, or if `secure` the latter.
fn parse_address(text: &str, secure: bool) -> Result<PeerAddress, InvalidAddress> {
    match text.contains("://") {
        true => text.parse(),
        false if secure => format!("wss://{text}").parse(),
        false => format!("ws://{text}").parse(),
    }
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
}
