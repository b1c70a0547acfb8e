//! MAX_PEERS and GENESIS.

use crate::config::source::Sources;
use crate::config::{Flags, SettingsError, parse_address};
use crate::protocol::address::{PeerAddress, Scope};

/// More links than this are no cap: a full mesh of as many nodes would be dearer than anything else here.
const MOST_PEERS: u64 = 10_000;

pub(crate) fn max_peers(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<u32>, SettingsError> {
    let Some(value) = sources.filled("MAX_PEERS", flags.max_peers.as_deref().map(|most| ("--max-peers", most))) else {
        return Ok(None);
    };
    let most = value.number(1, MOST_PEERS).and_then(|most| u32::try_from(most).ok());
    let most = most.ok_or_else(|| {
        value.bad("a node links to a whole number of others, from 1 to 10000, 3 or more for a network that lasts; left out it links to all")
    })?;
    if most == 1 {
        sources.warn(format!(
            "MAX_PEERS is 1 ({}): nodes with one link each can not form a network, only pairs; set 2 or more, better 3",
            value.origin
        ));
    }
    Ok(Some(most))
}

pub(crate) fn genesis(
    sources: &mut Sources<'_>,
    flags: &Flags,
    host: &str,
    port: u16,
    own: Option<&PeerAddress>,
) -> Result<Option<PeerAddress>, SettingsError> {
    let Some(value) = sources.filled("GENESIS", flags.genesis.as_deref().map(|address| ("--genesis", address))) else {
        return Ok(None);
    };
    let address = parse_address(&value.text, false)
        .map_err(|error| value.bad(&format!("{}; a genesis node is ws://host:port or host:port", error.reason())))?;
    // Other names of ours show when they are dialled; these are certain.
    let listens_here = PeerAddress::new(host, 1).is_ok_and(|host| host.scope() == Scope::Loopback);
    let same_port = listens_here && address.scope() == Scope::Loopback && address.port() == port;
    if own == Some(&address) || same_port {
        return Err(value.bad("that is this node itself; name another node, or leave GENESIS out at the first one"));
    }
    Ok(Some(address))
}
