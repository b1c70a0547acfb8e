//! The layout of `JSON.stringify(value, null, 2)`, the one in which the exercise's helper keeps `transactions.json`.

use super::read::run_end;

/// Appends compact JSON in the layout of `JSON.stringify(value, null, 2)`, each line after the first indented by `indent` more spaces.
///
/// `compact` is a value's compact JSON as [`Normal::write_compact`](super::Normal::write_compact) writes it: nothing is checked here.
pub fn write_pretty(compact: &str, indent: usize, out: &mut Vec<u8>) {
    let bytes = compact.as_bytes();
    let mut line = indent;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'{' | b'[' if matches!(next, Some(b'}' | b']')) => {
                out.extend_from_slice(&bytes[at..at + 2]);
                at += 1;
            }
            b'{' | b'[' => {
                line += 2;
                out.push(byte);
                break_line(line, out);
            }
            b'}' | b']' => {
                line = line.saturating_sub(2);
                break_line(line, out);
                out.push(byte);
            }
            b',' => {
                out.push(b',');
                break_line(line, out);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                let end = string_end(bytes, at);
                out.extend_from_slice(&bytes[at..end]);
                at = end - 1;
            }
            _ => out.push(byte),
        }
        at += 1;
    }
}

fn break_line(line: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + line, b' ');
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
