//! `delete-nodes`: removes all node folders, and what a killed clone or lesson left.
//!
//! It removes only real folders that look like a node's, and follows no symbolic link. While a node
//! runs in any of them it removes nothing, unless forced; it never stops a running node. A node of
//! the exercise takes no lock, so a program that listens on a folder's port counts as its node, and
//! what a killed lesson started counts as that lesson's.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use meshpool::binary::is_taken;
use meshpool::binary::pool::LOCK_FILE;
use meshpool::binary::system::{REMOVES_OPEN_FILES, is_running};

use crate::support::left_lessons::LeftLesson;
use crate::support::terminal::{self, print};
use crate::support::workspace::{Folder, Holder, Lock, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also remove the folders of running nodes, which then run on without them; not on Windows
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folders = workspace.folders()?;
    let (mut running, mut listening) = (Vec::new(), Vec::new());
    for folder in &folders {
        match folder.lock()? {
            Lock::Held(holder) => running.push((folder.name(), holder)),
            Lock::Free => listening.extend(taken_port(folder).map(|port| (folder.name(), port))),
        }
    }
    let lessons = LeftLesson::find(workspace)?;
    for folder in LeftLesson::folders(&lessons)? {
        if let Lock::Held(holder) = folder.lock()? {
            running.push((folder.name(), holder));
        }
    }
    let mut shown: Vec<_> = running.iter().map(|(name, holder)| describe(name, holder.as_ref())).collect();
    for lesson in &lessons {
        let holds = |id| running.iter().any(|(_, holder)| holder.as_ref().is_some_and(|holder| holder.pid == id));
        let others = lesson.running().into_iter().filter(|noted| !holds(noted.id));
        shown.extend(others.map(|noted| format!("process {} of {}", noted.id, lesson.name())));
    }
    let forced = arguments.force && REMOVES_OPEN_FILES;
    if !shown.is_empty() && !forced {
        bail!(
            "nothing was removed, because {} still run{}: {}; stop {} with `cargo xtask down`{}",
            terminal::plural(shown.len(), "node"),
            if shown.len() == 1 { "s" } else { "" },
            shown.join(", "),
            if shown.len() == 1 { "it" } else { "them" },
            if REMOVES_OPEN_FILES { ", or remove all the same with --force" } else { "" },
        );
    }
    if !listening.is_empty() && !arguments.force {
        let ports = listening.iter().map(|(name, port)| format!("port {port} of {name}"));
        bail!(
            "nothing was removed, because a program listens on {}, perhaps a node of the exercise: stop it where it was started (Ctrl+C), or remove all the same with --force",
            ports.collect::<Vec<_>>().join(" and on ")
        );
    }
    let mut removed = 0;
    for folder in &folders {
        remove(folder)?;
        removed += 1;
        let still = if running.iter().any(|(name, _)| *name == folder.name()) {
            "; its node still runs, and cannot store anything"
        } else {
            ""
        };
        print(format!("removed {}{still}", folder.name()))?;
    }
    for leftover in leftovers(workspace)? {
        fs::remove_dir_all(&leftover).with_context(|| format!("{} cannot be removed", leftover.display()))?;
        print(format!("removed {}, left by a clone that did not finish", leftover.display()))?;
    }
    for lesson in lessons {
        let name = lesson.name().to_owned();
        lesson.remove()?;
        print(format!("removed {name}, left by a lesson that was killed"))?;
    }
    match removed {
        0 => print("there is no node folder; `cargo xtask clone-node` makes one")?,
        _ => print(format!("{} removed", terminal::plural(removed, "node folder")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the port of a folder's `.env` if a program listens on it.
fn taken_port(folder: &Folder) -> Option<u16> {
    let port = folder.setting("PORT")?.parse().ok()?;
    (port != 0 && is_taken(port)).then_some(port)
}

fn describe(name: &str, holder: Option<&Holder>) -> String {
    holder.map_or_else(|| name.to_owned(), |holder| format!("{name} ({holder})"))
}

fn remove(folder: &Folder) -> Result<()> {
    fs::remove_dir_all(&folder.path)
        .with_context(|| format!("{} cannot be removed; look at what is left of it", folder.path.display()))
}

/// Finds drafts `node-<N>.new-<pid>`: real folders, whose process has ended.
fn leftovers(workspace: &Workspace) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace.root())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((node, pid)) =
            name.to_str().and_then(|name| name.strip_prefix("node-")).and_then(|name| name.split_once(".new-"))
        else {
            continue;
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits(node)
            && digits(pid)
            && !pid.parse().is_ok_and(|pid| is_running(pid, &entry.path().join(LOCK_FILE)))
            && entry.file_type()?.is_dir()
        {
            found.push(entry.path());
        }
    }
    Ok(found)
}
