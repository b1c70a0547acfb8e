//! Addresses and the peers behind them.
//!
//! | component | decides |
//! |---|---|
//! | `address_book` | which addresses are kept, and how long one backs off |
//! | `dialer` | when an address is dialled, and how many at once |
//! | `dial_queue` | which address that waits is dialled next, and how many of one source |
//! | `dial_allowance` | how often one source may have one host dialled |
//! | `lan_discovery` | which nodes of the local network are dialled, and what is announced there |
//! | `reputation` | who is banned, and for how long |
//! | `access_control` | who is admitted |
//! | `refusal_log` | which refusals are logged |
//!
//! Connections, membership and the node call them. They know links only by their ids.

pub(crate) mod access_control;
pub(crate) mod address_book;
pub mod dial_allowance;
pub(crate) mod dial_queue;
pub(crate) mod dialer;
pub(crate) mod lan_discovery;
pub(crate) mod refusal_log;
pub(crate) mod reputation;

/// The components, which callers borrow together.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) book: address_book::AddressBook,
    pub(crate) dialer: dialer::Dialer,
    pub(crate) lan: lan_discovery::LanDiscovery,
    pub(crate) reputation: reputation::Reputation,
    pub(crate) refusals: refusal_log::RefusalLog,
    pub(crate) access: access_control::AccessControl,
}
