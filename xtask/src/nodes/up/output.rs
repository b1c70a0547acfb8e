//! The output of all nodes, each line after the name of its node in the node's colour.

use std::io::{self, Write};

use crate::support::terminal;

/// The nodes' colours, in turn: legible on a dark and on a light background.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The stream of a line, as the node wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Prints the lines of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    width: usize,
    out: bool,
    error: bool,
}

/// Prints the lines of one node.
#[derive(Debug, Clone)]
pub(crate) struct NodeOutput {
    name: String,
    colour: u8,
    output: Output,
}

impl Output {
    pub(crate) fn new(nodes: u32) -> Self {
        let width = format!("node-{nodes}").len();
        Self { width, out: terminal::colour(&io::stdout()), error: terminal::colour(&io::stderr()) }
    }

    pub(crate) fn of(self, number: u32) -> NodeOutput {
        let turn = number.saturating_sub(1) as usize % COLOURS.len();
        NodeOutput { name: format!("node-{number}"), colour: COLOURS[turn], output: self }
    }

    /// Prints a message of our own on standard error, as one block.
    pub(crate) fn print(self, text: &str) {
        let output = NodeOutput { name: "up".to_owned(), colour: 1, output: self };
        let lines: String = text.lines().map(|line| output.prefixed(line, self.error)).collect();
        write(&mut io::stderr().lock(), &lines);
    }
}

impl NodeOutput {
    pub(crate) fn print(&self, stream: Stream, line: &str) {
        match stream {
            Stream::Out => write(&mut io::stdout().lock(), &self.prefixed(line, self.output.out)),
            Stream::Error => write(&mut io::stderr().lock(), &self.prefixed(line, self.output.error)),
        }
    }

    fn prefixed(&self, line: &str, colour: bool) -> String {
        let (name, width, line) = (&self.name, self.output.width, terminal::strip_control(line));
        match colour {
            true => format!("\u{1b}[{}m{name:<width$} |\u{1b}[0m {line}\n", self.colour),
            false => format!("{name:<width$} | {line}\n"),
        }
    }
}

/// Writes a line at once, so that lines of different nodes do not mix.
fn write(stream: &mut impl Write, text: &str) {
    // If nobody reads any more (`up | head`), the nodes run on, and Ctrl+C still stops them.
    drop(stream.write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bear_their_nodes_name() {
        let output = Output { width: 7, out: false, error: false };
        assert_eq!(output.of(1).prefixed("a\u{7}b", false), "node-1  | ab\n");
        assert_eq!(output.of(10).prefixed("x", true), "\u{1b}[35mnode-10 |\u{1b}[0m x\n");
    }
}
