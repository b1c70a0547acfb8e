//! Images over HTTP: `GET /images/{name}`, whole or a range, and their list.
//!
//! An image may come from an untrusted node. The headers keep browsers from running anything in it.

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

use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::images::{Image, ImageError, ImageSource};
use crate::protocol::wire::ImageName;

/// Bytes of an image that are read at once; the memory that each request takes.
const BLOCK: usize = 128 * 1024;
/// Allows an image its own style, as an SVG has, but no script and no request.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";
/// Content types that browsers show, by file extension.
const CONTENT_TYPES: [(&str, &str); 10] = [
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

/// Handles `GET /api/images`.
pub(crate) async fn list(FromState(state): FromState<Shared>) -> Response {
    Json(&*state.node.images().await).into_response()
}

/// Handles `GET /images/{name}`.
pub(crate) async fn one(
    FromState(state): FromState<Shared>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let bad = |reason: String| Problem::new(StatusCode::BAD_REQUEST, reason);
    let Path(name) = name.map_err(|_| bad("an image's name must be UTF-8".into()))?;
    let name: ImageName = name.parse().map_err(|error| bad(format!("{error}")))?;
    let image = state.node.image(&name).await?;
    Ok(respond(image, &headers))
}

fn respond(image: Image, request: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", image.tag);
    let mut response = match is_cached(request, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => match part(request, &tag, image.size) {
            Part::Whole => content(&image, 0..image.size),
            Part::Bytes(range) => {
                let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, image.size);
                let mut response = content(&image, range);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                response.headers_mut().insert(header::CONTENT_RANGE, value(&content_range));
                response
            }
            Part::Unsatisfiable => {
                let problem = Problem::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    format!("the image has {} bytes; ask for a range within them", image.size),
                );
                let mut response = problem.into_response();
                response.headers_mut().insert(header::CONTENT_RANGE, value(&format!("bytes */{}", image.size)));
                return response;
            }
        },
    };
    // Revalidating an image of this node costs nothing; one of another node would be fetched again.
    let cache = if image.source == ImageSource::Local { "private, no-cache" } else { "private, max-age=60" };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&tag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    response
}

fn content(image: &Image, range: Range<u64>) -> Response {
    let length = range.end - range.start;
    let mut response = Body::from_stream(bytes(image.clone(), range)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let extension =
        image.name.as_str().rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    let kind = CONTENT_TYPES.iter().find(|(known, _)| *known == extension).map(|(_, kind)| *kind);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.unwrap_or("application/octet-stream")));
    if kind.is_none() {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    response
}

fn bytes(image: Image, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    try_unfold((image, range), |(image, range)| async move {
        let max = BLOCK.min(usize::try_from(range.end - range.start).unwrap_or(BLOCK));
        if max == 0 {
            return Ok(None);
        }
        let bytes = image.read(range.start, max).await?;
        let rest = range.start + bytes.len() as u64..range.end;
        Ok(Some((bytes, (image, rest))))
    })
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and ASCII letters")
}

/// Returns whether the client has this version (RFC 9110, section 13.1.2).
fn is_cached(request: &HeaderMap, tag: &str) -> bool {
    let named = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// The requested part of an image.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    Unsatisfiable,
}

/// Reads the Range header (RFC 9110, section 14). Several ranges, and unreadable ones, yield the
/// whole image, as the RFC allows.
fn part(request: &HeaderMap, tag: &str, size: u64) -> Part {
    let changed = request.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes());
    let range = request.get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = range.filter(|_| !changed).and_then(|range| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Part::Whole,
    };
    if range.start < range.end { Part::Bytes(range) } else { Part::Unsatisfiable }
}

/// Parses digits only: `u64::from_str` would accept a sign.
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

    fn headers(lines: &[(header::HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn ranges_are_read_as_in_the_rfc() {
        for (range, wanted) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-5", Part::Bytes(2..6)),
            ("bytes=2-500", Part::Bytes(2..10)),
            ("bytes=2-18446744073709551615", Part::Bytes(2..10)),
            ("bytes=4-", Part::Bytes(4..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-300", Part::Bytes(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=10-12", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(&headers(&[(header::RANGE, range)]), "\"t\"", 10), wanted, "{range}");
        }
        assert_eq!(part(&headers(&[(header::RANGE, "bytes=0-")]), "\"t\"", 0), Part::Unsatisfiable);
        let since = |tag| headers(&[(header::RANGE, "bytes=0-0"), (header::IF_RANGE, tag)]);
        assert_eq!(part(&since("\"t\""), "\"t\"", 10), Part::Bytes(0..1));
        assert_eq!(part(&since("\"u\""), "\"t\"", 10), Part::Whole);
    }

    #[test]
    fn a_cached_image_is_not_sent_again() {
        for (named, has) in [("\"t\"", true), ("W/\"t\"", true), ("\"u\", \"t\"", true), ("*", true), ("\"u\"", false)]
        {
            assert_eq!(is_cached(&headers(&[(header::IF_NONE_MATCH, named)]), "\"t\""), has, "{named}");
        }
    }
}
