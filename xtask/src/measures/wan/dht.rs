//! A private DHT on hosts of the lab, in which nodes look each other up.

use std::net::SocketAddrV4;

use anyhow::{Context, Result};
use mainline::Dht;

use crate::support::namespace::within;
use crate::support::nat_lab::Lab;

/// The port of each of its nodes, as on the internet.
const PORT: u16 = 6881;
/// The nodes: the first one is named to all others.
const NAMES: [&str; 3] = ["dht-1", "dht-2", "dht-3"];

/// The DHT. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct PrivateDht {
    _nodes: Vec<Dht>,
    first: SocketAddrV4,
}

impl PrivateDht {
    pub(crate) fn start(lab: &mut Lab) -> Result<Self> {
        let (mut nodes, mut first) = (Vec::new(), None);
        for name in NAMES {
            let host = lab.public(name)?;
            let mut node = Dht::builder();
            node.server_mode().bind_address(host.address()).port(PORT);
            match first {
                Some(first) => node.bootstrap(&[first]),
                None => node.no_bootstrap(),
            };
            nodes.push(within(host.namespace(), || node.build().context("a node of the DHT cannot be started"))?);
            first.get_or_insert(SocketAddrV4::new(host.address(), PORT));
        }
        Ok(Self { _nodes: nodes, first: first.context("a DHT has nodes")? })
    }

    /// Returns the settings of nodes that look each other up in it.
    pub(crate) fn settings(&self) -> String {
        format!("LOOKUP=dht\nLOOKUP_BOOTSTRAP={}\n", self.first)
    }
}
