//! The settings on the command line, unparsed: all sources share one check and its error texts.

use std::path::{Path, PathBuf};

/// The settings on the command line. Each overrides the environment and `.env`.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
// Without this the line above would replace the program's description in its help.
#[cfg_attr(feature = "cli", command(about = None, long_about = None))]
pub struct Flags {
    /// Listen on this port; 0 takes any free one (PORT)
    #[cfg_attr(feature = "cli", arg(long, value_name = "PORT", allow_negative_numbers = true))]
    pub port: Option<String>,
    /// Listen on this name or IP address (HOST; default: localhost)
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST"))]
    pub host: Option<String>,
    /// Announce this address to other nodes (ADDRESS; default: ws://HOST:PORT)
    #[cfg_attr(feature = "cli", arg(long, value_name = "ADDRESS"))]
    pub address: Option<String>,
    /// Link to nodes of this network only (NETWORK; default: p2p-node)
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME"))]
    pub network: Option<String>,
    /// Dial these addresses in addition to known-peers.json (PEERS)
    #[cfg_attr(feature = "cli", arg(short, long, value_name = "ADDRESS", value_delimiter = ','))]
    pub peers: Vec<String>,
    /// Link to at most N nodes instead of all (MAX_PEERS)
    #[cfg_attr(feature = "cli", arg(short = 'n', long, value_name = "N", allow_negative_numbers = true))]
    pub max_peers: Option<String>,
    /// Join through this node, which names another one to link to (GENESIS)
    #[cfg_attr(feature = "cli", arg(long, value_name = "ADDRESS"))]
    pub genesis: Option<String>,
    /// Accept signed transactions only (REQUIRE_SIGNATURES; default: 0)
    #[cfg_attr(feature = "cli", arg(long, value_name = "0|1", num_args = 0..=1, default_missing_value = "1", require_equals = true))]
    pub require_signatures: Option<String>,
    /// Find nodes on the local network: mdns or off (DISCOVERY; default: off)
    #[cfg_attr(feature = "cli", arg(long, value_name = "METHOD"))]
    pub discovery: Option<String>,
    /// Log down to this level: error, warn, info, debug or trace (LOG; default: info)
    #[cfg_attr(feature = "cli", arg(long, value_name = "LEVEL"))]
    pub log: Option<String>,
    /// Log transactions each, or as a count per minute (LOG_TRANSACTIONS; default: each in a
    /// terminal)
    #[cfg_attr(feature = "cli", arg(long, value_name = "each|count"))]
    pub log_transactions: Option<String>,
    /// Serve the page, the API and the metrics on this port; 0 turns them off (HTTP_PORT; default:
    /// PORT + 4000)
    #[cfg_attr(feature = "cli", arg(long, value_name = "PORT", allow_negative_numbers = true))]
    pub http_port: Option<String>,
    /// Run the node of this folder (default: the current folder)
    #[cfg_attr(feature = "cli", arg(long, value_name = "FOLDER"))]
    pub folder: Option<PathBuf>,
}

/// A flag's name with its value.
pub(crate) type Flag<'a> = Option<(&'static str, &'a str)>;

/// Returns a flag's name with its value, if it was given.
pub(crate) fn flag<'a>(name: &'static str, value: &'a Option<String>) -> Flag<'a> {
    value.as_deref().map(|value| (name, value))
}

impl Flags {
    /// Returns the folder of `--folder`, or the current one.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new("."))
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(words: &str) -> Flags {
        let command = Flags::augment_args(clap::Command::new("meshpool"));
        Flags::from_arg_matches(&command.get_matches_from(words.split(' '))).expect(words)
    }

    #[test]
    fn peers_are_repeated_or_listed() {
        let flags = parse("meshpool -p localhost:1,ws://localhost:2 --peers localhost:3 -p=localhost:4");
        assert_eq!(flags.peers, ["localhost:1", "ws://localhost:2", "localhost:3", "localhost:4"]);
    }

    #[derive(clap::Parser)]
    #[command(about = "a node")]
    struct Program {
        #[command(flatten)]
        _flags: Flags,
    }

    #[test]
    fn the_program_keeps_its_description() {
        let about = <Program as clap::CommandFactory>::command().get_about().map(ToString::to_string);
        assert_eq!(about.as_deref(), Some("a node"));
    }

    #[test]
    fn a_bad_port_is_left_to_the_settings() {
        assert_eq!(parse("meshpool --port -1").port.as_deref(), Some("-1"));
        assert_eq!(parse("meshpool --port abc").port.as_deref(), Some("abc"));
    }

    #[test]
    fn requiring_signatures_needs_no_value() {
        let given = |words| parse(words).require_signatures;
        assert_eq!(given("meshpool --require-signatures --log debug").as_deref(), Some("1"));
        assert_eq!(given("meshpool --require-signatures=0").as_deref(), Some("0"));
        assert_eq!(given("meshpool"), None);
    }

    #[test]
    fn the_folder_is_the_current_one_unless_named() {
        assert_eq!(parse("meshpool --log debug").folder(), Path::new("."));
        assert_eq!(parse("meshpool --folder node-2").folder(), Path::new("node-2"));
    }
}
