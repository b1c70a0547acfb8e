//! What all messages share: how data and siblings are read, and how frames are written.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::frame::Frame;
use crate::json::{JsonError, Kind, Value};
use crate::limits;

/// Why a frame is no message. It is the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON, or nested too deeply.
    #[error("not readable as JSON: {0}")]
    Json(#[from] JsonError),
    /// It is not an object with a `type`.
    #[error("not an object with a \"type\" text")]
    Shape,
    /// Its data does not have the form of its type.
    #[error("{kind}: {reason}")]
    Data {
        /// The type.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

pub(super) fn wrong(kind: &'static str, reason: impl ToString) -> Malformed {
    Malformed::Data { kind, reason: reason.to_string() }
}

/// Reads `data` as serde describes it.
pub(super) fn read<'a, T: Deserialize<'a>>(frame: Value<'a>, kind: &'static str) -> Result<T, Malformed> {
    let data = frame.get("data").ok_or_else(|| wrong(kind, "no data"))?;
    serde_json::from_str(data.raw()).map_err(|error| wrong(kind, error))
}

#[derive(Serialize)]
pub(super) struct Typed<'a, T> {
    pub(super) r#type: &'static str,
    pub(super) data: &'a T,
}

/// The data of a frame.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Data<'a, T> {
    /// The JSON that was signed, with members that this version may not know.
    Sealed(&'a RawValue),
    Open(T),
}

pub(super) fn to_frame(message: &impl Serialize) -> Frame {
    Frame::from(
        serde_json::to_string(message)
            .expect("our messages have text keys and finite numbers, so they can be serialised"),
    )
}

/// Reads `data` as a list of at most `most` names; the rest is ignored. One invalid name makes the
/// frame malformed.
pub(super) fn read_list<T: std::str::FromStr<Err: std::fmt::Display>>(
    frame: Value<'_>,
    kind: &'static str,
    most: usize,
) -> Result<Vec<T>, Malformed> {
    let data = frame
        .get("data")
        .filter(|data| data.kind() == Kind::Array)
        .ok_or_else(|| wrong(kind, "data is not an array"))?;
    let names = data.elements().take(most).map(|name| {
        let text = name.as_str().ok_or_else(|| wrong(kind, "an entry is not a text"))?;
        text.parse().map_err(|error| wrong(kind, error))
    });
    names.collect()
}

pub(super) fn list_frame(kind: &'static str, names: &[impl ToString]) -> Frame {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    to_frame(&Typed { r#type: kind, data: &names })
}

/// Returns the sibling `age`, at most [`limits::OLDEST`]; zero if it is missing or no such number.
pub(super) fn age_of(frame: Value<'_>) -> Duration {
    let age = frame.get("age").and_then(Value::as_f64).unwrap_or_default();
    Duration::try_from_secs_f64(age).unwrap_or_default().min(limits::OLDEST)
}
