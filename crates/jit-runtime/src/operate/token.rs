//! `token new`, `list` and `revoke`: the first token of an installation has no door to come in by,
//! so whoever may open the store may hand them out.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jit_core::principal::PrincipalId;
use jit_core::{Timestamp, Ttl};
use jit_http::token::{self, NewToken, Token};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::{Desk, Form, OperateError, Outcome};
use crate::build;

/// About bearer tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token; it is shown once and kept nowhere
    New {
        /// Whose it is to be: an id or an alias, as in the configuration
        #[arg(long, value_name = "WHO")]
        principal: PrincipalId,
        /// How long it is valid: 12h, 30d; 90 days where nothing is said
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Ttl>,
        /// What it is for, for whoever reads the list
        #[arg(long, default_value = "", hide_default_value = true)]
        label: String,
        /// Write it to this file, which only you can read and which must not exist, and not to
        /// the terminal
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List every token: whose it is and until when it is valid
    List,
    /// Make a token invalid from now on
    Revoke {
        /// Its public id, as `jit token list` shows it
        id: String,
    },
}

impl Desk<'_> {
    pub(super) async fn token(&mut self, verb: TokenVerb) -> Result<Outcome, OperateError> {
        match verb {
            TokenVerb::New {
                principal,
                ttl,
                label,
                out,
            } => {
                let ask = NewToken {
                    principal,
                    label,
                    lifetime: ttl,
                };
                self.make(ask, out.as_deref()).await?;
            }
            TokenVerb::List => self.list().await?,
            TokenVerb::Revoke { id } => {
                let store = self.store_to_write().await?;
                let revoked = token::revoke(store.as_ref(), self.clock.now(), &id).await?;
                match self.form {
                    Form::Json => self.json(&shown(&revoked).into())?,
                    Form::Text => {
                        let Token { id, principal, .. } = revoked;
                        writeln!(self.out, "token {id} of {principal} is revoked")?;
                    }
                }
            }
        }
        Ok(Outcome::Well)
    }

    async fn make(&mut self, ask: NewToken, file: Option<&Path>) -> Result<(), OperateError> {
        let config = self.config_before_tokens()?;
        let directory = build::people_now(&config)?;
        let known = directory.profile(&ask.principal).await?;
        let unknown = || OperateError::UnknownPrincipal {
            who: ask.principal.clone(),
        };
        let principal = known.ok_or_else(unknown)?.id;
        let ask = NewToken { principal, ..ask };
        let store = self.store_to_make(&config.store).await?;
        // The file comes first: a token that cannot be handed over is better not made.
        let mut handed_to = file.map(create).transpose()?;
        let made = token::new_token(store.as_ref(), self.random, self.clock.now(), ask).await;
        let made = match (made, file) {
            (Ok(made), _) => made,
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some(file)) => {
                // It is empty; if it stays, the next try says so.
                let _ = std::fs::remove_file(file);
                return Err(error.into());
            }
        };
        let text = made.text.expose_secret();
        if let (Some(handed_to), Some(path)) = (&mut handed_to, file) {
            let written = writeln!(handed_to, "{text}").and_then(|()| handed_to.sync_all());
            let path = path.to_owned();
            written.map_err(|source| OperateError::File { path, source })?;
        }
        let mut answer = shown(&made.token);
        match (self.form, file) {
            (Form::Json, Some(file)) => {
                answer.insert("file".to_owned(), json!(file));
                self.json(&answer.into())?;
            }
            (Form::Json, None) => {
                answer.insert("token".to_owned(), json!(text));
                self.json(&answer.into())?;
            }
            (Form::Text, Some(file)) => {
                let (about, file) = (told(&made.token), file.display());
                writeln!(self.out, "{about}; written to {file}")?;
            }
            (Form::Text, None) => {
                let about = told(&made.token);
                writeln!(self.remarks, "{about}; it is shown this once")?;
                writeln!(self.out, "{text}")?;
            }
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), OperateError> {
        let store = self.store_to_read().await?;
        let tokens = token::list(store.as_ref()).await?;
        if self.form == Form::Json {
            let tokens: Vec<Map<String, Value>> = tokens.iter().map(shown).collect();
            return Ok(self.json(&json!({ "tokens": tokens }))?);
        }
        let now = self.clock.now();
        let width = |of: fn(&Token) -> usize| tokens.iter().map(of).max().unwrap_or_default();
        let whose = width(|token| token.principal.as_str().len()).max(9);
        writeln!(
            self.out,
            "{:16}  {:whose$}  {:44}  LABEL",
            "TOKEN", "PRINCIPAL", "STATE"
        )?;
        for token in &tokens {
            let state = state(token, now);
            let Token {
                id,
                principal,
                label,
                ..
            } = token;
            let line = format!(
                "{id:16}  {:whose$}  {state:44}  {label}",
                principal.as_str()
            );
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn state(token: &Token, now: Timestamp) -> String {
    match token.revoked_at {
        Some(at) => format!("revoked at {at}"),
        None if now >= token.expires_at => format!("expired at {}", token.expires_at),
        None => format!("valid until {}", token.expires_at),
    }
}

fn told(token: &Token) -> String {
    let Token {
        id,
        principal,
        expires_at,
        ..
    } = token;
    format!("token {id} of {principal}, valid until {expires_at}")
}

fn shown(token: &Token) -> Map<String, Value> {
    let shown = [
        ("id", json!(token.id)),
        ("principal", json!(token.principal)),
        ("label", json!(token.label)),
        ("made_at", json!(token.made_at)),
        ("expires_at", json!(token.expires_at)),
        ("revoked_at", json!(token.revoked_at)),
    ];
    let shown = shown.into_iter();
    shown.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn create(file: &Path) -> Result<std::fs::File, OperateError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    made.map_err(|source: io::Error| OperateError::File {
        path: file.to_owned(),
        source,
    })
}
