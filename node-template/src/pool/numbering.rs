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
use crate::pool::repair;
use crate::protocol::transaction::TransactionId;

/// How many layouts are kept: the present one, and the one before.
const LAYOUTS: usize = 2;

/// From which index of this run which positions are counted, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbering {
    runs: Vec<(u64, u64)>,
    /// The layouts in the file, the latest first.
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
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(PoolError::io("read", &path)(error)),
        };
        let OnDisk { layouts } = serde_json::from_slice(&text).map_err(|error| {
            let text = format!("{error}; remove it, and positions begin at 0 again");
            PoolError::io("read", &path)(std::io::Error::new(std::io::ErrorKind::InvalidData, text))
        })?;
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
        Self { runs, layouts }
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
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        let mut layouts = vec![Layout { rows: rows.len(), last, runs, next: self.position(end) }];
        layouts.extend(self.layouts.iter().take(LAYOUTS - 1).cloned());
        let text = serde_json::to_vec(&OnDisk { layouts: layouts.clone() }).expect("numbers and texts are JSON");
        let path = Self::path(path);
        repair::replace_with(&path, disk, &text)?;
        self.layouts = layouts;
        Ok(())
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
    fn an_emptied_file_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        Numbering::default().save(&path, &System, &[], (None, 40)).expect("written");
        let numbering = Numbering::load(&path, &[id(1)]).expect("readable");
        assert_eq!((numbering.position(0), numbering.index(40)), (40, 0));
    }
}
