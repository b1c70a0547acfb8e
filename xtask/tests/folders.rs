//! `clone-node` and `delete-nodes`, and how the tasks are called.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use meshpool::binary::system;
use support::{Outcome, TestWorkspace};

#[test]
fn a_clone_has_all_that_a_node_needs() {
    let workspace = TestWorkspace::new();
    let next = format!("cd node-1{}cargo run", system::THEN);
    assert!(workspace.run(&["clone-node"]).done().contains(&next));
    let read = |name: &str| fs::read_to_string(workspace.path("node-1").join(name)).expect(name);
    let env = read(".env");
    let mut lines = env.lines();
    assert_eq!((lines.next(), lines.next()), (Some("# a node's port"), Some("PORT=4001")));
    let key = lines.next().and_then(|line| line.strip_prefix("MY_PUBLIC_KEY=")).expect("a key");
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert_eq!(read("known-peers.json"), "[\"ws://localhost:4001\"]");
    assert_eq!(read("transactions.json"), "[]\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = workspace.path("node-1/node.key").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_lowest_free_number_is_next() {
    let workspace = TestWorkspace::new();
    workspace.folder(2);
    fs::write(workspace.path("node-4"), "a file of that name").expect("written");
    let out = workspace.run(&["clone-node", "--count", "3"]).done();
    assert!(out.contains("cargo xtask up 5"), "{out}");
    assert_eq!(workspace.nodes(), ["node-1", "node-2", "node-3", "node-4", "node-5"]);
    let env = fs::read_to_string(workspace.path("node-5/.env")).expect("made");
    assert!(env.contains("PORT=4005"), "{env}");
    assert_eq!(
        fs::read_to_string(workspace.path("node-2/.env")).expect("there"),
        "PORT=0\nMY_PUBLIC_KEY=key\n",
        "not touched"
    );
}

#[test]
fn a_clone_that_fails_leaves_nothing() {
    let workspace = TestWorkspace::new();
    fs::remove_file(workspace.path("known-peers.json")).expect("removed");
    workspace.run(&["clone-node"]).failed(&["node-1 was not made", "known-peers.json", "git checkout"]);
    assert!(workspace.nodes().is_empty());
}

#[test]
fn many_clones_at_once_get_a_folder_each() {
    let workspace = TestWorkspace::new();
    let start = |_| workspace.command(&["clone-node", "--count", "3"]).stdout(Stdio::null()).spawn().expect("started");
    let children: Vec<_> = (0..4).map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("waited for").success());
    }
    assert_eq!(workspace.nodes().len(), 12, "{:?}", workspace.nodes());
    assert!(workspace.path("node-12/.env").is_file());
}

#[test]
fn only_node_folders_are_removed() {
    let workspace = TestWorkspace::new();
    workspace.folder(1);
    workspace.folder(12);
    fs::create_dir(workspace.path("node-3")).expect("made");
    fs::create_dir(workspace.path("node-01")).expect("made");
    fs::write(workspace.path("node-01/.env"), "PORT=1").expect("written");
    fs::create_dir(workspace.path("elsewhere")).expect("made");
    fs::write(workspace.path("elsewhere/.env"), "PORT=1").expect("written");
    #[cfg(unix)]
    std::os::unix::fs::symlink(workspace.path("elsewhere"), workspace.path("node-4")).expect("linked");
    #[cfg(unix)]
    std::os::unix::fs::symlink(workspace.path("elsewhere"), workspace.path("node-1/inside")).expect("linked");
    let out = workspace.run(&["delete-nodes"]).done();
    assert_eq!(out, "removed node-1\nremoved node-12\n2 node folders removed\n");
    assert!(workspace.path("elsewhere/.env").is_file() && workspace.path("node-template/.env").is_file());
    let left = if cfg!(unix) { &["node-01", "node-3", "node-4"][..] } else { &["node-01", "node-3"] };
    assert_eq!(workspace.nodes(), left, "not ours, or not sure to be");
    assert!(workspace.run(&["delete-nodes"]).done().contains("there is no node folder"));
}

#[test]
fn a_killed_clones_draft_is_removed_and_a_living_ones_is_not() {
    let workspace = TestWorkspace::new();
    let mut ended = workspace.command(&["--help"]).stdout(Stdio::null()).spawn().expect("started");
    let pid = ended.id();
    ended.wait().expect("waited for");
    fs::create_dir(workspace.path(&format!("node-3.new-{pid}"))).expect("made");
    let living = format!("node-4.new-{}", std::process::id());
    fs::create_dir(workspace.path(&living)).expect("made");
    let _held = system::try_lock(&workspace.path(&living).join("node.lock")).expect("free");
    workspace.run(&["delete-nodes"]).done();
    assert_eq!(workspace.nodes(), [living]);
}

#[test]
fn nothing_is_removed_while_a_node_runs() {
    let workspace = TestWorkspace::new();
    workspace.folder(1);
    let _held = system::try_lock(&workspace.folder(2).join("node.lock")).expect("free");
    workspace.run(&["delete-nodes"]).failed(&["nothing was removed", "node-2", "cargo xtask down"]);
    assert_eq!(workspace.nodes(), ["node-1", "node-2"]);
    if !system::REMOVES_OPEN_FILES {
        workspace.run(&["delete-nodes", "--force"]).failed(&["nothing was removed", "node-2", "cargo xtask down"]);
        assert!(workspace.path("node-1/.env").is_file() && workspace.path("node-2/.env").is_file());
        return;
    }
    assert!(workspace.run(&["delete-nodes", "--force"]).done().contains("removed node-2; its node still runs"));
    assert!(workspace.nodes().is_empty());
}

#[test]
fn help_shows_examples_and_wrong_usage_is_two() {
    let workspace = TestWorkspace::new();
    assert!(workspace.run(&[]).done().contains("cargo xtask up 3"));
    for arguments in [
        &["nonsense"][..],
        &["up", "0"],
        &["up", "many"],
        &["clone-node", "--count", "-1"],
        &["add-transaction", "{}", "--file", "x"],
        &["join", "x"],
    ] {
        assert_eq!(workspace.run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn an_invite_that_nobody_will_dial_makes_no_folder() {
    let workspace = TestWorkspace::new();
    let invite = |key: &str| format!("iroh:{}@192.0.2.7:4001#p2p-node", key.repeat(32));
    // No curve point has this as its y coordinate.
    let mistyped = workspace.run(&["join", "--no-run", &invite("02")]);
    assert!(mistyped.code == Some(2) && mistyped.error.contains("copy it again"), "{mistyped:?}");
    let mut command = workspace.command(&["join", "--no-run", &invite("a7")]);
    Outcome::of(command.env("WAN", "off").output().expect("started")).failed(&["WAN is off"]);
    assert!(workspace.nodes().is_empty(), "{:?}", workspace.nodes());
}

#[test]
fn the_workspace_is_found_from_below() {
    let workspace = TestWorkspace::new();
    fs::create_dir(workspace.path("xtask")).expect("made");
    fs::write(workspace.path("Cargo.toml"), "").expect("written");
    let inside = workspace.folder(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    Outcome::of(command.arg("clone-node").current_dir(inside).output().expect("started")).done();
    assert_eq!(workspace.nodes(), ["node-1", "node-2"]);
    let missing = workspace.path("missing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    Outcome::of(command.args(["status", "--root"]).arg(missing).output().expect("started")).failed(&["missing"]);
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_one_line_and_no_panic() {
    let workspace = TestWorkspace::new();
    workspace.folder(1);
    fs::write(workspace.path("node-1/transactions.json"), "[{\"amount\":1}]").expect("written");
    let tasks: [&[&str]; 7] = [
        &["--help"],
        &["status", "--help"],
        &[],
        &["transactions", "--node", "1"],
        &["clone-node"],
        &["new-network"],
        &["delete-nodes"],
    ];
    for task in tasks {
        if task == ["delete-nodes"] {
            workspace.free_ports();
        }
        let full = fs::File::options().write(true).open("/dev/full").expect("opened");
        let mut command = workspace.command(task);
        let child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("started");
        let output = child.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{task:?}: {said}");
        assert!(
            said.contains("standard output: No space left on device") && !said.contains("panicked"),
            "{task:?}: {said}"
        );
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{task:?}: {said}");
    }
    // The last of them has removed the folder.
    workspace.folder(1);
    fs::write(workspace.path("node-1/transactions.json"), "[{\"amount\":1}]").expect("written");
    // Nobody reads: no error of a result (`… | head`), and no panic of a message.
    for task in [&["--help"][..], &["transactions", "--node", "1"], &["transactions", "--node", "7"], &["nonsense"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = workspace.command(task);
        let full = fs::File::options().write(true).open("/dev/full").expect("opened");
        let code = command.stdout(writer).stderr(full).status().expect("it ended").code();
        let expected = match task {
            ["nonsense"] => 2,
            [_, _, "7"] => 1,
            _ => 0,
        };
        assert_eq!(code, Some(expected), "{task:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_of_file_sizes_is_an_error_and_does_not_kill() {
    let workspace = TestWorkspace::new();
    workspace.folder(1);
    let rows = vec!["{\"amount\":1}"; 100].join(",\n");
    fs::write(workspace.path("node-1/transactions.json"), format!("[\n{rows}\n]")).expect("written");
    let task = workspace.command(&["transactions", "--node", "1", "--last", "100"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""]).arg(task.get_program()).args(task.get_args());
    let result = fs::File::create(workspace.path("result")).expect("made");
    let child = shell.stdin(Stdio::null()).stdout(result).stderr(Stdio::piped()).spawn().expect("started");
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output: File too large"), "{said}");
}
