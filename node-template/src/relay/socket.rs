//! The WebSocket of a relay's client, as the relay library takes it: binary messages in both
//! directions. What comes in is slowed down to the rate that one client, and all together, may use.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use iroh_relay::ExportKeyingMaterial;
use iroh_relay::protos::streams::StreamError;
use n0_error::AnyError;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::transport::websocket::socket::Socket;

/// How many bytes each second, and how many at once, may go through something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) at_once: u32,
}

/// What a rate has been spent of: the generic cell rate algorithm (ITU-T I.371), as one point in
/// time.
#[derive(Debug)]
pub(super) struct Meter {
    rate: Rate,
    /// When all that went through is paid for.
    paid: Instant,
    /// All bytes that went through.
    bytes: u64,
}

impl Meter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, paid: Instant::now(), bytes: 0 }
    }

    /// Notes bytes that went through; returns how long the next have to wait.
    fn spend(&mut self, bytes: usize, now: Instant) -> Duration {
        let second = |bytes: f64| Duration::from_secs_f64(bytes / f64::from(self.rate.per_second));
        self.bytes += bytes as u64;
        self.paid = self.paid.max(now) + second(bytes as f64);
        self.paid.saturating_duration_since(now).saturating_sub(second(f64::from(self.rate.at_once)))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The WebSocket of one client.
pub(super) struct RelaySocket {
    socket: Socket,
    own: Meter,
    all: Arc<Mutex<Meter>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl RelaySocket {
    pub(super) fn new(socket: Socket, own: Meter, all: Arc<Mutex<Meter>>) -> Self {
        Self { socket, own, all, pause: None }
    }

    /// Counts what came in, and pauses reading if it was too much.
    fn count(&mut self, bytes: usize) {
        let now = Instant::now();
        let own = self.own.spend(bytes, now);
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).spend(bytes, now);
        let wait = own.max(all);
        if !wait.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl Stream for RelaySocket {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        loop {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => {
                    this.count(bytes.len());
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(AnyError::from_std(error)))),
            }
        }
    }
}

impl Sink<Bytes> for RelaySocket {
    type Error = StreamError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket).poll_ready(cx).map_err(AnyError::from_std)
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), StreamError> {
        Pin::new(&mut self.get_mut().socket).start_send(Message::Binary(bytes)).map_err(AnyError::from_std)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx).map_err(AnyError::from_std)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx).map_err(AnyError::from_std)
    }
}

impl ExportKeyingMaterial for RelaySocket {
    fn export_keying_material<T: AsMut<[u8]>>(&self, _: T, _: &[u8], _: Option<&[u8]>) -> Option<T> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_beyond_what_goes_at_once_wait_for_the_rate() {
        let now = Instant::now();
        let mut meter = Meter::new(Rate { per_second: 100, at_once: 1_000 });
        assert_eq!((meter.spend(600, now), meter.spend(400, now)), (Duration::ZERO, Duration::ZERO));
        assert_eq!(meter.spend(50, now), Duration::from_millis(500));
        assert_eq!(meter.spend(0, now + Duration::from_millis(500)), Duration::ZERO);
        assert_eq!(meter.spend(1_000, now + Duration::from_secs(60)), Duration::ZERO, "it is all there again");
        assert_eq!(meter.bytes(), 2_050);
    }
}
