//! Whom to be linked to: a full mesh, one link per pair of full peers, two one-way links with a node of the exercise.
//!
//! A link's life: it opens, the two ends introduce themselves (`introduction.rs`), a second one to the same node is settled (`duel.rs`), it closes, and what led
//! there is dialled again.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::address::PeerAddress;
use crate::connections::table::{Delivery, Link, NativePeer, Role};
use crate::event::Event;
use crate::id::{LinkId, UpgradeIdentity};
use crate::membership::slot_search::Purpose;
use crate::peers::address_book::AddressState;
use crate::timers::Timer;
use crate::wire::close;
use crate::{Direction, Node};

/// A plain peer that drops its link this soon after its first TRANSACTION has probably died of it …
const RECOIL: Duration = Duration::from_secs(2);
/// … and after doing so this often in a row it gets handshakes only …
const RECOILS: u32 = 2;
/// … for this long.
const HANDSHAKES_ONLY: Duration = Duration::from_secs(600);

impl Node {
    pub(crate) fn on_link_opened(&mut self, now: Instant, link: LinkId, remote: IpAddr, direction: Direction) {
        self.cx.counters.links_opened += 1;
        self.cx.timers.set(Timer::Ping(link), now + self.cx.config.limits.ping_interval);
        match direction {
            Direction::Accepted => {
                self.links.open(link, remote, None, Role::Client, now);
                self.cx.timers.set(Timer::Silence(link), now + self.cx.config.limits.client_silence);
                if !self.refuses_accepted(now, link, remote) && !self.turns_away(now, link) {
                    self.make_place(now, link);
                }
            }
            Direction::Dialled { address, identity } => {
                self.on_dialled(now, link, remote, address, identity);
                self.turns_away(now, link);
                self.fill_slots(now);
            }
        }
        if self.cx.shutting_down {
            self.links.close(&mut self.cx, link, close::GOING_AWAY, "this node is shutting down");
        }
    }

    pub(crate) fn on_dialled(
        &mut self,
        now: Instant,
        link: LinkId,
        remote: IpAddr,
        address: PeerAddress,
        identity: Option<UpgradeIdentity>,
    ) {
        let purpose = self.membership.seeking.flying.remove(&address);
        if self.refuses_dialled(now, link, remote, &address, identity) {
            return self.on_missed(now, &address, purpose.as_ref(), "one of the two does not let the other in");
        }
        let Some(identity) = identity else {
            let redirects = purpose == Some(Purpose::Redirect) || !self.takes_plain(now);
            self.links.open(
                link,
                remote,
                Some(address.clone()),
                Role::Exercise { address: Some(address.clone()) },
                now,
            );
            self.book.set_state(&address, AddressState::Connected(link));
            if purpose == Some(Purpose::Bootstrap) {
                self.on_genesis_failed(now, "a node of the exercise, or another program, answers there");
            }
            if purpose == Some(Purpose::Walk) {
                self.on_walk_missed(now);
            }
            if redirects {
                return self.redirect_plain(now, link);
            }
            self.send_handshake(link);
            self.resume_plain(now, link, &address);
            self.notify_up(link);
            self.pass_on(&address);
            return;
        };
        let peer = NativePeer {
            id: identity.node,
            session: identity.session,
            address: Some(address.clone()),
            hello_received: false,
            hello_sent: false,
        };
        let ours = identity.node == self.cx.config.node;
        let twin = self.links.to_node(identity.node, None).map(|(id, _)| id);
        self.links.open(link, remote, Some(address.clone()), Role::Standby(peer), now);
        if ours && identity.session == self.cx.config.session {
            if purpose == Some(Purpose::Bootstrap) {
                self.on_genesis_ourselves(now, &address);
            }
            self.found_self(&address);
            self.links.close(&mut self.cx, link, close::NORMAL, "this is myself");
            self.on_missed(now, &address, purpose.as_ref(), "it is this node itself");
        } else if ours {
            self.warn_of_copy(now, link);
            self.on_missed(now, &address, purpose.as_ref(), "it has this node's own key");
        } else if let Some(older) = twin {
            self.verified(now, older, &address);
            self.begin_duel(now, older);
            self.on_missed(now, &address, purpose.as_ref(), "we are linked to it already");
        } else {
            self.use_dialled(now, link, purpose);
        }
    }

    pub(crate) fn found_self(&mut self, address: &PeerAddress) {
        if self.book.get(address).is_none_or(|peer| peer.state != AddressState::Myself) {
            self.cx.timers.cancel(&Timer::Dial(address.clone()));
            self.book.set_state(address, AddressState::Myself);
            self.cx.notify(Event::SelfDialled { address: address.clone() });
        }
    }

    pub(crate) fn warn_of_copy(&mut self, now: Instant, link: LinkId) {
        let name = self.links.name_of(link);
        if let Some(address) = self.links.get(link).and_then(|link| link.dialled.clone()) {
            self.put_back_long(now, &address);
        }
        self.links.close(
            &mut self.cx,
            link,
            close::POLICY,
            "two live nodes have this node's id: was its folder copied?",
        );
        let text = format!(
            "{name} is another node with an id that is in use: its folder was copied with its key; delete node.key in the copy and start it again"
        );
        self.links.warn(&mut self.cx, link, text);
    }

    pub(crate) fn on_link_closed(&mut self, now: Instant, link: LinkId, cause: String) {
        let Some(closed) = self.links.remove(link) else { return };
        self.forget_certified(link);
        let purpose = self.membership.seeking.open.remove(&link);
        let answered = !self.membership.asked.remove(&link);
        for timer in [Timer::Ping(link), Timer::Silence(link), Timer::Answer(link), Timer::Duel(link)] {
            self.cx.timers.cancel(&timer);
        }
        self.drop_waiting(link);
        self.replay.on_link_closed(link);
        self.pool_sync.forget_link(link);
        self.broadcast_sync.forget_link(link);
        self.forget_talk(link);
        self.images.forget_link(link);
        let orphans = self.plumtree.forget_link(link);
        self.regrow(now, &orphans, None);
        self.settle_plain(now, &closed);
        let heir = closed.full().and_then(|peer| self.links.to_node(peer.id, None)).map(|(id, _)| id);
        for address in self.book.leading_to(link) {
            match heir {
                Some(heir) => self.book.set_state(&address, AddressState::Connected(heir)),
                None if self.settle_place(now, &address, &closed, purpose.as_ref(), answered) => {}
                None => self.redial_later(now, &address, &closed),
            }
        }
        let orphan = closed.full().filter(|_| heir.is_none()).and_then(|peer| self.candidate_for(peer.id));
        match heir.or(orphan) {
            Some(link) if orphan.is_some() => self.promote(now, link),
            Some(link) => self.compare_pools(now, link),
            None => {}
        }
        if heir.is_none() {
            self.notify_down(now, &closed, cause.clone());
            if closed.is_peer() {
                self.presence_changed(now);
            }
        }
        self.after_link(now, &closed, purpose.as_ref(), answered, &cause);
    }

    pub(crate) fn notify_down(&mut self, now: Instant, closed: &Link, cause: String) {
        if closed.is_peer() {
            self.cx.notify(Event::PeerDown { peer: closed.name(), cause, peers: self.links.peers() });
        } else if let (Role::Native(_), Some(address), false) = (&closed.role, &closed.dialled, closed.closing) {
            // It let us in and closed before it said who it is: for a person that is a dial that failed.
            let retry_in =
                self.cx.timers.due(&Timer::Dial(address.clone())).map(|due| due.saturating_duration_since(now));
            self.cx.notify(Event::DialFailed { address: address.clone(), error: cause, retry_in });
        }
    }

    pub(crate) fn redial_later(&mut self, now: Instant, address: &PeerAddress, closed: &Link) {
        let lasted = now.saturating_duration_since(closed.opened) >= self.cx.config.limits.backoff_reset;
        if let Some(peer) = self.book.get_mut(address) {
            peer.last_up = Some(now);
            if lasted {
                peer.failures = 0;
            }
        }
        if !self.cx.shutting_down {
            self.put_back(now, address);
        } else {
            self.book.set_state(address, AddressState::Waiting);
        }
    }

    /// A plain peer's link ended: did it die of a TRANSACTION, and from where is it to be fed when it is back?
    pub(crate) fn settle_plain(&mut self, now: Instant, closed: &Link) {
        let (Role::Exercise { .. }, Some(address)) = (&closed.role, &closed.dialled) else {
            return;
        };
        let Some(peer) = self.book.get_mut(address) else {
            return;
        };
        peer.behind = match closed.flow {
            Delivery::Replaying { from, .. } => Some(from),
            Delivery::Live | Delivery::Syncing { .. } | Delivery::Lagging => None,
        };
        let Some(first) = closed.first_payload else { return };
        let recoiled = !closed.closing
            && now.saturating_duration_since(first) < RECOIL
            && first.saturating_duration_since(closed.opened) < RECOIL;
        peer.recoils = if recoiled { peer.recoils + 1 } else { 0 };
        if peer.recoils >= RECOILS {
            peer.recoils = 0;
            peer.handshakes_only_until = Some(now + HANDSHAKES_ONLY);
            let text = format!(
                "{address} drops its connection at every TRANSACTION; for ten minutes it gets handshakes only (its code may not check the type of a message)"
            );
            self.cx.notify(Event::Warning { text });
        }
    }

    pub(crate) fn notify_up(&mut self, link: LinkId) {
        let Some(opened) = self.links.get(link) else { return };
        let (peer, dialled) = (opened.name(), opened.dialled.is_some());
        self.cx.notify(Event::PeerUp { peer, dialled, peers: self.links.peers() });
    }
}

impl Link {
    /// Whether it counted as a link to a peer.
    fn is_peer(&self) -> bool {
        match &self.role {
            Role::Native(peer) => peer.hello_received && peer.hello_sent,
            Role::Exercise { .. } => self.dialled.is_some(),
            Role::Standby(_) | Role::AwaitingAdmission(_) | Role::Client => false,
        }
    }
}
