//! The command line of `meshpool`, and what carries its commands out.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::add::{self, What};
use crate::cli::images::{self, Wanted};
use crate::cli::init::{self, InitArguments};
use crate::cli::invite;
use crate::cli::peers::{self, PeersCommand};
use crate::cli::place::{Place, PlaceArguments};
use crate::cli::run::{self, RunArguments};
use crate::cli::terminal::{number, print, print_text, strip_control};
use crate::cli::{check, export, network, send, status, transactions};
use crate::util::version::version;

const AFTER: &str = "\
Without a command it runs the node of the current folder, as 'run' does where
there is one.

Exit codes: 0 done, 1 failed, 2 wrong usage.
Examples:
  meshpool run --peers ws://example.org:4001
  meshpool add '{\"from\": \"ann\", \"to\": \"bob\", \"amount\": 5}'
  meshpool status --url http://localhost:8001 --json
";

/// A peer-to-peer node: JSON over WebSockets.
///
/// It runs in a folder that holds a .env (with PORT) and a known-peers.json, finds its peers, and
/// keeps every transaction in the folder's transactions.json. A flag overrides the environment,
/// which overrides the folder's .env.
#[derive(Debug, Parser)]
#[command(name = "meshpool", version = version(), max_term_width = 100, after_help = AFTER)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Program {
    #[command(flatten)]
    run: RunArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// A command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a folder for a node: settings, known peers, an empty pool, a key
    Init(InitArguments),
    /// Run the node of a folder; an empty one is made a node's first
    Run(RunArguments),
    /// Print one line that leads a newcomer to a running node, wherever it is
    Invite(PlaceArguments),
    /// Follow such a line: make the folder a node's if it is empty, and run it
    Join {
        /// The line, in quotation marks
        #[arg(value_name = "INVITE")]
        invite: String,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Have a node store a transaction, or many, and send them on
    Add {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Send a text to every node of the network
    Send {
        /// The text
        #[arg(value_name = "TEXT")]
        text: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Show what a node says of itself, with its peers
    Status(PlaceArguments),
    /// Show the nodes of the network and their links
    Network {
        /// Also draw the network as SVG into this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Show the newest transactions of a pool, and who signed them
    Transactions {
        /// List the newest K
        #[arg(long, value_name = "K", default_value_t = 20, value_parser = number(0..=1_000_000_usize, "20"))]
        last: usize,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List the images of the network, or write one into a file
    Images {
        /// The image to write; without it all are listed
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Write this file [default: the image's name in the current folder]
        #[arg(short, long, value_name = "FILE", requires = "name")]
        output: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List known peers and bans, or change them
    #[command(args_conflicts_with_subcommands = true)]
    Peers {
        #[command(flatten)]
        place: PlaceArguments,
        #[command(subcommand)]
        command: Option<PeersCommand>,
    },
    /// Show or set the level of a running node's log
    Log {
        /// error, warn, info, debug or trace
        #[arg(value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
        level: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Check settings, key, certificates, ports, and whether peers reach the node
    Check(PlaceArguments),
    /// Write all transactions of a pool, one a line
    Export {
        /// The file; "-" or none is standard output
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Have a node store the transactions of a file unchanged: one a line, or a JSON array
    Import {
        /// The file; "-" is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands into a folder
    Man {
        /// Write a page for each command into this folder
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

impl Program {
    /// Reads the words of the command line.
    ///
    /// # Errors
    /// What is wrong with them, for a person.
    pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(words).map_err(|mut error| {
            if error.kind() == ErrorKind::ArgumentConflict {
                let tip = "flags follow the command, as in: meshpool status --folder node-1";
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
            }
            error
        })
    }

    /// Returns the flags of the node to run; `None` for other commands.
    pub(crate) fn runs(&self) -> Option<&RunArguments> {
        match &self.command {
            None => Some(&self.run),
            Some(Command::Run(run) | Command::Join { run, .. }) => Some(run),
            Some(_) => None,
        }
    }

    /// Carries the command out. Returns whether all of it was done.
    ///
    /// # Errors
    /// One line: what happened, where, what to do next.
    pub(crate) async fn carry_out(self) -> Result<bool> {
        match self.command {
            None => run::run(&self.run, false).await?,
            Some(Command::Run(arguments)) => run::run(&arguments, true).await?,
            Some(Command::Init(arguments)) => init::init(&arguments)?,
            Some(Command::Invite(place)) => invite::invite(&place).await?,
            Some(Command::Join { invite, run }) => invite::join(&invite, &run).await?,
            Some(Command::Add { what, place }) => {
                return add::run(async || place.target().await, &what, place.json, async |_| Ok(None)).await;
            }
            Some(Command::Import { file, place }) => {
                let what = What::unchanged(&file);
                return add::run(async || place.target().await, &what, place.json, async |_| Ok(None)).await;
            }
            Some(Command::Send { text, place }) => {
                send::check(&text)?;
                send::send(place.target().await?, &text, place.json, "--folder").await?;
            }
            Some(Command::Status(place)) => {
                let mut target = place.target().await?;
                let status = (target.name(), target.status().await?);
                let now = target.time();
                target.close().await;
                match place.json {
                    true => print(format!("{:#}", serde_json::to_value(&status.1)?))?,
                    false => print(status::describe_at(&[status], true, now))?,
                }
            }
            Some(Command::Network { svg, place }) => {
                network::show(place.target().await?, place.json, svg.as_deref()).await?;
            }
            Some(Command::Transactions { last, place }) => match place.place()? {
                Place::Folder(folder) => transactions::show_file(&folder, last, place.json)?,
                Place::Api(mut api) => transactions::show_remote(&mut api, last, place.json).await?,
            },
            Some(Command::Images { name: Some(name), output, place }) => {
                let wanted = Wanted::new(&name, output.as_deref())?;
                wanted.get(place.target().await?, place.json).await?;
            }
            Some(Command::Images { name: None, place, .. }) => images::list(place.target().await?, place.json).await?,
            Some(Command::Peers { command, place }) => {
                peers::run(&command.unwrap_or(PeersCommand::List(place))).await?
            }
            Some(Command::Log { level, place }) => log(level.as_deref(), &place).await?,
            Some(Command::Check(place)) => return check::check(&place).await,
            Some(Command::Export { file, place }) => {
                export::export(place.place()?, file.as_deref(), place.json).await?
            }
            Some(Command::Completions { shell }) => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "meshpool", &mut text);
                print_text(&String::from_utf8(text)?)?;
            }
            Some(Command::Man { output: None }) => {
                let mut text = Vec::new();
                clap_mangen::Man::new(Self::command()).render(&mut text)?;
                print_text(&String::from_utf8(text)?)?;
            }
            Some(Command::Man { output: Some(folder) }) => {
                let unwritable = || format!("{} takes no manual pages; make the folder first", folder.display());
                clap_mangen::generate_to(Self::command(), &folder).with_context(unwritable)?;
            }
        }
        Ok(true)
    }
}

async fn log(level: Option<&str>, place: &PlaceArguments) -> Result<()> {
    let mut api = place.api()?;
    let answer: Value = match level {
        Some(level) => api.change(Method::PUT, "/api/log", Some(&json!({ "level": level }))).await?,
        None => api.get("/api/log").await?,
    };
    match place.json {
        true => print(format!("{answer:#}"))?,
        false => print(strip_control(answer["level"].as_str().unwrap_or_default()))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Program::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_flags_are_those_of_run() {
        let flags = |words: &str| {
            let program = Program::try_parse_from(words.split(' ')).expect(words);
            program.runs().expect(words).flags.clone()
        };
        let (plain, named) = (flags("meshpool --port 1 -p a:1,b:2"), flags("meshpool run --port 1 -p a:1,b:2"));
        assert_eq!((plain.port, plain.peers), (named.port, named.peers));
        let error = |words: &str| Program::try_parse_from(words.split(' ')).expect_err(words).to_string();
        assert!(error("meshpool statsu").contains("status"), "a similar command is named");
        let misplaced =
            Program::read("meshpool --folder a status".split(' ').map(Into::into)).expect_err("it conflicts");
        assert!(misplaced.to_string().contains("tip: flags follow the command"), "{misplaced}");
        assert!(error("meshpool --port 1 status").contains("status"), "flags of a node belong to run");
        Program::try_parse_from(["meshpool", "log", "--folder", "a", "--token", "x"]).expect("a token is for both");
    }

    #[tokio::test]
    async fn a_peer_that_is_named_in_the_folder_of_a_closed_network_is_one_with_tls() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("known-peers.json");
        let run = async |action: &str, address: &str| {
            let words = ["meshpool", "peers", action, address, "--folder"].map(OsString::from);
            let program = Program::read(words.into_iter().chain([folder.path().into()])).expect("a command");
            program.carry_out().await.expect(address);
            let known = std::fs::read_to_string(&file).expect("read");
            serde_json::from_str::<Vec<String>>(&known).expect("an array")
        };
        std::fs::write(folder.path().join(".env"), "PORT=4001\nNETWORK_CA=ca.pem\n").expect("written");
        std::fs::write(&file, "[]").expect("written");
        let spellings = ["friend:4001", "ws://friend:4001", "wss://friend:4001"];
        for given in spellings {
            assert_eq!(run("add", given).await, ["wss://friend:4001"], "{given}");
        }
        for given in spellings {
            std::fs::write(&file, r#"["ws://friend:4001", "wss://friend:4001"]"#).expect("written");
            assert!(run("remove", given).await.is_empty(), "{given}");
        }
    }
}
