//! A whole pool that a peer sends us, and when others are asked for the rest of it.
//!
//! A peer may offer any number, so how fast its stream must be follows from the offer: a false one
//! ends soon. A slow one goes on, and others are asked meanwhile. But what they bring comes in the
//! stream once more, and where the way to this node is slow it comes instead of it. So it is
//! measured in turn whether more arrives with the others or without.

use std::time::{Duration, Instant};

use crate::id::LinkId;
use crate::sync::wants::JUDGED;

/// How long a stream may bring nothing before another is asked for.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stream has to begin before it ends. Others are asked meanwhile after [`JUDGED`].
pub(crate) const STREAM_GRACE: Duration = Duration::from_secs(2);
/// A stream that would take longer than this for what it was offered for is slow, however fast: it
/// may bring inventions. The rest is fetched from others meanwhile.
pub(crate) const STREAM_TIME: Duration = Duration::from_secs(10);
/// The bytes a second below which a slow stream ends: another is asked for everything.
const STREAM_FLOOR: u64 = 8 * 1024;
/// How often a stream is looked at.
pub(crate) const STREAM_TICK: Duration = Duration::from_secs(1);
/// How long it is measured what arrives with others or without, the first time and whenever the
/// other way was better. What was better is kept for twice as long each time, up to the longest.
const PHASE: Duration = Duration::from_secs(2);
const PHASE_LONGEST: Duration = Duration::from_secs(64);
/// Others are asked if this many times as much arrives: the stream brings it again.
const GAIN: f64 = 1.5;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) link: LinkId,
    since: Instant,
    /// When something of it last came.
    at: Instant,
    /// How many transactions the peer said to hold …
    pub(crate) offered: u64,
    /// … and how many of them were missing here.
    missing: u64,
    /// When others were last asked because it is slow.
    called: Option<Instant>,
    /// What it brought that was new.
    items: u64,
    bytes: u64,
    /// Whether others are asked beside it, once it was slow.
    turns: Option<Turns>,
}

/// Phases in which others are asked beside a stream, and phases in which they are not.
#[derive(Debug)]
struct Turns {
    /// Whether others are asked now.
    beside: bool,
    since: Instant,
    /// How much had arrived when the phase began, and at its half: when, and how much.
    began: u64,
    half: Option<(Instant, u64)>,
    /// What the stream brought in this phase, and how much of that others offered too.
    brought: u64,
    confirmed: u64,
    alone: Phase,
    others: Phase,
}

#[derive(Debug)]
struct Phase {
    length: Duration,
    /// How many items arrived in each second the last time.
    rate: Option<f64>,
}

impl Stream {
    pub(crate) fn new(now: Instant, link: LinkId, offered: u64, missing: u64) -> Self {
        Self { link, since: now, at: now, offered, missing, called: None, items: 0, bytes: 0, turns: None }
    }

    /// Notes that it brought something new, which others offer too or not.
    pub(crate) fn on_brought(&mut self, now: Instant, bytes: usize, offered_by_others: bool) {
        self.at = now;
        self.items += 1;
        self.bytes += bytes as u64;
        if let Some(turns) = &mut self.turns {
            turns.brought += 1;
            turns.confirmed += u64::from(offered_by_others);
        }
    }

    /// Returns whether it would bring what it was offered for within [`STREAM_TIME`].
    fn is_fast(&self, now: Instant) -> bool {
        let part = now.saturating_duration_since(self.since).div_duration_f64(STREAM_TIME);
        self.items as f64 >= self.missing as f64 * part
    }

    /// Returns whether no other stream is asked for.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        let brings = self.bytes as f64 >= STREAM_FLOOR as f64 * age.as_secs_f64();
        now.saturating_duration_since(self.at) < STREAM_TIMEOUT && (age < STREAM_GRACE || brings || self.is_fast(now))
    }

    /// Returns whether others are to be asked now for what it is too slow to bring.
    pub(crate) fn calls_for_others(&mut self, now: Instant) -> bool {
        let lately = self.called.is_some_and(|called| now.saturating_duration_since(called) < STREAM_TICK);
        let calls = !lately && !self.is_alone(now);
        self.called = if calls { Some(now) } else { self.called };
        calls
    }

    /// Returns whether nothing is fetched from others meanwhile.
    pub(crate) fn is_alone(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        let fast = age < STREAM_TIME && (age < JUDGED || self.is_fast(now));
        self.holds(now) && (fast || self.rests(now))
    }

    /// Returns whether others were asked beside it, and are not now: no more arrived with them.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.holds(now) && self.turns.as_ref().is_some_and(|turns| !turns.beside)
    }

    /// Takes turns, once it was slow. `arrived`: how many items have, on all links. Returns whether
    /// others are asked no more from now on.
    pub(crate) fn take_turns(&mut self, now: Instant, arrived: u64) -> bool {
        if let Some(turns) = &mut self.turns {
            return turns.proceed(now, arrived);
        }
        if !self.is_alone(now) {
            self.turns = Some(Turns::new(now, arrived));
        }
        false
    }

    /// Returns when it is to be looked at next.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        let looks = [JUDGED, STREAM_GRACE].map(|after| self.since + after);
        looks.into_iter().find(|look| *look > now).unwrap_or(now + STREAM_TICK).min(now + STREAM_TICK)
    }
}

impl Turns {
    fn new(now: Instant, arrived: u64) -> Self {
        let phase = || Phase { length: PHASE, rate: None };
        let (alone, others) = (phase(), phase());
        Self { beside: true, since: now, began: arrived, half: None, brought: 0, confirmed: 0, alone, others }
    }

    fn begin(&mut self, now: Instant, arrived: u64, beside: bool) {
        (self.beside, self.since, self.began, self.half) = (beside, now, arrived, None);
        (self.brought, self.confirmed) = (0, 0);
    }

    /// Ends a phase whose time is over, and begins the next. The second half is measured: in the
    /// first comes what was asked for before.
    fn proceed(&mut self, now: Instant, arrived: u64) -> bool {
        let length = if self.beside { self.others.length } else { self.alone.length };
        let age = now.saturating_duration_since(self.since);
        if self.half.is_none() && age >= length / 2 {
            self.half = Some((now, arrived));
        }
        let Some((half, at_half)) = self.half else { return false };
        let measured = now.saturating_duration_since(half);
        if age < length || measured.is_zero() {
            return false;
        }
        let rate = Some(arrived.saturating_sub(at_half) as f64 / measured.as_secs_f64());
        if self.beside {
            self.others.rate = rate;
        } else {
            self.alone.rate = rate;
        }
        if let (Some(alone), Some(others)) = (self.alone.rate, self.others.rate) {
            let others_are_better = others > alone * GAIN;
            let (better, worse) = match others_are_better {
                true => (&mut self.others, &mut self.alone),
                false => (&mut self.alone, &mut self.others),
            };
            // It was tried again, and was worse again.
            if self.beside != others_are_better {
                better.length = (better.length * 2).min(PHASE_LONGEST);
            }
            worse.length = PHASE;
        }
        // A stream of inventions, which no other offers, or that brings little, is no reason to
        // wait.
        let came = arrived.saturating_sub(self.began);
        let trusted = self.brought > 0 && self.confirmed * 2 >= self.brought && self.brought * 8 >= came;
        let beside = !self.beside || !trusted;
        self.begin(now, arrived, beside);
        !beside
    }
}

#[cfg(test)]
mod tests;
