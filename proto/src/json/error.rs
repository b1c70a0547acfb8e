//! Why a text cannot be read, or a value cannot be written.

use crate::limits;

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
