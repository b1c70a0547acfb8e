//! Images over HTTP: `GET /images/{name}`, whole or in part, and the list of them.
//!
//! What is shown may be a stranger's: a browser is told to take it for nothing but a picture, and to run nothing that is in it.

use std::io;
use std::ops::Range;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as FromState};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};

use crate::http::api::Shared;
use crate::http::problem::Problem;
use crate::images::{Image, ImageError, ImageSource};
use crate::protocol::wire::ImageName;

/// How much of an image is read at once, in bytes: so much memory each request takes.
const BLOCK: usize = 128 * 1024;
/// A picture may bring its own style, as an SVG does; opened by itself it runs nothing and reaches nothing.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";
/// What a browser shows, by the ends of names.
const KINDS: [(&str, &str); 10] = [
    ("apng", "image/apng"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("gif", "image/gif"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
];

/// `GET /api/images`
pub(crate) async fn list(FromState(state): FromState<Shared>) -> Response {
    Json(&*state.node.images().await).into_response()
}

/// `GET /images/{name}`
pub(crate) async fn one(
    FromState(state): FromState<Shared>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let bad = |reason: String| Problem::new(StatusCode::BAD_REQUEST, reason);
    let Path(name) = name.map_err(|_| bad("an image's name is UTF-8".into()))?;
    let name: ImageName = name.parse().map_err(|error| bad(format!("{error}")))?;
    let image = state.node.image(&name).await?;
    Ok(answer(image, &headers))
}

fn answer(image: Image, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", image.tag);
    let mut response = match known(asked, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => match part(asked, &tag, image.size) {
            Part::Whole => of(&image, 0..image.size),
            Part::Bytes(range) => {
                let told = format!("bytes {}-{}/{}", range.start, range.end - 1, image.size);
                let mut response = of(&image, range);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                response.headers_mut().insert(header::CONTENT_RANGE, text(&told));
                response
            }
            Part::Nowhere => {
                let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {} bytes", image.size));
                let mut response = problem.into_response();
                response.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{}", image.size)));
                return response;
            }
        },
    };
    // What is here can be asked about again at no cost; what others have would be fetched again.
    let cache = if image.source == ImageSource::Local { "private, no-cache" } else { "private, max-age=60" };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, text(&tag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    response
}

/// A part of an image, and what it is.
fn of(image: &Image, range: Range<u64>) -> Response {
    let length = range.end - range.start;
    let mut response = Body::from_stream(bytes(image.clone(), range)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let end = image.name.as_str().rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    let kind = KINDS.iter().find(|(known, _)| *known == end).map(|(_, kind)| *kind);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.unwrap_or("application/octet-stream")));
    if kind.is_none() {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    response
}

fn bytes(image: Image, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    try_unfold((image, range), |(image, range)| async move {
        let most = BLOCK.min(usize::try_from(range.end - range.start).unwrap_or(BLOCK));
        if most == 0 {
            return Ok(None);
        }
        let bytes = image.read(range.start, most).await?;
        let rest = range.start + bytes.len() as u64..range.end;
        Ok(Some((bytes, (image, rest))))
    })
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("digits and ASCII letters")
}

/// Whether the browser has it already (RFC 9110, section 13.1.2).
fn known(asked: &HeaderMap, tag: &str) -> bool {
    let named = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// Which part of an image is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    Nowhere,
}

/// Reads a Range header (RFC 9110, section 14): one range is served, several or none that can be read are the whole, as the RFC allows.
fn part(asked: &HeaderMap, tag: &str, size: u64) -> Part {
    let changed = asked.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes());
    let range = asked.get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = range.filter(|_| !changed).and_then(|range| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Part::Whole,
    };
    if range.start < range.end { Part::Bytes(range) } else { Part::Nowhere }
}

/// Digits alone: `u64` would take a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|one| one.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        let status = match &error {
            ImageError::NotFound(_) => StatusCode::NOT_FOUND,
            ImageError::TooLarge { .. } | ImageError::NotFetched { .. } => StatusCode::BAD_GATEWAY,
            ImageError::Busy | ImageError::Disk { .. } | ImageError::Ended => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, error.to_string());
        if error == ImageError::Busy { problem.retry_after(1) } else { problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &[(header::HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (range, wanted) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-5", Part::Bytes(2..6)),
            ("bytes=2-500", Part::Bytes(2..10)),
            ("bytes=2-18446744073709551615", Part::Bytes(2..10)),
            ("bytes=4-", Part::Bytes(4..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-300", Part::Bytes(0..10)),
            ("bytes=10-", Part::Nowhere),
            ("bytes=10-12", Part::Nowhere),
            ("bytes=-0", Part::Nowhere),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(&asked(&[(header::RANGE, range)]), "\"t\"", 10), wanted, "{range}");
        }
        assert_eq!(part(&asked(&[(header::RANGE, "bytes=0-")]), "\"t\"", 0), Part::Nowhere);
        let since = |tag| asked(&[(header::RANGE, "bytes=0-0"), (header::IF_RANGE, tag)]);
        assert_eq!(part(&since("\"t\""), "\"t\"", 10), Part::Bytes(0..1));
        assert_eq!(part(&since("\"u\""), "\"t\"", 10), Part::Whole);
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        for (named, has) in [("\"t\"", true), ("W/\"t\"", true), ("\"u\", \"t\"", true), ("*", true), ("\"u\"", false)]
        {
            assert_eq!(known(&asked(&[(header::IF_NONE_MATCH, named)]), "\"t\""), has, "{named}");
        }
    }
}
