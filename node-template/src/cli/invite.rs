//! Invites: `invite` prints one, `join` follows one.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::Value;

use crate::cli::api::Api;
use crate::cli::init;
use crate::cli::node_folder::NodeFolder;
use crate::cli::place::PlaceArguments;
use crate::cli::run::{self, RunArguments};
use crate::cli::terminal::{print, print_text, strip_control, write_note};
use crate::config::{DEFAULT_NETWORK, Settings, environment, last_value, not_dialled};
use crate::folder::edit;
use crate::folder::files::folder_name;
use crate::folder::known_peers::check_key;
use crate::folder::node_key::NodeKey;
use crate::folder::replace::replace;
use crate::node::invite::Invite;
use crate::protocol::address::Scope;
use crate::system::unset;
use crate::util::qr;

/// Prints an invite to the network of a running node; in a terminal as a QR code too.
///
/// # Errors
/// The node does not run, or is not reachable over a relay.
pub(crate) async fn invite(place: &PlaceArguments) -> Result<()> {
    ask(place.api()?, place.json).await
}

/// Prints an invite to the network of a folder's running node.
///
/// # Errors
/// The node does not run, or is not reachable over a relay.
pub async fn show(folder: &NodeFolder) -> Result<()> {
    ask(PlaceArguments::default().api_of(folder)?, false).await
}

async fn ask(mut api: Api, as_json: bool) -> Result<()> {
    let answer: Value = api.change(Method::POST, "/api/invite", None).await?;
    let invite = strip_control(answer["invite"].as_str().unwrap_or_default());
    if let Some(warning) = invite.parse().ok().and_then(|invite| reach_warning(&invite)) {
        write_note(warning);
    }
    if as_json {
        return Ok(print(format!("{:#}", serde_json::json!({ "invite": invite })))?);
    }
    if std::io::stdout().is_terminal()
        && let Some(code) = qr::text(&invite)
    {
        print_text(&code)?;
        print("")?;
    }
    Ok(print(invite)?)
}

/// Returns a warning of an invite whose relays other networks cannot reach.
fn reach_warning(invite: &Invite) -> Option<String> {
    let widest = invite.address.relays().iter().max_by_key(|relay| relay.scope())?;
    let who = match widest.scope() {
        Scope::Public => return None,
        Scope::Private => "this local network",
        Scope::Loopback | Scope::Interface => "this machine",
    };
    Some(format!(
        "warning: the relay {widest} is not public, so only nodes of {who} can follow the invite; name a public one in RELAYS or known-peers.json to invite others"
    ))
}

/// Follows an invite: makes the folder a node's if it is empty, and runs it.
///
/// # Errors
/// The invite cannot be used here, or the node cannot start.
pub(crate) async fn join(text: &str, arguments: &RunArguments) -> Result<()> {
    let invite: Invite = text.parse()?;
    prepare(&invite, arguments, environment)?;
    run::run(arguments, false).await
}

/// Has the node of a folder dial the one that invites.
fn prepare(invite: &Invite, arguments: &RunArguments, environment: impl Fn(&str) -> Option<String>) -> Result<()> {
    let folder = arguments.flags.folder();
    check_dialled(folder, invite)?;
    if init::is_empty(folder) {
        check_chosen(invite, arguments.flags.network.as_deref(), environment)?;
        return init::fill_to_join(&arguments.flags, &invite.network, &invite.address);
    }
    check_own(folder, invite)?;
    let settings = Settings::read(folder, &arguments.flags, environment)?;
    check_network(&settings.network, invite, folder)?;
    let Some(_held) = NodeFolder::at(folder).hold()? else {
        let named = if folder == Path::new(".") { String::new() } else { format!(" --folder {}", folder.display()) };
        bail!(
            "a node runs in {} already, in the network of the invite; have it dial the node that invites with: meshpool peers add '{}'{named}",
            folder_name(folder),
            invite.address,
        );
    };
    edit::add_known_peer(folder, &invite.address).context("the invite was not written down")?;
    Ok(())
}

/// Checks that no network was chosen otherwise, on the command line or in the environment: either
/// overrides what a new folder has.
///
/// # Errors
/// One was, and it is another one.
pub fn check_chosen(invite: &Invite, flag: Option<&str>, environment: impl Fn(&str) -> Option<String>) -> Result<()> {
    let (chosen, source, remedy) = match (flag, environment("NETWORK")) {
        (Some(name), _) => (name.to_owned(), "--network", "leave that out".to_owned()),
        (None, Some(name)) => (name, "the environment", unset("NETWORK")),
        (None, None) => return Ok(()),
    };
    let chosen = Some(chosen.trim()).filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NETWORK);
    if chosen != invite.network {
        bail!(
            "the invite is for the network '{}', and NETWORK is '{}' from {source}, so the node would stay apart; {remedy}",
            strip_control(&invite.network),
            strip_control(chosen),
        );
    }
    Ok(())
}

/// Checks that the node of a folder will dial the one that invites.
///
/// # Errors
/// It will not, or the address has no valid node id.
pub fn check_dialled(folder: &Path, invite: &Invite) -> Result<()> {
    check_key(invite.address.clone()).context("the invite leads nowhere; copy it again")?;
    not_dialled(folder, &invite.address, environment).map_or(Ok(()), |why| bail!(why))
}

/// Checks that the node that invites is not that of this folder.
///
/// # Errors
/// It is, or the folder's key cannot be read.
pub fn check_own(folder: &Path, invite: &Invite) -> Result<()> {
    if let (Some(key), Some(node)) = (NodeKey::load(folder)?, invite.address.node())
        && key.node_id() == node
    {
        bail!(
            "that is the invite of the node in {} itself; give it to somebody else, or join in another folder",
            folder_name(folder)
        );
    }
    Ok(())
}

/// Writes an invite into the files of a new folder.
///
/// # Errors
/// A file cannot be written.
pub fn write_down(folder: &Path, invite: &Invite) -> Result<()> {
    let env = folder.join(".env");
    let text = fs::read_to_string(&env).with_context(|| format!("{} cannot be read", env.display()))?;
    let written = last_value(folder, "NETWORK").filter(|name| !name.trim().is_empty());
    if written.as_deref().unwrap_or(DEFAULT_NETWORK) != invite.network {
        let text = init::with_setting(&text, "NETWORK", &init::quoted(&invite.network));
        replace(&env, &text).with_context(|| format!("{} cannot be written", env.display()))?;
    }
    edit::add_known_peer(folder, &invite.address).context("the invite was not written down")?;
    Ok(())
}

fn check_network(network: &str, invite: &Invite, folder: &Path) -> Result<()> {
    if network != invite.network {
        bail!(
            "the invite is for the network '{}', and the node in {} is in '{}', which would stay apart; join in an empty folder, or set NETWORK={} there",
            strip_control(&invite.network),
            folder_name(folder),
            strip_control(network),
            init::quoted(&invite.network),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::address::PeerAddress;

    fn arguments(folder: &Path) -> RunArguments {
        let mut arguments = RunArguments::default();
        arguments.flags.folder = Some(folder.to_owned());
        arguments
    }

    #[test]
    fn an_empty_folder_becomes_that_of_a_node_which_dials_the_one_that_invites() {
        let folder = tempfile::tempdir().expect("a folder");
        let invite = format!("iroh:{}@192.0.2.7:4001#my net", NodeKey::from_bytes(&[7; 32]).node_id());
        let invite: Invite = invite.parse().expect("an invite");
        prepare(&invite, &arguments(folder.path()), |_| None).expect("prepared");
        let settings = Settings::read(folder.path(), &arguments(folder.path()).flags, |_| None).expect("settings");
        assert_eq!(
            (settings.network.as_str(), settings.known_peers.as_slice()),
            ("my net", &[invite.address.clone()][..])
        );
        assert_eq!(settings.known_peers[0].relays(), invite.address.relays());
        prepare(&invite, &arguments(folder.path()), |_| None).expect("once more");
        let other = Invite { network: "other".to_owned(), ..invite.clone() };
        let error = prepare(&other, &arguments(folder.path()), |_| None).expect_err("another network").to_string();
        assert!(error.contains("'other'") && error.contains("'my net'"), "{error}");
    }

    #[test]
    fn an_invite_that_leads_nowhere_from_other_networks_has_a_warning() {
        let warning = |relays: &str| {
            let node = NodeKey::from_bytes(&[7; 32]).node_id();
            reach_warning(&format!("iroh:{node}@{relays}#net").parse().expect("an invite"))
        };
        for relays in ["relay.example:1", "203.0.113.7:1", "127.0.0.1:1,10.0.0.1:1,relay.example:1"] {
            assert_eq!(warning(relays), None, "{relays}");
        }
        for (relays, widest, who) in [
            ("127.0.0.1:1", "127.0.0.1:1", "this machine"),
            ("localhost:1", "localhost:1", "this machine"),
            ("127.0.0.1:1,192.168.1.2:1", "192.168.1.2:1", "this local network"),
            ("100.64.0.1:1", "100.64.0.1:1", "this local network"),
        ] {
            let warning = warning(relays).expect(relays);
            assert!(warning.contains(widest) && warning.contains(who) && warning.contains("RELAYS"), "{warning}");
        }
    }

    #[test]
    fn a_node_does_not_join_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = NodeKey::load_or_create(folder.path()).expect("a key");
        let invite: Invite = format!("iroh:{}@192.0.2.7:4001#p2p-node", key.node_id()).parse().expect("an invite");
        let error = prepare(&invite, &arguments(folder.path()), |_| None).expect_err("its own").to_string();
        assert!(error.contains("itself"), "{error}");
    }

    #[test]
    fn a_network_that_was_chosen_otherwise_is_an_error_before_a_folder_is_made() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("new");
        let invite = |network: &str| Invite {
            address: PeerAddress::of_node(NodeKey::from_bytes(&[7; 32]).node_id(), []),
            network: network.to_owned(),
        };
        let asked = |flag: Option<&str>, exported: Option<&str>, invite: &Invite| {
            let mut arguments = arguments(&folder);
            arguments.flags.network = flag.map(str::to_owned);
            let exported = |name: &str| exported.filter(|_| name == "NETWORK").map(str::to_owned);
            prepare(invite, &arguments, exported)
        };
        for (flag, exported, source) in [
            (Some("mars"), None, "from --network"),
            (None, Some("mars"), "from the environment"),
            (Some("mars"), Some("venus"), "from --network"),
            (None, Some(" mars "), "from the environment"),
        ] {
            let error = asked(flag, exported, &invite("venus")).expect_err("another network").to_string();
            assert!(["'venus'", "'mars'", source].iter().all(|part| error.contains(part)), "{error}");
            assert!(!folder.exists(), "nothing was made");
        }
        let error = asked(None, Some(""), &invite("venus")).expect_err("empty is the default").to_string();
        assert!(error.contains(DEFAULT_NETWORK) && !folder.exists(), "{error}");
        asked(Some("venus"), Some("mars"), &invite("venus")).expect("the same network");
        assert!(folder.exists());
    }

    #[test]
    fn a_node_that_runs_is_not_joined_behind_its_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let invite: Invite =
            format!("iroh:{}@192.0.2.7:4001#net", NodeKey::from_bytes(&[7; 32]).node_id()).parse().expect("an invite");
        prepare(&invite, &arguments(folder.path()), |_| None).expect("prepared");
        let known = || fs::read_to_string(folder.path().join("known-peers.json")).expect("read");
        let before = known();
        let other = Invite { address: "ws://node.example:4001".parse().expect("an address"), ..invite };
        let held = crate::system::try_lock(&folder.path().join("node.lock")).expect("free");
        let error = prepare(&other, &arguments(folder.path()), |_| None).expect_err("it runs").to_string();
        let command = format!("meshpool peers add '{}' --folder {}", other.address, folder.path().display());
        assert!(error.contains("runs") && error.contains(&command), "{error}");
        assert_eq!(known(), before);
        drop(held);
        prepare(&other, &arguments(folder.path()), |_| None).expect("it does not run");
        assert_ne!(known(), before);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn each_name_that_an_invite_has_comes_back_from_the_settings_of_its_folder(
            name in "[ab #'\"`‘’$\\\\=,{}~!]{1,8}|\\PC{1,64}"
        ) {
            let text = format!("iroh:{}#{name}", NodeKey::from_bytes(&[7; 32]).node_id());
            let Ok(invite) = text.parse::<Invite>() else { return Ok(()) };
            let folder = tempfile::tempdir().expect("a folder");
            prepare(&invite, &arguments(folder.path()), |_| None).expect("prepared");
            let settings = |folder: &Path| Settings::read(folder, &arguments(folder).flags, |_| None).expect("settings");
            prop_assert_eq!(settings(folder.path()).network, invite.network.clone());
            // As `cargo xtask join` writes it, over what the folder has.
            write_down(folder.path(), &Invite { network: DEFAULT_NETWORK.to_owned(), ..invite.clone() }).expect("written");
            prop_assert_eq!(settings(folder.path()).network, DEFAULT_NETWORK.to_owned());
            write_down(folder.path(), &invite).expect("written");
            prop_assert_eq!(settings(folder.path()).network, invite.network.clone());
        }
    }
}
