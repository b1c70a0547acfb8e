//! Writes all transactions of a pool, one a line, the oldest first: the form that `import` reads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::cli::add::Source;
use crate::cli::node_folder::NodeFolder;
use crate::cli::place::Place;
use crate::cli::terminal::{plural, print, unwritten};
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;
use crate::system::{rename, sync_folder};

/// Where the lines go.
struct Output {
    out: Box<dyn Write>,
    /// A file has a temporary name until it is complete.
    file: Option<(PathBuf, PathBuf)>,
    count: u64,
}

impl Output {
    fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { out: Box::new(BufWriter::new(io::stdout().lock())), file: None, count: 0 });
        };
        let Some(name) = path.file_name() else { bail!("{} is no file to write: name one", path.display()) };
        let draft = path.with_file_name(format!(".{}.{}.part", name.display(), std::process::id()));
        let file = File::create_new(&draft).with_context(|| unwritable(path))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), file: Some((draft, path.to_owned())), count: 0 })
    }

    fn write(&mut self, transaction: &str) -> io::Result<()> {
        self.count += 1;
        // A line break stands between the parts of a JSON text, never inside a string.
        let line = transaction.replace(['\r', '\n'], " ");
        self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"))
    }

    fn finish(mut self) -> Result<u64> {
        let path = self.file.as_ref().map(|(_, path)| path.clone());
        let explain = |error: io::Error| match &path {
            Some(path) => anyhow!("{}: {error}", unwritable(path)),
            None => unwritten(error).into(),
        };
        self.out.flush().map_err(explain)?;
        // Closed first: some systems rename no open file.
        self.out = Box::new(io::sink());
        if let Some((draft, path)) = &self.file {
            // Windows flushes only what is open for writing.
            let done = File::options().write(true).open(draft).and_then(|file| file.sync_all());
            done.and_then(|()| rename(draft, path)).with_context(|| unwritable(path))?;
            sync_folder(path.parent().unwrap_or(Path::new("."))).with_context(|| unwritable(path))?;
            self.file = None;
        }
        Ok(self.count)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((draft, _)) = &self.file {
            std::fs::remove_file(draft).unwrap_or_default();
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written; free space, or name another file", path.display())
}

/// Exports the pool of a folder, whose node need not run, or of a node elsewhere.
///
/// # Errors
/// The pool cannot be read, or the output cannot be written. A reader who goes is no error.
pub(crate) async fn export(place: Place, file: Option<&Path>, as_json: bool) -> Result<()> {
    let to_file = file.is_some_and(|path| path != Path::new("-"));
    let mut output = Output::open(file)?;
    let written = match place {
        Place::Folder(folder) => export_file(&folder, &mut output),
        Place::Api(mut api) => api.oldest_first(|text| Ok(output.write(text)?)).await.map(|_| ()),
    };
    let done = written.and_then(|()| output.finish());
    let count = match done {
        Err(error) if !to_file && is_closed(&error) => return Ok(()),
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
    let remedy = "start its node, which repairs it, and ask again";
    let file = File::open(folder.path.join("transactions.json"))
        .with_context(|| format!("{name} cannot be read; it exists once the node has been started"))?;
    let source = Source::new(file).with_context(|| format!("{name} cannot be read; {remedy}"))?;
    let mut parser = Parser::new();
    for (number, part) in source {
        let bytes = part.map_err(|error| anyhow!("{name}, element {number}: {error}; {remedy}"))?;
        let text = String::from_utf8(bytes).map_err(|error| anyhow!("{name}, element {number}: {error}; {remedy}"))?;
        let transaction = Transaction::parse(&mut parser, &text)
            .map_err(|error| anyhow!("{name}, element {number}: {error}; {remedy}"))?;
        output.write(transaction.body())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        let error = export(Place::Folder(folder), Some(&file), false).await.expect_err("cut off").to_string();
        assert!(error.contains("element 2") && error.contains("repairs it"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), text, "the file is as it was");
        assert_eq!(std::fs::read_dir(parent.path()).expect("read").count(), 2, "and no part is left");
    }
}
