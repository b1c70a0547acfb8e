//! CALLBACK: the receiver is to open a connection for requests to the sender.

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::id::Nonce;
use crate::json::Value;
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// CALLBACK: a request waits for a connection. It names no address: the receiver dials the address
/// that it dialled for this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBack {
    /// The nonce that the HELLO of the connection repeats.
    pub nonce: Nonce,
}

#[derive(Serialize, Deserialize)]
struct OnWire {
    nonce: String,
}

impl CallBack {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data: OnWire = read(frame, "CALLBACK")?;
        Ok(Self { nonce: data.nonce.parse().map_err(|error| wrong("CALLBACK", error))? })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(&Typed { r#type: "CALLBACK", data: &OnWire { nonce: self.nonce.to_string() } })
    }
}
