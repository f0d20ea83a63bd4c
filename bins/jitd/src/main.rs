//! The daemon's process: its arguments, its log, its exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jit_core::Ttl;
use jit_runtime::config::LogFormat;
use jit_runtime::daemon::{block_on, signalled};
use jit_runtime::log::{self, LevelFilter};
use jit_runtime::operate::{DynamoDbVerb, SlackVerb};
use jitd::{Run, demo};

/// Many small texts on several threads (ADR 30).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Run(Run),
    /// Try everything on this machine, in a temporary folder that is removed at the end
    Demo {
        /// Play the whole story and end, instead of serving until Ctrl-C
        #[arg(long)]
        play: bool,
        /// How long the access lasts; 5s with --play, 2m without
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Ttl>,
    },
    /// Make the app in Slack, and see that it is as it should be
    #[command(subcommand)]
    Slack(SlackVerb),
    /// Make the table of a store in DynamoDB
    #[command(name = "dynamodb", subcommand)]
    DynamoDb(DynamoDbVerb),
    /// Write a commented configuration to begin with
    Init {
        /// Where to; it must not exist
        #[arg(value_name = "FILE", default_value = "jit.toml")]
        file: PathBuf,
    },
}

const EXIT_CODES: &str = "The log goes to standard error; JIT_LOG sets how much of it, as in \
    JIT_LOG=debug.\n\nExit codes: 0 stopped by a signal, or done; 1 could not start or go on, the \
    played demo failed, or slack check found something wrong; 2 wrong arguments.";

fn main() -> ExitCode {
    let ran = block_on(run(Arguments::parse().verb)).unwrap_or_else(|error| Err(error.into()));
    ran.unwrap_or_else(|error| {
        eprintln!("jitd: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match verb {
        Verb::Run(run) => jitd::serve(&run, signalled()?).await?,
        Verb::Demo { play, ttl } => {
            let stop = signalled()?;
            log::start(LogFormat::Text, LevelFilter::WARN);
            match play {
                true => demo::play(ttl, &mut out, stop).await?,
                false => demo::serve(ttl, &mut out, stop).await?,
            }
        }
        Verb::Slack(verb) => return Ok(jitd::slack(verb, &mut out).await?.code().into()),
        Verb::DynamoDb(verb) => return Ok(jitd::dynamodb(verb, &mut out).await?.code().into()),
        Verb::Init { file } => jitd::init(&file)?,
    }
    Ok(ExitCode::SUCCESS)
}
