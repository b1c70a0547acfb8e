//! The normal forms of a value: canonical (RFC 8785), of which identities are made, and compact, which travels.
//!
//! Both have the same members, numbers and strings, in the same spelling, and so the same length; they differ in the order of keys alone.

use std::fmt;

use crate::json::order::Order;
use crate::json::{JsonError, Kind, Token, Value, escape, inner, number};

/// A value whose canonical form was written, which proves that it has one. Made by [`Value::normal`].
pub struct Normal<'a> {
    value: Value<'a>,
    scratch: Scratch,
    unique: bool,
}

/// Buffers that are kept between texts.
#[derive(Default)]
pub(crate) struct Scratch {
    canonical: String,
    order: Order,
}

/// How long a canonical text, and a frame, a parser keeps room for between texts.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;

impl Scratch {
    fn trim(&mut self) {
        if self.canonical.capacity() > KEPT_BYTES {
            self.canonical = String::new();
        }
        self.order.trim();
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.canonical.capacity() + self.order.bytes()
    }
}

impl<'a> Value<'a> {
    /// The value in the forms that every node derives from it.
    ///
    /// Canonical JSON: no white space, keys sorted by UTF-16 units, strings and numbers as `JSON.stringify` writes them. Of duplicate keys (they are
    /// compared without their escapes) the last value wins at the first's place.
    ///
    /// # Errors
    /// [`JsonError::Number`] if a number's nearest double, as ECMAScript prints it, denotes another value than its text, and
    /// [`JsonError::LoneSurrogate`] if a string is no text: a JavaScript node's copy would then differ from the original.
    pub fn normal(self) -> Result<Normal<'a>, JsonError> {
        let mut normal = Normal { value: self, scratch: self.parser.scratch.take(), unique: true };
        let Scratch { canonical, order } = &mut normal.scratch;
        canonical.clear();
        order.clear();
        let mut writer = Writer::new(self, Keys::Sorted, order, canonical);
        writer.value(self.index)?;
        normal.unique = writer.unique;
        Ok(normal)
    }
}

impl Normal<'_> {
    /// The canonical form.
    pub fn canonical(&self) -> &str {
        &self.scratch.canonical
    }

    /// Appends the compact form: what `JSON.stringify` makes of the value, keys in the order received. It has the canonical form's length.
    pub fn write_compact(&mut self, out: &mut String) {
        let keys = if self.unique { Keys::Unique } else { Keys::Received };
        let mut writer = Writer::new(self.value, keys, &mut self.scratch.order, out);
        writer.value(self.value.index).expect("the canonical form was written from the same numbers and strings");
    }
}

impl Drop for Normal<'_> {
    /// The buffers go back to the parser, unless they have grown out of measure.
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.trim();
        self.value.parser.scratch.set(scratch);
    }
}

impl fmt::Debug for Normal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Normal({})", self.canonical())
    }
}

/// In which order an object's members are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// By key, as RFC 8785 asks.
    Sorted,
    /// As received; keys may repeat.
    Received,
    /// As received; it is known that no key repeats.
    Unique,
}

struct Writer<'a> {
    text: &'a str,
    tokens: &'a [Token],
    keys: Keys,
    order: &'a mut Order,
    out: &'a mut String,
    /// Whether no key has repeated so far; kept up to date where keys are sorted.
    unique: bool,
}

impl<'a> Writer<'a> {
    fn new(value: Value<'a>, keys: Keys, order: &'a mut Order, out: &'a mut String) -> Self {
        Self { text: value.text, tokens: &value.parser.tokens, keys, order, out, unique: true }
    }

    fn value(&mut self, index: usize) -> Result<(), JsonError> {
        let token = self.tokens[index];
        match token.kind {
            _ if token.plain && (token.next as usize == index + 1 || self.keys == Keys::Unique) => {
                self.raw(token.start, token.end);
                Ok(())
            }
            Kind::Array => self.array(index),
            Kind::Object if self.keys == Keys::Unique => self.members(index),
            Kind::Object => self.ordered_members(index),
            Kind::Number => number::write_normal(self.raw_text(token), token.start as usize, self.out),
            _ => self.string(token),
        }
    }

    fn raw_text(&self, token: Token) -> &'a str {
        &self.text[token.start as usize..token.end as usize]
    }

    fn raw(&mut self, start: u32, end: u32) {
        self.out.push_str(&self.text[start as usize..end as usize]);
    }

    fn string(&mut self, token: Token) -> Result<(), JsonError> {
        escape::write_normal(inner(self.text, token), token.start as usize + 1, self.out)
    }

    fn array(&mut self, index: usize) -> Result<(), JsonError> {
        let end = self.tokens[index].next as usize;
        let mut element = index + 1;
        self.out.push('[');
        while element < end {
            if element > index + 1 {
                self.out.push(',');
            }
            self.value(element)?;
            element = self.tokens[element].next as usize;
        }
        self.out.push(']');
        Ok(())
    }

    fn members(&mut self, index: usize) -> Result<(), JsonError> {
        let end = self.tokens[index].next as usize;
        let mut key = index + 1;
        self.out.push('{');
        while key < end {
            if key > index + 1 {
                self.out.push(',');
            }
            self.member(key, key + 1)?;
            key = self.tokens[key + 1].next as usize;
        }
        self.out.push('}');
        Ok(())
    }

    fn ordered_members(&mut self, index: usize) -> Result<(), JsonError> {
        let mark = self.order.mark();
        self.unique &= self.order.add(self.text, self.tokens, index)?;
        if self.keys == Keys::Received {
            self.order.as_received(mark);
        }
        self.out.push('{');
        // Objects inside this one put their members behind its, and take them away again.
        for (place, entry) in self.order.places(mark).enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            let (key, value) = self.order.member(entry);
            self.member(key, value)?;
        }
        self.out.push('}');
        self.order.release(mark);
        Ok(())
    }

    fn member(&mut self, key: usize, value: usize) -> Result<(), JsonError> {
        let (name, content) = (self.tokens[key], self.tokens[value]);
        // The usual member is copied in one piece: nothing but the colon stands between its two halves, and the value holds no other.
        if name.plain && content.plain && content.start == name.end + 1 && content.next as usize == value + 1 {
            self.raw(name.start, content.end);
            return Ok(());
        }
        if name.plain {
            self.raw(name.start, name.end);
        } else {
            self.string(name)?;
        }
        self.out.push(':');
        self.value(value)
    }
}
