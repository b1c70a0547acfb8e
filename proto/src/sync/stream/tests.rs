use super::*;

const A: LinkId = LinkId(1);
const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

#[test]
fn nothing_is_fetched_beside_a_fast_stream_for_ten_seconds() {
    let since = Instant::now();
    let stream = |last: Duration| Stream { at: since + last, items: 100, ..Stream::new(since, A, 100, 100) };
    assert!(stream(STREAM_TIME - NANO).is_alone(since + STREAM_TIME - NANO));
    assert!(!stream(STREAM_TIME).is_alone(since + STREAM_TIME));
    assert!(stream(Duration::ZERO).is_alone(since + STREAM_TIMEOUT - NANO));
    assert!(!stream(Duration::ZERO).is_alone(since + STREAM_TIMEOUT), "it brings nothing more");
}

/// A slow stream of 100 items a second, and others who bring some in each second in which they are
/// asked. So many of a hundred items of the stream are offered by others too.
struct Rig {
    stream: Stream,
    now: Instant,
    arrived: u64,
    others: u64,
    confirmed: u64,
}

fn rig(others: u64, confirmed: u64) -> Rig {
    let now = Instant::now();
    Rig { stream: Stream::new(now, A, 1_000_000, 1_000_000), now, arrived: 0, others, confirmed }
}

impl Rig {
    /// Returns in which of the next seconds others are asked.
    fn asked(&mut self, seconds: u64) -> Vec<bool> {
        let asked = (0..seconds).map(|_| {
            let rests = self.stream.rests(self.now);
            // Where others are asked and bring nothing more, they share the way with the stream.
            let share = if rests || self.others > 0 { 100 } else { 50 };
            for n in 0..share {
                self.stream.on_brought(self.now + SECOND, 250, n < share * self.confirmed / 100);
            }
            self.arrived += if rests { 100 } else { share + self.others.max(100 - share) };
            self.now += SECOND;
            self.stream.take_turns(self.now, self.arrived);
            !rests
        });
        asked.collect()
    }
}

#[test]
fn others_are_asked_ever_more_rarely_if_no_more_arrives_with_them() {
    let asked = rig(0, 100).asked(200);
    let turns: Vec<usize> = asked.chunk_by(|a, b| a == b).map(<[bool]>::len).collect();
    // The first second shows that it is slow.
    assert_eq!(turns, [3, 2, 2, 4, 2, 8, 2, 16, 2, 32, 2, 64, 2, 59], "with and without, in turn");
}

#[test]
fn others_are_asked_for_ever_longer_if_more_arrives_with_them() {
    // A stream has a hundred in each second, and a half more is enough.
    for (others, better) in [(49, false), (51, true)] {
        let asked = rig(others, 100).asked(100);
        let with = asked.iter().filter(|asked| **asked).count();
        assert_eq!(with > 50, better, "{others}: {with} of 100 seconds");
    }
}

#[test]
fn a_stream_that_brings_what_no_other_offers_or_little_is_no_reason_to_wait() {
    assert!(rig(0, 49).asked(100).iter().all(|asked| *asked), "inventions");
    assert!(!rig(0, 50).asked(100).iter().all(|asked| *asked));
    assert!(rig(701, 100).asked(100).iter().all(|asked| *asked), "less than an eighth of all");
    assert!(!rig(700, 100).asked(100).iter().all(|asked| *asked));
}

#[test]
fn nobody_waits_for_a_stream_that_ends() {
    let mut rig = rig(0, 100);
    rig.asked(4);
    assert!(rig.stream.rests(rig.now) && rig.stream.is_alone(rig.now));
    rig.now += STREAM_TIMEOUT;
    assert!(!rig.stream.rests(rig.now) && !rig.stream.is_alone(rig.now) && !rig.stream.holds(rig.now));
}
