//! Folders in which a task starts processes, and what is left of a task that was killed.
//!
//! The task holds a lock in its folder, which the system releases whenever it ends, and writes down
//! there what it starts.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use meshpool::binary::system::{LockError, REMOVES_OPEN_FILES, has_open, is_locked, is_running, kill_group, try_lock};

/// The lock's file. It has a line for each process: its id, and its output's path from the folder.
const LOCK: &str = ".task.lock";

/// Takes the lock of a folder that this process has just made, while the returned file is held.
/// `None`: another task took the folder for one that is left, before it was locked.
///
/// # Errors
/// The lock's file cannot be made or locked.
pub(crate) fn claim(folder: &Path) -> Result<Option<File>> {
    claim_by(folder, try_lock)
}

fn claim_by(folder: &Path, try_lock: impl Fn(&Path) -> Result<File, LockError>) -> Result<Option<File>> {
    let path = folder.join(LOCK);
    let failed = || format!("{} cannot be locked; check who may write there", path.display());
    match try_lock(&path) {
        // The other task may have removed the file, and this one then locked what has no path.
        Ok(lock) => Ok(is_locked(&path).is_ok_and(|held| held).then_some(lock)),
        Err(LockError::Held) => Ok(None),
        // What a killed task leaves is not found there. A node says itself that it needs locks.
        Err(LockError::Unsupported(_)) => {
            File::options().append(true).create(true).open(&path).map(Some).with_context(failed)
        }
        Err(LockError::Io(error)) => Err(error).with_context(failed),
    }
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
    let noted = File::options().append(true).open(&path).and_then(|mut file| writeln!(file, "{id} {output}"));
    noted.with_context(|| format!("{} cannot be written; check who may write there", path.display()))
}

/// A process that was written down, and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) id: u32,
    /// Whether it has its output open. Otherwise the system does not say, and another process may
    /// have the number by now.
    is_certain: bool,
}

/// Returns the processes that were written down in a folder and run. One that has not its output
/// open is another one, which has the number by now.
pub(crate) fn running(folder: &Path) -> Vec<Noted> {
    running_by(folder, has_open)
}

fn running_by(folder: &Path, has_open: impl Fn(u32, &Path) -> Option<bool>) -> Vec<Noted> {
    let runs = |(id, output): (u32, String)| match has_open(id, &folder.join(output)) {
        Some(has_open) => has_open.then_some(Noted { id, is_certain: true }),
        // Where no open file is removed, a folder in use cannot be removed either.
        None => (REMOVES_OPEN_FILES && is_running(id, &folder.join(LOCK))).then_some(Noted { id, is_certain: false }),
    };
    noted(folder).into_iter().filter_map(runs).collect()
}

/// Returns each process that was written down in a folder, with its output.
fn noted(folder: &Path) -> Vec<(u32, String)> {
    let text = fs::read_to_string(folder.join(LOCK)).unwrap_or_default();
    let noted = text.lines().filter_map(|line| {
        let (id, output) = line.split_once(' ')?;
        Some((id.parse().ok()?, output.to_owned()))
    });
    noted.collect()
}

/// Kills the processes that were written down in a folder, with all that they started. Returns
/// those that still ran.
///
/// # Errors
/// One runs on, or may do so.
pub(crate) fn kill_noted(folder: &Path) -> Result<Vec<u32>> {
    kill(&running(folder), folder)
}

fn kill(running: &[Noted], folder: &Path) -> Result<Vec<u32>> {
    let mut doubtful = Vec::new();
    for noted in running {
        if !noted.is_certain {
            doubtful.push(noted.id.to_string());
        } else if let Err(error) = kill_group(noted.id) {
            bail!(
                "process {} of {} cannot be stopped: {error}; stop it as the user that runs it",
                noted.id,
                folder.display()
            );
        }
    }
    ensure!(
        doubtful.is_empty(),
        "process {} was started in {}, and this system does not say whether it still runs there; end it if it does, and remove the folder",
        doubtful.join(", "),
        folder.display()
    );
    Ok(running.iter().map(|noted| noted.id).collect())
}

/// Removes a folder whose lock this task has. The lock's file goes last: as long as something
/// cannot be removed, it says what ran there, and the next task tries again.
///
/// # Errors
/// Something cannot be removed.
pub(crate) fn remove(folder: &Path, lock: File) -> Result<()> {
    let content = || {
        for entry in fs::read_dir(folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            if path.ends_with(LOCK) {
                continue;
            }
            if entry?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                // Windows removes a link to a folder as a folder.
                fs::remove_file(&path).or_else(|error| fs::remove_dir(&path).map_err(|_| error))?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let removed = content().and_then(|()| {
        // Some systems remove no open file.
        drop(lock);
        fs::remove_dir_all(folder)
    });
    removed.with_context(|| {
        let ids: Vec<_> = noted(folder).iter().map(|(id, _)| id.to_string()).collect();
        let remedy = match &ids[..] {
            [] => "look at what is left of it".to_owned(),
            ids => format!(
                "look at what is left of it, and whether process {}, which it started, still runs",
                ids.join(", ")
            ),
        };
        format!("{} cannot be removed; {remedy}", folder.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_left_over_once_nobody_holds_its_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(left(folder.path()).is_none(), "it is that of no task");
        assert!(!folder.path().join(LOCK).exists(), "a look makes nothing");
        let claimed = claim(folder.path()).expect("locked").expect("free");
        assert!(left(folder.path()).is_none(), "its task lives");
        drop(claimed);
        let lock = left(folder.path()).expect("left over");
        assert!(claim(folder.path()).expect("looked at").is_none(), "nobody takes it meanwhile");
        drop(lock);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_another_task_removed_before_it_was_locked_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let removed = |path: &Path| {
            let file = File::create(path).expect("made");
            // The other task locks it first, removes it and ends.
            fs::remove_file(path).expect("removed");
            file.try_lock().expect("free");
            Ok(file)
        };
        assert!(claim_by(folder.path(), removed).expect("looked at").is_none());
        let replaced = |path: &Path| {
            let file = removed(path);
            File::create(path).expect("made");
            file
        };
        assert!(claim_by(folder.path(), replaced).expect("looked at").is_none());
    }

    #[test]
    fn a_task_that_needs_no_lock_runs_where_there_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let without = |_: &Path| Err(LockError::Unsupported(std::io::Error::other("No locks available")));
        let _claimed = claim_by(folder.path(), without).expect("goes on").expect("without a lock");
        note_process(folder.path(), 7, "output").expect("written");
        assert_eq!(noted(folder.path()), [(7, "output".to_owned())]);
        let failing = |_: &Path| Err(LockError::Io(std::io::Error::other("input/output error")));
        let error = claim_by(folder.path(), failing).expect_err("the disk fails");
        assert!(error.to_string().contains("check who may write there"), "{error:#}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_the_noted_processes_those_are_killed_that_have_their_output_open() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(claim(folder.path()).expect("free"));
        let (mut own, mut stranger) = (start(folder.path(), "own"), start(folder.path(), "other"));
        note_process(folder.path(), own.id(), "own").expect("written");
        note_process(folder.path(), stranger.id(), "own").expect("written");
        assert_eq!(running(folder.path()).iter().map(|noted| noted.id).collect::<Vec<_>>(), [own.id()]);
        assert_eq!(kill_noted(folder.path()).expect("killed"), [own.id()]);
        assert!(!own.wait().expect("waited for").success());
        assert!(stranger.try_wait().expect("asked").is_none(), "it runs on");
        stranger.kill().expect("ended");
        stranger.wait().expect("waited for");
        assert_eq!(kill_noted(folder.path()).expect("looked at"), [0_u32; 0], "they are gone");
    }

    #[cfg(unix)]
    #[test]
    fn where_the_system_does_not_say_what_has_a_file_open_the_user_decides() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(claim(folder.path()).expect("free"));
        let mut child = start(folder.path(), "own");
        note_process(folder.path(), child.id(), "own").expect("written");
        let running = || running_by(folder.path(), |_, _| None);
        let error = kill(&running(), folder.path()).expect_err("it may be another process").to_string();
        assert!(error.starts_with(&format!("process {} ", child.id())) && error.contains("end it"), "{error}");
        assert!(child.try_wait().expect("asked").is_none(), "it runs on");
        child.kill().expect("ended");
        child.wait().expect("waited for");
        assert_eq!(kill(&running(), folder.path()).expect("looked at"), [0_u32; 0]);
    }

    #[cfg(unix)]
    fn start(folder: &Path, output: &str) -> std::process::Child {
        use std::process::{Command, Stdio};

        let output = File::create(folder.join(output)).expect("made");
        let mut command = Command::new("sleep");
        meshpool::binary::system::leave_group(command.arg("600").stdout(output).stderr(Stdio::null()));
        command.spawn().expect("started")
    }

    /// A link that leads nowhere and one to a folder beside are removed, and not what they lead to.
    #[cfg(unix)]
    #[test]
    fn a_folder_is_removed_with_its_lock_and_links_are_not_followed() {
        use std::os::unix::fs::symlink;

        let root = tempfile::tempdir().expect("a folder");
        let (folder, beside) = (root.path().join("lesson"), root.path().join("beside"));
        fs::create_dir_all(folder.join("node-1/images")).expect("made");
        fs::create_dir(&beside).expect("made");
        symlink(&beside, folder.join("interop")).expect("linked");
        symlink("nowhere", folder.join("link")).expect("linked");
        let lock = claim(&folder).expect("locked").expect("free");
        remove(&folder, lock).expect("removed");
        assert!(!folder.exists() && beside.exists());
    }

    /// Root may remove everything, so there is nothing to see.
    #[cfg(unix)]
    #[test]
    fn what_cannot_be_removed_keeps_its_lock_for_the_next_try() {
        use std::os::unix::fs::PermissionsExt;

        if rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let lock = claim(folder.path()).expect("locked").expect("free");
        note_process(folder.path(), u32::MAX, "node-1/log").expect("written");
        let inner = folder.path().join("node-1");
        fs::create_dir(&inner).and_then(|()| File::create(inner.join("log"))).expect("made");
        let allow = |mode| fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).expect("set");
        allow(0o500);
        let error = remove(folder.path(), lock).expect_err("nobody may").to_string();
        assert!(error.contains(&format!("process {}", u32::MAX)), "{error}");
        allow(0o700);
        let lock = left(folder.path()).expect("left over");
        remove(folder.path(), lock).expect("removed");
        assert!(!folder.path().exists());
    }
}
