//! The lines of the log and the errors that documents quote are those that the code writes.
//!
//! A quoted line is cut where it has what differs from run to run: `…`, numbers with their nouns,
//! addresses, and words in quotation marks; and at colons, semicolons and commas, where lines are
//! put together. The words between must stand together in the source, nearly in one piece. So a
//! changed word is found.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Shorter quotes are names of files and fields.
const WORDS: usize = 4;
/// For so many words one more piece is allowed: a number may be written as a word.
const WORDS_PER_PIECE: usize = 5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The words of a text: letters, with what may stand within a word.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mark = |character: char| matches!(character, '\'' | '.' | '_' | '=' | '-');
    let words = text.split(move |character: char| !character.is_alphabetic() && !mark(character));
    words.map(move |word| word.trim_matches(mark)).filter(|word| !word.is_empty())
}

/// The words of the sources, and where each stands.
struct Source {
    words: Vec<String>,
    places: HashMap<String, Vec<usize>>,
}

impl Source {
    fn read() -> Self {
        let mut text = String::new();
        for folder in ["proto/src", "node-template/src", "xtask/src"] {
            add(&root().join(folder), &mut text);
        }
        // A text may go on in the next line.
        let joined: String = text.split("\\\n").map(|part| part.trim_start().to_owned() + " ").collect();
        let words: Vec<String> = words(&without_placeholders(&joined)).map(str::to_owned).collect();
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, word) in words.iter().enumerate() {
            places.entry(word.clone()).or_default().push(place);
        }
        Self { words, places }
    }

    /// The most of these words, from the first on, that stand together.
    fn longest(&self, wanted: &[&str]) -> usize {
        let places = wanted.first().and_then(|first| self.places.get(*first));
        let common =
            |place: &usize| self.words[*place..].iter().zip(wanted).take_while(|(has, wants)| has == *wants).count();
        places.into_iter().flatten().map(common).max().unwrap_or(0)
    }

    /// In how many pieces these words stand here; `None`: one of them does not. The longest piece
    /// first is the best: each part of a piece is one too.
    fn pieces(&self, mut wanted: &[&str]) -> Option<usize> {
        let mut pieces = 0;
        while !wanted.is_empty() {
            let found = self.longest(wanted);
            wanted = &wanted[found..];
            pieces += 1;
            if found == 0 {
                return None;
            }
        }
        Some(pieces)
    }

    fn has(&self, line: &str) -> bool {
        let allowed = |part: &[&str]| 1 + part.len() / WORDS_PER_PIECE;
        constant_parts(&without_os_error(line))
            .iter()
            .all(|part| self.pieces(part).is_some_and(|pieces| pieces <= allowed(part)))
    }
}

/// Adds the files of a folder. Tests may quote what nobody writes.
fn add(folder: &Path, all: &mut String) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            add(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            all.push_str(&fs::read_to_string(&path).expect("read"));
        }
    }
}

/// Replaces what is filled in, as in `{name:?}`, by a blank. Blocks of code stay.
fn without_placeholders(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        result.push_str(before);
        result.push(' ');
        let is_format = |character: char| character.is_alphanumeric() || "_.:?#>".contains(character);
        let length = after.find(|character| !is_format(character)).unwrap_or(after.len());
        rest = if after[length..].starts_with('}') { &after[length + 1..] } else { after };
    }
    result + rest
}

/// Cuts out the number of a system's error, as in `(os error 28)`: the system writes it.
fn without_os_error(line: &str) -> String {
    match line.split_once("(os error ").and_then(|(before, after)| Some((before, after.split_once(')')?.1))) {
        Some((before, after)) => format!("{before}…{after}"),
        None => line.to_owned(),
    }
}

/// The parts of a quoted line that are the same in every run.
fn constant_parts(line: &str) -> Vec<Vec<&str>> {
    let differs = |token: &str| {
        let number = token.contains(|character: char| character.is_ascii_digit() || matches!(character, '…' | '"'));
        number || token.contains("ws://") || token.starts_with('\'')
    };
    let mut parts = vec![Vec::new()];
    let mut tokens = line.split_whitespace();
    while let Some(token) = tokens.next() {
        if token.bytes().all(|byte| byte.is_ascii_digit()) {
            // Its noun follows, in the singular or the plural.
            tokens.next();
        }
        if !differs(token) {
            parts.last_mut().expect("one is there").extend(words(token));
        }
        if differs(token) || token.ends_with([':', ';', ',']) {
            parts.push(Vec::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The lines that a document quotes: first cells of tables that are code, warnings and errors.
/// Calls of commands are none.
fn quotes(document: &str) -> impl Iterator<Item = &str> {
    let cells = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(quote, _)| quote));
    let lines = document.lines().filter_map(|line| line.strip_prefix("WARN ").or_else(|| line.strip_prefix("error: ")));
    let is_command = |quote: &str| quote.contains(['[', '<']) || quote.contains("--") || quote.starts_with(['/', '-']);
    cells.chain(lines).filter(move |quote| words(quote).count() >= WORDS && !is_command(quote))
}

#[test]
fn quoted_lines_are_those_that_the_code_writes() {
    let source = Source::read();
    let mut checked = 0;
    for name in ["docs/operations.md", "README.md", "docs/tutorial.md"] {
        let document = fs::read_to_string(root().join(name)).expect("read");
        checked += quotes(&document).count();
        let wrong: Vec<_> = quotes(&document).filter(|quote| !source.has(quote)).collect();
        assert!(wrong.is_empty(), "{name} quotes what the code does not write: {wrong:#?}");
    }
    assert!(checked > 30, "{checked} quotes were found");
}

#[test]
fn a_changed_word_is_found() {
    let source = Source::read();
    let line = "cannot write node-1/transactions.json: …; free space on the disk; the node keeps trying";
    assert!(source.has(line));
    for (right, wrong) in [
        ("free space on the disk", "make room for it on the disk"),
        ("the node keeps trying", "the node goes on trying"),
        ("cannot write", "unable to write to"),
    ] {
        assert!(!source.has(&line.replace(right, wrong)), "{wrong}");
    }
}
