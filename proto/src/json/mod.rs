//! JSON as the network needs it: read once, left where it stands, and written in the one form that every node derives from it.
//!
//! A [`Parser`] checks a text against RFC 8259 to the letter in a single pass and notes where each value stands; a [`Value`] is a cursor over these
//! notes, and copies nothing. [`Value::normal`] gives a value's canonical JSON (RFC 8785), which is what identities are made of, and its compact JSON,
//! which is what travels.
//!
//! Reading is lenient in what it does not need: a number beyond any double, or half a surrogate pair, is grammar, and harms nobody in a sibling that
//! this version ignores. Only a value that is written has to be one that JavaScript would hand on unchanged, see [`Value::normal`].
//!
//! Every step is linear in the text, but for the sorting of keys. What is kept between texts is bounded, see [`Parser::trim`].

mod escape;
mod normal;
mod number;
mod order;
mod pretty;
mod read;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

pub use normal::Normal;
pub use pretty::write_pretty;

use crate::limits;
use normal::Scratch;

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The kind in words, with its article where it has one: "an array", "null".
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::True => "true",
            Self::False => "false",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Why a text is not JSON, or not JSON that every node reads alike. Positions are in bytes from the start of the text, the first being 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing, or only white space.
    #[error("the text is empty; write a JSON value, as in {{\"amount\":1}}")]
    Empty,
    /// Longer than a position can say.
    #[error("the text has {0} bytes; at most {max} can be read", max = u32::MAX)]
    TooLong(usize),
    /// Against the grammar.
    #[error("at byte {at}: expected {expected}, found {}", shown(*.found))]
    Unexpected {
        /// Where.
        at: usize,
        /// What the grammar allows there, in words.
        expected: &'static str,
        /// What stands there; `None` at the text's end.
        found: Option<char>,
    },
    /// Nested deeper than [`limits::JSON_DEPTH`].
    #[error("at byte {at}: nested deeper than {max} levels, a frame's own included; flatten it", max = limits::JSON_DEPTH)]
    TooDeep {
        /// Where the level begins that is one too many.
        at: usize,
    },
    /// A number that JavaScript would change, so that its copy had another identity.
    #[error(
        "at byte {at}: JavaScript nodes would turn the number {number} into {nearest}; write it as a text: \"{number}\""
    )]
    Number {
        /// Where.
        at: usize,
        /// The number, at most [`limits::SHOWN_CHARACTERS`] of it.
        number: String,
        /// What JavaScript makes of it.
        nearest: String,
    },
    /// Half a surrogate pair, which is no character and has no UTF-8.
    #[error(
        "at byte {at}: the escape {escape} is half of a surrogate pair, and no character; leave it out, or write both halves"
    )]
    LoneSurrogate {
        /// Where.
        at: usize,
        /// The escape as it stands there.
        escape: String,
    },
}

fn shown(found: Option<char>) -> String {
    found.map_or_else(|| "the end of the text".into(), |character| format!("{character:?}"))
}

/// What is known of one value: a text's values stand in the order of their beginnings, an object's keys among them, each before its value.
#[derive(Clone, Copy)]
struct Token {
    /// Where its text begins …
    start: u32,
    /// … and ends.
    end: u32,
    /// The token after this value and all that is in it.
    next: u32,
    kind: Kind,
    /// Whether its text is its own normal form: no escape, no white space, no number that would be written otherwise. Keys may still repeat.
    plain: bool,
}

/// Reads texts, one after another, and reuses its memory. One per task or thread that reads; it is cheap to make and grows to the texts it meets.
#[derive(Default)]
pub struct Parser {
    tokens: Vec<Token>,
    scratch: Cell<Scratch>,
    buffer: Cell<String>,
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

/// How many tokens a parser keeps room for between texts: 64 KiB, a few hundred times what a transaction needs.
const KEPT_TOKENS: usize = 4096;

impl Parser {
    /// A parser that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a text that holds one value, nested at most [`limits::JSON_DEPTH`] levels.
    ///
    /// # Errors
    /// [`JsonError`] names the first byte at which the text is not JSON.
    pub fn parse<'a>(&'a mut self, text: &'a str) -> Result<Value<'a>, JsonError> {
        self.parse_below(0, text)
    }

    /// Reads a text as it would be read if it stood `levels` deep in another: what is accepted alone is then accepted there as well.
    pub(crate) fn parse_below<'a>(&'a mut self, levels: usize, text: &'a str) -> Result<Value<'a>, JsonError> {
        self.tokens.clear();
        read::read(text, limits::JSON_DEPTH - levels, &mut self.tokens)?;
        Ok(Value { text, parser: self, index: 0 })
    }

    /// Lends an empty text to whoever writes something that is copied elsewhere once its length is known.
    pub(crate) fn with_buffer<T>(&self, write: impl FnOnce(&mut String) -> T) -> T {
        let mut buffer = self.buffer.take();
        buffer.clear();
        let written = write(&mut buffer);
        if buffer.capacity() <= normal::KEPT_BYTES {
            self.buffer.set(buffer);
        }
        written
    }

    /// Gives back the memory that an unusually long text has taken. For whoever keeps many parsers, to be called before waiting for the next text:
    /// 1 MiB of brackets takes 8 MiB to read, and a thousand idle links should not each hold that.
    pub fn trim(&mut self) {
        if self.tokens.capacity() > KEPT_TOKENS {
            self.tokens = Vec::new();
        }
    }
}

/// One value of a text that was parsed: a cursor, cheap to copy.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    text: &'a str,
    parser: &'a Parser,
    index: usize,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.raw())
    }
}

impl<'a> Value<'a> {
    /// What it is.
    pub fn kind(self) -> Kind {
        self.token().kind
    }

    /// Its text, as it stands in the text that was parsed.
    pub fn raw(self) -> &'a str {
        &self.text[self.range()]
    }

    /// Whoever parsed it.
    pub(crate) fn parser(self) -> &'a Parser {
        self.parser
    }

    /// Where its text stands in the text that was parsed, in bytes.
    pub fn range(self) -> Range<usize> {
        let token = self.token();
        token.start as usize..token.end as usize
    }

    /// An object's member. Of duplicate keys the last wins, as in JavaScript. `None` where there is none, or `self` is not an object.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.members().filter(|(own, _)| own.is_text(key)).last().map(|(_, value)| value)
    }

    /// An object's members, keys and values, in the order of the text; none if `self` is not an object. Keys may repeat: the last counts.
    pub fn members(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let end = if self.kind() == Kind::Object { self.token().next as usize } else { 0 };
        let mut next = self.at(self.index + 1);
        std::iter::from_fn(move || {
            let key = next;
            (key.index < end).then(|| {
                let value = key.at(key.index + 1);
                next = value.at(value.token().next as usize);
                (key, value)
            })
        })
    }

    /// An array's elements; none if `self` is not an array.
    pub fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let end = if self.kind() == Kind::Array { self.token().next as usize } else { 0 };
        let mut next = self.at(self.index + 1);
        std::iter::from_fn(move || {
            let element = next;
            (element.index < end).then(|| {
                next = element.at(element.token().next as usize);
                element
            })
        })
    }

    /// A string's characters; borrowed unless it has escapes. `None` if it is not a string, or half a surrogate pair is in it.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let token = self.token();
        if token.kind != Kind::String {
            return None;
        }
        let inner = inner(self.text, token);
        if token.plain {
            return Some(Cow::Borrowed(inner));
        }
        let mut text = String::with_capacity(inner.len());
        escape::decode(inner, 0, &mut text).ok()?;
        Some(Cow::Owned(text))
    }

    /// The double that is nearest to a number. `None` if it is not a number, or beyond the doubles' range.
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        Some(number::nearest(self.raw())).filter(|number| number.is_finite())
    }

    fn is_text(self, text: &str) -> bool {
        let token = self.token();
        if token.plain {
            // Most keys differ in length already.
            (token.end - token.start) as usize == text.len() + 2 && inner(self.text, token) == text
        } else {
            self.as_str().is_some_and(|own| own == text)
        }
    }

    fn token(self) -> Token {
        self.parser.tokens[self.index]
    }

    fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }
}

/// What stands between a string's quotes.
fn inner(text: &str, string: Token) -> &str {
    &text[string.start as usize + 1..string.end as usize - 1]
}
