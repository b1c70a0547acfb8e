use std::fs::{self, File};
use std::path::Path;

use super::*;

#[test]
fn one_process_holds_the_lock_and_the_file_can_be_read_and_written_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.lock");
    let held = try_lock(&path).expect("free");
    assert!(matches!(try_lock(&path), Err(LockError::Held)));
    fs::write(&path, "7\n").expect("written");
    assert_eq!(fs::read_to_string(&path).expect("read"), "7\n");
    drop(held);
    drop(try_lock(&path).expect("free again"));
    assert_eq!(fs::read_to_string(&path).expect("read"), "7\n", "what it says stays");
}

#[cfg(feature = "cli")]
#[test]
fn a_look_at_a_lock_says_whether_it_is_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.lock");
    assert!(is_locked(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    let held = try_lock(&path).expect("free");
    assert!(is_locked(&path).expect("readable"));
    drop(held);
    assert!(!is_locked(&path).expect("readable"));
}

#[test]
fn a_stamp_changes_with_the_file_and_its_content() {
    if !replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    assert_eq!(FileStamp::of_path(&path).expect("no file"), None);
    fs::write(&path, "one").expect("written");
    let (first, open) = (FileStamp::of_path(&path).expect("a file"), File::open(&path).expect("opened"));
    assert_eq!(first, Some(FileStamp::of_file(&open).expect("a file")));
    fs::write(&path, "longer").expect("written");
    let longer = FileStamp::of_path(&path).expect("a file").expect("there");
    assert!(first.is_some_and(|first| first.same_file(&longer) && first != longer));
    fs::write(folder.path().join("b"), "longer").expect("written");
    rename(&folder.path().join("b"), &path).expect("an open file is replaced");
    let other = FileStamp::of_path(&path).expect("a file").expect("there");
    assert!(!other.same_file(&longer));
}

#[test]
fn positioned_calls_do_not_depend_on_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).expect("made");
    assert_eq!(write_at(&file, b"world", 6).expect("written"), 5);
    assert_eq!(write_at(&file, b"hello ", 0).expect("written"), 6);
    let mut read = [0; 5];
    assert_eq!(read_at(&file, &mut read, 6).expect("read"), 5);
    assert_eq!(&read, b"world");
    assert_eq!(read_at(&file, &mut read, 11).expect("read"), 0, "the end");
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").expect("written");
    fs::create_dir(at("folder")).expect("made");
    assert!(open_regular(&at("file")).expect("readable").is_some());
    for name in ["folder", "none"] {
        assert!(open_regular(&at(name)).expect("no error").is_none(), "{name}");
    }
    let device = if cfg!(windows) { "NUL" } else { "/dev/null" };
    assert!(!matches!(open_regular(Path::new(device)), Ok(Some(_))));
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn a_process_asks_another_to_end() {
    let mut ends = EndSignals::listen().expect("caught");
    let asked = tokio::task::spawn_blocking(|| end(std::process::id()));
    assert!(matches!(ends.next().await, EndReason::Request(_)));
    asked.await.expect("no panic").expect("asked");
    // Nobody has this id.
    end(i32::MAX.cast_unsigned()).expect("it has ended");
}
