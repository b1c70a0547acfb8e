//! Liveness: pings find dead links; silent clients and peers that did not introduce themselves are
//! closed.
//!
//! The node calls it with the timers of a link. The intervals are in
//! [`Limits`](crate::limits::Limits).

use crate::connections::Connections;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Output;
use crate::timers::Timer;
use crate::wire::close;

impl Connections {
    /// Handles a link's ping timer: closes a link that is silent for too long, pings one that is
    /// silent.
    pub(crate) fn on_ping_due(&mut self, cx: &mut Context, link: LinkId) {
        let Some(open) = self.links.get(link).filter(|link| !link.closing) else {
            return;
        };
        let silent = cx.now.saturating_duration_since(open.heard);
        let interval = cx.config.limits.ping_interval;
        if silent >= cx.config.limits.dead_after {
            cx.counters.links_dead += 1;
            let reason = format!("nothing came on this link for {} s, not even answers to pings", silent.as_secs());
            self.links.close(cx, link, close::GOING_AWAY, &reason);
            return;
        }
        if silent >= interval {
            cx.output(Output::Ping { link });
        }
        cx.timers.set(Timer::Ping(link), cx.now + interval);
        // Two links to one node are resolved when the second opens. If that failed, they are
        // resolved now.
        let peer = self.links.get(link).and_then(Link::key);
        if let Some((other, _)) = peer.and_then(|peer| self.links.to_peer(peer, Some(link))) {
            self.resolve_duplicates(cx, other.min(link));
        }
    }

    /// Handles the silence timer of a link on which no HANDSHAKE came: a client that forgot to
    /// close, or a program of another kind.
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
            LinkState::Client | LinkState::AwaitingAdmission(_) => {}
            // It answered our dial with an upgrade identity, and then sent no HANDSHAKE.
            LinkState::HelloSent(_) => {
                return self.links.close(cx, link, close::POLICY, "you did not send your HANDSHAKE");
            }
            _ => return,
        }
        let patience = cx.config.limits.client_silence;
        let until = if open.acks_due > 0 { cx.now + patience } else { open.heard + patience };
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
