//! DISCOVERY, and its effect and that of GENESIS on HOST and ADDRESS: a node that others are to
//! find must listen on their network, and announce an address that they can dial.

use crate::config::addresses::is_unspecified;
use crate::config::error::SettingsError;
use crate::config::flags::{Flags, flag};
use crate::config::source::Sources;
use crate::discovery::Discovery;
use crate::discovery::advertised_address;
use crate::protocol::address::{PeerAddress, Scope};

pub(crate) fn discovery(sources: &mut Sources<'_>, flags: &Flags) -> Result<Discovery, SettingsError> {
    let choices = [("off", Discovery::Off), ("mdns", Discovery::Mdns)];
    let expected = "it is mdns, to find nodes by multicast DNS, or off";
    let chosen = sources.choice("DISCOVERY", flag("--discovery", &flags.discovery), &choices, expected)?;
    Ok(chosen.unwrap_or(Discovery::Off))
}

/// Returns whether nodes on other machines are to link to this one.
pub(crate) fn reaches_beyond(discovery: Discovery, genesis: Option<&PeerAddress>) -> bool {
    discovery != Discovery::Off || advertised_address::is_beyond(genesis)
}

/// Returns the default of HOST and its reason.
pub(crate) fn default_host(discovery: Discovery, genesis: Option<&PeerAddress>) -> (String, String) {
    let all = if genesis.is_some_and(|address| address.host().contains(':')) { "::" } else { "0.0.0.0" };
    match (discovery, advertised_address::is_beyond(genesis)) {
        (Discovery::Off, false) => ("localhost".to_owned(), "by default".to_owned()),
        (Discovery::Off, true) => (all.to_owned(), "by default, because of GENESIS".to_owned()),
        (_, true) => (all.to_owned(), "by default, because of DISCOVERY and GENESIS".to_owned()),
        (_, false) => ("0.0.0.0".to_owned(), "by default, because of DISCOVERY".to_owned()),
    }
}

/// Returns a warning if a node that other machines dial announces a loopback address: that address
/// leads them to themselves.
pub(crate) fn unreachable_address(
    host: &str,
    address: Option<&PeerAddress>,
    discovery: Discovery,
    genesis: Option<&PeerAddress>,
) -> Option<String> {
    let listened = PeerAddress::new(host, 1).ok().filter(|listened| listened.scope() == Scope::Interface);
    if let (Some(listened), None) = (listened, address) {
        return Some(format!(
            "HOST is {host}, whose zone (behind the %) means an interface of this machine alone, so nobody can dial the address that this node announces, \
             ws://[{}]; set ADDRESS to one without a zone, such as ADDRESS=ws://[fd00::7]:4001, or let others dial this node with the zone of their own interface",
            listened.without_zone().host()
        ));
    }
    let listens_on_loopback = is_loopback(host);
    let announced = match address {
        Some(address) if address.scope() == Scope::Loopback => address.to_string(),
        None if is_unspecified(host) && !reaches_beyond(discovery, genesis) => "ws://localhost".to_owned(),
        None if listens_on_loopback && !is_unspecified(host) => format!("ws://{host}"),
        _ => return None,
    };
    if is_unspecified(host) || !listens_on_loopback {
        return Some(format!(
            "HOST is {host}, so other machines can link to this node, but the address that it announces, {announced}, leads them to themselves; \
             set ADDRESS to one that they can dial, such as ADDRESS=ws://192.168.1.20:4001"
        ));
    }
    let genesis = genesis.filter(|genesis| advertised_address::is_beyond(Some(genesis)))?;
    Some(format!(
        "GENESIS is {genesis}, on another machine, but the address that this node announces, {announced}, leads others to themselves; leave HOST and \
         ADDRESS out, or set them to what others can dial, such as HOST=0.0.0.0 and ADDRESS=ws://192.168.1.20:4001"
    ))
}

/// Returns a warning if a node that listens on loopback announces an address of another scope: only
/// a proxy on this host could lead there. That is the same for a relay, of which nobody learns.
pub(crate) fn unreachable_host(host: &str, address: Option<&PeerAddress>) -> Option<String> {
    let beyond = address.filter(|address| address.scope() > Scope::Loopback)?;
    if is_unspecified(host) || !is_loopback(host) {
        return None;
    }
    let all = if beyond.host().contains(':') { "::" } else { "0.0.0.0" };
    Some(format!(
        "HOST is {host}, so only this machine can link to this node, but its address is {beyond}; set HOST={all}, \
         or name the proxy on this machine that leads to it in TRUSTED_PROXIES"
    ))
}

/// Whether a host is of the scope of loopback. The unspecified address is too, as one to dial.
fn is_loopback(host: &str) -> bool {
    PeerAddress::new(host, 1).is_ok_and(|address| address.scope() == Scope::Loopback)
}
