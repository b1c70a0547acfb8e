//! Reads the folder that the bench makes: `.env` with the port, `known-peers.json` with those of
//! all nodes.

use std::fs;

use anyhow::{Context, Result};

/// The settings in the current folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The port for transactions and STATUS requests.
    pub port: u16,
    /// Those of all other nodes.
    pub others: Vec<u16>,
}

/// The port for a node's peers: above the ports of the bench, below those that the system gives to
/// outgoing connections.
pub fn peer_port(port: u16) -> u16 {
    port + 4_000
}

impl Folder {
    /// Reads the current folder.
    ///
    /// # Errors
    /// A file is missing or invalid.
    pub fn read() -> Result<Self> {
        let env = fs::read_to_string(".env").context(".env cannot be read")?;
        let known = fs::read_to_string("known-peers.json").context("known-peers.json cannot be read")?;
        Self::parse(&env, &known)
    }

    fn parse(env: &str, known: &str) -> Result<Self> {
        let port = env.trim().strip_prefix("PORT=").context(".env has no PORT")?.parse().context("PORT is no port")?;
        let known: Vec<String> = serde_json::from_str(known).context("known-peers.json is no list of addresses")?;
        let ports = known.iter().map(|address| port_of(address)).collect::<Result<Vec<u16>>>()?;
        Ok(Self { port, others: ports.into_iter().filter(|other| *other != port).collect() })
    }
}

fn port_of(address: &str) -> Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.with_context(|| format!("known-peers.json: {address} has no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_not_its_own_peer() {
        let folder = Folder::parse("PORT=4001\n", r#"["ws://localhost:4000","ws://localhost:4001"]"#).unwrap();
        assert_eq!((folder.port, folder.others), (4001, vec![4000]));
    }

    #[test]
    fn invalid_files_are_rejected() {
        assert!(Folder::parse("", "[]").is_err());
        assert!(Folder::parse("PORT=1", r#"["ws://localhost"]"#).is_err());
    }
}
