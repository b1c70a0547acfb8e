//! The list of nodes in the network.

use std::time::{Duration, Instant};

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::frame::Frame;
use crate::id::NodeId;
use crate::presence::announcer::Presence;
use crate::wire::{Announcement, Member, Members, NetworkFrame};

/// The most bytes of members in one NETWORK answer, by estimate: it must fit into the control lane.
const ANSWER_BYTES: usize = 192 * 1024;
/// The estimated size of a member without its peers, in bytes.
const MEMBER_BYTES: usize = 512;
/// The size of one peer of a member, in bytes: an id, quotes and a comma.
const PEER_BYTES: usize = 67;

/// Returns every node that is known to be in the network, in the order of ids, this one included.
pub(crate) fn members(cx: &Context, links: &LinkTable, presence: &Presence, now: Instant) -> Vec<Member> {
    let mut members: Vec<(NodeId, Member)> = Vec::with_capacity(presence.count());
    let me = presence.announcement(cx, links, false);
    members.push((me.node, member(&me, Duration::ZERO, true)));
    for (announcement, made) in presence.others() {
        let mut other = member(announcement, now.saturating_duration_since(made), false);
        other.address = presence.address_of(announcement.node).map(ToString::to_string);
        members.push((announcement.node, other));
    }
    members.sort_unstable_by_key(|(node, _)| *node);
    members.into_iter().map(|(_, member)| member).collect()
}

/// Returns the answer with the first members after this id, as many as fit, but one at least.
pub(crate) fn answer(mut nodes: Vec<Member>, after: Option<NodeId>) -> Frame {
    if let Some(after) = after.map(|after| after.to_string()) {
        nodes.retain(|member| member.node > after);
    }
    let mut bytes = 0;
    let fitting = nodes.iter().take_while(|member| {
        let first = bytes == 0;
        bytes += MEMBER_BYTES + PEER_BYTES * member.peers.len();
        first || bytes <= ANSWER_BYTES
    });
    let fitting = fitting.count();
    let more = nodes.len() > fitting;
    nodes.truncate(fitting);
    NetworkFrame::Answer(Members { nodes, more }).to_frame()
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
