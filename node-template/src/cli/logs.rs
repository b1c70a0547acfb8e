//! The log of the binary: one short line per event, to stderr. Results go to stdout.
//!
//! A line has the time in UTC, the level unless it is `info`, and the text:
//! `2026-11-28T12:34:56.789Z linked to …`. UTC makes the logs of several machines comparable.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::cli::logs_json::{JsonLine, rfc_3339};
use crate::node::operator::SetLevel;
use crate::system::allow_colour;

/// Lines that wait for stderr (a stopped terminal, a full pipe); further ones are dropped, so that
/// the log never blocks the node.
const WAITING_LINES: usize = 10_000;

/// Keeps the log running. Dropping it writes the waiting lines.
#[must_use = "dropping it ends the log"]
#[derive(Debug)]
pub(crate) struct Log {
    _writer: WorkerGuard,
}

/// Starts the log of the process, down to `level`: as text, in colour if stderr is a terminal or
/// the environment wants it, or as JSON, one object per line. Returns what changes the level later.
///
/// # Errors
/// The process has a log already.
pub(crate) fn init_logs(level: Level, as_json: bool) -> Result<(Log, SetLevel), TryInitError> {
    let environment = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).finish(stderr());
    let (filter, handle) = reload::Layer::new(targets(level));
    let log = tracing_subscriber::registry().with(filter);
    if as_json {
        // The default hook writes text.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        let lines = JsonLine { now: SystemTime::now };
        log.with(fmt::layer().with_writer(writer).event_format(lines)).try_init()?;
    } else {
        let colour = colour(stderr().is_terminal(), environment) && allow_colour();
        let lines = Line { now: SystemTime::now };
        log.with(fmt::layer().with_writer(writer).with_ansi(colour).event_format(lines)).try_init()?;
    }
    let set_level = move |level| handle.reload(targets(level)).map_err(|error| error.to_string());
    Ok((Log { _writer: guard }, Arc::new(set_level)))
}

/// What is logged. Libraries write for their own developers, and some of them what strangers sent.
fn targets(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::OFF).with_target("meshpool", level).with_target("meshpool_proto", level)
}

/// Logs a line that a log down to `level` has: at info, or at `level` if that is less detailed.
pub(crate) fn show(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!("{line}"),
        Level::WARN => tracing::warn!("{line}"),
        _ => tracing::info!("{line}"),
    }
}

/// Returns whether to write in colour. `is_set`: whether a variable is set, and not to 0. See
/// no-color.org and force-color.org.
fn colour(terminal: bool, is_set: impl Fn(&str) -> bool) -> bool {
    !is_set("NO_COLOR") && (terminal || is_set("FORCE_COLOR") || is_set("CLICOLOR_FORCE"))
}

/// The format of a line. Tests set the clock.
struct Line {
    now: fn() -> SystemTime,
}

impl<S, F> FormatEvent<S, F> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, F>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let (dim, level_colour, end) = match (writer.has_ansi_escapes(), *event.metadata().level()) {
            (false, _) => ("", "", ""),
            (true, Level::ERROR) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[2m", "\x1b[0m"),
        };
        write!(writer, "{dim}{}{end} ", rfc_3339((self.now)()))?;
        match *event.metadata().level() {
            Level::INFO => {}
            level => write!(writer, "{level_colour}{}{end} ", level.as_str())?,
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[derive(Clone, Default)]
    pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what `log` writes, down to debug, with the clock at 1970-01-04T12:34:56.789Z.
    pub(crate) fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let now = || UNIX_EPOCH + Duration::from_millis(3 * 86_400_000 + 45_296_789);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .with_ansi(ansi)
            .event_format(Line { now })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        sink.text()
    }

    #[test]
    fn a_line_has_time_level_and_text() {
        let lines = logged(false, || {
            tracing::info!("linked");
            tracing::warn!("slow");
            tracing::error!("full");
            tracing::debug!(link = 7, "odd");
            tracing::trace!("not asked for");
        });
        assert_eq!(
            lines,
            "1970-01-04T12:34:56.789Z linked\n1970-01-04T12:34:56.789Z WARN slow\n\
             1970-01-04T12:34:56.789Z ERROR full\n1970-01-04T12:34:56.789Z DEBUG odd link=7\n"
        );
    }

    #[test]
    fn colours_end_after_their_part() {
        let lines = logged(true, || tracing::warn!("slow"));
        assert_eq!(lines, "\x1b[2m1970-01-04T12:34:56.789Z\x1b[0m \x1b[33mWARN\x1b[0m slow\n");
    }

    #[test]
    fn colour_follows_the_terminal_and_the_environment() {
        for (terminal, set, expected) in [
            (true, "", true),
            (false, "", false),
            (false, "FORCE_COLOR", true),
            (false, "CLICOLOR_FORCE", true),
            (true, "NO_COLOR", false),
            (false, "NO_COLOR FORCE_COLOR", false),
        ] {
            assert_eq!(colour(terminal, |name| set.split(' ').any(|one| one == name)), expected, "{terminal} {set}");
        }
    }
}
