//! HOST, ADDRESS and PEERS.

use std::net::IpAddr;

use crate::config::error::SettingsError;
use crate::config::flags::{Flags, flag};
use crate::config::source::{Sources, Value};
use crate::folder::known_peers;
use crate::protocol::address::{InvalidAddress, PeerAddress, Scope};

/// What a host to listen on may be.
const HOST: &str = "a host is a name or an IP address to listen on, such as localhost or 0.0.0.0";

/// Reads HOST and its source; `None` if it is not set.
pub(crate) fn host(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<(String, String)>, SettingsError> {
    let Some(value) = sources.filled("HOST", flag("--host", &flags.host)) else { return Ok(None) };
    Ok(Some((parse_host(&value)?.host(), value.origin.to_string())))
}

pub(crate) fn address(
    sources: &mut Sources<'_>,
    flags: &Flags,
    secure: bool,
) -> Result<Option<PeerAddress>, SettingsError> {
    let Some(value) = sources.filled("ADDRESS", flag("--address", &flags.address)) else { return Ok(None) };
    let address = parse_address(&value.text, secure)
        .map_err(|error| value.bad(&format!("{}; an address is ws://host:port", error.reason())))?;
    if address.node().is_some() {
        return Err(value.bad(
            "the iroh: address of a node follows from its key; leave ADDRESS out, or set what others dial, such as ws://203.0.113.7:4001",
        ));
    }
    if address.is_secure() && !secure {
        return Err(value.bad(
            "wss:// is the address of a closed network, and this node is in an open one, so nobody could dial it; write ws://, or set NETWORK_CA",
        ));
    }
    if is_unspecified(&address.host()) {
        return Err(
            value.bad("no node can dial that host; set a name or IP address by which others reach this machine")
        );
    }
    if address.scope() == Scope::Interface {
        return Err(value.bad(
            "its zone (behind the %) means an interface of this machine alone; set an address without one, such as fd00::7",
        ));
    }
    Ok(Some(address))
}

pub(crate) fn peers(sources: &mut Sources<'_>, flags: &Flags, secure: bool) -> Result<Vec<PeerAddress>, SettingsError> {
    let given = Some(flags.peers.join(",")).filter(|given| !given.is_empty());
    let Some(value) = sources.filled("PEERS", flag("--peers", &given)) else { return Ok(Vec::new()) };
    peer_texts(&value.text)
        .iter()
        .map(|text| {
            parse_address(text, secure).map_err(|error| {
                let one = Value { text: text.to_owned(), ..value.clone() };
                one.bad(&format!(
                    "{}; a peer is ws://host:port or host:port, several are separated by commas",
                    error.reason()
                ))
            })
        })
        .collect()
}

/// Splits a list at its commas. What follows an `iroh:` address with a relay and has no scheme is
/// another relay of that address.
fn peer_texts(list: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match texts.last_mut() {
            Some(last) if is_by_id(last) && last.contains('@') && !text.contains("://") && !is_by_id(text) => {
                last.push(',');
                last.push_str(text);
            }
            _ => texts.push(text.to_owned()),
        }
    }
    texts
}

/// Returns a warning of the addresses that a node in an open network cannot dial.
pub(crate) fn undialable<'a>(addresses: impl Iterator<Item = &'a PeerAddress>) -> Option<String> {
    let secure: Vec<_> = addresses.filter(|address| address.is_secure()).map(ToString::to_string).collect();
    let all = secure.first()?;
    let more = if secure.len() > 1 { format!(" and {} more", secure.len() - 1) } else { String::new() };
    Some(format!(
        "{all}{more}: wss:// is the address of a node in a closed network, which this node is not in, so it cannot be dialled; write ws://, or set NETWORK_CA"
    ))
}

/// Parses a host to listen on, by the rules of peer addresses; the port is a dummy.
pub(crate) fn parse_host(value: &Value) -> Result<PeerAddress, SettingsError> {
    PeerAddress::new(&value.text, 1).map_err(|_| value.bad(HOST))
}

/// Parses `ws://host:port`, `wss://host:port` or `host:port`, whose scheme `secure` chooses.
pub(crate) fn parse_address(text: &str, secure: bool) -> Result<PeerAddress, InvalidAddress> {
    match text.contains("://") || is_by_id(text) {
        true => known_peers::parse(text),
        false if secure => format!("wss://{text}").parse(),
        false => format!("ws://{text}").parse(),
    }
}

/// Whether a text is the address of a node by its id, or was meant to be.
fn is_by_id(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("iroh:"))
}

pub(crate) fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
}
