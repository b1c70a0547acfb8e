//! The flags that say which node a command asks.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::api::Api;
use crate::cli::node_folder::{Lock, NodeFolder};
use crate::cli::target::Target;
use crate::config::environment;

/// Which node a command asks.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct PlaceArguments {
    /// Ask the node of this folder [default: the current folder]
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    folder: Option<PathBuf>,
    /// Ask the node whose page is at this URL, such as http://localhost:8001
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The HTTP_TOKEN of the node, if its folder's .env does not have it; MESHPOOL_TOKEN in the
    /// environment is not seen by other users
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A folder on this machine, or the API of a node elsewhere.
#[derive(Debug)]
pub(crate) enum Place {
    /// Its node need not run.
    Folder(NodeFolder),
    /// Nothing was asked yet.
    Api(Api),
}

impl PlaceArguments {
    /// The node of a folder.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..Self::default() }
    }

    /// Returns the place.
    ///
    /// # Errors
    /// The URL or the token cannot be used.
    pub(crate) fn place(&self) -> Result<Place> {
        let Some(url) = &self.url else {
            return Ok(Place::Folder(NodeFolder::at(self.folder.as_deref().unwrap_or(Path::new(".")))));
        };
        Ok(Place::Api(Api::new(url, self.token())?))
    }

    fn token(&self) -> Option<String> {
        self.token.clone().or_else(|| environment("MESHPOOL_TOKEN").filter(|token| !token.is_empty()))
    }

    /// Connects to the running node.
    ///
    /// # Errors
    /// It does not run, or gives no answer.
    pub(crate) async fn target(&self) -> Result<Target> {
        match self.place()? {
            Place::Api(api) => Ok(Target::Api(api)),
            Place::Folder(folder) => match folder.lock()? {
                Lock::Held(_) => {
                    let client = folder.connect().await?;
                    Ok(Target::Folder(folder, Box::new(client)))
                }
                Lock::Free => Err(folder.not_running()),
            },
        }
    }

    /// Returns the API of the running node.
    ///
    /// # Errors
    /// It does not run, or has no API.
    pub(crate) fn api(&self) -> Result<Api> {
        match self.place()? {
            Place::Api(api) => Ok(api),
            Place::Folder(folder) => self.api_of(&folder),
        }
    }

    /// Returns the API of a folder's running node.
    ///
    /// # Errors
    /// It does not run, or has no API.
    pub(crate) fn api_of(&self, folder: &NodeFolder) -> Result<Api> {
        let Lock::Held(holder) = folder.lock()? else { return Err(folder.not_running()) };
        let Some(page) = holder.and_then(|holder| holder.page) else {
            bail!(
                "the node of {} has no API now: it is starting, HTTP_PORT is 0 in its settings, or HTTP_HOST is a link-local address; ask again, or remove that setting and start the node again",
                folder.name()
            );
        };
        let exported = || environment("HTTP_TOKEN").filter(|token| !token.trim().is_empty());
        Api::new(&page, self.token().or_else(exported).or_else(|| folder.setting("HTTP_TOKEN")))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::pool::LOCK_FILE;

    /// It is unknown whether a node runs there; so it is where another user may not read the lock.
    #[tokio::test]
    async fn a_lock_that_cannot_be_looked_at_is_not_that_of_a_node_that_does_not_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = || async { PlaceArguments::at(folder.path()).target().await.expect_err("no node").to_string() };
        assert!(said().await.contains("no node runs in"));
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join(LOCK_FILE)).expect("bound");
        let error = said().await;
        assert!(error.contains("is not a file: move it away"), "{error}");
    }
}
