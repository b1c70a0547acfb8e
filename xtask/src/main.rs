//! The task runner: `cargo xtask` makes, starts, feeds, shows and removes node folders, runs the
//! checks, and measures.
//!
//! It exits with 0 for success, 1 for failure and 2 for wrong usage. An error is one line.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod checks;
mod lesson;
#[cfg(target_os = "linux")]
mod measures;
mod nodes;
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[cfg(target_os = "linux")]
use crate::checks::{autobahn, package, windows};
use crate::checks::{fuzz, mutants, prose, structure};
#[cfg(target_os = "linux")]
use crate::measures::{bench, hostile, idle, links, scale, soak, wan};
use crate::nodes::{
    add_transaction, broadcast, check_solution, clone_node, delete_nodes, down, image, invite, issue_certificate, logs,
    network, new_network, status, transactions, up,
};
use crate::support::terminal;
use crate::support::workspace::Workspace;

const EXAMPLES: &str = "\
Examples:
  cargo xtask up 3                     make, build and start three nodes
  cargo xtask up 3 --detach            the same in the background; then:
                                       cargo xtask logs --follow
  cargo xtask down                     stop all nodes, whatever started them
  cargo xtask clone-node               make the next node folder; then:
                                       cd node-1 && cargo run
  cargo xtask add-transaction '{\"amount\": 5}'
                                       send it to the first node that answers
  cargo xtask add-transaction to=bob amount=5
                                       the same in any shell
  cargo xtask add-transaction --node 2
                                       send the reward transaction to node-2
  cargo xtask add-transaction --file many.jsonl
                                       send one transaction per line
  cargo xtask broadcast hello          send a text to every node
  cargo xtask network --svg net.svg    show the nodes and their links
  cargo xtask image get cat.jpg        write an image into a file
  cargo xtask image list               list the images
  cargo xtask status                   show the running nodes
  cargo xtask transactions --node 2    the newest in node-2's file, with signers
  cargo xtask new-network              close the network: TLS and certificates
                                       for the folders made from then on
  cargo xtask invite                   print one line that leads a friend's node
                                       to this one, through NATs
  cargo xtask join 'iroh:…#p2p-node'   follow such a line: make a node and run it
  cargo xtask check-solution ../node-1 --command \"node index.js\"
                                       check a solution of the exercise
  cargo xtask lesson                   take a guided tour of about twenty minutes
  cargo xtask lesson --step 4          begin at its fourth step
  cargo xtask delete-nodes             remove all node folders
  cargo xtask test                     run everything that must pass
  cargo xtask structure meshpool       check the layers and imports of a package
  cargo xtask mutants --component sync
                                       count the planted faults that tests catch
  cargo xtask package                  make a Debian package
  cargo xtask windows                  check the project for Windows, under Wine
  cargo xtask bench --quick            measure our node and others
  cargo xtask bench --only ours,wan    measure links over TCP and over iroh
  cargo xtask fuzz --seconds 600       run the fuzz targets, ten minutes each
  cargo xtask scale                    measure nodes with a million transactions
  cargo xtask idle                     measure 10, 100 and 200 nodes at rest
  cargo xtask links                    measure a node with 10,000 idle links
  cargo xtask links --links 1000 --iroh
                                       the same with 1,000 links over iroh
  cargo xtask hostile want-unknown     attack a node in one way, or in all
  cargo xtask soak --minutes 5         run nodes under load and faults; an hour
                                       by default, needs root
  cargo xtask wan --rounds 3           link nodes behind NATs; needs root
";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Makes, starts, feeds, shows and removes nodes; checks and measures the project", after_help = EXAMPLES)]
struct Arguments {
    /// Act on this workspace instead of the one around the current folder
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make missing node folders, build, start N nodes and show their logs
    Up(up::Arguments),
    /// Stop running nodes, whatever started them
    Down(down::Arguments),
    /// Show the logs of the nodes that `up --detach` started
    Logs(logs::Arguments),
    /// Make the next node folder
    CloneNode(clone_node::Arguments),
    /// Make the certificate authority of a closed network; folders made later belong to it
    NewNetwork(new_network::Arguments),
    /// Issue a certificate: from a node's request, or renew that of a folder here
    IssueCertificate(issue_certificate::Arguments),
    /// Send transactions to a running node
    AddTransaction(add_transaction::Arguments),
    /// Send a text to every node in the network
    Broadcast(broadcast::Arguments),
    /// Show the nodes of the network and their links
    Network(network::Arguments),
    /// Get an image from the network, or list the images in it
    Image(image::Arguments),
    /// Print one line that leads somebody elsewhere to a running node
    Invite(invite::InviteArguments),
    /// Make a node that follows such a line, and run it
    Join(invite::JoinArguments),
    /// Show the running nodes, and whether their pools agree
    Status(status::Arguments),
    /// Show the newest transactions in a node's file and check their signatures
    Transactions(transactions::Arguments),
    /// Check somebody's solution of the exercise, in any language, story by story
    CheckSolution(check_solution::Arguments),
    /// Take a guided tour: eight steps with nodes that run, and the frames that travel
    Lesson(lesson::Arguments),
    /// Remove all node folders
    DeleteNodes(delete_nodes::Arguments),
    /// Run every check and test of the project
    Test(checks::Arguments),
    /// Check the layers and the imports of packages
    Structure(structure::Arguments),
    /// Check the width and the words of comments and Markdown prose
    Prose(prose::Arguments),
    /// Plant faults into the core and count those that its tests catch
    Mutants(mutants::Arguments),
    /// Make a Debian package of the program
    #[cfg(target_os = "linux")]
    Package(package::Arguments),
    /// Lint the project for Windows, and run its tests under Wine; needs root and Debian
    ///
    /// The simulator's tests are linted and not run: it asks the system for nothing, and its tests
    /// compute for many minutes under Wine.
    #[cfg(target_os = "linux")]
    Windows(windows::Arguments),
    /// Measure our node and others side by side
    #[cfg(target_os = "linux")]
    Bench(bench::Arguments),
    /// Measure nodes with a large pool, with bounds
    #[cfg(target_os = "linux")]
    Scale(scale::Arguments),
    /// Run the fuzz targets
    Fuzz(fuzz::Arguments),
    /// Measure what idle nodes with a limit on their links cost
    #[cfg(target_os = "linux")]
    Idle(idle::Arguments),
    /// Measure a node with many idle links, open and closed, with a bound
    #[cfg(target_os = "linux")]
    Links(links::Arguments),
    /// Attack a node in every way that a stranger has, with bounds; needs root
    #[cfg(target_os = "linux")]
    Hostile(hostile::Arguments),
    /// Run nodes for long under load, churn, partitions and attacks, with bounds; needs root
    #[cfg(target_os = "linux")]
    Soak(soak::Arguments),
    /// Link nodes behind NATs and disturb the links, with bounds; needs root
    #[cfg(target_os = "linux")]
    Wan(wan::Arguments),
    /// Run the Autobahn test suite against our WebSocket side; needs Python 2.7
    #[cfg(target_os = "linux")]
    Autobahn(autobahn::Arguments),
}

fn main() -> ExitCode {
    meshpool::binary::system::survive_signals();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(terminal::print_usage(&error)),
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            terminal::note!("error: {}", terminal::strip_control(&format!("{error:#}")));
            ExitCode::from(terminal::exit_code(&error))
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Some(task) = arguments.task else {
        match std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            true => Arguments::command().print_help()?,
            false => terminal::print(Arguments::command().render_help().to_string().trim_end())?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let workspace = Workspace::find(arguments.root.as_deref())?;
    match task {
        Task::Up(arguments) => up::run(&workspace, &arguments),
        Task::Down(arguments) => down::run(&workspace, &arguments),
        Task::Logs(arguments) => logs::run(&workspace, &arguments),
        Task::CloneNode(arguments) => clone_node::run(&workspace, &arguments),
        Task::NewNetwork(arguments) => new_network::run(&workspace, &arguments),
        Task::IssueCertificate(arguments) => issue_certificate::run(&workspace, &arguments),
        Task::AddTransaction(arguments) => add_transaction::run(&workspace, &arguments),
        Task::Broadcast(arguments) => broadcast::run(&workspace, &arguments),
        Task::Network(arguments) => network::run(&workspace, &arguments),
        Task::Image(arguments) => image::run(&workspace, &arguments),
        Task::Invite(arguments) => invite::invite(&workspace, &arguments),
        Task::Join(arguments) => invite::join(&workspace, &arguments),
        Task::Status(arguments) => status::run(&workspace, &arguments),
        Task::Transactions(arguments) => transactions::run(&workspace, &arguments),
        Task::CheckSolution(arguments) => check_solution::run(&arguments),
        Task::Lesson(arguments) => lesson::run(&workspace, &arguments),
        Task::DeleteNodes(arguments) => delete_nodes::run(&workspace, &arguments),
        Task::Test(arguments) => checks::run(&workspace, &arguments),
        Task::Structure(arguments) => structure::run(&workspace, &arguments),
        Task::Prose(arguments) => prose::run(&workspace, &arguments),
        Task::Mutants(arguments) => mutants::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Package(arguments) => package::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Windows(arguments) => windows::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Bench(arguments) => bench::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Scale(arguments) => scale::run(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Idle(arguments) => idle::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Links(arguments) => links::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Hostile(arguments) => hostile::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Soak(arguments) => soak::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Wan(arguments) => wan::run(&workspace, &arguments),
        #[cfg(target_os = "linux")]
        Task::Autobahn(arguments) => autobahn::run(&workspace, &arguments),
    }
}
