//! The pool on a disk that fails on command; the scanner on all kinds of damage; the index.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::pool::disk::bad_blocks::BadBlock;
use crate::pool::disk::{Disk, System};
use crate::pool::index::{Index, Location};
use crate::pool::scan::{Damage, Scan, Verdict};
use crate::pool::writer::Pauses;
use crate::pool::{Opened, POOL_FILE, PoolError, Report, open_on, scan, sync_histogram};
use crate::protocol::causes::StoreErrorKind;
use crate::protocol::json::{Parser, write_pretty};
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::util::chunked_vec::ChunkedVec;

#[cfg(target_os = "linux")]
mod power;
mod topic;

#[test]
fn a_write_counts_in_the_first_bucket_that_holds_it() {
    let histogram = sync_histogram();
    for micros in [100, 101, 60_000_000] {
        histogram.observe(Duration::from_micros(micros).as_secs_f64());
    }
    let mut registry = Registry::default();
    registry.register("sync", "", histogram);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
    for (bound, count) in [("0.0001", 1), ("0.00025", 2), ("10.0", 2), ("+Inf", 3)] {
        let line = format!("sync_bucket{{le=\"{bound}\"}} {count}");
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    let sum = text.lines().find_map(|line| line.strip_prefix("sync_sum ")).expect("a sum");
    assert!((sum.parse::<f64>().expect("a number") - 60.000_201).abs() < 1e-9, "{sum}");
}

/// A call that the pool makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write { offset: u64, bytes: usize },
    SetLen(u64),
    Sync,
    Wait,
}

/// The disk's response.
enum Answer {
    Obey,
    /// Writes only this many bytes.
    Take(usize),
    Fail(io::ErrorKind),
}

/// A disk whose response to each call a test chooses.
struct Scripted(Box<dyn Fn(Call) -> Answer + Send>);

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Disk for Scripted {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match (self.0)(Call::Write { offset, bytes: bytes.len() }) {
            Answer::Obey => System.write_at(file, bytes, offset),
            Answer::Take(count) => System.write_at(file, &bytes[..count], offset),
            Answer::Fail(kind) => Err(kind.into()),
        }
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        match (self.0)(Call::SetLen(length)) {
            Answer::Fail(kind) => Err(kind.into()),
            _ => System.set_len(file, length),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match (self.0)(Call::Sync) {
            Answer::Fail(kind) => Err(kind.into()),
            _ => System.sync(file),
        }
    }

    fn wait(&self, _: Duration) {
        (self.0)(Call::Wait);
    }
}

const SOON: Pauses =
    Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(2), idle: Duration::from_secs(3_600) };
const NEVER: Pauses =
    Pauses { first: Duration::from_secs(3_600), longest: Duration::from_secs(3_600), idle: Duration::from_secs(3_600) };

struct Folder(TempDir);

impl Folder {
    fn with(content: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::write(folder.file(), content).expect("written");
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(POOL_FILE)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("read")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("listed");
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("a name")).collect()
    }

    fn open(&self, pauses: Pauses, answer: impl Fn(Call) -> Answer + Send + 'static) -> Result<Opened, PoolError> {
        open_on(self.0.path(), Box::new(Scripted(Box::new(answer))), pauses)
    }
}

/// Responses to the next calls, in turn. Before and after them the disk obeys.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(VecDeque<Answer>, Vec<Call>)>>);

impl Script {
    fn set(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.0.lock().expect("unpoisoned") = (answers.into_iter().collect(), Vec::new());
    }

    fn answer(&self) -> impl Fn(Call) -> Answer + Send + 'static {
        let script = self.clone();
        move |call| {
            let mut script = script.0.lock().expect("unpoisoned");
            script.1.push(call);
            script.0.pop_front().unwrap_or(Answer::Obey)
        }
    }

    /// The calls since the responses were set.
    fn calls(&self) -> Vec<Call> {
        self.0.lock().expect("unpoisoned").1.clone()
    }
}

fn row(number: usize) -> String {
    format!(r#"{{"row":{number},"text":"é}}]","list":[{{"n":{number}}}]}}"#)
}

fn transaction(text: &str) -> Transaction {
    Transaction::parse(&mut Parser::new(), text).expect("a transaction")
}

fn rows(numbers: std::ops::Range<usize>) -> Vec<Transaction> {
    numbers.map(|number| transaction(&row(number))).collect()
}

fn laid_out(rows: &[Transaction]) -> String {
    let mut text = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        text.extend_from_slice(if number == 0 { b"[\n  " } else { b",\n  " });
        write_pretty(row.body(), 2, &mut text);
    }
    text.extend_from_slice(if rows.is_empty() { b"[]" } else { b"\n]" });
    String::from_utf8(text).expect("UTF-8")
}

async fn next(opened: &mut Opened) -> Report {
    opened.reports.recv().await.expect("the writer lives")
}

#[tokio::test]
async fn a_batch_is_one_write_and_one_sync_however_large_the_pool_is() {
    for held in [0, 1, 3_000] {
        let folder = Folder::with(&laid_out(&rows(0..held)));
        let before = folder.text().len() - if held == 0 { 1 } else { 2 };
        let script = Script::default();
        let mut opened = folder.open(NEVER, script.answer()).expect("opened");
        script.set([]);
        opened.pool.store(rows(5_000..5_003));
        assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
        let write = Call::Write { offset: before as u64, bytes: folder.text().len() - before };
        assert_eq!(script.calls(), [write, Call::Sync], "with {held} rows");
    }
}

#[tokio::test]
async fn a_row_that_would_take_many_times_its_size_has_one_line() {
    let folder = Folder::with("[]");
    let mut opened = folder.open(NEVER, Script::default().answer()).expect("opened");
    let nested = |depth: usize, values: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        transaction(&format!(r#"{{"a":{open}{}{close}}}"#, vec!["1"; values].join(",")))
    };
    // As an exercise node would write it, if it is short or has not much white space.
    let pretty = [nested(20, 1), nested(1, 150), transaction(&format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000)))];
    let one_line = [nested(60, 1), nested(61, 100_000)];
    let mut expected = laid_out(&pretty).trim_end_matches("\n]").to_owned();
    for row in &one_line {
        expected.push_str(",\n  ");
        expected.push_str(row.body());
    }
    expected.push_str("\n]");
    opened.pool.store([&pretty[..], &one_line[..]].concat());
    let Report::Stored { file_bytes, .. } = next(&mut opened).await else { panic!("it is stored") };
    assert_eq!(folder.text(), expected);
    assert_eq!(file_bytes, expected.len() as u64);
    opened.pool.close().await;
    drop(opened);
    let opened = folder.open(NEVER, Script::default().answer()).expect("opened");
    assert_eq!((opened.ids.len(), opened.repairs.len()), (5, 0));
}

#[tokio::test]
async fn transactions_that_arrive_during_a_write_are_the_next_batch() {
    let folder = Folder::with("[]");
    let (entered, wait_for_entry) = std::sync::mpsc::channel();
    let (release, wait_for_release) = std::sync::mpsc::channel::<()>();
    let mut opened = folder
        .open(NEVER, move |call| {
            if matches!(call, Call::Write { .. }) {
                entered.send(()).expect("the test listens");
                wait_for_release.recv().ok();
            }
            Answer::Obey
        })
        .expect("opened");
    opened.pool.store(rows(0..1));
    wait_for_entry.recv().expect("the first write");
    for number in 1..100 {
        opened.pool.store(rows(number..number + 1));
    }
    drop(release);
    let mut batches = Vec::new();
    for _ in 0..2 {
        match next(&mut opened).await {
            Report::Stored { ids, .. } => batches.push(ids.len()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(batches, [1, 99]);
    assert_eq!(folder.text(), laid_out(&rows(0..100)));
}

#[tokio::test]
async fn a_full_disk_keeps_the_file_sound_and_the_backlog_in_order() {
    use Answer::{Fail, Obey, Take};
    let full = || Fail(io::ErrorKind::StorageFull);
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let script = Script::default();
    let mut opened = folder.open(NEVER, script.answer()).expect("opened");
    script.set([Take(50), full()]);
    opened.pool.store(rows(2..4));
    let Report::Failed { error } = next(&mut opened).await else { panic!("it failed") };
    assert!(
        error.to_string().contains(POOL_FILE)
            && error.to_string().contains("free space on the disk; the node keeps trying"),
        "{error}"
    );
    assert!(!error.to_string().contains('\n') && error.kind == StoreErrorKind::NoSpace);
    assert_eq!(folder.text(), laid_out(&rows(0..2)), "the bracket stands again");
    // Its last attempt takes no answers of the script below.
    opened.pool.close().await;
    drop(opened);

    let folder = Folder::with(&laid_out(&rows(0..2)));
    let mut opened = folder.open(SOON, script.answer()).expect("opened");
    // Each attempt: a short write, the failure, then a write, a truncation and a sync restore the
    // bracket.
    let restored = || [Obey, Obey, Obey];
    // Then the file is read again and synced.
    let tries = [vec![Take(50), full()], vec![Take(9), full()], vec![full()]];
    script.set(tries.into_iter().flat_map(|tried| tried.into_iter().chain(restored()).chain([Obey])));
    opened.pool.store(rows(2..4));
    assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
    opened.pool.store(rows(4..5));
    opened.pool.store(rows(5..6));
    assert!(matches!(next(&mut opened).await, Report::Recovered), "a series is reported once");
    let mut stored = Vec::new();
    while stored.len() < 4 {
        match next(&mut opened).await {
            Report::Stored { ids, .. } => stored.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored, rows(2..6).iter().map(Transaction::id).collect::<Vec<_>>());
    assert_eq!(folder.text(), laid_out(&rows(0..6)));
}

#[tokio::test]
async fn unsynced_rows_are_rewritten_before_they_are_reported() {
    let folder = Folder::with("[]");
    let script = Script::default();
    let mut opened = folder.open(SOON, script.answer()).expect("opened");
    script.set([Answer::Obey, Answer::Fail(io::ErrorKind::Other)]);
    opened.pool.store(rows(0..3));
    let Report::Failed { error } = next(&mut opened).await else { panic!("it failed") };
    assert!(error.to_string().contains("check the disk"), "{error}");
    assert!(matches!(next(&mut opened).await, Report::Recovered));
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    let calls = script.calls();
    let whole = Call::Write { offset: 1, bytes: laid_out(&rows(0..3)).len() - 1 };
    let restored = [Call::Write { offset: 1, bytes: 1 }, Call::SetLen(2), Call::Sync];
    assert_eq!(calls[..2], [whole, Call::Sync]);
    assert_eq!(calls[2..5], restored);
    assert_eq!(calls[5..], [Call::Sync, whole, Call::Sync], "the file is read again, and what is in it waited for");
}

#[tokio::test]
async fn a_disk_that_fails_in_every_call_leaves_nothing_behind_when_it_recovers() {
    let total: Vec<Transaction> = rows(0..4);
    for failures in 1..24 {
        let folder = Folder::with(&laid_out(&total[..2]));
        let script = Script::default();
        let mut opened = folder.open(SOON, script.answer()).expect("opened");
        script.set([Answer::Take(31)].into_iter().chain((0..failures).map(|_| Answer::Fail(io::ErrorKind::Other))));
        opened.pool.store(total[2..].to_vec());
        assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
        assert!(matches!(next(&mut opened).await, Report::Recovered));
        assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
        assert_eq!(folder.text(), laid_out(&total), "after {failures} failures");
        assert_eq!(folder.names().len(), 2, "the file and its lock: {:?}", folder.names());
    }
}

#[tokio::test]
async fn closing_ends_a_pause_and_reports_what_was_not_stored() {
    let folder = Folder::with("[]");
    let script = Script::default();
    let mut opened = folder.open(NEVER, script.answer()).expect("opened");
    script.set((0..100).map(|_| Answer::Fail(io::ErrorKind::StorageFull)));
    opened.pool.store(rows(0..3));
    assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
    opened.pool.store(rows(3..5));
    opened.pool.close().await;
    let Report::GaveUp { lost, error } = next(&mut opened).await else { panic!("a failure is reported") };
    assert_eq!(lost, 5);
    assert!(error.to_string().contains("not stored at the node's end: 5 transactions"), "{error}");
    assert!(opened.reports.recv().await.is_none());
}

#[tokio::test]
async fn closing_checks_the_file_a_last_time() {
    // Removed with its folder kept: the rows are restored. Replaced by something else: reported.
    for (content, lost) in [(None, false), (Some("{}"), true), (Some("[1]"), true)] {
        let folder = Folder::with("[]");
        let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
        opened.pool.store(rows(0..3));
        assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
        fs::remove_file(folder.file()).expect("removed");
        if let Some(content) = content {
            fs::write(folder.file(), content).expect("written");
        }
        opened.pool.close().await;
        let report = opened.reports.recv().await;
        assert_eq!(matches!(report, Some(Report::GaveUp { lost: 0, .. })), lost, "{content:?}: {report:?}");
        match content {
            None => assert_eq!(folder.text(), laid_out(&rows(0..3))),
            Some(content) => assert_eq!(folder.text(), content, "a foreign file stays as it is"),
        }
        assert!(opened.reports.recv().await.is_none());
    }
}

#[tokio::test]
async fn what_follows_a_batch_that_could_not_be_stored_is_counted_too() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = Folder::with("[]");
    let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
    fs::remove_dir_all(folder.0.path()).expect("removed");
    opened.pool.store(rows(0..2));
    opened.pool.store(rows(2..4));
    opened.pool.begin_close();
    let mut last = None;
    while let Some(report) = opened.reports.recv().await {
        last = Some(report);
    }
    let Some(Report::GaveUp { lost: 4, error }) = last else { panic!("{last:?}") };
    assert!(error.to_string().contains("No such file or directory"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_an_error_until_it_is_gone() {
    let folder = Folder::with("[]");
    let mut opened = folder.open(SOON, |_| Answer::Obey).expect("opened");
    fs::remove_file(folder.file()).expect("removed");
    crate::system::make_pipe(&folder.file()).expect("made");
    opened.pool.store(rows(0..2));
    let Report::Failed { error } = next(&mut opened).await else { panic!("it failed") };
    assert_eq!(error.kind, StoreErrorKind::Content);
    let text = error.to_string();
    assert!(text.contains("is not a file: move it away; the node keeps trying"), "{text}");
    assert!(!fs::metadata(folder.file()).expect("there").is_file());
    fs::remove_file(folder.file()).expect("moved away");
    assert!(matches!(next(&mut opened).await, Report::Recovered));
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    assert_eq!(folder.text(), laid_out(&rows(0..2)));
}

#[tokio::test]
async fn a_file_that_another_program_is_writing_is_left_alone_until_it_is_written() {
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let path = folder.file();
    let whole = laid_out(&rows(0..3));
    let (half, complete) = (whole[..whole.len() / 2].to_owned(), whole.clone());
    let waits = Mutex::new(0);
    let mut opened = folder
        .open(NEVER, move |call| {
            if call == Call::Wait {
                let mut waits = waits.lock().expect("unpoisoned");
                *waits += 1;
                fs::write(&path, if *waits < 3 { &complete[..complete.len() - *waits] } else { &complete })
                    .expect("written");
            }
            Answer::Obey
        })
        .expect("opened");
    fs::write(folder.file(), half).expect("written");
    opened.pool.look().await;
    let Report::Found { transactions } = next(&mut opened).await else { panic!("one is new") };
    assert_eq!(transactions[0].body(), row(2));
    assert_eq!(folder.text(), whole);
    assert_eq!(folder.names().len(), 2, "nothing was repaired");
}

#[tokio::test]
async fn a_file_that_is_replaced_during_a_write_gets_the_batch() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let (path, aside) = (folder.file(), folder.0.path().join("editor.tmp"));
    let turns = Arc::new(Mutex::new(0));
    let left = Arc::clone(&turns);
    let mut opened = folder
        .open(NEVER, move |call| {
            let mut turns = left.lock().expect("unpoisoned");
            if call == Call::Sync && *turns > 0 {
                *turns -= 1;
                fs::write(&aside, laid_out(&rows(10..11))).expect("written");
                fs::rename(&aside, &path).expect("renamed");
            }
            Answer::Obey
        })
        .expect("opened");
    *turns.lock().expect("unpoisoned") = 3;
    opened.pool.store(rows(2..3));
    assert!(matches!(next(&mut opened).await, Report::Found { .. }));
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    let expected: Vec<Transaction> = [10, 0, 1, 2].into_iter().flat_map(|number| rows(number..number + 1)).collect();
    assert_eq!(folder.text(), laid_out(&expected));
}

#[tokio::test]
async fn known_new_batches_are_looked_up_only_after_more_was_found() {
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
    fs::write(folder.file(), laid_out(&rows(0..3))).expect("written");
    opened.pool.look().await;
    // The caller has not read that report yet, and stores the same.
    opened.pool.store_new(rows(2..4), 0);
    opened.pool.store_new(rows(4..5), 0);
    let Report::Found { transactions } = next(&mut opened).await else { panic!("one is new") };
    assert_eq!(transactions[0].body(), row(2));
    let mut stored = 0;
    while stored < 3 {
        let Report::Stored { ids, .. } = next(&mut opened).await else { panic!("all are stored") };
        stored += ids.len();
    }
    opened.pool.store_new(rows(5..7), 1);
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    assert_eq!(folder.text(), laid_out(&rows(0..7)));
    // The node has no other copy of these two: they are lost. Stored again, they have their old
    // positions.
    fs::write(folder.file(), laid_out(&rows(0..1))).expect("written");
    opened.pool.look().await;
    assert!(matches!(next(&mut opened).await, Report::Lost { ids } if ids.len() == 2));
    assert!(matches!(next(&mut opened).await, Report::Warning { .. }));
    opened.pool.store_new(rows(1..3), 1);
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    let reader = opened.pool.reader();
    for number in 0..7 {
        let (position, found) = reader.find(&rows(number..number + 1)[0].id()).await.expect("read").expect("held");
        assert_eq!((position, found.body()), (number as u64, &*row(number)));
    }
}

/// A harm to a row of a file whose length and time stay.
enum Decay {
    /// Its bytes are others.
    Rot,
    /// It cannot be read.
    BadBlock,
}

impl Decay {
    fn inflict(&self, path: &Path, number: usize) -> Option<BadBlock> {
        let text = fs::read_to_string(path).expect("read");
        let row = format!("\"row\": {number},");
        let at = text.find(&row).expect("the row");
        let file = File::options().write(true).open(path).expect("opened");
        match self {
            Self::BadBlock => Some(BadBlock::at(file, at as u64)),
            Self::Rot => {
                let modified = file.metadata().and_then(|found| found.modified()).expect("a time");
                crate::system::write_at(&file, b"\"rot\":", at as u64).expect("written");
                file.set_modified(modified).expect("set");
                None
            }
        }
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_any_more_is_lost_and_none_behind_it() {
    let often = Pauses { idle: Duration::from_millis(1), ..SOON };
    for harm in [Decay::Rot, Decay::BadBlock] {
        for way in 0..4 {
            let folder = Folder::with(&laid_out(&rows(0..100)));
            // Followers and pages do not ask the writer.
            let mut opened = folder.open(if way < 2 { SOON } else { often }, |_| Answer::Obey).expect("opened");
            let bad_block = harm.inflict(&folder.file(), 40);
            let (pool, reader) = (&opened.pool, opened.pool.reader());
            let (read, end) = match way {
                0 => pool.read(10, None, usize::MAX).await.map(|chunk| (chunk.transactions, chunk.next)),
                1 => {
                    let positions: Vec<u64> = (10..100).collect();
                    let read = pool.read_these(&positions, usize::MAX).await;
                    read.map(|(transactions, done)| (transactions, 10 + done as u64))
                }
                2 => reader.after(10, usize::MAX).await.map(|(rows, next)| {
                    assert!(rows.iter().all(|(position, row)| row.body() == self::row(*position as usize)));
                    (rows.into_iter().map(|(_, row)| row).collect(), next)
                }),
                _ => reader.page(None, 89, usize::MAX).await.map(|page| {
                    assert_eq!(page.next, Some(10));
                    (page.rows.into_iter().rev().map(|(_, row)| row).collect(), 100)
                }),
            }
            .expect("the others are readable");
            let expected: Vec<Transaction> = rows(10..40).into_iter().chain(rows(41..100)).collect();
            assert!(read.iter().map(Transaction::id).eq(expected.iter().map(Transaction::id)), "{way}: {}", read.len());
            assert_eq!(end, 100);
            let lost = rows(40..41);
            assert!(matches!(next(&mut opened).await, Report::Lost { ids } if ids == [lost[0].id()]), "{way}");
            let Report::Warning { text } = next(&mut opened).await else { panic!("it is told") };
            for part in ["transactions.json: 1 transaction that", "check the disk", "peers send again"] {
                assert!(text.contains(part), "{part} in {text}");
            }
            // A peer has it, and it takes its old position.
            opened.pool.store(lost);
            assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
            let all = opened.pool.read(0, None, usize::MAX).await.expect("readable").transactions;
            assert!(all.iter().map(Transaction::id).eq(rows(0..100).iter().map(Transaction::id)));
            opened.pool.close().await;
            assert!(opened.reports.recv().await.is_none(), "once");
            drop(bad_block);
        }
    }
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_either_costs_no_row() {
    let folder = Folder::with(&laid_out(&rows(0..100)));
    let script = Script::default();
    let mut opened = folder.open(NEVER, script.answer()).expect("opened");
    script.set((0..100).map(|_| Answer::Fail(io::ErrorKind::Other)));
    opened.pool.store(rows(100..101));
    assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
    let bad_block = Decay::BadBlock.inflict(&folder.file(), 40);
    let error = opened.pool.read(0, None, usize::MAX).await.expect_err("a row is unreadable").to_string();
    assert!(error.contains("cannot read") && error.contains("a bad block"), "{error}");
    drop(bad_block);
    assert_eq!(opened.pool.read(0, None, usize::MAX).await.expect("readable").transactions.len(), 100);
    assert!(opened.reports.try_recv().is_err());
}

#[tokio::test]
async fn a_row_that_cannot_be_restored_from_a_replaced_file_does_not_stop_the_pool() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let folder = Folder::with(&laid_out(&rows(0..100)));
    let mut opened = folder.open(SOON, |_| Answer::Obey).expect("opened");
    let bad_block = Decay::BadBlock.inflict(&folder.file(), 40);
    let aside = folder.0.path().join("editor.tmp");
    fs::write(&aside, laid_out(&rows(0..30))).expect("written");
    fs::rename(&aside, folder.file()).expect("renamed");
    opened.pool.store(rows(100..101));
    assert!(matches!(next(&mut opened).await, Report::Lost { ids } if ids == [rows(40..41)[0].id()]));
    assert!(matches!(next(&mut opened).await, Report::Warning { .. }));
    assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
    let expected: Vec<Transaction> = rows(0..40).into_iter().chain(rows(41..101)).collect();
    assert_eq!(folder.text(), laid_out(&expected));
    drop(bad_block);
}

/// What the pool warns of after another program wrote over its file in place.
async fn warned(opened: &mut Opened) -> Vec<String> {
    opened.pool.look().await;
    let mut texts = Vec::new();
    while let Ok(report) = opened.reports.try_recv() {
        match report {
            Report::Warning { text } => texts.push(text),
            Report::Failed { error } => texts.push(error.to_string()),
            _ => {}
        }
    }
    texts
}

#[tokio::test]
async fn rows_that_are_overwritten_in_place_are_counted_in_one_warning() {
    let whole = laid_out(&rows(0..3));
    for (over, kept, repaired) in
        [("[]".to_owned(), 0, 0), (laid_out(&rows(0..1)), 1, 0), (whole[..whole.len() / 2].to_owned(), 1, 1)]
    {
        let folder = Folder::with(&whole);
        let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
        fs::write(folder.file(), &over).expect("written");
        let texts = warned(&mut opened).await;
        assert_eq!(texts.len(), 1 + repaired, "{texts:?}");
        let lost = format!("transactions.json: {} transactions that it held", 3 - kept);
        for part in ["another program", &lost, "peers send again", "meshpool import"] {
            assert!(texts[repaired].contains(part), "{part} in {texts:?}");
        }
        assert_eq!(warned(&mut opened).await, Vec::<String>::new(), "once");
    }
}

#[tokio::test]
async fn an_emptied_file_that_is_filled_again_is_not_called_an_empty_pool() {
    for over in ["", " \n"] {
        let folder = Folder::with("[]");
        let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
        opened.pool.store(rows(0..3));
        assert!(matches!(next(&mut opened).await, Report::Stored { .. }));
        fs::write(folder.file(), over).expect("written");
        let texts = warned(&mut opened).await;
        assert!(texts.len() == 1 && texts[0].contains("3 transactions into it again"), "{texts:?}");
        assert!(!texts[0].contains("empty pool"), "{texts:?}");
        assert_eq!(folder.text(), laid_out(&rows(0..3)));
    }
}

#[tokio::test]
async fn a_file_that_was_written_over_once_is_not_called_rewritten_again_and_again() {
    let folder = Folder::with(&laid_out(&rows(0..3)));
    let mut opened = folder.open(NEVER, |_| Answer::Obey).expect("opened");
    fs::write(folder.file(), "no pool at all").expect("written");
    let texts = warned(&mut opened).await;
    assert!(texts.len() == 1 && texts[0].contains("not a JSON array"), "{texts:?}");
    let error = opened.pool.read(0, None, usize::MAX).await.expect_err("it is gone").to_string();
    assert!(error.contains("wrote over") && !error.contains("keeps"), "{error}");
    let error = opened.pool.reader().page(None, 1, 1).await.expect_err("it is gone").to_string();
    assert!(error.contains("wrote over") && !error.contains("keeps"), "{error}");
}

#[test]
fn a_file_of_lines_is_refused_with_the_command_that_reads_them() {
    for text in ["{\"a\":1}", "{\"a\":1}\n{\"b\":2}\n", "\u{feff}\n{\"a\": [1, 2]}\r\n{\"b\":2}"] {
        let folder = Folder::with(text);
        let error = folder.open(NEVER, |_| Answer::Obey).expect_err("no array").to_string();
        assert!(error.contains("has one a line, which 'meshpool import' reads"), "{error}");
        assert_eq!(folder.text(), text, "it is left as it is");
    }
    for text in ["nothing", "7", "{}", "{\"a\""] {
        let error = Folder::with(text).open(NEVER, |_| Answer::Obey).expect_err("no array").to_string();
        assert!(!error.contains("import"), "{error}");
    }
}

#[tokio::test]
async fn rows_added_while_the_whole_file_is_rewritten_are_found() {
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let (path, script) = (folder.file(), Script::default());
    let (answer, writing_again) = (script.answer(), Mutex::new(false));
    let mut opened = folder
        .open(SOON, move |call| {
            let mut writing_again = writing_again.lock().expect("unpoisoned");
            match call {
                Call::Write { offset: 0, .. } => *writing_again = true,
                Call::Sync if std::mem::take(&mut *writing_again) => {
                    let numbers = [0, 1, 10].into_iter().flat_map(|number| rows(number..number + 1));
                    fs::write(&path, laid_out(&numbers.collect::<Vec<_>>())).expect("written");
                }
                _ => {}
            }
            answer(call)
        })
        .expect("opened");
    let other = || Answer::Fail(io::ErrorKind::Other);
    // The wait for the disk fails, and the write cannot be undone.
    script.set([Answer::Obey, other(), other()]);
    opened.pool.store(rows(2..3));
    let mut reports = Vec::new();
    while !matches!(reports.last(), Some(Report::Stored { .. })) {
        reports.push(next(&mut opened).await);
    }
    let found = reports
        .iter()
        .any(|report| matches!(report, Report::Found { transactions } if transactions[0].body() == row(10)));
    assert!(found, "{reports:?}");
    let expected: Vec<Transaction> = [0, 1, 10, 2].into_iter().flat_map(|number| rows(number..number + 1)).collect();
    assert_eq!(folder.text(), laid_out(&expected));
}

#[tokio::test]
async fn a_check_is_answered_while_the_disk_fails() {
    let folder = Folder::with(&laid_out(&rows(0..2)));
    let script = Script::default();
    let mut opened = folder.open(NEVER, script.answer()).expect("opened");
    script.set([Answer::Fail(io::ErrorKind::StorageFull)]);
    opened.pool.store(rows(2..3));
    assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
    fs::write(folder.file(), laid_out(&rows(0..2).into_iter().chain(rows(10..11)).collect::<Vec<_>>()))
        .expect("written");
    opened.pool.look().await;
    assert!(matches!(opened.reports.try_recv(), Ok(Report::Found { .. })), "reported before the answer");
    assert!(opened.reports.try_recv().is_err(), "the batch still waits");
}

#[tokio::test]
async fn a_restore_that_fails_is_repeated() {
    if !crate::system::replaces_open_files() {
        return;
    }
    use Answer::{Fail, Take};
    let folder = Folder::with(&laid_out(&rows(0..50)));
    let script = Script::default();
    let mut opened = folder.open(SOON, script.answer()).expect("opened");
    fs::remove_file(folder.file()).expect("removed");
    let other = || Fail(io::ErrorKind::Other);
    // The first wait for the file to settle; then the empty file's write and sync; then the rows.
    script.set([Answer::Obey, Answer::Obey, Answer::Obey, Take(500), other(), other(), other(), other()]);
    opened.pool.store(rows(50..51));
    assert!(matches!(next(&mut opened).await, Report::Failed { .. }));
    let chunk = opened.pool.read(0, None, usize::MAX).await.expect("still readable");
    // The writer retries by itself, and may be faster than this read.
    assert!(matches!(chunk.transactions.len(), 50 | 51), "{}", chunk.transactions.len());
    let mut reports = Vec::new();
    loop {
        match next(&mut opened).await {
            Report::Stored { .. } => break,
            other => reports.push(other),
        }
    }
    assert!(!reports.iter().any(|report| matches!(report, Report::Lost { .. } | Report::Found { .. })), "{reports:?}");
    let mut in_file: Vec<serde_json::Value> = serde_json::from_str(&folder.text()).expect("sound");
    in_file.sort_by_key(|row| row["row"].as_u64());
    assert!(in_file.iter().map(|row| row["row"].as_u64()).eq((0..51).map(Some)));
    assert_eq!(opened.pool.read(0, None, usize::MAX).await.expect("read").transactions.len(), 51);
}

#[tokio::test]
async fn many_found_rows_are_reported_in_parts() {
    let folder = Folder::with("[]");
    let mut opened = folder.open(SOON, |_| Answer::Obey).expect("opened");
    let texts: Vec<String> =
        (0..3_000).map(|number| format!(r#"{{"n":{number},"fill":"{}"}}"#, "x".repeat(1_000))).collect();
    let new: Vec<Transaction> = texts.iter().map(|text| transaction(text)).collect();
    fs::write(folder.file(), laid_out(&new)).expect("written");
    opened.pool.look().await;
    let (mut parts, mut found) = (0, Vec::new());
    while let Ok(Report::Found { transactions }) = opened.reports.try_recv() {
        parts += 1;
        found.extend(transactions.iter().map(Transaction::id));
    }
    assert_eq!(parts, 3);
    assert_eq!(found, new.iter().map(Transaction::id).collect::<Vec<_>>());
    let chunk = opened.pool.read(1_000, Some(2_500), usize::MAX).await.expect("read");
    assert!(chunk.transactions.iter().map(Transaction::id).eq(found[1_000..2_500].iter().copied()));
}

#[test]
fn a_disk_that_is_full_at_the_start_changes_nothing() {
    if !crate::system::replaces_open_files() {
        return;
    }
    let damaged = format!("{},\n  {{\"torn", &laid_out(&rows(0..2))[..laid_out(&rows(0..2)).len() - 2]);
    let middle = laid_out(&rows(0..3)).replacen("\"row\":", "\"row\";", 1);
    for content in [damaged, middle] {
        for obeyed in 0..3 {
            let folder = Folder::with(&content);
            let script = Script::default();
            script.set(
                (0..obeyed).map(|_| Answer::Obey).chain((0..50).map(|_| Answer::Fail(io::ErrorKind::StorageFull))),
            );
            let error = folder.open(NEVER, script.answer()).expect_err("the disk is full").to_string();
            assert!(error.to_string().contains("free space on the disk"), "{error}");
            assert_eq!(folder.text(), content, "after {obeyed} calls");
            assert_eq!(folder.names().len(), 2, "the file and the lock: {:?}", folder.names());
            let repaired = folder.open(NEVER, |_| Answer::Obey).expect("repaired when there is room");
            assert_eq!(repaired.ids.len(), 2);
        }
    }
    let folder = Folder::with("");
    fs::remove_file(folder.file()).expect("removed");
    folder.open(NEVER, |_| Answer::Fail(io::ErrorKind::StorageFull)).expect_err("the disk is full");
    assert!(!folder.file().exists());
}

#[test]
fn a_row_longer_than_any_transaction_is_refused() {
    let content = format!("[\n  {{}},\n  {{\"long\":\"{}\"}}\n]", "x".repeat(33 * 1024 * 1024));
    let folder = Folder::with(&content);
    let error = folder.open(NEVER, |_| Answer::Obey).expect_err("refused");
    assert!(matches!(error, PoolError::NotTransactions { line: 3, column: 3, .. }), "{error}");
    assert!(folder.text() == content, "left as it was");
}

/// Found by the fuzz target "pool".
#[test]
fn other_json_behind_a_byte_order_mark_is_refused() {
    for content in ["{\"rows\": [\n  {\"a\": 1},\n  {\"b\": 2}\n]}", "[[\n  {\n    \"a\": 1\n  }\n]]", "\"a text\""] {
        let content = format!("\u{feff}{content}");
        let folder = Folder::with(&content);
        let error = folder.open(NEVER, |_| Answer::Obey).expect_err(&content);
        assert!(matches!(error, PoolError::NotTransactions { .. }), "{error}");
        assert_eq!(folder.text(), content, "left as it was");
    }
}

/// Scans a text. Also returns the kept rows with their offsets.
fn scanned(content: &[u8]) -> (Scan, Vec<(u64, String)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: &Path = &folder.path().join(POOL_FILE);
    fs::write(path, content).expect("written");
    let mut kept = Vec::new();
    let mut parser = Parser::new();
    let scan = scan::scan_rows(&File::open(path).expect("opened"), &mut |offset, text| match Transaction::parse(
        &mut parser,
        text,
    ) {
        Ok(_) => {
            kept.push((offset, text.to_owned()));
            Verdict::Kept
        }
        Err(error) if scan::is_json(text.as_bytes()) => Verdict::Refused(error.to_string()),
        Err(_) => Verdict::Broken,
    });
    (scan.expect("read"), kept)
}

#[test]
fn rows_are_found_wherever_a_block_ends() {
    let texts: Vec<String> = (0..3_000)
        .map(|number| format!(r#"{{"n":{number},"fill":"{}\\","l":[{{}},"]"]}}"#, "é\\\"".repeat(number * 7 % 797)))
        .collect();
    let all: Vec<Transaction> = texts.iter().map(|text| transaction(text)).collect();
    let content = laid_out(&all);
    assert!(content.len() > 3 * 1024 * 1024, "several blocks");
    let (scan, kept) = scanned(content.as_bytes());
    assert_eq!((scan.damage, scan.rows), (Damage::None, 3_000));
    assert_eq!(scan.rows_end, content.len() as u64 - 2);
    for ((offset, text), transaction) in kept.iter().zip(&all) {
        assert_eq!(content[*offset as usize..][..text.len()], **text);
        assert_eq!(crate::pool::tests::transaction(text).id(), transaction.id());
    }
    // The same with damage in every hundredth row.
    let mut damaged = content.into_bytes();
    for (offset, _) in kept.iter().step_by(100) {
        damaged[*offset as usize + 1] = 0;
    }
    let (scan, kept) = scanned(&damaged);
    assert_eq!((scan.damage, scan.rows, kept.len(), scan.bad.len()), (Damage::Middle, 2_970, 2_970, 30));
}

#[derive(Debug, Clone)]
enum Harm {
    Overwrite { at: usize, with: Vec<u8> },
    Remove { at: usize, count: usize },
    Insert { at: usize, bytes: Vec<u8> },
}

fn harm() -> impl Strategy<Value = Harm> {
    let byte = prop_oneof![3 => prop::sample::select(b"{}[],:\"\\ \n5\0x\xff".to_vec()), 1 => any::<u8>()];
    let bytes = prop::collection::vec(byte, 1..30);
    prop_oneof![
        (any::<usize>(), bytes.clone()).prop_map(|(at, with)| Harm::Overwrite { at, with }),
        (any::<usize>(), 1..60_usize).prop_map(|(at, count)| Harm::Remove { at, count }),
        (any::<usize>(), bytes).prop_map(|(at, bytes)| Harm::Insert { at, bytes }),
    ]
}

fn inflict(text: &mut Vec<u8>, harm: &Harm) {
    let length = text.len();
    match harm {
        Harm::Overwrite { at, with } => {
            let at = at % length;
            let end = (at + with.len()).min(length);
            text[at..end].copy_from_slice(&with[..end - at]);
        }
        Harm::Remove { at, count } => drop(text.drain(at % length..(at % length + count).min(length))),
        Harm::Insert { at, bytes } => drop(text.splice(at % length..at % length, bytes.iter().copied())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// After any damage each byte is in a kept row, or bad, or a separator, and no object inside a
    /// row counts as a row.
    #[test]
    fn every_byte_is_accounted_for(harms in prop::collection::vec(harm(), 1..4), count in 0..6_usize) {
        let texts: Vec<String> = (0..count).map(|number| format!(r#"{{"row":{number},"in":[{{"inner":1}},{{}},"{{}}"],"o":{{"inner":2}}}}"#)).collect();
        let all: Vec<Transaction> = texts.iter().map(|text| transaction(text)).collect();
        let mut content = laid_out(&all).into_bytes();
        for harm in &harms {
            if !content.is_empty() {
                inflict(&mut content, harm);
            }
        }
        let (scan, kept) = scanned(&content);
        let mut parts: Vec<(u64, u64, bool)> = kept.iter().map(|(offset, text)| (*offset, *offset + text.len() as u64, true)).collect();
        parts.extend(scan.bad.iter().map(|bad| (bad.start, bad.end, false)));
        parts.sort_unstable();
        let mut at = 0;
        for (begin, end, _) in parts.iter().copied().chain([(content.len() as u64, content.len() as u64, true)]) {
            prop_assert!(at <= begin, "parts overlap at {}", begin);
            let between = &content[at as usize..begin as usize];
            prop_assert!(between.iter().all(|byte| b" \n\r\t,[]".contains(byte)), "unaccounted: {:?}", String::from_utf8_lossy(between));
            at = end;
        }
        prop_assert_eq!(kept.len() as u64, scan.rows);
        prop_assert_eq!(scan.damage == Damage::None, serde_json::from_slice::<Vec<serde_json::Value>>(&content).is_ok());
    }

    /// Lost blocks and truncation tear rows, but do not turn their content into rows.
    #[test]
    fn no_transaction_is_invented(at in any::<usize>(), count in 1..200_usize, filling in prop::sample::select(vec![0, 0x1b, 0xff]), tail in any::<usize>()) {
        let texts: Vec<String> = (0..6).map(|number| format!(r#"{{"row":{number},"in":[{{"inner":1}},{{"inner":[{{"x":"{{}}"}}]}}],"o":{{"inner":2}}}}"#)).collect();
        let all: Vec<Transaction> = texts.iter().map(|text| transaction(text)).collect();
        let mut content = laid_out(&all).into_bytes();
        inflict(&mut content, &Harm::Overwrite { at, with: vec![filling; count] });
        let length = content.len();
        content.truncate(length - tail % (length / 2));
        let (_, kept) = scanned(&content);
        for (_, text) in kept {
            let row: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            prop_assert!(row.get("row").is_some(), "an inner object became a row: {}", text);
        }
    }
}

#[test]
fn an_identity_keeps_its_position_and_an_entry_its_size() {
    assert_eq!(size_of::<TransactionId>() + size_of::<Location>(), 44);
    let id = |number: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        TransactionId(id)
    };
    let mut index = Index::new();
    for number in 0..20_000 {
        assert!(index.insert(id(number), Location::new(number << 20, 300)));
        assert!(!index.insert(id(number / 2), Location::new(0, 1)), "known already");
    }
    for number in 0..20_000 {
        assert_eq!(index.position(&id(number)), Some(number as usize));
        let location = index.location(number as usize);
        assert_eq!((location.offset(), location.length()), (number << 20, 300));
    }
    assert_eq!(index.position(&id(20_000)), None);
    index.set_locations(ChunkedVec::filled(Location::LOST, 0..20_000));
    assert!(!index.is_live(&id(7)));
    assert_eq!(index.set_location(id(7), Location::new(9, 9)), 7, "at its old position");
    assert!(index.is_live(&id(7)));
}

#[cfg(unix)]
#[test]
fn a_path_through_a_link_leads_to_the_file() {
    let folder = Folder::with("[]");
    let other = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(folder.file(), other.path().join(POOL_FILE)).expect("linked");
    let path = crate::pool::load::path_in(other.path());
    assert_eq!(path, fs::canonicalize(folder.file()).expect("a path"));
}
