//! The file of a topic: what is forgotten leaves it, and positions stay.

use std::fs;
use std::path::Path;

use super::SOON;
use crate::pool::disk::System;
use crate::pool::disk::bad_blocks::BadBlock;
use crate::pool::{Lock, Opened, PoolError, Progress, Report, open_topic_on, open_with};
use crate::protocol::json::Parser;
use crate::protocol::transaction::{Transaction, TransactionId};

/// So many bytes that a few hundred are worth a rewriting.
fn item(n: u32) -> Transaction {
    let text = format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(2_000));
    Transaction::parse(&mut Parser::new(), &text).expect("an item")
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<TransactionId> {
    numbers.into_iter().map(|n| item(n).id()).collect()
}

fn open(folder: &Path) -> Opened {
    let lock = Lock::take(folder).expect("the folder is free");
    open_topic_on(folder, lock, "a", Box::new(System), SOON).expect("it opens")
}

async fn store(opened: &mut Opened, numbers: impl IntoIterator<Item = u32>) {
    opened.pool.store(numbers.into_iter().map(item).collect());
    let report = opened.reports.recv().await.expect("a report");
    assert!(matches!(report, Report::Stored { .. }), "{report:?}");
}

/// Has the writer handle all commands, and rewrite the file if that is due.
async fn settle(opened: &Opened) {
    opened.pool.look().await;
    opened.pool.look().await;
}

/// What a follower reads from a position on.
async fn rows(opened: &Opened, from: u64) -> Vec<(u64, TransactionId)> {
    let (mut all, mut next) = (Vec::new(), from);
    let reader = opened.pool.reader();
    while next < reader.kept().end {
        let (rows, after) = reader.after(next, 64 * 1024).await.expect("readable");
        all.extend(rows.into_iter().map(|(position, row)| (position, row.id())));
        next = after;
    }
    all
}

#[tokio::test]
async fn what_is_forgotten_leaves_the_file_and_positions_stay_over_restarts() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics/a.json");
    let length = || fs::metadata(&path).expect("the file").len();
    let mut opened = open(folder.path());
    store(&mut opened, 0..400).await;
    let before = length();
    opened.pool.forget(ids(0..100));
    settle(&opened).await;
    assert_eq!(length(), before, "less than the rest is forgotten");
    opened.pool.forget(ids((100..380).filter(|n| *n != 200)));
    settle(&opened).await;
    let kept: Vec<u32> = std::iter::once(200).chain(380..400).collect();
    assert!(length() < before / 10, "{} of {before}", length());
    let expected = |numbers: &[u32]| numbers.iter().map(|n| (u64::from(*n), item(*n).id())).collect::<Vec<_>>();
    assert_eq!(rows(&opened, 0).await, expected(&kept));
    assert_eq!(opened.pool.reader().kept(), 200..400);
    store(&mut opened, 400..410).await;
    opened.pool.close().await;
    let text = fs::read_to_string(&path).expect("readable");
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    assert_eq!(array.len(), 31);
    assert_eq!(text, serde_json::to_string_pretty(&array).expect("JSON"), "the layout of the pool");

    let mut opened = open(folder.path());
    assert!(opened.repairs.is_empty());
    let kept: Vec<u32> = kept.into_iter().chain(400..410).collect();
    assert_eq!(opened.ids, ids(kept.iter().copied()));
    assert_eq!(opened.lengths, kept.iter().map(|n| item(*n).body_bytes() as u32).collect::<Vec<_>>());
    assert_eq!(rows(&opened, 0).await, expected(&kept));
    assert_eq!(rows(&opened, 395).await, expected(&kept[16..]));
    store(&mut opened, 410..411).await;
    assert_eq!(rows(&opened, 410).await, expected(&[410]));
    // An item that was forgotten is new when it comes again.
    store(&mut opened, [5]).await;
    assert_eq!(rows(&opened, 411).await, [(411, item(5).id())]);
    opened.pool.close().await;
}

#[tokio::test]
async fn a_file_that_another_program_changed_is_rewritten_with_what_that_added() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics/a.json");
    let mut opened = open(folder.path());
    store(&mut opened, 0..200).await;
    let mut array: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    array.push(serde_json::json!({ "by": "hand" }));
    fs::write(&path, serde_json::to_vec(&array).expect("JSON")).expect("written");
    opened.pool.forget(ids(0..190));
    settle(&opened).await;
    let report = opened.reports.recv().await.expect("a report");
    assert!(matches!(&report, Report::Found { transactions } if transactions.len() == 1), "{report:?}");
    let array: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    assert_eq!((array.len(), &array[10]), (11, &serde_json::json!({ "by": "hand" })));
    assert!(opened.reports.try_recv().is_err(), "what is forgotten is not found again");
    opened.pool.close().await;
}

#[tokio::test]
async fn a_crash_between_the_two_writes_of_a_rewriting_changes_no_position() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics/a.json");
    let mut opened = open(folder.path());
    store(&mut opened, 0..300).await;
    opened.pool.forget(ids(0..290));
    settle(&opened).await;
    store(&mut opened, 300..600).await;
    let before = fs::read(&path).expect("readable");
    opened.pool.forget(ids((290..590).filter(|n| n % 100 != 0)));
    settle(&opened).await;
    assert!(fs::metadata(&path).expect("the file").len() < before.len() as u64 / 2, "it was rewritten");
    opened.pool.close().await;
    // The power was lost before the second file took the place of the first.
    fs::write(&path, before).expect("written");
    let opened = open(folder.path());
    let all: Vec<_> = (290..600).map(|n| (u64::from(n), item(n).id())).collect();
    assert_eq!(rows(&opened, 0).await, all);
    opened.pool.close().await;
}

#[tokio::test]
async fn a_rewriting_that_fails_is_told_once_and_hinders_no_write() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (path, blocked) = (folder.path().join("topics/a.json"), folder.path().join("topics/a.positions.json"));
    let mut opened = open(folder.path());
    store(&mut opened, 0..300).await;
    // A folder in the place of the second file: nothing can be renamed to it.
    fs::create_dir_all(blocked.join("held")).expect("created");
    let before = fs::metadata(&path).expect("the file").len();
    opened.pool.forget(ids(0..290));
    settle(&opened).await;
    let (mut warnings, mut stored) = (0, 0);
    for n in 300..310 {
        opened.pool.store(vec![item(n)]);
        settle(&opened).await;
        while let Ok(report) = opened.reports.try_recv() {
            match report {
                Report::Warning { text } => {
                    assert!(text.contains("a.positions.json"), "{text}");
                    warnings += 1;
                }
                Report::Stored { .. } => stored += 1,
                report => panic!("{report:?}"),
            }
        }
    }
    assert_eq!((warnings, stored), (1, 10));
    assert!(fs::metadata(&path).expect("the file").len() > before);
    fs::remove_dir_all(&blocked).expect("removed");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fs::metadata(&path).expect("the file").len() > before {
        assert!(std::time::Instant::now() < until, "it is tried again");
        opened.pool.look().await;
    }
    assert_eq!(rows(&opened, 0).await, (290..310).map(|n| (u64::from(n), item(n).id())).collect::<Vec<_>>());
    opened.pool.close().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_any_more_does_not_stop_a_rewriting() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics/a.json");
    let mut opened = open(folder.path());
    store(&mut opened, 0..300).await;
    let (before, text) = (fs::metadata(&path).expect("the file").len(), fs::read_to_string(&path).expect("read"));
    let at = text.find("\"n\": 295,").expect("the row") as u64;
    let _bad_block = BadBlock::at(fs::File::open(&path).expect("opened"), at);
    opened.pool.forget(ids(0..290));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fs::metadata(&path).expect("the file").len() >= before {
        assert!(std::time::Instant::now() < until, "it is tried again without the row");
        opened.pool.look().await;
    }
    let expected: Vec<_> = (290..300).filter(|n| *n != 295).map(|n| (u64::from(n), item(n).id())).collect();
    assert_eq!(rows(&opened, 0).await, expected);
    opened.pool.close().await;
}

/// An object of so many levels.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

#[tokio::test]
async fn a_row_that_is_too_deep_for_a_frame_of_the_topic_is_no_item() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topics/a.json");
    fs::create_dir(folder.path().join("topics")).expect("created");
    let (sound, deep) = (format!("[\n  {}\n]", nested(62)), format!("[\n  {},\n  {}\n]", nested(62), nested(63)));
    fs::write(&path, &sound).expect("written");
    let mut opened = open(folder.path());
    assert_eq!(opened.ids.len(), 1);
    // Another program adds one while the node runs.
    fs::write(&path, &deep).expect("written");
    opened.pool.look().await;
    let report = opened.reports.recv().await.expect("a report");
    let Report::Failed { error } = report else { panic!("{report:?}") };
    let told = error.to_string();
    assert!(
        ["a.json:3:3: ", "64 levels, a frame's own included", "correct it"].iter().all(|part| told.contains(part)),
        "{told}"
    );
    fs::write(&path, &sound).expect("written");
    opened.pool.look().await;
    let report = opened.reports.recv().await.expect("a report");
    assert!(matches!(report, Report::Recovered), "{report:?}");
    opened.pool.close().await;
    drop(opened);
    // Or before the start.
    fs::write(&path, &deep).expect("written");
    let lock = Lock::take(folder.path()).expect("free");
    let refused = open_topic_on(folder.path(), lock, "a", Box::new(System), SOON);
    assert!(matches!(refused, Err(PoolError::NotTransactions { line: 3, .. })), "{refused:?}");
    // A repair moves it away with what is damaged.
    fs::write(&path, deep.replace("\n]", ",\n  {\"torn\": ,\n  {\n    \"n\": 1\n  }\n]")).expect("written");
    let opened = open(folder.path());
    assert_eq!((opened.ids.len(), opened.repairs.len()), (2, 1), "{:?}", opened.repairs);
    opened.pool.close().await;
}

#[tokio::test]
async fn a_folder_is_in_use_until_the_last_thread_that_writes_in_it_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = Lock::take(folder.path()).expect("free");
    let released = lock.released();
    let pool = open_with(folder.path(), lock.clone(), Box::new(System), SOON, &Progress::default()).expect("it opens");
    let topic = open_topic_on(folder.path(), lock.clone(), "a", Box::new(System), SOON).expect("it opens");
    pool.pool.close().await;
    drop((lock, pool));
    assert!(matches!(Lock::take(folder.path()), Err(PoolError::InUse { .. })), "the topic's thread runs");
    assert!(!released.is_over());
    drop(topic);
    released.wait().await;
    assert!(released.is_over());
    Lock::take(folder.path()).expect("free again");
}
