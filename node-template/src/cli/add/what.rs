//! The flags that say what is sent.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::protocol::json::{JsonError, Kind, Parser};
use crate::protocol::transaction::{InvalidTransaction, Transaction};

/// What to send.
#[derive(Debug, Default, clap::Args)]
pub struct What {
    /// The transaction: a JSON object, or its fields, as in `to=bob amount=5`, which no shell
    /// changes; "-" reads many from standard input [default: the reward transaction to
    /// MY_PUBLIC_KEY]
    #[arg(value_name = "JSON|FIELD=VALUE", conflicts_with = "file")]
    pub(crate) transaction: Vec<String>,
    /// Send it unchanged: add no id, timeStamp, hash or signature
    #[arg(long)]
    pub(crate) raw: bool,
    /// Do not sign it with the key of the node's folder
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// Send those of this file: one per line, or the elements of a JSON array; "-" is standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Do not wait until the node has it on disk
    #[arg(long)]
    pub(crate) no_wait: bool,
}

impl What {
    /// The transactions of a file, unchanged; "-" is standard input.
    pub fn unchanged(file: &Path) -> Self {
        Self { raw: true, file: Some(file.to_owned()), ..Self::default() }
    }

    /// Returns the text of the transaction, if the command line has one.
    ///
    /// # Errors
    /// One of them is no field, or is there twice.
    pub(crate) fn text(&self) -> Result<Option<String>> {
        match &self.transaction[..] {
            [] => Ok(None),
            [one] if one == "-" || one.trim_start().starts_with(['{', '[']) || !one.contains('=') => {
                Ok(Some(one.clone()))
            }
            fields => object(fields).map(Some),
        }
    }

    /// Whether it is to be signed.
    pub(crate) fn signs(&self) -> bool {
        !self.unsigned && !self.raw
    }
}

/// Returns the object that has these fields, in their order. A value that is a number, `true`,
/// `false` or `null` in JSON is that, and any other one is a text.
fn object(fields: &[String]) -> Result<String> {
    let mut members: Vec<(&str, String)> = Vec::new();
    for field in fields {
        let (name, value) = field.split_once('=').filter(|(name, _)| !name.is_empty()).with_context(|| {
            format!(
                "nothing was sent: {field:?} is no FIELD=VALUE; write fields as in `to=bob amount=5`, or one JSON object in quotes"
            )
        })?;
        ensure!(
            members.iter().all(|(other, _)| *other != name),
            "nothing was sent: the field {name:?} is there twice; leave one out"
        );
        members.push((name, member(name, value)?));
    }
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    Ok(format!("{{{}}}", members.join(",")))
}

/// Returns the value of a field as JSON.
fn member(name: &str, value: &str) -> Result<String> {
    let mut parser = Parser::new();
    let plain = parser
        .parse(value)
        .ok()
        .filter(|value| matches!(value.kind(), Kind::Number | Kind::True | Kind::False | Kind::Null));
    let Some(plain) = plain.map(|value| value.raw().to_owned()) else { return Ok(Value::from(value).to_string()) };
    // A number that not all nodes read alike is no text by itself: its author meant a number.
    if let Err(InvalidTransaction::Json(JsonError::Number { number, nearest, .. })) =
        Transaction::parse(&mut parser, &format!("{{\"\":{plain}}}"))
    {
        bail!(
            "nothing was sent: JavaScript nodes would turn the number {number} of {name:?} into {nearest}; to send it as a text write one JSON object: '{{{}:\"{number}\"}}'",
            Value::from(name)
        );
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(arguments: &[&str]) -> Result<Option<String>> {
        What { transaction: arguments.iter().map(ToString::to_string).collect(), ..What::default() }.text()
    }

    #[test]
    fn fields_become_an_object_and_json_stays_as_it_is() {
        for (arguments, expected) in [
            (&["from=ann", "to=bob", "amount=5"][..], r#"{"from":"ann","to":"bob","amount":5}"#),
            (
                &["a=-1.5e3", "b=true", "c=null", "d=", "e=01", "f=a=b"],
                r#"{"a":-1.5e3,"b":true,"c":null,"d":"","e":"01","f":"a=b"}"#,
            ),
            (&["note=two words \"quoted\"", "list=[1]"], r#"{"note":"two words \"quoted\"","list":"[1]"}"#),
            (&[r#"{"a":"b=c"}"#], r#"{"a":"b=c"}"#),
            (&["-"], "-"),
            (&["{amount: 5}"], "{amount: 5}"),
        ] {
            assert_eq!(text(arguments).expect("valid").as_deref(), Some(expected));
        }
        assert_eq!(text(&[]).expect("valid"), None);
    }

    #[test]
    fn what_is_no_field_is_named() {
        for (arguments, part) in [
            (&["a=1", "b"][..], "\"b\" is no FIELD=VALUE"),
            (&["=1"], "\"=1\" is no FIELD=VALUE"),
            (&["a=1", "a=2"], "\"a\" is there twice"),
            (&["{\"a\":", "1}"], "is no FIELD=VALUE"),
            (&["a=1e400"], "'{\"a\":\"1e400\"}'"),
            (&["b=1", "a=-1e400"], "the number -1e400 of \"a\" into -Infinity"),
            (&["a=1e-400"], "the number 1e-400 of \"a\" into 0"),
            (&["a=9007199254740993"], "into 9007199254740992"),
        ] {
            let error = text(arguments).expect_err(part).to_string();
            assert!(error.starts_with("nothing was sent: ") && error.contains(part), "{error}");
        }
    }
}
