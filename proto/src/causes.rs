//! Why something failed or was refused, as types. Their texts are for people, one line each.

use std::time::Duration;

use thiserror::Error;

use crate::address::RelayHint;
use crate::violation::Violation;

/// Why a dial failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host is there, and nobody listens on the port.
    #[error("nobody listens there")]
    NobodyListens,
    /// The other end closed the connection before it answered.
    #[error("it closed the connection at once")]
    ClosedAtOnce,
    /// There was no answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Another kind of server answers.
    #[error("what answers there speaks no WebSocket")]
    NoWebSocket,
    /// A web server answers that is no node; its status.
    #[error("what answers there is no node: it says HTTP {0}")]
    NotANode(String),
    /// A node answers, and refuses; its words.
    #[error("it says: {0}")]
    Refused(String),
    /// What answers does not know the subprotocol, as a node of an earlier release.
    #[error("what answers there does not know this kind of connection")]
    UnknownSubprotocol,
    /// The address is one of a closed network, and this node is in an open one.
    #[error(
        "it is in a closed network, or behind a proxy, and this node is in an open one; use its ws:// address, or set NETWORK_CA and CERTIFICATE to join it"
    )]
    InClosedNetwork,
    /// The address is one of an open network, and this node is in a closed one.
    #[error("it is in an open network, and this one is closed; if it is a node of ours, write wss:// in its place")]
    InOpenNetwork,
    /// One end does not accept the certificate of the other; why, and what to do.
    #[error("{0}")]
    Certificate(String),
    /// Its IP address was dialled too often lately.
    #[error("its IP address was dialled too often lately")]
    PutOff,
    /// This host could not try: it has no route to the address, or no socket left. It says nothing
    /// about the address. The system's text.
    #[error("this host could not try: {0}")]
    NotTried(String),
    /// A node is dialled by its id, and a relay does not lead to it.
    #[error("the relay {relay} {fault}")]
    Relay {
        /// The relay, as it was named.
        relay: Box<RelayHint>,
        /// Why not.
        fault: RelayFault,
    },
    /// The link ended before its peer introduced itself; how.
    #[error("{0}")]
    Ended(LinkEnd),
    /// The system's error.
    #[error("{text}")]
    System {
        /// Its kind.
        kind: std::io::ErrorKind,
        /// Its text.
        text: String,
    },
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

/// Why a relay does not lead to a node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelayFault {
    /// Nothing answers there.
    #[error("does not answer; check that its node runs, and that its TCP port is open")]
    Silent,
    /// What answers there does not relay.
    #[error(
        "is not a relay: what answers there does not relay; set RELAY=on and ADDRESS at its node, have a proxy before it pass WebSockets on, or name another one"
    )]
    NoRelay,
    /// Its name leads nowhere; the system's error.
    #[error("is not found: {0}; check its name, and the DNS")]
    Unresolved(String),
    /// It does not serve this node; its words.
    #[error("refuses this node: {0}; name another one")]
    Refused(String),
    /// It answers.
    #[error("answers, but the node does not answer over it; check that the node runs and uses that relay")]
    NodeAway,
}

impl From<String> for DialError {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<&str> for DialError {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// This node closed it; the reason that it gave, in words for the other end.
    #[error("this node closed the link (reason given: {0})")]
    ClosedByUs(String),
    /// The other end closed it.
    #[error("it closed the connection{}", said(*.code, .reason))]
    ClosedByPeer {
        /// Its close code (RFC 6455, section 7.4); `None`: it gave none.
        code: Option<u16>,
        /// Its words, which may be empty.
        reason: String,
    },
    /// The other end broke a rule of WebSocket; what it sent.
    #[error("it sent {0}")]
    ProtocolError(String),
    /// For so long the other end took nothing of what waited for it.
    #[error("it took nothing of what waits for it for {} s", .0.as_secs())]
    Stuck(Duration),
    /// The connection is gone; what is known of it.
    #[error("{0}")]
    Lost(String),
}

/// Returns what a close frame says, after the words that it came.
fn said(code: Option<u16>, reason: &str) -> String {
    match code {
        None => String::new(),
        Some(code) if reason.is_empty() => format!(" ({code})"),
        Some(code) => format!(": {reason} ({code})"),
    }
}

impl From<String> for LinkEnd {
    fn from(text: String) -> Self {
        Self::Lost(text)
    }
}

impl From<&str> for LinkEnd {
    fn from(text: &str) -> Self {
        Self::Lost(text.to_owned())
    }
}

/// Why a node is no longer in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Departure {
    /// It said so.
    #[error("it said goodbye")]
    Goodbye,
    /// No announcement of it came for several of its intervals.
    #[error("nothing was heard of it for long")]
    Silent,
    /// By their announcements no node is linked to it.
    #[error("nobody is linked to it any more")]
    Unlinked,
}

/// Why transactions cannot be stored: what happened, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
#[non_exhaustive]
pub struct StoreError {
    /// The kind of problem.
    pub kind: StoreErrorKind,
    text: String,
}

/// A kind of [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The disk, or the user's share of it, is full.
    NoSpace,
    /// The file is as large as the system lets it be.
    FileTooLarge,
    /// The node may not write there, or the disk is mounted read-only.
    NotPermitted,
    /// Another program changes the file, or holds it.
    OtherProgram,
    /// The file has other content than transactions.
    Content,
    /// Another error of the system.
    System,
}

impl StoreError {
    /// Makes one of its kind and its text.
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl From<&str> for StoreError {
    fn from(text: &str) -> Self {
        Self::new(StoreErrorKind::System, text)
    }
}

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionRefusal {
    /// All inbound links are in use; their number.
    #[error("all {0} inbound links are in use; raise INBOUND_LINKS to take more")]
    Full(usize),
    /// All inbound links of its address group are in use; their number.
    #[error("{0} connections from there are open; if several nodes share that address, raise INBOUND_LINKS_PER_IP")]
    FullForAddress(usize),
    /// All inbound links over relays are in use; their number.
    #[error("{0} connections over relays are open, a quarter of INBOUND_LINKS; raise that to take more")]
    FullForRelayed(usize),
    /// All inbound links over one relay are in use; their number.
    #[error("{0} connections over that relay are open; raise INBOUND_LINKS_PER_IP above that number to take more")]
    FullForRelay(usize),
    /// It was evicted for another connection; the most inbound links.
    #[error("it was closed to make room for another connection; raise INBOUND_LINKS, which is {0}, to keep both")]
    Evicted(usize),
    /// It is banned.
    #[error("it is banned for {} s: {cause}", .left.as_secs() + 1)]
    Banned {
        /// For how long yet.
        left: Duration,
        /// The violation that led to the ban.
        cause: Violation,
    },
    /// Another reason, of the runtime.
    #[error("{0}")]
    Other(String),
}

impl From<&str> for ConnectionRefusal {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_the_words_that_people_read() {
        let cause = Violation::breach("PEERS: nobody asked");
        let texts = [
            DialError::TimedOut(Duration::from_secs(10)).to_string(),
            DialError::NotANode("404 Not Found".to_owned()).to_string(),
            DialError::from("unreachable").to_string(),
            DialError::Relay {
                relay: Box::new("relay.example:4001".parse().expect("a relay")),
                fault: RelayFault::Unresolved("no such name".to_owned()),
            }
            .to_string(),
            StoreError::new(StoreErrorKind::NoSpace, "no space left; make room").to_string(),
            ConnectionRefusal::Full(8).to_string(),
            ConnectionRefusal::Banned { left: Duration::from_millis(99_500), cause }.to_string(),
            LinkEnd::ClosedByPeer { code: None, reason: String::new() }.to_string(),
            LinkEnd::ClosedByPeer { code: Some(1000), reason: String::new() }.to_string(),
            DialError::Ended(LinkEnd::ClosedByPeer { code: Some(1001), reason: "it ends".to_owned() }).to_string(),
            LinkEnd::ProtocolError("a message that is too long".to_owned()).to_string(),
        ];
        let expected = [
            "no answer within 10 s",
            "what answers there is no node: it says HTTP 404 Not Found",
            "unreachable",
            "the relay relay.example:4001 is not found: no such name; check its name, and the DNS",
            "no space left; make room",
            "all 8 inbound links are in use; raise INBOUND_LINKS to take more",
            "it is banned for 100 s: PEERS: nobody asked",
            "it closed the connection",
            "it closed the connection (1000)",
            "it closed the connection: it ends (1001)",
            "it sent a message that is too long",
        ];
        assert_eq!(texts, expected);
    }
}
