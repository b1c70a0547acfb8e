//! Where the bench's transactions hold their number and, when delays are measured, the time at
//! which they were pushed. Both are at fixed places, so that finding them costs a rival nothing to
//! speak of.

use rustix::time::{ClockId, clock_gettime};

/// What stands before the number, and where the number begins.
const BEFORE_NUMBER: &[u8] = br#","timeStamp":"#;
const NUMBER_AT: usize = 168;
/// The numbers are moved up to a date, which has so many digits.
const NUMBER_DIGITS: usize = 13;
const FIRST_NUMBER: u64 = 1_700_000_000_000;
/// What stands before the time, which is written in 16 hexadecimal digits.
const BEFORE_STAMP: &[u8] = br#"{"fromAddress":""#;
const STAMP_DIGITS: usize = 16;

/// The number of a transaction, from 0; `None` if it is not one of the bench's.
pub(crate) fn number(transaction: &[u8]) -> Option<u64> {
    let text = transaction.get(NUMBER_AT - BEFORE_NUMBER.len()..NUMBER_AT + NUMBER_DIGITS)?;
    let digits = text.strip_prefix(BEFORE_NUMBER)?;
    str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_sub(FIRST_NUMBER)
}

/// When a transaction was pushed, by the clock of [`now`]; `None` if it is not one of the bench's.
pub fn stamp(transaction: &[u8]) -> Option<u64> {
    let digits = transaction.strip_prefix(BEFORE_STAMP)?.get(..STAMP_DIGITS)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Nanoseconds of the clock that all processes of this machine share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: &str = concat!(
        r#"{"fromAddress":"000000000000002a000000000000000000000000000000000000000000000000","#,
        r#""toAddress":"0000000000000000000000000000000000000000","amount":1000.0001,"timeStamp":1700000000007,"hash":""}"#
    );

    #[test]
    fn number_and_time_are_found() {
        assert_eq!(number(TRANSACTION.as_bytes()), Some(7));
        assert_eq!(stamp(TRANSACTION.as_bytes()), Some(42));
    }

    #[test]
    fn what_is_not_the_benchs_has_neither() {
        for other in ["", "{}", &TRANSACTION[1..]] {
            assert_eq!((number(other.as_bytes()), stamp(other.as_bytes())), (None, None), "{other}");
        }
    }
}
