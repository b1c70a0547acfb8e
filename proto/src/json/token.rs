//! The notes that the parser makes of a text.

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// Returns the name, with its article: "an array", "null".
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::True => "true",
            Self::False => "false",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// The notes of one value. Values are in the order of their starts; an object's keys are values
/// too, each before that of its member.
#[derive(Clone, Copy)]
pub(super) struct Token {
    /// The position of its first byte …
    pub(super) start: u32,
    /// … and of the byte after its last.
    pub(super) end: u32,
    /// The index of the token after this value and all values in it.
    pub(super) next: u32,
    pub(super) kind: Kind,
    /// Whether its text is its normal form: no escape, no white space, no number with another
    /// spelling. Keys may be duplicate or out of order.
    pub(super) plain: bool,
}

/// Returns what is between the quotes of a string.
pub(super) fn inner(text: &str, string: Token) -> &str {
    &text[string.start as usize + 1..string.end as usize - 1]
}
