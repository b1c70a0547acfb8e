//! Limits that an operator may change, and the relations between limits.

use std::time::Duration;

use crate::config::error::SettingsError;
use crate::config::source::{Sources, Value};
use crate::protocol::limits::{Limits, MESSAGE_BYTES};

/// A queue must hold one message of the largest size.
const QUEUE: (u64, u64) = (MESSAGE_BYTES as u64, 1 << 30);
/// The sum of two counts fits into 32 bits.
const COUNT: (u64, u64) = (1, 1 << 31);
/// A few transactions at least, 64 tebibytes at most.
const POOL: (u64, u64) = (MESSAGE_BYTES as u64, 1 << 46);
/// 0 turns it off; a tebibyte at most.
const BYTES: (u64, u64) = (0, 1 << 40);
/// Up to a day.
const SECONDS: (u64, u64) = (1, 24 * 60 * 60);
const MILLISECONDS: (u64, u64) = (1, 24 * 60 * 60 * 1000);

/// The field of a limit, with its type and unit.
enum Field<'a> {
    Size(&'a mut usize),
    Long(&'a mut u64),
    Rate(&'a mut u32),
    Seconds(&'a mut Duration),
    Milliseconds(&'a mut Duration),
}

impl Field<'_> {
    /// Sets it to a number within its bounds.
    fn set(self, number: u64) {
        match self {
            Self::Size(field) => *field = number as usize,
            Self::Long(field) => *field = number,
            Self::Rate(field) => *field = number as u32,
            Self::Seconds(field) => *field = Duration::from_secs(number),
            Self::Milliseconds(field) => *field = Duration::from_millis(number),
        }
    }

    fn number(self) -> u128 {
        match self {
            Self::Size(field) => *field as u128,
            Self::Long(field) => (*field).into(),
            Self::Rate(field) => (*field).into(),
            Self::Seconds(field) | Self::Milliseconds(field) => field.as_nanos(),
        }
    }
}

/// A limit: its name, which ends in its unit, its minimum and maximum, and its field.
type Adjustable = (&'static str, (u64, u64), fn(&mut Limits) -> Field<'_>);

const ADJUSTABLE: [Adjustable; 16] = [
    ("PEER_TABLE", COUNT, |limits| Field::Size(&mut limits.peer_table)),
    ("INBOUND_LINKS", COUNT, |limits| Field::Size(&mut limits.inbound_links)),
    ("INBOUND_LINKS_PER_IP", COUNT, |limits| Field::Size(&mut limits.inbound_per_ip)),
    ("QUEUE_BYTES", QUEUE, |limits| Field::Size(&mut limits.queue_bytes)),
    ("UNSTORED_BYTES", QUEUE, |limits| Field::Size(&mut limits.unstored_bytes)),
    ("POOL_TRANSACTIONS", COUNT, |limits| Field::Long(&mut limits.pool_transactions)),
    ("POOL_BYTES", POOL, |limits| Field::Long(&mut limits.pool_bytes)),
    ("TRANSACTION_RATE", COUNT, |limits| Field::Rate(&mut limits.transaction_rate)),
    ("TRANSACTION_BURST", COUNT, |limits| Field::Rate(&mut limits.transaction_burst)),
    ("DIAL_TIMEOUT_SECONDS", SECONDS, |limits| Field::Seconds(&mut limits.dial_timeout)),
    ("PING_INTERVAL_SECONDS", SECONDS, |limits| Field::Seconds(&mut limits.ping_interval)),
    ("DEAD_AFTER_SECONDS", SECONDS, |limits| Field::Seconds(&mut limits.dead_after)),
    ("BACKOFF_MIN_MILLISECONDS", MILLISECONDS, |limits| Field::Milliseconds(&mut limits.backoff_min)),
    ("BACKOFF_MAX_MILLISECONDS", MILLISECONDS, |limits| Field::Milliseconds(&mut limits.backoff_max)),
    ("IMAGE_MAX_BYTES", BYTES, |limits| Field::Long(&mut limits.image_max_bytes)),
    ("IMAGE_CACHE_BYTES", BYTES, |limits| Field::Long(&mut limits.image_cache_bytes)),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ADJUSTABLE.into_iter().map(|(name, ..)| name)
}

/// Returns the default limits with the changes of the sources.
pub(crate) fn limits(sources: &mut Sources<'_>) -> Result<Limits, SettingsError> {
    let mut limits = Limits::default();
    let mut changed = Vec::new();
    for (name, (min, max), field) in ADJUSTABLE {
        if let Some(value) = sources.filled(name, None)? {
            let number = value.number(min, max);
            let number = number.ok_or_else(|| value.bad(&format!("it is a whole number from {min} to {max}")))?;
            field(&mut limits).set(number);
            changed.push(value);
        }
    }
    check_relations(&limits, &changed)?;
    Ok(limits)
}

/// Returns the names of the limits that differ.
pub(crate) fn differences(one: &Limits, other: &Limits) -> Vec<&'static str> {
    let (mut one, mut other) = (one.clone(), other.clone());
    let differ =
        |(name, _, field): Adjustable| (field(&mut one).number() != field(&mut other).number()).then_some(name);
    ADJUSTABLE.into_iter().filter_map(differ).collect()
}

fn check_relations(limits: &Limits, changed: &[Value]) -> Result<(), SettingsError> {
    if limits.ping_interval >= limits.dead_after {
        let (ping, dead) = (limits.ping_interval.as_secs(), limits.dead_after.as_secs());
        return Err(conflict(
            changed,
            (
                "PING_INTERVAL_SECONDS",
                &format!("a silent link must be pinged before it counts as dead, DEAD_AFTER_SECONDS={dead}"),
            ),
            (
                "DEAD_AFTER_SECONDS",
                &format!("a link must be pinged before it counts as dead, PING_INTERVAL_SECONDS={ping}"),
            ),
        ));
    }
    if limits.backoff_min > limits.backoff_max {
        let (min, max) = (limits.backoff_min.as_millis(), limits.backoff_max.as_millis());
        return Err(conflict(
            changed,
            ("BACKOFF_MIN_MILLISECONDS", &format!("it is more than BACKOFF_MAX_MILLISECONDS={max}")),
            ("BACKOFF_MAX_MILLISECONDS", &format!("it is less than BACKOFF_MIN_MILLISECONDS={min}")),
        ));
    }
    Ok(())
}

/// Returns the error of two limits that contradict each other, for the first that was changed.
fn conflict(changed: &[Value], one: (&str, &str), other: (&str, &str)) -> SettingsError {
    let conflict =
        [one, other].into_iter().find_map(|(name, why)| Some((changed.iter().find(|value| value.name == name)?, why)));
    let (value, why) = conflict.expect("the defaults agree (tested), so one of the two was changed");
    value.bad(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_agree() {
        assert!(check_relations(&Limits::default(), &[]).is_ok());
    }
}
