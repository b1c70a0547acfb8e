//! The state that all requests share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::http::hub::Hub;
use crate::http::limits::{SEARCHES, STREAMS};
use crate::node::handle::Handle;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node: Handle,
    /// HTTP_PATH.
    pub(crate) path: String,
    pub(crate) hub: Hub,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) searches: Semaphore,
}

pub(crate) type Shared = Arc<State>;

impl State {
    pub(crate) fn new(node: Handle, path: String) -> Self {
        Self {
            hub: Hub::new(node.clone()),
            node,
            path,
            streams: Arc::new(Semaphore::new(STREAMS)),
            searches: Semaphore::new(SEARCHES),
        }
    }
}
