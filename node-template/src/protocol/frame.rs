//! The text of one message as it travels: written once, shared by reference count by every link that sends it.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// The UTF-8 text of one message. A clone costs a reference count, not a copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(ByteString);

impl Frame {
    /// How many bytes the text has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text is empty; no message's is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text's bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?})", self.as_str())
    }
}
