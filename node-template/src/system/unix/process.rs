//! Other processes, and the limits of this one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, setrlimit, test_kill_process,
};

use crate::system::types::FileLimit;

/// What stands between two commands of a line, of which the second needs the first.
pub const THEN: &str = " && ";

/// Whether a folder can be removed while a process has a file open in it.
pub const REMOVES_OPEN_FILES: bool = true;

fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Returns whether a process with this id exists. `_lock` is the file that it locks.
pub fn is_running(id: u32, _lock: &Path) -> bool {
    // Another user's process exists too, though we may not signal it.
    pid(id).is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

/// Returns whether the process with this id is one of this machine that has the file open. In a
/// container it has another id, and another process may have that number here.
pub fn runs_here(id: u32, file: &Path) -> bool {
    // Where the system does not say it, the file has to be believed.
    has_open(id, file).unwrap_or(pid(id).is_some())
}

/// Returns whether the process with this id has the file open; `None` if the system does not say.
pub fn has_open(id: u32, file: &Path) -> Option<bool> {
    if !Path::new("/proc/self/fd").exists() {
        return None;
    }
    let open = Path::new("/proc").join(id.to_string()).join("fd");
    let (Ok(file), Ok(open)) = (fs::metadata(file), fs::read_dir(open)) else { return Some(false) };
    let mut open = open.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
    Some(open.any(|other| (other.dev(), other.ino()) == (file.dev(), file.ino())))
}

/// Asks a process to end. One that is gone has ended.
///
/// # Errors
/// The system's: it may not be asked.
pub fn end(id: u32) -> io::Result<()> {
    signal(id, Signal::TERM)
}

/// Ends a process at once. One that is gone has ended.
///
/// # Errors
/// The system's: it may not be ended.
pub fn kill(id: u32) -> io::Result<()> {
    signal(id, Signal::KILL)
}

fn signal(id: u32, signal: Signal) -> io::Result<()> {
    match pid(id).map(|pid| kill_process(pid, signal)) {
        None | Some(Ok(()) | Err(Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Ends a process that left this program's group, and all that it started. Those that are gone
/// have ended.
///
/// # Errors
/// The system's: they may not be ended.
pub fn kill_group(id: u32) -> io::Result<()> {
    match pid(id).map(|pid| kill_process_group(pid, Signal::KILL)) {
        None | Some(Ok(()) | Err(Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Returns the command of the system's shell that carries out a line.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// Returns the command of a program that npm installed, or npm itself.
pub fn script(name: &str) -> Command {
    Command::new(name)
}

/// Makes a folder appear at another path too.
///
/// # Errors
/// The system's.
pub fn link_folder(folder: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(folder, link)
}

/// Makes a link that leads where another one does, also if that is nowhere.
///
/// # Errors
/// The system's.
pub fn copy_link(link: &Path, copy: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(fs::read_link(link)?, copy)
}

/// Makes a command run apart from this program's terminal: Ctrl+C there does not reach it.
pub fn leave_group(command: &mut Command) {
    command.process_group(0);
}

/// Starts a command that outlives this process and writes into a file, and returns its end.
///
/// # Errors
/// The system's.
pub fn spawn_detached(
    command: &mut tokio::process::Command,
    output: File,
) -> io::Result<impl Future<Output = io::Result<ExitStatus>> + use<>> {
    leave_group(command.as_std_mut());
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn()?;
    Ok(async move { child.wait().await })
}

/// Returns how many files this process may have open.
pub fn file_limit() -> FileLimit {
    let limit = getrlimit(Resource::Nofile);
    FileLimit { current: limit.current, maximum: limit.maximum }
}

/// Sets how many files this process may have open.
///
/// # Errors
/// The system's.
pub fn set_file_limit(limit: FileLimit) -> io::Result<()> {
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.current, maximum: limit.maximum })?)
}

/// Returns whether the terminal shows colours: here each does.
pub fn allow_colour() -> bool {
    true
}

/// Does nothing: the file of a running program can be replaced.
///
/// # Errors
/// None.
pub fn make_way() -> io::Result<()> {
    Ok(())
}
