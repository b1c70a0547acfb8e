//! The side of a transfer that has the image: a subprotocol of the peer port.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::access::Certified;
use meshpool_proto::address::Scope;
use meshpool_proto::limits::Limits;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::core_queries::Queries;
use crate::images::Images;
use crate::images::image::Image;
use crate::images::wire::{self, Announced, CHUNK, Failed, Fetch, TRANSFERS, TURN_WITHIN};
use crate::transport::subprotocol::{Connection, Subprotocol};
use crate::transport::websocket::socket::Socket;
use crate::util::counts::add;

/// How many transfers may wait for their turn.
const WAITING: usize = 60;

/// Close codes (RFC 6455, section 7.4): done; refused; ask again later.
const DONE: u16 = 1000;
const REFUSED: u16 = 1008;
const LATER: u16 = 1013;

/// Why a transfer failed.
enum Failure {
    /// With the code and reason of our close frame.
    Refused(u16, String),
    /// The other end is gone.
    Gone,
}

/// Serves the transfers that others open.
struct ImageServer {
    images: Arc<Images>,
    queries: Queries,
    limits: Limits,
    serving: Semaphore,
    waiting: Semaphore,
}

/// The subprotocol of transfers, to be registered with the listener.
pub(crate) fn subprotocol(images: Arc<Images>, queries: Queries, limits: Limits) -> Subprotocol {
    let (serving, waiting) = (Semaphore::new(TRANSFERS), Semaphore::new(WAITING));
    let server = Arc::new(ImageServer { images, queries, limits, serving, waiting });
    Subprotocol::new(wire::PROTOCOL, move |connection| {
        let server = Arc::clone(&server);
        async move { server.serve(connection).await }
    })
}

impl ImageServer {
    /// Serves one transfer to its end. Every wait has a limit.
    async fn serve(&self, Connection { mut socket, remote, certified, .. }: Connection) {
        let deadline = self.limits.write_deadline;
        match self.answer(&mut socket, remote, certified).await {
            Ok(()) => wire::close(&mut socket, deadline, DONE, "").await,
            Err(Failure::Refused(code, reason)) => {
                add(&self.images.counts.refused, 1);
                tracing::debug!("{remote} was refused an image: {reason}");
                wire::close(&mut socket, deadline, code, &reason).await;
            }
            Err(Failure::Gone) => tracing::debug!("{remote} did not stay for the whole image"),
        }
        // Waits for the other end's close frame: closing before would reset what it still reads.
        let drained = async {
            while let Some(Ok(_)) = socket.next().await
                && !socket.get_ref().is_overfull()
            {}
        };
        timeout(deadline, drained).await.unwrap_or_default();
    }

    async fn answer(&self, socket: &mut Socket, remote: IpAddr, certified: Option<Certified>) -> Result<(), Failure> {
        let refused = |reason: String| Failure::Refused(REFUSED, reason);
        if !self.queries.may_fetch(remote, certified).await {
            return Err(refused("this node's denied.txt or allowed.txt does not let you in".into()));
        }
        let fetch = match timeout(self.limits.upgrade_timeout, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => Fetch::read(&text).map_err(refused)?,
            Ok(Some(Ok(_))) | Err(_) => return Err(refused("FETCH was due".into())),
            Ok(_) => return Err(Failure::Gone),
        };
        if fetch.sha256.is_none() && Scope::of(remote) != Scope::Loopback {
            return Err(refused("only programs on this host may let this node search".into()));
        }
        let Some(name) = &fetch.name else {
            let list = self.images.list().await;
            return self.send(socket, Message::text(wire::to_text("IMAGES", &*list))).await;
        };
        let image = match fetch.sha256 {
            None => match self.images.get(name).await {
                Ok(image) => image,
                Err(error) => {
                    let reason = error.to_string();
                    let failed = Message::text(wire::to_text("FAILED", Failed { reason: reason.clone() }));
                    self.send(socket, failed).await?;
                    return Err(refused(reason));
                }
            },
            Some(digest) => {
                let local = self.images.local();
                let image = local.find_offered(name).await.map_err(|error| refused(error.to_string()))?;
                let image = image.ok_or_else(|| refused("this image is not here".into()))?;
                let found = local.digest(&image).await.map_err(|error| refused(error.to_string()))?;
                if found != digest {
                    return Err(refused("this image has changed; search again".into()));
                }
                image
            }
        };
        let later = || Failure::Refused(LATER, "too many transfers at once; ask again, or another node".into());
        let waiting = self.waiting.try_acquire().map_err(|_| later())?;
        let _turn = timeout(TURN_WITHIN, self.serving.acquire()).await.ok().and_then(Result::ok).ok_or_else(later)?;
        drop(waiting);
        if fetch.sha256.is_none() {
            self.send(socket, Message::text(wire::to_text("IMAGE", Announced { size: image.size }))).await?;
        }
        let time = wire::time_for(image.size.saturating_sub(fetch.offset));
        let until = Instant::now() + time;
        timeout_at(until, self.send_image(socket, &image, fetch.offset)).await.unwrap_or(Err(Failure::Gone))
    }

    async fn send_image(&self, socket: &mut Socket, image: &Image, mut offset: u64) -> Result<(), Failure> {
        while offset < image.size {
            let bytes =
                image.read(offset, CHUNK).await.map_err(|error| Failure::Refused(REFUSED, error.to_string()))?;
            offset += bytes.len() as u64;
            add(&self.images.counts.sent_bytes, bytes.len() as u64);
            self.send(socket, Message::Binary(bytes)).await?;
        }
        Ok(())
    }

    async fn send(&self, socket: &mut Socket, frame: Message) -> Result<(), Failure> {
        match timeout(self.limits.write_deadline, socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::Gone),
        }
    }
}
