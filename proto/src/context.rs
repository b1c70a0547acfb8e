//! The context that the node lends to a component for one call: time, settings, randomness,
//! counters, timers, and the queues for outputs and internal events.
//!
//! The node owns it, and drains both queues after each input. It decides nothing but how often the
//! user is warned.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::address::{PeerAddress, Scope};
use crate::config::Config;
use crate::counters::Counters;
use crate::event::Event;
use crate::frame::Frame;
use crate::id::LinkId;
use crate::internal_event::InternalEvent;
use crate::io::{Lane, Output};
use crate::timers::Timers;
use crate::topic_name::TopicName;

/// The shortest time between two warnings that peers can cause: a stranger must not fill the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Owned by the node and lent to a component for one call.
#[derive(Debug)]
pub(crate) struct Context {
    /// The time of the input that is being handled.
    pub(crate) now: Instant,
    pub(crate) config: Config,
    pub(crate) rng: SmallRng,
    pub(crate) counters: Counters,
    pub(crate) timers: Timers,
    /// The topics besides the default one, in the order in which they were declared.
    pub(crate) topics: Vec<TopicName>,
    /// Whether the node shuts down: no dial or search begins any more.
    pub(crate) shutting_down: bool,
    /// Our `iroh:` address with our relays, if others can reach us by our id.
    pub(crate) wan_address: Option<PeerAddress>,
    outbox: VecDeque<Output>,
    internal: VecDeque<InternalEvent>,
    /// When the user was last warned of a peer.
    warned: Option<Instant>,
}

impl Context {
    pub(crate) fn new(now: Instant, config: Config, rng: SmallRng) -> Self {
        Self {
            now,
            config,
            rng,
            counters: Counters::default(),
            timers: Timers::default(),
            topics: Vec::new(),
            shutting_down: false,
            wan_address: None,
            outbox: VecDeque::new(),
            internal: VecDeque::new(),
            warned: None,
        }
    }

    /// Adds an output.
    pub(crate) fn output(&mut self, output: Output) {
        self.outbox.push_back(output);
    }

    /// Takes the oldest output.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Returns whether every output was taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Raises an event for a higher layer.
    pub(crate) fn raise(&mut self, event: InternalEvent) {
        self.internal.push_back(event);
    }

    /// Takes the oldest event that was raised.
    pub(crate) fn poll_internal(&mut self) -> Option<InternalEvent> {
        self.internal.pop_front()
    }

    /// Queues a frame on links.
    pub(crate) fn send(&mut self, links: Vec<LinkId>, frame: Frame, lane: Lane) {
        self.output(Output::Send { links, frame, lane });
    }

    /// Reports an event to the application and the log.
    pub(crate) fn notify(&mut self, event: Event) {
        self.output(Output::Notify(event));
    }

    /// Returns our address for a native peer of this scope, or for everybody at [`Scope::Public`]:
    /// the WebSocket address if it makes sense there, otherwise our node id. Without either it is
    /// the WebSocket address all the same, which the peer ignores.
    pub(crate) fn own_address(&self, scope: Scope) -> &PeerAddress {
        let own = &self.config.address;
        if scope.may_tell(own.scope()) { own } else { self.wan_address.as_ref().unwrap_or(own) }
    }

    /// Returns whether an address is ours: by WebSocket, or our node id, whatever its relays.
    pub(crate) fn is_own(&self, address: &PeerAddress) -> bool {
        *address == self.config.address || address.node() == Some(self.config.node)
    }

    /// Returns whether an address can be dialled: a node id only if the runtime can.
    pub(crate) fn can_dial(&self, address: &PeerAddress) -> bool {
        address.node().is_none() || self.config.wan
    }

    /// Draws one of these addresses; returns `None` if there are none.
    pub(crate) fn pick(&mut self, choice: &[PeerAddress]) -> Option<PeerAddress> {
        (!choice.is_empty()).then(|| choice[self.rng.random_range(0..choice.len())].clone())
    }

    /// Returns whether the user may be warned of a peer now, and counts the warning if so.
    pub(crate) fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|warned| self.now.saturating_duration_since(warned) >= WARN_EVERY);
        if may {
            self.warned = Some(self.now);
        }
        may
    }
}
