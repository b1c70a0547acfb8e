//! Nodes behind NATs, each in a network namespace: they link by an invite, directly where their
//! NATs allow it and over the relay otherwise, and stay linked through what happens to lines,
//! relays and addresses. They live with nodes that know no links by node id. `cargo xtask wan`
//! measures the same; here only a multiple of its bounds counts, since other tests run meanwhile.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

/// How many times the bounds of the measurement everything may take.
const SLACK: &str = "20";

/// Runs these cases once each.
#[track_caller]
fn passes(arguments: &[&str]) {
    let tasks = Path::new(env!("CARGO_BIN_EXE_xtask"));
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "network namespaces need root");
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "meshpool"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    assert!(build.status().expect("cargo").success());
    let folder = tempfile::tempdir().expect("a folder");
    let mut measurement = Command::new(tasks);
    measurement.args(["wan", "--rounds", "1", "--slack", SLACK]).args(arguments);
    measurement.arg("--folder").arg(folder.path().join("nodes"));
    measurement.arg("--binary").arg(tasks.with_file_name("meshpool"));
    let output = measurement.output().expect("started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}:\n{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn nodes_behind_nats_link_by_an_invite_directly_or_over_the_relay() {
    let pairs = ["home,home", "none,home", "full,sym", "home,sym", "sym,sym", "udpblock,home"];
    let pairs: Vec<_> = pairs.iter().flat_map(|pair| ["--pair", pair]).collect();
    passes(&[&["join"], pairs.as_slice()].concat());
}

#[test]
fn a_direct_link_outlives_its_relay() {
    // The command watches it for longer.
    passes(&["relay-killed", "--watch", "10"]);
}

#[test]
fn a_relayed_link_outlives_a_restart_of_the_relay() {
    passes(&["relay-restarted"]);
}

#[test]
fn another_relay_takes_the_place_of_one_that_is_gone() {
    passes(&["relay-replaced"]);
}

#[test]
fn another_relay_takes_the_place_of_one_that_answers_and_forwards_nothing() {
    passes(&["relay-mute"]);
}

#[test]
fn a_link_outlives_a_line_that_was_cut() {
    passes(&["line-cut"]);
}

#[test]
fn a_link_outlives_a_nat_with_a_new_address() {
    passes(&["nat-moved"]);
}

#[test]
fn nodes_of_all_kinds_make_one_network() {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop");
    let node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if node && interop.join("node_modules/ws").is_dir() {
        passes(&["mixed"]);
    } else {
        let remedy = "install Node.js 20.12 or newer and run `npm ci --prefix interop`";
        assert!(std::env::var_os("CI").is_none(), "{remedy}");
        eprintln!("skipped: {remedy}");
    }
}

#[test]
fn a_network_with_a_cap_mends_itself_without_a_third_of_its_nodes_and_a_relay() {
    passes(&["overlay"]);
}

#[test]
fn nothing_is_sent_to_anybody_who_was_not_named() {
    passes(&["third-parties"]);
}

#[test]
fn a_node_is_found_by_its_id_alone() {
    passes(&["lookup"]);
}
