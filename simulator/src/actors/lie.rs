//! The lies of native peers.

use clap::ValueEnum;

/// What a liar lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Lie {
    /// SYNC: it says to hold a billion transactions, and sends an invented one every second or two
    /// in place of its pool.
    Count,
    /// The same, and what it invents is so long that its stream has the speed of a slow line.
    Stream,
    /// SYNC: it answers with what is lacking, and brings something else now and then.
    Answers,
    /// SYNC: it answers with what is lacking, and brings the least that a source must bring.
    Trickle,
    /// SYNC: it answers no question.
    Silence,
    /// WANT for transactions that do not exist, and again for those that do.
    Wants,
    /// TRANSACTION: it relays none, pushed or wanted.
    Withheld,
    /// TRANSACTION: it names false origins.
    Origins,
    /// TRANSACTION: it floods invented ones as its own.
    Flood,
    /// BROADCAST: it signs another text under the id that it just heard, and relays no other.
    Broadcasts,
    /// ANNOUNCE of invented nodes in a huge network.
    Announcements,
    /// NETWORK: it asks, and answers nobody's question.
    Members,
    /// STATUS: the same.
    Status,
    /// ACK of what nobody sent.
    Acks,
    /// PRUNE of every node.
    Prunes,
    /// GRAFT of everything.
    Grafts,
    /// HANDSHAKE with addresses at which nobody listens.
    Handshakes,
    /// FIND for images that nobody has.
    Finds,
    /// FOUND: invented nodes have every image.
    Found,
    /// JOIN for addresses.
    Joins,
    /// PEERS and their invented addresses.
    Peers,
    /// DECLINED, with invented addresses, on links that it had accepted.
    Declines,
    /// BEACON of the least partition.
    Beacons,
    /// DIALBACK: nobody can be dialled.
    DialBacks,
    /// EXERCISE: invented exercise peers lack everything.
    Exercise,
    /// CALLBACK on every link, for requests that it does not have.
    CallBacks,
}

impl Lie {
    /// The type of the message.
    pub fn message(self) -> &'static str {
        match self {
            Self::Count | Self::Stream | Self::Answers | Self::Trickle | Self::Silence => "SYNC",
            Self::Wants => "WANT",
            Self::Withheld | Self::Origins | Self::Flood => "TRANSACTION",
            Self::Broadcasts => "BROADCAST",
            Self::Announcements => "ANNOUNCE",
            Self::Members => "NETWORK",
            Self::Status => "STATUS",
            Self::Acks => "ACK",
            Self::Prunes => "PRUNE",
            Self::Grafts => "GRAFT",
            Self::Handshakes => "HANDSHAKE",
            Self::Finds => "FIND",
            Self::Found => "FOUND",
            Self::Joins => "JOIN",
            Self::Peers => "PEERS",
            Self::Declines => "DECLINED",
            Self::Beacons => "BEACON",
            Self::DialBacks => "DIALBACK",
            Self::Exercise => "EXERCISE",
            Self::CallBacks => "CALLBACK",
        }
    }
}
