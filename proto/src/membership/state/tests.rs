use crate::address::Scope;
use crate::membership::state::*;
use crate::testing::overlay::{Overlay, far};
use crate::timers::Timer;

#[test]
fn a_referred_node_counts_as_free_for_half_a_minute() {
    let (mut slots, now) = (Slots::default(), Instant::now());
    slots.note_referred(now, far(11));
    let lately = |slots: &Slots, now| slots.lately_referred(now).cloned().collect::<Vec<_>>();
    let almost = now + REFERRED_FRESH - Duration::from_millis(1);
    assert_eq!(lately(&slots, almost), [far(11)]);
    assert_eq!(lately(&slots, now + REFERRED_FRESH), []);
    slots.note_referred(almost, far(12));
    assert_eq!(lately(&slots, almost), [far(12), far(11)], "the latest first");
    slots.note_referred(almost, far(11));
    assert_eq!(lately(&slots, almost), [far(11), far(12)], "each once");
    slots.note_referred(now + REFERRED_FRESH, far(13));
    assert_eq!(slots.referred.len(), 3, "its time began again");
    slots.note_referred(now + REFERRED_FRESH * 2, far(14));
    assert_eq!(slots.referred.len(), 1, "what is over is forgotten");
}

#[test]
fn at_most_eight_referred_nodes_are_kept() {
    let (mut slots, now) = (Slots::default(), Instant::now());
    for n in 11..31 {
        slots.note_referred(now, far(n));
    }
    let kept: Vec<_> = slots.lately_referred(now).cloned().collect();
    assert_eq!(kept, (23..31).rev().map(far).collect::<Vec<_>>());
}

#[test]
fn hints_come_before_all_others_once_and_are_bounded() {
    let mut search = SlotSearch::default();
    search.hint(&[far(11), far(12)]);
    search.hint(&[far(13), far(12)]);
    assert_eq!(search.hints, [far(13), far(12), far(11)]);
    search.hint(&(20..60).map(far).collect::<Vec<_>>());
    assert_eq!(search.hints.len(), HINTS);
    assert_eq!((search.hints.front(), search.hints.back()), (Some(&far(20)), Some(&far(51))));
}

#[test]
fn a_free_slot_makes_the_next_attempt_due() {
    let mut search = SlotSearch::default();
    search.refused();
    search.background_at = Some(Instant::now());
    search.hint(&[far(11)]);
    search.hint_free_slot(far(12));
    assert_eq!(search.hints, [far(12), far(11)]);
    assert_eq!((search.interval, search.background_at, search.refusals), (BACKGROUND_MIN, None, 1));
}

#[test]
fn the_search_slows_down_with_each_refusal_until_a_slot_is_won() {
    let mut search = SlotSearch::default();
    let intervals: Vec<f64> = (0..9)
        .map(|_| {
            let interval = search.interval;
            search.refused();
            interval.as_secs_f64()
        })
        .collect();
    assert_eq!(intervals, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    assert_eq!(search.refusals, 9);
    search.placed();
    assert_eq!((search.refusals, search.interval), (0, BACKGROUND_MIN));
}

#[test]
fn a_node_heals_until_its_time() {
    let (mut search, now) = (SlotSearch::default(), Instant::now());
    assert!(!search.is_healing(now));
    search.healing = Some((far(11), now + Duration::from_secs(1)));
    assert!(search.is_healing(now + Duration::from_millis(999)));
    assert!(!search.is_healing(now + Duration::from_secs(1)));
}

#[test]
fn an_address_in_use_is_not_dialled_for_another_reason() {
    let mut overlay = Overlay::capped(8);
    let dial = |overlay: &mut Overlay| {
        dial_for(&mut overlay.cx, &mut overlay.peers, &overlay.conns, &far(11), DialReason::Shuffle)
    };
    assert!(!dial(&mut overlay), "it is not in the address book");
    overlay.learn(11);
    overlay.cx.timers.set(Timer::Dial(far(11)), overlay.cx.now);
    assert!(dial(&mut overlay));
    assert_eq!(overlay.done().dials, [far(11)]);
    assert_eq!(overlay.dial_due(&far(11)), None);
    assert!(!dial(&mut overlay), "it is being dialled");
    assert_eq!(overlay.peers.dialer.take_reason(&far(11)), Some(DialReason::Shuffle));
    assert_eq!(far(11).scope(), Scope::Public);
}
