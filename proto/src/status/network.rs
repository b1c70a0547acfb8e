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
    let me = presence.announcement(cx, links, false);
    after(presence, &me, None).map(|one| one.member(presence, now)).collect()
}

/// Returns the answer with the first members after this id. Only those are laid out: a long list
/// takes many questions.
pub(crate) fn answer_after(cx: &Context, links: &LinkTable, presence: &Presence, last: Option<NodeId>) -> Frame {
    let me = presence.announcement(cx, links, false);
    answer(after(presence, &me, last).map(|one| one.member(presence, cx.now)))
}

/// Returns the answer with as many members as fit, but one at least.
pub(super) fn answer(members: impl Iterator<Item = Member>) -> Frame {
    let (mut nodes, mut bytes, mut more) = (Vec::new(), 0, false);
    for member in members {
        bytes += MEMBER_BYTES + PEER_BYTES * member.peers.len();
        more = !nodes.is_empty() && bytes > ANSWER_BYTES;
        if more {
            break;
        }
        nodes.push(member);
    }
    NetworkFrame::Answer(Members { nodes, more }).to_frame()
}

/// A node and when it made its announcement; `None`: this node.
struct Node<'a> {
    announcement: &'a Announcement,
    made: Option<Instant>,
}

/// Iterates over the nodes after this id, in the order of ids.
fn after<'a>(
    presence: &'a Presence,
    me: &'a Announcement,
    last: Option<NodeId>,
) -> impl Iterator<Item = Node<'a>> + use<'a> {
    let other = |(announcement, made)| Node { announcement, made: Some(made) };
    let own = Some(Node { announcement: me, made: None }).filter(|_| last.is_none_or(|last| last < me.node));
    let before = presence.others_after(last).take_while(|(other, _)| other.node < me.node);
    let behind = presence.others_after(Some(last.map_or(me.node, |last| last.max(me.node))));
    before.map(other).chain(own).chain(behind.map(other))
}

impl Node<'_> {
    fn member(&self, presence: &Presence, now: Instant) -> Member {
        let Self { announcement, made } = self;
        let heard = made.map_or(Duration::ZERO, |made| now.saturating_duration_since(made));
        let mut member = member(announcement, heard, made.is_none());
        if made.is_some() {
            member.address = presence.address_of(announcement.node).map(ToString::to_string);
        }
        member
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
