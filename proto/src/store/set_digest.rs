//! The digest of a set of identities: equal sets have equal digests, in whatever order they were
//! built.

use crate::transaction::TransactionId;

/// The sum of all identities as 256-bit big-endian numbers, modulo 2^256. It is updated in constant
/// time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SetDigest([u64; 4]);

impl SetDigest {
    pub(crate) fn add(&mut self, id: &TransactionId) {
        let mut carry = false;
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let added = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, carry) = limb.carrying_add(added, carry);
        }
    }

    pub(crate) fn subtract(&mut self, id: &TransactionId) {
        let mut borrow = false;
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let subtracted = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, borrow) = limb.borrowing_sub(subtracted, borrow);
        }
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|limb| format!("{limb:016x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_carries_and_wraps() {
        let mut sum = SetDigest::default();
        sum.add(&TransactionId([255; 32]));
        let mut one = [0; 32];
        one[31] = 1;
        sum.add(&TransactionId(one));
        assert_eq!(sum, SetDigest::default());
        sum.add(&TransactionId([255; 32]));
        sum.add(&TransactionId([255; 32]));
        assert_eq!(sum.to_hex(), format!("{}e", "f".repeat(63)));
        sum.subtract(&TransactionId([255; 32]));
        sum.subtract(&TransactionId([255; 32]));
        assert_eq!(sum, SetDigest::default(), "subtracting borrows as adding carries");
        sum.subtract(&TransactionId(one));
        assert_eq!(sum.to_hex(), "f".repeat(64));
    }
}
