//! How long no peer is linked. A person learns when that begins, each hour while it lasts, and when
//! it ends.

use std::time::{Duration, Instant};

use crate::events::text::span;

/// How long a node is alone before that is said: after its start, while others may start too …
const GRACE_AT_START: Duration = Duration::from_secs(60);
/// … and after it lost its last peer, which may be restarting.
const GRACE: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// What goes on, and what a person can do.
const REMEDY: &str =
    "it keeps dialling the addresses that it knows; check that their nodes run and can be reached from here";

/// Watches the number of linked peers.
#[derive(Debug)]
pub(crate) struct Alone {
    /// Since when no peer is linked.
    since: Option<Instant>,
    /// Whether any was since the start.
    was_linked: bool,
    /// When the next line is due; `None` for a node that knows nobody.
    due: Option<Instant>,
    logged: bool,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Warn(String),
    Info(String),
}

impl Alone {
    /// Begins at the start of a node. `expects_peers`: whether it knows addresses of others.
    pub(crate) fn new(now: Instant, expects_peers: bool) -> Self {
        let due = expects_peers.then(|| now + GRACE_AT_START);
        Self { since: Some(now), was_linked: false, due, logged: false }
    }

    /// Notes how many peers are linked. Returns a line if that ends a time alone that was logged.
    pub(crate) fn on_peers(&mut self, now: Instant, peers: usize) -> Option<Line> {
        if peers == 0 {
            if self.since.is_none() {
                (self.since, self.due) = (Some(now), Some(now + GRACE));
            }
            return None;
        }
        self.was_linked = true;
        self.due = None;
        let alone = now.saturating_duration_since(self.since.take()?);
        std::mem::take(&mut self.logged)
            .then(|| Line::Info(format!("a peer is linked: this node was alone for {}", span(alone))))
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the line that is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Line> {
        self.due.filter(|due| now >= *due)?;
        self.due = Some(now + HOUR);
        let alone = now.saturating_duration_since(self.since?);
        let text = match (std::mem::replace(&mut self.logged, true), self.was_linked) {
            (true, _) => format!("this node has been alone for {}: {REMEDY}", span(alone)),
            (false, true) => format!("this node is alone, its last peer is gone: {REMEDY}"),
            (false, false) => format!("this node is alone, no peer was linked since its start: {REMEDY}"),
        };
        Some(Line::Warn(text))
    }

    /// Returns for how long no peer has been linked, in seconds; `None` if one is.
    pub(crate) fn seconds(&self, now: Instant) -> Option<u64> {
        self.since.map(|since| now.saturating_duration_since(since).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warns(line: Option<Line>, begin: &str) -> bool {
        matches!(&line, Some(Line::Warn(text)) if text.starts_with(begin))
    }

    #[test]
    fn a_line_when_it_begins_one_per_hour_and_one_when_it_ends() {
        let start = Instant::now();
        let mut alone = Alone::new(start, true);
        assert_eq!(alone.on_peers(start, 2), None);
        assert_eq!((alone.deadline(), alone.seconds(start)), (None, None));
        assert_eq!(alone.on_peers(start + HOUR, 1), None);
        let lost = start + 2 * HOUR;
        assert_eq!(alone.on_peers(lost, 0), None);
        assert_eq!(alone.deadline(), Some(lost + GRACE));
        assert_eq!(alone.tick(lost), None);
        assert!(warns(alone.tick(lost + GRACE), "this node is alone, its last peer is gone: "));
        assert_eq!(alone.tick(lost + HOUR), None);
        assert!(warns(alone.tick(lost + GRACE + HOUR), "this node has been alone for 1 h 0 min: "));
        assert!(warns(alone.tick(lost + GRACE + 2 * HOUR), "this node has been alone for 2 h 0 min: "));
        let back = lost + 2 * HOUR + 5 * Duration::from_secs(60);
        assert_eq!(alone.seconds(back), Some(7_500));
        let line = "a peer is linked: this node was alone for 2 h 5 min".to_owned();
        assert_eq!(alone.on_peers(back, 1), Some(Line::Info(line)));
        assert_eq!((alone.deadline(), alone.seconds(back)), (None, None));
    }

    #[test]
    fn a_short_time_alone_and_a_node_that_knows_nobody_have_no_line() {
        let start = Instant::now();
        let mut alone = Alone::new(start, true);
        assert_eq!(alone.deadline(), Some(start + GRACE_AT_START));
        assert_eq!(alone.on_peers(start + GRACE, 1), None);
        alone.on_peers(start + GRACE, 0);
        assert_eq!(alone.on_peers(start + GRACE, 1), None, "its peer was started again");
        let mut first = Alone::new(start, false);
        assert_eq!((first.deadline(), first.tick(start + HOUR)), (None, None));
        assert_eq!(first.seconds(start + HOUR), Some(3_600));
        first.on_peers(start, 1);
        first.on_peers(start, 0);
        assert!(warns(first.tick(start + HOUR), "this node is alone"), "from then on it misses others");
        let mut never = Alone::new(start, true);
        assert!(warns(never.tick(start + HOUR), "this node is alone, no peer was linked since its start: "));
    }
}
