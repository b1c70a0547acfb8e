//! `bench`: measures our node and its rivals side by side.
//!
//! The measuring program is in `bench/`, a workspace of its own, which builds our node itself. This only sees that the rivals have their packages, and hands
//! over: standard output carries the tables and nothing else.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::support::cargo::cargo_program;
use crate::support::npm;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
// `--help` is the measuring program's too.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What the measuring program is told; --help lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let interop = workspace.root().join("interop");
    if !npm::is_fresh(&interop) {
        npm::install(&interop)?;
    }
    // In the folder where we were called: paths among the arguments are meant from there.
    let mut command = Command::new(cargo_program());
    command.args(["run", "--release", "--quiet", "--manifest-path"]).arg(workspace.root().join("bench/Cargo.toml"));
    let status = command.arg("--").args(&arguments.arguments).status().context("cargo can not be started")?;
    // It has said itself what went wrong.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
