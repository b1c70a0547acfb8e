//! The pool, newest first, a page at a time; and searching it.

use axum::Json;
use axum::extract::{Path, Query, State as FromState};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::http::api::Shared;
use crate::http::limits::{PAGE, PAGE_BYTES, SEARCHED};
use crate::http::problem::Problem;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::signing::{self, SignatureState};

/// A transaction of which the list tells no more than that it is there, in bytes: a page of them would be megabytes.
const LARGE: usize = 16 * 1024;
/// How many rows a search reads at once.
const BLOCK: usize = 2_000;
/// The longest text that is searched for, in characters.
const NEEDLE: usize = 200;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// The cursor of an earlier answer.
    before: Option<u64>,
    limit: Option<usize>,
    /// Found anywhere in the transaction, whatever its case, or at the beginning of its identity.
    search: Option<String>,
}

/// A page of transactions.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    transactions: Vec<Row>,
    /// How many the pool has on disk.
    total: u64,
    /// The cursor for the next page; `null` after the oldest.
    next: Option<u64>,
    /// How many were looked at.
    searched: u64,
}

/// One transaction.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    id: String,
    position: u64,
    bytes: usize,
    /// How it stands to its signature.
    signature: SignatureState,
    /// `null` in a list if it is large; by its id it is told whole.
    transaction: Option<Box<RawValue>>,
}

impl Row {
    /// Judges its signature, which takes its time: not for a thread that others' tasks wait for, where there are many.
    fn new(position: u64, transaction: &Transaction, most: usize) -> Self {
        let bytes = transaction.body_bytes();
        let whole = (bytes <= most).then(|| RawValue::from_string(transaction.body().to_owned()));
        let whole = whole.map(|raw| raw.expect("a transaction's body is JSON"));
        let signature = signing::verify(transaction).state();
        Self { id: transaction.id().to_string(), position, bytes, signature, transaction: whole }
    }
}

/// `GET /api/transactions`
pub(crate) async fn list(
    FromState(state): FromState<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Json<Listed>, Problem> {
    let limit = asked.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let needle = asked.search.unwrap_or_default().trim().to_lowercase();
    let pool = state.node.pool();
    if needle.is_empty() {
        let page = pool.page(asked.before, limit, PAGE_BYTES).await?;
        let next = page.next;
        let rows = move || page.rows.iter().map(|(position, one)| Row::new(*position, one, LARGE)).collect();
        let transactions: Vec<Row> = tokio::task::spawn_blocking(rows).await.map_err(|_| ending())?;
        let searched = transactions.len() as u64;
        return Ok(Json(Listed { transactions, total: pool.end(), next, searched }));
    }
    if needle.chars().count() > NEEDLE {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "search for at most 200 characters"));
    }
    let _one = state.searches.acquire().await.map_err(|_| ending())?;
    search(&state, asked.before, limit, needle).await.map(Json)
}

async fn search(state: &Shared, before: Option<u64>, limit: usize, needle: String) -> Result<Listed, Problem> {
    let pool = state.node.pool();
    let mut found = Listed { transactions: Vec::new(), total: pool.end(), next: before, searched: 0 };
    loop {
        let page = pool.page(found.next, BLOCK, PAGE_BYTES).await?;
        found.next = page.next;
        let needle = needle.clone();
        let room = limit - found.transactions.len();
        // Some megabytes of text in lower case: not on a thread that others' tasks wait for.
        let looked = tokio::task::spawn_blocking(move || {
            let mut rows = Vec::new();
            for (looked, (position, transaction)) in page.rows.iter().enumerate() {
                if transaction.id().to_string().starts_with(&needle)
                    || transaction.body().to_lowercase().contains(&needle)
                {
                    rows.push(Row::new(*position, transaction, LARGE));
                }
                if rows.len() == room {
                    return (rows, looked as u64 + 1, Some(*position).filter(|position| *position > 0));
                }
            }
            (rows, page.rows.len() as u64, page.next)
        });
        let (rows, looked, next) = looked.await.map_err(|_| ending())?;
        found.transactions.extend(rows);
        found.searched += looked;
        found.next = next;
        if found.next.is_none() || found.transactions.len() >= limit || found.searched >= SEARCHED {
            return Ok(found);
        }
    }
}

fn ending() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the node ends")
}

/// `GET /api/transactions/{id}`
pub(crate) async fn one(FromState(state): FromState<Shared>, Path(id): Path<String>) -> Result<Json<Row>, Problem> {
    let id: TransactionId = id.parse().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("{error}")))?;
    match state.node.pool().find(&id).await? {
        Some((position, transaction)) => Ok(Json(Row::new(position, &transaction, usize::MAX))),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "the pool of this node does not hold it")),
    }
}
