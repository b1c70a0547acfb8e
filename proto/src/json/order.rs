//! The order of an object's members: by key (RFC 8785), each key once.

use std::cmp::Ordering;
use std::ops::Range;

use crate::json::error::JsonError;
use crate::json::escape;
use crate::json::token::{Token, inner};

/// The members of the objects that are being written, those of the innermost object last.
#[derive(Default)]
pub(crate) struct Order {
    entries: Vec<Entry>,
    /// The keys with escapes, decoded.
    names: String,
}

/// A member of an object.
#[derive(Clone, Copy)]
struct Entry {
    /// The key's first eight bytes, see [`head`]: most comparisons need no more.
    head: u64,
    /// The start of the decoded key, in the text or in [`Order::names`] …
    start: u32,
    /// … and its end.
    end: u32,
    /// The index of the key's token.
    key: u32,
    /// The index of the value's token.
    value: u32,
}

/// The size before an object was added.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    entries: usize,
    names: usize,
}

/// The members, and bytes of decoded keys, for which memory is kept between texts: 96 and 16 KiB.
const KEPT_ENTRIES: usize = 4096;
const KEPT_NAMES: usize = 16 * 1024;

impl Order {
    pub(crate) fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), names: self.names.len() }
    }

    /// Removes what was added after a mark.
    pub(crate) fn release(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.names.truncate(mark.names);
    }

    pub(crate) fn clear(&mut self) {
        self.release(Mark { entries: 0, names: 0 });
    }

    /// Frees unusually much memory.
    pub(crate) fn trim(&mut self) {
        if self.entries.capacity() > KEPT_ENTRIES || self.names.capacity() > KEPT_NAMES {
            *self = Self::default();
        }
    }

    /// Returns for how many members, and bytes of names, there is memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.entries.capacity(), self.names.capacity())
    }

    /// Returns the indices of the members that were added after a mark.
    pub(crate) fn since(&self, mark: Mark) -> Range<usize> {
        mark.entries..self.entries.len()
    }

    /// Returns the tokens of a member's key and value.
    pub(crate) fn member(&self, index: usize) -> (usize, usize) {
        let Entry { key, value, .. } = self.entries[index];
        (key as usize, value as usize)
    }

    /// Adds the members of the object at `index`, sorted by key; of duplicate keys the first one,
    /// with the last value. Returns whether there was no duplicate.
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

    /// Sorts the members that were added after a mark in the order in which their keys were
    /// received.
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

/// Returns the first eight bytes of a key, ranked, and padded with zeros.
pub(super) fn head(source: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    // Mostly eight bytes can be read at once, because more text follows, and ASCII needs no
    // ranking.
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

/// Compares two keys by their UTF-16 units.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    // If one is ASCII, its byte at the first difference is too, and ranking changes nothing.
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.bytes().map(rank).cmp(b.bytes().map(rank)) }
}

/// Maps bytes of UTF-8 so that their order is that of UTF-16.
///
/// In UTF-16, characters from U+10000 on (first byte F0 to F4) begin with a surrogate, D800 to
/// DFFF, and precede U+E000 to U+FFFF (first byte EE or EF). All else has the same order, and the
/// first difference of two texts is at the same byte of a character in both.
pub(super) fn rank(byte: u8) -> u8 {
    match byte {
        0xEE | 0xEF => byte + 8,
        0xF0.. => byte - 2,
        _ => byte,
    }
}
