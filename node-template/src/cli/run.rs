//! Runs a node: reads the settings, starts the node and its console, and waits for a signal.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::anyhow;

use crate::cli::console::{Console, Typed};
use crate::cli::{fd_limit, init, logs};
use crate::config::{Flags, Settings, environment};
use crate::events::log::TransactionLines;
use crate::folder::files::remedy;
use crate::node::network::Network;
use crate::node::operator::Operator;
use crate::node::start_progress::StartProgress;
use crate::system::{EndSignals, ReloadSignal};

/// How a node is run.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct RunArguments {
    /// The settings of the command line.
    #[command(flatten)]
    pub flags: Flags,
    /// Broadcast each line of standard input although it is no terminal; at its end the node ends
    #[arg(long)]
    pub stdin: bool,
    /// Print a certificate request for this folder's key, for 'cargo xtask issue-certificate', and
    /// end
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub request_certificate: bool,
}

/// Runs the node of a folder until it is asked to end. `makes`: whether a folder that has no file
/// of a node is filled first, as `init` does.
///
/// # Errors
/// It cannot start, or not everything is on disk at its end.
pub(crate) async fn run(arguments: &RunArguments, makes: bool) -> anyhow::Result<()> {
    if makes && environment("PORT").is_none() && init::is_empty(arguments.flags.folder()) {
        init::fill_for(&arguments.flags)?;
    }
    run_node(arguments).await
}

async fn run_node(arguments: &RunArguments) -> anyhow::Result<()> {
    let flags = &arguments.flags;
    #[cfg(feature = "tls")]
    if arguments.request_certificate {
        let key = crate::folder::node_key::NodeKey::load_or_create(flags.folder())?;
        return Ok(crate::cli::terminal::print_text(&crate::tls::request(&key)?)?);
    }
    let mut settings = Settings::read(flags.folder(), flags, environment)?;
    let (_log, set_level) = logs::init_logs(settings.log, settings.log_json)
        .map_err(|error| anyhow!("cannot write a log: {error}; please report it"))?;
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
    let deaf = |to: &'static str| {
        move |error| anyhow!("cannot wait for {to}: {error}; {}", remedy(&error).unwrap_or("try again"))
    };
    let mut ends = EndSignals::listen().map_err(deaf("Ctrl+C"))?;
    let mut reloads = ReloadSignal::listen().map_err(deaf("SIGHUP"))?;
    let http = settings.http.clone();
    let progress = StartProgress::default();
    // Listens at once, since reading a large pool takes a while, unless the port depends on the
    // node's and the system chooses that.
    #[cfg(feature = "web")]
    let early = match &http {
        Some(http) if settings.port != 0 || http.port.is_some() => {
            Some(crate::http::Server::listen(settings.port, http, &progress).await)
        }
        _ => None,
    };
    // Reading a large pool takes a while. It ends with the process; a repair survives that as it
    // survives a crash.
    let mut node = tokio::select! {
        node = Network::from(settings.clone()).progress(progress).start() => node?,
        why = ends.next() => {
            tracing::info!("{why}: ended during the start");
            return Ok(());
        }
    };
    settings.transaction_lines = choice;
    #[cfg(feature = "web")]
    let folder = settings.folder.clone();
    let operator = Arc::new(Operator::new(node.handle(), flags.clone(), settings, set_level));
    #[cfg(feature = "web")]
    let _web = match http {
        Some(http) => {
            let server = match early {
                Some(server) => server,
                None => crate::http::Server::listen(node.port(), &http, &StartProgress::default()).await,
            };
            match server {
                Ok(mut server) => {
                    server.attach_operated(node.handle(), Arc::clone(&operator));
                    // Commands find the API by it. Without it they still have --url.
                    if let Some(url) = server.plain_url()
                        && let Err(error) = crate::pool::announce_page(&folder, url)
                    {
                        tracing::warn!("{error}");
                    }
                    Some(server)
                }
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
            why = ends.next() => break why.to_string(),
            () = reloads.next() => if let Err(error) = operator.reload().await {
                tracing::error!("SIGHUP: everything stays as it was: {error}");
            },
            typed = console.typed() => match typed {
                Typed::Text(text) => console.show_result(&node.broadcast(text).await),
                Typed::Leave(why) => break why.to_owned(),
            },
            error = node.ended() => return Err(error.into()),
        }
    };
    tracing::info!("{why}: closing the links and writing what waits");
    node.shutdown().await?;
    tracing::info!("goodbye");
    Ok(())
}
