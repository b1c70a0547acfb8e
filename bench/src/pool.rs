//! Reads the pool that a node left, and says what is wrong with it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::load::sum_of_ids;

#[derive(Deserialize)]
struct Row<'a> {
    id: &'a str,
}

/// Fails unless the folder's `transactions.json` holds each of the first `count` transactions
/// exactly once, and nothing else.
pub(crate) fn check(folder: &Path, count: u64) -> Result<()> {
    let path = folder.join("transactions.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{} can not be read", path.display()))?;
    check_text(&text, count).with_context(|| format!("{} is not as it must be", path.display()))
}

fn check_text(text: &str, count: u64) -> Result<()> {
    let rows: Vec<Row<'_>> = serde_json::from_str(text)?;
    ensure!(rows.len() as u64 == count, "it has {} rows instead of {count}", rows.len());
    let mut ids = HashSet::with_capacity(rows.len());
    for row in &rows {
        let id = u128::from_str_radix(&row.id.replace('-', ""), 16).context("a row has an id that is no UUID")?;
        ensure!(ids.insert(id), "{} is there twice", row.id);
    }
    let sum = ids.iter().fold(0, |sum: u128, id| sum.wrapping_add(*id));
    ensure!(sum == sum_of_ids(count), "it has rows that were never pushed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::id;

    fn text(numbers: &[u64]) -> String {
        let rows = numbers.iter().map(|number| format!(r#"{{"id":"{:032x}"}}"#, id(*number)));
        format!("[{}]", rows.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn what_is_missing_double_or_foreign_is_found() {
        check_text(&text(&[2, 0, 1]), 3).unwrap();
        check_text("[]", 0).unwrap();
        for wrong in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 3]] {
            assert!(check_text(&text(wrong), 3).is_err(), "{wrong:?}");
        }
    }
}
