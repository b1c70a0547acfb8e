//! The bounds of all limits, the settings of those that an operator may change, and the relations
//! between limits.

use std::time::Duration;

use crate::config::error::SettingsError;
use crate::config::source::{Sources, Value};
use crate::protocol::limits::{Limits, MESSAGE_BYTES};

/// The sum of two counts fits into 32 bits.
const COUNT: (u64, u64) = (1, 1 << 31);
/// As [`COUNT`], where none is possible.
const COUNT_OR_NONE: (u64, u64) = (0, 1 << 31);
/// A frame of a few fields at least.
const QUEUE: (u64, u64) = (1024, 1 << 30);
const UNSTORED: (u64, u64) = (1, 1 << 30);
/// 64 tebibytes at most.
const POOL: (u64, u64) = (1, 1 << 46);
/// 0 turns it off; a tebibyte at most.
const BYTES: (u64, u64) = (0, 1 << 40);
/// The headers of an upgrade have some 500 bytes.
const UPGRADE: (u64, u64) = (1024, 1 << 20);
/// In milliseconds, up to a day. Without a pause a timer would keep the node busy for ever, and a
/// sum with the longest time overflows.
const TIME: (u64, u64) = (1, 24 * 60 * 60 * 1000);
/// As [`TIME`], up to a year.
const LONG_TIME: (u64, u64) = (1, 365 * TIME.1);
/// What an operator sets has room for one message of the largest size.
const MESSAGE: u64 = MESSAGE_BYTES as u64;

/// The field of a limit, with its type.
enum Field<'a> {
    Size(&'a mut usize),
    Long(&'a mut u64),
    Rate(&'a mut u32),
    Time(&'a mut Duration),
}

impl Field<'_> {
    /// Sets it to a number within its bounds; a time in milliseconds.
    fn set(self, number: u64) {
        match self {
            Self::Size(field) => *field = number as usize,
            Self::Long(field) => *field = number,
            Self::Rate(field) => *field = number as u32,
            Self::Time(field) => *field = Duration::from_millis(number),
        }
    }

    fn number(&self) -> u128 {
        match self {
            Self::Size(field) => **field as u128,
            Self::Long(field) => (**field).into(),
            Self::Rate(field) => (**field).into(),
            Self::Time(field) => field.as_nanos(),
        }
    }

    /// Returns its value and its bounds if it is not within them.
    fn beyond(&self, (min, max): (u64, u64)) -> Option<(String, String)> {
        if let Self::Time(field) = self {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            return (!(min..=max).contains(*field)).then(|| (format!("{field:?}"), format!("{min:?} to {max:?}")));
        }
        let number = self.number();
        (!(min.into()..=max.into()).contains(&number)).then(|| (number.to_string(), format!("{min} to {max}")))
    }
}

/// A limit: its name, its minimum and maximum, its field, and the setting of it.
struct Limit(&'static str, (u64, u64), fn(&mut Limits) -> Field<'_>, Option<Setting>);

/// A setting: its name, which ends in its unit; its minimum; and how many of the limit are one of
/// it.
struct Setting(&'static str, u64, u64);

/// Declares all limits, a row for each.
macro_rules! limits {
    ($($name:ident $field:ident $bounds:ident $($setting:literal $min:tt $unit:literal)?;)+) => {
        const LIMITS: [Limit; 34] = [$(Limit(
            stringify!($name),
            $bounds,
            |limits| Field::$field(&mut limits.$name),
            limits!($($setting $min $unit)?),
        )),+];
    };
    () => { None };
    ($setting:literal $min:tt $unit:literal) => { Some(Setting($setting, $min, $unit)) };
}

limits! {
    // limit           field bounds        setting                    minimum  unit
    peer_table         Size  COUNT         "PEER_TABLE"               1        1;
    gossip_burst       Rate  COUNT_OR_NONE;
    gossip_interval    Time  TIME;
    host_dials         Rate  COUNT;
    host_window        Time  TIME;
    dials_in_flight    Size  COUNT;
    dial_timeout       Time  TIME          "DIAL_TIMEOUT_SECONDS"     1        1000;
    upgrade_timeout    Time  TIME;
    upgrade_bytes      Size  UPGRADE;
    pending_upgrades   Size  COUNT;
    inbound_links      Size  COUNT_OR_NONE "INBOUND_LINKS"            1        1;
    inbound_per_ip     Size  COUNT_OR_NONE "INBOUND_LINKS_PER_IP"     1        1;
    queue_bytes        Size  QUEUE         "QUEUE_BYTES"              MESSAGE  1;
    control_bytes      Size  QUEUE;
    write_deadline     Time  TIME;
    ping_interval      Time  TIME          "PING_INTERVAL_SECONDS"    1        1000;
    dead_after         Time  TIME          "DEAD_AFTER_SECONDS"       1        1000;
    client_silence     Time  TIME;
    transaction_rate   Rate  COUNT         "TRANSACTION_RATE"         1        1;
    transaction_burst  Rate  COUNT         "TRANSACTION_BURST"        1        1;
    pool_transactions  Long  COUNT         "POOL_TRANSACTIONS"        1        1;
    pool_bytes         Long  POOL          "POOL_BYTES"               MESSAGE  1;
    unstored_bytes     Size  UNSTORED      "UNSTORED_BYTES"           MESSAGE  1;
    backoff_min        Time  TIME          "BACKOFF_MIN_MILLISECONDS" 1        1;
    backoff_max        Time  TIME          "BACKOFF_MAX_MILLISECONDS" 1        1;
    backoff_reset      Time  TIME;
    forget_failures    Rate  COUNT;
    forget_after       Time  LONG_TIME;
    presence_nodes     Size  COUNT_OR_NONE;
    duplicate_deadline Time  TIME;
    search_deadline    Time  TIME;
    image_max_bytes    Long  BYTES         "IMAGE_MAX_BYTES"          0        1;
    image_cache_bytes  Long  BYTES         "IMAGE_CACHE_BYTES"        0        1;
    request_idle       Time  TIME;
}

/// A limit with which no node can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {name} is {value}: {expected}; give Network::limits another one")]
pub struct InvalidLimit {
    /// The field of [`Limits`].
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The bounds, or the other limit that it contradicts.
    pub expected: String,
}

fn settings() -> impl Iterator<Item = (Setting, u64, fn(&mut Limits) -> Field<'_>)> {
    LIMITS.into_iter().filter_map(|Limit(_, (_, max), field, setting)| setting.map(|setting| (setting, max, field)))
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    settings().map(|(Setting(name, ..), ..)| name)
}

/// Returns the default limits with the changes of the sources.
pub(crate) fn limits(sources: &mut Sources<'_>) -> Result<Limits, SettingsError> {
    let mut limits = Limits::default();
    let mut changed = Vec::new();
    for (Setting(name, min, unit), max, field) in settings() {
        if let Some(value) = sources.filled(name, None)? {
            let max = max / unit;
            let number = value.number(min, max);
            let number = number.ok_or_else(|| value.bad(&format!("it is a whole number from {min} to {max}")))?;
            field(&mut limits).set(number * unit);
            changed.push(value);
        }
    }
    check_relations(&limits, &changed)?;
    Ok(limits)
}

/// Checks limits that a program sets.
///
/// # Errors
/// [`InvalidLimit`]: the first that is out of bounds, or contradicts another one.
pub(crate) fn check(limits: &Limits) -> Result<(), InvalidLimit> {
    let mut limits = limits.clone();
    for Limit(name, bounds, field, _) in LIMITS {
        if let Some((value, bounds)) = field(&mut limits).beyond(bounds) {
            return Err(InvalidLimit { name, value, expected: format!("it is from {bounds}") });
        }
    }
    let invalid = |name, value: Duration, expected| Err(InvalidLimit { name, value: format!("{value:?}"), expected });
    if limits.ping_interval >= limits.dead_after {
        let expected = format!("a silent link is pinged before it counts as dead, dead_after={:?}", limits.dead_after);
        return invalid("ping_interval", limits.ping_interval, expected);
    }
    if limits.backoff_min > limits.backoff_max {
        let expected = format!("it is at most backoff_max={:?}", limits.backoff_max);
        return invalid("backoff_min", limits.backoff_min, expected);
    }
    Ok(())
}

/// Returns the names of the limits that differ.
pub(crate) fn differences(one: &Limits, other: &Limits) -> Vec<&'static str> {
    let (mut one, mut other) = (one.clone(), other.clone());
    let differing =
        settings().filter(|(_, _, field)| field(&mut one).number() != field(&mut other).number()).collect::<Vec<_>>();
    differing.into_iter().map(|(Setting(name, ..), ..)| name).collect()
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
        assert_eq!(check(&Limits::default()), Ok(()));
    }

    #[test]
    fn every_limit_has_bounds_and_an_error_that_names_it_its_value_and_them() {
        let debug = format!("{:#?}", Limits::default());
        let fields = debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        let fields: Vec<_> = fields.map(|(name, _)| name).collect();
        assert_eq!(LIMITS.iter().map(|Limit(name, ..)| *name).collect::<Vec<_>>(), fields);
        for Limit(name, (min, max), field, _) in LIMITS {
            for (value, is_zero) in [(0, true), (max + 1, false)] {
                let mut limits = Limits::default();
                field(&mut limits).set(value);
                match check(&limits) {
                    Ok(()) => assert!(is_zero && min == 0, "{name}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(
                            text.contains(name) && text.contains(" to ") && text.contains("Network::limits"),
                            "{text}"
                        );
                        assert_eq!(error.name, name);
                    }
                }
            }
            let mut limits = Limits::default();
            match field(&mut limits) {
                Field::Size(field) => *field = usize::MAX,
                Field::Long(field) => *field = u64::MAX,
                Field::Rate(field) => *field = u32::MAX,
                Field::Time(field) => *field = Duration::MAX,
            }
            assert_eq!(check(&limits).expect_err("too much").name, name);
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let second = Duration::from_secs(1);
        let silent = Limits { ping_interval: second, dead_after: second, ..Limits::default() };
        let error = check(&silent).expect_err("no ping").to_string();
        assert!(error.starts_with("the limit ping_interval is 1s: ") && error.contains("dead_after=1s"), "{error}");
        let waits = Limits { backoff_min: second * 2, backoff_max: second, ..Limits::default() };
        assert_eq!(check(&waits).expect_err("no span").name, "backoff_min");
    }
}
