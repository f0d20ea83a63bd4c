//! `backup`: the whole store in one file, copied while others work on it, and read back before anybody
//! believes in it. It changes nothing in the store, not even an older schema.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jit_core::engine::{AuditReport, verify_audit};
use jit_sqlite::{Options, Schema, SqliteStore};
use serde_json::json;

use super::{Desk, Form, OperateError, Outcome, counted};
use crate::build::StoreError;
use crate::config::Store;

/// How often somebody who waits is told that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// To where a backup goes.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write, which must not exist; it is readable by its owner alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What was found in a copy.
struct Copied {
    bytes: u64,
    schema: Schema,
    /// None where it is of an earlier release, whose records this one does not read.
    audit: Option<AuditReport>,
    problems: Vec<String>,
}

impl Desk<'_> {
    pub(super) async fn backup(&mut self, args: BackupArgs) -> Result<Outcome, OperateError> {
        let BackupArgs { file } = args;
        let config = self.config_before_tokens()?;
        let stored = match config.store {
            Store::Sqlite { file } => file,
            Store::DynamoDb(settings) => {
                let table = settings.table;
                return Err(OperateError::BackupOfTable { table });
            }
        };
        let store = existing(&stored)?;
        is_free(&file)?;
        self.waiting("copying", store.backup_to(&file)).await??;
        let copied = self.waiting("reading it back", read_back(&file)).await??;
        self.tell_copied(&file, &copied)?;
        Ok(match copied.problems.is_empty() {
            true => Outcome::Well,
            false => Outcome::Wrong,
        })
    }

    /// Does it, and says now and then that it is still being done.
    async fn waiting<T>(&mut self, what: &str, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = std::pin::pin!(work);
        let began = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout(TOLD_EVERY, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => writeln!(
                    self.remarks,
                    "{what}: for {} s so far",
                    began.elapsed().as_secs()
                )?,
            }
        }
    }

    fn tell_copied(&mut self, file: &Path, copied: &Copied) -> io::Result<()> {
        let Copied {
            bytes,
            schema,
            audit,
            problems,
        } = copied;
        if self.form == Form::Json {
            return self.json(&json!({
                "file": file, "bytes": bytes, "schema": schema.found,
                "requests": audit.as_ref().map(|it| it.requests),
                "events": audit.as_ref().map(|it| it.events),
                "sound": problems.is_empty(), "problems": problems,
            }));
        }
        for problem in problems {
            writeln!(self.out, "{problem}")?;
        }
        let file = file.display();
        let size = counted(*bytes, "byte");
        let written = match audit {
            Some(audit) => format!(
                "{} and {} in {size}",
                counted(audit.requests, "request"),
                counted(audit.events, "event")
            ),
            None => size,
        };
        match (problems.len(), audit) {
            (0, Some(_)) => writeln!(
                self.out,
                "{file}: {written}; the file is sound and its audit verified"
            )?,
            (0, None) => writeln!(
                self.out,
                "{file}: {written}; the file is sound. Its schema is {}, which the release before \
                 this one wrote: verify its audit with that one's jit audit verify",
                schema.found
            )?,
            (count, _) => writeln!(
                self.out,
                "{file}: {written}, and {} in it; the store that it was copied from has the same: \
                 run jit audit verify, and keep the backup from before",
                counted(count, "problem")
            )?,
        }
        writeln!(
            self.out,
            "it holds the audit and the hashes of tokens, and only its owner can read it: keep it so"
        )
    }
}

/// A file is never replaced, and is not copied for minutes before that is found out.
fn is_free(file: &Path) -> Result<(), OperateError> {
    let refused = |source: io::Error| OperateError::File {
        path: file.to_owned(),
        source,
    };
    match fs::symlink_metadata(file) {
        Ok(_) => Err(refused(io::ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = fs::metadata(folder.unwrap_or(Path::new("."))).map_err(refused)?;
            match folder.is_dir() {
                true => Ok(()),
                false => Err(refused(io::ErrorKind::NotADirectory.into())),
            }
        }
        Err(error) => Err(refused(error)),
    }
}

fn as_it_is(file: &Path) -> Result<SqliteStore, StoreError> {
    Ok(SqliteStore::open_as_it_is(file, Options::default())?)
}

/// Opens a store that must be there, and changes nothing in it.
fn existing(file: &Path) -> Result<SqliteStore, OperateError> {
    let none = || OperateError::NoStore {
        path: file.to_owned(),
    };
    if !file.exists() {
        return Err(none());
    }
    let store = as_it_is(file)?;
    match store.schema().found {
        0 => Err(none()),
        _ => Ok(store),
    }
}

/// The same for whoever reads what is in it.
pub(super) fn of_this_release(file: &Path) -> Result<SqliteStore, OperateError> {
    let store = existing(file)?;
    let Schema { found, known } = store.schema();
    match found == known {
        true => Ok(store),
        false => Err(OperateError::Earlier {
            path: file.to_owned(),
            found,
            known,
        }),
    }
}

/// Opens the copy, and checks the file, its schema and its chains.
async fn read_back(file: &Path) -> Result<Copied, OperateError> {
    let bytes = fs::metadata(file)?.len();
    let copy = as_it_is(file)?;
    let schema = copy.schema();
    let mut problems = copy.integrity().await?;
    let audit = match problems.is_empty() && schema.found == schema.known {
        true => Some(verify_audit(&copy).await?),
        false => None,
    };
    let broken = audit.iter().flat_map(|it| &it.problems);
    problems.extend(broken.map(ToString::to_string));
    Ok(Copied {
        bytes,
        schema,
        audit,
        problems,
    })
}
