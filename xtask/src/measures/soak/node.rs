//! One node of the soak: a folder, a place in the network, and the process that runs there, or does not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::client::Client;
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::Summary;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::measures::soak::world::Seat;
use crate::support::process;

/// The port of every node: each has a host of its own.
pub(crate) const PORT: u16 = 4000;
/// How long a node may take to start, and to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, running or not. Dropping it kills its process.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) seat: Seat,
    binary: Arc<Path>,
    process: Mutex<Option<Child>>,
    /// The process's id while it runs and answers; 0 while it does not, or is being ended.
    pid: AtomicU32,
}

impl Node {
    /// Makes the folder of a node that is not running yet.
    pub(crate) fn make(
        name: String,
        root: &Path,
        seat: Seat,
        binary: Arc<Path>,
        known: &[String],
        settings: &str,
    ) -> Result<Self> {
        let folder = root.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("{} can not be made", folder.display()))?;
        fs::write(folder.join(".env"), format!("PORT={PORT}\n{settings}"))?;
        fs::write(folder.join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(folder.join(meshpool::pool::POOL_FILE), "[]")?;
        Ok(Self { name, folder, seat, binary, process: Mutex::new(None), pid: AtomicU32::new(0) })
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let mut command = process::command(&self.binary, &self.folder)?;
        // A child is in the namespace of the thread that makes it.
        let mut child = self.seat.run(async move { command.spawn() }).await?.context("the node can not be started")?;
        let pid = child.id().context("a process that was not waited for has an id")?;
        let began = Instant::now();
        while self.pool().await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status} as it started; it said: {}", self.name, self.said());
            }
            ensure!(began.elapsed() < PATIENCE, "{} did not start within {PATIENCE:?}", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        *process = Some(child);
        self.pid.store(pid, Ordering::Relaxed);
        Ok(())
    }

    /// Ends it by a signal, and waits for that.
    ///
    /// # Errors
    /// It was not running any more, did not end in time, or not as it should.
    pub(crate) async fn end(&self, signal: Signal) -> Result<()> {
        let mut process = self.process.lock().await;
        let pid = self.pid.swap(0, Ordering::Relaxed);
        let mut child = process.take().with_context(|| format!("{} does not run", self.name))?;
        if let Some(status) = child.try_wait()? {
            bail!("{} had ended by itself with {status}; it said: {}", self.name, self.said());
        }
        let pid = Pid::from_raw(pid.cast_signed()).context("a process has an id")?;
        kill_process(pid, signal)?;
        let status = timeout(PATIENCE, child.wait()).await;
        let status =
            status.with_context(|| format!("{} did not end within {PATIENCE:?} of {signal:?}", self.name))??;
        ensure!(
            signal != Signal::TERM || status.success(),
            "{} was asked to end, and ended with {status}; it said: {}",
            self.name,
            self.said()
        );
        Ok(())
    }

    /// Tells how it ended, if it did so by itself; then it can be started again.
    pub(crate) fn ended_by_itself(&self) -> Result<Option<String>> {
        // Whoever holds the lock is starting or ending it.
        let Ok(mut process) = self.process.try_lock() else { return Ok(None) };
        let Some(child) = process.as_mut() else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.pid.store(0, Ordering::Relaxed);
        *process = None;
        Ok(Some(format!("{} ended by itself with {status}; it said: {}", self.name, self.said())))
    }

    /// The id of its process, while it runs and nobody is ending it.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// What its pool holds.
    pub(crate) async fn pool(&self) -> Result<Summary> {
        let asked = self.seat.run(async {
            let mut client = Client::connect(&at_home()).await?;
            let status = client.status(&[]).await?;
            client.close().await;
            anyhow::Ok(status.pool)
        });
        asked.await?
    }

    /// The last line that it wrote.
    fn said(&self) -> String {
        let log = process::log(&self.folder);
        log.lines().next_back().unwrap_or("nothing").to_owned()
    }

    /// Lines of its log that tell of a fault of the program.
    pub(crate) fn faults(&self) -> Vec<String> {
        let log = process::log(&self.folder);
        let faults = log.lines().filter(|line| line.contains("panicked") || line.contains("ERROR"));
        faults.map(|line| format!("{}: {line}", self.name)).collect()
    }

    /// Its pool's file.
    pub(crate) fn pool_file(&self) -> Result<File> {
        let path = self.folder.join(meshpool::pool::POOL_FILE);
        File::open(&path).with_context(|| format!("{} can not be opened", path.display()))
    }
}

/// Where a node is for those who are in its own namespace. Only they may ask for its STATUS.
pub(crate) fn at_home() -> PeerAddress {
    PeerAddress::new("127.0.0.1", PORT).expect("an IPv4 address is a host")
}
