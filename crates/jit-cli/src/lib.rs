//! The verbs of `jit` over HTTP. They parse what a person typed, call the API, and show what came
//! back; nothing is judged here. A binary flattens [`Command`] and [`Options`] into its own
//! arguments and calls [`run`]; a test or a demo calls it in-process.
//!
//! Whatever a server says is made inert before it is shown: no control character of it reaches a
//! terminal.

#![warn(missing_docs)]

mod command;
mod error;
mod model;
mod session;
mod text;
mod verbs;
mod wait;

use std::io::{ErrorKind, Write};

pub use command::{
    ApproveArgs, Command, DenyArgs, IdArgs, ListArgs, Options, RequestArgs, RevokeArgs,
};
pub use error::{CliError, Exit};
pub use session::Session;

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the API gave it.
    Json,
    /// For a person, into a file or a pipe: whole lines only.
    Plain,
    /// For a person at a terminal: a line may be drawn again.
    Terminal,
}

/// Carries out one verb and writes what there is to show.
pub async fn run(
    command: &Command,
    session: &Session,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    let ran = verbs::Verbs { session, form, out }.run(command).await;
    match ran {
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Unread),
        ran => ran,
    }
}
