//! The parser: the grammar of RFC 8259, in a single pass.

use crate::json::error::JsonError;
use crate::json::token::{Kind, Token};

/// Reads a text that is one value of at most `levels` nested arrays and objects, and appends its
/// tokens.
pub(crate) fn read(text: &str, levels: usize, tokens: &mut Vec<Token>) -> Result<(), JsonError> {
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError::TooLong(text.len()));
    }
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, tokens };
    reader.space();
    if reader.at == text.len() {
        return Err(JsonError::Empty);
    }
    reader.value(levels)?;
    reader.space();
    if reader.at < text.len() { Err(reader.unexpected("the end of the text")) } else { Ok(()) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tokens: &'a mut Vec<Token>,
}

/// Functions that read a part of the text return whether it is plain, see [`Token::plain`].
impl Reader<'_> {
    /// Returns the next byte. At the end it is 0, which the grammar allows nowhere.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn space(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.at == start
    }

    #[cold]
    fn unexpected(&self, expected: &'static str) -> JsonError {
        // `at` is at the start of a character: a run ends at an ASCII byte, and escapes are ASCII.
        let found = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        JsonError::Unexpected { at: self.at, expected, found }
    }

    fn push(&mut self, start: usize, kind: Kind, plain: bool) {
        let next = self.tokens.len() as u32 + 1;
        self.tokens.push(Token { start: start as u32, end: self.at as u32, next, kind, plain });
    }

    fn value(&mut self, levels: usize) -> Result<bool, JsonError> {
        match self.peek() {
            b'"' => self.string(),
            b'{' => self.nested(levels, Kind::Object),
            b'[' => self.nested(levels, Kind::Array),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true", Kind::True),
            b'f' => self.word("false", Kind::False),
            b'n' => self.word("null", Kind::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn word(&mut self, word: &'static str, kind: Kind) -> Result<bool, JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected("a value (of words only true, false and null are any)"));
        }
        let start = self.at;
        self.at += word.len();
        self.push(start, kind, true);
        Ok(true)
    }

    fn nested(&mut self, levels: usize, kind: Kind) -> Result<bool, JsonError> {
        let levels = levels.checked_sub(1).ok_or(JsonError::TooDeep { at: self.at })?;
        let index = self.tokens.len();
        self.push(self.at, kind, true);
        self.at += 1;
        let plain = self.space() & if kind == Kind::Object { self.members(levels)? } else { self.elements(levels)? };
        let (end, next) = (self.at as u32, self.tokens.len() as u32);
        let token = &mut self.tokens[index];
        (token.end, token.next, token.plain) = (end, next, plain);
        Ok(plain)
    }

    /// Reads what follows an object's opening brace.
    fn members(&mut self, levels: usize) -> Result<bool, JsonError> {
        let mut plain = true;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(plain);
        }
        loop {
            if self.peek() != b'"' {
                return Err(self.unexpected("a key in double quotes"));
            }
            plain &= self.string()?;
            plain &= self.space();
            if self.peek() != b':' {
                return Err(self.unexpected("':' after a key"));
            }
            self.at += 1;
            plain &= self.space();
            plain &= self.value(levels)?;
            plain &= self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(self.unexpected("',' or '}' after a member")),
            }
            plain &= self.space();
        }
        self.at += 1;
        Ok(plain)
    }

    /// Reads what follows an array's opening bracket.
    fn elements(&mut self, levels: usize) -> Result<bool, JsonError> {
        let mut plain = true;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(plain);
        }
        loop {
            plain &= self.value(levels)?;
            plain &= self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(self.unexpected("',' or ']' after an element")),
            }
            plain &= self.space();
        }
        self.at += 1;
        Ok(plain)
    }

    fn string(&mut self) -> Result<bool, JsonError> {
        let start = self.at;
        let mut plain = true;
        self.at += 1;
        loop {
            self.at = run_end(self.bytes, self.at);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.escape()?;
                }
                _ if self.at == self.bytes.len() => return Err(self.unexpected("a string's closing quote")),
                _ => return Err(self.unexpected("a character or an escape (a line break in a string is written \\n)")),
            }
        }
        self.at += 1;
        self.push(start, Kind::String, plain);
        Ok(plain)
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.unexpected("four hexadecimal digits after \\u"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("one of \" \\ / b f n r t u after a backslash")),
        }
        Ok(())
    }

    /// A number is plain if it has at most 15 digits, which every double keeps (DBL_DIG), and
    /// ECMAScript writes them in the same way: no exponent, no −0, no zero at the end of a
    /// fraction, and not below 10^-6.
    fn number(&mut self) -> Result<bool, JsonError> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        let zero = self.peek() == b'0';
        let whole = self.digits("a digit")?;
        if zero && whole > 1 {
            self.at -= whole - 1;
            return Err(self.unexpected("a number without leading zeros"));
        }
        let mut plain = whole <= 15;
        if self.peek() == b'.' {
            self.at += 1;
            let fraction = self.digits("a digit after the decimal point")?;
            let digits = &self.bytes[self.at - fraction..self.at];
            let large = !zero || digits.iter().take(6).any(|digit| *digit != b'0');
            plain = whole + fraction <= 15 && large && !digits.ends_with(b"0");
        } else if zero {
            plain = self.bytes[start] != b'-';
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.digits("a digit in the exponent")?;
            plain = false;
        }
        self.push(start, Kind::Number, plain);
        Ok(plain)
    }

    /// Reads one digit or more; returns their number.
    fn digits(&mut self, expected: &'static str) -> Result<usize, JsonError> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected(expected)) } else { Ok(self.at - start) }
    }
}

/// Returns the position of the next quote, backslash or control character from `at` on, or the end.
///
/// It tests eight bytes at a time. [`special`] may be wrong about a byte only if it is right about
/// a lower one, so the lowest one is right.
#[inline]
pub(crate) fn run_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| special(u64::from(*byte) | 0x2020_2020_2020_2000) == 0) {
        at += 1;
    }
    at
}

/// Returns the high bit of each of eight bytes that is a quote, a backslash or a control character.
#[inline]
fn special(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let control = bytes.wrapping_sub(ONES * 0x20) & !bytes;
    (zero(bytes ^ (ONES * b'"' as u64)) | zero(bytes ^ (ONES * b'\\' as u64)) | control) & (ONES * 0x80)
}
