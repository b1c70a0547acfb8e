//! What is known of addresses and of the peers behind them: which there are, when they are dialled, which are admitted.

pub mod access;
pub(crate) mod address_book;
pub(crate) mod dial_reason;
pub(crate) mod dialer;
pub(crate) mod lan_discovery;
pub(crate) mod refusal_log;
pub(crate) mod reputation;

/// The components of this layer, lent together.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) book: address_book::AddressBook,
    pub(crate) dialer: dialer::Dialer,
    pub(crate) lan: lan_discovery::LanDiscovery,
    pub(crate) reputation: reputation::Reputation,
    pub(crate) refusals: refusal_log::RefusalLog,
    pub(crate) access: access::AccessControl,
}
