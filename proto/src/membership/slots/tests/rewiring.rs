//! The link that a node moves to a random one: which, how often, and what a gang gets by it.

use crate::membership::slots::tests::*;

/// Longer than until the last move.
const MIXED: Duration = Duration::from_secs(300);
/// How many links a node of [`CAP`] places moves.
const MOVES: u64 = 2;

/// Forty others, of forty groups.
fn many() -> impl Iterator<Item = u16> {
    (0..40).map(|number| 1_000 + number * 100)
}

impl Core {
    /// A full node: linked to two known peers, two that it dialled itself, four that dialled it.
    fn settled() -> Self {
        let mut core = Self::new(&[100, 200]);
        core.wait(Duration::from_secs(1));
        for number in [300, 400] {
            core.listens(number);
        }
        core.knock_and_name(500, false, &[address(300), address(400)]);
        core.wait(Duration::from_secs(20));
        for number in [600, 700, 800] {
            core.knock(number, false);
        }
        assert!((1..=8).all(|number| core.linked(number * 100)), "{:?}", core.dialled);
        core
    }

    fn hears_of(&mut self, others: &[PeerAddress]) {
        let neighbour = self.link_to(500);
        let Node { cx, peers, connections, membership, .. } = &mut self.protocol;
        membership.add_addresses(cx, peers, connections, neighbour, others);
    }

    fn mixed(&self) -> u64 {
        self.protocol.counters().links_rewired
    }

    fn many_linked(&self) -> usize {
        many().filter(|number| self.linked(*number)).count()
    }
}

#[test]
fn links_that_we_dialled_go_to_where_walks_end_once_and_no_others_do() {
    let mut core = Core::settled();
    many().for_each(|number| core.listens(number));
    core.named = many().map(address).take(8).collect();
    core.hears_of(&many().map(address).collect::<Vec<_>>());
    core.wait(MIXED);
    assert_eq!((core.mixed(), core.many_linked()), (MOVES, 2));
    assert!(!core.linked(300) && !core.linked(400));
    let stay = [100, 200, 500, 600, 700, 800];
    assert!(stay.into_iter().all(|number| core.linked(number)), "known peers' links and accepted ones");
    core.wait(MIXED * 4);
    assert_eq!((core.mixed(), core.many_linked()), (MOVES, 2), "that was all, and a gang that is met gets no more");
}

#[test]
fn who_finds_no_place_where_the_walk_ended_goes_back() {
    let mut core = Core::settled();
    core.gang(1_000..1_040);
    let gang: Vec<PeerAddress> = core.liars.iter().cloned().collect();
    core.hears_of(&gang);
    for moves in 1..=MOVES {
        let end = core.now + MIXED;
        while core.mixed() < moves && core.now < end {
            core.wait(Duration::from_millis(500));
        }
        assert_eq!(core.mixed(), moves);
        // At once, though an address whose link was given up rests for a minute as a rule.
        assert!((1..=8).all(|number| core.linked(number * 100)), "{:?}", core.dialled);
    }
}

#[test]
fn who_knows_few_others_leaves_everything_as_it_is() {
    let mut core = Core::settled();
    core.named = vec![address(500)];
    core.wait(MIXED);
    assert_eq!(core.mixed(), 0);
}
