//! The node that a command asks: that of a folder over its peers' port, or one elsewhere over its
//! HTTP API.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::cli::api::{self, Api};
use crate::cli::node_folder::NodeFolder;
use crate::cli::terminal::strip_control;
use crate::client::{Client, ImageStream, list_images};
use crate::images::ImageList;
use crate::protocol::transaction::Transaction;
use crate::protocol::wire::{Ack, AckStatus, ImageName, Member, Status};
use crate::util::time_of_day::time_of_day;

/// A node that answers.
#[derive(Debug)]
pub enum Target {
    /// The node of a folder on this machine.
    Folder(NodeFolder, Box<Client>),
    /// A node elsewhere.
    Api(Api),
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Member>,
}

#[derive(Deserialize)]
struct Sent {
    id: String,
    links: usize,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    stored: bool,
}

impl Target {
    /// Returns the node's name for people.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder, _) => folder.name(),
            Self::Api(api) => api.name(),
        }
    }

    /// Returns the node's folder, if it is on this machine.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder, _) => Some(&folder.path),
            Self::Api(_) => None,
        }
    }

    /// Returns the time of day by the node's clock, in seconds since 1970, once it has answered. A
    /// folder's node has the clock of this machine.
    pub fn time(&self) -> u64 {
        let elsewhere = match self {
            Self::Folder(..) => None,
            Self::Api(api) => api.time(),
        };
        elsewhere.unwrap_or_else(|| time_of_day() as u64)
    }

    /// Returns whether it is an exercise peer, which gives no answers.
    pub fn is_exercise(&self) -> bool {
        matches!(self, Self::Folder(_, client) if client.identity().is_none())
    }

    /// Returns its status.
    ///
    /// # Errors
    /// It gives no answer.
    pub async fn status(&mut self) -> Result<Status> {
        match self {
            Self::Folder(folder, client) => client.status(&[]).await.with_context(|| folder.name()),
            Self::Api(api) => api.get("/api/status").await,
        }
    }

    /// Returns the nodes that it knows.
    ///
    /// # Errors
    /// It gives no answer.
    pub async fn nodes(&mut self) -> Result<Vec<Member>> {
        match self {
            Self::Folder(_, client) => Ok(client.nodes().await?),
            Self::Api(api) => Ok(api.get::<Nodes>("/api/nodes").await?.nodes),
        }
    }

    /// Has it broadcast a text.
    ///
    /// # Errors
    /// It gives no answer, or an API refuses.
    pub async fn broadcast(&mut self, text: &str) -> Result<Ack> {
        match self {
            Self::Folder(_, client) => Ok(client.broadcast(text).await?),
            Self::Api(api) => {
                let body = serde_json::json!({ "message": text }).to_string();
                match api.post_text("/api/broadcasts", body).await? {
                    Ok(sent) => acknowledged(serde_json::from_value(sent)?, AckStatus::Sent),
                    Err(reason) => Ok(rejected(reason)),
                }
            }
        }
    }

    /// Submits a transaction and waits until it is on disk or refused. `signs`: whether a node
    /// elsewhere is to sign it; that of a folder gets it as it is.
    ///
    /// # Errors
    /// It gives no answer.
    pub async fn submit(&mut self, transaction: &Transaction, signs: bool) -> Result<Ack> {
        match self {
            Self::Folder(_, client) => Ok(client.submit(transaction.body()).await?),
            Self::Api(api) => {
                let path = format!("/api/transactions?stamp=false&sign={signs}");
                match api.post_text(&path, transaction.body().to_owned()).await? {
                    Ok(sent) => {
                        let sent: Sent = serde_json::from_value(sent)?;
                        if !sent.stored {
                            bail!(
                                "{}: {} is accepted, but not yet on its disk: see the node's log",
                                api.name(),
                                strip_control(&sent.id)
                            );
                        }
                        let status = if sent.duplicate { AckStatus::Duplicate } else { AckStatus::Stored };
                        acknowledged(sent, status)
                    }
                    Err(reason) => Ok(rejected(reason)),
                }
            }
        }
    }

    /// Returns the images that it knows.
    ///
    /// # Errors
    /// It gives no answer.
    pub async fn images(self) -> Result<ImageList> {
        match self {
            Self::Api(mut api) => api.get("/api/images").await,
            Self::Folder(folder, client) => {
                let address = client.address().clone();
                client.close().await;
                let list = match address.is_secure() {
                    #[cfg(feature = "tls")]
                    true => {
                        let credentials = folder.credentials().with_context(|| folder.name())?;
                        crate::client::list_images_as(&address, &credentials).await
                    }
                    _ => list_images(&address).await,
                };
                list.with_context(|| folder.name())
            }
        }
    }

    /// Requests an image, whichever node has it.
    ///
    /// # Errors
    /// No node has it, or this one gives no answer.
    pub async fn image(self, name: &ImageName) -> Result<ImageBytes> {
        match self {
            Self::Api(mut api) => {
                let body = api.image(name.as_str()).await?;
                Ok(ImageBytes::Http(body, api))
            }
            Self::Folder(folder, client) => {
                let address = client.address().clone();
                client.close().await;
                let stream = match address.is_secure() {
                    #[cfg(feature = "tls")]
                    true => {
                        let credentials = folder.credentials().with_context(|| folder.name())?;
                        ImageStream::open_as(&address, &credentials, name).await
                    }
                    _ => ImageStream::open(&address, name).await,
                };
                Ok(ImageBytes::Node(Box::new(stream.with_context(|| folder.name())?)))
            }
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Self::Folder(_, client) = self {
            client.close().await;
        }
    }
}

/// The bytes of an image, as they come.
#[derive(Debug)]
pub enum ImageBytes {
    /// From the peers' port.
    Node(Box<ImageStream>),
    /// From the API, whose connection stays open meanwhile.
    Http(Incoming, Api),
}

impl ImageBytes {
    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// The image does not come whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Node(stream) => Ok(stream.next().await?),
            Self::Http(body, _) => api::next_part(body).await,
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Self::Node(stream) = self {
            stream.close().await;
        }
    }
}

fn acknowledged(sent: Sent, status: AckStatus) -> Result<Ack> {
    Ok(Ack { id: sent.id, status, reason: None, links: sent.links })
}

fn rejected(reason: String) -> Ack {
    Ack { id: String::new(), status: AckStatus::Rejected, reason: Some(reason), links: 0 }
}

/// Returns why a node rejected something.
pub(crate) fn reason(ack: &Ack) -> String {
    strip_control(ack.reason.as_deref().unwrap_or("it gave no reason; see its log"))
}
