//! Search for images: FIND is flooded over native peers, FOUND goes back the way that the FIND
//! came.
//!
//! The core does not know which images are in the node's folder: it asks the runtime
//! ([`Output::FindLocalImages`]). It never sees an image either: images are sent on connections of
//! their own. It keeps its own searches, and for each recent FIND the link on which it came. With
//! that a FIND is forwarded once, a FOUND finds its way back, and one that nobody asked for is
//! noticed.
//!
//! Bounded are: own searches, remembered FINDs, FINDs on one link, look-ups in the folder at once,
//! FOUNDs for one search, and bytes of FOUNDs on one link. Both go on the control lane, whose
//! overflow closes the link. Exercise peers and clients take no part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::connections::table::{Link, LinkTable, Party};
use crate::context::Context;
use crate::id::{LinkId, NodeId};
use crate::io::{Lane, Output, SearchEnd};
use crate::ip_prefix::SourceGroup;
use crate::limits;
use crate::timers::Timer;
use crate::util::rate_limit::{RateLimit, RateLimits};
use crate::util::shares::Shares;
use crate::wire::{Find, Found, ImageInfo, ImageName, SearchId};

/// The most links that a FIND travels. In a random overlay of a million nodes with eight links
/// each, eight reach all; in a line nodes farther away are not found.
const HOPS: u32 = 32;
/// FOUNDs on one link: what takes this long at the rate below may go at once. FINDs and FOUNDs of
/// ten seconds, for which a link may move nothing, fit into the control lane.
const FOUND_BURST: Duration = Duration::from_secs(8);
/// The cost of one byte of a FOUND: 8 KiB per second.
const FOUND_BYTE: Duration = Duration::from_nanos(1_000_000_000 / (8 * 1024));

/// Our own searches, and the ways back of those of others.
#[derive(Debug)]
pub(crate) struct ImageSearch {
    own: BTreeMap<SearchId, OwnSearch>,
    routes: BTreeMap<SearchId, Route>,
    /// The keys of `routes`, the oldest first, with who brought them.
    by_age: BTreeMap<(Instant, SearchId), Party>,
    /// The same by who brought them.
    shares: Shares<Party, (Instant, SearchId)>,
    /// What the runtime looks up in the folder now.
    lookups: BTreeSet<SearchId>,
    /// FINDs that each link may be sent.
    finds_sent: RateLimits<LinkId>,
    /// Bytes of FOUNDs that each link may be sent.
    founds_sent: BTreeMap<LinkId, RateLimit>,
}

/// A search of this node.
#[derive(Debug)]
struct OwnSearch {
    name: Option<ImageName>,
    answers: Answers,
    /// The nodes that answered, with the addresses that they gave, and who brought that. Each
    /// neighbour names a node and an address once; what it says of one does not keep another from
    /// answering with the same id or address.
    finders: Vec<(LinkId, NodeId, PeerAddress)>,
}

/// Where a FIND came from.
#[derive(Debug)]
struct Route {
    /// `None`: from this node.
    link: Option<LinkId>,
    /// The FOUNDs that went back.
    answers: Answers,
}

/// How many answers a search had. Each link may bring so many, all together twice as many: no
/// neighbour alone keeps those of others out.
#[derive(Debug)]
struct Answers {
    most_of_link: usize,
    total: usize,
    /// `None`: this node.
    by_link: BTreeMap<Option<LinkId>, usize>,
}

impl Answers {
    /// Of a search for this image, or for all.
    fn to(name: Option<&ImageName>) -> Self {
        let most_of_link = if name.is_some() { limits::FINDERS } else { limits::LISTERS };
        Self { most_of_link, total: 0, by_link: BTreeMap::new() }
    }

    fn have_room(&self, by: Option<LinkId>) -> bool {
        let of_link = self.by_link.get(&by).copied().unwrap_or_default();
        self.total < 2 * self.most_of_link && of_link < self.most_of_link
    }

    fn count(&mut self, by: Option<LinkId>) {
        self.total += 1;
        *self.by_link.entry(by).or_default() += 1;
    }
}

impl Default for ImageSearch {
    fn default() -> Self {
        Self {
            own: BTreeMap::new(),
            routes: BTreeMap::new(),
            by_age: BTreeMap::new(),
            shares: Shares::default(),
            lookups: BTreeSet::new(),
            finds_sent: RateLimits::new(limits::FIND_EVERY, limits::FINDS_AT_ONCE),
            founds_sent: BTreeMap::new(),
        }
    }
}

impl ImageSearch {
    /// Begins a search of the application: for an image, or for a list of all images.
    ///
    /// `linked_to_all`: there is a link to every node in the network. Then nobody forwards the
    /// FIND, which in a full mesh of n nodes would cost n² frames instead of n.
    pub(crate) fn on_search(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        linked_to_all: bool,
        id: SearchId,
        name: Option<ImageName>,
    ) {
        if self.own.len() >= limits::SEARCHES || self.own.contains_key(&id) {
            cx.counters.image_searches_refused += 1;
            return cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Refused });
        }
        cx.counters.image_searches += 1;
        let targets = links_to_native(links, None);
        if targets.is_empty() {
            return cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Alone });
        }
        let (answers, finders) = (Answers::to(name.as_ref()), Vec::new());
        self.own.insert(id, OwnSearch { name: name.clone(), answers, finders });
        self.add_route(cx.now, links.party_of(None), id, Route { link: None, answers: Answers::to(name.as_ref()) });
        cx.timers.set(Timer::Search(id), cx.now + cx.config.limits.search_deadline);
        let hops = if linked_to_all { 1 } else { HOPS };
        self.send_find(cx, targets, &Find { id, name, hops });
    }

    /// Ends a search: the application has what it wanted.
    pub(crate) fn on_search_done(&mut self, cx: &mut Context, id: SearchId) {
        self.own.remove(&id);
        cx.timers.cancel(&Timer::Search(id));
    }

    /// Ends a search at its deadline.
    pub(crate) fn on_search_due(&mut self, cx: &mut Context, id: SearchId) {
        if self.own.remove(&id).is_some() {
            cx.output(Output::ImageSearchOver { search: id, end: SearchEnd::Deadline });
        }
    }

    /// Has the folder looked through for a peer's FIND, and forwards it.
    pub(crate) fn on_find(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, find: Find) {
        let route = Route { link: Some(link), answers: Answers::to(find.name.as_ref()) };
        if !self.add_route(cx.now, links.party_of(Some(link)), find.id, route) {
            cx.counters.finds_duplicate += 1;
            return;
        }
        if self.lookups.len() < limits::LOOKUPS {
            self.lookups.insert(find.id);
            cx.output(Output::FindLocalImages { search: find.id, name: find.name.clone() });
        } else {
            cx.counters.finds_dropped += 1;
        }
        let hops = find.hops.min(HOPS);
        if hops > 1 {
            self.send_find(cx, links_to_native(links, Some(link)), &Find { hops: hops - 1, ..find });
        }
    }

    /// Answers a FIND with what the runtime found in the folder.
    pub(crate) fn on_local_images(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        search: SearchId,
        images: Vec<ImageInfo>,
    ) {
        if !self.lookups.remove(&search) || images.is_empty() {
            return;
        }
        let asked = self.routes.get(&search).and_then(|route| route.link);
        let scope = asked.map_or(Scope::Public, |link| links.scope_of(link));
        let (node, address) = (cx.config.node, cx.own_address(scope).clone());
        if self.send_found(cx, links, &Found { id: search, node, address, images }, None) {
            cx.counters.finds_answered += 1;
        }
    }

    /// Handles a FOUND: offers it to the application, or sends it on to the node that asked us.
    pub(crate) fn on_found(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, found: Found) {
        let Some(route) = self.routes.get(&found.id) else {
            cx.counters.founds_unsolicited += 1;
            links.log_fault(cx, link, "FOUND: nobody asked for it; dropped".into());
            return;
        };
        let (scope, claimed) = (links.scope_of(link), found.address.scope());
        if !scope.may_tell(claimed) {
            cx.counters.addresses_out_of_scope += 1;
        } else if route.link.is_none() && !cx.can_dial(&found.address) {
            cx.counters.addresses_not_dialable += 1;
        } else if route.link.is_some() {
            self.send_found(cx, links, &found, Some(link));
        } else if found.node != cx.config.node
            && self.own.get_mut(&found.id).is_some_and(|own| own.accepts(link, &found))
        {
            let is_own = links.get(link).and_then(Link::native).is_some_and(|peer| peer.id == found.node);
            let source = if is_own { links.source_of(link).1 } else { SourceGroup::Relayed };
            cx.output(Output::ImageOffer { reach: scope.min(claimed), source, found });
        } else {
            cx.counters.founds_dropped += 1;
        }
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.finds_sent.remove(&link);
        self.founds_sent.remove(&link);
    }

    /// Notes where a FIND came from; returns `false` if it is known. The oldest make room of the
    /// party that brought most, so that nobody cuts off the answers to others.
    fn add_route(&mut self, now: Instant, by: Party, id: SearchId, route: Route) -> bool {
        while let Some(oldest) = self.by_age.keys().next().copied()
            && now.saturating_duration_since(oldest.0) >= limits::SEARCH_TTL
        {
            self.remove_route(oldest);
        }
        if self.routes.contains_key(&id) {
            return false;
        }
        if self.by_age.len() >= limits::SEARCHES_SEEN
            && let Some(first) = { self.shares.of_largest().next().copied() }
        {
            self.remove_route(first);
        }
        self.routes.insert(id, route);
        self.by_age.insert((now, id), by);
        self.shares.insert(by, (now, id), 1);
        true
    }

    fn remove_route(&mut self, key: (Instant, SearchId)) {
        if let Some(by) = self.by_age.remove(&key) {
            self.shares.remove(by, &key, 1);
            self.routes.remove(&key.1);
        }
    }

    /// Sends a FIND on those of these links that have not had too many.
    fn send_find(&mut self, cx: &mut Context, mut links: Vec<LinkId>, find: &Find) {
        links.retain(|link| self.finds_sent.allows(cx.now, *link));
        if !links.is_empty() {
            cx.send(links, find.to_frame(), Lane::Control);
        }
    }

    /// Sends a FOUND back; returns whether it went out. `from`: where it came from, if not from
    /// this node.
    fn send_found(&mut self, cx: &mut Context, links: &LinkTable, found: &Found, from: Option<LinkId>) -> bool {
        let sent = self.try_send_found(cx, links, found, from).is_some();
        cx.counters.founds_dropped += u64::from(!sent);
        sent
    }

    fn try_send_found(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        found: &Found,
        from: Option<LinkId>,
    ) -> Option<()> {
        let route = self.routes.get_mut(&found.id).filter(|route| route.answers.have_room(from))?;
        let link = route.link.filter(|link| Some(*link) != from)?;
        let open = links.get(link).filter(|open| open.takes_transactions() && open.native().is_some())?;
        // Our own address may lead the other end to itself, or nowhere.
        open.scope.may_tell(found.address.scope()).then_some(())?;
        // A node of an earlier release takes it for a broken message.
        let reads_ids = || open.native().is_some_and(|peer| peer.wan.is_some());
        (found.address.node().is_none() || reads_ids()).then_some(())?;
        let frame = found.to_frame();
        let cost = FOUND_BYTE * u32::try_from(frame.as_str().len()).unwrap_or(u32::MAX);
        self.founds_sent.entry(link).or_default().spend(cx.now, cost, FOUND_BURST).ok()?;
        route.answers.count(from);
        cx.send(vec![link], frame, Lane::Control);
        Some(())
    }
}

impl OwnSearch {
    /// Notes an answer; returns `false` if it comes late, a second time, or is about something
    /// else.
    fn accepts(&mut self, by: LinkId, found: &Found) -> bool {
        let fits = match &self.name {
            Some(name) => matches!(&found.images[..], [image] if image.name == *name && image.sha256.is_some()),
            None => true,
        };
        let is_new = |(link, node, address): &(LinkId, NodeId, PeerAddress)| {
            let (same_node, same_address) = (*node == found.node, *address == found.address);
            !(same_node && same_address || *link == by && (same_node || same_address))
        };
        let accepted = fits && self.answers.have_room(Some(by)) && self.finders.iter().all(is_new);
        if accepted {
            self.answers.count(Some(by));
            self.finders.push((by, found.node, found.address.clone()));
        }
        accepted
    }
}

/// Returns one link to each native peer, the oldest, except to the peer on this one.
fn links_to_native(links: &LinkTable, except: Option<LinkId>) -> Vec<LinkId> {
    let mut peers = BTreeSet::new();
    peers.extend(except.and_then(|link| links.get(link)).and_then(Link::key));
    let established = links.iter().filter(|(_, link)| link.takes_transactions());
    established.filter_map(|(id, link)| link.key().filter(|peer| peers.insert(*peer)).map(|_| id)).collect()
}

#[cfg(test)]
mod tests;
