//! `lesson`: the steps are listed, and a lesson that is stopped leaves no process and no folder.
//! That every step happens as its text says is checked by `lesson --auto`, a step of `test`.

#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use meshpool::binary::system::is_running;
use rustix::process::{Pid, Signal, kill_process};
use support::TestWorkspace;

#[test]
fn the_steps_are_listed() {
    let out = TestWorkspace::new().run(&["lesson", "--list"]).done();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 8, "{out}");
    assert!(lines[0].starts_with("1  ") && lines[7].starts_with("8  "), "{out}");
}

#[test]
fn a_step_that_does_not_exist_is_refused() {
    for step in ["0", "9"] {
        let outcome = TestWorkspace::new().run(&["lesson", "--auto", "--step", step]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert_eq!(outcome.error, format!("error: there is no step {step}: choose 1 to 8\n"));
    }
}

/// A lesson whose first step runs its node.
struct Playing {
    lesson: Child,
    /// The process of node-1.
    node: u32,
    lock: PathBuf,
    /// It stops when nobody reads or types any more.
    _terminal: (ChildStdin, Lines<BufReader<ChildStdout>>),
}

impl Playing {
    fn start(workspace: &TestWorkspace, program: &Path) -> Self {
        let mut command = workspace.command(&["lesson", "--binary"]);
        command.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut lesson = command.spawn().expect("started");
        let mut keys = lesson.stdin.take().expect("piped");
        let mut lines = BufReader::new(lesson.stdout.take().expect("piped")).lines();
        // The first step has one node, which then runs.
        keys.write_all(b"\n").expect("written");
        let mut shown = lines.by_ref().map(|line| line.expect("UTF-8"));
        assert!(shown.any(|line| line.starts_with("node-1  ") && line.contains("listening on")), "a node runs");
        let lock = workspace.path("target/lesson/node-1/node.lock");
        let text = fs::read_to_string(&lock).expect("the node's lock");
        let node = text.lines().next().expect("a line").parse().expect("a process");
        Self { lesson, node, lock, _terminal: (keys, lines) }
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.lesson.id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("sent");
    }
}

#[test]
fn a_lesson_that_is_stopped_leaves_nothing_and_what_a_killed_one_left_is_cleared_by_the_next() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut build = Command::new(env!("CARGO"));
    let built = build.args(["build", "--quiet", "-p", "meshpool"]).current_dir(root).status();
    assert!(built.expect("cargo").success());
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("meshpool");
    let workspace = TestWorkspace::new();
    // What the text quotes depends on whom a node knows.
    fs::copy(root.join("known-peers.json"), workspace.path("known-peers.json")).expect("copied");

    let mut killed = Playing::start(&workspace, &program);
    killed.signal(Signal::KILL);
    assert!(!killed.lesson.wait().expect("ended").success());
    assert!(is_running(killed.node, &killed.lock), "its node has a process group of its own");

    // It has the folder, and so the ports, of the one before.
    let stopped = Playing::start(&workspace, &program);
    assert_ne!(stopped.node, killed.node);
    stopped.signal(Signal::INT);
    let Playing { lesson, node, lock, _terminal } = stopped;
    let ended = lesson.wait_with_output().expect("ended");
    assert!(ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("removed target/lesson, which a killed lesson left, and stopped 1 node of it"), "{said}");
    assert!(!is_running(node, &lock), "the node has ended");
    assert_eq!(fs::read_dir(workspace.path("target")).expect("read").count(), 0, "the folder is removed");
}
