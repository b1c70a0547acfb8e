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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_text() {
        let frame = Frame::from("{é}");
        assert_eq!((frame.as_str(), frame.len(), frame.is_empty()), ("{é}", 4, false));
        assert_eq!((Frame::from(String::new()).len(), Frame::from("").is_empty()), (0, true));
        assert_eq!(format!("{frame:?}"), r#"Frame("{é}")"#);
        assert_eq!(Frame::from("{é}".to_owned()), frame);
        assert_eq!(std::collections::HashSet::from([frame]).get("{é}").map(Frame::len), Some(4), "found by its text");
    }
}
