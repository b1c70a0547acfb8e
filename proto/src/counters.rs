//! All counters, in one table. The core counts, and the runtime shows them as metrics.

/// Declares the counters: the field, which is also the name in STATUS, and the help text of the
/// metric.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What the core of a node counted since its start. Every drop and every refusal is
        /// counted.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Iterates over the names and values.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// Iterates over the names and help texts.
            pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($name), concat!($($doc),+)),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Dials begun.
    dials,
    /// Dials that failed.
    dials_failed,
    /// Probes of claimed addresses begun.
    probes,
    /// Links opened, dialled and accepted.
    links_opened,
    /// Second links to one node that were closed.
    links_duplicate,
    /// Links closed because nothing was received on them.
    links_dead,
    /// Links closed because their proof of identity was wrong, missing, or one of too many.
    proofs_refused,
    /// Links closed because another one has proved the id that they claim.
    claims_replaced,
    /// New transactions accepted.
    transactions_accepted,
    /// Copies of transactions that were known already.
    transactions_duplicate,
    /// Transactions refused: invalid ones, a full pool, a disk that takes no writes.
    transactions_refused,
    /// Transactions refused because they are not signed; counted as refused too.
    transactions_unsigned,
    /// Transactions refused because their signature does not verify; counted as refused too.
    transactions_forged,
    /// Transactions that the application ignored.
    transactions_ignored,
    /// Transactions sent, each copy counted.
    transactions_sent,
    /// New transactions that came in a comparison of pools.
    transactions_synced,
    /// Times that the queue of a link was full.
    queues_full,
    /// PRUNE frames sent: peers that are to stop sending some origins.
    prunes_sent,
    /// GRAFT frames sent: peers that are to send some origins again.
    grafts_sent,
    /// Comparisons of pools begun.
    sync_rounds,
    /// Bytes sent in comparisons of pools, without the transactions that follow.
    sync_sent_bytes,
    /// Comparisons of pools that found a difference.
    sync_rounds_differed,
    /// New broadcasts accepted.
    broadcasts_accepted,
    /// Copies of broadcasts that were known already.
    broadcasts_duplicate,
    /// Broadcasts sent, each copy counted.
    broadcasts_sent,
    /// New broadcasts that came in a comparison.
    broadcasts_synced,
    /// Broadcasts dropped because the node that they name has not signed them.
    broadcasts_forged,
    /// Announcements accepted: news of a node.
    announcements_accepted,
    /// Announcements that were no news.
    announcements_old,
    /// Announcements that were not believed, or for which there was no room.
    announcements_refused,
    /// Announcements dropped because the node that they name has not signed them.
    announcements_forged,
    /// News of nodes that were not passed on, since too much came from the same party.
    announcements_not_relayed,
    /// Announcements sent, each copy counted.
    announcements_sent,
    /// Bytes written on links to peers, frame headers and TLS included.
    peers_sent_bytes,
    /// Frames that were no messages.
    frames_malformed,
    /// Messages of unknown types.
    messages_unknown,
    /// Messages dropped because their link brought too many of their kind, without those that are
    /// counted apart. Also answers with broadcasts that are over.
    messages_dropped,
    /// Answers without a question.
    answers_unsolicited,
    /// Frames that broke the rules of WebSocket, each the end of its link.
    frames_broken,
    /// Violations that were counted against a peer.
    violations,
    /// Links closed because a peer broke too many rules.
    bans,
    /// Links closed at once because their other end is banned.
    links_banned,
    /// Accepted links closed for want of room: the least useful one, or the new one.
    links_evicted,
    /// Tasks that panicked: faults of this program. Their work is lost, nothing else.
    tasks_panicked,
    /// Entries of HANDSHAKEs that were left out: no addresses, or too many.
    addresses_dropped,
    /// Addresses that a peer may not name: loopback or private ones from farther away.
    addresses_out_of_scope,
    /// Addresses ignored because they are node ids, which this node does not dial (WAN=off).
    addresses_not_dialable,
    /// Addresses for which the address book had no room.
    addresses_without_room,
    /// Records of other nodes received by multicast DNS, repeated ones included.
    records_heard,
    /// Records ignored because their nodes belong to other networks.
    records_foreign,
    /// Records ignored because they are no records of nodes.
    records_malformed,
    /// Records ignored because a loopback address did not come from this host.
    records_out_of_scope,
    /// Records that ended: their nodes said goodbye, or did not renew them in time.
    records_ended,
    /// Records that were replaced for want of room.
    records_without_room,
    /// Nodes that were declined because there was no free slot.
    slots_declined,
    /// Times that this node was declined.
    slots_refused,
    /// Slots taken from a peer for a node that asked with high priority.
    slots_swapped,
    /// Links given up to connect two partitions.
    partitions_healed,
    /// Links moved to random nodes, which shortens the ways in the network.
    links_rewired,
    /// Random nodes asked for addresses.
    shuffles,
    /// Exercise peers sent to other nodes for want of a slot.
    exercise_redirected,
    /// Connections that did not become links: no room, another protocol, no accepted certificate.
    connections_refused,
    /// Exercise peers that were not admitted (PLAIN=off).
    exercise_refused,
    /// Clients beyond this host without a certificate that were not admitted (PLAIN=off), and other
    /// programs than nodes over iroh.
    clients_refused,
    /// Links closed because of the lists of allowed and denied nodes.
    listed_refused,
    /// Links closed because the node id is not that of the certificate's key, or of the connection
    /// over iroh.
    impostors_refused,
    /// Searches for images begun by this node.
    image_searches,
    /// Searches refused because too many were under way.
    image_searches_refused,
    /// FINDs that this node answered.
    finds_answered,
    /// Copies of FINDs that were known already.
    finds_duplicate,
    /// FINDs dropped: too many on one link, or at once.
    finds_dropped,
    /// FOUNDs that nobody asked for.
    founds_unsolicited,
    /// FOUNDs that came too late, too often, or about another image.
    founds_dropped,
    /// Dials put off because their host was dialled often a moment ago.
    dials_put_off,
}
