//! A peer-to-peer node that speaks JSON over WebSockets: a binary to run, and this library to
//! embed.
//!
//! Nodes with the same network name find each other, link, and keep equal pools of transactions. A
//! transaction is a JSON object; a node stores it in its folder's `transactions.json`. A node also
//! broadcasts short texts, and shares images.
//!
//! | I want to … | use |
//! |---|---|
//! | run a node in my program | [`Network`], which starts a [`Node`] |
//! | use the node from several tasks | [`Handle`], from [`Node::handle`] |
//! | submit a transaction, wait until it is on disk | [`Handle::submit`], [`Submitted::stored`] |
//! | get the transactions of others | [`Handle::events`], which gives an [`Event`] for each |
//! | read the pool | [`Handle::pool`] |
//! | ask one node, and answer what others ask | [`Handle::request`], [`Handle::serve`] |
//! | keep several kinds of items apart | [`Network::topic`], [`Handle::topic`] |
//! | have items of a type of mine | [`Topic::typed`] |
//! | follow what is stored, without gaps, also after a restart | [`Topic::follow`] |
//! | broadcast a text | [`Handle::broadcast`] |
//! | refuse transactions by rules of my own | [`Network::validate`] |
//! | judge them by what is in the pool, or later | [`Network::validate_with`], [`Validation`] |
//! | require signatures, sign, verify | [`Network::require_signatures`], [`signing`] |
//! | sign with a key that is not the node's | [`Wallet`] |
//! | read a transaction as a type, learn who signed it | [`TransactionExt`] |
//! | bring the node's key along | [`Network::key`], [`NodeKey`] |
//! | accept members only | [`Network::closed`], [`tls`] |
//! | get an image by its name | [`Handle::image`] |
//! | change known peers, bans, the log of a running node | [`Operator`] |
//! | see status, links, network | [`Handle::status`], [`Handle::links`], [`Handle::nodes`] |
//! | serve the web page, the HTTP API and metrics | [`http::Server`] |
//! | start a node from the settings of its folder | [`config::Settings`] |
//! | use a running node from outside | [`Client`] |
//! | run the protocol without sockets or clock | [`protocol`] |
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
//! | `web` | the page, the HTTP API and the metrics |
//! | `cli` | what the binary needs |
//!
//! All but `net` are on by default, and each of them turns `net` on.
#![cfg_attr(
    windows,
    allow(
        clippy::missing_const_for_thread_local,
        reason = "those of this target are no plain statics, and are const already"
    )
)]

/// The core of the node: sans-IO, without sockets, clock, files or threads.
pub use meshpool_proto as protocol;

// For the binary alone: an embedder brings a terminal and a log of its own.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
mod discovery;
#[cfg(feature = "net")]
mod driver;
#[cfg(feature = "net")]
pub mod events;
#[cfg(feature = "net")]
pub mod folder;
#[cfg(feature = "web")]
pub mod http;
#[cfg(feature = "net")]
mod images;
#[cfg(feature = "net")]
mod node;
#[cfg(feature = "net")]
pub mod pool;
#[cfg(feature = "net")]
mod requests;
#[cfg(feature = "net")]
pub mod signing;
#[cfg(feature = "net")]
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
    pub use meshpool_proto::event::Event;
    pub use meshpool_proto::id::NodeId;
    pub use meshpool_proto::limits::Limits;
    pub use meshpool_proto::transaction::{InvalidTransaction, Transaction, TransactionId};
    pub use meshpool_proto::wire::{Broadcast, ImageName, InvalidBroadcast, Member, Status};
    pub use meshpool_proto::{BroadcastReceipt, TopicStatus};

    pub use crate::client::{Client, ClientError};
    pub use crate::discovery::Discovery;
    pub use crate::driver::open_link::OpenLink;
    pub use crate::events::log::TransactionLines;
    pub use crate::events::stream::{Events, RecvError, TryRecvError};
    pub use crate::folder::node_key::NodeKey;
    pub use crate::images::{Image, ImageError, ImageList, ImageSource, ListedImage};
    pub use crate::node::access_watcher::AccessError;
    pub use crate::node::handle::{Handle, Node, NodeError, Submitted};
    pub use crate::node::network::{Network, StartError};
    pub use crate::node::operator::{Operator, OperatorError, Reloaded, SetLevel};
    pub use crate::node::start_progress::StartProgress;
    pub use crate::node::topic::{Follow, FollowError, Followed, Topic};
    pub use crate::node::topic_config::{TopicConfig, TopicError};
    pub use crate::node::typed_topic::{TypedFollow, TypedItem, TypedTopic};
    pub use crate::requests::{OutgoingRequest, Refusal, Request, RequestError};
    pub use crate::signing::extension::TransactionExt;
    pub use crate::signing::wallet::{SignError, Wallet};
    pub use crate::util::ip_range::{InvalidIpRange, IpRange};
    pub use crate::util::version::version;
    pub use crate::validation::{Until, Validation};
}

#[cfg(feature = "net")]
pub use exports::*;

// Its examples are compiled as tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../../docs/library.md")]
struct Library;
