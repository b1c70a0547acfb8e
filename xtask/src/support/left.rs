//! Folders in which a task starts processes, and what is left of a task that was killed.
//!
//! The task holds a lock in its folder, which the system releases whenever it ends, and writes down
//! there what it starts.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use meshpool::binary::system::{LockError, has_open, is_locked, kill_group, try_lock};

/// The lock's file. It has a line for each process: its id, and its output's path from the folder.
const LOCK: &str = ".task.lock";

/// Takes the lock of a folder that this process has just made, while the returned file is held.
pub(crate) fn claim(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    try_lock(&path).map_err(|error| match error {
        LockError::Held => anyhow!("{} is locked by another process: start again", path.display()),
        LockError::Io(error) | LockError::Unsupported(error) => {
            anyhow!("{} cannot be locked: {error}; check who may write there", path.display())
        }
    })
}

/// Returns the lock of a folder whose task was killed; `None` if the task lives, or there was none.
pub(crate) fn left(folder: &Path) -> Option<File> {
    let path = folder.join(LOCK);
    // Locking makes a file that is missing.
    let is_there = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
    if is_there && is_locked(&path).is_ok_and(|held| !held) { try_lock(&path).ok() } else { None }
}

/// Writes down a process that leads a group of its own. `output`: the file that it has open, by its
/// path from the folder.
pub(crate) fn note_process(folder: &Path, id: u32, output: &str) -> Result<()> {
    let path = folder.join(LOCK);
    let noted = OpenOptions::new().append(true).open(&path).and_then(|mut file| writeln!(file, "{id} {output}"));
    noted.with_context(|| format!("{} cannot be written; check who may write there", path.display()))
}

/// Kills the processes that were written down in a folder, with all that they started. Returns how
/// many still ran. One that has not its output open is another one, which has the number by now.
pub(crate) fn kill_noted(folder: &Path) -> usize {
    let text = fs::read_to_string(folder.join(LOCK)).unwrap_or_default();
    let noted = text.lines().filter_map(|line| {
        let (id, output) = line.split_once(' ')?;
        Some((id.parse::<u32>().ok()?, folder.join(output)))
    });
    // Where the system does not say what has a file open, nothing is killed.
    noted.filter(|(id, output)| has_open(*id, output) == Some(true) && kill_group(*id).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_left_over_once_nobody_holds_its_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(left(folder.path()).is_none(), "it is that of no task");
        assert!(!folder.path().join(LOCK).exists(), "a look makes nothing");
        let claimed = claim(folder.path()).expect("free");
        assert!(left(folder.path()).is_none(), "its task lives");
        drop(claimed);
        let lock = left(folder.path()).expect("left over");
        assert!(claim(folder.path()).is_err(), "nobody takes it meanwhile");
        drop(lock);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_the_noted_processes_those_are_killed_that_have_their_output_open() {
        use std::process::{Command, Stdio};

        use meshpool::binary::system::leave_group;

        let folder = tempfile::tempdir().expect("a folder");
        drop(claim(folder.path()).expect("free"));
        let start = |output: &str| {
            let output = File::create(folder.path().join(output)).expect("made");
            let mut command = Command::new("sleep");
            leave_group(command.arg("600").stdout(output).stderr(Stdio::null()));
            command.spawn().expect("started")
        };
        let (mut own, mut stranger) = (start("own"), start("other"));
        note_process(folder.path(), own.id(), "own").expect("written");
        note_process(folder.path(), stranger.id(), "own").expect("written");
        assert_eq!(kill_noted(folder.path()), 1);
        assert!(!own.wait().expect("waited for").success());
        assert!(stranger.try_wait().expect("asked").is_none(), "it runs on");
        stranger.kill().expect("ended");
        stranger.wait().expect("waited for");
        assert_eq!(kill_noted(folder.path()), 0, "they are gone");
    }
}
