//! Membership, connections and peers with a context, for tests of one of them without a node.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::address::PeerAddress;
use crate::config::Config;
use crate::connections::Connections;
use crate::connections::table::{LinkState, NativePeer};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, Session, UpgradeIdentity};
use crate::io::Output;
use crate::json::Parser;
use crate::membership::Membership;
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::testing::parts::{context, node};
use crate::timers::Timer;
use crate::wire::{Declined, Handshake, Join, Message, NodeInfo, Sample};

/// Calls a method of membership that takes all components: `call!(overlay.on_join(link, &join))`.
macro_rules! call {
    ($overlay:ident . $method:ident ( $($argument:expr),* )) => {
        $overlay.membership.$method(&mut $overlay.cx, &mut $overlay.peers, &mut $overlay.conns $(, $argument)*)
    };
}
pub(crate) use call;

/// The components that decide who is linked.
pub(crate) struct Overlay {
    pub(crate) cx: Context,
    pub(crate) peers: Peers,
    pub(crate) conns: Connections,
    pub(crate) membership: Membership,
}

/// The outputs since the last look, by kind.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) dials: Vec<PeerAddress>,
    /// Each probe, with the link whose peer claims the address.
    pub(crate) probes: Vec<(u64, PeerAddress)>,
    /// Each frame, with the link.
    pub(crate) frames: Vec<(u64, String)>,
    /// Each link that was closed, with the code and the reason.
    pub(crate) closed: Vec<(u64, u16, String)>,
    pub(crate) pings: Vec<u64>,
    pub(crate) paused: Vec<(u64, Duration)>,
    pub(crate) events: Vec<Event>,
    /// What remains.
    pub(crate) others: Vec<Output>,
}

/// The IP address of peer `n`. Each peer is in a network of its own, none in a private one.
pub(crate) fn ip(n: u8) -> IpAddr {
    assert!((11..100).contains(&n), "these numbers are public networks");
    IpAddr::V4(Ipv4Addr::new(n, n, 0, 1))
}

/// The address of peer `n`.
pub(crate) fn far(n: u8) -> PeerAddress {
    PeerAddress::new(&ip(n).to_string(), 4001).expect("an address")
}

/// Another address in the network of peer `n`.
pub(crate) fn beside(n: u8, host: u8) -> PeerAddress {
    PeerAddress::new(&Ipv4Addr::new(n, n, 1, host).to_string(), 4001).expect("an address")
}

pub(crate) fn session(n: u8) -> Session {
    Session::from_random([n; 16])
}

/// How peer `n` answers an upgrade.
pub(crate) fn identity(n: u8) -> UpgradeIdentity {
    UpgradeIdentity { node: node(n), session: session(n) }
}

/// What peer `n`, which has a cap, says of itself.
pub(crate) fn info(n: u8) -> NodeInfo {
    NodeInfo {
        id: node(n),
        session: session(n),
        agent: String::new(),
        protocol: 1,
        network: "test".into(),
        address: Some(far(n)),
        max_peers: Some(8),
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    }
}

impl Overlay {
    /// A node without a cap.
    pub(crate) fn mesh() -> Self {
        Self::with(|_| {})
    }

    /// A node with a cap.
    pub(crate) fn capped(most: u32) -> Self {
        Self::with(|config| config.max_peers = Some(most))
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut cx = context();
        change(&mut cx.config);
        let membership = Membership::new(&cx);
        Self { cx, peers: Peers::default(), conns: Connections::default(), membership }
    }

    /// Lets time pass, in which no timer fires.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.cx.now += time;
    }

    /// Adds the address of peer `n` to the address book, as another node named it.
    pub(crate) fn learn(&mut self, n: u8) -> PeerAddress {
        self.book(
            &far(n),
            AddressSource::Gossiped(crate::address::Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
        )
    }

    /// Adds the address of peer `n`, as the user named it.
    pub(crate) fn know(&mut self, n: u8) -> PeerAddress {
        self.book(&far(n), AddressSource::Known)
    }

    pub(crate) fn book(&mut self, address: &PeerAddress, source: AddressSource) -> PeerAddress {
        self.peers.book.add(address, source, self.cx.now, &self.cx.config.limits);
        address.clone()
    }

    /// Opens link `n` from peer `n`, which said nothing yet.
    pub(crate) fn pending_peer(&mut self, n: u8) -> LinkId {
        self.conns.links.open(LinkId(n.into()), ip(n), None, LinkState::Client, self.cx.now);
        LinkId(n.into())
    }

    /// Opens link `n` from peer `n`, established and with a verified address.
    pub(crate) fn accepted(&mut self, n: u8) -> LinkId {
        let link = self.pending_peer(n);
        self.establish(link, n)
    }

    /// Opens link `n` to peer `n`, established.
    pub(crate) fn dialled(&mut self, n: u8) -> LinkId {
        let link = LinkId(n.into());
        self.conns.links.open(link, ip(n), Some(far(n)), LinkState::Client, self.cx.now);
        self.establish(link, n)
    }

    pub(crate) fn accept_all(&mut self, peers: std::ops::Range<u8>) {
        for n in peers {
            self.accepted(n);
        }
    }

    pub(crate) fn dial_all(&mut self, peers: std::ops::Range<u8>) {
        for n in peers {
            self.dialled(n);
        }
    }

    fn establish(&mut self, link: LinkId, n: u8) -> LinkId {
        self.conns.links.set_native(link, LinkState::Established(native(n)));
        self.peers.book.set_state(&far(n), AddressState::Connected(link));
        link
    }

    /// Opens link `n` to peer `n` for a reason: our HANDSHAKE went out.
    pub(crate) fn asking(&mut self, n: u8, reason: DialReason) -> LinkId {
        let link = self.dialled(n);
        self.conns.links.set_native(link, LinkState::HelloSent(native(n)));
        self.conns.set_reason(link, Some(reason));
        link
    }

    /// Opens link `n` to an exercise peer.
    pub(crate) fn exercise(&mut self, n: u8) -> LinkId {
        let (link, address) = (LinkId(n.into()), far(n));
        let state = LinkState::ExerciseOutbound { address: address.clone() };
        self.conns.links.open(link, ip(n), Some(address.clone()), state, self.cx.now);
        self.peers.book.set_state(&address, AddressState::Connected(link));
        link
    }

    /// Redirects the exercise peer of a link.
    pub(crate) fn redirect(&mut self, link: LinkId) {
        self.membership.redirect_exercise(&mut self.cx, &mut self.conns, link);
    }

    /// Ends a link.
    pub(crate) fn end(&mut self, link: LinkId) {
        for address in self.peers.book.leading_to(link) {
            self.peers.book.set_state(&address, AddressState::Waiting);
        }
        let _closed = self.conns.on_closed(&mut self.cx, &mut self.peers, link);
    }

    pub(crate) fn due(&self, timer: &Timer) -> Option<Duration> {
        self.cx.timers.due(timer).map(|at| at.saturating_duration_since(self.cx.now))
    }

    /// When an address is dialled next.
    pub(crate) fn dial_due(&self, address: &PeerAddress) -> Option<Duration> {
        self.due(&Timer::Dial(address.clone()))
    }

    pub(crate) fn state(&self, address: &PeerAddress) -> Option<AddressState> {
        self.peers.book.get(address).map(|peer| peer.state)
    }

    /// Returns whether a link is being closed.
    pub(crate) fn closing(&self, link: LinkId) -> bool {
        self.conns.links.get(link).is_some_and(|link| link.closing)
    }

    /// Takes all outputs.
    pub(crate) fn done(&mut self) -> Done {
        let mut done = Done::default();
        while let Some(output) = self.cx.poll_output() {
            match output {
                Output::Dial { address, .. } => done.dials.push(address),
                Output::Probe { link, address, .. } => done.probes.push((link.0, address)),
                Output::Send { links, frame, .. } => {
                    done.frames.extend(links.iter().map(|link| (link.0, frame.as_str().to_owned())));
                }
                Output::Close { link, code, reason } => done.closed.push((link.0, code, reason)),
                Output::Ping { link } => done.pings.push(link.0),
                Output::PauseReading { link, time } => done.paused.push((link.0, time)),
                Output::Notify(event) => done.events.push(event),
                other => done.others.push(other),
            }
        }
        done
    }

    /// Takes all internal events, as text.
    pub(crate) fn raised(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.cx.poll_internal()).map(|event| format!("{event:?}")).collect()
    }
}

impl Done {
    /// Returns the links on which a frame of this type was sent.
    pub(crate) fn sent(&self, kind: &str) -> Vec<u64> {
        let start = format!(r#"{{"type":"{kind}""#);
        self.frames.iter().filter(|(_, frame)| frame.starts_with(&start)).map(|(link, _)| *link).collect()
    }

    /// Returns the messages that were sent on a link, as its other end reads them.
    pub(crate) fn messages(&self, link: LinkId) -> Vec<Message> {
        let sent = self.frames.iter().filter(|(to, _)| *to == link.0);
        sent.map(|(_, frame)| Message::parse(&mut Parser::new(), frame).expect("a message")).collect()
    }

    /// Returns the DECLINED that was sent on a link.
    pub(crate) fn declined(&self, link: LinkId) -> Option<Declined> {
        self.messages(link).into_iter().find_map(|message| match message {
            Message::Declined(declined) => Some(declined),
            _ => None,
        })
    }

    /// Returns the PEERS that was sent on a link.
    pub(crate) fn sample(&self, link: LinkId) -> Option<Sample> {
        self.messages(link).into_iter().find_map(|message| match message {
            Message::Peers(sample) => Some(sample),
            _ => None,
        })
    }

    /// Returns the JOIN that was sent on a link.
    pub(crate) fn join(&self, link: LinkId) -> Option<Join> {
        self.messages(link).into_iter().find_map(|message| match message {
            Message::Join(join) => Some(join),
            _ => None,
        })
    }

    /// Returns the HANDSHAKE that was sent on a link.
    pub(crate) fn handshake(&self, link: LinkId) -> Option<Handshake> {
        self.messages(link).into_iter().find_map(|message| match message {
            Message::Handshake(handshake) => Some(handshake),
            _ => None,
        })
    }

    /// Returns the links that were closed, each with the code.
    pub(crate) fn codes(&self) -> Vec<(u64, u16)> {
        self.closed.iter().map(|(link, code, _)| (*link, *code)).collect()
    }

    /// Returns the names of the events.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |event: &Event| {
            let text = format!("{event:?}");
            text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        };
        self.events.iter().map(name).collect()
    }

    /// Returns whether nothing was put out.
    pub(crate) fn is_nothing(&self) -> bool {
        format!("{self:?}") == format!("{:?}", Self::default())
    }
}

pub(crate) fn native(n: u8) -> NativePeer {
    NativePeer {
        id: node(n),
        session: session(n),
        address: Some(far(n)),
        wan: None,
        proved: true,
        topics: Default::default(),
        calls_back: true,
    }
}
