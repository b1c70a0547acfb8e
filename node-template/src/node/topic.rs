//! A topic of a running node: publish, and follow.

use std::ops::Range;
use std::time::Duration;

use meshpool_proto::json::Parser;
use meshpool_proto::topic_name::DEFAULT_TOPIC;
use meshpool_proto::transaction::{InvalidTransaction, Transaction};
use meshpool_proto::{Submission, TopicStatus};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use crate::driver::commands::Command;
use crate::node::declared::Declared;
use crate::node::handle::{Handle, NodeError, Submitted};
use crate::pool::{PoolError, Reader, TOPIC_LEVELS};
use crate::util::time_of_day::time_of_day;

/// How many bytes a follower reads at once.
const FOLLOW_BYTES: usize = 256 * 1024;
/// The pause after the file could not be read, once: another program was changing it.
const PAUSE: Duration = Duration::from_millis(200);

/// A topic of a running node, from [`Handle::topic`]. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Topic {
    node: Handle,
    /// `None`: the default topic.
    number: Option<usize>,
}

/// An item of a topic, or a gap that retention left.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Followed {
    /// An item.
    Item {
        /// Its position: the order in which this node stored it. Positions only grow, and stay over
        /// restarts. Other nodes have other ones.
        position: u64,
        /// The item.
        transaction: Transaction,
    },
    /// What was at these positions is gone: retention removed it before it was read, or somebody
    /// removed it from the file.
    Removed {
        /// The first position.
        from: u64,
        /// The position after the last.
        until: u64,
    },
}

/// The items of a topic from a position on: those that are stored, then those that come. From
/// [`Topic::follow`].
///
/// It reads what is stored, so it never loses an item because it is slow, and never gives one
/// twice. It costs nothing while nobody reads on.
#[derive(Debug)]
pub struct Follow {
    node: Handle,
    source: Reader,
    growth: watch::Receiver<u64>,
    position: u64,
    /// What was read and not given out, the last first.
    read: Vec<(u64, Transaction)>,
    /// The position after what was read.
    next: u64,
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The node has ended, and everything that it stored was given out.
    #[error("the node has ended; follow again from position {position} after its next start")]
    Ended {
        /// From where to go on.
        position: u64,
    },
    /// The file could not be read.
    #[error(transparent)]
    Unreadable(#[from] PoolError),
}

impl Handle {
    /// A topic that was declared with [`Network::topic`](crate::Network::topic), or the default
    /// one, `transactions`.
    ///
    /// # Errors
    /// [`NodeError::UnknownTopic`].
    pub fn topic(&self, name: &str) -> Result<Topic, NodeError> {
        if name == DEFAULT_TOPIC {
            return Ok(Topic { node: self.clone(), number: None });
        }
        let number = self.topics.iter().position(|declared| declared.name == name);
        let number = number.ok_or_else(|| NodeError::UnknownTopic(name.to_owned()))?;
        Ok(Topic { node: self.clone(), number: Some(number) })
    }
}

impl Topic {
    fn declared(&self) -> Option<&Declared> {
        self.node.topics.get(self.number?)
    }

    /// Whether items are kept by their time.
    pub(crate) fn is_by_time(&self) -> bool {
        self.declared().is_some_and(|declared| declared.by_time)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.declared().map_or(DEFAULT_TOPIC, |declared| &declared.name)
    }

    /// Publishes an item: any value that serialises to a JSON object. Returns once it is on its way
    /// to the other members; [`Submitted::stored`] waits until it is stored here.
    ///
    /// Equal objects are one item. In a topic with retention, an object without `timeStamp` gets
    /// one: the present time, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`NodeError`] with the reason.
    pub async fn publish(&self, item: &impl Serialize) -> Result<Submitted, NodeError> {
        self.publish_text(&serde_json::to_string(item).map_err(NodeError::Unwritable)?).await
    }

    /// As [`Self::publish`], from the text of a JSON object.
    ///
    /// # Errors
    /// [`NodeError`] with the reason.
    pub async fn publish_text(&self, text: &str) -> Result<Submitted, NodeError> {
        let (Some(topic), Some(declared)) = (self.number, self.declared()) else {
            return self.node.submit_text(text).await;
        };
        let mut item = parse(text)?;
        if declared.by_time && item.time() == 0 {
            item = stamp(&item)?;
        }
        if self.node.signs {
            item = parse(self.node.sign(item)?.body())?;
        }
        self.node.check(&declared.checks, &declared.pool, &item).await?;
        let (stored_sender, stored) = oneshot::channel();
        let publish = |accepted| Command::Publish { topic, transaction: item, accepted, stored: stored_sender };
        let Submission { id, links, duplicate } = self.node.ask(publish).await?.map_err(NodeError::Refused)?;
        Ok(Submitted { id, links, duplicate, stored })
    }

    /// Reads the items that are stored here.
    pub fn pool(&self) -> &Reader {
        self.declared().map_or(&self.node.pool, |declared| &declared.pool)
    }

    /// The position of the first item that is kept here, and of the next one that is stored.
    pub fn positions(&self) -> Range<u64> {
        self.pool().kept()
    }

    /// Follows the items from a position on: 0 for all that are kept, [`Self::positions`]`().end`
    /// for those that come from now on, [`Follow::position`] to go on after a restart.
    pub fn follow(&self, from: u64) -> Follow {
        let source = self.pool().clone();
        let growth = source.growth();
        Follow { node: self.node.clone(), source, growth, position: from, read: Vec::new(), next: from }
    }

    /// What is known of the topic: how much is held, and which linked nodes have it too. Of the
    /// default topic, [`Handle::status`] tells.
    ///
    /// # Errors
    /// [`NodeError::Ended`]; [`NodeError::UnknownTopic`] for the default topic.
    pub async fn status(&self) -> Result<TopicStatus, NodeError> {
        let unknown = || NodeError::UnknownTopic(self.name().to_owned());
        let topic = self.number.ok_or_else(unknown)?;
        self.node.ask(|reply| Command::TopicStatus { topic, reply }).await?.ok_or_else(unknown)
    }
}

impl Follow {
    /// Returns the next item, or waits for it. Cancel-safe.
    ///
    /// # Errors
    /// [`FollowError::Ended`] if the node has ended and there is nothing more to read. After
    /// [`FollowError::Unreadable`] it may be called again.
    pub async fn next(&mut self) -> Result<Followed, FollowError> {
        loop {
            if let Some((position, _)) = self.read.last() {
                let position = *position;
                if position > self.position {
                    return Ok(self.pass_over(position));
                }
                if let Some((_, transaction)) = self.read.pop() {
                    self.position = position + 1;
                    return Ok(Followed::Item { position, transaction });
                }
            }
            // Behind the last row that is kept, some may be gone.
            if self.next > self.position {
                return Ok(self.pass_over(self.next));
            }
            self.growth.borrow_and_update();
            if self.position < self.source.kept().end {
                self.read_on().await?;
                continue;
            }
            tokio::select! {
                grown = self.growth.changed() => {
                    if grown.is_err() {
                        return Err(FollowError::Ended { position: self.position });
                    }
                }
                () = self.node.gone() => {
                    if self.position >= self.source.kept().end {
                        return Err(FollowError::Ended { position: self.position });
                    }
                }
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), FollowError> {
        let (mut rows, next) = match self.source.after(self.position, FOLLOW_BYTES).await {
            Err(PoolError::Overwritten { .. }) => {
                tokio::time::sleep(PAUSE).await;
                self.source.after(self.position, FOLLOW_BYTES).await?
            }
            read => read?,
        };
        rows.reverse();
        (self.read, self.next) = (rows, next);
        Ok(())
    }

    fn pass_over(&mut self, until: u64) -> Followed {
        let from = std::mem::replace(&mut self.position, until);
        Followed::Removed { from, until }
    }

    /// From where to go on after a restart: the position after the last item that was returned.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// Reads an item, which is nested deeper on the wire than a transaction of the default topic.
fn parse(text: &str) -> Result<Transaction, InvalidTransaction> {
    Transaction::parse_below(TOPIC_LEVELS, &mut Parser::new(), text)
}

/// Adds the present time to an item.
fn stamp(item: &Transaction) -> Result<Transaction, InvalidTransaction> {
    let mut parser = Parser::new();
    if parser.parse(item.body())?.get("timeStamp").is_some() {
        // It is no time, which the topic refuses.
        return Ok(item.clone());
    }
    let (body, milliseconds) = (item.body(), (time_of_day() * 1000.0) as u64);
    let text = body.strip_suffix('}').expect("an object's compact text ends with its bracket");
    let comma = if body == "{}" { "" } else { "," };
    parse(&format!(r#"{text}{comma}"timeStamp":{milliseconds}}}"#))
}
