//! The task runner: `cargo xtask` makes, starts, feeds, shows and removes node folders, and runs the project's checks.
//!
//! Parses, dispatches, prints one line for an error, and sets the exit code: 0 done, 1 failed, 2 wrong usage. Each task has a module of its own.

mod checks;
mod measures;
mod nodes;
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::checks::{autobahn, fuzz};
use crate::measures::{bench, idle, links, scale, soak};
use crate::nodes::{
    add_transaction, broadcast, clone_node, delete_nodes, image, issue_certificate, network, new_network, status,
    transactions, up,
};
use crate::support::terminal;
use crate::support::workspace::Workspace;

const EXAMPLES: &str = "\
Examples:
  cargo xtask up 3                     make, build and start three nodes
  cargo xtask clone-node               make the next node folder; then:
                                       cd node-1 && cargo run
  cargo xtask add-transaction '{\"amount\": 5}'
                                       send it to the first node that answers
  cargo xtask add-transaction --node 2
                                       send the reward transaction to node-2
  cargo xtask add-transaction --file many.jsonl
                                       send one transaction per line
  cargo xtask broadcast 'hello'        say it to everybody in the network
  cargo xtask network --svg net.svg    who is there, as a table and a picture
  cargo xtask image get cat.jpg        write an image into a file
  cargo xtask image list               which images there are
  cargo xtask status                   what the running nodes say
  cargo xtask transactions --node 2    the newest in node-2's file, and who signed them
  cargo xtask new-network              close the network: TLS and certificates
                                       for the folders made from then on
  cargo xtask delete-nodes             remove all node folders
  cargo xtask test                     run everything that must pass
  cargo xtask bench --quick            measure our node and its rivals
  cargo xtask fuzz --seconds 600       run the fuzz targets, ten minutes each
  cargo xtask scale                    measure nodes with a million transactions
  cargo xtask idle                     measure 10, 100 and 200 nodes at rest
  cargo xtask links                    measure a node with 10,000 idle links
  cargo xtask soak --minutes 5         nodes under trouble in a network of their
                                       own, which needs root; an hour by default
";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Makes, starts, feeds, shows and removes nodes", after_help = EXAMPLES)]
struct Arguments {
    /// The workspace to act on, if not the one around the current folder
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make the folders where missing, build, start N nodes and show their logs
    Up(up::Arguments),
    /// Make the next node folder
    CloneNode(clone_node::Arguments),
    /// Make the authority of a closed network: folders made afterwards belong to it
    NewNetwork(new_network::Arguments),
    /// Issue a node a certificate: from its request, or a new one to a folder here
    IssueCertificate(issue_certificate::Arguments),
    /// Send transactions to a running node
    AddTransaction(add_transaction::Arguments),
    /// Say something to everybody in the network
    Broadcast(broadcast::Arguments),
    /// Show who is in the network, and who is linked to whom
    Network(network::Arguments),
    /// Get an image out of the network, or list those that there are
    Image(image::Arguments),
    /// Show the running nodes, and whether their pools agree
    Status(status::Arguments),
    /// Show the newest transactions in a node's file, and whether their signatures are good
    Transactions(transactions::Arguments),
    /// Remove all node folders
    DeleteNodes(delete_nodes::Arguments),
    /// Run every check and test of the project
    Test(checks::Arguments),
    /// Measure our node and its rivals side by side
    Bench(bench::Arguments),
    /// Measure nodes with a large pool; fail if it costs more than it may
    Scale(scale::Arguments),
    /// Run the fuzz targets, and fail if one finds something
    Fuzz(fuzz::Arguments),
    /// Measure what nodes with a cap on their links cost while nothing happens
    Idle(idle::Arguments),
    /// Measure a node with many idle links, open and closed; fail if they cost more memory than they may
    Links(links::Arguments),
    /// Run nodes under load and trouble in network namespaces; fail if something grows or is lost
    Soak(soak::Arguments),
    /// Run the Autobahn test suite against the WebSocket side; needs Python 2.7
    Autobahn(autobahn::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", terminal::plain(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Some(task) = arguments.task else {
        Arguments::command().print_help()?;
        return Ok(ExitCode::SUCCESS);
    };
    let workspace = Workspace::find(arguments.root.as_deref())?;
    match task {
        Task::Up(arguments) => up::run(&workspace, &arguments),
        Task::CloneNode(arguments) => clone_node::run(&workspace, &arguments),
        Task::NewNetwork(arguments) => new_network::run(&workspace, &arguments),
        Task::IssueCertificate(arguments) => issue_certificate::run(&workspace, &arguments),
        Task::AddTransaction(arguments) => add_transaction::run(&workspace, &arguments),
        Task::Broadcast(arguments) => broadcast::run(&workspace, &arguments),
        Task::Network(arguments) => network::run(&workspace, &arguments),
        Task::Image(arguments) => image::run(&workspace, &arguments),
        Task::Status(arguments) => status::run(&workspace, &arguments),
        Task::Transactions(arguments) => transactions::run(&workspace, &arguments),
        Task::DeleteNodes(arguments) => delete_nodes::run(&workspace, &arguments),
        Task::Test(arguments) => checks::run(&workspace, &arguments),
        Task::Bench(arguments) => bench::run(&workspace, &arguments),
        Task::Scale(arguments) => scale::run(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Task::Idle(arguments) => idle::run(&workspace, &arguments),
        Task::Links(arguments) => links::run(&workspace, &arguments),
        Task::Soak(arguments) => soak::run(&workspace, &arguments),
        Task::Autobahn(arguments) => autobahn::run(&workspace, &arguments),
    }
}
