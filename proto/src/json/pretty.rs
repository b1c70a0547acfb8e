//! The layout of `JSON.stringify(value, null, 2)`, which `transactions.json` has in the exercise.

use crate::json::read::run_end;

/// A line break and 63 spaces: the indentation of nearly all lines.
const BREAK: &[u8; 64] = &{
    let mut text = [b' '; 64];
    text[0] = b'\n';
    text
};

/// Appends compact JSON in the layout of `JSON.stringify(value, null, 2)`, each line after the
/// first indented by `indent` more spaces.
///
/// `compact` is compact JSON as [`Normal::write_compact`](crate::json::Normal::write_compact)
/// writes it. It is not checked.
pub fn write_pretty(compact: &str, indent: usize, out: &mut Vec<u8>) {
    write_pretty_within(compact, indent, usize::MAX, out);
}

/// As [`write_pretty`], if that has at most `most` bytes; otherwise appends nothing and returns
/// `false`.
pub fn write_pretty_within(compact: &str, indent: usize, most: usize, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let end = begin.saturating_add(most);
    let bytes = compact.as_bytes();
    let mut line = indent;
    // The text between two insertions of white space is copied together.
    let (mut copied, mut at) = (0, 0);
    while out.len() <= end
        && let Some(&byte) = bytes.get(at)
    {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' if matches!(bytes.get(at + 1), Some(b'}' | b']')) => {
                at += 2;
                continue;
            }
            b'}' | b']' => {
                line = line.saturating_sub(2);
                out.extend_from_slice(&bytes[copied..at]);
                copied = at;
                break_line(line, out);
            }
            b'{' | b'[' | b',' => {
                line += if byte == b',' { 0 } else { 2 };
                out.extend_from_slice(&bytes[copied..=at]);
                copied = at + 1;
                break_line(line, out);
            }
            b':' => {
                out.extend_from_slice(&bytes[copied..=at]);
                copied = at + 1;
                out.push(b' ');
            }
            _ => {}
        }
        at += 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    let fits = out.len() <= end;
    if !fits {
        out.truncate(begin);
    }
    fits
}

fn break_line(line: usize, out: &mut Vec<u8>) {
    match BREAK.get(..=line) {
        Some(text) => out.extend_from_slice(text),
        None => {
            out.push(b'\n');
            out.resize(out.len() + line, b' ');
        }
    }
}

/// The position after the closing quote of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = run_end(bytes, start + 1);
    while bytes.get(at).is_some_and(|byte| *byte != b'"') {
        let escape = if bytes[at] == b'\\' { 2 } else { 1 };
        at = run_end(bytes, at + escape);
    }
    (at + 1).min(bytes.len())
}
