//! How much of the file was read at the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// The progress of opening a pool.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// In bytes.
    size: AtomicU64,
    read: AtomicU64,
}

impl Progress {
    pub(crate) fn begin(&self, size: u64) {
        self.read.store(0, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
    }

    /// Notes that the file was read up to this byte.
    pub(crate) fn advance(&self, read: u64) {
        self.read.store(read, Ordering::Relaxed);
    }

    /// Returns how much was read, from 0 to 100.
    pub(crate) fn percent(&self) -> u8 {
        let (read, size) = (self.read.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed));
        u8::try_from(read.saturating_mul(100).checked_div(size).unwrap_or(0)).map_or(100, |percent| percent.min(100))
    }

    /// Returns the size of the file in bytes; 0 until it is opened.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_percentage() {
        let progress = Progress::default();
        assert_eq!(progress.percent(), 0);
        progress.begin(1_000);
        for (read, percent) in [(0, 0), (9, 0), (10, 1), (999, 99), (1_000, 100), (u64::MAX, 100)] {
            progress.advance(read);
            assert_eq!(progress.percent(), percent, "{read}");
        }
        progress.begin(0);
        assert_eq!(progress.percent(), 0);
    }
}
