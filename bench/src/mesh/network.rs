//! How the nodes of a mesh reach each other, and what their folders hold for that.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use tokio_rustls::rustls::ClientConfig;

use super::authority::Authority;
use super::endpoint::HOST;
use super::node_key;

/// Limits that no burst reaches. A node reads links over iroh at the rate of strangers, also if
/// their packets come from this host; it does not limit links over TCP from there.
const UNLIMITED: &str = "TRANSACTION_RATE=100000000\nTRANSACTION_BURST=100000000\n";

/// The network of a mesh.
pub(super) enum Network {
    /// WebSockets over TCP.
    Open,
    /// The same over TLS, with certificates of this authority.
    Closed(Box<Authority>),
    /// Node ids, over iroh. The first packets take this relay, a host and port.
    OverIroh { relay: String },
}

impl Network {
    /// Makes a node's folder, without its known peers. Returns the node's address.
    pub(super) fn make_folder(&self, folder: &Path, port: u16) -> Result<String> {
        fs::create_dir_all(folder)?;
        let (address, settings) = match self {
            Self::Open => (format!("ws://{HOST}:{port}"), String::new()),
            Self::Closed(authority) => {
                authority.write_member(folder)?;
                (format!("wss://{HOST}:{port}"), "NETWORK_CA=ca.pem\n".to_owned())
            }
            Self::OverIroh { relay } => {
                let id = node_key::create(folder)?;
                (format!("iroh:{id}"), format!("WAN=on\nRELAYS={relay}\n{UNLIMITED}"))
            }
        };
        fs::write(folder.join(".env"), format!("PORT={port}\n{settings}"))?;
        fs::write(folder.join("transactions.json"), "[]")?;
        Ok(address)
    }

    /// Returns the TLS configuration of a client, if the network is closed.
    pub(super) fn client(&self) -> Result<Option<Arc<ClientConfig>>> {
        match self {
            Self::Closed(authority) => authority.client().map(Some),
            Self::Open | Self::OverIroh { .. } => Ok(None),
        }
    }
}

/// Makes the folder of a relay, a node of another network. Returns its host and port.
pub(super) fn make_relay_folder(folder: &Path, port: u16) -> Result<String> {
    let relay = format!("127.0.0.1:{port}");
    fs::create_dir_all(folder)?;
    fs::write(folder.join(".env"), format!("PORT={port}\nADDRESS=ws://{relay}\nRELAY=on\nNETWORK=relays\n"))?;
    write_known_peers(folder, &[])?;
    fs::write(folder.join("transactions.json"), "[]")?;
    Ok(relay)
}

/// Writes the addresses that a node dials.
pub(super) fn write_known_peers(folder: &Path, known: &[String]) -> Result<()> {
    Ok(fs::write(folder.join("known-peers.json"), serde_json::to_vec(known)?)?)
}
