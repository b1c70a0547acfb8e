//! The normal forms of a value: canonical (RFC 8785), of which identities are made, and compact, which travels.
//!
//! Both have the same members, numbers and strings, in the same spelling, and so the same length; they differ in the order of keys alone.

use std::cmp::Ordering;
use std::fmt;

use super::{JsonError, Kind, Token, Value, escape, inner, number};

/// A value whose canonical form was written, which proves that it has one. Made by [`Value::normal`].
pub struct Normal<'a> {
    value: Value<'a>,
    scratch: Scratch,
    unique: bool,
}

/// Buffers that are kept between texts.
#[derive(Default)]
pub(super) struct Scratch {
    canonical: String,
    order: Order,
}

impl Scratch {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.canonical.capacity() + self.order.names.capacity() + self.order.entries.capacity() * size_of::<Entry>()
    }

    fn trim(&mut self) {
        if self.canonical.capacity() > KEPT_BYTES {
            self.canonical = String::new();
        }
        if self.order.entries.capacity() > KEPT_KEYS || self.order.names.capacity() > KEPT_BYTES {
            self.order = Order::default();
        }
    }
}

/// How long a canonical text, and how many keys, a parser keeps room for between texts: 64 and 96 KiB.
const KEPT_BYTES: usize = 64 * 1024;
const KEPT_KEYS: usize = 4096;

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
        let mut normal = Normal {
            value: self,
            scratch: self.parser.scratch.take(),
            unique: true,
        };
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
        writer
            .value(self.value.index)
            .expect("the canonical form was written from the same numbers and strings");
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
        Self {
            text: value.text,
            tokens: &value.parser.tokens,
            keys,
            order,
            out,
            unique: true,
        }
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
        escape::write_normal(inner(self.text, token), self.out).map_err(|error| located(error, token))
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
        let first = self.order.entries.len();
        let names = self.order.names.len();
        self.unique &= self.order.sort(self.text, self.tokens, index)?;
        if self.keys == Keys::Received {
            self.order.entries[first..].sort_unstable_by_key(|entry| entry.key);
        }
        self.out.push('{');
        for place in first..self.order.entries.len() {
            if place > first {
                self.out.push(',');
            }
            let Entry { key, value, .. } = self.order.entries[place];
            self.member(key as usize, value as usize)?;
        }
        self.out.push('}');
        self.order.entries.truncate(first);
        self.order.names.truncate(names);
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

/// The error of a string's inside, with its position in the whole text.
fn located(error: JsonError, string: Token) -> JsonError {
    match error {
        JsonError::LoneSurrogate { at, escape } => JsonError::LoneSurrogate {
            at: string.start as usize + 1 + at,
            escape,
        },
        other => other,
    }
}

/// The members of the objects that are being written, the innermost last, each object's in order.
#[derive(Default)]
struct Order {
    entries: Vec<Entry>,
    /// The keys that have escapes, without them.
    names: String,
}

/// A member of an object.
#[derive(Clone, Copy)]
struct Entry {
    /// The key's first bytes, so that most comparisons end here; see [`rank`].
    head: u64,
    /// Where the key without escapes begins, in the text or in [`Order::names`] …
    start: u32,
    /// … and ends.
    end: u32,
    /// The key's token.
    key: u32,
    /// The value's token.
    value: u32,
}

impl Order {
    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
    }

    /// Appends the members of the object at `index`, sorted by key; of equal keys the first, with the last one's value. Returns whether all keys differed.
    fn sort(&mut self, text: &str, tokens: &[Token], index: usize) -> Result<bool, JsonError> {
        let first = self.entries.len();
        let mut key = index + 1;
        while key < tokens[index].next as usize {
            self.push(text, tokens, key)?;
            key = tokens[key + 1].next as usize;
        }
        let Self { entries, names } = self;
        let name = |entry: &Entry| {
            let source = if tokens[entry.key as usize].plain {
                text
            } else {
                names.as_str()
            };
            &source[entry.start as usize..entry.end as usize]
        };
        let order = |a: &Entry, b: &Entry| a.head.cmp(&b.head).then_with(|| compare(name(a), name(b)));
        let added = &mut entries[first..];
        added.sort_unstable_by(|a, b| order(a, b).then(a.key.cmp(&b.key)));
        let mut kept = 0;
        for next in 1..added.len() {
            if order(&added[kept], &added[next]).is_eq() {
                added[kept].value = added[next].value;
            } else {
                kept += 1;
                added[kept] = added[next];
            }
        }
        let unique = kept + 1 >= added.len();
        entries.truncate((first + kept + 1).min(entries.len()));
        Ok(unique)
    }

    fn push(&mut self, text: &str, tokens: &[Token], key: usize) -> Result<(), JsonError> {
        let token = tokens[key];
        let (source, start, end) = if token.plain {
            (text, token.start as usize + 1, token.end as usize - 1)
        } else {
            let start = self.names.len();
            escape::decode(inner(text, token), &mut self.names).map_err(|error| located(error, token))?;
            (self.names.as_str(), start, self.names.len())
        };
        let head = head(source.as_bytes(), start, end);
        self.entries.push(Entry {
            head,
            start: start as u32,
            end: end as u32,
            key: key as u32,
            value: key as u32 + 1,
        });
        Ok(())
    }
}

/// The first eight bytes of a key, ranked; fewer are filled up with zeros.
fn head(source: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    // Nearly always eight bytes can be read at once, as the text goes on behind a shorter key, and ASCII needs no ranking.
    if let Some(eight) = source.get(start..).and_then(|rest| rest.first_chunk()) {
        let behind = if length < 8 { u64::MAX >> (8 * length) } else { 0 };
        let head = u64::from_be_bytes(*eight) & !behind;
        if head & 0x8080_8080_8080_8080 == 0 {
            return head;
        }
    }
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(&source[start..end]) {
        *to = rank(*from);
    }
    u64::from_be_bytes(head)
}

/// The order of two keys by their UTF-16 units.
fn compare(a: &str, b: &str) -> Ordering {
    // Where one is ASCII, so is the byte that decides, and ranking changes nothing.
    if a.is_ascii() || b.is_ascii() {
        a.cmp(b)
    } else {
        a.bytes().map(rank).cmp(b.bytes().map(rank))
    }
}

/// Bytes of UTF-8, renamed so that their order is that of UTF-16.
///
/// The two orders differ in one thing: in UTF-16, characters from U+10000 on (first byte F0 to F4) begin with a surrogate, D800 to DFFF, and so come
/// before U+E000 to U+FFFF (first byte EE or EF). Two texts that differ do so first in bytes at the same place of a character.
fn rank(byte: u8) -> u8 {
    match byte {
        0xEE | 0xEF => byte + 8,
        0xF0.. => byte - 2,
        _ => byte,
    }
}
