//! Lines for people and programs. `println!` and `eprintln!` panic where nobody reads.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::exit;

/// Prints a line of a result to standard output. Where it cannot be written there is no result: the
/// process ends with 1, and says why.
pub fn print(line: impl Display) {
    let mut stdout = stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        note(format_args!("error: the result could not be written to standard output: {error}"));
        exit(1);
    }
}

/// Prints a line of progress or an error to standard error. Where nobody can read it, there is
/// nobody to report that to.
pub fn note(line: impl Display) {
    drop(writeln!(stderr().lock(), "{line}"));
}
