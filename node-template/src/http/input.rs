//! Parameters of a request's path and query, whose errors are problems as all others are.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

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
