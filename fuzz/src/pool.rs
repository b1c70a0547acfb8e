//! `transactions.json` as it may be found after a crash, an editor or another program: it is opened, repaired or refused, and never made worse.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use meshpool::pool::{self, LOCK_FILE, POOL_FILE, PoolError};
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
    let text = || fs::read(&file).expect("the file is there");
    let sound = rows(data);
    let foreign = sound.is_none() && str::from_utf8(data).is_ok_and(is_json);

    let first = match pool::open(folder.path()) {
        Ok(first) => first,
        Err(error) => {
            assert!(matches!(error, PoolError::NotTransactions { .. }), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            assert_eq!(text(), data, "what is refused is left as it was");
            assert_eq!(folder::names(folder.path()), [LOCK_FILE.into(), POOL_FILE.into()] as [std::path::PathBuf; 2]);
            return assert!(sound.is_none(), "a sound pool is refused: {error}");
        }
    };
    assert!(!foreign, "sound JSON that is no pool is taken for one");
    let repaired = text();
    let mut kept = rows(&repaired).expect("what was opened is a sound pool");
    // A repair that loses a row.
    if planted::is_due(|| !first.repairs.is_empty() && kept.len() == 2) {
        kept.pop();
    }
    assert_eq!(distinct(kept), first.ids);
    assert_eq!(first.times.len(), first.ids.len());
    if let Some(sound) = sound {
        assert_eq!(repaired, data, "a sound file is left as it was");
        assert_eq!(distinct(sound), first.ids);
    }
    close(first.pool);

    let second = pool::open(folder.path()).expect("what was repaired opens");
    assert_eq!(second.ids, first.ids);
    assert!(second.repairs.is_empty(), "{:?}", second.repairs);
    assert_eq!(text(), repaired, "the second time nothing is to do");
    let more = Transaction::parse(&mut Parser::new(), r#"{"amount":1,"note":"one more"}"#).expect("a transaction");
    second.pool.store(vec![more.clone()]);
    close(second.pool);

    let mut wanted = first.ids;
    wanted.extend(Some(more.id()).filter(|id| !wanted.contains(id)));
    assert_eq!(rows(&text()).map(distinct).as_ref(), Some(&wanted), "one row more, and no other is lost");
}

/// Opens the pool of a folder and adds to it.
pub(crate) fn write(folder: &Path, transactions: Vec<Transaction>) {
    let opened = pool::open(folder).expect("the folder is ours");
    opened.pool.store(transactions);
    close(opened.pool);
}

/// Ends a pool; its reports were dropped with what opening gave.
fn close(pool: pool::Pool) {
    RUNTIME.with_borrow(|runtime| runtime.block_on(pool.close()));
}

/// The identities in a file, if it is an array of transactions, in its order.
fn rows(text: &[u8]) -> Option<Vec<TransactionId>> {
    let text = str::from_utf8(text).ok()?;
    let rows: Vec<&RawValue> = serde_json::from_str(unmarked(text)).ok()?;
    let mut parser = Parser::new();
    rows.iter().map(|row| Transaction::parse(&mut parser, row.get()).ok().map(|row| row.id())).collect()
}

/// Without the mark that some editors put first; a pool may have it.
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
