//! JSON as the network needs it.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// null
    Null,
    /// true
    True,
    /// false
    False,
    /// number
    Number,
    /// string
    String,
    /// array
    Array,
    /// object
    Object,
}

/// Why a text is no JSON for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// A reusable parser.
#[derive(Debug, Default)]
pub struct Parser {}

/// One value of a parsed text.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    raw: &'a str,
}

impl Parser {
    /// new
    pub fn new() -> Self {
        Self {}
    }
    /// parse
    pub fn parse<'a>(&'a mut self, text: &'a str) -> Result<Value<'a>, JsonError> {
        let raw: &'a RawValue = serde_json::from_str(text).map_err(|e| JsonError(e.to_string()))?;
        Ok(Value { raw: raw.get() })
    }
}

impl<'a> Value<'a> {
    /// kind
    pub fn kind(self) -> Kind {
        match self.raw.as_bytes()[0] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' => Kind::True,
            b'f' => Kind::False,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }
    /// raw
    pub fn raw(self) -> &'a str {
        self.raw
    }
    /// get
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let map: Vec<(String, &'a RawValue)> =
            serde_json::from_str::<std::collections::BTreeMap<String, &'a RawValue>>(self.raw)
                .ok()?
                .into_iter()
                .collect();
        map.into_iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| Value { raw: v.get() })
    }
    /// elements
    pub fn elements(self) -> impl Iterator<Item = Value<'a>> {
        serde_json::from_str::<Vec<&'a RawValue>>(self.raw)
            .unwrap_or_default()
            .into_iter()
            .map(|v| Value { raw: v.get() })
    }
    /// as_str
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        serde_json::from_str::<String>(self.raw).ok().map(Cow::Owned)
    }
    /// as_f64
    pub fn as_f64(self) -> Option<f64> {
        serde_json::from_str(self.raw).ok()
    }
    /// compact
    pub fn write_compact(self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let value: serde_json::Value = serde_json::from_str(self.raw).map_err(|e| JsonError(e.to_string()))?;
        serde_json::to_writer(out, &value).map_err(|e| JsonError(e.to_string()))
    }
    /// canonical
    pub fn write_canonical(self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        fn sorted(value: serde_json::Value) -> serde_json::Value {
            match value {
                serde_json::Value::Object(map) => {
                    let mut v: Vec<_> = map.into_iter().collect();
                    v.sort_by(|a, b| a.0.cmp(&b.0));
                    serde_json::Value::Object(v.into_iter().map(|(k, v)| (k, sorted(v))).collect())
                }
                serde_json::Value::Array(v) => serde_json::Value::Array(v.into_iter().map(sorted).collect()),
                other => other,
            }
        }
        let value: serde_json::Value = serde_json::from_str(self.raw).map_err(|e| JsonError(e.to_string()))?;
        serde_json::to_writer(out, &sorted(value)).map_err(|e| JsonError(e.to_string()))
    }
}

/// Writes compact JSON in the layout of `JSON.stringify(value, null, 2)`, each line after the first indented by `indent` more spaces.
pub fn write_pretty(compact: &str, indent: usize, out: &mut Vec<u8>) {
    let value: serde_json::Value = serde_json::from_str(compact).expect("compact JSON");
    let text = serde_json::to_string_pretty(&value).expect("writable");
    out.extend_from_slice(text.replace('\n', &format!("\n{}", " ".repeat(indent))).as_bytes());
}
