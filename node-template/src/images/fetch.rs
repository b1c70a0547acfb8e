//! The side of a transfer that wants an image: searches it, fetches it from a finder, and makes sure that it is what was found.
//!
//! What comes is written into a file that nobody else sees, and hashed while it comes; it is shown once it is whole and its digest is the one that the search
//! gave. To show it while it comes, and break off if the digest is wrong, would put a stranger's picture on the screen first; so nobody ever sees a byte that is not
//! what was found, and length, range and type are known before the first. The price is that the first byte comes when the last one has.
//!
//! A finder that fails is followed by the next. If that has the same content, what came already counts: it goes on from there. Should the whole then be wrong, it
//! is asked again for all of it, for the wrong bytes may be the first one's.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::driver::Command;
use crate::events::text::strip_control;
use crate::images::cache::{CACHE, Draft};
use crate::images::folder::blocking;
use crate::images::wire::{self, CHUNK, Fetch, PROTOCOL, TURN_WITHIN};
use crate::images::{Image, ImageError, Images, Kept, add};
use crate::protocol::SearchEnd;
use crate::protocol::address::Scope;
use crate::protocol::limits;
use crate::protocol::wire::{Found, ImageInfo, ImageName, SearchId};
use crate::transport::{Socket, dialer};

/// Own searches: so many at once, …
const SEARCHES_AT_ONCE: u32 = 32;
/// … and then one in so long: less than what links take, see `protocol/images.rs`.
const SEARCH_EVERY: Duration = Duration::from_millis(50);

/// What comes of a search.
#[derive(Debug)]
pub(crate) enum Answer {
    Offer(Found, Scope),
    Over(SearchEnd),
}

/// A search under way; dropping it ends it.
pub(crate) struct Search<'a> {
    images: &'a Images,
    id: SearchId,
    answers: mpsc::Receiver<Answer>,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        // With no room for the command the search ends at its deadline.
        self.images.commands.try_send(Command::SearchDone { id: self.id }).ok();
    }
}

impl<'a> Search<'a> {
    pub(crate) async fn begin(images: &'a Images, name: Option<ImageName>) -> Result<Self, ImageError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| ImageError::Busy)?;
        let id = SearchId(id);
        // One more than there can be offers, so that the end always has room.
        let room = 1 + if name.is_some() { limits::FINDERS } else { limits::LISTERS };
        let (sender, answers) = mpsc::channel(room);
        let command = Command::Search { id, name, answers: sender };
        images.commands.send(command).await.map_err(|_| ImageError::Ended)?;
        Ok(Self { images, id, answers })
    }

    pub(crate) async fn next(&mut self) -> Answer {
        self.answers.recv().await.unwrap_or(Answer::Over(SearchEnd::Deadline))
    }
}

/// As much of an image as has come.
struct Part {
    draft: Draft,
    have: u64,
    hash: Sha256,
    size: u64,
    sha256: [u8; 32],
}

/// Why a finder did not give what it has.
enum Failure {
    Finder(String),
    WrongContent,
    Disk(std::io::Error),
}

impl Images {
    /// Searches an image in the network and fetches it.
    pub(crate) async fn fetch(&self, name: &ImageName) -> Result<Image, ImageError> {
        let _searching = self.searching.acquire().await.map_err(|_| ImageError::Ended)?;
        self.pace().await;
        let mut search = Search::begin(self, Some(name.clone())).await?;
        let (mut part, mut why, mut too_large) = (None, None, None);
        let end = loop {
            let (found, reach) = match search.next().await {
                Answer::Offer(found, reach) => (found, reach),
                Answer::Over(end) => break end,
            };
            let [ImageInfo { size, sha256: Some(sha256), .. }] = found.images[..] else { continue };
            if size > self.limits().image_max_bytes {
                too_large = Some(size);
                continue;
            }
            match self.fetch_from((&found, reach), name, size, sha256, &mut part).await {
                Ok(part) => return self.finish(name, part).await,
                Err(Failure::Disk(error)) => return Err(disk(&error)),
                Err(Failure::WrongContent) => {
                    add(&self.counts.wrong, 1);
                    why = Some(format!("what {} gave is not what it offered", found.address));
                }
                Err(Failure::Finder(reason)) => why = Some(format!("{}: {}", found.address, strip_control(&reason))),
            }
            add(&self.counts.finders_failed, 1);
            tracing::debug!("{name} did not come: {}", why.as_deref().unwrap_or_default());
        };
        let name = name.clone();
        if end != SearchEnd::Refused {
            add(&self.counts.missed, 1);
        }
        Err(match (end, why, too_large) {
            (SearchEnd::Refused, ..) => ImageError::Busy,
            (_, Some(why), _) => ImageError::NotFetched { name, why },
            (_, None, Some(size)) => ImageError::TooLarge { name, size, most: self.limits().image_max_bytes },
            (_, None, None) => ImageError::NotFound(name),
        })
    }

    /// Waits until another search may begin: others read no more than so many of a link, and one that they drop would find nothing.
    async fn pace(&self) {
        let at = {
            let mut next = self.next_search.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let at = (*next).max(Instant::now().checked_sub(SEARCH_EVERY * SEARCHES_AT_ONCE).unwrap_or(*next));
            *next = at + SEARCH_EVERY;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    async fn finish(&self, name: &ImageName, part: Part) -> Result<Image, ImageError> {
        add(&self.counts.fetched, 1);
        let Part { draft, size, sha256, .. } = part;
        let file = draft.file.try_clone().map_err(|error| disk(&error))?;
        let (cache, kept_name) = (Arc::clone(&self.cache), name.clone());
        // It is here and sound; that it can not be kept is a pity and no more.
        if let Err(error) = blocking(move || cache.keep(&draft, &kept_name, size)).await {
            tracing::warn!("{name} could not be kept in {CACHE}: {error}; it is fetched again next time");
        }
        Ok(Image {
            name: name.clone(),
            size,
            tag: data_encoding::HEXLOWER.encode(&sha256[..16]),
            kept: Kept::Fetched,
            opened: None,
            file: Arc::new(file),
        })
    }

    /// Fetches an image from one finder, from where an earlier one left off, if that had the same.
    async fn fetch_from(
        &self,
        finder: (&Found, Scope),
        name: &ImageName,
        size: u64,
        sha256: [u8; 32],
        left: &mut Option<Part>,
    ) -> Result<Part, Failure> {
        let _turn = self.fetching.acquire().await.map_err(|_| Failure::Finder("this node ends".into()))?;
        loop {
            let earlier = left.take().filter(|part| part.sha256 == sha256 && part.size == size);
            let mut part = match earlier {
                Some(part) => part,
                None => {
                    let draft = self.cache.draft().await.map_err(Failure::Disk)?;
                    Part { draft, have: 0, hash: Sha256::new(), size, sha256 }
                }
            };
            let resumed = part.have > 0;
            let until = Instant::now() + TURN_WITHIN + wire::time_for(size - part.have);
            let came = timeout_at(until, self.receive(finder, name, &mut part)).await;
            let right = part.have == size && <[u8; 32]>::from(part.hash.clone().finalize()) == sha256;
            // Broken off in whatever it was doing: what is in the file is not known.
            let Ok(came) = came else { return Err(Failure::Finder("it is too slow".into())) };
            match came {
                Ok(()) if right => return Ok(part),
                Ok(()) if resumed => {}
                Ok(()) => return Err(Failure::WrongContent),
                Err(failure) => {
                    *left = Some(part);
                    return Err(failure);
                }
            }
        }
    }

    /// Dials a finder and takes what it sends, until the image is whole.
    async fn receive(&self, (found, reach): (&Found, Scope), name: &ImageName, part: &mut Part) -> Result<(), Failure> {
        let dialled =
            dialer::dial_for(&found.address, reach, self.limits(), self.secure.as_deref(), Some(PROTOCOL)).await;
        let mut dialled = dialled.map_err(Failure::Finder)?;
        if dialled.identity.is_none_or(|identity| identity.node != found.node) {
            return Err(Failure::Finder("another node answers there".into()));
        }
        let socket = &mut dialled.socket;
        let fetch = Fetch { name: Some(name.clone()), sha256: Some(part.sha256), offset: part.have };
        let asked = timeout(self.limits().write_deadline, socket.send(Message::text(fetch.to_text()))).await;
        if !matches!(asked, Ok(Ok(()))) {
            return Err(Failure::Finder("it did not take the question".into()));
        }
        let mut patience = TURN_WITHIN + self.limits().write_deadline;
        while part.have < part.size {
            let bytes = timeout(patience, chunk(socket)).await;
            let bytes = bytes.unwrap_or_else(|_| Err("it went silent".into())).map_err(Failure::Finder)?;
            if bytes.is_empty() || bytes.len() > CHUNK || part.have + bytes.len() as u64 > part.size {
                return Err(Failure::Finder("it does not keep to the protocol".into()));
            }
            add(&self.counts.fetched_bytes, bytes.len() as u64);
            part.write(bytes).await.map_err(Failure::Disk)?;
            patience = self.limits().write_deadline;
        }
        wire::say_goodbye(socket, self, 1000, "").await;
        Ok(())
    }
}

/// The next bytes of an image.
async fn chunk(socket: &mut Socket) -> Result<bytes::Bytes, String> {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => Ok(bytes),
            Some(Ok(Message::Ping(_))) if socket.get_ref().is_overfull() => {
                Err("it does not take the answers to its pings".into())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(Some(frame)))) => Err(format!("it said {:?}", frame.reason.as_str())),
            Some(Ok(Message::Close(None))) | None => Err("it broke off".into()),
            Some(Ok(_)) => Err("it does not keep to the protocol".into()),
            Some(Err(error)) => Err(error.to_string()),
        };
    }
}

impl Part {
    async fn write(&mut self, bytes: bytes::Bytes) -> std::io::Result<()> {
        let mut file = self.draft.file.try_clone()?;
        let mut hash = std::mem::take(&mut self.hash);
        let length = bytes.len() as u64;
        self.hash = blocking(move || {
            hash.update(&bytes);
            file.write_all(&bytes).map(|()| hash)
        })
        .await?;
        self.have += length;
        Ok(())
    }
}

fn disk(error: &std::io::Error) -> ImageError {
    ImageError::Disk { file: CACHE.to_owned(), why: error.to_string() }
}
