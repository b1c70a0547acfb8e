//! What is said on a transfer: a WebSocket of its own, to a node's peer port, that never becomes a link.
//!
//! The asker names [`PROTOCOL`] in its upgrade request (`Sec-WebSocket-Protocol`), so that the node knows before anything is said. It then sends one text frame,
//! FETCH; the node sends the rest of the image in binary frames of at most [`CHUNK`] bytes, and closes with 1000. What goes wrong is said in the reason of a close.
//! A program on the node's own host may ask without a digest: the node searches for it, and says in a text frame, IMAGE or FAILED, what comes; and without a name: it lists.

use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::{Sink, SinkExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::images::Images;
use crate::protocol::id::parse_hex32;
use crate::protocol::limits::CLOSE_REASON_BYTES;
use crate::protocol::wire::ImageName;

/// The subprotocol's name.
pub(crate) const PROTOCOL: &str = "p2p-node.image";
/// How many bytes of an image one frame carries at most.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many transfers there are at once, on each side.
pub(crate) const TRANSFERS: usize = 4;
/// How many may wait for their turn at the node that has the image, …
pub(crate) const WAITING: usize = 60;
/// … and how long.
pub(crate) const TURN_WITHIN: Duration = Duration::from_secs(10);
/// What a transfer may take besides its bytes.
const BESIDES: Duration = Duration::from_secs(30);
/// How many bytes a second it must bring at least: a megabit. Else four slow ones would keep all others out.
const PACE: u64 = 128 * 1024;

/// How long a transfer of so many bytes may take in all.
pub(crate) fn time_for(bytes: u64) -> Duration {
    BESIDES + Duration::from_secs(bytes / PACE)
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// `None`: which images there are.
    pub(crate) name: Option<ImageName>,
    /// What it must be; `None`: whatever is found under that name.
    pub(crate) sha256: Option<[u8; 32]>,
    /// How many bytes of it the asker has already.
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

/// IMAGE: what follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announced {
    /// The image's length in bytes.
    pub(crate) size: u64,
}

/// FAILED: why nothing follows. To programs on this host, whose people want more words than a close frame has room for.
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

    /// Reads a frame; the error is for the other side.
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
        .expect("text keys and whole numbers, which is all that serialising asks")
}

/// Reads a frame of one type.
pub(crate) fn read<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, String> {
    let frame: Typed<T> = serde_json::from_str(text).map_err(|error| format!("this is no {kind}: {error}"))?;
    if frame.r#type == kind { Ok(frame.data) } else { Err(format!("{kind} was due")) }
}

/// Says goodbye. Whether it still arrives changes nothing, so it is not told.
pub(crate) async fn say_goodbye<S>(socket: &mut S, images: &Images, code: u16, reason: &str)
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
    let farewell = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    let said = tokio::time::timeout(images.limits().write_deadline, socket.send(farewell)).await;
    tracing::trace!("a transfer ends with {code} {reason:?}: {said:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_the_wire() {
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
