//! A mesh of one contestant's nodes: processes on loopback, each in a temporary folder like those
//! of the exercise.
//!
//! The processes and their folders end with the [`Mesh`].

mod authority;
pub(crate) mod endpoint;
mod network;
mod node_key;
pub(crate) mod pool;
pub(crate) mod status;

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use measuring::proc;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::contestants::Contestant;
use authority::Authority;
use endpoint::Endpoint;
use network::Network;
use status::{Probe, Status};

/// The interval at which one node's status is requested: the cost for the nodes is negligible.
const INTERVAL: Duration = Duration::from_millis(4);
/// How many requests one node gets before the next. Once one has everything, most others have it
/// too, so the end is seen soon after it came, however many nodes there are.
const REQUESTS: u32 = 25;
/// After so much time without progress what is missing is considered lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The limit of waiting, for a rival that makes little progress.
const LIMIT: Duration = Duration::from_secs(120);
/// The time for a node to end after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// The addresses in each node's `known-peers.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Those of all nodes.
    All,
    /// That of the first node; the others are learned.
    First,
}

/// The result of waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited {
    /// What is missing at all nodes together.
    pub(crate) missing: u64,
    /// When the last progress was seen.
    pub(crate) progressed: Instant,
}

/// Where the repository and the nodes' folders are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The parent of the nodes' folders: on the disk that is measured.
    pub(crate) temporary: PathBuf,
}

/// Running nodes of one contestant.
#[derive(Debug)]
pub(crate) struct Mesh {
    nodes: Vec<Node>,
    /// The relay of a mesh over iroh. Its links go past it, so it is not measured.
    relay: Option<Node>,
    folder: PathBuf,
    started: Instant,
}

#[derive(Debug)]
struct Node {
    endpoint: Endpoint,
    folder: PathBuf,
    child: Child,
    probe: Probe,
}

impl Mesh {
    /// Starts `nodes` nodes at once. With `delays` they record how long deliveries take.
    pub(crate) async fn start(
        paths: &Paths,
        contestant: &Contestant,
        nodes: usize,
        known: Known,
        delays: bool,
    ) -> Result<Self> {
        static MESHES: AtomicU16 = AtomicU16::new(0);
        let number = MESHES.fetch_add(1, Ordering::Relaxed);
        let folder = paths.temporary.join(format!("{}-{number}", std::process::id()));
        let mut mesh = Self { nodes: Vec::with_capacity(nodes), relay: None, folder, started: Instant::now() };
        let network = match contestant.kind {
            kind if kind.is_closed() => Network::Closed(Box::new(Authority::new()?)),
            kind if kind.is_over_iroh() => Network::OverIroh { relay: mesh.start_relay(paths, contestant).await? },
            _ => Network::Open,
        };
        let tls = network.client()?;
        let (mut folders, mut addresses) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
        for port in free_ports(nodes)? {
            let folder = mesh.folder.join(port.to_string());
            let address = network.make_folder(&folder, port);
            addresses.push(address.with_context(|| format!("{} cannot be made", folder.display()))?);
            folders.push((port, folder));
        }
        let known = match known {
            Known::All => &addresses[..],
            Known::First => &addresses[..1],
        };
        for (_, folder) in &folders {
            network::write_known_peers(folder, known)?;
        }
        mesh.started = Instant::now();
        for (port, folder) in folders {
            let endpoint = Endpoint { port, tls: tls.clone() };
            mesh.nodes.push(Node::start(contestant.command(&paths.root, delays), endpoint, folder)?);
        }
        Ok(mesh)
    }

    /// Starts a relay and waits until it answers. Returns its host and port.
    async fn start_relay(&mut self, paths: &Paths, contestant: &Contestant) -> Result<String> {
        let port = free_ports(1)?[0];
        let folder = self.folder.join("relay");
        let at = network::make_relay_folder(&folder, port)?;
        let relay = Node::start(contestant.command(&paths.root, false), Endpoint { port, tls: None }, folder)?;
        let relay = self.relay.insert(relay);
        let deadline = Instant::now() + PATIENCE;
        while relay.probe.request().await.is_err() {
            ensure!(Instant::now() < deadline, "the relay does not answer; its log:\n{}", relay.log());
            sleep(INTERVAL).await;
        }
        Ok(at)
    }

    /// Waits until every node is linked to all others: over iroh on direct paths, or over TCP.
    /// Returns the time since the first process started.
    pub(crate) async fn complete(&mut self) -> Result<Duration> {
        let others = self.nodes.len() - 1;
        let over_iroh = self.relay.is_some();
        let missing = self.wait(|status| (status.links(over_iroh) as u64, others as u64)).await?.missing;
        ensure!(missing == 0, "the mesh did not become complete: {missing} links are missing\n{}", self.logs());
        Ok(self.started.elapsed())
    }

    /// Waits until `amount`, a value and its target, is reached at every node, or no node makes
    /// progress.
    pub(crate) async fn wait(&mut self, amount: impl Fn(&Status) -> (u64, u64)) -> Result<Waited> {
        let started = Instant::now();
        let mut progressed = started;
        let mut waiting: Vec<_> = (0..self.nodes.len()).map(|index| (index, None)).collect();
        while !waiting.is_empty() {
            // In turn, so that a node that lacks something does not hide the progress of others.
            'nodes: for (index, mut last) in std::mem::take(&mut waiting) {
                let node = &mut self.nodes[index];
                for _ in 0..REQUESTS {
                    // It fails for instance while the node does not listen yet. A node that hangs
                    // never answers.
                    let answer = timeout(PATIENCE, node.probe.request()).await;
                    let now = answer.ok().and_then(Result::ok).as_ref().map(&amount);
                    if now.is_some() && now != last {
                        progressed = Instant::now();
                    }
                    if now.is_some_and(|(value, target)| value >= target) {
                        continue 'nodes;
                    }
                    if let Some(end) = node.child.try_wait()? {
                        bail!("a node ended ({end}); its log:\n{}", node.log());
                    }
                    last = now.or(last);
                    sleep(INTERVAL).await;
                    if progressed.elapsed() > PATIENCE {
                        break;
                    }
                }
                waiting.push((index, last));
            }
            if progressed.elapsed() > PATIENCE || started.elapsed() > LIMIT {
                break;
            }
        }
        let mut missing = 0;
        for (index, last) in waiting {
            let Some((value, target)) = last else {
                bail!("a node does not answer; its log:\n{}", self.nodes[index].log());
            };
            missing += target - value;
        }
        Ok(Waited { missing, progressed })
    }

    /// Requests the status of every node.
    pub(crate) async fn statuses(&mut self) -> Result<Vec<Status>> {
        let mut statuses = Vec::with_capacity(self.nodes.len());
        for node in &mut self.nodes {
            // A connection that was idle for long is closed; the second request opens another.
            statuses.push(match node.probe.request().await {
                Ok(status) => status,
                Err(_) => node.probe.request().await?,
            });
        }
        Ok(statuses)
    }

    /// Checks that the nodes are linked as they were when the mesh was complete.
    pub(crate) fn check_links(&self, statuses: &[Status]) -> Result<()> {
        let links = |status: &Status| status.links(self.relay.is_some());
        let short = statuses.iter().find(|status| links(status) + 1 < self.nodes.len());
        ensure!(short.is_none(), "a link ended, or took another path, while it was measured: {short:?}");
        Ok(())
    }

    /// The nodes' endpoints.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.iter().map(|node| node.endpoint.clone()).collect()
    }

    /// The nodes' folders.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().map(|node| node.folder.as_path())
    }

    /// The CPU time of all nodes together since their start.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        Ok(self.nodes.iter().map(|node| proc::cpu_time(node.child.id())).sum::<io::Result<_>>()?)
    }

    /// The same for nodes that have just started, with a better resolution.
    pub(crate) fn starting_cpu_time(&self) -> Result<Duration> {
        Ok(self.nodes.iter().map(|node| proc::cpu_time_of_threads(node.child.id())).sum::<io::Result<_>>()?)
    }

    /// Each node's resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<Vec<u64>> {
        let resident = |node: &Node| Ok(proc::memory(node.child.id())?.resident);
        self.nodes.iter().map(resident).collect()
    }

    /// Sends SIGTERM to every node and waits until all have ended.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            // A node waits for its clients to close too.
            node.probe = Probe::new(node.endpoint.clone());
            kill_process(Pid::from_child(&node.child), Signal::TERM).context("cannot send SIGTERM to a node")?;
        }
        let deadline = Instant::now() + SHUTDOWN;
        for node in &mut self.nodes {
            while node.child.try_wait()?.is_none() {
                ensure!(
                    Instant::now() < deadline,
                    "a node did not end within {} s of SIGTERM; its log:\n{}",
                    SHUTDOWN.as_secs(),
                    node.log()
                );
                sleep(INTERVAL).await;
            }
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let logs = self.nodes.iter().map(Node::log).filter(|log| !log.is_empty());
        logs.take(3).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().chain(&mut self.relay) {
            // It may have ended already.
            node.child.kill().and_then(|()| node.child.wait()).map(drop).unwrap_or_default();
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            measuring::note(format_args!("{} cannot be removed: {error}", self.folder.display()));
        }
    }
}

impl Node {
    fn start(command: Command, endpoint: Endpoint, folder: PathBuf) -> Result<Self> {
        let child = spawn(command, &folder)?;
        Ok(Self { probe: Probe::new(endpoint.clone()), endpoint, folder, child })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn spawn(mut command: Command, folder: &Path) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    command
        // A PORT in the environment would replace that of the folder.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LOG", "warn")
        .current_dir(folder)
        // The rivals end when their standard input does, even if the bench is killed.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().with_context(|| format!("{} cannot be started", command.get_program().display()))
}

/// Finds free ports below those that the system gives to outgoing connections, so that no dial
/// takes one before its node listens.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut ports = Vec::with_capacity(count);
    let offset = (std::process::id() % 4_000) as u16;
    for _ in 0..4_000 {
        let port = 24_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 4_000;
        // Some machines have no IPv6, so only "in use" counts.
        let in_use = ["127.0.0.1", "::1", "::"]
            .iter()
            .any(|host| TcpListener::bind((*host, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse));
        if !in_use {
            ports.push(port);
        }
        if ports.len() == count {
            return Ok(ports);
        }
    }
    bail!("there are no {count} free ports from 24000 to 27999")
}
