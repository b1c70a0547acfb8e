//! What a node's owner changes over the API: known peers, bans, the level of the log, and a reload
//! of the settings. All of it is for the program that started the node from a folder.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as FromState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::Level;

use crate::config::parse_address;
use crate::folder::known_peers::Named;
use crate::http::input::{Query, body};
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::node::operator::{Operator, OperatorError};
use crate::protocol::address::PeerAddress;
use crate::protocol::wire::PeerState;
use crate::util::qr;

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let status = match &error {
            OperatorError::Settings(_) | OperatorError::Access(_) | OperatorError::Edit(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            OperatorError::FromElsewhere { .. } => StatusCode::CONFLICT,
            OperatorError::Node(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

fn operator(state: &Shared) -> Result<&Arc<Operator>, Problem> {
    let none = "the program that runs this node takes no changes over the API; change its settings where it has them";
    state.operator.as_ref().ok_or_else(|| Problem::new(StatusCode::NOT_IMPLEMENTED, none))
}

/// Carries a change out to its end, even if its client goes: half of one would leave the files and
/// the running node apart.
async fn change<T: Send + 'static, F>(
    state: &Shared,
    change: impl FnOnce(Arc<Operator>) -> F + Send + 'static,
) -> Result<T, Problem>
where
    F: Future<Output = Result<T, OperatorError>> + Send + 'static,
{
    let (operator, panics) = (Arc::clone(operator(state)?), state.node.panics().clone());
    let changing = tokio::spawn(async move { panics.catch("a change of the owner", change(operator)).await });
    Ok(changing.await.ok().flatten().ok_or(OperatorError::Panicked)??)
}

/// Reads a JSON body of this form. `form`: an example, for the error.
async fn parsed<T: DeserializeOwned>(request: Request, form: &str) -> Result<T, Problem> {
    let text = body(request).await?;
    serde_json::from_str(&text)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("send {form}: {error}")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Address {
    address: String,
}

impl Address {
    fn parse(&self) -> Result<PeerAddress, Problem> {
        parse_address(&self.address, false)
            .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rule {
    rule: String,
}

#[derive(Debug, Deserialize)]
struct LogLevel {
    level: String,
}

/// Handles `GET /api/nodes`: the nodes of the network, as this one knows them.
pub(crate) async fn nodes(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(Json(json!({ "nodes": state.node.nodes().await? })).into_response())
}

/// Handles `POST /api/peers`.
pub(crate) async fn add_peer(FromState(state): FromState<Shared>, request: Request) -> Result<Response, Problem> {
    operator(&state)?;
    let address = parsed::<Address>(request, r#"{"address":"ws://host:port"}"#).await?.parse()?;
    let added = address.clone();
    let added = change(&state, |operator| async move { operator.add_peer(&added).await }).await?;
    let is_new = added.named == Named::New;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = json!({
        "address": address.to_string(),
        "added": is_new,
        "otherRelays": added.named == Named::OtherRelays,
    });
    if let Some(warning) = added.warning {
        answer["warning"] = warning.into();
    }
    Ok((status, Json(answer)).into_response())
}

/// Handles `DELETE /api/peers?address=…`.
pub(crate) async fn remove_peer(
    FromState(state): FromState<Shared>,
    Query(address): Query<Address>,
) -> Result<Response, Problem> {
    let address = address.parse()?;
    let removed = address.clone();
    if !change(&state, |operator| async move { operator.remove_peer(&removed).await }).await? {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("{address} is not a known peer; GET /api/status lists them"),
        ));
    }
    Ok(Json(json!({ "address": address.to_string(), "removed": true })).into_response())
}

/// Handles `GET /api/bans`: the rules of the owner, and the bans of this run.
pub(crate) async fn bans(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let denied = operator(&state)?.denied().await?;
    let status = state.node.status().await?;
    let banned = status.peers.iter().filter(|peer| peer.state == PeerState::Banned);
    let banned: Vec<_> =
        banned.map(|peer| json!({ "address": peer.address, "seconds": peer.seconds, "cause": peer.cause })).collect();
    Ok(Json(json!({ "denied": denied, "banned": banned })).into_response())
}

/// Handles `POST /api/bans`.
pub(crate) async fn ban(FromState(state): FromState<Shared>, request: Request) -> Result<Response, Problem> {
    operator(&state)?;
    let Rule { rule } = parsed(request, r#"{"rule":"192.0.2.0/24"}"#).await?;
    let banned = rule.clone();
    let is_new = change(&state, |operator| async move { operator.ban(&banned).await }).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "rule": rule.trim(), "added": is_new }))).into_response())
}

/// Handles `DELETE /api/bans?rule=…`.
pub(crate) async fn unban(
    FromState(state): FromState<Shared>,
    Query(Rule { rule }): Query<Rule>,
) -> Result<Response, Problem> {
    let lifted = rule.clone();
    if !change(&state, |operator| async move { operator.unban(&lifted).await }).await? {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such ban; GET /api/bans lists them"));
    }
    Ok(Json(json!({ "rule": rule.trim(), "removed": true })).into_response())
}

/// Handles `GET /api/log`.
pub(crate) async fn level(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    Ok(shown(operator(&state)?.level()))
}

/// Handles `PUT /api/log`.
pub(crate) async fn set_level(FromState(state): FromState<Shared>, request: Request) -> Result<Response, Problem> {
    let operator = operator(&state)?;
    let form = r#"{"level":"debug"}"#;
    let LogLevel { level } = parsed(request, form).await?;
    let known = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    let level = known.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(&level));
    let level = level.ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("send {form}: a level is one of error, warn, info, debug, trace"),
        )
    })?;
    operator.set_level(level)?;
    Ok(shown(level))
}

fn shown(level: Level) -> Response {
    Json(json!({ "level": level.as_str().to_ascii_lowercase() })).into_response()
}

/// Handles `POST /api/invite`: an invite to this node's network, as text and as a QR code.
pub(crate) async fn invite(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let invite = state.node.invite().await;
    let invite = invite.map_err(|error| Problem::new(StatusCode::CONFLICT, error.to_string()))?.to_string();
    let qr = qr::svg(&invite);
    Ok(Json(json!({ "invite": invite, "qr": qr })).into_response())
}

/// Handles `POST /api/reload`: as SIGHUP does.
pub(crate) async fn reload(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let reloaded = change(&state, |operator| async move { operator.reload().await }).await?;
    Ok(Json(reloaded).into_response())
}
