//! `image`: copies an image from the network into a file, and lists the images.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use measuring::Table;
use meshpool::client::{ImageStream, list_images, list_images_as};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::ImageName;
use meshpool::tls::Credentials;
use meshpool::{ImageList, ListedImage};
use serde_json::json;

use crate::support::running_nodes::{block_on, target};
use crate::support::terminal::note;
use crate::support::terminal::{self, print, strip_control};
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write an image into a file, whichever node has it
    Get {
        /// The image's name, such as cat.jpg
        #[arg(value_name = "NAME")]
        name: String,
        /// Write this file [default: the image's name in the current folder]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Ask node N [default: the node of the current folder, else the first that answers]
        #[arg(long, value_name = "N")]
        node: Option<u32>,
    },
    /// List the images known in the network
    List {
        /// Ask node N [default: the node of the current folder, else the first that answers]
        #[arg(long, value_name = "N")]
        node: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Get { name, output, node } => get(workspace, name, output.as_deref(), *node),
        What::List { node, json } => list(workspace, *node, *json),
    }
}

/// The node to ask.
struct Target {
    name: String,
    address: PeerAddress,
    /// The credentials for a node of a closed network.
    credentials: Option<Credentials>,
}

async fn open_target(workspace: &Workspace, node: Option<u32>) -> Result<Target> {
    let (folder, client) = target(workspace, node).await?;
    let (address, identity) = (client.address().clone(), client.identity());
    client.close().await;
    let name = folder.name();
    if identity.is_none() {
        bail!("{name} is a node of the exercise, which knows no images: name another with --node");
    }
    let credentials =
        if address.is_secure() { Some(folder.credentials().with_context(|| name.clone())?) } else { None };
    Ok(Target { name, address, credentials })
}

impl Target {
    async fn open(&self, image: &ImageName) -> Result<ImageStream> {
        let opened = match &self.credentials {
            Some(credentials) => ImageStream::open_as(&self.address, credentials, image).await,
            None => ImageStream::open(&self.address, image).await,
        };
        opened.with_context(|| self.name.clone())
    }

    async fn list(&self) -> Result<ImageList> {
        let list = match &self.credentials {
            Some(credentials) => list_images_as(&self.address, credentials).await,
            None => list_images(&self.address).await,
        };
        list.with_context(|| self.name.clone())
    }
}

fn get(workspace: &Workspace, name: &str, output: Option<&Path>, node: Option<u32>) -> Result<ExitCode> {
    // Checked first, so that an invalid name gives the same error with and without a running node.
    let image: ImageName = name.parse().with_context(|| format!("{} names no image", strip_control(name)))?;
    let path = output.unwrap_or(Path::new(image.as_str())).to_owned();
    let Some(file_name) = path.file_name() else { bail!("{} is no file to write: name one with -o", path.display()) };
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(file_name);
    draft_name.push(format!(".{}.part", std::process::id()));
    let mut draft = Draft::new(path.with_file_name(draft_name), path.clone());
    let (node, size) = block_on(async {
        let target = open_target(workspace, node).await?;
        let mut stream = target.open(&image).await?;
        while let Some(bytes) =
            stream.next().await.with_context(|| format!("{} did not come whole", strip_control(name)))?
        {
            draft.write(&bytes)?;
        }
        draft.finish()?;
        let size = stream.size();
        stream.close().await;
        Ok((target.name, size))
    })?;
    print(format!("{}: {}, by way of {node}", strip_control(&path.display().to_string()), bytes(size)))?;
    Ok(ExitCode::SUCCESS)
}

/// A file that has a temporary name until it is complete; dropped before that, it is removed.
struct Draft {
    path: PathBuf,
    wanted: PathBuf,
    file: Option<fs::File>,
}

impl Draft {
    fn new(path: PathBuf, wanted: PathBuf) -> Self {
        Self { path, wanted, file: None }
    }

    fn cannot(&self) -> String {
        format!(
            "{} cannot be written; free space, or name another file with -o",
            strip_control(&self.wanted.display().to_string())
        )
    }

    /// Creates the file at the first bytes, so that a failed request leaves none.
    fn open(&mut self) -> Result<&mut fs::File> {
        if self.file.is_none() {
            let made = OpenOptions::new().write(true).create_new(true).open(&self.path);
            self.file = Some(made.with_context(|| self.cannot())?);
        }
        Ok(self.file.as_mut().expect("just made"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let message = self.cannot();
        self.open()?.write_all(bytes).context(message)
    }

    fn finish(&mut self) -> Result<()> {
        let message = self.cannot();
        self.open()?.sync_all().with_context(|| message.clone())?;
        fs::rename(&self.path, &self.wanted).context(message)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            note!("warning: {} is left over and can be deleted: {error}", self.path.display());
        }
    }
}

fn list(workspace: &Workspace, node: Option<u32>, as_json: bool) -> Result<ExitCode> {
    let (node, list) = block_on(async {
        let target = open_target(workspace, node).await?;
        let list = target.list().await?;
        Ok((target.name, list))
    })?;
    if as_json {
        print(format!("{:#}", json!({ "askedOf": node, "images": list.images, "more": list.more })))?;
    } else if list.images.is_empty() {
        print("no node that can be reached has an image: put one into the folder images of a node")?;
    } else {
        print(table(&list, &node))?;
    }
    Ok(ExitCode::SUCCESS)
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
    let others =
        (image.nodes > 0).then(|| terminal::plural(image.nodes, if here.is_some() { "other node" } else { "node" }));
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
        let (part, wanted) = (folder.path().join(".cat.jpg.part"), folder.path().join("cat.jpg"));
        let mut draft = Draft::new(part.clone(), wanted.clone());
        draft.write(b"ca").unwrap();
        assert!(part.exists());
        drop(draft);
        assert!(!part.exists() && !wanted.exists());
        let mut draft = Draft::new(part.clone(), wanted.clone());
        draft.write(b"cat").unwrap();
        draft.finish().unwrap();
        drop(draft);
        assert!(!part.exists() && fs::read(wanted).unwrap() == b"cat");
    }
}
