//! The text and the level of each event: what happens, and why.
//!
//! | level | events |
//! |---|---|
//! | error | a person must act |
//! | warn | the node or the network is degraded |
//! | info | the node's life |
//! | debug | faults of peers, and what repeats |
//!
//! Foreign text goes through [`strip_control`]. Of a transaction only the identity is shown.

use std::fmt;
use std::time::Duration;

use tracing::Level;

use crate::events::text::{plural, strip_control, strip_control_max};
use crate::protocol::causes::DialError;
use crate::protocol::event::{AddressOutcome, BootstrapStep, Event, NamedAddress, PeerName};
use crate::protocol::transaction::{Origin, TransactionId};

#[cfg(test)]
mod tests;

/// The most characters of a text of our own that has foreign parts. Its end is the remedy.
const LINE_CHARACTERS: usize = 2_000;
/// A failed dial is logged at info if the next one follows within this time. Backoff doubles from
/// half a second with full jitter, so the first few failures show and a silent address does not
/// fill the log.
const SOON: Duration = Duration::from_secs(5);
/// How many addresses of a HANDSHAKE a line names.
const NAMED: usize = 8;
/// In networks of at most this many nodes, joins and leaves are logged at info.
const FEW_NODES: usize = 50;

/// Returns an event's level and its text, one line.
pub fn describe(event: &Event) -> (Level, String) {
    (level(event), Description(event).to_string())
}

pub(crate) fn level(event: &Event) -> Level {
    match event {
        Event::StoreFailed { .. } => Level::ERROR,
        Event::Warning { .. }
        | Event::Banned { .. }
        | Event::PeerRefused { .. }
        | Event::PeerLagging { .. }
        | Event::Bootstrap(BootstrapStep::Failed { .. } | BootstrapStep::Ourselves { .. }) => Level::WARN,
        Event::NodeJoined { nodes, .. } | Event::NodeLeft { nodes, .. } if *nodes > FEW_NODES => Level::DEBUG,
        Event::DialFailed { retry_in: Some(wait), .. } if *wait >= SOON => Level::DEBUG,
        Event::Broadcast { .. }
        | Event::Dialling { .. }
        | Event::LinkOpened { .. }
        | Event::HandshakeSent { .. }
        | Event::HandshakeReceived { .. }
        | Event::Synced { .. }
        | Event::Stored { .. }
        | Event::TransactionRefused { .. }
        | Event::AccessDenied { .. }
        | Event::PeerFault { .. } => Level::DEBUG,
        _ => Level::INFO,
    }
}

/// Returns an event's text without the list of addresses that a HANDSHAKE has.
#[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows the list apart"))]
pub(crate) fn title(event: &Event) -> String {
    match event {
        Event::HandshakeReceived { peer, addresses, more, .. } => {
            let mut title = String::new();
            // Writing to a String never fails.
            describe_handshake(&mut title, peer, &addresses[..0], addresses.len() + more).unwrap_or_default();
            title
        }
        event => Description(event).to_string(),
    }
}

/// Displays an event as one line.
pub(crate) struct Description<'a>(pub(crate) &'a Event);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Dialling { address } => write!(f, "dialling {address}"),
            Event::DialFailed { address, error, retry_in } => {
                write!(f, "{address} {}; ", failure(error))?;
                match retry_in {
                    Some(wait) => write!(f, "trying again in {:.1} s", wait.as_secs_f64()),
                    None => f.write_str("it is forgotten"),
                }
            }
            Event::SelfDialled { address } => write!(f, "{address} is this node itself: no link to it is needed"),
            Event::PeerUp { peer, dialled, peers } => {
                let who = if *dialled { "which we dialled" } else { "which dialled us" };
                write!(f, "linked to {}, {who}; {}", Peer(peer), count(*peers, "peer"))
            }
            Event::PeerDown { peer, cause, peers } => {
                write!(f, "lost {}: {}; ", Peer(peer), strip_control(&cause.to_string()))?;
                if *peers == 0 { f.write_str("no peer left") } else { write!(f, "{} left", count(*peers, "peer")) }
            }
            Event::LinkOpened { address, node: Some(node), .. } => {
                write!(f, "{address} answered: node {} is there", node.short())
            }
            Event::LinkOpened { address, node: None, .. } => {
                write!(f, "{address} answered without an id: an exercise peer is there")
            }
            Event::HandshakeSent { peer, addresses, more, .. } => {
                write!(
                    f,
                    "sent {} a HANDSHAKE with {}",
                    Peer(peer),
                    plural((addresses.len() + more) as u64, "address", "addresses")
                )
            }
            Event::HandshakeReceived { peer, addresses, more, .. } => describe_handshake(f, peer, addresses, *more),
            Event::Synced { peer, transactions, .. } => {
                let what = plural(*transactions, "transaction", "transactions");
                write!(f, "{what} that this node lacked came from {peer}, by comparing pools")
            }
            Event::AddressesLearned { peer, addresses } => {
                let addresses = plural(*addresses as u64, "address", "addresses");
                write!(f, "learned {addresses} from {}", Peer(peer))
            }
            Event::LanPeerFound { peer, free: Some(free) } => {
                write!(f, "found {peer} by multicast DNS: {}", count(*free as usize, "free slot"))
            }
            Event::LanPeerFound { peer, free: None } => {
                write!(f, "found {peer} by multicast DNS: it links to every node")
            }
            Event::Transaction { transaction, origin, peer, links } => {
                describe_transaction(f, transaction.id(), origin.as_ref(), peer.as_ref(), *links)
            }
            Event::Broadcast { broadcast, sender, peer, links } => {
                let short = data_encoding::HEXLOWER.encode(&broadcast.id.0[..4]);
                match peer {
                    Some(peer) => write!(f, "broadcast {short}… of {sender}, from {peer}; ")?,
                    None => write!(f, "broadcast {short}… of our own; ")?,
                }
                write!(f, "sent to {}", count(*links, "peer"))
            }
            Event::NodeJoined { node, nodes } => {
                write!(f, "{node} is in the network; {}", count(*nodes, "node"))
            }
            Event::NodeLeft { node, cause, nodes } => {
                write!(f, "{node} left the network: {cause}; {} left", count(*nodes, "node"))
            }
            Event::Stored { ids, pool } => {
                write!(f, "{} written to transactions.json, which holds {pool} now", count(ids.len(), "transaction"))
            }
            Event::StoreRecovered => f.write_str("transactions.json takes transactions again"),
            Event::TransactionRefused { peer, reason } => {
                write!(f, "refused a transaction from {peer}: {}", strip_control(reason))
            }
            Event::Replaying { peer, ours } => {
                write!(
                    f,
                    "{} asked for the whole pool: sending it {}",
                    Peer(peer),
                    plural(*ours, "transaction", "transactions")
                )
            }
            Event::Declined { peer, others: 0 } => write!(f, "full: declined {}; no other node is known", Peer(peer)),
            Event::Declined { peer, others } => {
                write!(f, "full: redirected {} to {}", Peer(peer), count(*others, "other"))
            }
            Event::DeclinedBy { peer, others, next, retry_in, reason } => {
                write!(f, "{peer} is full")?;
                match next {
                    Some(next) => write!(f, ", trying {next} next")?,
                    None => write!(f, " and named {}", count(*others, "other"))?,
                }
                write!(f, "; it is asked again in {} s", retry_in.as_secs())?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, " (reason given: {})", strip_control(reason)))
            }
            Event::RequestingSlot { address } => {
                write!(f, "no free slot is known: requesting one from {address} with high priority")
            }
            Event::SlotSwapped { joiner, moved } => {
                write!(
                    f,
                    "full: {joiner} requested a slot with high priority and takes that of {moved}, which links to it instead"
                )
            }
            Event::SlotTaken { peer, next: Some(next) } => {
                write!(f, "{peer} gave our slot to another node: linking to {next} instead")
            }
            Event::SlotTaken { peer, next: None } => write!(f, "{peer} gave our slot to another node"),
            Event::HealingPartition { address, gave_up } => {
                write!(f, "{address} is in a part of the network that formed separately: linking the two parts")?;
                match gave_up {
                    Some(peer) => write!(f, ", in place of {peer}"),
                    None => Ok(()),
                }
            }
            Event::Rewiring { from, to } => {
                write!(f, "moving a link from {from} to {to}, a random node: this keeps paths in the network short")
            }
            Event::Bootstrap(step) => describe_bootstrap(f, step),
            Event::Banned { peer, from, cause, time } => {
                write!(f, "closed {peer} for too many violations, the last: {}", strip_control(&cause.text))?;
                match (from, time) {
                    (Some(from), Some(time)) => write!(f, "; {from} is banned for {} s", time.as_secs()),
                    _ => Ok(()),
                }
            }
            Event::PeerRefused { from, reason, suppressed } => {
                let from = from.map_or_else(|| "this host".to_owned(), |from| from.to_string());
                write!(f, "refused a connection from {from}: {}", strip_control(&reason.to_string()))?;
                match suppressed {
                    0 => Ok(()),
                    _ => {
                        write!(
                            f,
                            " ({} from there in the last minute)",
                            plural(*suppressed, "more like it", "more like it")
                        )
                    }
                }
            }
            Event::PeerLagging { peer } => {
                let rest = match peer.node {
                    Some(_) => "it gets the rest by comparing pools, once it has caught up",
                    None => "the rest follows from transactions.json as it catches up",
                };
                write!(f, "{} reads slower than we send: {rest}", Peer(peer))
            }
            Event::StoreFailed { error } => f.write_str(&strip_control_max(&error.to_string(), LINE_CHARACTERS)),
            Event::Warning { text } | Event::AccessDenied { text } => {
                f.write_str(&strip_control_max(text, LINE_CHARACTERS))
            }
            Event::PeerFault { link, peer, text } => write!(f, "link {link}, {peer}: {}", strip_control(text)),
            other => f.write_str(&strip_control(&format!("{other:?}"))),
        }
    }
}

/// Displays a peer in an event that no client causes. An exercise peer has no id, and may name no
/// address.
struct Peer<'a>(&'a PeerName);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PeerName { node: None, address: None } => f.write_str("an exercise peer"),
            name => name.fmt(f),
        }
    }
}

fn describe_handshake(f: &mut impl fmt::Write, peer: &PeerName, named: &[NamedAddress], more: usize) -> fmt::Result {
    let count = plural((named.len() + more) as u64, "address", "addresses");
    write!(f, "{} sent a HANDSHAKE with {count}", Peer(peer))?;
    for (index, named) in named.iter().take(NAMED).enumerate() {
        write!(f, "{} {} {}", if index == 0 { ":" } else { ";" }, named.address, outcome(&named.outcome))?;
    }
    match named.len().saturating_sub(NAMED) + more {
        more if more > 0 && !named.is_empty() => write!(f, "; and {more} more"),
        _ => Ok(()),
    }
}

/// Returns what was done with an address, as text that follows it.
pub(crate) fn outcome(outcome: &AddressOutcome) -> String {
    let soon = |time: &Duration| *time < Duration::from_millis(1);
    match outcome {
        AddressOutcome::Ourselves => "is this node itself".to_owned(),
        AddressOutcome::Connected => "is linked already".to_owned(),
        AddressOutcome::Attempting => "is being dialled already".to_owned(),
        AddressOutcome::Verifying => "is dialled back, to see whether that node answers there".to_owned(),
        AddressOutcome::Dialled { after } if soon(after) => "is dialled".to_owned(),
        AddressOutcome::Dialled { after } => format!("is dialled in {:.1} s", after.as_secs_f64()),
        AddressOutcome::Kept => "is kept until a slot is wanted".to_owned(),
        AddressOutcome::Waiting { failures, retry_in } => {
            let failed = match failures {
                0 => String::new(),
                failures => format!(", failed {}", plural(u64::from(*failures), "time", "times")),
            };
            match retry_in {
                Some(wait) => format!("was known{failed}, and is dialled again in {:.1} s", wait.as_secs_f64()),
                None => format!("was known{failed}, and waits until a slot is wanted"),
            }
        }
        AddressOutcome::OutOfScope => "is refused: it makes sense only on that peer's host or network".to_owned(),
        AddressOutcome::NotDialable => {
            "is refused: it is a node id, and this node dials none (WAN=on lets it)".to_owned()
        }
        AddressOutcome::NoRoom => {
            "is refused: no room for it (raise PEER_TABLE), or it failed too often a moment ago".to_owned()
        }
        other => strip_control(&format!("{other:?}")),
    }
}

fn describe_bootstrap(f: &mut fmt::Formatter<'_>, step: &BootstrapStep) -> fmt::Result {
    match step {
        BootstrapStep::Ourselves { address } => {
            write!(
                f,
                "GENESIS is {address}, this node itself: ignored; name another node, or leave it out at the first one"
            )
        }
        BootstrapStep::Asking { address } => write!(f, "genesis: asking {address} for a node to begin with"),
        BootstrapStep::Failed { address, error, others } => {
            write!(f, "genesis: cannot ask {address} ({}); ", strip_control(&error.to_string()))?;
            match others {
                0 => f.write_str("no other peer is known: check GENESIS, or name a peer with PEERS"),
                _ => write!(
                    f,
                    "using {}; check GENESIS if that was not expected",
                    plural(*others as u64, "known or cached peer", "known and cached peers")
                ),
            }
        }
        BootstrapStep::Alone { address } => write!(f, "genesis: {address} knows no other node: staying with it"),
        BootstrapStep::Named { address } => {
            write!(f, "genesis: it named {address}; leaving it and joining there")
        }
        BootstrapStep::Joined { peer } => write!(f, "genesis: joined at {peer}"),
        BootstrapStep::Neighbours { peer, addresses } => {
            write!(f, "genesis: {peer} named {}", count(*addresses, "neighbour"))
        }
        other => write!(f, "genesis: {}", strip_control(&format!("{other:?}"))),
    }
}

fn describe_transaction(
    f: &mut fmt::Formatter<'_>,
    id: TransactionId,
    origin: Option<&Origin>,
    peer: Option<&PeerName>,
    links: usize,
) -> fmt::Result {
    let short = data_encoding::HEXLOWER.encode(&id.0[..4]);
    let peers = count(links, "peer");
    match (peer, origin) {
        (None, _) if links == 0 => write!(f, "transaction {short}… of our own: no peer is linked")?,
        (None, _) => write!(f, "transaction {short}… of our own: sent to {peers}")?,
        (Some(peer), None) => write!(f, "transaction {short}…, which we lacked, from {peer}: not passed on")?,
        (Some(peer), Some(_)) if links == 0 => {
            write!(f, "transaction {short}… from {peer}: passed on to no other peer")?
        }
        (Some(peer), Some(_)) => write!(f, "transaction {short}… from {peer}: passed on to {peers}")?,
    }
    f.write_str(", writing it to transactions.json")
}

/// Returns why a dial failed, as text that follows an address.
fn failure(error: &DialError) -> String {
    match error {
        DialError::TimedOut(_) => "did not answer in time".to_owned(),
        DialError::PutOff => format!("was not dialled: {}", DialError::PutOff),
        error => format!("could not be dialled: {}", strip_control(&error.to_string())),
    }
}

fn count(number: usize, one: &str) -> String {
    plural(number as u64, one, &format!("{one}s"))
}
