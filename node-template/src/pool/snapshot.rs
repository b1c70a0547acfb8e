//! Reads the pool's file as it is at one moment, while its node may append to it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// How many bytes from its end on the closing bracket of a file is looked for. More white space
/// than that is behind it only if another program wrote it.
const TAIL: u64 = 64;
/// How often it is looked for: the node may append in between.
const LOOKS: usize = 16;

/// Returns a reader of the array that a file holds now, whatever its node appends meanwhile: that
/// overwrites the closing bracket, so the reader ends before it and adds one of its own. A file
/// without a closing bracket is read as it is.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn as_of_now(mut file: File) -> io::Result<impl Read + Send + 'static> {
    let mut rows = (u64::MAX, &b""[..]);
    for _ in 0..LOOKS {
        let length = file.metadata()?.len();
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.by_ref().take(length.min(TAIL)).read_to_end(&mut tail)?;
        let before = tail.trim_ascii_end().strip_suffix(b"]").map(<[u8]>::trim_ascii_end);
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            rows = (length.saturating_sub(TAIL) + before.len() as u64, &b"]"[..]);
            break;
        }
    }
    file.rewind()?;
    Ok(file.take(rows.0).chain(rows.1))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn an_array_is_read_as_it_was_although_rows_are_appended_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("transactions.json");
        let spaces = " ".repeat(100);
        for before in
            ["[\n  {\n    \"a\": [1]\n  }\n]", "[\n  {\n    \"a\": [1]\n  }\n]\n", "[{\"a\":1}]", "[]\n", "[]"]
        {
            let rows_end = before.trim_end().trim_end_matches(']').trim_end().len();
            std::fs::write(&path, before).expect("written");
            let mut reader = as_of_now(File::open(&path).expect("opened")).expect("read");
            let more = if rows_end == 1 { "\n  {}\n]" } else { ",\n  {\n    \"b\": 2\n  }\n]" };
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.write_all_at(more.as_bytes(), rows_end as u64))
                .expect("appended");
            let mut read = String::new();
            reader.read_to_string(&mut read).expect("read");
            let rows = |text: &str| serde_json::from_str::<Vec<serde_json::Value>>(text).expect(text);
            assert_eq!(rows(&read), rows(before));
            assert_eq!(rows(&std::fs::read_to_string(&path).expect("read")).len(), rows(before).len() + 1);
        }
        for damaged in ["", "{}", "[{\"a\":1},{\"b\"", &format!("[{{}}{spaces}]{spaces}")] {
            std::fs::write(&path, damaged).expect("written");
            let read = as_of_now(File::open(&path).expect("opened")).and_then(io::read_to_string).expect("read");
            assert_eq!(read, damaged, "as it is");
        }
    }
}
