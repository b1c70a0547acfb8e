//! Numbers: a decimal text is valid only if JavaScript keeps its value.
//!
//! A JavaScript node reads a number into a double and writes its shortest decimal. If that has
//! another value than the text, the copy has another id than the original. So such a number is
//! refused.

use crate::json::error::JsonError;
use crate::limits;

/// Numbers longer than this, in bytes, are shortened before they are read. No program writes such.
const LONG: usize = 64;

/// Returns the double that is nearest to a number; infinity beyond all doubles.
pub(crate) fn nearest(text: &str) -> f64 {
    // Rust's parser ignores the last digits of an exponent above 650,000; a long row of zeros can
    // make such an exponent small.
    if text.len() > LONG
        && let Some(Decimal { negative, digits, exponent }) = Decimal::read(text)
    {
        let sign = if negative { "-" } else { "" };
        return nearest(&format!("{sign}{digits}e{exponent}"));
    }
    text.parse().expect("JSON's numbers are a part of those that Rust reads")
}

/// Appends a number as ECMAScript writes its nearest double (−0 is 0). `at` is its position, for
/// the error.
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

/// The exact value of a decimal text: `digits` × 10^`exponent`, without a zero at the end of
/// `digits`. Zero has no sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: u64,
    exponent: i64,
}

impl Decimal {
    /// Reads a text. It is `None` for what is no double's shortest decimal: more than 19 digits
    /// (there are at most 17), an exponent beyond `i64`, or no number.
    fn read(text: &str) -> Option<Self> {
        let (mut digits, mut exponent) = (0u64, 0i64);
        // Zeros count once a digit follows: those at the end only change the exponent.
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
