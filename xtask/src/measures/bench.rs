//! `bench`: measures our node and others side by side.
//!
//! The program is in `bench/`, a workspace of its own, which builds our node itself. This task
//! installs the packages of the JavaScript nodes and passes its arguments on. Standard output
//! carries only the tables.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::support::cargo::cargo_program;
use crate::support::npm;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
// `--help` is passed on too.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the measuring program; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let interop = workspace.root().join("interop");
    if !npm::is_fresh(&interop) {
        npm::install(&interop)?;
    }
    // Runs in the current folder, since paths among the arguments are relative to it.
    let mut command = Command::new(cargo_program());
    command.args(["run", "--release", "--quiet", "--manifest-path"]).arg(workspace.root().join("bench/Cargo.toml"));
    let status = command.arg("--").args(&arguments.arguments).status().context("cargo cannot be started")?;
    // It has printed its own error.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
