//! Writes all transactions of a pool, one a line, the oldest first: the form that `import` reads.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use crate::cli::add::Source;
use crate::cli::node_folder::{Lock, NodeFolder};
use crate::cli::place::Place;
use crate::cli::terminal::{plural, print, unwritten};
use crate::cli::user_file;
use crate::folder::replace::Draft;
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;

/// Where the lines go.
struct Output {
    out: BufWriter<Sink>,
    path: Option<PathBuf>,
    count: u64,
}

enum Sink {
    Stdout(StdoutLock<'static>),
    File(Draft),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}

impl Output {
    /// `folder`: that of the node, if it is on this machine.
    fn open(file: Option<&Path>, folder: Option<&Path>) -> Result<Self> {
        let Some(path) = file.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { out: BufWriter::new(Sink::Stdout(io::stdout().lock())), path: None, count: 0 });
        };
        user_file::check(path, folder, "")?;
        let draft = Draft::open(path).with_context(|| unwritable(path))?;
        Ok(Self { out: BufWriter::new(Sink::File(draft)), path: Some(path.to_owned()), count: 0 })
    }

    /// Returns whether the one who reads the lines may go before the last.
    fn has_reader(&self) -> bool {
        !matches!(self.out.get_ref(), Sink::File(draft) if draft.is_file())
    }

    fn write(&mut self, transaction: &str) -> io::Result<()> {
        self.count += 1;
        // A line break stands between the parts of a JSON text, never inside a string.
        let line = transaction.replace(['\r', '\n'], " ");
        self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"))
    }

    fn finish(self) -> Result<u64> {
        let written = self.out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|sink| match sink {
            Sink::Stdout(mut out) => out.flush(),
            Sink::File(draft) => draft.finish(),
        });
        match (&self.path, written) {
            (_, Ok(())) => Ok(self.count),
            (Some(path), Err(error)) => Err(error).with_context(|| unwritable(path)),
            (None, Err(error)) => Err(unwritten(error).into()),
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written; free space, or name another file", path.display())
}

/// Exports the pool of a folder, whose node need not run, or of a node elsewhere.
///
/// # Errors
/// The pool cannot be read, or the output cannot be written, or is a file that a node keeps. A
/// reader who goes is no error.
pub(crate) async fn export(place: Place, file: Option<&Path>, as_json: bool) -> Result<()> {
    let to_file = file.is_some_and(|path| path != Path::new("-"));
    let folder = match &place {
        Place::Folder(folder) => Some(folder.path.as_path()),
        Place::Api(_) => None,
    };
    let mut output = Output::open(file, folder)?;
    let has_reader = output.has_reader();
    let written = match place {
        Place::Folder(folder) => export_file(&folder, &mut output),
        Place::Api(mut api) => api.oldest_first(|text| Ok(output.write(text)?)).await.map(|_| ()),
    };
    let done = written.and_then(|()| output.finish());
    let count = match done {
        Err(error) if has_reader && is_closed(&error) => return Ok(()),
        done => done?,
    };
    if let Some(path) = file.filter(|_| to_file) {
        let shown = path.display().to_string();
        match as_json {
            true => print(format!("{:#}", json!({ "file": shown, "transactions": count })))?,
            false => print(format!("{} written to {shown}", plural(count as usize, "transaction")))?,
        }
    }
    Ok(())
}

/// Whether an error is that nobody reads the output any more.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn export_file(folder: &NodeFolder, output: &mut Output) -> Result<()> {
    let name = format!("{}/transactions.json", folder.name());
    let remedy = || match folder.lock() {
        Ok(Lock::Held(_)) => "its node runs and writes it: ask again",
        _ => "start its node, which repairs it, and ask again",
    };
    let bad = |number: u64, error: &dyn Display| anyhow!("{name}, element {number}: {error}; {}", remedy());
    let source = Source::new(folder.open_pool()?).with_context(|| format!("{name} cannot be read; {}", remedy()))?;
    let mut parser = Parser::new();
    for (number, part) in source {
        let bytes = part.map_err(|error| bad(number, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| bad(number, &error))?;
        let transaction = Transaction::parse(&mut parser, &text).map_err(|error| bad(number, &error))?;
        output.write(transaction.body())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::fs::File;

    use super::*;

    #[tokio::test]
    async fn each_transaction_is_a_line_and_a_broken_file_leaves_none() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = NodeFolder::at(parent.path());
        let (pool, file) = (parent.path().join("transactions.json"), parent.path().join("out.jsonl"));
        std::fs::write(&pool, "[\n  {\n \"a\": \"x\\ny\"\n },\n{\"b\":2}\n]\n").expect("written");
        export(Place::Folder(folder.clone()), Some(&file), false).await.expect("exported");
        let text = std::fs::read_to_string(&file).expect("read");
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(rows, [json!({ "a": "x\ny" }), json!({ "b": 2 })]);

        std::fs::write(&pool, "[{\"a\":1},{\"b\":").expect("written");
        let error = export(Place::Folder(folder.clone()), Some(&file), false).await.expect_err("cut off").to_string();
        assert!(error.contains("element 2") && error.contains("repairs it"), "{error}");
        let lock = parent.path().join("node.lock");
        let held = crate::system::try_lock(&lock).expect("free");
        let error = export(Place::Folder(folder), Some(&file), false).await.expect_err("cut off").to_string();
        assert!(error.contains("element 2") && error.contains("its node runs"), "{error}");
        drop(held);
        std::fs::remove_file(lock).expect("removed");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), text, "the file is as it was");
        assert_eq!(std::fs::read_dir(parent.path()).expect("read").count(), 2, "and no part is left");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_is_written_into_and_a_link_is_followed() {
        use std::os::unix::fs::symlink;

        let parent = tempfile::tempdir().expect("a folder");
        let folder = NodeFolder::at(parent.path());
        let at = |name: &str| parent.path().join(name);
        std::fs::write(at("transactions.json"), "[{\"a\":1}]").expect("written");
        crate::system::make_pipe(&at("pipe")).expect("made");
        symlink("pipe", at("to-pipe")).expect("linked");
        symlink("out.jsonl", at("to-file")).expect("linked");
        for name in ["pipe", "to-pipe"] {
            // Open for reading and writing, it waits for no other end.
            let mut reader = File::options().read(true).write(true).open(at("pipe")).expect("opened");
            export(Place::Folder(folder.clone()), Some(&at(name)), false).await.expect("exported");
            let mut read = [0; 8];
            assert!(!std::fs::metadata(at(name)).expect("there").is_file(), "{name} stays");
            std::io::Read::read_exact(&mut reader, &mut read).expect("read");
            assert_eq!(&read, b"{\"a\":1}\n");
        }
        export(Place::Folder(folder), Some(&at("to-file")), false).await.expect("exported");
        assert!(std::fs::symlink_metadata(at("to-file")).expect("there").is_symlink());
        assert_eq!(std::fs::read_to_string(at("out.jsonl")).expect("the target"), "{\"a\":1}\n");
        assert_eq!(std::fs::read_dir(parent.path()).expect("listed").count(), 5, "no part is left");
    }
}
