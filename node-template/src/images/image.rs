//! An image that can be read.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use meshpool_proto::wire::ImageName;

use crate::images::folder::{Opened, blocking};
use crate::system::read_at;

/// An image that can be read: a file of this node, or one that was fetched and verified. It stays
/// readable while it is held, also if its file is removed.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub name: ImageName,
    /// Its length in bytes.
    pub size: u64,
    /// Changes when the content does.
    pub tag: String,
    /// Where it comes from.
    pub source: ImageSource,
    /// The file with its stamp, unless it was fetched just now.
    pub(crate) opened: Option<Opened>,
    pub(crate) file: Arc<File>,
}

/// Where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSource {
    /// A file in the folder of this node.
    Local,
    /// Fetched earlier, and kept.
    Cached,
    /// Fetched just now.
    Fetched,
}

impl Image {
    /// Reads at most so many bytes from an offset on; at least one.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] if the file has become shorter meanwhile.
    pub async fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut bytes = vec![0; most];
            let read = read_at(&file, &mut bytes, offset)?;
            bytes.truncate(read);
            if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Bytes::from(bytes)) }
        })
        .await
    }
}
