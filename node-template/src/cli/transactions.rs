//! The newest transactions of a pool, with the verdicts on their signatures.

use std::io;

use anyhow::{Context, Result};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::api::{Api, Rows};
use crate::cli::node_folder::NodeFolder;
use crate::cli::table::Table;
use crate::cli::terminal::{plural, print, strip_control};
use crate::protocol::json::Parser;
use crate::protocol::transaction::{InvalidTransaction, Transaction};
use crate::signing::{self, Verdict};

/// The most characters of a transaction in a row.
const SHOWN: usize = 72;

/// Lists those in a folder's `transactions.json`, whose node need not run. All are judged, and the
/// newest `last` are printed.
///
/// # Errors
/// The file cannot be read, or is no array at this moment.
pub fn show_file(folder: &NodeFolder, last: usize, as_json: bool) -> Result<()> {
    let name = format!("{}/transactions.json", folder.name());
    let text = io::read_to_string(folder.open_pool()?).with_context(|| format!("{name} cannot be read"))?;
    let rows: Vec<&RawValue> = serde_json::from_str(&text)
        .with_context(|| format!("{name} is no array just now; ask again, or start its node, which repairs it"))?;
    let judged = judge_all(&rows);
    let first = judged.len().saturating_sub(last);
    let shown = list(first, &judged[first..]);
    if as_json {
        print(format!("{:#}", json!({ "total": judged.len(), "transactions": shown_as_json(&shown) })))?;
    } else {
        print_rows(&shown)?;
        print(summary(&folder.name(), &judged))?;
    }
    Ok(())
}

/// Lists the newest `last` of a node elsewhere. Only these are judged.
///
/// # Errors
/// The node gives no answer.
pub(crate) async fn show_remote(api: &mut Api, last: usize, as_json: bool) -> Result<()> {
    let Rows { total, rows } = api.newest(last).await?;
    let first = total.saturating_sub(rows.len() as u64) as usize;
    let rows: Vec<&RawValue> = rows.iter().map(AsRef::as_ref).collect();
    let judged = judge_all(&rows);
    let shown = list(first, &judged);
    if as_json {
        print(format!("{:#}", json!({ "total": total, "transactions": shown_as_json(&shown) })))?;
    } else {
        print_rows(&shown)?;
        print(format!("{} holds {} in all", api.name(), plural(total as usize, "transaction")))?;
    }
    Ok(())
}

/// Rows with their positions.
type Shown<'a> = Vec<(usize, &'a Judged)>;

fn list(first: usize, judged: &[Judged]) -> Shown<'_> {
    judged.iter().enumerate().map(|(at, judged)| (first + at, judged)).collect()
}

fn print_rows(shown: &Shown<'_>) -> Result<()> {
    if shown.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["no.", "identity", "signature", "transaction"]);
    for (at, judged) in shown {
        table.push(line(*at, judged));
    }
    Ok(print(table.to_string())?)
}

/// What is no transaction has a reason in place of an id.
fn shown_as_json(shown: &Shown<'_>) -> Vec<Value> {
    let one = |(at, judged): &(usize, &Judged)| match judged {
        Ok((transaction, verdict)) => json!({
            "number": at + 1,
            "id": transaction.id().to_string(),
            "signature": verdict.state(),
            "transaction": RawValue::from_string(transaction.body().to_owned()).ok(),
        }),
        Err(error) => json!({ "number": at + 1, "id": null, "reason": error.to_string() }),
    };
    shown.iter().map(one).collect()
}

/// A transaction with the verdict on its signature, or why the row is not a transaction.
type Judged = Result<(Transaction, Verdict), InvalidTransaction>;

/// Signatures that are verified together; more are no faster.
const TOGETHER: usize = 256;

/// Verifies all on all cores: each signature takes 10 to 40 µs.
fn judge_all(rows: &[&RawValue]) -> Vec<Judged> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts: Vec<_> = rows
            .chunks(rows.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || part.chunks(TOGETHER).flat_map(judge).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("judging does not panic")).collect()
    })
}

fn judge(rows: &[&RawValue]) -> Vec<Judged> {
    let mut parser = Parser::new();
    let read: Vec<_> = rows.iter().map(|row| Transaction::parse(&mut parser, row.get())).collect();
    let mut verdicts = signing::verify_all(read.iter().flatten()).into_iter();
    let mut verdict = || verdicts.next().expect("one for each transaction");
    read.into_iter().map(|transaction| transaction.map(|transaction| (transaction, verdict()))).collect()
}

fn line(at: usize, judged: &Judged) -> Vec<String> {
    let number = (at + 1).to_string();
    let (transaction, verdict) = match judged {
        Ok(judged) => judged,
        Err(error) => return vec![number, String::new(), String::new(), format!("no transaction: {error}")],
    };
    let verdict = match verdict {
        Verdict::Verified(key) => format!("verified {}", key.short()),
        Verdict::None => "unsigned".to_owned(),
        Verdict::Forged(_) => "FORGED".to_owned(),
    };
    let mut shown: String = strip_control(transaction.body()).chars().take(SHOWN).collect();
    if shown.len() < transaction.body().len() {
        shown.push('…');
    }
    vec![number, transaction.id().to_string()[..8].to_owned(), verdict, shown]
}

fn summary(name: &str, judged: &[Judged]) -> String {
    let number = |is: fn(&Verdict) -> bool| judged.iter().flatten().filter(|(_, verdict)| is(verdict)).count();
    let verified = number(|verdict| matches!(verdict, Verdict::Verified(_)));
    let unsigned = number(|verdict| matches!(verdict, Verdict::None));
    let forged = number(|verdict| matches!(verdict, Verdict::Forged(_)));
    format!(
        "{name} holds {}: {verified} verified, {unsigned} unsigned, {forged} forged",
        plural(judged.len(), "transaction")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_how_it_stands() {
        let forged = format!(r#"{{"publicKey":"{}","signature":"{}"}}"#, "a".repeat(64), "b".repeat(128));
        let texts = [r#"{"amount":1}"#.to_owned(), forged, "1".to_owned()];
        let rows: Vec<Box<RawValue>> =
            texts.iter().map(|text| RawValue::from_string(text.clone()).expect("JSON")).collect();
        let rows: Vec<&RawValue> = rows.iter().map(AsRef::as_ref).collect();
        let judged = judge_all(&rows);
        let lines: Vec<_> = (0..3).map(|at| line(at, &judged[at])).collect();
        assert_eq!(lines[0][2..], ["unsigned", r#"{"amount":1}"#]);
        assert_eq!((lines[1][0].as_str(), lines[1][2].as_str()), ("2", "FORGED"));
        assert!(lines[1][3].ends_with('…') && lines[2][3].starts_with("no transaction"), "{lines:?}");
        assert_eq!(summary("node-1", &judged), "node-1 holds 3 transactions: 0 verified, 1 unsigned, 1 forged");
        assert_eq!(summary("node-1", &judge_all(&[])), "node-1 holds 0 transactions: 0 verified, 0 unsigned, 0 forged");
    }
}
