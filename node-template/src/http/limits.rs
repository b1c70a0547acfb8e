//! Limits of the HTTP server. They serve one node's operator, so they are small beside the mesh's.

use std::time::Duration;

use crate::protocol::limits::MESSAGE_BYTES;

/// Concurrent connections; further ones wait to be accepted.
pub(crate) const CONNECTIONS: usize = 256;
/// Concurrent event streams; a further one gets 503. Fewer than connections, so that streams never
/// keep other requests out.
pub(crate) const STREAMS: usize = 100;
/// For the head of a request, and for the next request of an idle connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For the body of a request.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head. hyper's minimum is 8 KiB.
pub(crate) const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a request's body: as many as a message between nodes may have.
pub(crate) const BODY_BYTES: usize = MESSAGE_BYTES;
/// How long a client may leave a response unread.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent stream sends a comment this often, which finds clients that are gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many frames a stream may lag before it is closed: a dozen seconds at 5 a second.
pub(crate) const LAG: usize = 64;
/// Requests: per second, and burst.
pub(crate) const REQUESTS: (u32, u32) = (200, 1_000);
/// Requests that change something: per second, and burst.
pub(crate) const CHANGES: (u32, u32) = (100, 500);
/// Concurrent searches, each of which reads from the disk.
pub(crate) const SEARCHES: usize = 2;
/// How many transactions one search examines before it answers with a cursor for the next.
pub(crate) const SEARCHED: u64 = 20_000;
/// Transactions on a page: default and maximum.
pub(crate) const PAGE: (usize, usize) = (50, 200);
/// Bytes of the pool's file read for one page.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;
/// How many lines of the past a new listener gets.
pub(crate) const LINES: usize = 200;
/// How long `POST /api/transactions` waits for the disk before it answers 202.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of the frames that sum up what happened.
pub(crate) const TICK: Duration = Duration::from_millis(200);
/// Transactions, and likewise broadcasts, shown one by one in a tick: as many as an eye can follow.
pub(crate) const SAMPLES: usize = 12;
/// Failed dials whose reason is kept.
pub(crate) const REASONS: usize = 4_096;
