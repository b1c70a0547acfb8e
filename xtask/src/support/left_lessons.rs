//! What lessons that were killed left in `target`: their folders, and nodes that still run there.

use std::fs::{self, File};

use anyhow::{Result, bail};

use crate::support::end_node::{Outcome, end_node};
use crate::support::left::{self, Noted};
use crate::support::terminal::{note, plural};
use crate::support::workspace::{Folder, Workspace};

/// The folder that has those of the lessons, in the workspace.
pub(crate) const TARGET: &str = "target";
/// The name of a lesson's folder; another lesson at the same time has a number behind it.
pub(crate) const LESSON: &str = "lesson";

/// The folder of a lesson that was killed, which this holds locked.
pub(crate) struct LeftLesson {
    workspace: Workspace,
    lock: File,
}

impl LeftLesson {
    /// Finds them in a workspace.
    pub(crate) fn find(workspace: &Workspace) -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(workspace.root().join(TARGET)) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|name| is_lessons(name)) else { continue };
            if entry.file_type()?.is_dir()
                && let Some(lock) = left::left(&entry.path())
            {
                found.push(Self { workspace: Workspace::within(entry.path(), &format!("{TARGET}/{file}")), lock });
            }
        }
        Ok(found)
    }

    /// Returns its name for people.
    pub(crate) fn name(&self) -> &str {
        self.workspace.name()
    }

    /// Returns the node folders of these lessons.
    pub(crate) fn folders(lessons: &[Self]) -> Result<Vec<Folder>> {
        let mut folders = Vec::new();
        for lesson in lessons {
            folders.extend(lesson.workspace.folders()?);
        }
        Ok(folders)
    }

    /// Returns the processes that it started and that run, also nodes that take no lock, those of
    /// the exercise.
    pub(crate) fn running(&self) -> Vec<Noted> {
        left::running(self.workspace.root())
    }

    /// Kills the processes that it started. Returns how many ran, without those that have already
    /// been `stopped`: a node releases its lock a moment before its process is gone.
    ///
    /// # Errors
    /// One runs on, or may do so.
    pub(crate) fn kill(&self, stopped: &[u32]) -> Result<usize> {
        let killed = left::kill_noted(self.workspace.root())?;
        Ok(killed.iter().filter(|id| !stopped.contains(id)).count())
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        left::remove(self.workspace.root(), self.lock)
    }
}

/// Ends and removes what killed lessons left, so that a new one has their ports. What cannot be
/// removed stays, with a warning: the new lesson has a folder of its own.
pub(crate) async fn clear(workspace: &Workspace) -> Result<()> {
    for left in LeftLesson::find(workspace)? {
        let name = left.name().to_owned();
        match end(left).await {
            Ok(0) => note!("removed {name}, which a killed lesson left"),
            Ok(ended) => {
                note!("removed {name}, which a killed lesson left, and stopped {} of it", plural(ended, "node"));
            }
            Err(error) => note!("warning: {name}, which a killed lesson left, stays: {error:#}"),
        }
    }
    Ok(())
}

async fn end(left: LeftLesson) -> Result<usize> {
    let mut stopped = Vec::new();
    for folder in left.workspace.folders()? {
        match end_node(&folder, false).await? {
            Outcome::Down => {}
            Outcome::Ended(holder) | Outcome::Killed(holder) => stopped.push(holder.pid),
            Outcome::Left(why) => bail!("{} {why}", folder.name()),
        }
    }
    let killed = left.kill(&stopped)?;
    left.remove()?;
    Ok(stopped.len() + killed)
}

/// Returns whether a folder has the name of a lesson's: `lesson` or `lesson-<number>`.
fn is_lessons(name: &str) -> bool {
    match name.strip_prefix(LESSON) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok()),
        None => false,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_is_about_to_end_is_not_counted_again() {
        let root = tempfile::tempdir().expect("a folder");
        let lock = left::claim(root.path()).expect("locked").expect("free");
        let start = |name| {
            let output = File::create(root.path().join(name)).expect("made");
            let mut command = Command::new("sleep");
            meshpool::binary::system::leave_group(command.arg("600").stdout(output).stderr(Stdio::null()));
            let child = command.spawn().expect("started");
            left::note_process(root.path(), child.id(), name).expect("written");
            child
        };
        let (mut native, mut exercise) = (start("native"), start("exercise"));
        let lesson = LeftLesson { workspace: Workspace::within(root.path().to_owned(), "target/lesson"), lock };
        assert_eq!(lesson.kill(&[native.id()]).expect("killed"), 1);
        for child in [&mut native, &mut exercise] {
            assert!(!child.wait().expect("waited for").success(), "it is killed too");
        }
    }
}
