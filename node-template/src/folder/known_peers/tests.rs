use std::fs;

use crate::folder::files::folder_name;
use crate::folder::known_peers::*;

/// Reads a text as a folder's known-peers.json.
fn read(text: impl AsRef<[u8]>) -> (tempfile::TempDir, Result<KnownPeers, FolderError>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(KNOWN_PEERS), text).unwrap();
    let peers = known_peers(folder.path());
    (folder, peers)
}

fn texts(peers: &KnownPeers) -> Vec<String> {
    peers.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_keep_their_order_and_come_once() {
    for text in [
        r#"["ws://localhost:4001","ws://localhost:4003"]"#,
        "\u{feff}[\r\n  \"ws://localhost:4001\",\r\n  \"ws://localhost:4003\"\r\n]\r\n",
        r#"["ws://localhost:4001","ws://LOCALHOST:4001/","ws://localhost:4003","ws://localhost:4001"]"#,
    ] {
        let peers = read(text).1.unwrap();
        assert_eq!(texts(&peers), ["ws://localhost:4001", "ws://localhost:4003"], "{text}");
        assert_eq!(peers.warnings, [""; 0], "{text}");
    }
    assert_eq!(read("[]").1.unwrap(), KnownPeers::default());
}

#[test]
fn of_several_entries_of_one_node_the_last_relays_count() {
    let id = format!("iroh:{}", crate::NodeKey::from_bytes(&[7; 32]).node_id());
    let entries = serde_json::json!([format!("{id}@old.relay:1"), "ws://a:1", format!("{id}@new.relay:2"), id]);
    let peers = read(entries.to_string()).1.unwrap();
    assert_eq!(texts(&peers), [format!("{id}@new.relay:2"), "ws://a:1".to_owned()]);
}

#[test]
fn a_node_id_that_is_no_public_key_is_skipped() {
    let peers = read(format!(r#"["iroh:02{}@a:1"]"#, "0".repeat(62))).1.unwrap();
    assert_eq!(peers.addresses, []);
    assert!(peers.warnings[0].contains("entry 1 is skipped: ") && peers.warnings[0].contains("no public key"));
}

#[test]
fn invalid_entries_are_skipped_with_a_warning() {
    let (folder, peers) = read(r#"[7, "ws://localhost:4001", "http://localhost:4002", "\u001b[31m", null]"#);
    let (peers, file) = (peers.unwrap(), folder.path().join(KNOWN_PEERS));
    assert_eq!(texts(&peers), ["ws://localhost:4001"]);
    let expected = [
        "entry 1 is skipped: a number is not a peer address; write it as \"ws://host:port\"",
        "entry 3 is skipped: \"http://localhost:4002\" is no peer address: its scheme is not ws, wss or iroh; write it as ws://host:port, iroh:<node id> or iroh:<node id>@host:port",
        "entry 4 is skipped: \"\\u{1b}[31m\" is no peer address: it has no ws://; write it as ws://host:port, iroh:<node id> or iroh:<node id>@host:port",
        "entry 5 is skipped: null is not a peer address; write it as \"ws://host:port\"",
    ];
    assert_eq!(peers.warnings, expected.map(|line| format!("{}, {line}", file.display())));
}

#[test]
fn many_bad_entries_are_counted() {
    let (folder, peers) = read("[1,2,3,4,5,6,7,8]");
    let warnings = peers.unwrap().warnings;
    assert_eq!(warnings.len(), 6);
    let file = folder.path().join(KNOWN_PEERS);
    assert_eq!(warnings[5], format!("{}: 3 more entries are skipped, which are not peer addresses", file.display()));
}

#[test]
fn an_error_in_the_file_says_where() {
    for (text, position) in [
        ("", "line 1, column 1: the file is empty"),
        (" \n ", "line 2, column 1: the file is empty"),
        ("{}", "line 1, column 1: this is an object"),
        ("\n  \"ws://localhost:4001\"", "line 2, column 3: this is a string"),
        ("[\n  \"ws://localhost:4001\"\n  7]", "line 3, column 3: not JSON: expected `,` or `]`"),
        ("[\"ws://localhost:4001\",]", "line 1, column 24: not JSON: trailing comma"),
        ("[", "line 1, column 1: not JSON: EOF while parsing a list"),
    ] {
        let (folder, peers) = read(text);
        let file = folder.path().join(KNOWN_PEERS);
        let expected = format!("{}, {position}; write an array such as [\"ws://localhost:4001\"]", file.display());
        assert_eq!(peers.unwrap_err().to_string(), expected, "{text:?}");
    }
}

#[test]
fn an_unusable_file_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(KNOWN_PEERS);
    let line = || known_peers(folder.path()).unwrap_err().to_string();

    assert_eq!(
        line(),
        format!(
            "{} is missing: it lists the peers that a node starts from; write [\"ws://localhost:4001\"] into it, or [] if you want none, \
             or let 'cargo xtask clone-node' or 'meshpool init' make a folder",
            file.display()
        )
    );
    fs::create_dir(&file).unwrap();
    assert_eq!(line(), format!("{} is not a file: move it away and write a file of that name", file.display()));
    fs::remove_dir(&file).unwrap();

    fs::write(&file, [0xff, 0xfe, b'[', 0, b']', 0]).unwrap();
    assert_eq!(line(), format!("{} is not UTF-8 text: save it as UTF-8", file.display()));

    fs::write(&file, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert_eq!(line(), format!("{} has more than 1048576 bytes: is it the right file? Shorten it", file.display()));

    let deep = "[".repeat(200_000);
    fs::write(&file, deep).unwrap();
    assert!(line().contains("recursion limit"), "a deep array must not overflow the stack");
}

#[test]
fn the_current_folder_is_shown_by_its_name() {
    assert_eq!(folder_name(Path::new(".")), folder_name(Path::new("")));
    assert_ne!(folder_name(Path::new(".")), ".");
    assert_eq!(folder_name(Path::new("node-2")), "node-2");
    let file = Path::new("node-2").join(".env").display().to_string();
    let with_slash = Path::new(if cfg!(windows) { "node-2\\" } else { "node-2/" });
    assert_eq!([shown(Path::new("node-2"), ".env"), shown(with_slash, ".env")], [file.clone(), file]);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_opened_says_why() {
    // A link to itself: unlike missing permissions it stops root, too.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(KNOWN_PEERS);
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let line = known_peers(folder.path()).unwrap_err().to_string();
    assert!(line.starts_with(&format!("{} cannot be read: ", file.display())), "{line}");
    assert!(line.ends_with("; check who may read it"), "{line}");
}
