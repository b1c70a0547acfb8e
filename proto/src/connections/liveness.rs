//! Liveness: pings find dead links; silent clients and peers that did not introduce themselves are
//! closed.
//!
//! The node calls it with the timers of a link. The intervals are in
//! [`Limits`](crate::limits::Limits).

use std::time::Duration;

use crate::connections::Connections;
use crate::connections::table::{Link, LinkState, PendingPeer};
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Output;
use crate::limits::Limits;
use crate::timers::Timer;
use crate::wire::close;

/// A link over iroh is pinged after this time of silence …
///
/// Relays lose links without a word: when the relay of both ends is gone, the transport itself took
/// 44 s and more to notice, or never did (iroh issues 4319, 4435 and 4476). With these two times
/// the node dials again within 20 s. NATs that get a new public address are followed by the
/// transport itself, with a gap of 6.3 s at most; so a link must outlast that.
const PING_OVER_IROH: Duration = Duration::from_secs(5);
/// … and counts as dead after this one: two pings were lost, and one gap is over.
const DEAD_OVER_IROH: Duration = Duration::from_secs(12);

/// Returns after which silence a link is pinged, and after which it counts as dead.
pub(super) fn patience(limits: &Limits, over_iroh: bool) -> (Duration, Duration) {
    let (ping, dead) = (limits.ping_interval, limits.dead_after);
    if over_iroh { (ping.min(PING_OVER_IROH), dead.min(DEAD_OVER_IROH)) } else { (ping, dead) }
}

impl Connections {
    /// Handles a link's ping timer: closes a link that is silent for too long, pings one that is
    /// silent.
    pub(crate) fn on_ping_due(&mut self, cx: &mut Context, link: LinkId) {
        let Some(open) = self.links.get(link).filter(|link| !link.closing) else {
            return;
        };
        let silent = cx.now.saturating_duration_since(open.heard);
        let (over_iroh, heard) = (open.authenticated.is_some(), open.heard);
        let (interval, dead_after) = patience(&cx.config.limits, over_iroh);
        if silent >= dead_after {
            cx.counters.links_dead += 1;
            let reason = format!("nothing came on this link for {} s, not even answers to pings", silent.as_secs());
            self.links.close(cx, link, close::GOING_AWAY, &reason);
            if let Some(open) = self.links.get_mut(link) {
                open.dead = true;
            }
            return;
        }
        if silent >= interval {
            cx.output(Output::Ping { link });
        }
        let next = match over_iroh {
            false => cx.now + interval,
            true if silent < interval => heard + interval,
            true => (cx.now + interval).min(heard + dead_after),
        };
        cx.timers.set(Timer::Ping(link), next);
        // Two links to one node are resolved when the second opens. If that failed, they are
        // resolved now.
        let peer = self.links.get(link).and_then(Link::key);
        if let Some((other, _)) = peer.and_then(|peer| self.links.to_peer(peer, Some(link))) {
            self.resolve_duplicates(cx, other.min(link));
        }
    }

    /// Handles the silence timer of a link on which no HANDSHAKE came, or no answer to what it was
    /// dialled for: a client that forgot to close, a program of another kind, or a peer that keeps
    /// a link open.
    pub(crate) fn on_silence_due(&mut self, cx: &mut Context, link: LinkId) {
        if self.end_refused(cx, link) {
            return;
        }
        let Some(open) = self.links.get(link) else { return };
        match &open.state {
            // No client comes over iroh.
            LinkState::Client if open.authenticated.is_some() => {
                return self.links.close(cx, link, close::POLICY, "you did not send your HANDSHAKE");
            }
            // It has had its time since our HANDSHAKE, whatever else it sent.
            LinkState::AwaitingAdmission(PendingPeer { node: None, .. }) => {
                return self.links.close(cx, link, close::NORMAL, "you did not send the addresses that were asked for");
            }
            LinkState::Client | LinkState::AwaitingAdmission(_) => {}
            // It answered our dial with an upgrade identity, and then sent no HANDSHAKE.
            LinkState::HelloSent(_) => {
                return self.links.close(cx, link, close::POLICY, "you did not send your HANDSHAKE");
            }
            _ => return,
        }
        let patience = cx.config.limits.client_silence;
        let until = if open.awaits_ack() { cx.now + patience } else { open.heard + patience };
        if until > cx.now {
            cx.timers.set(Timer::Silence(link), until);
        } else {
            let reason = format!("no message that this node answers came for {} s", patience.as_secs());
            self.links.close(cx, link, close::NORMAL, &reason);
        }
    }
}

#[cfg(test)]
mod tests;
