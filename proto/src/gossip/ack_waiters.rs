//! Who waits until the disk has a transaction: clients for their ACK, and the application.

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::LinkId;
use crate::io::{Lane, Output, RequestId};
use crate::limits;
use crate::transaction::{IdMap, TransactionId};
use crate::wire::{Ack, AckStatus, close};

/// See the module. Bounded by [`limits::ACKS_DUE`] per link: a client may ask for one transaction
/// again and again.
#[derive(Debug, Default)]
pub(crate) struct AckWaiters {
    by_id: IdMap<Vec<Waiter>>,
}

/// Who waits for one transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum Waiter {
    /// A client on a link, with what its ACK will say.
    Client { link: LinkId, status: AckStatus, links: usize },
    /// The application.
    Request(RequestId),
}

impl AckWaiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds a waiter. A client that waits for too many transactions is closed.
    pub(crate) fn add(&mut self, cx: &mut Context, links: &mut LinkTable, id: TransactionId, waiter: Waiter) {
        if let Waiter::Client { link, .. } = waiter
            && let Some(open) = links.get_mut(link)
        {
            if open.acks_due >= limits::ACKS_DUE {
                return links.close(cx, link, close::POLICY, "too many of your transactions wait for the disk");
            }
            open.acks_due += 1;
        }
        self.by_id.entry(id).or_default().push(waiter);
    }

    /// Answers all who wait for a transaction that is on disk now.
    pub(crate) fn on_stored(&mut self, cx: &mut Context, links: &mut LinkTable, id: TransactionId) {
        // Most transactions have no waiter: then the map is not even looked into.
        if self.is_empty() {
            return;
        }
        for waiter in self.by_id.remove(&id).unwrap_or_default() {
            match waiter {
                Waiter::Request(request) => cx.output(Output::SubmissionStored { request }),
                Waiter::Client { link, status, links: count } => {
                    let Some(open) = links.get_mut(link).filter(|link| !link.closing) else { continue };
                    open.acks_due -= 1;
                    send_ack(cx, link, &Ack { id: id.to_string(), status, reason: None, links: count });
                }
            }
        }
    }

    /// Forgets the waiters on a link that is closed.
    pub(crate) fn on_link_closed(&mut self, closed: LinkId) {
        self.by_id.retain(|_, waiters| {
            waiters.retain(|waiter| !matches!(waiter, Waiter::Client { link, .. } if *link == closed));
            !waiters.is_empty()
        });
    }
}

/// Sends an ACK, as payload: a client may ask for thousands at once, and they come in batches,
/// after each write.
pub(crate) fn send_ack(cx: &mut Context, link: LinkId, ack: &Ack) {
    cx.send(vec![link], ack.to_frame(), Lane::Payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parts::{client, context, drain, transaction};

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn parts() -> (AckWaiters, Context, LinkTable) {
        let (cx, mut links) = (context(), LinkTable::default());
        client(&cx, &mut links, 1);
        client(&cx, &mut links, 2);
        (AckWaiters::default(), cx, links)
    }

    fn waits(link: LinkId, status: AckStatus, links: usize) -> Waiter {
        Waiter::Client { link, status, links }
    }

    #[test]
    fn all_who_wait_are_answered_once_the_disk_has_it_in_the_order_in_which_they_came() {
        let (mut waiters, mut cx, mut links) = parts();
        let (id, other) = (transaction(1).id(), transaction(2).id());
        assert!(waiters.is_empty());
        waiters.add(&mut cx, &mut links, id, waits(B, AckStatus::Stored, 3));
        waiters.add(&mut cx, &mut links, id, Waiter::Request(RequestId(7)));
        waiters.add(&mut cx, &mut links, id, waits(A, AckStatus::Duplicate, 0));
        waiters.add(&mut cx, &mut links, other, waits(B, AckStatus::Stored, 1));
        assert_eq!([A, B].map(|link| links.get(link).expect("open").acks_due), [1, 2]);
        waiters.on_stored(&mut cx, &mut links, transaction(3).id());
        assert!(drain(&mut cx).is_empty());
        waiters.on_stored(&mut cx, &mut links, id);
        assert_eq!(
            drain(&mut cx),
            [
                format!("payload [2] {{type:ACK,data:{{id:{id},status:stored,links:3}}}}"),
                "stored 7".to_owned(),
                format!("payload [1] {{type:ACK,data:{{id:{id},status:duplicate,links:0}}}}")
            ]
        );
        assert_eq!([A, B].map(|link| links.get(link).expect("open").acks_due), [0, 1]);
        waiters.on_stored(&mut cx, &mut links, id);
        assert!(drain(&mut cx).is_empty() && !waiters.is_empty());
        waiters.on_stored(&mut cx, &mut links, other);
        assert!(waiters.is_empty());
    }

    #[test]
    fn a_link_that_is_closed_or_closing_is_not_answered() {
        let (mut waiters, mut cx, mut links) = parts();
        let (id, other) = (transaction(1).id(), transaction(2).id());
        for link in [A, B] {
            waiters.add(&mut cx, &mut links, id, waits(link, AckStatus::Stored, 1));
        }
        waiters.add(&mut cx, &mut links, other, waits(A, AckStatus::Stored, 1));
        waiters.on_link_closed(A);
        assert_eq!(waiters.by_id.len(), 1, "nobody waits for the other");
        links.close(&mut cx, B, close::NORMAL, "done");
        waiters.on_stored(&mut cx, &mut links, id);
        assert_eq!(drain(&mut cx), ["close 2 done"]);
        assert_eq!(links.get(B).expect("open").acks_due, 1);
    }

    #[test]
    fn a_client_that_waits_for_too_many_is_closed() {
        let (mut waiters, mut cx, mut links) = parts();
        for n in 0..limits::ACKS_DUE {
            waiters.add(&mut cx, &mut links, transaction(n as u32 % 2).id(), waits(A, AckStatus::Duplicate, 0));
        }
        assert!(drain(&mut cx).is_empty());
        waiters.add(&mut cx, &mut links, transaction(0).id(), waits(A, AckStatus::Duplicate, 0));
        waiters.add(&mut cx, &mut links, transaction(0).id(), waits(B, AckStatus::Duplicate, 0));
        assert_eq!(drain(&mut cx), ["close 1 too many of your transactions wait for the disk"]);
        assert_eq!(waiters.by_id.values().map(Vec::len).sum::<usize>(), limits::ACKS_DUE + 1);
    }
}
