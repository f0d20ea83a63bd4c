//! What can be typed. Values are read by the server, so that there is one set of rules.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use secrecy::SecretString;

use crate::error::CliError;
use crate::{Form, Session};

/// How the server is reached, and how answers are shown.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The address of the server
    #[arg(
        long,
        global = true,
        env = "JIT_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
    /// A file that holds your token; without one, it is read from JIT_TOKEN
    #[arg(long, global = true, env = "JIT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Show answers as JSON, and what went wrong as JSON on standard error
    #[arg(long, global = true)]
    pub json: bool,
}

impl Options {
    /// A session by these options. A token file that is named goes before the value of
    /// `JIT_TOKEN`, which the binary reads; no token is ever taken from the arguments.
    pub fn session(&self, jit_token: Option<SecretString>) -> Result<Session, CliError> {
        let token = match &self.token_file {
            Some(file) => Session::token_from(file)?,
            None => jit_token.ok_or(CliError::NoToken)?,
        };
        Session::new(&self.server, &token)
    }

    /// How to show answers, where standard output is shown like this.
    pub fn form(&self, screen: Form) -> Form {
        if self.json { Form::Json } else { screen }
    }
}

/// A verb of people.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Ask for access
    Request(RequestArgs),
    /// List requests, or with --entitlements what can be asked for
    List(ListArgs),
    /// Show one request
    Show(IdArgs),
    /// Approve a request of somebody else
    Approve(ApproveArgs),
    /// Deny a request of somebody else
    Deny(DenyArgs),
    /// Take your own approval back
    Retract(IdArgs),
    /// Take your pending request back
    Withdraw(IdArgs),
    /// Return your access early
    End(IdArgs),
    /// Take access away from somebody
    Revoke(RevokeArgs),
    /// Collect the credential of an approved request, once
    Collect(IdArgs),
    /// Show everything that happened to a request
    History(IdArgs),
    /// Stop new access; access that was given still ends on time
    Pause,
    /// Let new access go on
    Resume,
    /// Show what stands at providers without a grant, and grants whose access is missing
    Drift,
    /// Show who you are here and whether new access is paused
    Status,
}

/// Which request.
#[derive(Debug, Clone, Args)]
pub struct IdArgs {
    /// The id, or the last five or more characters of it
    #[arg(value_name = "ID")]
    pub id: String,
}

/// What to ask for.
#[derive(Debug, Clone, Args)]
pub struct RequestArgs {
    /// What, as `jit list --entitlements` shows it
    #[arg(value_name = "ENTITLEMENT")]
    pub entitlement: String,
    /// Why
    #[arg(long, allow_hyphen_values = true)]
    pub reason: String,
    /// For how long, as in 30m or 4h
    #[arg(long, allow_hyphen_values = true)]
    pub ttl: Option<String>,
    /// For whom, if not for yourself
    #[arg(long = "for", value_name = "WHO")]
    pub beneficiary: Option<String>,
    /// A parameter, with its value as JSON, as in path='"/srv"'
    #[arg(long = "param", value_name = "NAME=JSON")]
    pub parameters: Vec<String>,
    /// Wait until it is decided and there
    #[arg(long)]
    pub wait: bool,
}

/// Which requests to list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Of this person
    #[arg(long, value_name = "WHO")]
    pub principal: Option<String>,
    /// For this entitlement
    #[arg(long)]
    pub entitlement: Option<String>,
    /// In any of these states, with commas between them
    #[arg(long)]
    pub status: Option<String>,
    /// Not over before this instant, as in 2026-01-06T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub from: Option<String>,
    /// Opened before this instant
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    /// Begin behind this request
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// List what can be asked for instead
    #[arg(long, conflicts_with_all = ["principal", "entitlement", "status", "from", "until", "after"])]
    pub entitlements: bool,
    /// With --entitlements: only those that have this in their id or title
    #[arg(long, value_name = "TEXT", requires = "entitlements")]
    pub search: Option<String>,
}

/// What to approve.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// The id, or the last five or more characters of it
    #[arg(value_name = "ID")]
    pub id: String,
    /// For a shorter time than asked, as in 10m
    #[arg(long = "for", value_name = "TTL", allow_hyphen_values = true)]
    pub ttl: Option<String>,
}

/// What to deny.
#[derive(Debug, Clone, Args)]
pub struct DenyArgs {
    /// The id, or the last five or more characters of it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why
    #[arg(long, allow_hyphen_values = true)]
    pub reason: String,
}

/// What to revoke: one request, or all that fit.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["id", "principal", "entitlement", "all"])))]
pub struct RevokeArgs {
    /// The id, or the last five or more characters of it
    #[arg(value_name = "ID", conflicts_with_all = ["principal", "entitlement", "all", "yes"])]
    pub id: Option<String>,
    /// Everything of this person
    #[arg(long, value_name = "WHO")]
    pub principal: Option<String>,
    /// Everything for this entitlement
    #[arg(long)]
    pub entitlement: Option<String>,
    /// Everything that you can see and that is not over
    #[arg(long, conflicts_with_all = ["principal", "entitlement"])]
    pub all: bool,
    /// Why
    #[arg(long, allow_hyphen_values = true)]
    pub reason: Option<String>,
    /// Do it; without this the requests are only listed. With --json each request is one line
    #[arg(long)]
    pub yes: bool,
}
