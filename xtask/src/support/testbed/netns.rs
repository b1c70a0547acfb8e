//! A test network: a namespace for each node and for the attackers, on two switches with one cable
//! between them.
//!
//! It does not touch the machine's own network. Dropping it removes it.

use crate::support::terminal::note;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One end of the cable between the switches.
const CABLE: &str = "cable";
/// The folder of named namespaces.
const NAMESPACES: &str = "/run/netns";
/// The addresses of the attackers of one half.
pub(crate) const ATTACKERS: usize = 8;
/// The most nodes for which there are addresses.
pub(crate) const MOST_NODES: u32 = 200;

/// Checks that this process may make such a network.
///
/// # Errors
/// What is missing, in one line.
pub(crate) fn is_allowed() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this task makes network namespaces, which only root may: run it as root, or in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    );
    ip(&["netns", "list"])
}

/// The network with its namespaces.
pub(crate) struct TestNetwork {
    /// The beginning of the namespaces' names.
    name: String,
    /// One for each node; the first half of them is on the left.
    pub(crate) nodes: Vec<Namespace>,
    /// Attackers on the left and on the right.
    pub(crate) attackers: Vec<Namespace>,
    /// The namespace of the isolated node.
    pub(crate) isolated: Option<Namespace>,
    namespaces: Namespaces,
}

impl TestNetwork {
    /// Makes the network.
    ///
    /// # Errors
    /// A command of the system failed.
    pub(crate) fn create(nodes: usize) -> Result<Self> {
        let name = format!("testbed-{}", std::process::id());
        let mut namespaces = Namespaces(Vec::new());
        let hub = namespaces.add(&format!("{name}-hub"))?;
        for side in ["left", "right"] {
            ip(&["-n", &hub, "link", "add", side, "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", side, "up"])?;
        }
        ip(&["-n", &hub, "link", "add", CABLE, "type", "veth", "peer", "name", "cable-end"])?;
        ip(&["-n", &hub, "link", "set", CABLE, "up", "master", "left"])?;
        ip(&["-n", &hub, "link", "set", "cable-end", "up", "master", "right"])?;
        let mut plug = |of: &str, side: &str, hosts: &[String]| -> Result<Namespace> {
            let namespace = namespaces.add(&format!("{name}-{of}"))?;
            ip(&["-n", &hub, "link", "add", of, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["-n", &hub, "link", "set", of, "up", "master", side])?;
            for host in hosts {
                ip(&["-n", &namespace, "address", "add", &format!("{host}/8"), "dev", "eth0"])?;
            }
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            Namespace::enter(&namespace)
        };
        let of_nodes = (0..nodes).map(|node| plug(&format!("n{node}"), side(node, nodes), &[host(node)]));
        let of_nodes: Vec<Namespace> = of_nodes.collect::<Result<_>>()?;
        let attackers = ["left", "right"].into_iter().enumerate().map(|(number, side)| {
            let hosts: Vec<_> = (0..ATTACKERS).map(|which| attacker(number, which)).collect();
            plug(&format!("s{number}"), side, &hosts)
        });
        let attackers = attackers.collect::<Result<_>>()?;
        let isolated = namespaces.add(&format!("{name}-isolated"))?;
        ip(&["-n", &isolated, "link", "set", "lo", "up"])?;
        let isolated = Some(Namespace::enter(&isolated)?);
        Ok(Self { name, nodes: of_nodes, attackers, isolated, namespaces })
    }

    /// Takes the cable down: frames to the other half are lost without notice.
    pub(crate) fn cut(&self) -> Result<()> {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "down"])
    }

    /// Takes the cable up again.
    pub(crate) fn heal(&self) -> Result<()> {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "up"])
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    /// Returns the number of namespaces.
    pub(crate) fn namespaces(&self) -> usize {
        self.namespaces.0.len()
    }
}

/// Whether a node is in the left half.
pub(crate) fn is_left(node: usize, nodes: usize) -> bool {
    node < nodes / 2
}

fn side(node: usize, nodes: usize) -> &'static str {
    if is_left(node, nodes) { "left" } else { "right" }
}

/// Returns a node's address. Each node has an IPv4 /16 of its own, like nodes of different owners,
/// since some limits are per /16.
pub(crate) fn host(node: usize) -> String {
    format!("10.{}.0.1", node + 1)
}

/// Returns an address of the attackers of one half.
pub(crate) fn attacker(side: usize, which: usize) -> String {
    format!("10.{}.0.1", MOST_NODES as usize + 10 * side + which + 1)
}

/// Returns an address where no node is.
pub(crate) fn unused_address(which: u16) -> String {
    format!("10.250.{}.{}", which >> 8, which & 0xff)
}

/// The names of the namespaces. Dropping them removes the namespaces.
struct Namespaces(Vec<String>);

impl Namespaces {
    fn add(&mut self, name: &str) -> Result<String> {
        // Recorded first, so that a half-made one is removed too.
        self.0.push(name.to_owned());
        ip(&["netns", "add", name])?;
        Ok(name.to_owned())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let delete = |name: &str| ip(&["netns", "delete", name]);
        for name in &self.0 {
            if let Err(error) = delete(name).or_else(|_| delete(name))
                && Path::new(NAMESPACES).join(name).exists()
            {
                note!("warning: the network namespace {name} is left over: {error:#}");
            }
        }
    }
}

/// A thread with a runtime in a namespace, to which sockets and child processes of its tasks
/// belong. Dropping it ends the tasks.
pub(crate) struct Namespace {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    fn enter(namespace: &str) -> Result<Self> {
        let path = format!("{NAMESPACES}/{namespace}");
        let namespace = File::open(&path).with_context(|| format!("{path} cannot be opened"))?;
        let (sender, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = || -> std::io::Result<tokio::runtime::Runtime> {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            match runtime() {
                Ok(runtime) => {
                    // The receiver is gone only if the task is ending.
                    sender.send(Ok(runtime.handle().clone())).unwrap_or_default();
                    // An error means that the sender was dropped, which is the request to end.
                    runtime.block_on(stopped).unwrap_or_default();
                }
                Err(error) => sender.send(Err(error)).unwrap_or_default(),
            }
        });
        let runtime = ready.recv().context("a thread ended at its start")?;
        let runtime = runtime.with_context(|| format!("{path} cannot be entered"))?;
        Ok(Self { runtime, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a task here and waits for it. Cancelling the wait does not end the task.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        Ok(self.runtime.spawn(work).await?)
    }

    /// Spawns a task here that ends with the namespace.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            note!("warning: a thread of a network namespace panicked");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    // With a process group of its own, Ctrl+C reaches this process only, which then removes the
    // network.
    let output = Command::new("ip").args(arguments).process_group(0).output();
    let output = output.context("ip cannot be started; install it (Debian: apt-get install iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
