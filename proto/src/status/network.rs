//! The list of nodes, as an application or a client on this host is told it.

use std::time::{Duration, Instant};

use crate::address::Scope;
use crate::id::{LinkId, NodeId};
use crate::wire::{Announcement, Member, Members, NetworkFrame};
use crate::{Lane, Node};

/// How many bytes of members one NETWORK answer has at most, by estimate: it must fit into a link's control lane.
const ANSWER_BYTES: usize = 192 * 1024;

impl Node {
    /// Everybody who is known to be in the network, in the order of their ids.
    pub fn nodes(&self, now: Instant) -> Vec<Member> {
        let mut members: Vec<(NodeId, Member)> = Vec::with_capacity(self.presence.count());
        let me = self.announcement(false);
        members.push((me.node, member(&me, Duration::ZERO, true)));
        for (announcement, heard) in self.presence.table.iter() {
            let heard = now.saturating_duration_since(heard);
            members.push((announcement.node, member(announcement, heard, false)));
        }
        members.sort_unstable_by_key(|(node, _)| *node);
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// The list is told to this host alone: it names addresses, and answering costs more than asking.
    pub(crate) fn on_network(&mut self, now: Instant, link: LinkId, frame: &NetworkFrame) {
        let NetworkFrame::Question { after } = frame else {
            self.cx.counters.answers_unsolicited += 1;
            return;
        };
        if self.connections.links.get(link).is_none_or(|link| link.scope != Scope::Loopback) {
            return self.offend(
                link,
                crate::violation::ViolationKind::Unsolicited,
                "NETWORK: only clients on this host are answered",
            );
        }
        let mut nodes = self.nodes(now);
        if let Some(after) = after.map(|after| after.to_string()) {
            nodes.retain(|member| member.node > after);
        }
        let mut bytes = 0;
        let fitting = nodes.iter().take_while(|member| {
            let first = bytes == 0;
            bytes += 512 + 67 * member.peers.len();
            first || bytes <= ANSWER_BYTES
        });
        let fitting = fitting.count();
        let more = nodes.len() > fitting;
        nodes.truncate(fitting);
        self.cx.send(vec![link], NetworkFrame::Answer(Members { nodes, more }).to_frame(), Lane::Control);
    }
}

fn member(announcement: &Announcement, heard: Duration, me: bool) -> Member {
    Member {
        node: announcement.node.to_string(),
        session: announcement.session.to_string(),
        address: announcement.address.as_ref().map(ToString::to_string),
        since: announcement.since,
        peers: announcement.peers.iter().map(ToString::to_string).collect(),
        links: announcement.links,
        max_peers: announcement.max_peers,
        free: announcement.max_peers.map(|most| most.saturating_sub(announcement.links)),
        heard: heard.as_secs(),
        me,
    }
}
