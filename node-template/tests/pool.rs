//! The pool's file as other programs see it: what it holds after batches, crashes, damage, and
//! other programs' own writing.
#![cfg(feature = "net")]

use std::fs;
use std::path::{Path, PathBuf};

use meshpool::binary::pool::{self, LOCK_FILE, Opened, POOL_FILE, PoolError, Report};
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::{Transaction, TransactionId};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// Rows that a careless scanner stumbles over: brackets, quotes and backslashes in strings, text of
/// several bytes per character, things that look like rows, nesting, nothing at all.
const TRICKY: [&str; 7] = [
    r#"{"id":"1","amount":5,"to":"Zürich 🚀 東京"}"#,
    r#"{"text":"}],[{\"a\":1}\\","list":[{"x":1},{"y":[{"z":{}}]}],"empty":{},"none":[]}"#,
    r#"{"nested":{"a":{"b":{"c":["\u0007","\\\"","{","}"]}}},"ok":true}"#,
    r#"{"looks":"\n  {\n    \"like\": \"a row\"\n  },\n","n":null}"#,
    r#"{"n":[[],[[1,2],[{"q":"\\"}]],0.5,-7]}"#,
    r#"{"":"","é":"ß"}"#,
    r#"{"hash":"00000000000000000000","timeStamp":1700000000000}"#,
];

fn transaction(text: &str) -> Transaction {
    Transaction::parse(&mut Parser::new(), text).expect("a transaction")
}

fn transactions<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Transaction> {
    texts.into_iter().map(transaction).collect()
}

fn id(text: &str) -> TransactionId {
    transaction(text).id()
}

/// What `JSON.stringify(rows, null, 2)` gives.
fn laid_out<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let rows: Vec<Value> = texts.into_iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    serde_json::to_string_pretty(&rows).expect("text")
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        // In memory, where the system has such a place: some tests open thousands of damaged files,
        // and each repair waits for the disk.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(tempfile::tempdir_in(parent).expect("a folder"))
    }

    fn with(content: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        fs::write(folder.file(), content).expect("written");
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(POOL_FILE)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).expect("read")
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("UTF-8")
    }

    fn open(&self) -> Opened {
        pool::open(self.path()).expect("opened")
    }

    /// What repairs cut out: the content of the files beside the pool's.
    fn bad(&self) -> Vec<Vec<u8>> {
        self.names()
            .filter(|name| name.contains(".bad-"))
            .map(|name| fs::read(self.path().join(name)).expect("read"))
            .collect()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        fs::read_dir(self.path())
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
    }

    /// As an editor saves: a new file takes the place of the old one.
    fn replace(&self, content: &str) {
        let new = self.path().join("editor.tmp");
        fs::write(&new, content).expect("written");
        fs::rename(new, self.file()).expect("renamed");
    }
}

/// Whether a file can be replaced while a node has it open: on Unix, and on NTFS since Windows 10.
/// Wine and FAT refuse it, so tests in which an editor does it are left out there.
fn editors_replace_open_files() -> bool {
    let folder = Folder::with("old");
    let open = fs::File::open(folder.file()).expect("opened");
    fs::write(folder.path().join("new"), "new").expect("written");
    let replaces = fs::rename(folder.path().join("new"), folder.file()).is_ok();
    drop(open);
    assert!(replaces || cfg!(windows), "every file system of Unix replaces open files");
    if !replaces {
        eprintln!("skipped: this file system replaces no open file");
    }
    replaces
}

/// Stores and waits for the disk; tells what else was reported first.
async fn store(opened: &mut Opened, batch: Vec<Transaction>) -> Vec<Report> {
    let expected: Vec<_> = batch.iter().map(Transaction::id).collect();
    opened.pool.store(batch);
    let mut others = Vec::new();
    loop {
        match opened.reports.recv().await.expect("the writer lives") {
            Report::Stored { ids, .. } => {
                assert_eq!(ids, expected);
                return others;
            }
            other => others.push(other),
        }
    }
}

/// Has the file compared; tells what was reported.
async fn look(opened: &mut Opened) -> Vec<Report> {
    opened.pool.look().await;
    let mut reports = Vec::new();
    while let Ok(report) = opened.reports.try_recv() {
        reports.push(report);
    }
    reports
}

async fn bodies(opened: &Opened) -> Vec<String> {
    let chunk = opened.pool.read(0, None, usize::MAX).await.expect("read");
    assert!(chunk.end);
    chunk.transactions.iter().map(|transaction| transaction.body().to_owned()).collect()
}

fn found(reports: &[Report]) -> Vec<&str> {
    let found = reports.iter().filter_map(|report| match report {
        Report::Found { transactions } => Some(transactions.iter().map(Transaction::body)),
        _ => None,
    });
    found.flatten().collect()
}

#[tokio::test]
async fn a_new_pool_is_an_empty_array_and_grows_as_stringify_lays_it_out() {
    let folder = Folder::new();
    let mut opened = folder.open();
    assert_eq!(folder.text(), "[]");
    for count in 1..=TRICKY.len() {
        assert!(store(&mut opened, transactions([TRICKY[count - 1]])).await.is_empty());
        assert_eq!(folder.text(), laid_out(TRICKY.into_iter().take(count)));
    }
    assert_eq!(bodies(&opened).await, TRICKY);
    opened.pool.close().await;

    let again = folder.open();
    assert_eq!(again.ids, TRICKY.map(id));
    assert_eq!(bodies(&again).await, TRICKY);
}

#[tokio::test]
async fn a_transaction_is_in_the_file_once_however_often_it_is_stored() {
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1], TRICKY[0]]));
    let mut opened = folder.open();
    assert_eq!(opened.ids, [id(TRICKY[0]), id(TRICKY[1])], "indexed once");
    store(&mut opened, transactions([TRICKY[1], TRICKY[2], TRICKY[2], TRICKY[0]])).await;
    assert_eq!(
        folder.text(),
        laid_out([TRICKY[0], TRICKY[1], TRICKY[0], TRICKY[2]]),
        "what was there is kept as it was"
    );
    assert_eq!(bodies(&opened).await, [TRICKY[0], TRICKY[1], TRICKY[2]]);
}

#[tokio::test]
async fn files_of_other_layouts_are_kept_and_grow_in_ours() {
    let (first, second) = (r#"{"a":[1,{"b":"]"}]}"#, r#"{"c":2}"#);
    let layouts = [
        format!("[{first},{second}]"),
        format!("[{first}, {second} ]\n"),
        format!("\u{feff}[\n    {first},\n    {second}\n]\n\n"),
        format!("[\r\n\t{first}\r\n,\r\n{second}\r\n]\r\n"),
        format!("\n\n [ {first} , {second}\n\n{}]{}", " ".repeat(300), " ".repeat(500)),
    ];
    for layout in layouts {
        let folder = Folder::with(&layout);
        let mut opened = folder.open();
        assert!(opened.repairs.is_empty(), "{layout:?}");
        assert_eq!(folder.text(), layout, "opening changes nothing");
        store(&mut opened, transactions([TRICKY[0], TRICKY[1]])).await;
        let kept = &layout[..layout.find(second).expect("in it") + second.len()];
        let added = laid_out([TRICKY[0], TRICKY[1]]);
        assert_eq!(folder.text(), format!("{kept},{}", &added[1..]), "{layout:?}");
        assert_eq!(bodies(&opened).await, [first, second, TRICKY[0], TRICKY[1]]);
    }
    for empty in ["[]", "[]\n", " [ \n ] ", "[\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n]"] {
        let folder = Folder::with(empty);
        store(&mut folder.open(), transactions([r#"{"a":1}"#])).await;
        assert_eq!(folder.text().trim_start(), laid_out([r#"{"a":1}"#]), "{empty:?}");
    }
}

#[tokio::test]
async fn reading_is_bounded_and_goes_on_where_it_ended() {
    let folder = Folder::with(laid_out(TRICKY));
    let opened = folder.open();
    let (mut next, mut read) = (0, Vec::new());
    loop {
        let chunk = opened.pool.read(next, Some(6), 1).await.expect("read");
        assert_eq!(chunk.transactions.len(), 1, "one row at least, and no more than asked for");
        read.push(chunk.transactions[0].body().to_owned());
        next = chunk.next;
        if chunk.end {
            break;
        }
    }
    assert_eq!(read, TRICKY[..6]);
    let beyond = opened.pool.read(100, None, 1).await.expect("read");
    assert!(beyond.transactions.is_empty() && beyond.end);
    assert_eq!(beyond.next, 100);
}

#[tokio::test]
async fn a_file_that_is_cut_anywhere_loses_only_its_torn_row() {
    let whole = laid_out(TRICKY);
    let ends: Vec<usize> =
        (1..=TRICKY.len()).map(|count| laid_out(TRICKY.into_iter().take(count)).len() - "\n]".len()).collect();
    for cut in 0..whole.len() {
        let folder = Folder::with(&whole.as_bytes()[..cut]);
        let mut opened = folder.open();
        let rows = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(opened.ids, TRICKY[..rows].iter().map(|text| id(text)).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(folder.text(), laid_out(TRICKY.into_iter().take(rows)), "cut at {cut}");

        let rest = &whole.as_bytes()[if rows == 0 { 1.min(cut) } else { ends[rows - 1] }..cut];
        let repair = &opened.repairs[0];
        assert_eq!((repair.kept, repair.cut_bytes), (rows as u64, rest.len() as u64), "cut at {cut}");
        if rest.iter().any(|byte| !b", \n]".contains(byte)) {
            assert_eq!(folder.bad(), [rest], "cut at {cut}");
            let bad = repair.bad.as_deref().expect("told");
            assert_eq!(fs::read(bad).expect("read"), rest);
        } else {
            assert!(folder.bad().is_empty() && repair.bad.is_none(), "cut at {cut}");
        }
        store(&mut opened, transactions([r#"{"after":1}"#])).await;
        assert_eq!(folder.text(), laid_out(TRICKY.into_iter().take(rows).chain([r#"{"after":1}"#])));
    }
}

/// Checks what is left of `TRICKY` after the bytes in `touched` were overwritten: each row outside
/// is there.
async fn survives(damaged: &[u8], touched: std::ops::Range<usize>, what: &str) {
    let folder = Folder::with(damaged);
    let opened = match pool::open(folder.path()) {
        Ok(opened) => opened,
        Err(PoolError::NotTransactions { .. }) => {
            let sound = serde_json::from_slice::<Value>(damaged).is_ok();
            assert!(sound, "{what} at {touched:?}: only what is sound JSON is refused");
            return assert_eq!(folder.bytes(), damaged, "{what} at {touched:?}");
        }
        Err(error) => panic!("{what} at {touched:?}: {error}"),
    };
    let mut end = 1;
    for (count, text) in TRICKY.into_iter().enumerate() {
        let begin = end + if count == 0 { "\n  ".len() } else { ",\n  ".len() };
        end = laid_out(TRICKY.into_iter().take(count + 1)).len() - "\n]".len();
        let untouched = touched.end <= begin || touched.start >= end;
        assert!(!untouched || opened.ids.contains(&id(text)), "{what} at {touched:?}: row {count} is gone");
    }
    let rows = bodies(&opened).await;
    assert_eq!(rows.len(), opened.ids.len());
    let Some(repair) = opened.repairs.first() else {
        assert_eq!(folder.bytes(), damaged, "{what} at {touched:?}");
        return;
    };
    assert_eq!(opened.repairs.len(), 1);
    let in_file: Vec<Value> = serde_json::from_slice(&folder.bytes()).expect("sound JSON");
    let in_pool: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    assert_eq!(in_file, in_pool, "{what} at {touched:?}");
    assert_eq!(repair.kept, rows.len() as u64);
}

#[tokio::test]
async fn a_flipped_bit_costs_at_most_the_row_it_is_in() {
    let whole = laid_out(TRICKY).into_bytes();
    for at in 0..whole.len() {
        // All eight everywhere take long; each position gets those of its turn, and the brackets
        // and quotes all of them.
        let bits = if b"{}[]\",:\\".contains(&whole[at]) { 0..8 } else { at as u32 % 8..at as u32 % 8 + 1 };
        for bit in bits {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            survives(&damaged, at..at + 1, &format!("bit {bit}")).await;
        }
    }
}

#[tokio::test]
async fn an_overwritten_range_costs_at_most_the_rows_it_touches() {
    let whole = laid_out(TRICKY).into_bytes();
    for (length, filling) in
        [(1, b'"'), (3, b' '), (5, 0), (9, b'{'), (17, b'}'), (40, b'['), (150, b'x'), (64, 0xff), (12, b'\\')]
    {
        for begin in (0..whole.len() - length).step_by(if length > 9 { 5 } else { 2 }) {
            let mut damaged = whole.clone();
            damaged[begin..begin + length].fill(filling);
            survives(&damaged, begin..begin + length, &format!("{length} times {filling}")).await;
        }
    }
}

#[tokio::test]
async fn damage_in_two_places_is_kept_in_two_pieces() {
    let whole = laid_out(TRICKY.into_iter().take(5));
    let damaged = whole.replacen("\"amount\": 5", "\"amount\": ?", 1).replacen("\"n\": null", "\"n\": nuXl", 1);
    let folder = Folder::with(&damaged);
    let opened = folder.open();
    assert_eq!(bodies(&opened).await, [TRICKY[1], TRICKY[2], TRICKY[4]]);
    let piece = |from: &str, to: &str| &damaged[damaged.find(from).expect("in it")..damaged.find(to).expect("in it")];
    let first = piece("\n  {\n    \"id\"", "{\n    \"text\"");
    let second = piece(",\n  {\n    \"looks\"", "{\n    \"n\": [");
    assert_eq!(folder.bad(), [format!("{first}\n{second}").into_bytes()]);
    let told = opened.repairs[0].to_string();
    assert!(told.contains("3 transactions kept") && told.contains(".bad-20"), "{told}");
    opened.pool.close().await;
    drop(opened);

    // The same damage again within a second must not overwrite what was kept the first time.
    fs::write(folder.file(), &damaged).expect("written");
    drop(folder.open());
    assert_eq!(folder.bad().len(), 2);
}

#[tokio::test]
async fn zeros_that_a_power_loss_left_are_cut_off() {
    let mut damaged = laid_out([TRICKY[0], TRICKY[1]]).into_bytes();
    damaged.truncate(damaged.len() - 2);
    damaged.extend(vec![0; 5_000]);
    let folder = Folder::with(&damaged);
    assert_eq!(folder.open().ids, [id(TRICKY[0]), id(TRICKY[1])]);
    assert_eq!(folder.text(), laid_out([TRICKY[0], TRICKY[1]]));

    let folder = Folder::with(vec![0; 4_096]);
    assert!(folder.open().ids.is_empty());
    assert_eq!(folder.text(), "[]");
}

#[test]
fn a_sound_file_of_something_else_is_refused_and_left_alone() {
    let cases: [(&str, (u64, u64), &str); 10] = [
        (r#"{"a":1}"#, (1, 1), "not a JSON array"),
        ("{\n  \"rows\": [\n  {},\n  {\"a\":1}\n]}", (1, 1), "not a JSON array"),
        (r#""text""#, (1, 1), "not a JSON array"),
        ("PORT=4000\n", (1, 1), "not a JSON array"),
        ("[1]", (1, 2), "a number"),
        ("[\n  {},\n  \"é\", null\n]", (3, 3), "a string"),
        ("[ {\"é\":1}, [\n  {\"a\":1}\n] ]", (1, 12), "not a JSON object"),
        ("[{}, [1]]", (1, 6), "an array"),
        ("[\n  {},\n  {\"a\": 12345678901234567891}\n]", (3, 3), ""),
        ("[\n  {\"a\": \"\\ud800\"}\n]", (2, 3), ""),
    ];
    for (content, place, says) in cases {
        let folder = Folder::with(content);
        let error = match pool::open(folder.path()) {
            Ok(_) => panic!("{content} was taken"),
            Err(error) => error,
        };
        assert!(error.to_string().contains(says) && error.to_string().contains("move it away"), "{error}");
        match error {
            PoolError::NotTransactions { line, column, .. } => assert_eq!((line, column), place, "{content}"),
            other => panic!("{content}: {other}"),
        }
        assert_eq!(folder.text(), content);
        assert!(folder.bad().is_empty());
    }
}

#[tokio::test]
async fn a_second_node_is_kept_out_until_the_first_has_ended() {
    let folder = Folder::new();
    let opened = folder.open();
    let error = pool::open(folder.path()).expect_err("in use");
    assert!(matches!(error, PoolError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("is in use by another node (pid "), "{error}");
    opened.pool.close().await;
    fs::write(folder.path().join(LOCK_FILE), "not a number").expect("an old lock file");
    folder.open();
}

#[test]
fn what_the_system_refuses_is_told_with_path_and_remedy() {
    let folder = Folder::new();
    let missing = folder.path().join("nowhere");
    let error = pool::open(&missing).expect_err("no folder").to_string();
    assert!(error.contains("nowhere") && error.contains("make the folder"), "{error}");

    fs::create_dir(folder.file()).expect("made");
    let error = pool::open(folder.path()).expect_err("a folder in the file's place").to_string();
    assert!(error.contains(POOL_FILE) && error.contains("move the folder"), "{error}");

    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let error = pool::open(&file).expect_err("no folder").to_string();
    assert!(error.contains("start the node in a folder"), "{error}");
}

#[tokio::test]
async fn what_an_editor_adds_is_found_and_what_it_removes_is_put_back() {
    if !editors_replace_open_files() {
        return;
    }
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1]]));
    let mut opened = folder.open();
    folder.replace(&laid_out([TRICKY[3], TRICKY[1], TRICKY[4]]));
    let others = store(&mut opened, transactions([TRICKY[2]])).await;
    assert_eq!(found(&others), [TRICKY[3], TRICKY[4]]);
    assert_eq!(folder.text(), laid_out([TRICKY[3], TRICKY[1], TRICKY[4], TRICKY[0], TRICKY[2]]));
    assert_eq!(bodies(&opened).await, [TRICKY[0], TRICKY[1], TRICKY[3], TRICKY[4], TRICKY[2]], "positions stay");
    assert!(look(&mut opened).await.is_empty(), "and that was all");
}

#[tokio::test]
async fn what_is_being_stored_may_be_in_the_file_already() {
    if !editors_replace_open_files() {
        return;
    }
    let folder = Folder::new();
    let mut opened = folder.open();
    folder.replace(&laid_out([TRICKY[1], TRICKY[0]]));
    let others = store(&mut opened, transactions([TRICKY[0], TRICKY[2]])).await;
    assert_eq!(found(&others), [TRICKY[1]]);
    assert_eq!(folder.text(), laid_out([TRICKY[1], TRICKY[0], TRICKY[2]]));
    assert_eq!(bodies(&opened).await, [TRICKY[1], TRICKY[0], TRICKY[2]]);
}

#[tokio::test]
async fn a_helper_that_writes_the_file_whole_loses_nothing_that_was_stored_meanwhile() {
    let folder = Folder::new();
    let mut opened = folder.open();
    store(&mut opened, transactions([TRICKY[0]])).await;
    let read_by_helper = laid_out([TRICKY[0], TRICKY[5]]);
    store(&mut opened, transactions([TRICKY[1], TRICKY[2]])).await;
    fs::write(folder.file(), read_by_helper).expect("in place");
    assert_eq!(found(&look(&mut opened).await), [TRICKY[5]]);
    assert_eq!(folder.text(), laid_out([TRICKY[0], TRICKY[5], TRICKY[1], TRICKY[2]]));
    assert_eq!(bodies(&opened).await, [TRICKY[0], TRICKY[1], TRICKY[2], TRICKY[5]]);
}

#[tokio::test]
async fn what_another_program_overwrote_is_told_as_lost_and_can_be_stored_again() {
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1], TRICKY[2]]));
    let mut opened = folder.open();
    fs::write(folder.file(), laid_out([TRICKY[2]])).expect("in place");
    let reports = look(&mut opened).await;
    let [Report::Lost { ids }, Report::Warning { text }] = &reports[..] else { panic!("{reports:?}") };
    assert!(*ids == [id(TRICKY[0]), id(TRICKY[1])] && text.contains("2 transactions"), "{reports:?}");
    assert_eq!(bodies(&opened).await, [TRICKY[2]]);
    let chunk = opened.pool.read(0, Some(2), 10).await.expect("read");
    assert!(chunk.transactions.is_empty() && chunk.end && chunk.next == 2, "positions stay");

    store(&mut opened, transactions([TRICKY[3], TRICKY[1]])).await;
    assert_eq!(folder.text(), laid_out([TRICKY[2], TRICKY[3], TRICKY[1]]));
    assert_eq!(bodies(&opened).await, [TRICKY[1], TRICKY[2], TRICKY[3]], "at its old position");
}

/// As when a person puts a copy of the file back.
#[tokio::test]
async fn what_was_lost_and_is_in_the_file_again_is_found_at_its_old_position() {
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1], TRICKY[2]]));
    let mut opened = folder.open();
    fs::write(folder.file(), laid_out([TRICKY[2]])).expect("in place");
    assert!(matches!(&look(&mut opened).await[..], [Report::Lost { ids }, _] if ids.len() == 2));
    fs::write(folder.file(), laid_out([TRICKY[0], TRICKY[1], TRICKY[2], TRICKY[0], TRICKY[3]])).expect("in place");
    assert_eq!(found(&look(&mut opened).await), [TRICKY[0], TRICKY[1], TRICKY[3]]);
    assert_eq!(bodies(&opened).await, [TRICKY[0], TRICKY[1], TRICKY[2], TRICKY[3]]);
    assert_eq!(found(&look(&mut opened).await), [""; 0], "once");
}

#[tokio::test]
async fn reading_notices_what_another_program_did() {
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1]]));
    let opened = folder.open();
    fs::write(folder.file(), laid_out([TRICKY[1], TRICKY[0]])).expect("in place");
    assert_eq!(bodies(&opened).await, [TRICKY[0], TRICKY[1]]);
}

#[tokio::test]
async fn a_removed_file_is_made_again_with_all_it_held() {
    let folder = Folder::with(laid_out(TRICKY));
    let mut opened = folder.open();
    fs::remove_file(folder.file()).expect("removed");
    store(&mut opened, transactions([r#"{"more":1}"#])).await;
    assert_eq!(folder.text(), laid_out(TRICKY.into_iter().chain([r#"{"more":1}"#])));
}

#[tokio::test]
async fn a_file_that_another_program_broke_is_repaired_and_completed() {
    if !editors_replace_open_files() {
        return;
    }
    let folder = Folder::with(laid_out([TRICKY[0], TRICKY[1]]));
    let mut opened = folder.open();
    folder.replace("[\n  {\"typed\": \"by hand\",}\n]");
    let others = store(&mut opened, transactions([TRICKY[2]])).await;
    assert!(matches!(&others[..], [Report::Warning { text }] if text.contains(".bad-")), "{others:?}");
    assert_eq!(folder.bad(), [b"\n  {\"typed\": \"by hand\",}\n]"]);
    assert_eq!(folder.text(), laid_out([TRICKY[0], TRICKY[1], TRICKY[2]]));
}

#[tokio::test]
async fn a_file_that_became_something_else_stops_storing_until_it_is_put_right() {
    if !editors_replace_open_files() {
        return;
    }
    let folder = Folder::with(laid_out([TRICKY[0]]));
    let mut opened = folder.open();
    folder.replace("{}");
    opened.pool.store(transactions([TRICKY[1]]));
    let report = opened.reports.recv().await.expect("a report");
    assert!(
        matches!(&report, Report::Failed { error } if error.to_string().contains("not a JSON array")),
        "{report:?}"
    );
    assert_eq!(folder.text(), "{}");
    folder.replace("[]");
    assert!(matches!(opened.reports.recv().await, Some(Report::Recovered)));
    assert!(matches!(opened.reports.recv().await, Some(Report::Stored { .. })));
    assert_eq!(folder.text(), laid_out([TRICKY[0], TRICKY[1]]));
}

#[tokio::test]
async fn a_reader_beside_sees_a_sound_file_after_every_batch() {
    let folder = Folder::new();
    let mut opened = folder.open();
    let mut known = 0;
    for batch in 0..60 {
        let texts: Vec<String> = (0..=batch % 5)
            .map(|row| format!(r#"{{"batch":{batch},"row":{row},"text":"{}"}}"#, "é\\n".repeat(batch)))
            .collect();
        known += texts.len();
        store(&mut opened, transactions(texts.iter().map(String::as_str))).await;
        let rows: Vec<Value> = serde_json::from_slice(&folder.bytes()).expect("JSON");
        assert_eq!(rows.len(), known);
    }
}

#[tokio::test]
async fn closing_stores_what_waits_and_ends_the_reports() {
    let folder = Folder::new();
    let mut opened = folder.open();
    let clone = opened.pool.clone();
    for text in TRICKY {
        opened.pool.store(transactions([text]));
    }
    clone.close().await;
    let mut stored = Vec::new();
    while let Some(report) = opened.reports.recv().await {
        match report {
            Report::Stored { ids, .. } => stored.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored, TRICKY.map(id));
    assert_eq!(folder.text(), laid_out(TRICKY));
    assert!(!folder.names().any(|name| name.ends_with(".new")), "nothing is left lying about");
    opened.pool.close().await;
    opened.pool.store(transactions([r#"{"late":1}"#]));
    opened.pool.look().await;
}

/// One step of the model test.
#[derive(Debug, Clone)]
enum Step {
    Store(Vec<u8>),
    Read { from: u64, until: Option<u64>, max_bytes: usize },
    Reopen,
    Tear(usize),
    Rewrite { removed: usize, added: Vec<u8>, in_place: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..6).prop_map(Step::Store),
        3 => (0..40_u64, prop::option::of(0..40_u64), 0..400_usize)
            .prop_map(|(from, until, max_bytes)| Step::Read { from, until, max_bytes }),
        1 => Just(Step::Reopen),
        1 => (1..200_usize).prop_map(Step::Tear),
        2 => (0..5_usize, prop::collection::vec(any::<u8>(), 0..3), any::<bool>())
            .prop_map(|(removed, added, in_place)| Step::Rewrite { removed, added, in_place }),
    ]
}

fn row(seed: u8) -> String {
    format!(
        r#"{{"seed":{seed},"text":"{}","list":[{seed},{{}}]}}"#,
        TRICKY[seed as usize % 7].replace('\\', "\\\\").replace('"', "\\\"")
    )
}

/// The pool as it should be: what each position holds, and what the file holds.
struct Model {
    folder: Folder,
    opened: Opened,
    positions: Vec<String>,
    file: Vec<String>,
}

impl Model {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Store(seeds) => {
                let rows: Vec<String> = seeds.into_iter().map(row).collect();
                assert!(store(&mut self.opened, transactions(rows.iter().map(String::as_str))).await.is_empty());
                for row in rows {
                    if !self.positions.contains(&row) {
                        self.positions.push(row.clone());
                        self.file.push(row);
                    }
                }
            }
            Step::Read { from, until, max_bytes } => {
                let chunk = self.opened.pool.read(from, until, max_bytes).await.expect("read");
                let end = until.unwrap_or(u64::MAX).min(self.positions.len() as u64);
                let read: Vec<&str> = chunk.transactions.iter().map(Transaction::body).collect();
                assert_eq!(chunk.end, chunk.next >= end);
                assert!(chunk.next > from || chunk.end, "it goes on");
                assert_eq!(read, if from < end { &self.positions[from as usize..chunk.next as usize] } else { &[] });
            }
            Step::Reopen => self.reopen(|_| {}).await,
            Step::Tear(bytes) => {
                let whole = self.folder.bytes();
                let cut = whole.len().saturating_sub(bytes);
                let rows = (0..=self.file.len()).rev();
                let fits = |count: &usize| laid_out(self.file.iter().take(*count).map(String::as_str)).len() - 2 <= cut;
                let kept = rows.into_iter().find(fits).unwrap_or(0);
                self.file.truncate(kept);
                self.reopen(|path| fs::write(path, &whole[..cut]).expect("torn")).await;
            }
            Step::Rewrite { removed, added, in_place } => {
                let keep = self.file.len().saturating_sub(removed);
                let gone = self.file.split_off(keep);
                let mut new: Vec<String> = Vec::new();
                for row in added.into_iter().map(row) {
                    if !self.positions.contains(&row) && !new.contains(&row) {
                        new.push(row);
                    }
                }
                self.file.extend(new.iter().cloned());
                let content = laid_out(self.file.iter().map(String::as_str));
                // In place only additions: what is removed in place may be gone for good.
                if in_place && gone.is_empty() {
                    fs::write(self.folder.file(), content).expect("in place");
                } else {
                    self.folder.replace(&content);
                }
                self.positions.extend(new.iter().cloned());
                self.file.extend(self.positions.iter().filter(|row| gone.contains(row)).cloned());
                assert_eq!(found(&look(&mut self.opened).await), new);
            }
        }
        assert_eq!(self.folder.text(), laid_out(self.file.iter().map(String::as_str)));
    }

    async fn reopen(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.opened.pool.close().await;
        meanwhile(&self.folder.file());
        self.opened = self.folder.open();
        self.positions = self.file.clone();
        assert_eq!(self.opened.ids, self.file.iter().map(|row| id(row)).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_steps_leaves_the_file_as_the_model_says(steps in prop::collection::vec(step(), 1..25)) {
        if !editors_replace_open_files() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let folder = Folder::new();
            let mut model = Model { opened: folder.open(), folder, positions: Vec::new(), file: Vec::new() };
            for step in steps {
                model.take(step).await;
            }
        });
    }
}
