//! One listener's stream of live updates.
//!
//! The hub writes every frame once, and all listeners share it. A stream that lags is closed: the
//! client reconnects and gets the current state.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::http::limits::HEARTBEAT;
use crate::http::problem::Problem;
use crate::http::sse_frame::HEARTBEAT_FRAME;
use crate::http::state::Shared;

struct Listener {
    /// The first frame, until it is sent.
    hello: Option<Bytes>,
    frames: broadcast::Receiver<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// Returns the frames, until the hub ends or the listener lags.
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut listener| async move {
            let frame = match listener.hello.take() {
                Some(hello) => hello,
                None => match tokio::time::timeout(HEARTBEAT, listener.frames.recv()).await {
                    Ok(Ok(frame)) => frame,
                    Ok(Err(RecvError::Closed | RecvError::Lagged(_))) => return None,
                    Err(_) => HEARTBEAT_FRAME,
                },
            };
            Some((Ok(frame), listener))
        })
    }
}

/// Opens a stream, which begins with the current state.
pub(crate) async fn open(state: &Shared) -> Result<Response, Problem> {
    let permit = state.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open; close another page of this node")
            .retry_after(5)
    })?;
    // Subscribe first: frames between the two calls are then sent twice instead of never.
    let frames = state.hub.listen();
    let hello = state.hub.hello().await?;
    let listener = Listener { hello: Some(hello), frames, _permit: permit };
    let mut response = Body::from_stream(listener.stream()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Keeps proxies from buffering the stream.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::http::limits::LAG;

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_closed_and_holds_a_bounded_number_of_frames() {
        let permits = Arc::new(Semaphore::new(1));
        let (sender, frames) = broadcast::channel(LAG);
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let listener = Listener { hello: Some(Bytes::from_static(b"hello")), frames, _permit: permit };
        let mut stream = std::pin::pin!(listener.stream());
        for number in 0..100 * LAG {
            sender.send(Bytes::from(number.to_string())).unwrap();
            assert!(sender.len() <= LAG);
        }
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        assert_eq!(stream.next().await, None, "it has to reconnect");
        assert_eq!((permits.available_permits(), sender.receiver_count()), (1, 0));
    }
}
