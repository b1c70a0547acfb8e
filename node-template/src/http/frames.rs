//! The frames of one link, as its record has them.
//!
//! A request begins to record, or goes on: a viewer asks again and again for what came since. So
//! nothing is sent to a viewer that does not ask, and one that is gone costs nothing soon after.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::events::describe::outcome;
use crate::http::input::{Path, Query};
use crate::http::limits::{WATCHED, WATCHED_FOR};
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::http::view::View;
use crate::protocol::event::NamedAddress;
use crate::protocol::id::LinkId;
use crate::protocol::limits::REPORTED_ADDRESSES;
use crate::transport::frame_record::{Opcode, RecordedFrame, Way};

/// Handles `GET /api/links`.
pub(crate) async fn links(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(Json(json!({ "links": state.hub.view().await?.links })).into_response())
}

#[derive(Debug, Deserialize)]
pub(crate) struct After {
    /// The number of the last frame that the viewer has.
    #[serde(default)]
    after: u64,
}

/// Handles `GET /api/links/{id}/frames`.
pub(crate) async fn frames(
    FromState(state): FromState<Shared>,
    Path(id): Path<u64>,
    Query(After { after }): Query<After>,
) -> Result<Response, Problem> {
    let link = LinkId(id);
    let record = match state.watches.renew(link, Instant::now()) {
        Some(record) => record,
        None => {
            let record = state.node.frames(link).await?.ok_or_else(|| no_such(id))?;
            if !state.watches.begin(link, &record, Instant::now()) {
                let detail = format!(
                    "the frames of {WATCHED} links are being watched; close another view of frames, and try again in {} s",
                    WATCHED_FOR.as_secs()
                );
                return Err(
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(WATCHED_FOR.as_secs() as u32)
                );
            }
            record
        }
    };
    let (extract, view) = (record.after(after), state.hub.view().await?);
    let meaning = Meaning::of(&view, id);
    let frames: Vec<Frame> = extract.frames.into_iter().map(|frame| Frame::new(frame, &meaning)).collect();
    let answer = json!({
        "link": id,
        "frames": frames,
        "last": extract.last,
        "missed": extract.missed,
        "since": extract.since.map(milliseconds),
        "ended": extract.ended,
    });
    Ok(Json(answer).into_response())
}

fn no_such(id: u64) -> Problem {
    let detail = format!(
        "no link {id} is open: it has ended, or never was; its frames are kept while it is open or watched; /api/links lists the open links"
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// A frame as viewers get it.
#[derive(Debug, Serialize)]
struct Frame {
    number: u64,
    /// Milliseconds since 1970.
    time: f64,
    direction: &'static str,
    opcode: &'static str,
    /// The type of the message; `None` if it is none.
    r#type: Option<String>,
    bytes: usize,
    text: String,
    /// Whether `text` is only the beginning.
    cut: bool,
    note: Option<String>,
    /// The first addresses of a HANDSHAKE, and what became of each.
    addresses: Vec<Named>,
    /// How many more there are.
    more: usize,
}

#[derive(Debug, Serialize)]
struct Named {
    address: String,
    /// What was done with it, or what it is: text that follows it.
    text: String,
}

/// What the addresses are that this node names on a link.
struct Meaning {
    own: String,
    dialled: Option<String>,
    /// Those of the present peers, with their links.
    peers: BTreeMap<String, u64>,
}

impl Meaning {
    fn of(view: &View, link: u64) -> Self {
        let dialled = view.links.iter().find(|row| row.id == link).and_then(|row| row.dialled_address.clone());
        let peers = view.links.iter().filter(|row| row.id != link && row.kind != "client");
        let peers = peers.filter_map(|row| Some((row.address.clone()?, row.id))).collect();
        Self { own: view.status.address.clone(), dialled, peers }
    }

    /// Returns what an address is. A HANDSHAKE names this node, what it dialled on the link, and
    /// nodes that it is linked to.
    fn text(&self, address: &str) -> String {
        match self.peers.get(address) {
            _ if address == self.own => "is this node's own address: others dial it there".to_owned(),
            _ if self.dialled.as_deref() == Some(address) => "is what this node dialled for this link".to_owned(),
            Some(link) => format!("is a node that this one is linked to, by link {link}"),
            None => "is a node that this one was linked to at that time".to_owned(),
        }
    }

    /// Returns the addresses of a HANDSHAKE of this node, as its text has them.
    fn of_sent(&self, text: &str) -> (Vec<Named>, usize) {
        let data = text.split_once(r#""data":["#).map_or("", |(_, rest)| rest.split(']').next().unwrap_or_default());
        // A text that is cut off may end within an address.
        let whole = data.split(',').filter_map(|one| one.strip_prefix('"')?.strip_suffix('"'));
        let all: Vec<&str> = whole.collect();
        let named = all
            .iter()
            .take(REPORTED_ADDRESSES)
            .map(|address| Named { address: (*address).to_owned(), text: self.text(address) });
        (named.collect(), all.len().saturating_sub(REPORTED_ADDRESSES))
    }
}

impl Frame {
    fn new(frame: RecordedFrame, meaning: &Meaning) -> Self {
        let RecordedFrame { number, time, way, opcode, kind, bytes, text, note, named } = frame;
        let (addresses, more) = match named {
            Some((named, more)) => (named.iter().map(Named::received).collect(), more),
            None if way == Way::Sent && kind == "HANDSHAKE" => meaning.of_sent(&text),
            None => (Vec::new(), 0),
        };
        Self {
            number,
            time: milliseconds(time),
            direction: match way {
                Way::Sent => "sent",
                Way::Received => "received",
            },
            opcode: match opcode {
                Opcode::Text => "text",
                Opcode::Ping => "ping",
                Opcode::Pong => "pong",
                Opcode::Close => "close",
            },
            r#type: (!kind.is_empty()).then_some(kind),
            cut: opcode == Opcode::Text && text.len() < bytes,
            bytes,
            text,
            note,
            addresses,
            more,
        }
    }
}

impl Named {
    fn received(named: &NamedAddress) -> Self {
        Self { address: named.address.to_string(), text: outcome(&named.outcome) }
    }
}

/// Returns a time as milliseconds with three decimals.
pub(crate) fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_that_this_node_names_is_explained() {
        let own = "ws://localhost:4001".to_owned();
        let meaning = Meaning {
            own,
            dialled: Some("ws://localhost:4002".to_owned()),
            peers: [("ws://localhost:4003".to_owned(), 7)].into(),
        };
        let text = r#"{"type":"HANDSHAKE","data":["ws://localhost:4001","ws://localhost:4002","ws://localhost:4003","ws://localhost:4004"],"node":{"topics":["a"]}}"#;
        let (named, more) = meaning.of_sent(text);
        let texts: Vec<_> = named.iter().map(|named| named.text.as_str()).collect();
        assert_eq!((texts.len(), more), (4, 0));
        for (text, part) in texts.iter().zip(["own address", "dialled for this link", "by link 7", "was linked to"]) {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(meaning.of_sent(&text[..60]).0.len(), 1, "the second is cut off");
        assert_eq!(meaning.of_sent(r#"{"type":"HANDSHAKE","data":[]}"#).0.len(), 0);
    }
}
