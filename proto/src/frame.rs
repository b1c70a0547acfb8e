//! The text of a message: written once, and shared by all links that send it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The UTF-8 text of a message. A clone costs a reference count; text and count are one allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Frame(Arc<str>);

impl Frame {
    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty, which no message is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Frame {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Frame {
    fn from(text: &str) -> Self {
        Self(text.into())
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
