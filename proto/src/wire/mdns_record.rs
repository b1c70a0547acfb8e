//! What a node announces on the local network: a DNS-SD record (RFC 6763), its name and TXT
//! strings.
//!
//! Any device on the network can send a record. Nothing in it is believed before the node at its
//! address was dialled and has shown its identity. `peers/lan_discovery.rs` uses records, the
//! runtime sends and receives them.

use crate::address::PeerAddress;
use crate::id::{NodeId, Session};
use crate::wire::handshake::PROTOCOL;

/// What a node announces: its identity, where it can be dialled, and how many slots are free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The node's id.
    pub node: NodeId,
    /// Its session: one run of its process.
    pub session: Session,
    /// The name of its network.
    pub network: String,
    /// Where it can be dialled, by its own account.
    pub address: PeerAddress,
    /// The number of its free slots; `None`: it links to all.
    pub free: Option<u32>,
}

/// A record that cannot be read: the part that is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its {0} is missing or cannot be read")]
pub struct InvalidRecord(pub &'static str);

impl Record {
    /// The service type and the domain: multicast DNS is for `local` alone (RFC 6762, section 3).
    pub const SERVICE: &'static str = "_p2p-node._tcp.local.";

    /// Returns the instance's name: 45 of the 63 bytes of a label. It begins with the node's id,
    /// for people, and has the session, because two nodes that run from copies of one folder have
    /// one id.
    pub fn name(&self) -> String {
        format!("{}-{}", self.node.short(), self.session)
    }

    /// Returns the session in an instance's name, with or without the service type.
    pub fn session_in(name: &str) -> Option<Session> {
        let name = name.split('.').next()?;
        name.split_once('-')?.1.parse().ok()
    }

    /// Returns the TXT strings, each a key and its value.
    pub fn strings(&self) -> Vec<(&'static str, String)> {
        let mut strings = vec![
            ("protocol", PROTOCOL.to_string()),
            ("id", self.node.to_string()),
            ("network", self.network.clone()),
            ("address", self.address.to_string()),
        ];
        strings.extend(self.free.map(|free| ("free", free.to_string())));
        strings
    }

    /// Reads a record from its instance's name and its TXT strings, which `value` looks up by key.
    /// Unknown keys are ignored: later versions may have them.
    ///
    /// # Errors
    /// [`InvalidRecord`] names the first part that is missing or wrong.
    pub fn read<'a>(name: &str, value: impl Fn(&str) -> Option<&'a str>) -> Result<Self, InvalidRecord> {
        let session = Self::session_in(name).ok_or(InvalidRecord("name"))?;
        let protocol: Option<u32> = value("protocol").and_then(|text| text.parse().ok());
        protocol.filter(|version| *version > 0).ok_or(InvalidRecord("protocol"))?;
        let node = value("id").and_then(|text| text.parse().ok()).ok_or(InvalidRecord("id"))?;
        let network = value("network").ok_or(InvalidRecord("network"))?.to_owned();
        let address = value("address").and_then(|text| text.parse().ok()).ok_or(InvalidRecord("address"))?;
        let free = match value("free") {
            Some(text) => Some(text.parse().map_err(|_| InvalidRecord("free"))?),
            None => None,
        };
        Ok(Self { node, session, network, address, free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            node: NodeId([7; 32]),
            session: Session::from_random([3; 16]),
            network: "a network = of ours".into(),
            address: "ws://10.0.0.7:4001".parse().expect("an address"),
            free: Some(3),
        }
    }

    fn read(name: &str, strings: &[(&str, String)]) -> Result<Record, InvalidRecord> {
        Record::read(name, |key| strings.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str()))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in [record(), Record { free: None, ..record() }] {
            assert_eq!(read(&record.name(), &record.strings()), Ok(record.clone()));
            let full = format!("{}.{}", record.name(), Record::SERVICE);
            assert_eq!(Record::session_in(&full), Some(record.session));
            assert!(record.name().len() <= 63, "one label");
        }
    }

    #[test]
    fn an_invalid_record_names_the_part_that_is_wrong() {
        let (good, name) = (record(), record().name());
        for part in ["protocol", "id", "network", "address"] {
            let strings: Vec<_> = good.strings().into_iter().filter(|(key, _)| *key != part).collect();
            assert_eq!(read(&name, &strings), Err(InvalidRecord(part)));
        }
        for (part, value) in
            [("protocol", "0"), ("protocol", "x"), ("id", "07"), ("address", "ws://x"), ("free", "-1"), ("free", "all")]
        {
            let mut strings: Vec<_> = good.strings().into_iter().filter(|(key, _)| *key != part).collect();
            strings.push((part, value.to_owned()));
            assert_eq!(read(&name, &strings), Err(InvalidRecord(part)), "{value}");
        }
        for name in ["", "-", "a-b", "07070707", "07070707-x._p2p-node._tcp.local."] {
            assert_eq!(read(name, &good.strings()), Err(InvalidRecord("name")), "{name}");
        }
    }
}
