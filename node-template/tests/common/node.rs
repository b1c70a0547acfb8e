//! Nodes as processes, each in a temporary folder of its own as the exercise lays it out: `.env`,
//! `known-peers.json`, `transactions.json`.
//!
//! A process ends with the [`Node`] that started it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use super::hostile::masked;
use super::tester::{Socket, Tester};
use super::{Keeper, eventually, within};

/// The address that a node with this port goes by.
pub fn address(port: u16) -> String {
    format!("ws://localhost:{port}")
}

/// A port that nobody listens on. They lie below those that the system gives to outgoing
/// connections, so that no dial takes one away before its node listens on it, and the 4,000 above
/// them stay free for what a node may listen on besides.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        // Test programs that run side by side have ids that are near: they begin far from each
        // other.
        AtomicU16::new((std::process::id().wrapping_mul(2_654_435_761) % 4_000) as u16)
    });
    for _ in 0..4_000 {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000;
        let free = |host| std::net::TcpListener::bind((host, port)).is_ok();
        if free("::") || free("127.0.0.1") {
            return port;
        }
    }
    panic!("no port from 20000 to 23999 is free");
}

/// Whether JavaScript nodes can be run here. Where they must be, in CI, their absence is a failure.
pub fn javascript_is_here() -> bool {
    let node = std::process::Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let here = node && interop().join("node_modules/ws").is_dir();
    if !here {
        let remedy = "install Node.js 20.12 or newer and run `npm ci --prefix interop`";
        assert!(std::env::var_os("CI").is_none(), "no JavaScript nodes: {remedy}");
        eprintln!("skipped, for want of JavaScript nodes: {remedy}");
    }
    here
}

/// The folder of the JavaScript nodes.
pub fn interop() -> PathBuf {
    // Absolute: under Wine the path of the source names no drive, and nodes run on another one.
    std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/../interop")).expect("a path")
}

enum Program {
    Ours,
    JavaScript(Vec<String>),
}

/// A running node.
pub struct Node {
    pub port: u16,
    program: Program,
    folder: TempDir,
    run: Run,
}

/// One run of its process.
struct Run {
    child: Child,
    /// Held open for as long as the process is to live; waiting for the child would close it.
    _stdin: Option<ChildStdin>,
    output: watch::Receiver<Vec<String>>,
}

impl Node {
    /// Starts a node of ours.
    pub fn ours(port: u16, known: &[u16]) -> Self {
        Self::ours_with(port, known, "")
    }

    /// Starts a node of ours; `settings`: more lines of its `.env`.
    pub fn ours_with(port: u16, known: &[u16], settings: &str) -> Self {
        Self::ours_in(TempDir::new().unwrap(), port, known, settings)
    }

    /// [`Self::ours_with`] in an empty folder, which may lie on another disk.
    pub fn ours_in(folder: TempDir, port: u16, known: &[u16], settings: &str) -> Self {
        Self::start_new(Program::Ours, folder, port, known, settings)
    }

    /// Starts a node of the exercise; `flags` are those of `interop/node.mjs`, parted by spaces.
    pub fn javascript(port: u16, known: &[u16], flags: &str) -> Self {
        let program = Program::JavaScript(flags.split_whitespace().map(str::to_owned).collect());
        Self::start_new(program, TempDir::new().unwrap(), port, known, "")
    }

    fn start_new(program: Program, folder: TempDir, port: u16, known: &[u16], settings: &str) -> Self {
        let known: Vec<_> = known.iter().copied().map(address).collect();
        std::fs::write(folder.path().join(".env"), format!("PORT={port}\n{settings}\n")).unwrap();
        std::fs::write(folder.path().join("known-peers.json"), json!(known).to_string()).unwrap();
        std::fs::write(folder.path().join("transactions.json"), "[]").unwrap();
        let run = spawn(&program, folder.path());
        Self { port, program, folder, run }
    }

    /// The process's id; none once it has ended.
    pub fn pid(&self) -> u32 {
        self.run.child.id().expect("the process runs")
    }

    /// How many bytes of memory the process has in use; 0 on systems without /proc.
    pub fn resident_bytes(&self) -> usize {
        if !cfg!(target_os = "linux") {
            return 0;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kibibytes.unwrap().trim().parse::<usize>().unwrap() * 1024
    }

    /// How many files and sockets the process has open; 0 on systems without /proc.
    pub fn descriptors(&self) -> usize {
        if !cfg!(target_os = "linux") {
            return 0;
        }
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// The UDP ports of the process; none on systems without /proc.
    pub fn udp_ports(&self) -> BTreeSet<u16> {
        if !cfg!(target_os = "linux") {
            return BTreeSet::new();
        }
        let process = PathBuf::from(format!("/proc/{}", self.pid()));
        let open = std::fs::read_dir(process.join("fd")).unwrap();
        // One that was closed meanwhile is none.
        let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let open: BTreeSet<_> = open.map(|target| target.to_string_lossy().into_owned()).collect();
        let listed =
            ["net/udp", "net/udp6"].map(|file| std::fs::read_to_string(process.join(file)).unwrap_or_default());
        let port = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, inode) = (fields.get(1)?, fields.get(9)?);
            let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
            open.contains(&format!("socket:[{inode}]")).then_some(port)
        };
        listed.iter().flat_map(|text| text.lines()).filter_map(port).collect()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the process, as `kill -9` does.
    pub async fn kill(&mut self) {
        self.run.child.kill().await.unwrap();
    }

    /// Starts a killed node again, in the same folder.
    pub fn start_again(&mut self) {
        self.run = spawn(&self.program, self.folder.path());
    }

    /// Empties its list of known peers: from its next start on it dials nobody by itself.
    pub fn forget_known_peers(&self) {
        std::fs::write(self.folder.path().join("known-peers.json"), "[]").unwrap();
    }

    /// Where it can be dialled.
    pub fn address(&self) -> String {
        address(self.port)
    }

    /// Fails if the process is gone.
    pub fn assert_alive(&mut self) {
        let end = self.run.child.try_wait().unwrap();
        assert!(end.is_none(), "{} ended with {end:?}; it said:\n{}", self.address(), self.said().join("\n"));
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) {
        within(format!("the end of {}", self.address()), self.run.child.wait()).await.unwrap();
    }

    /// Whether it lives and dials back the sender of a HANDSHAKE, as it should; or ends instead, of
    /// what it was sent before.
    pub async fn responds(&mut self) -> bool {
        let tester = Tester::listen().await;
        let greeted = async {
            // One that ends does so while it is dialled, or while frames are sent to it.
            if let Ok(mut socket) = Socket::dial(self.port).await {
                let hello = json!({ "type": "HANDSHAKE", "data": [tester.address()] });
                socket.write_raw(&masked(0x81, hello.to_string().as_bytes())).await;
                tester.accept().await.handshake().await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = self.run.child.wait() => false,
            () = greeted => true,
        }
    }

    /// What it has put out so far.
    pub fn said(&self) -> Vec<String> {
        self.run.output.borrow().clone()
    }

    /// Waits for a line that begins so, and gives its rest.
    pub async fn line(&self, begin: &str) -> String {
        let mut output = self.run.output.clone();
        let rest = |lines: &Vec<String>| lines.iter().find_map(|line| line.strip_prefix(begin).map(str::to_owned));
        let found = super::timeout(super::PATIENCE, output.wait_for(|lines| rest(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => rest(&lines).unwrap(),
            _ => panic!("{} did not say {begin:?}; it said:\n{}", self.address(), self.said().join("\n")),
        }
    }

    /// The file's transactions; an error where it cannot be read just now.
    pub fn transactions(&self) -> Result<Vec<Value>, String> {
        serde_json::from_str(&self.file()).map_err(|error| format!("unreadable: {error}"))
    }

    /// The text of its `transactions.json`.
    pub fn file(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("transactions.json")).unwrap()
    }

    /// The addresses that it is linked to, as it sees it: ours is asked, the exercise's says it as
    /// it happens.
    pub async fn links(&self) -> Result<BTreeSet<String>, String> {
        if let Program::Ours = self.program {
            let status = self.status().await?;
            return Ok(status["connected"]
                .as_array()
                .unwrap()
                .iter()
                .map(|peer| peer.as_str().unwrap().to_owned())
                .collect());
        }
        let mut links = BTreeSet::new();
        let said = self.said();
        if !said.iter().any(|line| line.starts_with("listening")) {
            return Err("not listening".to_owned());
        }
        for line in said {
            match line.split_once(' ') {
                Some(("connected", peer)) => _ = links.insert(peer.to_owned()),
                Some(("lost", peer)) => _ = links.remove(peer),
                _ => {}
            }
        }
        Ok(links)
    }

    /// Every address that a node of the exercise was told in a HANDSHAKE since it started.
    pub fn told(&self) -> BTreeSet<String> {
        let said = self.said();
        let told = said.iter().filter_map(|line| line.strip_prefix("told "));
        told.flat_map(str::split_whitespace).map(str::to_owned).collect()
    }

    /// What a node of ours answers to STATUS; an error while it does not listen yet.
    pub async fn status(&self) -> Result<Value, String> {
        let mut socket = Socket::dial(self.port).await?;
        socket.send(&json!({ "type": "STATUS", "data": {} })).await;
        Ok(socket.frame().await["data"].clone())
    }

    /// Waits until it is linked to all of these and to nobody else.
    pub async fn linked_to(&self, peers: impl IntoIterator<Item = String>) {
        let expected: BTreeSet<_> = peers.into_iter().collect();
        eventually(format!("the links of {}", self.address()), async || {
            let links = self.links().await?;
            if links == expected {
                Ok(())
            } else {
                Err(format!("{links:?} instead of {expected:?}; it said:\n{}", self.said().join("\n")))
            }
        })
        .await;
    }
}

impl Keeper for Node {
    fn name(&self) -> String {
        self.address()
    }

    fn transactions(&self) -> Result<Vec<Value>, String> {
        Node::transactions(self)
    }
}

/// Waits until each node sees a link to each of the others and to nobody else.
pub async fn full_mesh(nodes: &[Node]) {
    for node in nodes {
        node.linked_to(nodes.iter().map(Node::address).filter(|peer| *peer != node.address())).await;
    }
}

fn spawn(program: &Program, folder: &Path) -> Run {
    let mut command = match program {
        Program::Ours => Command::new(env!("CARGO_BIN_EXE_meshpool")),
        Program::JavaScript(flags) => {
            let mut command = Command::new("node");
            command.arg(interop().join("node.mjs")).args(flags).arg("--until-stdin-ends");
            command
        }
    };
    clear_environment(command.as_std_mut());
    command.current_dir(folder).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (lines, output) = watch::channel(Vec::new());
    let lines = Arc::new(lines);
    tokio::spawn(collect(child.stdout.take().unwrap(), Arc::clone(&lines)));
    tokio::spawn(collect(child.stderr.take().unwrap(), lines));
    Run { _stdin: child.stdin.take(), child, output }
}

/// Leaves a program only what every program needs: an exported PORT would go over its folder's own.
/// Without SystemRoot there are no sockets on Windows.
pub fn clear_environment(command: &mut std::process::Command) {
    command.env_clear();
    for name in ["PATH", "SystemRoot"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
}

/// Collects the lines of an output of a process. Ends, and with its fellows ends the channel, once
/// the process has.
pub async fn collect(stream: impl AsyncRead + Unpin, output: Arc<watch::Sender<Vec<String>>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.send_modify(|said| said.push(line));
    }
}
