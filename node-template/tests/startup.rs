//! How the binary starts, refuses to start, and ends: bad input is one line with the remedy, and
//! leaves everything as it was.

#![cfg(unix)]
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use common::mount::{Mount, Protected};
use common::node::{Node, collect, free_port};
use common::tester::{Socket, Tester};
use common::{eventually, exactly, submit, transaction, within};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// A node's folder, called node-2, with a `.env` of this text, no known peers and an empty pool.
struct Folder(TempDir);

impl Folder {
    fn new(env: &str) -> Self {
        Self::on(TempDir::new().unwrap(), env)
    }

    fn on(parent: TempDir, env: &str) -> Self {
        let folder = Self(parent);
        std::fs::create_dir(folder.path()).unwrap();
        for (file, text) in [(".env", env), ("known-peers.json", "[]"), ("transactions.json", "[]")] {
            folder.write(file, text);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("node-2")
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(file), text).unwrap();
    }

    /// Every file and what it holds; of a folder, nothing.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap());
        let held = |path: &Path| std::fs::read(path).unwrap_or_default();
        entries.map(|entry| (entry.file_name().into_string().unwrap(), held(&entry.path()))).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshpool"));
        command.env_clear().current_dir(self.path()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Starts a node that ends by itself: its exit code and its lines on stderr, where the path of
    /// the temporary folder is left out.
    async fn refused(&self, set_up: impl FnOnce(&mut Command)) -> (i32, Vec<String>) {
        let mut command = self.command();
        set_up(&mut command);
        let Output { status, stdout, stderr } = within("the node's end", command.output()).await.unwrap();
        assert!(stdout.is_empty(), "results go to stdout, errors do not: {}", String::from_utf8_lossy(&stdout));
        let parent = format!("{}/", self.0.path().canonicalize().unwrap().display());
        let lines = String::from_utf8(stderr).unwrap().replace(&parent, "");
        (status.code().unwrap(), lines.lines().map(str::to_owned).collect())
    }

    /// Fails unless a node refuses to start with exactly this line and code, and leaves the folder
    /// and the port as they were.
    async fn refuses(&self, set_up: impl FnOnce(&mut Command), code: i32, line: &str) {
        let before = self.files();
        assert_eq!(self.refused(set_up).await, (code, vec![line.to_owned()]));
        let after = self.files();
        for (file, text) in &before {
            assert_eq!(after.get(file), Some(text), "{file} was changed by a node that said: {line}");
        }
        // What a first start makes may be there by then; it is what the next start makes, too.
        let new: Vec<_> = after.keys().filter(|file| !before.contains_key(*file)).collect();
        assert!(new.iter().all(|file| ["node.key", "node.lock"].contains(&file.as_str())), "{line} left {new:?}");
    }
}

fn as_it_is(_: &mut Command) {}

/// A node that started.
struct Started {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Started {
    /// Starts a node, and waits until it listens.
    async fn new(folder: &Folder, set_up: impl FnOnce(&mut Command)) -> Self {
        let mut command = folder.command();
        set_up(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, mut lines) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stderr.take().unwrap(), Arc::new(sender)));
        let listens = |lines: &Vec<String>| lines.iter().any(|line| line.contains("listening on "));
        let listening = within("listening", lines.wait_for(listens)).await.is_ok();
        assert!(listening, "it ended instead: {:#?}", lines.borrow());
        Self { child, lines }
    }

    fn said(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The port that it listens on.
    fn port(&self) -> u16 {
        let said = self.said();
        let line = said.iter().find_map(|line| line.split("listening on ").nth(1)).unwrap();
        line.split(' ').next().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
    }

    /// Waits for the end of the process, and for all that it has to say; gives the exit code, if it
    /// was not killed.
    async fn ended(&mut self) -> Option<i32> {
        let status = within("the node's end", self.child.wait()).await.unwrap();
        while within("its last words", self.lines.changed()).await.is_ok() {}
        status.code()
    }
}

#[tokio::test]
async fn the_version_names_the_build() {
    let output = Folder::new("").command().arg("--version").output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("meshpool {}\n", meshpool::version()));
    // This repository has commits.
    let commit = std::process::Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output();
    if let Ok(commit) = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        && std::env::var_os("MESHPOOL_COMMIT").is_none()
    {
        assert!(meshpool::version().contains(&commit), "{} {commit}", meshpool::version());
    }
}

#[tokio::test]
async fn a_port_that_is_none_is_refused() {
    let remedy = "write PORT=4001 into it, or make a folder with 'cargo xtask clone-node' or 'meshpool init' and start the node in it";
    let wanted = "a port is a number from 0 to 65535";
    for (env, line) in [
        ("", format!("error: PORT is not set: node-2/.env has no PORT; {remedy}")),
        ("PROT=4001", format!("error: PORT is not set: node-2/.env has PROT in line 1, but no PORT; {remedy}")),
        ("PORT=70000", format!("error: PORT is 70000 (node-2/.env, line 1): {wanted}; change it there")),
        ("PORT=abc", format!("error: PORT is abc (node-2/.env, line 1): {wanted}; change it there")),
        ("# here\r\nPORT='-1'\r\n", format!("error: PORT is -1 (node-2/.env, line 2): {wanted}; change it there")),
        ("PORT=", format!("error: PORT is empty (node-2/.env, line 1): {wanted}; change it there")),
    ] {
        let folder = Folder::new(env);
        folder.refuses(as_it_is, 1, &line).await;
        assert_eq!(folder.files().len(), 3, "nothing is made before the settings are good");
    }
    let folder = Folder::new("PORT=4001");
    std::fs::remove_file(folder.path().join(".env")).unwrap();
    let line = format!("error: PORT is not set: there is no node-2/.env; {remedy}");
    folder.refuses(as_it_is, 1, &line).await;
    let folder = Folder::new("PORT=4001");
    let line = format!(
        "error: PORT is 70000 (from the environment, which overrides node-2/.env): {wanted}; run 'unset PORT' or change it"
    );
    folder.refuses(|command| _ = command.env("PORT", "70000"), 1, &line).await;
    let line = format!("error: PORT is abc (from --port): {wanted}; give --port another value");
    folder.refuses(|command| _ = command.args(["--port", "abc"]), 2, &line).await;
    let (code, lines) = folder.refused(|command| _ = command.arg("--prot=4001")).await;
    assert_eq!((code, lines[0].as_str()), (2, "error: unexpected argument '--prot' found"));
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named_and_left_alone() {
    let array = "write an array such as [\"ws://localhost:4001\"]";
    let sound = "the file is left as it is: correct it, or move it away to start with an empty pool";
    for (file, text, line) in [
        (
            ".env",
            "PORT 4001",
            "error: node-2/.env, line 1: this is not NAME=value; correct it (put a value with spaces, quotes or backslashes \
             in single quotes), or put # before it"
                .to_owned(),
        ),
        ("known-peers.json", "", format!("error: node-2/known-peers.json, line 1, column 1: the file is empty; {array}")),
        ("known-peers.json", "{}", format!("error: node-2/known-peers.json, line 1, column 1: this is an object; {array}")),
        ("transactions.json", "{}", format!("error: node-2/transactions.json:1:1: the file is not a JSON array of transactions; {sound}")),
        ("transactions.json", "my notes", format!("error: node-2/transactions.json:1:1: the file is not a JSON array of transactions; {sound}")),
        (
            "transactions.json",
            "[\n  {},\n  7\n]",
            format!("error: node-2/transactions.json:3:3: this is a number, but a transaction is a JSON object; {sound}"),
        ),
    ] {
        let folder = Folder::new("PORT=0");
        folder.write(file, text);
        folder.refuses(as_it_is, 1, &line).await;
    }
    let folder = Folder::new("PORT=0");
    std::fs::remove_file(folder.path().join("known-peers.json")).unwrap();
    let line = "error: node-2/known-peers.json is missing: it lists the peers that a node starts from; write \
                [\"ws://localhost:4001\"] into it, or [] if you want none, or let 'cargo xtask clone-node' or 'meshpool init' make a folder";
    folder.refuses(as_it_is, 1, line).await;
    std::fs::remove_file(folder.path().join("transactions.json")).unwrap();
    std::fs::create_dir(folder.path().join("transactions.json")).unwrap();
    folder.write("known-peers.json", "[]");
    let line = "error: cannot open node-2/transactions.json: Is a directory (os error 21); move the folder \
                node-2/transactions.json away";
    folder.refuses(as_it_is, 1, line).await;
    let line = "error: node-3 is not a folder: name one that holds a node's .env, or make one with 'cargo xtask clone-node' or 'meshpool init'";
    folder.refuses(|command| _ = command.args(["--folder", "node-3"]), 1, line).await;
}

#[cfg(unix)]
#[tokio::test]
async fn pipes_in_the_place_of_files_are_named_and_left_alone() {
    let rest = [
        ("transactions.json", ""),
        ("node.lock", ""),
        ("known-peers.json", " and write a file of that name"),
        (".env", " and write a file of that name"),
        ("node.key", " and put the key there, or the node starts with a new one"),
    ];
    for (file, rest) in rest {
        for by_link in [false, true] {
            let folder = Folder::new("PORT=0");
            let path = folder.path().join(file);
            std::fs::remove_file(&path).unwrap_or_default();
            let pipe = if by_link { folder.path().join("pipe") } else { path.clone() };
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            if by_link {
                std::os::unix::fs::symlink("pipe", &path).unwrap();
            }
            // The pool's messages have the path that a link leads to.
            let shown = if by_link && file == "transactions.json" { "pipe" } else { file };
            let line = format!("error: node-2/{shown} is not a file: move it away{rest}");
            assert_eq!(folder.refused(as_it_is).await, (1, vec![line]));
            let mut check = folder.command();
            check.arg("check");
            assert_eq!(ended(check).await.status.code(), Some(1), "{file}");
            assert!(!std::fs::metadata(&path).unwrap().is_file(), "{file} stays");
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_refused_and_says_where_it_was_set() {
    let taken = Tester::listen().await;
    let port = taken.port();
    let remedy = "stop the program that uses it, or set another PORT (0 = any free one)";
    let folder = Folder::new(&format!("PORT={port}"));
    let line =
        format!("error: port {port} on localhost is in use (PORT node-2/.env, line 1; HOST by default): {remedy}");
    folder.refuses(as_it_is, 1, &line).await;
    let key = folder.files()["node.key"].clone();
    drop(taken);
    // Nothing of the failed start is in the way of the next.
    let mut node = folder.command().stderr(Stdio::null()).spawn().unwrap();
    eventually("the node", async || Socket::dial(port).await.map(|_| ())).await;
    assert_eq!(folder.files()["node.key"], key);
    node.kill().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_links_by_node_id_a_node_has_no_udp_socket() {
    let first = Node::ours_with(free_port(), &[], "WAN=off");
    // By default they start when they are needed; in a program without the feature, never.
    let second = Node::ours(free_port(), &[first.port]);
    let all = [&first, &second];
    first.linked_to([second.address()]).await;
    assert!(all.iter().all(|node| node.udp_ports().is_empty()), "{:?}", all.map(Node::udp_ports));
    if cfg!(feature = "wan") {
        let third = Node::ours_with(free_port(), &[], "WAN=on");
        eventually("a UDP socket", async || match third.udp_ports().is_empty() {
            false => Ok(()),
            true => Err("none".to_owned()),
        })
        .await;
    }
}

#[tokio::test]
async fn two_nodes_in_one_folder_are_refused() {
    let node = Node::ours(free_port(), &[]);
    node.linked_to([]).await;
    let mut second = Command::new(env!("CARGO_BIN_EXE_meshpool"));
    second.env_clear().args(["--port", "0"]).current_dir(node.folder());
    let output = within("the second node's end", second.output()).await.unwrap();
    let folder = node.folder().canonicalize().unwrap();
    let line = format!(
        "error: {} is in use by another node (pid {}): stop it or use another folder\n",
        folder.display(),
        node.pid()
    );
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(1), line));
    submit(&node, &[transaction(1)]).await;
    exactly(&node, &[transaction(1)]).await;
}

#[tokio::test]
async fn a_folder_that_is_read_only_is_refused() {
    let Some(mount) = Mount::memory(256) else { return };
    let folder = Folder::on(mount.folder(), "PORT=0");
    mount.protect();
    let line = "error: cannot open node-2/node.lock: Read-only file system (os error 30); mount it writable, or use a folder on another disk";
    folder.refuses(as_it_is, 1, line).await;
}

#[tokio::test]
async fn a_pool_that_is_read_only_is_refused() {
    let folder = Folder::new("PORT=0");
    let Some(_protected) = Protected::file(&folder.path().join("transactions.json")) else { return };
    let line = "error: cannot open node-2/transactions.json: Read-only file system (os error 30); mount it writable, or use a folder on another disk";
    folder.refuses(as_it_is, 1, line).await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_refused() {
    let Some(mount) = Mount::memory(256) else { return };
    let folder = Folder::on(mount.folder(), "PORT=0");
    mount.fill();
    let (code, lines) = folder.refused(as_it_is).await;
    assert_eq!((code, lines.len()), (1, 1), "{lines:?}");
    assert!(lines[0].contains("No space left on device") && lines[0].contains("free space"), "{lines:?}");
    assert_eq!(folder.files()["transactions.json"], b"[]");
}

#[tokio::test]
async fn oddities_are_warned_of_and_the_node_starts() {
    let (port, dead) = (free_port(), free_port());
    let env = format!("\u{feff}export PORT = '{port}'\r\nLOG=\"info\"\r\nMAX_PEERS=1 # few\r\n");
    let folder = Folder::new(&env);
    let own = format!("ws://localhost:{port}");
    let known = json!([own, "not an address", 7, format!("ws://localhost:{dead}"), format!("ws://LOCALHOST:{dead}/")]);
    folder.write("known-peers.json", known.to_string());
    folder.write("transactions.json", "[\n  {\n    \"hash\": \"1\"\n  },\n  {\n    \"hash\": \"2");
    let started = Started::new(&folder, |_| {}).await;
    let said = started.said();
    for line in [
        "WARN MAX_PEERS is 1 (node-2/.env, line 3): nodes with one link each cannot form a network, only pairs; set 2 or more, better 3",
        "WARN node-2/known-peers.json, entry 2 is skipped: \"not an address\" is no peer address: it has no ws://; write it as ws://host:port, iroh:<node id> or iroh:<node id>@host:port",
        "WARN node-2/known-peers.json, entry 3 is skipped: a number is not a peer address; write it as \"ws://host:port\"",
    ] {
        assert!(said.iter().any(|said| said.ends_with(line)), "{line} is not among {said:#?}");
    }
    assert!(said.iter().any(|line| line.contains("transactions.json.bad-") && line.contains("WARN ")), "{said:#?}");
    assert!(said.iter().any(|line| line.ends_with("1 transaction in the pool, 2 known peers")), "{said:#?}");
    let mut client = Socket::dial(port).await.unwrap();
    let status = client.status().await;
    assert_eq!((&status["address"], &status["known"]), (&json!(own), &json!(1)), "the dead one, once");
    let kept = folder.files().into_iter().find(|(file, _)| file.starts_with("transactions.json.bad-"));
    assert!(String::from_utf8(kept.unwrap().1).unwrap().contains("\"hash\": \"2"));
}

#[tokio::test]
async fn an_exported_port_goes_over_the_folders_and_that_is_said() {
    let port = free_port();
    let folder = Folder::new("PORT=4001");
    let started = Started::new(&folder, |command| _ = command.env("PORT", port.to_string())).await;
    let line = format!(
        "WARN PORT is {port} from the environment, which overrides PORT=4001 of node-2/.env; run 'unset PORT' if you did not mean that"
    );
    assert!(started.said().iter().any(|said| said.ends_with(&line)), "{:#?}", started.said());
    Socket::dial(port).await.unwrap().status().await;
}

#[tokio::test]
async fn an_exported_name_that_the_folder_does_not_set_is_said_and_named_by_the_error() {
    let folder = Folder::new("PORT=0");
    let (code, lines) = folder.refused(|command| _ = command.env("HOST", "192.0.2.1")).await;
    assert_eq!(code, 1, "{lines:#?}");
    let said = "from the environment, as node-2/.env does not name them: HOST=192.0.2.1; run 'unset NAME' ";
    assert!(lines.iter().any(|line| line.contains(said)), "{lines:#?}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("error: cannot listen on 192.0.2.1, port 0 ("), "{last}");
    // A LOG that hides the node's life does not hide this.
    for level in ["warn", "error"] {
        let (_, lines) = folder.refused(|command| _ = command.env("HOST", "192.0.2.1").env("LOG", level)).await;
        assert!(lines.iter().any(|line| line.contains("HOST=192.0.2.1, LOG=")), "{level}: {lines:#?}");
    }
    // What is no text is not taken for what is not set.
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"127.0.0.1\xff");
    let (code, lines) = folder.refused(|command| _ = command.env("HOST", bytes)).await;
    assert!(code == 1 && lines[0].starts_with("error: HOST is 127.0.0.1\u{fffd} (from the environment)"), "{lines:#?}");
    assert!(last.contains("HOST from the environment"), "{last}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let set = |command: &mut Command| _ = command.env("HTTP_HOST", "127.0.0.1").env("HTTP_PORT", &port);
    let (_, lines) = folder.refused(set).await;
    let last = lines.last().unwrap();
    assert!(last.contains("(HTTP_PORT from the environment; HTTP_HOST from the environment)"), "{lines:#?}");
    #[cfg(feature = "tls")]
    {
        let (_, lines) = folder.refused(|command| _ = command.env("NETWORK_CA", "ca.pem")).await;
        assert!(
            lines.last().unwrap().contains("(NETWORK_CA from the environment; CERTIFICATE by default)"),
            "{lines:#?}"
        );
    }
}

/// Builds a library that takes modes, hard links and the syncing of folders from the programs that
/// it is preloaded into. `None` without a C compiler, which is a failure in CI.
fn without_modes(folder: &TempDir) -> Option<PathBuf> {
    let library = folder.path().join("without_modes.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/without_modes.c");
    let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    let built = built.is_ok_and(|status| status.success());
    assert!(built || std::env::var_os("CI").is_none(), "a C compiler is needed");
    built.then_some(library)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_without_modes_holds_a_node_that_starts_again_and_warns_once() {
    let built = TempDir::new().unwrap();
    let Some(library) = without_modes(&built) else { return };
    let folder = Folder::new("PORT=0");
    let mut ids = Vec::new();
    for damage in [false, false, true] {
        if damage {
            // A repair makes a new file, and gives it the mode of the old one.
            folder.write("transactions.json", "[{\"a\":1},x,{\"b\":2}]");
        }
        let mut started = Started::new(&folder, |command| _ = command.env("LD_PRELOAD", &library)).await;
        let mut client = Socket::dial(started.port()).await.unwrap();
        client.send(&json!({ "type": "TRANSACTION", "data": transaction(1), "ack": true })).await;
        let status = client.frame().await["data"]["status"].clone();
        assert!(["stored", "duplicate"].contains(&status.as_str().unwrap()), "{status}");
        drop(client);
        started.signal("TERM").await;
        assert_eq!(started.ended().await, Some(0), "{:#?}", started.said());
        let said = started.said();
        let warned = said.iter().filter(|line| line.contains("keeps no file modes (all files there are 777)"));
        assert_eq!(warned.count(), 1, "{said:#?}");
        ids.push(std::fs::read(folder.path().join("node.key")).unwrap());
    }
    assert_eq!(ids, vec![ids[0].clone(); 3], "one key");
    // The same file where modes work.
    std::fs::set_permissions(folder.path().join("node.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let (code, lines) = folder.refused(as_it_is).await;
    assert!(code == 1 && lines.last().unwrap().contains("can be read by others (mode 644)"), "{lines:#?}");
}

/// A secret that is mounted is often a link to another file system: that one counts.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_key_that_is_a_link_is_judged_by_the_file_system_that_holds_it() {
    let built = TempDir::new().unwrap();
    let Some(library) = without_modes(&built) else { return };
    let key = format!("{}\n", "5a".repeat(32));
    for modeless_is_key in [true, false] {
        let elsewhere = TempDir::new().unwrap();
        let folder = Folder::new("PORT=0");
        let secret = elsewhere.path().canonicalize().unwrap().join("secret");
        std::fs::write(&secret, &key).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
        std::os::unix::fs::symlink(&secret, folder.path().join("node.key")).unwrap();
        let modeless =
            if modeless_is_key { secret.parent().unwrap().to_owned() } else { folder.path().canonicalize().unwrap() };
        let set = |command: &mut Command| _ = command.env("LD_PRELOAD", &library).env("WITHOUT_MODES", &modeless);
        if modeless_is_key {
            let started = Started::new(&folder, set).await;
            let said = started.said();
            assert!(
                said.iter().any(|line| line.contains("keeps no file modes (all files there are 777)")),
                "{said:#?}"
            );
        } else {
            let (code, lines) = folder.refused(set).await;
            assert!(code == 1 && lines.last().unwrap().contains("can be read by others (mode 444)"), "{lines:#?}");
        }
    }
}

#[tokio::test]
async fn known_peers_are_read_again_on_sighup_and_what_was_read_is_said() {
    let folder = Folder::new("PORT=0");
    let mut started = Started::new(&folder, as_it_is).await;
    let said = async |started: &mut Started, text: &str| {
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        within(text, started.lines.wait_for(has)).await.unwrap();
    };
    let (one, two) = (Node::ours(free_port(), &[]), Node::ours(free_port(), &[]));
    folder.write("known-peers.json", json!([one.address()]).to_string());
    started.signal("HUP").await;
    said(&mut started, " reloaded the access rules: 0 rules in denied.txt, no allowed.txt").await;
    said(&mut started, " reloaded known-peers.json: 1 known, 1 added, 0 removed").await;
    said(&mut started, &format!("linked to {}", one.address())).await;
    folder.write("known-peers.json", "[");
    started.signal("HUP").await;
    said(&mut started, " ERROR SIGHUP: everything stays as it was: node-2/known-peers.json, line 1").await;
    folder.write("known-peers.json", json!([two.address()]).to_string());
    folder.write(".env", "PORT=0\nLOG=debug\nMAX_PEERS=3\nQUEUE_BYTES=2097152\nPEERS=x y");
    started.signal("HUP").await;
    said(&mut started, " ERROR SIGHUP: everything stays as it was: node-2/.env, line 5").await;
    folder.write(".env", "PORT=0\nLOG=debug\nMAX_PEERS=3\nQUEUE_BYTES=2097152");
    started.signal("HUP").await;
    said(&mut started, " reloaded known-peers.json: 1 known, 1 added, 1 removed").await;
    said(&mut started, " WARN changed, but a running node does not take it: MAX_PEERS, QUEUE_BYTES; start").await;
    said(&mut started, &format!("linked to {}", two.address())).await;
    let id = format!("iroh:{}", meshpool::NodeKey::from_bytes(&[9; 32]).node_id());
    folder.write("known-peers.json", json!([two.address(), format!("{id}@127.0.0.1:1")]).to_string());
    started.signal("HUP").await;
    said(&mut started, " reloaded known-peers.json: 2 known, 1 added, 0 removed").await;
    if cfg!(feature = "wan") {
        said(&mut started, "the relay 127.0.0.1:1 does not answer").await;
    }
    folder.write("known-peers.json", json!([two.address(), format!("{id}@127.0.0.1:2")]).to_string());
    started.signal("HUP").await;
    said(&mut started, " reloaded known-peers.json: 2 known, 0 added, 0 removed, 1 with other relays").await;
    if cfg!(feature = "wan") {
        said(&mut started, "the relay 127.0.0.1:2 does not answer").await;
    }
    // A line that moved is no change.
    folder.write(".env", "PORT=0\nHTTP_PORT=0\n# moved\nTRUSTED_PROXIES=10.0.0.1\nNETWORK=mars");
    started.signal("HUP").await;
    let text = " WARN changed, but a running node does not take it: NETWORK, HTTP_PORT, TRUSTED_PROXIES; start";
    said(&mut started, text).await;
    started.signal("TERM").await;
    assert_eq!(started.ended().await, Some(0));
    assert!(!started.said().iter().any(|line| line.contains("lost ")), "links stay: {:#?}", started.said());
}

#[tokio::test]
async fn an_empty_file_is_said_to_be_one() {
    for text in ["", " \r\n", "[", "[,"] {
        let folder = Folder::new("PORT=0");
        folder.write("transactions.json", text);
        let started = Started::new(&folder, as_it_is).await;
        let said = started.said();
        let line = said.iter().find(|line| line.contains("transactions.json was empty"));
        assert!(
            line.is_some_and(|line| line.contains(" WARN ") && line.contains("restore it from a copy")),
            "{said:#?}"
        );
        assert!(!said.iter().any(|line| line.contains("nothing lost")), "{said:#?}");
    }
}

#[tokio::test]
async fn port_0_is_any_free_one_and_it_is_said_which() {
    let folder = Folder::new("PORT=0");
    let started = Started::new(&folder, as_it_is).await;
    let line = started.said().into_iter().find(|line| line.contains("listening on ")).unwrap();
    let address = line.split("listening on ").nth(1).unwrap().split(' ').next().unwrap();
    let port = address.strip_prefix("ws://localhost:").unwrap().parse().unwrap();
    assert_eq!(Socket::dial(port).await.unwrap().status().await["address"], address);
    let lock = String::from_utf8(folder.files()["node.lock"].clone()).unwrap();
    assert_eq!(lock.lines().nth(1), Some(address), "tools find it there");
}

#[cfg(unix)]
#[tokio::test]
async fn signals_that_ask_for_nothing_change_nothing() {
    let folder = Folder::new("PORT=0");
    let mut started = Started::new(&folder, as_it_is).await;
    for name in ["USR1", "USR2", "ALRM", "VTALRM", "XFSZ"] {
        started.signal(name).await;
        Socket::dial(started.port()).await.expect(name).status().await;
    }
    started.signal("TERM").await;
    assert_eq!(started.ended().await, Some(0), "{:#?}", started.said());
}

#[tokio::test]
async fn a_signal_ends_the_node_cleanly() {
    for signal in ["TERM", "INT"] {
        let port = free_port();
        let folder = Folder::new(&format!("PORT={port}"));
        let mut started = Started::new(&folder, as_it_is).await;
        let tester = Tester::listen().await;
        let mut link = tester.greet(port).await;
        link.handshake().await;
        let mut client = Socket::dial(port).await.unwrap();
        for number in 0..100 {
            client.send_text(common::transaction_frame(&transaction(number))).await;
        }
        let status = client.status().await;
        assert_eq!(status["counters"]["transactions_accepted"], 100);
        started.signal(signal).await;
        let goodbye = Some((1001, "this node is shutting down".to_owned()));
        assert_eq!(link.farewell().await, goodbye, "{signal}");
        // The side that was dialled ends the connection, so that the other need not wait for it.
        drop(link);
        assert_eq!(client.farewell().await, goodbye, "{signal}");
        assert_eq!(started.ended().await, Some(0), "{signal}: {:#?}", started.said());
        assert!(started.said().last().unwrap().ends_with("goodbye"), "{signal}: {:#?}", started.said());
        let held: Vec<serde_json::Value> = serde_json::from_slice(&folder.files()["transactions.json"]).unwrap();
        assert_eq!(held, (0..100).map(transaction).collect::<Vec<_>>(), "{signal}: all that was taken is on disk");
        tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }
}

#[tokio::test]
async fn a_signal_during_the_start_ends_the_node_cleanly() {
    // Reading these takes seconds, and the signal comes within milliseconds of the beginning.
    const ROWS: u32 = 600_000;
    let port = free_port();
    let folder = Folder::new(&format!("PORT={port}\nHTTP_PORT={}", port + 4_000));
    let rows: String = (0..ROWS).map(|number| format!(",\n{{\"n\":{number},\"to\":\"nobody\"}}")).collect();
    let pool = format!("[{}\n]\n", &rows[1..]);
    folder.write("transactions.json", &pool);
    let mut child = folder.command().stderr(Stdio::piped()).spawn().unwrap();
    eventually("the beginning of the start", async || {
        let socket = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port + 4_000)).await;
        socket.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let page = (Ipv4Addr::LOCALHOST, port + 4_000).into();
    let answer = within("an answer", common::http::get(page, "/healthz")).await;
    assert!(answer.contains("starting, "), "it has started already, so this test shows nothing: {answer}");
    // At once: a program that sends it would have to be started first.
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    within("its last words", tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said)).await.unwrap();
    let status = within("the end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.trim_end().ends_with(" SIGTERM: ended during the start"), "{said}");
    assert!(!said.contains("listening on "), "{said}");
    assert!(folder.files()["transactions.json"] == pool.into_bytes(), "the pool is as it was");
}

/// Makes a command start its program with this limit, as a shell does.
fn limited(command: &Command, limit: &str) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.env_clear().kill_on_drop(true).stdin(Stdio::null());
    shell
}

/// What another program, or a disk, does to a pool's file while its node runs.
type Damage = fn(&Folder, Option<&Mount>) -> Option<Protected>;

#[tokio::test]
async fn what_could_not_be_stored_at_the_end_is_an_error_in_the_log_and_in_the_exit_code() {
    let replaced: Damage = |folder, _| {
        folder.write("transactions.json", "{}");
        None
    };
    let gone: Damage = |folder, _| {
        std::fs::remove_dir_all(folder.path()).unwrap();
        None
    };
    let file_is_folder: Damage = |folder, _| {
        std::fs::remove_file(folder.path().join("transactions.json")).unwrap();
        std::fs::create_dir(folder.path().join("transactions.json")).unwrap();
        None
    };
    let full: Damage = |_, mount| {
        mount.unwrap().fill();
        None
    };
    // A new file, which must be opened, and which nobody may write to.
    let protected: Damage = |folder, _| {
        folder.write("new", "[]");
        std::fs::rename(folder.path().join("new"), folder.path().join("transactions.json")).unwrap();
        Protected::file(&folder.path().join("transactions.json"))
    };
    let cases = [
        (replaced, false, "is not a JSON array"),
        (gone, false, "No such file or directory"),
        (file_is_folder, false, "Is a directory"),
        (full, true, "No space left on device"),
        (protected, false, "Read-only file system"),
    ];
    for (damage, on_mount, cause) in cases {
        let mount = if on_mount { Mount::memory(256) } else { None };
        if on_mount && mount.is_none() {
            return;
        }
        let parent = mount.as_ref().map_or_else(|| TempDir::new().unwrap(), Mount::folder);
        let folder = Folder::on(parent, "PORT=0");
        let mut started = Started::new(&folder, as_it_is).await;
        let port = started.port();
        let protected = damage(&folder, mount.as_ref());
        if cause.starts_with("Read-only") && protected.is_none() {
            return;
        }
        let mut client = Socket::dial(port).await.unwrap();
        for number in 0..3 {
            let text = json!({ "number": number, "text": "x".repeat(10_000) });
            client.send_text(common::transaction_frame(&text)).await;
        }
        assert_eq!(client.status().await["counters"]["transactions_accepted"], 3, "{cause}");
        drop(client);
        started.signal("TERM").await;
        assert_eq!(started.ended().await, Some(1), "{cause}: {:#?}", started.said());
        let said = started.said();
        let last = said.last().unwrap();
        assert!(last.starts_with("error: the node has ended, but not everything is on disk: "), "{said:#?}");
        assert!(last.contains(cause) && last.ends_with("not stored at the node's end: 3 transactions"), "{said:#?}");
        assert!(said.iter().any(|line| line.contains(" ERROR ") && line.contains("3 transactions")), "{said:#?}");
        assert!(!said.iter().any(|line| line.ends_with("goodbye")), "{said:#?}");
    }
}

#[tokio::test]
async fn a_pool_that_is_removed_while_its_node_runs_is_there_after_the_end() {
    let folder = Folder::new("PORT=0");
    let mut started = Started::new(&folder, as_it_is).await;
    let mut client = Socket::dial(started.port()).await.unwrap();
    client.send(&json!({ "type": "TRANSACTION", "data": transaction(1), "ack": true })).await;
    assert_eq!(client.frame().await["data"]["status"], "stored");
    std::fs::remove_file(folder.path().join("transactions.json")).unwrap();
    started.signal("TERM").await;
    assert_eq!(started.ended().await, Some(0), "{:#?}", started.said());
    let held: Vec<serde_json::Value> = serde_json::from_slice(&folder.files()["transactions.json"]).unwrap();
    assert_eq!(held, [transaction(1)], "what was acknowledged");
}

#[tokio::test]
async fn a_limit_of_file_sizes_is_a_full_disk() {
    let folder = Folder::new("PORT=0");
    // In units of 512 or 1,024 bytes, by the shell.
    let mut started = Started::new(&folder, |command| *command = limited(command, "ulimit -f 64")).await;
    let mut client = Socket::dial(started.port()).await.unwrap();
    for number in 0..20 {
        let data = json!({ "number": number, "text": "x".repeat(10_000) });
        client.send(&json!({ "type": "TRANSACTION", "data": data, "ack": true })).await;
    }
    let failed = |lines: &Vec<String>| lines.iter().any(|line| line.contains(" ERROR "));
    within("the error", started.lines.wait_for(failed)).await.unwrap();
    let said = started.said();
    let error = said.iter().find(|line| line.contains(" ERROR ")).unwrap();
    assert!(error.contains("File too large") && error.contains("ulimit -f"), "{error}");
    assert_eq!(Socket::dial(started.port()).await.unwrap().status().await["writable"], false);
    started.signal("TERM").await;
    assert_eq!(started.ended().await, Some(1), "{:#?}", started.said());
    let held: Vec<serde_json::Value> = serde_json::from_slice(&folder.files()["transactions.json"]).unwrap();
    assert!(held.len() < 20, "an array, of what fitted");
    // Results are files too.
    let mut command = limited(&folder.command(), "ulimit -f 0");
    command.arg("--help").stdout(std::fs::File::create(folder.path().join("help")).unwrap());
    let output = ended(command).await;
    // Neither can the error be written, if stderr is a file.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("File too large"), "{output:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_descriptors_each_command_says_so_in_one_line() {
    let folder = Folder::new("PORT=0");
    for limit in 5..13 {
        for arguments in [&["run"][..], &["status"], &["check"], &["add", "a=1"]] {
            let mut command = folder.command();
            command.args(arguments);
            let mut command = limited(&command, &format!("ulimit -n {limit}"));
            command.stdout(Stdio::piped());
            let output = ended(command).await;
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(!text.contains("panicked"), "{limit} {arguments:?}: {text}");
            let lines: Vec<_> = text.lines().filter(|line| line.contains("os error 24")).collect();
            assert!(lines.iter().all(|line| line.contains("(ulimit -n, LimitNOFILE in a unit)")), "{limit}: {text}");
            // With a few more a command that opens little works.
            if limit < 8 || (limit < 11 && arguments == ["run"]) {
                assert_eq!((output.status.code(), lines.len()), (Some(1), 1), "{limit} {arguments:?}: {text}");
            }
        }
    }
}

/// What a command ended with, which has a stdout of its own.
async fn ended(mut command: Command) -> Output {
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    within("the end", child.wait_with_output()).await.unwrap()
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let folder = Folder::new("PORT=0");
    for arguments in [vec!["--help"], vec!["--version"], vec!["--request-certificate"]] {
        if arguments == ["--request-certificate"] && cfg!(not(feature = "tls")) {
            continue;
        }
        let mut command = folder.command();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        command.args(&arguments).stdout(full);
        let output = ended(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("to standard output: No space left on device"), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // A reader that is gone.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = folder.command();
        command.args(&arguments).stdout(writer);
        let output = ended(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // Errors that nobody can read.
    for arguments in [vec!["--port", "x"], vec!["--nonsense"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = folder.command();
        let child = command.args(&arguments).stderr(full).spawn().unwrap();
        let output = within("the end", child.wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_error_at_the_start_is_json_in_a_json_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (env, arguments, code, text) in [
        ("LOG_FORMAT=json\nPORT=x", vec![], 1, "a port is a number"),
        ("PORT 4001\nLOG_FORMAT=json", vec![], 1, "this is not NAME=value"),
        ("LOG_FORMAT=json", vec![], 1, "PORT is not set"),
        ("LOG_FORMAT=json\nPORT=0", vec!["--port", "-1"], 2, "a port is a number"),
        (&format!("LOG_FORMAT=json\nHOST=127.0.0.1\nPORT={port}"), vec![], 1, "is in use"),
    ] {
        let folder = Folder::new(env);
        let (ended, lines) = folder.refused(|command| _ = command.args(&arguments)).await;
        assert_eq!(ended, code, "{env}: {lines:?}");
        for line in &lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{env}: {lines:#?}"));
            assert!(line["time"].is_string() && line["message"].is_string(), "{line}");
        }
        let last: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert!(last["level"] == "error" && last["message"].as_str().unwrap().contains(text), "{env}: {last}");
    }
    // The folder is not known by then: the environment counts.
    let folder = Folder::new("PORT=0");
    let (code, lines) = folder.refused(|command| _ = command.env("LOG_FORMAT", "json").arg("--nonsense")).await;
    let line: serde_json::Value = serde_json::from_str(&lines.join("\n")).unwrap();
    assert!(code == 2 && line["message"].as_str().unwrap().contains("--nonsense"), "{lines:#?}");
}

#[tokio::test]
async fn a_log_that_is_kept_counts_transactions_and_one_that_is_watched_names_each() {
    for (arguments, named) in [(vec![], false), (vec!["--log-transactions", "each"], true)] {
        let folder = Folder::new("PORT=0");
        let mut started = Started::new(&folder, |command| _ = command.args(&arguments)).await;
        let mut client = Socket::dial(started.port()).await.unwrap();
        for number in 0..3 {
            client.send_text(common::transaction_frame(&transaction(number))).await;
        }
        assert_eq!(client.status().await["counters"]["transactions_accepted"], 3);
        started.signal("TERM").await;
        assert_eq!(started.ended().await, Some(0));
        let said = started.said();
        assert_eq!(said.iter().filter(|line| line.contains(" transaction ")).count(), if named { 3 } else { 0 });
        assert_eq!(said.iter().any(|line| line.ends_with(" 3 new transactions since the last count")), !named);
    }
}

#[tokio::test]
async fn each_line_of_a_json_log_is_an_object_with_time_level_and_message() {
    let dead = free_port();
    let folder = Folder::new("PORT=0\nMAX_PEERS=1\nLOG=debug\nLOG_FORMAT=json\n");
    // Words that must be escaped, a warning, a dial that fails, a transaction and the goodbye.
    folder.write("known-peers.json", json!(["not \"an\" address\n", format!("ws://127.0.0.1:{dead}")]).to_string());
    let mut started = Started::new(&folder, as_it_is).await;
    let lock = String::from_utf8(folder.files()["node.lock"].clone()).unwrap();
    let port = lock.lines().nth(1).unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let mut client = Socket::dial(port).await.unwrap();
    client.send_text(common::transaction_frame(&transaction(1))).await;
    assert_eq!(client.status().await["counters"]["transactions_accepted"], 1);
    let told = |lines: &Vec<String>| lines.iter().any(|line| line.contains(&dead.to_string()));
    within("word of the failed dial", started.lines.wait_for(told)).await.unwrap();
    started.signal("TERM").await;
    assert_eq!(started.ended().await, Some(0), "{:#?}", started.said());
    let lines: Vec<serde_json::Value> = (started.said().iter())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        let (time, level) = (line["time"].as_str().unwrap(), line["level"].as_str().unwrap());
        assert!(
            time.len() == "2026-11-21T13:51:15.387Z".len() && time.ends_with('Z') && time.starts_with("20"),
            "{line}"
        );
        assert!(["error", "warn", "info", "debug"].contains(&level), "{line}");
        assert!(line["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
    }
    let has = |level: &str, text: &str| {
        lines.iter().any(|line| line["level"] == level && line["message"].as_str().unwrap().contains(text))
    };
    assert!(has("warn", "MAX_PEERS is 1") && has("warn", "\"not \\\"an"), "{lines:#?}");
    assert!(has("info", "listening on ") && has("info", "goodbye"), "{lines:#?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_nowhere_is_not_taken_for_a_missing_file() {
    for name in ["denied.txt", "allowed.txt", ".env", "known-peers.json", "node.key"] {
        let folder = Folder::new("PORT=0\nHTTP_PORT=0\n");
        std::fs::remove_file(folder.path().join(name)).unwrap_or_default();
        std::os::unix::fs::symlink("unmounted/file", folder.path().join(name)).unwrap();
        let (code, lines) = folder.refused(as_it_is).await;
        assert!(code == 1 && lines.len() == 1, "{name}: {lines:#?}");
        let parts = [&format!("error: node-2/{name} is a link to a file that is missing"), "remove the link"];
        assert!(parts.iter().all(|part| lines[0].contains(*part)), "{name}: {lines:#?}");
    }
}

#[tokio::test]
async fn rules_that_admit_nobody_are_a_warning_at_the_start() {
    let folder = Folder::new("PORT=0\nHTTP_PORT=0\n");
    folder.write("allowed.txt", "# nobody yet\n");
    let started = Started::new(&folder, as_it_is).await;
    let warns = |line: &String| line.contains(" WARN ") && line.contains("allowed.txt has no rule");
    assert!(started.said().iter().any(warns), "{:#?}", started.said());
}
