//! The open links as people see them. The core knows who is at the other end, the driver how much
//! waits and the round-trip time.

use std::net::IpAddr;
use std::time::Duration;

use meshpool_proto::LinkKind;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::event::PeerName;
use meshpool_proto::id::LinkId;

use crate::transport::link_path::LinkPath;

/// An open link.
#[derive(Debug, Clone)]
pub struct OpenLink {
    /// Its id in this run of the node.
    pub link: LinkId,
    /// Who is at the other end.
    pub peer: PeerName,
    /// What the other end is.
    pub kind: LinkKind,
    /// Whether the other end has proved that its node id is its own.
    pub proved: bool,
    /// Whether this node dialled.
    pub dialled: bool,
    /// The address that this node dialled; `None` if the other end did.
    pub dialled_address: Option<PeerAddress>,
    /// The IP address of the other end.
    pub remote: IpAddr,
    /// How long it has been open.
    pub open_for: Duration,
    /// The round-trip time of the last measured ping.
    pub round_trip: Option<Duration>,
    /// The program and version of a native peer, by its own account.
    pub agent: Option<String>,
    /// How many bytes of payload wait to be sent.
    pub queued_bytes: usize,
    /// Whether both ends held the same transactions when their pools were last compared on it;
    /// `None`: they never were. If it stays false, the other end may be full, or refuse something.
    pub reconciled: Option<bool>,
    /// The path of a link over iroh; `None`: it is a TCP connection.
    pub path: Option<LinkPath>,
}
