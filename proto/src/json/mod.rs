//! JSON: read without copies, and written in the normal form that every node derives from it.
//!
//! A [`Parser`] checks a text against RFC 8259 in a single pass and notes the position of each
//! value. A [`Value`] is a cursor over these notes and copies nothing. [`Value::normal`] writes the
//! canonical JSON (RFC 8785) of a value, of which ids are made, and its compact JSON, which is
//! sent.
//!
//! The parser accepts all that the grammar allows, such as a number beyond any double or a lone
//! surrogate: a sibling that this version ignores may have them. A value that is written must be
//! one that JavaScript passes on unchanged, see [`Value::normal`].
//!
//! Every step is linear in the text, but for the sorting of keys. The memory that is kept between
//! texts is bounded, see [`Parser::trim`].

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

/// The kind of a JSON value.
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
    /// Returns the name, with its article: "an array", "null".
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

/// Why a text is no JSON, or no JSON that every node reads alike. Positions are in bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is empty, or white space.
    #[error("the text is empty; write a JSON value, as in {{\"amount\":1}}")]
    Empty,
    /// The text has this many bytes, more than fit into a position.
    #[error("the text has {0} bytes; at most {max} can be read", max = u32::MAX)]
    TooLong(usize),
    /// The text breaks the grammar.
    #[error("at byte {at}: expected {expected}, found {}", shown(*.found))]
    Unexpected {
        /// The position of the first byte that does.
        at: usize,
        /// What the grammar allows there, for people.
        expected: &'static str,
        /// The character there; `None` at the end of the text.
        found: Option<char>,
    },
    /// The text is nested deeper than [`limits::JSON_DEPTH`].
    #[error("at byte {at}: nested deeper than {max} levels, a frame's own included; flatten it", max = limits::JSON_DEPTH)]
    TooDeep {
        /// The position of the first array or object that is too deep.
        at: usize,
    },
    /// JavaScript would change a number, and the copy would have another id.
    #[error(
        "at byte {at}: JavaScript nodes would turn the number {number} into {nearest}; write it as a text: \"{number}\""
    )]
    Number {
        /// Its position.
        at: usize,
        /// The number, cut to [`limits::SHOWN_CHARACTERS`].
        number: String,
        /// The number that JavaScript would write.
        nearest: String,
    },
    /// A lone surrogate is no character and has no UTF-8.
    #[error(
        "at byte {at}: the escape {escape} is half of a surrogate pair, and no character; leave it out, or write both halves"
    )]
    LoneSurrogate {
        /// The position of its escape.
        at: usize,
        /// The escape.
        escape: String,
    },
}

fn shown(found: Option<char>) -> String {
    found.map_or_else(|| "the end of the text".into(), |character| format!("{character:?}"))
}

/// The notes of one value. Values are in the order of their starts; an object's keys are values
/// too, each before that of its member.
#[derive(Clone, Copy)]
struct Token {
    /// The position of its first byte …
    start: u32,
    /// … and of the byte after its last.
    end: u32,
    /// The index of the token after this value and all values in it.
    next: u32,
    kind: Kind,
    /// Whether its text is its normal form: no escape, no white space, no number with another
    /// spelling. Keys may be duplicate or out of order.
    plain: bool,
}

/// Reads texts, one after another, and reuses its memory.
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

/// The tokens for which a parser keeps memory between texts: 64 KiB, a few hundred times what a
/// transaction needs.
const KEPT_TOKENS: usize = 4096;

impl Parser {
    /// Makes a parser. It has no memory until it reads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a text that is one value, nested at most [`limits::JSON_DEPTH`] levels.
    ///
    /// # Errors
    /// [`JsonError`] if the text is no JSON.
    pub fn parse<'a>(&'a mut self, text: &'a str) -> Result<Value<'a>, JsonError> {
        self.parse_below(0, text)
    }

    /// Reads a text that will be `levels` deep in another one: it is then accepted there as well.
    pub(crate) fn parse_below<'a>(&'a mut self, levels: usize, text: &'a str) -> Result<Value<'a>, JsonError> {
        self.tokens.clear();
        read::read(text, limits::JSON_DEPTH - levels, &mut self.tokens)?;
        Ok(Value { text, parser: self, index: 0 })
    }

    /// Lends an empty text, for what is copied once its length is known.
    pub(crate) fn with_buffer<T>(&self, write: impl FnOnce(&mut String) -> T) -> T {
        let mut buffer = self.buffer.take();
        buffer.clear();
        let written = write(&mut buffer);
        if buffer.capacity() <= normal::KEPT_BYTES {
            self.buffer.set(buffer);
        }
        written
    }

    /// Frees the memory of an unusually long text: 1 MiB of short numbers takes 8 MiB, which a
    /// thousand idle links should not each keep.
    pub fn trim(&mut self) {
        if self.tokens.capacity() > KEPT_TOKENS {
            self.tokens = Vec::new();
        }
    }
}

/// One value of a text that was read: a cursor, cheap to copy.
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
    /// Returns the kind.
    pub fn kind(self) -> Kind {
        self.token().kind
    }

    /// Returns its text, as it was read.
    pub fn raw(self) -> &'a str {
        &self.text[self.range()]
    }

    /// Returns the parser that read it.
    pub(crate) fn parser(self) -> &'a Parser {
        self.parser
    }

    /// Returns the position of its text, in bytes.
    pub fn range(self) -> Range<usize> {
        let token = self.token();
        token.start as usize..token.end as usize
    }

    /// Returns the value of an object's member. Of duplicate keys the last one counts, as in
    /// JavaScript.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.members().filter(|(own, _)| own.is_text(key)).last().map(|(_, value)| value)
    }

    /// Iterates over the keys and values of an object, in the order of the text, duplicate keys
    /// included. Other kinds of values have none.
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

    /// Iterates over the elements of an array. Other kinds of values have none.
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

    /// Returns the characters of a string, borrowed unless it has escapes. It is `None` for other
    /// kinds of values and for a string with a lone surrogate.
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

    /// Returns the double that is nearest to a number. It is `None` for other kinds of values and
    /// for a number beyond all doubles.
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

/// Returns what is between the quotes of a string.
fn inner(text: &str, string: Token) -> &str {
    &text[string.start as usize + 1..string.end as usize - 1]
}
