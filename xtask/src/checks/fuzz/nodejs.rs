//! Compares our JSON with that of Node.js on every input that the fuzzer kept.

#[path = "../../../../node-template/tests/support/nodejs.rs"]
mod oracle;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use meshpool::protocol::json::Parser;

/// The comparison of some folders' files.
pub(crate) struct Judged {
    /// How many of them are UTF-8.
    pub(crate) texts: usize,
    /// The first file on which we differ, and how.
    pub(crate) complaint: Option<(PathBuf, String)>,
}

/// Compares on each file that is UTF-8.
pub(crate) fn judge(folders: &[&Path]) -> Result<Judged> {
    let (mut files, mut texts) = (Vec::new(), Vec::new());
    for folder in folders {
        for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let file = entry?.path();
            let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(file);
                texts.push(text);
            }
        }
    }
    let verdicts = oracle::ask_node(&texts).map_err(|error| anyhow!(error))?;
    let mut parser = Parser::new();
    let complaint = files
        .into_iter()
        .zip(&texts)
        .zip(&verdicts)
        .find_map(|((file, text), verdict)| Some((file, oracle::complaint(&mut parser, text, verdict.as_ref())?)));
    Ok(Judged { texts: texts.len(), complaint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_texts_are_judged_and_bytes_that_are_none_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let texts = [&br#"{"b":1e21,"a":[-0.0]}"#[..], b"{", b"1e999", b"\xff"];
        for (name, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(name.to_string()), text).expect("written");
        }
        fs::write(folder.path().join("deep"), "[".repeat(1_000) + &"]".repeat(1_000)).expect("written");
        let judged = judge(&[folder.path()]).expect("Node.js answers");
        assert_eq!((judged.texts, judged.complaint), (4, None));
    }
}
