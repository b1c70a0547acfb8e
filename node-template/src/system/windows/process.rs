//! Other processes, and the limits of this one.

use std::fs::{self, File};
use std::io;
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use tokio::sync::oneshot;
use windows_spawn::{CreationFlags, SpawnOptions};

use crate::system::types::FileLimit;
use crate::system::windows::end_pipe;
use crate::system::windows::lock::is_locked;

/// CREATE_NEW_PROCESS_GROUP of `CreateProcessW`.
const NEW_GROUP: u32 = 0x200;
/// ERROR_PRIVILEGE_NOT_HELD.
const PRIVILEGE_NOT_HELD: i32 = 1314;

/// What stands between two commands of a line: PowerShell 5, which Windows has, knows no `&&`.
pub const THEN: &str = "; ";

/// Whether a folder can be removed while a process has a file open in it: the lock of a node is
/// such a file.
pub const REMOVES_OPEN_FILES: bool = false;

/// Returns whether the process that wrote its id into this lock file still holds the lock.
pub fn is_running(_: u32, lock: &Path) -> bool {
    is_locked(lock).unwrap_or(false)
}

/// Returns whether the process with this id is one of this machine. The file has to be believed.
pub fn runs_here(id: u32, _: &Path) -> bool {
    id != 0
}

/// Returns `None`: the system does not say which process has a file open.
pub fn has_open(_: u32, _: &Path) -> Option<bool> {
    None
}

/// Asks a process of this program to end. One that is gone has ended.
///
/// # Errors
/// The system's: it may not be asked.
pub fn end(id: u32) -> io::Result<()> {
    end_pipe::ask(id)
}

/// Ends a process at once. One that is gone has ended.
///
/// # Errors
/// `taskkill` cannot be started.
pub fn kill(id: u32) -> io::Result<()> {
    taskkill(&["/F"], id)
}

/// Ends a process and all that it started. Those that are gone have ended.
///
/// # Errors
/// `taskkill` cannot be started.
pub fn kill_group(id: u32) -> io::Result<()> {
    taskkill(&["/F", "/T"], id)
}

fn taskkill(options: &[&str], id: u32) -> io::Result<()> {
    // It fails for one that is gone; whether that holds is seen by its lock.
    let mut command = Command::new("taskkill");
    command.args(options).args(["/PID", &id.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(|_| ())
}

/// Returns the command of the system's shell that carries out a line.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd");
    // As it is: cmd has its own rules for quotes, and needs none around the line.
    command.args(["/D", "/C"]).raw_arg(line);
    command
}

/// Returns the command of a program that npm installed, or npm itself: they are batch files.
pub fn script(name: &str) -> Command {
    Command::new(format!("{name}.cmd"))
}

/// Makes a folder appear at another path too. Links need a right that few users have, so it is
/// copied.
///
/// # Errors
/// The system's.
pub fn link_folder(folder: &Path, link: &Path) -> io::Result<()> {
    fs::create_dir(link)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let to = link.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Makes a link to a folder that leads where another one does. A link to a file needs the same
/// right, so the file is copied; one that leads nowhere is left out. So is one to a folder where
/// the user has not that right: a junction, which npm makes, needs none and is read as a link.
///
/// # Errors
/// The system's.
pub fn copy_link(link: &Path, copy: &Path) -> io::Result<()> {
    match fs::metadata(link) {
        Ok(found) if found.is_dir() => match std::os::windows::fs::symlink_dir(fs::read_link(link)?, copy) {
            Err(error) if error.raw_os_error() == Some(PRIVILEGE_NOT_HELD) => Ok(()),
            linked => linked,
        },
        Ok(_) => fs::copy(link, copy).map(drop),
        Err(_) => Ok(()),
    }
}

/// Makes a command run apart from this program's console: Ctrl+C there does not reach it.
pub fn leave_group(command: &mut Command) {
    command.creation_flags(NEW_GROUP);
}

/// Starts a command that outlives this process and writes into a file, and returns its end.
///
/// It inherits the file alone. std's command would pass on each inheritable handle of this process,
/// also pipes that are read to their end by who started this process. It has no console, so it does
/// not end with the window.
///
/// # Errors
/// The system's.
pub fn spawn_detached(
    command: &mut tokio::process::Command,
    output: File,
) -> io::Result<impl Future<Output = io::Result<ExitStatus>> + use<>> {
    let command = command.as_std();
    let mut detached = windows_spawn::Command::new(command.get_program());
    detached.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => detached.env(name, value),
            None => detached.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        detached.current_dir(folder);
    }
    detached.stdin(windows_spawn::Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let options = SpawnOptions::new().creation_flags(CreationFlags::DETACHED_PROCESS);
    let mut child = detached.spawn_with(options)?;
    let (sender, ended) = oneshot::channel();
    // The wait blocks. Nobody may be there any more who hears of the end.
    std::thread::spawn(move || sender.send(child.wait()).is_ok());
    Ok(async { ended.await.map_err(io::Error::other)? })
}

/// Does nothing: no signal ends a process that writes beyond a limit.
pub fn survive_signals() {}

/// Returns that any number of files may be open.
pub fn file_limit() -> FileLimit {
    FileLimit { current: None, maximum: None }
}

/// Does nothing, as there is no limit.
///
/// # Errors
/// None.
pub fn set_file_limit(_: FileLimit) -> io::Result<()> {
    Ok(())
}

/// Renames the file of this program, so that it can be built while it runs: it cannot be
/// replaced, but renamed. Files of earlier runs that have ended are removed.
///
/// # Errors
/// The system's.
pub fn make_way() -> io::Result<()> {
    let program = std::env::current_exe()?;
    let (Some(folder), Some(stem)) = (program.parent(), program.file_stem()) else { return Ok(()) };
    let before = format!("{}-before-", stem.display());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&before) {
            // Of a run that goes on it stays.
            fs::remove_file(entry.path()).unwrap_or_default();
        }
    }
    fs::rename(&program, folder.join(format!("{before}{}.exe", std::process::id())))
}
