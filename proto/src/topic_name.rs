//! The names of topics, and sets of those that this node has.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;
use crate::util::file_name::is_device;

/// The name of a topic: 1 to 32 of the characters `a` to `z`, `0` to `9` and `-`. A clone costs a
/// reference count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A text that names no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a topic's name has 1 to {most} of the characters a-z, 0-9 and -, and is neither {DEFAULT_TOPIC} nor a device of Windows, such as nul or com1",
    most = limits::TOPIC_NAME_BYTES
)]
pub struct InvalidTopicName;

/// The name of the default topic, which is on the wire without a name.
pub const DEFAULT_TOPIC: &str = "transactions";

impl TopicName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=limits::TOPIC_NAME_BYTES).contains(&text.len());
        if fits && text.bytes().all(is_valid) && text != DEFAULT_TOPIC && !is_device(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTopicName)
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Which of this node's topics a peer has: a bit for each, in the order in which they were
/// declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicSet(u16);

// A set has a bit for each topic that a node may have.
const _: () = assert!(limits::TOPICS <= 16);

impl TopicSet {
    /// Returns which of `own` are among those that a peer names.
    pub(crate) fn shared(own: &[TopicName], named: &[TopicName]) -> Self {
        let shared = own.iter().enumerate().filter(|(_, name)| named.contains(name));
        Self(shared.fold(0, |set, (topic, _)| set | 1 << topic))
    }

    pub(crate) fn contains(self, topic: usize) -> bool {
        self.0 >> topic & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<TopicName> {
        texts.iter().map(|text| text.parse().expect("a name")).collect()
    }

    #[test]
    fn a_name_is_short_lower_case_and_not_that_of_the_default_topic() {
        let longest = "a".repeat(limits::TOPIC_NAME_BYTES);
        for text in ["a", "blocks", "room-7", "0", "-", &longest] {
            assert_eq!(text.parse::<TopicName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "Blocks", "a b", "a/b", "..", "é", "a.json", "transactions", &format!("{longest}a")] {
            assert_eq!(text.parse::<TopicName>(), Err(InvalidTopicName), "{text}");
        }
    }

    #[test]
    fn a_set_has_the_topics_that_both_ends_have() {
        let own = names(&["a", "b", "c"]);
        let set = TopicSet::shared(&own, &names(&["x", "c", "a", "a"]));
        assert_eq!([0, 1, 2, 3].map(|topic| set.contains(topic)), [true, false, true, false]);
        assert_eq!(TopicSet::shared(&own, &[]), TopicSet::default());
    }
}
