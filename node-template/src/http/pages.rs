//! The pool in pages, newest first, and its search.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::http::input::{Path, Query};
use crate::http::limits::{PAGE, PAGE_BYTES, SEARCHED};
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::signing::{self, SignatureState};

/// A list leaves out the bodies of transactions above this size, in bytes: a page of them would be
/// megabytes.
const LARGE: usize = 16 * 1024;
/// Rows that a search reads at once.
const BLOCK: usize = 2_000;
/// The longest search text, in characters.
const SEARCH_CHARACTERS: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct ListOptions {
    /// The cursor of an earlier page.
    before: Option<u64>,
    limit: Option<usize>,
    /// Text anywhere in the transaction, in any case, or the beginning of its id.
    search: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ListPage {
    transactions: Vec<Row>,
    /// Transactions of the pool on disk.
    total: u64,
    /// The cursor for the next page; `null` after the oldest.
    next: Option<u64>,
    /// Transactions examined.
    searched: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    id: String,
    position: u64,
    bytes: usize,
    signature: SignatureState,
    /// `null` in a list if it is large; `GET /api/transactions/{id}` has it.
    transaction: Option<Box<RawValue>>,
}

impl Row {
    /// Verifies the signature, which takes CPU time: many rows belong on a blocking thread.
    fn new(position: u64, transaction: &Transaction, max_bytes: usize) -> Self {
        let bytes = transaction.body_bytes();
        let body = (bytes <= max_bytes).then(|| RawValue::from_string(transaction.body().to_owned()));
        let body = body.map(|raw| raw.expect("a transaction's body is JSON"));
        let signature = signing::verify(transaction).state();
        Self { id: transaction.id().to_string(), position, bytes, signature, transaction: body }
    }
}

/// Handles `GET /api/transactions`.
pub(crate) async fn list(
    FromState(state): FromState<Shared>,
    Query(options): Query<ListOptions>,
) -> Result<Json<ListPage>, Problem> {
    let limit = options.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let needle = options.search.unwrap_or_default().trim().to_lowercase();
    let pool = state.node.pool();
    if needle.is_empty() {
        let page = pool.page(options.before, limit, PAGE_BYTES).await?;
        let next = page.next;
        let rows = move || page.rows.iter().map(|(position, one)| Row::new(*position, one, LARGE)).collect();
        let transactions: Vec<Row> = tokio::task::spawn_blocking(rows).await.map_err(|_| ending())?;
        let searched = transactions.len() as u64;
        return Ok(Json(ListPage { transactions, total: pool.end(), next, searched }));
    }
    if needle.chars().count() > SEARCH_CHARACTERS {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("search for at most {SEARCH_CHARACTERS} characters"),
        ));
    }
    let _permit = state.searches.acquire().await.map_err(|_| ending())?;
    search(&state, options.before, limit, needle).await.map(Json)
}

async fn search(state: &Shared, before: Option<u64>, limit: usize, needle: String) -> Result<ListPage, Problem> {
    let pool = state.node.pool();
    let mut found = ListPage { transactions: Vec::new(), total: pool.end(), next: before, searched: 0 };
    loop {
        let page = pool.page(found.next, BLOCK, PAGE_BYTES).await?;
        found.next = page.next;
        let needle = needle.clone();
        let room = limit - found.transactions.len();
        // Lower-casing megabytes of text would block the runtime's thread.
        let examined = tokio::task::spawn_blocking(move || {
            let mut rows = Vec::new();
            for (index, (position, transaction)) in page.rows.iter().enumerate() {
                if transaction.id().to_string().starts_with(&needle)
                    || transaction.body().to_lowercase().contains(&needle)
                {
                    rows.push(Row::new(*position, transaction, LARGE));
                }
                if rows.len() == room {
                    return (rows, index as u64 + 1, Some(*position).filter(|position| *position > 0));
                }
            }
            (rows, page.rows.len() as u64, page.next)
        });
        let (rows, examined, next) = examined.await.map_err(|_| ending())?;
        found.transactions.extend(rows);
        found.searched += examined;
        found.next = next;
        if found.next.is_none() || found.transactions.len() >= limit || found.searched >= SEARCHED {
            return Ok(found);
        }
    }
}

fn ending() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the node is shutting down")
}

/// Handles `GET /api/transactions/{id}`.
pub(crate) async fn one(FromState(state): FromState<Shared>, Path(id): Path<String>) -> Result<Json<Row>, Problem> {
    let id: TransactionId = id.parse().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("{error}")))?;
    match state.node.pool().find(&id).await? {
        Some((position, transaction)) => Ok(Json(Row::new(position, &transaction, usize::MAX))),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "this node's pool does not hold it")),
    }
}
