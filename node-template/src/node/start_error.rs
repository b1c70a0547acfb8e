//! Why a node did not start.

use std::io;

use meshpool_proto::address::{InvalidAddress, PeerAddress};

use crate::config::InvalidLimit;
use crate::folder::node_key::KeyError;
use crate::node::access_watcher::AccessError;
use crate::node::not_dialable::NotDialable;
use crate::node::topic_config::TopicError;
use crate::pool::PoolError;
use crate::util::network_name::InvalidNetworkName;

/// The first port that every user may listen on, on most systems.
const UNPRIVILEGED: u16 = 1_024;

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

impl StartError {
    /// An address of the settings cannot work.
    pub(crate) fn unusable(name: &'static str, value: &PeerAddress, expected: &'static str) -> Self {
        Self::Setting { name, value: value.to_string(), expected }
    }
}

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
