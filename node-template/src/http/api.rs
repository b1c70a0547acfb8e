//! The routes and their handlers. `openapi.json` describes them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State as FromState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::client::exercise_fields::ExerciseFields;
use crate::http::guard::{Guard, guard};
use crate::http::input::{Query, body};
use crate::http::limits::STORE_TIMEOUT;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::http::{control, frames, images, metrics, page, pages, stream, timeline, way};
use crate::protocol::json::Parser;

const OPENAPI: &str = include_str!("openapi.json");

/// Returns all routes, behind the guard.
pub(crate) fn router(state: Shared, access: Arc<Guard>) -> Router {
    let router = Router::new();
    #[cfg(test)]
    let router = router.route("/panic/request", get(panic_request)).route("/panic/hub", get(panic_hub));
    router
        .route("/", get(page::index))
        .route("/{file}", get(page::file))
        .route("/api", get(description))
        .route("/api/openapi.json", get(description))
        .route("/api/status", get(status))
        .route("/api/peers", get(peers).post(control::add_peer).delete(control::remove_peer))
        .route("/api/links", get(frames::links))
        .route("/api/links/{id}/frames", get(frames::frames))
        .route("/api/nodes", get(control::nodes))
        .route("/api/bans", get(control::bans).post(control::ban).delete(control::unban))
        .route("/api/log", get(control::level).put(control::set_level))
        .route("/api/reload", post(control::reload))
        .route("/api/invite", post(control::invite))
        .route("/api/network", get(network))
        .route("/api/timeline", get(timeline::timeline))
        .route("/api/transactions", get(pages::list).post(add_transaction))
        .route("/api/transactions/{id}", get(pages::one))
        .route("/api/transactions/{id}/way", get(way::way))
        .route("/api/broadcasts", post(broadcast))
        .route("/api/events", get(events))
        .route("/api/images", get(images::list))
        .route("/images/{name}", get(images::one))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::alive))
        .route("/readyz", get(metrics::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(access, guard))
        .with_state(state)
}

#[cfg(test)]
async fn panic_request() -> &'static str {
    panic!("as a test wants it")
}

#[cfg(test)]
async fn panic_hub(FromState(state): FromState<Shared>) -> &'static str {
    state.hub.panic();
    "soon"
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; /api describes the API")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here; /api describes the API")
}

async fn description() -> Response {
    let mut response = OPENAPI.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn status(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(Json(state.node.status().await?).into_response())
}

async fn peers(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(Json(json!({ "peers": state.hub.view().await?.peers })).into_response())
}

async fn network(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(Json(&state.hub.view().await?.network).into_response())
}

async fn events(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    stream::open(&state).await
}

#[derive(Debug, Deserialize)]
struct AddOptions {
    /// Whether to add `id`, `timeStamp` and `hash` where they are missing.
    #[serde(default)]
    stamp: bool,
    /// Whether to sign with the node's key, if the transaction has no signature and names no other
    /// key. Defaults to `stamp`: the page's transactions are the owner's, a program's stay as they
    /// are.
    sign: Option<bool>,
}

/// Handles `POST /api/transactions`. Responds once the transaction is on the disk.
async fn add_transaction(
    FromState(state): FromState<Shared>,
    Query(options): Query<AddOptions>,
    request: Request,
) -> Result<Response, Problem> {
    let text = body(request).await?;
    let invalid = |error: crate::protocol::transaction::InvalidTransaction| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    };
    // The parser must not live across an await.
    let transaction = ExerciseFields::new(!options.stamp).add(&mut Parser::new(), &text).map_err(invalid)?;
    let signs = options.sign.unwrap_or(options.stamp);
    let transaction = if signs { state.node.sign(transaction).map_err(invalid)? } else { transaction };
    let submitted = state.node.submit_text(transaction.body()).await?;
    let (id, links, duplicate) = (submitted.id, submitted.links, submitted.duplicate);
    let stored = matches!(tokio::time::timeout(STORE_TIMEOUT, submitted.stored()).await, Ok(Ok(())));
    let status = match (stored, duplicate) {
        (false, _) => StatusCode::ACCEPTED,
        (true, true) => StatusCode::OK,
        (true, false) => StatusCode::CREATED,
    };
    let answer = Json(json!({ "id": id.to_string(), "links": links, "duplicate": duplicate, "stored": stored }));
    let mut response = (status, answer).into_response();
    let location =
        HeaderValue::from_str(&format!("{}/api/transactions/{id}", state.path)).expect("a path of ASCII, and digits");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[derive(Debug, Deserialize)]
struct Text {
    message: String,
}

/// Handles `POST /api/broadcasts`. Responds once the text was sent.
async fn broadcast(FromState(state): FromState<Shared>, request: Request) -> Result<Response, Problem> {
    let text = body(request).await?;
    let text: Text = serde_json::from_str(&text).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("send {{\"message\":\"the text\"}}: {error}"))
    })?;
    let receipt = state.node.broadcast(text.message).await?;
    let answer = Json(json!({ "id": receipt.id.to_string(), "links": receipt.links }));
    Ok((StatusCode::ACCEPTED, answer).into_response())
}
