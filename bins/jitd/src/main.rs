//! The daemon's process: its arguments, its log, its exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jit_core::Ttl;
use jit_core::engine::ClockTrust;
use jit_runtime::config::{Config, Environment, LogFormat};
use jit_runtime::daemon::{Daemon, signalled};
use jit_runtime::log::{self, LevelFilter};
use jitd::demo;

/// Just-in-time privileged access: people ask, others decide, the clock takes it away
#[derive(Debug, Parser)]
#[command(name = "jitd", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGINT or SIGTERM
    Run {
        /// The configuration file
        #[arg(
            long,
            env = "JIT_CONFIG",
            value_name = "FILE",
            default_value = "jit.toml"
        )]
        config: PathBuf,
        /// Believe the clock of this machine, whatever instants other processes wrote
        #[arg(long)]
        trust_clock: bool,
    },
    /// Try everything on this machine, in a temporary folder that is removed at the end
    Demo {
        /// Play the whole story and end, instead of serving until Ctrl-C
        #[arg(long)]
        play: bool,
        /// How long the access lasts; 5s with --play, 2m without
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Ttl>,
    },
    /// Write a commented configuration to begin with
    Init {
        /// Where to; it must not exist
        #[arg(value_name = "FILE", default_value = "jit.toml")]
        file: PathBuf,
    },
}

const EXIT_CODES: &str = "The log goes to standard error; JIT_LOG sets how much of it, as in \
                          JIT_LOG=debug.\n\nExit codes: 0 stopped by a signal, or done; 1 could \
                          not start or go on, or the played demo failed; 2 wrong arguments.";

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().verb).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jitd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> anyhow::Result<()> {
    let stop = signalled()?;
    match verb {
        Verb::Run {
            config,
            trust_clock,
        } => {
            let config = Config::read(&config, &Environment::of_process())?;
            log::start(config.log.format, LevelFilter::INFO);
            let trust = match trust_clock {
                true => ClockTrust::Trusted,
                false => ClockTrust::Compared,
            };
            let daemon = Daemon::start(config, trust).await?;
            let (api, observe) = (daemon.api_address()?, daemon.observe_address()?);
            tracing::info!(%api, %observe, "serving");
            Ok(daemon.run(stop).await?)
        }
        Verb::Demo { play, ttl } => {
            log::start(LogFormat::Text, LevelFilter::WARN);
            let mut out = std::io::stdout();
            match play {
                true => demo::play(ttl, &mut out, stop).await,
                false => demo::serve(ttl, &mut out, stop).await,
            }
        }
        Verb::Init { file } => jitd::init(&file),
    }
}
