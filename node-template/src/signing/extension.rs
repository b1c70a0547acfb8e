//! What applications ask of a transaction.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use meshpool_proto::id::NodeId;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::util::generations::Generations;
use serde::de::DeserializeOwned;

use crate::signing::{Verdict, verify};

/// How many signers are remembered, twice at most: some 2 MB.
const REMEMBERED: usize = 8_192;

/// The signers of the transactions that were asked for last. An id covers the signature, so the
/// verdict never changes.
static SIGNERS: LazyLock<Mutex<Generations<TransactionId, Option<NodeId>>>> =
    LazyLock::new(|| Mutex::new(Generations::new(REMEMBERED)));

/// Calls for applications on a [`Transaction`].
pub trait TransactionExt {
    /// Reads the transaction as a type of the application. Members that the type does not name are
    /// ignored, unless it denies them: `publicKey` and `signature` are among them.
    ///
    /// # Errors
    /// What does not fit, and where.
    fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error>;

    /// Returns who signed the transaction; `None` if it is not signed, or its signature is not
    /// good. The signature is verified at the first call, which takes some 35 µs; later ones, also
    /// for a copy, look it up.
    fn signer(&self) -> Option<NodeId>;
}

impl TransactionExt for Transaction {
    fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.body())
    }

    fn signer(&self) -> Option<NodeId> {
        let id = self.id();
        let lock = || SIGNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = lock().get(&id) {
            return *signer;
        }
        let signer = match verify(self) {
            Verdict::Verified(key) => Some(key),
            Verdict::None | Verdict::Forged(_) => None,
        };
        lock().insert(Instant::now(), id, signer);
        signer
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::json::Parser;
    use serde_json::json;

    use super::*;
    use crate::signing::wallet::Wallet;

    #[test]
    fn a_transaction_is_read_as_a_type_and_tells_its_signer() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Payment {
            to: String,
            amount: u64,
        }
        let wallet = Wallet::generate().expect("a wallet");
        let signed = wallet.sign(&json!({ "to": "bob", "amount": 5 })).expect("it signs");
        assert_eq!(signed.parse::<Payment>().expect("a payment"), Payment { to: "bob".into(), amount: 5 });
        assert!(signed.parse::<Vec<u8>>().is_err());
        let forged = signed.body().replace("bob", "eve");
        let forged = Transaction::parse(&mut Parser::new(), &forged).expect("a transaction");
        let unsigned = Transaction::parse(&mut Parser::new(), r#"{"to":"bob"}"#).expect("a transaction");
        for _ in 0..2 {
            assert_eq!(signed.signer(), Some(wallet.public_key()));
            assert_eq!((forged.signer(), unsigned.signer()), (None, None));
        }
        let remembered = SIGNERS.lock().expect("no panic").get(&signed.id()).copied();
        assert_eq!(remembered, Some(Some(wallet.public_key())), "the second call looks it up");
    }
}
