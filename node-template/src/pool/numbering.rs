//! The numbering of a topic's file: positions that stay the same over restarts.
//!
//! Retention rewrites the file without the rows that it removed, so a row is no longer where its
//! position says. A second file beside it, `<name>.positions.json`, has the positions of the rows:
//! as runs, because most have the next number. It is written before the rows are, and has the
//! layout before and the one after. Which of them holds is seen from the rows: so a crash between
//! the two writes does no harm. Rows behind a layout have the numbers that follow.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pool::disk::Disk;
use crate::pool::error::PoolError;
use crate::pool::load;
use crate::pool::repair;
use crate::protocol::transaction::TransactionId;

/// No position is above. It leaves room to count on.
const MOST: u64 = u64::MAX / 2;

/// From which index of this run which positions are counted, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbering {
    runs: Vec<(u64, u64)>,
    /// Those that the file may have: the latest, that of an attempt before, and the one before all
    /// attempts.
    layouts: Vec<Layout>,
}

/// The positions of the first rows of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    /// How many rows there are.
    rows: usize,
    /// The identity of the last of them; empty if there is none.
    last: String,
    /// The first position of each run, and how many rows have it and the ones that follow.
    runs: Vec<(u64, u64)>,
    /// The position of the next row.
    next: u64,
}

impl Layout {
    /// Returns whether a node may have written it: positions grow, and there is one for each row.
    fn is_sound(&self) -> bool {
        let (mut end, mut rows) = (0, 0_u64);
        for (first, count) in &self.runs {
            let Some(next) = first.checked_add(*count).filter(|_| *first >= end) else { return false };
            // It is not above `next`, as no run is before the end of another.
            rows += count;
            end = next;
        }
        rows == self.rows as u64 && end <= self.next && self.next <= MOST
    }
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    layouts: Vec<Layout>,
}

impl Default for Numbering {
    /// The numbers are the indices.
    fn default() -> Self {
        Self { runs: vec![(0, 0)], layouts: Vec::new() }
    }
}

impl Numbering {
    /// Reads the numbering of a file with these rows.
    ///
    /// # Errors
    /// [`PoolError::Io`], also if it is unreadable: positions would be given twice.
    pub(crate) fn load(path: &Path, ids: &[TransactionId]) -> Result<Self, PoolError> {
        let path = Self::path(path);
        load::check_kind(&path)?;
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(PoolError::io("read", &path)(error)),
        };
        let unreadable = |error: String| {
            let text = format!("{error}; remove it, and positions begin at 0 again");
            PoolError::io("read", &path)(std::io::Error::new(std::io::ErrorKind::InvalidData, text))
        };
        let OnDisk { layouts } = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if !layouts.iter().all(Layout::is_sound) {
            return Err(unreadable("its runs are in no order, or not of its rows".to_owned()));
        }
        Ok(Self::of(layouts, ids))
    }

    fn of(layouts: Vec<Layout>, ids: &[TransactionId]) -> Self {
        let is_of_rows = |layout: &&Layout| {
            let last = layout.rows.checked_sub(1).map(|last| ids.get(last).map(ToString::to_string));
            last.is_none_or(|last| last.as_ref() == Some(&layout.last))
        };
        let Some(layout) = layouts.iter().find(is_of_rows) else {
            // Somebody edited the file: no position is given to another row than before.
            let next = layouts.iter().map(|layout| layout.next).max().unwrap_or(0);
            return Self { runs: vec![(0, next)], layouts };
        };
        let mut runs = Vec::new();
        let mut index = 0;
        for (first, count) in &layout.runs {
            runs.push((index, *first));
            index += count;
        }
        runs.push((layout.rows as u64, layout.next));
        Self { runs, layouts: vec![layout.clone()] }
    }

    /// Returns the position of an index.
    pub(crate) fn position(&self, index: u64) -> u64 {
        let run = self.runs.partition_point(|(first, _)| *first <= index).saturating_sub(1);
        let (first, position) = self.runs[run];
        position + (index - first)
    }

    /// Returns the first index whose position is not below one.
    pub(crate) fn index(&self, position: u64) -> u64 {
        let run = self.runs.partition_point(|(_, first)| *first <= position).saturating_sub(1);
        let (index, first) = self.runs[run];
        let end = self.runs.get(run + 1).map_or(u64::MAX, |(index, _)| *index);
        index.saturating_add(position.saturating_sub(first)).min(end)
    }

    /// Writes the numbering of a file that is written next: rows with these indices, the last of
    /// which has this identity. `end` is the index of the next row.
    ///
    /// # Errors
    /// [`PoolError::Io`].
    pub(crate) fn save(
        &mut self,
        path: &Path,
        disk: &dyn Disk,
        rows: &[u64],
        (last, end): (Option<TransactionId>, u64),
    ) -> Result<(), PoolError> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for position in rows.iter().map(|index| self.position(*index)) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == position => *count += 1,
                _ => runs.push((position, 1)),
            }
        }
        // Before the first rewriting the numbers are the indices.
        let first_before = rows.last().zip(last).filter(|_| self.layouts.is_empty()).map(|(index, last)| {
            let next = index + 1;
            Layout { rows: next as usize, last: last.to_string(), runs: vec![(0, next)], next }
        });
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        let mut layouts = vec![Layout { rows: rows.len(), last, runs, next: self.position(end) }];
        layouts.extend(self.layouts.first().cloned());
        // After rewritings that failed the file has the layout before the first of them.
        layouts.extend(self.layouts.iter().skip(1).next_back().cloned().or(first_before));
        let text = serde_json::to_vec(&OnDisk { layouts: layouts.clone() }).expect("numbers and texts are JSON");
        let path = Self::path(path);
        repair::replace_with(&path, disk, &text)?;
        self.layouts = layouts;
        Ok(())
    }

    /// Notes that the file has the rows that were announced last.
    pub(crate) fn on_rewritten(&mut self) {
        self.layouts.truncate(1);
    }

    fn path(path: &Path) -> PathBuf {
        path.with_extension("positions.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::disk::System;

    fn id(n: u8) -> TransactionId {
        TransactionId([n; 32])
    }

    #[test]
    fn positions_go_on_after_each_rewriting_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        let mut first = Numbering::load(&path, &[]).expect("none yet");
        assert_eq!(first, Numbering::default());
        // Of ten rows 3, 4 and 7 to 9 are left.
        first.save(&path, &System, &[3, 4, 7, 8, 9], (Some(id(9)), 10)).expect("written");
        let rows: Vec<_> = [3, 4, 7, 8, 9, 10, 11].map(id).to_vec();
        let mut second = Numbering::load(&path, &rows).expect("readable");
        assert_eq!((0..8).map(|index| second.position(index)).collect::<Vec<_>>(), [3, 4, 7, 8, 9, 10, 11, 12]);
        assert_eq!([0, 3, 5, 6, 7, 9, 10, 20].map(|position| second.index(position)), [0, 0, 2, 2, 2, 4, 5, 15]);
        // The next rewriting is written down, and the crash comes before the rows are.
        second.save(&path, &System, &[4, 6], (Some(id(11)), 7)).expect("written");
        assert_eq!(Numbering::load(&path, &rows).expect("readable").position(6), 11);
        let third = Numbering::load(&path, &[id(9), id(11), id(12)]).expect("readable");
        assert_eq!([0, 1, 2].map(|index| third.position(index)), [9, 11, 12]);
        // Somebody edited the file.
        let edited = Numbering::load(&path, &[id(50)]).expect("readable");
        assert_eq!((edited.position(0), edited.index(3)), (12, 0));
        std::fs::write(folder.path().join("a.positions.json"), "{").expect("written");
        assert!(Numbering::load(&path, &[]).expect_err("unreadable").to_string().contains("remove it"));
    }

    #[test]
    fn a_crash_in_the_first_rewriting_changes_no_position() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        Numbering::default().save(&path, &System, &[3, 4, 8], (Some(id(8)), 10)).expect("written");
        let before = Numbering::load(&path, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(id)).expect("readable");
        assert_eq!([0, 4, 9, 10].map(|index| before.position(index)), [0, 4, 9, 10]);
        let after = Numbering::load(&path, &[3, 4, 8, 10].map(id)).expect("readable");
        assert_eq!([0, 1, 2, 3].map(|index| after.position(index)), [3, 4, 8, 10]);
    }

    #[test]
    fn a_rewriting_that_failed_any_number_of_times_changes_no_position() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        let ten = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(id);
        let mut numbering = Numbering::default();
        for last in 7..10_u8 {
            // The disk has no room for the rows, only for this.
            numbering.save(&path, &System, &[3, u64::from(last)], (Some(id(last)), 10)).expect("written");
            let before = Numbering::load(&path, &ten).expect("readable");
            assert_eq!([0, 4, 9, 10].map(|index| before.position(index)), [0, 4, 9, 10], "{last}");
        }
        let after = Numbering::load(&path, &[3, 9, 10].map(id)).expect("readable");
        assert_eq!([0, 1, 2].map(|index| after.position(index)), [3, 9, 10]);
    }

    #[test]
    fn a_numbering_that_no_node_wrote_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        let last = id(2).to_string();
        for (rows, runs, next) in [
            (3, "[[0,2]]", 9),
            (3, "[[0,9]]", 9),
            (3, "[[5,1],[0,2]]", 9),
            (3, "[[0,3]]", 2),
            (3, "[[18446744073709551615,3]]", 9),
            (3, "[[0,18446744073709551615],[0,4]]", 9),
            (3, "[[0,3]]", u64::MAX),
        ] {
            let text = format!(r#"{{"layouts":[{{"rows":{rows},"last":"{last}","runs":{runs},"next":{next}}}]}}"#);
            std::fs::write(folder.path().join("a.positions.json"), &text).expect("written");
            let error = Numbering::load(&path, &[0, 1, 2, 3].map(id)).expect_err("foreign").to_string();
            assert!(error.contains("a.positions.json") && error.contains("remove it"), "{text}: {error}");
        }
    }

    #[test]
    fn an_emptied_file_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        Numbering::default().save(&path, &System, &[], (None, 40)).expect("written");
        let numbering = Numbering::load(&path, &[id(1)]).expect("readable");
        assert_eq!((numbering.position(0), numbering.index(40)), (40, 0));
    }
}
