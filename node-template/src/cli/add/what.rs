//! The flags that say what is sent.

use std::path::{Path, PathBuf};

/// What to send.
#[derive(Debug, Default, clap::Args)]
pub struct What {
    /// The transaction, a JSON object; "-" reads many from standard input [default: the reward
    /// transaction to MY_PUBLIC_KEY]
    #[arg(value_name = "JSON", conflicts_with = "file")]
    pub(crate) transaction: Option<String>,
    /// Send it unchanged: add no id, timeStamp, hash or signature
    #[arg(long)]
    pub(crate) raw: bool,
    /// Do not sign it with the key of the node's folder
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// Send those of this file: one per line, or the elements of a JSON array; "-" is standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Do not wait until the node has it on disk
    #[arg(long)]
    pub(crate) no_wait: bool,
}

impl What {
    /// The transactions of a file, unchanged; "-" is standard input.
    pub fn unchanged(file: &Path) -> Self {
        Self { raw: true, file: Some(file.to_owned()), ..Self::default() }
    }

    /// Whether it is to be signed.
    pub(crate) fn signs(&self) -> bool {
        !self.unsigned && !self.raw
    }
}
