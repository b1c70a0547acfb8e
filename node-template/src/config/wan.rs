//! WAN, RELAY, RELAYS, LOOKUP and LOOKUP_BOOTSTRAP: links over iroh, and what this node does for
//! those of others.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::env_file::last_value;
use crate::config::error::SettingsError;
use crate::config::source::{Sources, Value};
use crate::protocol::address::{InvalidRelayHint, PeerAddress, RelayHint, Scope};

/// Whether this node links over iroh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WanMode {
    /// If the user named an `iroh:` address or a relay, the node is a relay, or nodes are looked
    /// up.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Whether this node is a relay for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RelayMode {
    /// No.
    #[default]
    Off,
    /// For every node that the access rules admit.
    On,
    /// For nodes that are in the network already.
    Members,
}

/// Whether nodes are looked up by their id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LookupMode {
    /// No: relays alone lead to a node.
    #[default]
    Off,
    /// In a mainline DHT (BEP 5 and 44), where this node publishes its relays too. The nodes of the
    /// DHT are run by others.
    Dht {
        /// Nodes of the DHT to begin with, `host:port`; if it is empty, those of the public one.
        bootstrap: Vec<String>,
    },
}

/// The settings of links over iroh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WanSettings {
    /// Whether this node links over iroh.
    pub mode: WanMode,
    /// Whether this node is a relay. A relay that listens on all interfaces needs
    /// [`Network::address`](crate::Network::address), by which others find it.
    pub relay: RelayMode,
    /// The relays that the user named.
    pub relays: Vec<RelayHint>,
    /// Whether nodes are looked up by their id.
    pub lookup: LookupMode,
}

impl WanSettings {
    /// Returns whether this node links over iroh from the start, given the addresses that the user
    /// named.
    pub(crate) fn is_on<'a>(&self, mut known: impl Iterator<Item = &'a PeerAddress>) -> bool {
        match self.mode {
            WanMode::Off => false,
            WanMode::On => true,
            WanMode::Auto => {
                self.relay != RelayMode::Off
                    || !self.relays.is_empty()
                    || self.lookup != LookupMode::Off
                    || known.any(|address| address.node().is_some())
            }
        }
    }
}

impl WanSettings {
    /// Checks the settings of a program, as those of a file are. Returns the setting that cannot be
    /// used, its value, and why. `closed`: the node is in a closed network. `has_address`: others
    /// are given an address that somebody chose.
    pub(crate) fn fault(&self, closed: bool, has_address: bool) -> Option<(&'static str, String, &'static str)> {
        if self.relay != RelayMode::Off {
            let fault = (!has_address).then_some(NO_ADDRESS).or_else(|| relay_fault(closed, self.mode));
            if let Some(fault) = fault {
                return Some(("RELAY", format!("{:?}", self.relay).to_ascii_lowercase(), fault));
            }
        }
        if self.relays.iter().collect::<BTreeSet<_>>().len() > RELAYS {
            return Some(("RELAYS", format!("{} relays", self.relays.len()), MANY_RELAYS));
        }
        let LookupMode::Dht { bootstrap } = &self.lookup else { return None };
        let wrong = bootstrap.iter().find(|name| name.parse::<RelayHint>().is_err())?;
        Some(("LOOKUP_BOOTSTRAP", format!("{wrong:?}"), "a node of the DHT is host:port"))
    }

    /// Returns the name of each setting, and whether others have another value of it.
    pub(crate) fn differences(&self, other: &Self) -> [(&'static str, bool); 5] {
        let (looks_up, bootstrap) = match (&self.lookup, &other.lookup) {
            (LookupMode::Dht { bootstrap: one }, LookupMode::Dht { bootstrap: other }) => (false, one != other),
            (one, other) => (one != other, false),
        };
        [
            ("WAN", self.mode != other.mode),
            ("RELAY", self.relay != other.relay),
            ("RELAYS", self.relays != other.relays),
            ("LOOKUP", looks_up),
            ("LOOKUP_BOOTSTRAP", bootstrap),
        ]
    }

    /// Returns a warning of the addresses that this node does not dial: WAN is off, or the program
    /// was built without it.
    pub(crate) fn ignored<'a>(&self, named: impl Iterator<Item = &'a PeerAddress>) -> Option<String> {
        let mut by_id = named.filter(|address| address.node().is_some());
        let first = by_id.next().filter(|_| self.mode == WanMode::Off || cfg!(not(feature = "wan")))?;
        let more = by_id.count();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(match cfg!(feature = "wan") {
            true => format!(
                "{first}{more}: WAN is off, so iroh: addresses are not dialled; remove WAN=off, and start the node again"
            ),
            false => format!(
                "{first}{more}: this program was built without the feature \"wan\", so iroh: addresses are not dialled; build it with that feature"
            ),
        })
    }
}

/// Returns what [`WanSettings::ignored`] says of an address, for a folder whose other settings may
/// be missing or invalid yet. `environment` looks up a variable.
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "for the command line"))]
pub(crate) fn not_dialled(
    folder: &Path,
    address: &PeerAddress,
    environment: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let text = environment("WAN").or_else(|| last_value(folder, "WAN"));
    let is_off = text.is_some_and(|text| text.trim().eq_ignore_ascii_case("off"));
    let mode = if is_off { WanMode::Off } else { WanMode::Auto };
    WanSettings { mode, ..WanSettings::default() }.ignored(std::iter::once(address))
}

/// Returns the settings, and whether this node is a relay only if it can be (RELAY=auto).
pub(crate) fn wan(
    sources: &mut Sources<'_>,
    own: Option<&PeerAddress>,
    closed: bool,
) -> Result<(WanSettings, bool), SettingsError> {
    let choices = [("auto", WanMode::Auto), ("on", WanMode::On), ("off", WanMode::Off)];
    let expected = "links over iroh are on, off, or auto: on if an iroh: address or a relay is named";
    let mode = sources.choice("WAN", None, &choices, expected)?.unwrap_or_default();
    let relays = relays(sources)?;
    if mode == WanMode::Off && !relays.is_empty() {
        sources.warn("RELAYS has no effect, since WAN is off; remove WAN=off".to_owned());
    }
    let lookup = lookup(sources, mode)?;
    let settings = WanSettings { mode, relay: RelayMode::Off, relays, lookup };
    let Some(value) = sources.filled("RELAY", None)? else { return Ok((settings, false)) };
    let relay = match value.text.to_ascii_lowercase().as_str() {
        "off" => RelayMode::Off,
        "on" => RelayMode::On,
        "members" => RelayMode::Members,
        "auto" => {
            let serves = mode != WanMode::Off && !closed && own.is_some_and(is_public);
            let relay = if serves { RelayMode::On } else { RelayMode::Off };
            return Ok((WanSettings { relay, ..settings }, true));
        }
        _ => {
            return Err(value.bad(
                "a node is a relay for all that its access rules admit (on), the same if its ADDRESS is public (auto), for nodes in its network (members), or for none (off)",
            ));
        }
    };
    if relay != RelayMode::Off {
        check_relay(&value, own, closed, mode)?;
        if let Some(own) = own.filter(|own| own.scope() != Scope::Public) {
            let users =
                if own.scope() == Scope::Loopback { "nodes of this machine" } else { "nodes of this local network" };
            sources.warn(format!(
                "RELAY is {}, but ADDRESS {own} is not public, so only {users} can use the relay; set ADDRESS to a public one if others are to use it ({})",
                value.text, value.origin
            ));
        }
    }
    Ok((WanSettings { relay, ..settings }, false))
}

/// Returns whether an address may be one on the internet. Names that resolvers of a local network
/// alone know are not: those of multicast DNS (RFC 6762), of homes (RFC 8375), of private use, and
/// those without a dot.
fn is_public(address: &PeerAddress) -> bool {
    const LOCAL: [&str; 6] = [".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain"];
    let host = address.host().to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let is_local = !host.contains('.') || LOCAL.iter().any(|ending| host.ends_with(ending));
    address.scope() == Scope::Public && !(address.is_name() && is_local)
}

/// A relay is found by the node's own address.
fn check_relay(value: &Value, own: Option<&PeerAddress>, closed: bool, mode: WanMode) -> Result<(), SettingsError> {
    if own.is_none() {
        return Err(value.bad(NO_ADDRESS));
    }
    match relay_fault(closed, mode) {
        Some(fault) => Err(value.bad(fault)),
        None => Ok(()),
    }
}

const NO_ADDRESS: &str = "a relay needs an address that others can dial; set HOST=0.0.0.0 and ADDRESS, such as ADDRESS=ws://203.0.113.7:4001, and open TCP and UDP of that port";

/// Returns why a node cannot be a relay; `None` if it can. `closed`: it is in a closed network.
fn relay_fault(closed: bool, mode: WanMode) -> Option<&'static str> {
    if closed {
        return Some(
            "a node of a closed network is no relay; run a node of an open network beside it, with RELAY=on and HOST=0.0.0.0, and name that one in RELAYS",
        );
    }
    (mode == WanMode::Off).then_some("WAN is off, and a relay is for links over iroh; leave WAN out")
}

fn relays(sources: &mut Sources<'_>) -> Result<Vec<RelayHint>, SettingsError> {
    let Some(value) = sources.filled("RELAYS", None)? else { return Ok(Vec::new()) };
    let relays = hosts(&value, "a relay")?;
    if relays.len() > RELAYS {
        return Err(value.bad(MANY_RELAYS));
    }
    Ok(relays)
}

/// Reads hosts with their ports, which all are `what`, each once.
fn hosts(value: &Value, what: &str) -> Result<Vec<RelayHint>, SettingsError> {
    let texts = value.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let one = |text: &str| {
        text.parse().map_err(|error: InvalidRelayHint| {
            let one = Value { text: text.to_owned(), ..value.clone() };
            one.bad(&format!("{}; {what} is host:port, several are separated by commas", error.reason()))
        })
    };
    let mut hosts = Vec::new();
    for text in texts {
        let host = one(text)?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match hosts.is_empty() {
        true => Err(value.bad(&format!("it names none; {what} is host:port, several are separated by commas"))),
        false => Ok(hosts),
    }
}

fn lookup(sources: &mut Sources<'_>, mode: WanMode) -> Result<LookupMode, SettingsError> {
    let expected = "nodes are looked up by their id in a mainline DHT (dht), or not at all (off)";
    let is_on = sources.choice("LOOKUP", None, &[("off", false), ("dht", true)], expected)?.unwrap_or_default();
    let bootstrap = sources.filled("LOOKUP_BOOTSTRAP", None)?;
    if !is_on {
        if let Some(value) = bootstrap {
            sources.warn(format!("LOOKUP_BOOTSTRAP has no effect without LOOKUP=dht ({})", value.origin));
        }
        return Ok(LookupMode::Off);
    }
    if mode == WanMode::Off {
        sources.warn("LOOKUP=dht has no effect, since WAN is off; remove WAN=off".to_owned());
    }
    let Some(value) = bootstrap else { return Ok(LookupMode::Dht { bootstrap: Vec::new() }) };
    let names = hosts(&value, "a node of the DHT")?;
    Ok(LookupMode::Dht { bootstrap: names.iter().map(ToString::to_string).collect() })
}

/// As many as a node keeps.
const RELAYS: usize = 3;
const MANY_RELAYS: &str = "three relays are used at most; name those that are most different";
