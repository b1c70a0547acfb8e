//! Texts as addresses: one normal text for each address, and an error that may be printed for whatever is none.

use meshpool_proto::address::PeerAddress;
use meshpool_proto::limits;

use crate::planted;

/// Reads a text as an address, and what it is written as again.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<PeerAddress>() {
        Ok(address) => {
            let mut normal = address.to_string();
            // The brackets are forgotten where nothing is encrypted.
            if planted::is_due(|| normal.starts_with("ws://[")) {
                normal = normal.replace(['[', ']'], "");
            }
            assert!(text.len() <= limits::ADDRESS_BYTES, "too long a text was read");
            assert_ne!(address.port(), 0);
            assert_eq!(normal.parse(), Ok(address.clone()), "{normal:?} leads back");
            let of_parts = PeerAddress::new(&address.host(), address.port()).expect("its parts make an address");
            assert_eq!(of_parts == address, !address.is_secure());
            assert_eq!(of_parts.scope(), address.scope());
            assert_eq!(of_parts.secured(), address.secured());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?} goes to a terminal"),
    }
}
