//! `add-transaction`, `status`, `up` and others against fake nodes; the tests of the node use real
//! ones.

#![cfg(unix)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use meshpool::NodeKey;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::Transaction;
use meshpool::signing;
use rustix::process::Signal;
use serde_json::Value;
use support::{Behaviour, FakeNode, Outcome, RunningTask, TestWorkspace, lock, serve, unresponsive};

fn linked() -> Behaviour {
    Behaviour { links: 2, ..Behaviour::default() }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

#[test]
fn a_transaction_is_stamped_stored_and_counted_in_the_pools() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), linked());
    let _two = FakeNode::start(&workspace.folder(2), linked());
    let out = workspace.run(&["add-transaction", r#"{"amount": 5}"#]).done();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].len() == 64, "{out}");
    assert_eq!(lines[1..], ["stored in node-1, and sent on 2 links; not signed", "in 2 of 2 pools"]);
    let sent = json(&one.received.recv().expect("sent"));
    assert!(
        sent["amount"] == 5 && sent["id"].is_string() && sent["timeStamp"].is_number() && sent["hash"].is_string(),
        "{sent}"
    );
}

#[test]
fn a_transaction_is_signed_with_the_key_of_the_folder_unless_it_shall_not_be() {
    let workspace = TestWorkspace::new();
    let folder = workspace.folder(1);
    let key = NodeKey::load_or_create(&folder).expect("a key").node_id().to_string();
    let one = FakeNode::start(&folder, linked());
    let sent = |arguments: &[&str]| {
        let out = workspace.run(&[&["add-transaction"], arguments].concat()).done();
        (out, json(&one.received.recv().expect("sent")))
    };
    let shown = format!("; signed by {}, verified", &key[..8]);
    for arguments in [&[r#"{"amount":5}"#][..], &[]] {
        let (out, sent) = sent(arguments);
        assert!(out.contains(&shown), "{out}");
        assert_eq!((sent["publicKey"].as_str(), sent["signature"].as_str().map(str::len)), (Some(&*key), Some(128)));
    }
    for flag in ["--unsigned", "--raw"] {
        let (out, sent) = sent(&[flag, r#"{"amount":5}"#]);
        assert!(out.contains("; not signed") && sent.get("publicKey").is_none(), "{out} {sent}");
    }
    let (out, own) = sent(&[r#"{"publicKey":"mine","signature":"mine"}"#]);
    assert!(out.contains("; forged: its publicKey is not 64 lower-case"), "{out}");
    assert_eq!((&own["publicKey"], &own["signature"]), (&"mine".into(), &"mine".into()), "what a person wrote stays");

    let file = workspace.path("many.jsonl");
    fs::write(&file, "{\"n\":1}\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(sent(&["--file", file]).1["publicKey"].as_str(), Some(&*key));
    assert!(sent(&["--file", file, "--unsigned"]).1.get("publicKey").is_none());

    fs::write(folder.join("node.key"), "no key").expect("written");
    let outcome = workspace.run(&["add-transaction", "{}"]);
    outcome.failed(&["nothing was sent", "node.key is broken", "--unsigned"]);
}

#[test]
fn what_stands_in_a_file_is_listed_with_its_signers() {
    let workspace = TestWorkspace::new();
    workspace.run(&["transactions"]).failed(&["no node folder", "clone-node"]);
    let folder = workspace.folder(1);
    workspace.run(&["transactions"]).failed(&["node-1/transactions.json cannot be read"]);
    let key = NodeKey::load_or_create(&folder).expect("a key");
    let mut parser = Parser::new();
    let plain = Transaction::parse(&mut parser, r#"{"amount":1}"#).expect("a transaction");
    let signed = signing::sign(&key, &mut parser, plain.clone()).expect("signed");
    let forged = signed.body().replace(":1", ":2");
    fs::write(folder.join("transactions.json"), format!("[{},{},{forged}]", plain.body(), signed.body()))
        .expect("written");
    let out = workspace.run(&["transactions", "--last", "2"]).done();
    assert!(out.contains(&format!("verified {}", key.node_id().short())) && out.contains("FORGED"), "{out}");
    assert!(out.ends_with("node-1 holds 3 transactions: 1 verified, 1 unsigned, 1 forged\n"), "{out}");
    assert_eq!(out.lines().count(), 4, "a heading, two rows, the sum: {out}");
    fs::write(folder.join("transactions.json"), "[{").expect("written");
    workspace.run(&["transactions", "--node", "1"]).failed(&["is no array just now"]);
}

#[test]
fn no_peers_and_a_pool_that_lacks_it_are_said() {
    let workspace = TestWorkspace::new();
    let _one = FakeNode::start(&workspace.folder(1), Behaviour::default());
    let _two = FakeNode::start(&workspace.folder(2), Behaviour { forgetful: true, ..linked() });
    let out = workspace.run(&["add-transaction", "--raw", r#"{"amount":5}"#]).done();
    assert!(out.contains("no peers: nobody else has it yet"), "{out}");
    assert!(out.contains("in 1 of 2 pools after 2 s: not yet in node-2"), "{out}");
}

#[test]
fn the_node_of_the_folder_is_asked_or_the_one_named() {
    let workspace = TestWorkspace::new();
    let _one = FakeNode::start(&workspace.folder(1), linked());
    let folder = workspace.folder(2);
    let two = FakeNode::start(&folder, linked());
    let mut command = workspace.command(&["add-transaction"]);
    Outcome::of(command.current_dir(&folder).output().expect("started")).done();
    let reward = json(&two.received.recv().expect("sent"));
    assert!(reward["fromAddress"].is_null() && reward["toAddress"] == "key" && reward["amount"] == 100, "{reward}");
    workspace.run(&["add-transaction", "--node", "2", "--raw", r#"{"b":1,"a":2}"#]).done();
    assert_eq!(two.received.recv().expect("sent"), r#"{"b":1,"a":2}"#);
    workspace.run(&["add-transaction", "--node", "9", "{}"]).failed(&["there is no node-9", "node-1, node-2"]);
}

#[test]
fn a_refusal_is_a_failure_with_its_reason() {
    let workspace = TestWorkspace::new();
    let _one = FakeNode::start(&workspace.folder(1), Behaviour { refuses: Some("amount"), ..linked() });
    workspace.run(&["add-transaction", r#"{"amount":5}"#]).failed(&["node-1 refused", "the pool is full"]);
}

#[test]
fn bad_input_is_one_line_and_nothing_is_sent() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), linked());
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000));
    let larger = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(50_000));
    for (text, parts) in [
        (r#"{"amount":"#, &["nothing was sent", "byte 10", "single quotes"][..]),
        ("[1]", &["nothing was sent", "an array"]),
        ("12", &["nothing was sent", "a number"]),
        (r#"{"n":12345678901234567891}"#, &["nothing was sent", "12345678901234567891"]),
        ("", &["nothing was sent"]),
    ] {
        workspace.run(&["add-transaction", text]).failed(parts);
    }
    let number = workspace.run(&["add-transaction", r#"{"n":1.00000000000000001}"#]);
    assert!(number.error.contains("JavaScript") && !number.error.contains("quotes"), "{number:?}");
    // These fit into an argument and under the limit of 256 KiB; a file tests the limit.
    workspace.run(&["add-transaction", &large]).done();
    workspace.run(&["add-transaction", &larger]).done();
    assert_eq!(one.received.try_iter().count(), 2);
}

#[test]
fn nobody_running_is_said_with_the_remedy() {
    let workspace = TestWorkspace::new();
    workspace.run(&["add-transaction", "{}"]).failed(&["no node is running", "cargo xtask up 3"]);
    workspace.run(&["status"]).failed(&["no node is running", "cargo xtask up 3"]);
    workspace.folder(3);
    workspace.run(&["status"]).failed(&["no node is running", "cd node-3 && cargo run"]);
    workspace.run(&["add-transaction", "{}"]).failed(&["no node is running", "cd node-3 && cargo run"]);
}

/// Two clones of this repository use the same ports.
#[test]
fn a_node_of_another_workspace_is_not_taken_for_one_of_this() {
    let (here, elsewhere) = (TestWorkspace::new(), TestWorkspace::new());
    let other = elsewhere.folder(1);
    let node = FakeNode::start(&other, linked());
    let address = std::fs::read_to_string(other.join("node.lock")).expect("written");
    let port = address.trim().rsplit(':').next().expect("a port");
    let folder = here.folder(1);
    std::fs::write(folder.join(".env"), format!("PORT={port}\n")).expect("written");
    for key in [false, true] {
        if key {
            meshpool::NodeKey::load_or_create(&folder).expect("made");
        }
        for task in [&["status"][..], &["add-transaction", "{}"], &["broadcast", "hello"]] {
            here.run(task).failed(&["no node is running"]);
        }
        let foreign = ["node-1 is not running", port, "of another folder", "PORT in node-1/.env"];
        here.run(&["status", "--node", "1"]).failed(&foreign);
        here.run(&["add-transaction", "--node", "1", "{}"]).failed(&foreign);
    }
    assert_eq!(node.received.try_iter().count(), 0);
}

/// A node closes a client that sends nothing for 5 s, while another node may not answer for longer.
#[test]
fn a_node_that_does_not_answer_hides_no_other() {
    let workspace = TestWorkspace::new();
    let _silent = unresponsive(&workspace.folder(2));
    for task in [&["status"][..], &["add-transaction", "{}"], &["network"], &["invite"], &["status", "--node", "2"]] {
        let outcome = workspace.run(task);
        assert!(!outcome.error.contains("no node is running"), "{task:?}: {outcome:?}");
        outcome.failed(&["node-2 does not answer: ws://localhost:"]);
    }
    let _one = FakeNode::start(&workspace.folder(1), linked());
    let _three = FakeNode::start(&workspace.folder(3), linked());
    let outcome = workspace.run(&["status"]);
    assert!(outcome.error.starts_with("warning: node-2 does not answer: "), "{outcome:?}");
    assert!(!outcome.error.contains("unconfirmed"), "{outcome:?}");
    let out = outcome.done();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[1].starts_with("node-1 ") && lines[2].starts_with("node-3 "), "{out}");
    let out = workspace.run(&["add-transaction", "{}"]).done();
    assert!(out.contains("stored in node-1"), "{out}");
    assert!(out.ends_with("in 2 of 2 pools; node-2 does not answer\n"), "{out}");
}

#[test]
fn a_file_is_sent_line_by_line_and_bad_lines_are_told() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), Behaviour { refuses: Some("\"n\":7,"), ..linked() });
    let mut text: String = (0..3_000).map(|n| format!("{{\"n\":{n},\"m\":0}}\n")).collect();
    text += "\n[1]\n{\"a\n";
    text += &format!("{{\"large\":\"{}\"}}\r\n{{\"last\":1}}", "x".repeat(300_000));
    fs::write(workspace.path("many"), text).expect("written");
    let outcome = workspace.run(&["add-transaction", "--file", "many"]);
    assert_eq!(outcome.code, Some(1));
    let shown: Vec<_> = outcome.error.lines().filter_map(|line| line.split(" is refused: ").next()).collect();
    for line in ["line 8", "line 3002", "line 3003", "line 3004"] {
        assert!(shown.contains(&line), "{line}: {}", outcome.error);
    }
    assert_eq!(shown.len(), 4, "{}", outcome.error);
    assert!(
        outcome.out.starts_with("3000 stored in node-1, sent on 2 links, 0 known there already, 4 refused in "),
        "{}",
        outcome.out
    );
    assert!(outcome.out.ends_with("in 1 of 1 pools\n"), "{}", outcome.out);
    assert_eq!(one.received.try_iter().count(), 3_001);
}

#[test]
fn the_file_of_a_pool_is_sent_element_by_element() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), linked());
    let rows: Vec<Value> = (0..300).map(|n| serde_json::json!({ "n": n, "to": "]},{\"" })).collect();
    fs::write(workspace.path("pool.json"), serde_json::to_string_pretty(&rows).expect("written")).expect("written");
    let out = workspace.run(&["add-transaction", "--file", "pool.json", "--raw"]).done();
    assert!(out.starts_with("300 stored in node-1, sent on 2 links, 0 known there already, 0 refused in "), "{out}");
    assert_eq!(one.received.try_iter().map(|text| json(&text)).collect::<Vec<_>>(), rows);
    fs::write(workspace.path("compact.json"), serde_json::to_string(&rows).expect("written")).expect("written");
    workspace.run(&["add-transaction", "--file", "compact.json", "--no-wait", "--raw"]).done();
    assert_eq!(one.received.iter().take(300).count(), 300);
    fs::write(workspace.path("cut.json"), r#"[{"a":1},{"b":"#).expect("written");
    let outcome = workspace.run(&["add-transaction", "--file", "cut.json"]);
    assert!(outcome.error.contains("element 2 is refused: element 2 is cut off"), "{outcome:?}");
    assert_eq!((outcome.code, one.received.try_iter().count()), (Some(1), 1));
}

#[test]
fn an_input_of_another_form_ends_after_ten_refusals() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), Behaviour { refuses: Some("no"), ..linked() });
    for extra in [&[][..], &["--no-wait"]] {
        for text in ["ann,bob,5\n".repeat(2_000), format!("[{}1]", "1,".repeat(2_000))] {
            fs::write(workspace.path("other"), &text).expect("written");
            let outcome = workspace.run(&[&["add-transaction", "--file", "other"], extra].concat());
            assert!(outcome.error.lines().count() < 15, "{}", outcome.error);
            outcome.failed(&["stopped at", " 10, the tenth in a row", "one JSON object per line, or a JSON array"]);
        }
    }
    // A few refusals, and nothing else.
    for text in ["{\"a\":1}{\"b\":2}\n", "// pool\n[{\"a\":1}]\n", "[[1],[2]]", "null"] {
        fs::write(workspace.path("other"), text).expect("written");
        let outcome = workspace.run(&["add-transaction", "--file", "other"]);
        outcome.failed(&["nothing in the input is a transaction", "one JSON object per line, or a JSON array"]);
    }
    fs::write(workspace.path("other.gz"), b"\x1F\x8B\x08\0\0\0\0\0\0\x03").expect("written");
    workspace.run(&["add-transaction", "--file", "other.gz"]).failed(&["other.gz cannot be sent", "gunzip -c"]);
    workspace.run(&["add-transaction", "--file", "node-1"]).failed(&["node-1 is a folder; name a file in it"]);
    assert_eq!(one.received.try_iter().count(), 0);
    fs::write(workspace.path("refused"), "{\"no\":1}\n".repeat(20_000)).expect("written");
    let outcome = workspace.run(&["add-transaction", "--file", "refused"]);
    assert!(outcome.error.lines().count() < 15, "{}", outcome.error);
    outcome.failed(&["stopped: node-1 refused ten in a row", "the pool is full"]);
    assert!(one.received.try_iter().count() < 5_000, "the rest is not sent");
}

#[test]
fn standard_input_is_read_to_its_end() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), linked());
    let mut child = workspace
        .command(&["add-transaction", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"{\"a\":1}\n").expect("written");
    // The first line is sent while the source is still open.
    assert!(one.received.recv().expect("sent").starts_with(r#"{"a":1,"#));
    stdin.write_all(b"{\"a\":2}").expect("written");
    drop(stdin);
    let out = Outcome::of(child.wait_with_output().expect("waited for")).done();
    assert!(out.starts_with("2 stored in node-1"), "{out}");
    workspace.run(&["add-transaction", "--file", "missing"]).failed(&["missing cannot be read"]);
}

#[test]
fn a_node_of_the_exercise_gets_it_and_nothing_is_claimed() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), Behaviour { exercise: true, ..linked() });
    let out = workspace.run(&["add-transaction", "--raw", r#"{"a":1}"#]).done();
    assert!(out.contains("whether it is stored is not known"), "{out}");
    assert_eq!(one.received.recv().expect("sent"), r#"{"a":1}"#);
    workspace.run(&["status"]).failed(&["node-1 is a node of the exercise, which reports no status"]);
    fs::write(workspace.path("many"), "{\"a\":2}\n{}").expect("written");
    assert!(workspace.run(&["add-transaction", "--file", "many"]).done().starts_with("2 lines sent to node-1"));
}

#[test]
fn without_waiting_nothing_is_claimed() {
    let workspace = TestWorkspace::new();
    let one = FakeNode::start(&workspace.folder(1), linked());
    let out = workspace.run(&["add-transaction", "--no-wait", r#"{"a":1}"#]).done();
    assert!(out.contains("not waited for"), "{out}");
    assert_eq!(one.received.try_iter().count(), 1, "the close was answered, so it was read");
}

#[test]
fn status_lists_the_running_nodes() {
    let workspace = TestWorkspace::new();
    let _one = FakeNode::start(&workspace.folder(1), linked());
    workspace.folder(2);
    let _three = FakeNode::start(&workspace.folder(3), linked());
    let out = workspace.run(&["status"]).done();
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[1].starts_with("node-1 ") && lines[2].starts_with("node-3 ") && lines[2].contains("07070707"),
        "{out}"
    );
    assert_eq!(lines[3], "the pools agree: 2 nodes hold the same 5 transactions");
    let shown = json(&workspace.run(&["status", "--json"]).done());
    assert_eq!(shown["nodes"][1]["name"], "node-3");
    assert_eq!(shown["nodes"][1]["status"]["pool"]["count"], 5);
    assert_eq!(shown["poolsAgree"], true);
    let one = workspace.run(&["status", "--node", "3"]).done();
    assert!(one.contains("peers (links to all"), "{one}");
    assert!(one.ends_with("ws://localhost:9 *  declined, asked again in 30 s\n"), "{one}");
    workspace.run(&["status", "--node", "2"]).failed(&["node-2 is not running", "PORT=0", "cargo run"]);
}

/// Starts `up` with this test binary's [`a_node_for_up`] as the node.
fn up(workspace: &TestWorkspace, nodes: &str, behaviour: &str) -> RunningTask {
    RunningTask::start(&mut up_command(workspace, nodes, behaviour))
}

fn up_command(workspace: &TestWorkspace, nodes: &str, behaviour: &str) -> Command {
    let mut command = workspace.command(&["up", nodes, "--binary"]);
    command.arg(script(workspace)).env("NODE_FOR_UP", behaviour);
    command
}

/// A program that is the node of [`a_node_for_up`].
fn script(workspace: &TestWorkspace) -> PathBuf {
    let script = workspace.path("node.sh");
    let this = std::env::current_exe().expect("a path");
    let text = format!("#!/bin/sh\nexec '{}' --exact a_node_for_up --nocapture\n", this.display());
    fs::write(&script, text).expect("written");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set");
    script
}

/// Not a test: run inside a node's folder it is that node, until it is asked to end.
#[test]
fn a_node_for_up() {
    let Ok(behaviour) = std::env::var("NODE_FOR_UP") else {
        return;
    };
    let folder = std::env::current_dir().expect("a folder");
    if behaviour == "one dies" && folder.ends_with("node-2") {
        std::process::exit(3);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
        // From here on a signal ends it in order.
        eprintln!("its HTTP_PORT is {}", std::env::var("HTTP_PORT").as_deref().unwrap_or("unset"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let _lock = lock(&folder, &listener);
        eprintln!("it runs");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, folder) = (accepted.expect("a connection").0, folder.clone());
                    tokio::spawn(async move { serve(stream, &folder, &Behaviour::default(), |_| {}).await });
                }
                _ = terminate.recv() => {
                    eprintln!("asked to end, {behaviour}");
                    match &*behaviour {
                        "stubborn" => {}
                        "ends with an error" => std::process::exit(1),
                        _ => std::process::exit(0),
                    }
                }
            }
        }
    });
}

#[test]
fn up_makes_starts_and_stops() {
    let workspace = TestWorkspace::new();
    let up = up(&workspace, "3", "good");
    assert!(up.wait_for("the mesh is complete").contains("3 nodes"));
    up.wait_for("cargo xtask transactions --node 3");
    assert_eq!(workspace.nodes(), ["node-1", "node-2", "node-3"]);
    workspace.run(&["delete-nodes"]).failed(&["3 nodes still run", "node-2 (process ", "cargo xtask down"]);
    assert_eq!(workspace.run(&["status"]).done().lines().count(), 5);
    workspace.run(&["up", "3"]).failed(&["nothing to start"]);
    up.signal(Signal::INT);
    up.wait_for("stopping 3 nodes");
    let line = up.wait_for("asked to end, good");
    assert!(line.starts_with("node-") && line.contains(" | "), "{line}");
    up.wait_for("all nodes have ended");
    assert_eq!(up.end(), Some(0));
    workspace.free_ports();
    workspace.run(&["delete-nodes"]).done();
}

#[test]
fn up_tells_the_pages_that_the_nodes_have_and_leaves_out_those_that_are_off() {
    let workspace = TestWorkspace::new();
    // The default port of node-1's page is that of another program, and node-3 has a path.
    for (number, page) in [(1, "http://localhost:35123"), (2, ""), (3, "http://localhost:8125/node-3")] {
        fs::write(workspace.folder(number).join("page"), page).expect("written");
    }
    let three = up(&workspace, "3", "good");
    let line = three.wait_for("pages: ");
    assert!(line.ends_with("pages: http://localhost:35123 http://localhost:8125/node-3"), "{line}");
    three.signal(Signal::TERM);
    assert_eq!(three.end(), Some(0));
    for number in [1, 3] {
        fs::remove_file(workspace.path(&format!("node-{number}/page"))).expect("removed");
    }
    let three = up(&workspace, "3", "good");
    three.wait_for("cargo xtask transactions --node 3");
    assert!(three.wait_for("").ends_with("Ctrl+C stops all of them"), "no word of pages");
    three.signal(Signal::TERM);
    assert_eq!(three.end(), Some(0));
}

#[test]
fn up_leaves_running_nodes_alone_and_goes_on_without_one_that_dies() {
    let workspace = TestWorkspace::new();
    let _three = FakeNode::start(&workspace.folder(3), linked());
    let up = up(&workspace, "3", "one dies");
    assert!(up.wait_for("node-3 runs already").contains("ws://127.0.0.1:"));
    up.wait_for("node-2 has ended on its own (exit status: 3)");
    up.wait_for("the mesh is complete: 2 nodes");
    up.signal(Signal::TERM);
    up.wait_for("stopping 1 node");
    up.wait_for("all nodes have ended, not all without an error");
    assert_eq!(up.end(), Some(1), "one died");
}

#[test]
fn up_kills_what_does_not_end() {
    let workspace = TestWorkspace::new();
    let up = up(&workspace, "1", "stubborn");
    up.wait_for("the node is up, alone");
    up.signal(Signal::TERM);
    up.wait_for("asked to end, stubborn");
    up.wait_for("1 node did not end within 12 s and is killed");
    up.wait_for("ended with signal: 9");
    assert_eq!(up.end(), Some(1), "it may have lost transactions");
}

#[test]
fn up_fails_if_a_node_could_not_store_all() {
    let workspace = TestWorkspace::new();
    let up = up(&workspace, "1", "ends with an error");
    up.wait_for("the node is up, alone");
    up.signal(Signal::TERM);
    up.wait_for("node-1 ended with exit status: 1");
    up.wait_for("all nodes have ended, not all without an error");
    assert_eq!(up.end(), Some(1));
}

/// The process that runs in a folder.
fn process(workspace: &TestWorkspace, node: &str) -> u32 {
    let lock = fs::read_to_string(workspace.path(&format!("{node}/node.lock"))).expect("read");
    lock.lines().next().and_then(|line| line.parse().ok()).expect("a process id")
}

#[test]
fn down_stops_what_a_killed_up_left() {
    let workspace = TestWorkspace::new();
    assert_eq!(workspace.run(&["down"]).done(), "no node runs\n");
    let killed = up(&workspace, "3", "good");
    killed.wait_for("the mesh is complete");
    killed.signal(Signal::KILL);
    assert_eq!(killed.end(), None);
    let two = process(&workspace, "node-2");
    workspace.run(&["delete-nodes"]).failed(&[&format!("node-2 (process {two}, ws://127.0.0.1:")]);
    let out = workspace.run(&["down", "--node", "2"]).done();
    assert!(
        out.starts_with(&format!("node-2 (process {two}, ")) && out.ends_with("has ended\n1 node stopped\n"),
        "{out}"
    );
    let out = workspace.run(&["down", "1"]).done();
    assert!(out.starts_with("node-1 ") && out.ends_with("1 node stopped\n"), "{out}");
    assert!(workspace.run(&["down"]).done().starts_with("node-3 "));
    workspace.free_ports();
    workspace.run(&["delete-nodes"]).done();
    workspace.run(&["down", "--node", "2"]).failed(&["there is no node-2"]);
}

#[test]
fn up_ends_without_an_error_once_down_has_stopped_its_nodes() {
    let workspace = TestWorkspace::new();
    let two = up(&workspace, "2", "good");
    two.wait_for("the mesh is complete");
    workspace.run(&["down", "--node", "2"]).done();
    two.wait_for("node-2 was stopped");
    workspace.run(&["down"]).done();
    two.wait_for("all nodes were stopped");
    assert_eq!(two.end(), Some(0));
}

#[test]
fn down_stops_the_nodes_that_a_killed_lesson_left_and_delete_nodes_removes_its_folder() {
    let workspace = TestWorkspace::new();
    let lesson = workspace.path("target/lesson-2");
    let folder = lesson.join("node-1");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join(".env"), "PORT=0\n").expect("written");
    let task = meshpool::binary::system::try_lock(&lesson.join(".task.lock")).expect("free");
    let mut node = Command::new(script(&workspace));
    node.env("NODE_FOR_UP", "good").current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut node = node.spawn().expect("started");
    let mut lines = BufReader::new(node.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "it runs"));
    // A lesson that lives ends its nodes itself.
    assert_eq!(workspace.run(&["down"]).done(), "no node runs\n");
    workspace.run(&["delete-nodes"]).done();
    assert!(folder.exists());

    drop(task);
    workspace.run(&["delete-nodes"]).failed(&["nothing was removed", "target/lesson-2/node-1 (process ", "down"]);
    let out = workspace.run(&["down"]).done();
    assert!(out.starts_with("target/lesson-2/node-1 (process ") && out.ends_with("1 node stopped\n"), "{out}");
    assert!(node.wait().expect("waited for").success());
    let out = workspace.run(&["delete-nodes"]).done();
    assert!(out.contains("removed target/lesson-2, left by a lesson that was killed"), "{out}");
    assert!(!lesson.exists());
}

/// Elsewhere the system does not say what a process has open.
#[cfg(target_os = "linux")]
#[test]
fn delete_nodes_kills_nothing_that_a_killed_lesson_left() {
    let workspace = TestWorkspace::new();
    let lesson = workspace.path("target/lesson");
    let start = || {
        fs::create_dir_all(lesson.join("node-6")).expect("made");
        let log = fs::File::create(lesson.join("node-6/log")).expect("made");
        let mut node = Command::new("sleep");
        meshpool::binary::system::leave_group(node.arg("600").stdout(log));
        let node = node.spawn().expect("started");
        fs::write(lesson.join(".task.lock"), format!("{} node-6/log\n", node.id())).expect("written");
        node
    };
    let mut node = start();
    let shown = format!("1 node still runs: process {} of target/lesson; stop it with `cargo xtask down`", node.id());
    workspace.run(&["delete-nodes"]).failed(&["nothing was removed", &shown, "--force"]);
    assert!(lesson.exists() && node.try_wait().expect("asked").is_none(), "it runs on");
    workspace.run(&["delete-nodes", "--force"]).done();
    assert!(!lesson.exists() && node.try_wait().expect("asked").is_none(), "it runs on without its folder");
    node.kill().and_then(|()| node.wait()).expect("ended");

    let mut node = start();
    assert!(workspace.run(&["down"]).done().contains("1 node of the exercise in target/lesson killed"));
    assert!(!node.wait().expect("waited for").success());
    workspace.run(&["delete-nodes"]).done();
    assert!(!lesson.exists());
}

/// A node of the exercise has no lock.
#[test]
fn the_folder_of_a_program_that_listens_on_its_port_is_kept() {
    let workspace = TestWorkspace::new();
    let folder = workspace.folder(2);
    workspace.folder(1);
    let listener = unresponsive(&folder);
    let port = listener.local_addr().expect("bound").port();
    let part = format!("a program listens on port {port} of node-2");
    workspace.run(&["delete-nodes"]).failed(&["nothing was removed", &part, "Ctrl+C", "--force"]);
    assert_eq!(workspace.nodes(), ["node-1", "node-2"]);
    workspace.run(&["delete-nodes", "--force"]).done();
    assert!(workspace.nodes().is_empty());
    let folder = workspace.folder(2);
    fs::write(folder.join(".env"), format!("PORT={port}\n")).expect("written");
    drop(listener);
    workspace.run(&["delete-nodes"]).done();
}

#[test]
fn down_kills_what_does_not_end_and_signals_no_stranger() {
    let workspace = TestWorkspace::new();
    let stubborn = up(&workspace, "1", "stubborn");
    stubborn.wait_for("the node is up, alone");
    let out = workspace.run(&["down", "--kill"]).done();
    assert!(out.contains(" was killed\n"), "{out}");
    assert_eq!(stubborn.end(), Some(1), "its only node has ended");
    // A lock that names another process than the one that holds it, as from within a container.
    let lock = File::create(workspace.path("node-1/node.lock")).expect("made");
    lock.try_lock().expect("free");
    let mut bystander = Command::new("sleep").arg("600").spawn().expect("started");
    fs::write(workspace.path("node-1/node.lock"), format!("{}\nws://localhost:1\n", bystander.id())).expect("written");
    workspace.run(&["down"]).failed(&["not stopped: node-1", "container", "stop it where it was started"]);
    assert!(bystander.try_wait().expect("asked").is_none(), "it runs on");
    bystander.kill().expect("ended");
    bystander.wait().expect("waited for");
}

#[test]
fn up_leaves_detached_nodes_with_their_logs() {
    let workspace = TestWorkspace::new();
    workspace.run(&["logs"]).failed(&["there is no log", "up --detach"]);
    let detach = || {
        let outcome = Outcome::of(up_command(&workspace, "2", "good").arg("--detach").output().expect("started"));
        assert!(outcome.error.contains("the mesh is complete: 2 nodes"), "{outcome:?}");
        assert!(outcome.error.contains("`cargo xtask down` stops them"), "{outcome:?}");
        outcome.done();
    };
    detach();
    assert_eq!(workspace.run(&["status"]).done().lines().count(), 3 + 1);
    let out = workspace.run(&["logs"]).done();
    assert!(out.contains("node-1 | its HTTP_PORT is unset") && out.contains("node-2 | its HTTP_PORT"), "{out}");
    assert_eq!(workspace.run(&["logs", "--last", "1", "--node", "2"]).done().lines().count(), 1);
    let mut follow = workspace.command(&["logs", "--follow", "--last", "0"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert_eq!(workspace.run(&["down"]).done().lines().count(), 3);
    assert!(lines.any(|line| line == "node-2 | asked to end, good"));
    detach();
    assert!(lines.any(|line| line.starts_with("node-1 | its HTTP_PORT")), "the log of the next run");
    assert!(workspace.path("node-1/node.log.1").is_file(), "and that of the one before is kept");
    workspace.run(&["down"]).done();
    follow.kill().expect("ended");
    follow.wait().expect("waited for");
    let outcome = Outcome::of(up_command(&workspace, "2", "one dies").arg("--detach").output().expect("started"));
    assert!(outcome.error.contains("node-2 has ended on its own (exit status: 3)"), "{outcome:?}");
    assert_eq!(outcome.code, Some(1));
    workspace.run(&["down"]).done();
}

#[test]
fn up_takes_a_doubled_signal_for_one_and_a_second_for_haste() {
    let workspace = TestWorkspace::new();
    let patient = up(&workspace, "2", "good");
    patient.wait_for("the mesh is complete");
    patient.signal(Signal::INT);
    patient.signal(Signal::INT);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("all nodes have ended")) {
        lines.push(patient.wait_for(""));
    }
    assert!(lines.iter().all(|line| !line.contains("killed") && !line.contains("signal: 9")), "{lines:#?}");
    assert_eq!(patient.end(), Some(0));

    let hasty = up(&workspace, "1", "stubborn");
    hasty.wait_for("the node is up, alone");
    hasty.signal(Signal::INT);
    hasty.wait_for("Ctrl+C again kills");
    hasty.signal(Signal::INT);
    hasty.wait_for("second request: 1 node that had not ended is killed");
    hasty.wait_for("ended with signal: 9");
    assert_eq!(hasty.end(), Some(1));
}

#[test]
fn up_leaves_out_an_exported_port_that_several_nodes_would_share() {
    let workspace = TestWorkspace::new();
    let mut command = up_command(&workspace, "2", "good");
    let two = RunningTask::start(command.env("HTTP_PORT", "8123"));
    let said = two.wait_for("HTTP_PORT=8123 is exported");
    assert!(said.contains("2 nodes cannot share a port") && said.contains("unset HTTP_PORT"), "{said}");
    for _ in 0..2 {
        two.wait_for("its HTTP_PORT is unset");
    }
    two.signal(Signal::TERM);
    assert_eq!(two.end(), Some(0));
    for (nodes, port) in [("1", "8123"), ("2", "0")] {
        let mut command = up_command(&workspace, nodes, "good");
        let all = RunningTask::start(command.env("HTTP_PORT", port));
        all.wait_for(&format!("its HTTP_PORT is {port}"));
        all.wait_for("Ctrl+C stops all of them");
        all.signal(Signal::TERM);
        assert_eq!(all.end(), Some(0));
    }
}

#[test]
fn up_ends_when_all_nodes_have() {
    let workspace = TestWorkspace::new();
    fs::create_dir(workspace.path("node-1")).expect("made");
    workspace.run(&["up", "1"]).failed(&["node-1", "no .env", "move it away"]);
    fs::remove_dir(workspace.path("node-1")).expect("removed");
    let script = workspace.path("false");
    std::os::unix::fs::symlink("/bin/false", &script).expect("linked");
    let outcome = workspace.run(&["up", "2", "--binary", "false"]);
    assert!(outcome.error.contains("node-1 has ended on its own (exit status: 1)"), "{outcome:?}");
    outcome.failed(&["every node has ended"]);
}

#[test]
fn a_text_is_said_by_a_node_and_the_links_are_told() {
    let workspace = TestWorkspace::new();
    workspace.run(&["broadcast", "hello"]).failed(&["no node is running", "cargo xtask up 3"]);
    let one = FakeNode::start(&workspace.folder(1), linked());
    let out = workspace.run(&["broadcast", "hello, all"]).done();
    assert_eq!(
        (out.as_str(), one.received.recv().expect("sent").as_str()),
        ("sent by node-1, on 2 links\n", "hello, all")
    );
    let folder = workspace.folder(2);
    let two = FakeNode::start(&folder, Behaviour::default());
    let mut command = workspace.command(&["broadcast", "alone"]);
    let out = Outcome::of(command.current_dir(&folder).output().expect("started")).done();
    assert!(out.starts_with("sent by node-2, but this node has no peers: nobody else has it"), "{out}");
    workspace.run(&["broadcast", "--node", "2", "named"]).done();
    assert_eq!(two.received.iter().take(2).collect::<Vec<_>>(), ["alone", "named"]);
    workspace.run(&["broadcast", ""]).failed(&["nothing was sent", "empty"]);
    workspace.run(&["broadcast", &"x".repeat(20_000)]).failed(&["nothing was sent", "20000 bytes", "16384"]);
    let _plain = FakeNode::start(&workspace.folder(3), Behaviour { exercise: true, ..Behaviour::default() });
    workspace.run(&["broadcast", "--node", "3", "hello"]).failed(&["node-3 is a node of the exercise", "--node"]);
}

#[test]
fn the_network_is_listed_and_drawn() {
    let workspace = TestWorkspace::new();
    workspace.run(&["network"]).failed(&["no node is running"]);
    let _one = FakeNode::start(&workspace.folder(1), linked());
    let out = workspace.run(&["network", "--svg", "net.svg"]).done();
    assert!(out.ends_with("3 nodes in the network, as node-1 sees it\n"), "{out}");
    let row = out.lines().nth(1).expect("a row");
    assert!(row.starts_with("localhost:4001  01010101  ") && row.ends_with("localhost:4002, localhost:4003"), "{out}");
    let picture = fs::read_to_string(workspace.path("net.svg")).expect("drawn");
    assert!(picture.starts_with("<svg ") && picture.matches("<circle ").count() == 3, "{picture}");
    let shown = json(&workspace.run(&["network", "--json", "--node", "1"]).done());
    assert_eq!((&shown["askedOf"], shown["nodes"].as_array().map(Vec::len)), (&Value::from("node-1"), Some(3)));
    workspace.run(&["network", "--svg", "nowhere/net.svg"]).failed(&["nowhere/net.svg cannot be written"]);
    let _plain = FakeNode::start(&workspace.folder(2), Behaviour { exercise: true, ..Behaviour::default() });
    workspace.run(&["network", "--node", "2"]).failed(&["is a node of the exercise"]);
}
