//! What a request brings: parameters of its path and query, and its body. Errors are problems.

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::http::limits::{BODY_BYTES, BODY_TIMEOUT};
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
        let refused = |error: QueryRejection| bad("query", &error.body_text());
        read.map(|axum::extract::Query(query)| Self(query)).map_err(refused)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let refused = |error: PathRejection| bad("path", &error.body_text());
        read.map(|axum::extract::Path(path)| Self(path)).map_err(refused)
    }
}

fn bad(what: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the {what} cannot be used: {why}; /api describes the API"))
}

/// Reads a body within its limits, as text.
pub(crate) async fn body(request: Request) -> Result<String, Problem> {
    let too_long =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have at most {BODY_BYTES} bytes"));
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES) {
        return Err(too_long());
    }
    let read = axum::body::to_bytes(request.into_body(), BODY_BYTES);
    let bytes: Bytes = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(too_long()),
        Err(_) => {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time; send it again"));
        }
    };
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8; send UTF-8"))
}
