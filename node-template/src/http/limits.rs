//! Limits of the HTTP server. They serve one node's operator, so they are small beside the mesh's.

use std::time::Duration;

use crate::protocol::limits::MESSAGE_BYTES;

/// A number of requests per second, and how many at once.
pub(crate) type Rate = (u32, u32);

/// Concurrent connections; `places` says who gives way to further ones.
pub(crate) const CONNECTIONS: usize = 256;
/// How many of them may come from other machines; the others are kept for this one.
pub(crate) const CONNECTIONS_FROM_AFAR: usize = 224;
/// How many of one client beyond this machine may be waiting for their first request that passes
/// all checks.
pub(crate) const STRANGERS_OF_ONE: usize = 32;
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
/// How much of a longer body is read and dropped before it is refused.
pub(crate) const DROPPED_BYTES: usize = 8 * 1024 * 1024;
/// How long a client may leave a response unread.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent stream sends a comment this often, which finds clients that are gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many frames a stream may lag before it is closed: a dozen seconds at 5 a second.
pub(crate) const LAG: usize = 64;
/// Requests of one client to the API, and from this machine for the page's files.
pub(crate) const REQUESTS: Rate = (200, 1_000);
/// Requests of one client that change something.
pub(crate) const CHANGES: Rate = (100, 500);
/// Requests of one client for the metrics, which cost the driver more than others.
pub(crate) const METRICS: Rate = (100, 500);
/// Health checks of one client, and of all beyond this machine together.
pub(crate) const HEALTH_CHECKS: Rate = (100, 500);
/// Requests of one client beyond this machine for the page's files, and likewise those refused.
pub(crate) const REQUESTS_OF_A_STRANGER: Rate = (50, 250);
/// The same of all clients beyond this machine together.
pub(crate) const REQUESTS_OF_STRANGERS: Rate = (200, 1_000);
/// How many pairs of a client and a kind of request are remembered for that, twice.
pub(crate) const CLIENTS: usize = 4_096;
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
/// Links whose frames are recorded at once: some 140 KiB each.
pub(crate) const WATCHED: usize = 16;
/// How long a link is recorded after a request for its frames: a page asks every second, and a
/// person who types a command needs some time.
pub(crate) const WATCHED_FOR: Duration = Duration::from_secs(15);
