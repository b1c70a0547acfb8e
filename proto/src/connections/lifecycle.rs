//! The opening and the end of a link.
//!
//! Two native peers share one link. An exercise peer has two, one in each direction: it sends on
//! the link that it dialled and receives on the one that it accepted. The node calls this module
//! when the runtime opened or closed a link. It decides whether the link is refused, a duplicate,
//! or one to introduce ourselves on.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::PeerAddress;
use crate::causes::{DialError, LinkEnd};
use crate::connections::liveness::patience;
use crate::connections::table::{Link, LinkState, NativePeer};
use crate::connections::{Closed, Connections};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, UpgradeIdentity};
use crate::internal_event::{DialOutcome, InternalEvent};
use crate::peers::Peers;
use crate::peers::address_book::AddressState;
use crate::timers::Timer;
use crate::topic_name::TopicSet;
use crate::wire::close;

/// How long a peer that there is no slot for may take to introduce itself. It sends its HANDSHAKE
/// right after the upgrade.
const REFERRAL_TIMEOUT: Duration = Duration::from_secs(2);

impl Connections {
    /// Handles a link that was accepted: it may be refused, or evict another one.
    pub(crate) fn on_accepted(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, remote: IpAddr) {
        self.open(cx, peers, link, remote, None, LinkState::Client);
        cx.timers.set(Timer::Silence(link), cx.now + cx.config.limits.client_silence);
        if !self.refuse_accepted(cx, peers, link, remote) && !self.refuse_banned(cx, peers, link) {
            self.evict(cx, peers, link);
        }
    }

    /// Handles a link that was accepted beyond a bound: its peer is referred to others once it has
    /// introduced itself.
    pub(crate) fn on_accepted_beyond(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        remote: IpAddr,
        reason: String,
    ) {
        self.open(cx, peers, link, remote, None, LinkState::Client);
        if !self.refuse_accepted(cx, peers, link, remote) && !self.refuse_banned(cx, peers, link) {
            self.refuse_later(cx, link, reason);
        }
    }

    /// Waits a moment for a peer to introduce itself that there is no slot for.
    pub(super) fn refuse_later(&mut self, cx: &mut Context, link: LinkId, reason: String) {
        if let Some(open) = self.links.get_mut(link) {
            open.refused = Some(reason);
            cx.timers.set(Timer::Silence(link), cx.now + REFERRAL_TIMEOUT);
        }
    }

    /// Closes a link beyond a bound whose other end is no native peer; returns whether it is one.
    pub(crate) fn end_refused(&mut self, cx: &mut Context, link: LinkId) -> bool {
        let reason = self.links.get(link).and_then(|open| open.refused.clone());
        if let Some(reason) = &reason {
            self.links.close(cx, link, close::TRY_AGAIN_LATER, reason);
        }
        reason.is_some()
    }

    fn open(
        &mut self,
        cx: &mut Context,
        peers: &Peers,
        link: LinkId,
        remote: IpAddr,
        dialled: Option<&PeerAddress>,
        state: LinkState,
    ) {
        cx.counters.links_opened += 1;
        let authenticated = peers.access.authenticated(link);
        let (silence, _) = patience(&cx.config.limits, authenticated.is_some());
        cx.timers.set(Timer::Ping(link), cx.now + silence);
        self.links.open(link, remote, dialled.cloned(), state, cx.now);
        if let Some(node) = authenticated {
            self.links.authenticate(link, node);
            // There is nothing left to prove.
            self.proofs.on_closed(link);
        }
    }

    /// Handles a link that we dialled. `admits_exercise` says whether there is a slot for an
    /// exercise peer.
    pub(crate) fn on_dialled(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        (remote, address): (IpAddr, PeerAddress),
        identity: Option<UpgradeIdentity>,
        admits_exercise: bool,
    ) {
        let reason = peers.dialer.take_reason(&address);
        let refused = match identity {
            Some(identity) => peers.access.refusal(cx.config.node, link, remote, Some(identity.node)),
            None => peers.access.exercise_refusal(cx.config.node, link, remote),
        };
        if refused.is_some() {
            self.open(cx, peers, link, remote, Some(&address), LinkState::Client);
            self.refuse(cx, peers, link, identity.map(|identity| identity.node), refused);
            return raise_useless(cx, address, reason, "one of the two does not admit the other");
        }
        let Some(identity) = identity else {
            self.open(
                cx,
                peers,
                link,
                remote,
                Some(&address),
                LinkState::ExerciseOutbound { address: address.clone() },
            );
            peers.book.set_state(&address, AddressState::Connected(link));
            let redirects = reason == Some(DialReason::Redirect) || !admits_exercise;
            return cx.raise(InternalEvent::ExerciseDialled { link, address, reason, redirects });
        };
        let UpgradeIdentity { node, session } = identity;
        let proved = peers.access.is_proved(link, node);
        let by_id = address.node().is_some();
        let peer = NativePeer {
            id: node,
            session,
            address: Some(address.clone()).filter(|_| !by_id),
            wan: Some(address.clone()).filter(|_| by_id),
            proved,
            topics: TopicSet::default(),
            calls_back: false,
        };
        self.open(cx, peers, link, remote, Some(&address), LinkState::Standby(peer));
        let older = self.holder_of(link, node);
        if identity.node == cx.config.node && identity.session == cx.config.session {
            cx.raise(InternalEvent::DialEnded { address, reason, outcome: DialOutcome::Ourselves { link } });
        } else if identity.node == cx.config.node {
            // A liar can answer with our id. Our HANDSHAKE proves to a copy that there are two.
            self.send_handshake(cx, link);
            self.refuse_copied_key(cx, peers, link, proved);
            raise_useless(cx, address, reason, "it has this node's own key");
        } else if let Some(older) = older {
            let holder = self.links.get(older).filter(|open| open.run() == Some((node, session)));
            // Anybody can answer an upgrade with the id and the session of a node. So an address is
            // that of a proved node only if it is proved there, or the node itself names it.
            let is_its_own = |open: &Link| proved || !open.is_proved() || open.claimed.as_ref() == Some(&address);
            if holder.is_some_and(is_its_own) {
                self.on_verified(cx, peers, older, &address);
            } else {
                // Otherwise it is another run of that node, a copy, or somebody who names its id.
                let leads_to = if holder.is_some() { older } else { link };
                cx.timers.cancel(&Timer::Dial(address.clone()));
                peers.book.set_state(&address, AddressState::Connected(leads_to));
            }
            self.resolve_duplicates(cx, older);
            raise_useless(cx, address, reason, "we are linked to it already");
        } else {
            cx.raise(InternalEvent::NativeDialled { link, reason });
        }
    }

    /// Checks a link that we dialled against the bans, after its events were handled.
    pub(crate) fn after_dialled(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) {
        self.refuse_banned(cx, peers, link);
    }

    /// Closes the link to a second live node with the id of this one or of a peer: its folder was
    /// copied. The user is warned if that is `certain`: what others only claim is nobody's fault.
    pub(super) fn refuse_copied_key(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, certain: bool) {
        let mut name = self.links.name_of(link);
        // One that dialled us, and whose HANDSHAKE is being handled.
        name.node.get_or_insert(cx.config.node);
        if let Some(address) = self.links.get(link).and_then(|link| link.dialled.clone()) {
            peers.book.back_off_long(cx, &address);
        }
        self.links.close(cx, link, close::POLICY, "two live nodes have this node's id: was its folder copied?");
        let text = format!(
            "{name} is another node with an id that is in use: its folder was copied with its key; delete node.key in the copy and start it again"
        );
        if certain {
            self.links.warn(cx, link, text);
        } else {
            self.links.log_fault(cx, link, text);
        }
    }

    /// Notes why a link was dialled, for as long as it is open.
    pub(crate) fn set_reason(&mut self, link: LinkId, reason: Option<DialReason>) {
        self.reasons.extend(reason.map(|reason| (link, reason)));
    }

    /// Removes a link that has ended; returns `None` if it is not known.
    pub(crate) fn on_closed(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) -> Option<Closed> {
        let closed = self.links.remove(link)?;
        peers.access.on_link_closed(link);
        self.reachability.on_link_closed(link);
        self.proofs.on_closed(link);
        let reason = self.reasons.remove(&link);
        for timer in [Timer::Ping(link), Timer::Silence(link), Timer::Answer(link), Timer::Duplicate(link)] {
            cx.timers.cancel(&timer);
        }
        let heir = closed.key().and_then(|peer| self.links.to_peer(peer, None));
        // Two claims of an id in different sessions need not be of one node.
        let heir = heir.filter(|(_, peer)| peer.proved || closed.run() == Some((peer.id, peer.session)));
        let heir = heir.map(|(id, _)| id);
        let standby = closed.native().filter(|_| heir.is_none()).and_then(|peer| self.standby_for(peer.id));
        Some(Closed { id: link, link: closed, reason, heir, standby })
    }

    /// Reports a link to a peer that has ended.
    pub(crate) fn notify_down(&self, cx: &mut Context, closed: &Link, cause: LinkEnd) {
        if closed.is_peer() {
            cx.notify(Event::PeerDown { peer: closed.name(), cause, peers: self.links.peers() });
        } else if let (Some(_), Some(address), false) = (closed.native(), &closed.dialled, closed.closing) {
            // It closed before it introduced itself: for the user that is a failed dial.
            let retry_in = cx.timers.due(&Timer::Dial(address.clone()));
            let retry_in = retry_in.map(|due| due.saturating_duration_since(cx.now));
            cx.notify(Event::DialFailed { address: address.clone(), error: DialError::Ended(cause), retry_in });
        }
    }

    /// Reports a link to a peer that is established.
    pub(crate) fn notify_up(&self, cx: &mut Context, link: LinkId) {
        let Some(opened) = self.links.get(link) else { return };
        let (peer, dialled) = (opened.name(), opened.dialled.is_some());
        cx.notify(Event::PeerUp { peer, dialled, peers: self.links.peers() });
    }

    /// Schedules the next dial of an address whose link has ended.
    pub(crate) fn redial_later(cx: &mut Context, peers: &mut Peers, address: &PeerAddress, closed: &Link) {
        let lasted = cx.now.saturating_duration_since(closed.opened) >= cx.config.limits.backoff_reset;
        if let Some(peer) = peers.book.get_mut(address) {
            peer.last_up = Some(cx.now);
            if lasted {
                peer.failures = 0;
            }
        }
        if cx.shutting_down {
            peers.book.set_state(address, AddressState::Waiting);
        } else {
            peers.book.back_off(cx, address);
        }
    }
}

fn raise_useless(cx: &mut Context, address: PeerAddress, reason: Option<DialReason>, why: &'static str) {
    cx.raise(InternalEvent::DialEnded { address, reason, outcome: DialOutcome::Useless(why) });
}

#[cfg(test)]
mod tests;
