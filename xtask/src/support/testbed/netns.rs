//! A test network: a namespace for each node and for the attackers, on two switches with one cable
//! between them.
//!
//! It does not touch the machine's own network. Dropping it removes it.

use anyhow::Result;

use crate::support::namespace::{Namespace, Namespaces, ip};

/// One end of the cable between the switches.
const CABLE: &str = "cable";
/// The addresses of the attackers of one half.
pub(crate) const ATTACKERS: usize = 8;
/// The most nodes for which there are addresses.
pub(crate) const MOST_NODES: u32 = 200;

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
        let mut namespaces = Namespaces::default();
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
        self.namespaces.len()
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
