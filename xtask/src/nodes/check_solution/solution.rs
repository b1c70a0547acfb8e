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
    folder: TempDir,
    output: tempfile::NamedTempFile,
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
        // Beside the original, where `..` and `node_modules` are found as from there.
        let parent = template.folder.parent().unwrap_or(&template.folder);
        let folder = tempfile::Builder::new().prefix(".check-solution-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("{} cannot hold a copy of the node", parent.display()))?;
        copy(&template.folder, folder.path())?;
        let env = fs::read_to_string(folder.path().join(".env")).unwrap_or_default();
        let own = |line: &&str| OWN_SETTINGS.iter().any(|name| is_setting(line, name));
        let others: Vec<&str> = env.lines().filter(|line| !own(line)).collect();
        fs::write(folder.path().join(".env"), format!("PORT={port}\n{}\n", others.join("\n")))?;
        fs::write(folder.path().join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(folder.path().join("transactions.json"), "[]")?;
        let output = tempfile::NamedTempFile::new()?;
        let child = spawn(template, folder.path(), output.as_file())?;
        let address = format!("ws://localhost:{port}");
        let mut solution = Self { template: template.clone(), folder, output, child, port, address };
        solution.listens().await?;
        Ok(solution)
    }

    /// Kills the process, as a crash would, and starts it again in its folder.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child.wait().await?;
        self.child = spawn(&self.template, self.folder.path(), self.output.as_file())?;
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
        let text = fs::read_to_string(self.output.path()).unwrap_or_default();
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

fn spawn(template: &Template, folder: &Path, output: &File) -> Result<Child> {
    let mut command = Command::from(system::shell(&template.command));
    system::leave_group(command.as_std_mut());
    command.current_dir(folder);
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    // They would outrank the copy's own .env.
    for name in OWN_SETTINGS {
        command.env_remove(name);
    }
    command.spawn().context("the system's shell cannot be started")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if name == LINKED {
            system::link_folder(&path, &to.join(&name))?;
        } else if path.is_dir() {
            fs::create_dir(to.join(&name))?;
            copy(&path, &to.join(&name))?;
        } else {
            fs::copy(&path, to.join(&name)).with_context(|| format!("{} cannot be copied", path.display()))?;
        }
    }
    Ok(())
}
