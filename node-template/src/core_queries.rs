//! What images, requests and the relay ask of the core, as a channel to the driver. So they need
//! not know the driver.

use std::net::IpAddr;

use meshpool_proto::access::Certified;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::{NodeId, Nonce};
use meshpool_proto::wire::{Found, ImageName, SearchId};
use meshpool_proto::{Location, SearchEnd};
use tokio::sync::{mpsc, oneshot};

use crate::transport::dial_permit::NamedBy;

/// How many queries wait for the driver.
const QUERIES: usize = 1_024;

/// A query to the core.
#[derive(Debug)]
pub(crate) enum CoreQuery {
    /// Where can a node be reached?
    Locate { node: NodeId, reply: oneshot::Sender<Location> },
    /// Ask a node for a connection, over its link. Is there one?
    CallBack { node: NodeId, nonce: Nonce, reply: oneshot::Sender<bool> },
    /// May a node that proved its id send requests? Then with the address of this node.
    MayRequest {
        remote: IpAddr,
        certified: Option<Certified>,
        node: NodeId,
        reply: oneshot::Sender<Result<PeerAddress, String>>,
    },
    /// Do the access rules let someone fetch images?
    MayFetch { remote: IpAddr, certified: Option<Certified>, reply: oneshot::Sender<bool> },
    /// Is an address neither banned nor denied, no matter which node is there?
    #[cfg(feature = "wan")]
    MayConnect { remote: IpAddr, reply: oneshot::Sender<bool> },
    /// Search for an image, or, without a name, for all images.
    Search { id: SearchId, name: Option<ImageName>, answers: mpsc::Sender<SearchAnswer> },
    /// End a search.
    EndSearch { id: SearchId },
}

/// An answer to a search.
#[derive(Debug)]
pub(crate) enum SearchAnswer {
    /// A node offers images, and who named its address.
    Offer(Found, NamedBy),
    /// The search is over.
    Over(SearchEnd),
}

/// The node has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Sends queries to the core. A clone sends to the same.
#[derive(Debug, Clone)]
pub(crate) struct Queries(mpsc::Sender<CoreQuery>);

impl Queries {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<CoreQuery>) {
        let (sender, receiver) = mpsc::channel(QUERIES);
        (Self(sender), receiver)
    }

    pub(crate) async fn locate(&self, node: NodeId) -> Result<Location, Ended> {
        self.ask(|reply| CoreQuery::Locate { node, reply }).await
    }

    pub(crate) async fn call_back(&self, node: NodeId, nonce: Nonce) -> Result<bool, Ended> {
        self.ask(|reply| CoreQuery::CallBack { node, nonce, reply }).await
    }

    pub(crate) async fn may_request(
        &self,
        remote: IpAddr,
        certified: Option<Certified>,
        node: NodeId,
    ) -> Result<Result<PeerAddress, String>, Ended> {
        self.ask(|reply| CoreQuery::MayRequest { remote, certified, node, reply }).await
    }

    /// Returns whether the access rules let someone fetch images; false if the node is ending.
    pub(crate) async fn may_fetch(&self, remote: IpAddr, certified: Option<Certified>) -> bool {
        self.ask(|reply| CoreQuery::MayFetch { remote, certified, reply }).await.unwrap_or(false)
    }

    pub(crate) async fn search(
        &self,
        id: SearchId,
        name: Option<ImageName>,
        answers: mpsc::Sender<SearchAnswer>,
    ) -> Result<(), Ended> {
        self.0.send(CoreQuery::Search { id, name, answers }).await.map_err(|_| Ended)
    }

    /// Ends a search. Without room for the query it ends at its deadline.
    pub(crate) fn end_search(&self, id: SearchId) {
        self.0.try_send(CoreQuery::EndSearch { id }).ok();
    }

    #[cfg(feature = "wan")]
    pub(crate) async fn may_connect(&self, remote: IpAddr) -> Result<bool, Ended> {
        self.ask(|reply| CoreQuery::MayConnect { remote, reply }).await
    }

    /// Waits for the end of the node. Cancel-safe.
    pub(crate) async fn ended(&self) {
        self.0.closed().await;
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> CoreQuery) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(query(reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}
