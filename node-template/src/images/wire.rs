//! The frames of a transfer: a WebSocket of its own to a node's peer port, which never becomes a
//! link.
//!
//! | step | sender | frame |
//! |---|---|---|
//! | 1 | asker | the upgrade request, with [`PROTOCOL`] in `Sec-WebSocket-Protocol` |
//! | 2 | asker | text: FETCH, with name, digest and offset |
//! | 3 | node | binary: the rest of the image, at most [`CHUNK`] bytes a frame |
//! | 4 | node | close with 1000, or with the reason of a failure |
//!
//! Programs on the node's own host may ask without a digest. The node then searches, and first
//! sends a text frame: IMAGE with the size, or FAILED with the reason. Without a name it sends the
//! list, IMAGES.

use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::{Sink, SinkExt};
use meshpool_proto::id::parse_hex32;
use meshpool_proto::limits::CLOSE_REASON_BYTES;
use meshpool_proto::wire::ImageName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

/// The name of the subprotocol.
pub(crate) const PROTOCOL: &str = "p2p-node.image";
/// How many bytes of an image one frame carries at most.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many transfers run at once, on each side.
pub(crate) const TRANSFERS: usize = 4;
/// How long a transfer may wait for its turn at the node that has the image.
pub(crate) const TURN_WITHIN: Duration = Duration::from_secs(10);
/// How long a transfer may take besides its bytes.
const OVERHEAD: Duration = Duration::from_secs(30);
/// The slowest transfer, in bytes per second: a megabit. Otherwise four slow ones could block all
/// others.
const SLOWEST: u64 = 128 * 1024;

/// How long a transfer of so many bytes may take.
pub(crate) fn time_for(bytes: u64) -> Duration {
    OVERHEAD + Duration::from_secs(bytes / SLOWEST)
}

/// FETCH: a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// `None`: the list of images.
    pub(crate) name: Option<ImageName>,
    /// The digest it must have; `None`: any image of this name.
    pub(crate) sha256: Option<[u8; 32]>,
    /// How many bytes the asker has already.
    pub(crate) offset: u64,
}

#[derive(Serialize, Deserialize)]
struct FetchOnWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default)]
    offset: u64,
}

/// IMAGE: an image follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announced {
    /// The image's length in bytes.
    pub(crate) size: u64,
}

/// FAILED: no image follows. For programs on this host: a close frame has little room for the
/// reason.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) reason: String,
}

/// A frame with a type.
#[derive(Serialize, Deserialize)]
struct Typed<T> {
    r#type: String,
    data: T,
}

impl Fetch {
    pub(crate) fn to_text(&self) -> String {
        let name = self.name.as_ref().map(ToString::to_string);
        let sha256 = self.sha256.map(|digest| HEXLOWER.encode(&digest));
        to_text("FETCH", FetchOnWire { name, sha256, offset: self.offset })
    }

    /// Reads a frame; the error is for the other end.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let fetch: FetchOnWire = read("FETCH", text)?;
        let name = fetch.name.map(|name| name.parse::<ImageName>().map_err(|error| error.to_string())).transpose()?;
        let sha256 =
            fetch.sha256.map(|text| parse_hex32(&text).ok_or("sha256 has 64 hexadecimal digits")).transpose()?;
        Ok(Self { name, sha256, offset: fetch.offset })
    }
}

/// Writes a frame.
pub(crate) fn to_text(kind: &str, data: impl Serialize) -> String {
    serde_json::to_string(&Typed { r#type: kind.to_owned(), data })
        .expect("text keys and whole numbers can always be serialised")
}

/// Reads a frame of one type.
pub(crate) fn read<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, String> {
    let frame: Typed<T> = serde_json::from_str(text).map_err(|error| format!("this is no {kind}: {error}"))?;
    if frame.r#type == kind { Ok(frame.data) } else { Err(format!("{kind} was due")) }
}

/// Sends a close frame. Whether it arrives has no effect, so a failure is not reported.
pub(crate) async fn close<S>(socket: &mut S, deadline: Duration, code: u16, reason: &str)
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
    let close = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    let sent = tokio::time::timeout(deadline, socket.send(close)).await;
    tracing::trace!("a transfer ends with {code} {reason:?}: {sent:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        for fetch in [
            Fetch::default(),
            Fetch { name: Some("cat.jpg".parse().unwrap()), ..Fetch::default() },
            Fetch { name: Some("猫".parse().unwrap()), sha256: Some([7; 32]), offset: 9 },
        ] {
            assert_eq!(Fetch::read(&fetch.to_text()), Ok(fetch));
        }
        for text in ["", "{}", r#"{"type":"FIND","data":{}}"#, r#"{"type":"FETCH","data":{"name":"../x"}}"#] {
            assert!(Fetch::read(text).is_err(), "{text}");
        }
    }
}
