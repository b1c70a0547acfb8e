//! What tasks share in writing to a terminal and reading arguments.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Prints a result of one or more lines. It is no failure if nobody reads any more (`status |
/// head`), but a full disk is.
pub(crate) fn print(text: impl AsRef<str>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all((text.as_ref().to_owned() + "\n").as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(unwritten),
    }
}

/// Prints a line of progress, a warning or an error on standard error. Where nobody can read it,
/// there is nobody to report that to.
pub(crate) fn write_note(text: impl Display) {
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

/// As [`write_note`], with the arguments of `format!`. `eprintln!` would panic.
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

fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the result could not be written to standard output: {error}"))
}

/// Returns foreign text on one line without control characters, so that it cannot steer the
/// terminal.
pub(crate) fn strip_control(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Whether a stream takes colour: it is a terminal, and NO_COLOR is not set
/// (<https://no-color.org>).
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The most nodes that one command makes or starts.
const MANY: u32 = 1_000;

/// Reads a number of nodes. clap's own error is "invalid digit found in string", which helps
/// nobody.
pub(crate) fn node_count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MANY).contains(number));
    number.ok_or_else(|| format!("write how many nodes as a whole number from 1 to {MANY}, as in 3"))
}

/// Returns a parser for numbers in a range, with an error that shows an example.
pub(crate) fn number<T>(range: RangeInclusive<T>, such_as: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("write a whole number from {least} to {most}, as in {such_as}"))
    }
}

/// Returns a number with its noun: "1 link", "2 links".
pub(crate) fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Formats a duration in seconds: 59s, 3m 05s, 2h 00m, 4d 01h.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
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

    #[test]
    fn foreign_text_can_not_steer() {
        assert_eq!(strip_control("a\u{1b}[31mb\nc\u{9b}d"), "a [31mb c d");
    }

    #[test]
    fn spans() {
        let spans = [(0, "0s"), (59, "59s"), (60, "1m 00s"), (3_600, "1h 00m"), (90_061, "1d 01h")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }
}
