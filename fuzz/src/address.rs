//! Texts as addresses: each address has one normal text, and an error may be printed.

use meshpool_proto::address::PeerAddress;
use meshpool_proto::limits;

use crate::planted;

/// Parses a text as an address, writes it and parses that.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<PeerAddress>() {
        Ok(address) => {
            let mut normal = address.to_string();
            // Planted: ws addresses lose the brackets of their host.
            if planted::is_due(|| normal.starts_with("ws://[")) {
                normal = normal.replace(['[', ']'], "");
            }
            assert!(text.len() <= limits::ADDRESS_BYTES, "too long a text was parsed");
            assert_eq!(normal.parse(), Ok(address.clone()), "{normal:?} leads back");
            if let Some(node) = address.node() {
                let of_parts = PeerAddress::of_node(node, address.relays().iter().cloned());
                assert_eq!(of_parts.to_string(), address.to_string(), "its parts make the address, hints included");
                return;
            }
            assert_ne!(address.port(), 0);
            let of_parts = PeerAddress::new(&address.host(), address.port()).expect("its parts make an address");
            assert_eq!(of_parts == address, !address.is_secure());
            assert_eq!(of_parts.scope(), address.scope());
            assert_eq!(of_parts.secured(), address.secured());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?} has control characters"),
    }
}
