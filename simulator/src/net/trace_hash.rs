//! One hash over all inputs and outputs of the simulated cores.
//! It shows whether a refactoring of the core changed anything.
//!
//! Covered: virtual time, node, kind, link, frame bytes, addresses, close codes, stored rows,
//! deadlines. Not covered: texts for people, such as close reasons, errors and events, and the
//! names of counters.
//!
//! Every kind has a code that is written here. Codes do not depend on the names or the order of
//! enum variants: after a rename only the match arms change. Never change or reuse a code.

use std::fmt::Display;
use std::time::Duration;

use meshpool_proto::address::Scope;
use meshpool_proto::event::{BootstrapStep, Event};
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, UpgradeIdentity};
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::ImageInfo;
use meshpool_proto::{Direction, Input, Lane, Output, SearchEnd};

/// Record codes. Inputs have the codes from 100, outputs from 200, events from 300.
const STARTED: u64 = 1;
const STOPPED: u64 = 2;
const FRAME_IN: u64 = 3;
const DEADLINE: u64 = 4;
const STATE: u64 = 5;
const RUN_ENDED: u64 = 6;

/// The hash of all records so far.
///
/// Not cryptographic. Each step is a bijection of the state, so a difference is not lost later.
#[derive(Debug, Clone)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// The hash value.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// Records that a core was created. `seed` is the seed of its random choices.
    pub fn started(&mut self, at: Duration, node: usize, identity: UpgradeIdentity, seed: u64) {
        self.record(at, node, STARTED).identity(Some(identity)).number(seed);
    }

    /// Records that a core was dropped.
    pub fn stopped(&mut self, at: Duration, node: usize) {
        self.record(at, node, STOPPED);
    }

    /// Records a frame that arrived on a link of a node. [`Self::input`] covers the core's input.
    pub fn frame(&mut self, at: Duration, node: usize, link: LinkId, frame: &Frame) {
        self.record(at, node, FRAME_IN).link(link).bytes(frame.as_str().as_bytes());
    }

    /// Records the deadline of a core after its inputs were handled.
    pub fn deadline(&mut self, at: Duration, node: usize, deadline: Option<Duration>) {
        self.record(at, node, DEADLINE).optional(deadline.map(nanos));
    }

    /// Records the state of a core at the end: addresses, node numbers, counts.
    pub fn state(&mut self, at: Duration, node: usize, addresses: [&[impl Display]; 2], numbers: &[u64]) {
        self.record(at, node, STATE);
        for addresses in addresses {
            self.texts(addresses);
        }
        self.number(numbers.len() as u64);
        numbers.iter().for_each(|number| _ = self.number(*number));
    }

    /// Records the end of the run. `result`: 0 if all rules held, 1 if one broke, 2 after a panic.
    pub fn ended(&mut self, at: Duration, result: u64) {
        self.record(at, usize::MAX, RUN_ENDED).number(result);
    }

    /// Records an input of a core.
    pub fn input(&mut self, at: Duration, node: usize, input: &Input) {
        let hash = self.number(nanos(at)).number(node as u64);
        match input {
            Input::LinkOpened { link, remote, direction } => {
                let hash = hash.number(100).link(*link).text(remote);
                match direction {
                    Direction::Dialled { address, identity } => hash.number(1).text(address).identity(*identity),
                    Direction::Accepted => hash.number(2),
                    Direction::AcceptedBeyond { .. } => hash.number(3),
                }
            }
            Input::Received { link, message } => hash.number(101).link(*link).flag(message.is_ok()),
            Input::Duplicates { link, copies } => {
                let hash = hash.number(102).link(*link).number(copies.len() as u64);
                copies
                    .iter()
                    .fold(hash, |hash, (origin, count)| hash.texts(origin.as_slice()).number(u64::from(*count)))
            }
            Input::ReadsPaused { link } => hash.number(103).optional(link.map(|link| link.0)),
            Input::Judging { link, judges } => hash.number(146).link(*link).flag(*judges),
            Input::Pong { link } => hash.number(104).link(*link),
            Input::LinkClosed { link, .. } => hash.number(105).link(*link),
            Input::ProtocolError { link, .. } => hash.number(106).link(*link),
            Input::TaskPanicked => hash.number(107),
            Input::RuntimeCounters { counts } => hash.number(108).numbers(counts.iter().map(|(_, count)| *count)),
            Input::BytesWritten { bytes } => hash.number(109).number(*bytes),
            Input::ConnectionRefused { remote, .. } => hash.number(110).text(remote),
            Input::QueueFull { link } => hash.number(111).link(*link),
            Input::DialFailed { address, .. } => hash.number(112).text(address),
            Input::Probed { link, address, identity, proves } => {
                hash.number(113).link(*link).text(address).identity(*identity).flag(*proves)
            }
            Input::Stored { ids } => ids.iter().fold(hash.number(114), |hash, id| hash.bytes(&id.0)),
            Input::StoreFailed { .. } => hash.number(115),
            Input::StoreRecovered => hash.number(116),
            Input::PoolAdded { transactions } => transactions.iter().fold(hash.number(117), Self::row),
            Input::PoolRemoved { ids } => ids.iter().fold(hash.number(118), |hash, id| hash.bytes(&id.0)),
            Input::Replayed { link, position } => hash.number(119).link(*link).number(*position),
            Input::Submit { request, transaction } => hash.number(120).number(request.0).row(transaction),
            Input::Broadcast { request, message, time } => {
                hash.number(121).number(request.0).text(message).number(time.to_bits())
            }
            Input::PeerCertified { link, certified } => {
                hash.number(122).link(*link).bytes(&certified.node.0).bytes(&certified.fingerprint)
            }
            Input::LinkChallenged { link, challenge } => hash.number(133).link(*link).text(format!("{challenge:?}")),
            Input::AccessChanged { access } => {
                hash.number(123).flag(access.plain).number(access.denied.len() as u64).flag(access.allowed.is_some())
            }
            Input::BansLifted { who } => hash.number(140).number(who.len() as u64),
            Input::ConnectionRejected { remote, .. } => hash.number(124).text(remote),
            Input::ImageSearch { search, name } => hash.number(125).bytes(&search.0).texts(name.as_slice()),
            Input::ImageSearchDone { search } => hash.number(126).bytes(&search.0),
            Input::LocalImages { search, images } => hash.number(127).bytes(&search.0).images(images),
            Input::AddressChanged { address } => hash.number(135).text(address),
            Input::NodeAuthenticated { link, node } => hash.number(141).link(*link).bytes(&node.0),
            Input::WanStarted => hash.number(144),
            Input::WanChanged { address } => hash.number(142).texts(address.as_slice()),
            Input::LinkPaths { paths } => hash.number(143).numbers(paths.iter().map(|(link, ..)| link.0)),
            Input::KnownPeersChanged { addresses } => hash.number(147).texts(addresses),
            Input::DiscoveryStarted => hash.number(128),
            Input::RecordDiscovered { record: found, scope } => {
                let hash = hash.number(129).number(scope_code(*scope)).flag(found.is_ok());
                match found {
                    Ok(found) => hash
                        .identity(Some(UpgradeIdentity { node: found.node, session: found.session }))
                        .text(&found.network)
                        .text(&found.address)
                        .optional(found.free.map(u64::from)),
                    Err(_) => hash,
                }
            }
            Input::RecordExpired { session } => hash.number(130).text(session),
            Input::Topic { topic, input } => hash.number(138).number(*topic as u64).text(format!("{input:?}")),
            Input::TimeOfDay { seconds } => hash.number(139).number(*seconds),
            Input::Timeout => hash.number(131),
            Input::Shutdown => hash.number(132),
            Input::DialPutOff { address, until: _ } => hash.number(134).text(address),
            Input::NotProbed { link, address } => hash.number(145).link(*link).text(address),
            Input::PoolSize { bytes } => hash.number(136).number(*bytes),
            Input::Marked { link, number } => hash.number(137).link(*link).number(*number),
        };
    }

    /// Records an output of a core.
    pub fn output(&mut self, at: Duration, node: usize, output: &Output) {
        let hash = self.number(nanos(at)).number(node as u64);
        match output {
            Output::Dial { address, reach, .. } => hash.number(200).text(address).number(scope_code(*reach)),
            Output::Probe { link, address, reach, .. } => {
                hash.number(201).link(*link).text(address).number(scope_code(*reach))
            }
            Output::Send { links, frame, lane } => {
                let hash = hash.number(202).numbers(links.iter().map(|link| link.0));
                hash.bytes(frame.as_str().as_bytes()).number(lane_code(*lane))
            }
            Output::DropQueued { topic: _, link, origins } => hash.number(203).link(*link).texts(origins),
            Output::Ping { link } => hash.number(204).link(*link),
            Output::PauseReading { link, time } => hash.number(205).link(*link).number(nanos(*time)),
            Output::Close { link, code, .. } => hash.number(206).link(*link).number(u64::from(*code)),
            Output::Store { transaction } => hash.number(207).row(transaction),
            Output::Replay { link, from, until, synced } => {
                hash.number(208).link(*link).number(*from).optional(*until).flag(*synced)
            }
            Output::ReplayPositions { link, positions } => {
                hash.number(209).link(*link).numbers(positions.iter().copied())
            }
            Output::Submitted { request, outcome } => {
                let hash = hash.number(210).number(request.0).flag(outcome.is_ok());
                match outcome {
                    Ok(taken) => hash.bytes(&taken.id.0).number(taken.links as u64).flag(taken.duplicate),
                    Err(_) => hash,
                }
            }
            Output::SubmissionStored { request } => hash.number(211).number(request.0),
            Output::SavePeerCache { addresses, exercise } => {
                let exercise =
                    exercise.iter().map(|peer| format!("{} {} {:?}", peer.address, peer.drops, peer.position));
                hash.number(212).texts(addresses).texts(&exercise.collect::<Vec<_>>())
            }
            // Nobody asks for traces.
            Output::Trace(trace) => hash.number(225).bytes(&trace.id.0),
            Output::Mark { link, number } => hash.number(222).link(*link).number(*number),
            Output::AdvertiseSlots { free } => hash.number(213).optional(free.map(u64::from)),
            Output::BroadcastSent { request, told } => {
                hash.number(214).number(request.0).bytes(&told.id.0).number(told.links as u64)
            }
            Output::FindLocalImages { search, name } => hash.number(215).bytes(&search.0).texts(name.as_slice()),
            Output::ImageOffer { reach, found, .. } => {
                let hash = hash.number(216).number(scope_code(*reach)).bytes(&found.id.0).bytes(&found.node.0);
                hash.text(&found.address).images(&found.images)
            }
            Output::ImageSearchOver { search, end } => hash.number(217).bytes(&search.0).number(end_code(*end)),
            Output::CallBack { node, address, reach, nonce, .. } => {
                hash.number(224).bytes(&node.0).text(address).number(scope_code(*reach)).bytes(&nonce.0)
            }
            Output::Topic { topic, output } => hash.number(223).number(*topic as u64).text(format!("{output:?}")),
            Output::Notify(event) => hash.number(218).number(event_code(event)),
        };
    }

    fn record(&mut self, at: Duration, node: usize, code: u64) -> &mut Self {
        self.number(nanos(at)).number(node as u64).number(code)
    }

    /// Takes in 64 bits.
    fn number(&mut self, number: u64) -> &mut Self {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
        self
    }

    fn numbers(&mut self, numbers: impl ExactSizeIterator<Item = u64>) -> &mut Self {
        self.number(numbers.len() as u64);
        numbers.fold(self, |hash, number| hash.number(number))
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(u64::from(flag))
    }

    fn optional(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.flag(true).number(number),
            None => self.flag(false),
        }
    }

    fn link(&mut self, link: LinkId) -> &mut Self {
        self.number(link.0)
    }

    /// Takes in the length and eight bytes at a time.
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        rest.iter().fold(self, |hash, byte| hash.number(u64::from(*byte)))
    }

    fn text(&mut self, text: impl Display) -> &mut Self {
        self.bytes(text.to_string().as_bytes())
    }

    fn texts(&mut self, texts: &[impl Display]) -> &mut Self {
        self.number(texts.len() as u64);
        texts.iter().fold(self, |hash, text| hash.text(text))
    }

    fn identity(&mut self, identity: Option<UpgradeIdentity>) -> &mut Self {
        match identity {
            Some(identity) => self.flag(true).bytes(&identity.node.0).text(identity.session),
            None => self.flag(false),
        }
    }

    fn row(&mut self, transaction: &Transaction) -> &mut Self {
        self.bytes(&transaction.id().0).bytes(transaction.frame().as_str().as_bytes())
    }

    fn images(&mut self, images: &[ImageInfo]) -> &mut Self {
        self.number(images.len() as u64);
        images.iter().fold(self, |hash, image| {
            hash.text(&image.name).number(image.size).bytes(image.sha256.as_ref().map_or(&[], |digest| digest))
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn scope_code(scope: Scope) -> u64 {
    match scope {
        Scope::Interface => 4,
        Scope::Loopback => 1,
        Scope::Private => 2,
        Scope::Public => 3,
    }
}

fn lane_code(lane: Lane) -> u64 {
    match lane {
        Lane::Control => 1,
        Lane::Payload => 2,
    }
}

fn end_code(end: SearchEnd) -> u64 {
    match end {
        SearchEnd::Refused => 1,
        SearchEnd::Alone => 2,
        SearchEnd::Deadline => 3,
    }
}

/// Only the kind of an event counts. A kind without a code here has the code 0.
fn event_code(event: &Event) -> u64 {
    match event {
        Event::Dialling { .. } => 300,
        Event::DialFailed { .. } => 301,
        Event::SelfDialled { .. } => 302,
        Event::PeerUp { .. } => 303,
        Event::PeerDown { .. } => 304,
        Event::AddressesLearned { .. } => 305,
        Event::LanPeerFound { .. } => 306,
        Event::Transaction { .. } => 307,
        Event::Stored { .. } => 308,
        Event::StoreFailed { .. } => 309,
        Event::StoreRecovered => 310,
        Event::Broadcast { .. } => 311,
        Event::NodeJoined { .. } => 312,
        Event::NodeLeft { .. } => 313,
        Event::TransactionRefused { .. } => 314,
        Event::Replaying { .. } => 315,
        Event::Declined { .. } => 316,
        Event::DeclinedBy { .. } => 317,
        Event::RequestingSlot { .. } => 318,
        Event::SlotSwapped { .. } => 319,
        Event::SlotTaken { .. } => 320,
        Event::HealingPartition { .. } => 321,
        Event::Rewiring { .. } => 322,
        Event::Banned { .. } => 323,
        Event::PeerRefused { .. } => 324,
        Event::PeerLagging { .. } => 325,
        Event::Warning { .. } => 326,
        Event::LinkOpened { .. } => 330,
        Event::HandshakeSent { .. } => 331,
        Event::HandshakeReceived { .. } => 332,
        Event::Synced { .. } => 333,
        Event::AccessDenied { .. } => 327,
        Event::PeerFault { .. } => 328,
        Event::Bootstrap(BootstrapStep::Ourselves { .. }) => 340,
        Event::Bootstrap(BootstrapStep::Asking { .. }) => 341,
        Event::Bootstrap(BootstrapStep::Failed { .. }) => 342,
        Event::Bootstrap(BootstrapStep::Alone { .. }) => 343,
        Event::Bootstrap(BootstrapStep::Named { .. }) => 344,
        Event::Bootstrap(BootstrapStep::Joined { .. }) => 345,
        Event::Bootstrap(BootstrapStep::Neighbours { .. }) => 346,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A frame and a timeout at node 1: with one byte, one time, and perhaps the other order.
    fn hash(text: &str, micros: u64, swapped: bool) -> u64 {
        let mut hash = TraceHash::default();
        let at = Duration::from_micros(micros);
        let (links, lane) = (vec![LinkId(4), LinkId(5)], Lane::Control);
        let send = Output::Send { links, frame: Frame::from(text), lane };
        let close = Output::Close { link: LinkId(4), code: 1000, reason: "bye".to_owned() };
        hash.input(at, 1, &Input::Timeout);
        let outputs = if swapped { [&close, &send] } else { [&send, &close] };
        outputs.into_iter().for_each(|output| hash.output(at, 1, output));
        hash.value()
    }

    #[test]
    fn a_changed_byte_a_changed_time_and_a_changed_order_change_the_hash() {
        let text = r#"{"type":"PEERS"}"#;
        let first = hash(text, 7, false);
        assert_eq!(first, hash(text, 7, false));
        for other in [hash(r#"{"type":"PEERT"}"#, 7, false), hash(text, 8, false), hash(text, 7, true)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn no_code_is_used_twice() {
        let source = include_str!("trace_hash.rs");
        let mut codes = BTreeSet::new();
        for begin in ["hash.number(", "=> "] {
            for text in source.split(begin).skip(1) {
                let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                // Lesser ones are those of enums in a record.
                if let Ok(code @ 100..) = digits.parse::<u64>() {
                    assert!(codes.insert(code), "{code}");
                }
            }
        }
        assert!(codes.len() > 100, "{}", codes.len());
    }

    #[test]
    fn every_byte_position_counts() {
        let value = |bytes: &[u8]| TraceHash::default().bytes(bytes).value();
        let bytes = [7; 21];
        for position in 0..bytes.len() {
            let mut other = bytes;
            other[position] ^= 1;
            assert_ne!(value(&bytes), value(&other), "byte {position}");
        }
        assert_ne!(value(&bytes), value(&bytes[..20]));
    }

    #[test]
    fn the_reason_of_a_close_does_not_count_and_its_code_does() {
        let value = |code, reason: &str| {
            let mut hash = TraceHash::default();
            hash.output(Duration::ZERO, 0, &Output::Close { link: LinkId(1), code, reason: reason.to_owned() });
            hash.value()
        };
        assert_eq!(value(1000, "a"), value(1000, "b"));
        assert_ne!(value(1000, "a"), value(1001, "a"));
    }
}
