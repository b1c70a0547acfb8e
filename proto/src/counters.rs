//! Everything that is counted, in one table. The core counts; the shell shows.

/// Declares the counters once: the field, the name under which it is shown, and what it counts.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a node's core counted since its start. Every drop and every refusal is here.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Every counter with its name.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// The name of every counter with what it counts, in words.
            pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($name), concat!($($doc),+)),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Dials begun.
    dials,
    /// Dials that came to nothing.
    dials_failed,
    /// Probes of claimed addresses begun.
    probes,
    /// Links opened, dialled and accepted.
    links_opened,
    /// Second links to one node that were closed.
    links_duplicate,
    /// Links closed because nothing was heard on them.
    links_dead,
    /// Transactions accepted: new here.
    transactions_accepted,
    /// Copies of transactions that were held already.
    transactions_duplicate,
    /// Transactions refused: no transaction, a full pool, a disk that takes no writes.
    transactions_refused,
    /// Transactions refused because they are not signed; counted as refused too.
    transactions_unsigned,
    /// Transactions refused because their signature does not verify; counted as refused too.
    transactions_forged,
    /// Transactions sent on links, each copy counted.
    transactions_sent,
    /// Transactions that came in answer to a comparison of pools, and were new.
    transactions_synced,
    /// Times a link's queue was full.
    queues_full,
    /// PRUNE frames sent: neighbours told to send no more of some origins.
    prunes_sent,
    /// GRAFT frames sent: neighbours asked to send some origins again.
    grafts_sent,
    /// Comparisons of pools begun.
    sync_rounds,
    /// Bytes of comparisons of pools sent: summaries, questions and answers, not the transactions that follow.
    sync_sent_bytes,
    /// Comparisons of pools that found a difference.
    sync_rounds_differed,
    /// Broadcasts accepted: new here.
    broadcasts_accepted,
    /// Copies of broadcasts that were seen already.
    broadcasts_duplicate,
    /// Broadcasts sent on links, each copy counted.
    broadcasts_sent,
    /// Broadcasts that came in answer to a comparison, and were new.
    broadcasts_synced,
    /// Broadcasts dropped because the node that they name has not signed them.
    broadcasts_forged,
    /// Announcements accepted: news of a node.
    announcements_accepted,
    /// Announcements that were old news.
    announcements_old,
    /// Announcements that were not believed, or for which there was no room.
    announcements_refused,
    /// Announcements dropped because the node that they name has not signed them.
    announcements_forged,
    /// Announcements sent on links, each copy counted.
    announcements_sent,
    /// Bytes written on links to peers, the heads of frames and TLS included.
    peers_sent_bytes,
    /// Frames that were no messages.
    frames_malformed,
    /// Messages of types that this version does not know.
    messages_unknown,
    /// Answers to questions that nobody asked.
    answers_unsolicited,
    /// Frames that broke WebSocket's own rules, each the end of its link.
    frames_broken,
    /// Breaches of the rules that were held against whoever committed them.
    violations,
    /// Links closed because too many breaches had been gathered.
    bans,
    /// Links closed at once because who is there is kept away.
    links_banned,
    /// Accepted links closed for want of places: the one of least use, or the newcomer.
    links_evicted,
    /// Tasks that ended in a fault of this program; what they did is lost, nothing else.
    tasks_panicked,
    /// Entries of HANDSHAKEs that were left out: no address, or too many.
    addresses_dropped,
    /// Addresses that a peer may not tell: loopback or private ones from farther away.
    addresses_out_of_scope,
    /// Addresses for which the peer table had no room.
    addresses_without_room,
    /// Records of other nodes heard by multicast DNS, news and repetitions.
    records_heard,
    /// Of those ignored: of nodes of other networks.
    records_foreign,
    /// Of those ignored: no records of nodes.
    records_malformed,
    /// Of those ignored: loopback addresses that did not come from this host.
    records_out_of_scope,
    /// Records that ended: their nodes said goodbye, or were not heard of for long.
    records_ended,
    /// Times that a record took the place of an older one, for want of room.
    records_without_room,
    /// Nodes that were told that there is no place for them here.
    slots_declined,
    /// Times that we were told so.
    slots_refused,
    /// Links split for a node that insisted: it had none, or moved one here.
    slots_swapped,
    /// Links given up to link two parts of the network that had formed apart.
    partitions_healed,
    /// Links moved to random nodes, so that ways in the network are short.
    links_rewired,
    /// Random nodes asked for addresses.
    shuffles,
    /// Plain peers sent to others for want of a place.
    exercise_redirected,
    /// Connections that came to no link: no place, another protocol, no certificate, one that does not count here.
    connections_refused,
    /// Nodes of the exercise that were not let in (PLAIN=off).
    exercise_refused,
    /// Clients beyond this host that were not let in without a certificate (PLAIN=off).
    clients_refused,
    /// Links closed because of the lists of the denied and the allowed.
    listed_refused,
    /// Links closed because the other end named another node id than its certificate's key.
    impostors_refused,
    /// Searches for images begun here.
    image_searches,
    /// Searches refused because too many were under way.
    image_searches_refused,
    /// Questions for images that this node answered.
    finds_answered,
    /// Copies of questions for images that were seen already.
    finds_duplicate,
    /// Questions for images dropped: too many on one link, or at once.
    finds_dropped,
    /// Answers to questions for images that nobody asked.
    founds_unsolicited,
    /// Answers to questions for images that came too late, too often, or about something else.
    founds_dropped,
    /// Dials put off because their host was dialled often a moment ago.
    dials_put_off,
}
