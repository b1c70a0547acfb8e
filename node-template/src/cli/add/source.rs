//! Splits an input into the texts of transactions, whatever of these forms it has:
//!
//! | form | as in | seen by |
//! |---|---|---|
//! | one object per line | JSON Lines, `jq -c` | neither of the others |
//! | an array of objects | `transactions.json` of a node | it begins with `[` |
//! | objects of several lines | `jq` | its first line opens an object and does not close it |
//!
//! Nothing is judged here but where a text ends.

use std::io::{self, BufRead, BufReader, Read};

/// The longest text of one transaction, in bytes: far beyond the largest that a node takes, with
/// the deepest indentation. Memory is bounded by it if the input is no JSON at all.
const TEXT_BYTES: usize = 32 * 1024 * 1024;

/// Some editors write this before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The forms, for a person who gave another one.
pub(crate) const FORMS: &str =
    "wanted is one JSON object per line, or a JSON array of objects, as in transactions.json";

/// What a text is called, with its number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Unit {
    #[default]
    Line,
    Element,
}

impl Unit {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Element => "element",
        }
    }
}

/// A part of the input, by its number. An error is the last part.
pub(crate) type Part = (u64, Result<Vec<u8>, String>);

/// An input whose form is known.
pub(crate) struct Source {
    reader: Box<dyn BufRead + Send>,
    form: Form,
    number: u64,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Array,
    Objects,
}

impl Source {
    /// Looks at the beginning of an input.
    ///
    /// # Errors
    /// It cannot be read, or is no text in UTF-8 ([`io::ErrorKind::InvalidData`]).
    pub(crate) fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let mut reader = BufReader::new(input);
        let mut unread = Vec::new();
        let (mut lines, mut read) = (0, 0);
        for byte in reader.by_ref().bytes() {
            match byte? {
                byte if BYTE_ORDER_MARK.get(read) == Some(&byte) => {}
                b'\n' => lines += 1,
                byte if byte.is_ascii_whitespace() => {}
                byte => {
                    unread.push(byte);
                    break;
                }
            }
            read += 1;
        }
        if let Some(why) = unread.first().and_then(|first| no_text(*first)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let form = match unread.first() {
            Some(b'[') => {
                unread.clear();
                Form::Array
            }
            Some(b'{') => {
                let mut head = reader.by_ref().take(TEXT_BYTES as u64);
                head.read_until(b'\n', &mut unread)?;
                let (is_open, second) = (is_open(&unread), unread.len());
                if is_open {
                    head.read_until(b'\n', &mut unread)?;
                }
                // A line that was cut off stands before whole ones.
                if is_open && !unread[second..].starts_with(b"{") { Form::Objects } else { Form::Lines }
            }
            _ => Form::Lines,
        };
        let number = if form == Form::Lines { lines } else { 0 };
        Ok(Self { reader: Box::new(io::Cursor::new(unread).chain(reader)), form, number, ended: false })
    }

    pub(crate) fn unit(&self) -> Unit {
        match self.form {
            Form::Lines => Unit::Line,
            Form::Array | Form::Objects => Unit::Element,
        }
    }

    fn element(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let (name, last) = (format!("element {}", self.number), self.number - 1);
        let mut next = skip_blank(&mut self.reader)?;
        if self.form == Form::Array {
            match next {
                Some(b']') => {
                    self.reader.consume(1);
                    return Ok(
                        skip_blank(&mut self.reader)?.map(|_| Err("the array has ended, and more follows".to_owned()))
                    );
                }
                Some(b',') if last > 0 => {
                    self.reader.consume(1);
                    next = skip_blank(&mut self.reader)?;
                }
                Some(_) if last > 0 => return Ok(Some(Err("no comma stands before it".to_owned()))),
                _ => {}
            }
        }
        match (next, self.form) {
            (None, Form::Array) => {
                return Ok(Some(Err("the array is cut off here: it has no closing bracket".to_owned())));
            }
            (None, _) => return Ok(None),
            _ => {}
        }
        let mut text = Vec::new();
        let mut scan = Scan::default();
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(Some(match scan.depth == 0 && !scan.in_string {
                    true => Ok(text),
                    false => Err(format!("{name} is cut off: the input ends inside it")),
                }));
            }
            let end = bytes.iter().position(|byte| scan.ends_before(*byte));
            text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            let read = end.unwrap_or(bytes.len());
            self.reader.consume(read);
            if end.is_some() {
                return Ok(Some(Ok(text)));
            }
            if text.len() > TEXT_BYTES {
                return Ok(Some(Err(format!("it is longer than {} MiB", TEXT_BYTES >> 20))));
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        self.reader.by_ref().take(TEXT_BYTES as u64).read_until(b'\n', &mut line)?;
        Ok(match line.len() {
            0 => None,
            TEXT_BYTES => Some(Err(format!("it is longer than {} MiB", TEXT_BYTES >> 20))),
            _ => Some(Ok(line)),
        })
    }
}

impl Iterator for Source {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        loop {
            if self.ended {
                return None;
            }
            self.number += 1;
            let part = match self.form {
                Form::Lines => self.line(),
                Form::Array | Form::Objects => self.element(),
            };
            let part = part.unwrap_or_else(|error| Some(Err(format!("the input cannot be read further: {error}"))));
            self.ended = !matches!(part, Some(Ok(_)));
            match part? {
                Ok(text) if text.trim_ascii().is_empty() => {}
                part => return Some((self.number, part)),
            }
        }
    }
}

/// Returns why an input that begins with this byte is no text, and what to do. No text in UTF-8
/// begins so.
fn no_text(first: u8) -> Option<&'static str> {
    match first {
        // RFC 1952, section 2.3.1.
        0x1F => Some("it is compressed; decompress it (gunzip -c FILE), and give the result to this command"),
        // The .xz file format, section 2.1.1.1.
        0xFD => Some("it is compressed; decompress it (xz -dc FILE), and give the result to this command"),
        // The byte order mark of both orders.
        0xFE | 0xFF => Some(
            "it is UTF-16, as PowerShell writes it; convert it (iconv -f UTF-16 -t UTF-8 FILE), and give the result to this command",
        ),
        _ => None,
    }
}

/// Where a JSON value ends. It is not checked otherwise.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// A bracket was closed that ends the value.
    complete: bool,
}

impl Scan {
    /// Whether the value ends before this byte.
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.complete {
            return true;
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            // Outside every bracket: a scalar ends.
            b'}' | b']' | b',' if self.depth == 0 => return true,
            b'}' | b']' => {
                self.depth -= 1;
                self.complete = self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Whether a line ends inside an object, and not inside a string.
fn is_open(line: &[u8]) -> bool {
    let mut scan = Scan::default();
    !line.iter().any(|byte| scan.ends_before(*byte)) && scan.depth > 0 && !scan.in_string
}

/// Skips white space; returns the byte that follows, which stays unread.
fn skip_blank(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = reader.fill_buf()?;
        let Some(last) = bytes.len().checked_sub(1) else { return Ok(None) };
        match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => {
                let byte = bytes[at];
                reader.consume(at);
                return Ok(Some(byte));
            }
            None => reader.consume(last + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A [`Part`] whose text is trimmed.
    type TextPart = (u64, Result<String, String>);

    /// The parts of a text, also when it comes byte by byte.
    fn parts(text: &str) -> (Unit, Vec<TextPart>) {
        struct Slow(io::Cursor<Vec<u8>>);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let most = buffer.len().min(1);
                self.0.read(&mut buffer[..most])
            }
        }
        let read = |source: Source| {
            let unit = source.unit();
            let trim = |text: Vec<u8>| String::from_utf8(text).expect("UTF-8").trim().to_owned();
            (unit, source.map(|(number, part)| (number, part.map(trim))).collect::<Vec<_>>())
        };
        let whole = read(Source::new(io::Cursor::new(text.as_bytes().to_vec())).expect("read"));
        let slow = read(Source::new(Slow(io::Cursor::new(text.as_bytes().to_vec()))).expect("read"));
        assert_eq!(whole, slow, "{text:?}");
        whole
    }

    fn texts(text: &str) -> (Unit, Vec<String>) {
        let (unit, parts) = parts(text);
        (unit, parts.into_iter().map(|(_, part)| part.expect(text)).collect())
    }

    #[test]
    fn each_form_gives_the_same_objects() {
        let objects = [r#"{"a":"]},{\"","b":[1,{"c":"\\"}]}"#, "{}", r#"{"d":2}"#];
        for (text, unit) in [
            (objects.join("\n"), Unit::Line),
            (objects.join("\r\n") + "\r\n", Unit::Line),
            (format!("\u{feff}\n\n{}\n", objects.join("\n\n")), Unit::Line),
            (format!("[{}]", objects.join(",")), Unit::Element),
            (format!("\u{feff}[\n  {}\n]\n", objects.join(",\n  ")), Unit::Element),
            (format!("\n [ {} ] ", objects.join(" , ")), Unit::Element),
        ] {
            assert_eq!(texts(&text), (unit, objects.map(str::to_owned).to_vec()), "{text:?}");
        }
        let (unit, objects) = texts("{\n  \"a\": {\n    \"b\": \"}\"\n  }\n}\n{\n  \"c\": 1\n}\n");
        assert_eq!((unit, objects.len(), objects[1].as_str()), (Unit::Element, 2, "{\n  \"c\": 1\n}"));
        for empty in ["", "\n\n", "[]", " [\n] \n", "\u{feff}"] {
            assert_eq!(texts(empty).1, [""; 0], "{empty:?}");
        }
    }

    #[test]
    fn what_is_no_object_is_a_part_too() {
        assert_eq!(texts("[1, \"a,]\", [2], null]").1, ["1", "\"a,]\"", "[2]", "null"]);
        assert_eq!(texts("a,b\n1,2\n").1, ["a,b", "1,2"]);
        // A line that is cut off costs itself only.
        let (unit, lines) = texts("{\"a\":\n{\"b\":1}\n");
        assert_eq!((unit, lines.len()), (Unit::Line, 2));
    }

    #[test]
    fn what_is_no_text_is_named_with_the_remedy() {
        for (bytes, part) in [
            (&b"\x1F\x8B\x08\0"[..], "gunzip"),
            (b"\xFD7zXZ\0", "xz -dc"),
            (b"\xFF\xFE{\0}\0", "iconv"),
            (b"\xFE\xFF\0{\0}", "iconv"),
        ] {
            let error = Source::new(io::Cursor::new(bytes.to_vec())).err().expect("no text");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn an_array_that_is_damaged_ends_there() {
        for (text, good, error) in [
            ("[{\"a\":1}, {\"b\":", 1, "element 2 is cut off"),
            ("[{\"a\":1}", 1, "no closing bracket"),
            ("[{\"a\":1},", 1, "no closing bracket"),
            ("[", 0, "no closing bracket"),
            ("[{\"a\":1} {\"b\":2}]", 1, "no comma"),
            ("[{\"a\":1}] x", 1, "more follows"),
            ("{\n \"a\": 1,\n", 0, "element 1 is cut off"),
        ] {
            let (_, parts) = parts(text);
            assert_eq!(parts.len(), good + 1, "{text:?}: {parts:?}");
            let (number, last) = &parts[good];
            assert_eq!(*number, good as u64 + 1);
            assert!(last.as_ref().is_err_and(|why| why.contains(error)), "{text:?}: {parts:?}");
        }
    }
}
