//! Keys of people and programs that sign transactions, and are not the node's.

use std::fmt;
use std::io;
use std::path::Path;

use meshpool_proto::id::NodeId;
use meshpool_proto::json::Parser;
use meshpool_proto::transaction::{InvalidTransaction, Transaction};
use serde::Serialize;

use crate::folder::node_key::{KeyError, NodeKey};
use crate::signing::sign;

/// A key that signs transactions without being a node's. Its transactions name it in `publicKey`,
/// and any node may submit them.
///
/// ```
/// use meshpool::{TransactionExt, Wallet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ann = Wallet::generate()?;
/// let payment = ann.sign(&serde_json::json!({ "to": "bob", "amount": 5 }))?;
/// assert_eq!(payment.signer(), Some(ann.public_key()));
/// # Ok(())
/// # }
/// ```
pub struct Wallet(NodeKey);

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({}, secret)", self.public_key().short())
    }
}

/// Why a value was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// It is no transaction, or there is no room for a signature.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// It cannot be written as JSON.
    #[error("the value cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// It has a signature already, or names another key.
    #[error("the value has a signature, or the publicKey of another: leave both members out")]
    Signed,
}

impl Wallet {
    /// Makes a wallet from its secret: 32 bytes of a cryptographic random generator.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(NodeKey::from_bytes(secret))
    }

    /// Makes a wallet with a new key, and stores it nowhere.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn generate() -> io::Result<Self> {
        NodeKey::generate().map(Self)
    }

    /// Loads the key of a file of a folder. Makes it if the file is missing, with the form and the
    /// guarantees of `node.key`: it is readable by its owner only, and never overwritten.
    ///
    /// # Errors
    /// [`KeyError`] with the file, and what to do.
    pub fn load_or_create(folder: &Path, file: &str) -> Result<Self, KeyError> {
        match NodeKey::load_named(folder, file)? {
            Some(key) => Ok(Self(key)),
            None => NodeKey::create_named(folder, file).map(Self),
        }
    }

    /// Returns the public key, as it stands in `publicKey`.
    pub fn public_key(&self) -> NodeId {
        self.0.node_id()
    }

    /// Signs a value that serialises to a JSON object: adds `publicKey` and `signature`.
    ///
    /// # Errors
    /// [`SignError`] with the reason.
    pub fn sign(&self, value: &impl Serialize) -> Result<Transaction, SignError> {
        let mut parser = Parser::new();
        let unsigned = Transaction::parse(&mut parser, &serde_json::to_string(value)?)?;
        let id = unsigned.id();
        let signed = sign(&self.0, &mut parser, unsigned)?;
        if signed.id() == id { Err(SignError::Signed) } else { Ok(signed) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::signing::extension::TransactionExt;
    use crate::signing::{Verdict, canonical, verify};

    #[test]
    fn a_wallet_signs_what_is_not_signed_and_is_the_same_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let wallet = Wallet::load_or_create(folder.path(), "ann.key").expect("a wallet");
        let again = Wallet::load_or_create(folder.path(), "ann.key").expect("the same");
        assert_eq!(wallet.public_key(), again.public_key());
        assert!(!folder.path().join("node.key").exists());
        let signed = wallet.sign(&json!({ "amount": 1 })).expect("it signs");
        assert_eq!(verify(&signed), Verdict::Verified(wallet.public_key()));
        assert_eq!(signed.signer(), Some(wallet.public_key()));
        let signed_twice = wallet.sign(&signed.parse::<serde_json::Value>().expect("an object"));
        assert!(matches!(signed_twice, Err(SignError::Signed)));
        let other = json!({ "publicKey": Wallet::generate().expect("a wallet").public_key().to_string() });
        assert!(matches!(wallet.sign(&other), Err(SignError::Signed)));
        assert!(matches!(wallet.sign(&7), Err(SignError::Invalid(_))));
        let fixed = Wallet::from_bytes(&[7; 32]);
        assert_eq!(fixed.public_key(), NodeKey::from_bytes(&[7; 32]).node_id());
        assert!(!format!("{fixed:?}").contains(&"07".repeat(4)), "no secret is shown");
    }

    #[test]
    fn canonical_json_is_that_of_rfc_8785() {
        assert_eq!(canonical(r#" {"b": 1.0, "a": "\u0061"} "#).as_deref(), Ok(r#"{"a":"a","b":1}"#));
        assert!(canonical("{").is_err() && canonical("1e999").is_err());
    }
}
