//! Reachability: whether others can dial this node, by what they say, and what we say to them.
//!
//! A node that verified the address of a peer, or could not, says so to that peer by DIALBACK (as
//! AutoNAT in libp2p). So a wrong ADDRESS, or a port that is not forwarded, shows at the node
//! itself. A peer may lie, so only peers that we dialled count: strangers cannot choose to be one.
//! The word of two networks counts for whether exercise peers are told of the address. A node that
//! is reached by its id needs no such address.
//!
//! Handshake reports the results of verifications; the node calls it with DIALBACK.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::Lane;
use crate::ip_prefix::IpPrefix;
use crate::timers::Timer;
use crate::violation::Violation;
use crate::wire::{DialBack, DialBacks};

/// How long nobody reaches this node before the user is warned. Links over iroh start, and find a
/// relay that answers, within this time: the runtime looks for another one after 30 s.
const WARN_AFTER: Duration = Duration::from_secs(30);

/// What was found on each link.
#[derive(Debug, Default)]
pub(crate) struct Reachability {
    /// What peers found of us: why they could not dial us, or `None` if they could.
    received: BTreeMap<LinkId, Option<String>>,
    /// What we found of them, and whether they were told.
    found: BTreeMap<LinkId, (DialBack, bool)>,
    /// The links to exercise peers that were not told of our address, as nobody reached it.
    untold: BTreeSet<LinkId>,
    warning: Warning,
}

/// Whether the user was warned, and that it is over: once each, as peers may lie in turns.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Warning {
    #[default]
    None,
    Given,
    Over,
}

impl Reachability {
    /// Notes what a verification found, and tells the peer once the link is established.
    pub(super) fn on_found(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, found: DialBack) {
        if self.found.get(&link).is_none_or(|(last, _)| *last != found) {
            self.found.insert(link, (found, false));
            self.tell(cx, links, link);
        }
    }

    /// Tells a peer what was found, unless it was told.
    pub(super) fn tell(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        let open = links.get(link).filter(|open| !open.closing);
        if !matches!(open.map(|open| &open.state), Some(LinkState::Established(_))) {
            return;
        }
        if let Some((found, told)) = self.found.get_mut(&link).filter(|(_, told)| !told) {
            *told = true;
            cx.send(vec![link], found.to_frame(), Lane::Control);
        }
    }

    /// Handles DIALBACK.
    pub(super) fn on_dial_back(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        link: LinkId,
        dial_back: DialBack,
    ) -> Result<(), Violation> {
        // The acceptor of a link verifies the address of the dialler. One that dialled us verified
        // nothing, and any number of strangers can.
        let verified = links.get(link).is_some_and(|open| open.dialled.is_some());
        // It may know this node by another name.
        if !verified || dial_back.address != cx.config.address {
            return Ok(());
        }
        self.received.insert(link, dial_back.error);
        self.judge(cx, || links.name_of(link).to_string());
        Ok(())
    }

    /// Handles that others reach this node by its id from now on, or not any more.
    pub(crate) fn on_wan_changed(&mut self, cx: &mut Context) {
        self.judge(cx, String::new);
    }

    /// Sets or cancels the timer of the warning, or notifies the user that it is over. `peer`: the
    /// one that may have reached this node.
    fn judge(&mut self, cx: &mut Context, peer: impl FnOnce() -> String) {
        let reached = self.received.values().any(Option::is_none);
        if !reached && cx.wan_address.is_none() {
            let waits = self.warning != Warning::None || cx.timers.due(&Timer::Unreachable).is_some();
            if !waits && !self.received.is_empty() {
                cx.timers.set(Timer::Unreachable, cx.now + WARN_AFTER);
            }
            return;
        }
        cx.timers.cancel(&Timer::Unreachable);
        if self.warning == Warning::Given {
            self.warning = Warning::Over;
            let text = match reached {
                true => format!("others can dial this node at {} now: {} did", cx.config.address, peer()),
                false => "others reach this node by its id now, so it needs no address that they can dial".to_owned(),
            };
            cx.notify(Event::Warning { text });
        }
    }

    /// Warns that nobody reached this node, if peers still say so.
    pub(crate) fn on_due(&mut self, cx: &mut Context, links: &LinkTable) {
        let failed = self.received.iter().find_map(|(link, error)| Some((*link, error.as_ref()?)));
        let Some((link, error)) = failed else { return };
        self.warning = Warning::Given;
        let (peer, address) = (links.name_of(link), &cx.config.address);
        let text = format!(
            "others cannot dial this node at {address}: {peer} says: {error}; it is linked to nodes that it dials itself; set ADDRESS to where others reach it, and let the port through firewalls and routers"
        );
        cx.notify(Event::Warning { text });
    }

    /// Forgets what peers found: it was about another address.
    pub(crate) fn on_address_changed(&mut self, cx: &mut Context) {
        self.warning = Warning::None;
        cx.timers.cancel(&Timer::Unreachable);
        self.received.clear();
    }

    /// Forgets a link that has ended.
    pub(super) fn on_link_closed(&mut self, link: LinkId) {
        self.received.remove(&link);
        self.found.remove(&link);
        self.untold.remove(&link);
    }

    /// Returns whether nobody reaches our address, as far as is known: peers of two networks at
    /// least say so, and none says the opposite. One liar alone cannot make it so.
    pub(super) fn is_unreachable(&self, links: &LinkTable) -> bool {
        let network = |link: &LinkId| links.get(*link).and_then(|open| open.address_group).map(IpPrefix::network);
        let networks: BTreeSet<IpPrefix> = self.received.keys().filter_map(network).collect();
        networks.len() >= 2 && self.received.values().all(Option::is_some)
    }

    /// Notes whether the exercise peer at the other end of a link was told of our address.
    pub(super) fn note_told(&mut self, link: LinkId, told: bool) {
        if told {
            self.untold.remove(&link);
        } else {
            self.untold.insert(link);
        }
    }

    /// Takes the links to exercise peers that are to be told of our address: others reach it now.
    pub(super) fn take_untold(&mut self, links: &LinkTable) -> BTreeSet<LinkId> {
        if self.is_unreachable(links) { BTreeSet::new() } else { std::mem::take(&mut self.untold) }
    }

    /// Returns what peers found; `None` if none has said anything.
    pub(crate) fn summary(&self) -> Option<DialBacks> {
        let failed = self.received.values().flatten().count();
        let error = self.received.values().flatten().next_back().cloned();
        (!self.received.is_empty()).then(|| DialBacks { reached: self.received.len() - failed, failed, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PeerAddress;
    use crate::testing::net::address;
    use crate::testing::parts;

    fn failed() -> DialBack {
        DialBack { address: address(0), error: Some("timed out".into()) }
    }

    fn reached() -> DialBack {
        DialBack { error: None, ..failed() }
    }

    /// Opens link `n` to native peer `n`, established.
    fn dialled(cx: &Context, links: &mut LinkTable, n: u8) -> LinkId {
        let link = parts::native(cx, links, n);
        links.get_mut(link).expect("open").dialled = Some(address(n.into()));
        link
    }

    fn warning(cx: &mut Context) -> Option<String> {
        parts::event(cx, |event| match event {
            Event::Warning { text } => Some(text),
            _ => None,
        })
    }

    /// Lets so many seconds pass, and the timer fire.
    fn pass(cx: &mut Context, links: &LinkTable, reachability: &mut Reachability, seconds: u64) -> Option<String> {
        cx.now += Duration::from_secs(seconds);
        if let Some(timer) = cx.timers.pop_due(cx.now) {
            assert_eq!(timer, Timer::Unreachable);
            reachability.on_due(cx, links);
        }
        warning(cx)
    }

    /// Whether others reach this node by its id.
    fn by_id(cx: &mut Context, reachability: &mut Reachability, reached: bool) {
        cx.config.wan = true;
        cx.wan_address = reached.then(|| PeerAddress::of_node(cx.config.node, []));
        reachability.on_wan_changed(cx);
    }

    #[test]
    fn what_peers_found_is_counted_and_the_user_is_warned_once() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let [one, two] = [1, 2].map(|n| dialled(&cx, &mut links, n));
        assert_eq!(reachability.summary(), None);
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        assert_eq!(pass(&mut cx, &links, &mut reachability, 29), None);
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        let text = pass(&mut cx, &links, &mut reachability, 1).expect("a warning, 30 s after the first");
        assert!(text.contains("ws://localhost:4001") && text.contains("timed out") && text.contains("set ADDRESS"));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "once");
        let summary =
            |reached, failed, error: Option<&str>| Some(DialBacks { reached, failed, error: error.map(Into::into) });
        assert_eq!(reachability.summary(), summary(0, 2, Some("timed out")));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, reached()), Ok(()));
        assert_eq!(reachability.summary(), summary(1, 1, Some("timed out")));
        let text = warning(&mut cx).expect("it is over");
        assert!(text.starts_with("others can dial this node at ws://localhost:4001 now: "), "{text}");
        for found in [failed(), reached(), failed(), reached()] {
            assert_eq!(reachability.on_dial_back(&mut cx, &links, two, found), Ok(()));
            assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "once each");
        }
        reachability.on_link_closed(one);
        assert_eq!(reachability.summary(), summary(1, 0, None));
        reachability.on_address_changed(&mut cx);
        assert_eq!(reachability.summary(), None, "that was another address");
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        assert!(pass(&mut cx, &links, &mut reachability, 30).is_some(), "so is this one");
    }

    #[test]
    fn nobody_is_warned_of_what_is_over_in_time() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let [one, two] = [1, 2].map(|n| dialled(&cx, &mut links, n));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, reached()), Ok(()));
        assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "one of them reached it");
        reachability.on_link_closed(two);
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        reachability.on_link_closed(one);
        assert_eq!(pass(&mut cx, &links, &mut reachability, 30), None, "nobody says so any more");
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        reachability.on_address_changed(&mut cx);
        assert_eq!(pass(&mut cx, &links, &mut reachability, 30), None, "that was another address");
    }

    /// Links over iroh may start after a peer has answered, and a relay takes a while to be found.
    #[test]
    fn a_node_that_is_reached_by_its_id_is_warned_only_while_it_is_not() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let one = dialled(&cx, &mut links, 1);
        by_id(&mut cx, &mut reachability, false);
        assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "nobody has said anything");
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        assert_eq!(pass(&mut cx, &links, &mut reachability, 29), None);
        by_id(&mut cx, &mut reachability, true);
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "it needs no address");
        assert!(reachability.summary().is_some(), "it is counted");
        by_id(&mut cx, &mut reachability, false);
        assert!(pass(&mut cx, &links, &mut reachability, 30).is_some(), "no relay is left");
        by_id(&mut cx, &mut reachability, true);
        let text = warning(&mut cx).expect("it is over");
        assert!(text.starts_with("others reach this node by its id now"), "{text}");
    }

    #[test]
    fn peers_speak_of_our_address_alone() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let native = dialled(&cx, &mut links, 1);
        let other = DialBack { address: address(9), ..reached() };
        assert_eq!(reachability.on_dial_back(&mut cx, &links, native, other), Ok(()));
        assert_eq!(reachability.summary(), None);
        let stranger = parts::native(&cx, &mut links, 2);
        for found in [failed(), reached()] {
            assert_eq!(reachability.on_dial_back(&mut cx, &links, stranger, found), Ok(()));
            assert_eq!(pass(&mut cx, &links, &mut reachability, 60), None, "it dialled us, and verified nothing");
            assert_eq!(reachability.summary(), None);
        }
    }

    #[test]
    fn a_peer_is_told_once_what_was_found_and_not_before_our_handshake() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let link = dialled(&cx, &mut links, 1);
        let open = links.get_mut(link).expect("linked");
        let LinkState::Established(peer) = &open.state else { panic!("it is established") };
        open.state = LinkState::Verifying(peer.clone());
        reachability.on_found(&mut cx, &links, link, failed());
        assert_eq!(parts::frames(&mut cx, "DIALBACK"), []);
        let open = links.get_mut(link).expect("linked");
        let LinkState::Verifying(peer) = &open.state else { panic!("it is being verified") };
        open.state = LinkState::Established(peer.clone());
        let text =
            r#"{"type":"DIALBACK","data":{"address":"ws://localhost:4001","reached":false,"error":"timed out"}}"#;
        reachability.tell(&mut cx, &links, link);
        assert_eq!(parts::frames(&mut cx, "DIALBACK"), [(vec![1], text.to_owned())]);
        for found in [failed(), reached(), reached()] {
            reachability.on_found(&mut cx, &links, link, found);
        }
        let text = r#"{"type":"DIALBACK","data":{"address":"ws://localhost:4001","reached":true}}"#;
        assert_eq!(parts::frames(&mut cx, "DIALBACK"), [(vec![1], text.to_owned())]);
    }
}
