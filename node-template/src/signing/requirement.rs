//! The requirement of a signature, with a cache of the transactions whose signature was verified.

use std::sync::{PoisonError, RwLock};

use meshpool_proto::transaction::{IdSet, InvalidTransaction, Transaction, TransactionId};

use crate::signing::{Verdict, verify_all};

/// How many ids one generation of the cache holds. Both take some 10 MB.
const GENERATION: usize = 65_536;

/// Refuses transactions without a good signature. A transaction that comes again from another peer
/// is not verified again.
///
/// Forgeries are not cached. An attacker makes a new one each time, and pays with the time of its
/// own link's task.
#[derive(Debug, Default)]
pub(crate) struct Requirement {
    /// The ids whose signature is good; two generations bound it.
    good: RwLock<[IdSet; 2]>,
}

impl Requirement {
    /// Verifies those transactions that are not in the cache.
    pub(crate) fn check(&self, transactions: &[&Transaction]) -> Vec<Result<(), InvalidTransaction>> {
        let mut results = vec![Ok(()); transactions.len()];
        let unknown: Vec<usize> = {
            let good = self.good.read().unwrap_or_else(PoisonError::into_inner);
            let is_known = |n: &usize| good.iter().any(|some| some.contains(&transactions[*n].id()));
            (0..transactions.len()).filter(|n| !is_known(n)).collect()
        };
        let verdicts = verify_all(unknown.iter().map(|n| transactions[*n]));
        let mut good = Vec::new();
        for (n, verdict) in unknown.into_iter().zip(verdicts) {
            let id = transactions[n].id();
            match verdict {
                Verdict::Verified(_) => good.push(id),
                Verdict::None => results[n] = Err(InvalidTransaction::Unsigned { id }),
                Verdict::Forged(why) => results[n] = Err(InvalidTransaction::Forged { id, why }),
            }
        }
        if !good.is_empty() {
            self.insert(good);
        }
        results
    }

    fn insert(&self, ids: impl IntoIterator<Item = TransactionId>) {
        let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *good;
        for id in ids {
            if young.len() >= GENERATION {
                std::mem::swap(young, old);
                young.clear();
            }
            young.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::json::Parser;

    use super::*;
    use crate::folder::node_key::NodeKey;
    use crate::signing::sign;

    #[test]
    fn each_transaction_is_verified_once_and_the_cache_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = NodeKey::load_or_create(folder.path()).expect("a key");
        let parse = |text: &str| Transaction::parse(&mut Parser::new(), text).expect(text);
        let signed = |text: &str| sign(&key, &mut Parser::new(), parse(text)).expect(text);
        let requirement = Requirement::default();
        let good = signed(r#"{"a":1}"#);
        assert_eq!(requirement.check(&[&good]), [Ok(())]);
        assert!(requirement.good.read().expect("unpoisoned")[0].contains(&good.id()));
        let unsigned = parse(r#"{"a":1}"#);
        let forged = parse(&good.body().replace(r#""a":1"#, r#""a":3"#));
        let results = requirement.check(&[&forged, &good, &unsigned, &signed(r#"{"a":2}"#)]);
        assert!(matches!(&results[0], Err(InvalidTransaction::Forged { id, .. }) if *id == forged.id()), "{results:?}");
        assert_eq!(results[1..], [Ok(()), Err(InvalidTransaction::Unsigned { id: unsigned.id() }), Ok(())]);
        for n in 0..3 * GENERATION as u64 {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            requirement.insert([TransactionId(id)]);
        }
        let cached: usize = requirement.good.read().expect("unpoisoned").iter().map(IdSet::len).sum();
        assert!((GENERATION..=2 * GENERATION).contains(&cached), "{cached}");
    }
}
