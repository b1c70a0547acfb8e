//! A peer-to-peer node that speaks JSON over WebSockets: a binary to run, and this library to
//! embed.
//!
//! Nodes with the same network name find each other, link, and keep equal pools of transactions. A
//! transaction is a JSON object; a node stores it in its folder's `transactions.json`. A node also
//! broadcasts short texts, and shares images.
//!
//! # Example
//!
//! Two nodes in one program. The second gets what was submitted to the first.
//!
//! ```
//! use meshpool::{Event, Network};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let (here, there) = (folders.0.path(), folders.1.path());
//! let first = Network::new("localhost").folder(here).start().await?;
//! let second = Network::new("localhost").folder(there).known_peer(first.address().clone());
//! let second = second.start().await?;
//! let mut events = second.events();
//!
//! let submitted = first.submit(&serde_json::json!({ "message": "hello" })).await?;
//! let id = submitted.id;
//! submitted.stored().await?;
//!
//! loop {
//!     if let Event::Transaction { transaction, .. } = events.recv().await?
//!         && transaction.id() == id
//!     {
//!         println!("{}", transaction.body());
//!         break;
//!     }
//! }
//! first.shutdown().await?;
//! second.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `net` | the node; without it there is only [`protocol`] |
//! | `tls` | closed networks |
//! | `wan` | links by node id through NATs; it turns `tls` on |
//! | `web` | the page, the HTTP API and the metrics |
//! | `cli` | what the binary needs |
//!
//! All but `net` are on by default, and each of them turns `net` on.
//!
#![doc = include_str!("tasks.md")]
#![cfg_attr(
    windows,
    allow(
        clippy::missing_const_for_thread_local,
        reason = "those of this target are no plain statics, and are const already"
    )
)]

/// The core of the node: sans-IO, without sockets, clock, files or threads.
pub use meshpool_proto as protocol;

#[cfg(feature = "net")]
pub mod binary;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "net")]
mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
mod core_queries;
#[cfg(feature = "net")]
mod discovery;
#[cfg(feature = "net")]
mod driver;
#[cfg(feature = "net")]
mod events;
#[cfg(feature = "net")]
mod folder;
#[cfg(feature = "web")]
pub mod http;
#[cfg(feature = "net")]
mod images;
#[cfg(feature = "net")]
mod node;
#[cfg(feature = "net")]
mod pool;
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "wan"), path = "no_relay.rs")]
mod relay;
#[cfg(feature = "net")]
mod requests;
#[cfg(feature = "net")]
pub mod signing;
#[cfg(feature = "net")]
#[cfg_attr(
    not(all(feature = "cli", feature = "tls")),
    allow(unreachable_pub, reason = "the program has it all, and a library without it some")
)]
mod system;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "net")]
mod transport;
#[cfg(feature = "net")]
mod util;
#[cfg(feature = "net")]
mod validation;

#[cfg(feature = "net")]
mod exports {
    pub use meshpool_proto::address::PeerAddress;
    pub use meshpool_proto::causes::{ConnectionRefusal, Departure, DialError, LinkEnd, StoreError, StoreErrorKind};
    pub use meshpool_proto::event::{Event, PeerName};
    pub use meshpool_proto::id::NodeId;
    pub use meshpool_proto::limits::Limits;
    pub use meshpool_proto::transaction::{InvalidTransaction, Transaction, TransactionId};
    pub use meshpool_proto::wire::{Broadcast, ImageName, InvalidBroadcast, Member, Status};
    pub use meshpool_proto::{BroadcastReceipt, IpPrefix, TopicStatus, Violation, ViolationKind};

    pub use crate::client::{Client, ClientError};
    pub use crate::config::{InvalidLimit, LookupMode, RelayMode, WanMode, WanSettings};
    pub use crate::discovery::Discovery;
    pub use crate::driver::open_link::OpenLink;
    pub use crate::events::describe::describe;
    pub use crate::events::log::TransactionLines;
    pub use crate::events::stream::{Events, RecvError, TryRecvError};
    pub use crate::events::text::strip_control;
    pub use crate::folder::edit::EditError;
    pub use crate::folder::files::FolderError;
    pub use crate::folder::known_peers::Named;
    pub use crate::folder::node_key::{KeyError, NodeKey};
    pub use crate::images::{Image, ImageError, ImageList, ImageSource, ListedImage};
    pub use crate::node::access_watcher::AccessError;
    pub use crate::node::handle::{Handle, Node, NodeError, Submitted};
    pub use crate::node::invite::{InvalidInvite, Invite, InviteError};
    pub use crate::node::network::Network;
    pub use crate::node::not_dialable::NotDialable;
    pub use crate::node::operator::{AddedPeer, Operator, OperatorError, Reloaded, SetLevel};
    pub use crate::node::start_error::StartError;
    pub use crate::node::start_progress::StartProgress;
    pub use crate::node::topic::{Follow, FollowError, Followed, Topic};
    pub use crate::node::topic_config::{TopicConfig, TopicError};
    pub use crate::node::typed_topic::{TypedFollow, TypedItem, TypedTopic};
    pub use crate::pool::{Page as PoolPage, PoolError, Reader as PoolReader};
    pub use crate::requests::{OutgoingRequest, Refusal, Request, RequestError, Unreachable};
    pub use crate::signing::extension::TransactionExt;
    pub use crate::signing::wallet::{SignError, Wallet};
    pub use crate::transport::link_path::LinkPath;
    pub use crate::util::ip_range::{InvalidIpRange, IpRange};
    pub use crate::util::network_name::InvalidNetworkName;
    pub use crate::util::version::version;
    pub use crate::validation::{Until, Validation};
}

#[cfg(feature = "net")]
pub use exports::*;

// Its examples are compiled as tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../../docs/library.md")]
struct Library;
