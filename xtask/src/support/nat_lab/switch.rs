//! A switch with delay in a namespace: a thread that moves frames between its interfaces through
//! one raw packet socket. Many kernels are built without `netem`, which would delay too.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt, socket, sockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::namespace::within;
use crate::support::nat_lab::forwarding::{Counts, Forwarding, Port};
use crate::support::terminal::note;

/// The receive buffer: some thousand frames, while the thread has to wait for a processor.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The longest frame that a packet socket hands over.
const LONGEST_FRAME: usize = 65_536;
/// The most frames that are read before those that are due leave.
const BATCH: usize = 64;
/// `PACKET_OUTGOING` of packet(7): a frame that was sent, by us among others.
const OUTGOING: u8 = 4;

/// A running switch. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Switch {
    namespace: String,
    shared: Arc<Mutex<Shared>>,
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    forwarding: Forwarding,
    /// To what address of the kernel a frame for each port is sent.
    addresses: HashMap<Port, LinkAddr>,
}

impl Switch {
    /// Starts a switch without ports.
    pub(crate) fn start(namespace: &str, delay: Duration) -> Result<Self> {
        let socket = within(namespace, || {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
                .context("a packet socket cannot be opened")?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            Ok(socket)
        })?;
        let shared = Shared { forwarding: Forwarding::new(delay), addresses: HashMap::new() };
        let shared = Arc::new(Mutex::new(shared));
        let (stopped, stop) = pipe()?;
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(&socket, &stopped, &shared))
        };
        Ok(Self { namespace: namespace.to_owned(), shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Adds an interface of the switch's namespace.
    pub(crate) fn plug(&self, interface: &str) -> Result<Port> {
        let address = within(&self.namespace, || {
            let mut interfaces = getifaddrs()?.filter(|found| found.interface_name == interface);
            let address = interfaces.find_map(|found| found.address?.as_link_addr().copied());
            address.with_context(|| format!("there is no interface {interface} in {}", self.namespace))
        })?;
        let mut shared = lock(&self.shared);
        shared.addresses.insert(address.ifindex(), address);
        shared.forwarding.plug(address.ifindex());
        Ok(address.ifindex())
    }

    /// Cuts a port, or restores it. When this returns, it has taken effect for every frame that has
    /// not left yet.
    pub(crate) fn set_cut(&self, port: Port, cut: bool) {
        lock(&self.shared).forwarding.set_cut(port, cut);
    }

    pub(crate) fn set_loss(&self, part: f64) {
        lock(&self.shared).forwarding.set_loss(part);
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.shared).forwarding.counts()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            note!("warning: the thread of a switch panicked");
        }
    }
}

/// Each change of the state is complete before anything can panic.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves frames until the other end of the pipe is closed.
fn run(socket: &OwnedFd, stopped: &PipeReader, shared: &Mutex<Shared>) {
    let mut buffer = vec![0; LONGEST_FRAME];
    loop {
        send_due(socket, shared);
        let next = lock(shared).forwarding.next_due();
        let wait = next.map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
        });
        let mut polled = [PollFd::new(stopped, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) if !polled[0].revents().is_empty() => return,
            Ok(_) if polled[1].revents().is_empty() => {}
            Ok(_) => receive(socket, shared, &mut buffer),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                note!("warning: a switch ends, since it cannot wait for frames: {error}");
                return;
            }
        }
    }
}

/// Sends the frames that are due.
fn send_due(socket: &OwnedFd, shared: &Mutex<Shared>) {
    loop {
        let due = lock(shared);
        let mut due = due;
        let Some((frame, ports)) = due.forwarding.take_due(Instant::now()) else { return };
        let addresses: Vec<_> = ports.iter().filter_map(|port| due.addresses.get(port).copied()).collect();
        drop(due);
        for address in addresses {
            // As on a real line, a frame that cannot be sent is lost.
            sendto(socket.as_raw_fd(), &frame, &address, MsgFlags::empty()).unwrap_or_default();
        }
    }
}

/// Reads frames that have come.
fn receive(socket: &OwnedFd, shared: &Mutex<Shared>, buffer: &mut [u8]) {
    for _ in 0..BATCH {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer) {
            Ok((length, Some(from))) if from.pkttype() != OUTGOING => {
                let forwarding = &mut lock(shared).forwarding;
                forwarding.receive(Instant::now(), from.ifindex(), &buffer[..length], rand::random());
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // No more frames, or an interface that is gone.
            Err(_) => return,
        }
    }
}
