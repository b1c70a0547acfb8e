//! The normal forms of a value: canonical (RFC 8785), of which ids are made, and compact, which is
//! sent.
//!
//! They differ in the order of keys alone, and so have the same length.

use std::fmt;

use crate::json::error::JsonError;
use crate::json::order::Order;
use crate::json::parser::{Scratch, Value};
use crate::json::token::{Kind, Token, inner};
use crate::json::{escape, number};

/// A value and its canonical form, made by [`Value::normal`].
pub struct Normal<'a> {
    value: Value<'a>,
    scratch: Scratch,
    unique: bool,
}

impl<'a> Value<'a> {
    /// Writes the canonical form: no white space, keys sorted by UTF-16 units, strings and numbers
    /// as `JSON.stringify` writes them. Of duplicate keys, compared without escapes, the last value
    /// counts, at the position of the first.
    ///
    /// # Errors
    /// [`JsonError::Number`] if ECMAScript prints a number with another value than its text has,
    /// and [`JsonError::LoneSurrogate`] if a string has one: the copy of a JavaScript node would
    /// differ.
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
    /// Returns the canonical form.
    pub fn canonical(&self) -> &str {
        &self.scratch.canonical
    }

    /// Appends the compact form: that of `JSON.stringify`, keys in the order received.
    pub fn write_compact(&mut self, out: &mut String) {
        let keys = if self.unique { Keys::Unique } else { Keys::Received };
        let mut writer = Writer::new(self.value, keys, &mut self.scratch.order, out);
        writer.value(self.value.index).expect("the canonical form was written from the same numbers and strings");
    }
}

impl Drop for Normal<'_> {
    /// Returns the buffers to the parser, unless they are unusually large.
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

/// The order in which an object's members are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// By key (RFC 8785).
    Sorted,
    /// As received; there may be duplicate keys.
    Received,
    /// As received; there are no duplicate keys.
    Unique,
}

struct Writer<'a> {
    text: &'a str,
    tokens: &'a [Token],
    keys: Keys,
    order: &'a mut Order,
    out: &'a mut String,
    /// Whether there was no duplicate key so far. It is right if keys are sorted.
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
        // An object in this one appends its members and removes them again.
        for (n, entry) in self.order.since(mark).enumerate() {
            if n > 0 {
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
        // Usually the key and the value are plain, with a colon between, and can be copied
        // together.
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
