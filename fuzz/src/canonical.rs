//! The JSON parser and the canonical form (RFC 8785) against serde_json and
//! serde_json_canonicalizer.

use meshpool_proto::json::{JsonError, Parser, Value, write_pretty};
use meshpool_proto::transaction::Transaction;
use serde::de::IgnoredAny;

use crate::planted;

/// Parses a text as JSON, and compares the result with other parsers.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (mut parser, mut again) = (Parser::new(), Parser::new());
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let value = match parser.parse(text) {
        Ok(value) => value,
        Err(JsonError::TooDeep { .. }) => return,
        Err(error) => return assert!(!is_json, "rejected, although it is JSON: {error}"),
    };
    assert!(is_json, "parsed, although it is no JSON");
    let Ok(mut normal) = value.normal() else { return };
    let mut compact = String::new();
    normal.write_compact(&mut compact);
    let canonical = normal.canonical();
    // Planted: numbers as C prints them.
    let printed = planted::is_due(|| canonical.contains("e-8")).then(|| canonical.replace("e-8", "e-08"));
    let canonical = printed.as_deref().unwrap_or(canonical);
    for other in [canonical, &compact] {
        let same = again.parse(other).and_then(Value::normal).expect("the output can be parsed");
        assert_eq!(same.canonical(), canonical, "of {other}");
    }
    // serde_json also rejects a lone surrogate and a number beyond f64 in a member that a later one
    // of the same name replaces. JavaScript does not.
    let theirs = serde_json::from_str::<serde_json::Value>(text).or_else(|_| serde_json::from_str(&compact));
    let theirs = theirs.expect("the output is JSON");
    assert_eq!(serde_json_canonicalizer::to_string(&theirs).expect("a value can be written"), canonical);
    let mut pretty = Vec::new();
    write_pretty(&compact, 0, &mut pretty);
    let read: serde_json::Value = serde_json::from_slice(&pretty).expect("the pretty output is JSON");
    assert_eq!(read, serde_json::from_str::<serde_json::Value>(&compact).expect("the output is JSON"));
    if let Ok(transaction) = Transaction::parse(&mut again, text) {
        assert_eq!(transaction.body(), compact);
        for other in [canonical, str::from_utf8(&pretty).expect("a text")] {
            let same = Transaction::parse(&mut again, other).expect("the same in another layout");
            assert_eq!(same.id(), transaction.id());
        }
    }
}
