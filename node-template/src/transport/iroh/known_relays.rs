//! The relays that this node knows, and which one it is reached over: its home relay.
//!
//! The engine is given one relay at a time. It would choose the nearest of several, but comes back
//! late from one that is gone for good: here another one takes its place after [`PATIENCE`].

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use meshpool_proto::IpPrefix;
use meshpool_proto::address::RelayHint;
use meshpool_proto::causes::RelayFault;

/// How many relays are kept: enough that two may be gone.
pub(super) const RELAYS: usize = 3;
/// How long a home relay may be away before another one takes its place. A relay that is restarted
/// is back sooner, and then links over it go on.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least time from one home relay that is left although it answers to the next: it forwards
/// nothing, or all nodes are gone that were linked over it.
const LEAVE_EVERY: Duration = Duration::from_secs(600);

/// A relay that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownRelay {
    /// As it is told to others.
    pub(super) hint: RelayHint,
    /// Where its name leads.
    pub(super) at: SocketAddr,
    /// Whether the user named it: then it is never displaced.
    by_user: bool,
    /// Whether it was away when it was the home relay last: a learned one then gives way to others,
    /// and dials take others.
    failed: bool,
    /// Why it refused this node when it was the home relay last.
    refused: Option<String>,
}

/// The relays, the home relay first.
#[derive(Debug, Default)]
pub(super) struct KnownRelays {
    relays: Vec<KnownRelay>,
    /// Since when the home relay is away.
    away: Option<Instant>,
    /// When a home relay was left last although it answered.
    left: Option<Instant>,
    /// Those that the user named and that have not answered yet, and why. The engine is not given
    /// them: it tries a relay that does not answer about a dozen times in a minute.
    unanswered: Vec<(RelayHint, RelayFault)>,
}

impl KnownRelay {
    /// Returns why it refused this node when it was the home relay last.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl KnownRelays {
    /// Takes what the user names from now on. Relays that are not among them count as learned.
    pub(super) fn set_named(&mut self, named: &[RelayHint]) {
        for known in &mut self.relays {
            known.by_user &= named.contains(&known.hint);
        }
        self.unanswered.retain(|(hint, _)| named.contains(hint));
    }

    /// Notes that a relay that the user named is not found, or does not answer.
    pub(super) fn on_no_answer(&mut self, hint: RelayHint, fault: RelayFault) {
        self.unanswered.retain(|(other, _)| *other != hint);
        self.unanswered.push((hint, fault));
    }

    /// Notes why a relay that did not answer before still does not.
    pub(super) fn on_still_no_answer(&mut self, hint: &RelayHint, fault: RelayFault) {
        if let Some((_, before)) = self.unanswered.iter_mut().find(|(other, _)| other == hint) {
            *before = fault;
        }
    }

    /// Returns the relays that the user named and that have not answered yet, and why.
    pub(super) fn unanswered(&self) -> &[(RelayHint, RelayFault)] {
        &self.unanswered
    }

    /// Adds a relay that did not answer before, unless the user names it no more meanwhile. Returns
    /// whether it is new and there was room.
    pub(super) fn on_answer(&mut self, hint: RelayHint, at: SocketAddr) -> bool {
        self.unanswered.iter().any(|(other, _)| *other == hint) && self.add(hint, at, true)
    }

    /// Returns the relays that the user named by a name and that are away: the name may lead
    /// elsewhere by now.
    pub(super) fn lost(&self, now: Instant) -> Vec<RelayHint> {
        let is_away =
            |index| index == 0 && self.away.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        let is_name = |hint: &RelayHint| hint.host().parse::<IpAddr>().is_err();
        let lost = self.relays.iter().enumerate().filter(|(index, known)| known.failed || is_away(*index));
        lost.filter(|(_, known)| known.by_user && is_name(&known.hint)).map(|(_, known)| known.hint.clone()).collect()
    }

    /// Notes that a relay answers at an address to which its name leads. Returns whether that is
    /// another one than before.
    pub(super) fn on_moved(&mut self, hint: &RelayHint, at: SocketAddr) -> bool {
        if self.relays.iter().any(|known| known.at == at) {
            return false;
        }
        let Some(index) = self.relays.iter().position(|known| known.by_user && known.hint == *hint) else {
            return false;
        };
        let known = &mut self.relays[index];
        (known.at, known.failed, known.refused) = (at, false, None);
        if index == 0 {
            self.away = None;
        }
        true
    }

    /// Adds a relay; returns whether it is new and there was room. A learned one has to be in
    /// another network than those that are known, so that one operator's fault is not the end.
    pub(super) fn add(&mut self, hint: RelayHint, at: SocketAddr, by_user: bool) -> bool {
        self.unanswered.retain(|(other, _)| *other != hint);
        if let Some(known) = self.relays.iter_mut().find(|known| known.at == at) {
            known.by_user |= by_user;
            return false;
        }
        // Its name leads to several addresses, in a new order each time.
        if by_user && self.relays.iter().any(|known| known.by_user && known.hint == hint) {
            return false;
        }
        let near = |known: &KnownRelay| IpPrefix::address_group(known.at.ip()) == IpPrefix::address_group(at.ip());
        if !by_user && self.relays.iter().any(near) {
            return false;
        }
        if self.relays.len() >= RELAYS {
            let gives_way = |known: &KnownRelay| !known.by_user && (by_user || known.failed);
            match self.relays.iter().rposition(gives_way) {
                Some(last) => drop(self.relays.remove(last)),
                None => return false,
            }
        }
        self.relays.push(KnownRelay { hint, at, by_user, failed: false, refused: None });
        true
    }

    /// Returns the relay that this node is reached over.
    pub(super) fn home(&self) -> Option<&KnownRelay> {
        self.relays.first()
    }

    /// Returns those that others are told: not a learned one that was away.
    pub(super) fn told(&self) -> Vec<RelayHint> {
        let told = self.relays.iter().filter(|known| known.by_user || !known.failed);
        told.map(|known| known.hint.clone()).collect()
    }

    /// Returns whether the user named a relay and it is known.
    pub(super) fn is_named(&self, hint: &RelayHint) -> bool {
        self.relays.iter().any(|known| known.by_user && known.hint == *hint)
    }

    /// Returns whether a relay at this address is known.
    pub(super) fn is_at(&self, at: SocketAddr) -> bool {
        self.relays.iter().any(|known| known.at == at)
    }

    pub(super) fn all(&self) -> &[KnownRelay] {
        &self.relays
    }

    /// Returns those that were not away when they were used last, or all if they all were.
    pub(super) fn usable(&self) -> Vec<SocketAddr> {
        let at = |known: &KnownRelay| known.at;
        let working: Vec<_> = self.relays.iter().filter(|known| !known.failed).map(at).collect();
        if working.is_empty() { self.relays.iter().map(at).collect() } else { working }
    }

    /// Returns whether a relay is known, and was not away when it was used last.
    pub(super) fn works(&self, at: SocketAddr) -> bool {
        self.relays.iter().any(|known| known.at == at && !known.failed)
    }

    /// Notes whether the home relay is connected. Returns whether the next one takes its place.
    pub(super) fn on_home(&mut self, connected: bool, now: Instant) -> bool {
        if connected {
            self.away = None;
            if let Some(home) = self.relays.first_mut() {
                (home.failed, home.refused) = (false, None);
            }
            return false;
        }
        let since = *self.away.get_or_insert(now);
        let changes = self.relays.len() > 1 && now.saturating_duration_since(since) >= PATIENCE;
        if changes {
            self.relays[0].failed = true;
            self.next(now);
        }
        changes
    }

    /// Notes why a relay refuses this node. Returns it if that is new.
    pub(super) fn on_refused(&mut self, at: SocketAddr, why: String) -> Option<&KnownRelay> {
        let relay = self.relays.iter_mut().find(|known| known.at == at)?;
        let is_new = relay.refused.as_ref() != Some(&why);
        relay.refused = Some(why);
        is_new.then_some(relay)
    }

    /// Notes that the last attempt to connect to a relay failed otherwise than by a refusal.
    pub(super) fn on_not_refused(&mut self, at: SocketAddr) {
        if let Some(known) = self.relays.iter_mut().find(|known| known.at == at) {
            known.refused = None;
        }
    }

    /// Returns those to ping while none is connected. `given`: the one that the engine dials. If it
    /// refuses this node it answers pings, too.
    pub(super) fn to_ping(&self, given: Option<SocketAddr>) -> Vec<SocketAddr> {
        let is_pinged = |known: &&KnownRelay| known.refused.is_none() || given != Some(known.at);
        self.relays.iter().filter(is_pinged).map(|known| known.at).collect()
    }

    /// Notes that a relay is away. If it is the home relay, the next one takes its place.
    pub(super) fn on_gone(&mut self, at: SocketAddr, now: Instant) {
        let Some(index) = self.relays.iter().position(|known| known.at == at) else { return };
        self.relays[index].failed = true;
        if index == 0 && self.relays.len() > 1 {
            self.next(now);
        }
    }

    /// Notes that nothing comes over a relay although it answers. Returns whether it is to be left:
    /// if it is the home relay, there is another one, and none was left so for a while.
    pub(super) fn on_mute(&mut self, at: SocketAddr, now: Instant) -> bool {
        let is_home = self.home().is_some_and(|home| home.at == at);
        let is_due = self.left.is_none_or(|left| now.saturating_duration_since(left) >= LEAVE_EVERY);
        if !is_home || self.relays.len() < 2 || !is_due {
            return false;
        }
        self.left = Some(now);
        true
    }

    fn next(&mut self, now: Instant) {
        self.relays.rotate_left(1);
        self.away = Some(now);
    }

    /// Restarts the time for which the home relay is away: a new endpoint needs time to connect.
    pub(super) fn on_new_endpoint(&mut self) {
        self.away = None;
    }

    /// Makes a relay the home relay.
    pub(super) fn prefer(&mut self, at: SocketAddr) {
        if let Some(index) = self.relays.iter().position(|known| known.at == at) {
            self.relays[..=index].rotate_right(1);
            self.away = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(relays: &mut KnownRelays, text: &str, by_user: bool) -> bool {
        relays.add(text.parse().expect("a hint"), text.parse().expect("an address"), by_user)
    }

    fn shown(relays: &KnownRelays) -> Vec<String> {
        relays.all().iter().map(|relay| relay.at.to_string()).collect()
    }

    #[test]
    fn a_relay_that_was_away_is_used_only_if_there_is_no_other() {
        let (mut relays, now) = (KnownRelays::default(), Instant::now());
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (one, two) = (at("192.0.2.1:1"), at("198.51.100.1:1"));
        assert!(add(&mut relays, "192.0.2.1:1", true) && add(&mut relays, "198.51.100.1:1", true));
        assert!(!relays.on_home(false, now) && relays.works(one), "it may be back at once");
        assert!(relays.on_home(false, now + PATIENCE) && !relays.works(one) && relays.works(two));
        assert_eq!(relays.usable(), [two]);
        relays.on_home(false, now + PATIENCE);
        assert!(relays.on_home(false, now + PATIENCE * 2));
        assert_eq!(relays.usable(), [one, two], "both were away");
        relays.on_home(true, now + PATIENCE * 2);
        assert_eq!(relays.usable(), [one], "it is back");
    }

    #[test]
    fn the_refusal_of_a_relay_is_news_once_until_it_takes_the_node() {
        let mut relays = KnownRelays::default();
        let at = "192.0.2.1:1".parse().expect("an address");
        assert!(relays.on_refused(at, "full".to_owned()).is_none(), "it is not known");
        assert!(add(&mut relays, "192.0.2.1:1", true));
        let mut is_news = |why: &str| relays.on_refused(at, why.to_owned()).is_some();
        assert!(is_news("full") && !is_news("full") && is_news("members only"));
        assert_eq!(relays.home().and_then(KnownRelay::refused), Some("members only"));
        assert!(!relays.on_home(true, Instant::now()));
        assert_eq!(relays.home().and_then(KnownRelay::refused), None);
        assert!(relays.on_refused(at, "members only".to_owned()).is_some());
    }

    #[test]
    fn a_relay_that_refused_once_is_pinged_after_its_line_was_cut() {
        let mut relays = KnownRelays::default();
        let [one, two] = ["192.0.2.1:1", "198.51.100.1:1"].map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert!(add(&mut relays, "192.0.2.1:1", true) && relays.on_refused(one, "full".to_owned()).is_some());
        assert_eq!(relays.to_ping(Some(one)), [], "it would answer");
        relays.on_not_refused(one);
        assert_eq!((relays.to_ping(Some(one)), relays.home().and_then(KnownRelay::refused)), (vec![one], None));
        assert!(add(&mut relays, "198.51.100.1:1", true));
        assert!(
            relays.on_refused(one, "full".to_owned()).is_some() && relays.on_refused(two, "full".to_owned()).is_some()
        );
        assert_eq!(relays.to_ping(Some(two)), [one], "it may have room by now");
        assert_eq!(relays.to_ping(None), [one, two]);
    }

    #[test]
    fn a_relay_that_is_found_gone_is_left_at_once() {
        let (mut relays, now) = (KnownRelays::default(), Instant::now());
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(add(&mut relays, "192.0.2.1:1", true));
        relays.on_gone(at("192.0.2.1:1"), now);
        assert_eq!(shown(&relays), ["192.0.2.1:1"], "there is no other");
        assert!(add(&mut relays, "198.51.100.1:1", true) && add(&mut relays, "203.0.113.1:1", true));
        relays.on_gone(at("203.0.113.1:1"), now);
        relays.on_gone(at("203.0.113.1:2"), now);
        assert_eq!(shown(&relays), ["192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"], "another one, or unknown");
        relays.on_gone(at("192.0.2.1:1"), now);
        assert_eq!(shown(&relays), ["198.51.100.1:1", "203.0.113.1:1", "192.0.2.1:1"]);
        assert_eq!(relays.usable(), [at("198.51.100.1:1")]);
        assert!(!relays.on_home(false, now + PATIENCE / 2), "the next one has its time to be connected");
    }

    #[test]
    fn a_home_relay_that_forwards_nothing_is_left_once_in_ten_minutes() {
        let (mut relays, now) = (KnownRelays::default(), Instant::now());
        let [one, two] = ["192.0.2.1:1", "198.51.100.1:1"].map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert!(add(&mut relays, "192.0.2.1:1", true) && !relays.on_mute(one, now), "there is no other");
        assert!(add(&mut relays, "198.51.100.1:1", true) && !relays.on_mute(two, now), "it is not the home relay");
        assert!(relays.on_mute(one, now));
        relays.on_gone(one, now);
        assert!(!relays.on_mute(two, now + LEAVE_EVERY / 2), "its peers may be gone");
        assert!(relays.on_mute(two, now + LEAVE_EVERY));
    }

    #[test]
    fn a_relay_that_answers_becomes_the_home_relay() {
        let mut relays = KnownRelays::default();
        for text in ["192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"] {
            assert!(add(&mut relays, text, true));
        }
        relays.prefer("203.0.113.1:1".parse().expect("an address"));
        assert_eq!(shown(&relays), ["203.0.113.1:1", "192.0.2.1:1", "198.51.100.1:1"]);
        relays.prefer("203.0.113.1:1".parse().expect("an address"));
        relays.prefer("203.0.113.1:2".parse().expect("an address"));
        assert_eq!(shown(&relays), ["203.0.113.1:1", "192.0.2.1:1", "198.51.100.1:1"], "it is, or is not known");
    }

    #[test]
    fn a_relay_that_is_away_is_followed_to_where_its_name_leads() {
        let (mut relays, now) = (KnownRelays::default(), Instant::now());
        let hints = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a hint")).collect::<Vec<RelayHint>>();
        let hint = |text: &str| text.parse::<RelayHint>().expect("a hint");
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (one, two, learned) = (hint("one.example:1"), hint("two.example:1"), hint("learned.example:1"));
        assert!(relays.add(one.clone(), at("192.0.2.1:1"), true) && relays.add(two.clone(), at("192.0.2.2:1"), true));
        assert!(relays.add(learned.clone(), at("198.51.100.1:1"), false));
        assert_eq!(relays.lost(now), []);
        assert!(!relays.on_home(false, now));
        assert_eq!(relays.lost(now + PATIENCE / 2), [], "it may be back at once");
        assert_eq!(relays.lost(now + PATIENCE), hints(&["one.example:1"]));
        assert!(!relays.on_moved(&one, at("192.0.2.1:1")) && !relays.on_moved(&one, at("192.0.2.2:1")), "known");
        assert!(relays.on_moved(&one, at("203.0.113.1:1")));
        assert_eq!(relays.home().map(|home| home.at), Some(at("203.0.113.1:1")));
        assert_eq!(relays.lost(now + PATIENCE), [], "it has its time to be connected");
        relays.on_gone(at("192.0.2.2:1"), now);
        relays.on_gone(at("198.51.100.1:1"), now);
        assert_eq!(relays.lost(now), hints(&["two.example:1"]), "a learned one is learned again from its link");
        assert!(relays.on_moved(&two, at("203.0.113.2:1")) && relays.works(at("203.0.113.2:1")));
        relays.set_named(&[]);
        assert!(!relays.on_moved(&two, at("203.0.113.3:1")), "the user names it no more");
        let mut by_ip = KnownRelays::default();
        assert!(add(&mut by_ip, "192.0.2.1:1", true));
        by_ip.on_gone(at("192.0.2.1:1"), now);
        assert_eq!(by_ip.lost(now), [], "an IP address leads nowhere else");
    }

    #[test]
    fn three_relays_are_kept_and_those_of_the_user_displace_learned_ones() {
        let mut relays = KnownRelays::default();
        assert!(add(&mut relays, "192.0.2.1:1", false) && !add(&mut relays, "192.0.2.1:1", false));
        assert!(!add(&mut relays, "192.0.2.1:2", false), "the same host");
        assert!(add(&mut relays, "192.0.2.2:1", false) && add(&mut relays, "192.0.2.3:1", false));
        assert!(!add(&mut relays, "192.0.2.4:1", false), "three are enough");
        assert!(add(&mut relays, "192.0.2.1:2", true));
        assert_eq!(shown(&relays), ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2"]);
        assert!(add(&mut relays, "192.0.2.5:1", true) && add(&mut relays, "192.0.2.6:1", true));
        assert!(!add(&mut relays, "192.0.2.7:1", true), "all three are the user's");
        assert_eq!(shown(&relays), ["192.0.2.1:2", "192.0.2.5:1", "192.0.2.6:1"]);
    }

    #[test]
    fn a_name_that_leads_to_several_addresses_is_one_relay() {
        let mut relays = KnownRelays::default();
        let hint = |text: &str| text.parse::<RelayHint>().expect("a hint");
        let mut add = |name: &str, at: &str, by_user| relays.add(hint(name), at.parse().expect("an address"), by_user);
        assert!(add("one.example:1", "203.0.113.1:1", false), "the word of a peer");
        assert!(add("one.example:1", "192.0.2.1:1", true), "the user's resolver says otherwise");
        assert!(!add("one.example:1", "192.0.2.2:1", true) && !add("one.example:1", "192.0.2.1:1", true));
        assert!(add("two.example:1", "192.0.2.3:1", true) && add("three.example:1", "192.0.2.4:1", true));
        assert_eq!(shown(&relays), ["192.0.2.1:1", "192.0.2.3:1", "192.0.2.4:1"]);
    }

    #[test]
    fn a_relay_that_the_user_names_no_more_gives_way_to_others() {
        let (mut relays, start) = (KnownRelays::default(), Instant::now());
        let hints = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a hint")).collect::<Vec<_>>();
        for text in ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"] {
            assert!(add(&mut relays, text, true));
        }
        relays.on_no_answer("a.example:1".parse().expect("a hint"), RelayFault::Silent);
        relays.set_named(&hints(&["192.0.2.2:1", "192.0.2.4:1", "a.example:1"]));
        assert!(matches!(relays.unanswered(), [(hint, RelayFault::Silent)] if hint.port() == 1));
        assert!(!add(&mut relays, "192.0.2.5:1", false), "those that are learned now work");
        assert!(add(&mut relays, "192.0.2.4:1", true));
        assert_eq!(shown(&relays), ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.4:1"]);
        assert!(!relays.on_home(false, start) && relays.on_home(false, start + PATIENCE));
        assert_eq!(relays.told(), hints(&["192.0.2.2:1", "192.0.2.4:1"]));
        assert!(add(&mut relays, "192.0.2.5:1", false));
        assert_eq!(shown(&relays), ["192.0.2.2:1", "192.0.2.4:1", "192.0.2.5:1"]);
        relays.set_named(&[]);
        assert_eq!(relays.unanswered(), []);
        let found = "192.0.2.6:1".parse().expect("an address");
        assert!(!relays.on_answer("a.example:1".parse().expect("a hint"), found), "the user names it no more");
    }

    #[test]
    fn a_learned_relay_that_was_away_gives_way_to_a_new_one() {
        let (mut relays, start) = (KnownRelays::default(), Instant::now());
        for text in ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"] {
            assert!(add(&mut relays, text, false));
        }
        assert!(!relays.on_home(false, start) && relays.on_home(false, start + PATIENCE));
        assert!(add(&mut relays, "192.0.2.4:1", false));
        assert_eq!(shown(&relays), ["192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"]);
        assert!(!add(&mut relays, "192.0.2.5:1", false), "the others were not away");
    }

    #[test]
    fn the_next_relay_takes_the_place_of_one_that_stays_away() {
        let mut relays = KnownRelays::default();
        let start = Instant::now();
        assert!(add(&mut relays, "192.0.2.1:1", true));
        assert!(!relays.on_home(false, start) && !relays.on_home(false, start + PATIENCE), "there is no other");
        assert!(add(&mut relays, "192.0.2.2:1", true));
        assert!(!relays.on_home(true, start + PATIENCE));
        let lost = start + PATIENCE * 2;
        assert!(!relays.on_home(false, lost) && !relays.on_home(false, lost + PATIENCE / 2));
        assert!(relays.on_home(false, lost + PATIENCE));
        assert_eq!(relays.home().map(|home| home.at.to_string()).as_deref(), Some("192.0.2.2:1"));
        assert!(relays.on_home(false, lost + PATIENCE * 2), "it is away too");
        assert_eq!(shown(&relays), ["192.0.2.1:1", "192.0.2.2:1"]);
    }
}
