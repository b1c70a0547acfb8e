use std::fs;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::tls::credentials::*;
use crate::tls::{Authority, NODE_VALIDITY};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Workspace {
    root: TempDir,
    authority: Authority,
}

impl Workspace {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let authority = Authority::create(&root.path().join("ca")).expect("made");
        Self { root, authority }
    }

    /// A node's folder with a certificate that ends after this time.
    fn node(&self, name: &str, validity: Duration) -> (PathBuf, Arc<NodeKey>) {
        let folder = self.root.path().join(name);
        fs::create_dir(&folder).expect("made");
        let key = NodeKey::load_or_create(&folder).expect("a key");
        fs::write(folder.join("ca.pem"), self.authority.certificate()).expect("written");
        fs::write(folder.join("node.pem"), self.authority.issue(key.node_id(), validity).expect("issued"))
            .expect("written");
        (folder, Arc::new(key))
    }
}

fn load(folder: &Path, key: &Arc<NodeKey>) -> Result<Credentials, CredentialsError> {
    let files = Files { ca: "ca.pem".into(), certificate: "node.pem".into() };
    Credentials::load(folder, &files, Arc::clone(key))
}

#[tokio::test]
async fn two_members_learn_each_others_ids() {
    let workspace = Workspace::new();
    let nodes = ["one", "two"].map(|name| workspace.node(name, NODE_VALIDITY));
    let [one, two] = nodes.each_ref().map(|(folder, key)| load(folder, key).expect("credentials"));
    let (here, there) = duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(one.accept(here), two.connect(there));
    let ((mut server, client_is), (mut client, server_is)) =
        (accepted.expect("admitted"), connected.expect("admitted"));
    assert_eq!((client_is, server_is), (two.certified(), one.certified()));
    assert_eq!(client_is.node, nodes[1].1.node_id());
    client.write_all(b"hello").await.expect("written");
    client.flush().await.expect("flushed");
    let mut text = [0; 5];
    server.read_exact(&mut text).await.expect("read");
    assert_eq!(&text, b"hello");
}

#[test]
fn mismatching_files_are_one_line_with_the_remedy() {
    let workspace = Workspace::new();
    let (one, one_key) = workspace.node("one", NODE_VALIDITY);
    let (two, _) = workspace.node("two", NODE_VALIDITY);
    let error = |folder: &Path| load(folder, &one_key).expect_err("refused").to_string();
    let says = |error: String, parts: &[&str]| {
        let error = error.replace('\\', "/");
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
    };
    let good = fs::read(one.join("node.pem")).expect("there");
    fs::copy(two.join("node.pem"), one.join("node.pem")).expect("copied");
    says(error(&one), &["one/node.pem", "node.key", "--request-certificate"]);
    fs::write(one.join("node.pem"), "nothing").expect("written");
    says(error(&one), &["one/node.pem", "CERTIFICATE", "--request-certificate"]);
    fs::remove_file(one.join("node.pem")).expect("removed");
    says(error(&one), &["one/node.pem is missing", "issue-certificate"]);
    fs::write(one.join("node.pem"), good).expect("written");
    let other = Authority::create(&workspace.root.path().join("other")).expect("made");
    fs::write(one.join("ca.pem"), other.certificate()).expect("written");
    says(error(&one), &["one/node.pem", "one/ca.pem", "another authority"]);
    fs::remove_file(one.join("ca.pem")).expect("removed");
    says(error(&one), &["one/ca.pem is missing", "NETWORK_CA"]);
    fs::write(one.join("ca.pem"), workspace.authority.certificate()).expect("written");
    let now = SystemTime::now();
    let expired = workspace.authority.issue_between(one_key.node_id(), now - 2 * DAY, now - DAY).expect("issued");
    fs::write(one.join("node.pem"), expired).expect("written");
    says(error(&one), &["one/node.pem", "expired", "issue-certificate"]);
    let early = workspace.authority.issue_between(one_key.node_id(), now + DAY, now + 2 * DAY).expect("issued");
    fs::write(one.join("node.pem"), early).expect("written");
    let begins = errors::utc(now + DAY);
    says(
        error(&one),
        &["one/node.pem", "one/ca.pem", "not valid before", &begins, "check the clock", "issue-certificate"],
    );
}

#[test]
fn what_is_not_valid_yet_is_warned_of_with_its_time_and_a_remedy() {
    let workspace = Workspace::new();
    let (folder, key) = workspace.node("one", 40 * DAY);
    let now = SystemTime::now();
    let warned = |at: SystemTime| load(&folder, &key).expect("credentials").validity(at);
    assert_eq!(warned(now), None);
    let own = now - DAY / 48;
    fs::write(
        folder.join("node.pem"),
        workspace.authority.issue_between(key.node_id(), own, now + 40 * DAY).expect("issued"),
    )
    .expect("written");
    // A clock that was set back while the node runs.
    for (clock, what, remedy) in [
        (own - DAY / 96, "this node's certificate", "issue-certificate"),
        (now - 9 * DAY, "this node's certificate", "issue it"),
    ] {
        let (stage, text) = warned(clock).expect("a warning");
        let parts =
            ["by this machine's clock", what, "is not valid before", &errors::utc(own), "set the clock", remedy];
        assert!(stage == 4 && parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
    }
    assert_eq!(warned(own), None);
    // Nobody checks when the authority's begins.
    let since = now - 2 * DAY;
    let early = workspace.authority.issue_between(key.node_id(), since, now + 40 * DAY).expect("issued");
    fs::write(folder.join("node.pem"), early).expect("written");
    let (stage, text) = warned(now - DAY).expect("a warning");
    assert!(
        stage == 4 && text.contains("the network's authority is not valid before") && text.contains("new-network"),
        "{text}"
    );
}

#[test]
fn the_expiry_is_warned_of_30_and_7_days_before() {
    let workspace = Workspace::new();
    let (folder, key) = workspace.node("one", 40 * DAY);
    let credentials = load(&folder, &key).expect("credentials");
    let ends = credentials.not_after();
    let stage = |left: Duration| credentials.validity(ends - left).map(|(stage, _)| stage);
    assert_eq!(stage(31 * DAY), None);
    assert_eq!(stage(29 * DAY), Some(1));
    assert_eq!(stage(6 * DAY), Some(2));
    let (over, text) = credentials.validity(ends + DAY).expect("over");
    assert!(over == 3 && text.contains("issue-certificate"), "{text}");
    let (_, text) = credentials.validity(ends - 6 * DAY - Duration::from_secs(1)).expect("near");
    assert!(text.contains("6 days"), "{text}");
}

#[test]
fn a_certificate_ends_with_its_authority_at_the_latest() {
    let workspace = Workspace::new();
    let (folder, key) = workspace.node("one", 2 * crate::tls::CA_VALIDITY);
    let credentials = load(&folder, &key).expect("credentials");
    assert!(credentials.not_after() <= SystemTime::now() + crate::tls::CA_VALIDITY);
}

#[tokio::test]
async fn an_authority_is_replaced_without_parting_the_network() {
    let workspace = Workspace::new();
    let new = Authority::create(&workspace.root.path().join("new")).expect("made");
    let [(one, one_key), (two, two_key)] = ["one", "two"].map(|name| workspace.node(name, NODE_VALIDITY));
    // First both authorities are known everywhere, in any order, then certificates change.
    let (old, both) =
        (workspace.authority.certificate(), [new.certificate(), workspace.authority.certificate()].concat());
    let linked = async || {
        let (one, two) = (load(&one, &one_key).expect("credentials"), load(&two, &two_key).expect("credentials"));
        let (here, there) = duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(one.accept(here), two.connect(there));
        accepted.is_ok() && connected.is_ok()
    };
    fs::write(one.join("ca.pem"), &both).expect("written");
    assert!(linked().await, "one node knows both");
    fs::write(two.join("ca.pem"), [old, new.certificate()].concat()).expect("written");
    assert!(linked().await, "both do");
    let days = 40 * DAY;
    fs::write(one.join("node.pem"), new.issue(one_key.node_id(), days).expect("issued")).expect("written");
    assert!(linked().await, "their certificates are of two authorities");
    let ends = load(&one, &one_key).expect("credentials").not_after();
    assert!(ends <= SystemTime::now() + days && ends > SystemTime::now() + days - DAY);
    fs::write(two.join("node.pem"), new.issue(two_key.node_id(), days).expect("issued")).expect("written");
    fs::write(one.join("ca.pem"), new.certificate()).expect("written");
    assert!(linked().await, "one has forgotten the old one");
    fs::write(two.join("ca.pem"), old).expect("written");
    assert!(load(&two, &two_key).is_err(), "its own certificate is not of that one");
    // The authority is opened with its own certificate, wherever that is in the file.
    fs::write(workspace.root.path().join("new/ca.pem"), [old, new.certificate()].concat()).expect("written");
    Authority::open(&workspace.root.path().join("new")).expect("opened");
    // A file in which one certificate is broken is refused as a whole.
    fs::write(two.join("ca.pem"), format!("{old}-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"))
        .expect("written");
    assert!(load(&two, &two_key).is_err());
}

#[test]
fn a_nodes_certificate_is_no_authority() {
    let workspace = Workspace::new();
    let (one, key) = workspace.node("one", NODE_VALIDITY);
    let (two, two_key) = workspace.node("two", NODE_VALIDITY);
    let of_two = fs::read_to_string(two.join("node.pem")).expect("there");
    for text in [[workspace.authority.certificate(), &of_two].concat(), of_two] {
        fs::write(one.join("ca.pem"), text).expect("written");
        let error = load(&one, &key).expect_err("refused").to_string().replace('\\', "/");
        let parts = ["one/ca.pem", &two_key.node_id().to_string(), "NETWORK_CA", "take it out"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn of_several_certificates_of_a_node_the_one_that_lasts_longest_counts() {
    let workspace = Workspace::new();
    let (one, key) = workspace.node("one", NODE_VALIDITY);
    let (two, _) = workspace.node("two", NODE_VALIDITY);
    let now = SystemTime::now();
    let expired = workspace.authority.issue_between(key.node_id(), now - 2 * DAY, now - DAY).expect("issued");
    let valid = workspace.authority.issue(key.node_id(), 40 * DAY).expect("issued");
    for text in [[&expired[..], &valid].concat(), [&valid[..], &expired].concat()] {
        fs::write(one.join("node.pem"), text).expect("written");
        assert!(load(&one, &key).expect("credentials").not_after() > now + 39 * DAY);
    }
    let early = workspace.authority.issue_between(key.node_id(), now + DAY, now + 80 * DAY).expect("issued");
    for text in [[&early[..], &valid].concat(), [&valid[..], &early].concat()] {
        fs::write(one.join("node.pem"), text).expect("written");
        assert!(load(&one, &key).expect("one is valid already").not_after() < now + 41 * DAY);
    }
    let of_two = fs::read_to_string(two.join("node.pem")).expect("there");
    fs::write(one.join("node.pem"), [valid, of_two].concat()).expect("written");
    assert!(load(&one, &key).expect_err("refused").to_string().contains("node.key"));
}
