//! Images of the network: their list, and one of them as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::cli::table::Table;
use crate::cli::target::Target;
use crate::cli::terminal::{plural, print, strip_control};
use crate::cli::user_file;
use crate::folder::replace::Draft;
use crate::images::{ImageList, ListedImage};
use crate::protocol::wire::ImageName;

/// How to name another file.
const HINT: &str = " with -o";

/// An image to be written into a file.
#[derive(Debug)]
pub struct Wanted {
    name: ImageName,
    path: PathBuf,
}

impl Wanted {
    /// Checks the names, before a node is asked. `output`: the file; without it the image's name.
    ///
    /// # Errors
    /// One of them is no name, or the file is one that a node keeps.
    pub fn new(name: &str, output: Option<&Path>) -> Result<Self> {
        let image: ImageName = name.parse().with_context(|| format!("{} names no image", strip_control(name)))?;
        let path = output.unwrap_or(Path::new(image.as_str())).to_owned();
        user_file::check(&path, None, HINT)?;
        Ok(Self { name: image, path })
    }

    /// Writes the image, whichever node has it.
    ///
    /// # Errors
    /// No node has it, it does not come whole, or the file cannot be written.
    pub async fn get(&self, target: Target, as_json: bool) -> Result<()> {
        let node = target.name();
        user_file::check(&self.path, target.folder(), HINT)?;
        let mut output = Output::new(&self.path);
        let mut stream = target.image(&self.name).await?;
        let mut size = 0;
        let broken = || format!("{} did not come whole", strip_control(self.name.as_str()));
        while let Some(bytes) = stream.next().await.with_context(broken)? {
            size += bytes.len() as u64;
            output.write(&bytes)?;
        }
        output.finish()?;
        stream.close().await;
        let path = strip_control(&self.path.display().to_string());
        match as_json {
            true => print(format!("{:#}", json!({ "file": path, "bytes": size, "askedOf": node })))?,
            false => print(format!("{path}: {}, by way of {node}", bytes(size)))?,
        }
        Ok(())
    }
}

/// Prints the images that a node knows in the network.
///
/// # Errors
/// The node gives no answer.
pub async fn list(target: Target, as_json: bool) -> Result<()> {
    let (node, list) = (target.name(), target.images().await?);
    if as_json {
        print(format!("{:#}", json!({ "askedOf": node, "images": list.images, "more": list.more })))?;
    } else if list.images.is_empty() {
        print("no node that can be reached has an image: put one into the folder images of a node")?;
    } else {
        print(table(&list, &node))?;
    }
    Ok(())
}

/// The file of an image, which is begun at the first bytes: a failed request leaves none.
struct Output {
    path: PathBuf,
    draft: Option<Draft>,
}

impl Output {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), draft: None }
    }

    fn cannot(&self) -> String {
        format!(
            "{} cannot be written; free space, or name another file with -o",
            strip_control(&self.path.display().to_string())
        )
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let draft = match self.draft.take() {
            Some(draft) => draft,
            None => Draft::open(&self.path).with_context(|| self.cannot())?,
        };
        let written = self.draft.insert(draft).write_all(bytes);
        written.with_context(|| self.cannot())
    }

    fn finish(mut self) -> Result<()> {
        // An empty image has a file too.
        self.write(&[])?;
        let finished = self.draft.take().map_or(Ok(()), Draft::finish);
        finished.with_context(|| self.cannot())
    }
}

fn table(list: &ImageList, node: &str) -> String {
    let mut table = Table::new(["name", "size", "where"]);
    for image in &list.images {
        table.push([strip_control(&image.name), bytes(image.size), location(image, node)]);
    }
    let more = if list.more { "\n… and more" } else { "" };
    format!("{table}{more}")
}

fn location(image: &ListedImage, node: &str) -> String {
    let here = match (image.here, image.kept) {
        (true, _) => Some(node.to_owned()),
        (false, true) => Some(format!("{node} (fetched earlier)")),
        (false, false) => None,
    };
    let others = (image.nodes > 0).then(|| plural(image.nodes, if here.is_some() { "other node" } else { "node" }));
    here.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_row_says_who_has_it() {
        let row = |name: &str, size, here, kept, nodes| ListedImage { name: name.to_owned(), size, here, kept, nodes };
        let images = vec![
            row("cat.jpg", 2_048, true, false, 2),
            row("dog.jpg", 7, false, true, 1),
            row("fox.jpg", 3_000_000, false, false, 1),
        ];
        assert_eq!(
            table(&ImageList { images, more: true }, "node-1"),
            "name     size     where\n\
             cat.jpg  2.0 KiB  node-1, 2 other nodes\n\
             dog.jpg  7 B      node-1 (fetched earlier), 1 other node\n\
             fox.jpg  2.9 MiB  1 node\n\
             … and more"
        );
    }

    #[test]
    fn what_does_not_come_whole_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("cat.jpg");
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let mut output = Output::new(&wanted);
        output.write(b"ca").unwrap();
        assert_eq!((files(), wanted.exists()), (1, false));
        drop(output);
        assert_eq!(files(), 0);
        let mut output = Output::new(&wanted);
        output.write(b"c").unwrap();
        output.write(b"at").unwrap();
        output.finish().unwrap();
        assert!(files() == 1 && fs::read(wanted).unwrap() == b"cat");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        crate::system::make_pipe(&pipe).unwrap();
        let mut reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let mut output = Output::new(&pipe);
        output.write(b"cat").unwrap();
        output.finish().unwrap();
        assert!(!fs::metadata(pipe).unwrap().is_file());
        let mut read = [0; 3];
        std::io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!(&read, b"cat");
    }
}
