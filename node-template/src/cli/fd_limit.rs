//! The limit of open files: the program raises its own limit as far as it may, and warns if that is
//! too little for the accepted links.
//!
//! Only for the binary: an embedding application owns the limits of its process.

use crate::protocol::limits::Limits;
use crate::system::{FileLimit, file_limit, set_file_limit};

/// Files other than links: connections of the page (256), transfers, the pool, the log, listeners.
const OTHERS: u64 = 400;
/// The real limit of macOS, whatever it reports (OPEN_MAX, in setrlimit(2)).
const OPEN_MAX: u64 = 10_240;

/// Raises the limit of open files to what these limits may need, as far as it may be raised.
/// Returns a warning if that is not enough for the accepted links.
pub(crate) fn raise(limits: &Limits) -> Option<String> {
    raise_with(limits, &file_limit(), set_file_limit)
}

fn raise_with(limits: &Limits, now: &FileLimit, set: impl Fn(FileLimit) -> std::io::Result<()>) -> Option<String> {
    let (raised, warning) = plan(now, limits, u64::MAX);
    let Some(Err(error)) = raised.map(&set) else { return warning };
    let (raised, warning) = plan(now, limits, OPEN_MAX);
    if let Some(Ok(())) = raised.map(&set) {
        return warning;
    }
    let current = now.current.unwrap_or(u64::MAX);
    Some(format!(
        "cannot raise the limit of open files from {current} (ulimit -n): {error}; raise it yourself, or set INBOUND_LINKS lower"
    ))
}

/// Returns the limit to set, if it differs from the current one, and the warning. `max`: the most
/// files that the system allows.
fn plan(now: &FileLimit, limits: &Limits, max: u64) -> (Option<FileLimit>, Option<String>) {
    let accepted = (limits.inbound_links + limits.pending_upgrades) as u64 + OTHERS;
    let wanted = accepted + (limits.peer_table + limits.dials_in_flight) as u64;
    let max = now.maximum.unwrap_or(u64::MAX).min(max);
    let current = now.current.unwrap_or(u64::MAX);
    let raised =
        (current < wanted.min(max)).then(|| FileLimit { current: Some(wanted.min(max)), maximum: now.maximum });
    let warning = (max < accepted).then(|| {
        format!(
            "INBOUND_LINKS is {}, but only {max} files may be open here (ulimit -Hn), and each link is one: allow {accepted}, or set INBOUND_LINKS lower",
            limits.inbound_links
        )
    });
    (raised, warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(current: u64, maximum: Option<u64>, inbound_links: usize) -> (Option<u64>, bool) {
        let limits =
            Limits { inbound_links, pending_upgrades: 256, peer_table: 4_000, dials_in_flight: 0, ..Limits::default() };
        let (raised, warning) = plan(&FileLimit { current: Some(current), maximum }, &limits, u64::MAX);
        assert!(raised.as_ref().is_none_or(|raised| raised.maximum == maximum), "only root could raise it again");
        (raised.and_then(|raised| raised.current), warning.is_some())
    }

    #[test]
    fn the_limit_is_raised_as_far_as_links_need_it_and_it_may_be() {
        assert_eq!(planned(1_024, Some(524_288), 10_000), (Some(14_656), false));
        assert_eq!(planned(1_024, None, 10_000), (Some(14_656), false));
        assert_eq!(planned(524_288, Some(524_288), 10_000), (None, false), "never lowered");
        assert_eq!(planned(1_024, Some(4_096), 1_024), (Some(4_096), false), "room for all that it accepts");
        assert_eq!(planned(1_024, Some(4_096), 10_000), (Some(4_096), true));
        assert_eq!(planned(64, Some(64), 1_024), (None, true));
    }

    #[test]
    fn the_limit_is_raised_to_what_the_system_really_allows() {
        let allowed = |inbound_links: usize, most: u64| {
            let limits = Limits { inbound_links, ..Limits::default() };
            let set = std::cell::Cell::new(256);
            let warning = raise_with(&limits, &FileLimit { current: Some(256), maximum: None }, |raised| {
                let raised = raised.current.filter(|raised| *raised <= most).ok_or(std::io::ErrorKind::InvalidInput)?;
                set.set(raised);
                Ok(())
            });
            (set.get(), warning)
        };
        assert!(matches!(allowed(6_000, u64::MAX), (10_241.., None)));
        assert_eq!(allowed(6_000, OPEN_MAX), (OPEN_MAX, None), "room for all that it accepts");
        let (set, warning) = allowed(20_000, OPEN_MAX);
        assert!(set == OPEN_MAX && warning.expect("it wants more").contains("only 10240 files"));
        let (set, warning) = allowed(6_000, 0);
        assert!(
            set == 256 && warning.expect("nothing helps").contains("cannot raise the limit of open files from 256")
        );
    }
}
