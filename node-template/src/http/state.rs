//! The state that all requests share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::http::hub::Hub;
use crate::http::limits::{SEARCHES, STREAMS};
use crate::http::watches::Watches;
use crate::node::handle::Handle;
use crate::node::operator::Operator;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node: Handle,
    /// `None`: the program takes no changes over the API.
    pub(crate) operator: Option<Arc<Operator>>,
    /// HTTP_PATH.
    pub(crate) path: String,
    pub(crate) hub: Hub,
    pub(crate) watches: Arc<Watches>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) searches: Semaphore,
}

pub(crate) type Shared = Arc<State>;

impl State {
    pub(crate) fn new(node: Handle, path: String, operator: Option<Arc<Operator>>) -> Self {
        let watches = Arc::<Watches>::default();
        Self {
            hub: Hub::new(node.clone(), Arc::clone(&watches)),
            watches,
            node,
            operator,
            path,
            streams: Arc::new(Semaphore::new(STREAMS)),
            searches: Semaphore::new(SEARCHES),
        }
    }
}
