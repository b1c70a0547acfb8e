//! What the program `meshpool`, the tasks of its workspace and the tests of both share with the
//! library.
//!
//! **It is no part of the interface for embedders:** it may change in any release, and the change
//! log does not name that.

pub use crate::client::{ImageStream, list_images};
pub use crate::config::{DEFAULT_NETWORK, environment};
pub use crate::folder::known_peers::KNOWN_PEERS;
pub use crate::folder::node_key::NODE_KEY;
pub use crate::folder::replace::replace;

#[cfg(feature = "cli")]
pub use crate::cli::api::Api;
#[cfg(feature = "cli")]
pub use crate::cli::entry::main;
#[cfg(feature = "cli")]
pub use crate::cli::init::{is_setting, is_taken, with_setting};
#[cfg(feature = "cli")]
pub use crate::cli::network::show as show_network;
#[cfg(feature = "cli")]
pub use crate::cli::node_folder::{Holder, Lock, NodeFolder};
#[cfg(feature = "cli")]
pub use crate::cli::status::{Named, as_json as status_as_json, describe as describe_status};
#[cfg(feature = "cli")]
pub use crate::cli::target::Target;
#[cfg(feature = "cli")]
pub use crate::cli::transactions::show_file;
#[cfg(feature = "cli")]
pub use crate::cli::user_file::check_certificate;

/// The file of transactions, as the node opens, reads and writes it.
pub mod pool {
    pub use crate::pool::{Chunk, LOCK_FILE, Opened, POOL_FILE, Pool, PoolError, Repair, Report, open};
}

/// What differs between operating systems.
#[cfg(feature = "cli")]
pub mod system {
    pub use crate::system::*;
}

/// Adding transactions, as `meshpool add` does.
#[cfg(feature = "cli")]
pub mod add {
    pub use crate::cli::add::{What, run};
}

/// Images, as `meshpool images` has them.
#[cfg(feature = "cli")]
pub mod images {
    pub use crate::cli::images::{Wanted, list};
}

/// Invites, as `meshpool invite` and `meshpool join` have them.
#[cfg(feature = "cli")]
pub mod invite {
    pub use crate::cli::invite::{check_chosen, check_dialled, check_own, show, write_down};
}

/// Broadcasts, as `meshpool send` sends them.
#[cfg(feature = "cli")]
pub mod send {
    pub use crate::cli::send::{check, send};
}

/// Output for people.
#[cfg(feature = "cli")]
pub mod terminal {
    pub use crate::cli::terminal::{colour, number, plural, print, strip_control, write_note};
}

/// The relay, as its clients meet it.
#[cfg(feature = "wan")]
pub mod relay {
    pub use crate::transport::iroh::address_discovery::any_certificate;
}
