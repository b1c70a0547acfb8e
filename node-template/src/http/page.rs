//! The page's files, which are embedded in the binary.

use axum::Extension;
use axum::extract::State as FromState;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::http::input::Path;
use crate::http::problem::Problem;
use crate::http::serve::Sender;
use crate::http::state::Shared;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Name, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("page/index.html")),
    ("style.css", CSS, include_str!("page/style.css")),
    ("main.js", JS, include_str!("page/main.js")),
    ("live.js", JS, include_str!("page/live.js")),
    ("stream.js", JS, include_str!("page/stream.js")),
    ("shared.js", JS, include_str!("page/shared.js")),
    ("request.js", JS, include_str!("page/request.js")),
    ("graph.js", JS, include_str!("page/graph.js")),
    ("labels.js", JS, include_str!("page/labels.js")),
    ("describe.js", JS, include_str!("page/describe.js")),
    ("layout.js", JS, include_str!("page/layout.js")),
    ("images.js", JS, include_str!("page/images.js")),
    ("pool.js", JS, include_str!("page/pool.js")),
    ("copy.js", JS, include_str!("page/copy.js")),
    ("invite.js", JS, include_str!("page/invite.js")),
    ("forms.js", JS, include_str!("page/forms.js")),
    ("tables.js", JS, include_str!("page/tables.js")),
    ("counters.js", JS, include_str!("page/counters.js")),
    ("feed.js", JS, include_str!("page/feed.js")),
    ("link.js", JS, include_str!("page/link.js")),
    ("fields.js", JS, include_str!("page/fields.js")),
    ("json.js", JS, include_str!("page/json.js")),
    ("timeline.js", JS, include_str!("page/timeline.js")),
    ("way.js", JS, include_str!("page/way.js")),
    ("topics.js", JS, include_str!("page/topics.js")),
    ("dom.js", JS, include_str!("page/dom.js")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

pub(crate) async fn index(
    FromState(state): FromState<Shared>,
    sender: Option<Extension<Sender>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if sender.is_some_and(|Extension(sender)| sender.lacks_slash) {
        return Ok(Redirect::permanent(&format!("{}/", state.path)).into_response());
    }
    serve("index.html", &headers)
}

pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(file, ..)| *file == name);
    let (_, kind, content) =
        file.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such page; open /"))?;
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(content)[..8]));
    let cached = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if cached { StatusCode::NOT_MODIFIED.into_response() } else { (*content).into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes"));
    Ok(response)
}
