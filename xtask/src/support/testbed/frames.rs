//! What a client of a WebSocket sends, as bytes: the upgrade request, and frames of any form.

use std::net::Ipv4Addr;

use crate::support::testbed::node::PORT;

/// Returns the request for the upgrade.
pub(crate) fn request(to: Ipv4Addr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {to}:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// Makes a text frame of a client. The mask is zero, so the payload is unchanged.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// Makes a frame with any first byte, valid or not.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
