//! Items that were requested with WANT and have not come: transactions, or broadcasts by their
//! digests; who else offers them, and the sources that do not deliver.
//!
//! As Bitcoin Core's `TxRequestTracker`: an item is requested from one source at a time, other
//! announcers are remembered, and an announcer that failed for an item is asked for it last. Before
//! it fails, others take over what it is slow to bring: so a liar costs a moment and no time-out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::transaction::{IdMap, TransactionId};
use crate::util::generations::Generations;
use crate::wire::want_frame;

/// How long an item may take before it is requested from another peer.
const ITEM_TIMEOUT: Duration = Duration::from_secs(5);
/// In each window of this length a source must bring a part of what it was asked for: so many items
/// or bytes, or half of what is outstanding. Otherwise it withholds the rest, or has no room for
/// it.
const WINDOW: Duration = Duration::from_secs(2);
const WINDOW_ITEMS: usize = 16;
const WINDOW_BYTES: usize = 16 * 1024;
/// For how long others are asked first, if a link brought too little of what was requested.
const STALL: Duration = Duration::from_secs(60);
/// A source that would take longer than [`DRAIN`] for what it was asked is slow: other announcers
/// take over what waits. It may bring it all the same. It is judged after two round trips, within
/// these bounds: in one the first comes, and the other shows how much follows. A liar that answers
/// late to look distant gains little: what others offer sooner is not requested from it.
const HEDGE_LEAST: Duration = Duration::from_millis(100);
pub(crate) const HEDGE: Duration = Duration::from_millis(300);
const HEDGE_ROUND_TRIPS: u32 = 2;
const DRAIN: Duration = Duration::from_secs(1);
/// How often others take over something.
const HEDGE_TICK: Duration = Duration::from_millis(50);
/// How many items a source takes over at once that has brought nothing yet. With each item that it
/// brings it is two more, so what a second liar takes over is little.
const HEDGE_FIRST: usize = 256;
/// How many waiting items of one source are looked at in each tick.
const HEDGE_LOOKS: usize = 2_048;
/// How many items are requested from one link at once.
const PER_LINK: usize = 20_000;
/// How many items are requested from all links at once, 100 bytes each. One link gets at most half
/// of what is free.
const IN_ALL: usize = 200_000;
/// How many announcers of one item are remembered, beside the one that is asked.
const ANNOUNCERS: usize = 4;
/// How many items are remembered with those that failed for them, and for how long at least.
const FAILED: usize = 65_536;

/// Says whether an item is held here.
pub(crate) type Held<'a> = &'a dyn Fn(&TransactionId) -> bool;

/// See the module. What a stalled source offers holds nobody else up: it is requested from others
/// at once. So does what a source offers again that it failed to deliver.
#[derive(Debug)]
pub(crate) struct Wants {
    /// What is requested now. Its order reaches no output.
    items: IdMap<Item>,
    /// Who failed for an item.
    failed: Generations<TransactionId, Vec<LinkId>>,
    sources: BTreeMap<LinkId, Source>,
    /// When others last took over something.
    hedged: Option<Instant>,
    /// [`PER_LINK`] and [`IN_ALL`], smaller in tests.
    per_link: usize,
    in_all: usize,
}

/// An item that is requested.
#[derive(Debug)]
struct Item {
    source: LinkId,
    asked: Instant,
    /// Whether another announcer waits until the source has failed.
    exclusive: bool,
    /// Who else offers it.
    others: Vec<LinkId>,
}

/// A link that was asked for something.
#[derive(Debug)]
struct Source {
    /// What it was asked for, the oldest first; also what came meanwhile.
    asked: VecDeque<(Instant, TransactionId)>,
    outstanding: usize,
    /// Those of `asked` that others offer too, and some that came meanwhile.
    shared: VecDeque<TransactionId>,
    /// How many items others took over from it in the window.
    lost: usize,
    /// How many items may be outstanding for it to take over more.
    allowance: usize,
    /// How long after the window began it is judged whether it is slow.
    patience: Duration,
    /// When the window began, and what the source brought in it.
    window: Instant,
    items: usize,
    bytes: usize,
    stalled: Option<Stall>,
}

#[derive(Debug)]
struct Stall {
    since: Instant,
    /// How many items it must still bring late to end the stall.
    debt: usize,
}

/// What follows from requests that lapsed.
#[derive(Debug, Default)]
pub(crate) struct Lapsed {
    /// Whom to ask next for which items.
    retries: BTreeMap<LinkId, Vec<TransactionId>>,
    /// Whether there are items that nobody else is known to have.
    orphans: bool,
}

impl Default for Wants {
    fn default() -> Self {
        let failed = Generations::new(FAILED / 2).with_lifetime(STALL);
        let (items, sources) = (IdMap::default(), BTreeMap::new());
        Self { items, failed, sources, hedged: None, per_link: PER_LINK, in_all: IN_ALL }
    }
}

impl Source {
    fn new(now: Instant) -> Self {
        Self {
            asked: VecDeque::new(),
            outstanding: 0,
            shared: VecDeque::new(),
            lost: 0,
            allowance: HEDGE_FIRST,
            patience: HEDGE,
            window: now,
            items: 0,
            bytes: 0,
            stalled: None,
        }
    }

    /// Returns whether it brought too little in a window that is over.
    fn is_short(&self, now: Instant) -> bool {
        let enough = (self.outstanding + self.lost + self.items).div_ceil(2).min(WINDOW_ITEMS);
        self.is_window_over(now) && self.items < enough && self.bytes < WINDOW_BYTES
    }

    fn note_asked(&mut self, now: Instant, ids: &[TransactionId]) {
        if !self.is_awaited() {
            self.begin_window(now);
        }
        self.outstanding += ids.len();
        self.asked.extend(ids.iter().map(|id| (now, *id)));
    }

    fn is_window_over(&self, now: Instant) -> bool {
        self.is_awaited() && now.saturating_duration_since(self.window) >= WINDOW
    }

    fn is_awaited(&self) -> bool {
        self.outstanding + self.lost > 0
    }

    fn begin_window(&mut self, now: Instant) {
        (self.window, self.items, self.bytes, self.lost) = (now, 0, 0, 0);
    }

    /// Returns whether others take over what it was asked for.
    fn is_slow(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.window);
        self.outstanding > 0
            && age >= self.patience
            && age.as_secs_f64() * self.outstanding as f64 > DRAIN.as_secs_f64() * self.items as f64
    }
}

impl Wants {
    /// Notes how long a link took to answer a question.
    pub(crate) fn on_round_trip(&mut self, now: Instant, link: LinkId, time: Duration) {
        let source = self.sources.entry(link).or_insert_with(|| Source::new(now));
        source.patience = time.saturating_mul(HEDGE_ROUND_TRIPS).clamp(HEDGE_LEAST, HEDGE);
    }

    /// Requests items, except those that are held here, or are requested from a source that has not
    /// failed yet: of those it remembers that this link has them too.
    pub(crate) fn request(&mut self, cx: &mut Context, is_held: Held<'_>, link: LinkId, ids: Vec<TransactionId>) {
        let lapsed = self.expire(cx.now, is_held);
        self.retry(cx, is_held, lapsed);
        self.request_now(cx, is_held, link, ids);
    }

    fn request_now(&mut self, cx: &mut Context, is_held: Held<'_>, link: LinkId, mut ids: Vec<TransactionId>) {
        let (now, stalled) = (cx.now, self.is_stalled(link));
        let source = self.sources.entry(link).or_insert_with(|| Source::new(now));
        let mut room = self.per_link.saturating_sub(source.outstanding);
        room = room.min(self.in_all.saturating_sub(self.items.len()).div_ceil(2));
        let Self { items, failed, sources, per_link, .. } = self;
        ids.retain(|id| {
            if is_held(id) {
                return false;
            }
            let exclusive = !stalled && !failed.get(id).is_some_and(|failed| failed.contains(&link));
            match items.get_mut(id) {
                Some(item) if item.source == link => return false,
                Some(item) if item.exclusive || !exclusive => {
                    if item.others.len() < ANNOUNCERS && !item.others.contains(&link) {
                        item.others.push(link);
                        if item.others.len() == 1
                            && let Some(source) = sources.get_mut(&item.source)
                        {
                            source.shared.push_back(*id);
                        }
                    }
                    return false;
                }
                _ if room == 0 => return false,
                Some(item) => {
                    let before = std::mem::replace(&mut item.source, link);
                    (item.asked, item.exclusive) = (now, true);
                    if !item.others.is_empty()
                        && let Some(source) = sources.get_mut(&link)
                    {
                        source.shared.push_back(*id);
                    }
                    if let Some(before) = sources.get_mut(&before) {
                        before.outstanding -= 1;
                    }
                }
                None => {
                    items.insert(*id, Item { source: link, asked: now, exclusive, others: Vec::new() });
                }
            }
            room -= 1;
            true
        });
        let Some(source) = sources.get_mut(&link).filter(|_| !ids.is_empty()) else { return };
        source.note_asked(now, &ids);
        if source.asked.len().max(source.shared.len()) > 2 * *per_link {
            let is_asked = |id: &TransactionId| items.get(id).is_some_and(|item| item.source == link);
            source.asked.retain(|(_, id)| is_asked(id));
            source.shared.retain(is_asked);
        }
        send_wants(cx, link, &ids);
    }

    /// Has others take over what slow sources were asked for, the last first: the source brings the
    /// first, so little comes twice. Who has brought much takes over much.
    pub(crate) fn hedge(&mut self, cx: &mut Context, is_held: Held<'_>) {
        let now = cx.now;
        let slow: Vec<LinkId> =
            self.sources.iter().filter(|(_, source)| source.is_slow(now)).map(|(link, _)| *link).collect();
        if slow.is_empty() {
            return;
        }
        self.hedged = Some(now);
        let free = |source: &Source| {
            if source.stalled.is_some() { 0 } else { source.allowance.saturating_sub(source.outstanding) }
        };
        let mut free: BTreeMap<LinkId, usize> =
            self.sources.iter().map(|(link, source)| (*link, free(source))).collect();
        let mut taken: BTreeMap<LinkId, Vec<TransactionId>> = BTreeMap::new();
        for link in slow {
            let Some(source) = self.sources.get_mut(&link) else { continue };
            for _ in 0..source.shared.len().min(HEDGE_LOOKS) {
                let Some(id) = source.shared.pop_back() else { break };
                let Some(item) = self.items.get_mut(&id).filter(|item| item.source == link && !is_held(&id)) else {
                    continue;
                };
                let failed = self.failed.get(&id).map(Vec::as_slice).unwrap_or_default();
                let others = item.others.iter().filter(|other| **other != link && !failed.contains(other));
                let most = others.max_by_key(|other| free.get(*other).copied().unwrap_or(0)).copied();
                let Some((most, room)) =
                    most.and_then(|most| Some((most, free.get_mut(&most).filter(|room| **room > 0)?)))
                else {
                    source.shared.push_front(id);
                    continue;
                };
                *room -= 1;
                (item.source, item.asked, item.exclusive) = (most, now, true);
                item.others.retain(|other| *other != most);
                source.outstanding -= 1;
                source.lost += 1;
                note_failed(&mut self.failed, now, id, link);
                taken.entry(most).or_default().push(id);
            }
        }
        for (link, ids) in taken {
            let Some(source) = self.sources.get_mut(&link) else { continue };
            source.note_asked(now, &ids);
            let is_shared = |id: &&TransactionId| self.items.get(*id).is_some_and(|item| !item.others.is_empty());
            source.shared.extend(ids.iter().filter(is_shared));
            send_wants(cx, link, &ids);
        }
    }

    /// Ends requests that are overdue. A source that brought too little of what was requested is
    /// stalled, and everything that it was asked for lapses.
    pub(crate) fn expire(&mut self, now: Instant, is_held: Held<'_>) -> Lapsed {
        let mut overdue = Vec::new();
        for (link, source) in &mut self.sources {
            let short = source.is_short(now);
            let mut lapsed = 0_usize;
            while let Some((asked, id)) = source.asked.front().copied() {
                let open = self.items.get(&id).is_some_and(|item| item.source == *link && item.asked == asked);
                if open && !short && now.saturating_duration_since(asked) < ITEM_TIMEOUT {
                    break;
                }
                source.asked.pop_front();
                if open && is_held(&id) {
                    self.items.remove(&id);
                    source.outstanding -= 1;
                } else if open {
                    source.outstanding -= 1;
                    lapsed += 1;
                    overdue.push((*link, id));
                }
            }
            lapsed += source.lost;
            if short && lapsed > 0 {
                source.stalled = Some(Stall { since: now, debt: lapsed.div_ceil(2).min(WINDOW_ITEMS) });
                source.allowance = HEDGE_FIRST;
            }
            if source.is_window_over(now) {
                source.begin_window(now);
            }
            source.stalled.take_if(|stall| now.saturating_duration_since(stall.since) >= STALL);
        }
        let mut lapsed = Lapsed::default();
        for (link, id) in overdue {
            note_failed(&mut self.failed, now, id, link);
            self.lapse(id, &mut lapsed);
        }
        lapsed
    }

    /// Ends a request, and chooses who is asked next: not who has failed, and a stalled one last.
    fn lapse(&mut self, id: TransactionId, lapsed: &mut Lapsed) {
        let Some(item) = self.items.remove(&id) else { return };
        let failed = self.failed.get(&id).map(Vec::as_slice).unwrap_or_default();
        let open = |link: &&LinkId| self.sources.contains_key(link) && !failed.contains(link);
        let fresh = || item.others.iter().filter(open);
        match fresh().find(|link| !self.is_stalled(**link)).or_else(|| fresh().next()) {
            Some(link) => lapsed.retries.entry(*link).or_default().push(id),
            None => lapsed.orphans = true,
        }
        // The others are not lost: they offer it again in their next round.
    }

    /// Requests what lapsed from others. Returns whether there are items that nobody else is known
    /// to have.
    pub(crate) fn retry(&mut self, cx: &mut Context, is_held: Held<'_>, lapsed: Lapsed) -> bool {
        for (link, ids) in lapsed.retries {
            self.request_now(cx, is_held, link, ids);
        }
        lapsed.orphans
    }

    /// Returns when the next request lapses; `None` if nothing is requested.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let asked = self.sources.values().filter(|source| source.is_awaited());
        let dues = asked.map(|source| {
            let window = source.window + WINDOW;
            let due = source.asked.front().map_or(window, |(asked, _)| window.min(*asked + ITEM_TIMEOUT));
            let judged = source.window + source.patience;
            let hedge = self.hedged.map_or(judged, |hedged| judged.max(hedged + HEDGE_TICK));
            if source.outstanding == 0 || source.shared.is_empty() { due } else { due.min(hedge) }
        });
        dues.min()
    }

    /// Notes that a link brought an item. It is progress only if the link was asked for it.
    pub(crate) fn on_brought(&mut self, link: LinkId, id: &TransactionId, bytes: usize) {
        let asked = self.items.remove(id).map(|item| item.source);
        if let Some(source) = asked.and_then(|link| self.sources.get_mut(&link)) {
            source.outstanding -= 1;
        }
        // It counts once.
        let failed = if self.failed.is_empty() { None } else { self.failed.get_mut(id) };
        let late = failed.is_some_and(|failed| failed.extract_if(.., |failed| *failed == link).count() > 0);
        let Some(source) = self.sources.get_mut(&link).filter(|_| late || asked == Some(link)) else { return };
        source.items += 1;
        source.bytes += bytes;
        source.allowance = (source.allowance + 2).min(self.per_link);
        if let Some(stall) = &mut source.stalled {
            stall.debt = stall.debt.saturating_sub(1);
        }
        source.stalled.take_if(|stall| stall.debt == 0);
    }

    /// Forgets an item that this node does not take.
    pub(crate) fn cancel(&mut self, id: &TransactionId) {
        if let Some(source) = self.items.remove(id).and_then(|item| self.sources.get_mut(&item.source)) {
            source.outstanding -= 1;
        }
    }

    /// Has others asked first for a while: a source offered more than it brought.
    pub(crate) fn stall(&mut self, now: Instant, source: LinkId) {
        let source = self.sources.entry(source).or_insert_with(|| Source::new(now));
        source.stalled = Some(Stall { since: now, debt: WINDOW_ITEMS });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns whether a source has still to bring what it was asked for.
    pub(crate) fn is_awaited(&self, source: LinkId) -> bool {
        self.sources.get(&source).is_some_and(|source| source.outstanding > 0)
    }

    pub(crate) fn is_stalled(&self, source: LinkId) -> bool {
        self.sources.get(&source).is_some_and(|source| source.stalled.is_some())
    }

    /// Forgets a link that is closed. Others are asked for what it was asked for.
    pub(crate) fn on_link_closed(&mut self, link: LinkId) -> Lapsed {
        let mut lapsed = Lapsed::default();
        let Some(source) = self.sources.remove(&link) else { return lapsed };
        for (_, id) in source.asked {
            if self.items.get(&id).is_some_and(|item| item.source == link) {
                self.lapse(id, &mut lapsed);
            }
        }
        // No link has that id again.
        lapsed.retries.remove(&link);
        lapsed
    }
}

fn note_failed(failed: &mut Generations<TransactionId, Vec<LinkId>>, now: Instant, id: TransactionId, link: LinkId) {
    let failed = failed.entry(now, &id);
    failed.retain(|failed| *failed != link);
    failed.truncate(2 * ANNOUNCERS);
    failed.push(link);
}

/// Sends WANT, in as many frames as needed.
pub(crate) fn send_wants(cx: &mut Context, link: LinkId, ids: &[TransactionId]) {
    for some in ids.chunks(limits::WANT_IDS) {
        cx.send(vec![link], want_frame(some), Lane::Control);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testing::parts::{context, drain, transaction};

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);
    const C: LinkId = LinkId(3);
    const TICK: Duration = Duration::from_nanos(1);

    fn parts() -> (Wants, Context, Store) {
        (Wants::default(), context(), Store::new(Vec::new()))
    }

    fn ids(from: u32, to: u32) -> Vec<TransactionId> {
        (from..to)
            .map(|n| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&n.to_be_bytes());
                TransactionId(id)
            })
            .collect()
    }

    /// Takes the WANTs that were sent: how many items in all, to which links.
    fn sent(cx: &mut Context) -> Vec<(String, usize)> {
        let frame = |text: String| (text.split(' ').nth(1).unwrap_or_default().to_owned(), text.matches(',').count());
        drain(cx).into_iter().map(frame).collect()
    }

    /// Requests, and returns how many items were named in how many frames.
    fn request(
        wants: &mut Wants,
        cx: &mut Context,
        store: &Store,
        link: LinkId,
        ids: Vec<TransactionId>,
    ) -> [usize; 2] {
        wants.request(cx, &|id| store.index().holds(id), link, ids);
        let sent = drain(cx);
        [sent.iter().map(|frame| frame.matches(',').count()).sum(), sent.len()]
    }

    /// Ends what is overdue, and returns whom others are asked of, and whether some have no source.
    fn expire(wants: &mut Wants, cx: &mut Context, store: &Store) -> (Vec<(String, usize)>, bool) {
        let lapsed = wants.expire(cx.now, &|id| store.index().holds(id));
        let orphans = wants.retry(cx, &|id| store.index().holds(id), lapsed);
        (sent(cx), orphans)
    }

    fn bring(wants: &mut Wants, link: LinkId, ids: &[TransactionId]) {
        ids.iter().for_each(|id| wants.on_brought(link, id, 250));
    }

    /// Checks that the counts of each source are those of its items.
    fn check(wants: &Wants) {
        for (link, source) in &wants.sources {
            let items = wants.items.values().filter(|item| item.source == *link).count();
            assert_eq!(source.outstanding, items, "{link:?}");
        }
    }

    #[test]
    fn an_item_is_requested_from_one_link_at_a_time() {
        let (mut wants, mut cx, store) = parts();
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 3)), [3, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(1, 5)), [2, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [0, 0]);
        wants.cancel(&ids(0, 1)[0]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [1, 1]);
        check(&wants);
        let lapsed = wants.on_link_closed(B);
        assert!(wants.retry(&mut cx, &|id| store.index().holds(id), lapsed), "nobody else offered 3, 4 and 0");
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 5)), [3, 1], "what a closed link was asked for");
        let lapsed = wants.on_link_closed(A);
        assert!(wants.retry(&mut cx, &|id| store.index().holds(id), lapsed), "the other announcer has closed its link");
        assert!(sent(&mut cx).is_empty() && wants.items.is_empty() && wants.sources.is_empty());
    }

    #[test]
    fn what_is_held_is_not_requested_and_what_came_is_no_longer_awaited() {
        let (mut wants, mut cx, mut store) = parts();
        let both: Vec<TransactionId> = [1, 2].map(|n| transaction(n).id()).to_vec();
        store.insert(cx.now, transaction(1), false);
        assert_eq!(request(&mut wants, &mut cx, &store, A, both), [1, 1]);
        store.insert(cx.now, transaction(2), false);
        cx.now += ITEM_TIMEOUT;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
        assert!(wants.items.is_empty() && !wants.is_stalled(A) && wants.next_due().is_none());
    }

    #[test]
    fn a_source_that_brings_nothing_for_two_seconds_is_stalled_for_a_minute() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        assert_eq!(wants.next_due(), Some(cx.now + WINDOW));
        cx.now += WINDOW - TICK;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
        cx.now += TICK;
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 3)), [3, 1]);
        assert!(wants.is_stalled(A) && !wants.is_stalled(B));
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(3, 5)), [2, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(3, 5)), [2, 1], "what it offers holds nobody up");
        check(&wants);
        bring(&mut wants, B, &ids(0, 5));
        cx.now += STALL - TICK;
        expire(&mut wants, &mut cx, &store);
        assert!(wants.is_stalled(A) && !wants.is_stalled(B));
        cx.now += TICK;
        expire(&mut wants, &mut cx, &store);
        assert!(!wants.is_stalled(A));
    }

    #[test]
    fn only_what_was_asked_for_is_progress() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 800));
        bring(&mut wants, A, &ids(5_000, 6_000));
        cx.now += WINDOW;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
        assert!(wants.is_stalled(A), "a thousand that nobody asked for");
        request(&mut wants, &mut cx, &store, B, ids(0, 800));
        bring(&mut wants, B, &ids(0, WINDOW_ITEMS as u32 - 1));
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert!(wants.is_stalled(B), "one less than the least");
        request(&mut wants, &mut cx, &store, C, ids(100, 800));
        bring(&mut wants, C, &ids(100, 100 + WINDOW_ITEMS as u32));
        cx.now += WINDOW;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
        assert!(!wants.is_stalled(C));
        ids(200, 202).iter().for_each(|id| wants.on_brought(C, id, WINDOW_BYTES / 2));
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert!(!wants.is_stalled(C), "few and long");
        check(&wants);
    }

    #[test]
    fn a_lapsed_item_is_requested_from_the_next_announcer_and_never_first_from_one_that_failed() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 10));
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 10)), [0, 0]);
        assert_eq!(request(&mut wants, &mut cx, &store, C, ids(5, 10)), [0, 0]);
        cx.now += WINDOW;
        assert_eq!(expire(&mut wants, &mut cx, &store), (vec![("[2]".into(), 10)], false), "at once");
        // The first pays with ten others, and is asked like everybody again.
        wants.sources.get_mut(&A).expect("asked").stalled = None;
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 10)), [0, 0]);
        cx.now += WINDOW;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true), "A has failed for each of them");
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 10)), [10, 1], "there is no other");
        assert_eq!(request(&mut wants, &mut cx, &store, C, ids(0, 10)), [10, 1], "there is");
        check(&wants);
    }

    #[test]
    fn an_item_has_five_seconds_and_what_comes_late_ends_a_stall() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 100));
        for n in 0..4 {
            cx.now += Duration::from_secs(1);
            bring(&mut wants, A, &ids(n * 16, n * 16 + 16));
            expire(&mut wants, &mut cx, &store);
        }
        cx.now += Duration::from_secs(1) - TICK;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), false));
        cx.now += TICK;
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
        assert!(wants.items.is_empty() && !wants.is_stalled(A));
        request(&mut wants, &mut cx, &store, A, ids(200, 300));
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert!(wants.is_stalled(A));
        for _ in 0..50 {
            bring(&mut wants, A, &ids(200, 215));
        }
        assert!(wants.is_stalled(A), "each counts once");
        bring(&mut wants, A, &ids(215, 216));
        assert!(!wants.is_stalled(A));
        check(&wants);
    }

    #[test]
    fn others_take_over_what_a_source_is_slow_to_bring() {
        let (mut wants, mut cx, store) = parts();
        let hedge = |wants: &mut Wants, cx: &mut Context| {
            wants.hedge(cx, &|id| store.index().holds(id));
            check(wants);
            sent(cx)
        };
        request(&mut wants, &mut cx, &store, A, ids(0, 1_600));
        for link in [B, C] {
            assert_eq!(request(&mut wants, &mut cx, &store, link, ids(0, 1_600)), [0, 0]);
        }
        cx.now += HEDGE - TICK;
        assert!(hedge(&mut wants, &mut cx).is_empty());
        cx.now += TICK;
        assert!(wants.next_due().is_some_and(|due| due <= cx.now));
        let first = HEDGE_FIRST;
        assert_eq!(hedge(&mut wants, &mut cx), [("[2]".to_owned(), first), ("[3]".to_owned(), first)]);
        assert!(hedge(&mut wants, &mut cx).is_empty(), "nobody takes over more than it has shown to bring");
        // B brings it, and may take over three times as much. C lies as well, and loses what it
        // took.
        let of = |wants: &Wants, link| {
            let of_link = wants.items.iter().filter(|(_, item)| item.source == link);
            of_link.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let (took, brought) = (of(&wants, C), of(&wants, B));
        bring(&mut wants, B, &brought);
        cx.now += HEDGE;
        assert_eq!(hedge(&mut wants, &mut cx), [("[2]".to_owned(), 3 * first)]);
        assert_eq!(of(&wants, C).len() + of(&wants, A).len(), 1_600 - 4 * first);
        // Who lost its items is stalled all the same, and what it brings late counts.
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert!(wants.is_stalled(A) && wants.is_stalled(C));
        bring(&mut wants, C, &took);
        assert!(!wants.is_stalled(C), "it was late, and brought all");
        check(&wants);
    }

    #[test]
    fn a_source_is_judged_after_two_of_its_round_trips_within_bounds() {
        for (round_trip, judged) in [(None, 300), (Some(1), 100), (Some(51), 102), (Some(149), 298), (Some(5_000), 300)]
        {
            let (mut wants, mut cx, store) = parts();
            if let Some(time) = round_trip {
                wants.on_round_trip(cx.now, A, Duration::from_millis(time));
            }
            request(&mut wants, &mut cx, &store, A, ids(0, 10));
            request(&mut wants, &mut cx, &store, B, ids(0, 10));
            let due = cx.now + Duration::from_millis(judged);
            assert_eq!(wants.next_due(), Some(due), "{round_trip:?}");
            for (now, taken) in [(due - TICK, 0), (due, 10)] {
                cx.now = now;
                wants.hedge(&mut cx, &|id| store.index().holds(id));
                assert_eq!(sent(&mut cx).iter().map(|(_, taken)| taken).sum::<usize>(), taken, "{round_trip:?}");
            }
        }
    }

    #[test]
    fn nobody_takes_over_from_a_source_that_is_done_within_a_second() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 800));
        request(&mut wants, &mut cx, &store, B, ids(0, 800));
        for n in 0..10 {
            bring(&mut wants, A, &ids(n * 80, n * 80 + 80));
            cx.now += HEDGE / 4;
            wants.hedge(&mut cx, &|id| store.index().holds(id));
            assert!(sent(&mut cx).is_empty(), "{n}");
        }
    }

    #[test]
    fn requests_are_bounded_per_link_per_frame_and_in_all() {
        let (mut wants, mut cx, store) = parts();
        assert_eq!((wants.per_link, wants.in_all), (PER_LINK, IN_ALL));
        (wants.per_link, wants.in_all) = (2_000, 20_000);
        let all = || ids(0, 2_000 + 10);
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, limits::WANT_IDS as u32)), [limits::WANT_IDS, 1]);
        let left = 2_000 - limits::WANT_IDS;
        assert_eq!(request(&mut wants, &mut cx, &store, A, all()), [left, left / limits::WANT_IDS]);
        assert_eq!(request(&mut wants, &mut cx, &store, A, all()), [0, 0]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, all()), [10, 1]);
        for link in 10..24 {
            let first = 100_000 * u32::try_from(link).expect("small");
            request(&mut wants, &mut cx, &store, LinkId(link), ids(first, first + 2_000));
        }
        assert!(wants.items.len() <= 20_000);
        let (last, honest) = (wants.sources[&LinkId(23)].outstanding, ids(1, 2));
        assert!(last < 100, "each takes half of what is left");
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert_eq!(wants.items.len(), 2_000, "what the second link offers too");
        cx.now += WINDOW;
        expire(&mut wants, &mut cx, &store);
        assert_eq!((wants.items.len(), wants.failed.len() <= FAILED), (0, true));
        assert_eq!(request(&mut wants, &mut cx, &store, C, honest), [1, 1]);
        check(&wants);
    }

    #[test]
    fn of_few_items_half_must_come_in_a_window() {
        for (asked, brought, stalled) in [(3, 1, true), (3, 2, false), (4, 2, false), (5, 2, true)] {
            let (mut wants, mut cx, store) = parts();
            request(&mut wants, &mut cx, &store, A, ids(0, asked));
            bring(&mut wants, A, &ids(0, brought));
            cx.now += WINDOW;
            expire(&mut wants, &mut cx, &store);
            assert_eq!(wants.is_stalled(A), stalled, "{brought} of {asked}");
        }
    }

    #[test]
    fn a_source_is_slow_if_it_would_take_more_than_a_second_for_what_is_left() {
        // Half a second brought ten: it brings twenty more in another second.
        for (asked, slow) in [(30, false), (31, true)] {
            let (mut wants, mut cx, store) = parts();
            request(&mut wants, &mut cx, &store, A, ids(0, asked));
            request(&mut wants, &mut cx, &store, B, ids(0, asked));
            bring(&mut wants, A, &ids(0, 10));
            cx.now += DRAIN / 2;
            wants.hedge(&mut cx, &|id| store.index().holds(id));
            assert_eq!(!sent(&mut cx).is_empty(), slow, "{asked}");
        }
    }

    #[test]
    fn four_others_that_offer_an_item_are_remembered_each_once() {
        let (mut wants, mut cx, store) = parts();
        for link in [1, 1, 2, 2, 3, 4, 5, 6, 1] {
            request(&mut wants, &mut cx, &store, LinkId(link), ids(0, 1));
        }
        assert_eq!(wants.items[&ids(0, 1)[0]].others, [2, 3, 4, 5].map(LinkId));
        assert_eq!(wants.sources[&A].shared, ids(0, 1));
    }

    #[test]
    fn what_a_source_takes_over_from_a_stalled_one_may_be_taken_over_again() {
        let (mut wants, mut cx, store) = parts();
        wants.stall(cx.now, A);
        wants.stall(cx.now, C);
        for (link, named) in [(A, 2), (C, 0), (B, 2)] {
            assert_eq!(request(&mut wants, &mut cx, &store, link, ids(0, 2)), [named, named / 2], "{link:?}");
        }
        assert_eq!(wants.sources[&B].shared, ids(0, 2), "from B too, by C");
        request(&mut wants, &mut cx, &store, A, ids(5, 6));
        request(&mut wants, &mut cx, &store, B, ids(5, 6));
        assert_eq!(wants.sources[&B].shared, ids(0, 2), "nobody else offers it");
    }

    #[test]
    fn what_came_behind_an_item_that_did_not_is_forgotten_once_it_is_much() {
        let (mut wants, mut cx, store) = parts();
        wants.per_link = 10;
        let mut asked = Vec::new();
        for (from, to) in [(0, 2), (2, 11), (11, 20), (20, 29), (29, 38)] {
            request(&mut wants, &mut cx, &store, A, ids(from, to));
            asked.push(wants.sources[&A].asked.len());
            bring(&mut wants, A, &ids(from.max(1), to));
        }
        assert_eq!(asked, [2, 11, 20, 10, 19], "twice as much as may be requested is not much");
        assert_eq!(wants.sources[&A].asked[0].1, ids(0, 1)[0]);
    }

    #[test]
    fn what_is_taken_over_counts_as_lost_and_may_be_taken_over_by_the_others() {
        let (mut wants, mut cx, store) = parts();
        for link in [A, B, C] {
            request(&mut wants, &mut cx, &store, link, ids(0, 200));
        }
        cx.now += HEDGE;
        wants.hedge(&mut cx, &|id| store.index().holds(id));
        assert_eq!(sent(&mut cx), [("[2]".to_owned(), 100), ("[3]".to_owned(), 100)]);
        assert_eq!((wants.sources[&A].lost, wants.sources[&A].outstanding), (200, 0));
        for item in wants.items.values() {
            assert_eq!(item.others, [if item.source == B { C } else { B }]);
        }
        assert_eq!([B, C].map(|link| wants.sources[&link].shared.len()), [100, 100]);
        check(&wants);
    }

    #[test]
    fn what_is_held_is_not_taken_over() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 10));
        request(&mut wants, &mut cx, &store, B, ids(0, 10));
        cx.now += HEDGE;
        wants.hedge(&mut cx, &|_| true);
        assert!(sent(&mut cx).is_empty());
    }

    #[test]
    fn who_failed_for_an_item_does_not_take_it_over() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 10));
        request(&mut wants, &mut cx, &store, B, ids(0, 10));
        for id in ids(1, 10) {
            note_failed(&mut wants.failed, cx.now, id, B);
        }
        cx.now += HEDGE;
        wants.hedge(&mut cx, &|id| store.index().holds(id));
        assert_eq!(sent(&mut cx), [("[2]".to_owned(), 1)]);
    }

    #[test]
    fn others_take_over_again_after_fifty_milliseconds() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 1_000));
        request(&mut wants, &mut cx, &store, B, ids(0, 1_000));
        assert_eq!(wants.next_due(), Some(cx.now + HEDGE));
        cx.now += HEDGE;
        wants.hedge(&mut cx, &|id| store.index().holds(id));
        assert_eq!(wants.next_due(), Some(cx.now + HEDGE_TICK));
    }

    #[test]
    fn a_request_that_was_cancelled_does_not_shorten_the_next_one() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 2));
        let [first, again] = [ids(0, 1)[0], ids(1, 2)[0]];
        wants.cancel(&again);
        for n in 0..4 {
            cx.now += Duration::from_secs(1);
            request(&mut wants, &mut cx, &store, A, ids(1, 101));
            bring(&mut wants, A, &ids(n * 16 + 2, n * 16 + 18));
        }
        cx.now += Duration::from_secs(1);
        assert_eq!(expire(&mut wants, &mut cx, &store), (Vec::new(), true));
        let asked = [first, again].map(|id| wants.items.contains_key(&id));
        assert_eq!((asked, wants.is_empty()), ([false, true], false), "five seconds ago, and four");
    }

    #[test]
    fn what_lapsed_is_requested_from_a_stalled_source_last() {
        let (mut wants, mut cx, store) = parts();
        for link in [A, B, C] {
            request(&mut wants, &mut cx, &store, link, ids(0, 10));
        }
        wants.stall(cx.now, B);
        cx.now += WINDOW;
        assert_eq!(expire(&mut wants, &mut cx, &store), (vec![("[3]".into(), 10)], false));
    }

    #[test]
    fn so_many_that_failed_for_one_item_are_remembered_and_the_last_of_them() {
        let (mut wants, mut cx, store) = parts();
        for link in 1..=20 {
            assert_eq!(request(&mut wants, &mut cx, &store, LinkId(link), ids(0, 1)), [1, 1]);
            cx.now += WINDOW;
            expire(&mut wants, &mut cx, &store);
        }
        let failed = wants.failed.get(&ids(0, 1)[0]).expect("all did");
        assert_eq!((failed.len(), failed.last()), (2 * ANNOUNCERS + 1, Some(&LinkId(20))));
    }
}
