//! The `iroh:` addresses that a program names and its node can never dial.

use crate::folder::known_peers::check_key;
use crate::protocol::address::PeerAddress;

/// Why an `iroh:` address that the program named can never be dialled, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDialable {
    /// Links over iroh are off.
    #[error("{address} cannot be dialled: links over iroh are off here; {}", remedy())]
    WanOff {
        /// The address.
        address: PeerAddress,
    },
    /// Its node id is no public key.
    #[error(
        "{address} cannot be dialled: its node id is no public key; some of its digits are wrong, so copy it again"
    )]
    NoKey {
        /// The address.
        address: PeerAddress,
    },
}

impl NotDialable {
    /// Checks addresses. `is_on`: whether links over iroh are possible.
    pub(crate) fn check<'a>(
        mut addresses: impl Iterator<Item = &'a PeerAddress>,
        is_on: bool,
    ) -> Result<(), NotDialable> {
        addresses.try_for_each(|address| match address.node() {
            None => Ok(()),
            Some(_) if check_key(address.clone()).is_err() => Err(Self::NoKey { address: address.clone() }),
            Some(_) if !is_on => Err(Self::WanOff { address: address.clone() }),
            Some(_) => Ok(()),
        })
    }
}

fn remedy() -> &'static str {
    match cfg!(feature = "wan") {
        true => "set WanMode::Auto or WanMode::On in Network::wan",
        false => "build the program with the feature \"wan\"",
    }
}
