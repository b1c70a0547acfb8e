//! Searching images: FIND, flooded over full peers, and FOUND, which goes back the way that the question came.
//!
//! What is in a node's folder the core does not know: it has the shell look (`Output::FindLocalImages`), and it never sees a byte of an image, which go over a
//! connection of their own (`transfer`, in the shell). What it keeps: its own searches, and of every question that came lately by which link it came.
//! That table is what makes a question travel once, an answer find its way, and an answer that nobody asked for be known as such.
//!
//! Bounded are own searches, questions remembered, questions of one link, files looked for at once, answers to one question, and the bytes of answers on
//! one link: those go in the lane of control frames, whose overflow would close it. A plain peer hears nothing of all this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::address::PeerAddress;
use crate::connections::table::LinkState;
use crate::id::{LinkId, NodeId};
use crate::io::SearchEnd;
use crate::limits;
use crate::timers::Timer;
use crate::wire::{Find, Found, ImageInfo, ImageName, SearchId};
use crate::{Lane, Node, Output};

/// Over how many links a question goes at most. In a random overlay of a million nodes with eight links each, eight reach all; in a line nobody is found
/// that is farther away.
const HOPS: u32 = 32;
/// Questions on one link, each way: so many at once, …
const FINDS_AT_ONCE: u32 = 64;
/// … and then one in so long. The shell asks more slowly than that.
const FIND_EVERY: Duration = Duration::from_millis(40);
/// Answers on one link: what so many bytes need at this pace may go at once. Questions and answers of ten seconds, for which a link may move nothing,
/// fit into the room for control frames.
const FOUND_BURST: Duration = Duration::from_secs(8);
/// How long a byte of an answer counts: 8 KiB per second.
const FOUND_BYTE: Duration = Duration::from_nanos(1_000_000_000 / (8 * 1024));

/// What is known of searches.
#[derive(Debug, Default)]
pub(crate) struct ImageSearch {
    own: BTreeMap<SearchId, Own>,
    routes: BTreeMap<SearchId, Route>,
    /// The same, the oldest first.
    by_age: VecDeque<(Instant, SearchId)>,
    /// What the shell looks for in the folder just now.
    looking: BTreeSet<SearchId>,
    talks: BTreeMap<LinkId, Talk>,
}

/// A search of ours.
#[derive(Debug)]
struct Own {
    name: Option<ImageName>,
    /// Who answered, …
    finders: BTreeSet<NodeId>,
    /// … and where they say they are: nobody can have us dial one address again and again.
    addresses: BTreeSet<PeerAddress>,
}

/// Where a question came from.
#[derive(Debug)]
struct Route {
    /// `None`: from ourselves.
    link: Option<LinkId>,
    /// How many answers it still may have.
    answers: usize,
}

/// What one link has used up of its bounds (virtual clocks, as in GCRA).
#[derive(Debug, Default)]
struct Talk {
    heard_until: Option<Instant>,
    asked_until: Option<Instant>,
    founds_until: Option<Instant>,
}

impl ImageSearch {
    /// Notes where a question came from; `false` if it is known. The oldest gives way.
    fn note(&mut self, now: Instant, id: SearchId, route: Route) -> bool {
        while let Some((since, oldest)) = self.by_age.front().copied()
            && (self.by_age.len() >= limits::SEARCHES_SEEN
                || now.saturating_duration_since(since) >= limits::SEARCH_TTL)
        {
            self.by_age.pop_front();
            self.routes.remove(&oldest);
        }
        if self.routes.contains_key(&id) {
            return false;
        }
        self.routes.insert(id, route);
        self.by_age.push_back((now, id));
        true
    }

    pub(crate) fn forget_link(&mut self, link: LinkId) {
        self.talks.remove(&link);
    }
}

fn answers_to(name: Option<&ImageName>) -> usize {
    if name.is_some() { limits::FINDERS } else { limits::LISTERS }
}

/// Uses up some of a bound; `false` if it is used up.
fn spend(used_until: &mut Option<Instant>, now: Instant, cost: Duration, most: Duration) -> bool {
    let used = used_until.unwrap_or(now).max(now) + cost;
    let allowed = used <= now + most;
    if allowed {
        *used_until = Some(used);
    }
    allowed
}

impl Node {
    /// The application wants an image, or to know which there are.
    pub(crate) fn on_search(&mut self, now: Instant, id: SearchId, name: Option<ImageName>) {
        let links = self.links_to_full_peers(None);
        let own = &mut self.images.own;
        if own.len() >= limits::SEARCHES || own.contains_key(&id) {
            self.cx.counters.image_searches_refused += 1;
            return self.cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Refused });
        }
        self.cx.counters.image_searches += 1;
        if links.is_empty() {
            return self.cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Alone });
        }
        own.insert(id, Own { name: name.clone(), finders: BTreeSet::new(), addresses: BTreeSet::new() });
        self.images.note(now, id, Route { link: None, answers: answers_to(name.as_ref()) });
        self.cx.timers.set(Timer::Search(id), now + self.cx.config.limits.search_deadline);
        let hops = if self.is_linked_to_all() { 1 } else { HOPS };
        self.ask_for_image(now, links, &Find { id, name, hops });
    }

    /// Asks over these links, those of them that have had enough left out.
    fn ask_for_image(&mut self, now: Instant, mut links: Vec<LinkId>, find: &Find) {
        let talks = &mut self.images.talks;
        links.retain(|link| {
            let talk = talks.entry(*link).or_default();
            spend(&mut talk.asked_until, now, FIND_EVERY, FIND_EVERY * FINDS_AT_ONCE)
        });
        if !links.is_empty() {
            self.cx.send(links, find.to_frame(), Lane::Control);
        }
    }

    /// The application has what it wanted: what more is found is of no use.
    pub(crate) fn on_search_done(&mut self, id: SearchId) {
        self.images.own.remove(&id);
        self.cx.timers.cancel(&Timer::Search(id));
    }

    pub(crate) fn on_search_due(&mut self, id: SearchId) {
        if self.images.own.remove(&id).is_some() {
            self.cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Deadline });
        }
    }

    /// Somebody searches: the shell looks into our folder, and the question goes on.
    pub(crate) fn on_find(&mut self, now: Instant, link: LinkId, find: Find) {
        if !self.may_talk_of_images(link, "FIND") {
            return;
        }
        let talk = self.images.talks.entry(link).or_default();
        if !spend(&mut talk.heard_until, now, FIND_EVERY, FIND_EVERY * FINDS_AT_ONCE) {
            self.cx.counters.finds_dropped += 1;
            return;
        }
        let route = Route { link: Some(link), answers: answers_to(find.name.as_ref()) };
        if !self.images.note(now, find.id, route) {
            self.cx.counters.finds_duplicate += 1;
            return;
        }
        if self.images.looking.len() < limits::LOOKUPS {
            self.images.looking.insert(find.id);
            self.cx.output(Output::FindLocalImages { search: find.id, name: find.name.clone() });
        } else {
            self.cx.counters.finds_dropped += 1;
        }
        let hops = find.hops.min(HOPS);
        if hops > 1 {
            let links = self.links_to_full_peers(Some(link));
            self.ask_for_image(now, links, &Find { hops: hops - 1, ..find });
        }
    }

    /// The shell has looked into our folder.
    pub(crate) fn on_looked_up(&mut self, now: Instant, search: SearchId, images: Vec<ImageInfo>) {
        if !self.images.looking.remove(&search) || images.is_empty() {
            return;
        }
        let (node, address) = (self.cx.config.node, self.cx.config.address.clone());
        if self.answer_search(now, &Found { id: search, node, address, images }, None) {
            self.cx.counters.finds_answered += 1;
        }
    }

    /// Somebody has it: for us, or for whoever asked us.
    pub(crate) fn on_image_found(&mut self, now: Instant, link: LinkId, found: Found) {
        if !self.may_talk_of_images(link, "FOUND") {
            return;
        }
        let Some(route) = self.images.routes.get(&found.id) else {
            self.cx.counters.founds_unsolicited += 1;
            return self.connections.links.log_fault(&mut self.cx, link, "FOUND: nobody asked for it; dropped".into());
        };
        let Some(scope) = self
            .connections
            .links
            .get(link)
            .map(|link| link.scope)
            .filter(|scope| scope.may_tell(found.address.scope()))
        else {
            self.cx.counters.addresses_out_of_scope += 1;
            return;
        };
        if route.link.is_some() {
            self.answer_search(now, &found, Some(link));
            return;
        }
        let own = self.images.own.get_mut(&found.id).filter(|own| own.finders.len() < answers_to(own.name.as_ref()));
        let asked = own.as_ref().is_some_and(|own| match &own.name {
            Some(name) => matches!(&found.images[..], [image] if image.name == *name && image.sha256.is_some()),
            None => true,
        });
        let new = own.filter(|_| asked && found.node != self.cx.config.node).is_some_and(|own| {
            !own.finders.contains(&found.node)
                && own.addresses.insert(found.address.clone())
                && own.finders.insert(found.node)
        });
        if new {
            let reach = scope.min(found.address.scope());
            self.cx.output(Output::ImageOffer { reach, found });
        } else {
            // It comes late, a second time, or about something else.
            self.cx.counters.founds_dropped += 1;
        }
    }

    /// Sends an answer on the way to who asked, within the bounds; whether it went out.
    fn answer_search(&mut self, now: Instant, found: &Found, from: Option<LinkId>) -> bool {
        let route = self.images.routes.get_mut(&found.id).filter(|route| route.answers > 0);
        let target = route.as_ref().and_then(|route| route.link).filter(|to| Some(*to) != from);
        let link = target.and_then(|to| self.connections.links.get(to)).filter(|open| {
            // Whom our own address leads to itself, or nowhere, is told nothing.
            open.takes_transactions() && open.native().is_some() && open.scope.may_tell(found.address.scope())
        });
        let (Some(route), Some(to), Some(_)) = (route, target, link) else {
            self.cx.counters.founds_dropped += 1;
            return false;
        };
        let frame = found.to_frame();
        let talk = self.images.talks.entry(to).or_default();
        let cost = FOUND_BYTE * u32::try_from(frame.as_str().len()).unwrap_or(u32::MAX);
        if !spend(&mut talk.founds_until, now, cost, FOUND_BURST) {
            self.cx.counters.founds_dropped += 1;
            return false;
        }
        route.answers -= 1;
        self.cx.send(vec![to], frame, Lane::Control);
        true
    }

    /// Images are a matter of full peers that have a place here.
    fn may_talk_of_images(&mut self, link: LinkId, kind: &str) -> bool {
        match self.connections.links.get(link).map(|link| &link.state) {
            Some(LinkState::HelloSent(_) | LinkState::Verifying(_) | LinkState::Established(_)) => true,
            // Not yet, or not any more: no fault of theirs.
            None | Some(LinkState::AwaitingAdmission(_) | LinkState::Standby(_)) => false,
            Some(_) => {
                self.fault(link, &format!("{kind}: only full peers send it"));
                false
            }
        }
    }

    /// A link to each full peer, except the node behind one of them.
    fn links_to_full_peers(&self, except: Option<LinkId>) -> Vec<LinkId> {
        let mut nodes = BTreeSet::new();
        nodes.extend(
            except.and_then(|link| self.connections.links.get(link)).and_then(|link| link.native()).map(|peer| peer.id),
        );
        let ready = self.connections.links.iter().filter(|(_, link)| link.takes_transactions());
        // Of two links to one node the older comes first.
        ready.filter_map(|(id, link)| link.native().filter(|peer| nodes.insert(peer.id)).map(|_| id)).collect()
    }

    /// Whether there is nobody in the network, as far as we and our neighbours know, to whom we are not linked. Then nobody needs to pass a question on, which
    /// in a full mesh would cost the square of what it has to.
    fn is_linked_to_all(&self) -> bool {
        let linked = self.linked_nodes();
        self.presence.count() <= linked.len() + 1
            && linked
                .iter()
                .all(|node| self.presence.known_to(*node).is_some_and(|known| known as usize <= linked.len() + 1))
    }
}

#[cfg(test)]
mod tests;
