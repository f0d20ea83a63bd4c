//! Waiting for a request: long polls one after the other, and on a terminal a line that counts
//! down. What the line says is made in [`crate::model`]; here is only when it is drawn.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::Form;
use crate::error::{CliError, Exit};
use crate::model::Request;
use crate::session::{Call, Reply, Session};

/// How long one long poll waits at the server.
const POLL: Duration = Duration::from_secs(30);
/// How often the line is drawn, and the shortest time from one poll to the next.
const TICK: Duration = Duration::from_secs(1);
/// So many calls in a row may fail before waiting is given up.
const FAILURES_MAX: u32 = 10;
/// Puts the cursor at the beginning of the line and clears it.
const CLEAR_LINE: &str = "\r\u{1b}[2K";

/// Waits until the request is decided and there, or never will be. Returns its last answer.
pub(crate) async fn wait(
    session: &Session,
    form: Form,
    out: &mut (dyn Write + Send),
    first: Reply,
) -> Result<(Reply, Request, Exit), CliError> {
    let mut reply = first;
    let mut told = String::new();
    loop {
        let request: Request = reply.read()?;
        if let Some(exit) = request.outcome() {
            if form == Form::Terminal {
                write!(out, "{CLEAR_LINE}")?;
            }
            return Ok((reply, request, exit));
        }
        let story = request.story();
        if form == Form::Plain && told != story {
            writeln!(out, "{story}")?;
            out.flush()?;
            told = story;
        }
        reply = next(session, form, out, &reply, &request).await?;
    }
}

/// The next answer about the request, drawing the countdown until it comes.
async fn next(
    session: &Session,
    form: Form,
    out: &mut (dyn Write + Send),
    before: &Reply,
    request: &Request,
) -> Result<Reply, CliError> {
    let polling = poll(session, request);
    tokio::pin!(polling);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            answer = &mut polling => {
                let answer = answer?;
                // A server that answers at once without news is not asked again at once.
                if answer.read::<Request>()?.version == request.version {
                    tokio::time::sleep_until(before.arrived() + TICK).await;
                }
                return Ok(answer);
            }
            _ = tick.tick(), if form == Form::Terminal => {
                if let Some(now) = before.now() {
                    write!(out, "{CLEAR_LINE}{}", request.countdown(now))?;
                    out.flush()?;
                }
            }
        }
    }
}

/// One long poll; a server that is away for a moment is asked again.
async fn poll(session: &Session, request: &Request) -> Result<Reply, CliError> {
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let seen = Some(request.version.to_string());
        let call = Call::get(&["v1", "requests", request.id.as_str()])
            .with(vec![("seen", seen)])
            .waiting(POLL);
        match session.call(call).await {
            Err(error) if error.may_pass() && failures < FAILURES_MAX => {
                failures += 1;
                tokio::time::sleep_until(started + 2 * TICK).await;
            }
            answered => return answered,
        }
    }
}
