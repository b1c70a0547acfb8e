//! Reads the pool's file row by row, and tells what in it is damaged.
//!
//! The scanner finds where rows begin and end; whether a row is a transaction is the caller's to judge. It holds one row in memory at a time,
//! changes nothing, and never fails on content: damage is a finding.
//!
//! After damage it must find the next row, and must not take an object inside a damaged row for one: that would invent a transaction that nobody
//! made. A `{` is taken for a row's beginning
//! - after a line break and the indentation of `JSON.stringify(array, null, 2)`, or that of the file's first row: objects inside a row are
//!   indented further, and a string holds no raw line break;
//! - before a line break, four spaces and a quote, if the file's first row is laid out as ours are: inside a row it would be six or more;
//! - at the very distance from the last whole row at which the separator puts it: damage in place moves nothing.
//!
//! In a file of another layout without line breaks a damaged row thus takes with it what follows on its line.

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::pool::window::{MARGIN, Window};

/// The longest row that is read, in bytes as laid out in the file. A transaction at its limit, laid out with the deepest indentation, has less.
const ROW_BYTES: usize = 32 * 1024 * 1024;

/// What some editors put before a text. It is passed over, and left where it stands.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Before a row in our layout.
const BEFORE_ROW: &[u8] = b"\n  ";
/// A row that is not empty begins so in our layout, and nothing inside a row does.
const ROW_HEAD: &[u8] = b"{\n    \"";

/// What a row turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A transaction.
    Kept,
    /// Valid JSON, but none that can be a transaction; why.
    Refused(String),
    /// Not JSON.
    Broken,
}

/// How far from a JSON array the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// Each element is valid JSON, and the brackets stand.
    None,
    /// All up to `rows_end` is sound; what follows is not.
    Tail,
    /// There is damage before the last whole row, or it may be no damage at all but a row that is too long.
    Middle,
}

/// A valid element that is no transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How far from a JSON array the file is.
    pub(crate) damage: Damage,
    /// How many rows were judged to be transactions.
    pub(crate) rows: u64,
    /// The offset after the last of them, or after the opening bracket.
    pub(crate) rows_end: u64,
    /// Whether the file begins as an array does.
    pub(crate) opened: bool,
    /// All bytes that are neither in such a row nor separators around it, in order.
    pub(crate) bad: Vec<Range<u64>>,
    /// The first valid element that is no transaction; it is among `bad` too.
    pub(crate) refused: Option<Refusal>,
}

/// Reads a file from its beginning. `judge` is called with each row's offset and text, in order; damaged ones included, as far as they look like a row.
///
/// # Errors
/// What the system said when reading.
pub(crate) fn scan(file: &File, judge: &mut dyn FnMut(u64, &str) -> Verdict) -> io::Result<Scan> {
    let found = Scan { damage: Damage::None, rows: 0, rows_end: 0, opened: false, bad: Vec::new(), refused: None };
    let scanner = Scanner {
        window: Window::new(file),
        judge,
        found,
        boundary: 0,
        expected: 0,
        separator: BEFORE_ROW.to_vec(),
        lost: None,
    };
    scanner.run()
}

struct Scanner<'a> {
    window: Window<'a>,
    judge: &'a mut dyn FnMut(u64, &str) -> Verdict,
    found: Scan,
    /// The end of the last sound element, or of the opening bracket.
    boundary: u64,
    /// Where the next row begins if it is laid out as the first one is.
    expected: u64,
    /// What stands between the opening bracket and the first row.
    separator: Vec<u8>,
    /// Where the damage began that is being skipped.
    lost: Option<u64>,
}

/// What is to come next.
enum Next {
    FirstRowOrEnd,
    Row,
    SeparatorOrEnd,
    Recover,
    Nothing,
}

/// What an element turned out to be. Sound ones were passed over, broken ones not.
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
                // The present byte began something broken: look for a row after it.
                self.window.advance(1);
                Next::Recover
            }
        })
    }

    /// Skips to the next whole row; all before it, back to the last sound element, is bad.
    fn recover(&mut self) -> io::Result<Next> {
        self.found.damage = self.found.damage.max(Damage::Tail);
        self.lost = Some(self.boundary);
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

    /// Whether the byte `distance` ahead stands where a row begins.
    fn is_indented_as_row(&self, distance: usize) -> bool {
        let (behind, ahead) = (self.window.behind(), &self.window.ahead()[..distance]);
        let follows = |before: &[u8]| match before.len().checked_sub(distance) {
            Some(rest) if rest > 0 => behind.ends_with(&before[..rest]) && ahead == &before[rest..],
            _ => ahead.ends_with(before),
        };
        let own = self.separator.iter().rposition(|byte| *byte == b'\n').map(|at| &self.separator[at..]);
        follows(BEFORE_ROW) || own.is_some_and(follows)
    }

    /// Looks at the element that begins at the present byte.
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
                if let Some(begin) = self.lost.take() {
                    self.found.damage = Damage::Middle;
                    if begin < offset {
                        self.found.bad.push(begin..offset);
                    }
                }
                self.found.rows += 1;
                self.found.rows_end = end;
            }
            // Within damage it is one more piece of it.
            Verdict::Refused(_) if self.lost.is_some() => return Ok(Element::Broken),
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

    /// The length of the element that begins at the present byte, as far as brackets and quotes tell; `None` if it has no end.
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
                    (State::Bare, _) if crate::pool::window::is_blank(byte) => return Ok(Some(length)),
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
                    (State::Outside, 0..0x20) if !crate::pool::window::is_blank(byte) => return Ok(None),
                    (State::Outside, _) if depth == 0 => State::Bare,
                    (State::Outside, _) => State::Outside,
                };
                length += 1;
            }
        }
    }
}

/// Where in an element the scanner is: outside strings, in a number or word that is the whole element, in a string, after a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Bare,
    Text,
    Escape,
}

/// Judges an element that does not begin as an object does.
fn judge_other(text: &str) -> Verdict {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Verdict::Broken;
    }
    let kind = match text.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    };
    Verdict::Refused(format!("here is {kind} where a transaction, a JSON object, belongs"))
}
