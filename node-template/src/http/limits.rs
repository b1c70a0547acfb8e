//! The bounds of the HTTP side, each with its reason. They are a node's for its operator's eyes, so they are small beside those of the mesh.

use std::time::Duration;

use crate::protocol::limits::MESSAGE_BYTES;

/// Connections at once; further ones wait to be accepted.
pub(crate) const CONNECTIONS: usize = 256;
/// Streams of events at once; a further one is told to come back. Far fewer than connections, so that streams never keep questions out.
pub(crate) const STREAMS: usize = 100;
/// How long a request's head may take, and how long a connection may wait for its next.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a request's body may take.
pub(crate) const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How much a request's head may have, in bytes: hyper's least is 8 KiB.
pub(crate) const HEAD_BYTES: usize = 16 * 1024;
/// How much a request's body may have: as much as a message between nodes.
pub(crate) const BODY_BYTES: usize = MESSAGE_BYTES;
/// How long a client may leave what it is sent unread.
pub(crate) const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// After this silence a stream says that it is alive; to find the clients that are not.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many frames a stream may lag behind before it is ended: at 5 a second, a dozen seconds.
pub(crate) const LAG: usize = 64;
/// Requests per second, and how many at once before that counts.
pub(crate) const REQUESTS: (u32, u32) = (200, 1_000);
/// Requests per second that change something, likewise.
pub(crate) const CHANGES: (u32, u32) = (100, 500);
/// Searches at once: each reads from the disk.
pub(crate) const SEARCHES: usize = 2;
/// How many transactions one search looks at before it answers with what it found and where to go on.
pub(crate) const SEARCHED: u64 = 20_000;
/// Transactions on a page: by default, and at most.
pub(crate) const PAGE: (usize, usize) = (50, 200);
/// Rows of the pool's file read for one page, in bytes.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;
/// How many lines of what happened are kept for who comes later.
pub(crate) const LINES: usize = 200;
/// How long to wait for the disk before saying that a transaction is not on it yet.
pub(crate) const STORED_WITHIN: Duration = Duration::from_secs(10);
/// How often what happened is summed up and told.
pub(crate) const TICK: Duration = Duration::from_millis(200);
/// Of how many transactions and broadcasts of one tick the page is told which they are: what an eye can follow.
pub(crate) const SAMPLES: usize = 12;
/// Of how many failed dials the reason is remembered.
pub(crate) const REASONS: usize = 4_096;
