//! A host of the lab: what runs on it, and where it is.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;

use crate::support::namespace::{Namespace, within};
use crate::support::nat_lab::forwarding::Port;
use crate::support::nat_lab::nat::Nat;

/// A host in a namespace. It is gone when its lab is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(super) namespace: String,
    pub(super) address: Ipv4Addr,
    pub(super) public: Ipv4Addr,
    pub(super) nat: Nat,
    /// The router before it, which has the line to the switch.
    pub(super) router: Option<Router>,
    /// The port of the switch to which the line of the host, or of its router, leads.
    pub(super) port: Port,
}

#[derive(Debug)]
pub(super) struct Router {
    pub(super) namespace: String,
    /// Counts its public addresses.
    pub(super) generation: u16,
}

impl Host {
    /// Returns the address of its own interface.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the address under which others see it now: its own, or that of its router.
    pub(crate) fn public_address(&self) -> Ipv4Addr {
        self.public
    }

    /// Returns the name of its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns a command that runs on this host. The process id of its child is the program's.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a function on this host, and waits for it. Sockets that it opens stay there, whatever
    /// thread uses them.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.namespace, work)
    }

    /// Returns a thread on this host with a runtime for tasks.
    pub(crate) fn enter(&self) -> Result<Namespace> {
        Namespace::enter(&self.namespace)
    }

    /// Returns the namespace where its public address is.
    pub(super) fn edge(&self) -> &str {
        self.router.as_ref().map_or(&self.namespace, |router| &router.namespace)
    }
}
