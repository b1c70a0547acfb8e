//! Items that neighbours offer and this node lacks: transactions, or broadcasts by their digests.
//! Which link is asked for which of them with WANT, and the sources that do not deliver.
//!
//! As Bitcoin Core's `TxRequestTracker`: an item is requested from one source at a time, other
//! announcers wait, and an announcer that failed for an item is asked for it last. As BitTorrent's
//! request queue and TCP's congestion window: a source is asked for little at first, for more with
//! all that it brings, and for at most as much as it brings in a second. What is offered and not
//! asked for yet goes to the first source that has room. So a liar holds little up, and over a slow
//! line little comes twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::transaction::{IdMap, TransactionId};
use crate::util::generations::Generations;
use crate::util::rate_limit::RateLimits;
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
/// A source that would take longer than [`DRAIN`] for what it was asked is slow: it is asked for
/// less, and others take over what they offer too. It may bring it all the same. It is judged after
/// two round trips, within these bounds: in one the first comes, and the other shows how much
/// follows. A liar that answers late to look distant gains little: what others offer sooner is not
/// requested from it.
const JUDGED_LEAST: Duration = Duration::from_millis(100);
pub(crate) const JUDGED: Duration = Duration::from_millis(300);
const JUDGED_ROUND_TRIPS: u32 = 2;
const DRAIN: Duration = Duration::from_secs(1);
/// How often the sources are looked at while something waits.
const TICK_INTERVAL: Duration = Duration::from_millis(50);
/// How many items a source is asked for at once that has brought nothing yet. With each item that
/// it brings it is four more.
const QUOTA: usize = 1_024;
/// As many at least, however slow the source is.
const QUOTA_LEAST: usize = 32;
/// How often a link is sent WANT at once, and how long one more takes after that: less often than a
/// receiver takes, however others have items lapse. What is left out waits for the next look.
const ASKS_AT_ONCE: u32 = 64;
const ASK_EVERY: Duration = Duration::from_millis(40);
/// How many waiting items are looked at on one link in each tick, for those that it may take over.
const LOOKS: usize = 2_048;
/// How many items of one link are requested or wait.
const PER_LINK: usize = 20_000;
/// How many items of all links are requested or wait, 100 bytes each. One link gets at most half of
/// what is free.
const IN_ALL: usize = 200_000;
/// On how many links one item waits, beside the one that is asked.
const ANNOUNCERS: usize = 4;
/// How many items are remembered with those that failed for them, and for how long at least.
const FAILED: usize = 65_536;

/// Says whether an item is held here.
pub(crate) type Held<'a> = &'a dyn Fn(&TransactionId) -> bool;

/// See the module. An item of a stalled source may be requested from others at once. The same holds
/// for an item that its source failed to deliver before.
#[derive(Debug)]
pub(crate) struct Wants {
    /// What is wanted. Its order reaches no output.
    items: IdMap<Item>,
    /// How many of them are requested from nobody.
    unasked: usize,
    /// Who failed for an item.
    failed: Generations<TransactionId, Vec<LinkId>>,
    sources: BTreeMap<LinkId, Source>,
    /// How often each is asked.
    asks: RateLimits<LinkId>,
    /// When the sources were last looked at.
    ticked: Option<Instant>,
    /// [`PER_LINK`] and [`IN_ALL`], smaller in tests.
    per_link: usize,
    in_all: usize,
}

/// An item that is wanted.
#[derive(Debug, Default)]
struct Item {
    asked: Option<Asked>,
    /// In which queues it waits: of links that offer it and are not asked.
    waits: Vec<LinkId>,
}

/// The request for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    link: LinkId,
    at: Instant,
    /// Whether another announcer waits until the source is slow or has failed.
    exclusive: bool,
}

/// A link that offers something.
#[derive(Debug)]
struct Source {
    /// What it was asked for, the oldest first; also what came meanwhile.
    asked: VecDeque<(Instant, TransactionId)>,
    outstanding: usize,
    /// What it offers and was not asked for; also what came meanwhile.
    waiting: VecDeque<TransactionId>,
    /// Whether all of that was requested from others when it was last looked through.
    searched: bool,
    /// How many items others took over from it in the window.
    lost: usize,
    /// How many items may be outstanding for it to be asked for more.
    quota: usize,
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

impl Item {
    fn is_asked_of(&self, link: LinkId) -> bool {
        self.asked.is_some_and(|asked| asked.link == link)
    }
}

impl Default for Wants {
    fn default() -> Self {
        let failed = Generations::new(FAILED / 2).with_lifetime(STALL);
        let (items, sources) = (IdMap::default(), BTreeMap::new());
        let asks = RateLimits::new(ASK_EVERY, ASKS_AT_ONCE);
        Self { items, unasked: 0, failed, sources, asks, ticked: None, per_link: PER_LINK, in_all: IN_ALL }
    }
}

impl Source {
    fn new(now: Instant) -> Self {
        Self {
            asked: VecDeque::new(),
            outstanding: 0,
            waiting: VecDeque::new(),
            searched: false,
            lost: 0,
            quota: QUOTA,
            patience: JUDGED,
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

    /// Returns how many items it brings within [`DRAIN`], if that is fewer than are outstanding:
    /// then it is slow.
    fn slow_rate(&self, now: Instant) -> Option<usize> {
        let age = now.saturating_duration_since(self.window);
        let judged = self.outstanding > 0 && age >= self.patience;
        let rate = || (self.items as f64 * DRAIN.div_duration_f64(age)) as usize;
        judged.then(rate).filter(|rate| *rate < self.outstanding)
    }

    /// Returns how many items more it may be asked for.
    fn room(&self) -> usize {
        self.quota.saturating_sub(self.outstanding)
    }
}

impl Wants {
    /// Notes how long a link took to answer a question.
    pub(crate) fn on_round_trip(&mut self, now: Instant, link: LinkId, time: Duration) {
        self.source(now, link).patience = time.saturating_mul(JUDGED_ROUND_TRIPS).clamp(JUDGED_LEAST, JUDGED);
    }

    fn source(&mut self, now: Instant, link: LinkId) -> &mut Source {
        self.sources.entry(link).or_insert_with(|| Source::new(now))
    }

    /// Takes up items that a link offers, except those that are held here, and asks for as many as
    /// may be.
    pub(crate) fn request(&mut self, cx: &mut Context, is_held: Held<'_>, link: LinkId, ids: Vec<TransactionId>) {
        self.expire(cx, is_held);
        let all: usize = self.sources.values().map(|source| source.outstanding + source.waiting.len()).sum();
        let most = self.per_link;
        let Self { items, unasked, in_all, .. } = self;
        let source = self.sources.entry(link).or_insert_with(|| Source::new(cx.now));
        if source.waiting.len() >= most {
            source.waiting.retain(|id| items.get(id).is_some_and(|item| item.waits.contains(&link)));
        }
        let mut room = most.saturating_sub(source.outstanding + source.waiting.len());
        room = room.min(in_all.saturating_sub(all).div_ceil(2));
        for id in ids {
            if room == 0 {
                break;
            }
            if is_held(&id) {
                continue;
            }
            let item = items.entry(id).or_insert_with(|| {
                *unasked += 1;
                Item::default()
            });
            let known = item.waits.len() + usize::from(item.asked.is_some());
            if !item.is_asked_of(link) && known <= ANNOUNCERS && !item.waits.contains(&link) {
                item.waits.push(link);
                source.waiting.push_back(id);
                source.searched = false;
                room -= 1;
            }
        }
        self.ask(cx, is_held, link, None);
    }

    /// Asks a link for items that wait on it, as many as it has room for: those that are requested
    /// from nobody, or from a link that others need not wait for. With `slow`: those that are
    /// requested from one of these.
    fn ask(&mut self, cx: &mut Context, is_held: Held<'_>, link: LinkId, slow: Option<&[LinkId]>) {
        let now = cx.now;
        let Self { items, unasked, failed, sources, asks, per_link, .. } = self;
        let Some(source) = sources.get_mut(&link) else { return };
        let (room, stalled) = (source.room(), source.stalled.is_some());
        if room == 0 || source.waiting.is_empty() || !asks.allows(now, link) {
            return;
        }
        let mut waiting = std::mem::take(&mut source.waiting);
        let looks = if slow.is_some() { waiting.len().min(LOOKS) } else { waiting.len() };
        let mut ids = Vec::new();
        for _ in 0..looks {
            if ids.len() == room {
                break;
            }
            let Some(id) = waiting.pop_front() else { break };
            let Some(item) = items.get_mut(&id).filter(|item| item.waits.contains(&link)) else { continue };
            if is_held(&id) {
                item.waits.retain(|waits| *waits != link);
                if item.asked.is_none() {
                    items.remove(&id);
                    *unasked -= 1;
                }
                continue;
            }
            let has_failed = |link: &LinkId| failed.get(&id).is_some_and(|failed| failed.contains(link));
            let exclusive = !stalled && !has_failed(&link);
            let takes = match item.asked {
                None => slow.is_none() && (!has_failed(&link) || item.waits.iter().all(has_failed)),
                Some(asked) => exclusive && slow.map_or(!asked.exclusive, |slow| slow.contains(&asked.link)),
            };
            if !takes {
                waiting.push_back(id);
                continue;
            }
            item.waits.retain(|waits| *waits != link);
            match item.asked.replace(Asked { link, at: now, exclusive }) {
                None => *unasked -= 1,
                Some(before) => {
                    if slow.is_some() {
                        note_failed(failed, now, id, before.link);
                    }
                    if let Some(before) = sources.get_mut(&before.link) {
                        before.outstanding -= 1;
                        before.lost += usize::from(slow.is_some());
                    }
                }
            }
            ids.push(id);
        }
        let Some(source) = sources.get_mut(&link) else { return };
        source.waiting = waiting;
        source.searched |= slow.is_none() && ids.len() < room;
        if ids.is_empty() {
            return;
        }
        source.note_asked(now, &ids);
        if source.asked.len() > 2 * *per_link {
            source.asked.retain(|(_, id)| items.get(id).is_some_and(|item| item.is_asked_of(link)));
        }
        send_wants(cx, link, &ids);
    }

    /// Asks all links that have room for what nobody is asked for; stalled ones last.
    fn ask_all(&mut self, cx: &mut Context, is_held: Held<'_>) {
        for stalled in [false, true] {
            for link in self.waiting_on(|source| source.stalled.is_some() == stalled && !source.searched) {
                self.ask(cx, is_held, link, None);
            }
        }
    }

    /// Returns the links that offer something and have room; first who has brought the most.
    fn waiting_on(&self, which: impl Fn(&Source) -> bool) -> Vec<LinkId> {
        let some = self.sources.iter().filter(|(_, source)| !source.waiting.is_empty() && source.room() > 0);
        let mut links: Vec<_> = some.filter(|(_, source)| which(source)).collect();
        links.sort_by_key(|(_, source)| std::cmp::Reverse(source.quota));
        links.into_iter().map(|(link, _)| *link).collect()
    }

    /// Asks slow sources for less, and has others take over what they were asked for. Who is as
    /// slow takes nothing over: the way to all of them may be slow.
    pub(crate) fn tick(&mut self, cx: &mut Context, is_held: Held<'_>) {
        self.ticked = Some(cx.now);
        self.ask_all(cx, is_held);
        let mut slow = Vec::new();
        for (link, source) in &mut self.sources {
            if let Some(rate) = source.slow_rate(cx.now) {
                source.quota = rate.clamp(QUOTA_LEAST, source.quota.max(QUOTA_LEAST));
                slow.push(*link);
            }
        }
        if slow.is_empty() {
            return;
        }
        for link in self.waiting_on(|source| source.stalled.is_none()) {
            if slow.binary_search(&link).is_err() {
                self.ask(cx, is_held, link, Some(&slow));
            }
        }
    }

    /// Ends requests that are overdue, and asks others. A source that brought too little of what
    /// was requested is stalled, and everything that it was asked for lapses. Returns whether
    /// something is missing that nobody else is known to have.
    pub(crate) fn expire(&mut self, cx: &mut Context, is_held: Held<'_>) -> bool {
        let now = cx.now;
        let mut overdue = Vec::new();
        for (link, source) in &mut self.sources {
            let short = source.is_short(now);
            let mut lapsed = 0_usize;
            while let Some((at, id)) = source.asked.front().copied() {
                let item = self.items.get_mut(&id);
                let is_open = |asked: Asked| asked.link == *link && asked.at == at;
                let open = item.filter(|item| item.asked.is_some_and(is_open));
                if open.is_some() && !short && now.saturating_duration_since(at) < ITEM_TIMEOUT {
                    break;
                }
                source.asked.pop_front();
                let Some(item) = open else { continue };
                source.outstanding -= 1;
                // One that was cancelled and requested again at the same time is there twice.
                item.asked = None;
                if is_held(&id) {
                    self.items.remove(&id);
                } else {
                    lapsed += 1;
                    overdue.push((*link, id));
                }
            }
            lapsed += source.lost;
            if short && lapsed > 0 {
                source.stalled = Some(Stall { since: now, debt: lapsed.div_ceil(2).min(WINDOW_ITEMS) });
                source.quota = QUOTA_LEAST;
            }
            if source.is_window_over(now) {
                source.begin_window(now);
            }
            source.stalled.take_if(|stall| now.saturating_duration_since(stall.since) >= STALL);
        }
        let mut orphans = false;
        for (link, id) in overdue {
            note_failed(&mut self.failed, now, id, link);
            orphans |= self.lapse(&id);
        }
        self.ask_all(cx, is_held);
        orphans
    }

    /// Ends a request. Returns whether nobody is known to have the item who has not failed for it:
    /// who has it will offer it again.
    fn lapse(&mut self, id: &TransactionId) -> bool {
        let Some(item) = self.items.get_mut(id) else { return false };
        item.asked = None;
        self.unasked += 1;
        for link in &item.waits {
            if let Some(source) = self.sources.get_mut(link) {
                source.searched = false;
            }
        }
        let failed = self.failed.get(id).map(Vec::as_slice).unwrap_or_default();
        let orphan = item.waits.iter().all(|link| failed.contains(link));
        if item.waits.is_empty() {
            self.forget(id);
        }
        orphan
    }

    /// Forgets an item. Returns who was asked for it.
    fn forget(&mut self, id: &TransactionId) -> Option<LinkId> {
        let item = self.items.remove(id)?;
        let Some(asked) = item.asked else {
            self.unasked -= 1;
            return None;
        };
        if let Some(source) = self.sources.get_mut(&asked.link) {
            source.outstanding -= 1;
        }
        Some(asked.link)
    }

    /// Returns when the sources are to be looked at again; `None` if nothing is wanted.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let contested = self.sources.values().any(|source| !source.waiting.is_empty());
        let asked = self.sources.values().filter(|source| source.is_awaited());
        let dues = asked.map(|source| {
            let window = source.window + WINDOW;
            let due = source.asked.front().map_or(window, |(asked, _)| window.min(*asked + ITEM_TIMEOUT));
            let judged = source.window + source.patience;
            if source.outstanding > 0 && contested { due.min(self.after_tick(judged)) } else { due }
        });
        let since = self.sources.values().map(|source| source.window).min().filter(|_| self.unasked > 0);
        dues.chain(since.map(|since| self.after_tick(since))).min()
    }

    /// Returns a time, or when the next tick may be.
    fn after_tick(&self, at: Instant) -> Instant {
        self.ticked.map_or(at, |ticked| at.max(ticked + TICK_INTERVAL))
    }

    /// Notes that a link brought an item. It is progress only if the link was asked for it.
    pub(crate) fn on_brought(
        &mut self,
        cx: &mut Context,
        is_held: Held<'_>,
        link: LinkId,
        id: &TransactionId,
        bytes: usize,
    ) {
        let asked = self.forget(id);
        // It counts once.
        let failed = if self.failed.is_empty() { None } else { self.failed.get_mut(id) };
        let late = failed.is_some_and(|failed| failed.extract_if(.., |failed| *failed == link).count() > 0);
        let Some(source) = self.sources.get_mut(&link).filter(|_| late || asked == Some(link)) else { return };
        source.items += 1;
        source.bytes += bytes;
        source.quota = (source.quota + 4).min(self.per_link);
        if let Some(stall) = &mut source.stalled {
            stall.debt = stall.debt.saturating_sub(1);
        }
        source.stalled.take_if(|stall| stall.debt == 0);
        // Many in one WANT.
        if !source.searched && !source.waiting.is_empty() && source.outstanding <= source.quota / 2 {
            self.ask(cx, is_held, link, None);
        }
    }

    /// Forgets an item that this node does not take.
    pub(crate) fn cancel(&mut self, id: &TransactionId) {
        self.forget(id);
    }

    /// Forgets what is offered and not requested yet. What is requested may come.
    pub(crate) fn withdraw(&mut self) {
        for source in self.sources.values_mut() {
            source.waiting.clear();
        }
        self.items.retain(|_, item| {
            item.waits.clear();
            item.asked.is_some()
        });
        self.unasked = 0;
    }

    /// Returns whether an item is wanted.
    pub(crate) fn is_wanted(&self, id: &TransactionId) -> bool {
        self.items.contains_key(id)
    }

    /// Has others asked first for a while: a source offered more than it brought.
    pub(crate) fn stall(&mut self, now: Instant, source: LinkId) {
        self.source(now, source).stalled = Some(Stall { since: now, debt: WINDOW_ITEMS });
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

    /// Forgets a link that is closed, and asks others for what it was asked for. Returns whether
    /// nobody else is known to have some of it.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, is_held: Held<'_>, link: LinkId) -> bool {
        self.asks.remove(&link);
        let Some(source) = self.sources.remove(&link) else { return false };
        let mut orphans = false;
        for id in source.waiting {
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.waits.retain(|waits| *waits != link);
            if item.asked.is_none() && item.waits.is_empty() {
                self.forget(&id);
                orphans = true;
            }
        }
        for (_, id) in source.asked {
            if self.items.get(&id).is_some_and(|item| item.is_asked_of(link)) {
                orphans |= self.lapse(&id);
            }
        }
        self.ask_all(cx, is_held);
        orphans
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
mod tests;
