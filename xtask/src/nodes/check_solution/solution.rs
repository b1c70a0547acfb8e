//! A running copy of somebody's solution.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::binary::{is_setting, system};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::peer::Peer;
use crate::support::left;
use crate::support::terminal::note;

/// The names of copies begin with it.
const COPY: &str = ".check-solution-";
/// The output of a copy's program, in its folder.
const OUTPUT: &str = ".check-solution-output";
/// Written for each copy: a link among them would lead to the original.
const OWN_FILES: [&str; 3] = [".env", "known-peers.json", "transactions.json"];
/// The longest start: the command may compile the program first.
const START_WITHIN: Duration = Duration::from_secs(300);
/// Linked instead of copied: it is large, and a node does not change it.
const LINKED: &str = "node_modules";
/// Left out: what is large, and what one node alone may have.
const LEFT_OUT: [&str; 5] = ["target", ".git", "images", "node.key", "node.lock"];
/// The settings that each copy has of its own. The key belongs to `node.key`.
const OWN_SETTINGS: [&str; 2] = ["PORT", "MY_PUBLIC_KEY"];
/// How many lines of a solution's output a failure shows.
const LAST_LINES: usize = 3;

/// What is checked: a node's folder, and the command that runs a node in it.
#[derive(Debug, Clone)]
pub(super) struct Template {
    folder: PathBuf,
    command: String,
}

impl Template {
    /// # Errors
    /// There is no such folder, or nothing says how to run what is in it.
    pub(super) fn new(folder: &Path, command: Option<&str>) -> Result<Self> {
        let folder = system::canonical(folder)
            .with_context(|| format!("{} is no folder: name that of a node, such as node-1", folder.display()))?;
        ensure!(folder.is_dir(), "{} is no folder: name that of a node, such as node-1", folder.display());
        let command = match command {
            Some(command) => command.to_owned(),
            None => command_for(&folder)?.to_owned(),
        };
        Ok(Self { folder, command })
    }

    /// Returns where the copies are: beside the original, where `..` and `node_modules` are found
    /// as from there.
    fn parent(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Removes the copies of a check that was killed, and ends what runs in them.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(self.parent()).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if !name.to_string_lossy().starts_with(COPY) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Some(lock) = left::left(&path) else { continue };
            match left::kill_noted(&path).and_then(|_| left::remove(&path, lock)) {
                Ok(()) => note!("removed {}, which a killed check left", path.display()),
                Err(error) => note!("warning: {}, which a killed check left, stays: {error:#}", path.display()),
            }
        }
    }
}

fn command_for(folder: &Path) -> Result<&'static str> {
    let known = [("index.js", "node index.js"), ("index.mjs", "node index.mjs"), ("main.py", "python3 main.py")];
    let command = known.into_iter().find(|(file, _)| folder.join(file).is_file()).map(|(_, command)| command);
    command.with_context(|| {
        format!(
            "nothing in {} says how to run it: add --command, such as --command \"node index.js\"",
            folder.display()
        )
    })
}

/// A copy that runs. Dropping it kills the process and removes the copy.
pub(super) struct Solution {
    template: Template,
    /// Shows others that this check lives. Dropped before the folder, which it would keep.
    _claim: File,
    folder: TempDir,
    child: Child,
    pub(super) port: u16,
    pub(super) address: String,
}

impl Drop for Solution {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Solution {
    /// Starts a copy that knows these peers, and waits until it listens.
    pub(super) async fn start(template: &Template, known: &[String]) -> Result<Self> {
        Self::start_on(template, Peer::free_port()?, known).await
    }

    pub(super) async fn start_on(template: &Template, port: u16, known: &[String]) -> Result<Self> {
        let parent = template.parent();
        let folder = tempfile::Builder::new().prefix(COPY).tempdir_in(parent);
        let folder = folder.with_context(|| format!("{} cannot hold a copy of the node", parent.display()))?;
        let claim = left::claim(folder.path())?;
        let claim = claim.with_context(|| format!("another task took {}: start again", folder.path().display()))?;
        copy(&template.folder, folder.path(), &OWN_FILES)?;
        let env = template.folder.join(".env");
        let env = if env.is_file() { fs::read_to_string(env).unwrap_or_default() } else { String::new() };
        let own = |line: &&str| OWN_SETTINGS.iter().any(|name| is_setting(line, name));
        let others: Vec<&str> = env.lines().filter(|line| !own(line)).collect();
        fs::write(folder.path().join(".env"), format!("PORT={port}\n{}\n", others.join("\n")))?;
        fs::write(folder.path().join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(folder.path().join("transactions.json"), "[]")?;
        let child = spawn(template, folder.path())?;
        let address = format!("ws://localhost:{port}");
        let mut solution = Self { template: template.clone(), _claim: claim, folder, child, port, address };
        solution.listens().await?;
        Ok(solution)
    }

    /// Kills the process, as a crash would, and starts it again in its folder.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child.wait().await?;
        self.child = spawn(&self.template, self.folder.path())?;
        self.listens().await
    }

    async fn listens(&mut self) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(("localhost", self.port)).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("`{}` ended with {status} before it listened{}", self.template.command, self.last_lines());
            }
            ensure!(
                began.elapsed() < START_WITHIN,
                "`{}` does not listen on PORT={} of its .env{}",
                self.template.command,
                self.port,
                self.last_lines()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Returns whether the process still runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns whether the process ends within a time.
    pub(super) async fn ends_within(&mut self, time: Duration) -> bool {
        timeout(time, self.child.wait()).await.is_ok()
    }

    /// The transactions in its file; none if the file is no JSON array, as in the middle of a
    /// write.
    pub(super) fn pool(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("transactions.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The end of what it printed, for a failure.
    pub(super) fn last_lines(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join(OUTPUT)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
        if last.is_empty() { String::new() } else { format!("; it printed: {last}") }
    }

    fn kill(&self) {
        if let Some(id) = self.child.id() {
            // It may have ended by itself.
            system::kill_group(id).unwrap_or_default();
        }
    }
}

fn spawn(template: &Template, folder: &Path) -> Result<Child> {
    let output = File::options().create(true).append(true).open(folder.join(OUTPUT))?;
    let mut command = Command::from(system::shell(&template.command));
    system::leave_group(command.as_std_mut());
    command.current_dir(folder);
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // They would outrank the copy's own .env.
    for name in OWN_SETTINGS {
        command.env_remove(name);
    }
    let child = command.spawn().context("the system's shell cannot be started")?;
    if let Some(id) = child.id() {
        left::note_process(folder, id, OUTPUT)?;
    }
    Ok(child)
}

/// Copies a folder, except for what every copy lacks and for these names. Links are copied as
/// links: one may lead nowhere, as an editor's do, or to the folder itself.
fn copy(from: &Path, to: &Path, without: &[&str]) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let (name, path, kind) = (entry.file_name(), entry.path(), entry.file_type()?);
        if LEFT_OUT.iter().chain(without).any(|left_out| name == *left_out) {
            continue;
        }
        let copied = to.join(&name);
        let uncopied = || format!("{} cannot be copied", path.display());
        if name == LINKED {
            system::link_folder(&path, &copied)?;
        } else if kind.is_symlink() {
            system::copy_link(&path, &copied).with_context(uncopied)?;
        } else if kind.is_dir() {
            fs::create_dir(&copied)?;
            copy(&path, &copied, &[])?;
        } else if kind.is_file() {
            fs::copy(&path, &copied).with_context(uncopied)?;
        }
        // A pipe, a socket or a device is of no use to another process.
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_files_and_links_and_nothing_that_blocks_or_never_ends() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let root = tempfile::tempdir().expect("a folder");
        let (from, to) = (root.path().join("node-1"), root.path().join("copy"));
        let at = |name: &str| from.join(name);
        fs::create_dir_all(at("lib/images")).expect("made");
        fs::create_dir(&to).expect("made");
        for name in ["index.js", "lib/a.js", "lib/transactions.json", "transactions.json", "node.key"] {
            fs::write(at(name), name).expect("written");
        }
        fs::write(root.path().join("shared.js"), "shared").expect("written");
        symlink("somebody@host.7:1", at(".#index.js")).expect("linked");
        symlink("..", at("lib/up")).expect("linked");
        symlink("../shared.js", at("shared.js")).expect("linked");
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
        let _socket = UnixListener::bind(at("socket")).expect("bound");
        copy(&from, &to, &OWN_FILES).expect("copied");
        let names = |folder: &str| {
            let entries = fs::read_dir(to.join(folder)).expect("read").map(|entry| entry.expect("one").file_name());
            let mut names: Vec<String> = entries.filter_map(|name| name.into_string().ok()).collect();
            names.sort();
            names
        };
        assert_eq!(names("."), [".#index.js", "index.js", "lib", "shared.js"]);
        assert_eq!(names("lib"), ["a.js", "transactions.json", "up"]);
        assert_eq!(fs::read_link(to.join("lib/up")).expect("a link"), Path::new(".."));
        assert_eq!(fs::read_to_string(to.join("shared.js")).expect("it leads to the same"), "shared");
    }
}
