//! Multicast DNS: our record out, others' records in.
//!
//! The daemon of `mdns-sd` answers, asks and caches on a thread of its own. It is not trusted to last: its subscription ends silently when events come faster than
//! they are taken, and its cache has no bound, so this task asks again, and replaces a daemon that has died or that keeps too much.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, MDNS_PORT, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::protocol::address::Scope;
use crate::protocol::mdns_record::Record;
use crate::protocol::{Input, limits};

/// How long to wait before asking again after a subscription ended.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long to wait before a new daemon takes the place of one that ended or kept too much.
const REPLACE_AFTER: Duration = Duration::from_secs(5);
/// How long to wait before trying again where multicast DNS is not possible.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often the daemon is asked how much it keeps.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a daemon's life ended.
enum End {
    /// The node ends.
    Stop,
    /// Another one takes its place after this long.
    Replace(Duration),
}

/// Listens, and announces `own` with the latest number of free places, until the sender of `free` or the receiver of `facts` is gone.
pub(crate) async fn run(own: Record, mut free: watch::Receiver<Option<Option<u32>>>, facts: mpsc::Sender<Input>) {
    // Whether it was last said that it works: each is said once, for as long as it stays so.
    let mut works = None;
    loop {
        let end = match Daemon::start(&own) {
            Ok(daemon) => {
                if works.replace(true) != Some(true) {
                    daemon.tell();
                }
                daemon.serve(&mut free, &facts).await
            }
            Err(error) => {
                if works.replace(false) != Some(false) {
                    tracing::warn!(
                        "nodes on this network can not be found by multicast DNS: {error}; set DISCOVERY=off if that is to stay so"
                    );
                }
                End::Replace(RETRY_AFTER)
            }
        };
        let End::Replace(after) = end else { return };
        tokio::select! {
            () = sleep(after) => {}
            () = gone(&mut free, &facts) => return,
        }
    }
}

/// Waits until nobody wants to hear or to say anything any more.
async fn gone(free: &mut watch::Receiver<Option<Option<u32>>>, facts: &mpsc::Sender<Input>) {
    let silent = async { while free.changed().await.is_ok() {} };
    tokio::select! {
        () = silent => {}
        () = facts.closed() => {}
    }
}

/// One life of the daemon.
struct Daemon<'a> {
    own: &'a Record,
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    /// The indices of the interfaces that lead nowhere but to this host.
    loopback: BTreeSet<u32>,
}

impl<'a> Daemon<'a> {
    /// Starts a daemon and asks for nodes.
    ///
    /// # Errors
    /// In words, what is not possible.
    fn start(own: &'a Record) -> Result<Self, String> {
        try_port().map_err(|error| format!("UDP port {MDNS_PORT} can not be used: {error}"))?;
        // What can not be announced is said before a thread is started for it.
        service(own)?;
        let interfaces =
            if_addrs::get_if_addrs().map_err(|error| format!("the interfaces can not be listed: {error}"))?;
        let loopback = interfaces.iter().filter(|one| one.is_loopback()).filter_map(|one| one.index).collect();
        let daemon = ServiceDaemon::new().map_err(|error| error.to_string())?;
        let started = Self::ask(own, &daemon);
        if started.is_err() {
            daemon.shutdown().ok();
        }
        let events = started.map_err(|error| error.to_string())?;
        Ok(Self { own, daemon, events, loopback })
    }

    fn ask(own: &Record, daemon: &ServiceDaemon) -> mdns_sd::Result<Receiver<ServiceEvent>> {
        if is_local(own) {
            // Who can be dialled from this host alone has no business on the network.
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        daemon.browse(Record::SERVICE)
    }

    fn tell(&self) {
        let address = &self.own.address;
        if is_local(self.own) {
            tracing::info!(
                "multicast DNS on this host alone: nobody else can dial {address}; other machines find this node if it has a network, and HOST and ADDRESS are left out"
            );
        } else {
            tracing::info!("multicast DNS: announcing {address} on the local network, and listening for others");
        }
    }

    /// Hears and announces until the node ends or the daemon has to be replaced. The waits in the `select!` are cancel-safe: channels and a timer.
    async fn serve(mut self, free: &mut watch::Receiver<Option<Option<u32>>>, facts: &mpsc::Sender<Input>) -> End {
        if facts.send(Input::DiscoveryStarted).await.is_err() {
            return End::Stop;
        }
        let mut measure = interval(MEASURE_EVERY);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                changed = free.changed() => {
                    if changed.is_err() {
                        break End::Stop;
                    }
                    let places = *free.borrow_and_update();
                    if let Some(places) = places && !self.announce(places) {
                        break End::Replace(REPLACE_AFTER);
                    }
                }
                () = facts.closed() => break End::Stop,
                event = self.events.recv_async() => match event {
                    Ok(event) => {
                        if let Some(fact) = self.fact(event) && facts.send(fact).await.is_err() {
                            break End::Stop;
                        }
                    }
                    // The daemon closes a subscription whose events come faster than they are taken.
                    Err(_) => {
                        sleep(ASK_AGAIN).await;
                        match self.daemon.browse(Record::SERVICE) {
                            Ok(events) => self.events = events,
                            Err(_) => break End::Replace(REPLACE_AFTER),
                        }
                    }
                },
                _ = measure.tick() => match self.kept().await {
                    Some(kept) if kept <= limits::MDNS_RECORDS => {}
                    Some(kept) => {
                        tracing::debug!("multicast DNS: {kept} records are kept, more than a network of nodes has; starting anew");
                        break End::Replace(REPLACE_AFTER);
                    }
                    None if self.daemon.status().is_err() => break End::Replace(REPLACE_AFTER),
                    // It is busy.
                    None => {}
                },
            }
        };
        if let Ok(done) = self.daemon.shutdown() {
            // Bounded by whoever waits for this task. An error means that the daemon has ended, which is what is waited for.
            done.recv_async().await.ok();
        }
        end
    }

    /// Puts our record in place of the one that was announced before; `false` if the daemon does not take it.
    fn announce(&self, free: Option<u32>) -> bool {
        let service = service(&Record { free, ..self.own.clone() });
        service.is_ok_and(|service| self.daemon.register(service).is_ok())
    }

    /// How many records and timers the daemon keeps; `None` if it does not say in time.
    async fn kept(&self) -> Option<i64> {
        let answer = self.daemon.get_metrics().ok()?;
        let metrics = timeout(PATIENCE, answer.recv_async()).await.ok()?.ok()?;
        Some(
            metrics
                .iter()
                .filter(|(name, _)| name.starts_with("cached-") || *name == "timer")
                .map(|(_, kept)| kept)
                .sum(),
        )
    }

    /// What the core should know of an event.
    fn fact(&self, event: ServiceEvent) -> Option<Input> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let record = Record::read(&service.fullname, |key| service.get_property_val_str(key));
                if let Err(error) = &record {
                    tracing::debug!(
                        "multicast DNS: {} is no node: {error}",
                        crate::events::text::strip_control(&service.fullname)
                    );
                }
                Some(Input::RecordDiscovered { record, scope: self.scope(&service) })
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                Record::session_in(&name).map(|session| Input::RecordExpired { session })
            }
            _ => None,
        }
    }

    /// From how far away a record can have come: it is of this host if all of it came in on loopback.
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

/// Whether a node can be dialled from its own host alone.
fn is_local(own: &Record) -> bool {
    own.address.scope() == Scope::Loopback
}

impl Drop for Daemon<'_> {
    /// Its thread would outlive a task that is dropped before its end.
    fn drop(&mut self) {
        // Mostly it has ended already.
        self.daemon.shutdown().ok();
    }
}

/// Our record as a service of DNS-SD. Its names are as unique as the session, so nobody is asked whether they are taken.
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

/// Whether the port of multicast DNS can be shared with whoever uses it on this host: the daemon keeps that to itself.
fn try_port() -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())
}
