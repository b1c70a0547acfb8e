use crate::limits;
use crate::sync::reconciler::*;
use crate::testing::parts::{client, context, drain, exercise, native};
use crate::violation::ViolationKind;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);
const TICK: Duration = Duration::from_nanos(1);

/// A set of numbers that speaks a language of its own: a question asks for everything, an answer
/// lists it in steps.
struct Numbers {
    items: Vec<u8>,
    settled: usize,
    floor: Floor,
}

impl ReconcilableSet for Numbers {
    fn settle(&mut self, _: Instant) {
        self.settled += 1;
    }

    fn summary(&self) -> Summary {
        Summary { count: self.items.len() as u64, sum: format!("{:?}", self.items) }
    }

    fn floor(&self) -> Floor {
        self.floor
    }

    fn begin(&self) -> Result<Vec<u8>, Error> {
        if self.items == [255] { Err(Error::BadRange) } else { Ok(vec![1]) }
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        if question == [0] { Err(Error::BadRange) } else { Ok(self.items.clone()) }
    }

    fn conclude(&self, answer: &[u8], need: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error> {
        need.extend(answer.iter().filter(|item| !self.items.contains(item)).map(|n| Id::from_byte_array([*n; 32])));
        match answer {
            [.., 0] => Err(Error::BadRange),
            [.., 99] => Ok(Some(vec![2])),
            _ => Ok(None),
        }
    }
}

/// Native peers on links 1 and 2, and a client on 3.
struct Parts {
    reconciler: Reconciler,
    cx: Context,
    links: LinkTable,
    set: Numbers,
}

fn parts(set: Option<OtherSet>, items: &[u8]) -> Parts {
    let (cx, mut links) = (context(), LinkTable::default());
    native(&cx, &mut links, 1);
    native(&cx, &mut links, 2);
    client(&cx, &mut links, 3);
    exercise(&cx, &mut links, 4);
    let set_of = Numbers { items: items.to_vec(), settled: 0, floor: Floor::default() };
    Parts { reconciler: Reconciler::new(set), cx, links, set: set_of }
}

impl Parts {
    fn on(&mut self, link: LinkId, frame: SyncFrame) -> Result<Progress, Violation> {
        self.reconciler.on_sync(&mut self.cx, &mut self.set, link, frame)
    }

    fn begin(&mut self, link: LinkId) {
        self.reconciler.begin(&mut self.cx, &self.links, &self.set, link);
    }

    fn answer(&mut self, link: LinkId, number: u64, message: &[u8]) -> Progress {
        self.on(link, SyncFrame::Answer(Step { number, message: message.to_vec() })).expect("a native peer")
    }

    fn needed(&mut self, link: LinkId, number: u64, message: &[u8]) -> Needed {
        match self.answer(link, number, message) {
            Progress::Needed(needed) => needed,
            other => panic!("{other:?}"),
        }
    }
}

fn summary(items: &[u8]) -> Summary {
    Numbers { items: items.to_vec(), settled: 0, floor: Floor::default() }.summary()
}

fn ask(set: &str, number: u64, message: &str) -> String {
    format!("control [1] {{type:SYNC,data:{{number:{number},ask:{message}}},set:{set}}}")
}

#[test]
fn a_summary_is_sent_to_native_peers_that_are_ready_and_an_empty_set_is_worth_one_only_for_pools() {
    for (set, items, sent) in [
        (None, &[1][..], true),
        (None, &[], true),
        (Some(OtherSet::Broadcasts), &[1], true),
        (Some(OtherSet::Broadcasts), &[], false),
    ] {
        let mut parts = parts(set, items);
        for link in [A, C, LinkId(4), LinkId(9)] {
            parts.reconciler.compare(&mut parts.cx, &parts.links, &mut parts.set, link);
        }
        parts.links.get_mut(B).expect("open").closing = true;
        parts.reconciler.compare(&mut parts.cx, &parts.links, &mut parts.set, B);
        assert_eq!((drain(&mut parts.cx).len(), parts.set.settled), (usize::from(sent), 1), "{set:?} {items:?}");
        assert_eq!(parts.cx.counters.sync_rounds, u64::from(set.is_none()));
        assert_eq!(parts.cx.counters.sync_sent_bytes > 0, set.is_none());
    }
}

#[test]
fn a_summary_that_differs_is_replied_to_and_a_reply_is_not() {
    let mut parts = parts(None, &[1, 2]);
    assert!(matches!(parts.on(A, SyncFrame::Summary(summary(&[1, 2]))), Ok(Progress::Equal)));
    assert!(drain(&mut parts.cx).is_empty());
    let differs = parts.on(A, SyncFrame::Summary(summary(&[3])));
    assert!(matches!(differs, Ok(Progress::Differs { ours: 2, theirs: 1 })));
    assert_eq!(drain(&mut parts.cx), ["control [1] {type:SYNC,data:{count:2,sum:[1, 2],reply:true},set:transactions}"]);
    let differs = parts.on(A, SyncFrame::Reply(summary(&[1, 2, 3])));
    assert!(matches!(differs, Ok(Progress::Differs { ours: 2, theirs: 3 })));
    assert!(drain(&mut parts.cx).is_empty());
    assert_eq!((parts.set.settled, parts.cx.counters.sync_rounds), (3, 0));
    parts.begin(A);
    drain(&mut parts.cx);
    assert!(matches!(parts.on(A, SyncFrame::Summary(summary(&[3]))), Ok(Progress::Done)), "one is open");
    assert_eq!(drain(&mut parts.cx).len(), 1, "the other side is told all the same");
    assert!(matches!(parts.on(B, SyncFrame::Reply(summary(&[3]))), Ok(Progress::Differs { .. })));
}

#[test]
fn an_empty_set_of_broadcasts_replies_nothing() {
    let mut parts = parts(Some(OtherSet::Broadcasts), &[]);
    let differs = parts.on(A, SyncFrame::Summary(summary(&[3])));
    assert!(matches!(differs, Ok(Progress::Differs { ours: 0, theirs: 1 })));
    assert!(drain(&mut parts.cx).is_empty());
    parts.set.items.push(4);
    parts.on(A, SyncFrame::Summary(summary(&[3]))).expect("a native peer");
    assert_eq!(drain(&mut parts.cx), ["control [1] {type:SYNC,data:{count:1,sum:[4],reply:true},set:broadcasts}"]);
}

#[test]
fn questions_are_answered_under_their_number() {
    let mut parts = parts(None, &[7]);
    let question = |message: u8| SyncFrame::Ask(Step { number: 5, message: vec![message] });
    assert!(matches!(parts.on(A, question(1)), Ok(Progress::Done)));
    assert_eq!(drain(&mut parts.cx), ["control [1] {type:SYNC,data:{number:5,answer:Bw==},set:transactions}"]);
    let error = parts.on(A, question(0)).expect_err("malformed");
    assert_eq!((error.kind, error.text), (ViolationKind::Breach, format!("SYNC: {}", Error::BadRange)));
    assert!(matches!(parts.on(A, SyncFrame::Everything), Ok(Progress::EverythingRequested)));
    assert!(drain(&mut parts.cx).is_empty());
}

#[test]
fn a_reconciliation_asks_until_nothing_more_is_to_be_found() {
    let mut parts = parts(None, &[1]);
    parts.begin(A);
    assert_eq!(drain(&mut parts.cx), [ask("transactions", 1, "AQ==")]);
    let needed = parts.needed(A, 1, &[3, 1, 2, 3, 99]);
    assert_eq!(needed.ids, [2, 3, 99].map(|n| TransactionId([n; 32])), "in order, each once");
    assert_eq!((parts.reconciler.note_found(A, 2), needed.is_partial()), (2, true));
    assert!(parts.reconciler.proceed(&mut parts.cx, A, needed).is_ok() && parts.reconciler.is_open(A));
    assert_eq!(drain(&mut parts.cx), [ask("transactions", 1, "Ag==")]);
    let needed = parts.needed(A, 1, &[4]);
    assert_eq!((parts.reconciler.note_found(A, 1), needed.is_partial()), (3, false));
    assert!(parts.reconciler.proceed(&mut parts.cx, A, needed).is_ok() && !parts.reconciler.is_open(A));
    assert!(drain(&mut parts.cx).is_empty());
    parts.begin(A);
    assert_eq!(drain(&mut parts.cx), [ask("transactions", 2, "AQ==")], "the next has another number");
    let needed = parts.needed(A, 2, &[5, 0]);
    assert_eq!((needed.ids.len(), needed.is_partial()), (2, false));
    assert!(parts.reconciler.proceed(&mut parts.cx, A, needed).is_err() && !parts.reconciler.is_open(A));
}

#[test]
fn answers_to_no_question_are_counted_and_change_nothing() {
    let mut parts = parts(Some(OtherSet::Broadcasts), &[1]);
    assert!(matches!(parts.answer(A, 1, &[2]), Progress::Unsolicited));
    parts.begin(A);
    assert_eq!(drain(&mut parts.cx), [ask("broadcasts", 1, "AQ==")]);
    assert!(matches!(parts.answer(A, 2, &[2]), Progress::Unsolicited));
    assert!(matches!(parts.answer(B, 1, &[2]), Progress::Unsolicited));
    parts.reconciler.end(A);
    assert!(matches!(parts.answer(A, 1, &[2]), Progress::Unsolicited));
    assert_eq!((parts.cx.counters.answers_unsolicited, drain(&mut parts.cx).len()), (4, 0));
    assert_eq!((parts.set.settled, parts.cx.counters.sync_sent_bytes), (0, 0));
}

#[test]
fn a_reconciliation_without_answer_is_given_up_after_twenty_seconds() {
    let mut parts = parts(None, &[]);
    parts.begin(A);
    parts.cx.now += ANSWER_TIMEOUT - TICK;
    parts.reconciler.expire(parts.cx.now);
    assert_eq!(parts.needed(A, 1, &[99]).round_trip, ANSWER_TIMEOUT - TICK);
    parts.cx.now += TICK;
    assert_eq!(parts.needed(A, 1, &[99]).round_trip, TICK, "of the next question");
    parts.cx.now += ANSWER_TIMEOUT - TICK;
    parts.reconciler.expire(parts.cx.now);
    assert!(parts.reconciler.is_open(A), "it moved meanwhile");
    parts.cx.now += TICK;
    parts.reconciler.expire(parts.cx.now);
    assert!(!parts.reconciler.is_open(A));
}

#[test]
fn a_set_that_gives_no_question_begins_nothing() {
    let mut parts = parts(None, &[255]);
    parts.begin(A);
    assert_eq!((drain(&mut parts.cx), parts.reconciler.is_open(A)), (vec!["event PeerFault".to_owned()], false));
}

#[test]
fn a_peer_that_had_nothing_for_us_is_not_asked_again_while_its_set_is_the_same() {
    let mut parts = parts(None, &[1, 2, 3]);
    let differs = |parts: &mut Parts, items: &[u8]| match parts.on(A, SyncFrame::Reply(summary(items))) {
        Ok(Progress::Differs { .. }) => true,
        Ok(Progress::Done) => false,
        other => panic!("{other:?}"),
    };
    let reconcile = |parts: &mut Parts, answer: &[u8]| {
        parts.begin(A);
        let needed = parts.needed(A, parts.reconciler.last_number, answer);
        parts.reconciler.note_found(A, needed.ids.len());
        parts.reconciler.proceed(&mut parts.cx, A, needed).expect("well formed");
    };
    // Its pool is full: it has two, and will never have the third.
    assert!(differs(&mut parts, &[1, 2]));
    reconcile(&mut parts, &[1, 2]);
    assert!(!(0..SKIPS).any(|_| differs(&mut parts, &[1, 2])));
    assert!(differs(&mut parts, &[1, 2]), "now and then, as we may have lost something");
    reconcile(&mut parts, &[1, 2]);
    assert!(differs(&mut parts, &[1, 4]), "it changed");
    reconcile(&mut parts, &[1, 4]);
    assert!(differs(&mut parts, &[1, 4]), "it had something");
    reconcile(&mut parts, &[1]);
    assert!(!differs(&mut parts, &[1, 4]));
    parts.reconciler.on_link_closed(A);
    assert!(differs(&mut parts, &[1, 4]), "another link");
}

#[test]
fn sets_are_equal_once_a_summary_was_equal_or_was_not_answered() {
    let mut parts = parts(None, &[1]);
    let compare = |parts: &mut Parts| {
        parts.reconciler.compare(&mut parts.cx, &parts.links, &mut parts.set, A);
        parts.reconciler.is_equal(A)
    };
    assert!(!parts.reconciler.is_equal(A), "they were never compared");
    for _ in 0..2 {
        parts.on(A, SyncFrame::Summary(summary(&[1]))).expect("a native peer");
        assert!(parts.reconciler.is_equal(A) && compare(&mut parts));
        parts.on(A, SyncFrame::Reply(summary(&[2]))).expect("a native peer");
        assert!(!parts.reconciler.is_equal(A));
        assert!(!compare(&mut parts), "the answer may be on its way");
        parts.on(A, SyncFrame::Reply(summary(&[3]))).expect("a native peer");
        assert!(!compare(&mut parts), "it came");
        assert!(compare(&mut parts), "none came");
    }
    assert!(!parts.reconciler.is_equal(B));
}

#[test]
fn of_two_floors_the_higher_one_counts_and_the_other_side_is_told_of_it() {
    let floor = |time| Floor { time, id: [0; 32] };
    // Of a reply with a lower floor nothing follows: our summary, with ours, is on its way.
    for (theirs, reply, told, differs) in [
        (0, false, Some(5), false),
        (3, false, Some(5), false),
        (3, true, None, false),
        (5, false, Some(5), true),
        (5, true, None, true),
        (9, false, Some(9), true),
        (9, true, Some(9), true),
    ] {
        let mut parts = parts(None, &[1]);
        parts.set.floor = floor(5);
        let frame = SyncFrame::Since { floor: floor(theirs), summary: summary(&[2]), reply };
        let progress = parts.on(A, frame).expect("a native peer");
        assert_eq!(matches!(progress, Progress::Differs { .. }), differs, "{theirs} {reply}: {progress:?}");
        let since = |told| SyncFrame::Since { floor: floor(told), summary: summary(&[1]), reply: true };
        let expected: Vec<String> =
            told.map(|told| since(told).to_frame().as_str().replace('"', "")).into_iter().collect();
        let sent = drain(&mut parts.cx);
        assert_eq!(sent.iter().map(|sent| &sent["control [1] ".len()..]).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_peer_is_sent_less_than_it_takes_however_often_it_is_asked() {
    for (set, at_once, every) in [(None, AT_ONCE, EVERY), (Some(OtherSet::Broadcasts), OTHER_AT_ONCE, OTHER_EVERY)] {
        let mut parts = parts(set, &[1]);
        for _ in 0..100 {
            parts.begin(A);
            parts.reconciler.compare(&mut parts.cx, &parts.links, &mut parts.set, A);
            parts.on(A, SyncFrame::Summary(summary(&[2]))).expect("a native peer");
        }
        assert_eq!(drain(&mut parts.cx).len(), at_once as usize, "{set:?}");
        parts.begin(B);
        assert_eq!(drain(&mut parts.cx).len(), 1, "{set:?}: each link for itself");
        parts.cx.now += every;
        parts.begin(A);
        parts.begin(A);
        assert_eq!(drain(&mut parts.cx).len(), 1, "{set:?}");
        assert!(!parts.reconciler.request_everything(&mut parts.cx, A));
    }
    // Transactions, and broadcasts by digest and by id.
    const { assert!(AT_ONCE + 2 * OTHER_AT_ONCE < limits::SYNCS_AT_ONCE) };
    let per_second = |every: Duration| 1.0 / every.as_secs_f64();
    assert!(per_second(EVERY) + 2.0 * per_second(OTHER_EVERY) < f64::from(limits::SYNCS_PER_SECOND));
}

#[test]
fn a_reconciliation_ends_when_the_peer_was_sent_too_much() {
    let mut parts = parts(None, &[1]);
    parts.begin(A);
    for _ in 1..AT_ONCE {
        let needed = parts.needed(A, 1, &[7, 99]);
        parts.reconciler.proceed(&mut parts.cx, A, needed).expect("it goes on");
    }
    assert!(parts.reconciler.is_open(A));
    let needed = parts.needed(A, 1, &[7, 99]);
    parts.reconciler.proceed(&mut parts.cx, A, needed).expect("it ends");
    assert!(!parts.reconciler.is_open(A));
    assert_eq!(drain(&mut parts.cx).len(), AT_ONCE as usize);
}
