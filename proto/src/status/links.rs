//! The open links, for those who look on. Nothing in the core depends on it.

use std::time::Instant;

use crate::Node;
use crate::connections::table::LinkState;
use crate::event::PeerName;
use crate::id::LinkId;

/// An open link, as the core knows it.
#[derive(Debug, Clone)]
pub struct LinkRow {
    /// Which.
    pub link: LinkId,
    /// Who is at the other end.
    pub peer: PeerName,
    /// What the other end is.
    pub kind: LinkKind,
    /// Whether we dialled.
    pub dialled: bool,
    /// When it was opened.
    pub opened: Instant,
}

/// What is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// One of ours.
    Native,
    /// A node of the exercise.
    Exercise,
    /// A client, a node that only asks for a place, or a peer that has not introduced itself yet.
    Client,
}

impl Node {
    /// Every link that is open and not being closed, in the order in which they were opened.
    pub fn open_links(&self) -> Vec<LinkRow> {
        let open = self.connections.links.iter().filter(|(_, link)| !link.closing);
        open.map(|(id, link)| LinkRow {
            link: id,
            peer: link.name(),
            kind: match link.state {
                LinkState::HelloSent(_) | LinkState::Verifying(_) | LinkState::Established(_) => LinkKind::Native,
                LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => LinkKind::Exercise,
                LinkState::Client | LinkState::Standby(_) | LinkState::AwaitingAdmission(_) => LinkKind::Client,
            },
            dialled: link.dialled.is_some(),
            opened: link.opened,
        })
        .collect()
    }
}
