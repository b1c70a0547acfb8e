//! Known peers and bans of a node: lists and changes them. A folder whose node does not run has its
//! files changed, which its next start reads.

use std::net::Ipv6Addr;

use anyhow::{Result, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::api::{Api, encoded};
use crate::cli::node_folder::NodeFolder;
use crate::cli::place::{Place, PlaceArguments};
use crate::cli::status;
use crate::cli::terminal::{print, strip_control};
use crate::config::{environment, not_dialled, parse_address};
use crate::folder::edit;
use crate::folder::known_peers::Named;
use crate::protocol::address::PeerAddress;

/// An IPv6 address on the command line has no port.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address of a peer: it has no port; write an IPv6 address in brackets, and the port behind it, as in ws://[{0}]:4001"
)]
pub(crate) struct NoPort(String);

/// What to do with peers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PeersCommand {
    /// List the addresses that the node knows, and who is banned
    List(PlaceArguments),
    /// Add a known peer, which is dialled at once
    Add {
        /// Its address, such as ws://localhost:4002
        #[arg(value_name = "ADDRESS")]
        address: String,
        /// Which node.
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Remove a known peer; a link to it stays open
    Remove {
        /// Its address
        #[arg(value_name = "ADDRESS")]
        address: String,
        /// Which node.
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Refuse a node: close its links, and accept and dial it no more
    Ban {
        /// A node id, the SHA-256 of a certificate, an IP address, or a range such as 192.0.2.0/24
        #[arg(value_name = "RULE")]
        rule: String,
        /// Which node.
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Lift a ban, of an owner or of the node itself
    Unban {
        /// As it was given to ban, or as the list shows it
        #[arg(value_name = "RULE")]
        rule: String,
        /// Which node.
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// Runs a command.
///
/// # Errors
/// The node or its files refuse.
pub(crate) async fn run(command: &PeersCommand) -> Result<()> {
    match command {
        PeersCommand::List(place) => list(place).await,
        PeersCommand::Add { address, place } => {
            let address = parse(address)?;
            let body = json!({ "address": address.to_string() });
            let remote = (Method::POST, "/api/peers".to_owned(), Some(body));
            let offline = |folder: &NodeFolder| {
                let address = if is_closed(folder) { address.clone().secured() } else { address.clone() };
                let named = edit::add_known_peer(&folder.path, &address)?;
                let mut answer = json!({ "added": named == Named::New, "otherRelays": named == Named::OtherRelays });
                if let Some(warning) = not_dialled(&folder.path, &address, environment) {
                    answer["warning"] = warning.into();
                }
                Ok(answer)
            };
            let texts = Texts {
                changed: format!("{address} is a known peer now"),
                other_relays: format!("{address} is a known peer with other relays now"),
                unchanged: format!("{address} was a known peer already"),
            };
            change(place, remote, offline, texts).await
        }
        PeersCommand::Remove { address, place } => {
            let address = parse(address)?;
            let remote = (Method::DELETE, format!("/api/peers?address={}", encoded(&address.to_string())), None);
            let offline =
                |folder: &NodeFolder| removed(edit::remove_known_peer(&folder.path, &address, is_closed(folder))?);
            let none = format!("{address} is not in known-peers.json; `meshpool peers` lists what the node knows");
            change(place, remote, offline, Texts::new(format!("{address} is no known peer any more"), none)).await
        }
        PeersCommand::Ban { rule, place } => {
            edit::rule(rule)?;
            let remote = (Method::POST, "/api/bans".to_owned(), Some(json!({ "rule": rule })));
            let offline = |folder: &NodeFolder| Ok(json!({ "added": edit::deny(&folder.path, rule)? }));
            let texts = Texts::new(format!("{rule} is banned, in denied.txt"), format!("{rule} was banned already"));
            change(place, remote, offline, texts).await
        }
        PeersCommand::Unban { rule, place } => {
            edit::rule(rule)?;
            let remote = (Method::DELETE, format!("/api/bans?rule={}", encoded(rule)), None);
            let offline = |folder: &NodeFolder| removed(edit::allow_again(&folder.path, rule)?);
            let none = format!("{rule} is not banned; `meshpool peers` lists who is");
            change(place, remote, offline, Texts::new(format!("{rule} is banned no more"), none)).await
        }
    }
}

/// Whether the node of a folder will be in a closed network.
fn is_closed(folder: &NodeFolder) -> bool {
    environment("NETWORK_CA").or_else(|| folder.setting("NETWORK_CA")).is_some_and(|name| !name.trim().is_empty())
}

fn parse(address: &str) -> Result<PeerAddress> {
    let bare = address.trim_start_matches("ws://").trim_start_matches("wss://");
    if !bare.contains("]:")
        && bare.split('%').next().is_some_and(|ip| ip.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok())
    {
        let host = strip_control(bare.trim_matches(['[', ']']));
        return Err(NoPort(host).into());
    }
    Ok(parse_address(address, false)?)
}

/// What to print.
struct Texts {
    changed: String,
    other_relays: String,
    unchanged: String,
}

impl Texts {
    fn new(changed: String, unchanged: String) -> Self {
        Self { other_relays: changed.clone(), changed, unchanged }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as other changes of a file")]
fn removed(was_there: bool) -> Result<Value, edit::EditError> {
    Ok(json!({ "removed": was_there }))
}

/// Carries out a change: by the API if the node runs, otherwise in the files. Either answers as the
/// API does.
async fn change(
    place: &PlaceArguments,
    (method, path, body): (Method, String, Option<Value>),
    offline: impl FnOnce(&NodeFolder) -> Result<Value, edit::EditError>,
    texts: Texts,
) -> Result<()> {
    let changed = match place.place()? {
        Place::Api(api) => Err(api),
        Place::Folder(folder) if !folder.path.is_dir() => return Err(folder.not_running()),
        Place::Folder(folder) => match folder.hold()? {
            Some(_held) => Ok(offline(&folder)?),
            None => Err(place.api_of(&folder)?),
        },
    };
    let (answer, is_running) = match changed {
        Ok(answer) if answer["removed"] == false => bail!("{}", texts.unchanged),
        Ok(answer) => (answer, false),
        Err(mut api) => (api.change(method, &path, body.as_ref()).await?, true),
    };
    let other_relays = answer["otherRelays"] == true;
    let is_changed = answer["removed"] == true || answer["added"] == true || other_relays;
    let warning = answer["warning"].as_str();
    if place.json {
        let mut shown = json!({ "changed": is_changed, "running": is_running });
        if let Some(warning) = warning {
            shown["warning"] = warning.into();
        }
        return Ok(print(format!("{shown:#}"))?);
    }
    let text = if other_relays { texts.other_relays } else { texts.changed };
    print(match (is_changed, is_running) {
        (true, true) => text,
        (true, false) => format!("{text}, from the node's next start on"),
        (false, _) => texts.unchanged,
    })?;
    if let Some(warning) = warning {
        print(strip_control(warning))?;
    }
    Ok(())
}

async fn list(place: &PlaceArguments) -> Result<()> {
    let mut target = place.target().await?;
    let status = target.status().await?;
    target.close().await;
    let denied = match place.place()? {
        Place::Folder(folder) => edit::denied(&folder.path)?,
        Place::Api(mut api) => denied(&mut api).await?,
    };
    if place.json {
        print(format!("{:#}", json!({ "peers": status.peers, "denied": denied })))?;
        return Ok(());
    }
    print(status::peers(&status).trim_start())?;
    let rules = if denied.is_empty() { "none".to_owned() } else { strip_control(&denied.join(", ")) };
    print(format!("\nbanned by the owner, in denied.txt: {rules}"))?;
    Ok(())
}

async fn denied(api: &mut Api) -> Result<Vec<String>> {
    let bans: Value = api.get("/api/bans").await?;
    Ok(serde_json::from_value(bans["denied"].clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::exit_code;

    #[test]
    fn a_bare_ipv6_address_is_told_of_brackets_and_port() {
        for address in ["::1", "fe80::1%eth0", "[::1]", "ws://[fd00::7]", "ws://::1"] {
            let error = parse(address).expect_err(address);
            assert_eq!(exit_code(&error), 2, "{address}");
            let error = error.to_string();
            assert!(error.contains("]:4001") && !error.contains("[["), "{address}: {error}");
        }
        for address in ["ws://[::1]:4001", "[fe80::1%eth0]:4001", "example.org:4001"] {
            parse(address).expect(address);
        }
    }

    #[test]
    fn changes_at_once_of_a_folder_whose_node_does_not_run_are_all_made() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("known-peers.json"), "[]").expect("written");
        let place = PlaceArguments::at(folder.path());
        let change = |command: PeersCommand| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&command)).expect("made");
        };
        std::thread::scope(|threads| {
            for number in 1..=8 {
                let (one, other) = (place.clone(), place.clone());
                threads.spawn(move || change(PeersCommand::Ban { rule: format!("192.0.2.{number}"), place: one }));
                let address = format!("ws://localhost:{number}");
                threads.spawn(move || change(PeersCommand::Add { address, place: other }));
            }
        });
        assert_eq!(edit::denied(folder.path()).expect("read").len(), 8);
        let known = std::fs::read_to_string(folder.path().join("known-peers.json")).expect("read");
        assert_eq!(serde_json::from_str::<Vec<String>>(&known).expect("an array").len(), 8, "{known}");
    }
}
