//! Reads the folder that the bench lays out: `.env` with the port, `known-peers.json` with
//! everybody's.

use std::fs;

use anyhow::{Context, Result};

/// What the current folder says.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The port at which transactions and questions come in.
    pub port: u16,
    /// The same of all other nodes.
    pub others: Vec<u16>,
}

/// The port at which a node's peers reach it: above those that the bench gives to intakes, below
/// those that the system gives to outgoing connections.
pub fn peer_port(port: u16) -> u16 {
    port + 4_000
}

impl Folder {
    /// Reads the current folder.
    ///
    /// # Errors
    /// A file is missing, or has not what the bench writes.
    pub fn read() -> Result<Self> {
        let env = fs::read_to_string(".env").context(".env can not be read")?;
        let known = fs::read_to_string("known-peers.json").context("known-peers.json can not be read")?;
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
    fn what_the_bench_does_not_write_is_refused() {
        assert!(Folder::parse("", "[]").is_err());
        assert!(Folder::parse("PORT=1", r#"["ws://localhost"]"#).is_err());
    }
}
