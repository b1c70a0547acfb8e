use crate::gossip::trees::*;
use crate::id::NodeId;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

fn origin(n: u8) -> Origin {
    Origin::Node(NodeId([n; 32]))
}

#[test]
fn copies_on_other_links_are_pruned_once_a_second_and_never_on_the_parent() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    assert_eq!(trees.on_first_copy(now, &origin(1), A), TreeAction::Nothing);
    assert_eq!(trees.on_copy(now, &origin(1), A), TreeAction::Nothing, "the parent");
    assert_eq!(trees.on_copy(now, &origin(1), B), TreeAction::Prune(B));
    assert_eq!(trees.on_copy(now, &origin(1), B), TreeAction::Nothing, "pruned a moment ago");
    assert_eq!(trees.on_copy(now + PRUNE_INTERVAL, &origin(1), B), TreeAction::Prune(B));
    assert_eq!(
        trees.on_copy(now, &origin(2), B),
        TreeAction::Nothing,
        "an origin without parent takes the link that brings it"
    );
}

#[test]
fn a_copy_that_was_on_its_way_when_its_sender_was_pruned_moves_no_parent() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(1), A);
    assert_eq!(trees.on_copy(now, &origin(1), B), TreeAction::Prune(B));
    assert_eq!(trees.on_first_copy(now, &origin(1), B), TreeAction::Nothing, "the next one, still in flight");
    assert_eq!(
        trees.on_copy(now, &origin(1), A),
        TreeAction::Nothing,
        "the parent's copy of it must not prune the parent"
    );
}

#[test]
fn a_parent_that_brings_nothing_is_replaced_and_its_successor_asked_to_send() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(1), A);
    trees.on_copy(now, &origin(1), B);
    let actions: Vec<TreeAction> = (0..MISSED).map(|_| trees.on_first_copy(now, &origin(1), B)).collect();
    assert_eq!(actions.last(), Some(&TreeAction::Graft(B)));
    assert!(actions[..actions.len() - 1].iter().all(|action| *action == TreeAction::Nothing));
    assert_eq!(trees.on_copy(now, &origin(1), A), TreeAction::Prune(A));
}

#[test]
fn a_link_that_is_faster_than_a_parent_that_delivers_is_pruned() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(1), A);
    assert_eq!(trees.on_first_copy(now, &origin(1), B), TreeAction::Nothing);
    assert_eq!(trees.on_copy(now, &origin(1), A), TreeAction::Prune(B));
    assert_eq!(
        trees.adopt_direct(now, &origin(1), B),
        Some(TreeAction::Graft(B)),
        "a direct link takes over, and was pruned"
    );
    assert_eq!(trees.adopt_direct(now, &origin(1), B), None);
}

#[test]
fn prunes_die_with_their_link_and_orphans_are_named() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(2), A);
    trees.on_first_copy(now, &origin(1), A);
    trees.on_first_copy(now, &origin(3), B);
    trees.on_prune(now, &origin(1), B, false);
    trees.on_prune(now, &origin(1), A, false);
    trees.on_prune(now, &origin(9), A, false);
    assert_eq!(trees.lazy(now, &origin(1)), [A, B]);
    assert!(trees.lazy(now, &origin(9)).is_empty(), "an origin that nobody sent");
    trees.on_prune(now, &origin(8), B, true);
    assert_eq!(trees.lazy(now, &origin(8)), [B], "a neighbour may be heard elsewhere first");
    assert_eq!(trees.forget_link(A), [origin(1), origin(2)]);
    assert_eq!(trees.lazy(now, &origin(1)), [B]);
    assert!(!trees.on_graft(&origin(1), B) && trees.lazy(now, &origin(1)).is_empty());
    assert!(trees.on_graft(&origin(3), B), "our parent asks us");
    assert!(trees.forget_link(B).is_empty());
}

#[test]
fn the_origin_of_a_transaction_is_known_for_as_long_as_it_is_recent() {
    let mut trees = Trees::default();
    let id = |n: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        TransactionId(id)
    };
    // Three in a row of each origin but the first, of which there are two.
    let whose = |n: usize| origin(((n + 1) / 3 % 7) as u8);
    for n in 0..RECENT + 4 {
        trees.remember(id(n), &whose(n));
    }
    let origins = |ids: &[usize]| {
        let ids = ids.iter().map(|n| id(*n)).collect();
        trees.origins_of(&ids).into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(origins(&[0, 3, RECENT + 4]), [], "forgotten, or never seen");
    assert_eq!(origins(&[4]), [whose(4)]);
    assert_eq!(
        origins(&[RECENT + 3, 5, 4]),
        std::collections::BTreeSet::from([whose(4), whose(5), whose(RECENT + 3)]).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(trees.runs.iter().map(|(_, count)| count).sum::<usize>(), RECENT);
}

#[test]
fn the_table_is_bounded() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    for n in 0..3 * GENERATION as u64 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        trees.on_first_copy(now, &Origin::Node(NodeId(id)), A);
    }
    assert!((GENERATION..=2 * GENERATION).contains(&trees.trees.len()));
}

#[test]
fn ten_million_transactions_and_a_million_origins_take_no_more_memory_than_two_generations() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    let mut id = [0; 32];
    let mut feed = |trees: &mut Trees, from: u64, to: u64| {
        for n in from..to {
            id[..8].copy_from_slice(&n.to_be_bytes());
            let origin = Origin::Node(NodeId(id));
            trees.remember(TransactionId(id), &origin);
            if n % 10 == 0 {
                trees.on_first_copy(now, &origin, A);
                trees.on_prune(now, &origin, B, false);
            }
        }
    };
    let room = |trees: &Trees| [trees.trees.capacity(), trees.recent.capacity(), trees.runs.capacity()];
    feed(&mut trees, 0, 30 * GENERATION as u64);
    let full = room(&trees);
    feed(&mut trees, 30 * GENERATION as u64, 10_000_000);
    assert!(room(&trees).iter().zip(&full).all(|(now, then)| now <= then), "{:?} instead of {full:?}", room(&trees));
}

#[test]
fn a_copy_of_the_parent_s_own_starts_the_count_of_missed_ones_again() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(1), A);
    for _ in 0..3 {
        for _ in 1..MISSED {
            assert_eq!(trees.on_first_copy(now, &origin(1), B), TreeAction::Nothing);
        }
        trees.on_copy(now + PRUNE_INTERVAL * 9, &origin(1), A);
    }
    assert_eq!(trees.on_first_copy(now, &origin(1), A), TreeAction::Nothing);
    for _ in 1..MISSED {
        trees.on_first_copy(now, &origin(1), B);
    }
    assert!(trees.on_prune(now, &origin(1), A, false));
    assert_eq!(trees.on_first_copy(now, &origin(1), B), TreeAction::Graft(B), "the last one: it replaces the parent");
    assert_eq!(trees.on_copy(now, &origin(1), B), TreeAction::Nothing);
}

#[test]
fn a_link_that_is_not_the_parent_can_be_pruned_before_it_brings_a_copy() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    assert_eq!(trees.adopt_direct(now, &origin(1), A), Some(TreeAction::Nothing));
    assert_eq!(trees.prune(now, &origin(1), B), TreeAction::Prune(B));
    assert_eq!(trees.prune(now + PRUNE_INTERVAL - Duration::from_nanos(1), &origin(1), B), TreeAction::Nothing);
    assert_eq!(trees.on_copy(now + PRUNE_INTERVAL, &origin(1), B), TreeAction::Prune(B));
    assert_eq!(trees.forget_link(B), []);
    assert_eq!(trees.prune(now, &origin(1), B), TreeAction::Prune(B), "a new link was told nothing");
}

#[test]
fn an_orphan_adopts_the_next_link_that_brings_a_copy() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    trees.on_first_copy(now, &origin(1), A);
    trees.on_copy(now, &origin(1), B);
    assert!(trees.on_graft(&origin(1), A), "the parent lost its way");
    assert!(!trees.on_graft(&origin(1), A));
    assert_eq!(trees.on_copy(now, &origin(1), B), TreeAction::Nothing, "what was told before the break is void");
    assert_eq!(trees.on_copy(now, &origin(1), A), TreeAction::Prune(A));
}

#[test]
fn a_pruned_link_becomes_eager_for_one_origin_alone() {
    let (mut trees, now) = (Trees::default(), Instant::now());
    for n in [1, 2] {
        trees.on_first_copy(now, &origin(n), A);
        assert!(trees.on_prune(now, &origin(n), B, false));
        assert!(!trees.on_prune(now, &origin(n), B, false), "no news");
    }
    trees.make_eager(&origin(1), B);
    trees.make_eager(&origin(9), B);
    assert_eq!((trees.lazy(now, &origin(1)).len(), trees.lazy(now, &origin(2))), (0, &[B][..]));
}
