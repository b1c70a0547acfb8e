//! MAX_PEERS and GENESIS.

use crate::config::addresses::parse_address;
use crate::config::error::SettingsError;
use crate::config::flags::{Flags, flag};
use crate::config::source::Sources;
use crate::protocol::address::{PeerAddress, Scope};

/// More links would cost more than anything else in the node.
const MAX_PEERS: u32 = 10_000;

const CAP: &str =
    "it is a whole number from 1 to 10000, 3 or more for a robust network; leave it out to link to all nodes";

/// What is said of a bootstrap node that is the node itself.
pub(crate) const OWN_GENESIS: &str =
    "that is this node itself; name another node, or leave GENESIS out at the first one";

pub(crate) fn max_peers(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<u32>, SettingsError> {
    let Some(value) = sources.filled("MAX_PEERS", flag("--max-peers", &flags.max_peers))? else { return Ok(None) };
    let max = value.number(1, MAX_PEERS.into()).and_then(|max| u32::try_from(max).ok());
    let max = max.ok_or_else(|| value.bad(CAP))?;
    if max == 1 {
        sources.warn(format!(
            "MAX_PEERS is 1 ({}): nodes with one link each cannot form a network, only pairs; set 2 or more, better 3",
            value.origin
        ));
    }
    Ok(Some(max))
}

/// Returns why a number cannot be the most links of a node; `None` if it can.
pub(crate) fn cap_fault(max_peers: u32) -> Option<&'static str> {
    (!(1..=MAX_PEERS).contains(&max_peers)).then_some(CAP)
}

pub(crate) fn genesis(
    sources: &mut Sources<'_>,
    flags: &Flags,
    host: &str,
    port: u16,
    own: Option<&PeerAddress>,
) -> Result<Option<PeerAddress>, SettingsError> {
    let Some(value) = sources.filled("GENESIS", flag("--genesis", &flags.genesis))? else { return Ok(None) };
    let address = parse_address(&value.text, false)
        .map_err(|error| value.bad(&format!("{}; a genesis node is ws://host:port or host:port", error.reason())))?;
    // Other names of this node show when they are dialled.
    let listens_here = PeerAddress::new(host, 1).is_ok_and(|host| host.scope() == Scope::Loopback);
    let same_port = listens_here && address.scope() == Scope::Loopback && address.port() == port;
    if own == Some(&address) || same_port {
        return Err(value.bad(OWN_GENESIS));
    }
    Ok(Some(address))
}
