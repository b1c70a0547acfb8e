//! HOST, ADDRESS and PEERS.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::error::SettingsError;
use crate::config::flags::{Flags, flag};
use crate::config::source::{Sources, Value};
use crate::events::text::unquoted;
use crate::folder::known_peers;
use crate::protocol::address::{InvalidAddress, PeerAddress, Scope};
use crate::protocol::{InvalidRange, IpPrefix};

/// What a host to listen on may be.
const HOST: &str = "a host is a name or an IP address to listen on, such as localhost or 0.0.0.0";

/// Reads HOST and its source; `None` if it is not set.
pub(crate) fn host(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<(String, String)>, SettingsError> {
    let Some(value) = sources.filled("HOST", flag("--host", &flags.host))? else { return Ok(None) };
    Ok(Some((parse_host(&value)?.host(), value.origin.to_string())))
}

pub(crate) fn address(
    sources: &mut Sources<'_>,
    flags: &Flags,
    secure: bool,
) -> Result<Option<PeerAddress>, SettingsError> {
    let Some(value) = sources.filled("ADDRESS", flag("--address", &flags.address))? else { return Ok(None) };
    let address = parse_address(&value.text, secure)
        .map_err(|error| value.bad(&format!("{}; an address is ws://host:port", error.reason())))?;
    match own_address_fault(&address, secure) {
        Some(fault) => Err(value.bad(fault)),
        None => Ok(Some(address)),
    }
}

/// Returns why an address cannot be the one that others dial; `None` if it can. `secure`: of a node
/// in a closed network.
pub(crate) fn own_address_fault(address: &PeerAddress, secure: bool) -> Option<&'static str> {
    let faults = [
        (
            address.node().is_some(),
            "the iroh: address of a node follows from its key; leave ADDRESS out, or set what others dial, such as ws://203.0.113.7:4001",
        ),
        (
            address.is_secure() && !secure,
            "wss:// is the address of a closed network, and this node is in an open one, so nobody could dial it; write ws://, or set NETWORK_CA",
        ),
        (
            is_unspecified(&address.host()),
            "no node can dial that host; set a name or IP address by which others reach this machine",
        ),
        (
            is_group(&address.host()),
            "that is a multicast or broadcast address, which nobody can dial; set a name or IP address of this machine",
        ),
        (
            is_link_local(&address.host()),
            "a link-local address needs a zone, which differs from machine to machine, so nobody could dial it; set an address that needs none, such as fd00::7",
        ),
        (
            address.scope() == Scope::Interface,
            "its zone (behind the %) means an interface of this machine alone; set an address without one, such as fd00::7",
        ),
    ];
    faults.into_iter().find_map(|(is_faulty, fault)| is_faulty.then_some(fault))
}

pub(crate) fn peers(sources: &mut Sources<'_>, flags: &Flags, secure: bool) -> Result<Vec<PeerAddress>, SettingsError> {
    let given = Some(flags.peers.join(",")).filter(|given| !given.is_empty());
    let Some(value) = sources.filled("PEERS", flag("--peers", &given))? else { return Ok(Vec::new()) };
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
pub(crate) fn peer_texts(list: &str) -> Vec<String> {
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

/// Parses `ws://host:port`, `wss://host:port` or `host:port`, whose scheme `secure` chooses. What
/// people and chats put around an address is removed.
///
/// # Errors
/// [`InvalidAddress`] of the text as it was written.
pub(crate) fn parse_address(text: &str, secure: bool) -> Result<PeerAddress, InvalidAddress> {
    let plain = unquoted(text);
    let parsed = match plain.contains("://") || is_by_id(plain) {
        true => known_peers::parse(plain),
        false if secure => format!("wss://{plain}").parse(),
        false => format!("ws://{plain}").parse(),
    };
    parsed.map_err(|error: InvalidAddress| error.of(text))
}

/// Whether a text is the address of a node by its id, or was meant to be.
fn is_by_id(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("iroh:"))
}

/// Whether a host is the address of several machines, to which no connection can be opened.
fn is_group(host: &str) -> bool {
    matches!(host.parse::<IpPrefix>(), Err(InvalidRange::Group))
}

fn is_link_local(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unicast_link_local())
}

pub(crate) fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_what_people_and_chats_put_around_it() {
        let id = "a7".repeat(32);
        for text in ["  localhost:1", "“localhost:1”", "\u{200b}ws://localhost:1\u{2060}", "'ws://localhost:1/'"] {
            assert_eq!(parse_address(text, false).expect(text).to_string(), "ws://localhost:1");
        }
        for text in [format!(" iroh:{id}"), format!("“iroh:{id}”"), format!("\u{feff}iroh:{id}\u{ad}")] {
            assert_eq!(parse_address(&text, false).expect(&text).to_string(), format!("iroh:{id}"));
        }
    }

    #[test]
    fn an_error_shows_what_was_written() {
        for text in ["x iroh:a", " localhost", "“iroh:a”", "(ws://a:1)"] {
            let error = parse_address(text, true).expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is no peer address: ")), "{error}");
        }
        let invite = format!("iroh:{}@a:1#net", "a7".repeat(32));
        let error = parse_address(&format!(" {invite}"), false).expect_err("an invite");
        assert!(error.reason().contains("'meshpool join'"), "{error}");
        let error = parse_address("a:1#net", false).expect_err("an invite");
        assert!(error.reason().contains("'meshpool join'"), "{error}");
    }
}
