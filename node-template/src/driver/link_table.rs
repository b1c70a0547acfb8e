//! The open links.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::limits::Limits;
use meshpool_proto::{LinkKind, LinkRow};

use crate::driver::link_handle::{LinkHandle, Staged};
use crate::driver::open_link::OpenLink;
use crate::transport::accept_slots::AcceptSlot;
use crate::transport::frame_record::FrameRecord;
use crate::transport::iroh::connection::IrohConnection;
use crate::transport::rate_limit::{LinkRateLimit, RateLimits};
use crate::transport::send_queue::SendQueue;
use crate::transport::websocket::link::{LinkContext, LinkTask};
use crate::transport::websocket::socket::Socket;

/// The open links by id.
pub(crate) struct LinkTable {
    links: BTreeMap<LinkId, LinkHandle>,
    /// The last id that was given; ids are never reused.
    last: LinkId,
    /// The links with staged frames.
    staged: Vec<LinkId>,
    context: LinkContext,
    limits: Limits,
    rates: RateLimits,
}

impl LinkTable {
    pub(crate) fn new(context: LinkContext, limits: Limits) -> Self {
        let rates = RateLimits::new(limits.transaction_rate, limits.transaction_burst);
        Self { links: BTreeMap::new(), last: LinkId(0), staged: Vec::new(), context, limits, rates }
    }

    /// Adds a link. Returns its id and its task, which the caller starts.
    pub(crate) fn open(
        &mut self,
        socket: Socket,
        (remote, iroh): (IpAddr, Option<IrohConnection>),
        dialled: bool,
        slot: Option<AcceptSlot>,
    ) -> (LinkId, LinkTask) {
        self.last.0 += 1;
        let (link, context, limits) = (self.last, &self.context, &self.limits);
        let backpressure = Arc::clone(&context.backpressure);
        let relayed = iroh.as_ref().filter(|connection| connection.is_relayed()).map(IrohConnection::node);
        let (rate, frames) = (self.rates.of(remote, relayed), Arc::<FrameRecord>::default());
        let served = rate.as_ref().map(LinkRateLimit::served).unwrap_or_default();
        let queue = SendQueue::new(limits.queue_bytes, limits.control_bytes, backpressure, link).limited(served);
        let queue = Arc::new(queue);
        let (queued, recorded) = (Arc::clone(&queue), Arc::clone(&frames));
        let task = LinkTask::new(link, socket, dialled, queued, recorded, rate, context.clone());
        self.links.insert(link, LinkHandle::new(queue, frames, slot, iroh));
        (link, task)
    }

    /// Removes a link that has ended. Returns whether it was there.
    pub(crate) fn remove(&mut self, link: LinkId) -> bool {
        self.links.remove(&link).map(LinkHandle::end).is_some()
    }

    pub(crate) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(crate) fn get(&mut self, link: LinkId) -> Option<&mut LinkHandle> {
        self.links.get_mut(&link)
    }

    /// Sends a control frame to links.
    pub(crate) fn send_control(&self, links: &[LinkId], frame: &Frame) {
        links.iter().filter_map(|link| self.links.get(link)).for_each(|handle| handle.send_control(frame));
    }

    /// Stages a mark on a link, behind what is staged.
    pub(crate) fn mark(&mut self, link: LinkId, number: u64) {
        if self.links.get_mut(&link).is_some_and(|handle| handle.stage_mark(number)) {
            self.staged.push(link);
        }
    }

    /// Stages a payload frame for links until [`Self::flush`]. Calls `on_full` for each link whose
    /// queue has no room for it.
    pub(crate) fn stage(&mut self, links: &[LinkId], frame: &Frame, mut on_full: impl FnMut(LinkId)) {
        for link in links {
            match self.links.get_mut(link).map(|handle| handle.stage(frame)) {
                Some(Staged::First) => self.staged.push(*link),
                Some(Staged::Full) => on_full(*link),
                Some(Staged::Another) | None => {}
            }
        }
    }

    /// Queues all staged frames.
    pub(crate) fn flush(&mut self) {
        for link in std::mem::take(&mut self.staged) {
            if let Some(handle) = self.links.get_mut(&link) {
                handle.flush();
            }
        }
    }

    /// Returns the number of bytes written on links to peers since the last call.
    pub(crate) fn take_written(&self) -> u64 {
        self.context.written.swap(0, Ordering::Relaxed)
    }

    /// The paths of the links over iroh.
    pub(crate) fn paths(&self) -> Vec<(LinkId, String, Duration)> {
        let path = |(link, handle): (&LinkId, &LinkHandle)| {
            let (path, round_trip) = handle.path()?;
            Some((*link, path.to_string(), round_trip))
        };
        self.links.iter().filter_map(path).collect()
    }

    /// The links as people see them. Sends a ping on links to peers whose round-trip time is stale.
    pub(crate) fn describe(&mut self, rows: Vec<LinkRow>, now: Instant) -> Vec<OpenLink> {
        let mut open = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(handle) = self.links.get_mut(&row.link) else { continue };
            if row.kind != LinkKind::Client && handle.is_rtt_stale(now) {
                handle.ping(now);
            }
            open.push(handle.describe(row, now));
        }
        open
    }
}
