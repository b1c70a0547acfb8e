//! Judges whether a value levelled off: in the last quarter of the time it must not be higher than
//! in the second, except for a factor and a small allowance.
//!
//! The first quarter is for what fills once, such as bounded tables and reused buffers. Medians
//! ignore short peaks.

use measuring::median;

use crate::measures::soak::sample::Sample;

/// The factor by which the last quarter may be higher …
const FACTOR: f64 = 1.15;
/// … and the fewest samples of a quarter that is judged.
const SAMPLES: usize = 10;

/// What is judged. The allowance besides the factor is what one link more or less makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Memory without the pool's index, in bytes.
    Memory,
    Descriptors,
    Tasks,
}

impl What {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Descriptors, Self::Tasks];

    fn allowance(self) -> f64 {
        match self {
            Self::Memory => 4e6,
            Self::Descriptors => 8.0,
            Self::Tasks => 16.0,
        }
    }
}

/// The judgement of a value over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// The median of the second quarter.
    pub(crate) second: f64,
    /// The median of the last quarter.
    pub(crate) last: f64,
    pub(crate) levels_off: bool,
}

/// Judges pairs of seconds since the start and value; `None` if there are too few.
pub(crate) fn judge(what: What, course: &[(f64, f64)], total: f64) -> Option<Verdict> {
    let quarter = |number: f64| {
        let (from, to) = (total * (number - 1.0) / 4.0, total * number / 4.0);
        let inside = course.iter().filter(|(at, _)| (from..to).contains(at));
        let values: Vec<_> = inside.map(|(_, value)| *value).collect();
        (values.len() >= SAMPLES).then(|| median(values))?
    };
    let (second, last) = (quarter(2.0)?, quarter(4.0)?);
    // Negative values are noise.
    let levels_off = last <= second.max(0.0) * FACTOR + what.allowance();
    Some(Verdict { second, last, levels_off })
}

/// The memory of a pool's index by its number of transactions: what an isolated node takes more
/// than while its pool was empty.
#[derive(Debug)]
pub(crate) struct Index {
    /// Pairs of transactions and bytes, ascending in both.
    steps: Vec<(f64, f64)>,
}

impl Index {
    pub(crate) fn measured(isolated: &[Sample]) -> Self {
        let Some(first) = isolated.first() else { return Self { steps: Vec::new() } };
        let (mut steps, mut most) = (vec![(0.0, 0.0)], 0.0_f64);
        for sample in isolated {
            most = most.max(sample.own - first.own);
            steps.push((sample.pool, most));
        }
        steps.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { steps }
    }

    /// Returns the bytes for a number of transactions.
    pub(crate) fn of(&self, transactions: f64) -> f64 {
        let after = self.steps.partition_point(|(count, _)| *count <= transactions);
        match (after.checked_sub(1).and_then(|before| self.steps.get(before)), self.steps.get(after)) {
            (Some((count, bytes)), Some((more, more_bytes))) => {
                bytes + (more_bytes - bytes) * (transactions - count) / (more - count)
            }
            (Some((_, bytes)), None) | (None, Some((_, bytes))) => *bytes,
            (None, None) => 0.0,
        }
    }

    /// Returns the bytes for each transaction, at the greatest number.
    pub(crate) fn each(&self) -> f64 {
        self.steps.last().map_or(0.0, |(count, bytes)| bytes / count.max(1.0))
    }
}

/// Returns a value over time.
pub(crate) fn course(what: What, samples: &[Sample], index: &Index) -> Vec<(f64, f64)> {
    let value = |sample: &Sample| match what {
        What::Memory => sample.own - index.of(sample.pool),
        What::Descriptors => sample.descriptors,
        What::Tasks => sample.tasks,
    };
    samples.iter().map(|sample| (sample.at, value(sample))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_an_hour(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..360).map(|number| f64::from(number) * 10.0).map(|at| (at, value(at))).collect()
    }

    fn levels_off(what: What, value: impl Fn(f64) -> f64) -> bool {
        judge(what, &over_an_hour(value), 3_600.0).expect("enough samples").levels_off
    }

    #[test]
    fn what_grows_all_the_time_fails_and_what_fills_once_does_not() {
        assert!(!levels_off(What::Descriptors, |at| 30.0 + at / 60.0), "a descriptor a minute");
        assert!(!levels_off(What::Tasks, |at| 40.0 + at / 50.0));
        assert!(!levels_off(What::Memory, |at| 10e6 + at * 10e3), "10 kB a second");
        assert!(levels_off(What::Memory, |at| 30e6 - 20e6 * (-at / 300.0).exp()));
        assert!(levels_off(What::Descriptors, |_| 30.0));
        assert!(levels_off(What::Descriptors, |at| 30.0 + 12.0 * (at / 100.0).sin()), "what comes and goes");
        assert!(levels_off(What::Tasks, |at| if at % 600.0 < 60.0 { 900.0 } else { 50.0 }), "a flood now and then");
    }

    #[test]
    fn too_few_samples_are_not_judged() {
        assert_eq!(judge(What::Tasks, &[(0.0, 1.0), (59.0, 900.0)], 60.0), None);
        assert_eq!(judge(What::Tasks, &[], 60.0), None);
    }

    #[test]
    fn the_index_is_read_between_the_samples() {
        let sample = |pool, own| Sample {
            at: 0.0,
            resident: own,
            own,
            descriptors: 0.0,
            threads: 0.0,
            tasks: 0.0,
            pool,
            links: 0.0,
        };
        let index = Index::measured(&[sample(0.0, 5e6), sample(100.0, 5e6 + 1e4), sample(200.0, 5e6 + 4e4)]);
        assert_eq!([0.0, 50.0, 100.0, 150.0, 900.0].map(|count| index.of(count)), [0.0, 5e3, 1e4, 2.5e4, 4e4]);
        assert_eq!(index.each(), 200.0);
        assert_eq!(course(What::Memory, &[sample(100.0, 7e6)], &index), [(0.0, 7e6 - 1e4)]);
        assert_eq!(Index::measured(&[]).of(5.0), 0.0);
    }
}
