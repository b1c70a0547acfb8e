//! Multicast DNS: announces our record and listens for others.
//!
//! The daemon of `mdns-sd` answers, asks and caches on a thread of its own. It has two weaknesses:
//! its subscription ends silently when events come faster than they are taken, and its cache is
//! unbounded. So this task subscribes again, and replaces a daemon that has died or that keeps too
//! much.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, MDNS_PORT, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::mdns_record::Record;
use meshpool_proto::{Input, limits};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::events::text::strip_control;

/// The pause before subscribing again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(1);
/// The pause before a daemon that ended or kept too much is replaced.
const REPLACE_AFTER: Duration = Duration::from_secs(5);
/// The pause before the next try where multicast DNS is not possible.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often the size of the daemon's cache and this host's address are checked.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How long the daemon may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Why a daemon ended.
enum End {
    /// The node ends.
    Stop,
    /// It is replaced after this time.
    Replace(Duration),
    /// The node is to be announced at this address.
    Moved(PeerAddress),
}

/// Listens, and announces `own` with the current number of free slots, until the sender of `free`
/// or the receiver of `inputs` is gone. `present` returns the address of the node as its interfaces
/// are now; `None`: it does not follow from them.
pub(crate) async fn run(
    mut own: Record,
    present: impl Fn() -> Option<PeerAddress>,
    mut free: watch::Receiver<Option<Option<u32>>>,
    inputs: mpsc::Sender<Input>,
) {
    // The state that was logged last: it is logged once for as long as it lasts.
    let mut works = None;
    loop {
        let end = match Daemon::start(&own) {
            Ok(daemon) => {
                if works.replace(true) != Some(true) {
                    daemon.log_start();
                }
                daemon.serve(&present, &mut free, &inputs).await
            }
            Err(error) => {
                if works.replace(false) != Some(false) {
                    tracing::warn!(
                        "nodes on this network cannot be found by multicast DNS: {error}; set DISCOVERY=off if that is to stay so"
                    );
                }
                End::Replace(RETRY_AFTER)
            }
        };
        let after = match end {
            End::Stop => return,
            End::Replace(after) => after,
            End::Moved(address) => {
                tracing::info!(
                    "multicast DNS: the address of this host has changed: announcing {address} instead of {}",
                    own.address
                );
                own.address = address.clone();
                if inputs.send(Input::AddressChanged { address }).await.is_err() {
                    return;
                }
                // The new daemon has no record yet.
                free.mark_changed();
                continue;
            }
        };
        tokio::select! {
            () = sleep(after) => {}
            () = gone(&mut free, &inputs) => return,
        }
    }
}

/// Waits until both ends of the driver are gone.
async fn gone(free: &mut watch::Receiver<Option<Option<u32>>>, inputs: &mpsc::Sender<Input>) {
    let closed = async { while free.changed().await.is_ok() {} };
    tokio::select! {
        () = closed => {}
        () = inputs.closed() => {}
    }
}

/// A running daemon.
struct Daemon<'a> {
    own: &'a Record,
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    /// The indices of the loopback interfaces.
    loopback: BTreeSet<u32>,
}

impl<'a> Daemon<'a> {
    /// Starts a daemon and subscribes to nodes.
    ///
    /// # Errors
    /// A text for the log.
    fn start(own: &'a Record) -> Result<Self, String> {
        try_port().map_err(|error| format!("UDP port {MDNS_PORT} cannot be used: {error}"))?;
        // Checked before a thread is started.
        service(own)?;
        let interfaces =
            if_addrs::get_if_addrs().map_err(|error| format!("the interfaces cannot be listed: {error}"))?;
        let loopback = interfaces.iter().filter(|one| one.is_loopback()).filter_map(|one| one.index).collect();
        let daemon = ServiceDaemon::new().map_err(|error| error.to_string())?;
        let started = Self::subscribe(own, &daemon);
        if started.is_err() {
            daemon.shutdown().ok();
        }
        let events = started.map_err(|error| error.to_string())?;
        Ok(Self { own, daemon, events, loopback })
    }

    fn subscribe(own: &Record, daemon: &ServiceDaemon) -> mdns_sd::Result<Receiver<ServiceEvent>> {
        if is_local(own) {
            // A node that only this host can dial is not announced on the network.
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        daemon.browse(Record::SERVICE)
    }

    fn log_start(&self) {
        let address = &self.own.address;
        if is_local(self.own) {
            tracing::info!(
                "multicast DNS on this host alone: no other machine can dial {address}; others find this node if it has a network, and HOST and ADDRESS are left out"
            );
        } else {
            tracing::info!("multicast DNS: announcing {address} on the local network, and listening for others");
        }
    }

    /// Listens and announces until the node ends or the daemon has to be replaced. All that the
    /// `select!` awaits is cancel-safe: channels and a timer.
    async fn serve(
        mut self,
        present: impl Fn() -> Option<PeerAddress>,
        free: &mut watch::Receiver<Option<Option<u32>>>,
        inputs: &mpsc::Sender<Input>,
    ) -> End {
        if inputs.send(Input::DiscoveryStarted).await.is_err() {
            return End::Stop;
        }
        let mut measure = interval(MEASURE_EVERY);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = None;
        let end = loop {
            tokio::select! {
                changed = free.changed() => {
                    if changed.is_err() {
                        break End::Stop;
                    }
                    let slots = *free.borrow_and_update();
                    if let Some(slots) = slots && !self.announce(slots) {
                        break End::Replace(REPLACE_AFTER);
                    }
                }
                () = inputs.closed() => break End::Stop,
                event = self.events.recv_async() => match event {
                    Ok(event) => {
                        if let Some(input) = self.input(event) && inputs.send(input).await.is_err() {
                            break End::Stop;
                        }
                    }
                    // The daemon closes a subscription whose events come faster than they are
                    // taken.
                    Err(_) => {
                        sleep(SUBSCRIBE_AGAIN).await;
                        match self.daemon.browse(Record::SERVICE) {
                            Ok(events) => self.events = events,
                            Err(_) => break End::Replace(REPLACE_AFTER),
                        }
                    }
                },
                _ = measure.tick() => match self.kept().await {
                    _ if self.has_moved(&mut moved, present()) => break moved.map_or(End::Stop, End::Moved),
                    Some(kept) if kept <= limits::MDNS_RECORDS => {}
                    Some(kept) => {
                        tracing::debug!("multicast DNS: {kept} records are kept, more than a network of nodes has; the daemon is replaced");
                        break End::Replace(REPLACE_AFTER);
                    }
                    None if self.daemon.status().is_err() => break End::Replace(REPLACE_AFTER),
                    // It is busy.
                    None => {}
                },
            }
        };
        if let Ok(done) = self.daemon.shutdown() {
            // The caller bounds this wait. An error means that the daemon has ended.
            done.recv_async().await.ok();
        }
        end
    }

    /// Whether the node's address has changed, and was the same at two checks: while an interface
    /// changes it may have none. Without a network the former address stays.
    fn has_moved(&self, moved: &mut Option<PeerAddress>, present: Option<PeerAddress>) -> bool {
        let present = present.filter(|address| *address != self.own.address && address.scope() != Scope::Loopback);
        let before = std::mem::replace(moved, present);
        before.is_some() && before == *moved
    }

    /// Replaces our announced record. Returns false if the daemon does not take it.
    fn announce(&self, free: Option<u32>) -> bool {
        let service = service(&Record { free, ..self.own.clone() });
        service.is_ok_and(|service| self.daemon.register(service).is_ok())
    }

    /// How many records and timers the daemon keeps; `None` if it does not answer in time.
    async fn kept(&self) -> Option<i64> {
        let answer = self.daemon.get_metrics().ok()?;
        let metrics = timeout(ANSWER_WITHIN, answer.recv_async()).await.ok()?.ok()?;
        Some(
            metrics
                .iter()
                .filter(|(name, _)| name.starts_with("cached-") || *name == "timer")
                .map(|(_, kept)| kept)
                .sum(),
        )
    }

    /// The input for the core that follows from an event.
    fn input(&self, event: ServiceEvent) -> Option<Input> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let record = Record::read(&service.fullname, |key| service.get_property_val_str(key));
                if let Err(error) = &record {
                    tracing::debug!("multicast DNS: {} is no node: {error}", strip_control(&service.fullname));
                }
                Some(Input::RecordDiscovered { record, scope: self.scope(&service) })
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                Record::session_in(&name).map(|session| Input::RecordExpired { session })
            }
            _ => None,
        }
    }

    /// How far away a record can have come from: from this host if all of it came in on loopback.
    fn scope(&self, service: &ResolvedService) -> Scope {
        let here = |index: u32| self.loopback.contains(&index);
        let addresses = service.get_addresses();
        let local = addresses.iter().all(|address| match address {
            ScopedIp::V4(v4) => v4.interface_ids().iter().all(|id| here(id.index)),
            ScopedIp::V6(v6) => here(v6.scope_id().index),
            _ => false,
        });
        if local && !addresses.is_empty() { Scope::Loopback } else { Scope::Private }
    }
}

/// Whether only its own host can dial a node.
fn is_local(own: &Record) -> bool {
    own.address.scope() == Scope::Loopback
}

impl Drop for Daemon<'_> {
    /// Ends the thread also if the task is dropped before its end.
    fn drop(&mut self) {
        // Mostly it has ended already.
        self.daemon.shutdown().ok();
    }
}

/// Our record as a service of DNS-SD. Its names are as unique as the session, so they are not
/// probed.
fn service(own: &Record) -> Result<ServiceInfo, String> {
    let host = format!("p2p-node-{}.local.", own.session);
    let strings = own.strings();
    let service = ServiceInfo::new(Record::SERVICE, &own.name(), &host, (), own.address.port(), &strings[..]);
    let mut service = service.map_err(|error| error.to_string())?.enable_addr_auto();
    service.set_requires_probe(false);
    if is_local(own) {
        service.set_interfaces(vec![IfKind::LoopbackV4, IfKind::LoopbackV6]);
    }
    Ok(service)
}

/// Checks whether the port of multicast DNS can be shared with other programs: the daemon does not
/// report that.
fn try_port() -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())
}
