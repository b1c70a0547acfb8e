//! Events in words: one log line each, saying what happens and why.
//!
//! It words and never decides: nothing depends on a line. Levels: error = a person must act, warn = we degraded, info = the node's life, debug =
//! peers' faults and what repeats. Nothing is formatted that no log takes. Text of strangers goes through [`plain`]; of a transaction only the
//! identity is told. The driver of the node hands its events to a [`Sparing`]; an application may [`report`] those that it receives.

use std::fmt;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::protocol::event::{BootstrapStep, Event, PeerName};
use crate::protocol::transaction::{Origin, TransactionId};

#[cfg(test)]
mod tests;

/// The most characters of a foreign text in a line.
const PLAIN_CHARACTERS: usize = 200;
/// The most characters of a text of our own that has foreign parts; its end is the remedy.
const LINE_CHARACTERS: usize = 2_000;
/// A failed dial is told at info only if the next follows within this time. Backoff doubles from half a second with full jitter, so the first few
/// failures of an address are told and an address that stays silent does not fill the log.
const SOON: Duration = Duration::from_secs(5);
/// How many transactions are told one by one per second: what a person can follow.
const TOLD_TRANSACTIONS: u64 = 20;
/// Up to this many nodes in the network it is told at info who comes and goes.
const FEW_NODES: usize = 50;
const SECOND: Duration = Duration::from_secs(1);

/// Writes an event to the log, as one line.
pub fn report(event: &Event) {
    match level(event) {
        Level::ERROR => tracing::error!("{}", Words(event)),
        Level::WARN => tracing::warn!("{}", Words(event)),
        Level::INFO => tracing::info!("{}", Words(event)),
        Level::DEBUG => tracing::debug!("{}", Words(event)),
        Level::TRACE => tracing::trace!("{}", Words(event)),
    }
}

/// An event in words, as a line of the log has it, and how much it matters.
pub fn words(event: &Event) -> (Level, String) {
    (level(event), Words(event).to_string())
}

fn level(event: &Event) -> Level {
    match event {
        Event::StoreFailed { .. } => Level::ERROR,
        Event::Warning { .. }
        | Event::Banned { .. }
        | Event::PeerRefused { .. }
        | Event::PeerLagging { .. }
        | Event::Bootstrap(BootstrapStep::Failed { .. } | BootstrapStep::Ourselves { .. }) => Level::WARN,
        // In a small network a person can follow who comes and goes.
        Event::NodeJoined { nodes, .. } | Event::NodeLeft { nodes, .. } if *nodes <= FEW_NODES => Level::INFO,
        Event::NodeJoined { .. } | Event::NodeLeft { .. } | Event::Broadcast { .. } => Level::DEBUG,
        Event::DialFailed { retry_in, .. } if retry_in.is_none_or(|wait| wait < SOON) => Level::INFO,
        Event::Dialling { .. }
        | Event::DialFailed { .. }
        | Event::Stored { .. }
        | Event::TransactionRefused { .. }
        | Event::AccessDenied { .. }
        | Event::PeerFault { .. } => Level::DEBUG,
        Event::SelfDialled { .. }
        | Event::PeerUp { .. }
        | Event::PeerDown { .. }
        | Event::AddressesLearned { .. }
        | Event::LanPeerFound { .. }
        | Event::Transaction { .. }
        | Event::StoreRecovered
        | Event::Declined { .. }
        | Event::DeclinedBy { .. }
        | Event::RequestingSlot { .. }
        | Event::SlotSwapped { .. }
        | Event::SlotTaken { .. }
        | Event::HealingPartition { .. }
        | Event::Rewiring { .. }
        | Event::Bootstrap(_)
        | Event::Replaying { .. } => Level::INFO,
        // An event of a newer core than this text knows.
        _ => Level::INFO,
    }
}

/// An event as a line of text.
struct Words<'a>(&'a Event);

impl fmt::Display for Words<'_> {
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
            Event::SelfDialled { address } => write!(f, "{address} is this node itself: it is not dialled again"),
            Event::PeerUp { peer, dialled, peers } => {
                let who = if *dialled { "which we dialled" } else { "which dialled us" };
                write!(f, "linked to {peer}, {who}; {}", count(*peers, "peer"))
            }
            Event::PeerDown { peer, cause, peers } => {
                write!(f, "lost {peer}: {}; ", plain(cause))?;
                if *peers == 0 { f.write_str("no peer left") } else { write!(f, "{} left", count(*peers, "peer")) }
            }
            Event::AddressesLearned { peer, addresses } => {
                write!(f, "learned {} from {peer}", many(*addresses as u64, "address", "addresses"))
            }
            Event::LanPeerFound { peer, free: Some(free) } => {
                write!(f, "found {peer} by multicast DNS: {}", count(*free as usize, "free place"))
            }
            Event::LanPeerFound { peer, free: None } => write!(f, "found {peer} by multicast DNS: it links to all"),
            Event::Transaction { transaction, origin, peer, links } => {
                transaction_words(f, transaction.id(), origin.as_ref(), peer.as_ref(), *links)
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
                write!(f, "{node} left the network: {}; {} left", plain(cause), count(*nodes, "node"))
            }
            Event::Stored { ids, pool } => {
                write!(f, "{} written to transactions.json, which holds {pool} now", count(ids.len(), "transaction"))
            }
            Event::StoreRecovered => f.write_str("transactions.json takes transactions again"),
            Event::TransactionRefused { peer, reason } => {
                write!(f, "refused a transaction from {peer}: {}", plain(reason))
            }
            Event::Replaying { peer, ours } => {
                write!(f, "{peer} asked for the whole pool: sending it {}", many(*ours, "transaction", "transactions"))
            }
            Event::Declined { peer, others: 0 } => write!(f, "full: had to turn {peer} away, knowing nobody else"),
            Event::Declined { peer, others } => {
                write!(f, "full: redirected {peer} to {}", count(*others, "other"))
            }
            Event::DeclinedBy { peer, others, next, retry_in } => {
                write!(f, "{peer} is full")?;
                match next {
                    Some(next) => write!(f, ", trying {next} next")?,
                    None => write!(f, " and told of {}", count(*others, "other"))?,
                }
                write!(f, "; it is asked again in {} s", retry_in.as_secs())
            }
            Event::RequestingSlot { address } => write!(f, "everybody is full: insisting on a place at {address}"),
            Event::SlotSwapped { joiner, moved } => {
                write!(f, "full: {joiner} insists and takes the place of {moved}, which goes on to it")
            }
            Event::SlotTaken { peer, next: Some(next) } => {
                write!(f, "{peer} needs our place for another node: going on to {next}")
            }
            Event::SlotTaken { peer, next: None } => write!(f, "{peer} needs our place for another node"),
            Event::HealingPartition { address, gave_up } => {
                write!(f, "{address} is in a part of the network that formed apart: linking the two")?;
                match gave_up {
                    Some(peer) => write!(f, ", in place of {peer}"),
                    None => Ok(()),
                }
            }
            Event::Rewiring { from, to } => {
                write!(f, "moving a link from {from} to {to}, a random node: that keeps the ways in the network short")
            }
            Event::Bootstrap(step) => genesis_words(f, step),
            Event::Banned { peer, from, cause, time } => {
                write!(f, "closed {peer} for breaking the rules, the last time: {}", plain(cause))?;
                match (from, time) {
                    (Some(from), Some(time)) => write!(f, "; {from} is kept away for {} s", time.as_secs()),
                    _ => Ok(()),
                }
            }
            Event::PeerRefused { from, reason, unsaid } => {
                write!(f, "refused a connection from {}: {}", plain(from), plain(reason))?;
                match unsaid {
                    0 => Ok(()),
                    _ => {
                        write!(f, " ({} from there in the last minute)", many(*unsaid, "more like it", "more like it"))
                    }
                }
            }
            Event::PeerLagging { peer } => {
                write!(f, "{peer} reads slower than we send: the rest follows from transactions.json as it catches up")
            }
            Event::StoreFailed { error: text } | Event::Warning { text } | Event::AccessDenied { text } => {
                f.write_str(&clean(text, LINE_CHARACTERS))
            }
            Event::PeerFault { link, peer, text } => write!(f, "link {link}, {peer}: {}", plain(text)),
            other => f.write_str(&plain(&format!("{other:?}"))),
        }
    }
}

fn genesis_words(f: &mut fmt::Formatter<'_>, step: &BootstrapStep) -> fmt::Result {
    match step {
        BootstrapStep::Ourselves { address } => {
            write!(
                f,
                "GENESIS is {address}, this node itself: ignored; name another node, or leave it out at the first one"
            )
        }
        BootstrapStep::Asking { address } => write!(f, "genesis: asking {address} for a node to begin with"),
        BootstrapStep::Failed { address, error, others } => {
            write!(f, "genesis: {address} can not be asked ({}); ", plain(error))?;
            match others {
                0 => f.write_str("no other peer is known: check GENESIS, or name a peer with PEERS"),
                _ => write!(
                    f,
                    "using {}; check GENESIS if that was not expected",
                    many(*others as u64, "known or remembered peer", "known and remembered peers")
                ),
            }
        }
        BootstrapStep::Alone { address } => write!(f, "genesis: {address} knows nobody else: staying with it"),
        BootstrapStep::Named { address } => {
            write!(f, "genesis: it named {address}; saying goodbye to it and joining there")
        }
        BootstrapStep::Joined { peer } => write!(f, "genesis: joined at {peer}"),
        BootstrapStep::Neighbours { peer, addresses } => {
            write!(f, "genesis: {peer} told of {}", count(*addresses, "neighbour"))
        }
        other => write!(f, "genesis: {}", plain(&format!("{other:?}"))),
    }
}

fn transaction_words(
    f: &mut fmt::Formatter<'_>,
    id: TransactionId,
    origin: Option<&Origin>,
    peer: Option<&PeerName>,
    links: usize,
) -> fmt::Result {
    let short = data_encoding::HEXLOWER.encode(&id.0[..4]);
    let peers = count(links, "peer");
    match (peer, origin) {
        (None, _) if links == 0 => write!(f, "transaction {short}… of our own: no peer is linked to send it to")?,
        (None, _) => write!(f, "transaction {short}… of our own: sent to {peers}")?,
        (Some(peer), None) => write!(f, "transaction {short}…, which we lacked, from {peer}: not passed on")?,
        (Some(peer), Some(_)) if links == 0 => {
            write!(f, "transaction {short}… from {peer}: nobody else to pass it on to")?
        }
        (Some(peer), Some(_)) => write!(f, "transaction {short}… from {peer}: passed on to {peers}")?,
    }
    f.write_str(", writing it to transactions.json")
}

/// What the system said of a dial, in words that follow an address.
fn failure(error: &str) -> String {
    let lower = error.to_ascii_lowercase();
    if lower.contains("connection refused") || lower.contains("actively refused") {
        "refused the connection".to_owned()
    } else if lower.contains("timed out") || lower.contains("timeout") {
        "did not answer in time".to_owned()
    } else {
        format!("could not be dialled: {}", plain(error))
    }
}

fn count(number: usize, one: &str) -> String {
    many(number as u64, one, &format!("{one}s"))
}

/// A number and what is counted, as in "1 address" and "2 addresses".
pub fn many(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A stranger's text made fit for a terminal and one line: without escape sequences, control characters and those that reverse the reading
/// direction, line breaks and tabs as blanks, at most 200 characters.
pub fn plain(text: &str) -> String {
    clean(text, PLAIN_CHARACTERS)
}

/// As [`plain`], with at most `most` characters.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut clean = String::new();
    let mut length = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let kept = match character {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                skip_sequence(&mut characters);
                continue;
            }
            '\u{1b}' => {
                // The sequence's letter goes with it, a letter of the text does not.
                characters.next_if(|next| matches!(next, '(' | ')' | ']' | 'P' | 'X' | '^' | '_' | '\\'));
                continue;
            }
            '\u{9b}' => {
                skip_sequence(&mut characters);
                continue;
            }
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => continue,
            control if control.is_control() => continue,
            other => other,
        };
        if length == most {
            clean.pop();
            clean.push('…');
            break;
        }
        clean.push(kept);
        length += 1;
    }
    clean
}

/// Skips the rest of a control sequence (ECMA-48, section 5.4): parameters, intermediates, one final character.
fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while characters.next_if(|next| matches!(next, ' '..='?')).is_some() {}
    characters.next_if(|next| matches!(next, '@'..='~'));
}

/// Reports events and spares the log: of the transactions of one second the first twenty have a line each, the others are counted in one.
///
/// The caller brings the time and calls [`Self::tick`] at [`Self::deadline`], else the last count of a burst is told only with the next event.
#[derive(Debug, Default)]
pub struct Sparing {
    second: Option<Instant>,
    told: u64,
    held: u64,
}

impl Sparing {
    /// Whether transactions have lines in the log at all.
    pub fn wants_transactions() -> bool {
        tracing::enabled!(Level::INFO)
    }

    /// Writes an event to the log, unless it is one transaction too many.
    pub fn report(&mut self, now: Instant, event: &Event) {
        if matches!(event, Event::Transaction { .. }) {
            if !Self::wants_transactions() {
                return;
            }
            self.tick(now);
            if !self.admits(now) {
                return;
            }
        }
        report(event);
    }

    /// Tells how many transactions were held back, once their second is over.
    pub fn tick(&mut self, now: Instant) {
        if let Some(held) = self.held_back(now) {
            tracing::info!("… and {} in the last second", many(held, "more transaction", "more transactions"));
        }
    }

    /// When [`Self::tick`] has something to tell; `None` if nothing was held back.
    pub fn deadline(&self) -> Option<Instant> {
        self.second.filter(|_| self.held > 0).map(|second| second + SECOND)
    }

    /// Whether one more transaction may have a line; else it is counted.
    fn admits(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now >= second + SECOND) {
            self.second = Some(now);
            self.told = 0;
        }
        let admitted = self.told < TOLD_TRANSACTIONS;
        self.told += u64::from(admitted);
        self.held += u64::from(!admitted);
        admitted
    }

    fn held_back(&mut self, now: Instant) -> Option<u64> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        Some(std::mem::take(&mut self.held))
    }
}
