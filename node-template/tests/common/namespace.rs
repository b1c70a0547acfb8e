//! A network of a test's own, which can be cut in two: each node in a network namespace, all of
//! them on two switches with one cable between. Nothing of it touches the machine's own network,
//! and it goes with its value.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use meshpool::protocol::limits::Limits;
use meshpool::{Network, Node};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The cable between the switches, at its one end.
const CABLE: &str = "cable";

/// The time in which connections to one host are counted, in tests that count them.
pub const WINDOW: Duration = Duration::from_secs(2);

/// The limits of a node that dials as often as its peers ask for it, up to the bound of each host.
pub fn eager() -> Limits {
    Limits {
        host_window: WINDOW,
        gossip_burst: 10_000,
        gossip_interval: Duration::from_millis(1),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        forget_failures: 1_000,
        search_deadline: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Two switches, and a namespace for each node.
pub struct TwoSides {
    /// How the names of this network's namespaces begin.
    name: String,
    nodes: usize,
}

impl TwoSides {
    /// Lays a network for so many nodes; the first half of them is on one side. `None` where that
    /// is not allowed, which is a failure in CI.
    pub fn lay(nodes: usize) -> Option<Self> {
        let sides = Self { name: unique(), nodes };
        if let Err(error) = sides.build() {
            let remedy = "run the tests as root, with `ip` installed (Debian: apt-get install iproute2)";
            assert!(std::env::var_os("CI").is_none(), "no network to cut in two, {remedy}: {error}");
            eprintln!("skipped, for want of a network to cut in two: {error}; {remedy}");
            return None;
        }
        Some(sides)
    }

    fn build(&self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        for side in ["left", "right"] {
            ip(&["-n", &hub, "link", "add", side, "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", side, "up"])?;
        }
        ip(&["-n", &hub, "link", "add", CABLE, "type", "veth", "peer", "name", "cable-end"])?;
        ip(&["-n", &hub, "link", "set", CABLE, "up", "master", "left"])?;
        ip(&["-n", &hub, "link", "set", "cable-end", "up", "master", "right"])?;
        for node in 0..self.nodes {
            let (namespace, port) = (self.of(node), format!("port-{node}"));
            ip(&["netns", "add", &namespace])?;
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["-n", &hub, "link", "set", &port, "up", "master", if self.is_left(node) { "left" } else { "right" }])?;
            ip(&["-n", &namespace, "address", "add", &format!("{}/24", host(node)), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Whether a node is on the first side.
    pub fn is_left(&self, node: usize) -> bool {
        node < self.nodes / 2
    }

    /// Pulls the cable: what is sent to the other side is lost, and nobody is told.
    pub fn cut(&self) {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "down"]).unwrap();
    }

    /// Puts it in again.
    pub fn heal(&self) {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "up"]).unwrap();
    }

    /// Gives a node's interface another address instead of its own: `10.77.0.N`.
    pub fn readdress(&self, node: usize, last: u8) {
        let namespace = self.of(node);
        ip(&["-n", &namespace, "address", "delete", &format!("{}/24", host(node)), "dev", "eth0"]).unwrap();
        ip(&["-n", &namespace, "address", "add", &format!("10.77.0.{last}/24"), "dev", "eth0"]).unwrap();
    }

    /// Has `ip` do something in a namespace.
    pub fn ip(&self, node: usize, arguments: &[&str]) {
        let namespace = self.of(node);
        ip(&[&["-n", &namespace], arguments].concat()).unwrap();
    }

    /// Starts a node in its namespace. It lives on a thread of its own, as do its sockets.
    pub async fn start(&self, node: usize, describe: impl FnOnce(Network) -> Network + Send + 'static) -> Inhabitant {
        self.start_on(node, &host(node), describe).await
    }

    /// As [`Self::start`], for a node that listens on another host than its own address in the
    /// network.
    pub async fn start_on(
        &self,
        node: usize,
        host: &str,
        describe: impl FnOnce(Network) -> Network + Send + 'static,
    ) -> Inhabitant {
        inhabit(Some(&self.of(node)), host, PORT, describe).await
    }

    /// As [`Self::start`], on any free port: many nodes may share a namespace, and so an address.
    pub async fn start_sharing(
        &self,
        node: usize,
        describe: impl FnOnce(Network) -> Network + Send + 'static,
    ) -> Inhabitant {
        inhabit(Some(&self.of(node)), &host(node), 0, describe).await
    }

    /// Does something in a namespace, on a thread of its own.
    pub fn run<T: Send + 'static>(&self, node: usize, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.of(node);
        std::thread::spawn(move || {
            enter(Some(&namespace));
            work()
        })
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn of(&self, node: usize) -> String {
        format!("{}-{node}", self.name)
    }
}

impl Drop for TwoSides {
    fn drop(&mut self) {
        for namespace in (0..self.nodes).map(|node| self.of(node)).chain([self.hub()]) {
            // Where laying it failed half-way, some were never made.
            ip(&["netns", "delete", &namespace]).ok();
        }
    }
}

/// A machine of a test's own: a namespace with loopback and nothing else. Where that is not allowed
/// it is this machine, and `is_private` says so.
pub struct OneHost {
    name: Option<String>,
}

impl OneHost {
    pub fn build() -> Self {
        let name = unique();
        let built = ip(&["netns", "add", &name])
            .and_then(|()| ip(&["-n", &name, "link", "set", "lo", "up"]))
            // Else only who names the interface can send to a group.
            .and_then(|()| ip(&["-n", &name, "route", "add", "224.0.0.0/4", "dev", "lo"]));
        let host = Self { name: Some(name) };
        match built {
            Ok(()) => host,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "no host of its own: {error}");
                Self { name: None }
            }
        }
    }

    /// Whether nobody else is there.
    pub fn is_private(&self) -> bool {
        self.name.is_some()
    }

    /// Starts a node on any free port, on a thread of its own.
    pub async fn start(&self, host: &str, describe: impl FnOnce(Network) -> Network + Send + 'static) -> Inhabitant {
        inhabit(self.name.as_deref(), host, 0, describe).await
    }

    /// Does something on this host.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let name = self.name.clone();
        let thread = std::thread::spawn(move || {
            enter(name.as_deref());
            work()
        });
        thread.join().unwrap()
    }
}

impl Drop for OneHost {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            ip(&["netns", "delete", name]).ok();
        }
    }
}

/// A name that no other network of this machine has.
fn unique() -> String {
    static NETWORKS: AtomicU32 = AtomicU32::new(0);
    format!("p2p-{}-{}", std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed))
}

/// Moves this thread, and the threads that it makes, into a namespace.
fn enter(namespace: Option<&str>) {
    if let Some(name) = namespace {
        let namespace = File::open(format!("/run/netns/{name}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

/// Starts a node in a namespace. It lives on a thread of its own, as do its sockets.
async fn inhabit(
    namespace: Option<&str>,
    host: &str,
    port: u16,
    describe: impl FnOnce(Network) -> Network + Send + 'static,
) -> Inhabitant {
    let folder = TempDir::new().unwrap();
    let network = Network::new(host).port(port).folder(folder.path());
    let namespace = namespace.map(str::to_owned);
    let (started, running) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        enter(namespace.as_deref());
        // Made here, so that its own threads are in the namespace as well.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = describe(network).start().await.unwrap();
            started.send(node).unwrap_or_else(|_| panic!("the test waits for its node"));
            stopped.await.ok();
        });
    });
    Inhabitant { node: running.await.unwrap(), folder, stop: Some(stop), thread: Some(thread) }
}

/// The port of every node: each has a host of its own.
const PORT: u16 = 4000;

/// A node's address in the network.
pub fn address(node: usize) -> String {
    format!("ws://{}:{PORT}", host(node))
}

fn host(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

/// A node in a namespace. Dropping it stops it.
pub struct Inhabitant {
    pub node: Node,
    pub folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, the test failed where it waited for the node.
            thread.join().ok();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
