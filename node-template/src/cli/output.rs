//! What the binary writes outside of its log: results to stdout, and the error that ends it to
//! stderr. A full disk or a closed pipe is an error, not a panic.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;

use crate::cli::init::UnusableNetwork;
use crate::cli::logs_json;
use crate::cli::peers::NoPort;
use crate::cli::terminal::print_text;
use crate::config::{Flags, SettingsError, environment, wants_json_log};
use crate::node::invite::InvalidInvite;
use crate::protocol::address::InvalidAddress;

/// Writes the error that ends the process: as a line of text, or as a line of the JSON log.
pub(crate) fn write_error(error: impl Display, as_json: bool) {
    let line = match as_json {
        true => logs_json::line("error", &error.to_string()),
        false => format!("error: {error}\n"),
    };
    // There is nowhere else to report that this failed; the exit code remains.
    stderr().lock().write_all(line.as_bytes()).unwrap_or_default();
}

/// Prints help, version, or what is wrong with the command line. Returns the exit code.
pub(crate) fn print_usage(error: &clap::Error) -> u8 {
    let flags = Flags { folder: named_folder(std::env::args_os()), ..Flags::default() };
    if error.use_stderr() && wants_json_log(&flags, environment) {
        write_error(error.render().to_string().trim().trim_start_matches("error: "), true);
        return 2;
    }
    // Only a terminal gets clap's colours.
    let printed = match error.use_stderr() || stdout().is_terminal() {
        true => error.print(),
        false => print_text(&error.render().to_string()),
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

/// Returns the folder of `--folder` from a command line that could not be read as a whole: its
/// `.env` says how errors are written.
fn named_folder(mut words: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    loop {
        let word = words.next()?;
        if word == "--folder" {
            return words.next().map(PathBuf::from);
        }
        if let Some(folder) = word.to_str().and_then(|word| word.strip_prefix("--folder=")) {
            return Some(folder.into());
        }
    }
}

/// Returns the exit code of an error: 2 for a wrong command line, which only arguments with an
/// invite, an address or a network's name are beside the settings.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.downcast_ref::<SettingsError>().is_some_and(SettingsError::is_usage)
        || error.is::<InvalidInvite>()
        || error.is::<InvalidAddress>()
        || error.is::<NoPort>()
        || error.is::<UnusableNetwork>();
    if is_usage { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_found_in_any_command_line() {
        let folder = |words: &str| named_folder(words.split(' ').map(OsString::from));
        for words in ["meshpool --bogus --folder x", "meshpool --folder=x --bogus", "meshpool --port --folder x y"] {
            assert_eq!(folder(words), Some("x".into()), "{words}");
        }
        assert_eq!((folder("meshpool --bogus"), folder("meshpool --folder")), (None, None));
    }
}
