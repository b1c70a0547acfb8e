//! The application's function that answers requests.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use meshpool_proto::id::NodeId;

/// The longest text of a handler's error that is sent, in bytes.
const ERROR_BYTES: usize = 1_024;

/// A request of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The node that asks. It has proved its id.
    pub from: NodeId,
    /// What it sent.
    pub payload: Bytes,
}

type Answer = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;

/// The function, in the form in which it is kept.
#[derive(Clone)]
pub(super) struct Handler(Arc<dyn Fn(Request) -> Answer + Send + Sync>);

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl Handler {
    pub(super) fn new<F, A, E>(function: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Bytes>,
        E: fmt::Display,
    {
        Self(Arc::new(move |request| {
            let answer = function(request);
            Box::pin(async move {
                answer.await.map(Into::into).map_err(|error| {
                    let mut text = error.to_string();
                    text.truncate(text.floor_char_boundary(ERROR_BYTES));
                    text
                })
            })
        }))
    }

    /// Calls the function. A panic in its synchronous part comes with the first poll.
    pub(super) async fn call(self, request: Request) -> Result<Bytes, String> {
        (self.0)(request).await
    }
}
