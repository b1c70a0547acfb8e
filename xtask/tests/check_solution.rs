//! `check-solution` on our own node, which fulfils every story, and on nodes of the exercise in
//! JavaScript, each of which fails where its fault is.

#![cfg(unix)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{PATIENCE, TestWorkspace, whole};

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// Checks the solution in `node-1`; returns the exit code and the names of the stories that failed.
fn check(workspace: &TestWorkspace, command: &str) -> (Option<i32>, Vec<String>) {
    let arguments = ["check-solution", "node-1", "--json", "--command", command];
    let output = workspace.command(&arguments).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let stories = verdicts["stories"].as_array().expect("stories");
    let failed: Vec<&Value> = stories.iter().filter(|story| story["passed"] == false).collect();
    assert_eq!(verdicts["failed"], failed.len());
    assert_eq!(verdicts["passed"], stories.len() - failed.len());
    for story in &failed {
        for part in ["sent", "expected", "came", "hint"] {
            assert!(story["failure"][part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {story}");
        }
    }
    assert_no_copies(workspace);
    let name = |story: &&Value| story["name"].as_str().expect("a name").to_owned();
    (output.status.code(), failed.iter().map(name).collect())
}

#[track_caller]
fn assert_no_copies(workspace: &TestWorkspace) {
    let left = fs::read_dir(workspace.path(".")).expect("read").map(|entry| entry.expect("read").file_name());
    let copies: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".check-solution")).collect();
    assert!(copies.is_empty(), "{copies:?}");
}

/// Asserts that these stories fail for a node of the exercise with these faults, and no others
/// besides those that every one of them fails.
#[track_caller]
fn assert_fails(flags: &str, expected: &[&str]) {
    assert_fails_besides(flags, expected, &[]);
}

/// As `assert_fails`, where `either` may fail or not.
#[track_caller]
fn assert_fails_besides(flags: &str, expected: &[&str], either: &[&str]) {
    let interop = workspace_root().join("interop");
    if !interop.join("node_modules/ws").is_dir() {
        let remedy = "install Node.js 20.12 or newer and run `npm ci --prefix interop`";
        assert!(std::env::var_os("CI").is_none(), "{remedy}");
        return eprintln!("skipped: {remedy}");
    }
    let workspace = TestWorkspace::new();
    let folder = workspace.folder(1);
    fs::copy(interop.join("node.mjs"), folder.join("node.mjs")).expect("copied");
    symlink(interop.join("node_modules"), workspace.path("node_modules")).expect("linked");
    let (code, failed) = check(&workspace, &format!("node node.mjs {flags}"));
    let mut expected: Vec<&str> = ["not-json", "bad-handshake"].iter().chain(expected).copied().collect();
    expected.sort_unstable();
    let mut failed: Vec<&str> = failed.iter().map(String::as_str).filter(|name| !either.contains(name)).collect();
    failed.sort_unstable();
    assert_eq!((failed, code), (expected, Some(1)));
}

#[test]
fn our_node_fulfils_every_story() {
    let mut build = Command::new(env!("CARGO"));
    let built = build.args(["build", "--quiet", "-p", "meshpool"]).current_dir(workspace_root()).status();
    assert!(built.expect("cargo").success());
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("meshpool");
    let workspace = TestWorkspace::new();
    let folder = workspace.folder(1);
    // As `clone-node` makes them: each copy needs a key of its own.
    let env = format!("\u{feff}export PORT = 4001\n MY_PUBLIC_KEY = {}\n", "ab".repeat(32));
    fs::write(folder.join(".env"), env).expect("written");
    fs::write(folder.join("node.key"), "cd".repeat(32)).expect("written");
    assert_eq!(check(&workspace, &format!("{} --http-port 0", program.display())), (Some(0), vec![]));
}

#[test]
fn a_plain_node_of_the_exercise_dies_of_what_is_no_message() {
    assert_fails("", &[]);
}

#[test]
fn a_node_that_looks_at_no_type_takes_a_transaction_for_addresses() {
    let bonus = ["stores-transaction", "sends-on", "stores-once", "no-loop", "keeps-all"];
    assert_fails("--type-blind", &[&bonus[..], &["foreign-types", "reserialised", "restarts"]].concat());
}

#[test]
fn a_node_without_an_error_handler_dies_of_failed_dials() {
    assert_fails(
        "--no-error-handler",
        &["dials-again", "three-meet", "no-loop", "dead-address", "refused", "keeps-peers"],
    );
}

#[test]
fn a_node_that_knows_no_transaction_again_sends_it_in_a_circle() {
    assert_fails("--dedupe none", &["stores-once", "no-loop", "reserialised", "restarts"]);
}

#[test]
fn a_node_that_remembers_in_memory_alone_stores_twice_after_a_crash() {
    assert_fails("--dedupe set", &["restarts"]);
}

#[test]
fn a_node_that_forgets_a_live_peer_is_found_out() {
    // The second of three nodes dials the first, which lives, and the third, which does not yet.
    // It forgets the first only if the other dial fails after that.
    assert_fails_besides("--forgets", &["keeps-peers"], &["three-meet", "no-loop"]);
}

#[test]
fn a_node_that_sends_on_once_keeps_a_burst_for_itself() {
    assert_fails("--relays-once", &["keeps-all"]);
}

#[test]
fn what_cannot_be_checked_is_said_in_one_line() {
    let workspace = TestWorkspace::new();
    workspace.folder(1);
    let error = |arguments: &[&str]| {
        let mut command = workspace.command(arguments);
        let output = command.env("PORT", "1").env("MY_PUBLIC_KEY", "key").output().expect("started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (arguments, expected) in [
        (&["check-solution", "node-7"][..], "node-7 is no folder: name that of a node, such as node-1"),
        (&["check-solution", "node-1"], "says how to run it: add --command"),
        (
            &["check-solution", "node-1", "--command", "true", "--only", "listen"],
            "there is no story listen; choose of: listens, ",
        ),
        (
            &["check-solution", "node-1", "--command", "echo oh dear; exit 3"],
            "ended with exit status: 3 before it listened; it printed: oh dear",
        ),
        (
            &["check-solution", "node-1", "--command", "echo of its own: $PORT$MY_PUBLIC_KEY.; exit 3"],
            "it printed: of its own: .",
        ),
    ] {
        let (code, text) = error(arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{expected}: {text}");
    }
}

/// A check whose copy runs, and never listens.
struct Endless {
    check: Child,
    /// Its end is that of the copy, which holds it open as long as it runs.
    pipe: BufReader<File>,
}

impl Endless {
    fn start(workspace: &TestWorkspace) -> Self {
        workspace.folder(1);
        let pipe = workspace.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let command = "exec 3>../pipe; echo it runs >&3; exec sleep 600";
        let check = workspace.command(&["check-solution", "node-1", "--command", command]).spawn().expect("started");
        let mut pipe = BufReader::new(File::open(&pipe).expect("opened by both"));
        let mut line = String::new();
        pipe.read_line(&mut line).expect("read");
        assert_eq!(line, "it runs\n");
        Self { check, pipe }
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        let id = Pid::from_raw(self.check.id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("sent");
        self.check.wait().expect("ended").code()
    }

    #[track_caller]
    fn copy_ends(self) {
        assert_eq!(whole(Some(self.pipe)).recv_timeout(PATIENCE).expect("it has ended"), "");
    }
}

#[test]
fn a_check_that_is_stopped_leaves_no_copy_and_no_process() {
    let workspace = TestWorkspace::new();
    let mut endless = Endless::start(&workspace);
    assert_eq!(endless.signal(Signal::INT), Some(1));
    assert_no_copies(&workspace);
    endless.copy_ends();
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_killed_check_left_is_ended_and_removed_by_the_next() {
    let workspace = TestWorkspace::new();
    let mut endless = Endless::start(&workspace);
    assert_eq!(endless.signal(Signal::KILL), None);
    let next = workspace.run(&["check-solution", "node-1", "--command", "exit 3"]);
    assert!(next.error.contains("which a killed check left"), "{next:?}");
    next.failed(&["ended with exit status: 3"]);
    assert_no_copies(&workspace);
    endless.copy_ends();
}
