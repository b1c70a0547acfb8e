//! Reachability: whether others can dial this node, by what they say, and what we say to them.
//!
//! A node that verified the address of a peer, or could not, says so to that peer by DIALBACK (as
//! AutoNAT in libp2p). So a wrong ADDRESS, or a port that is not forwarded, shows at the node
//! itself. A peer may lie: its word counts for what people see, and for whether we announce an
//! address that nobody reached.
//!
//! Handshake reports the results of verifications; the node calls it with DIALBACK.

use std::collections::BTreeMap;

use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::Lane;
use crate::violation::Violation;
use crate::wire::{DialBack, DialBacks};

/// What was found on each link.
#[derive(Debug, Default)]
pub(crate) struct Reachability {
    /// What peers found of us: why they could not dial us, or `None` if they could.
    received: BTreeMap<LinkId, Option<String>>,
    /// What we found of them, and whether they were told.
    found: BTreeMap<LinkId, (DialBack, bool)>,
    /// Whether the user was warned, and told that it is over: once each, as peers may lie in turns.
    warned: bool,
    told_over: bool,
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
    pub(crate) fn on_dial_back(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        link: LinkId,
        dial_back: DialBack,
    ) -> Result<(), Violation> {
        if dial_back.address != cx.config.address {
            // It knows this node by another name.
            return Ok(());
        }
        let error = dial_back.error.clone();
        self.received.insert(link, dial_back.error);
        let reached = self.received.values().any(Option::is_none);
        // One that links by its id needs no address that others can dial.
        if let Some(error) = error.filter(|_| !reached && !self.warned && !cx.config.wan) {
            self.warned = true;
            let (peer, address) = (links.name_of(link), &cx.config.address);
            let text = format!(
                "others cannot dial this node at {address}: {peer} says: {error}; it is linked to nodes that it dials itself; set ADDRESS to where others reach it, and let the port through firewalls and routers"
            );
            cx.notify(Event::Warning { text });
        } else if reached && self.warned && !std::mem::replace(&mut self.told_over, true) {
            let (peer, address) = (links.name_of(link), &cx.config.address);
            cx.notify(Event::Warning { text: format!("others can dial this node at {address} now: {peer} did") });
        }
        Ok(())
    }

    /// Forgets what peers found: it was about another address.
    pub(crate) fn on_address_changed(&mut self) {
        (self.warned, self.told_over) = (false, false);
        self.received.clear();
    }

    /// Forgets a link that has ended.
    pub(super) fn on_link_closed(&mut self, link: LinkId) {
        self.received.remove(&link);
        self.found.remove(&link);
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
    use crate::testing::net::address;
    use crate::testing::parts;

    fn failed() -> DialBack {
        DialBack { address: address(0), error: Some("timed out".into()) }
    }

    fn reached() -> DialBack {
        DialBack { error: None, ..failed() }
    }

    #[test]
    fn what_peers_found_is_counted_and_the_user_is_warned_once() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let [one, two] = [1, 2].map(|n| parts::native(&cx, &mut links, n));
        assert_eq!(reachability.summary(), None);
        let warning = |event| match event {
            Event::Warning { text } => Some(text),
            _ => None,
        };
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        let text = parts::event(&mut cx, warning).expect("a warning");
        assert!(text.contains("ws://localhost:4001") && text.contains("timed out") && text.contains("set ADDRESS"));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        assert_eq!(parts::event(&mut cx, warning), None, "once");
        let summary =
            |reached, failed, error: Option<&str>| Some(DialBacks { reached, failed, error: error.map(Into::into) });
        assert_eq!(reachability.summary(), summary(0, 2, Some("timed out")));
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, reached()), Ok(()));
        assert_eq!(reachability.summary(), summary(1, 1, Some("timed out")));
        let text = parts::event(&mut cx, warning).expect("it is over");
        assert!(text.starts_with("others can dial this node at ws://localhost:4001 now"), "{text}");
        for found in [failed(), reached(), failed(), reached()] {
            assert_eq!(reachability.on_dial_back(&mut cx, &links, two, found), Ok(()));
        }
        assert_eq!(parts::event(&mut cx, warning), None, "once each");
        reachability.on_link_closed(one);
        assert_eq!(reachability.summary(), summary(1, 0, None));
        reachability.on_address_changed();
        assert_eq!(reachability.summary(), None, "that was another address");
        assert_eq!(reachability.on_dial_back(&mut cx, &links, two, failed()), Ok(()));
        assert!(parts::event(&mut cx, warning).is_some(), "so is this one");
    }

    #[test]
    fn a_node_that_links_by_its_id_is_not_warned() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        cx.config.wan = true;
        let one = parts::native(&cx, &mut links, 1);
        assert_eq!(reachability.on_dial_back(&mut cx, &links, one, failed()), Ok(()));
        assert!(parts::event(&mut cx, Some).is_none());
        assert!(reachability.summary().is_some(), "it is counted");
    }

    #[test]
    fn peers_speak_of_our_address_alone() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let native = parts::native(&cx, &mut links, 1);
        let other = DialBack { address: address(9), ..reached() };
        assert_eq!(reachability.on_dial_back(&mut cx, &links, native, other), Ok(()));
        assert_eq!(reachability.summary(), None);
    }

    #[test]
    fn a_peer_is_told_once_what_was_found_and_not_before_our_handshake() {
        let (mut cx, mut links, mut reachability) = (parts::context(), LinkTable::default(), Reachability::default());
        let link = parts::native(&cx, &mut links, 1);
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
