//! A network of the soak's own: a namespace for each node and for the strangers, all on two switches with one cable between, which can be pulled. Nothing of it touches
//! the machine's own network, and it goes with its value.

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

/// The cable between the switches, at its one end.
const CABLE: &str = "cable";
/// Where namespaces with names are kept.
const NAMESPACES: &str = "/run/netns";
/// How many addresses the strangers of one side have.
pub(crate) const STRANGERS: usize = 8;
/// The most nodes that have an address here.
pub(crate) const MOST_NODES: u32 = 200;

/// Whether this machine lets us make such a network.
///
/// # Errors
/// What is missing, in one line.
pub(crate) fn is_allowed() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the soak makes network namespaces, which only root may: run it as root, or in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    );
    ip(&["netns", "list"])
}

/// The network, and who lives where in it.
pub(crate) struct World {
    /// How the names of its namespaces begin.
    name: String,
    /// One for each node; the first half of them is on the left.
    pub(crate) nodes: Vec<Seat>,
    /// Strangers on the left and on the right.
    pub(crate) strangers: Vec<Seat>,
    /// Linked to nobody.
    pub(crate) alone: Option<Seat>,
    namespaces: Namespaces,
}

impl World {
    /// Lays the network.
    ///
    /// # Errors
    /// What the system did not let us do.
    pub(crate) fn lay(nodes: usize) -> Result<Self> {
        let name = format!("soak-{}", std::process::id());
        let mut namespaces = Namespaces(Vec::new());
        let hub = namespaces.add(&format!("{name}-hub"))?;
        for side in ["left", "right"] {
            ip(&["-n", &hub, "link", "add", side, "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", side, "up"])?;
        }
        ip(&["-n", &hub, "link", "add", CABLE, "type", "veth", "peer", "name", "cable-end"])?;
        ip(&["-n", &hub, "link", "set", CABLE, "up", "master", "left"])?;
        ip(&["-n", &hub, "link", "set", "cable-end", "up", "master", "right"])?;
        let mut plug = |of: &str, side: &str, hosts: &[String]| -> Result<Seat> {
            let namespace = namespaces.add(&format!("{name}-{of}"))?;
            ip(&["-n", &hub, "link", "add", of, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["-n", &hub, "link", "set", of, "up", "master", side])?;
            for host in hosts {
                ip(&["-n", &namespace, "address", "add", &format!("{host}/8"), "dev", "eth0"])?;
            }
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            Seat::take(&namespace)
        };
        let seats = (0..nodes).map(|node| plug(&format!("n{node}"), side(node, nodes), &[host(node)]));
        let seats: Vec<Seat> = seats.collect::<Result<_>>()?;
        let strangers = ["left", "right"].into_iter().enumerate().map(|(number, side)| {
            let hosts: Vec<_> = (0..STRANGERS).map(|which| stranger(number, which)).collect();
            plug(&format!("s{number}"), side, &hosts)
        });
        let strangers = strangers.collect::<Result<_>>()?;
        let alone = namespaces.add(&format!("{name}-alone"))?;
        ip(&["-n", &alone, "link", "set", "lo", "up"])?;
        let alone = Some(Seat::take(&alone)?);
        Ok(Self { name, nodes: seats, strangers, alone, namespaces })
    }

    /// Pulls the cable: what is sent to the other side is lost, and nobody is told.
    pub(crate) fn cut(&self) -> Result<()> {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "down"])
    }

    /// Puts it in again.
    pub(crate) fn heal(&self) -> Result<()> {
        ip(&["-n", &self.hub(), "link", "set", CABLE, "up"])
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    /// How many namespaces it has.
    pub(crate) fn namespaces(&self) -> usize {
        self.namespaces.0.len()
    }
}

/// Whether a node is on the first side.
pub(crate) fn is_left(node: usize, nodes: usize) -> bool {
    node < nodes / 2
}

fn side(node: usize, nodes: usize) -> &'static str {
    if is_left(node, nodes) { "left" } else { "right" }
}

/// A node's address in the network. Each has an IPv4 /16 of its own, as nodes of different owners have: some bounds are per /16.
pub(crate) fn host(node: usize) -> String {
    format!("10.{}.0.1", node + 1)
}

/// An address of the strangers on one side.
pub(crate) fn stranger(side: usize, which: usize) -> String {
    format!("10.{}.0.1", MOST_NODES as usize + 10 * side + which + 1)
}

/// An address of nobody.
pub(crate) fn nobody(which: u16) -> String {
    format!("10.250.{}.{}", which >> 8, which & 0xff)
}

/// The namespaces that were made. Dropping them removes them.
struct Namespaces(Vec<String>);

impl Namespaces {
    fn add(&mut self, name: &str) -> Result<String> {
        // Noted first: what is half made when something ends the soak goes too.
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
                eprintln!("{name} is left over: {error:#}");
            }
        }
    }
}

/// A thread in a namespace, with a runtime: what is run there has its sockets, and its child processes, in that namespace. Dropping it ends what runs there.
pub(crate) struct Seat {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Seat {
    fn take(namespace: &str) -> Result<Self> {
        let path = format!("{NAMESPACES}/{namespace}");
        let namespace = File::open(&path).with_context(|| format!("{path} can not be opened"))?;
        let (told, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = || -> std::io::Result<tokio::runtime::Runtime> {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            match runtime() {
                Ok(runtime) => {
                    // Nobody waits any more only if the soak is being ended.
                    told.send(Ok(runtime.handle().clone())).unwrap_or_default();
                    // An error is the sender's end: just what is waited for.
                    runtime.block_on(stopped).unwrap_or_default();
                }
                Err(error) => told.send(Err(error)).unwrap_or_default(),
            }
        });
        let runtime = ready.recv().context("a thread ended before it began")?;
        let runtime = runtime.with_context(|| format!("{path} can not be entered"))?;
        Ok(Self { runtime, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs something here, and waits for it. It goes on if nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        Ok(self.runtime.spawn(work).await?)
    }

    /// Begins something here that ends with the seat.
    pub(crate) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(work)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("a thread of the soak ended in a fault");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    // In a process group of its own: Ctrl+C is for the soak, which then removes what it made, and not for this.
    let output = Command::new("ip").args(arguments).process_group(0).output();
    let output = output.context("ip can not be started; install it (Debian: apt-get install iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
