//! Clocks that jump. The wall's reaches the core in time stamps alone, which others wrote, and in
//! what is told to people; the monotonic one as `now`. That pools which differ become equal
//! whatever their stamps say is shown by the simulator, two thirds of whose actors have a clock
//! that is ten years off.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::Event;
use crate::json::Parser;
use crate::testing::net::Net;
use crate::transaction::{Transaction, TransactionId};
use crate::{Input, Node, RequestId, limits};

const SECOND: Duration = Duration::from_secs(1);
/// Ten years, in seconds.
const TEN_YEARS: f64 = 10.0 * 365.0 * 24.0 * 60.0 * 60.0;
/// The right time, in seconds since 1970.
const NOW: f64 = 1_700_000_000.0;
/// Walls' clocks: right, ten years ahead and behind, before 1970, beyond what a number of
/// milliseconds holds, and none at all.
const WALLS: [f64; 7] = [NOW, NOW + TEN_YEARS, NOW - TEN_YEARS, -TEN_YEARS, 0.0, 1e300, f64::MAX];

/// Submits a transaction that a node stamps with its wall's clock.
fn submit(net: &mut Net, node: usize, number: usize, wall: f64) -> TransactionId {
    let text = format!(r#"{{"number":{number},"timeStamp":{:e}}}"#, wall * 1e3_f64.min(f64::MAX / wall.abs().max(1.0)));
    let transaction = Transaction::parse(&mut Parser::new(), &text).expect(&text);
    let id = transaction.id();
    net.tell(node, Input::Submit { request: RequestId(number as u64), transaction });
    id
}

fn holds_all(core: &Node, net: &Net, ids: &BTreeSet<TransactionId>) -> bool {
    let ids: Vec<TransactionId> = ids.iter().copied().collect();
    ids.chunks(limits::STATUS_IDS).all(|ids| core.status(net.now, ids).held == ids.len())
}

fn nobody_is_blamed(net: &Net) {
    for core in &net.cores {
        let counters = core.status(net.now, &[]).counters;
        for name in ["violations", "bans", "links_banned", "broadcasts_forged", "announcements_refused"] {
            assert_eq!(counters[name], 0, "{name}");
        }
    }
}

#[test]
fn what_is_stamped_by_any_clock_reaches_everybody_and_nobody_is_blamed() {
    let mut net = Net::mesh(4);
    let mut ids = BTreeSet::new();
    let mut number = 0;
    for round in 0..30 {
        for node in 0..4 {
            number += 1;
            ids.insert(submit(&mut net, node, number, WALLS[(round + node) % WALLS.len()]));
        }
        net.pass(SECOND / 4);
    }
    net.pass(60 * SECOND);
    assert_eq!(ids.len(), number);
    for core in &net.cores {
        assert!(holds_all(core, &net, &ids), "{:?}", core.status(net.now, &[]).pool);
    }
    nobody_is_blamed(&net);
}

#[test]
fn broadcasts_are_told_once_and_kept_ten_minutes_whatever_their_time_says() {
    let mut net = Net::mesh(3);
    for wall in WALLS {
        let text = format!("it is {wall:e}");
        net.tell(0, Input::Broadcast { request: RequestId(0), message: text, time: wall });
    }
    let told = |net: &Net, node: usize| {
        net.events[node].iter().filter(|event| matches!(event, Event::Broadcast { .. })).count()
    };
    net.pass(SECOND);
    assert_eq!((told(&net, 1), told(&net, 2)), (WALLS.len(), WALLS.len()));
    // Who comes within ten minutes by the monotonic clock is told all of them, who comes later
    // none.
    net.pass(300 * SECOND);
    net.add();
    net.link(3, 0);
    net.pass(30 * SECOND);
    assert_eq!(told(&net, 3), WALLS.len());
    net.pass(600 * SECOND);
    net.add();
    net.link(4, 0);
    net.pass(30 * SECOND);
    assert_eq!((told(&net, 4), told(&net, 1)), (0, WALLS.len()));
    nobody_is_blamed(&net);
}

#[test]
fn a_monotonic_clock_that_leaps_ten_years_costs_links_and_nothing_else() {
    let mut net = Net::mesh(3);
    let mut ids: BTreeSet<_> = (0..20).map(|number| submit(&mut net, number % 3, number, NOW)).collect();
    net.pass(5 * SECOND);
    // The host slept, and its clock did not stand meanwhile: all that was to happen is due at once.
    net.now += Duration::from_secs(TEN_YEARS as u64);
    for node in 0..3 {
        net.tell(node, Input::Timeout);
    }
    net.pass(60 * SECOND);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        if !net.cores[from].linked_nodes().contains(&crate::testing::net::id(to)) {
            net.link(from, to);
        }
    }
    ids.extend((20..40).map(|number| submit(&mut net, number % 3, number, NOW)));
    net.pass(60 * SECOND);
    for core in &net.cores {
        assert_eq!(core.linked_peers(), 2);
        assert!(holds_all(core, &net, &ids), "{:?}", core.status(net.now, &[]).pool);
    }
    nobody_is_blamed(&net);
}
