//! What the tests share: a workspace in a temporary folder, the tasks as a person calls them, and
//! fake nodes.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool::protocol::id::{NodeId, Session, UpgradeIdentity};
use meshpool::protocol::json::Parser;
use meshpool::protocol::wire::{
    Ack, AckStatus, Member, Members, Message, NetworkFrame, PeerRow, PeerState, Status, StatusFrame, Summary,
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// How long a fake node waits for a client that sends nothing, as a node does.
const CLIENT_SILENCE: Duration = Duration::from_secs(5);

/// How long a test waits before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A workspace in a temporary folder.
pub(crate) struct TestWorkspace {
    root: TempDir,
}

impl TestWorkspace {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("node-template")).expect("made");
        fs::write(root.path().join("node-template/.env"), "# a node's port\nPORT=4001\n# MY_PUBLIC_KEY=\n")
            .expect("written");
        fs::write(root.path().join("known-peers.json"), "[\"ws://localhost:4001\"]").expect("written");
        fs::write(root.path().join("transactions.json"), "[]\n").expect("written");
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Makes a node folder with any free port.
    pub(crate) fn folder(&self, number: u32) -> PathBuf {
        let folder = self.path(&format!("node-{number}"));
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join(".env"), "PORT=0\nMY_PUBLIC_KEY=key\n").expect("written");
        folder
    }

    /// Returns a task that runs in the workspace's root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--root").arg(self.root.path()).args(arguments).current_dir(self.root.path());
        command.env_remove("PORT").env_remove("HTTP_PORT").env_remove("HTTP_HOST").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let (out, error) = (whole(child.stdout.take()), whole(child.stderr.take()));
        let code = child.wait().expect("waited for").code();
        // Nodes that the task leaves behind do not keep its pipes open.
        let [out, error] =
            [out, error].map(|text| text.recv_timeout(PATIENCE).expect("the pipe of an ended task ends"));
        Outcome { code, out, error }
    }

    /// Writes `PORT=0` into every folder: another program may listen on the ports that `clone-node`
    /// writes, and `delete-nodes` would refuse then.
    pub(crate) fn free_ports(&self) {
        for node in self.nodes() {
            fs::write(self.path(&node).join(".env"), "PORT=0\n").expect("written");
        }
    }

    /// Returns the names in the root that begin with "node-", in order, without the template.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).expect("read").map(|entry| entry.expect("read").file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
        names.retain(|name| name.starts_with("node-") && name != "node-template");
        names.sort();
        names
    }
}

/// Reads a pipe to its end.
pub(crate) fn whole(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, text) = channel();
    let pipe = pipe.expect("piped");
    std::thread::spawn(move || sender.send(std::io::read_to_string(pipe).expect("UTF-8")));
    text
}

/// The result of a task.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Outcome {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
    }

    /// Returns the standard output of a task that succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Checks that a task failed with one line that contains these texts.
    #[track_caller]
    pub(crate) fn failed(self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let last = self.error.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && parts.iter().all(|part| last.contains(part)), "{parts:?} in {self:?}");
        assert_eq!(self.error.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{self:?}");
    }
}

/// A running task and its lines.
pub(crate) struct RunningTask {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl RunningTask {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
        let (sender, lines) = channel();
        let source = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || source.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line that contains this text, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) -> String {
        let mut passed = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => passed.push(line),
                Err(end @ (RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
                    panic!("no {part:?} ({end}) after {passed:#?}")
                }
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("sent");
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        self.child.wait().expect("waited for").code()
    }
}

/// How a fake node behaves.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// The number of links that it reports.
    pub(crate) links: usize,
    /// Rejects transactions that contain this text.
    pub(crate) refuses: Option<&'static str>,
    /// Never stores what it is sent.
    pub(crate) forgetful: bool,
    /// Sends no identity: an exercise peer.
    pub(crate) exercise: bool,
}

/// A fake node that accepts clients and records what they send.
pub(crate) struct FakeNode {
    pub(crate) received: Receiver<String>,
    /// Held as long as the node runs.
    _lock: File,
    _runtime: tokio::runtime::Runtime,
}

impl FakeNode {
    pub(crate) fn start(folder: &Path, behaviour: Behaviour) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let lock = lock(folder, &listener);
        let (sender, received) = channel();
        let folder = folder.to_owned();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (folder, behaviour, sender) = (folder.clone(), behaviour.clone(), sender.clone());
                tokio::spawn(async move {
                    serve(stream, &folder, &behaviour, |text| sender.send(text).expect("the test still listens")).await
                });
            }
        });
        Self { received, _lock: lock, _runtime: runtime }
    }
}

/// Listens at the port of a folder's `.env`, and never answers: a node of another program that is
/// suspended or busy.
pub(crate) fn unresponsive(folder: &Path) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    fs::write(folder.join(".env"), format!("PORT={port}\n")).expect("written");
    listener
}

/// Locks the folder and writes the address there, as a node does.
pub(crate) fn lock(folder: &Path, listener: &TcpListener) -> File {
    let lock = meshpool::binary::system::try_lock(&folder.join("node.lock")).expect("free");
    let port = listener.local_addr().expect("bound").port();
    let mut holder = format!("{}\nws://127.0.0.1:{port}\n", std::process::id());
    // A test says where the page is.
    if let Ok(page) = fs::read_to_string(folder.join("page")) {
        holder += &page;
    }
    fs::write(folder.join("node.lock"), holder).expect("written");
    lock
}

/// Answers one client until it closes.
pub(crate) async fn serve(stream: TcpStream, folder: &Path, behaviour: &Behaviour, received: impl Fn(String)) {
    #[expect(clippy::result_large_err, reason = "the library's callback type")]
    let greet = |_: &Request, mut answer: Response| {
        if !behaviour.exercise {
            let identity = UpgradeIdentity { node: NodeId([7; 32]), session: Session::from_random([1; 16]) };
            answer.headers_mut().insert(UpgradeIdentity::HEADER, identity.to_string().parse().expect("a header value"));
        }
        Ok(answer)
    };
    let mut socket = accept_hdr_async(stream, greet).await.expect("an upgrade");
    while let Ok(Some(Ok(frame))) = timeout(CLIENT_SILENCE, socket.next()).await {
        let Frame::Text(text) = frame else { continue };
        let answer = match Message::parse(&mut Parser::new(), &text).expect("a message") {
            Message::Transaction(delivery) => {
                let transaction = delivery.transaction.expect("a transaction");
                received(transaction.body().to_owned());
                let refused = behaviour.refuses.is_some_and(|part| transaction.body().contains(part));
                let status = if refused { AckStatus::Rejected } else { AckStatus::Stored };
                let reason = refused.then(|| "the pool is full".to_owned());
                let ack = Ack { id: transaction.id().to_string(), status, reason, links: behaviour.links };
                delivery.ack.then(|| ack.to_frame())
            }
            Message::Status(StatusFrame::Question { holds }) => {
                assert!(!behaviour.exercise, "a node of the exercise must not be asked");
                let held = if behaviour.forgetful { 0 } else { holds.len() };
                Some(StatusFrame::Answer(Box::new(status(folder, held))).to_frame())
            }
            Message::Broadcast(frame) => {
                assert!(!behaviour.exercise && frame.ack, "a client asks on how many links it went out");
                received(frame.broadcast.message.to_string());
                let id = frame.broadcast.id.to_string();
                Some(Ack { id, status: AckStatus::Sent, reason: None, links: behaviour.links }.to_frame())
            }
            Message::Network(NetworkFrame::Question { after }) => {
                assert!(!behaviour.exercise, "a node of the exercise must not be asked");
                Some(NetworkFrame::Answer(members(after)).to_frame())
            }
            other => panic!("unexpected {other:?}"),
        };
        if let Some(answer) = answer {
            socket.send(Frame::text(answer.as_str())).await.expect("sent");
        }
    }
}

/// Three nodes, in two pages.
fn members(after: Option<NodeId>) -> Members {
    let id = |number: u8| NodeId([number; 32]).to_string();
    let member = |number: u8, peers: &[u8]| Member {
        node: id(number),
        session: String::new(),
        address: Some(format!("ws://localhost:{}", 4_000 + u32::from(number))),
        since: 0,
        peers: peers.iter().map(|peer| id(*peer)).collect(),
        links: 2,
        max_peers: None,
        free: None,
        heard: 1,
        me: number == 1,
    };
    match after {
        None => Members { nodes: vec![member(1, &[2, 3]), member(2, &[1])], more: true },
        Some(after) => {
            assert_eq!(after, NodeId([2; 32]));
            Members { nodes: vec![member(3, &[1])], more: false }
        }
    }
}

fn address(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("node.lock")).ok()?;
    text.lines().nth(1).map(str::to_owned)
}

/// The status of a node that is linked to all others that run.
fn status(folder: &Path, held: usize) -> Status {
    let siblings =
        fs::read_dir(folder.parent().expect("a root")).expect("read").map(|entry| entry.expect("read").path());
    let connected = siblings.filter(|path| path != folder).filter_map(|path| address(&path)).collect();
    Status {
        node: "07".repeat(32),
        address: address(folder).expect("written before the first client"),
        connected,
        peers: vec![PeerRow {
            address: "ws://localhost:9".into(),
            state: PeerState::Declined,
            seconds: Some(30.0),
            known: true,
            cause: None,
        }],
        pool: Summary { count: 5, sum: String::new() },
        writable: true,
        held,
        ..Status::default()
    }
}
