//! What an `iroh:` address holds: a node id, and hints where the node is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::relay_hint::RelayHint;
use super::shown::shown;
use crate::id::{NodeId, parse_hex32};
use crate::limits;

/// The scheme of the address of a node id, with its colon.
pub(super) const SCHEME: &str = "iroh:";

/// A node id with hints where the node is. Two are equal if their ids are: hints change while the
/// node stays the same, and anybody may name others.
#[derive(Clone)]
pub(super) struct NodePlace {
    pub(super) id: NodeId,
    /// At most [`limits::RELAY_HINTS`], each once.
    pub(super) relays: Vec<RelayHint>,
}

impl NodePlace {
    /// Takes the first hints that fit: at most [`limits::RELAY_HINTS`], each once, and no more than
    /// an address may have bytes.
    pub(super) fn new(id: NodeId, hints: impl IntoIterator<Item = RelayHint>) -> Self {
        let mut relays: Vec<RelayHint> = Vec::new();
        // With the colon of the scheme and 64 digits. Each hint has one byte before it.
        let mut bytes = SCHEME.len() + 64;
        for hint in hints {
            let length = 1 + hint.to_string().len();
            if relays.contains(&hint) || bytes + length > limits::ADDRESS_BYTES {
                continue;
            }
            bytes += length;
            relays.push(hint);
            if relays.len() == limits::RELAY_HINTS {
                break;
            }
        }
        Self { id, relays }
    }

    /// Parses what follows the scheme.
    pub(super) fn parse(rest: &str) -> Result<Self, Cow<'static, str>> {
        if rest.starts_with("//") {
            return Err("a node id follows iroh: without //".into());
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err("it has more than a node id and relays".into());
        }
        let (id, relays) = rest.split_once('@').map_or((rest, None), |(id, relays)| (id, Some(relays)));
        let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = match parse_hex32(id) {
            Some(id) => NodeId(id),
            None if hexadecimal => return Err(format!("its node id has {} digits, not 64", id.len()).into()),
            None => return Err("its node id is not hexadecimal".into()),
        };
        let Some(relays) = relays else { return Ok(Self { id, relays: Vec::new() }) };
        if relays.is_empty() {
            return Err("no relay follows the @".into());
        }
        if relays.split(',').count() > limits::RELAY_HINTS {
            return Err("it names more than 3 relays".into());
        }
        let relay = |text| RelayHint::parse(text).map_err(|reason| format!("of its relay {:?}: {reason}", shown(text)));
        let relays = relays.split(',').map(relay).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(id, relays))
    }
}

impl PartialEq for NodePlace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for NodePlace {}

impl PartialOrd for NodePlace {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodePlace {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl Hash for NodePlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.id)?;
        for (number, relay) in self.relays.iter().enumerate() {
            write!(f, "{}{relay}", if number == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}
