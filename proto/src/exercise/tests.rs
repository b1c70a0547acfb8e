use super::*;
use crate::io::Input;
use crate::limits::Limits;
use crate::testing::net::{Net, address};
use crate::testing::parts::transaction;
use crate::{Node, RequestId};

/// The exercise peer of these tests.
const PEER: usize = 50;

struct Rig {
    net: Net,
    transactions: u32,
}

impl Rig {
    fn new(nodes: usize) -> Self {
        Self { net: Net::mesh(nodes), transactions: 0 }
    }

    fn submit(&mut self, node: usize) {
        self.transactions += 1;
        let transaction = transaction(self.transactions);
        self.net.tell(node, Input::Submit { request: RequestId(0), transaction });
    }

    /// The links of all nodes to the peer, opened at once.
    fn link(&mut self) -> Vec<LinkId> {
        (0..self.net.cores.len()).map(|node| self.net.exercise(node, PEER)).collect()
    }

    /// Ends the program: all its links end a moment later.
    fn die(&mut self, links: &[LinkId]) {
        self.net.pass(Duration::from_millis(20));
        for (node, link) in links.iter().enumerate() {
            self.net.end(node, *link);
        }
    }

    /// Returns whether a transaction was sent to the peer, or a replay was begun, since the last
    /// call.
    fn sent(&mut self) -> bool {
        let sent = std::mem::take(&mut self.net.to_clients);
        let replays = std::mem::take(&mut self.net.replays);
        sent.iter().any(|frame| frame.starts_with(r#"{"type":"TRANSACTION""#)) || !replays.is_empty()
    }

    /// Runs one life of a program that dies of the first transaction: `rate` between two of them,
    /// for `time`. Returns whether it died.
    fn life_of_blind(&mut self, rate: Duration, time: Duration) -> bool {
        let links = self.link();
        self.sent();
        let until = self.net.now + time;
        while self.net.now < until {
            let node = self.transactions as usize % self.net.cores.len();
            self.submit(node);
            if self.sent() {
                self.die(&links);
                return true;
            }
            // In small steps: it dies a moment after what it gets.
            let next = self.net.now + rate;
            while self.net.now < next {
                self.net.pass(rate.min(Duration::from_millis(20)));
                if self.sent() {
                    self.die(&links);
                    return true;
                }
            }
            for (node, link) in links.iter().enumerate() {
                self.net.tell(node, Input::Pong { link: *link });
            }
        }
        for (node, link) in links.iter().enumerate() {
            self.net.end(node, *link);
        }
        false
    }

    fn warnings(&self, node: usize) -> usize {
        self.net.events[node].iter().filter(|event| matches!(event, Event::Warning { .. })).count()
    }
}

#[test]
fn a_type_blind_node_dies_twice_in_all_at_any_rate_and_however_long_its_links_were_open() {
    for rate in [5, 20, 900, 4_000, 14_000] {
        let mut rig = Rig::new(8);
        let lives = (0..6).map(|_| {
            // Nothing for a while, in every second life.
            rig.net.pass(Duration::from_secs(1));
            let rate = Duration::from_millis(rate);
            rig.life_of_blind(rate, (rate * 3).max(Duration::from_millis(1_600)))
        });
        let died = lives.collect::<Vec<_>>();
        assert_eq!(died, [true, true, false, false, false, false], "one each {rate} ms");
        assert!(rig.warnings(0) <= 2, "{:?}", rig.net.events[0]);
    }
}

#[test]
fn a_type_blind_node_that_is_linked_to_another_node_each_time_dies_twice_in_all() {
    let mut rig = Rig::new(4);
    let died = [0, 1, 2, 3, 0].map(|node| {
        rig.net.pass(Duration::from_secs(1));
        let link = rig.net.exercise(node, PEER);
        rig.sent();
        // Some transactions, until it dies.
        let died = (0..100).any(|_| {
            rig.submit(3);
            rig.net.pass(Duration::from_millis(20));
            rig.sent()
        });
        rig.net.end(node, link);
        died
    });
    assert_eq!(died, [true, true, false, false, false]);
}

#[test]
fn a_healthy_node_that_is_stopped_and_started_is_not_taken_for_blind_and_misses_nothing() {
    for life in [600, 1_000, 1_500, 3_000] {
        let mut rig = Rig::new(1);
        for _ in 0..4 {
            let link = rig.net.exercise(0, PEER);
            for _ in 0..life / 20 {
                rig.submit(0);
                rig.net.pass(Duration::from_millis(20));
            }
            rig.net.end(0, link);
            rig.net.pass(Duration::from_millis(300));
        }
        rig.sent();
        rig.net.exercise(0, PEER);
        rig.submit(0);
        assert!(rig.sent(), "after lives of {life} ms");
        assert_eq!(rig.warnings(0), 0);
    }
}

#[test]
fn what_was_not_acknowledged_and_what_came_meanwhile_is_replayed_after_the_redial() {
    let mut rig = Rig::new(1);
    let link = rig.net.exercise(0, PEER);
    for _ in 0..3 {
        rig.submit(0);
    }
    // Numbers of marks are counted from 1.
    rig.net.pass(Duration::from_millis(100));
    rig.net.tell(0, Input::Marked { link, number: 1 });
    for _ in 0..4 {
        rig.submit(0);
    }
    rig.net.pass(Duration::from_secs(3));
    rig.net.end(0, link);
    rig.submit(0);
    assert!(rig.net.replays.is_empty());
    let again = rig.net.exercise(0, PEER);
    assert_eq!(std::mem::take(&mut rig.net.replays), [(0, again, 3)]);
    rig.net.tell(0, Input::Replayed { link: again, position: 8 });
    rig.net.pass(Duration::from_secs(2));
    rig.net.tell(0, Input::Marked { link: again, number: 3 });
    rig.net.end(0, again);
    rig.net.exercise(0, PEER);
    assert!(rig.net.replays.is_empty(), "it has everything: {:?}", rig.net.replays);
}

#[test]
fn one_that_was_away_for_long_is_a_newcomer() {
    let mut rig = Rig::new(1);
    let link = rig.net.exercise(0, PEER);
    rig.submit(0);
    rig.net.pass(SURVIVED_AFTER);
    rig.net.end(0, link);
    rig.net.pass(KEPT);
    rig.net.exercise(0, PEER);
    assert!(rig.net.replays.is_empty());
}

#[test]
fn a_neighbour_that_it_comes_back_to_replays_what_it_lacks() {
    let mut rig = Rig::new(3);
    rig.submit(0);
    rig.net.pass(Duration::from_secs(60));
    let link = rig.net.exercise(0, PEER);
    rig.net.pass(Duration::from_secs(1));
    rig.submit(1);
    rig.net.pass(SURVIVED_AFTER);
    rig.net.end(0, link);
    rig.net.pass(Duration::from_secs(20));
    rig.submit(1);
    let other = rig.net.exercise(2, PEER);
    assert_eq!(std::mem::take(&mut rig.net.replays), [(2, other, 1)], "not what came long before");
    // The others learn that it is served: one that finds them meanwhile lacks nothing.
    rig.net.exercise(1, PEER);
    assert!(rig.net.replays.is_empty());
}

#[test]
fn one_that_sends_a_transaction_checks_types_and_gets_what_was_held_back() {
    let mut rig = Rig::new(1);
    for _ in 0..2 {
        rig.life_of_blind(Duration::from_millis(20), Duration::from_secs(5));
    }
    rig.net.exercise(0, PEER);
    rig.submit(0);
    rig.net.pass(Duration::from_secs(10));
    assert!(!rig.sent());
    for (remote, believed) in [([203, 0, 113, 7], false), ([127, 0, 0, 1], true)] {
        let inbound = rig.net.client_from(0, remote.into());
        rig.net.receive(0, inbound, &format!(r#"{{"type":"HANDSHAKE","data":["{}"]}}"#, address(PEER)));
        rig.net.receive(0, inbound, r#"{"type":"TRANSACTION","data":{"its":"own"}}"#);
        rig.net.pass(Duration::ZERO);
        assert_eq!(rig.sent(), believed, "{remote:?}");
    }
}

#[test]
fn a_quiet_peer_is_tried_again_and_survives_or_waits_twice_as_long() {
    for survives in [false, true] {
        let mut rig = Rig::new(1);
        for _ in 0..2 {
            rig.life_of_blind(Duration::from_millis(20), Duration::from_secs(5));
        }
        let link = rig.net.exercise(0, PEER);
        rig.submit(0);
        for _ in 0..QUIET.as_secs() / 10 {
            assert!(!rig.sent());
            rig.net.pass(Duration::from_secs(10));
            rig.net.tell(0, Input::Pong { link });
        }
        assert!(rig.sent());
        if survives {
            rig.net.pass(SURVIVED_AFTER);
        }
        rig.die(&[link]);
        let link = rig.net.exercise(0, PEER);
        rig.submit(0);
        rig.net.pass(TRIAL_DELAY);
        assert_eq!(rig.sent(), survives);
        rig.net.end(0, link);
    }
}

#[test]
fn it_is_known_after_a_restart() {
    let mut rig = Rig::new(2);
    for _ in 0..2 {
        rig.life_of_blind(Duration::from_millis(20), Duration::from_secs(5));
    }
    rig.net.pass(Duration::from_secs(5));
    assert_eq!(rig.net.remembered[&0][0].drops, 2);
    rig.net.restart(0);
    rig.sent();
    let link = rig.net.exercise(0, PEER);
    rig.submit(0);
    rig.net.pass(Duration::from_secs(30));
    assert!(!rig.sent());
    rig.net.end(0, link);
    // A newcomer is told of it when it links.
    rig.net.add();
    rig.net.link(2, 1);
    rig.net.exercise(2, PEER);
    rig.submit(1);
    rig.net.pass(Duration::from_secs(30));
    assert!(!rig.sent());
}

#[test]
fn what_others_say_does_not_outrank_our_own_experience() {
    let mut rig = Rig::new(2);
    let link = rig.net.exercise(0, PEER);
    rig.submit(0);
    rig.net.pass(SURVIVED_AFTER);
    let from = rig.net.link_between(0, 1);
    let frame = format!(r#"{{"type":"EXERCISE","data":[{{"address":"{}","drops":9,"event":1}}]}}"#, address(PEER));
    rig.net.receive(0, from, &frame);
    rig.sent();
    rig.submit(0);
    assert!(rig.sent());
    rig.net.end(0, link);
    // Nor does the word of a client count at all.
    let client = rig.net.client(0);
    let other = format!(r#"{{"type":"EXERCISE","data":[{{"address":"{}","drops":2,"event":1}}]}}"#, address(PEER + 1));
    rig.net.receive(0, client, &other);
    rig.net.exercise(0, PEER + 1);
    rig.submit(0);
    assert!(rig.sent());
}

#[test]
fn a_liar_holds_transactions_back_once_for_each_link() {
    let mut rig = Rig::new(2);
    let from = rig.net.link_between(0, 1);
    let mut drops = 1;
    let mut lie = |rig: &mut Rig| {
        drops += 1;
        let data = format!(r#"[{{"address":"{}","drops":{drops},"event":{drops}}}]"#, address(PEER));
        rig.net.receive(0, from, &format!(r#"{{"type":"EXERCISE","data":{data}}}"#));
    };
    for started in 0..2 {
        let link = rig.net.exercise(0, PEER);
        lie(&mut rig);
        rig.sent();
        rig.submit(0);
        let mut waited = Duration::ZERO;
        while !rig.sent() {
            assert!(waited <= QUIET + TRIAL_DELAY, "start {started}: {waited:?}");
            lie(&mut rig);
            rig.net.tell(0, Input::Pong { link });
            rig.net.pass(Duration::from_secs(10));
            waited += Duration::from_secs(10);
        }
        assert!(waited >= QUIET);
        rig.net.pass(SURVIVED_AFTER);
        rig.net.end(0, link);
        // Nothing is replayed to it at its next start.
        rig.net.pass(KEPT);
    }
    assert_eq!(rig.net.cores[0].exercise.peers[&address(PEER)].drops, 0);
}

#[test]
fn the_word_of_the_node_at_which_it_ended_counts_again() {
    // The word may come before our link to the peer is seen to end, or after.
    for told_first in [true, false] {
        let mut rig = Rig::new(8);
        for _ in 0..2 {
            rig.life_of_blind(Duration::from_millis(20), Duration::from_secs(5));
        }
        // Node 0 is the first that tries once more.
        let record = rig.net.cores[0].exercise.peers.get_mut(&address(PEER)).unwrap();
        record.quiet_until = record.quiet_until.map(|until| until - Duration::from_secs(5));
        let links = rig.link();
        rig.submit(0);
        rig.sent();
        while !rig.sent() {
            rig.net.pass(Duration::from_secs(1));
            for (node, link) in links.iter().enumerate() {
                rig.net.tell(node, Input::Pong { link: *link });
            }
        }
        rig.net.pass(Duration::from_millis(20));
        let mut ends: Vec<_> = links.iter().enumerate().collect();
        if !told_first {
            ends.reverse();
        }
        for (node, link) in ends {
            rig.net.end(node, *link);
            rig.net.pass(Duration::from_millis(20));
        }
        let links = rig.link();
        rig.sent();
        rig.submit(0);
        for _ in 0..QUIET.as_secs() / 10 - 1 {
            rig.net.pass(Duration::from_secs(10));
            assert!(!rig.sent(), "told first: {told_first}");
            for (node, link) in links.iter().enumerate() {
                rig.net.tell(node, Input::Pong { link: *link });
            }
        }
    }
}

#[test]
fn the_number_of_peers_that_are_remembered_is_bounded() {
    let mut rig = Rig::new(2);
    let from = rig.net.link_between(0, 1);
    for part in 0..40 {
        let entries: Vec<String> = (0..limits::EXERCISE_UPDATES)
            .map(|number| {
                format!(
                    r#"{{"address":"ws://localhost:{}","drops":2,"lacks":5,"event":1}}"#,
                    6_000 + part * 64 + number
                )
            })
            .collect();
        rig.net.receive(0, from, &format!(r#"{{"type":"EXERCISE","data":[{}]}}"#, entries.join(",")));
    }
    assert_eq!(rig.net.cores[0].exercise.peers.len(), limits::EXERCISE_PEERS);
    rig.net.tell(0, Input::Shutdown);
    assert_eq!(rig.net.remembered[&0].len(), limits::PEER_CACHE);
}

#[test]
fn a_neighbour_that_names_many_drives_out_its_own_and_not_what_others_named() {
    let mut rig = Rig::new(3);
    let liar = rig.net.link_between(0, 1);
    let honest = rig.net.link_between(0, 2);
    let news = |ports: std::ops::Range<usize>| {
        let entry = |port| format!(r#"{{"address":"ws://localhost:{port}","drops":2,"lacks":5}}"#);
        format!(r#"{{"type":"EXERCISE","data":[{}]}}"#, ports.map(entry).collect::<Vec<_>>().join(","))
    };
    rig.net.receive(0, honest, &news(5_000..5_020));
    for part in 0..40 {
        rig.net.receive(0, liar, &news(6_000 + part * 64..6_064 + part * 64));
    }
    let peers = &rig.net.cores[0].exercise.peers;
    assert_eq!(peers.len(), limits::EXERCISE_PEERS);
    assert_eq!(peers.keys().filter(|address| address.port() < 5_100).count(), 20);
}

#[test]
fn opposite_news_go_through_a_circle_of_links_once_and_never_too_often() {
    let mut rig = Rig { net: Net::new(6), transactions: 0 };
    for node in 0..6 {
        rig.net.link(node, (node + 1) % 6);
    }
    rig.submit(0);
    rig.net.pass(SURVIVED_AFTER * 2);
    let violations = |rig: &Rig| rig.net.cores.iter().map(|core| core.counters().violations).sum::<u64>();
    for turn in 0..200 {
        // A peer that comes and goes here and there at once.
        let (one, other) = (turn % 6, (turn + 3) % 6);
        let links = [(one, rig.net.exercise(one, PEER)), (other, rig.net.exercise(other, PEER))];
        rig.submit(0);
        rig.net.pass(Duration::from_millis(20));
        for (node, link) in links {
            rig.net.end(node, link);
        }
        assert_eq!(violations(&rig), 0, "turn {turn}");
    }
}

#[test]
fn a_node_that_links_to_a_peer_that_another_serves_replays_the_last_minute() {
    let mut rig = Rig::new(3);
    rig.submit(1);
    rig.net.pass(RECHECKED * 2);
    rig.net.exercise(0, PEER);
    rig.net.pass(MARGIN / 2);
    rig.net.exercise(1, PEER);
    assert!(rig.net.replays.is_empty(), "a newcomer: {:?}", rig.net.replays);
    rig.submit(1);
    rig.net.pass(MARGIN);
    rig.submit(1);
    let link = rig.net.exercise(2, PEER);
    assert_eq!(std::mem::take(&mut rig.net.replays), [(2, link, 1)], "the others may have died");
}

#[test]
fn a_referred_peer_gets_the_slot_of_one_that_others_serve() {
    let mut rig = Rig::new(2);
    let links: Vec<LinkId> = (0..2).map(|number| rig.net.exercise(0, PEER + number)).collect();
    let Node { cx, connections, exercise, .. } = &mut rig.net.cores[0];
    exercise.on_referred(cx, &address(PEER + 2));
    assert_eq!(exercise.next_without_slot(cx, &connections.links), None, "a moment later");
    cx.now += LOOK_AGAIN;
    assert_eq!(exercise.next_without_slot(cx, &connections.links), Some(address(PEER + 2)));
    assert_eq!(exercise.next_without_slot(cx, &connections.links), None, "once");
    assert_eq!(exercise.link_to_swap(cx, &connections.links), None, "nobody else serves them");
    rig.net.exercise(1, PEER + 1);
    let Node { cx, connections, exercise, .. } = &mut rig.net.cores[0];
    assert_eq!(exercise.link_to_swap(cx, &connections.links), Some(links[1]));
    assert_eq!(exercise.link_to_swap(cx, &connections.links), None, "too soon");
    cx.now += SWAP_EVERY;
    assert_eq!(exercise.link_to_swap(cx, &connections.links), Some(links[1]));
    // One that others serve needs no slot here.
    rig.net.exercise(1, PEER + 2);
    let Node { cx, connections, exercise, .. } = &mut rig.net.cores[0];
    exercise.on_referred(cx, &address(PEER + 2));
    cx.now += SWAP_EVERY * 4;
    assert_eq!(exercise.next_without_slot(cx, &connections.links), None);
    assert!(exercise.referred.is_empty());
}

/// How often a node has dialled an exercise peer.
fn dials(net: &Net, node: usize, peer: usize) -> usize {
    let to_peer = |event: &&Event| matches!(event, Event::Dialling { address: to } if *to == address(peer));
    net.events[node].iter().filter(to_peer).count()
}

/// Node 0 of these has room for exercise peers beside its links to all others. It wants no more
/// links, and dials nobody for addresses.
fn capped(nodes: usize, most: u32) -> Rig {
    let mut rig = Rig::new(nodes);
    let cx = &mut rig.net.cores[0].cx;
    cx.config.max_peers = Some(most);
    [Timer::Shuffle, Timer::Rewire].iter().for_each(|timer| cx.timers.cancel(timer));
    rig
}

#[test]
fn two_peers_that_are_referred_at_once_get_the_slots_of_two_that_others_serve() {
    let mut rig = capped(4, 5);
    for peer in [PEER, PEER + 1] {
        rig.net.exercise(0, peer);
        rig.net.exercise(1, peer);
    }
    for peer in [PEER + 2, PEER + 3] {
        rig.net.exercise(0, peer);
    }
    assert_eq!(rig.net.cores[0].counters().exercise_redirected, 2);
    rig.net.pass(LOOK_AGAIN);
    let dialled = |rig: &Rig| [PEER + 2, PEER + 3].map(|peer| dials(&rig.net, 0, peer) > 0);
    assert_eq!(dialled(&rig).into_iter().filter(|dialled| *dialled).count(), 1, "one slot in a while");
    rig.net.pass(SWAP_EVERY * 3);
    assert_eq!(dialled(&rig), [true, true]);
    assert!(rig.net.cores[0].exercise.referred.is_empty());
}

#[test]
fn a_peer_for_which_there_is_no_slot_is_looked_at_for_a_while() {
    // Nobody else serves those that are linked, so none gives way.
    let mut rig = capped(4, 5);
    for peer in 0..3 {
        rig.net.exercise(0, PEER + peer);
    }
    let links: Vec<LinkId> = rig.net.cores[0].connections.links.iter().map(|(link, _)| link).collect();
    for passed in 1..=20 {
        rig.net.pass(LOOK_FOR / 18);
        links.iter().for_each(|link| rig.net.tell(0, Input::Pong { link: *link }));
        let looks = !rig.net.cores[0].exercise.referred.is_empty();
        assert!(looks || passed >= 18, "{passed}");
        assert!(!looks || passed < 20, "{passed}");
    }
    assert_eq!(rig.net.cores[0].cx.timers.due(&Timer::ExerciseLook), None);
    assert_eq!(dials(&rig.net, 0, PEER + 2), 0);
}

#[test]
fn a_peer_that_stands_still_until_its_link_is_closed_as_dead_is_dialled_again_without_end() {
    let mut rig = capped(5, 5);
    let link = rig.net.exercise(0, PEER);
    rig.submit(0);
    // Its kernel takes what is sent, and its program answers no ping.
    let silent = Limits::default().dead_after + Limits::default().ping_interval;
    rig.net.pass(silent);
    assert_eq!(rig.net.cores[0].counters().links_dead, 1);
    let Node { cx, connections, exercise, membership, .. } = &rig.net.cores[0];
    assert!(connections.links.get(link).is_none() && exercise.is_lost(&address(PEER)));
    assert_eq!(membership.exercise_slots(cx, connections), 1, "its slot is held");
    let mut before = dials(&rig.net, 0, PEER);
    // A laptop may sleep for longer than it is remembered what its program lacks.
    for _ in 0..10 {
        rig.net.pass(KEPT / 5);
        let now = dials(&rig.net, 0, PEER);
        assert!(now > before, "{now} dials");
        before = now;
    }
    assert!(before < 100, "{before} dials in 20 minutes");
    rig.sent();
    rig.net.exercise(0, PEER);
    assert!(rig.net.replays.is_empty(), "it is a newcomer");
    assert!(!rig.net.cores[0].exercise.is_lost(&address(PEER)));
}

#[test]
fn a_peer_whose_link_a_node_ends_by_its_own_decision_is_not_dialled_again() {
    let mut rig = capped(5, 5);
    let link = rig.net.exercise(0, PEER);
    let Node { cx, connections, .. } = &mut rig.net.cores[0];
    connections.links.close(cx, link, crate::wire::close::TRY_AGAIN_LATER, "the slot is for another");
    while rig.net.cores[0].poll_output().is_some() {}
    rig.net.end(0, link);
    assert!(!rig.net.cores[0].exercise.is_lost(&address(PEER)));
    rig.net.pass(KEPT);
    assert_eq!(dials(&rig.net, 0, PEER), 0);
}

#[test]
fn a_liar_does_not_have_a_node_forget_what_its_own_link_showed() {
    let mut rig = Rig::new(2);
    let from = rig.net.link_between(0, 1);
    let link = rig.net.exercise(0, PEER);
    rig.submit(0);
    rig.net.pass(Duration::from_millis(100));
    rig.net.tell(0, Input::Marked { link, number: 1 });
    // From here on it stands still.
    for _ in 0..3 {
        rig.submit(0);
    }
    rig.net.pass(SURVIVED_AFTER);
    rig.net.end(0, link);
    let served = format!(r#"{{"type":"EXERCISE","data":[{{"address":"{}","lacks":0,"event":1}}]}}"#, address(PEER));
    rig.net.receive(0, from, &served);
    rig.net.pass(RECHECKED * 2);
    rig.submit(0);
    let again = rig.net.exercise(0, PEER);
    assert_eq!(std::mem::take(&mut rig.net.replays), [(0, again, 1)]);
    // It has everything now.
    rig.net.tell(0, Input::Replayed { link: again, position: 5 });
    rig.net.pass(Duration::from_secs(2));
    rig.net.tell(0, Input::Marked { link: again, number: 9 });
    rig.net.end(0, again);
    rig.net.exercise(0, PEER);
    assert!(rig.net.replays.is_empty(), "{:?}", rig.net.replays);
}

#[test]
fn what_a_neighbour_says_it_lacks_for_ever_is_what_is_remembered_at_most_and_so_passed_on() {
    let mut rig = Rig { net: Net::line(3), transactions: 0 };
    rig.submit(1);
    rig.net.pass(KEPT * 2);
    let from = rig.net.link_between(1, 0);
    let lacks = format!(
        r#"{{"type":"EXERCISE","data":[{{"address":"{}","drops":4294967295,"lacks":18446744073709551615,"event":1}}]}}"#,
        address(PEER)
    );
    rig.net.receive(1, from, &lacks);
    for node in 1..3 {
        let record = &rig.net.cores[node].exercise.peers[&address(PEER)];
        assert_eq!((record.drops, record.told_behind.map(|(from, _)| from)), (limits::EXERCISE_DROPS, Some(1)));
    }
}

#[test]
fn a_peer_that_was_referred_is_looked_at_again_when_the_node_that_serves_it_is_lost() {
    // Whether it had a slot here before, or was referred at once.
    for had_slot in [false, true] {
        let mut rig = capped(4, 5);
        let first = rig.net.exercise(0, PEER);
        if !had_slot {
            rig.net.exercise(0, PEER + 1);
            rig.net.exercise(0, PEER + 2);
            assert_eq!(rig.net.cores[0].counters().exercise_redirected, 1);
        }
        let peer = if had_slot { PEER } else { PEER + 2 };
        rig.net.exercise(1, peer);
        if had_slot {
            let Node { cx, connections, .. } = &mut rig.net.cores[0];
            connections.links.close(cx, first, crate::wire::close::TRY_AGAIN_LATER, "the slot is for another");
            while rig.net.cores[0].poll_output().is_some() {}
            rig.net.end(0, first);
        }
        rig.net.pass(LOOK_AGAIN);
        assert_eq!(dials(&rig.net, 0, peer), 0, "it is served");
        assert!(rig.net.cores[0].exercise.referred.is_empty());
        rig.net.isolate(1);
        rig.net.pass(LOOK_AGAIN);
        assert!(dials(&rig.net, 0, peer) > 0, "had a slot: {had_slot}");
    }
}

#[test]
fn the_address_of_an_exercise_peer_that_a_native_node_has_now_is_no_exercise_peers() {
    let mut rig = capped(4, 5);
    let link = rig.net.exercise(0, PEER);
    rig.net.end(0, link);
    let Node { cx, connections, exercise, membership, .. } = &rig.net.cores[0];
    assert!(exercise.is_lost(&address(PEER)) && membership.exercise_slots(cx, connections) == 1);
    let identity = Some(crate::testing::overlay::identity(77));
    let direction = crate::Direction::Dialled { address: address(PEER), identity };
    let remote = std::net::Ipv4Addr::LOCALHOST.into();
    rig.net.tell(0, Input::LinkOpened { link: LinkId(1_000), remote, direction });
    let Node { cx, connections, exercise, membership, .. } = &rig.net.cores[0];
    assert!(!exercise.is_lost(&address(PEER)) && membership.exercise_slots(cx, connections) == 0);
    rig.net.tell(0, Input::Shutdown);
    assert!(rig.net.remembered[&0].is_empty(), "{:?}", rig.net.remembered);
}
