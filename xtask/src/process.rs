//! One node as a process that is measured: how long it takes to start, its memory, its CPU time, and what it says to another node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::client::{Client, ClientError};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::Status;
use meshpool::tls::Credentials;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::up::build;
use crate::workspace::Workspace;

/// How long a node may take to start, however large its pool is.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one may take to end: a node gives itself ten seconds.
const END_WITHIN: Duration = Duration::from_secs(60);
/// What it writes goes here, in its folder.
const LOG: &str = "log";

/// What is measured: a release build of the node unless another program is named, and a folder of its own for what it writes, which is not there yet.
pub(crate) fn prepare(workspace: &Workspace, binary: Option<&Path>, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let binary = match binary {
        // The nodes run in folders of their own.
        Some(binary) => fs::canonicalize(binary).with_context(|| format!("{} can not be read", binary.display()))?,
        None => build::node(workspace, true)?,
    };
    let root = workspace.root().join(folder);
    ensure!(!root.exists(), "{} is there already; remove it, or choose another with --folder", root.display());
    Ok((binary, root))
}

/// A running node. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    pub(crate) folder: PathBuf,
    pub(crate) address: PeerAddress,
    /// From the start of the process until it had answered a STATUS.
    pub(crate) started_in: Duration,
    /// What its clients show, in a closed network.
    operator: Option<Credentials>,
}

impl Process {
    /// Starts the node of a folder that holds a pool; `known`: whom it is to dial; `settings`: lines of its `.env`, besides the port, which is any free one.
    pub(crate) async fn start(binary: &Path, folder: &Path, known: &[&PeerAddress], settings: &str) -> Result<Self> {
        Self::start_as(binary, folder, known, settings, None).await
    }

    /// As [`Self::start`], in a closed network; `operator`: what its clients show.
    pub(crate) async fn start_as(
        binary: &Path,
        folder: &Path,
        known: &[&PeerAddress],
        settings: &str,
        operator: Option<Credentials>,
    ) -> Result<Self> {
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        fs::write(folder.join(".env"), format!("PORT=0\n{settings}"))?;
        fs::write(folder.join("known-peers.json"), serde_json::to_string(&known)?)?;
        let log = File::create(folder.join(LOG))?;
        let mut command = Command::new(binary);
        command.env_clear().current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
        let began = Instant::now();
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let mut child = child.with_context(|| format!("{} can not be started", binary.display()))?;
        let pid = child.id().context("a process that was not waited for has an id")?;
        loop {
            if let Some(address) = announced(folder, pid)
                && let Ok(mut client) = connect(&address, operator.as_ref()).await
                && client.status(&[]).await.is_ok()
            {
                let started_in = began.elapsed();
                return Ok(Self { child, pid, folder: folder.to_owned(), address, started_in, operator });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the node in {} ended with {status}; it said: {}", folder.display(), said(folder));
            }
            ensure!(began.elapsed() < PATIENCE, "the node in {} did not start within {PATIENCE:?}", folder.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(connect(&self.address, self.operator.as_ref()).await?)
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        let mut client = self.client().await?;
        let status = client.status(&[]).await?;
        client.close().await;
        Ok(status)
    }

    /// Its resident memory in bytes: now, and the most it ever was.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("{path} can not be read"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let both = field("VmRSS:").zip(field("VmHWM:"));
        both.map(|(now, most)| (now * 1024, most * 1024)).with_context(|| format!("{path} tells no memory"))
    }

    /// The CPU time of the process so far, in user mode and in the kernel, in steps of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read_to_string(&path).with_context(|| format!("{path} can not be read"))?;
        // Fields 14 and 15 of proc(5). Field 2, the program's name, may hold blanks: it ends with the last bracket.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
        let ticks = fields.into_iter().flatten().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        // A tick of this interface is a hundredth of a second, whatever the kernel's own is.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// How many bytes went over the connections between two nodes so far, both ways, as TCP counts them.
    pub(crate) async fn bytes_between(&self, other: &Self) -> Result<u64> {
        let output = Command::new("ss").args(["-tinOHp", "state", "established"]).output().await;
        let output = output.context("ss can not be started; install it (Debian: apt-get install iproute2)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (ours, theirs) = (connections(&text, self.pid), connections(&text, other.pid));
        ensure!(!ours.is_empty() && !theirs.is_empty(), "ss shows no connection of the nodes: {text}");
        let shared = ours.iter().filter(|(ends, _)| theirs.iter().any(|((near, far), _)| *ends == (*far, *near)));
        Ok(shared.map(|(_, bytes)| bytes).sum())
    }

    /// Ends it and waits for that.
    ///
    /// # Errors
    /// One that does not end in time is killed, and that told.
    pub(crate) async fn stop(mut self) -> Result<PathBuf> {
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        let Ok(ended) = tokio::time::timeout(END_WITHIN, self.child.wait()).await else {
            self.child.kill().await?;
            bail!(
                "the node in {} did not end within {END_WITHIN:?} and was killed; it said: {}",
                self.folder.display(),
                said(&self.folder)
            );
        };
        ended?;
        Ok(self.folder.clone())
    }
}

async fn connect(address: &PeerAddress, operator: Option<&Credentials>) -> Result<Client, ClientError> {
    match operator {
        Some(credentials) => Client::connect_as(address, credentials).await,
        None => Client::connect(address).await,
    }
}

/// Where the node of a folder listens, if it is this process.
fn announced(folder: &Path, pid: u32) -> Option<PeerAddress> {
    let text = fs::read_to_string(folder.join(meshpool::pool::LOCK_FILE)).ok()?;
    let (holder, address) = text.split_once('\n')?;
    (holder.parse() == Ok(pid)).then(|| address.trim().parse().ok())?
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join(LOG)).unwrap_or_default()
}

/// The ports of both ends and the bytes of both directions, of each connection of a process that `ss` lists.
fn connections(listed: &str, pid: u32) -> Vec<((u16, u16), u64)> {
    let owner = format!("pid={pid},");
    let connection = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let mut port = || fields.next()?.rsplit_once(':')?.1.parse::<u16>().ok();
        let ends = (port()?, port()?);
        let count = |name: &str| {
            let field = line.split_whitespace().find_map(|field| field.strip_prefix(name));
            field.and_then(|field| field.parse::<u64>().ok()).unwrap_or(0)
        };
        Some((ends, count("bytes_sent:") + count("bytes_received:")))
    };
    listed.lines().filter(|line| line.contains(&owner)).filter_map(connection).collect()
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn what_ss_lists_is_read() {
        let listed = "0 0 [::1]:4001 [::1]:5002 users:((\"p2p-node\",pid=12,fd=9)) cubic bytes_sent:30 bytes_acked:31 bytes_received:12 segs_out:3\n\
                      0 0 127.0.0.1:5002 127.0.0.1:4001 users:((\"p2p-node\",pid=123,fd=9)) cubic bytes_received:30\n";
        assert_eq!(connections(listed, 12), [((4001, 5002), 42)]);
        assert_eq!(connections(listed, 123), [((5002, 4001), 30)]);
    }
}
