//! A search for images in the network.

use meshpool_proto::SearchEnd;
use meshpool_proto::limits;
use meshpool_proto::wire::{ImageName, SearchId};
use tokio::sync::mpsc;

use crate::core_queries::{Ended, Queries, SearchAnswer};
use crate::images::error::ImageError;

/// A running search; dropping it ends it.
pub(crate) struct Search<'a> {
    queries: &'a Queries,
    id: SearchId,
    answers: mpsc::Receiver<SearchAnswer>,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.queries.end_search(self.id);
    }
}

impl<'a> Search<'a> {
    /// Searches for an image; without a name, for all images.
    pub(crate) async fn begin(queries: &'a Queries, name: Option<ImageName>) -> Result<Self, ImageError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| ImageError::Busy)?;
        let id = SearchId(id);
        // One more than there can be offers, so that the end always has room.
        let room = 1 + 2 * if name.is_some() { limits::FINDERS } else { limits::LISTERS };
        let (sender, answers) = mpsc::channel(room);
        queries.search(id, name, sender).await.map_err(|Ended| ImageError::Ended)?;
        Ok(Self { queries, id, answers })
    }

    pub(crate) async fn next(&mut self) -> SearchAnswer {
        self.answers.recv().await.unwrap_or(SearchAnswer::Over(SearchEnd::Deadline))
    }
}
