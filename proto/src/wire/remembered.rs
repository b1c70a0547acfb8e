//! An address as a node remembers it over a restart.

use std::fmt;
use std::str::FromStr;

use crate::address::{InvalidAddress, PeerAddress, Scope};

/// An address that led to a node, and how near its name may lead.
///
/// Its text is the address, with the scope behind a blank unless that is public:
/// `ws://pc7.lan:4001 private`. An earlier release takes such a text for no address, and could not
/// dial it either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedAddress {
    /// The address.
    pub address: PeerAddress,
    /// The nearest scope that its name, or the names of its relays, may resolve to, by those that
    /// named it.
    pub reach: Scope,
}

impl From<PeerAddress> for RememberedAddress {
    fn from(address: PeerAddress) -> Self {
        Self { address, reach: Scope::Public }
    }
}

impl fmt::Display for RememberedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reach {
            Scope::Public => self.address.fmt(f),
            reach => write!(f, "{} {reach}", self.address),
        }
    }
}

impl FromStr for RememberedAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, reach) = text.split_once(' ').unwrap_or((text, "public"));
        let reach = reach.parse().map_err(|reason| InvalidAddress::new(text, reason))?;
        Ok(Self { address: address.parse()?, reach })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_scope_and_a_public_one_is_written_as_before() {
        for (text, reach) in [
            ("ws://example.org:4001", Scope::Public),
            ("ws://pc7.lan:4001 private", Scope::Private),
            ("ws://pc7.lan:4001 loopback", Scope::Loopback),
            ("ws://pc7.lan:4001 interface", Scope::Interface),
        ] {
            let read: RememberedAddress = text.parse().expect(text);
            assert_eq!((read.reach, read.to_string()), (reach, text.to_owned()));
            // An earlier release reads addresses, and leaves out what is none.
            assert_eq!(text.parse::<PeerAddress>().is_ok(), reach == Scope::Public, "{text}");
        }
        let public: RememberedAddress = "ws://pc7.lan:4001 public".parse().expect("the long form");
        assert_eq!(public, public.address.clone().into());
        for text in ["", "private", "ws://pc7.lan:4001 ", "ws://pc7.lan:4001 near", "ws://pc7.lan:4001 private private"]
        {
            assert!(text.parse::<RememberedAddress>().is_err(), "{text:?}");
        }
    }
}
