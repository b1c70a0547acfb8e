//! Carrying out what a core orders, and checking each order while doing so.

use meshpool_proto::event::Event;
use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::{AckStatus, ImageInfo, Message};
use meshpool_proto::{Input, Lane, Node as Core, Output};

use super::{Conduct, Feed, Node};
use crate::check::{Broken, Fault, Invariant};
use crate::network::{Network, Queue, Refusal};
use crate::run::Sabotage;
use crate::wire::{Item, Purpose};

impl Node {
    pub(super) fn carry_out_all(&mut self, net: &mut Network, core: &mut Core) -> Result<(), Broken> {
        while let Some(output) = core.poll_output() {
            self.carry_out(net, output).map_err(|fault| self.broken(net, fault))?;
        }
        Ok(())
    }

    fn carry_out(&mut self, net: &mut Network, output: Output) -> Result<(), Fault> {
        let actor = self.actor;
        let now = net.clock.now();
        net.hash(|hash, now| hash.output(now, actor, &output));
        match output {
            Output::Dial { address, .. } => {
                net.trace.note(now, actor, "dials", 0, &address);
                self.watch.on_dial(&address, net.limits.dials_in_flight)?;
                net.dial(actor, address, Purpose::Link);
            }
            Output::Probe { link, address, .. } => {
                net.trace.note(now, actor, "probes", link.0, &address);
                self.watch.on_probe(net.limits.dials_in_flight)?;
                net.dial(actor, address, Purpose::Probe(link));
            }
            Output::Send { links, frame, lane } => {
                let Some(frame) = self.twist(net, frame) else { return Ok(()) };
                for link in links {
                    net.trace.note(now, actor, "sends", link.0, frame.as_str());
                    self.send(net, link, Item::Text(frame.clone()), lane)?;
                }
                self.check_ack(net, frame.as_str())?;
            }
            // What was sent is on its way already; and no simulated link is read so fast that a pause would tell.
            Output::DropQueued { .. } | Output::PauseReading { .. } => {}
            Output::Ping { link } => {
                net.trace.note(now, actor, "pings", link.0, "");
                self.send(net, link, Item::Ping, Lane::Control)?;
            }
            Output::Close { link, code, reason } => {
                net.trace.note(now, actor, "closes", link.0, &reason);
                self.feeds.remove(&link);
                net.close(actor, link, format!("{code} {reason}")).map_err(|_| no_link("Close", link))?;
            }
            Output::Store { transaction } => {
                net.trace.note(now, actor, "stores", 0, transaction.body());
                self.accepted.extend(net.texts.number(transaction.frame()));
                self.store(net, &transaction)?;
                self.misbehave(net, &transaction)?;
            }
            Output::Replay { .. } | Output::ReplayPositions { .. } if self.conduct != Conduct::Honest => {}
            Output::Replay { link, from, until, synced } => {
                net.trace.note(now, actor, "feeds", link.0, "");
                let end = net.end(actor, link).filter(|end| end.listens());
                end.ok_or_else(|| no_link("Feed", link))?;
                self.feeds.insert(link, Feed { next: from, until, synced });
                self.feed(net, link);
            }
            Output::ReplayPositions { link, positions } => self.fetch(net, link, &positions),
            Output::Submitted { request, outcome } => {
                if let Ok(submission) = outcome {
                    self.requests.insert(request, submission.id);
                }
            }
            Output::BroadcastSent { .. } | Output::AdvertiseSlots { .. } => {}
            Output::SubmissionStored { request } => {
                let id = self.requests.remove(&request);
                let id = id.filter(|id| self.is_on_disk(id));
                self.acknowledged
                    .push(id.ok_or_else(|| (Invariant::AcknowledgedAfterDisk, format!("{request:?} is called kept")))?);
            }
            Output::FindLocalImages { search, name } => {
                let asked = |image: &&ImageInfo| name.as_ref().is_none_or(|name| image.name == *name);
                let images = self.images.iter().filter(asked).cloned().collect();
                self.follow_ups.push_back(Input::LocalImages { search, images });
            }
            Output::ImageOffer { .. } | Output::ImageSearchOver { .. } => {}
            Output::SavePeerCache { addresses } => self.remembered = addresses,
            Output::Notify(event) => {
                self.counts.linked += u64::from(matches!(event, Event::PeerUp { .. }));
                net.trace.note(now, actor, "says", 0, format_args!("{event:?}"));
                if let Event::Banned { peer, cause, .. } = &event {
                    let known = peer.address.as_ref().and_then(|address| net.target(address));
                    let all_lie = net.liars.len() >= net.listening;
                    if !all_lie && known.is_none_or(|other| !net.liars.contains(&other)) {
                        return Err((Invariant::NobodyHonestIsExpelled, format!("{peer} is closed for: {cause}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// What is wrong on purpose, after an order to store.
    fn misbehave(&mut self, net: &mut Network, transaction: &Transaction) -> Result<(), Fault> {
        match self.sabotage {
            Some(Sabotage::StoreTwice) => self.store(net, transaction)?,
            Some(Sabotage::PretendStored) => self.follow_ups.push_back(Input::Stored { ids: vec![transaction.id()] }),
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, net: &mut Network, link: LinkId, item: Item, lane: Lane) -> Result<(), Fault> {
        let queue = if lane == Lane::Control { Queue::Control } else { Queue::Payload };
        match net.send(self.actor, link, item, queue) {
            Ok(()) => Ok(()),
            Err(Refusal::NoLink) => Err(no_link("Send or Ping", link)),
            Err(Refusal::Full) => {
                self.follow_ups.push_back(Input::QueueFull { link });
                Ok(())
            }
        }
    }

    /// A client's ACK that says "stored" must find the transaction on disk.
    fn check_ack(&mut self, net: &mut Network, text: &str) -> Result<(), Fault> {
        if !text.starts_with(r#"{"type":"ACK""#) {
            return Ok(());
        }
        if let Ok(Message::Ack(ack)) = Message::parse(&mut net.texts.parser, text)
            && ack.status != AckStatus::Rejected
        {
            let id = ack.id.parse().ok().filter(|id| self.is_on_disk(id));
            self.acknowledged
                .push(id.ok_or_else(|| (Invariant::AcknowledgedAfterDisk, format!("{text} was sent too early")))?);
        }
        Ok(())
    }
}

fn no_link(order: &str, link: LinkId) -> Fault {
    (Invariant::NoOrderForAClosedLink, format!("{order} names {link:?}, whose end was reported"))
}
