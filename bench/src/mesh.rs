//! A mesh of one contestant's nodes: processes on loopback, each in a temporary folder as the
//! exercise lays it out.
//!
//! The processes and their folders end with the [`Mesh`].

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::authority::Authority;
use crate::contestant::Contestant;
use crate::door::Door;
use crate::process;
use crate::status::{Probe, Status};

/// How often a node is asked how far it is. One is asked at a time, so that the asking costs the
/// nodes nothing to speak of.
const ASK: Duration = Duration::from_millis(4);
/// How often one is asked before the next. Once it has all, most others have: so the end is seen
/// soon after it came, however many nodes there are.
const ASKS: u32 = 25;
/// How long nothing may change at any node before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited in all, for a rival that creeps.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a node has to end after it was told to.
const GOODBYE: Duration = Duration::from_secs(20);

/// Which addresses stand in each node's `known-peers.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Every node's.
    All,
    /// The first node's alone: the others are learned.
    First,
}

/// What became of waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited {
    /// How much is missing, all nodes together.
    pub(crate) missing: u64,
    /// When the last of what is there was seen to be there.
    pub(crate) moved: Instant,
}

/// Running nodes of one contestant.
#[derive(Debug)]
pub(crate) struct Mesh {
    nodes: Vec<Node>,
    folder: PathBuf,
    started: Instant,
}

#[derive(Debug)]
struct Node {
    door: Door,
    folder: PathBuf,
    child: Child,
    probe: Probe,
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The folder in which the nodes' folders are made: on the disk that is measured.
    pub(crate) temporary: PathBuf,
}

impl Mesh {
    /// Starts `nodes` nodes at once. With `delays` they note how long deliveries take.
    pub(crate) fn start(
        places: &Places,
        contestant: &Contestant,
        nodes: usize,
        known: Known,
        delays: bool,
    ) -> Result<Self> {
        static MESHES: AtomicU16 = AtomicU16::new(0);
        let number = MESHES.fetch_add(1, Ordering::Relaxed);
        let folder = places.temporary.join(format!("{}-{number}", std::process::id()));
        let ports = free_ports(nodes)?;
        let authority = contestant.is_closed().then(Authority::new).transpose()?;
        let tls = authority.as_ref().map(Authority::client).transpose()?;
        for port in &ports {
            let known = match known {
                Known::All => &ports[..],
                Known::First => &ports[..1],
            };
            lay_out(&folder.join(port.to_string()), *port, known, authority.as_ref())
                .with_context(|| format!("{} can not be made", folder.display()))?;
        }
        let mut mesh = Self { nodes: Vec::with_capacity(nodes), folder, started: Instant::now() };
        for port in ports {
            let folder = mesh.folder.join(port.to_string());
            let child = spawn(contestant.command(&places.root, delays), &folder)?;
            let door = Door { port, tls: tls.clone() };
            mesh.nodes.push(Node { probe: Probe::new(door.clone()), door, folder, child });
        }
        Ok(mesh)
    }

    /// Waits until every node is linked to all others; the time since the first process was
    /// started.
    pub(crate) async fn complete(&mut self) -> Result<Duration> {
        let others = self.nodes.len() - 1;
        let shortage = self.wait(|status| (status.connected as u64, others as u64)).await?.missing;
        ensure!(shortage == 0, "the mesh did not become complete: a node lacks {shortage} links\n{}", self.said());
        Ok(self.started.elapsed())
    }

    /// Waits until `amount` is, at every node, what it should be. Gives up once nothing changes at
    /// any node any more.
    pub(crate) async fn wait(&mut self, amount: impl Fn(&Status) -> (u64, u64)) -> Result<Waited> {
        let began = Instant::now();
        let mut moved = began;
        let mut waiting: Vec<_> = (0..self.nodes.len()).map(|index| (index, None)).collect();
        while !waiting.is_empty() {
            // In turn, so that one who lacks something does not hide that others still move.
            'nodes: for (index, mut last) in std::mem::take(&mut waiting) {
                let node = &mut self.nodes[index];
                for _ in 0..ASKS {
                    // Refused while it is not listening yet, for instance; and a node that hangs
                    // never answers.
                    let answer = timeout(PATIENCE, node.probe.ask()).await;
                    let now = answer.ok().and_then(Result::ok).as_ref().map(&amount);
                    if now.is_some() && now != last {
                        moved = Instant::now();
                    }
                    if now.is_some_and(|(is, due)| is >= due) {
                        continue 'nodes;
                    }
                    if let Some(end) = node.child.try_wait()? {
                        bail!("a node ended ({end}); it said:\n{}", node.said());
                    }
                    last = now.or(last);
                    sleep(ASK).await;
                    if moved.elapsed() > PATIENCE {
                        break;
                    }
                }
                waiting.push((index, last));
            }
            if moved.elapsed() > PATIENCE || began.elapsed() > LIMIT {
                break;
            }
        }
        let mut missing = 0;
        for (index, last) in waiting {
            let Some((is, due)) = last else {
                bail!("a node does not answer; it said:\n{}", self.nodes[index].said());
            };
            missing += due - is;
        }
        Ok(Waited { missing, moved })
    }

    /// Every node's status.
    pub(crate) async fn statuses(&mut self) -> Result<Vec<Status>> {
        let mut statuses = Vec::with_capacity(self.nodes.len());
        for node in &mut self.nodes {
            // A connection that was silent for long is closed: then the second question opens
            // another.
            statuses.push(match node.probe.ask().await {
                Ok(status) => status,
                Err(_) => node.probe.ask().await?,
            });
        }
        Ok(statuses)
    }

    /// The nodes' ports.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.door.port).collect()
    }

    /// The ways into the nodes.
    pub(crate) fn doors(&self) -> Vec<Door> {
        self.nodes.iter().map(|node| node.door.clone()).collect()
    }

    /// The nodes' folders.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().map(|node| node.folder.as_path())
    }

    /// The CPU time of all nodes together since their start.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.nodes.iter().map(|node| process::cpu_time(node.child.id())).sum()
    }

    /// The same of nodes that have just started, finer.
    pub(crate) fn starting_cpu_time(&self) -> Result<Duration> {
        self.nodes.iter().map(|node| process::cpu_time_of_threads(node.child.id())).sum()
    }

    /// Each node's resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<Vec<u64>> {
        self.nodes.iter().map(|node| process::resident(node.child.id())).collect()
    }

    /// Tells every node to end, as a person would, and waits until all have.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            // A node waits for whoever is linked to it to say goodbye too.
            node.probe = Probe::new(node.door.clone());
            let pid = Pid::from_child(&node.child);
            kill_process(pid, Signal::TERM).context("a node could not be told to end")?;
        }
        let deadline = Instant::now() + GOODBYE;
        for node in &mut self.nodes {
            while node.child.try_wait()?.is_none() {
                ensure!(
                    Instant::now() < deadline,
                    "a node did not end within {} s of SIGTERM; it said:\n{}",
                    GOODBYE.as_secs(),
                    node.said()
                );
                sleep(ASK).await;
            }
        }
        Ok(())
    }

    fn said(&self) -> String {
        let said = self.nodes.iter().map(Node::said).filter(|said| !said.is_empty());
        said.take(3).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended already, which is what is wanted.
            node.child.kill().and_then(|()| node.child.wait()).map(drop).unwrap_or_default();
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} could not be removed: {error}", self.folder.display());
        }
    }
}

impl Node {
    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// Lays out a node's folder; with an authority the node is of a closed network.
fn lay_out(folder: &Path, port: u16, known: &[u16], authority: Option<&Authority>) -> Result<()> {
    fs::create_dir_all(folder)?;
    let (scheme, closed) = if authority.is_some() { ("wss", "NETWORK_CA=ca.pem\n") } else { ("ws", "") };
    authority.map_or(Ok(()), |authority| authority.admit(folder))?;
    let known: Vec<_> = known.iter().map(|port| format!("{scheme}://localhost:{port}")).collect();
    fs::write(folder.join(".env"), format!("PORT={port}\n{closed}"))?;
    fs::write(folder.join("known-peers.json"), serde_json::to_vec(&known)?)?;
    fs::write(folder.join("transactions.json"), "[]")?;
    Ok(())
}

fn spawn(mut command: Command, folder: &Path) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    // An exported PORT would go over the folder's own.
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LOG", "warn")
        .current_dir(folder)
        // The rivals end when it does, even if we are killed.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().with_context(|| format!("{} can not be started", command.get_program().display()))
}

/// Ports that nobody listens on, below those that the system gives to outgoing connections: no dial
/// takes one away before its node listens on it.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut ports = Vec::with_capacity(count);
    let offset = (std::process::id() % 4_000) as u16;
    for _ in 0..4_000 {
        let port = 24_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 4_000;
        // Some machines have no IPv6; where one of the two is taken, the port is.
        let taken = ["127.0.0.1", "::1", "::"].iter().any(|host| {
            TcpListener::bind((*host, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        });
        if !taken {
            ports.push(port);
        }
        if ports.len() == count {
            return Ok(ports);
        }
    }
    bail!("there are no {count} free ports from 24000 to 27999")
}
