//! Images through one node: the list of them, and one, searched in the network if the node does not have it.
//!
//! Each is a connection of its own, a transfer, which a node opens to programs on its own host alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::client::{ACK_TIMEOUT, Client, ClientError, STATUS_TIMEOUT};
use crate::images::ImageList;
use crate::images::wire::{self, Announced, Failed, Fetch};
use crate::protocol::address::PeerAddress;
use crate::protocol::wire::ImageName;
#[cfg(feature = "tls")]
use crate::tls::Credentials;

/// How long a node may search and fetch an image before the first byte comes.
pub const IMAGE_TIMEOUT: Duration = Duration::from_secs(600);

/// An image on its way from a node on this host. The node has checked it, so its bytes are good as they come; that it is whole is known at the end.
#[derive(Debug)]
pub struct ImageStream {
    client: Client,
    size: u64,
    left: u64,
}

impl ImageStream {
    /// Asks the node at `address` for an image, and waits until it has it.
    ///
    /// # Errors
    /// Those of [`Client::connect`]; [`ClientError::Refused`] with the node's reason, above all that nobody has it;
    /// [`ClientError::Closed`], [`ClientError::Silent`] or [`ClientError::Answer`].
    pub async fn open(address: &PeerAddress, name: &ImageName) -> Result<Self, ClientError> {
        Self::begin(Client::connect_for(address, Some(wire::PROTOCOL)).await?, name).await
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
        Self::begin(Client::connect_as_for(address, credentials, Some(wire::PROTOCOL)).await?, name).await
    }

    async fn begin(client: Client, name: &ImageName) -> Result<Self, ClientError> {
        let mut client = ask(client, Fetch { name: Some(name.clone()), ..Fetch::default() }).await?;
        let text = client.text(IMAGE_TIMEOUT).await?;
        let Announced { size } = client.read("IMAGE", &text)?;
        Ok(Self { client, size, left: size })
    }

    /// The image's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes; `None` once it is whole.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Silent`] or [`ClientError::Answer`]: what came so far is no image.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.left == 0 {
            return Ok(None);
        }
        match self.client.frame(ACK_TIMEOUT).await? {
            WsMessage::Binary(bytes) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Ok(Some(bytes))
            }
            _ => Err(self.client.strange("bytes of the image were due")),
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.client.close().await;
    }
}

/// The images known in the network, as the node at `address` sees it; it asks the others, which takes a second.
///
/// # Errors
/// As [`ImageStream::open`].
pub async fn list_images(address: &PeerAddress) -> Result<ImageList, ClientError> {
    list(Client::connect_for(address, Some(wire::PROTOCOL)).await?).await
}

/// As [`list_images`], from a node of a closed network.
///
/// # Errors
/// As [`ImageStream::open`].
#[cfg(feature = "tls")]
pub async fn list_images_as(address: &PeerAddress, credentials: &Credentials) -> Result<ImageList, ClientError> {
    list(Client::connect_as_for(address, credentials, Some(wire::PROTOCOL)).await?).await
}

async fn list(client: Client) -> Result<ImageList, ClientError> {
    let mut client = ask(client, Fetch::default()).await?;
    let text = client.text(STATUS_TIMEOUT).await?;
    let list = client.read("IMAGES", &text)?;
    client.close().await;
    Ok(list)
}

async fn ask(mut client: Client, fetch: Fetch) -> Result<Client, ClientError> {
    if client.identity().is_none() {
        let reason = "it is a node of the exercise, which knows no images; ask another".to_owned();
        return Err(ClientError::Refused { address: client.address.clone(), reason });
    }
    match timeout(ACK_TIMEOUT, client.socket.send(WsMessage::text(fetch.to_text()))).await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(error)) => Err(client.closed(error.to_string())),
        Err(_) => Err(client.silent(ACK_TIMEOUT)),
    }
}

impl Client {
    /// The next frame that says something.
    async fn frame(&mut self, patience: Duration) -> Result<WsMessage, ClientError> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
                    other => return other,
                }
            }
        };
        match timeout(patience, next).await {
            Ok(Some(Ok(WsMessage::Close(Some(frame))))) if !frame.reason.is_empty() => {
                Err(ClientError::Refused { address: self.address.clone(), reason: frame.reason.as_str().to_owned() })
            }
            Ok(Some(Ok(WsMessage::Close(_))) | None) => Err(self.closed("without a word".to_owned())),
            Ok(Some(Ok(frame))) => Ok(frame),
            Ok(Some(Err(error))) => Err(self.closed(error.to_string())),
            Err(_) => Err(self.silent(patience)),
        }
    }

    async fn text(&mut self, patience: Duration) -> Result<String, ClientError> {
        match self.frame(patience).await? {
            WsMessage::Text(text) => match wire::read::<Failed>("FAILED", &text) {
                Ok(Failed { reason }) => Err(ClientError::Refused { address: self.address.clone(), reason }),
                Err(_) => Ok(text.as_str().to_owned()),
            },
            _ => Err(self.strange("a text was due")),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, kind: &str, text: &str) -> Result<T, ClientError> {
        wire::read(kind, text).map_err(|error| self.strange(&error))
    }

    fn strange(&self, what: &str) -> ClientError {
        ClientError::Answer { address: self.address.clone(), cause: what.to_owned() }
    }
}
