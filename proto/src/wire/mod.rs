//! The messages: text frames with one JSON object each, `{"type": …, "data": …, …siblings}`.
//!
//! [`Message::parse`] reads a frame; the caller chooses the thread for that expensive work. Each
//! message type has a file, with a function that writes its frames. Unknown types and siblings are
//! ignored, so that versions can differ. `docs/protocol.md` specifies each message.

mod announce;
mod broadcast;
mod call_back;
pub(crate) mod close;
mod codec;
mod dial_back;
mod exercise;
mod handshake;
mod image;
pub mod mdns_record;
mod message;
mod network;
mod overlay;
mod plumtree;
pub(crate) mod proof;
mod remembered;
mod request;
mod status;
mod sync;
mod transaction;

pub use announce::{AnnounceFrame, Announcement};
pub use broadcast::{Broadcast, BroadcastDigest, BroadcastFrame, BroadcastId, InvalidBroadcast, TITLE};
pub use call_back::CallBack;
pub use codec::Malformed;
pub use dial_back::DialBack;
pub use exercise::{ExerciseUpdate, RememberedExercise, exercise_frame};
pub use handshake::{Handshake, NodeInfo, PROTOCOL};
pub use image::{Find, Found, ImageInfo, ImageName, InvalidImageName, SearchId};
pub use message::{Message, TopicFrame};
pub use network::{Member, Members, NetworkFrame};
pub use overlay::{Beacon, Declined, Join, Sample, Want};
pub use plumtree::{graft_frame, prune_frame};
pub use proof::{Party, Proof, Statement};
pub use remembered::RememberedAddress;
pub use request::{ChunkOf, FailedCause, Hello, REQUEST_PROTOCOL, RequestFrame};
pub use status::{DialBacks, PathRow, PeerRow, PeerState, Status, StatusFrame, Summary, TopicRow};
pub use sync::{Floor, OtherSet, Step, SyncFrame, want_frame};
pub use transaction::{Ack, AckStatus, TransactionFrame};

#[cfg(test)]
mod tests;
