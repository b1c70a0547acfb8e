//! The flags that say what is sent.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

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
        let is_plain = |value: &Value| value.is_number() || value.is_boolean() || value.is_null();
        let plain = serde_json::from_str(value).ok().filter(is_plain).map(|_| value.trim().to_owned());
        members.push((name, plain.unwrap_or_else(|| Value::from(value).to_string())));
    }
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    Ok(format!("{{{}}}", members.join(",")))
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
        ] {
            let error = text(arguments).expect_err(part).to_string();
            assert!(error.starts_with("nothing was sent: ") && error.contains(part), "{error}");
        }
    }
}
