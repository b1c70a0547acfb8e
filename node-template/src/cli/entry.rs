//! The program: reads the command line, carries the command out, and returns an exit code.

use std::process::ExitCode;

use crate::cli::output;
use crate::cli::program::Program;
use crate::config::{environment, wants_json_log};
use crate::folder::files::remedy;
use crate::system::{check_descriptors, survive_signals};

/// Runs the program.
pub fn main() -> ExitCode {
    // Without a few more files the runtime cannot be made, by which limits are survived too.
    let descriptors = check_descriptors();
    if descriptors.is_ok() {
        survive_signals();
    }
    let program = match Program::read(std::env::args_os()) {
        Ok(program) => program,
        Err(error) => return ExitCode::from(output::print_usage(&error)),
    };
    // The error that ends a node is a line of its log; that of another command is for a person.
    let as_json = program.runs().is_some_and(|run| wants_json_log(&run.flags, environment));
    let done = match descriptors {
        Ok(()) => carry_out(program),
        Err(error) => {
            Err(anyhow::anyhow!("the program cannot start: {error}; {}", remedy(&error).unwrap_or("try again")))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::write_error(format_args!("{error:#}"), as_json);
            ExitCode::from(output::exit_code(&error))
        }
    }
}

fn carry_out(program: Program) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        let remedy =
            remedy(&error).unwrap_or("raise the limit of processes (ulimit -u, TasksMax), or end other programs");
        anyhow::anyhow!("cannot start the threads of the node: {error}; {remedy}")
    })?;
    let done = runtime.block_on(program.carry_out());
    // Threads that still read files have no reader, and may hang with the disk.
    runtime.shutdown_background();
    done
}
