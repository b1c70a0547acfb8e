//! Why there is no image, each in one line.

use crate::protocol::wire::ImageName;

/// Why an image was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither this node has it nor, within [`search_deadline`](crate::protocol::limits::Limits::search_deadline), anybody said so.
    #[error("no node that can be reached has {0}; put it into the folder images of one")]
    NotFound(ImageName),
    /// As many images are searched or fetched as may be at once.
    #[error("too many images are searched at once; ask again in a moment")]
    Busy,
    /// It was found, and is larger than this node fetches.
    #[error("{name} has {size} bytes, and this node fetches at most {most}; raise IMAGE_MAX_BYTES")]
    TooLarge {
        /// Which.
        name: ImageName,
        /// How many bytes it has.
        size: u64,
        /// How many are fetched at most.
        most: u64,
    },
    /// Those who have it did not give it.
    #[error("{name} was found and could not be fetched: {why}; ask again, or look at the log of the node that has it")]
    NotFetched {
        /// Which.
        name: ImageName,
        /// What came of the last try.
        why: String,
    },
    /// This node's disk failed.
    #[error("{file} can not be read or written: {why}; free space, or see to its permissions")]
    Disk {
        /// Which file or folder, by its path in the node's folder.
        file: String,
        /// What the system said.
        why: String,
    },
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}
