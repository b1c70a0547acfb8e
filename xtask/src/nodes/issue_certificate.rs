//! `issue-certificate`: issues a certificate for a node of a closed network, from a request, or
//! renews that of a folder here. The node's key stays where it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meshpool::NodeKey;
use meshpool::binary::{check_certificate, replace};
use meshpool::protocol::id::NodeId;
use meshpool::tls::{Authority, NODE_CERTIFICATE, read_request};

use crate::support::terminal::{number, print};
use crate::support::workspace::{Folder, Workspace};

const DAY: u64 = 24 * 60 * 60;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true)))]
pub(crate) struct Arguments {
    /// Use this request, which `meshpool --request-certificate` printed in the node's folder
    #[arg(long, value_name = "FILE", group = "whose", requires = "output")]
    request: Option<PathBuf>,
    /// Replace the certificate of node N of this workspace; a running node loads it within half a
    /// minute, or at SIGHUP
    #[arg(long, value_name = "N", group = "whose", conflicts_with = "output", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// Write the certificate to this file, which is replaced if it holds one
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Let it be valid for N days
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = number(1..=3_650_u32, "365"))]
    days: u32,
    /// Use the authority in this folder [default: network-ca in the workspace]
    #[arg(long, value_name = "FOLDER")]
    ca: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let home = arguments.ca.clone().unwrap_or_else(|| workspace.authority());
    let authority = Authority::open(&home)?;
    let validity = Duration::from_secs(u64::from(arguments.days) * DAY);
    match (&arguments.request, &arguments.output, arguments.node) {
        (Some(request), Some(output), _) => {
            let node = read_request(request)?;
            check_certificate(output, &[&home], " with -o")?;
            write(&authority, node, validity, output)?;
            print(format!("issued a certificate for node {node}, for {} days: {}", arguments.days, output.display()))?;
            print(
                "next: take it and the authority's ca.pem to the node's folder, and set NETWORK_CA=ca.pem in its .env",
            )?;
        }
        (_, _, Some(number)) => {
            let folder = workspace.existing(number)?;
            let path = certificate_of(&folder);
            let node = node_of(&folder)?;
            let hint = format!(" with CERTIFICATE in {}/.env", folder.name());
            check_certificate(&path, &[&folder.path, &home], &hint)?;
            write(&authority, node, validity, &path)?;
            print(format!("issued {} a certificate for {} days: {}", folder.name(), arguments.days, path.display()))?;
            if folder.setting("NETWORK_CA").is_none() {
                print(format!(
                    "{0} is still open: copy ca.pem into it and write NETWORK_CA=ca.pem into {0}/.env",
                    folder.name()
                ))?;
            }
        }
        _ => bail!("name the node: --request FILE -o FILE, or --node N"),
    }
    Ok(ExitCode::SUCCESS)
}

fn write(authority: &Authority, node: NodeId, validity: Duration, path: &Path) -> Result<()> {
    let pem = authority.issue(node, validity)?;
    replace(path, &pem).with_context(|| format!("{} cannot be written", path.display()))
}

fn certificate_of(folder: &Folder) -> PathBuf {
    folder.path.join(folder.setting("CERTIFICATE").unwrap_or_else(|| NODE_CERTIFICATE.to_owned()))
}

fn node_of(folder: &Folder) -> Result<NodeId> {
    let key = NodeKey::load(&folder.path)?;
    Ok(key.with_context(|| format!("{} has no node.key: start it once", folder.name()))?.node_id())
}
