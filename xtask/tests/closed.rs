//! `new-network`, `clone-node` into a closed network, and `issue-certificate`.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshpool::NodeKey;
use meshpool::tls::{Credentials, Files, request};
use support::TestWorkspace;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Loads the credentials of a folder as its node does.
fn credentials(folder: &Path) -> Credentials {
    let key = NodeKey::load(folder).expect("readable").expect("a key");
    let files = Files { ca: "ca.pem".into(), certificate: "node.pem".into() };
    Credentials::load(folder, &files, Arc::new(key)).expect("credentials")
}

fn days_left(credentials: &Credentials) -> u64 {
    credentials.not_after().duration_since(SystemTime::now()).expect("later").as_secs().div_ceil(DAY.as_secs())
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("there").permissions().mode() & 0o777
}

#[test]
fn clones_made_after_new_network_are_its_members() {
    let workspace = TestWorkspace::new();
    workspace.run(&["clone-node"]).done();
    let out = workspace.run(&["new-network"]).done();
    assert!(out.contains("network-ca") && out.contains("ca.key safe") && out.contains("stay open"), "{out}");
    #[cfg(unix)]
    assert_eq!((mode(&workspace.path("network-ca")), mode(&workspace.path("network-ca/ca.key"))), (0o700, 0o600));
    assert_eq!(fs::read_to_string(workspace.path("network-ca/.gitignore")).expect("there"), "*\n");
    assert!(workspace.run(&["clone-node"]).done().contains("closed network"));
    let env = fs::read_to_string(workspace.path("node-2/.env")).expect("made");
    assert!(env.contains("\nNETWORK_CA=ca.pem\n") && env.contains("\nCERTIFICATE=node.pem\n"), "{env}");
    let known = fs::read_to_string(workspace.path("node-2/known-peers.json")).expect("made");
    assert_eq!(known, "[\"wss://localhost:4001\"]");
    let member = credentials(&workspace.path("node-2"));
    assert_eq!(days_left(&member), 365);
    let id = NodeKey::load(&workspace.path("node-2")).expect("readable").expect("a key").node_id();
    assert_eq!(member.certified().node, id, "the certificate has the folder's own key");
    assert!(!workspace.path("node-1/node.pem").exists(), "what was open stays open");
    workspace.run(&["clone-node", "--open"]).done();
    assert!(!workspace.path("node-3/node.pem").exists());
    // The authority's key is in no folder.
    let secret = fs::read_to_string(workspace.path("network-ca/ca.key")).expect("there");
    for file in fs::read_dir(workspace.path("node-2")).expect("read") {
        let bytes = fs::read(file.expect("read").path()).expect("read");
        assert!(!String::from_utf8_lossy(&bytes).contains(secret.trim()));
    }
}

#[test]
fn an_authority_is_never_overwritten_and_its_key_never_open() {
    let workspace = TestWorkspace::new();
    workspace.run(&["new-network"]).done();
    let key = fs::read(workspace.path("network-ca/ca.key")).expect("there");
    workspace.run(&["new-network"]).failed(&["network-ca", "ca.pem", "exists already"]);
    assert_eq!(fs::read(workspace.path("network-ca/ca.key")).expect("there"), key);
    #[cfg(unix)]
    {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(workspace.path("network-ca/ca.key"), open).expect("set");
        workspace.run(&["clone-node"]).failed(&["ca.key", "chmod 600"]);
        assert!(workspace.nodes().is_empty());
    }
    let other = workspace.path("other");
    let other = other.to_str().expect("UTF-8");
    workspace.run(&["new-network", other]).done();
    workspace.run(&["clone-node", "--ca", other]).done();
    credentials(&workspace.path("node-1"));
}

#[test]
fn an_authority_in_a_folder_with_files_leaves_them_as_they_are() {
    let workspace = TestWorkspace::new();
    fs::write(workspace.path(".gitignore"), "/target/\n").expect("written");
    let outcome = workspace.run(&["new-network", "."]);
    assert!(outcome.error.lines().any(|line| line.contains("ca.key must not be committed")), "{outcome:?}");
    outcome.done();
    assert_eq!(fs::read_to_string(workspace.path(".gitignore")).expect("there"), "/target/\n");
    let outcome = workspace.run(&["new-network"]);
    assert!(!outcome.error.contains("warning: "), "a folder of its own: {outcome:?}");
}

#[test]
fn a_certificate_is_issued_from_a_request_and_renewed() {
    let workspace = TestWorkspace::new();
    workspace.run(&["issue-certificate", "--node", "1"]).failed(&["network-ca", "new-network"]);
    workspace.run(&["new-network"]).done();
    let far = workspace.path("far");
    fs::create_dir(&far).expect("made");
    let key = NodeKey::load_or_create(&far).expect("a key");
    let (csr, pem) = (far.join("node.csr"), far.join("node.pem"));
    let (csr, pem) = (csr.to_str().expect("UTF-8"), pem.to_str().expect("UTF-8"));
    fs::write(csr, request(&key).expect("made")).expect("written");
    let out = workspace.run(&["issue-certificate", "--request", csr, "-o", pem, "--days", "10"]).done();
    assert!(out.contains(&key.node_id().to_string()) && out.contains("NETWORK_CA=ca.pem"), "{out}");
    fs::copy(workspace.path("network-ca/ca.pem"), far.join("ca.pem")).expect("copied");
    assert_eq!(days_left(&credentials(&far)), 10);
    fs::write(csr, "no request").expect("written");
    workspace.run(&["issue-certificate", "--request", csr, "-o", pem]).failed(&["node.csr", "--request-certificate"]);
    assert_eq!(days_left(&credentials(&far)), 10, "the old one is still there");

    workspace.run(&["clone-node"]).done();
    let before = credentials(&workspace.path("node-1")).certified();
    workspace.run(&["issue-certificate", "--node", "1", "--days", "20"]).done();
    let after = credentials(&workspace.path("node-1"));
    assert_eq!((after.certified().node, days_left(&after)), (before.node, 20));
    assert_ne!(after.certified().fingerprint, before.fingerprint);
    // Of what it would lose, nothing is lost.
    fs::write(csr, request(&key).expect("made")).expect("written");
    for (output, part) in [
        ("network-ca/ca.key", "a file of the authority in"),
        ("network-ca/ca.pem", "a file of the authority in"),
        ("node-1/node.key", "a file of the node in"),
        ("node-1/transactions.json", "a file of the node in"),
        (csr, "something else than a certificate"),
    ] {
        let before = fs::read(workspace.path(output)).expect("there");
        let outcome = workspace.run(&["issue-certificate", "--request", csr, "-o", output]);
        outcome.failed(&[part, "name another file with -o"]);
        assert!(fs::read(workspace.path(output)).expect("there") == before, "{output} is as it was");
    }
    let env = fs::read_to_string(workspace.path("node-1/.env")).expect("there");
    for name in ["ca.pem", "node.key"] {
        let before = fs::read(workspace.path("node-1").join(name)).expect("there");
        let named = env.replace("CERTIFICATE=node.pem", &format!("CERTIFICATE={name}"));
        fs::write(workspace.path("node-1/.env"), named).expect("written");
        let parts = ["a file of the node in", "another file with CERTIFICATE in node-1/.env"];
        workspace.run(&["issue-certificate", "--node", "1"]).failed(&parts);
        assert!(fs::read(workspace.path("node-1").join(name)).expect("there") == before, "{name} is as it was");
    }
    assert_eq!(workspace.run(&["issue-certificate"]).code, Some(2), "say whose");
    assert_eq!(workspace.run(&["issue-certificate", "--request", csr]).code, Some(2), "say where to");
}
