//! The rules of each kind of message, in one table: who may send it, how often one link may bring
//! it, how long it may be, which tables it fills, and what happens above its rate.
//!
//! The node judges every message by this table before a component sees it. A test compares it with
//! the tables in `docs/protocol.md`. A new kind of [`Message`] does not compile without a
//! `MessageKind`, and that not without a row.
//!
//! A link takes room from its first message of a kind to its end. One address group has as many
//! links as [`Limits::inbound_per_ip`](crate::limits::Limits::inbound_per_ip) says. The runtime has
//! rates for all messages of a group together besides (`transport/rate_limit.rs`): those of
//! transactions, and those of everything else.
//!
//! Nothing above a rate is a violation. A node that stood still, as its host was suspended, reads
//! within a moment what others sent it meanwhile, and they kept to their rates.

use std::collections::BTreeMap;
use std::ops::BitOr;
use std::time::{Duration, Instant};

use crate::id::LinkId;
use crate::limits;
use crate::util::rate_limit::RateLimit;
use crate::violation::{Violation, ViolationKind};
use crate::wire::{Message, NetworkFrame, StatusFrame, SyncFrame};

/// Declares the kinds, and a list of them.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident,)+) => {
        /// A kind of message that has rules of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum MessageKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl MessageKind {
            /// All kinds, in the order of the documents.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),+];
        }
    };
}

kinds! {
    /// HANDSHAKE.
    Handshake,
    /// TRANSACTION.
    Transaction,
    /// ACK.
    Ack,
    /// SYNC, except answers.
    Sync,
    /// SYNC with an answer.
    SyncAnswer,
    /// WANT.
    Want,
    /// PRUNE.
    Prune,
    /// GRAFT that names origins.
    Graft,
    /// GRAFT of all origins.
    GraftAll,
    /// BROADCAST.
    Broadcast,
    /// ANNOUNCE of another node, or of the peer itself if it has not proved its id.
    Announce,
    /// ANNOUNCE of the peer itself, which has proved its id.
    AnnounceOwn,
    /// STATUS with a question.
    Status,
    /// STATUS with an answer.
    StatusAnswer,
    /// NETWORK with a question.
    Network,
    /// NETWORK with an answer.
    NetworkAnswer,
    /// JOIN.
    Join,
    /// PEERS.
    Peers,
    /// DECLINED.
    Declined,
    /// BEACON.
    Beacon,
    /// FIND.
    Find,
    /// FOUND.
    Found,
    /// DIALBACK.
    DialBack,
    /// CALLBACK.
    CallBack,
    /// EXERCISE.
    Exercise,
    /// TOPIC, apart from the message in it, which has the rate of its own kind in each topic.
    Topic,
    /// A message of an unknown type.
    Unknown,
}

/// The senders of messages, by what one link shows: a set of the classes below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Senders(u16);

impl Senders {
    /// An accepted link without HANDSHAKE.
    pub(crate) const CLIENT: Self = Self(1);
    /// An exercise peer, on either of its links.
    pub(crate) const EXERCISE: Self = Self(1 << 1);
    /// A native peer that we dialled, held back for an older link to it.
    pub(crate) const STANDBY: Self = Self(1 << 2);
    /// A native peer that we dialled to ask for addresses.
    pub(crate) const ASKED: Self = Self(1 << 3);
    /// A native peer that waits for a slot, after its HANDSHAKE.
    pub(crate) const WAITING: Self = Self(1 << 4);
    /// A native peer that we dialled, before its HANDSHAKE.
    pub(crate) const DIALLED: Self = Self(1 << 5);
    /// A native peer whose address is being verified, after its HANDSHAKE.
    pub(crate) const VERIFYING: Self = Self(1 << 6);
    /// A native peer, after both HANDSHAKEs.
    pub(crate) const ESTABLISHED: Self = Self(1 << 7);
    /// Anybody on this host.
    pub(crate) const LOCAL: Self = Self(1 << 8);

    /// For a kind that no sender may send.
    const NONE: Self = Self(0);
    /// A native peer with a slot, after its HANDSHAKE.
    const INTRODUCED: Self = Self(Self::VERIFYING.0 | Self::ESTABLISHED.0);
    /// A native peer with a slot.
    const NATIVE: Self = Self(Self::DIALLED.0 | Self::INTRODUCED.0);
    /// A native peer without a slot.
    const PENDING: Self = Self(Self::STANDBY.0 | Self::ASKED.0 | Self::WAITING.0);
    /// Every class of links, with a slot or without.
    const ALL: Self = Self(Self::CLIENT.0 | Self::EXERCISE.0 | Self::PENDING.0 | Self::NATIVE.0);

    /// Returns whether a sender is in this set, by any of its classes.
    fn hold(self, sender: Self) -> bool {
        self.0 & sender.0 != 0
    }

    /// Returns whether it is an accepted link without HANDSHAKE.
    pub(crate) fn is_client(self) -> bool {
        self.hold(Self::CLIENT)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Senders {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

/// How often a kind of message may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// As often as the runtime reads transactions.
    Transactions,
    /// As often as the runtime reads messages of any kind: it is refused or ignored, and costs its
    /// reading.
    Messages,
    /// Once for each question of ours; others are what [`Rule::others`] says.
    PerQuestion,
    /// Once: the link is closed for it.
    Once,
    /// On one link, so many at once, and then one in each interval.
    Link { burst: u32, interval: Duration, above: Above },
}

/// What happens to a message above its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Above {
    /// It is handled, and the link is not read until the next one is allowed.
    Pause,
    /// It is dropped and counted: what it brings comes in another way, or again.
    Drop,
}

/// What happens to a message of a sender that may not send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// It is ignored.
    Ignored,
    /// It is ignored from these senders, and a violation from others.
    Violation { ignored: Senders, kind: ViolationKind, text: &'static str },
}

/// A table that messages add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// `peers/address_book.rs`
    AddressBook,
    /// `store/pool_index.rs`
    Pool,
    /// `gossip/trees.rs`
    Trees,
    /// `store/broadcast_store.rs`
    Broadcasts,
    /// `presence/table.rs`
    Nodes,
    /// `image_search.rs`
    Searches,
    /// `exercise.rs`
    ExercisePeers,
    /// `connections/reachability.rs`
    DialBacks,
}

/// The rules of one kind.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "some fields are for the tables in docs/protocol.md alone"))]
pub(crate) struct Rule {
    /// Who may send it …
    pub(crate) senders: Senders,
    /// … and what happens to it from others.
    pub(crate) others: Others,
    pub(crate) rate: Rate,
    /// The longest frame, in bytes.
    pub(crate) bytes: usize,
    /// The most that is read of it, and what that is. Without, its cost follows its bytes.
    pub(crate) entries: Option<(usize, &'static str)>,
    /// The tables that it adds to.
    pub(crate) fills: &'static [Table],
}

/// A rule without its exceptions: nobody may send it, and it is ignored.
const IGNORED: Rule = Rule {
    senders: Senders::NONE,
    others: Others::Ignored,
    rate: Rate::Messages,
    bytes: limits::MESSAGE_BYTES,
    entries: None,
    fills: &[],
};

/// A node that we asked for addresses may admit us before it reads that: it sends what neighbors
/// are sent, which is no fault.
const fn breach(text: &'static str) -> Others {
    Others::Violation { ignored: Senders::ASKED, kind: ViolationKind::Breach, text }
}

const fn unsolicited(text: &'static str) -> Others {
    Others::Violation { ignored: Senders::NONE, kind: ViolationKind::Unsolicited, text }
}

/// Of `per_second`, each second has a whole number of milliseconds.
const fn link(burst: u32, per_second: u32, above: Above) -> Rate {
    Rate::Link { burst, interval: Duration::from_millis(1_000 / per_second as u64), above }
}

impl MessageKind {
    /// Returns the kind of a message. `own`: it is an announcement of the peer itself, which has
    /// proved its id.
    #[inline]
    pub(crate) fn of(message: &Message, own: bool) -> Self {
        match message {
            Message::Transaction(_) => Self::Transaction,
            Message::Handshake(_) => Self::Handshake,
            Message::Ack(_) => Self::Ack,
            Message::Sync(SyncFrame::Answer(_)) | Message::SyncOther(_, SyncFrame::Answer(_)) => Self::SyncAnswer,
            Message::Sync(_) | Message::SyncOther(..) => Self::Sync,
            Message::Want(_) => Self::Want,
            Message::Prune(_) => Self::Prune,
            Message::Graft(origins) if origins.is_empty() => Self::GraftAll,
            Message::Graft(_) => Self::Graft,
            Message::Broadcast(_) => Self::Broadcast,
            Message::Announce(_) if own => Self::AnnounceOwn,
            Message::Announce(_) => Self::Announce,
            Message::Status(StatusFrame::Question { .. }) => Self::Status,
            Message::Status(StatusFrame::Answer(_)) => Self::StatusAnswer,
            Message::Network(NetworkFrame::Question { .. }) => Self::Network,
            Message::Network(NetworkFrame::Answer(_)) => Self::NetworkAnswer,
            Message::Join(_) => Self::Join,
            Message::Peers(_) => Self::Peers,
            Message::Declined(_) => Self::Declined,
            Message::Beacon(_) => Self::Beacon,
            Message::Find(_) => Self::Find,
            Message::Found(_) => Self::Found,
            Message::DialBack(_) => Self::DialBack,
            Message::CallBack(_) => Self::CallBack,
            Message::Exercise(_) => Self::Exercise,
            Message::Topic(_) => Self::Topic,
            Message::Unknown(_) => Self::Unknown,
        }
    }

    /// Returns the rules of this kind.
    #[rustfmt::skip]
    #[inline]
    pub(crate) fn rule(self) -> &'static Rule {
        const NATIVE: Rule = Rule { senders: Senders::NATIVE, ..IGNORED };
        const INTRODUCED: Rule = Rule { senders: Senders::INTRODUCED, ..IGNORED };
        match self {
            // A peer sends one more for each exercise peer that it links to. The runtime counts
            // each address as a message.
            Self::Handshake => const { &Rule {
                senders: Senders::ALL,
                rate: link(1_000, 20, Above::Drop),
                entries: Some((limits::HANDSHAKE_ADDRESSES, "addresses")),
                fills: &[Table::AddressBook],
                ..IGNORED
            } },
            Self::Transaction => const { &Rule {
                senders: Senders::ALL.without(Senders::PENDING),
                others: breach("TRANSACTION: you have no slot here yet"),
                rate: Rate::Transactions,
                entries: Some((limits::TRANSACTION_BYTES, "bytes of canonical `data`")),
                fills: &[Table::Pool, Table::Trees],
                ..IGNORED
            } },
            Self::Ack => const { &Rule { others: unsolicited("ACK: nobody asked; ignored"), ..IGNORED } },
            // An answer may read a great part of a set. A reconciliation of 20,000 differences in
            // steps of 48 KiB takes some thirty. What is dropped comes in a later round.
            Self::Sync => const { &Rule {
                others: breach("SYNC: only native peers compare sets"),
                rate: link(limits::SYNCS_AT_ONCE, limits::SYNCS_PER_SECOND, Above::Drop),
                bytes: limits::SYNC_BYTES,
                ..NATIVE
            } },
            // Each leads to our next question, and we ask as often as above.
            Self::SyncAnswer => const { &Rule {
                others: breach("SYNC: only native peers compare sets"),
                rate: link(64, 10, Above::Drop),
                bytes: limits::SYNC_BYTES,
                ..NATIVE
            } },
            // A whole pool's worth of ids has twenty, and each answer of a reconciliation leads to
            // two. What is dropped is wanted of others, or again.
            Self::Want => const { &Rule {
                others: breach("WANT: only native peers are sent what they lack"),
                rate: link(limits::WANTS_AT_ONCE, limits::WANTS_PER_SECOND, Above::Drop),
                entries: Some((limits::WANT_IDS, "identities")),
                ..NATIVE
            } },
            // Once for each origin as the trees grow. The next copy is pruned again.
            Self::Prune => const { &Rule {
                others: breach("PRUNE: only native peers are part of a tree"),
                rate: link(16_384, 100, Above::Drop),
                entries: Some((limits::ORIGINS, "origins")),
                fills: &[Table::Trees],
                ..NATIVE
            } },
            // A peer sends one for each of its links that breaks: hundreds while a network falls
            // apart, then none. What is lacking comes by a comparison, whose WANT grafts too.
            Self::Graft => const { &Rule {
                others: breach("GRAFT: only native peers are part of a tree"),
                rate: link(limits::GRAFTS_AT_ONCE, limits::GRAFTS_PER_SECOND, Above::Drop),
                entries: Some((limits::ORIGINS, "origins")),
                ..NATIVE
            } },
            // It goes through all trees: 16,384 take a millisecond. What is lacking comes by a
            // comparison.
            Self::GraftAll => const { &Rule {
                others: breach("GRAFT: only native peers are part of a tree"),
                rate: link(20, 1, Above::Drop),
                ..NATIVE
            } },
            // All that are kept at once. What is dropped comes by a comparison later.
            Self::Broadcast => const { &Rule {
                senders: Senders::NATIVE.and(Senders::CLIENT),
                others: breach("BROADCAST: only native peers and clients send it"),
                rate: link(limits::BROADCASTS as u32, 200, Above::Drop),
                entries: Some((limits::BROADCAST_BYTES, "bytes of text")),
                fills: &[Table::Broadcasts, Table::Trees],
                ..IGNORED
            } },
            // A list of all nodes at once. In a network of 10,000 with six slots 26 come in a
            // second.
            Self::Announce => const { &Rule {
                others: breach("ANNOUNCE: only native peers announce"),
                rate: link(10_000, 50, Above::Drop),
                entries: Some((limits::ANNOUNCED_PEERS, "linked nodes")),
                fills: &[Table::Nodes, Table::AddressBook],
                ..INTRODUCED
            } },
            // Changed links are announced 0.3 s after the last such announcement.
            Self::AnnounceOwn => const { &Rule {
                others: breach("ANNOUNCE: only native peers announce"),
                rate: link(64, 10, Above::Drop),
                entries: Some((limits::ANNOUNCED_PEERS, "linked nodes")),
                fills: &[Table::Nodes, Table::AddressBook],
                ..INTRODUCED
            } },
            // The answer costs more than the question, and names addresses.
            Self::Status => const { &Rule {
                senders: Senders::LOCAL,
                others: unsolicited("STATUS: only clients on this host are answered"),
                rate: link(1_000, 100, Above::Pause),
                entries: Some((limits::STATUS_IDS, "identities")),
                ..IGNORED
            } },
            Self::StatusAnswer => const { &Rule { others: unsolicited("STATUS: nobody asked; ignored"), ..IGNORED } },
            Self::Network => const { &Rule {
                senders: Senders::LOCAL,
                others: unsolicited("NETWORK: only clients on this host are answered"),
                rate: link(1_000, 100, Above::Pause),
                ..IGNORED
            } },
            Self::NetworkAnswer | Self::Unknown => &IGNORED,
            // A neighbor is asked every 2 s at most, and asked again. One more is the request for a
            // slot.
            Self::Join => const { &Rule {
                senders: Senders::WAITING.and(Senders::INTRODUCED),
                others: breach("JOIN: a HANDSHAKE comes first"),
                rate: link(9, 1, Above::Drop),
                fills: &[Table::AddressBook],
                ..IGNORED
            } },
            Self::Peers => const { &Rule {
                senders: Senders::ALL,
                others: breach("PEERS: nobody asked; ignored"),
                rate: Rate::PerQuestion,
                entries: Some((limits::SAMPLE_ADDRESSES, "addresses")),
                fills: &[Table::AddressBook],
                ..IGNORED
            } },
            Self::Declined => const { &Rule {
                others: unsolicited("DECLINED: nobody asked; ignored"),
                rate: Rate::Once,
                entries: Some((limits::SAMPLE_ADDRESSES, "addresses")),
                fills: &[Table::AddressBook],
                ..NATIVE
            } },
            // A root changes twice a second at most.
            Self::Beacon => const { &Rule {
                senders: Senders::ESTABLISHED,
                rate: link(64, 4, Above::Drop),
                ..IGNORED
            } },
            // The runtime asks less often.
            Self::Find => const { &Rule {
                others: Others::Violation {
                    ignored: Senders::PENDING,
                    kind: ViolationKind::Breach,
                    text: "FIND: only native peers may send it",
                },
                rate: link(limits::FINDS_AT_ONCE, 25, Above::Drop),
                fills: &[Table::Searches],
                ..NATIVE
            } },
            // An honest peer sends 64 KiB at once and 8 KiB a second, of at least 200 bytes each.
            Self::Found => const { &Rule {
                others: Others::Violation {
                    ignored: Senders::PENDING,
                    kind: ViolationKind::Breach,
                    text: "FOUND: only native peers may send it",
                },
                rate: link(512, 50, Above::Drop),
                entries: Some((limits::FOUND_IMAGES, "images")),
                ..NATIVE
            } },
            // A verification that failed is repeated once a minute.
            Self::DialBack => const { &Rule {
                others: breach("DIALBACK: only native peers verify addresses"),
                rate: link(16, 1, Above::Drop),
                fills: &[Table::DialBacks],
                ..INTRODUCED
            } },
            // It costs a dial. A connection is kept for a minute after its last request.
            Self::CallBack => const { &Rule {
                others: breach("CALLBACK: only native peers ask for connections"),
                rate: link(8, 1, Above::Drop),
                ..INTRODUCED
            } },
            // The message in it is judged as well, by its own kind. The runtime reads those with a
            // transaction at the rate of transactions.
            Self::Topic => const { &Rule {
                others: breach("TOPIC: only native peers send it"),
                fills: &[Table::Pool, Table::Trees],
                ..NATIVE
            } },
            // A node sends 20 at once and half as many a second: 80 in a minute in which we stand
            // still. The last ones are the newest, so none of these is dropped.
            Self::Exercise => const { &Rule {
                others: breach("EXERCISE: only native peers send it"),
                rate: link(100, 2, Above::Drop),
                entries: Some((limits::EXERCISE_UPDATES, "entries")),
                fills: &[Table::ExercisePeers],
                ..INTRODUCED
            } },
        }
    }
}

/// What is done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is handled.
    Handle,
    /// It is handled, and its link is not read for this long.
    Pause(Duration),
    /// Its sender may not send it: it is ignored.
    Ignore,
    /// It comes too often: it is dropped.
    Drop,
    /// It is ignored, and a violation.
    Refuse(Violation),
}

/// How often each link brought each kind of message that has a rate of its own.
#[derive(Debug, Default)]
pub(crate) struct MessageRates(BTreeMap<LinkId, Vec<(MessageKind, RateLimit)>>);

impl MessageRates {
    /// Judges a message of a sender on a link: by its sender, and by the rate of its kind.
    #[inline]
    pub(crate) fn judge(&mut self, now: Instant, link: LinkId, sender: Senders, kind: MessageKind) -> Verdict {
        let rule = kind.rule();
        if !rule.senders.hold(sender) {
            return match rule.others {
                Others::Violation { ignored, kind, text } if !ignored.hold(sender) => {
                    Verdict::Refuse(Violation::new(kind, text))
                }
                Others::Violation { .. } | Others::Ignored => Verdict::Ignore,
            };
        }
        match rule.rate {
            Rate::Link { burst, interval, above } => {
                let limits = self.0.entry(link).or_default();
                let at = limits.iter().position(|(of, _)| *of == kind).unwrap_or_else(|| {
                    limits.push((kind, RateLimit::default()));
                    limits.len() - 1
                });
                spend(&mut limits[at].1, now, (interval * burst, interval), above)
            }
            Rate::Transactions | Rate::Messages | Rate::PerQuestion | Rate::Once => Verdict::Handle,
        }
    }

    /// Forgets a link that is closed.
    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.0.remove(&link);
    }
}

fn spend(limit: &mut RateLimit, now: Instant, (burst, cost): (Duration, Duration), above: Above) -> Verdict {
    match above {
        Above::Pause => {
            let wait = limit.reserve(now, cost, burst).saturating_duration_since(now);
            if wait.is_zero() { Verdict::Handle } else { Verdict::Pause(wait) }
        }
        Above::Drop => match limit.spend(now, cost, burst) {
            Ok(()) => Verdict::Handle,
            Err(_) => Verdict::Drop,
        },
    }
}

#[cfg(test)]
mod tests;
