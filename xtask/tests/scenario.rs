//! What a learner does in the first minutes, with the programs themselves, on every system: make
//! folders, start nodes, add transactions, kill a node, damage its file, stop, and clean up.

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshpool::binary::system;
use serde_json::Value;
use support::{RunningTask, TestWorkspace};

/// Nothing here takes a tenth of it, except on an emulated system.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program of the node, beside that of the tasks.
fn node_program() -> PathBuf {
    let tasks = Path::new(env!("CARGO_BIN_EXE_xtask"));
    // A test that was built for another system runs where there is no cargo.
    if cfg!(unix) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "meshpool"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().expect("cargo").success());
    }
    tasks.with_file_name(format!("meshpool{}", std::env::consts::EXE_SUFFIX))
}

/// Looks again and again until there is an answer.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(begin.elapsed() < PATIENCE, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn pool(workspace: &TestWorkspace, node: u32) -> Vec<Value> {
    let text = fs::read_to_string(workspace.path(&format!("node-{node}/transactions.json"))).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Waits until these nodes hold transactions with these amounts, each once.
#[track_caller]
fn hold(workspace: &TestWorkspace, nodes: &[u32], amounts: &[u64]) {
    for node in nodes {
        eventually(&format!("the pool of node-{node}"), || {
            let mut held: Vec<_> = pool(workspace, *node).iter().filter_map(|held| held["amount"].as_u64()).collect();
            held.sort_unstable();
            if held == amounts { Ok(()) } else { Err(format!("{held:?} instead of {amounts:?}")) }
        });
    }
}

/// Waits until each of so many nodes has links to all others.
#[track_caller]
fn linked(workspace: &TestWorkspace, nodes: usize) {
    eventually("the mesh", || {
        let told = workspace.run(&["status", "--json"]).out;
        let all: Value = serde_json::from_str(&told).map_err(|error| format!("{error}: {told}"))?;
        let links = |node: &Value| node["status"]["connected"].as_array().map_or(0, Vec::len);
        let links: Vec<_> = all["nodes"].as_array().into_iter().flatten().map(links).collect();
        if links == vec![nodes - 1; nodes] { Ok(()) } else { Err(format!("{links:?}")) }
    });
}

/// Opens a file as a program does that shares less than it could: an editor, a scanner.
fn held_open(path: &Path) -> fs::File {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 1 | 2);
    options.open(path).expect("a file")
}

/// Makes node folders with free ports, which all nodes know.
fn make(workspace: &TestWorkspace, nodes: u32, scheme: &str) {
    // All at once, so that they differ.
    let listeners: Vec<_> = (0..2 * nodes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let mut ports: Vec<_> = listeners.iter().map(port).collect();
    drop(listeners);
    let pages = ports.split_off(nodes as usize);
    let urls: Vec<_> = ports.iter().map(|port| format!("\"{scheme}://localhost:{port}\"")).collect();
    for (number, (port, page)) in (1..).zip(ports.into_iter().zip(pages)) {
        let made = workspace.run(&["clone-node"]).done();
        assert!(made.contains(&format!("node-{number}")), "{made}");
        let settings = workspace.path(&format!("node-{number}/.env"));
        let text = fs::read_to_string(&settings).expect("settings");
        let others = text.lines().filter(|line| !line.starts_with("PORT="));
        let own = [format!("PORT={port}"), format!("HTTP_PORT={page}")];
        let lines: Vec<_> = others.map(str::to_owned).chain(own).collect();
        // With line ends as Windows editors write them.
        fs::write(settings, lines.join("\r\n") + "\r\n").expect("written");
        let known = workspace.path(&format!("node-{number}/known-peers.json"));
        fs::write(known, format!("[\r\n  {}\r\n]\r\n", urls.join(",\r\n  "))).expect("written");
    }
}

/// Asks the page of a node.
fn page(workspace: &TestWorkspace, node: u32, path: &str) -> String {
    let text = fs::read_to_string(workspace.path(&format!("node-{node}/node.lock"))).expect("a lock");
    let url = text.lines().nth(2).expect("it has a page");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = TcpStream::connect(host).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    std::io::read_to_string(socket).expect("an answer")
}

/// A program that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(|_| ()).unwrap_or_default();
    }
}

/// Starts the JavaScript node of the exercise in a node's folder; `None` where Node.js or its
/// packages are missing, except in CI.
fn start_javascript(workspace: &TestWorkspace, node: u32) -> Option<Child> {
    let interop = std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/../interop")).expect("a path");
    let folder = workspace.path(&format!("node-{node}"));
    let mut command = Command::new("node");
    command.arg(interop.join("node.mjs")).current_dir(&folder).stdin(Stdio::null());
    command.stdout(fs::File::create(folder.join("out.txt")).expect("a file"));
    let has_packages = interop.join("node_modules/ws").is_dir();
    if has_packages && let Ok(child) = command.spawn() {
        return Some(Child(child));
    }
    let remedy = "install Node.js 20.12 or newer and run `npm ci --prefix interop`";
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("skipped: {remedy}");
    None
}

/// Stops what runs, also when the test fails.
struct Stopped<'a>(&'a TestWorkspace);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.run(&["down", "--kill"]);
    }
}

#[test]
fn the_first_minutes() {
    let program = node_program();
    let program = program.to_str().expect("UTF-8");
    let workspace = TestWorkspace::new();
    let _stopped = Stopped(&workspace);
    make(&workspace, 3, "ws");

    workspace.run(&["up", "3", "--detach", "--binary", program]).done();
    linked(&workspace, 3);
    workspace.run(&["add-transaction", r#"{"amount": 1}"#]).done();
    workspace.run(&["add-transaction", "--node", "2", "from=ann", "to=bob", "amount=2"]).done();
    hold(&workspace, &[1, 2, 3], &[1, 2]);
    let second = &pool(&workspace, 1)[1];
    assert_eq!((&second["from"], &second["to"], &second["amount"]), (&"ann".into(), &"bob".into(), &2.into()));

    assert!(page(&workspace, 1, "/").contains("<title>"));
    assert!(page(&workspace, 2, "/api/status").contains("\"connected\":["));

    // An image of one node, from another one.
    fs::create_dir(workspace.path("node-1/images")).expect("made");
    fs::write(workspace.path("node-1/images/cat.jpg"), "a cat").expect("written");
    workspace.run(&["image", "get", "cat.jpg", "--node", "2", "--output", "got.jpg"]).done();
    assert_eq!(fs::read_to_string(workspace.path("got.jpg")).expect("a file"), "a cat");

    let mut export = Command::new(program);
    export.args(["export", "out.jsonl"]).current_dir(workspace.path("node-1")).stdin(Stdio::null());
    let exported = export.output().expect("started");
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let lines = fs::read_to_string(workspace.path("node-1/out.jsonl")).expect("a file");
    assert_eq!(lines.lines().count(), 2, "{lines}");

    // A second node in a folder, while the first runs on.
    let mut again = Command::new(program);
    let again = again.current_dir(workspace.path("node-1")).stdin(Stdio::null()).output().expect("started");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default();
    assert!(again.status.code() == Some(1) && last.contains("node-1") && last.contains("(pid "), "{said}");

    // Other programs have the files open; one is killed and misses what comes.
    let open = [1, 2, 3].map(|node| held_open(&workspace.path(&format!("node-{node}/transactions.json"))));
    workspace.run(&["down", "--node", "3", "--kill"]).done();
    workspace.run(&["add-transaction", r#"{"amount": 3}"#]).done();
    hold(&workspace, &[1, 2], &[1, 2, 3]);

    // Its file is damaged, as by a crash in the middle of a write.
    let damaged = workspace.path("node-3/transactions.json");
    let text = fs::read_to_string(&damaged).expect("a pool");
    fs::write(&damaged, &text[..text.trim_end().len() - 2]).expect("written");
    let ended = workspace.run(&["up", "3", "--detach", "--binary", program]);
    assert!(ended.code == Some(0), "{ended:?}");
    linked(&workspace, 3);
    hold(&workspace, &[1, 2, 3], &[1, 2, 3]);
    let logs = workspace.run(&["logs", "--node", "3", "--last", "1000"]).done();
    assert!(logs.contains("transactions.json"), "it tells of the repair: {logs}");
    workspace.run(&["network"]).done();

    workspace.run(&["down"]).done();
    workspace.run(&["status"]).failed(&["no node is running"]);

    // Nodes that `up` shows end with it.
    let up = RunningTask::start(workspace.command(&["up", "3", "--binary", program]).env("LOG", "info"));
    linked(&workspace, 3);
    system::end(up.child.id()).expect("asked");
    assert_eq!(up.end(), Some(0));
    for node in 1..=3 {
        assert!(!system::is_locked(&workspace.path(&format!("node-{node}/node.lock"))).expect("a lock"));
    }
    // What another program has open cannot be removed on Windows.
    drop(open);
    workspace.run(&["delete-nodes"]).done();
    assert_eq!(workspace.nodes(), Vec::<String>::new());
}

#[test]
fn the_first_minutes_of_a_closed_network() {
    let program = node_program();
    let program = program.to_str().expect("UTF-8");
    let workspace = TestWorkspace::new();
    let _stopped = Stopped(&workspace);
    workspace.run(&["new-network"]).done();
    make(&workspace, 2, "wss");
    workspace.run(&["up", "2", "--detach", "--binary", program]).done();
    linked(&workspace, 2);
    workspace.run(&["add-transaction", "amount=7"]).done();
    hold(&workspace, &[1, 2], &[7]);
    workspace.run(&["down"]).done();
    workspace.run(&["delete-nodes"]).done();
    assert_eq!(workspace.nodes(), Vec::<String>::new());
}

/// A relay, a node that invites, and one in another workspace that follows the invite.
#[test]
fn an_invite_leads_a_friend_to_the_network() {
    let program = node_program();
    let program = program.to_str().expect("UTF-8");
    let (here, there) = (TestWorkspace::new(), TestWorkspace::new());
    let _stopped = (Stopped(&here), Stopped(&there));
    make(&here, 2, "ws");
    let add = |path: &Path, lines: &str| {
        OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .expect("written");
    };
    let settings = here.path("node-1/.env");
    let text = fs::read_to_string(&settings).expect("settings");
    let port = text.lines().find_map(|line| line.strip_prefix("PORT=")).expect("a port").trim();
    let relay = format!("127.0.0.1:{port}");
    add(&settings, &format!("HOST=127.0.0.1\nADDRESS=ws://{relay}\nRELAY=on\n"));
    add(&here.path("node-2/.env"), &format!("RELAYS={relay}\n"));
    here.run(&["up", "2", "--detach", "--binary", program]).done();
    linked(&here, 2);

    let invited = here.run(&["invite", "--node", "2"]);
    let warning = format!("warning: the relay {relay} is not public, so only nodes of this machine can follow");
    assert!(invited.error.starts_with(&warning), "{invited:?}");
    let out = invited.done();
    let invite = out.strip_suffix('\n').expect("one line");
    assert!(invite.starts_with("iroh:") && invite.ends_with(&format!("@{relay}#p2p-node")), "{invite}");

    fs::write(there.path("known-peers.json"), "[]").expect("written");
    let joined = there.run(&["join", "--no-run", invite]).done();
    assert!(joined.starts_with("made node-1: it joins the network 'p2p-node' through iroh:"), "{joined}");
    assert_eq!(there.nodes(), ["node-1"]);
    let known = fs::read_to_string(there.path("node-1/known-peers.json")).expect("written");
    let address = invite.split('#').next().expect("an address");
    assert_eq!(serde_json::from_str::<Vec<String>>(&known).expect("JSON"), [address]);
    let settings = there.path("node-1/.env");
    let text = fs::read_to_string(&settings).expect("settings").replace("PORT=4001", "PORT=0\nHTTP_PORT=0");
    fs::write(&settings, text).expect("written");
    there.run(&["up", "1", "--detach", "--binary", program]).done();
    eventually("the friend's links", || {
        let told = there.run(&["status", "--json"]).out;
        let all: Value = serde_json::from_str(&told).map_err(|error| format!("{error}: {told}"))?;
        let status = &all["nodes"][0]["status"];
        let paths = status["paths"].as_array().map_or(0, Vec::len);
        if status["connected"].as_array().map_or(0, Vec::len) == 2 && paths > 0 { Ok(()) } else { Err(told) }
    });
    let told = there.run(&["status"]).done();
    assert!(told.contains("links by node id") && told.contains(" ms"), "{told}");
    there.run(&["add-transaction", "amount=9"]).done();
    hold(&here, &[1, 2], &[9]);
    hold(&there, &[1], &[9]);
}

#[test]
fn a_javascript_node_of_the_exercise_joins() {
    let program = node_program();
    let program = program.to_str().expect("UTF-8");
    let workspace = TestWorkspace::new();
    let _stopped = Stopped(&workspace);
    make(&workspace, 3, "ws");
    workspace.run(&["up", "2", "--detach", "--binary", program]).done();
    linked(&workspace, 2);

    let Some(javascript) = start_javascript(&workspace, 3) else { return };
    eventually("its links", || {
        let told = workspace.run(&["network"]).out;
        if told.contains("exercise") { Ok(()) } else { Err(told) }
    });
    workspace.run(&["add-transaction", "--node", "1", "amount=1"]).done();
    hold(&workspace, &[1, 2, 3], &[1]);
    workspace.run(&["add-transaction", "--node", "3", "amount=2"]).done();
    hold(&workspace, &[1, 2, 3], &[1, 2]);

    drop(javascript);
    workspace.run(&["down"]).done();
    workspace.run(&["delete-nodes"]).done();
    assert_eq!(workspace.nodes(), Vec::<String>::new());
}
