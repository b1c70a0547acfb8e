//! Node.js as a judge of JSON texts: what it says of them, and in what we differ. For
//! `tests/canonical.rs`, and for what `cargo xtask fuzz` kept.

use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};

use meshpool::protocol::json::{JsonError, Kind, Parser, write_pretty};
use meshpool::protocol::transaction::Transaction;
use serde::Deserialize;

/// What Node.js says of a text that is JSON to it; see `support/oracle.js`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// Every number is printed with the value that its text denotes.
    pub(crate) keeps_numbers: bool,
    /// No string holds half a surrogate pair.
    pub(crate) well_formed: bool,
    /// No key looks like an array's index.
    keeps_order: bool,
    canonical: String,
    identity: String,
    compact: String,
    /// The value as the only element of an array, in the layout with two spaces.
    in_array: String,
}

/// In what we differ from Node.js about a text.
pub(crate) fn complaint(parser: &mut Parser, text: &str, verdict: Option<&Verdict>) -> Option<String> {
    let (value, verdict) = match (parser.parse(text), verdict) {
        (Err(_), None) => return None,
        (Ok(_), None) => return Some("only we read it".into()),
        // Node.js has no bound of ours.
        (Err(JsonError::TooDeep { .. }), Some(_)) => return None,
        (Err(error), Some(_)) => return Some(format!("only Node.js reads it: {error}")),
        (Ok(value), Some(verdict)) => (value, verdict),
    };
    let keeps = verdict.keeps_numbers && verdict.well_formed;
    let mut normal = match (value.normal(), keeps) {
        (Err(_), false) => return None,
        (Err(error), true) => return Some(format!("we refuse it: {error}")),
        (Ok(normal), false) => return Some(format!("we accept it as {}", normal.canonical())),
        (Ok(normal), true) => normal,
    };
    let differs = |what: &str, ours: &str, theirs: &str| {
        (ours != theirs).then(|| format!("{what}: {ours:?}, in Node.js {theirs:?}"))
    };
    let mut compact = String::new();
    normal.write_compact(&mut compact);
    let mut pretty = Vec::from("[\n  ");
    write_pretty(&compact, 2, &mut pretty);
    pretty.extend_from_slice(b"\n]");
    differs("canonical", normal.canonical(), &verdict.canonical)
        .or_else(|| differs("compact", &compact, &verdict.compact).filter(|_| verdict.keeps_order))
        .or_else(|| {
            differs("pretty", &String::from_utf8_lossy(&pretty), &verdict.in_array).filter(|_| verdict.keeps_order)
        })
        .or_else(|| {
            let transaction = (value.kind() == Kind::Object).then(|| Transaction::from_value(value, None))?;
            differs(
                "identity",
                &transaction.map_or_else(|error| error.to_string(), |ours| ours.id().to_string()),
                &verdict.identity,
            )
        })
}

/// Asks Node.js about all texts at once: for each a verdict, or `None` if it is no JSON to it.
///
/// # Errors
/// In one line, if there is no Node.js, or it does not answer as it should.
pub(crate) fn ask_node(texts: &[String]) -> Result<Vec<Option<Verdict>>, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../node-template/tests/support/oracle.js");
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node cannot be started ({error}): install Node.js 20 or newer"))?;
    let mut stdin = BufWriter::new(node.stdin.take().expect("it is piped"));
    let (written, output) = std::thread::scope(|scope| {
        // From a thread of its own: a pipe takes 64 KiB, and nothing here may rely on Node.js
        // reading all before it writes.
        let writer = scope.spawn(move || {
            texts.iter().try_for_each(|text| writeln!(stdin, "{}", serde_json::json!(text)))?;
            stdin.flush()
        });
        let output = node.wait_with_output();
        (writer.join().expect("writing does not panic"), output)
    });
    let output = output.map_err(|error| format!("node's answers cannot be read: {error}"))?;
    if !output.status.success() {
        return Err(format!("node failed ({}): what it said is above", output.status));
    }
    written.map_err(|error| format!("node does not read its input to the end: {error}"))?;
    let answers = String::from_utf8_lossy(&output.stdout);
    let verdicts: Vec<_> = answers
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("node answered {line}: {error}")))
        .collect::<Result<_, _>>()?;
    if verdicts.len() == texts.len() {
        Ok(verdicts)
    } else {
        Err(format!("node gave {} answers about {} texts", verdicts.len(), texts.len()))
    }
}
