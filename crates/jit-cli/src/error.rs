//! How a verb may go wrong, in one sentence each, and what the process says at its end.

use std::io;

/// What the exit code says where nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is as was asked for.
    Done,
    /// It is not: the request was denied, lapsed or ended, or a confirmation was missing.
    NotDone,
    /// Nobody reads the answer any more, as where it goes into `head`.
    Unread,
}

impl Exit {
    /// The exit code: 0 or 2, or that of a process that SIGPIPE ended, which is not 0: nobody was
    /// told how it came out. An error is 1.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone => 2,
            Self::Unread => 141,
        }
    }
}

/// Why a verb was not carried out. Each sentence is inert and safe to print.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each sentence says what its fields are")]
pub enum CliError {
    /// The service said no.
    #[error("{message}")]
    Refused { code: String, message: String },
    /// The service could not.
    #[error("{message}")]
    Failed { message: String },
    /// Nobody answered.
    #[error("{server} cannot be reached: is jitd running? ({why})")]
    Unreachable { server: String, why: String },
    /// The connection broke before the whole answer was here. It may have been done.
    #[error("the connection to {server} broke; look before you try again ({why})")]
    Broken { server: String, why: String },
    /// Nobody answered in time. It may have been done.
    #[error("{server} did not answer within {secs} s; look before you try again")]
    TooSlow { server: String, secs: u64 },
    /// Something answered, and it is not the API.
    #[error("{server} gave an answer that makes no sense ({what}); is this the address of jitd?")]
    Strange { server: String, what: String },
    /// What was typed cannot be sent.
    #[error("{0}")]
    BadInput(String),
    /// There is no token.
    #[error("there is no token; put it into JIT_TOKEN, or its file into JIT_TOKEN_FILE")]
    NoToken,
    /// Of several calls some went wrong.
    #[error("{done} done, {failed} not done; see above")]
    Partly { done: usize, failed: usize },
    /// The answer could not be written.
    #[error("the answer could not be written")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The same for a program: `{"error":{"code":…,"message":…}}`. The codes of refusals are those
    /// of the API.
    pub fn json(&self) -> serde_json::Value {
        let code = match self {
            Self::Refused { code, .. } => code.as_str(),
            Self::Failed { .. } => "failed",
            Self::Unreachable { .. } => "unreachable",
            Self::Broken { .. } | Self::TooSlow { .. } => "outcome_unknown",
            Self::Strange { .. } => "strange_answer",
            Self::BadInput(_) => "bad_input",
            Self::NoToken => "no_token",
            Self::Partly { .. } => "partly",
            Self::Output(_) => "not_written",
        };
        serde_json::json!({"error": {"code": code, "message": self.to_string()}})
    }

    /// Whether the answer was lost, and what was asked for may have been done.
    pub(crate) fn may_be_done(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::TooSlow { .. })
    }

    /// Whether the same call may do better in a moment. Only asked about calls that change nothing.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Failed { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::TooSlow { .. } => true,
            // The service cannot even tell who asks until its store is back.
            Self::Refused { code, .. } => code == "store_away",
            Self::Strange { .. }
            | Self::BadInput(_)
            | Self::NoToken
            | Self::Partly { .. }
            | Self::Output(_) => false,
        }
    }
}
