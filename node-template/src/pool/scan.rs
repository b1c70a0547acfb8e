//! Reads the pool's file row by row, and finds damage.
//!
//! The scanner holds one row in memory, changes nothing, and never fails on content.
//!
//! After damage it must find the next row, but must not take an object inside a damaged row for
//! one: that would invent a transaction. A `{` begins a row
//! - after a line break and the indentation of `JSON.stringify(array, null, 2)`, or that of the
//!   file's first row: objects inside a row are indented further, and a string has no raw line
//!   break;
//! - before a line break, four spaces and a quote, if the file's first row has this layout: inside
//!   a row there are six spaces or more;
//! - at the offset where the separator puts it after the last whole row: overwritten bytes move
//!   nothing.
//!
//! In a file of another layout without line breaks, a damaged row therefore takes the rest of its
//! line with it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use crate::pool::error::PoolError;
use crate::pool::index::Location;
use crate::pool::window::{MARGIN, Window, is_blank};
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;

/// The longest row, in bytes of the file. The largest transaction with the deepest indentation has
/// less.
const ROW_BYTES: usize = 32 * 1024 * 1024;

/// Some editors write this before a text. It is skipped, and stays in the file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Precedes a row in the layout of `JSON.stringify(array, null, 2)`.
const BEFORE_ROW: &[u8] = b"\n  ";
/// Begins a row in that layout, unless it is empty. Nothing inside a row begins so.
const ROW_HEAD: &[u8] = b"{\n    \"";

/// The judgement of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is a transaction.
    Kept,
    /// It is valid JSON, but not a transaction; with the reason.
    Refused(String),
    /// It is not JSON.
    Broken,
}

/// The damage of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// The file is a JSON array.
    None,
    /// Only the bytes after `rows_end` are damaged.
    Tail,
    /// There is damage before the last whole row, or a row that is too long.
    Middle,
}

/// A valid element that is not a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its offset in the file.
    pub(crate) offset: u64,
    /// What is wrong.
    pub(crate) what: String,
}

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) damage: Damage,
    /// The number of transactions.
    pub(crate) rows: u64,
    /// The offset after the last of them, or after the opening bracket.
    pub(crate) rows_end: u64,
    /// Whether the file begins as an array does.
    pub(crate) opened: bool,
    /// All bytes that belong neither to a transaction nor to the separators around it, in order.
    pub(crate) bad: Vec<Range<u64>>,
    /// The first valid element that is not a transaction; `bad` includes it.
    pub(crate) refused: Option<Refusal>,
}

/// Scans a file from its beginning. Calls `judge` with the offset and text of each row, in order.
/// Damaged rows are included if they resemble a row.
///
/// # Errors
/// The system's error.
pub(crate) fn scan_rows(file: &File, judge: &mut dyn FnMut(u64, &str) -> Verdict) -> io::Result<Scan> {
    let found = Scan { damage: Damage::None, rows: 0, rows_end: 0, opened: false, bad: Vec::new(), refused: None };
    let scanner = Scanner {
        window: Window::new(file),
        judge,
        found,
        boundary: 0,
        expected: 0,
        separator: BEFORE_ROW.to_vec(),
        damage_start: None,
    };
    scanner.run()
}

/// Scans a file and passes each transaction and its location to `row`, in order. A frame has so
/// many `levels` around one.
pub(crate) fn scan(
    file: &File,
    path: &Path,
    levels: usize,
    row: &mut dyn FnMut(Transaction, Location),
) -> Result<Scan, PoolError> {
    let mut parser = Parser::new();
    scan_rows(file, &mut |offset, text| match Transaction::parse_below(levels, &mut parser, text) {
        Ok(transaction) => {
            row(transaction, Location::new(offset, text.len()));
            Verdict::Kept
        }
        Err(error) if is_json(text.as_bytes()) => Verdict::Refused(error.to_string()),
        Err(_) => Verdict::Broken,
    })
    .map_err(PoolError::io("read", path))
}

/// Returns whether a text is JSON, even if its values exceed the limits of this program.
pub(crate) fn is_json(text: impl Read) -> bool {
    serde_json::from_reader::<_, serde::de::IgnoredAny>(text).is_ok()
}

struct Scanner<'a> {
    window: Window<'a>,
    judge: &'a mut dyn FnMut(u64, &str) -> Verdict,
    found: Scan,
    /// The end of the last sound element, or of the opening bracket.
    boundary: u64,
    /// Where the next row begins if it has the layout of the first one.
    expected: u64,
    /// The bytes between the opening bracket and the first row.
    separator: Vec<u8>,
    /// Where the damage began that is being skipped.
    damage_start: Option<u64>,
}

/// What the scanner expects next.
enum Next {
    FirstRowOrEnd,
    Row,
    SeparatorOrEnd,
    Recover,
    Nothing,
}

/// The result of reading an element. A sound one was skipped, a broken one not.
enum Element {
    Sound,
    Broken,
}

impl Scanner<'_> {
    fn run(mut self) -> io::Result<Scan> {
        let mut next = self.opening()?;
        loop {
            next = match next {
                Next::FirstRowOrEnd => self.first_row_or_end()?,
                Next::Row => self.row()?,
                Next::SeparatorOrEnd => self.separator_or_end()?,
                Next::Recover => self.recover()?,
                Next::Nothing => return Ok(self.found),
            };
        }
    }

    fn opening(&mut self) -> io::Result<Next> {
        if self.window.at_least(BYTE_ORDER_MARK.len())?.starts_with(BYTE_ORDER_MARK) {
            self.window.advance(BYTE_ORDER_MARK.len());
        }
        let begin = self.window.offset();
        if self.window.skip_blank()? != Some(b'[') {
            self.found.damage = Damage::Middle;
            self.expected = begin + 1 + BEFORE_ROW.len() as u64;
            return Ok(Next::Recover);
        }
        self.window.advance(1);
        self.found.opened = true;
        self.boundary = self.window.offset();
        self.found.rows_end = self.boundary;
        self.expected = self.boundary + BEFORE_ROW.len() as u64;
        Ok(Next::FirstRowOrEnd)
    }

    fn first_row_or_end(&mut self) -> io::Result<Next> {
        match self.window.skip_blank()? {
            Some(b']') => self.end(),
            Some(b'{') => {
                let length = (self.window.offset() - self.boundary) as usize;
                if length < MARGIN {
                    let behind = self.window.behind();
                    self.separator = behind[behind.len() - length..].to_vec();
                    self.expected = self.window.offset();
                }
                self.element_or_recover()
            }
            Some(_) => self.element_or_recover(),
            None => Ok(Next::Recover),
        }
    }

    fn row(&mut self) -> io::Result<Next> {
        match self.window.skip_blank()? {
            Some(b']') | None => Ok(Next::Recover),
            Some(_) => self.element_or_recover(),
        }
    }

    fn separator_or_end(&mut self) -> io::Result<Next> {
        match self.window.skip_blank()? {
            Some(b',') => {
                self.window.advance(1);
                Ok(Next::Row)
            }
            Some(b']') => self.end(),
            _ => Ok(Next::Recover),
        }
    }

    fn end(&mut self) -> io::Result<Next> {
        self.window.advance(1);
        Ok(if self.window.skip_blank()?.is_none() { Next::Nothing } else { Next::Recover })
    }

    fn element_or_recover(&mut self) -> io::Result<Next> {
        Ok(match self.element()? {
            Element::Sound => Next::SeparatorOrEnd,
            Element::Broken => {
                // Search for a row after the first byte of the broken element.
                self.window.advance(1);
                Next::Recover
            }
        })
    }

    /// Skips to the next whole row. All bytes since the last sound element are bad.
    fn recover(&mut self) -> io::Result<Next> {
        self.found.damage = self.found.damage.max(Damage::Tail);
        self.damage_start = Some(self.boundary);
        while self.window.find(b'{')? {
            if self.is_row_start()? && matches!(self.element()?, Element::Sound) {
                return Ok(Next::SeparatorOrEnd);
            }
            self.window.advance(1);
        }
        if self.window.offset() > self.boundary {
            self.found.bad.push(self.boundary..self.window.offset());
        }
        Ok(Next::Nothing)
    }

    fn is_row_start(&mut self) -> io::Result<bool> {
        if self.window.offset() == self.expected || self.is_indented_as_row(0) {
            return Ok(true);
        }
        Ok(self.separator == BEFORE_ROW && self.window.at_least(ROW_HEAD.len())?.starts_with(ROW_HEAD))
    }

    /// Returns whether the byte `distance` ahead has the indentation of a row.
    fn is_indented_as_row(&self, distance: usize) -> bool {
        let (behind, ahead) = (self.window.behind(), &self.window.ahead()[..distance]);
        let follows = |before: &[u8]| match before.len().checked_sub(distance) {
            Some(rest) if rest > 0 => behind.ends_with(&before[..rest]) && ahead == &before[rest..],
            _ => ahead.ends_with(before),
        };
        let own = self.separator.iter().rposition(|byte| *byte == b'\n').map(|at| &self.separator[at..]);
        follows(BEFORE_ROW) || own.is_some_and(follows)
    }

    /// Reads the element that begins at the current byte.
    fn element(&mut self) -> io::Result<Element> {
        let Some(length) = self.extent()? else {
            return Ok(Element::Broken);
        };
        let offset = self.window.offset();
        let Ok(text) = str::from_utf8(&self.window.ahead()[..length]) else {
            return Ok(Element::Broken);
        };
        let verdict = if text.starts_with('{') { (self.judge)(offset, text) } else { judge_other(text) };
        let end = offset + length as u64;
        match verdict {
            Verdict::Broken => return Ok(Element::Broken),
            Verdict::Kept => {
                if let Some(begin) = self.damage_start.take() {
                    self.found.damage = Damage::Middle;
                    if begin < offset {
                        self.found.bad.push(begin..offset);
                    }
                }
                self.found.rows += 1;
                self.found.rows_end = end;
            }
            // Inside damage it counts as damage.
            Verdict::Refused(_) if self.damage_start.is_some() => return Ok(Element::Broken),
            Verdict::Refused(what) => {
                self.found.bad.push(offset..end);
                self.found.refused.get_or_insert(Refusal { offset, what });
            }
        }
        self.boundary = end;
        self.expected = end + 1 + self.separator.len() as u64;
        self.window.advance(length);
        Ok(Element::Sound)
    }

    /// Returns the length of the element at the current byte, by its brackets and quotes. `None` if
    /// it has no end.
    fn extent(&mut self) -> io::Result<Option<usize>> {
        let stops_at_row = self.found.damage != Damage::None || self.window.peek()? != Some(b'{');
        let (mut depth, mut state, mut length) = (0_usize, State::Outside, 0_usize);
        loop {
            if length > ROW_BYTES {
                self.found.damage = Damage::Middle;
                return Ok(None);
            }
            if self.window.ahead().len() == length && !self.window.more()? {
                // A bare number may end with the file.
                return Ok((depth == 0 && state == State::Bare).then_some(length));
            }
            for &byte in &self.window.ahead()[length..] {
                state = match (state, byte) {
                    (State::Text, b'"') if depth == 0 => return Ok(Some(length + 1)),
                    (State::Text, b'"') => State::Outside,
                    (State::Text, b'\\') => State::Escape,
                    (State::Text | State::Escape, 0..0x20) => return Ok(None),
                    (State::Text | State::Escape, _) => State::Text,
                    (State::Bare, b',' | b']' | b'}') => return Ok(Some(length)),
                    (State::Bare, _) if is_blank(byte) => return Ok(Some(length)),
                    (State::Bare, _) => State::Bare,
                    (State::Outside, b'"') => State::Text,
                    (State::Outside, b'{' | b'[') => {
                        if stops_at_row && length > 0 && byte == b'{' && self.is_indented_as_row(length) {
                            return Ok(None);
                        }
                        depth += 1;
                        State::Outside
                    }
                    (State::Outside, b'}' | b']') if depth <= 1 => return Ok((depth == 1).then_some(length + 1)),
                    (State::Outside, b'}' | b']') => {
                        depth -= 1;
                        State::Outside
                    }
                    (State::Outside, 0..0x20) if !is_blank(byte) => return Ok(None),
                    (State::Outside, _) if depth == 0 => State::Bare,
                    (State::Outside, _) => State::Outside,
                };
                length += 1;
            }
        }
    }
}

/// The position in an element: outside strings, in a number or word that is the whole element, in a
/// string, after a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Bare,
    Text,
    Escape,
}

/// Judges an element that is not an object.
fn judge_other(text: &str) -> Verdict {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Verdict::Broken;
    }
    let kind = match text.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    };
    Verdict::Refused(format!("this is {kind}, but a transaction is a JSON object"))
}
