//! One listener's stream of what happens: server-sent events (WHATWG HTML, section 9.2).
//!
//! Every frame is written once, by the hub, and shared. A listener that lags is ended: it comes back and is told how things stand.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::http::api::Shared;
use crate::http::limits::HEARTBEAT;
use crate::http::problem::Problem;

/// A comment, which listeners pass over.
const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

struct Listener {
    /// What it is told first.
    identity: Option<Bytes>,
    frames: broadcast::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Its frames, until there are no more or it lags.
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut listener| async move {
            let frame = match listener.identity.take() {
                Some(identity) => identity,
                None => match tokio::time::timeout(HEARTBEAT, listener.frames.recv()).await {
                    Ok(Ok(frame)) => frame,
                    Ok(Err(RecvError::Closed | RecvError::Lagged(_))) => return None,
                    Err(_) => ALIVE,
                },
            };
            Some((Ok(frame), listener))
        })
    }
}

/// The stream, beginning with how things stand.
pub(crate) async fn open(state: &Shared) -> Result<Response, Problem> {
    let place = state.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many listen already; close another page of this node")
            .retry_after(5)
    })?;
    // First this, so that nothing is missed between the two; what is told twice is the same.
    let frames = state.hub.listen();
    let identity = state.hub.identity().await?;
    let listener = Listener { identity: Some(identity), frames, _place: place };
    let mut response = Body::from_stream(listener.stream()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that gathers what it passes on would hold it back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A frame of the stream: its kind, and a value.
pub(crate) fn frame(kind: &str, value: &impl serde::Serialize) -> Bytes {
    // JSON has no line breaks outside its texts, and inside they are escaped.
    let data = serde_json::to_string(value).expect("what the hub tells has texts as keys and finite numbers");
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::http::limits::LAG;

    #[tokio::test]
    async fn who_does_not_read_is_ended_and_only_so_many_frames_are_held_meanwhile() {
        let places = Arc::new(Semaphore::new(1));
        let (sender, frames) = broadcast::channel(LAG);
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let listener = Listener { identity: Some(Bytes::from_static(b"hello")), frames, _place: place };
        let mut stream = std::pin::pin!(listener.stream());
        for number in 0..100 * LAG {
            sender.send(Bytes::from(number.to_string())).unwrap();
            assert!(sender.len() <= LAG);
        }
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        assert_eq!(stream.next().await, None, "it comes back, and is told how things stand");
        assert_eq!((places.available_permits(), sender.receiver_count()), (1, 0));
    }
}
