//! What a request brings: parameters of its path and query, and its body. Errors are problems.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::http::limits::{BODY_BYTES, BODY_TIMEOUT, DROPPED_BYTES};
use crate::http::problem::Problem;

/// The parameters of a query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The parameters of a path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let refused = |error: QueryRejection| bad("query", &plain(&error.body_text()));
        read.map(|axum::extract::Query(query)| Self(query)).map_err(refused)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let refused = |error: PathRejection| bad("path", &plain(&error.body_text()));
        read.map(|axum::extract::Path(path)| Self(path)).map_err(refused)
    }
}

/// Returns why a parameter cannot be used, without the names of this program's parts.
fn plain(why: &str) -> String {
    let why = why.rsplit_once("deserialize query string: ").map_or(why, |(_, why)| why);
    let why = why.strip_prefix("Invalid URL: ").unwrap_or(why);
    why.replace("invalid digit found in string", "it is not a whole number from 0")
}

fn bad(what: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the {what} cannot be used: {why}; /api describes the API"))
}

/// Reads a body within its limits, as text. Of one that is too long it reads the rest too, up to
/// [`DROPPED_BYTES`]: where the connection closes while somebody still writes, Windows drops the
/// answer that has come.
pub(crate) async fn body(request: Request) -> Result<String, Problem> {
    let too_long =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have at most {BODY_BYTES} bytes"));
    let headers = request.headers();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let most = if headers.contains_key(header::EXPECT) { BODY_BYTES } else { DROPPED_BYTES };
    if declared.is_some_and(|declared| declared > most) {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY_TIMEOUT, read(request.into_body())).await {
        Ok(Some(bytes)) => String::from_utf8(bytes)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8; send UTF-8")),
        Ok(None) => Err(too_long()),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time; send it again")),
    }
}

/// Reads a body; `None` if it is longer than [`BODY_BYTES`], or breaks off.
async fn read(body: Body) -> Option<Vec<u8>> {
    let (mut parts, mut bytes, mut length) = (body.into_data_stream(), Vec::new(), 0);
    while length <= DROPPED_BYTES
        && let Some(part) = parts.next().await
    {
        let part = part.ok()?;
        length += part.len();
        if length <= BODY_BYTES {
            bytes.extend_from_slice(&part);
        } else {
            bytes = Vec::new();
        }
    }
    (length <= BODY_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Options {
        #[expect(dead_code, reason = "it is only read")]
        limit: u64,
    }

    #[tokio::test]
    async fn a_parameter_that_is_no_number_is_named() {
        for (query, why) in [
            ("limit=-1", "limit: it is not a whole number from 0"),
            ("limit=many", "limit: it is not a whole number from 0"),
            ("", "missing field `limit`"),
        ] {
            let request = Request::builder().uri(format!("/?{query}")).body(()).expect("a request");
            let refused = Query::<Options>::from_request_parts(&mut request.into_parts().0, &()).await;
            let response = refused.expect_err(query).into_response();
            let body = axum::body::to_bytes(response.into_body(), 4_096).await.expect("a body");
            let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let expected = format!("the query cannot be used: {why}; /api describes the API");
            assert_eq!(problem["detail"], expected, "{query}");
        }
    }
}
