//! Images through one node: their list, and single images, which the node fetches from the network
//! if it does not have them.
//!
//! Each request is a connection of its own. Nodes serve only programs on their own host.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::client::connection::{ACK_TIMEOUT, Connection};
use crate::client::error::ClientError;
use crate::images::ImageList;
use crate::images::wire::{self, Announced, Failed, Fetch};
use crate::protocol::address::PeerAddress;
use crate::protocol::wire::ImageName;
#[cfg(feature = "tls")]
use crate::tls::Credentials;

/// For the first byte of an image, which the node may have to search and fetch.
pub(crate) const IMAGE_TIMEOUT: Duration = Duration::from_secs(600);
/// For the list of images.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// An image that a node on this host sends. The node has verified it. It is complete when
/// [`Self::next`] returns `None`.
#[derive(Debug)]
pub struct ImageStream {
    transfer: Transfer,
    size: u64,
    left: u64,
}

impl ImageStream {
    /// Requests an image from the node at `address`, and waits until the node has it.
    ///
    /// # Errors
    /// Those of [`Client::connect`](crate::client::Client::connect); [`ClientError::Refused`] with
    /// the node's reason, mostly that no node has the image; [`ClientError::Closed`],
    /// [`ClientError::Silent`] or [`ClientError::Answer`].
    pub async fn open(address: &PeerAddress, name: &ImageName) -> Result<Self, ClientError> {
        Self::request(Transfer::open(address).await?, name).await
    }

    /// As [`Self::open`], from a node of a closed network.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "tls")]
    pub async fn open_as(
        address: &PeerAddress,
        credentials: &Credentials,
        name: &ImageName,
    ) -> Result<Self, ClientError> {
        Self::request(Transfer::open_as(address, credentials).await?, name).await
    }

    async fn request(mut transfer: Transfer, name: &ImageName) -> Result<Self, ClientError> {
        transfer.request(Fetch { name: Some(name.clone()), ..Fetch::default() }).await?;
        let Announced { size } = transfer.read("IMAGE", IMAGE_TIMEOUT).await?;
        Ok(Self { transfer, size, left: size })
    }

    /// Returns the image's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Silent`] or [`ClientError::Answer`]: the image is
    /// incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.left == 0 {
            return Ok(None);
        }
        match self.transfer.frame(ACK_TIMEOUT).await? {
            WsMessage::Binary(bytes) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Ok(Some(bytes))
            }
            _ => Err(self.transfer.0.invalid("bytes of the image were expected".to_owned())),
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.transfer.0.close().await;
    }
}

/// Returns the images that the node at `address` knows in the network. It asks other nodes, which
/// takes a second.
///
/// # Errors
/// As [`ImageStream::open`].
pub async fn list_images(address: &PeerAddress) -> Result<ImageList, ClientError> {
    Transfer::open(address).await?.list().await
}

/// As [`list_images`], from a node of a closed network.
///
/// # Errors
/// As [`ImageStream::open`].
#[cfg(all(feature = "tls", feature = "cli"))]
pub(crate) async fn list_images_as(address: &PeerAddress, credentials: &Credentials) -> Result<ImageList, ClientError> {
    Transfer::open_as(address, credentials).await?.list().await
}

/// A connection for one request of the image subprotocol.
#[derive(Debug)]
struct Transfer(Connection);

impl Transfer {
    async fn open(address: &PeerAddress) -> Result<Self, ClientError> {
        Ok(Self(Connection::open(address, Some(wire::PROTOCOL)).await?))
    }

    #[cfg(feature = "tls")]
    async fn open_as(address: &PeerAddress, credentials: &Credentials) -> Result<Self, ClientError> {
        Ok(Self(Connection::open_as(address, credentials, Some(wire::PROTOCOL)).await?))
    }

    async fn request(&mut self, fetch: Fetch) -> Result<(), ClientError> {
        if self.0.identity.is_none() {
            return Err(self.refused("it is a node of the exercise, which has no images; ask another node".to_owned()));
        }
        self.0.send(WsMessage::text(fetch.to_text())).await
    }

    async fn list(mut self) -> Result<ImageList, ClientError> {
        self.request(Fetch::default()).await?;
        let list = self.read("IMAGES", LIST_TIMEOUT).await?;
        self.0.close().await;
        Ok(list)
    }

    /// Waits for a text or binary frame.
    async fn frame(&mut self, limit: Duration) -> Result<WsMessage, ClientError> {
        let next = async {
            loop {
                match self.0.socket.next().await {
                    Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
                    other => return other,
                }
            }
        };
        match timeout(limit, next).await {
            Ok(Some(Ok(WsMessage::Close(Some(frame))))) if !frame.reason.is_empty() => {
                Err(self.refused(frame.reason.as_str().to_owned()))
            }
            Ok(Some(Ok(WsMessage::Close(_))) | None) => Err(self.0.closed("without a reason".to_owned())),
            Ok(Some(Ok(frame))) => Ok(frame),
            Ok(Some(Err(error))) => Err(self.0.closed(error.to_string())),
            Err(_) => Err(self.0.silent(limit)),
        }
    }

    /// Waits for a message of this type, or for the reason of a failure.
    async fn read<T: DeserializeOwned>(&mut self, kind: &str, limit: Duration) -> Result<T, ClientError> {
        let WsMessage::Text(text) = self.frame(limit).await? else {
            return Err(self.0.invalid("a text frame was expected".to_owned()));
        };
        match wire::read::<Failed>("FAILED", &text) {
            Ok(Failed { reason }) => Err(self.refused(reason)),
            Err(_) => wire::read(kind, &text).map_err(|error| self.0.invalid(error)),
        }
    }

    fn refused(&self, reason: String) -> ClientError {
        ClientError::Refused { address: self.0.address.clone(), reason }
    }
}
