//! The node's terminal: each line typed is broadcast, and what others broadcast is shown, once, with its sender and its time.
//!
//! Lines are read by a thread of their own, since a read can not be taken back; it ends with the process. A node in the background of a shell reads nothing,
//! else the system would stop it. What is shown goes through another thread, so that a standard output that nobody reads can not hold the node up; what does not
//! fit there is left out. Without a terminal nothing is read, unless it is asked for.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::events::stream::Events;
use crate::events::text::clean;
use crate::node::handle::{Node, NodeError};
use crate::protocol::BroadcastReceipt;
use crate::protocol::event::Event;
use crate::protocol::limits::BROADCAST_BYTES;

/// The line that ends the node.
pub const DISCONNECT: &str = "!DISCONNECT";
/// How many lines wait to be broadcast; then reading waits.
const TYPED_LINES: usize = 64;
/// How many lines wait for a standard output that nobody reads.
const SHOWN_LINES: usize = 1_000;
/// How long events are left where they are after some were taken: to be woken for each of them would cost a busy node more than the event does.
const REST: Duration = Duration::from_millis(20);
/// How often a node in the background looks whether it is in the foreground, once there is something to read.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Standard input and output of a node.
#[derive(Debug)]
pub struct Console {
    /// What is typed; `None` where nothing is read.
    lines: Option<mpsc::Receiver<Typed>>,
    events: Events,
    /// When events are looked at again.
    rested: Instant,
    out: NonBlocking,
    /// Writes what waits when it is dropped.
    _writer: WorkerGuard,
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// To say something to everybody.
    Text(String),
    /// To end the node; and how that was said.
    Leave(&'static str),
}

impl Console {
    /// Begins to read lines, if standard input is a terminal or `always` says so, and to show what the node is told.
    pub fn open(always: bool, node: &Node) -> Self {
        let (out, writer) = NonBlockingBuilder::default().buffered_lines_limit(SHOWN_LINES).finish(io::stdout());
        let lines = (always || io::stdin().is_terminal()).then(|| {
            let (sender, lines) = mpsc::channel(TYPED_LINES);
            std::thread::spawn(move || read_lines(Stdin, &sender));
            lines
        });
        Self { lines, events: node.events().without_transactions(), rested: Instant::now(), out, _writer: writer }
    }

    /// The next thing typed. Until it comes, what the node is told is shown. Cancel-safe.
    pub async fn typed(&mut self) -> Typed {
        loop {
            tokio::select! {
                typed = next(&mut self.lines) => return typed,
                event = rested(self.rested, &mut self.events) => match event {
                    Ok(event) => {
                        self.show_event(&event);
                        self.show_waiting();
                    }
                    Err(RecvError::Lagged(events)) => Self::warn_of_lag(events),
                    // The node has ended, and whoever waits for that as well is told so.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    /// Shows all that has come, and rests.
    fn show_waiting(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.show_event(&event),
                Err(TryRecvError::Lagged(events)) => Self::warn_of_lag(events),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.rested = Instant::now() + REST;
    }

    fn show_event(&mut self, event: &Event) {
        if let Some(line) = shown(event) {
            self.show(&line);
        }
    }

    fn warn_of_lag(events: u64) {
        tracing::warn!("{events} events came too fast to be shown");
    }

    /// Says what became of a text, if that is not what was hoped for.
    pub fn tell(&mut self, told: &Result<BroadcastReceipt, NodeError>) {
        match told {
            Ok(BroadcastReceipt { links: 0, .. }) => self.show("(no peer is linked: nobody else has it yet)"),
            Ok(_) => {}
            Err(error) => self.show(&format!("(not sent: {error})")),
        }
    }

    fn show(&mut self, line: &str) {
        // A line that does not fit is counted by the writer, and a standard output that is gone is nobody's fault here.
        self.out.write_all(format!("{line}\n").as_bytes()).unwrap_or_default();
    }
}

/// The next event, not before a moment. Cancel-safe.
async fn rested(moment: Instant, events: &mut Events) -> Result<Event, RecvError> {
    sleep_until(moment).await;
    events.recv().await
}

async fn next(lines: &mut Option<mpsc::Receiver<Typed>>) -> Typed {
    match lines {
        Some(lines) => lines.recv().await.unwrap_or(Typed::Leave("the end of the input")),
        None => std::future::pending().await,
    }
}

/// A broadcast of somebody else, as a line; nothing for any other event.
fn shown(event: &Event) -> Option<String> {
    let Event::Broadcast { broadcast, sender, peer: Some(_), .. } = event else { return None };
    let mut line = clock(broadcast.time);
    // A String takes all that is written to it.
    write!(line, " {sender}: {}", clean(&broadcast.message, BROADCAST_BYTES)).unwrap_or_default();
    Some(line)
}

/// The time of day, in UTC as in the log.
fn clock(time: f64) -> String {
    // What is no number, or before 1970, is shown as midnight.
    let second = time as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Standard input, read only while that does not stop the process.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if in_background(&stdin) {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            match rustix::io::read(&stdin, &mut *buffer) {
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

/// Whether standard input is a terminal that another job has: to read it would stop us.
fn in_background(stdin: &impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(stdin).is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

/// Hands on each line, until one says that it is the last, or there is no more.
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
        // The node may be ending already.
        lines.blocking_send(typed).unwrap_or_default();
    }
}

/// A line that is being typed. What can not be broadcast is kept up to where that shows.
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
    use crate::protocol::address::PeerAddress;
    use crate::protocol::event::PeerName;
    use crate::protocol::id::NodeId;
    use crate::protocol::wire::{Broadcast, BroadcastId};

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

    #[test]
    fn what_others_say_is_shown_on_one_line_and_can_not_steer_the_terminal() {
        let sender = PeerName { node: Some(NodeId([1; 32])), address: PeerAddress::new("localhost", 4_001).ok() };
        let event = |time, peer| Event::Broadcast {
            broadcast: Broadcast {
                id: BroadcastId([0; 32]),
                message: "a\u{1b}[2Jb\nc\u{202e}".into(),
                time,
                seal: None,
            },
            sender: sender.clone(),
            peer,
            links: 0,
        };
        let heard = event(1_700_000_000.5, Some(sender.clone()));
        assert_eq!(shown(&heard).as_deref(), Some("22:13:20 ws://localhost:4001 (01010101): ab c"));
        assert_eq!(shown(&event(0.0, None)), None, "what was typed here stands there already");
        for (time, text) in [(f64::NAN, "00:00:00"), (-1.0, "00:00:00"), (f64::MAX, "14:00:15"), (86_399.9, "23:59:59")]
        {
            let clock = clock(time);
            assert!(clock == text || time == f64::MAX && clock.len() == 8, "{time}: {clock}");
        }
    }
}
