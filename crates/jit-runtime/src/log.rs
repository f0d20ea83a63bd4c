//! The log of a process: its form, how much of it, and what becomes of a panic. Installed by a
//! binary when it starts; nothing else touches the process's log.

use std::fmt;

use jit_core::ports::Clock;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
pub use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::SystemClock;
use crate::config::LogFormat;

/// Which lines are written, as in `JIT_LOG=debug` or `JIT_LOG=info,jit_core=debug`.
const VARIABLE: &str = "JIT_LOG";

/// Begins the log, at this level unless `JIT_LOG` says otherwise: on standard error, but named
/// events on standard output, where whoever collects them looks.
///
/// From now on a panic is a line of the log that says where it was. What it says stays out of the
/// log, because it may quote what the process holds.
pub fn start(format: LogFormat, level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(VARIABLE);
    let mut filter = filter.from_env_lossy();
    // It has lines for every call, with what the client says its name is.
    if let Ok(quiet) = "rmcp=error".parse() {
        filter = filter.add_directive(quiet);
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Json => log.with_writer(std::io::stderr).json().init(),
        LogFormat::Text => log.with_writer(std::io::stderr).init(),
        LogFormat::Events => log.event_format(NamedEvents).init(),
    }
    panics_say_where(|place| {
        tracing::error!(place, "a panic; this is a mistake in the program");
    });
}

/// From now on this is what becomes of a panic. It is told where it was and not what it says, because
/// that may quote what the process holds.
pub fn panics_say_where(tell: fn(&str)) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        tell(&place.unwrap_or_default());
    }));
}

/// One JSON object per line, `{"ts":…,"level":…,"event":…}` and the fields beside them. What has no
/// name of its own is `error` where it is one, and else `log`.
struct NamedEvents;

impl<S, N> FormatEvent<S, N> for NamedEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut line = Line::default();
        line.set("ts", SystemClock.now().to_string());
        line.set("level", level.to_string().to_ascii_lowercase());
        line.set(
            "event",
            if level == Level::ERROR {
                "error"
            } else {
                "log"
            },
        );
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// The fields of a line.
#[derive(Default)]
struct Line(Map<String, Value>);

impl Line {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn e10_every_line_is_an_object_with_a_time_a_level_and_a_name() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(NamedEvents)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                event = "token_issued",
                tier = 1,
                resource = "grafana\n\"x\"",
                "made"
            );
            tracing::error!("no name");
            tracing::warn!(ok = false, "no name either");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect();
        let named =
            |name: &str| -> Vec<Value> { lines.iter().map(|it| it[name].clone()).collect() };
        assert_eq!(named("event"), ["token_issued", "error", "log"]);
        assert_eq!(named("level"), ["info", "error", "warn"]);
        assert_eq!(lines[0]["tier"], 1);
        assert_eq!(lines[0]["resource"], "grafana\n\"x\"");
        assert!(lines[0]["ts"].as_str().unwrap().ends_with('Z'));
    }
}
