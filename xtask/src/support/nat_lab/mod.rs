//! A test bed for NATs on one Linux machine: hosts on a public network and hosts behind routers,
//! all in network namespaces, and in the middle a switch with delay.
//!
//! | address | is |
//! |---|---|
//! | 198.51.100.10, 11, … | public hosts |
//! | 198.51.100.21, 22, … | routers, and hosts of [`Nat::None`] |
//! | 198.51.100.101, 102, … | routers after [`Lab::move_nat`] |
//! | 10.n.n.2 | the host behind the n-th router, which is 10.n.n.1 |
//!
//! It needs root, `ip`, and the programs of [`PROGRAMS`]. Names of namespaces are unique, so that
//! several labs can run side by side; the machine's own network is not touched. Dropping a lab ends
//! the processes on its hosts and removes its namespaces. There is no IPv6, except for what
//! [`watch`](watch::Watch) adds.

mod forwarding;
mod host;
mod nat;
mod switch;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::debian::Program;
use crate::support::namespace::{self, Namespaces, call, ip_lines, kill_all, within};
pub(crate) use crate::support::nat_lab::forwarding::Counts;
pub(crate) use crate::support::nat_lab::host::Host;
use crate::support::nat_lab::host::Router;
pub(crate) use crate::support::nat_lab::nat::Nat;
use crate::support::nat_lab::switch::Switch;
use crate::support::terminal::note;

/// The programs that a lab calls besides `ip`.
pub(crate) const PROGRAMS: [Program; 2] = [
    Program { name: "nft", argument: "--version", package: "nftables" },
    Program { name: "ethtool", argument: "--version", package: "ethtool" },
];

/// The last byte of the first public host's address, and of the last one's.
const PUBLIC: (u8, u8) = (10, 20);
/// The same of hosts behind routers.
const BEHIND: (u8, u8) = (21, 99);
/// The same of addresses to which routers move.
const MOVED: (u8, u8) = (101, 254);

/// Checks that this process may make a lab, and installs the programs that are missing where
/// apt-get may.
///
/// # Errors
/// What is missing, in one line.
pub(crate) fn provide() -> Result<()> {
    namespace::is_allowed()?;
    PROGRAMS.iter().try_for_each(Program::provide)
}

/// Checks the same, and installs nothing.
#[cfg(test)]
fn is_allowed() -> Result<()> {
    namespace::is_allowed()?;
    PROGRAMS.iter().try_for_each(Program::check)
}

/// A public network with its hosts.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The beginning of the namespaces' names.
    name: String,
    switch: Switch,
    /// How many addresses of each kind are in use.
    public: u8,
    behind: u8,
    moved: u8,
    ports: u32,
    namespaces: Namespaces,
}

impl Lab {
    /// Makes a network without hosts. A packet takes `delay` from one public address to another.
    ///
    /// # Errors
    /// A command of the system failed.
    pub(crate) fn new(delay: Duration) -> Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let name = format!("nat-lab-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let mut namespaces = Namespaces::default();
        let hub = namespaces.add(&format!("{name}-hub"))?;
        without_ipv6(&hub)?;
        let switch = Switch::start(&hub, delay)?;
        Ok(Self { name, switch, public: 0, behind: 0, moved: 0, ports: 0, namespaces })
    }

    /// Adds a host on the public network.
    pub(crate) fn public(&mut self, name: &str) -> Result<Host> {
        let address = next(&mut self.public, PUBLIC)?;
        self.on_the_line(name, address)
    }

    /// Adds a host behind a router of its own.
    pub(crate) fn behind(&mut self, nat: Nat) -> Result<Host> {
        let public = next(&mut self.behind, BEHIND)?;
        let number = self.behind;
        let name = format!("{nat}-{number}");
        if nat == Nat::None {
            return self.on_the_line(&name, public);
        }
        let router = self.add_namespace(&format!("{name}-router"))?;
        let port = self.plug(&router, public)?;
        let namespace = self.add_namespace(&name)?;
        let (gateway, address) = (Ipv4Addr::new(10, number, number, 1), Ipv4Addr::new(10, number, number, 2));
        ip_lines(
            &router,
            &format!(
                "link add lan0 type veth peer name eth0 netns {namespace}
address add {gateway}/24 dev lan0
link set lan0 up"
            ),
        )?;
        ip_lines(
            &namespace,
            &format!(
                "address add {address}/24 dev eth0
link set eth0 up
route add default via {gateway}"
            ),
        )?;
        within(&router, || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("packets cannot be forwarded")?;
            call("nft", &["-f", "-"], &nat.rules(0))
        })?;
        let router = Some(Router { namespace: router, generation: 0 });
        Ok(Host { namespace, address, public, nat, router, port })
    }

    /// Cuts the line of a host, or of its router: every frame is dropped, also those under way.
    pub(crate) fn cut(&self, host: &Host) {
        self.switch.set_cut(host.port, true);
    }

    /// Restores the line of a host.
    pub(crate) fn restore(&self, host: &Host) {
        self.switch.set_cut(host.port, false);
    }

    /// Drops a part of all frames from now on, from 0 to 1.
    pub(crate) fn set_loss(&self, part: f64) {
        self.switch.set_loss(part);
    }

    /// Gives the router of a host a new public address, as an internet provider does: the old one
    /// is gone, and so are all mappings. A host without a router gets the new address itself.
    pub(crate) fn move_nat(&mut self, host: &mut Host) -> Result<Ipv4Addr> {
        let (old, new) = (host.public, next(&mut self.moved, MOVED)?);
        ip_lines(host.edge(), &format!("address del {old}/24 dev eth0\naddress add {new}/24 dev eth0"))?;
        host.public = new;
        match &mut host.router {
            Some(router) => {
                router.generation += 1;
                let rules = host.nat.rules(router.generation);
                within(&router.namespace, || call("nft", &["-f", "-"], &rules))?;
            }
            None => host.address = new,
        }
        Ok(new)
    }

    /// Makes a host fall silent for good, as one without power does: its line is cut, and its
    /// processes are killed.
    pub(crate) fn kill(&self, host: &Host) -> Result<()> {
        self.cut(host);
        kill_all(&host.namespace)
    }

    /// Drops what belongs to the TCP connections that a host has accepted on a port until now, in
    /// both directions. Those that begin later are served.
    pub(crate) fn forget_connections(&self, host: &Host, port: u16) -> Result<()> {
        let rules = format!(
            "table ip forgotten {{
  chain in {{ type filter hook input priority 0;
    tcp dport {port} tcp flags & (syn | ack) == syn ct mark set 1
    tcp dport {port} ct mark != 1 drop
  }}
  chain out {{ type filter hook output priority 0;
    tcp sport {port} ct mark != 1 drop
  }}
}}
"
        );
        within(&host.namespace, || call("nft", &["-f", "-"], &rules))?;
        Ok(())
    }

    /// Returns what the switch has done with the frames so far.
    pub(crate) fn counts(&self) -> Counts {
        self.switch.counts()
    }

    fn on_the_line(&mut self, name: &str, address: Ipv4Addr) -> Result<Host> {
        let namespace = self.add_namespace(name)?;
        let port = self.plug(&namespace, address)?;
        Ok(Host { namespace, address, public: address, nat: Nat::None, router: None, port })
    }

    fn add_namespace(&mut self, name: &str) -> Result<String> {
        let namespace = self.namespaces.add(&format!("{}-{name}", self.name))?;
        without_ipv6(&namespace)?;
        ip_lines(&namespace, "link set lo up")?;
        Ok(namespace)
    }

    /// Connects a namespace to the switch.
    fn plug(&mut self, namespace: &str, address: Ipv4Addr) -> Result<usize> {
        self.ports += 1;
        let interface = format!("port{}", self.ports);
        let hub = format!("{}-hub", self.name);
        ip_lines(
            &hub,
            &format!("link add {interface} type veth peer name eth0 netns {namespace}\nlink set {interface} up"),
        )?;
        // The switch takes frames as they would be on a wire: no longer than that allows, and with
        // their checksums.
        within(namespace, || {
            call("ethtool", &["-K", "eth0", "tx", "off", "gso", "off", "tso", "off", "gro", "off"], "")
        })?;
        ip_lines(namespace, &format!("address add {address}/24 dev eth0\nlink set eth0 up"))?;
        remember_neighbours(namespace)?;
        self.switch.plug(&interface)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces.names() {
            if let Err(error) = kill_all(namespace) {
                note!("warning: a process in {namespace} may be left over: {error:#}");
            }
        }
    }
}

/// Returns the next address of a range.
fn next(used: &mut u8, (first, last): (u8, u8)) -> Result<Ipv4Addr> {
    ensure!(first + *used <= last, "this lab has no more than {} such addresses", last - first + 1);
    *used += 1;
    Ok(Ipv4Addr::new(198, 51, 100, first + *used - 1))
}

/// Keeps what ARP has found. The line of a provider resolves no addresses; here the kernel would
/// ask again once a second while a line is cut, and so keep packets for up to a second more.
fn remember_neighbours(namespace: &str) -> Result<()> {
    // An address that has only asked is confirmed at once, and not after 5 s.
    let settings = [("delay_first_probe_time", "0"), ("base_reachable_time_ms", "3600000")];
    within(namespace, || {
        settings.into_iter().try_for_each(|(name, value)| {
            let setting = format!("/proc/sys/net/ipv4/neigh/eth0/{name}");
            fs::write(&setting, value).with_context(|| format!("{setting} cannot be written"))
        })
    })
}

/// Gives interfaces that are made in a namespace from now on no address of IPv6 by themselves:
/// neighbours on the public network would otherwise reach each other past the NATs.
fn without_ipv6(namespace: &str) -> Result<()> {
    let setting = "/proc/sys/net/ipv6/conf/default/addr_gen_mode";
    within(namespace, || match fs::write(setting, "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        written => written.with_context(|| format!("{setting} cannot be written")),
    })
}
