//! The routes, and what they answer. `openapi.json` describes them for programs.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State as FromState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::client::exercise_fields::Stamp;
use crate::config::HttpSettings;
use crate::http::guard::{Guard, guard};
use crate::http::hub::Hub;
use crate::http::limits::{BODY_BYTES, BODY_WITHIN, SEARCHES, STORED_WITHIN, STREAMS};
use crate::http::problem::Problem;
use crate::http::{images, metrics, page, pages, stream};
use crate::node::handle::Handle;
use crate::protocol::json::Parser;

const OPENAPI: &str = include_str!("openapi.json");

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node: Handle,
    pub(crate) guard: Guard,
    pub(crate) hub: Hub,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) searches: Semaphore,
}

pub(crate) type Shared = Arc<State>;

impl State {
    pub(crate) fn new(node: Handle, settings: &HttpSettings) -> Self {
        Self {
            hub: Hub::new(node.clone()),
            node,
            guard: Guard::new(settings),
            streams: Arc::new(Semaphore::new(STREAMS)),
            searches: Semaphore::new(SEARCHES),
        }
    }
}

/// All that is served.
pub(crate) fn router(state: Shared) -> Router {
    let router = Router::new();
    #[cfg(test)]
    let router = router.route("/trip/request", get(trip_request)).route("/trip/hub", get(trip_hub));
    router
        .route("/", get(page::index))
        .route("/{file}", get(page::file))
        .route("/api", get(description))
        .route("/api/openapi.json", get(description))
        .route("/api/status", get(status))
        .route("/api/peers", get(peers))
        .route("/api/network", get(network))
        .route("/api/transactions", get(pages::list).post(add_transaction))
        .route("/api/transactions/{id}", get(pages::one))
        .route("/api/broadcasts", post(broadcast))
        .route("/api/events", get(events))
        .route("/api/images", get(images::list))
        .route("/images/{name}", get(images::one))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::alive))
        .route("/readyz", get(metrics::ready))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

/// A request that ends in a panic.
#[cfg(test)]
async fn trip_request() -> &'static str {
    panic!("as a test wants it")
}

/// Has the hub end in one.
#[cfg(test)]
async fn trip_hub(FromState(state): FromState<Shared>) -> &'static str {
    state.hub.trip();
    "soon"
}

async fn nowhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; the API is described at /api")
}

async fn not_so() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this can not be done here; the API is described at /api")
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

/// How a transaction is to be taken.
#[derive(Debug, Deserialize)]
struct Taking {
    /// Whether `id`, `timeStamp` and `hash` are added where they are missing.
    #[serde(default)]
    stamp: bool,
    /// Whether it is signed with the node's key, if it has no signature and names no other key. By default what is stamped is signed: what the owner of a node
    /// writes on its page is the owner's. What a program brings whole stays as it is.
    sign: Option<bool>,
}

/// `POST /api/transactions`: answers once the transaction is on the disk.
async fn add_transaction(
    FromState(state): FromState<Shared>,
    Query(taking): Query<Taking>,
    request: Request,
) -> Result<Response, Problem> {
    let text = body(request).await?;
    let invalid = |error: crate::protocol::transaction::InvalidTransaction| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    };
    // A parser is no value to hold while waiting.
    let transaction = Stamp::new(!taking.stamp).apply(&mut Parser::new(), &text).map_err(invalid)?;
    let signs = taking.sign.unwrap_or(taking.stamp);
    let transaction = if signs { state.node.sign(transaction).map_err(invalid)? } else { transaction };
    let submitted = state.node.submit_text(transaction.body()).await?;
    let (id, links, duplicate) = (submitted.id, submitted.links, submitted.duplicate);
    let stored = matches!(tokio::time::timeout(STORED_WITHIN, submitted.stored()).await, Ok(Ok(())));
    let status = match (stored, duplicate) {
        (false, _) => StatusCode::ACCEPTED,
        (true, true) => StatusCode::OK,
        (true, false) => StatusCode::CREATED,
    };
    let answer = Json(json!({ "id": id.to_string(), "links": links, "duplicate": duplicate, "stored": stored }));
    let mut response = (status, answer).into_response();
    let location =
        HeaderValue::from_str(&format!("/api/transactions/{id}")).expect("an identity is hexadecimal digits");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[derive(Debug, Deserialize)]
struct Text {
    message: String,
}

/// `POST /api/broadcasts`: answers once the text is on its way.
async fn broadcast(FromState(state): FromState<Shared>, request: Request) -> Result<Response, Problem> {
    let text = body(request).await?;
    let text: Text = serde_json::from_str(&text).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("send {{\"message\":\"the text\"}}: {error}"))
    })?;
    let told = state.node.broadcast(text.message).await?;
    let answer = Json(json!({ "id": told.id.to_string(), "links": told.links }));
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

/// A request's body as text, within its bounds.
async fn body(request: Request) -> Result<String, Problem> {
    let too_long = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {BODY_BYTES} bytes are taken"));
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES) {
        return Err(too_long());
    }
    let read = axum::body::to_bytes(request.into_body(), BODY_BYTES);
    let bytes: Bytes = match tokio::time::timeout(BODY_WITHIN, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(too_long()),
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time")),
    };
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}
