//! Numbers: a decimal text is kept only if JavaScript keeps it.
//!
//! A JavaScript node reads a number into a double and writes the double's shortest decimal. Where that denotes another value than the text did, the
//! copy would have another identity than the original, so such a number is refused, whoever sends it first.

use crate::json::JsonError;
use crate::limits;

/// A number longer than this many bytes is brought to a short form before it is read; no program writes such.
const LONG: usize = 64;

/// The double that is nearest to a JSON number; infinite beyond the doubles' range.
pub(crate) fn nearest(text: &str) -> f64 {
    // Rust's parser drops the last digits of an exponent from some 650,000 on, which a long row of zeros can make up for.
    if text.len() > LONG
        && let Some(Decimal { negative, digits, exponent }) = Decimal::read(text)
    {
        let sign = if negative { "-" } else { "" };
        return nearest(&format!("{sign}{digits}e{exponent}"));
    }
    text.parse().expect("JSON's numbers are a part of those that Rust reads")
}

/// Appends a number as ECMAScript writes its nearest double (−0 is 0). `at` is where it stands, for the error.
pub(crate) fn write_normal(text: &str, at: usize, out: &mut String) -> Result<(), JsonError> {
    let mut buffer = ryu_js::Buffer::new();
    let nearest = buffer.format(nearest(text));
    match Decimal::read(text) {
        Some(exact) if Decimal::read(nearest) == Some(exact) => {
            out.push_str(nearest);
            Ok(())
        }
        _ => Err(changed(text, at, nearest)),
    }
}

#[cold]
fn changed(text: &str, at: usize, nearest: &str) -> JsonError {
    let mut number: String = text.chars().take(limits::SHOWN_CHARACTERS).collect();
    if number.len() < text.len() {
        number.pop();
        number.push('…');
    }
    JsonError::Number { at, number, nearest: nearest.to_owned() }
}

/// The exact value of a decimal text: `digits` × 10^`exponent`, with no zero at the end of `digits`. Zero has no sign here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: u64,
    exponent: i64,
}

impl Decimal {
    /// `None` for what no double's shortest decimal is: more than 19 digits (there are at most 17), an exponent beyond all reason, no number.
    fn read(text: &str) -> Option<Self> {
        let (mut digits, mut exponent) = (0u64, 0i64);
        // Zeros are held back until a digit follows: those at the end only move the exponent.
        let mut zeros = 0u32;
        let mut fraction = false;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    exponent -= i64::from(fraction);
                    if byte != b'0' {
                        digits =
                            digits.checked_mul(10u64.checked_pow(zeros + 1)?)?.checked_add(u64::from(byte - b'0'))?;
                        zeros = 0;
                    } else if digits != 0 {
                        zeros += 1;
                    }
                }
                b'.' => fraction = true,
                b'-' => {}
                b'e' | b'E' if digits == 0 => break,
                b'e' | b'E' => {
                    exponent = text[at + 1..].parse::<i64>().ok()?.checked_add(exponent)?;
                    break;
                }
                _ => return None,
            }
        }
        if digits == 0 {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative: text.starts_with('-'), digits, exponent: exponent.checked_add(i64::from(zeros))? })
    }
}
