//! The frame format of server-sent events (WHATWG HTML, section 9.2).

use bytes::Bytes;

/// A comment, which listeners ignore.
pub(crate) const HEARTBEAT_FRAME: Bytes = Bytes::from_static(b": alive\n\n");

/// Returns a frame of this event type with a value as JSON.
pub(crate) fn frame(kind: &str, value: &impl serde::Serialize) -> Bytes {
    // serde_json writes no line break, which would end the data: it escapes those in strings.
    let data = serde_json::to_string(value).expect("values for listeners have string keys and finite numbers");
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
