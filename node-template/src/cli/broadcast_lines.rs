//! Broadcasts of other nodes as lines for standard output, within limits: one node that floods the
//! network neither fills a disk nor hides what others say.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::events::line_limit::{self, LineLimit};
use crate::events::text::{plural, strip_control_bytes};
use crate::protocol::event::Event;

/// What is counted if the console was too slow to read the events.
const EVENTS: &str = "events";
/// A text counts as one line, and as one more for each so many bytes: five rows of a terminal.
const BYTES_PER_LINE: usize = 400;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    limit: line_limit::Config,
    /// The bytes of a text that are shown.
    text_bytes: usize,
}

impl Config {
    /// For a person who reads along: dozens at once, and then one per second of each sender. All
    /// together are 2 kB per second at most in the long run.
    const TERMINAL: Self = Self {
        limit: line_limit::Config {
            group_burst: 32,
            group_interval: Duration::from_secs(1),
            kind_burst: 200,
            kind_interval: Duration::from_millis(250),
        },
        text_bytes: 4_000,
    };
    /// For a file, a pipe or a service's journal: some 30 MB a day at most, and 3 MB of one sender.
    const KEPT: Self = Self { limit: line_limit::Config::KEPT, text_bytes: 300 };

    pub(crate) fn of(is_terminal: bool) -> Self {
        if is_terminal { Self::TERMINAL } else { Self::KEPT }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct BroadcastLines {
    limit: LineLimit,
    text_bytes: usize,
}

impl BroadcastLines {
    pub(crate) fn new(config: Config) -> Self {
        Self { limit: LineLimit::new(config.limit), text_bytes: config.text_bytes }
    }

    /// Returns the line of a broadcast of another node; `None` for other events, and beyond the
    /// limits.
    pub(crate) fn line(&mut self, now: Instant, event: &Event) -> Option<String> {
        let Event::Broadcast { broadcast, sender, peer: Some(_), .. } = event else { return None };
        let text = strip_control_bytes(&broadcast.message, self.text_bytes);
        let lines = u32::try_from(1 + text.len() / BYTES_PER_LINE).unwrap_or(u32::MAX);
        if !self.limit.admits(now, event, lines) {
            return None;
        }
        let mut line = clock(broadcast.time);
        // A String takes all that is written to it.
        write!(line, " {sender}: {text}").unwrap_or_default();
        Some(line)
    }

    /// Counts events that were missed.
    pub(crate) fn on_missed(&mut self, now: Instant, events: u64) {
        self.limit.leave_out(now, EVENTS, events);
    }

    /// When [`Self::take_due`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.limit.deadline()
    }

    /// Returns the lines that count what was left out, at most one of each kind in a minute.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<String> {
        let due = self.limit.take_due(now).into_iter();
        due.map(|(kind, left_out)| match kind {
            EVENTS => {
                let events = plural(left_out, "event", "events");
                format!("(… and {events} missed in the last minute, broadcasts among them: this machine is overloaded)")
            }
            _ => {
                let broadcasts = plural(left_out, "broadcast", "broadcasts");
                format!(
                    "(… and {broadcasts} left out in the last minute: too many in a short time; the node's page and its /api/events show more of them)"
                )
            }
        })
        .collect()
    }
}

/// Formats the time of day, in UTC as in the log.
fn clock(time: f64) -> String {
    // Times before 1970, and NaN, become midnight.
    let second = time as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::PeerName;
    use crate::protocol::id::NodeId;
    use crate::protocol::wire::{Broadcast, BroadcastId};

    const MINUTE: Duration = Duration::from_secs(60);

    fn event(sender: &str, text: &str) -> Event {
        let broadcast = Broadcast { id: BroadcastId([0; 32]), message: text.into(), time: 1_700_000_000.5, seal: None };
        let sender = PeerName { node: Some(NodeId([1; 32])), address: sender.parse().ok() };
        Event::Broadcast { broadcast, sender: sender.clone(), peer: Some(sender), links: 0 }
    }

    #[test]
    fn broadcasts_are_shown_on_one_line_and_cannot_control_the_terminal() {
        let mut lines = BroadcastLines::new(Config::KEPT);
        let mut received = event("ws://localhost:4001", "a\u{1b}[2Jb\nc\u{202e}");
        let line = lines.line(Instant::now(), &received);
        assert_eq!(line.as_deref(), Some("22:13:20 ws://localhost:4001 (01010101): ab c"));
        if let Event::Broadcast { peer, .. } = &mut received {
            *peer = None;
        }
        assert_eq!(lines.line(Instant::now(), &received), None, "own texts are on the screen already");
        for (time, text) in [(f64::NAN, "00:00:00"), (-1.0, "00:00:00"), (f64::MAX, "14:00:15"), (86_399.9, "23:59:59")]
        {
            let clock = clock(time);
            assert!(clock == text || time == f64::MAX && clock.len() == 8, "{time}: {clock}");
        }
    }

    /// Returns how many bytes a flood of a day makes, and how many of an honest sender's lines are
    /// missing.
    fn day_of_flood(config: Config, flooder: impl Fn(u32) -> String) -> (usize, u32) {
        let mut lines = BroadcastLines::new(config);
        let (start, text, mut bytes, mut hidden) = (Instant::now(), "🦀".repeat(1_024), 0, 0);
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second.into());
            for number in 0..2 {
                bytes += lines.line(now, &event(&flooder(2 * second + number), &text)).map_or(0, |line| line.len());
            }
            if second % 60 == 0 {
                hidden += u32::from(lines.line(now, &event("ws://192.0.2.1:1", "hello")).is_none());
            }
            for count in lines.take_due(now) {
                assert!(count.contains("broadcasts left out") && count.contains("/api/events"), "{count}");
                bytes += count.len();
            }
        }
        (bytes, hidden)
    }

    #[test]
    fn a_flood_makes_little_output_and_hides_nobody() {
        let one = |_| "ws://203.0.113.7:1".to_owned();
        let (bytes, hidden) = day_of_flood(Config::KEPT, one);
        assert!(bytes < 4_000_000 && hidden == 0, "{bytes} bytes, {hidden} hidden");
        let (bytes, hidden) = day_of_flood(Config::TERMINAL, one);
        assert!(bytes < 50_000_000 && hidden == 0, "{bytes} bytes, {hidden} hidden");
        // Whatever addresses a stranger names.
        let many = |number: u32| format!("ws://10.{}.{}.{}:1", number >> 16, number >> 8 & 255, number & 255);
        let (bytes, _) = day_of_flood(Config::KEPT, many);
        assert!(bytes < 40_000_000, "{bytes} bytes");
    }

    #[test]
    fn a_chat_at_a_terminal_is_shown_whole() {
        let mut lines = BroadcastLines::new(Config::TERMINAL);
        let start = Instant::now();
        let long = "é".repeat(2_000);
        assert!(lines.line(start, &event("ws://192.0.2.1:1", &long)).is_some_and(|line| line.ends_with(&long)));
        for second in 1..600 {
            for host in 1..4 {
                let said = event(&format!("ws://192.0.2.{host}:1"), "and so on");
                assert!(lines.line(start + Duration::from_secs(second), &said).is_some(), "{second}");
            }
        }
        assert_eq!(lines.deadline(), None);
    }

    #[test]
    fn what_was_left_out_is_counted_once_a_minute() {
        let mut lines = BroadcastLines::new(Config::KEPT);
        let start = Instant::now();
        let shown = (0..100).filter(|_| lines.line(start, &event("ws://192.0.2.1:1", "x")).is_some()).count();
        lines.on_missed(start, 7);
        assert_eq!((shown, lines.deadline()), (30, Some(start + MINUTE)));
        assert_eq!(lines.take_due(start + MINUTE / 2), [""; 0]);
        let due = lines.take_due(start + MINUTE);
        assert!(due.len() == 2 && due[0].contains("70 broadcasts") && due[1].contains("7 events missed"), "{due:?}");
        assert_eq!((lines.take_due(start + 2 * MINUTE), lines.deadline()), (Vec::new(), None));
    }
}
