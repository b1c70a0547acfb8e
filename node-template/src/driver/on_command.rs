//! What the application asks of the node, and how it is answered.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::driver::Driver;
use crate::driver::link_rows::OpenLink;
#[cfg(test)]
use crate::driver::{Errand, FAULT};
use crate::images::Answer;
use crate::protocol::access::{Access, Certified};
#[cfg(test)]
use crate::protocol::address::PeerAddress;
#[cfg(feature = "tls")]
use crate::protocol::event::Event;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::wire::{ImageName, Member, SearchId, Status};
use crate::protocol::{BroadcastReceipt, Input, RequestId, Submission};

/// What the application asks of the node.
pub(crate) enum Command {
    Submit {
        transaction: Transaction,
        taken: oneshot::Sender<Result<Submission, String>>,
        kept: oneshot::Sender<()>,
    },
    Status {
        holds: Vec<TransactionId>,
        answer: oneshot::Sender<Status>,
    },
    Links {
        answer: oneshot::Sender<Vec<OpenLink>>,
    },
    Broadcast {
        message: String,
        time: f64,
        told: oneshot::Sender<BroadcastReceipt>,
    },
    Nodes {
        answer: oneshot::Sender<Vec<Member>>,
    },
    /// Other rules of who is let in; answered once the links that they keep out are being closed.
    Access {
        access: Access,
        done: oneshot::Sender<()>,
    },
    /// A certificate's end is near.
    #[cfg(feature = "tls")]
    Warn {
        text: String,
    },
    Search {
        id: SearchId,
        name: Option<ImageName>,
        answers: mpsc::Sender<Answer>,
    },
    SearchDone {
        id: SearchId,
    },
    /// Whether somebody may have images of us.
    MayFetch {
        remote: std::net::IpAddr,
        certified: Option<Certified>,
        answer: oneshot::Sender<bool>,
    },
    /// An errand is to end in a panic.
    #[cfg(test)]
    PanicInErrand {
        address: PeerAddress,
    },
    /// The pool's thread is to.
    #[cfg(test)]
    PanicInPool,
    /// It is to hang until the sender is gone.
    #[cfg(test)]
    HangInPool {
        released: std::sync::mpsc::Receiver<()>,
    },
    /// The driver itself is to panic.
    #[cfg(test)]
    PanicInDriver,
}

pub(crate) struct Request {
    pub(crate) taken: Option<oneshot::Sender<Result<Submission, String>>>,
    pub(crate) kept: oneshot::Sender<()>,
}

impl Driver {
    pub(crate) fn on_command(&mut self, command: Command) {
        self.see_listeners();
        match command {
            Command::Submit { transaction, taken, kept } => {
                self.last_request += 1;
                let request = RequestId(self.last_request);
                self.requests.insert(request, Request { taken: Some(taken), kept });
                self.handle(Input::Submit { request, transaction });
            }
            Command::Status { holds, answer } => {
                self.tell_counts();
                // Whoever asked may have gone.
                answer.send(self.parts.protocol.status(Instant::now(), &holds)).unwrap_or_default();
            }
            Command::Links { answer } => answer.send(self.open_links()).unwrap_or_default(),
            Command::Broadcast { message, time, told } => {
                self.last_request += 1;
                let request = RequestId(self.last_request);
                self.broadcasts.insert(request, told);
                self.handle(Input::Broadcast { request, message, time });
            }
            Command::Access { access, done } => {
                self.handle(Input::AccessChanged { access });
                // Whoever asked may have gone.
                done.send(()).unwrap_or_default();
            }
            #[cfg(feature = "tls")]
            Command::Warn { text } => self.tell(Event::Warning { text }),
            #[cfg(test)]
            Command::PanicInErrand { address } => {
                self.begin(Errand::Dialled { address, result: Err(FAULT.into()) }, async {
                    panic!("as a test wants it")
                });
            }
            #[cfg(test)]
            Command::PanicInPool => self.parts.pool.panic(),
            #[cfg(test)]
            Command::HangInPool { released } => self.parts.pool.hang(released),
            #[cfg(test)]
            Command::PanicInDriver => panic!("as a test wants it"),
            Command::Nodes { answer } => {
                answer.send(self.parts.protocol.nodes(Instant::now())).unwrap_or_default();
            }
            Command::Search { id, name, answers } => {
                self.searches.insert(id, answers);
                self.handle(Input::ImageSearch { search: id, name });
            }
            Command::SearchDone { id } => {
                self.searches.remove(&id);
                self.handle(Input::ImageSearchDone { search: id });
            }
            Command::MayFetch { remote, certified, answer } => {
                answer.send(self.parts.protocol.may_fetch(remote, certified)).unwrap_or_default();
            }
        }
    }

    pub(crate) fn on_submitted(&mut self, request: RequestId, outcome: Result<Submission, String>) {
        let refused = outcome.is_err();
        if let Some(taken) = self.requests.get_mut(&request).and_then(|waiting| waiting.taken.take())
            && taken.send(outcome).is_err()
        {
            tracing::trace!("nobody waits for the outcome of a submission");
        }
        if refused {
            self.requests.remove(&request);
        }
    }
}
