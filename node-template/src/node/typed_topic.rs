//! A topic whose items have a type of the application.

use std::fmt;
use std::marker::PhantomData;

use meshpool_proto::id::NodeId;
use meshpool_proto::signature::{PUBLIC_KEY, SIGNATURE};
use meshpool_proto::transaction::{Transaction, TransactionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::node::handle::{NodeError, Submitted};
use crate::node::topic::{Follow, FollowError, Followed, Topic};
use crate::signing::extension::TransactionExt;

/// The time of an item, by which retention keeps it.
const TIME_STAMP: &str = "timeStamp";

/// A topic whose items are values of `T`, from [`Topic::typed`]. The members of a signature,
/// `publicKey` and `signature`, are not part of `T`. In a topic with retention `timeStamp` may be,
/// and need not.
pub struct TypedTopic<T> {
    topic: Topic,
    _items: PhantomData<fn(T) -> T>,
}

/// A follower of a [`TypedTopic`].
#[derive(Debug)]
pub struct TypedFollow<T> {
    follow: Follow,
    /// Whether [`Topic::publish`] adds the time to items without one.
    by_time: bool,
    _items: PhantomData<fn() -> T>,
}

/// What a [`TypedFollow`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum TypedItem<T> {
    /// An item.
    Item {
        /// Its position.
        position: u64,
        /// Its identity.
        id: TransactionId,
        /// Who signed it; `None` if it is not signed, or its signature is not good.
        signer: Option<NodeId>,
        /// What it says.
        value: T,
    },
    /// An item that is no `T`. Rules of the topic can keep such ones out.
    Other {
        /// Its position.
        position: u64,
        /// The item.
        item: Transaction,
        /// What does not fit.
        error: serde_json::Error,
    },
    /// As [`Followed::Removed`].
    Removed {
        /// The first position that is gone.
        from: u64,
        /// The first that may be there again.
        until: u64,
    },
}

impl<T> Clone for TypedTopic<T> {
    fn clone(&self) -> Self {
        Self { topic: self.topic.clone(), _items: PhantomData }
    }
}

impl<T> fmt::Debug for TypedTopic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTopic").field(&self.topic).finish()
    }
}

impl Topic {
    /// The same topic, with items of a type.
    pub fn typed<T: Serialize + DeserializeOwned>(self) -> TypedTopic<T> {
        TypedTopic { topic: self, _items: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> TypedTopic<T> {
    /// The topic without the type.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// As [`Topic::publish`].
    ///
    /// # Errors
    /// As of [`Topic::publish`].
    pub async fn publish(&self, value: &T) -> Result<Submitted, NodeError> {
        self.topic.publish(value).await
    }

    /// As [`Topic::follow`].
    pub fn follow(&self, from: u64) -> TypedFollow<T> {
        TypedFollow { follow: self.topic.follow(from), by_time: self.topic.is_by_time(), _items: PhantomData }
    }
}

impl<T: DeserializeOwned> TypedFollow<T> {
    /// Returns the next item, or waits for it. Cancel-safe.
    ///
    /// # Errors
    /// As of [`Follow::next`].
    pub async fn next(&mut self) -> Result<TypedItem<T>, FollowError> {
        Ok(match self.follow.next().await? {
            Followed::Removed { from, until } => TypedItem::Removed { from, until },
            Followed::Item { position, transaction } => match value_of(&transaction, self.by_time) {
                Ok(value) => TypedItem::Item { position, id: transaction.id(), signer: transaction.signer(), value },
                Err(error) => TypedItem::Other { position, item: transaction, error },
            },
        })
    }

    /// As [`Follow::position`].
    pub fn position(&self) -> u64 {
        self.follow.position()
    }
}

/// Reads an item without the members of its signature, which it has both or not at all. `by_time`:
/// its `timeStamp` may be no part of the value.
fn value_of<T: DeserializeOwned>(item: &Transaction, by_time: bool) -> Result<T, serde_json::Error> {
    let mut object: Map<String, Value> = item.parse()?;
    if object.contains_key(PUBLIC_KEY) && object.contains_key(SIGNATURE) {
        object.remove(PUBLIC_KEY);
        object.remove(SIGNATURE);
    }
    if by_time && let Ok(value) = serde_json::from_value(Value::Object(object.clone())) {
        return Ok(value);
    }
    if by_time {
        object.remove(TIME_STAMP);
    }
    serde_json::from_value(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::signing::wallet::Wallet;

    #[test]
    fn the_members_of_a_signature_are_no_part_of_a_value() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Vote {
            yes: bool,
        }
        let wallet = Wallet::generate().expect("a wallet");
        let signed = wallet.sign(&json!({ "yes": true })).expect("it signs");
        assert_eq!(value_of::<Vote>(&signed, false).expect("a vote"), Vote { yes: true });
        let parse = |value: Value| {
            let mut parser = meshpool_proto::json::Parser::new();
            Transaction::parse(&mut parser, &value.to_string()).expect("a transaction")
        };
        assert!(value_of::<Vote>(&parse(json!({ "yes": true, "no": false })), true).is_err());
        // A member with that name and no signature is the application's own.
        let own: Value = value_of(&parse(json!({ "publicKey": "of the application" })), false).expect("an object");
        assert_eq!(own, json!({ "publicKey": "of the application" }));
        // The time that a topic with retention adds is part of values that name it.
        let timed = parse(json!({ "yes": true, "timeStamp": 1_700_000_000 }));
        assert_eq!(value_of::<Vote>(&timed, true).expect("a vote"), Vote { yes: true });
        assert!(value_of::<Vote>(&timed, false).is_err(), "without retention nobody adds it");
        let named: Value = value_of(&timed, true).expect("an object");
        assert_eq!(named["timeStamp"], 1_700_000_000);
    }
}
