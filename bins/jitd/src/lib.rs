//! What `jitd` does: serving, the demonstration, and the first configuration. The service itself is
//! in `jit-runtime`.

#![warn(missing_docs)]

#[cfg(feature = "demo")]
pub mod demo;
#[cfg(not(feature = "demo"))]
#[path = "no_demo.rs"]
pub mod demo;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jit_core::engine::ClockTrust;
use jit_runtime::config::{Config, Environment, TEMPLATE};
use jit_runtime::daemon::{Daemon, LockOut};
use jit_runtime::log::{self, LevelFilter};
use jit_runtime::operate::{DynamoDbVerb, Outcome, SlackVerb};

/// What to serve, and what to believe.
#[derive(Debug, clap::Args)]
pub struct Run {
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
    /// Start although nothing that can be asked for can be had by anybody
    #[arg(long)]
    allow_lock_out: bool,
}

/// Serves as this file says, until `stop` is ready.
pub async fn serve(run: &Run, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let config = Config::read(&run.config, &Environment::of_process())?;
    log::start(config.log.format, LevelFilter::INFO);
    let trust = match run.trust_clock {
        true => ClockTrust::Trusted,
        false => ClockTrust::Compared,
    };
    let lock_out = match run.allow_lock_out {
        true => LockOut::Allowed,
        false => LockOut::Refused,
    };
    let daemon = Daemon::start(config, trust, lock_out).await?;
    let (api, observe) = (daemon.api_address()?, daemon.observe_address()?);
    tracing::info!(%api, %observe, "serving");
    Ok(daemon.run(stop).await?)
}

/// Makes the app in Slack, or checks it.
pub async fn slack(verb: SlackVerb, out: &mut (dyn Write + Send)) -> anyhow::Result<Outcome> {
    Ok(verb.run(&Environment::of_process(), out).await?)
}

/// Makes the table of the store, or prints what makes it.
pub async fn dynamodb(verb: DynamoDbVerb, out: &mut (dyn Write + Send)) -> anyhow::Result<Outcome> {
    Ok(verb.run(&Environment::of_process(), out).await?)
}

/// Writes a commented configuration to begin with; overwrites nothing.
pub fn init(file: &Path) -> anyhow::Result<()> {
    let shown = file.display();
    let refused = || format!("{shown} cannot be written; init overwrites nothing");
    let mut made = File::create_new(file).with_context(refused)?;
    made.write_all(TEMPLATE.as_bytes()).with_context(refused)?;
    eprintln!("{shown} is written; change it, then: jit --config {shown} doctor");
    Ok(())
}
