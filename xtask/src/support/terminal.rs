//! What tasks share in writing to a terminal and reading arguments.

use std::fmt;
use std::io::{self, IsTerminal};

use meshpool::protocol::address::InvalidAddress;

pub(crate) use meshpool::binary::terminal::{colour, number, plural, print, strip_control, write_note};

/// As `write_note`, with the arguments of `format!`. `eprintln!` would panic.
macro_rules! note {
    ($($argument:tt)*) => { $crate::support::terminal::write_note(format_args!($($argument)*)) };
}
pub(crate) use note;

/// Prints help, version, or what is wrong with the command line. Returns the exit code.
pub(crate) fn print_usage(error: &clap::Error) -> u8 {
    // Only a terminal gets clap's colours.
    let printed = match error.use_stderr() || io::stdout().is_terminal() {
        true => error.print(),
        false => print(error.render().to_string().trim_end()),
    };
    match printed {
        _ if error.use_stderr() => 2,
        Ok(()) => 0,
        Err(error) => {
            note!("error: {error}");
            1
        }
    }
}

/// An argument that cannot be used, which shows only while the task runs.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Returns the exit code of an error: 2 for wrong usage.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.is::<WrongUsage>() || error.is::<meshpool::InvalidInvite>() || error.is::<InvalidAddress>();
    if is_usage { 2 } else { 1 }
}

/// The most nodes that one command makes or starts.
const MANY: u32 = 1_000;

/// Reads a number of nodes. clap's own error is "invalid digit found in string", which helps
/// nobody.
pub(crate) fn node_count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MANY).contains(number));
    number.ok_or_else(|| format!("write how many nodes as a whole number from 1 to {MANY}, as in 3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_nodes_is_read_or_its_remedy_named() {
        assert_eq!((node_count("1"), node_count("1000")), (Ok(1), Ok(1_000)));
        for text in ["abc", "x", "", "0", "-1", "1001", "2.5", "99999999999"] {
            let error = node_count(text).expect_err(text);
            assert_eq!(error, "write how many nodes as a whole number from 1 to 1000, as in 3");
        }
    }

    #[test]
    fn a_number_is_read_or_its_remedy_named() {
        let read = number(2..=1_000_u32, "10");
        assert_eq!((read("2"), read("1000")), (Ok(2), Ok(1_000)));
        for text in ["x", "", "1", "1001", "-3", "1e2"] {
            assert_eq!(read(text), Err("write a whole number from 2 to 1000, as in 10".to_owned()), "{text}");
        }
    }
}
