//! Bounds what is sent on a link and not read by the other end, whatever the kernels would hold.
//!
//! A PRUNE takes back what is still queued here. What is on its way, or waits unread in the other
//! end's kernel, cannot be taken back; and whatever that end sends is answered only after it. A
//! small TCP window would bound that too, but it also bounds the rate of a long path: a window of
//! 128 KiB carries 0.7 MB/s at a round-trip time of 200 ms.
//!
//! So pings are put between the texts, each with its position in what was sent. A pong shows that
//! all before it was read, and when. The window follows from that:
//!
//! | the pong comes | then the window |
//! |---|---|
//! | about as soon as the fastest did | grows by what was read: it doubles in a round trip |
//! | later: something waits unread | shrinks to what is read in the time of the fastest |
//!
//! This is TCP Vegas (Brakmo, Peterson, 1995), between two programs instead of two kernels.
//! An end that answers no pings is not bounded here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The least window, in bytes. It carries 64 MB/s at a round-trip time of 4 ms.
const LEAST: u64 = 256 * 1024;
/// The largest window, in bytes. Linux by itself grows a receive buffer to 6 to 32 MiB.
const MOST: u64 = 16 * 1024 * 1024;
/// The rate that a window allows at most, in bytes per millisecond: 64 MB/s, more than a node
/// reads. On a short path the window therefore stays small, however fast a moment was.
const RATE: u64 = 64 * 1024;
/// How many pings share a window.
const PINGS: u64 = 4;
/// A pong that takes half as long again as the fastest, and this, is not late: a thread may have to
/// wait for its turn.
const JITTER: Duration = Duration::from_millis(2);
/// The fastest round trip counts for one to two times this long: a path may become longer.
const MEMORY: Duration = Duration::from_secs(30);

/// The window of one link, of the side that sends.
#[derive(Debug)]
pub(crate) struct UnreadWindow {
    /// Positions in the stream of texts, in bytes.
    sent: u64,
    read: u64,
    size: u64,
    /// The pings that are not answered, with their positions and times.
    pings: VecDeque<(u64, Instant)>,
    /// The position of the last ping.
    pinged: u64,
    /// Whether any ping was answered.
    answers: bool,
    fastest: Fastest,
}

/// The fastest round trip of late.
#[derive(Debug, Default)]
struct Fastest {
    now: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
}

impl Fastest {
    fn add(&mut self, now: Instant, time: Duration) -> Duration {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MEMORY {
            (self.before, self.now, self.since) = (self.now.take(), None, Some(now));
        }
        let fastest = self.now.map_or(time, |fastest| fastest.min(time));
        self.now = Some(fastest);
        self.before.map_or(fastest, |before| before.min(fastest))
    }
}

impl UnreadWindow {
    pub(crate) fn new() -> Self {
        let (pings, fastest) = (VecDeque::new(), Fastest::default());
        Self { sent: 0, read: 0, size: LEAST, pings, pinged: 0, answers: false, fastest }
    }

    /// How many more bytes may be sent now. It is 0 only while a pong is due: a window that shrank
    /// below what was sent after the last ping lets one more text through, and a ping behind it.
    pub(crate) fn room(&self) -> usize {
        if !self.answers {
            return usize::MAX;
        }
        let room = self.size.saturating_sub(self.sent - self.read).max(u64::from(self.pings.is_empty()));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// How much is known to be read, in bytes.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Counts bytes that were sent. Returns the payload of a ping that must follow them, if one is
    /// due. Only then the clock is read, not for each text.
    pub(crate) fn sent(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> Option<[u8; 8]> {
        self.sent += bytes as u64;
        if self.sent - self.pinged < self.size / PINGS || (!self.answers && !self.pings.is_empty()) {
            return None;
        }
        self.pinged = self.sent;
        self.pings.push_back((self.sent, now()));
        Some(self.sent.to_be_bytes())
    }

    /// Handles the payload of a pong. Returns whether it answers one of these pings.
    pub(crate) fn on_pong(&mut self, payload: &[u8], now: Instant) -> bool {
        let Ok(position) = payload.try_into().map(u64::from_be_bytes) else { return false };
        let Some(at) = self.pings.iter().position(|(sent, _)| *sent == position) else { return false };
        let Some((_, sent_at)) = self.pings.drain(..=at).next_back() else { return false };
        let newly = position - self.read;
        self.read = position;
        self.answers = true;
        let took = now.saturating_duration_since(sent_at);
        let fastest = self.fastest.add(now, took);
        let in_time = fastest * 3 / 2 + JITTER;
        if took <= in_time {
            self.size += newly;
        } else {
            let share = in_time.as_secs_f64() / took.as_secs_f64();
            self.size = (self.size as f64 * share) as u64;
        }
        let most = RATE.saturating_mul(u64::try_from(fastest.as_millis()).unwrap_or(u64::MAX)).min(MOST);
        self.size = self.size.clamp(LEAST, most.max(LEAST));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path with a delay, and an end that reads at a rate. Returns the bytes read in a second
    /// after some seconds, and the most that was unread.
    fn run(delay: Duration, bytes_per_ms: u64) -> (u64, u64) {
        const PIECE: usize = 16 * 1024;
        let start = Instant::now();
        let mut window = UnreadWindow::new();
        // What travels, with its time of arrival: bytes of text, or a ping.
        let mut path: VecDeque<(Duration, Result<u64, [u8; 8]>)> = VecDeque::new();
        let mut pongs: VecDeque<(Duration, [u8; 8])> = VecDeque::new();
        let (mut unread, mut most, mut read, mut counted) = (VecDeque::new(), 0, 0, 0);
        let (mut sent, mut waits) = (0, 0);
        for ms in 0..10_000 {
            let now = Duration::from_millis(ms);
            // What the kernels would hold: little until something was read.
            let kernels = if window.answers { 32 * 1024 * 1024 } else { 128 * 1024 };
            while window.room() >= PIECE && sent - read < kernels {
                sent += PIECE as u64;
                path.push_back((now + delay, Ok(PIECE as u64)));
                if let Some(ping) = window.sent(PIECE, || start + now) {
                    path.push_back((now + delay, Err(ping)));
                }
            }
            while path.front().is_some_and(|(at, _)| *at <= now) {
                let what = path.pop_front().map(|(_, what)| what);
                waits += what.and_then(Result::ok).unwrap_or(0);
                unread.extend(what);
            }
            // At the beginning the window is not known.
            most = if ms > 5_000 { most.max(waits) } else { 0 };
            let mut able = bytes_per_ms;
            while let Some(what) = unread.front_mut() {
                match what {
                    Ok(bytes) if *bytes > able => {
                        *bytes -= able;
                        (read, waits) = (read + able, waits - able);
                        break;
                    }
                    Ok(bytes) => (able, read, waits) = (able - *bytes, read + *bytes, waits - *bytes),
                    Err(ping) => pongs.push_back((now + delay, *ping)),
                }
                unread.pop_front();
            }
            while pongs.front().is_some_and(|(at, _)| *at <= now) {
                assert!(pongs.pop_front().is_some_and(|(_, ping)| window.on_pong(&ping, start + now)));
            }
            if ms == 9_000 {
                counted = read;
            }
        }
        (read - counted, most)
    }

    #[test]
    fn a_long_path_is_filled() {
        let delay = Duration::from_millis(100);
        let (rate, unread) = run(delay, 100_000);
        assert!(rate > 40_000_000, "{rate} bytes per second");
        assert!(unread <= MOST);
        // An end that reads 8 MB/s gets that, and less than half a second of it waits.
        let (rate, unread) = run(delay, 8_000);
        assert!(rate > 7_000_000, "{rate} bytes per second");
        assert!(unread < 4_000_000, "{unread} bytes wait");
    }

    #[test]
    fn on_a_short_path_little_waits_however_slow_the_other_end_is() {
        for bytes_per_ms in [100, 10_000] {
            let (rate, unread) = run(Duration::ZERO, bytes_per_ms);
            assert!(rate >= bytes_per_ms * 900, "{rate} of {bytes_per_ms}");
            assert!(unread <= LEAST, "{unread} bytes wait");
        }
    }

    #[test]
    fn an_end_that_answers_no_pings_is_not_bounded_and_gets_one() {
        let (mut window, now) = (UnreadWindow::new(), Instant::now());
        let pings = (0..1_000).filter_map(|_| window.sent(64 * 1024, || now)).count();
        assert_eq!((pings, window.room()), (1, usize::MAX));
    }

    #[test]
    fn pongs_that_answer_nothing_change_nothing() {
        let (mut window, now) = (UnreadWindow::new(), Instant::now());
        let ping = window.sent(64 * 1024, || now).expect("it is due");
        for payload in [&[][..], b"other", &[0; 8], &u64::MAX.to_be_bytes()] {
            assert!(!window.on_pong(payload, now), "{payload:?}");
        }
        assert_eq!(window.read(), 0);
        assert!(window.on_pong(&ping, now) && !window.on_pong(&ping, now), "once");
        assert_eq!((window.read(), window.room()), (64 * 1024, LEAST as usize));
        // One that skips others answers them too.
        let pings: Vec<_> = (0..3).filter_map(|_| window.sent(64 * 1024, || now)).collect();
        assert_eq!((pings.len(), window.room()), (3, LEAST as usize - 3 * 64 * 1024));
        assert!(window.on_pong(&pings[2], now) && !window.on_pong(&pings[0], now));
        assert_eq!(window.room(), LEAST as usize);
    }

    #[test]
    fn a_window_that_shrinks_below_what_no_ping_covers_opens_again() {
        let (mut window, mut now) = (UnreadWindow::new(), Instant::now());
        while window.size < 2 * 1024 * 1024 {
            let ping = window.sent((window.size / PINGS) as usize, || now).expect("it is due");
            now += Duration::from_millis(40);
            assert!(window.on_pong(&ping, now));
        }
        let ping = window.sent((window.size / PINGS) as usize, || now).expect("it is due");
        assert_eq!(window.sent(300 * 1024, || now), None, "it is too early for one");
        now += Duration::from_millis(1);
        assert!(window.on_pong(&ping, now));
        assert_eq!((window.size, window.pings.len()), (LEAST, 0));
        assert!(window.room() > 0, "no pong is due that could open it");
        let ping = window.sent(1_000, || now).expect("what waits needs one");
        assert_eq!(window.room(), 0, "the pong opens it");
        assert!(window.on_pong(&ping, now) && window.room() == LEAST as usize);
    }

    #[test]
    fn a_path_that_becomes_longer_is_filled_again() {
        let (mut window, mut now) = (UnreadWindow::new(), Instant::now());
        let mut round = |window: &mut UnreadWindow, took: Duration| {
            let ping = window.sent((window.size / PINGS) as usize, || now).expect("it is due");
            now += took;
            window.on_pong(&ping, now);
        };
        for _ in 0..50 {
            round(&mut window, Duration::from_millis(20));
        }
        assert_eq!(window.size, RATE * 20);
        for _ in 0..10 {
            round(&mut window, Duration::from_millis(200));
        }
        assert_eq!(window.size, LEAST, "it looks as if something waited");
        for _ in 0..500 {
            round(&mut window, Duration::from_millis(200));
        }
        assert!(window.size > 10 * 1024 * 1024, "{}", window.size);
    }
}
