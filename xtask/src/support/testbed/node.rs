//! A node: its folder, its network namespace, and its process, if it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::Client;
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::Summary;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::support::namespace::Namespace;
use crate::support::process;

/// The port of every node; each has an address of its own.
pub(crate) const PORT: u16 = 4000;
/// The time in which a node must start, or end after a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, running or not. Dropping it kills its process.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) namespace: Namespace,
    binary: Arc<Path>,
    process: Mutex<Option<Child>>,
    /// The process id while the node runs and answers; 0 otherwise, also while it is being ended.
    pid: AtomicU32,
}

impl Node {
    /// Makes the folder of a node.
    pub(crate) fn make(
        name: String,
        root: &Path,
        namespace: Namespace,
        binary: Arc<Path>,
        known: &[String],
        settings: &str,
    ) -> Result<Self> {
        let folder = root.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        fs::write(folder.join(".env"), format!("PORT={PORT}\n{settings}"))?;
        fs::write(folder.join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(folder.join(meshpool::binary::pool::POOL_FILE), "[]")?;
        Ok(Self { name, folder, namespace, binary, process: Mutex::new(None), pid: AtomicU32::new(0) })
    }

    /// Starts the node and waits until it answers.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let mut command = process::command(&self.binary, &self.folder)?;
        // A child process is in the namespace of the thread that spawns it.
        let mut child =
            self.namespace.run(async move { command.spawn() }).await?.context("the node cannot be started")?;
        let pid = child.id().context("a process that was not waited for has an id")?;
        let began = Instant::now();
        while self.pool().await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status} at its start; its last line: {}", self.name, self.last_line());
            }
            ensure!(began.elapsed() < PATIENCE, "{} did not start within {PATIENCE:?}", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        *process = Some(child);
        self.pid.store(pid, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the node by a signal and waits.
    ///
    /// # Errors
    /// The node did not run any more, did not end in time, or ended with a failure.
    pub(crate) async fn end(&self, signal: Signal) -> Result<()> {
        let mut process = self.process.lock().await;
        let pid = self.pid.swap(0, Ordering::Relaxed);
        let mut child = process.take().with_context(|| format!("{} does not run", self.name))?;
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended by itself with {status}; its last line: {}", self.name, self.last_line());
        }
        let pid = Pid::from_raw(pid.cast_signed()).context("a process has an id")?;
        kill_process(pid, signal)?;
        let status = timeout(PATIENCE, child.wait()).await;
        let status =
            status.with_context(|| format!("{} did not end within {PATIENCE:?} of {signal:?}", self.name))??;
        ensure!(
            signal != Signal::TERM || status.success(),
            "{} was asked to end, and ended with {status}; its last line: {}",
            self.name,
            self.last_line()
        );
        Ok(())
    }

    /// Returns how the node ended, if it ended by itself; it can then be started again.
    pub(crate) fn exit_status(&self) -> Result<Option<String>> {
        // Another task that holds the lock is starting or ending the node.
        let Ok(mut process) = self.process.try_lock() else { return Ok(None) };
        let Some(child) = process.as_mut() else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.pid.store(0, Ordering::Relaxed);
        *process = None;
        Ok(Some(format!("{} ended by itself with {status}; its last line: {}", self.name, self.last_line())))
    }

    /// Returns the process id, unless the node is down or being ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Asks for the summary of the node's pool.
    pub(crate) async fn pool(&self) -> Result<Summary> {
        let answer = self.namespace.run(async {
            let mut client = Client::connect(&local_address()).await?;
            let status = client.status(&[]).await?;
            client.close().await;
            anyhow::Ok(status.pool)
        });
        answer.await?
    }

    /// Returns the last line of the log.
    fn last_line(&self) -> String {
        let log = process::log(&self.folder);
        log.lines().next_back().unwrap_or("nothing").to_owned()
    }

    /// Returns the lines of the log that show a fault of the program.
    pub(crate) fn faults(&self) -> Vec<String> {
        let log = process::log(&self.folder);
        let faults = log.lines().filter(|line| line.contains("panicked") || line.contains("ERROR"));
        faults.map(|line| format!("{}: {line}", self.name)).collect()
    }
}

/// Returns a node's address within its namespace. Only from there it answers a STATUS.
pub(crate) fn local_address() -> PeerAddress {
    PeerAddress::new("127.0.0.1", PORT).expect("an IPv4 address is a host")
}
