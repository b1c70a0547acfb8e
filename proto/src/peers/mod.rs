//! What is known of addresses and of who is behind them.

pub mod access;
pub(crate) mod address_book;
pub(crate) mod dialer;
pub(crate) mod lan_discovery;
pub(crate) mod reputation;
