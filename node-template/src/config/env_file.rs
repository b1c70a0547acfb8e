//! A folder's `.env`: names, values and lines. dotenvy parses it; the process's environment stays
//! as it is.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use crate::config::error::SettingsError;
use crate::folder::files::{read_text, shown};

/// Replaces dollar signs while dotenvy parses: it would substitute the process's variables, which
/// the exercise's JavaScript nodes, which read the same file, do not. No text contains this
/// noncharacter.
const DOLLAR: char = '\u{fdd0}';

#[derive(Debug)]
pub(crate) struct EnvFile {
    /// The path to show.
    pub(crate) path: String,
    pub(crate) exists: bool,
    pub(crate) entries: Vec<Entry>,
}

/// One assignment.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Its last line, from 1.
    pub(crate) line: usize,
}

impl EnvFile {
    /// Reads the `.env` of a folder; a missing file has no entries.
    pub(crate) fn read(folder: &Path) -> Result<Self, SettingsError> {
        let path = shown(folder, ".env");
        let text = read_text(&folder.join(".env"), &path)?;
        let entries = parse(text.as_deref().unwrap_or_default(), &path)?;
        Ok(Self { path, exists: text.is_some(), entries })
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.name == name)
    }
}

/// Returns the last value of a name in a folder's `.env`. Where the file cannot be parsed, the
/// lines that can be are read.
pub(crate) fn last_value(folder: &Path, name: &str) -> Option<String> {
    let path = shown(folder, ".env");
    let text = read_text(&folder.join(".env"), &path).ok()??;
    let whole = parse(&text, &path);
    let entries = whole.unwrap_or_else(|_| text.lines().filter_map(|line| parse(line, &path).ok()).flatten().collect());
    entries.into_iter().rev().find(|entry| entry.name == name).map(|entry| entry.value)
}

fn parse(text: &str, path: &str) -> Result<Vec<Entry>, SettingsError> {
    // dotenvy fails on a space at the end of the file: hence the last line break.
    let text = text.replace("\r\n", "\n").replace("\\$", "$").replace('$', DOLLAR.encode_utf8(&mut [0; 4])) + "\n";
    let line = Cell::new(0);
    let mut entries = Vec::new();
    for assignment in dotenvy::from_read_iter(Lines { text: text.as_bytes(), served: &line }) {
        match assignment {
            Ok((name, value)) => entries.push(Entry { name, value: value.replace(DOLLAR, "$"), line: line.get() }),
            Err(error) => {
                // An open quote runs to the end of the file: the error is where it starts.
                let lines = if let dotenvy::Error::LineParse(text, _) = &error { text.lines().count() } else { 1 };
                return Err(SettingsError::Syntax {
                    path: path.to_owned(),
                    line: line.get() + 1 - lines.clamp(1, line.get()),
                });
            }
        }
    }
    Ok(entries)
}

/// Yields one line per read and counts them, since dotenvy reports no line numbers.
struct Lines<'a> {
    text: &'a [u8],
    served: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.text.iter().position(|byte| *byte == b'\n').map_or(self.text.len(), |end| end + 1);
        let served = line.min(buffer.len());
        let (now, later) = self.text.split_at(served);
        buffer[..served].copy_from_slice(now);
        self.text = later;
        self.served.set(self.served.get() + usize::from(now.ends_with(b"\n")));
        Ok(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let entries = parse(text, ".env").expect(text);
        entries.into_iter().map(|entry| (entry.name, entry.value, entry.line)).collect()
    }

    #[test]
    fn the_spellings_of_an_assignment() {
        for text in [
            "PORT=4001",
            "PORT=4001\n",
            "PORT=4001\r\n",
            "PORT = 4001",
            "  PORT=4001  ",
            "PORT=4001 \r\n",
            "export PORT=4001",
            "PORT='4001'",
            "PORT=\"4001\"\r\n",
            "PORT=4001 # the port",
            "PORT=4001 # it's the port\r\n",
            "export\tPORT = '4001' # \"x",
        ] {
            assert_eq!(read(text), [("PORT".to_owned(), "4001".to_owned(), 1)], "{text:?}");
        }
        assert_eq!(read("PORT="), [("PORT".to_owned(), String::new(), 1)]);
        assert_eq!(read("# it's a comment\r\n\r\n"), []);
    }

    #[test]
    fn a_dollar_sign_is_only_a_dollar_sign() {
        for text in ["A=x$HOME", "A='x$HOME'", "A=\"x$HOME\"", "A=x\\$HOME", "HOME=me\nA=x$HOME"] {
            assert_eq!(read(text).pop().map(|(_, value, _)| value).as_deref(), Some("x$HOME"), "{text}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let lines = |text: &str| read(text).into_iter().map(|(_, _, line)| line).collect::<Vec<_>>();
        assert_eq!(lines("A=1\n\n# two\nB=2\r\nC=3"), [1, 4, 5]);
        assert_eq!(lines(&format!("A={}\nB=2", "x".repeat(20_000))), [1, 2], "longer than dotenvy's buffer");
        assert_eq!(lines("A='1\n2'\nB=3"), [2, 3], "a value of two lines");
    }

    #[test]
    fn one_value_is_found_in_a_file_that_cannot_be_parsed_too() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, value) in [
            ("LOG_FORMAT=json", Some("json")),
            ("PORT 4001\nLOG_FORMAT='json'\n", Some("json")),
            ("LOG_FORMAT=json\nX='open\nLOG_FORMAT=text", Some("text")),
            ("LOG_FORMAT\n", None),
            ("", None),
        ] {
            std::fs::write(folder.path().join(".env"), text).expect("written");
            assert_eq!(last_value(folder.path(), "LOG_FORMAT").as_deref(), value, "{text:?}");
        }
        assert_eq!(last_value(&folder.path().join("none"), "LOG_FORMAT"), None);
    }

    #[test]
    fn a_line_that_is_not_an_assignment_is_named() {
        for (text, bad) in [
            ("PORT", 1),
            ("A=1\nPORT 4001\n", 2),
            ("A=1\r\n\r\n=4001\r\n", 3),
            ("A=1\nB=two words\n", 2),
            ("A=1\nB='open\nC=3\nD=4\n", 2),
            ("A=1\nB=\"open", 2),
            ("\n\n{\"PORT\":4001}", 3),
            ("A=C:\\Users", 1),
            ("A='1\n2' 3\nB=1", 1),
            ("1=1", 1),
            ("A=1\0\nB", 2),
        ] {
            match parse(text, "node-2/.env") {
                Err(SettingsError::Syntax { path, line }) => {
                    assert_eq!((path.as_str(), line), ("node-2/.env", bad), "{text:?}")
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
