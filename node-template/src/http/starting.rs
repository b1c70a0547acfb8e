//! The answers while the node starts: how far it is.

use std::sync::Arc;

use axum::extract::State as FromState;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};

use crate::http::guard::{Guard, guard};
use crate::http::problem::Problem;
use crate::node::start_progress::StartProgress;

/// How soon a browser asks again, in seconds.
const AGAIN: u32 = 1;

/// Returns the routes of a node that starts, behind the guard.
pub(crate) fn router(progress: StartProgress, access: Arc<Guard>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .fallback(starting)
        .layer(middleware::from_fn_with_state(access, guard))
        .with_state(progress)
}

/// Handles `GET /healthz`: the program runs.
async fn alive(FromState(progress): FromState<StartProgress>) -> String {
    format!("{progress}\n")
}

/// Handles all other requests.
async fn starting(FromState(progress): FromState<StartProgress>, uri: Uri) -> Response {
    if uri.path().starts_with("/api") {
        let detail = format!("{progress}: the node reads transactions.json");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(AGAIN).into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, format!("{progress}\n")).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(AGAIN));
    // A browser opens the page by itself once the node has started.
    response.headers_mut().insert(header::REFRESH, HeaderValue::from(AGAIN));
    response
}
