//! The sweeper's process: its arguments, its log, its exit code. It pays what is due, once or for
//! ever, whether a daemon runs beside it or not.

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use jit_core::engine::ClockTrust;
use jit_runtime::config::{Config, Environment};
use jit_runtime::daemon::{Pass, Sweeper, block_on, signalled};
use jit_runtime::log::{self, LevelFilter};

/// Many small texts on several threads (ADR 30).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ends access that is due to end, and does whatever else the store says is due
///
/// It uses the configuration and the store of jitd and needs no jitd to run. Any number of both may
/// run at once.
#[derive(Debug, Parser)]
#[command(name = "jit-sweeper", version, after_help = EXIT_CODES)]
struct Arguments {
    /// The configuration file
    #[arg(
        long,
        env = "JIT_CONFIG",
        value_name = "FILE",
        default_value = "jit.toml"
    )]
    config: PathBuf,
    /// Pay what is due now and end; otherwise go on until SIGINT or SIGTERM
    #[arg(long)]
    once: bool,
    /// Believe the clock of this machine, whatever instants other processes wrote
    #[arg(long)]
    trust_clock: bool,
    /// With --once: print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "The log goes to standard error; JIT_LOG sets how much of it, as in \
                          JIT_LOG=debug.\n\nExit codes: 0 all that was due is paid, or stopped by \
                          a signal; 1 some records failed and will be tried by the next pass, or \
                          access is overdue all the same, or the sweeper could not work at all; 2 \
                          wrong arguments.";

fn main() -> ExitCode {
    let ended = block_on(run(Arguments::parse()));
    match ended.unwrap_or_else(|error| Err(error.into())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jit-sweeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = signalled()?;
    let config = Config::read(&arguments.config, &Environment::of_process())?;
    log::start(config.log.format, LevelFilter::INFO);
    let trust = match arguments.trust_clock {
        true => ClockTrust::Trusted,
        false => ClockTrust::Compared,
    };
    let mut sweeper = Sweeper::start(config, trust).await?;
    if !arguments.once {
        tracing::info!("sweeping until told to stop");
        sweeper.run(stop).await;
        return Ok(ExitCode::SUCCESS);
    }
    let pass = sweeper.once().await?;
    let Pass {
        tended,
        failed,
        overdue,
        clock_off_by_seconds: off_by,
    } = pass;
    let line = match arguments.json {
        true => serde_json::to_string(&pass)?,
        false => {
            let swept =
                format!("swept: {tended} tended, {failed} of them failed, {overdue} overdue");
            match off_by {
                0 => swept,
                _ => format!("{swept}; the clock of this host is off by {off_by} s"),
            }
        }
    };
    // The exit code says how it went, also where nobody reads the line.
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    // Whoever is behind learns nothing of the time that passes between two passes.
    Ok(match (failed + overdue, off_by) {
        (0, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
