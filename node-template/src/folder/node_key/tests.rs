use crate::folder::node_key::*;

fn put(folder: &Path, text: impl AsRef<[u8]>) {
    let file = folder.join(NODE_KEY);
    fs::write(&file, text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_key_is_made_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(NodeKey::load(folder.path()).unwrap().is_none(), "loading makes nothing");
    let made = NodeKey::load_or_create(folder.path()).unwrap();
    let text = fs::read_to_string(folder.path().join(NODE_KEY)).unwrap();
    assert_eq!(text.len(), 65);
    assert!(text.ends_with('\n') && parse_hex32(text.trim()).is_some());

    assert_eq!(NodeKey::load_or_create(folder.path()).unwrap().node_id(), made.node_id());
    assert_eq!(NodeKey::load(folder.path()).unwrap().unwrap().node_id(), made.node_id());
    assert_eq!(fs::read_to_string(folder.path().join(NODE_KEY)).unwrap(), text);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [NODE_KEY], "no draft is left behind");
}

#[test]
fn folders_differ() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ids = [one, other].map(|folder| NodeKey::load_or_create(folder.path()).unwrap().node_id());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_public_key_is_that_of_rfc_8032() {
    // RFC 8032, section 7.1, test 1.
    let folder = tempfile::tempdir().unwrap();
    for ending in ["", "\n", "\r\n"] {
        put(folder.path(), format!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60{ending}"));
        let id = NodeKey::load(folder.path()).unwrap().unwrap().node_id();
        assert_eq!(id.to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let key = NodeKey::load_or_create(folder.path()).unwrap();
    let secret = fs::read_to_string(folder.path().join(NODE_KEY)).unwrap();
    let shown = format!("{key:?} {key:#?}");
    assert_eq!(format!("{key:?}"), format!("NodeKey({}, secret)", key.node_id().short()));
    assert!((0..56).all(|start| !shown.contains(&secret[start..start + 8])), "{shown}");
}

#[test]
fn a_broken_file_is_an_error_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let whole = "a".repeat(64);
    for text in [
        "",
        "\n",
        "hello",
        &whole[1..],
        &format!("{whole}a"),
        &format!("{whole}\n{whole}"),
        &"g".repeat(64),
        &"a".repeat(10_000),
    ] {
        put(folder.path(), text);
        let line = NodeKey::load_or_create(folder.path()).unwrap_err().to_string();
        let expected = format!(
            "{} is broken: a key is one line of 64 hexadecimal digits; restore the original, or delete it (and MY_PUBLIC_KEY in .env) \
             and the node starts with a new one",
            folder.path().join(NODE_KEY).display()
        );
        assert_eq!(line, expected);
        assert_eq!(fs::read_to_string(folder.path().join(NODE_KEY)).unwrap(), text, "never overwritten");
    }
    put(folder.path(), [0xff; 64]);
    assert!(matches!(NodeKey::load_or_create(folder.path()), Err(KeyError::Broken { .. })));
}

#[test]
fn a_folder_named_like_the_key_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(NODE_KEY)).unwrap();
    assert!(matches!(NodeKey::load_or_create(folder.path()), Err(KeyError::NotAFile { .. })));
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let line = NodeKey::load_or_create(&gone).unwrap_err().to_string();
    let file = gone.join(NODE_KEY);
    assert!(line.starts_with(&format!("{} cannot be created: ", file.display())), "{line}");
    assert!(line.ends_with("; make the folder, or start the node in another one"), "{line}");
}

#[test]
fn a_key_that_another_process_created_first_wins() {
    let folder = tempfile::tempdir().unwrap();
    let first = NodeKey::create_named(folder.path(), NODE_KEY).unwrap();
    let second = NodeKey::create_named(folder.path(), NODE_KEY).unwrap();
    assert_eq!(first.node_id(), second.node_id());

    let folder = tempfile::tempdir().unwrap();
    let start = || NodeKey::load_or_create(folder.path()).unwrap().node_id();
    let ids = std::thread::scope(|scope| [0; 8].map(|_| scope.spawn(start)).map(|thread| thread.join().unwrap()));
    assert_eq!(ids, [ids[0]; 8], "starts at the same time agree");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    NodeKey::load_or_create(folder.path()).unwrap();
    let file = folder.path().join(NODE_KEY);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    for mode in [0o640, 0o604, 0o644, 0o601] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let line = NodeKey::load_or_create(folder.path()).unwrap_err().to_string();
        let file = file.display();
        let expected =
            format!("{file} can be read by others (mode {mode:o}): a node's key is a secret; run 'chmod 600 {file}'");
        assert_eq!(line, expected);
    }
    for mode in [0o440, 0o444, 0o550] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let line = NodeKey::load_or_create(folder.path()).unwrap_err().to_string();
        assert!(line.contains(&format!("can be read by others (mode {mode:o})")), "{line}");
        assert!(
            line.contains("run 'chmod 400 ") && line.ends_with("with mode 0400 (Kubernetes: defaultMode: 0400)"),
            "{line}"
        );
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(NodeKey::load_or_create(folder.path()).is_ok(), "a read-only key is fine");
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_opened_says_why() {
    // A link to itself: unlike missing permissions it stops root, too.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(NODE_KEY);
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let line = NodeKey::load_or_create(folder.path()).unwrap_err().to_string();
    assert!(line.starts_with(&format!("{} cannot be read: ", file.display())), "{line}");
    assert!(line.ends_with("; check who may read it"), "{line}");
}
