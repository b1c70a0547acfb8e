//! `clone-node` and `delete-nodes`, and how the tasks are called.

mod support;

use std::fs::{self, File};
use std::process::{Command, Stdio};

use support::{Outcome, Place};

#[test]
fn a_clone_has_all_that_a_node_needs() {
    let place = Place::new();
    assert!(place.run(&["clone-node"]).done().contains("cd node-1 && cargo run"));
    let read = |name: &str| fs::read_to_string(place.path("node-1").join(name)).expect(name);
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
        let mode = place.path("node-1/node.key").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_lowest_free_number_is_next() {
    let place = Place::new();
    place.folder(2);
    fs::write(place.path("node-4"), "a file of that name").expect("written");
    let out = place.run(&["clone-node", "--count", "3"]).done();
    assert!(out.contains("cargo xtask up 3"), "{out}");
    assert_eq!(place.nodes(), ["node-1", "node-2", "node-3", "node-4", "node-5"]);
    let env = fs::read_to_string(place.path("node-5/.env")).expect("made");
    assert!(env.contains("PORT=4005"), "{env}");
    assert_eq!(
        fs::read_to_string(place.path("node-2/.env")).expect("there"),
        "PORT=0\nMY_PUBLIC_KEY=key\n",
        "not touched"
    );
}

#[test]
fn a_clone_that_fails_leaves_nothing() {
    let place = Place::new();
    fs::remove_file(place.path("known-peers.json")).expect("removed");
    place.run(&["clone-node"]).failed(&["node-1 was not made", "known-peers.json", "git checkout"]);
    assert!(place.nodes().is_empty());
}

#[test]
fn many_clones_at_once_get_a_folder_each() {
    let place = Place::new();
    let start = |_| place.command(&["clone-node", "--count", "3"]).stdout(Stdio::null()).spawn().expect("started");
    let children: Vec<_> = (0..4).map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("waited for").success());
    }
    assert_eq!(place.nodes().len(), 12, "{:?}", place.nodes());
    assert!(place.path("node-12/.env").is_file());
}

#[test]
fn only_node_folders_are_removed() {
    let place = Place::new();
    place.folder(1);
    place.folder(12);
    fs::create_dir(place.path("node-3")).expect("made");
    fs::create_dir(place.path("node-01")).expect("made");
    fs::write(place.path("node-01/.env"), "PORT=1").expect("written");
    fs::create_dir(place.path("elsewhere")).expect("made");
    fs::write(place.path("elsewhere/.env"), "PORT=1").expect("written");
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("node-4")).expect("linked");
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("node-1/inside")).expect("linked");
    let out = place.run(&["delete-nodes"]).done();
    assert_eq!(out, "removed node-1\nremoved node-12\n2 node folders removed\n");
    assert!(place.path("elsewhere/.env").is_file() && place.path("node-template/.env").is_file());
    assert_eq!(place.nodes(), ["node-01", "node-3", "node-4"], "not ours, or not sure to be");
    assert!(place.run(&["delete-nodes"]).done().contains("there is no node folder"));
}

#[test]
fn a_killed_clones_draft_is_removed_and_a_living_ones_is_not() {
    let place = Place::new();
    let mut ended = Command::new("true").spawn().expect("started");
    let pid = ended.id();
    ended.wait().expect("waited for");
    fs::create_dir(place.path(&format!("node-3.new-{pid}"))).expect("made");
    let living = format!("node-4.new-{}", std::process::id());
    fs::create_dir(place.path(&living)).expect("made");
    place.run(&["delete-nodes"]).done();
    assert_eq!(place.nodes(), [living]);
}

#[test]
fn nothing_is_removed_while_a_node_runs() {
    let place = Place::new();
    place.folder(1);
    let lock = File::create(place.folder(2).join("node.lock")).expect("made");
    lock.try_lock().expect("free");
    place.run(&["delete-nodes"]).failed(&["nothing was removed", "node-2", "--force"]);
    assert_eq!(place.nodes(), ["node-1", "node-2"]);
    assert!(place.run(&["delete-nodes", "--force"]).done().contains("removed node-2; its node still runs"));
    assert!(place.nodes().is_empty());
}

#[test]
fn help_shows_examples_and_wrong_usage_is_two() {
    let place = Place::new();
    assert!(place.run(&[]).done().contains("cargo xtask up 3"));
    for arguments in [
        &["nonsense"][..],
        &["up", "0"],
        &["up", "many"],
        &["clone-node", "--count", "-1"],
        &["add-transaction", "{}", "--file", "x"],
    ] {
        assert_eq!(place.run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn the_workspace_is_found_from_below() {
    let place = Place::new();
    fs::create_dir(place.path("xtask")).expect("made");
    fs::write(place.path("Cargo.toml"), "").expect("written");
    let inside = place.folder(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    Outcome::of(command.arg("clone-node").current_dir(inside).output().expect("started")).done();
    assert_eq!(place.nodes(), ["node-1", "node-2"]);
    let missing = place.path("missing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    Outcome::of(command.args(["status", "--root"]).arg(missing).output().expect("started")).failed(&["missing"]);
}
