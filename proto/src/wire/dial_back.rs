//! DIALBACK: whether the sender could dial the address that the receiver claims.

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::json::Value;
use crate::limits;
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// DIALBACK: the result of an address verification, for the node whose address it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialBack {
    /// The address that was dialled.
    pub address: PeerAddress,
    /// Why it does not lead to the receiver, for people; `None` if it does.
    pub error: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct OnWire {
    address: String,
    reached: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl DialBack {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let data: OnWire = read(frame, "DIALBACK")?;
        let address = data.address.parse().map_err(|error| wrong("DIALBACK", error))?;
        let shown = |text: String| text.chars().take(limits::SHOWN_CHARACTERS).collect();
        let error = (!data.reached).then(|| data.error.map_or_else(|| "no reason was given".to_owned(), shown));
        Ok(Self { address, error })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        let data =
            OnWire { address: self.address.to_string(), reached: self.error.is_none(), error: self.error.clone() };
        to_frame(&Typed { r#type: "DIALBACK", data: &data })
    }
}
