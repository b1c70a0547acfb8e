//! Why an image cannot be had, each in one line.

use meshpool_proto::wire::ImageName;

/// Why an image cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// This node does not have it, and no other node offered it within
    /// [`search_deadline`](meshpool_proto::limits::Limits::search_deadline).
    #[error("no node that can be reached has {0}; put it into the folder images of one")]
    NotFound(ImageName),
    /// Too many images are searched or fetched at once.
    #[error("too many images are searched at once; ask again in a moment")]
    Busy,
    /// It is larger than this node fetches.
    #[error("{name} has {size} bytes, and this node fetches at most {most}; raise IMAGE_MAX_BYTES")]
    TooLarge {
        /// The image.
        name: ImageName,
        /// Its length in bytes.
        size: u64,
        /// The most bytes that are fetched.
        most: u64,
    },
    /// The nodes that have it did not send it.
    #[error("{name} was found and could not be fetched: {why}; ask again, or look at the log of the node that has it")]
    NotFetched {
        /// The image.
        name: ImageName,
        /// The result of the last try.
        why: String,
    },
    /// This node's disk failed.
    #[error("{file} cannot be read or written: {why}; free space, or see to its permissions")]
    Disk {
        /// The file or folder, relative to the node's folder.
        file: String,
        /// The system's reason.
        why: String,
    },
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Ended,
}
