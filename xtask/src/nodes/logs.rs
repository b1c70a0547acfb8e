//! `logs`: shows the logs of the nodes that `up --detach` started.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meshpool::binary::system::FileStamp;

use crate::nodes::up::detached::log_file;
use crate::nodes::up::output::{NodeOutput, Output, Stream};
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::number;
use crate::support::workspace::{Folder, Workspace};

/// How often the files are looked at for more.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much of a file's end is searched for its last lines, and read at once later.
const PIECE: u64 = 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show only the log of node N
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// Show the last K lines of each
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = number(0..=1_000_000_usize, "20"))]
    last: usize,
    /// Go on with what is written from now on, until Ctrl+C
    #[arg(long, short)]
    follow: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folders = match arguments.node {
        Some(number) => vec![workspace.existing(number)?],
        None => workspace.folders()?,
    };
    let output = Output::new(folders.last().map_or(1, |folder| folder.number));
    let mut logs = Vec::new();
    for folder in folders {
        if log_file(&folder).is_file() {
            logs.push(Log::open(folder, output, arguments.last)?);
        }
    }
    if logs.is_empty() {
        bail!(
            "there is no log: `cargo xtask up --detach` starts nodes that write one; others write theirs where they were started"
        );
    }
    if arguments.follow {
        block_on(follow(&mut logs))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(logs: &mut [Log]) -> Result<()> {
    let mut stop = Stop::new()?;
    loop {
        for log in &mut *logs {
            log.print_more()?;
        }
        tokio::select! {
            () = stop.asked() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// The log of one node, read up to some place.
struct Log {
    folder: Folder,
    output: NodeOutput,
    file: File,
    /// A line whose end is not written yet.
    part: Vec<u8>,
}

impl Log {
    /// Opens a log and prints its last lines.
    fn open(folder: Folder, output: Output, last: usize) -> Result<Self> {
        let path = log_file(&folder);
        let mut file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(PIECE)))?;
        let mut end = Vec::new();
        file.by_ref().take(PIECE).read_to_end(&mut end)?;
        let log = Self { output: output.of(folder.number), folder, file, part: Vec::new() };
        let mut lines: Vec<&[u8]> = end.split_inclusive(|byte| *byte == b'\n').collect();
        let part = match lines.last() {
            Some(line) if !line.ends_with(b"\n") => lines.pop().unwrap_or_default().to_vec(),
            _ => Vec::new(),
        };
        for line in &lines[lines.len().saturating_sub(last)..] {
            log.print(line);
        }
        Ok(Self { part, ..log })
    }

    fn print(&self, line: &[u8]) {
        self.output.print(Stream::Out, &String::from_utf8_lossy(line.trim_ascii_end()));
    }

    /// Prints the lines that were written meanwhile. A new run has a new file, and a file that was
    /// cut (by logrotate) begins at its start.
    fn print_more(&mut self) -> Result<()> {
        loop {
            let mut more = Vec::new();
            self.file.by_ref().take(PIECE).read_to_end(&mut more)?;
            if more.is_empty() {
                break;
            }
            self.part.extend(more);
            while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.part.drain(..=end).collect();
                self.print(&line);
            }
        }
        let read = self.file.metadata()?;
        match File::open(log_file(&self.folder)) {
            Ok(present) if !FileStamp::of_file(&present)?.same_file(&FileStamp::of_file(&self.file)?) => {
                self.file = present;
                self.part.clear();
            }
            Ok(_) if read.len() < self.file.stream_position()? => {
                self.file.rewind()?;
                self.part.clear();
            }
            // Its folder was removed, or the next run has not begun.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}
