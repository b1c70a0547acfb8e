//! The node's terminal: typed lines are broadcast, and broadcasts of other nodes are shown with
//! sender and time, within the limits of `broadcast_lines`.
//!
//! A thread of its own reads the lines, since a read cannot be cancelled; it ends with the process.
//! A node in the background of a shell does not read, because the system would stop it. Another
//! thread writes, so that an unread standard output does not block the node; lines that do not fit
//! its queue are dropped. Without a terminal nothing is read, unless `--stdin` is given.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::cli::broadcast_lines::{BroadcastLines, Config};
use crate::events::stream::{Events, RecvError, TryRecvError};
use crate::node::handle::{Node, NodeError};
use crate::protocol::BroadcastReceipt;
use crate::protocol::event::Event;
use crate::protocol::limits::BROADCAST_BYTES;
use crate::system::Stdin;

/// The line that ends the node.
pub(crate) const DISCONNECT: &str = "!DISCONNECT";
/// Typed lines that wait to be broadcast; then reading waits.
const TYPED_LINES: usize = 64;
/// Lines that wait for standard output; further ones are dropped.
const OUTPUT_LINES: usize = 1_000;
/// The pause after reading events: waking for each one would cost a busy node more than the event.
const REST: Duration = Duration::from_millis(20);

/// Standard input and output of a node.
#[derive(Debug)]
pub(crate) struct Console {
    /// Typed input; `None` if nothing is read.
    lines: Option<mpsc::Receiver<Typed>>,
    events: Events,
    /// The end of the pause in reading events.
    rest_until: Instant,
    broadcasts: BroadcastLines,
    out: NonBlocking,
    /// Writes the waiting lines when it is dropped.
    _writer: WorkerGuard,
}

/// Typed input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A text to broadcast.
    Text(String),
    /// The end of the node, with its cause.
    Leave(&'static str),
}

impl Console {
    /// Starts to read lines, if standard input is a terminal or if `always`, and to show
    /// broadcasts.
    pub(crate) fn open(always: bool, node: &Node) -> Self {
        let (out, writer) = NonBlockingBuilder::default().buffered_lines_limit(OUTPUT_LINES).finish(io::stdout());
        let lines = (always || io::stdin().is_terminal()).then(|| {
            let (sender, lines) = mpsc::channel(TYPED_LINES);
            std::thread::spawn(move || read_lines(Stdin, &sender));
            lines
        });
        Self {
            lines,
            events: node.events().without_transactions(),
            rest_until: Instant::now(),
            broadcasts: BroadcastLines::new(Config::of(io::stdout().is_terminal())),
            out,
            _writer: writer,
        }
    }

    /// Waits for typed input, and shows broadcasts until it comes. Cancel-safe.
    pub(crate) async fn typed(&mut self) -> Typed {
        loop {
            let count_due = self.broadcasts.deadline();
            tokio::select! {
                typed = next(&mut self.lines) => return typed,
                event = next_event(self.rest_until, &mut self.events) => match event {
                    Ok(event) => {
                        self.show_event(&event);
                        self.show_waiting();
                    }
                    Err(RecvError::Lagged(events)) => self.broadcasts.on_missed(std::time::Instant::now(), events),
                    // The node has ended, which the caller waits for too.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                () = until(count_due) => {
                    for line in self.broadcasts.take_due(std::time::Instant::now()) {
                        self.show(&line);
                    }
                }
            }
        }
    }

    /// Shows all events that wait, and starts a pause.
    fn show_waiting(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.show_event(&event),
                Err(TryRecvError::Lagged(events)) => self.broadcasts.on_missed(std::time::Instant::now(), events),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.rest_until = Instant::now() + REST;
    }

    fn show_event(&mut self, event: &Event) {
        if let Some(line) = self.broadcasts.line(std::time::Instant::now(), event) {
            self.show(&line);
        }
    }

    /// Shows the result of a broadcast that reached no peer.
    pub(crate) fn show_result(&mut self, result: &Result<BroadcastReceipt, NodeError>) {
        match result {
            Ok(BroadcastReceipt { links: 0, .. }) => self.show("(no peer is linked: no other node has it yet)"),
            Ok(_) => {}
            Err(error) => self.show(&format!("(not sent: {error})")),
        }
    }

    fn show(&mut self, line: &str) {
        // The writer drops lines that do not fit. A closed standard output is no error of the node.
        self.out.write_all(format!("{line}\n").as_bytes()).unwrap_or_default();
    }
}

/// Waits until `after`, and then for the next event. Cancel-safe.
async fn next_event(after: Instant, events: &mut Events) -> Result<Event, RecvError> {
    sleep_until(after).await;
    events.recv().await
}

async fn next(lines: &mut Option<mpsc::Receiver<Typed>>) -> Typed {
    match lines {
        Some(lines) => lines.recv().await.unwrap_or(Typed::Leave("the end of the input")),
        None => std::future::pending().await,
    }
}

/// Waits until a time; for ever without one. Cancel-safe.
async fn until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Sends each line, up to the one that ends the node or the end of the input.
fn read_lines(mut source: impl Read, lines: &mpsc::Sender<Typed>) {
    let mut buffer = [0; 4_096];
    let mut line = Line::default();
    while let Ok(length @ 1..) = source.read(&mut buffer) {
        for byte in &buffer[..length] {
            let Some(typed) = line.push(*byte) else { continue };
            if lines.blocking_send(typed.clone()).is_err() || matches!(typed, Typed::Leave(_)) {
                return;
            }
        }
    }
    if let Some(typed) = line.push(b'\n') {
        // Fails if the node is ending already.
        lines.blocking_send(typed).unwrap_or_default();
    }
}

/// A partial line. Of one that is too long for a broadcast, just enough is kept to see that.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    fn push(&mut self, byte: u8) -> Option<Typed> {
        if byte != b'\n' {
            if self.0.len() <= BROADCAST_BYTES {
                self.0.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.0);
        let text = String::from_utf8_lossy(&line);
        match text.trim() {
            "" => None,
            DISCONNECT => Some(Typed::Leave(DISCONNECT)),
            text => Some(Typed::Text(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(input: &[u8]) -> Vec<Typed> {
        let (sender, mut lines) = mpsc::channel(TYPED_LINES);
        read_lines(input, &sender);
        drop(sender);
        std::iter::from_fn(|| lines.blocking_recv()).collect()
    }

    #[test]
    fn each_line_is_a_text_until_the_last() {
        let text = |text: &str| Typed::Text(text.to_owned());
        assert_eq!(typed(b"one\r\n\n  two \nthree"), [text("one"), text("two"), text("three")]);
        assert_eq!(typed(b"one\n!DISCONNECT\ntwo\n"), [text("one"), Typed::Leave(DISCONNECT)]);
        assert_eq!(typed(b"\xff\n"), [text("\u{fffd}")]);
        let long = typed(&vec![b'x'; 100_000]);
        assert!(matches!(&long[..], [Typed::Text(text)] if text.len() == BROADCAST_BYTES + 1), "kept as too long");
    }
}
