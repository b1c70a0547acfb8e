//! A node in a web service: axum answers HTTP, the node keeps the service in touch with its
//! fellows. Run it with `cargo run -p meshpool --example beside_axum`, and then, as it says:
//!
//! ```text
//! curl localhost:<port>/nodes
//! curl localhost:<port>/say -d 'hello, everybody'
//! curl localhost:<port>/transactions -H 'content-type: application/json' -d '{"amount":5}'
//! ```

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use meshpool::protocol::wire::Member;
use meshpool::{Network, Node, NodeError};
use serde_json::{Value, json};

/// A node's error as an HTTP answer.
fn failed(error: NodeError) -> (StatusCode, String) {
    let status = match error {
        NodeError::Ended => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, error.to_string())
}

async fn nodes(State(node): State<Arc<Node>>) -> Result<Json<Vec<Member>>, (StatusCode, String)> {
    node.nodes().await.map(Json).map_err(failed)
}

async fn say(State(node): State<Arc<Node>>, text: String) -> Result<Json<Value>, (StatusCode, String)> {
    let told = node.broadcast(text).await.map_err(failed)?;
    Ok(Json(json!({ "id": told.id.to_string(), "links": told.links })))
}

async fn submit(
    State(node): State<Arc<Node>>,
    Json(transaction): Json<Value>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let submitted = node.submit(&transaction).await.map_err(failed)?;
    let (id, links) = (submitted.id.to_string(), submitted.links);
    submitted.stored().await.map_err(failed)?;
    Ok(Json(json!({ "id": id, "links": links })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let node = Arc::new(Network::new("localhost").folder(folder.path()).start().await?);
    let routes = Router::new()
        .route("/nodes", get(nodes))
        .route("/say", post(say))
        .route("/transactions", post(submit))
        .with_state(Arc::clone(&node));
    let listener = tokio::net::TcpListener::bind("localhost:0").await?;
    println!("the node is {}, the service http://{}; end with Ctrl+C", node.address(), listener.local_addr()?);
    let interrupted = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, routes).with_graceful_shutdown(interrupted).await?;
    // The service has ended, so nobody else holds the node.
    if let Some(node) = Arc::into_inner(node) {
        node.shutdown().await?;
    }
    Ok(())
}
