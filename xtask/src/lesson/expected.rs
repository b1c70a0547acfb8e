//! What the tutorial quotes, as patterns: a quote holds ids, times and ports of one run, and other
//! runs have others.

use anyhow::{Context, Result};

/// A hexadecimal word of this length is an id.
const ID: usize = 8;

/// A line as the tutorial quotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinePattern {
    /// The line, for a message that it is missing.
    pub(crate) quote: String,
    /// What stands in every such line, in this order.
    parts: Vec<String>,
}

impl LinePattern {
    pub(crate) fn new(quote: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut rest = quote;
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len()).max(first.len_utf8());
            let (word, after) = rest.split_at(end);
            rest = after;
            match differs(word) {
                true => parts.push(String::new()),
                false => parts.last_mut().expect("there is one").push_str(word),
            }
        }
        parts.retain(|part| !part.trim().is_empty());
        Self { quote: quote.to_owned(), parts }
    }

    /// Whether a line is of this form. It may hold more at both ends.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let mut rest = line;
        self.parts.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }

    /// Returns the pattern with another text for some texts, such as ports.
    pub(crate) fn map(&self, map: impl Fn(&str) -> String) -> Self {
        Self { quote: map(&self.quote), parts: self.parts.iter().map(|part| map(part)).collect() }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '…' | '.' | '-' | ':')
}

/// Whether a word is another in each run: an id, a time, a fraction, or what was left out.
fn differs(word: &str) -> bool {
    let is_id = word.len() >= ID && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = word.len() > ID && word.ends_with('Z') && word.contains('T');
    let is_fraction = word.contains('.') && word.parse::<f64>().is_ok();
    is_id || is_time || is_fraction || word.contains('…')
}

/// A frame as the tutorial quotes it: between whom, and of which type. A name that ends in `…` is
/// that of any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FramePattern {
    from: String,
    to: String,
    pub(crate) kind: String,
}

impl FramePattern {
    pub(crate) fn new(quote: &str) -> Result<Self> {
        let (before, after) = quote.split_once(" → ").context("a frame has no arrow")?;
        let kind = after.split_once(r#"{"type":""#).and_then(|(_, rest)| rest.split('"').next());
        Ok(Self {
            from: before.split_whitespace().next_back().unwrap_or_default().to_owned(),
            to: after.split_whitespace().next().unwrap_or_default().to_owned(),
            kind: kind.with_context(|| format!("a frame has no type: {quote}"))?.to_owned(),
        })
    }

    pub(crate) fn matches(&self, from: &str, to: &str, kind: &str) -> bool {
        let is = |pattern: &str, name: &str| match pattern.strip_suffix('…') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        is(&self.from, from) && is(&self.to, to) && self.kind == kind
    }
}

impl std::fmt::Display for FramePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {} to {}", self.kind, self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_run_has_other_ids_times_and_fractions() {
        let quote = "2026-11-28T13:39:46.086Z linked to ws://localhost:4001 (da1e2f93), which we dialled; 1 peer";
        let pattern = LinePattern::new(quote);
        assert!(pattern.matches(quote));
        let other = quote.replace("da1e2f93", "06611cde").replace("13:39:46.086", "14:00:01.002");
        assert!(pattern.matches(&other));
        for (right, wrong) in [("4001", "4002"), ("we dialled", "dialled us"), ("1 peer", "2 peers")] {
            assert!(!pattern.matches(&other.replace(right, wrong)), "{wrong}");
        }
        let waits = LinePattern::new("refused the connection; trying again in 0.3 s");
        assert!(waits.matches("refused the connection; trying again in 2.0 s"));
        assert!(LinePattern::new("linked to …, which …; 1 peer").matches("linked to x, which dialled us; 1 peer"));
        assert!(LinePattern::new("2d2c1335…").matches("anything"), "an id alone says nothing");
    }

    #[test]
    fn ports_can_be_others() {
        let pattern = LinePattern::new("listening on ws://localhost:4001").map(|text| text.replace("4001", "4101"));
        assert!(pattern.matches("listening on ws://localhost:4101 as node 1") && pattern.quote.contains("4101"));
    }

    #[test]
    fn a_frame_is_known_by_its_ends_and_its_type() {
        let pattern =
            FramePattern::new(r#" 0.3  node-3 → node-…  12 bytes  {"type":"WANT","data":["#).expect("a frame");
        assert!(pattern.matches("node-3", "node-1", "WANT"));
        for (from, to, kind) in
            [("node-2", "node-1", "WANT"), ("node-3", "client", "WANT"), ("node-3", "node-1", "SYNC")]
        {
            assert!(!pattern.matches(from, to, kind));
        }
        assert_eq!(pattern.to_string(), "WANT from node-3 to node-…");
        assert!(FramePattern::new("node-1 → node-2  close").is_err());
    }
}
