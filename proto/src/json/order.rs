//! The order of an object's members: by key as RFC 8785 asks, each key once.

use std::cmp::Ordering;
use std::ops::Range;

use crate::json::{JsonError, Token, escape, inner};

/// The members of the objects that are being written, the innermost object's last.
#[derive(Default)]
pub(crate) struct Order {
    entries: Vec<Entry>,
    /// The keys that have escapes, without them.
    names: String,
}

/// A member of an object.
#[derive(Clone, Copy)]
struct Entry {
    /// The key's first bytes, so that most comparisons end here; see [`head`].
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

/// How much there was before an object was added.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    entries: usize,
    names: usize,
}

/// How many members, and bytes of keys with escapes, there is room for between texts: 96 and 16 KiB.
const KEPT_ENTRIES: usize = 4096;
const KEPT_NAMES: usize = 16 * 1024;

impl Order {
    pub(crate) fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), names: self.names.len() }
    }

    /// Forgets what was added since.
    pub(crate) fn release(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.names.truncate(mark.names);
    }

    pub(crate) fn clear(&mut self) {
        self.release(Mark { entries: 0, names: 0 });
    }

    /// Gives unusually much memory back.
    pub(crate) fn trim(&mut self) {
        if self.entries.capacity() > KEPT_ENTRIES || self.names.capacity() > KEPT_NAMES {
            *self = Self::default();
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.names.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The places of the members that were added since.
    pub(crate) fn places(&self, mark: Mark) -> Range<usize> {
        mark.entries..self.entries.len()
    }

    /// The tokens of the key and the value at a place.
    pub(crate) fn member(&self, place: usize) -> (usize, usize) {
        let Entry { key, value, .. } = self.entries[place];
        (key as usize, value as usize)
    }

    /// Adds the members of the object at `index`, sorted by key; of equal keys only the first, with the last one's value. Returns whether all keys
    /// differed.
    pub(crate) fn add(&mut self, text: &str, tokens: &[Token], index: usize) -> Result<bool, JsonError> {
        let first = self.entries.len();
        let mut key = index + 1;
        while key < tokens[index].next as usize {
            self.push(text, tokens, key)?;
            key = tokens[key + 1].next as usize;
        }
        let Self { entries, names } = self;
        let name = |entry: &Entry| {
            let source = if tokens[entry.key as usize].plain { text } else { names.as_str() };
            &source[entry.start as usize..entry.end as usize]
        };
        let order = |a: &Entry, b: &Entry| a.head.cmp(&b.head).then_with(|| compare(name(a), name(b)));
        let added = &mut entries[first..];
        added.sort_unstable_by(|a, b| order(a, b).then(a.key.cmp(&b.key)));
        let received = entries.len();
        let mut kept = first;
        for next in first + 1..received {
            if order(&entries[kept], &entries[next]).is_eq() {
                entries[kept].value = entries[next].value;
            } else {
                kept += 1;
                entries[kept] = entries[next];
            }
        }
        entries.truncate(kept + 1);
        Ok(entries.len() == received)
    }

    /// Puts the members that were added since into the order in which their keys were received first.
    pub(crate) fn as_received(&mut self, mark: Mark) {
        self.entries[mark.entries..].sort_unstable_by_key(|entry| entry.key);
    }

    fn push(&mut self, text: &str, tokens: &[Token], key: usize) -> Result<(), JsonError> {
        let token = tokens[key];
        let mut source = text;
        let (mut start, mut end) = (token.start as usize + 1, token.end as usize - 1);
        if !token.plain {
            let at = start;
            start = self.names.len();
            escape::decode(inner(text, token), at, &mut self.names)?;
            end = self.names.len();
            source = &self.names;
        }
        let head = head(source.as_bytes(), start, end);
        self.entries.push(Entry { head, start: start as u32, end: end as u32, key: key as u32, value: key as u32 + 1 });
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
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.bytes().map(rank).cmp(b.bytes().map(rank)) }
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
