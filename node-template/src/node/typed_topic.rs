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

/// A topic whose items are values of `T`, from [`Topic::typed`]. The members of a signature,
/// `publicKey` and `signature`, are not part of `T`.
pub struct TypedTopic<T> {
    topic: Topic,
    _items: PhantomData<fn(T) -> T>,
}

/// A follower of a [`TypedTopic`].
#[derive(Debug)]
pub struct TypedFollow<T> {
    follow: Follow,
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
        TypedFollow { follow: self.topic.follow(from), _items: PhantomData }
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
            Followed::Item { position, transaction } => match value_of(&transaction) {
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

/// Reads an item without the members of its signature, which it has both or not at all.
fn value_of<T: DeserializeOwned>(item: &Transaction) -> Result<T, serde_json::Error> {
    let mut object: Map<String, Value> = item.parse()?;
    if object.contains_key(PUBLIC_KEY) && object.contains_key(SIGNATURE) {
        object.remove(PUBLIC_KEY);
        object.remove(SIGNATURE);
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
        assert_eq!(value_of::<Vote>(&signed).expect("a vote"), Vote { yes: true });
        let parse = |value: Value| {
            let mut parser = meshpool_proto::json::Parser::new();
            Transaction::parse(&mut parser, &value.to_string()).expect("a transaction")
        };
        assert!(value_of::<Vote>(&parse(json!({ "yes": true, "no": false }))).is_err());
        // A member with that name and no signature is the application's own.
        let own: Value = value_of(&parse(json!({ "publicKey": "of the application" }))).expect("an object");
        assert_eq!(own, json!({ "publicKey": "of the application" }));
    }
}
