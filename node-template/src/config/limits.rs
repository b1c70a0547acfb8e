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

/// A limit: its name, which ends in its unit, its minimum and maximum, and its setter.
type Adjustable = (&'static str, (u64, u64), fn(&mut Limits, u64));

const ADJUSTABLE: [Adjustable; 16] = [
    ("PEER_TABLE", COUNT, |limits, peers| limits.peer_table = peers as usize),
    ("INBOUND_LINKS", COUNT, |limits, links| limits.inbound_links = links as usize),
    ("INBOUND_LINKS_PER_IP", COUNT, |limits, links| limits.inbound_per_ip = links as usize),
    ("QUEUE_BYTES", QUEUE, |limits, bytes| limits.queue_bytes = bytes as usize),
    ("UNSTORED_BYTES", QUEUE, |limits, bytes| limits.unstored_bytes = bytes as usize),
    ("POOL_TRANSACTIONS", COUNT, |limits, count| limits.pool_transactions = count),
    ("POOL_BYTES", POOL, |limits, bytes| limits.pool_bytes = bytes),
    ("TRANSACTION_RATE", COUNT, |limits, rate| limits.transaction_rate = rate as u32),
    ("TRANSACTION_BURST", COUNT, |limits, burst| limits.transaction_burst = burst as u32),
    ("DIAL_TIMEOUT_SECONDS", SECONDS, |limits, time| limits.dial_timeout = Duration::from_secs(time)),
    ("PING_INTERVAL_SECONDS", SECONDS, |limits, time| limits.ping_interval = Duration::from_secs(time)),
    ("DEAD_AFTER_SECONDS", SECONDS, |limits, time| limits.dead_after = Duration::from_secs(time)),
    ("BACKOFF_MIN_MILLISECONDS", MILLISECONDS, |limits, time| limits.backoff_min = Duration::from_millis(time)),
    ("BACKOFF_MAX_MILLISECONDS", MILLISECONDS, |limits, time| limits.backoff_max = Duration::from_millis(time)),
    ("IMAGE_MAX_BYTES", BYTES, |limits, bytes| limits.image_max_bytes = bytes),
    ("IMAGE_CACHE_BYTES", BYTES, |limits, bytes| limits.image_cache_bytes = bytes),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ADJUSTABLE.into_iter().map(|(name, ..)| name)
}

/// Returns the default limits with the changes of the sources.
pub(crate) fn limits(sources: &mut Sources<'_>) -> Result<Limits, SettingsError> {
    let mut limits = Limits::default();
    let mut changed = Vec::new();
    for (name, (min, max), set) in ADJUSTABLE {
        if let Some(value) = sources.filled(name, None) {
            let number = value.number(min, max);
            let number = number.ok_or_else(|| value.bad(&format!("it is a whole number from {min} to {max}")))?;
            set(&mut limits, number);
            changed.push(value);
        }
    }
    check_relations(&limits, &changed)?;
    Ok(limits)
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
