//! The side of a transfer that has the image.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::driver::Command;
use crate::images::wire::{self, Announced, CHUNK, Failed, Fetch, TURN_WITHIN};
use crate::images::{Image, Images, add};
use crate::protocol::access::Certified;
use crate::protocol::address::Scope;
use crate::transport::Socket;

/// Close codes (RFC 6455, section 7.4): all is said; what was asked can not be; ask again later.
const DONE: u16 = 1000;
const REFUSED: u16 = 1008;
const LATER: u16 = 1013;

/// How a transfer ended that did not end well: told the other side, or nobody.
enum Failure {
    Tell(u16, String),
    Gone,
}

impl Images {
    /// Answers whoever has opened a transfer to us. Every wait has its limit.
    pub(crate) async fn serve(self: Arc<Self>, mut socket: Socket, remote: IpAddr, certified: Option<Certified>) {
        match self.answer(&mut socket, remote, certified).await {
            Ok(()) => wire::say_goodbye(&mut socket, &self, DONE, "").await,
            Err(Failure::Tell(code, reason)) => {
                add(&self.counts.refused, 1);
                tracing::debug!("{remote} was refused an image: {reason}");
                wire::say_goodbye(&mut socket, &self, code, &reason).await;
            }
            Err(Failure::Gone) => tracing::debug!("{remote} did not stay for the whole image"),
        }
        // The other side's answer to the close, so that it is not cut off by a reset while it still reads.
        let drained = async {
            while let Some(Ok(_)) = socket.next().await
                && !socket.get_ref().is_overfull()
            {}
        };
        timeout(self.limits().write_deadline, drained).await.unwrap_or_default();
    }

    /// Whether the lists of who is let in keep somebody out. A node that is ending lets nobody in.
    async fn may_fetch(&self, remote: IpAddr, certified: Option<Certified>) -> bool {
        let (answer, may) = oneshot::channel();
        self.commands.send(Command::MayFetch { remote, certified, answer }).await.is_ok() && may.await.unwrap_or(false)
    }

    async fn answer(
        self: &Arc<Self>,
        socket: &mut Socket,
        remote: IpAddr,
        certified: Option<Certified>,
    ) -> Result<(), Failure> {
        let refused = |reason: String| Failure::Tell(REFUSED, reason);
        if !self.may_fetch(remote, certified).await {
            return Err(refused("you are not let in here: this node's denied.txt or allowed.txt keeps you out".into()));
        }
        let fetch = match timeout(self.limits().upgrade_timeout, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => Fetch::read(&text).map_err(refused)?,
            Ok(Some(Ok(_))) | Err(_) => return Err(refused("FETCH was due".into())),
            Ok(_) => return Err(Failure::Gone),
        };
        if fetch.sha256.is_none() && Scope::of(remote) != Scope::Loopback {
            return Err(refused("only programs on this host may have this node search".into()));
        }
        let Some(name) = &fetch.name else {
            let list = self.list().await;
            return self.send(socket, Message::text(wire::to_text("IMAGES", &*list))).await;
        };
        let image = match fetch.sha256 {
            None => match self.get(name).await {
                Ok(image) => image,
                Err(error) => {
                    let reason = error.to_string();
                    let failed = Message::text(wire::to_text("FAILED", Failed { reason: reason.clone() }));
                    self.send(socket, failed).await?;
                    return Err(refused(reason));
                }
            },
            Some(digest) => {
                let here = self.here(name).await.map_err(|error| refused(error.to_string()))?;
                let here = here.filter(|image| image.size <= self.limits().image_max_bytes);
                let image = here.ok_or_else(|| refused("this image is not here".into()))?;
                let is = self.digest(&image).await.map_err(|error| refused(error.to_string()))?;
                if is != digest {
                    return Err(refused("this image has changed; search again".into()));
                }
                image
            }
        };
        let later = || Failure::Tell(LATER, "too many transfers at once; ask again, or somebody else".into());
        let _waiting = self.waiting.try_acquire().map_err(|_| later())?;
        let _turn = timeout(TURN_WITHIN, self.serving.acquire()).await.ok().and_then(Result::ok).ok_or_else(later)?;
        drop(_waiting);
        if fetch.sha256.is_none() {
            self.send(socket, Message::text(wire::to_text("IMAGE", Announced { size: image.size }))).await?;
        }
        let time = wire::time_for(image.size.saturating_sub(fetch.offset));
        let until = Instant::now() + time;
        timeout_at(until, self.send_image(socket, &image, fetch.offset)).await.unwrap_or(Err(Failure::Gone))
    }

    async fn send_image(&self, socket: &mut Socket, image: &Image, mut offset: u64) -> Result<(), Failure> {
        while offset < image.size {
            let bytes = image.read(offset, CHUNK).await.map_err(|error| Failure::Tell(REFUSED, error.to_string()))?;
            offset += bytes.len() as u64;
            add(&self.counts.sent_bytes, bytes.len() as u64);
            self.send(socket, Message::Binary(bytes)).await?;
        }
        Ok(())
    }

    async fn send(&self, socket: &mut Socket, frame: Message) -> Result<(), Failure> {
        match timeout(self.limits().write_deadline, socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::Gone),
        }
    }
}
