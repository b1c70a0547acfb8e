//! The console.

use std::io::{self, Read};

/// Standard input. A process in the background has none of its own.
#[derive(Debug)]
pub struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::stdin().lock().read(buffer)
    }
}

/// Has the console show colours, and returns whether it does. Those before Windows 10 cannot.
pub fn allow_colour() -> bool {
    anstyle_query::windows::enable_ansi_colors().unwrap_or(true)
}
