//! Strings: reads escapes, and writes those of `JSON.stringify`.

use std::fmt::Write;

use crate::json::error::JsonError;
use crate::json::read::run_end;

/// A part of a string: characters without escapes, or the character of one escape.
enum Piece<'a> {
    Plain(&'a str),
    Escaped(char),
}

/// Appends the characters of a string to `out`. `inner` is what is between the quotes, read by the
/// parser; `at` is its position, for the error.
pub(crate) fn decode(inner: &str, at: usize, out: &mut String) -> Result<(), JsonError> {
    pieces(inner, at, |piece| match piece {
        Piece::Plain(text) => out.push_str(text),
        Piece::Escaped(character) => out.push(character),
    })
}

/// Appends a string in quotes, as `JSON.stringify` writes it; see [`decode`] for the arguments.
pub(crate) fn write_normal(inner: &str, at: usize, out: &mut String) -> Result<(), JsonError> {
    out.push('"');
    pieces(inner, at, |piece| match piece {
        Piece::Plain(text) => out.push_str(text),
        Piece::Escaped('"') => out.push_str("\\\""),
        Piece::Escaped('\\') => out.push_str("\\\\"),
        Piece::Escaped('\u{8}') => out.push_str("\\b"),
        Piece::Escaped('\t') => out.push_str("\\t"),
        Piece::Escaped('\n') => out.push_str("\\n"),
        Piece::Escaped('\u{c}') => out.push_str("\\f"),
        Piece::Escaped('\r') => out.push_str("\\r"),
        Piece::Escaped(control @ '\0'..'\u{20}') => {
            write!(out, "\\u{:04x}", control as u32).expect("a String takes all that is written to it");
        }
        Piece::Escaped(character) => out.push(character),
    })?;
    out.push('"');
    Ok(())
}

fn pieces(inner: &str, at: usize, mut each: impl FnMut(Piece<'_>)) -> Result<(), JsonError> {
    let mut rest = inner;
    loop {
        // In a string that was read only a backslash ends a run.
        let (plain, escape) = rest.split_at(run_end(rest.as_bytes(), 0));
        if !plain.is_empty() {
            each(Piece::Plain(plain));
        }
        if escape.is_empty() {
            return Ok(());
        }
        let lone = || JsonError::LoneSurrogate { at: at + inner.len() - escape.len(), escape: escape[..6].to_owned() };
        let (character, length) = match escape.as_bytes()[1] {
            b'u' => match (unit(escape), escape.get(6..).filter(|rest| rest.starts_with("\\u"))) {
                (high @ 0xD800..0xDC00, Some(second)) => {
                    let low = Some(unit(second)).filter(|low| (0xDC00..0xE000).contains(low)).ok_or_else(lone)?;
                    (char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 12)
                }
                (unit, _) => (char::from_u32(unit), 6),
            },
            b'b' => (Some('\u{8}'), 2),
            b't' => (Some('\t'), 2),
            b'n' => (Some('\n'), 2),
            b'f' => (Some('\u{c}'), 2),
            b'r' => (Some('\r'), 2),
            itself => (Some(char::from(itself)), 2),
        };
        each(Piece::Escaped(character.ok_or_else(lone)?));
        rest = &escape[length..];
    }
}

/// Returns the UTF-16 unit of an escape `\uXXXX`.
fn unit(escape: &str) -> u32 {
    u32::from_str_radix(&escape[2..6], 16).expect("the parser has seen four hexadecimal digits after each \\u")
}
