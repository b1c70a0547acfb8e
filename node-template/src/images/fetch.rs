//! The side of a transfer that wants an image: it searches, fetches from a finder, and verifies.
//!
//! What comes is hashed and written into a file that cannot be asked for. The image is shown once
//! it is whole and has the digest that the search gave. So a stranger's bytes are never shown
//! before they are verified, and length, range and type are known from the start. The price: the
//! first byte is shown after the last has come.
//!
//! If a finder fails, the next is asked. If it offers the same content, the transfer resumes. A
//! wrong digest after a resumption may be the first finder's fault, so the second is asked for all
//! of it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::SearchEnd;
use meshpool_proto::limits::{self, Limits};
use meshpool_proto::util::rate_limit::RateLimit;
use meshpool_proto::wire::{Found, ImageInfo, ImageName};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::core_queries::{Queries, SearchAnswer};
use crate::events::text::strip_control;
use crate::images::cache::{CACHE, Draft};
use crate::images::counts::Counts;
use crate::images::error::ImageError;
use crate::images::folder::blocking;
use crate::images::image::{Image, ImageSource};
use crate::images::local::LocalImages;
use crate::images::search::Search;
use crate::images::wire::{self, CHUNK, Fetch, PROTOCOL, TRANSFERS, TURN_WITHIN};
use crate::transport::dial_permit::NamedBy;
use crate::transport::websocket::dialer::Dialer;
use crate::transport::websocket::socket::Socket;
use crate::util::counts::add;

/// How many searches of this node begin at once; then one per [`SEARCH_EVERY`].
const SEARCHES_AT_ONCE: u32 = 32;
/// The pace of searches. Below the rate at which other nodes read searches from a link.
const SEARCH_EVERY: Duration = Duration::from_millis(50);
/// How many of the core's searches are kept for lists.
const LISTINGS: usize = 4;

/// Fetches images from the network.
#[derive(Debug)]
pub(crate) struct Fetcher {
    local: Arc<LocalImages>,
    queries: Queries,
    dialer: Dialer,
    /// The largest image that is fetched.
    max_bytes: u64,
    write_deadline: Duration,
    searching: Semaphore,
    pace: Mutex<RateLimit>,
    fetching: Semaphore,
    counts: Arc<Counts>,
}

/// The part of an image that has come.
struct Part {
    draft: Draft,
    have: u64,
    hash: Sha256,
    size: u64,
    sha256: [u8; 32],
}

/// Why a finder did not send what it offered.
enum Failure {
    Finder(String),
    WrongContent,
    Disk(io::Error),
}

impl Fetcher {
    pub(crate) fn new(
        local: Arc<LocalImages>,
        queries: Queries,
        dialer: Dialer,
        limits: &Limits,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            local,
            queries,
            dialer,
            max_bytes: limits.image_max_bytes,
            write_deadline: limits.write_deadline,
            searching: Semaphore::new(limits::SEARCHES - LISTINGS),
            pace: Mutex::default(),
            fetching: Semaphore::new(TRANSFERS),
            counts,
        }
    }

    /// Searches for an image in the network and fetches it.
    pub(crate) async fn fetch(&self, name: &ImageName) -> Result<Image, ImageError> {
        let _searching = self.searching.acquire().await.map_err(|_| ImageError::Ended)?;
        self.wait_for_pace().await;
        let mut search = Search::begin(&self.queries, Some(name.clone())).await?;
        let (mut part, mut why, mut too_large) = (None, None, None);
        let end = loop {
            let (found, by) = match search.next().await {
                SearchAnswer::Offer(found, by) => (found, by),
                SearchAnswer::Over(end) => break end,
            };
            let [ImageInfo { size, sha256: Some(sha256), .. }] = found.images[..] else { continue };
            if size > self.max_bytes {
                too_large = Some(size);
                continue;
            }
            match self.fetch_from((&found, &by), name, size, sha256, &mut part).await {
                Ok(part) => return self.finish(name, part).await,
                Err(Failure::Disk(error)) => return Err(disk(&error)),
                Err(Failure::WrongContent) => {
                    add(&self.counts.wrong, 1);
                    why = Some(format!("what {} sent is not what it offered", found.address));
                }
                Err(Failure::Finder(reason)) => why = Some(format!("{}: {}", found.address, strip_control(&reason))),
            }
            add(&self.counts.finders_failed, 1);
            tracing::debug!("{name} was not fetched: {}", why.as_deref().unwrap_or_default());
        };
        let name = name.clone();
        if end != SearchEnd::Refused {
            add(&self.counts.missed, 1);
        }
        Err(match (end, why, too_large) {
            (SearchEnd::Refused, ..) => ImageError::Busy,
            (_, Some(why), _) => ImageError::NotFetched { name, why },
            (_, None, Some(size)) => ImageError::TooLarge { name, size, most: self.max_bytes },
            (_, None, None) => ImageError::NotFound(name),
        })
    }

    /// Waits until another search may begin. Nodes drop searches that come faster, and a dropped
    /// search finds nothing.
    async fn wait_for_pace(&self) {
        let at = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.reserve(Instant::now().into_std(), SEARCH_EVERY, SEARCH_EVERY * SEARCHES_AT_ONCE)
        };
        tokio::time::sleep_until(at.into()).await;
    }

    async fn finish(&self, name: &ImageName, part: Part) -> Result<Image, ImageError> {
        add(&self.counts.fetched, 1);
        let Part { draft, size, sha256, .. } = part;
        let file = draft.file.try_clone().map_err(|error| disk(&error))?;
        let (cache, kept_name) = (Arc::clone(self.local.cache()), name.clone());
        // The image is here and verified, so it can be used although it cannot be kept.
        if let Err(error) = blocking(move || cache.keep(&draft, &kept_name, size)).await {
            tracing::warn!("{name} could not be kept in {CACHE}: {error}; it is fetched again next time");
        }
        Ok(Image {
            name: name.clone(),
            size,
            tag: data_encoding::HEXLOWER.encode(&sha256[..16]),
            source: ImageSource::Fetched,
            opened: None,
            file: Arc::new(file),
        })
    }

    /// Fetches an image from one finder. Resumes what an earlier finder of the same content began.
    async fn fetch_from(
        &self,
        finder: (&Found, &NamedBy),
        name: &ImageName,
        size: u64,
        sha256: [u8; 32],
        left: &mut Option<Part>,
    ) -> Result<Part, Failure> {
        let _turn = self.fetching.acquire().await.map_err(|_| Failure::Finder("this node is ending".into()))?;
        loop {
            let earlier = left.take().filter(|part| part.sha256 == sha256 && part.size == size);
            let mut part = match earlier {
                Some(part) => part,
                None => {
                    let draft = self.local.cache().draft().await.map_err(Failure::Disk)?;
                    Part { draft, have: 0, hash: Sha256::new(), size, sha256 }
                }
            };
            let resumed = part.have > 0;
            let until = Instant::now() + TURN_WITHIN + wire::time_for(size - part.have);
            let came = timeout_at(until, self.receive(finder, name, &mut part)).await;
            let right = part.have == size && <[u8; 32]>::from(part.hash.clone().finalize()) == sha256;
            // Interrupted at any point: the file's content is unknown, so it is not resumed.
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

    /// Dials a finder and receives until the image is whole.
    async fn receive(&self, (found, by): (&Found, &NamedBy), name: &ImageName, part: &mut Part) -> Result<(), Failure> {
        let dialled = self.dialer.dial_subprotocol(&found.address, by, PROTOCOL, found.node).await;
        let mut dialled = dialled.map_err(|error| Failure::Finder(error.to_string()))?;
        if dialled.identity.is_none_or(|identity| identity.node != found.node) {
            return Err(Failure::Finder("another node answers there".into()));
        }
        let socket = &mut dialled.socket;
        let fetch = Fetch { name: Some(name.clone()), sha256: Some(part.sha256), offset: part.have };
        let asked = timeout(self.write_deadline, socket.send(Message::text(fetch.to_text()))).await;
        if !matches!(asked, Ok(Ok(()))) {
            return Err(Failure::Finder("it did not take the request".into()));
        }
        let mut patience = TURN_WITHIN + self.write_deadline;
        while part.have < part.size {
            let bytes = timeout(patience, chunk(socket)).await;
            let bytes = bytes.unwrap_or_else(|_| Err("it went silent".into())).map_err(Failure::Finder)?;
            if bytes.is_empty() || bytes.len() > CHUNK || part.have + bytes.len() as u64 > part.size {
                return Err(Failure::Finder("it does not keep to the protocol".into()));
            }
            add(&self.counts.fetched_bytes, bytes.len() as u64);
            part.write(bytes).await.map_err(Failure::Disk)?;
            patience = self.write_deadline;
        }
        wire::close(socket, self.write_deadline, 1000, "").await;
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
    async fn write(&mut self, bytes: bytes::Bytes) -> io::Result<()> {
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

fn disk(error: &io::Error) -> ImageError {
    ImageError::Disk { file: CACHE.to_owned(), why: error.to_string() }
}
