//! Adds the fields of the exercise's transactions where they are missing: `id`, `timeStamp` and
//! `hash`. May sign the transaction too.
//!
//! The same content is the same transaction everywhere: without an `id` the same payment could not
//! be made twice. The fields are appended to the object's text; the rest stays as it is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::folder::node_key::NodeKey;
use crate::protocol::json::{Kind, Parser, Value};
use crate::protocol::transaction::{InvalidTransaction, Transaction};
use crate::signing;

/// See [`ExerciseFields::add`].
#[derive(Debug, Clone)]
pub(crate) struct ExerciseFields {
    raw: bool,
    key: Option<Arc<NodeKey>>,
}

impl ExerciseFields {
    /// With `raw`, no field is added.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, key: None }
    }

    /// Also signs, as [`signing::sign`] does.
    #[cfg(feature = "cli")]
    pub(crate) fn signed_by(self, key: Arc<NodeKey>) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Parses an object's text and adds the clock's time, a random id, a hash, and a signature if
    /// there is a key.
    ///
    /// # Errors
    /// [`InvalidTransaction`] if the text, or the text with the fields, is not a transaction.
    pub(crate) fn add(&self, parser: &mut Parser, text: &str) -> Result<Transaction, InvalidTransaction> {
        let completed = self.complete(parser, text)?;
        match &self.key {
            Some(key) => signing::sign(key, parser, completed),
            None => Ok(completed),
        }
    }

    fn complete(&self, parser: &mut Parser, text: &str) -> Result<Transaction, InvalidTransaction> {
        let given = Transaction::parse(parser, text)?;
        if self.raw {
            return Ok(given);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("a node needs the system's randomness too");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        match complete(parser, given.body(), id, now)? {
            Some(completed) => Transaction::parse(parser, &completed),
            None => Ok(given),
        }
    }
}

/// Returns the completed text of a compact object; `None` if nothing is missing. `now`:
/// milliseconds since 1970, as of `Date.now()`.
fn complete(parser: &mut Parser, body: &str, id: Uuid, now: u128) -> Result<Option<String>, InvalidTransaction> {
    let object = parser.parse(body)?;
    let mut added = String::new();
    let mut add = |name: &str, value: &str| {
        let comma = if added.is_empty() && body == "{}" { "" } else { "," };
        write!(added, r#"{comma}"{name}":{value}"#).expect("writing to a String succeeds");
    };
    if object.get("id").is_none() {
        add("id", &format!("\"{id}\""));
    }
    let mut time = javascript(object.get("timeStamp"));
    if object.get("timeStamp").is_none() {
        time = now.to_string();
        add("timeStamp", &time);
    }
    if object.get("hash").is_none() {
        add("hash", &format!("\"{}\"", hash(&object, &time)));
    }
    let open = body.strip_suffix('}').expect("an object's compact text ends with its bracket");
    Ok((!added.is_empty()).then(|| format!("{open}{added}}}")))
}

/// Returns the hash that the exercise computes of a transaction.
#[cfg(feature = "web")]
pub(crate) fn exercise_hash(object: &Value<'_>) -> String {
    hash(object, &javascript(object.get("timeStamp")))
}

fn hash(object: &Value<'_>, time: &str) -> String {
    let text = ["fromAddress", "toAddress", "amount"].map(|name| javascript(object.get(name))).concat() + time;
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// Formats a value as JavaScript's `String()` does. Numbers have their ECMAScript form already.
fn javascript(value: Option<Value<'_>>) -> String {
    let Some(value) = value else {
        return "undefined".to_owned();
    };
    match value.kind() {
        Kind::Null => "null".to_owned(),
        Kind::True => "true".to_owned(),
        Kind::False => "false".to_owned(),
        Kind::Number => value.raw().to_owned(),
        Kind::String => value.as_str().map(|text| text.into_owned()).unwrap_or_default(),
        Kind::Object => "[object Object]".to_owned(),
        Kind::Array => {
            let element = |value: Value<'_>| {
                if value.kind() == Kind::Null { String::new() } else { javascript(Some(value)) }
            };
            value.elements().map(element).collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u128 = 1_700_000_000_123;

    fn completed(body: &str) -> Option<String> {
        complete(&mut Parser::new(), body, Uuid::nil(), NOW).expect(body)
    }

    fn hash(text: &str) -> String {
        HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
    }

    #[test]
    fn missing_fields_are_added_at_the_end() {
        let id = Uuid::nil();
        let hash_of = |text: &str| hash(&format!("{text}{NOW}"));
        assert_eq!(
            completed(r#"{"fromAddress":null,"toAddress":"key","amount":100}"#),
            Some(format!(
                r#"{{"fromAddress":null,"toAddress":"key","amount":100,"id":"{id}","timeStamp":{NOW},"hash":"{}"}}"#,
                hash_of("nullkey100")
            ))
        );
        assert_eq!(
            completed("{}"),
            Some(format!(r#"{{"id":"{id}","timeStamp":{NOW},"hash":"{}"}}"#, hash_of("undefinedundefinedundefined")))
        );
    }

    #[test]
    fn a_clock_that_jumps_does_not_matter() {
        let ten_years = 10 * 365 * 24 * 60 * 60 * 1_000;
        let mut ids = std::collections::BTreeSet::new();
        // 0 stands for all times before 1970; the last is the end of the year 9999.
        for now in [0, NOW - ten_years, NOW, NOW + ten_years, 253_402_300_799_999] {
            let completed = complete(&mut Parser::new(), r#"{"amount":1}"#, Uuid::nil(), now).expect("an object");
            let completed =
                Transaction::parse(&mut Parser::new(), &completed.expect("it was incomplete")).expect("sound");
            assert!(ids.insert(completed.id()), "{now}");
        }
    }

    #[test]
    fn present_fields_stay() {
        assert_eq!(completed(r#"{"id":1,"timeStamp":2,"hash":null}"#), None);
        let own_time = completed(r#"{"id":"a","timeStamp":"noon","amount":1}"#).expect("a hash");
        assert!(
            own_time.ends_with(&format!(r#""amount":1,"hash":"{}"}}"#, hash("undefinedundefined1noon"))),
            "{own_time}"
        );
    }

    #[test]
    fn values_as_javascript_writes_them() {
        // From Node.js: String([1,[2,null],"x"]), String({}), String(true).
        for (json, text) in [
            (r#"[1,[2,null],"x"]"#, "1,2,,x"),
            ("{}", "[object Object]"),
            ("true", "true"),
            ("null", "null"),
            (r#""é\n""#, "é\n"),
            ("1e21", "1e21"),
        ] {
            let mut parser = Parser::new();
            assert_eq!(javascript(Some(parser.parse(json).expect(json))), text);
        }
        assert_eq!(javascript(None), "undefined");
    }

    #[test]
    fn the_same_amount_twice_is_two_transactions_unless_raw() {
        let mut parser = Parser::new();
        let mut id = |raw| ExerciseFields::new(raw).add(&mut parser, r#"{"amount":1}"#).expect("a transaction").id();
        assert_ne!(id(false), id(false));
        assert_eq!(id(true), id(true));
    }
}
