//! What a topic is: its rules, where its items are stored, and what it keeps.

use std::time::Duration;

use meshpool_proto::Retention;
use meshpool_proto::topic_name::{InvalidTopicName, TopicName};
use meshpool_proto::transaction::Transaction;

use crate::pool::Reader;
use crate::signing::validator::Validator;
use crate::validation::{Rules, Validation};

/// What a topic in memory keeps, unless it is set otherwise.
const MEMORY_AGE: Duration = Duration::from_secs(60 * 60);
const MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// A topic, declared before the start with [`Network::topic`](crate::Network::topic).
///
/// Its members should have equal rules. What they keep may differ; if one has retention, each item
/// needs a `timeStamp`, which members without retention do not add.
#[derive(Debug, Clone)]
#[must_use = "a topic is declared with Network::topic"]
pub struct TopicConfig {
    pub(crate) in_memory: bool,
    pub(crate) retention: Retention,
    pub(crate) validator: Validator,
    pub(crate) rules: Option<Rules>,
}

/// Why topics cannot be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is not valid.
    #[error("{name:?} is no topic: {error}")]
    Name {
        /// The text.
        name: String,
        /// The rule.
        error: InvalidTopicName,
    },
    /// Two have one name.
    #[error("the topic {0} is declared twice: declare it once")]
    Twice(TopicName),
    /// There are too many.
    #[error("{0} topics are declared; a node has at most {most}", most = meshpool_proto::limits::TOPICS)]
    TooMany(usize),
}

impl TopicConfig {
    /// A topic in `topics/<name>.json` in the node's folder, which keeps everything.
    pub fn on_disk() -> Self {
        Self { in_memory: false, retention: Retention::default(), validator: Validator::default(), rules: None }
    }

    /// A topic in memory, which keeps the items of the last hour, and at most 16 MiB. They are gone
    /// when the process ends, unless other members have them. Items without a `timeStamp` are not
    /// taken, nor passed on.
    pub fn in_memory() -> Self {
        let retention = Retention { count: None, bytes: Some(MEMORY_BYTES), age: Some(MEMORY_AGE) };
        Self { in_memory: true, retention, validator: Validator::default(), rules: None }
    }

    /// Keeps the last `most` items, by `timeStamp`, and up to a sixteenth more for a while.
    pub fn keep_count(mut self, most: u64) -> Self {
        self.retention.count = Some(most.max(1));
        self
    }

    /// Keeps the last items, by `timeStamp`, up to `most` bytes of compact JSON, and up to a
    /// sixteenth more for a while.
    pub fn keep_bytes(mut self, most: u64) -> Self {
        self.retention.bytes = Some(most.max(1));
        self
    }

    /// Keeps items whose `timeStamp` is at most this old.
    pub fn keep_for(mut self, age: Duration) -> Self {
        self.retention.age = Some(age);
        self
    }

    /// Sets a function that validates every new item, as
    /// [`Network::validate`](crate::Network::validate) does for the default topic.
    pub fn validate(mut self, function: impl Fn(&Transaction) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.validator.set_function(function);
        self
    }

    /// Sets rules with state, as [`Network::validate_with`](crate::Network::validate_with) does for
    /// the default topic. The function reads the items of this topic that are stored here. Each
    /// topic with such rules has bounds of its own: at most 4,096 items with 16 MiB are judged and
    /// deferred.
    ///
    /// ```
    /// use meshpool::{Network, NodeError, TopicConfig, TransactionExt, Until, Validation};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Block {
    ///     parent: Option<String>,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let blocks = TopicConfig::on_disk().validate_with(|item, blocks| async move {
    ///     let Ok(Block { parent }) = item.parse() else {
    ///         return Validation::Reject("this topic takes blocks".to_owned());
    ///     };
    ///     let Some(parent) = parent.and_then(|id| id.parse().ok()) else {
    ///         return Validation::Accept;
    ///     };
    ///     match blocks.find(&parent).await {
    ///         Ok(Some(_)) => Validation::Accept,
    ///         _ => Validation::Defer(Until::changed()),
    ///     }
    /// });
    /// let network = Network::new("localhost").folder(folder.path()).topic("blocks", blocks);
    /// let node = network.start().await?;
    /// let blocks = node.topic("blocks")?;
    /// let early = blocks.publish(&serde_json::json!({ "parent": "00".repeat(32) })).await;
    /// assert!(matches!(early, Err(NodeError::Deferred)));
    /// # node.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn validate_with<F>(mut self, function: impl Fn(Transaction, Reader) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Validation> + Send + 'static,
    {
        self.rules = Some(Rules::new(function));
        self
    }

    /// Sets whether signatures are required, as
    /// [`Network::require_signatures`](crate::Network::require_signatures) does for the default
    /// topic.
    pub fn require_signatures(mut self, required: bool) -> Self {
        self.validator.require_signatures(required);
        self
    }
}

/// Checks what was declared.
pub(crate) fn check(declared: Vec<(String, TopicConfig)>) -> Result<Vec<(TopicName, TopicConfig)>, TopicError> {
    if declared.len() > meshpool_proto::limits::TOPICS {
        return Err(TopicError::TooMany(declared.len()));
    }
    let mut checked: Vec<(TopicName, TopicConfig)> = Vec::new();
    for (name, config) in declared {
        let name: TopicName = name.parse().map_err(|error| TopicError::Name { name, error })?;
        if checked.iter().any(|(other, _)| *other == name) {
            return Err(TopicError::Twice(name));
        }
        checked.push((name, config));
    }
    Ok(checked)
}
