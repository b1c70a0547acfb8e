//! How many members of each of this node's topics are linked, and which links lead to one of few.

use crate::connections::table::{Link, LinkTable};
use crate::context::Context;
use crate::limits;

/// How many members of each topic are to be linked: one alone may go.
pub(super) const WISHED: usize = 2;

/// How many linked nodes have each of our topics.
pub(super) type Members = [usize; limits::TOPICS];

pub(super) fn count(links: &LinkTable) -> Members {
    let mut members = [0; limits::TOPICS];
    for peer in links.iter().filter(|(_, link)| link.takes_transactions()).filter_map(|(_, link)| link.native()) {
        for (topic, count) in members.iter_mut().enumerate() {
            *count += usize::from(peer.topics.contains(topic));
        }
    }
    members
}

/// Returns whether each link leads to a member of a topic of which no more than enough are linked.
pub(super) fn needed(cx: &Context, links: &LinkTable) -> impl Fn(&Link) -> bool + use<> {
    let topics = cx.topics.len();
    let members = if topics == 0 { [0; limits::TOPICS] } else { count(links) };
    move |link| {
        let peer = link.native().filter(|_| topics > 0);
        peer.is_some_and(|peer| (0..topics).any(|topic| peer.topics.contains(topic) && members[topic] <= WISHED))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connections::table::{LinkState, NativePeer};
    use crate::id::LinkId;
    use crate::testing::parts::{context, native};
    use crate::topic_name::{TopicName, TopicSet};

    /// Opens a link to a peer that has these topics.
    pub(in crate::membership) fn with_topics(cx: &Context, links: &mut LinkTable, n: u8, named: &[&str]) {
        let link = native(cx, links, n);
        let named: Vec<TopicName> = named.iter().map(|name| name.parse().expect("a name")).collect();
        let peer = links.get(link).and_then(Link::native).expect("native").clone();
        let peer = NativePeer { topics: TopicSet::shared(&cx.topics, &named), ..peer };
        links.set_native(link, LinkState::Established(peer));
    }

    #[test]
    fn a_link_is_needed_if_it_leads_to_one_of_few_members() {
        let (mut cx, mut links) = (context(), LinkTable::default());
        cx.topics = ["a", "b"].map(|name| name.parse().expect("a name")).to_vec();
        for (n, topics) in [(1, &["a"][..]), (2, &["a", "c"]), (3, &["a"]), (4, &["b"]), (5, &[]), (6, &["c"])] {
            with_topics(&cx, &mut links, n, topics);
        }
        let is_needed = needed(&cx, &links);
        let needed: Vec<bool> = (1..=6).map(|n| is_needed(links.get(LinkId(n)).expect("open"))).collect();
        assert_eq!(needed, [false, false, false, true, false, false], "three have a, and one has b");
    }
}
