//! The lines of the log and the errors that documents quote are those that the code writes.
//!
//! A quoted line is cut where it has what differs from run to run: `…`, numbers, addresses, and
//! words in quotation marks. The words between must stand together in the source, in few pieces: a
//! line is put together of several texts. So a changed word is found, and a moved text is not.

use std::fs;
use std::path::{Path, PathBuf};

/// Shorter quotes are names of files and fields.
const WORDS: usize = 4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The words of a text: letters, with what may stand within a word.
fn words(text: &str) -> Vec<&str> {
    let within = |character: char| character.is_alphabetic() || matches!(character, '\'' | '.' | '_' | '=' | '-');
    let words = text.split(|character| !within(character));
    words.map(|word| word.trim_matches(|edge: char| !edge.is_alphabetic())).filter(|word| !word.is_empty()).collect()
}

/// The words of all sources of some folders, in order, with one blank around each.
fn sources(folders: &[&str]) -> String {
    fn add(folder: &Path, all: &mut String) {
        let mut entries: Vec<_> =
            fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                add(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path).expect("read"));
            }
        }
    }
    let mut text = String::new();
    for folder in folders {
        add(&root().join(folder), &mut text);
    }
    // A text that goes on in the next line, and then what is filled in.
    let joined: String = text.split("\\\n").map(str::trim_start).collect();
    let constant: String = joined
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest))
        .fold(String::new(), |all, part| all + " " + part);
    format!(" {} ", words(&constant).join(" "))
}

/// The parts of a quoted line that are the same in every run.
fn constant_parts(line: &str) -> Vec<Vec<&str>> {
    let differs = |token: &str| {
        token.contains(|character: char| character.is_ascii_digit() || character == '…')
            || token.contains("ws://")
            || token.contains("\"")
            || token.starts_with('\'')
    };
    let mut found: Vec<Vec<&str>> = vec![Vec::new()];
    for token in line.split_whitespace() {
        if differs(token) {
            found.push(Vec::new());
        } else if let Some(part) = found.last_mut() {
            part.extend(words(token));
        }
    }
    found.retain(|part| !part.is_empty());
    found
}

/// In how many pieces these words stand in the source; `None`: one of them does not.
fn pieces(source: &str, words: &[&str]) -> Option<usize> {
    let mut best = vec![None; words.len() + 1];
    best[0] = Some(0);
    for from in 0..words.len() {
        let Some(before) = best[from] else { continue };
        for to in from + 1..=words.len() {
            if !source.contains(&format!(" {} ", words[from..to].join(" "))) {
                break;
            }
            best[to] = Some(best[to].map_or(before + 1, |known: usize| known.min(before + 1)));
        }
    }
    best[words.len()]
}

fn stands_in(source: &str, line: &str) -> bool {
    let parts = constant_parts(line);
    let count: usize = parts.iter().map(Vec::len).sum();
    let found: Option<usize> = parts.iter().map(|part| pieces(source, part)).sum();
    found.is_some_and(|found| found <= parts.len() + count / 3)
}

/// The lines that a document quotes: first cells of tables that are code, warnings and errors.
fn quotes(document: &str) -> Vec<&str> {
    let cells = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(quote, _)| quote));
    let lines = document.lines().filter_map(|line| line.strip_prefix("WARN ").or_else(|| line.strip_prefix("error: ")));
    cells.chain(lines).filter(|quote| words(quote).len() >= WORDS && !quote.starts_with(['/', '-'])).collect()
}

#[test]
fn quoted_lines_are_those_that_the_code_writes() {
    let source = sources(&["proto/src", "node-template/src", "xtask/src"]);
    let mut checked = 0;
    for name in ["docs/operations.md", "README.md", "docs/tutorial.md"] {
        let document = fs::read_to_string(root().join(name)).expect("read");
        // A table of commands is not one of lines.
        let wrong: Vec<_> = quotes(&document)
            .into_iter()
            .filter(|quote| !quote.contains(['[', '<']))
            .filter(|quote| {
                checked += 1;
                !stands_in(&source, quote)
            })
            .collect();
        assert!(wrong.is_empty(), "{name} quotes what the code does not write: {wrong:#?}");
    }
    assert!(checked > 30, "{checked} quotes were found");
}

#[test]
fn a_changed_word_is_found() {
    let source = sources(&["proto/src", "node-template/src", "xtask/src"]);
    let line = "cannot write node-1/transactions.json: … (os error 28); free space on the disk; the node keeps trying";
    assert!(stands_in(&source, line));
    for (right, wrong) in [("free space", "make room"), ("keeps", "goes on"), ("cannot write", "unable to write to")] {
        assert!(!stands_in(&source, &line.replace(right, wrong)), "{wrong}");
    }
}
