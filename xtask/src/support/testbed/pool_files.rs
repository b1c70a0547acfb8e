//! Checks pool files: each holds everything acknowledged, once, and all hold the same.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use meshpool::binary::pool::POOL_FILE;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::{Transaction, TransactionId};
use serde_json::value::RawValue;

/// The faults in the files, counted over all nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Transactions in the first node's file.
    pub(crate) held: usize,
    /// Acknowledged transactions that are missing in a file.
    pub(crate) lost: usize,
    /// Transactions that a file has more than once.
    pub(crate) twice: usize,
    /// Nodes whose file differs from the first node's.
    pub(crate) differ: usize,
}

/// Reads the files in the folders of nodes that write no more.
///
/// # Errors
/// A file cannot be read, or holds something else than transactions.
pub(crate) fn check(
    folders: impl IntoIterator<Item = PathBuf>,
    acknowledged: &HashSet<TransactionId>,
) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut first: Option<HashSet<TransactionId>> = None;
    for folder in folders {
        let path = folder.join(POOL_FILE);
        let ids = fs::read_to_string(&path).map_err(anyhow::Error::from).and_then(|text| identities(&text));
        let ids = ids.with_context(|| format!("{} cannot be read", path.display()))?;
        checked.compare(ids, acknowledged, &mut first);
    }
    Ok(checked)
}

impl Checked {
    fn compare(
        &mut self,
        ids: Vec<TransactionId>,
        acknowledged: &HashSet<TransactionId>,
        first: &mut Option<HashSet<TransactionId>>,
    ) {
        let rows = ids.len();
        let ids: HashSet<_> = ids.into_iter().collect();
        self.twice += rows - ids.len();
        self.lost += acknowledged.difference(&ids).count();
        match first {
            Some(first) => self.differ += usize::from(*first != ids),
            None => {
                self.held = ids.len();
                *first = Some(ids);
            }
        }
    }
}

fn identities(text: &str) -> Result<Vec<TransactionId>> {
    let rows: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut parser = Parser::new();
    let identity = |row: &&RawValue| Ok(Transaction::parse(&mut parser, row.get())?.id());
    rows.iter().map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_twice_or_different_is_found() {
        let ids = |text: &str| identities(text).expect("transactions");
        let acknowledged: HashSet<_> = ids(r#"[{"n":1},{"n":2}]"#).into_iter().collect();
        let (mut checked, mut first) = (Checked::default(), None);
        checked.compare(ids("[\n  {\n    \"n\": 1\n  },{\"n\":2},{\"n\":3}\n]"), &acknowledged, &mut first);
        assert_eq!(checked, Checked { held: 3, lost: 0, twice: 0, differ: 0 });
        checked.compare(ids(r#"[{"n":3},{"n":2},{"n":1}]"#), &acknowledged, &mut first);
        assert_eq!(checked, Checked { held: 3, lost: 0, twice: 0, differ: 0 }, "their order is their own");
        checked.compare(ids(r#"[{"n":3},{"n":2},{"n":2}]"#), &acknowledged, &mut first);
        assert_eq!(checked, Checked { held: 3, lost: 1, twice: 1, differ: 1 });
        assert!(identities(r#"[{"n":1},7]"#).is_err() && identities("[").is_err());
    }
}
