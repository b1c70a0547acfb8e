//! Who says what: every line under the name of its node, in that node's colour.

use std::io::{self, Write};

use crate::support::terminal;

/// The nodes' colours, in turn: those that are legible on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Where a line goes: as the node wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Words lines for all nodes of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice {
    width: usize,
    out: bool,
    error: bool,
}

/// The voice of one node.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    name: String,
    colour: u8,
    voice: Voice,
}

impl Voice {
    pub(crate) fn new(nodes: u32) -> Self {
        let width = format!("node-{nodes}").len();
        Self { width, out: terminal::colour(&io::stdout()), error: terminal::colour(&io::stderr()) }
    }

    pub(crate) fn of(self, number: u32) -> Speaker {
        let turn = number.saturating_sub(1) as usize % COLOURS.len();
        Speaker { name: format!("node-{number}"), colour: COLOURS[turn], voice: self }
    }

    /// Says something ourselves, on standard error, as one block.
    pub(crate) fn say(self, text: &str) {
        let speaker = Speaker { name: "up".to_owned(), colour: 1, voice: self };
        let lines: String = text.lines().map(|line| speaker.word(line, self.error)).collect();
        write(&mut io::stderr().lock(), &lines);
    }
}

impl Speaker {
    pub(crate) fn say(&self, stream: Stream, line: &str) {
        match stream {
            Stream::Out => write(&mut io::stdout().lock(), &self.word(line, self.voice.out)),
            Stream::Error => write(&mut io::stderr().lock(), &self.word(line, self.voice.error)),
        }
    }

    fn word(&self, line: &str, colour: bool) -> String {
        let (name, width, line) = (&self.name, self.voice.width, terminal::plain(line));
        match colour {
            true => format!("\u{1b}[{}m{name:<width$} |\u{1b}[0m {line}\n", self.colour),
            false => format!("{name:<width$} | {line}\n"),
        }
    }
}

/// One write per line, so that lines of different nodes do not mix.
fn write(stream: &mut impl Write, text: &str) {
    // Nobody may be reading any more (`up | head`): the nodes go on all the same, and Ctrl+C still stops them.
    drop(stream.write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bear_their_nodes_name() {
        let voice = Voice { width: 7, out: false, error: false };
        assert_eq!(voice.of(1).word("a\u{7}b", false), "node-1  | a b\n");
        assert_eq!(voice.of(10).word("x", true), "\u{1b}[35mnode-10 |\u{1b}[0m x\n");
    }
}
