//! The commands of the binary, beside running nodes: over their folder and over their API.

#![cfg(all(feature = "cli", feature = "web"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::process::{Output, Stdio};
use std::sync::Arc;

use common::node::{Node, clear_environment, collect, free_port};
use common::{eventually, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;

const TOKEN: &str = "0123456789abcdef";

fn meshpool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpool"));
    clear_environment(command.as_std_mut());
    command.args(arguments).kill_on_drop(true).stdin(Stdio::null());
    command
}

struct Done {
    code: i32,
    out: String,
    error: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
    }

    /// Its standard output, if it succeeded.
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.error);
        self.out
    }

    fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Fails unless it ended with this code and one line that has these parts.
    fn failed(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.out, self.error);
        for part in parts {
            assert!(self.error.contains(part), "{part:?} is not in {}", self.error);
        }
        assert!(code == 2 || self.error.lines().count() == 1, "{}", self.error);
    }
}

async fn run(arguments: &[&str]) -> Done {
    let what = arguments.join(" ");
    Done::of(within(what, meshpool(arguments).output()).await.unwrap())
}

/// A node with a page, and the flags that lead to it.
struct Site {
    node: Node,
    folder: String,
    url: String,
}

impl Site {
    async fn open(known: &[u16], settings: &str) -> Self {
        let node = Node::ours_with(free_port(), known, settings);
        let page = "the page is at ";
        let url = eventually("the page", async || {
            let said = node.said();
            said.iter().find_map(|line| Some(line.split(page).nth(1)?.trim().to_owned())).ok_or_else(|| said.join("\n"))
        })
        .await;
        // The lock names the page right after the log does.
        let lock = node.folder().join("node.lock");
        eventually("the page in the lock", async || {
            let text = std::fs::read_to_string(&lock).map_err(|error| error.to_string())?;
            if text.lines().count() == 3 { Ok(()) } else { Err(text) }
        })
        .await;
        let folder = node.folder().to_str().unwrap().to_owned();
        Self { node, folder, url }
    }

    /// The flags for its folder, and those for its URL.
    fn ways(&self) -> [Vec<&str>; 2] {
        [vec!["--folder", &self.folder], vec!["--url", &self.url, "--token", TOKEN]]
    }
}

async fn with(arguments: &[&str], way: &[&str]) -> Done {
    run(&[arguments, way].concat()).await
}

/// A node that `meshpool run` runs.
struct Started {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Started {
    fn new(arguments: &[&str]) -> Self {
        let mut child = meshpool(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stderr.take().unwrap(), Arc::new(sender)));
        Self { child, lines }
    }

    async fn says(&mut self, part: &str) {
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(part));
        let found = within(part, self.lines.wait_for(has)).await.is_ok();
        assert!(found, "it ended, and never said {part:?}: {:#?}", self.lines.borrow());
    }
}

#[tokio::test]
async fn in_an_empty_folder_run_just_works() {
    let peer = Node::ours(free_port(), &[]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut node = Started::new(&["run", "--folder", path, "--port", "0", "--peers", &peer.address()]);
    node.says(&format!("linked to {}", peer.address())).await;
    assert!(folder.path().join("node.key").exists());
    let env = std::fs::read_to_string(folder.path().join(".env")).unwrap();
    assert!(env.contains("\nPORT=0\n"), "{env}");
    assert_eq!(std::fs::read_to_string(folder.path().join("known-peers.json")).unwrap().trim(), "[]");
    node.child.kill().await.unwrap();
    // Without a command it is as it always was: a missing setting is an error.
    let empty = TempDir::new().unwrap();
    let output = within("the end", meshpool(&[]).current_dir(empty.path()).output()).await.unwrap();
    Done::of(output).failed(1, &["PORT is not set", "meshpool init"]);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    // Neither is a folder filled that holds something of a node.
    std::fs::write(empty.path().join("transactions.json"), "[]").unwrap();
    let path = empty.path().to_str().unwrap();
    run(&["run", "--folder", path]).await.failed(1, &["PORT is not set"]);
}

#[tokio::test]
async fn no_output_goes_over_the_files_of_a_node() {
    let site = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}\n")).await;
    let at = |name: &str| site.node.folder().join(name).to_str().unwrap().to_owned();
    for name in [".env", "known-peers.json", "node.key", "node.lock", "transactions.json", "peers.json", "denied.txt"] {
        let file = at(name);
        let before = std::fs::read(&file).ok();
        for way in site.ways() {
            let parts = ["a file of the node in", "name another file"];
            with(&["export", &file], &way).await.failed(1, &parts);
            with(&["network", "--svg", &file], &way).await.failed(1, &parts);
            with(&["images", "cat.jpg", "-o", &file], &way).await.failed(1, &parts);
        }
        assert!(std::fs::read(&file).ok() == before, "{name} is as it was");
    }
    let in_folder = |arguments: &[&str]| meshpool(arguments).current_dir(site.node.folder()).output();
    let output = within("an image with the name of a key", in_folder(&["images", "node.key"])).await.unwrap();
    Done::of(output).failed(1, &["node.key is a file of the node"]);
    for way in site.ways() {
        for _ in 0..2 {
            with(&["export", &at("out.jsonl")], &way).await.ok();
            with(&["network", "--svg", &at("net.svg")], &way).await.ok();
        }
    }
    assert!(std::fs::read_to_string(at("net.svg")).unwrap().starts_with("<svg"));
}

#[tokio::test]
async fn init_makes_a_folder_once() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("mine");
    let path = folder.to_str().unwrap();
    let made = run(&["init", path, "--port", "4321", "--peers", "localhost:4002", "--json"]).await.json();
    assert_eq!((&made["folder"], &made["port"]), (&json!(path), &json!(4321)));
    assert_eq!(made["node"].as_str().unwrap().len(), 64);
    run(&["init", path]).await.failed(1, &["holds a node already", "name another folder"]);
    run(&["init", path, "--port", "70000"]).await.failed(2, &["70000"]);
    let known = std::fs::read_to_string(folder.join("known-peers.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&known).unwrap(), json!(["ws://localhost:4002"]));
    let checked = run(&["check", "--folder", path, "--json"]).await;
    let found: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(found["checks"][0]["what"], "settings");
}

#[tokio::test]
async fn an_invite_that_cannot_be_followed_changes_nothing() {
    let id = "a7".repeat(32);
    let address = format!("iroh:{id}@192.0.2.7:4001");
    let parent = TempDir::new().unwrap();
    let new = parent.path().join("new");
    let join = async |invite: &str, folder: &std::path::Path, more: &[&str], exported: &[(&str, &str)]| {
        let mut command = meshpool(&["join", invite, "--folder", folder.to_str().unwrap()]);
        command.args(more).envs(exported.iter().copied());
        Done::of(within("meshpool join", command.output()).await.unwrap())
    };
    let venus = format!("{address}#venus");
    for text in [address.clone(), format!("{address}x#venus"), format!("{address}#ve\u{200b}nus"), "hello".to_owned()] {
        join(&text, &new, &[], &[]).await.failed(2, &["that is no invite"]);
    }
    let parts = ["'venus'", "'mars'"];
    join(&venus, &new, &["--network", "mars"], &[]).await.failed(1, &[&parts[..], &["from --network"]].concat());
    let exported = join(&venus, &new, &[], &[("NETWORK", "mars")]).await;
    exported.failed(1, &[&parts[..], &["from the environment"]].concat());
    assert!(!new.exists());

    let node = Node::ours(free_port(), &[]);
    eventually("it listens", async || node.status().await.map(|_| ())).await;
    let known = || std::fs::read_to_string(node.folder().join("known-peers.json")).unwrap();
    let before = known();
    let running = join(&format!("{address}#p2p-node"), node.folder(), &[], &[]).await;
    running.failed(1, &["a node runs in", &format!("meshpool peers add '{address}' --folder")]);
    assert_eq!(known(), before);

    let invite = format!("{address}#p2p-node");
    let folder = node.folder().to_str().unwrap();
    for wrong in [
        &["peers", "add", &invite, "--folder", folder][..],
        &["run", "--folder", folder, "-p", &invite],
        &["init", new.to_str().unwrap(), "--peers", &invite],
    ] {
        run(wrong).await.failed(2, &["it is an invite", "'meshpool join'"]);
    }
    assert!(!new.exists());
}

#[tokio::test]
async fn a_node_is_asked_over_its_folder_and_over_its_api() {
    let peer = Node::ours(free_port(), &[]);
    let site = Site::open(&[peer.port], &format!("HTTP_TOKEN={TOKEN}")).await;
    site.node.linked_to([peer.address()]).await;
    std::fs::create_dir(site.node.folder().join("images")).unwrap();
    std::fs::write(site.node.folder().join("images/dot.png"), b"a dot").unwrap();
    let node = site.node.status().await.unwrap()["node"].clone();
    let mut stored = 0;
    for way in site.ways() {
        let status = with(&["status", "--json"], &way).await.json();
        assert_eq!((&status["node"], &status["connected"]), (&node, &json!([peer.address()])));
        let shown = with(&["status"], &way).await.ok();
        assert!(shown.contains("one node runs") && shown.contains(&format!("{} *", peer.address())), "{shown}");
        let network = with(&["network", "--json"], &way).await.json();
        assert_eq!(network["nodes"].as_array().unwrap().len(), 2, "{network}");
        let me = network["nodes"].as_array().unwrap().iter().find(|one| one["me"] == true).unwrap();
        assert_eq!(me["node"], node);

        let amount = stored;
        let added = with(&["add", &json!({ "amount": amount }).to_string(), "--json"], &way).await.json();
        assert_eq!((&added["status"], &added["links"]), (&json!("stored"), &json!(1)), "{added}");
        let many = TempDir::new().unwrap();
        let file = many.path().join("many.jsonl");
        std::fs::write(&file, format!("{{\"many\":{amount},\"n\":1}}\n{{\"many\":{amount},\"n\":2}}\n[]\n")).unwrap();
        let done = with(&["add", "--file", file.to_str().unwrap(), "--json"], &way).await;
        assert_eq!((done.code, done.error.contains("line 3 is refused")), (1, true), "{}", done.error);
        let sums: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!((&sums["stored"], &sums["refused"]), (&json!(2), &json!(1)));
        stored += 3;

        let sent = with(&["send", "hello", "--json"], &way).await.json();
        assert_eq!(sent["links"], 1, "{sent}");
        let listed = with(&["transactions", "--last", "2", "--json"], &way).await.json();
        assert_eq!((&listed["total"], listed["transactions"].as_array().unwrap().len()), (&json!(stored), 2));
        for row in listed["transactions"].as_array().unwrap() {
            assert_eq!(row["signature"], "verified", "a person's transactions are signed: {row}");
        }
        let shown = with(&["transactions"], &way).await.ok();
        assert!(shown.contains("verified") && shown.contains(&format!("{stored} transactions")), "{shown}");

        let images = with(&["images", "--json"], &way).await.json();
        assert_eq!(images["images"][0]["name"], "dot.png", "{images}");
        let copy = many.path().join("copy.png");
        with(&["images", "dot.png", "-o", copy.to_str().unwrap()], &way).await.ok();
        assert_eq!(std::fs::read(&copy).unwrap(), b"a dot");
        let peers = with(&["peers", "--json"], &way).await.json();
        assert_eq!(peers["peers"][0]["address"], peer.address(), "{peers}");
        let found = with(&["check", "--json"], &way).await.json();
        assert_eq!(found["ok"], true, "{found}");
    }
    // The token is needed, and may stand in the environment.
    run(&["status", "--url", &site.url]).await.failed(1, &[&site.url, "--token", "MESHPOOL_TOKEN"]);
    let wrong = "another token than that";
    run(&["status", "--url", &site.url, "--token", &wrong.replace(' ', "-")]).await.failed(1, &["another token"]);
    let mut command = meshpool(&["status", "--url", &site.url, "--json"]);
    let output = within("a status", command.env("MESHPOOL_TOKEN", TOKEN).output()).await.unwrap();
    assert_eq!(Done::of(output).json()["node"], node);
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere() {
    let one = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}")).await;
    let other = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}")).await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // More than a page, and one that a list leaves out.
    let mut rows: Vec<Value> = (0..450).map(|n| json!({ "n": n })).collect();
    rows.insert(7, json!({ "large": "x".repeat(40_000) }));
    std::fs::write(path("rows.json"), json!(rows).to_string()).unwrap();
    run(&["import", &path("rows.json"), "--folder", &one.folder]).await.ok();
    let mut texts = Vec::new();
    for (number, way) in one.ways().iter().enumerate() {
        let file = path(&format!("out-{number}.jsonl"));
        let done = with(&["export", &file, "--json"], way).await.json();
        assert_eq!(done["transactions"], 451);
        let text = std::fs::read_to_string(&file).unwrap();
        let read: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(read == rows, "each once, in their order, and unchanged");
        assert_eq!(with(&["export"], way).await.ok(), text, "standard output has the same");
        texts.push(text);
    }
    assert!(texts[0] == texts[1]);
    let done = with(&["import", &path("out-0.jsonl"), "--json"], &other.ways()[1]).await.json();
    assert_eq!((&done["stored"], &done["duplicates"]), (&json!(451), &json!(0)));
    let done = with(&["import", &path("out-0.jsonl"), "--json"], &other.ways()[0]).await.json();
    assert_eq!((&done["stored"], &done["duplicates"]), (&json!(0), &json!(451)));
    assert_eq!(run(&["export", "--folder", &other.folder]).await.ok(), texts[0]);
    // A reader who goes is no failure, and no panic.
    let mut command = meshpool(&["export", "--folder", &one.folder]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = within("the end", child.wait_with_output()).await.unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[tokio::test]
async fn peers_and_the_log_are_changed_while_the_node_runs() {
    let peer = Node::ours(free_port(), &[]);
    let site = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}\nHTTP_NAMES=example.org")).await;
    let status = eventually("the peer's start", async || peer.status().await).await;
    let id = status["node"].as_str().unwrap().to_owned();
    let address = peer.address();
    for way in site.ways() {
        let change = async |arguments: &[&str]| with(&[&["peers"], arguments].concat(), &way).await;
        assert_eq!(change(&["add", &address, "--json"]).await.json(), json!({ "changed": true, "running": true }));
        assert!(change(&["add", &address]).await.ok().contains("already"));
        site.node.linked_to([address.clone()]).await;
        change(&["ban", &id]).await.ok();
        site.node.linked_to([]).await;
        let listed = change(&["list", "--json"]).await.json();
        assert_eq!(listed["denied"], json!([id]));
        change(&["unban", &id]).await.ok();
        change(&["unban", &id]).await.failed(1, &["no such ban"]);
        // It is a known peer still, so it is dialled again.
        site.node.linked_to([address.clone()]).await;
        change(&["remove", &address]).await.ok();
        change(&["remove", &address]).await.failed(1, &["is not a known peer"]);
        change(&["ban", "example.org"]).await.failed(1, &["example.org", "an IP address"]);
        change(&["add", "no address"]).await.failed(2, &["no address"]);

        assert_eq!(with(&["log"], &way).await.ok(), "info\n");
        assert_eq!(with(&["log", "debug", "--json"], &way).await.json(), json!({ "level": "debug" }));
        assert_eq!(with(&["log"], &way).await.ok(), "debug\n");
        with(&["log", "info"], &way).await.ok();
        with(&["log", "loud"], &way).await.failed(2, &["loud", "debug"]);
    }
}

/// As where HTTP_TOKEN is exported for the node alone, or comes from a secret.
#[tokio::test]
async fn a_token_that_the_folder_does_not_have_is_given_as_the_error_says() {
    let site = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}")).await;
    let env = site.node.folder().join(".env");
    let text = std::fs::read_to_string(&env).unwrap();
    std::fs::write(&env, text.replace(&format!("HTTP_TOKEN={TOKEN}"), "")).unwrap();
    let place = ["--folder", &*site.folder];
    let own = [
        &["peers", "add", "ws://localhost:9"][..],
        &["peers", "ban", "192.0.2.7"],
        &["peers", "unban", "192.0.2.7"],
        &["peers", "remove", "ws://localhost:9"],
        &["log"],
    ];
    for arguments in own {
        with(arguments, &place).await.failed(1, &["--token", "MESHPOOL_TOKEN"]);
        with(arguments, &[&place[..], &["--token", "another-token-than-that"]].concat())
            .await
            .failed(1, &["another token"]);
    }
    for arguments in own {
        with(arguments, &[&place[..], &["--token", TOKEN]].concat()).await.ok();
    }
    for name in ["MESHPOOL_TOKEN", "HTTP_TOKEN"] {
        for arguments in own {
            let mut command = meshpool(&[arguments, &place].concat());
            Done::of(within(name, command.env(name, TOKEN).output()).await.unwrap()).ok();
        }
    }
    // The node has no relay, which only one who has the token is told.
    let invited = with(&["invite"], &[&place[..], &["--token", TOKEN]].concat()).await;
    assert!(!invited.error.contains("token"), "{}", invited.error);
}

/// As after a crash, or of a node that ran in a container: its number is that of another process.
#[tokio::test]
async fn what_is_left_of_a_node_that_does_not_run_leads_to_no_other() {
    let other = Site::open(&[], "").await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    run(&["init", path, "--port", "0"]).await.ok();
    let lock = format!("{}\n{}\n{}\n", std::process::id(), other.node.address(), other.url);
    std::fs::write(folder.path().join("node.lock"), lock).unwrap();
    for arguments in [&["add", "{}"][..], &["send", "hello"], &["status"], &["log"], &["invite"]] {
        with(arguments, &["--folder", path]).await.failed(1, &["no node runs in"]);
    }
    let changed = with(&["peers", "ban", "192.0.2.7", "--json"], &["--folder", path]).await.json();
    assert_eq!(changed, json!({ "changed": true, "running": false }));
    assert!(folder.path().join("denied.txt").exists() && !other.node.folder().join("denied.txt").exists());
}

#[cfg(feature = "wan")]
#[tokio::test]
async fn node_ids_are_named_with_new_relays_and_where_they_are_not_dialled_the_answer_says_so() {
    let id = format!("iroh:{}", meshpool::NodeKey::from_bytes(&[9; 32]).node_id());
    let (old, new) = (format!("{id}@127.0.0.1:1"), format!("{id}@127.0.0.1:2"));
    let wrong = format!("iroh:02{}", "0".repeat(62));
    let site = Site::open(&[], &format!("HTTP_TOKEN={TOKEN}\nHTTP_NAMES=example.org")).await;
    for way in site.ways() {
        let add = async |address: &str| with(&["peers", "add", address], &way).await;
        assert!(add(&old).await.ok().contains(&format!("{old} is a known peer now\n")));
        assert!(add(&id).await.ok().contains("was a known peer already"));
        assert!(add(&new).await.ok().contains(&format!("{new} is a known peer with other relays now\n")));
        let again = with(&["peers", "add", &old, "--json"], &way).await.json();
        assert_eq!(again, json!({ "changed": true, "running": true }));
        add(&wrong).await.failed(2, &["its node id is no public key"]);
        let known = std::fs::read_to_string(site.node.folder().join("known-peers.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&known).unwrap(), json!([old]));
        with(&["peers", "remove", &id], &way).await.ok();
    }
    let off = Site::open(&[], "WAN=off").await;
    let said = with(&["peers", "add", &old], &["--folder", &off.folder]).await.ok();
    assert!(said.contains("is a known peer now\n") && said.contains("remove WAN=off"), "{said}");

    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    run(&["init", path, "--port", "0"]).await.ok();
    let env = std::fs::read_to_string(folder.path().join(".env")).unwrap();
    let place = ["--folder", path];
    with(&["peers", "add", &old], &place).await.ok();
    assert!(with(&["peers", "add", &new], &place).await.ok().contains("with other relays now, from the node's next"));
    std::fs::write(folder.path().join(".env"), format!("{env}\nWAN=OFF\n")).unwrap();
    let said = with(&["peers", "add", &old, "--json"], &place).await.json();
    assert!(said["changed"] == true && said["warning"].as_str().unwrap().contains("remove WAN=off"), "{said}");
    let known = std::fs::read_to_string(folder.path().join("known-peers.json")).unwrap();
    with(&["join", &format!("{new}#p2p-node")], &place).await.failed(1, &["remove WAN=off"]);
    with(&["join", &format!("{wrong}#p2p-node")], &place).await.failed(2, &["no public key"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("known-peers.json")).unwrap(), known);
    let empty = folder.path().join("empty");
    let mut join = meshpool(&["join", &format!("{new}#p2p-node"), "--folder", empty.to_str().unwrap()]);
    Done::of(within("join", join.env("WAN", "off").output()).await.unwrap()).failed(1, &["remove WAN=off"]);
    assert!(!empty.exists());
}

#[tokio::test]
async fn without_a_running_node_its_files_are_changed_and_the_rest_says_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    run(&["init", path, "--port", "0"]).await.ok();
    let place = ["--folder", path];
    let changed = with(&["peers", "add", "localhost:4002", "--json"], &place).await.json();
    assert_eq!(changed, json!({ "changed": true, "running": false }));
    let known = std::fs::read_to_string(folder.path().join("known-peers.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&known).unwrap(), json!(["ws://localhost:4002"]));
    assert!(with(&["peers", "ban", "192.0.2.0/24"], &place).await.ok().contains("next start"));
    assert_eq!(std::fs::read_to_string(folder.path().join("denied.txt")).unwrap(), "192.0.2.0/24\n");
    with(&["peers", "remove", "localhost:9"], &place).await.failed(1, &["is not in known-peers.json"]);
    for command in [&["status"][..], &["add", "{}"], &["send", "x"], &["network"], &["images"], &["peers"], &["log"]] {
        with(command, &place).await.failed(1, &["no node runs in", "meshpool run --folder"]);
    }
    // The pool is a file.
    assert_eq!(with(&["transactions", "--json"], &place).await.json()["total"], 0);
    assert_eq!(with(&["export"], &place).await.ok(), "");
    run(&["status", "--folder", "/nowhere"]).await.failed(1, &["/nowhere", "not a folder"]);
    run(&["status", "--url", "http://localhost:1"]).await.failed(1, &["nothing answers at http://localhost:1"]);
    run(&["status", "--url", "localhost:1"]).await.failed(1, &["http://host:port"]);
    run(&["statsu"]).await.failed(2, &["status"]);
    run(&["status", "--jsn"]).await.failed(2, &["--json"]);
}

#[tokio::test]
async fn a_node_without_a_page_says_what_it_lacks() {
    let node = Node::ours_with(free_port(), &[], "HTTP_PORT=0");
    eventually("it listens", async || node.status().await.map(|_| ())).await;
    let folder = node.folder().to_str().unwrap();
    run(&["log", "--folder", folder]).await.failed(1, &["has no API now", "HTTP_PORT"]);
    run(&["status", "--folder", folder]).await.ok();
}

#[tokio::test]
async fn completions_and_manual_pages_name_every_command() {
    let shown = run(&["--help"]).await.ok();
    let commands: Vec<&str> = shown
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 15, "{shown}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = run(&["completions", shell]).await.ok();
        for command in &commands {
            assert!(text.contains(command), "{shell} completes no {command}");
        }
    }
    assert!(run(&["man"]).await.ok().contains(".TH meshpool 1"));
    let folder = TempDir::new().unwrap();
    run(&["man", "--output", folder.path().to_str().unwrap()]).await.ok();
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(folder.path().join(format!("meshpool-{command}.1")).exists(), "{command}");
    }
    run(&["man", "--output", "/nowhere/at/all"]).await.failed(1, &["/nowhere/at/all"]);
}

/// A web server that speaks TLS, and passes on to a port of this machine.
#[cfg(feature = "tls")]
mod proxy {
    use ed25519_dalek::{Signer, SigningKey};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, PublicKeyData};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, version};
    use tokio::net::{TcpListener, TcpStream};

    struct Pair(SigningKey, [u8; 32]);

    impl Pair {
        fn new(seed: u8) -> Self {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let public = key.verifying_key().to_bytes();
            Self(key, public)
        }
    }

    impl PublicKeyData for Pair {
        fn der_bytes(&self) -> &[u8] {
            &self.1
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ED25519
        }
    }

    impl rcgen::SigningKey for Pair {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            Ok(self.0.sign(message).to_bytes().to_vec())
        }
    }

    /// Starts it. Returns its port, and the certificate of its authority.
    pub(crate) async fn start(to: u16) -> (u16, String) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.serial_number = Some(1.into());
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.clone().self_signed(&Pair::new(1)).unwrap();
        let issuer = Issuer::new(authority, Pair::new(1));
        let mut certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        certificate.serial_number = Some(2.into());
        let certificate = certificate.signed_by(&Pair::new(2), &issuer).unwrap();
        // PKCS #8 (RFC 8410, section 7).
        let mut key = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        key.extend([2; 32]);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut visitor) = acceptor.accept(socket).await else { continue };
                let mut page = TcpStream::connect(("localhost", to)).await.unwrap();
                tokio::io::copy_bidirectional(&mut visitor, &mut page).await.ok();
            }
        });
        (port, root.pem())
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_page_behind_tls_is_asked_if_this_machine_trusts_its_certificate() {
    let site = Site::open(&[], "").await;
    let page: u16 = site.url.rsplit(':').next().unwrap().parse().unwrap();
    let (port, root) = proxy::start(page).await;
    let folder = TempDir::new().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, root).unwrap();
    let url = format!("https://localhost:{port}");
    let ask = async |roots: &std::path::Path| {
        let mut command = meshpool(&["status", "--json", "--url", &url]);
        Done::of(within("an answer", command.env("SSL_CERT_FILE", roots).output()).await.unwrap())
    };
    assert_eq!(ask(&roots).await.json()["node"], site.node.status().await.unwrap()["node"]);
    let other = folder.path().join("none.pem");
    std::fs::write(&other, "").unwrap();
    ask(&other).await.failed(1, &[&url, "ca-certificates"]);
}
