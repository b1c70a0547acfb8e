//! What the binary writes outside of its log: results to stdout, and the error that ends it to
//! stderr. A full disk or a closed pipe is an error, not a panic.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stderr, stdout};

use crate::cli::logs_json;
use crate::config::{Flags, SettingsError, environment, wants_json_log};

/// Writes a result to standard output, all of it.
///
/// # Errors
/// One line that says so.
pub fn write_result(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        io::Error::new(error.kind(), format!("the result could not be written to standard output: {error}"))
    })
}

/// Writes the error that ends the process: as a line of text, or as a line of the JSON log.
pub fn write_error(error: impl Display, as_json: bool) {
    let line = match as_json {
        true => logs_json::line("error", &error.to_string()),
        false => format!("error: {error}\n"),
    };
    // There is nowhere else to report that this failed; the exit code remains.
    stderr().lock().write_all(line.as_bytes()).unwrap_or_default();
}

/// Prints help, version, or what is wrong with the command line. Returns the exit code.
pub fn print_usage(error: &clap::Error) -> u8 {
    let flags = Flags::default();
    if error.use_stderr() && wants_json_log(&flags, environment) {
        write_error(error.render().to_string().trim().trim_start_matches("error: "), true);
        return 2;
    }
    // Only a terminal gets clap's colours.
    let printed = match error.use_stderr() || stdout().is_terminal() {
        true => error.print(),
        false => write_result(&error.render().to_string()),
    };
    match printed {
        _ if error.use_stderr() => 2,
        Ok(()) => 0,
        Err(error) => {
            write_error(error, false);
            1
        }
    }
}

/// Returns the exit code of an error: 2 for a wrong command line.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<SettingsError>().is_some_and(SettingsError::is_usage) { 2 } else { 1 }
}
