//! Counters of requests.

use crate::util::counts::counts;

counts! {
    /// Requests of this node that were answered.
    answered "requests_answered",
    /// Requests of this node without an answer: not reachable, timed out, refused or failed.
    unanswered "requests_unanswered",
    /// Requests of other nodes that were answered.
    served "requests_served",
    /// Requests of other nodes that were refused: nobody serves here, too many, or denied.
    refused "requests_refused",
    /// Requests of other nodes whose handler failed.
    failed "requests_failed",
    /// Requests of other nodes that were cancelled or timed out.
    cancelled "requests_cancelled",
    /// Bytes of requests and answers that were sent.
    sent_bytes "requests_sent_bytes",
    /// Bytes of requests and answers that were received.
    received_bytes "requests_received_bytes",
    /// Connections for requests that this node opened because a peer asked for them.
    called_back "requests_called_back",
    /// Connections for requests that were closed for a breach of their rules.
    breaches "requests_breaches",
}
