//! Any bytes as `transactions.json`: the file is opened, repaired or rejected, and loses nothing.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use meshpool::binary::pool::{self, LOCK_FILE, POOL_FILE, PoolError};
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{Transaction, TransactionId};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};

use crate::{folder, planted};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

/// Opens a pool on any bytes, three times, and adds to it.
pub fn run(data: &[u8]) {
    let folder = folder::new();
    let file = folder.path().join(POOL_FILE);
    fs::write(&file, data).expect("written");
    let text = || fs::read(&file).expect("the file exists");
    let valid = rows(data);
    let foreign = valid.is_none() && str::from_utf8(data).is_ok_and(is_json);

    let first = match pool::open(folder.path()) {
        Ok(first) => first,
        Err(error) => {
            assert!(matches!(error, PoolError::NotTransactions { .. }), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            assert_eq!(text(), data, "a rejected file is not changed");
            assert_eq!(folder::names(folder.path()), [LOCK_FILE.into(), POOL_FILE.into()] as [std::path::PathBuf; 2]);
            return assert!(valid.is_none(), "a valid pool is rejected: {error}");
        }
    };
    assert!(!foreign, "valid JSON that is no pool is accepted");
    let repaired = text();
    let mut kept = rows(&repaired).expect("an opened file is a valid pool");
    // Planted: a repair loses a row.
    if planted::is_due(|| !first.repairs.is_empty() && kept.len() == 2) {
        kept.pop();
    }
    assert_eq!(distinct(kept), first.ids);
    assert_eq!(first.times.len(), first.ids.len());
    if let Some(valid) = valid {
        assert_eq!(repaired, data, "a valid file is not changed");
        assert_eq!(distinct(valid), first.ids);
    }
    close(first.pool);

    let second = pool::open(folder.path()).expect("a repaired file opens");
    assert_eq!(second.ids, first.ids);
    assert!(second.repairs.is_empty(), "{:?}", second.repairs);
    assert_eq!(text(), repaired, "the second time nothing is repaired");
    let more = Transaction::parse(&mut Parser::new(), r#"{"amount":1,"note":"one more"}"#).expect("a transaction");
    second.pool.store(vec![more.clone()]);
    close(second.pool);

    let mut wanted = first.ids;
    wanted.extend(Some(more.id()).filter(|id| !wanted.contains(id)));
    assert_eq!(rows(&text()).map(distinct).as_ref(), Some(&wanted), "one row is added, none is lost");
}

/// Opens the pool of a folder and adds to it.
pub(crate) fn write(folder: &Path, transactions: Vec<Transaction>) {
    let opened = pool::open(folder).expect("nobody else uses the folder");
    opened.pool.store(transactions);
    close(opened.pool);
}

/// Closes a pool.
fn close(pool: pool::Pool) {
    RUNTIME.with_borrow(|runtime| runtime.block_on(pool.close()));
}

/// The ids in a file, in its order, if it is an array of transactions.
fn rows(text: &[u8]) -> Option<Vec<TransactionId>> {
    let text = str::from_utf8(text).ok()?;
    let rows: Vec<&RawValue> = serde_json::from_str(unmarked(text)).ok()?;
    let mut parser = Parser::new();
    rows.iter().map(|row| Transaction::parse(&mut parser, row.get()).ok().map(|row| row.id())).collect()
}

/// Removes the byte order mark, which a pool file may have.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(unmarked(text)).is_ok()
}

fn distinct(ids: Vec<TransactionId>) -> Vec<TransactionId> {
    let mut seen = std::collections::HashSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).collect()
}
