//! Room for links among the files that the system lets this process have open: the program raises its own limit as far as it may, and says so if that is too little.
//!
//! For the program alone. A library leaves the limits of the process that it is part of to whoever wrote that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::protocol::limits::Limits;

/// Files that are no links: connections to the page (256), transfers, the pool, the log, what listens.
const OTHERS: u64 = 400;

/// Raises the limit of open files to what these limits may need, if it is lower and may be raised. Tells what to do if accepted links may want for files all the same.
pub fn allow(limits: &Limits) -> Option<String> {
    let now = getrlimit(Resource::Nofile);
    let (raised, warning) = plan(&now, limits);
    if let Some(raised) = raised
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        let current = now.current.unwrap_or(u64::MAX);
        return Some(format!("the limit of open files can not be raised from {current} (ulimit -n): {error}"));
    }
    warning
}

/// The limit to set, if another than now, and the warning.
fn plan(now: &Rlimit, limits: &Limits) -> (Option<Rlimit>, Option<String>) {
    let accepted = (limits.inbound_links + limits.half_open) as u64 + OTHERS;
    let wanted = accepted + (limits.peer_table + limits.dials_in_flight) as u64;
    let most = now.maximum.unwrap_or(u64::MAX);
    let current = now.current.unwrap_or(u64::MAX);
    let raised = (current < wanted.min(most)).then(|| Rlimit { current: Some(wanted.min(most)), maximum: now.maximum });
    let warning = (most < accepted).then(|| {
        format!(
            "INBOUND_LINKS is {}, but only {most} files may be open here (ulimit -Hn), and each link is one: allow {accepted}, or set INBOUND_LINKS lower",
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
            Limits { inbound_links, half_open: 256, peer_table: 4_000, dials_in_flight: 0, ..Limits::default() };
        let (raised, warning) = plan(&Rlimit { current: Some(current), maximum }, &limits);
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
}
