//! The log of a process: its form, how much of it, and what becomes of a panic. Installed by a
//! binary when it starts; nothing else touches the process's log.

use tracing_subscriber::EnvFilter;
pub use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;

/// Which lines are written, as in `JIT_LOG=debug` or `JIT_LOG=info,jit_core=debug`.
const VARIABLE: &str = "JIT_LOG";

/// Begins the log on standard error, at this level unless `JIT_LOG` says otherwise.
///
/// From now on a panic is a line of the log that says where it was. What it says stays out of the
/// log, because it may quote what the process holds.
pub fn start(format: LogFormat, level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(VARIABLE);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic; this is a mistake in the program");
    }));
}
