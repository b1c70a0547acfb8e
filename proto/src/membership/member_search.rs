//! Links to members of this node's topics, in a network with a cap.
//!
//! Items of a topic go from member to member, and slots are filled without regard to topics. So a
//! node moves a link to a member that no chain of members leads to, and to some member if too few
//! are linked, as rewiring moves one to a random node: the degrees stay. Links to members of which
//! there are too few are released last. Presence says which nodes are members, how they are linked,
//! and where they are.

use std::time::Duration;

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::connections::Connections;
use crate::connections::table::Link;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::ip_prefix::SourceGroup;
use crate::membership::rewiring::MIN_CAP;
use crate::membership::state::{Membership, dial_for};
use crate::membership::topic_links::{WISHED, count};
use crate::peers::Peers;
use crate::timers::Timer;

/// The shortest time between two looks; each wait is drawn from one to two of it. A slot is swapped
/// for one joiner at most once in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// With each look that asks a member, the interval doubles, up to this many times. Somebody may
/// invent members that are never reached.
const DOUBLED: u32 = 4;

impl Membership {
    /// Sets the time of the next look, if there is a cap, and a topic besides the default one.
    pub(crate) fn schedule_member_search(&self, cx: &mut Context) {
        if cx.config.max_peers.is_some_and(|most| most >= MIN_CAP) && !cx.topics.is_empty() {
            let interval = INTERVAL * 2_u32.pow(self.members_sought.min(DOUBLED));
            cx.timers.set(Timer::SeekMembers, cx.now + interval.mul_f64(cx.rng.random_range(1.0..2.0)));
        }
    }

    /// Returns the numbers of all topics, from a random one on.
    pub(crate) fn topics_in_turn(&self, cx: &mut Context) -> impl Iterator<Item = usize> + use<> {
        let topics = cx.topics.len();
        let first = cx.rng.random_range(0..topics.max(1));
        (0..topics).map(move |n| (first + n) % topics)
    }

    /// Returns a topic of which too few members are linked, by its number; drawn among several.
    pub(crate) fn lacking_topic(&self, cx: &mut Context, conns: &Connections) -> Option<usize> {
        let members = count(&conns.links);
        let lacking: Vec<usize> = (0..cx.topics.len()).filter(|topic| members[*topic] < WISHED).collect();
        (!lacking.is_empty()).then(|| lacking[cx.rng.random_range(0..lacking.len())])
    }

    /// Requests a slot at the first of these members that can be asked, in place of another link if
    /// all slots are taken. Without any, enough are linked.
    pub(crate) fn seek_member(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        members: &[(PeerAddress, Scope, SourceGroup)],
    ) {
        if cx.shutting_down || members.is_empty() {
            self.members_sought = 0;
            return;
        }
        for (address, scope, group) in members {
            Self::add_candidate(cx, peers, address, *scope, *group);
            let declined = peers.book.get(address).and_then(|peer| peer.declined_until);
            if !peers.book.is_idle(cx, address) || declined.is_some_and(|until| until > cx.now) {
                continue;
            }
            self.members_sought += 1;
            if self.is_full(cx, conns, None) {
                let (to, at) = (address.clone(), |link: &Link| link.verified_address().cloned());
                let why = "this link goes to a member of a topic now";
                return self.move_link(cx, peers, conns, to, at, why);
            }
            let reason = DialReason::Slot { high_priority: true, referred_by: None };
            if dial_for(cx, peers, conns, address, reason) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::topic_links::tests::with_topics;
    use crate::testing::parts::context;

    #[test]
    fn a_topic_is_lacking_until_two_members_are_linked() {
        let (mut cx, mut conns) = (context(), Connections::default());
        let membership = Membership::new(&cx);
        assert_eq!(membership.lacking_topic(&mut cx, &conns), None);
        cx.topics = ["a", "b"].map(|name| name.parse().expect("a name")).to_vec();
        for (n, topics) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["c"])] {
            with_topics(&cx, &mut conns.links, n, topics);
        }
        assert_eq!(membership.lacking_topic(&mut cx, &conns), Some(1));
        with_topics(&cx, &mut conns.links, 4, &["b"]);
        assert_eq!(membership.lacking_topic(&mut cx, &conns), None);
        let mut turns: Vec<usize> = membership.topics_in_turn(&mut cx).collect();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1]);
    }
}
