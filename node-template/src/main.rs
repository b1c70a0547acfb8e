//! The binary: reads the settings, starts a node and its console, waits for a signal, and returns
//! an exit code. Everything else is in the library.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use meshpool::cli::console::{Console, Typed};
use meshpool::cli::{fd_limit, file_size, logs, output};
use meshpool::config::{Flags, Settings, environment, wants_json_log};
use meshpool::{Network, Node, StartProgress, TransactionLines};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A peer-to-peer node: JSON over WebSockets.
///
/// It runs in a folder that holds a .env (with PORT) and a known-peers.json, finds its peers, and
/// keeps every transaction in the folder's transactions.json. A flag overrides the environment,
/// which overrides the folder's .env.
#[derive(Parser)]
#[command(version = meshpool::version(), max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Broadcast each line of standard input although it is no terminal; at its end the node ends
    #[arg(long)]
    stdin: bool,
    /// Print a certificate request for this folder's key, for 'cargo xtask issue-certificate', and
    /// end
    #[cfg(feature = "tls")]
    #[arg(long)]
    request_certificate: bool,
}

fn main() -> ExitCode {
    file_size::survive_limit();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(output::print_usage(&error)),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let as_json = wants_json_log(&arguments.flags, environment);
            output::write_error(format_args!("{error:#}"), as_json);
            ExitCode::from(output::exit_code(&error))
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the threads of the node")?;
    let ended = runtime.block_on(run_node(arguments));
    // Threads that still read files have no reader, and may hang with the disk.
    runtime.shutdown_background();
    ended
}

/// Reads again what a running node takes: the known peers, the access lists and the certificates.
/// Says what was read, and what was changed and needs a start. If anything cannot be used, all
/// stays as it was.
async fn reload(node: &Node, flags: &Flags, settings: &mut Settings) {
    let new = match Settings::read(flags.folder(), flags, environment) {
        Ok(new) => new,
        Err(error) => return tracing::error!("SIGHUP: everything stays as it was: {error}"),
    };
    if let Err(error) = node.reload().await {
        return tracing::error!("SIGHUP: everything stays as it was: {error}");
    }
    if node.set_known_peers(new.known_peers.clone()).await.is_err() {
        return;
    }
    for warning in new.warnings.iter().filter(|warning| !settings.warnings.contains(warning)) {
        tracing::warn!("{warning}");
    }
    let count = |these: &Settings, others: &Settings| {
        these.known_peers.iter().filter(|address| !others.known_peers.contains(address)).count()
    };
    let (known, added, removed) = (new.known_peers.len(), count(&new, settings), count(settings, &new));
    tracing::info!("reloaded known-peers.json: {known} known, {added} added, {removed} removed");
    let changed = settings.differences(&new);
    if !changed.is_empty() {
        tracing::warn!("changed, but a running node does not take it: {}; start the node again", changed.join(", "));
    }
    // The others are those that the node was started with.
    settings.known_peers = new.known_peers;
    settings.warnings = new.warnings;
}

/// Waits for Ctrl+C or SIGTERM, and names it.
async fn asked_to_end(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "Ctrl+C",
        _ = terminate.recv() => "SIGTERM",
    }
}

async fn run_node(arguments: &Arguments) -> anyhow::Result<()> {
    let flags = &arguments.flags;
    #[cfg(feature = "tls")]
    if arguments.request_certificate {
        let key = meshpool::NodeKey::load_or_create(flags.folder())?;
        return Ok(output::write_result(&meshpool::tls::request(&key)?)?);
    }
    let mut settings = Settings::read(flags.folder(), flags, environment)?;
    let _log = logs::init_logs(settings.log, settings.log_json).context("cannot write a log")?;
    let watched = std::io::stderr().is_terminal();
    let lines = if watched { TransactionLines::Each } else { TransactionLines::Count };
    let choice = settings.transaction_lines;
    settings.transaction_lines = Some(choice.unwrap_or(lines));
    if let Some(exported) = &settings.exported {
        logs::show(settings.log, exported);
    }
    for warning in settings.warnings.iter().chain(&fd_limit::raise(&settings.limits)) {
        tracing::warn!("{warning}");
    }
    // Before the node starts, so that a signal during the start ends it cleanly too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl+C")?;
    let http = settings.http.clone();
    let progress = StartProgress::default();
    // Listens at once, since reading a large pool takes a while, unless the port depends on the
    // node's and the system chooses that.
    #[cfg(feature = "web")]
    let early = match &http {
        Some(http) if settings.port != 0 || http.port.is_some() => {
            Some(meshpool::http::Server::listen(settings.port, http, &progress).await)
        }
        _ => None,
    };
    // Reading a large pool takes a while. It ends with the process; a repair survives that as it
    // survives a crash.
    let mut node = tokio::select! {
        node = Network::from(settings.clone()).progress(progress).start() => node?,
        why = asked_to_end(&mut interrupt, &mut terminate) => {
            tracing::info!("{why}: ended during the start");
            return Ok(());
        }
    };
    settings.transaction_lines = choice;
    #[cfg(feature = "web")]
    let _web = match http {
        Some(http) => {
            let server = match early {
                Some(server) => server.map(|mut server| {
                    server.attach(node.handle());
                    server
                }),
                None => meshpool::http::Server::start(node.handle(), &http).await,
            };
            match server {
                Ok(server) => Some(server),
                Err(error) => {
                    node.shutdown().await?;
                    return Err(error.into());
                }
            }
        }
        None => None,
    };
    #[cfg(not(feature = "web"))]
    if http.is_some_and(|http| http.port.is_some()) {
        tracing::warn!("this program was built without the feature \"web\": HTTP_PORT is ignored");
    }
    let mut console = Console::open(arguments.stdin, &node);
    let why = loop {
        tokio::select! {
            why = asked_to_end(&mut interrupt, &mut terminate) => break why,
            _ = hangup.recv() => reload(&node, flags, &mut settings).await,
            typed = console.typed() => match typed {
                Typed::Text(text) => console.show_result(&node.broadcast(text).await),
                Typed::Leave(why) => break why,
            },
            error = node.ended() => return Err(error.into()),
        }
    };
    tracing::info!("{why}: closing the links and writing what waits");
    node.shutdown().await?;
    tracing::info!("goodbye");
    Ok(())
}
