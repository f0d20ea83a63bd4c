//! The command line: the verbs of people over HTTP, those of an operator with the configuration
//! or the store at hand, and the tools for agents. Arguments, streams and the exit code; the verbs are in `jit-cli` and
//! `jit-runtime`.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jit_cli::CliError;
use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::config::Environment;
use jit_runtime::daemon::block_on;
use jit_runtime::log;
use jit_runtime::operate::{Desk, Form, Operation};
use secrecy::SecretString;
use serde_json::json;

/// Ask for access, decide on it, give it back; and look after the service
#[derive(Debug, Parser)]
#[command(name = "jit", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    options: jit_cli::Options,
    /// The configuration of jitd, for config, policy, audit, token, backup and doctor
    #[arg(
        long,
        global = true,
        env = "JIT_CONFIG",
        value_name = "FILE",
        default_value = "jit.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    OfPeople(jit_cli::Command),
    #[command(flatten)]
    OfOperators(Operation),
    /// Serve the tools for agents on standard input and output (Model Context Protocol)
    #[command(
        long_about = "Serve the tools for agents on standard input and output, for a client \
        of the Model Context Protocol that starts a program. Calls go on to the server with the \
        agent's token. The server needs [mcp] in its configuration"
    )]
    Mcp,
}

const EXIT_CODES: &str = "config, policy, audit, token, backup and doctor work on the files of jitd, \
                          whether or not jitd runs; everything else asks the server.\n\nExit codes: 0 done; 1 \
                          refused or failed, or a check found something wrong; 2 wrong arguments, \
                          or it is not as was asked for: denied, lapsed, ended, not confirmed; 141 \
                          nobody reads the answer.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit(arguments.options.json, run(arguments))
}

/// Runs it to its end, and says why where that is a failure.
fn exit(json: bool, run: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    log::panics_say_where(|place| {
        // To panic once more would say what the first panic says.
        let _ = writeln!(stderr(), "jit: a mistake in the program, at {place}");
    });
    // A disk that hangs keeps no verb from ending.
    let ran = block_on(run).unwrap_or_else(|error| Err(error.into()));
    match ran {
        Ok(code) => code,
        Err(error) => {
            match (json, error.downcast_ref::<CliError>()) {
                (true, Some(error)) => eprintln!("{}", error.json()),
                (true, None) => {
                    let message = format!("{error:#}");
                    eprintln!(
                        "{}",
                        json!({"error": {"code": "failed", "message": message}})
                    );
                }
                (false, _) => eprintln!("jit: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        Verb::OfPeople(command) => {
            let session = arguments.options.session(token())?;
            let screen = match stdout().is_terminal() {
                true => jit_cli::Form::Terminal,
                false => jit_cli::Form::Plain,
            };
            let form = arguments.options.form(screen);
            let exit = jit_cli::run(&command, &session, form, &mut stdout()).await?;
            Ok(ExitCode::from(exit.code()))
        }
        Verb::Mcp => {
            let (client, server) = arguments.options.session(token())?.into_parts();
            jit_mcp::relay::relay(client, server.as_str()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::OfOperators(operation) => {
            let mut desk = Desk {
                config: arguments.config,
                environment: Environment::of_process(),
                form: match arguments.options.json {
                    true => Form::Json,
                    false => Form::Text,
                },
                out: &mut stdout(),
                remarks: &mut stderr(),
                clock: &SystemClock,
                random: &OsRandom,
            };
            Ok(ExitCode::from(desk.run(operation).await?.code()))
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a person's token is no part of the configuration"
)]
fn token() -> Option<SecretString> {
    std::env::var("JIT_TOKEN").ok().map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// In a process of its own it panics.
    const PANICS: &str = "JIT_TEST_PANICS";

    #[test]
    #[allow(clippy::disallowed_methods, reason = "it is no setting of the product")]
    fn s15_a_panic_says_where_it_was_and_nothing_of_the_credential_in_hand() {
        if std::env::var_os(PANICS).is_some() {
            super::exit(false, async { panic!("in hand: hvs.the-credential") });
        }
        let mut panics = Command::new(std::env::current_exe().unwrap());
        let name = "tests::s15_a_panic_says_where_it_was_and_nothing_of_the_credential_in_hand";
        panics.args(["--exact", name, "--nocapture"]);
        let panicked = panics.env(PANICS, "1").output().unwrap();
        let said = [panicked.stdout, panicked.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!panicked.status.success(), "{said}");
        assert!(
            said.contains("jit: a mistake in the program, at bins/jit/src/main.rs:"),
            "{said}"
        );
        assert!(!said.contains("hvs.the-credential"), "{said}");
    }
}
