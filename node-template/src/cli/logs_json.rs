//! The log for programs: one JSON object per line, with `time` (RFC 3339, UTC), `level`, `message`
//! and the event's other fields.
//!
//! `tracing_subscriber`'s JSON formatter is not used: it can neither name the time `time` nor write
//! levels in lower case, and log readers rely on both.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use time::UtcDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of a line. Tests set the clock.
pub(crate) struct JsonLine {
    pub(crate) now: fn() -> SystemTime,
}

impl<S, F> FormatEvent<S, F> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, F>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        line.insert("time".to_owned(), rfc_3339((self.now)()).into());
        line.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Returns a line outside of the log: the error that ends the process.
pub(crate) fn line(level: &str, message: &str) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), rfc_3339(SystemTime::now()).into());
    line.insert("level".to_owned(), level.into());
    line.insert("message".to_owned(), message.into());
    format!("{}\n", Value::Object(line))
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

/// Formats a time as `2026-11-21T13:51:15.387Z`.
pub(crate) fn rfc_3339(time: SystemTime) -> String {
    let time = UtcDateTime::from(time);
    let (hour, minute, second, millis) = time.as_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", time.date())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::cli::logs::tests::Sink;

    #[test]
    fn a_line_is_one_object_whatever_it_contains() {
        let sink = Sink::default();
        let writer = sink.clone();
        let now = || UNIX_EPOCH + Duration::from_millis(1_763_733_075_007);
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).event_format(JsonLine { now }).finish();
        tracing::subscriber::with_default(subscriber, || tracing::warn!(link = 7_u64, "a \"quote\"\nand a line"));
        assert_eq!(
            sink.text(),
            "{\"time\":\"2025-11-21T13:51:15.007Z\",\"level\":\"warn\",\"message\":\"a \\\"quote\\\"\\nand a line\",\"link\":7}\n"
        );
    }
}
