//! A node as a measured process: its start, memory, CPU time and traffic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use measuring::proc::{self, Memory};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::Status;
use meshpool::tls::Credentials;
use meshpool::{Client, ClientError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

pub(crate) use crate::support::node_command::{command, log};

/// The time in which a node must start, however large its pool is.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time in which a node must end; a node gives itself ten seconds.
const END_WITHIN: Duration = Duration::from_secs(60);

/// The port of multicast DNS (RFC 6762).
const MDNS: u16 = 5353;

/// A running node. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    pub(crate) folder: PathBuf,
    pub(crate) address: PeerAddress,
    /// The time from the start of the process to its first answer to a STATUS.
    pub(crate) started_in: Duration,
    /// The credentials of its clients, in a closed network.
    operator: Option<Credentials>,
}

impl Process {
    /// Starts the node of a folder that holds a pool. It dials `known`. `settings` are lines of its
    /// `.env`, besides the port, which is any free one.
    pub(crate) async fn start(binary: &Path, folder: &Path, known: &[&PeerAddress], settings: &str) -> Result<Self> {
        Self::start_as(binary, folder, known, settings, None).await
    }

    /// Starts a node as [`Self::start`] does, in a closed network, with the credentials of its
    /// clients.
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
        let mut command = command(binary, folder)?;
        let began = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", binary.display()))?;
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
                bail!("the node in {} ended with {status}; its log: {}", folder.display(), log(folder));
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

    pub(crate) fn memory(&self) -> Result<Memory> {
        Ok(proc::memory(self.pid)?)
    }

    /// Returns the CPU time of the process so far, in steps of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(proc::cpu_time(self.pid)?)
    }

    /// Returns the bytes on the connections between two nodes so far, both ways, as TCP counts
    /// them.
    pub(crate) async fn bytes_between(&self, other: &Self) -> Result<u64> {
        let text = sockets("-tinOHp", &["state", "established"]).await?;
        let (ours, theirs) = (connections(&text, self.pid), connections(&text, other.pid));
        ensure!(!ours.is_empty() && !theirs.is_empty(), "ss shows no connection of the nodes: {text}");
        let shared = ours.iter().filter(|(ends, _)| theirs.iter().any(|((near, far), _)| *ends == (*far, *near)));
        Ok(shared.map(|(_, bytes)| bytes).sum())
    }

    /// Waits until the process has UDP ports besides that of mDNS, and returns them.
    pub(crate) async fn udp_ports(&self) -> Result<Vec<u16>> {
        let began = Instant::now();
        loop {
            let mut ports = udp_ports(&sockets("-uanHp", &[]).await?, self.pid);
            ports.retain(|port| *port != MDNS);
            if !ports.is_empty() {
                return Ok(ports);
            }
            ensure!(began.elapsed() < PATIENCE, "the node in {} has no UDP port", self.folder.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks the node to end, and waits.
    ///
    /// # Errors
    /// A node that does not end in time is killed.
    pub(crate) async fn stop(mut self) -> Result<PathBuf> {
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        let Ok(ended) = tokio::time::timeout(END_WITHIN, self.child.wait()).await else {
            self.child.kill().await?;
            bail!(
                "the node in {} did not end within {END_WITHIN:?} and was killed; its log: {}",
                self.folder.display(),
                log(&self.folder)
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

/// Returns the address where the node of a folder listens, if this process runs it.
fn announced(folder: &Path, pid: u32) -> Option<PeerAddress> {
    let text = fs::read_to_string(folder.join(meshpool::binary::pool::LOCK_FILE)).ok()?;
    let mut lines = text.lines();
    let (holder, address) = (lines.next()?, lines.next()?);
    (holder.parse() == Ok(pid)).then(|| address.parse().ok())?
}

/// Returns what `ss` lists.
async fn sockets(options: &str, filter: &[&str]) -> Result<String> {
    let output = Command::new("ss").arg(options).args(filter).output().await;
    let output = output.context("ss cannot be started; install it (Debian: apt-get install iproute2)")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the UDP ports of a process that `ss` lists.
fn udp_ports(listed: &str, pid: u32) -> Vec<u16> {
    let owner = format!("pid={pid},");
    let port = |line: &str| line.split_whitespace().nth(3)?.rsplit_once(':')?.1.parse().ok();
    listed.lines().filter(|line| line.contains(&owner)).filter_map(port).collect()
}

/// Returns the connections of a process that `ss` lists: the ports of both ends, and the bytes of
/// both directions.
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
    use super::{connections, udp_ports};

    #[test]
    fn udp_ports_are_those_of_the_process() {
        let listed = "UNCONN 0 0 0.0.0.0:5353 0.0.0.0:* users:((\"meshpool\",pid=12,fd=9))\n\
                      UNCONN 0 0 [::]:41234 [::]:* users:((\"meshpool\",pid=12,fd=10))\n\
                      UNCONN 0 0 0.0.0.0:9 0.0.0.0:* users:((\"meshpool\",pid=123,fd=9))\n";
        assert_eq!(udp_ports(listed, 12), [5353, 41234]);
    }

    #[test]
    fn what_ss_lists_is_read() {
        let listed = "0 0 [::1]:4001 [::1]:5002 users:((\"p2p-node\",pid=12,fd=9)) cubic bytes_sent:30 bytes_acked:31 bytes_received:12 segs_out:3\n\
                      0 0 127.0.0.1:5002 127.0.0.1:4001 users:((\"p2p-node\",pid=123,fd=9)) cubic bytes_received:30\n";
        assert_eq!(connections(listed, 12), [((4001, 5002), 42)]);
        assert_eq!(connections(listed, 123), [((5002, 4001), 30)]);
    }
}
