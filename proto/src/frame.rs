//! The text of one message as it travels: written once, shared by reference count by every link that sends it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The UTF-8 text of one message. A clone costs a reference count, not a copy; text and count lie in one piece of memory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Frame(Arc<str>);

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
