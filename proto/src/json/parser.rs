//! The parser, and the cursor over what it has read.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use crate::json::error::JsonError;
use crate::json::order::Order;
use crate::json::token::{Kind, Token, inner};
use crate::json::{escape, number, read};
use crate::limits;

/// Reads texts, one after another, and reuses its memory.
#[derive(Default)]
pub struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) scratch: Cell<Scratch>,
    pub(super) buffer: Cell<String>,
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

/// Buffers that a parser keeps between texts.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) canonical: String,
    pub(super) order: Order,
}

/// The bytes of a canonical text, and of a frame, for which a parser keeps memory between texts.
const KEPT_BYTES: usize = 64 * 1024;

impl Scratch {
    pub(super) fn trim(&mut self) {
        if self.canonical.capacity() > KEPT_BYTES {
            self.canonical = String::new();
        }
        self.order.trim();
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
        if buffer.capacity() <= KEPT_BYTES {
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
    pub(super) text: &'a str,
    pub(super) parser: &'a Parser,
    pub(super) index: usize,
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
        // A loop over the tokens: `members` makes a cursor of each.
        let tokens = &self.parser.tokens;
        let end = if self.kind() == Kind::Object { self.token().next as usize } else { 0 };
        let (mut own, mut found) = (self.index + 1, None);
        while own < end {
            let token = tokens[own];
            // Most keys differ in length already.
            let is_same = match token.plain {
                true => (token.end - token.start) as usize == key.len() + 2 && inner(self.text, token) == key,
                false => self.at(own).as_str().is_some_and(|own| own == key),
            };
            if is_same {
                found = Some(self.at(own + 1));
            }
            own = tokens[own + 1].next as usize;
        }
        found
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

    fn token(self) -> Token {
        self.parser.tokens[self.index]
    }

    fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }
}
