//! What commands share in writing to a terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::events::text;

/// The most characters of a foreign text in a line.
const CHARACTERS: usize = 4_096;

/// Prints a result of one or more lines. It is no failure if nobody reads any more (`status |
/// head`), but a full disk is.
///
/// # Errors
/// One line that says so.
pub fn print(text: impl AsRef<str>) -> io::Result<()> {
    print_text(&(text.as_ref().to_owned() + "\n"))
}

/// As [`print`], without a line break at the end.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(unwritten),
    }
}

/// Prints a line of progress, a warning or an error on standard error. Where nobody can read it,
/// there is nobody to report that to.
pub fn write_note(text: impl Display) {
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

/// Returns the error of a result that cannot be written.
pub(crate) fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the result could not be written to standard output: {error}"))
}

/// Returns foreign text as one line that cannot steer the terminal.
pub fn strip_control(text: &str) -> String {
    text::strip_control_max(text, CHARACTERS)
}

/// Whether a stream takes colour: it is a terminal, and NO_COLOR is not set
/// (<https://no-color.org>).
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns a parser for numbers in a range, with an error that shows an example.
pub fn number<T>(range: RangeInclusive<T>, such_as: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone
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
pub fn plural(number: usize, noun: &str) -> String {
    text::plural(number as u64, noun, &format!("{noun}s"))
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
    fn foreign_text_can_not_steer() {
        assert_eq!(strip_control("a\u{1b}[31mb\nc\u{9b}d"), "ab c");
        assert_eq!(strip_control(&"x".repeat(5_000)).chars().count(), CHARACTERS);
    }

    #[test]
    fn spans() {
        let spans = [(0, "0s"), (59, "59s"), (60, "1m 00s"), (3_600, "1h 00m"), (90_061, "1d 01h")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((plural(1, "link"), plural(2, "link")), ("1 link".to_owned(), "2 links".to_owned()));
    }
}
