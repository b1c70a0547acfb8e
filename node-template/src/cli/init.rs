//! Makes a folder a node's: its settings, its known peers, an empty pool, and a key.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::config::{Flags, parse_address, peer_texts};
use crate::folder::edit;
use crate::folder::known_peers::KNOWN_PEERS;
use crate::folder::node_key::{NODE_KEY, NodeKey};
use crate::folder::replace::replace;
use crate::pool::POOL_FILE;
use crate::protocol::address::PeerAddress;
use crate::system::{rename, sync_folder};
use crate::util::network_name::{self, InvalidNetworkName};

/// The settings with their defaults, as `node-template/.env` has them.
pub(crate) const TEMPLATE: &str = include_str!("../config/template.env");
/// The ports that are tried, the first free one is taken. The page's are 4,000 above.
const PORTS: std::ops::Range<u16> = 4_001..4_100;
/// The settings while a folder is being filled; it is renamed at the end.
const DRAFT: &str = ".env.new";
/// The default of HTTP_PORT is PORT plus this.
const PAGE: u16 = 4_000;

/// The settings of a new folder.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct InitArguments {
    /// The folder, which is made if it is missing [default: the current folder]
    #[arg(value_name = "FOLDER")]
    folder: Option<std::path::PathBuf>,
    /// Listen on this port [default: the first free one from 4001 on]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Link to nodes of this network only [default: p2p-node]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Write these addresses into known-peers.json
    #[arg(short, long, value_name = "ADDRESS", value_delimiter = ',')]
    peers: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// The port in its settings.
    pub port: u16,
    node: String,
}

/// The name of a network on the command line cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--network: {0}; give another one")]
pub(crate) struct UnusableNetwork(InvalidNetworkName);

/// Makes the folder of the command line. Nothing that exists is overwritten.
///
/// # Errors
/// It holds a node already, a value cannot be used, or a file cannot be written.
pub(crate) fn init(arguments: &InitArguments) -> Result<()> {
    let folder = arguments.folder.as_deref().unwrap_or(Path::new("."));
    let shown = folder.display().to_string();
    let made = fill(folder, arguments.port, arguments.network.as_deref(), &arguments.peers)?;
    let run =
        if folder == Path::new(".") { "meshpool run".to_owned() } else { format!("meshpool run --folder {shown}") };
    let text = match arguments.json {
        true => format!("{:#}", json!({ "folder": shown, "port": made.port, "node": made.node })),
        false => format!("made the folder of node {}: it listens on port {}\nnext: {run}", &made.node[..8], made.port),
    };
    Ok(crate::cli::terminal::print(text)?)
}

/// Fills an empty folder for a node that is about to run with these flags.
///
/// # Errors
/// As [`init`].
pub(crate) fn fill_for(flags: &Flags) -> Result<()> {
    let port = match &flags.port {
        // The settings judge it, with their error text.
        Some(text) => match text.trim().parse() {
            Ok(port) => Some(port),
            Err(_) => return Ok(()),
        },
        None => None,
    };
    fill(flags.folder(), port, None, &[])?;
    Ok(())
}

/// Fills an empty folder for a node that joins a network through another one.
///
/// # Errors
/// As [`init`].
pub(crate) fn fill_to_join(flags: &Flags, network: &str, peer: &PeerAddress) -> Result<()> {
    let port = flags.port.as_ref().and_then(|text| text.trim().parse().ok());
    fill(flags.folder(), port, Some(network), &[peer.to_string()])?;
    Ok(())
}

/// Whether a folder has no file of a node yet, is missing, or was being filled when the program was
/// killed.
pub(crate) fn is_empty(folder: &Path) -> bool {
    let has = |name: &str| fs::symlink_metadata(folder.join(name)).is_ok();
    !has(".env") && (has(DRAFT) || ![KNOWN_PEERS, POOL_FILE, NODE_KEY].into_iter().any(has))
}

fn fill(folder: &Path, port: Option<u16>, network: Option<&str>, peers: &[String]) -> Result<Made> {
    let shown = folder.display();
    let env = folder.join(".env");
    if fs::symlink_metadata(&env).is_ok() {
        bail!("{shown} holds a node already: it has a .env; change that, or name another folder");
    }
    let mut known = Vec::new();
    for peer in peer_texts(&peers.join(",")) {
        known.push(parse_address(&peer, false)?);
    }
    if let Some(network) = network {
        network_name::check(network).map_err(UnusableNetwork)?;
    }
    let port = match port {
        Some(port) => port,
        None => PORTS.clone().find(|port| !is_taken(*port) && !is_taken(port + PAGE)).unwrap_or(PORTS.start),
    };
    fs::create_dir_all(folder).with_context(|| format!("{shown} cannot be made; check who may write there"))?;
    let unwritable =
        |name: &str| format!("{} cannot be written; check who may write there", folder.join(name).display());
    // From here on the next `run` finishes what a kill interrupts.
    fs::write(folder.join(DRAFT), "").and_then(|()| sync_folder(folder)).with_context(|| unwritable(DRAFT))?;
    let key = NodeKey::load_or_create(folder)?;
    let mut text = with_setting(TEMPLATE, "PORT", &port.to_string());
    text = with_setting(&text, "MY_PUBLIC_KEY", &key.node_id().to_string());
    if let Some(network) = network {
        text = with_setting(&text, "NETWORK", &quoted(network));
    }
    for name in [KNOWN_PEERS, POOL_FILE] {
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_err() {
            replace(&path, "[]\n").with_context(|| unwritable(name))?;
        }
    }
    for address in &known {
        edit::add_known_peer(folder, address)?;
    }
    // The settings come last, whole: a node starts with them.
    let draft = folder.join(DRAFT);
    let named = replace(&draft, &text).and_then(|()| rename(&draft, &env)).and_then(|()| sync_folder(folder));
    named.with_context(|| unwritable(".env"))?;
    Ok(Made { port, node: key.node_id().to_string() })
}

/// Whether another program listens on a port of this machine.
pub fn is_taken(port: u16) -> bool {
    // Without IPv6 the error is another one. Each socket is closed before the next is opened.
    let in_use =
        |host: IpAddr| TcpListener::bind((host, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    in_use(Ipv4Addr::LOCALHOST.into()) || in_use(Ipv6Addr::LOCALHOST.into())
}

/// Returns a value of one line as a `.env` has it. Between single quotation marks nothing has a
/// meaning of its own.
pub(crate) fn quoted(value: &str) -> String {
    if !value.contains(['\'', '\\']) {
        return format!("'{value}'");
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$"))
}

/// Returns whether a line of a `.env` sets `name`.
pub fn is_setting(line: &str, name: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim_start();
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace));
    exported.unwrap_or(line).split_once('=').is_some_and(|(key, _)| key.trim() == name)
}

/// Returns a `.env` in which `name` has this value: where it is set, otherwise where it is
/// commented out, otherwise at the end. Comments stay.
pub fn with_setting(env: &str, name: &str, value: &str) -> String {
    let env = env.trim_start_matches('\u{feff}');
    let sets = |line: &str| is_setting(line, name);
    let mut lines = Vec::new();
    let mut set = false;
    for line in env.lines() {
        if !sets(line) {
            lines.push(line.to_owned());
        } else if !std::mem::replace(&mut set, true) {
            lines.push(format!("{name}={value}"));
        }
    }
    if !set {
        let commented = lines.iter_mut().find(|line| line.strip_prefix("# ").is_some_and(&sets));
        match commented {
            Some(line) => *line = format!("{name}={value}"),
            None => lines.push(format!("{name}={value}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_port_is_taken_while_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert!(is_taken(listener.local_addr().expect("bound").port()));
        assert!(!is_taken(0), "any free one");
    }

    #[test]
    fn a_setting_is_replaced_where_it_stands() {
        for (env, result) in [
            ("# a\nPORT=1\nB=2\n", "# a\nPORT=7\nB=2\n"),
            ("export PORT = 1\nexport\tPORT=2\nPORT=3\nexportPORT=4\n", "PORT=7\nexportPORT=4\n"),
            ("# PORT=1\nXPORT=1\r\n", "PORT=7\nXPORT=1\n"),
            ("# set PORT = 1 here\nXPORT=1\n", "# set PORT = 1 here\nXPORT=1\nPORT=7\n"),
            ("", "PORT=7\n"),
        ] {
            assert_eq!(with_setting(env, "PORT", "7"), result, "{env:?}");
        }
    }

    #[test]
    fn the_template_is_that_of_the_folders() {
        // A package holds no `.env`, so the text stands twice in the repository.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env");
        if path.parent().is_some_and(|folder| folder.join("../xtask").exists()) {
            assert_eq!(fs::read_to_string(path).expect("the template"), TEMPLATE);
        }
    }

    #[test]
    fn a_new_folder_has_settings_that_a_node_takes_and_is_filled_once() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("deep/down");
        assert!(is_empty(&folder));
        // As the command line splits a list at its commas.
        let by_id = format!("iroh:{}@a:1,b:2", "a7".repeat(32));
        let peers: Vec<String> = format!("localhost:4002,{by_id}").split(',').map(str::to_owned).collect();
        let made = fill(&folder, Some(5_001), Some("mars #1 isn't"), &peers).expect("made");
        assert!(!is_empty(&folder));
        let settings = Settings::read(&folder, &Flags::default(), |_| None).expect("settings");
        assert_eq!((settings.port, settings.network.as_str(), made.port), (5_001, "mars #1 isn't", 5_001));
        let known: Vec<String> = settings.known_peers.iter().map(ToString::to_string).collect();
        assert_eq!(known, ["ws://localhost:4002".to_owned(), by_id.clone()]);
        assert_eq!(settings.public_key.map(|key| key.to_string()), Some(made.node));
        assert_eq!(settings.warnings, Vec::<String>::new());
        let error = fill(&folder, None, None, &[]).expect_err("it is filled").to_string();
        assert!(error.contains("holds a node already") && error.contains("another folder"), "{error}");

        let other = parent.path().join("other");
        assert!(fill(&other, None, None, &["no address at all".to_owned()]).is_err());
        for name in ["", "a\u{200b}", "a\nb"] {
            assert!(fill(&other, None, Some(name), &[]).is_err());
        }
        assert!(!other.exists(), "nothing is left");
        fs::create_dir(&other).expect("made");
        fs::write(other.join(POOL_FILE), "[{}]").expect("written");
        fs::write(other.join(KNOWN_PEERS), "{}").expect("written");
        assert!(fill(&other, None, None, &peers).is_err(), "the address has no place there");
        fs::write(other.join(KNOWN_PEERS), "[\"ws://localhost:9\"]").expect("written");
        fill(&other, None, None, &peers).expect("made");
        assert_eq!(fs::read_to_string(other.join(POOL_FILE)).expect("read"), "[{}]", "what is there stays");
        let known: Vec<String> =
            serde_json::from_str(&fs::read_to_string(other.join(KNOWN_PEERS)).expect("read")).expect("an array");
        assert_eq!(known, ["ws://localhost:9".to_owned(), "ws://localhost:4002".to_owned(), by_id]);
    }

    #[test]
    fn a_folder_whose_filling_was_interrupted_is_filled_by_the_next_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mut made = fill(folder.path(), Some(5_001), Some("mars"), &[]).expect("made");
        let names = || {
            let mut names: Vec<_> =
                fs::read_dir(folder.path()).expect("listed").map(|file| file.expect("one").file_name()).collect();
            names.sort();
            names
        };
        let all = [".env", KNOWN_PEERS, NODE_KEY, POOL_FILE];
        assert_eq!(names(), all, "no draft is left");
        assert!(!is_empty(folder.path()));
        // From the last moment before the settings have their name, to the first.
        let written: [&[&str]; 4] = [&[], &[POOL_FILE], &[POOL_FILE, KNOWN_PEERS], &[POOL_FILE, KNOWN_PEERS, NODE_KEY]];
        for missing in written {
            fs::rename(at(".env"), at(DRAFT)).expect("renamed");
            fs::write(at(DRAFT), "PORT=").expect("written");
            for name in missing {
                fs::remove_file(at(name)).expect("removed");
            }
            assert!(is_empty(folder.path()), "{missing:?}");
            let again = fill(folder.path(), Some(5_002), None, &[]).expect("finished");
            assert_eq!(again.node == made.node, !missing.contains(&NODE_KEY), "a key that is there stays");
            assert_eq!(names(), all);
            let settings = Settings::read(folder.path(), &Flags::default(), |_| None).expect("settings");
            assert_eq!(
                (settings.port, settings.public_key.map(|key| key.to_string())),
                (5_002, Some(again.node.clone()))
            );
            made = again;
        }
        // Without that draft the files are those of a node whose settings were lost.
        fs::remove_file(at(".env")).expect("removed");
        assert!(!is_empty(folder.path()));
    }
}
