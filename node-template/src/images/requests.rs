//! What images ask of the core, as a channel to the driver. So images need not know the driver.

use std::net::IpAddr;

use meshpool_proto::SearchEnd;
use meshpool_proto::access::Certified;
use meshpool_proto::wire::{Found, ImageName, SearchId};
use tokio::sync::{mpsc, oneshot};

use crate::transport::dial_permit::NamedBy;

/// How many requests wait for the driver.
const REQUESTS: usize = 1_024;

/// A request to the core.
#[derive(Debug)]
pub(crate) enum ImageRequest {
    /// Search for an image, or, without a name, for all images.
    Search { id: SearchId, name: Option<ImageName>, answers: mpsc::Sender<SearchAnswer> },
    /// End a search.
    EndSearch { id: SearchId },
    /// Ask whether the access rules let someone fetch images.
    MayFetch { remote: IpAddr, certified: Option<Certified>, reply: oneshot::Sender<bool> },
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

/// Sends requests to the core. A clone sends to the same.
#[derive(Debug, Clone)]
pub(crate) struct Requests(mpsc::Sender<ImageRequest>);

impl Requests {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<ImageRequest>) {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        (Self(sender), receiver)
    }

    pub(crate) async fn search(
        &self,
        id: SearchId,
        name: Option<ImageName>,
        answers: mpsc::Sender<SearchAnswer>,
    ) -> Result<(), Ended> {
        self.0.send(ImageRequest::Search { id, name, answers }).await.map_err(|_| Ended)
    }

    /// Ends a search. Without room for the request it ends at its deadline.
    pub(crate) fn end_search(&self, id: SearchId) {
        self.0.try_send(ImageRequest::EndSearch { id }).ok();
    }

    /// Whether the access rules let someone fetch images; no if the node is ending.
    pub(crate) async fn may_fetch(&self, remote: IpAddr, certified: Option<Certified>) -> bool {
        let (reply, may) = oneshot::channel();
        let request = ImageRequest::MayFetch { remote, certified, reply };
        self.0.send(request).await.is_ok() && may.await.unwrap_or(false)
    }

    /// Waits for the end of the node. Cancel-safe.
    pub(crate) async fn ended(&self) {
        self.0.closed().await;
    }
}
