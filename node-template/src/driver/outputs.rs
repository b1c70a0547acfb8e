//! Carrying out what the core orders. What goes to links and to the pool is staged, and handed over once the round is done.

use std::sync::Arc;
use std::time::Instant;

use crate::driver::{Driver, Errand, FAULT, WANTED};
use crate::images::Answer;
use crate::protocol::event::Event;
use crate::protocol::frame::Frame;
use crate::protocol::id::LinkId;
use crate::protocol::{Input, Lane, Output};
use crate::transport::dialer;
use crate::transport::link::send_queue::{Farewell, Item};

impl Driver {
    pub(crate) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { links, frame, lane } => self.stage(&links, frame, lane),
            Output::Store { transaction } => {
                self.accepted += 1;
                if !self.telling {
                    self.parts.events.count_unsent(1);
                }
                self.sent.extend(self.parts.filter.take_in(transaction.frame().as_str()));
                self.storing.push(transaction);
            }
            Output::Notify(event) => self.tell(event),
            Output::BroadcastSent { request, told } => {
                if let Some(asker) = self.broadcasts.remove(&request) {
                    // Whoever asked may have gone.
                    asker.send(told).unwrap_or_default();
                }
            }
            Output::Dial { address, reach } => {
                let (limits, secure) = (self.parts.limits.clone(), self.parts.secure.clone());
                let lost = Errand::Dialled { address: address.clone(), result: Err(FAULT.into()) };
                self.begin(lost, async move {
                    let result = dialer::dial(&address, reach, &limits, secure.as_deref()).await;
                    Errand::Dialled { result: result.map(Box::new), address }
                });
            }
            Output::Probe { link, address, reach } => {
                let (limits, secure) = (self.parts.limits.clone(), self.parts.secure.clone());
                let lost = Errand::Probed { link, address: address.clone(), identity: None };
                self.begin(lost, async move {
                    let identity = dialer::probe(&address, reach, &limits, secure.as_deref()).await;
                    Errand::Probed { link, identity, address }
                });
            }
            Output::DropQueued { link, origins } => {
                self.hand_over_to(link);
                if let Some(outgoing) = self.links.get(&link) {
                    outgoing.queue.drop_origins(&origins);
                }
            }
            Output::Ping { link } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.ping();
                }
            }
            Output::Close { link, code, reason } => {
                self.hand_over_to(link);
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.wanted = Vec::new();
                    outgoing.queue.close(Farewell { code, reason });
                }
            }
            Output::PauseReading { link, time } => {
                if let Some(outgoing) = self.links.get(&link) {
                    outgoing.queue.pause(time);
                }
            }
            Output::Replay { link, from, until, synced } => self.feed(link, from, until, synced),
            Output::ReplayPositions { link, positions } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    // Who wants more than this at once finds the rest missing again.
                    let room = WANTED.saturating_sub(outgoing.wanted.len());
                    outgoing.wanted.extend(positions.into_iter().take(room));
                    self.fetch(link);
                }
            }
            Output::FindLocalImages { search, name } => {
                let images = Arc::clone(&self.parts.images);
                let lost = Errand::LookedUp { search, images: Vec::new() };
                self.begin(
                    lost,
                    async move { Errand::LookedUp { search, images: images.look_up(name.as_ref()).await } },
                );
            }
            Output::ImageOffer { found, reach } => {
                if let Some(asker) = self.searches.get(&found.id) {
                    // There is room for as many as the core lets through; and whoever asked may have gone.
                    asker.try_send(Answer::Offer(found, reach)).unwrap_or_default();
                }
            }
            Output::ImageSearchOver { search, end } => {
                if let Some(asker) = self.searches.remove(&search) {
                    asker.try_send(Answer::Over(end)).unwrap_or_default();
                }
            }
            Output::AdvertiseSlots { free } => self.parts.discovering.advertise(free),
            Output::SavePeerCache { addresses } => self.parts.remembered.save(addresses),
            Output::Submitted { request, outcome } => self.on_submitted(request, outcome),
            Output::SubmissionStored { request } => {
                if let Some(request) = self.requests.remove(&request) {
                    // Whoever submitted may not care for the disk.
                    request.kept.send(()).unwrap_or_default();
                }
            }
        }
    }

    /// Stages a frame for links: it is handed to their tasks when the driver has done its round. What does not fit is not staged.
    fn stage(&mut self, links: &[LinkId], frame: Frame, lane: Lane) {
        for link in links {
            let Some(outgoing) = self.links.get_mut(link) else {
                continue;
            };
            match lane {
                Lane::Payload if outgoing.queue.fits(lane, outgoing.staged_bytes, frame.len()) => {
                    if outgoing.staged.is_empty() {
                        self.touched.push(*link);
                    }
                    outgoing.staged_bytes += frame.len();
                    outgoing.staged.push(Item::Text(frame.clone()));
                }
                Lane::Payload => self.follow_ups.push_back(Input::QueueFull { link: *link }),
                Lane::Control if outgoing.queue.fits(lane, 0, frame.len()) => {
                    outgoing.queue.push(lane, [Item::Text(frame.clone())], frame.len());
                }
                Lane::Control => {
                    outgoing.queue.close(Farewell { code: 1008, reason: "you do not read what you asked for".into() })
                }
            }
        }
    }

    /// Hands everything staged to the links' tasks and to the pool, and the events to the application.
    pub(crate) fn hand_over(&mut self) {
        for link in std::mem::take(&mut self.touched) {
            self.hand_over_to(link);
        }
        self.parts.events.flush();
        if self.accepted > 0 {
            self.parts.filter.learn(self.sent.drain(..));
        }
        let copies = self.parts.protocol.counters().transactions_duplicate;
        self.copies.count(&self.parts.filter, std::mem::take(&mut self.accepted), copies);
        // Last: the pool's thread, once woken, may take the core from those who send on and who listen.
        if let Some(batch) = self.storing.take(self.parts.protocol.is_disk_awaited(), Instant::now) {
            self.parts.pool.store_new(batch, self.found);
        }
    }

    fn hand_over_to(&mut self, link: LinkId) {
        if let Some(outgoing) = self.links.get_mut(&link)
            && !outgoing.staged.is_empty()
        {
            let bytes = std::mem::take(&mut outgoing.staged_bytes);
            outgoing.queue.push(Lane::Payload, outgoing.staged.drain(..), bytes);
        }
    }

    /// Tells the log and the application.
    pub(crate) fn tell(&mut self, event: Event) {
        self.log.log(self.now, &event);
        self.parts.events.send(event);
    }
}
